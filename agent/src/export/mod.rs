//! The last stage: spans and metrics leave the agent, over OTLP, to standard output and to Prometheus. It alone does
//! network I/O. Nothing here makes a producer wait: what finds no room is dropped and counted, and at any time
//! `pushed = sent + rejected + dropped + queued` ([`ledger`]).

pub(crate) mod config;
pub(crate) mod console;
mod consumer;
mod consumers;
mod health;
mod kept;
pub(crate) mod ledger;
mod otlp;
mod prometheus;
mod receivers;
mod self_metrics;
mod served_tls;
#[cfg(test)]
pub(crate) mod testing;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use futures_util::future::join_all;
use tokio::{runtime::Handle, time::Instant};

pub(crate) use self::{
    config::ConfigError,
    otlp::{SpanQueue, TransportError},
    receivers::Receivers,
    self_metrics::Counters,
};
pub use self::{
    config::ExportConfig,
    ledger::{Fate, Ledger},
};
use self::{
    config::{HealthListen, ListenTls, PrometheusConfig},
    consumers::Consumers,
    health::Readiness,
    receivers::Points,
};
use crate::{
    model::{
        metric::Metric,
        span::{Resource, Span},
    },
    server::Server,
    store::Store,
    telemetry::wanted::Reader,
};

/// Where metrics come from: asked at each export and each scrape, from different threads.
pub trait MetricSource: Send + Sync {
    /// The metrics as they are at `now_unix_ns`, cumulative since each point's start. Metrics of one resource share its
    /// `Arc`. Must not wait.
    fn collect(&self, now_unix_ns: u64) -> Vec<Metric>;

    /// Whether a reader is to ask it.
    fn is_for(&self, _reader: Reader) -> bool {
        true
    }

    /// Somebody who reads native histograms asks for the first time, or again.
    fn keep_native_histograms(&self, _now_unix_ns: u64) {}

    /// Whether it tells of requests, and not of the agent itself.
    fn is_of_requests(&self) -> bool {
        false
    }
}

/// All metrics of all sources, and the time they are of.
fn collect(sources: &[Arc<dyn MetricSource>]) -> (u64, Vec<Metric>) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now_unix_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    (now_unix_ns, sources.iter().flat_map(|source| source.collect(now_unix_ns)).collect())
}

/// Lets sources know that native histograms are read.
fn keep_native_histograms(sources: &[Arc<dyn MetricSource>]) {
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
    let now_unix_ns = u64::try_from(now.as_nanos()).unwrap_or(u64::MAX);
    sources.iter().for_each(|source| source.keep_native_histograms(now_unix_ns));
}

/// The same without histograms that have had no new value for `ttl`.
fn collect_updated(sources: &[Arc<dyn MetricSource>], ttl: Duration) -> (u64, Vec<Metric>) {
    let (now_unix_ns, mut metrics) = collect(sources);
    let since_unix_ns = now_unix_ns.saturating_sub(u64::try_from(ttl.as_nanos()).unwrap_or(u64::MAX));
    metrics.iter_mut().for_each(|metric| metric.retain_updated(since_unix_ns));
    metrics.retain(|metric| !metric.is_empty());
    (now_unix_ns, metrics)
}

/// Names of the consumers of spans.
pub const OTLP: &str = "otlp";
/// The same, of standard output.
pub(crate) const CONSOLE: &str = "console";
/// The same, of what the agent remembers itself.
pub(crate) const STORE: &str = "store";

/// What the agent remembers itself, and the pages that show it; made of the metrics that it tells of itself.
pub struct Remembered {
    pub(crate) store: Arc<Store>,
    pub(crate) pages: MakePages,
}

/// Makes the pages of what the agent tells of itself.
pub(crate) type MakePages = Box<dyn FnOnce(Vec<Arc<dyn MetricSource>>) -> Pages + Send>;

/// For each address of [`ExportConfig::listen`], in their order.
pub(crate) type Pages = Vec<axum::Router>;

/// The running exporters.
pub struct Exporters {
    sink: SpanSink,
    receivers: Receivers,
    printed_metrics: Option<console::Metrics>,
    servers: Vec<Server>,
    /// Of whether the agent works, where nothing else is.
    health: Option<Server>,
    readiness: Arc<Readiness>,
}

