//! OTLP: spans through a bounded queue in batches, metrics at an interval.

mod buffers;
mod delivery;
mod delta;
mod encode;
mod metric_encode;
mod metrics;
mod queue;
mod spans;
mod spool;
mod transport;

use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use tokio::{
    runtime::Handle,
    sync::watch,
    task::JoinHandle,
    time::{Instant, timeout_at},
};

use self::{
    delivery::{Delivery, StopAt},
    spool::Spool,
};
pub(crate) use self::{
    delivery::{Redirected, Version, version},
    queue::SpanQueue,
    transport::{TransportError, server_config},
};
use super::{
    MetricSource,
    config::{ExportConfig, OtlpConfig},
    consumer::{Pending, SpanConsumer},
    ledger::Ledger,
};
use crate::{
    config::Signal,
    model::{
        self_metric::{self, SelfMetric},
        span::Span,
    },
};

/// A task that stops when it is told to.
struct Task {
    stop: watch::Sender<Option<Instant>>,
    /// `None` once it is stopped.
    handle: Mutex<Option<JoinHandle<()>>>,
    /// It was stopped, and has ended.
    has_ended: watch::Sender<bool>,
}

impl Task {
    fn new(stop: watch::Sender<Option<Instant>>, handle: JoinHandle<()>) -> Self {
        Self { stop, handle: Mutex::new(Some(handle)), has_ended: watch::channel(false).0 }
    }

    /// Whether it still runs, or was stopped.
    fn is_alive(&self) -> bool {
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner);
        !handle.as_ref().is_some_and(JoinHandle::is_finished)
    }

    /// Has it flush until the deadline and end.
    async fn shutdown(&self, deadline: Instant) {
        let handle = self.handle.lock().unwrap_or_else(PoisonError::into_inner).take();
        let Some(handle) = handle else {
            // It was told to stop before: its receiver is none any more.
            let mut ended = self.has_ended.subscribe();
            let _in_time = timeout_at(deadline, ended.wait_for(|has_ended| *has_ended)).await.is_ok();
            return;
        };
        self.stop.send_replace(Some(deadline));
        if let Err(error) = handle.await {
            tracing::error!(%error, "an exporter ended in an unexpected way");
        }
        self.has_ended.send_replace(true);
    }
}

/// Tells of what waits on disk for receivers that are none any more.
pub(super) fn tell_of_orphans(config: &ExportConfig, runtime: &Handle) {
    if let Some(spool) = &config.spool {
        spool::tell_of_orphans(spool, &config.traces, runtime);
    }
}

/// A delivery to a receiver.
fn delivery(
    signal: Signal,
    to: &OtlpConfig,
    config: &ExportConfig,
    limits: [Option<std::time::Duration>; 2],
    runtime: &Handle,
    stop_at: StopAt,
) -> Result<Arc<Delivery>, TransportError> {
    // The clients need a runtime in reach when they are made.
    let _entered = runtime.enter();
    Ok(Arc::new(Delivery::new(signal, to, config.retry.clone(), limits, stop_at)?))
}

/// Spans over OTLP.
pub(super) struct Spans {
    queue: Arc<SpanQueue>,
    delivery: Arc<Delivery>,
    endpoint: Arc<str>,
    /// Where there is to be one; set once it is open.
    spool: Option<Arc<OnceLock<Spool>>>,
    task: Task,
}

impl Spans {
    /// Starts to send to one receiver.
    ///
    /// # Errors
    /// Certificate files that cannot be used.
    pub(super) fn start(to: &OtlpConfig, config: &ExportConfig, runtime: &Handle) -> Result<Self, TransportError> {
        let batch = &config.batch;
        let (stop, stop_at) = watch::channel(None);
        let limits = [batch.export_timeout; 2];
        let delivery = delivery(Signal::Traces, to, config, limits, runtime, stop_at.clone())?;
        let queue = Arc::new(SpanQueue::new(batch.clone()));
        let spool = config.spool.as_ref().map(|_| Arc::default());
        let work = spans::Work {
            queue: Arc::clone(&queue),
            delivery: Arc::clone(&delivery),
            config: batch.clone(),
            spool: config.spool.clone().zip(spool.clone()).map(|(at, opened)| (at, to.clone(), opened)),
            stop_at,
        };
        let task = Task::new(stop, runtime.spawn(spans::run(work)));
        let endpoint = to.endpoint.to_string().into();
        Ok(Self { queue, delivery, endpoint, spool, task })
    }

