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
#[derive(Default)]
pub(super) struct Otlp {
    queue: Option<Arc<SpanQueue>>,
    points: Option<Arc<Mutex<Ledger>>>,
    /// In the order in which they stop: the spans' task, then the metrics'.
    tasks: Mutex<Vec<Task>>,
}

struct Task {
    stop: watch::Sender<Option<Instant>>,
    handle: JoinHandle<()>,
}

/// An exporter of metrics that was set up but does not run yet: its own counts are among what it exports.
pub(super) struct Prepared {
    otlp: Otlp,
    traces: Option<Client>,
    metrics: Option<Client>,
}

/// A delivery, and what stops it.
struct Client {
    delivery: Arc<Delivery>,
    stop: watch::Sender<Option<Instant>>,
}

impl Prepared {
    /// # Errors
    /// Certificate files that cannot be used.
    pub(super) fn new(config: &ExportConfig, runtime: &Handle) -> Result<Self, TransportError> {
        // The clients need a runtime in reach when they are made.
        let _entered = runtime.enter();
        let client = |signal, config: &Option<_>, limit, retry| {
            let new = |config| {
                let (stop, stop_at) = watch::channel(None);
                let delivery = Arc::new(Delivery::new(signal, config, retry, limit, stop_at)?);
                Ok(Client { delivery, stop })
            };
            config.as_ref().map(new).transpose()
        };
        let retry = || config.retry.clone();
        let traces = client(Signal::Traces, &config.traces, [config.batch.export_timeout; 2], retry())?;
        // The next export says the same and more, so a request of metrics is not kept longer than that.
        let limits = [config.metric_interval.min(config.metric_timeout), config.metric_timeout].map(Some);
        let metrics = client(Signal::Metrics, &config.metrics, limits, retry())?;
        let otlp = Otlp {
            queue: traces.as_ref().map(|_| Arc::new(SpanQueue::new(config.batch.clone()))),
            points: metrics.as_ref().map(|_| Arc::default()),
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
        if let (Some(Client { delivery, stop }), Some(queue)) = (traces, &otlp.queue) {
            let run = spans::run(Arc::clone(queue), delivery, config.batch.clone(), stop.subscribe());
            tasks.push(Task { handle: runtime.spawn(run), stop });
        }
        if let (Some(Client { delivery, stop }), Some(points)) = (metrics, &otlp.points) {
            let exporter = metrics::Exporter::new(sources.to_vec(), delivery, Arc::clone(points), config);
            tasks.push(Task { handle: runtime.spawn(exporter.run(stop.subscribe())), stop });
        }
        otlp.tasks.lock().unwrap_or_else(PoisonError::into_inner).extend(tasks);
        otlp
    }
}

impl Otlp {
    /// Whether spans or metrics are sent.
    pub(super) const fn is_used(&self) -> bool {
        self.queue.is_some() || self.points.is_some()
    }

    /// Whether all that was started still runs.
    pub(super) fn is_alive(&self) -> bool {
        !self.tasks.lock().unwrap_or_else(PoisonError::into_inner).iter().any(|task| task.handle.is_finished())
    }

    pub(super) fn push(&self, spans: &[Span]) {
        if let Some(queue) = &self.queue {
            queue.push(spans);
        }
    }

    /// Flushes until the deadline and stops. Spans go first, so that the last metrics tell what became of them; if they
    /// take too long, a quarter of the time is left for the metrics.
    pub(super) async fn shutdown(&self, deadline: Instant) {
        let tasks: Vec<Task> = self.tasks.lock().unwrap_or_else(PoisonError::into_inner).drain(..).collect();
        let last = tasks.len().saturating_sub(1);
        for (index, task) in tasks.into_iter().enumerate() {
            let left = deadline.saturating_duration_since(Instant::now());
            task.stop.send_replace(Some(if index < last { deadline - left / 4 } else { deadline }));
            if let Err(error) = task.handle.await {
                tracing::error!(%error, "an exporter ended in an unexpected way");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_exporter_that_has_ended_is_noticed() {
        let otlp = Otlp::default();
        assert!(otlp.is_alive());
        let (stop, mut stopped) = watch::channel(None);
        let handle = tokio::spawn(async move {
            let _changed = stopped.changed().await;
        });
        let abort = handle.abort_handle();
        otlp.tasks.lock().unwrap().push(Task { stop, handle });
        assert!(otlp.is_alive());
        abort.abort();
        while otlp.is_alive() {
            tokio::task::yield_now().await;
        }
    }
}