/// Takes spans; cheap to clone, usable from any thread.
#[derive(Clone)]
pub struct SpanSink {
    consumers: Consumers,
    counters: Arc<Counters>,
}

impl SpanSink {
    /// Hands spans to every consumer. Never waits. Gives them back where no consumer keeps them.
    pub fn push(&self, spans: Vec<Span>) -> Vec<Span> {
        let spans = Arc::new(spans);
        self.consumers.active().iter().for_each(|consumer| consumer.push(&spans));
        Arc::try_unwrap(spans).unwrap_or_default()
    }

    /// What waits has this part of its room from now on: memory is short, or not any more. May take a moment.
    pub(crate) fn set_room(&self, share: f64) {
        self.consumers.set_room(share);
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
        remembered: Option<Remembered>,
    ) -> Result<Self, TransportError> {
        for to in config.traces.iter().chain(&config.metrics).filter(|to| to.tls.is_unchecked) {
            let endpoint = &to.endpoint;
            tracing::warn!(%endpoint, "the receiver's certificate is not checked (insecure_skip_verify): who stands between can read all");
        }
        otlp::tell_of_orphans(config, runtime);
        let store = remembered.as_ref().map(|remembered| Arc::clone(&remembered.store));
        let (spans, consumers) = consumers::start_all(config, runtime, store)?;
        let points = Points::default();
        let counters = Arc::new(Counters::new(agent, consumers.clone(), points.clone()));
        sources.push(Arc::clone(&counters) as _);
        let read_by = |reader| {
            let its_own = sources.iter().filter(|source| source.is_for(reader)).cloned();
            its_own.collect::<Vec<Arc<dyn MetricSource>>>()
        };
        let sent = read_by(Reader::Otlp);
        let receivers = Receivers::start(config, runtime, sent, spans, consumers.clone(), points)?;
        let readiness = Arc::new(Readiness::new(consumers.clone(), receivers.clone()));
        let printed_metrics = config
            .print_metrics
            .then(|| console::Metrics::start(config.metric_interval, runtime, read_by(Reader::Console)));
        let of_itself: Vec<_> = sources.iter().filter(|source| !source.is_of_requests()).cloned().collect();
        let own_page = config.own_metrics.as_ref().map(|own| {
            let page = PrometheusConfig { path: own.path.clone(), ..config.prometheus.clone() };
            (own.listen, prometheus::routes(&page, of_itself.clone()))
        });
        let mut pages = remembered.map(|remembered| (remembered.pages)(of_itself)).unwrap_or_default().into_iter();
        let mut sources = read_by(Reader::Prometheus);
        let shown = &config.prometheus;
        sources.retain(|source| shown.has_requests || !source.is_of_requests());
        let routes = prometheus::routes(shown, sources).merge(health::routes(Arc::clone(&readiness)));
        let tls = match &config.listen_tls {
            ListenTls { certificate: Some(certificate), key: Some(key) } => {
                Some(served_tls::start(certificate, key, served_tls::EVERY, runtime)?)
            }
            _ => None,
        };
        let servers = config.listen.iter().filter_map(|&listen| {
            let pages = pages.next();
            let nothing_here = nothing_here(&shown.path, pages.is_some());
            let routes = pages.map_or_else(|| routes.clone(), |pages| routes.clone().merge(pages));
            Server::start(listen, runtime, routes.fallback(nothing_here), tls.clone())
        });
        let own = own_page.and_then(|(listen, page)| Server::start(listen, runtime, page, tls.clone()));
        let servers = servers.chain(own).collect();
        let alone = || health::own_routes(Arc::clone(&readiness));
        let health = config.health.as_ref().and_then(|listen| match listen {
            HealthListen::Tcp(address) => Server::start(*address, runtime, alone(), None),
            HealthListen::Unix(path) => Server::start_unix(path, runtime, alone()),
        });
        Ok(Self { sink: SpanSink { consumers, counters }, receivers, printed_metrics, servers, health, readiness })
    }

    /// Where spans go in.
    #[must_use]
    pub fn sink(&self) -> SpanSink {
        self.sink.clone()
    }