    /// How requests go out.
    pub(super) fn to(&self) -> OtlpConfig {
        self.delivery.to()
    }

    /// Makes ready that they go out otherwise, to the same URL.
    ///
    /// # Errors
    /// Certificate files that cannot be used.
    pub(super) fn prepare(&self, to: &OtlpConfig, runtime: &Handle) -> Result<Redirected, TransportError> {
        let _entered = runtime.enter();
        self.delivery.prepare(to)
    }

    /// They go out otherwise from now on, those that wait too.
    pub(super) fn redirect(&self, redirected: Redirected) {
        self.delivery.redirect(redirected);
    }
}

impl SpanConsumer for Spans {
    fn name(&self) -> &'static str {
        super::OTLP
    }

    fn endpoint(&self) -> Option<&Arc<str>> {
        Some(&self.endpoint)
    }

    fn push(&self, spans: &Arc<Vec<Span>>) {
        self.queue.push(spans);
    }

    fn max_bytes(&self) -> u64 {
        self.queue.room() as u64
    }

    fn set_room(&self, share: f64) {
        // Where the spool is not open, what is too much goes.
        let can_be_put_aside = self.spool.as_ref().is_some_and(|spool| spool.get().is_some());
        self.queue.set_room(share, can_be_put_aside);
    }

    fn ledger(&self) -> Ledger {
        self.queue.ledger()
    }

    fn counted_as(&self) -> &'static SelfMetric {
        &self_metric::EXPORT_SPANS
    }

    fn waits_as(&self) -> &'static SelfMetric {
        &self_metric::EXPORT_QUEUE_BYTES
    }

    fn spool_bytes(&self) -> Option<u64> {
        self.spool.as_ref().map(|spool| spool.get().map_or(0, Spool::bytes))
    }

    fn is_alive(&self) -> bool {
        self.task.is_alive()
    }

    fn shutdown(&self, deadline: Instant) -> Pending<'_> {
        Box::pin(self.task.shutdown(deadline))
    }
}

/// Metrics over OTLP.
pub(super) struct Metrics {
    delivery: Arc<Delivery>,
    task: Task,
}

impl Metrics {
    /// Starts to send to one receiver. What becomes of them is kept in `points`.
    ///
    /// # Errors
    /// Certificate files that cannot be used.
    pub(super) fn start(
        to: &OtlpConfig,
        config: &ExportConfig,
        runtime: &Handle,
        sources: &[Arc<dyn MetricSource>],
        points: Arc<Mutex<Ledger>>,
    ) -> Result<Self, TransportError> {
        // The next export says the same and more, so a request of metrics is not kept longer than that.
        let limits = [config.metric_interval.min(config.metric_timeout), config.metric_timeout].map(Some);
        let (stop, stop_at) = watch::channel(None);
        let delivery = delivery(Signal::Metrics, to, config, limits, runtime, stop_at.clone())?;
        let exporter = metrics::Exporter::new(sources.to_vec(), Arc::clone(&delivery), points, config);
        Ok(Self { delivery, task: Task::new(stop, runtime.spawn(exporter.run(stop_at))) })
    }

    /// How requests go out.
    pub(super) fn to(&self) -> OtlpConfig {
        self.delivery.to()
    }

    /// Makes ready that they go out otherwise, to the same URL.
    ///
    /// # Errors
    /// Certificate files that cannot be used.
    pub(super) fn prepare(&self, to: &OtlpConfig, runtime: &Handle) -> Result<Redirected, TransportError> {
        let _entered = runtime.enter();
        self.delivery.prepare(to)
    }

    /// They go out otherwise from now on.
    pub(super) fn redirect(&self, redirected: Redirected) {
        self.delivery.redirect(redirected);
    }

    /// Whether it still works.
    pub(super) fn is_alive(&self) -> bool {
        self.task.is_alive()
    }

    /// Exports a last time, until the deadline.
    pub(super) async fn shutdown(&self, deadline: Instant) {
        self.task.shutdown(deadline).await;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn an_exporter_that_has_ended_is_noticed() {
        let (stop, mut stopped) = watch::channel(None);
        let handle = tokio::spawn(async move {
            let _changed = stopped.changed().await;
        });
        let abort = handle.abort_handle();
        let task = Task::new(stop, handle);
        assert!(task.is_alive());
        abort.abort();
        while task.is_alive() {
            tokio::task::yield_now().await;
        }
    }
}
