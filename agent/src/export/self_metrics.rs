//! The stage's own metrics.

use std::{collections::BTreeMap, sync::Arc, time::SystemTime};

use super::{
    MetricSource,
    consumers::Consumers,
    ledger::{Fate, Ledger},
    receivers,
};
use crate::model::{
    metric::{Metric, Points},
    self_metric::{self, Reporter},
    span::{Resource, Value},
};

/// The attribute that says which receiver.
const ENDPOINT: &str = "endpoint";

/// What became of what this stage was given: spans by each consumer, metric points by OTLP.
pub struct Counters {
    reporter: Reporter,
    consumers: Consumers,
    points: receivers::Points,
}

impl Counters {
    pub(super) fn new(agent: Arc<Resource>, consumers: Consumers, points: receivers::Points) -> Self {
        let start = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        let start_unix_ns = u64::try_from(start.as_nanos()).unwrap_or(0);
        Self { reporter: Reporter::new(agent, start_unix_ns), consumers, points }
    }

    /// Spans, by the name of the consumer that they were given to; OTLP has one for each receiver, also for those that are none any
    /// more.
    pub fn spans(&self) -> impl Iterator<Item = (&'static str, Ledger)> {
        let past = self.consumers.past().into_iter().map(|(_, ledger)| (super::OTLP, ledger));
        self.consumers.all().into_iter().map(|consumer| (consumer.name(), consumer.ledger())).chain(past)
    }

    /// Those of the first consumer of that name; `None` if there is none.
    #[must_use]
    pub fn spans_of(&self, consumer: &str) -> Option<Ledger> {
        self.spans().find_map(|(name, ledger)| (name == consumer).then_some(ledger))
    }

    /// Metric points over OTLP, to all receivers; `None` if they are not exported.
    #[must_use]
    pub fn metric_points(&self) -> Option<Ledger> {
        let all = self.points.all().into_iter().map(|(_, ledger)| ledger);
        all.reduce(|sum, ledger| sum.and(&ledger))
    }
}

/// Counts of a ledger by what became of the items.
fn outcomes(ledger: &Ledger) -> [(Value, f64); Fate::ALL.len()] {
    Fate::ALL.map(|outcome| (Value::Static(outcome.name()), ledger.count(outcome) as f64))
}

/// The same with the receiver.
fn outcomes_at(endpoint: &Arc<str>, ledger: &Ledger) -> Vec<([Value; 2], f64)> {
    let at = Value::Shared(Arc::clone(endpoint));
    outcomes(ledger).into_iter().map(|(outcome, count)| ([outcome, at.clone()], count)).collect()
}

impl MetricSource for Counters {
    fn collect(&self, _now_unix_ns: u64) -> Vec<Metric> {
        let reporter = &self.reporter;
        let mut metrics = Vec::new();
        let (mut spans, mut queued, mut spooled, mut on_disk) = (Vec::new(), Vec::new(), Vec::new(), Vec::new());
        let mut limits: Vec<([Value; 1], f64)> = Vec::new();
        // A receiver may be one for the second time.
        let mut of_receivers: BTreeMap<Arc<str>, (Ledger, Option<u64>)> = BTreeMap::new();
        for (endpoint, ledger) in self.consumers.past() {
            of_receivers.insert(endpoint, (ledger, None));
        }
        for consumer in self.consumers.all() {
            let ledger = consumer.ledger();
            let limit = ([Value::Static(consumer.name())], consumer.max_bytes() as f64);
            if !limits.contains(&limit) {
                limits.push(limit);
            }
            let Some(endpoint) = consumer.endpoint() else {
                let points = outcomes(&ledger).map(|(outcome, count)| ([outcome], count));
                metrics.push(reporter.by(consumer.counted_as(), points));
                metrics.push(reporter.count(consumer.waits_as(), ledger.queued_bytes));
                if let Some(disk) = consumer.on_disk() {
                    let spans = [("written", disk.written), ("dropped", disk.dropped), ("torn", disk.torn)];
                    metrics.push(reporter.by_word(&self_metric::STORE_DISK_SPANS, &spans));
                    metrics.push(reporter.count(&self_metric::STORE_DISK_BYTES, disk.bytes));
                }
                continue;
            };
            let (sum, on_disk) = of_receivers.entry(Arc::clone(endpoint)).or_default();
            *sum = sum.and(&ledger);
            if let Some(bytes) = consumer.spool_bytes() {
                *on_disk = Some(on_disk.unwrap_or_default() + bytes);
            }
        }
        for (endpoint, (ledger, bytes)) in &of_receivers {
            let at = || [Value::Shared(Arc::clone(endpoint))];
            spans.extend(outcomes_at(endpoint, ledger));
            queued.push((at(), ledger.queued_bytes as f64));
            if let Some(bytes) = bytes {
                spooled.push((at(), ledger.spooled as f64));
                on_disk.push((at(), *bytes as f64));
            }
        }
        let has_several = of_receivers.len() > 1;
        let told = |metric: Metric| if has_several { metric } else { of_the_only_one(metric) };
        let of_receivers = [
            (&self_metric::EXPORT_QUEUE_BYTES, queued),
            (&self_metric::EXPORT_SPOOL_SPANS, spooled),
            (&self_metric::EXPORT_SPOOL_BYTES, on_disk),
        ];
        if !spans.is_empty() {
            metrics.push(told(reporter.by(&self_metric::EXPORT_SPANS, spans)));
        }
        let of_receivers = of_receivers.into_iter().filter(|(_, points)| !points.is_empty());
        metrics.extend(of_receivers.map(|(metric, points)| told(reporter.by(metric, points))));
        metrics.push(reporter.by(&self_metric::EXPORT_QUEUE_LIMIT, limits));
        let points = self.points.all();
        if !points.is_empty() {
            let has_several = points.len() > 1;
            let points = points.iter().flat_map(|(endpoint, ledger)| outcomes_at(endpoint, ledger));
            let points = reporter.by(&self_metric::EXPORT_METRIC_POINTS, points);
            metrics.push(if has_several { points } else { of_the_only_one(points) });
        }
        metrics
    }
}

/// Where there is one receiver it is not told which.
fn of_the_only_one(mut metric: Metric) -> Metric {
    if let Points::Counter(points) | Points::UpDownCounter(points) | Points::Gauge(points) = &mut metric.points {
        points.iter_mut().for_each(|point| point.attributes.retain(|attribute| attribute.key != ENDPOINT));
    }
    metric
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::testing;

    #[test]
    fn the_only_receiver_has_no_name_in_metrics() {
        let reporter = Reporter::new(testing::resource("agent", crate::model::ids::ProcessId(1)), 0);
        let at = Value::Static("http://127.0.0.1:4318/v1/traces");
        let told = reporter.by(&self_metric::EXPORT_SPANS, [([Value::Static("sent"), at], 3.0)]);
        let Points::Counter(points) = of_the_only_one(told).points else { panic!("it counts") };
        let attributes: Vec<_> = points[0].attributes.iter().map(|attribute| attribute.key).collect();
        assert_eq!((attributes, points[0].value), (vec!["outcome"], 3.0));
        let of_queue = reporter.by(&self_metric::EXPORT_QUEUE_BYTES, [([Value::Static("http://h")], 1.0)]);
        let Points::UpDownCounter(points) = of_the_only_one(of_queue).points else { panic!("it goes down") };
        assert!(points[0].attributes.is_empty());
    }
}
