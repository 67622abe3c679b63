//! OTLP receivers, which may be others while the agent runs: at the same URL requests go out otherwise (headers, certificates …) and
//! what waits with them; a receiver that is none any more is given what waits for it, for a while, and what is left then is counted.

use std::{
    sync::{Arc, Mutex, MutexGuard, PoisonError, RwLock},
    time::Duration,
};

use tokio::{runtime::Handle, time::Instant};

use super::{
    MetricSource, TransportError,
    config::{ExportConfig, OtlpConfig},
    consumer::SpanConsumer,
    consumers::Consumers,
    ledger::Ledger,
    otlp,
};

/// How long a receiver is tried that is none any more.
const FAREWELL: Duration = Duration::from_secs(10);

/// What became of metric points, by the receiver's URL; also of receivers that are none any more.
#[derive(Clone, Default)]
pub(super) struct Points(Arc<RwLock<Vec<ByUrl>>>);

/// A receiver's URL, and its ledger.
type ByUrl = (Arc<str>, Arc<Mutex<Ledger>>);

impl Points {
    /// A receiver's ledger: the one that it has had before, if it was one.
    fn of(&self, to: &OtlpConfig) -> Arc<Mutex<Ledger>> {
        let endpoint = to.endpoint.to_string();
        let mut all = self.0.write().unwrap_or_else(PoisonError::into_inner);
        if let Some((_, ledger)) = all.iter().find(|(its, _)| **its == *endpoint) {
            return Arc::clone(ledger);
        }
        let ledger = Arc::default();
        all.push((endpoint.into(), Arc::clone(&ledger)));
        ledger
    }

    /// As of now.
    pub(super) fn all(&self) -> Vec<(Arc<str>, Ledger)> {
        let all = self.0.read().unwrap_or_else(PoisonError::into_inner);
        let ledger = |ledger: &Mutex<Ledger>| *ledger.lock().unwrap_or_else(PoisonError::into_inner);
        all.iter().map(|(endpoint, of)| (Arc::clone(endpoint), ledger(of))).collect()
    }
}

/// See the module. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Receivers(Arc<Shared>);

struct Shared {
    runtime: Handle,
    /// As at the start: what else there is of it holds until the next one.
    config: ExportConfig,
    /// What metrics that are sent are made of.
    sources: Vec<Arc<dyn MetricSource>>,
    consumers: Consumers,
    points: Points,
    running: Mutex<Running>,
}

struct Running {
    spans: Vec<Arc<otlp::Spans>>,
    metrics: Vec<Arc<otlp::Metrics>>,
    /// The agent stops: nothing is changed any more.
    is_over: bool,
}

impl Receivers {
    /// Starts to send metrics too.
    ///
    /// # Errors
    /// Certificate files that cannot be used.
    pub(super) fn start(
        config: &ExportConfig,
        runtime: &Handle,
        sources: Vec<Arc<dyn MetricSource>>,
        spans: Vec<Arc<otlp::Spans>>,
        consumers: Consumers,
        points: Points,
    ) -> Result<Self, TransportError> {
        let start = |to: &OtlpConfig| otlp::Metrics::start(to, config, runtime, &sources, points.of(to)).map(Arc::new);
        let metrics = config.metrics.iter().map(start).collect::<Result<_, _>>()?;
        let running = Mutex::new(Running { spans, metrics, is_over: false });
        let (runtime, config) = (runtime.clone(), config.clone());
        Ok(Self(Arc::new(Shared { runtime, config, sources, consumers, points, running })))
    }