    /// Where what is sent goes to, to be changed.
    pub(crate) fn receivers(&self) -> Receivers {
        self.receivers.clone()
    }

    /// As [`SpanSink::push`].
    pub fn push(&self, spans: Vec<Span>) {
        drop(self.sink.push(spans));
    }

    /// What became of what was pushed.
    #[must_use]
    pub fn counters(&self) -> &Counters {
        self.sink.counters()
    }

    /// From now on `/readyz` says that the agent works (or not).
    pub fn set_ready(&self, ready: bool) {
        self.readiness.set(ready);
    }

    /// What says so later, from another thread.
    pub fn ready_later(&self) -> impl FnOnce() + Send + 'static {
        let readiness = Arc::clone(&self.readiness);
        move || readiness.set(true)
    }

    /// Waits until spans are told to nobody any more (`| head`), where they and nothing else are told; else for ever.
    pub async fn reader_gone(&self) {
        let telling = || {
            let active = self.sink.consumers.active();
            active.iter().filter(|consumer| consumer.tells()).cloned().collect::<Vec<_>>()
        };
        let first = telling();
        if self.receivers.has_metrics() || first.is_empty() {
            return std::future::pending().await;
        }
        for consumer in &first {
            consumer.unheard().await;
        }
        // Others may be told by now.
        if self.receivers.has_metrics() || telling().len() > first.len() {
            std::future::pending().await
        }
    }

    /// The addresses that `/metrics` is served at.
    pub fn listen_addrs(&self) -> impl Iterator<Item = std::net::SocketAddr> {
        self.servers.iter().filter_map(Server::addr)
    }

    /// The first of them; `None` if there is none.
    #[must_use]
    pub fn listen_addr(&self) -> Option<std::net::SocketAddr> {
        self.servers.first().and_then(Server::addr)
    }

    /// Sends and prints what waits, collects metrics a last time, and stops, all until `deadline`. Spans go first, so that
    /// the last metrics tell what became of them; if they take too long, a quarter of the time is left for the metrics.
    /// Spans that are pushed later are dropped (and counted). Returns the final counts; what was not delivered is also
    /// logged.
    pub async fn shutdown(self, deadline: Instant) -> Report {
        let Self { sink, receivers, printed_metrics, servers, health, readiness } = self;
        readiness.set(false);
        let metrics = receivers.stop();
        let has_metrics = !metrics.is_empty() || printed_metrics.is_some();
        let left = deadline.saturating_duration_since(Instant::now());
        let for_spans = if has_metrics { deadline - left / 4 } else { deadline };
        join_all(sink.consumers.all().iter().map(|consumer| consumer.shutdown(for_spans))).await;
        join_all(metrics.iter().map(|metrics| metrics.shutdown(deadline))).await;
        if let Some(metrics) = printed_metrics {
            metrics.shutdown(deadline).await;
        }
        servers.iter().chain(&health).for_each(Server::stop);
        let counters = &sink.counters;
        let report = Report { spans: counters.spans().collect(), metric_points: counters.metric_points() };
        for (consumer, ledger) in &report.spans {
            let undelivered = ledger.count(Fate::DroppedShutdown);
            if undelivered > 0 {
                tracing::warn!(consumer, undelivered, "stopped with spans that could not be delivered in time");
            }
            let left = ledger.count(Fate::LeftInSpool);
            if left > 0 {
                tracing::info!(
                    consumer,
                    spans = left,
                    "what could not be delivered waits in the spool for the next start"
                );
            }
        }
        report
    }
}

/// What is answered where there is nothing.
fn nothing_here(metrics: &str, has_page: bool) -> impl axum::handler::Handler<((),), ()> {
    let page = if has_page { "/ (web page), /api/v1/openapi.json (what can be asked), " } else { "" };
    let message = format!("there are {page}{metrics}, /healthz and /readyz\n");
    move || std::future::ready((http::StatusCode::NOT_FOUND, message))
}

/// The final counts.
#[derive(Clone, Debug)]
pub struct Report {
    /// Of spans, by consumer.
    pub spans: Vec<(&'static str, Ledger)>,
    /// Of metric points over OTLP, to all receivers; `None` where they are not sent.
    pub metric_points: Option<Ledger>,
}
