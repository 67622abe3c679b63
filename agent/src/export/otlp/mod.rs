//! OTLP: spans through a bounded queue in batches, metrics at an interval.

mod delivery;
mod delta;
mod encode;
mod metric_encode;
mod metrics;
mod queue;
mod spans;
mod transport;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::{runtime::Handle, sync::watch, task::JoinHandle, time::Instant};

pub use transport::TransportError;

pub(super) use self::queue::SpanQueue;
use self::{delivery::Delivery, transport::Signal};
use super::{MetricSource, config::ExportConfig, ledger::Ledger};
use crate::model::span::Span;

/// The OTLP exporters of both signals.
pub(super) struct Otlp {
    queue: Option<Arc<SpanQueue>>,
    points: Option<Arc<Mutex<Ledger>>>,
    stop: watch::Sender<Option<Instant>>,
    tasks: Mutex<Vec<JoinHandle<()>>>,
}

/// An exporter of metrics that was set up but does not run yet: its own counts are among what it exports.
pub(super) struct Prepared {
    otlp: Otlp,
    traces: Option<Arc<Delivery>>,
    metrics: Option<Arc<Delivery>>,
}

impl Prepared {
    /// # Errors
    /// Certificate files that cannot be used.
    pub(super) fn new(config: &ExportConfig, runtime: &Handle) -> Result<Self, TransportError> {
        // The clients need a runtime in reach when they are made.
        let _entered = runtime.enter();
        let (stop, stop_at) = watch::channel(None);
        let delivery = |signal, config: &Option<_>, limit, retry| {
            let new = |config| Delivery::new(signal, config, retry, limit, stop_at.clone()).map(Arc::new);
            config.as_ref().map(new).transpose()
        };
        let retry = || config.retry.clone();
        let traces = delivery(Signal::Traces, &config.traces, config.batch.export_timeout, retry())?;
        // The next export says the same and more, so a request of metrics is not kept longer than that.
        let metrics = delivery(Signal::Metrics, &config.metrics, Some(config.metric_interval), retry())?;
        let otlp = Otlp {
            queue: traces.as_ref().map(|_| Arc::new(SpanQueue::new(config.batch.clone()))),
            points: metrics.as_ref().map(|_| Arc::default()),
            stop,
            tasks: Mutex::default(),
        };
        Ok(Self { otlp, traces, metrics })
    }

    pub(super) fn queue(&self) -> Option<Arc<SpanQueue>> {
        self.otlp.queue.clone()
    }

    pub(super) fn points(&self) -> Option<Arc<Mutex<Ledger>>> {
        self.otlp.points.clone()
    }

    pub(super) fn start(self, config: &ExportConfig, runtime: &Handle, sources: &[Arc<dyn MetricSource>]) -> Otlp {
        let Self { otlp, traces, metrics } = self;
        let mut tasks = Vec::new();
        if let (Some(delivery), Some(queue)) = (traces, &otlp.queue) {
            let queue = Arc::clone(queue);
            tasks.push(runtime.spawn(spans::run(queue, delivery, config.batch.clone(), otlp.stop.subscribe())));
        }
        if let (Some(delivery), Some(points)) = (metrics, &otlp.points) {
            let exporter = metrics::Exporter::new(sources.to_vec(), delivery, Arc::clone(points), config);
            tasks.push(runtime.spawn(exporter.run(otlp.stop.subscribe())));
        }
        otlp.tasks.lock().unwrap_or_else(PoisonError::into_inner).extend(tasks);
        otlp
    }
}

impl Otlp {
    pub(super) fn push(&self, spans: &[Span]) {
        if let Some(queue) = &self.queue {
            queue.push(spans);
        }
    }

    /// Flushes until the deadline and stops.
    pub(super) async fn shutdown(&self, deadline: Instant) {
        self.stop.send_replace(Some(deadline));
        let tasks: Vec<_> = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
        for task in tasks {
            if let Err(error) = task.await {
                tracing::error!(%error, "an exporter ended in an unexpected way");
            }
        }
    }
}
