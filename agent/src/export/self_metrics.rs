//! The stage's own metrics.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use super::{
    MetricSource,
    consumer::SpanConsumer,
    ledger::{Fate, Ledger},
};
use crate::model::{
    metric::Metric,
    self_metric::{self, Reporter, SelfMetric},
    span::{Resource, Value},
};

/// What became of what this stage was given: spans by each consumer, metric points by OTLP.
pub struct Counters {
    reporter: Reporter,
    consumers: Arc<[Arc<dyn SpanConsumer>]>,
    points: Option<Arc<Mutex<Ledger>>>,
}

impl Counters {
    pub(super) fn new(
        agent: Arc<Resource>,
        consumers: Arc<[Arc<dyn SpanConsumer>]>,
        points: Option<Arc<Mutex<Ledger>>>,
    ) -> Self {
        let start = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let start_unix_ns = u64::try_from(start.as_nanos()).unwrap_or(0);
        Self { reporter: Reporter::new(agent, start_unix_ns), consumers, points }
    }

    /// Spans, by the name of the consumer that they were given to.
    pub fn spans(&self) -> impl Iterator<Item = (&'static str, Ledger)> {
        self.consumers.iter().map(|consumer| (consumer.name(), consumer.ledger()))
    }

    /// Those of one consumer; `None` if there is none of that name.
    #[must_use]
    pub fn spans_of(&self, consumer: &str) -> Option<Ledger> {
        self.spans().find_map(|(name, ledger)| (name == consumer).then_some(ledger))
    }

    /// Metric points over OTLP; `None` if they are not exported.
    #[must_use]
    pub fn metric_points(&self) -> Option<Ledger> {
        self.points.as_ref().map(|ledger| *ledger.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn by_outcome(&self, metric: &SelfMetric, ledger: &Ledger) -> Metric {
        self.reporter.by_word(metric, &Fate::ALL.map(|outcome| (outcome.name(), ledger.count(outcome))))
    }
}

impl MetricSource for Counters {
    fn collect(&self, _now_unix_ns: u64) -> Vec<Metric> {
        let mut metrics = Vec::new();
        for consumer in self.consumers.iter() {
            let ledger = consumer.ledger();
            metrics.push(self.by_outcome(consumer.counted_as(), &ledger));
            metrics.push(self.reporter.count(consumer.waits_as(), ledger.queued_bytes));
            if let Some(bytes) = consumer.spool_bytes() {
                metrics.push(self.reporter.count(&self_metric::EXPORT_SPOOL_SPANS, ledger.spooled));
                metrics.push(self.reporter.count(&self_metric::EXPORT_SPOOL_BYTES, bytes));
            }
        }
        let limit = |it: &Arc<dyn SpanConsumer>| ([Value::Static(it.name())], it.max_bytes() as f64);
        metrics.push(self.reporter.by(&self_metric::EXPORT_QUEUE_LIMIT, self.consumers.iter().map(limit)));
        if let Some(points) = self.metric_points() {
            metrics.push(self.by_outcome(&self_metric::EXPORT_METRIC_POINTS, &points));
        }
        metrics
    }
}
