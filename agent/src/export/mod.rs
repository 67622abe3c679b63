//! The last stage: spans and metrics leave the agent, over OTLP, to standard output and to Prometheus. It alone does
//! network I/O. Nothing here makes a producer wait: what finds no room is dropped and counted, and at any time
//! `pushed = sent + rejected + dropped + queued` ([`ledger`]).

pub mod config;
mod console;
pub mod ledger;
mod otlp;
mod prometheus;
mod self_metrics;
#[cfg(test)]
mod testing;

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Duration, SystemTime},
};

use tokio::{runtime::Handle, time::Instant};

pub use self::{
    config::{ConfigError, ExportConfig},
    ledger::{Ledger, Outcome},
    otlp::TransportError,
    self_metrics::Counters,
};
use self::{console::Console, otlp::Otlp};
use crate::model::{
    metric::Metric,
    span::{Resource, Span},
};

/// Where metrics come from: asked at each export and each scrape, from different threads.
pub trait MetricSource: Send + Sync {
    /// The metrics as they are at `now_unix_ns`, cumulative since each point's start. Metrics of one resource share its
    /// `Arc`. Must not wait.
    fn collect(&self, now_unix_ns: u64) -> Vec<Metric>;
}

/// All metrics of all sources, and the time they are of.
fn collect(sources: &[Arc<dyn MetricSource>]) -> (u64, Vec<Metric>) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now_unix_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    (now_unix_ns, sources.iter().flat_map(|source| source.collect(now_unix_ns)).collect())
}

/// The running exporters.
pub struct Exporters {
    sink: SpanSink,
    prometheus: Option<prometheus::Server>,
    printed_metrics: Option<console::Metrics>,
    readiness: Arc<Readiness>,
}

/// What `/readyz` says.
struct Readiness {
    /// The agent says that it works.
    ready: AtomicBool,
    otlp: Arc<Otlp>,
}

impl Readiness {
    #[cfg(test)]
    fn for_test() -> Self {
        Self { ready: AtomicBool::new(true), otlp: Arc::default() }
    }

    /// Why the agent does not do its work; `None` if it does.
    fn objection(&self) -> Option<&'static str> {
        if !self.ready.load(Ordering::Relaxed) {
            Some("not ready\n")
        } else if !self.otlp.is_alive() {
            Some("not ready: an exporter has ended\n")
        } else {
            None
        }
    }
}

/// Takes spans; cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct SpanSink {
    otlp: Arc<Otlp>,
    console: Option<Arc<Console>>,
    counters: Arc<Counters>,
}

impl SpanSink {
    /// Hands spans to every exporter. Never waits.
    pub fn push(&self, spans: Vec<Span>) {
        self.otlp.push(&spans);
        if let Some(console) = &self.console {
            console.push(spans);
        }
    }

    /// What became of what was pushed.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        &self.counters
    }
}

impl Exporters {
    /// Starts what `config` asks for on `runtime`. Metrics come from `sources`, and from this stage itself about
    /// `agent`. A `--listen` address that is in use is a warning, not an error.
    ///
    /// # Errors
    /// Certificate files that cannot be used.
    pub fn start(
        config: &ExportConfig,
        runtime: &Handle,
        mut sources: Vec<Arc<dyn MetricSource>>,
        agent: Arc<Resource>,
    ) -> Result<Self, TransportError> {
        let prepared = otlp::Prepared::new(config, runtime)?;
        let console = Console::start(config.print).map(Arc::new);
        let printed = console.as_ref().map(|console| console.ledger());
        let counters = Arc::new(Counters::new(agent, prepared.queue(), prepared.points(), printed));
        sources.push(Arc::clone(&counters) as _);
        let otlp = Arc::new(prepared.start(config, runtime, &sources));
        let readiness = Arc::new(Readiness { ready: AtomicBool::new(false), otlp: Arc::clone(&otlp) });
        let printed_metrics =
            config.print_metrics.then(|| console::Metrics::start(config.metric_interval, runtime, sources.clone()));
        let prometheus = config
            .listen
            .and_then(|listen| prometheus::Server::start(listen, runtime, sources, Arc::clone(&readiness)));
        Ok(Self { sink: SpanSink { otlp, console, counters }, prometheus, printed_metrics, readiness })
    }

    /// Where spans go in.
    #[must_use]
    pub fn sink(&self) -> SpanSink {
        self.sink.clone()
    }

    /// As [`SpanSink::push`].
    pub fn push(&self, spans: Vec<Span>) {
        self.sink.push(spans);
    }

    /// What became of what was pushed.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        self.sink.counters()
    }

    /// From now on `/readyz` says that the agent works (or not).
    pub fn set_ready(&self, ready: bool) {
        self.readiness.ready.store(ready, Ordering::Relaxed);
    }

    /// Waits until spans are printed for nobody any more (`| head`), where they are only printed; else for ever.
    pub async fn reader_gone(&self) {
        match &self.sink.console {
            Some(console) if !self.sink.otlp.is_used() => console.reader_gone().await,
            _ => std::future::pending().await,
        }
    }

    /// The address that `/metrics` is served at; `None` if it is not.
    #[must_use]
    pub fn listen_addr(&self) -> Option<std::net::SocketAddr> {
        self.prometheus.as_ref().map(prometheus::Server::addr)
    }

    /// Collects metrics a last time, sends and prints what waits, and stops, all within `deadline`. Spans that are
    /// pushed later are dropped (and counted). Returns the final counts of spans; what was not delivered is also logged.
    pub async fn shutdown(self, deadline: Duration) -> Report {
        let deadline = Instant::now() + deadline;
        self.readiness.ready.store(false, Ordering::Relaxed);
        self.sink.otlp.shutdown(deadline).await;
        if let Some(console) = &self.sink.console {
            console.shutdown(deadline).await;
        }
        if let Some(metrics) = self.printed_metrics {
            metrics.shutdown(deadline).await;
        }
        if let Some(server) = self.prometheus {
            server.stop();
        }
        let counters = &self.sink.counters;
        let report =
            Report { spans: counters.spans(), metric_points: counters.metric_points(), printed: counters.printed() };
        let undelivered = report.spans.map_or(0, |spans| spans.count(Outcome::DroppedShutdown));
        if undelivered > 0 {
            tracing::warn!(undelivered, "stopped with spans that could not be delivered in time");
        }
        report
    }
}

/// The final counts. `None` where there was no such exporter.
#[derive(Clone, Copy, Debug)]
pub struct Report {
    /// Of spans over OTLP.
    pub spans: Option<Ledger>,
    /// Of metric points over OTLP.
    pub metric_points: Option<Ledger>,
    /// Of spans on standard output.
    pub printed: Option<Ledger>,
}