    /// Sends to the receivers of `new` from now on.
    ///
    /// # Errors
    /// Certificate files that cannot be used: then nothing has changed.
    pub(crate) fn take_up(&self, new: &ExportConfig) -> Result<(), TransportError> {
        let Shared { runtime, config, sources, consumers, points, .. } = &*self.0;
        let mut running = self.running();
        if running.is_over {
            return Ok(());
        }
        // All that can fail comes before all that is done.
        let spans = Plan::of(
            &running.spans,
            &new.traces,
            |it| it.to(),
            |it, to| it.prepare(to, runtime),
            |to| otlp::Spans::start(to, config, runtime).map(Arc::new),
        )?;
        let metrics = Plan::of(
            &running.metrics,
            &new.metrics,
            |it| it.to(),
            |it, to| it.prepare(to, runtime),
            |to| otlp::Metrics::start(to, config, runtime, sources, points.of(to)).map(Arc::new),
        );
        let metrics = match metrics {
            Ok(metrics) => metrics,
            Err(error) => {
                // They were given nothing yet.
                for it in spans.new {
                    runtime.spawn(async move { it.shutdown(Instant::now()).await });
                }
                return Err(error);
            }
        };
        spans.changed.into_iter().for_each(|(it, redirected)| it.redirect(redirected));
        metrics.changed.into_iter().for_each(|(it, redirected)| it.redirect(redirected));
        let dynamic = |it: &Arc<otlp::Spans>| Arc::clone(it) as Arc<dyn SpanConsumer>;
        let leaving: Vec<_> = spans.gone.iter().map(dynamic).collect();
        consumers.exchange(&leaving, spans.new.iter().map(dynamic).collect());
        running.spans.retain(|it| !spans.gone.iter().any(|gone| Arc::ptr_eq(it, gone)));
        running.spans.extend(spans.new);
        running.metrics.retain(|it| !metrics.gone.iter().any(|gone| Arc::ptr_eq(it, gone)));
        running.metrics.extend(metrics.new);
        drop(running);
        otlp::tell_of_orphans(&ExportConfig { traces: new.traces.clone(), ..config.clone() }, runtime);
        for it in leaving {
            let consumers = consumers.clone();
            runtime.spawn(async move {
                it.shutdown(Instant::now() + FAREWELL).await;
                consumers.has_left(&it);
            });
        }
        for it in metrics.gone {
            runtime.spawn(async move { it.shutdown(Instant::now() + FAREWELL).await });
        }
        Ok(())
    }

    /// Whether all that send metrics still work.
    pub(super) fn metrics_work(&self) -> bool {
        self.running().metrics.iter().all(|it| it.is_alive())
    }

    /// Whether metrics are sent to anybody.
    pub(super) fn has_metrics(&self) -> bool {
        !self.running().metrics.is_empty()
    }

    /// What is sent is not changed any more. Gives what sends metrics.
    pub(super) fn stop(&self) -> Vec<Arc<otlp::Metrics>> {
        let mut running = self.running();
        running.is_over = true;
        running.metrics.clone()
    }

    fn running(&self) -> MutexGuard<'_, Running> {
        self.0.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What is to be done so that there are other receivers.
struct Plan<T> {
    /// At the same URL, to be sent to otherwise.
    changed: Vec<(Arc<T>, otlp::Redirected)>,
    new: Vec<Arc<T>>,
    gone: Vec<Arc<T>>,
}

impl<T> Plan<T> {
    fn of(
        running: &[Arc<T>],
        wanted: &[OtlpConfig],
        to_of: impl Fn(&T) -> OtlpConfig,
        prepare: impl Fn(&T, &OtlpConfig) -> Result<otlp::Redirected, TransportError>,
        start: impl Fn(&OtlpConfig) -> Result<Arc<T>, TransportError>,
    ) -> Result<Self, TransportError> {
        let (mut changed, mut to_start) = (Vec::new(), Vec::new());
        for to in wanted {
            let known = running.iter().find(|it| to_of(it).endpoint == to.endpoint);
            match known {
                Some(it) if to_of(it) == *to => {}
                Some(it) => changed.push((Arc::clone(it), prepare(it, to)?)),
                None => to_start.push(to),
            }
        }
        let is_gone = |it: &&Arc<T>| wanted.iter().all(|to| to_of(it).endpoint != to.endpoint);
        let gone = running.iter().filter(is_gone).cloned().collect();
        let new = to_start.into_iter().map(start).collect::<Result<_, _>>()?;
        Ok(Self { changed, new, gone })
    }
}
