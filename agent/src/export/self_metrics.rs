//! The stage's own metrics.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::SystemTime,
};

use super::{
    MetricSource,
    ledger::{Ledger, Outcome},
    otlp::SpanQueue,
};
use crate::model::{
    metric::{Metric, NumberPoint, Points},
    span::{Attribute, Resource, Value},
};

/// What became of what this stage was given. Of the metrics, `beyla_rs.export.spans` and `.metric_points` are of OTLP;
/// `beyla_rs.print.spans` of standard output.
pub struct Counters {
    agent: Arc<Resource>,
    start_unix_ns: u64,
    queue: Option<Arc<SpanQueue>>,
    points: Option<Arc<Mutex<Ledger>>>,
    printed: Option<Arc<Mutex<Ledger>>>,
}

impl Counters {
    pub(super) fn new(
        agent: Arc<Resource>,
        queue: Option<Arc<SpanQueue>>,
        points: Option<Arc<Mutex<Ledger>>>,
        printed: Option<Arc<Mutex<Ledger>>>,
    ) -> Self {
        let start = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default();
        Self { agent, start_unix_ns: u64::try_from(start.as_nanos()).unwrap_or(0), queue, points, printed }
    }

    /// Spans over OTLP; `None` if they are not exported.
    #[must_use]
    pub fn spans(&self) -> Option<Ledger> {
        self.queue.as_ref().map(|queue| queue.ledger())
    }

    /// Metric points over OTLP; `None` if they are not exported.
    #[must_use]
    pub fn metric_points(&self) -> Option<Ledger> {
        self.points.as_ref().map(|ledger| read(ledger))
    }

    /// Spans on standard output; `None` if they are not printed.
    #[must_use]
    pub fn printed(&self) -> Option<Ledger> {
        self.printed.as_ref().map(|ledger| read(ledger))
    }

    fn by_outcome(&self, name: &'static str, unit: &'static str, description: &'static str, ledger: &Ledger) -> Metric {
        let point = |outcome: Outcome| NumberPoint {
            attributes: vec![Attribute { key: "outcome", value: Value::Static(outcome.name()) }],
            start_unix_ns: self.start_unix_ns,
            value: ledger.count(outcome) as f64,
        };
        self.metric(name, unit, description, Points::Counter(Outcome::ALL.map(point).into()))
    }

    fn metric(&self, name: &'static str, unit: &'static str, description: &'static str, points: Points) -> Metric {
        Metric { name, unit, description, resource: Arc::clone(&self.agent), points }
    }
}

fn read(ledger: &Mutex<Ledger>) -> Ledger {
    *ledger.lock().unwrap_or_else(PoisonError::into_inner)
}

impl MetricSource for Counters {
    fn collect(&self, _now_unix_ns: u64) -> Vec<Metric> {
        let mut metrics = Vec::new();
        if let Some(spans) = self.spans() {
            let what = "Spans given to the OTLP exporter, by what became of them";
            metrics.push(self.by_outcome("beyla_rs.export.spans", "{span}", what, &spans));
            let point = NumberPoint {
                attributes: Vec::new(),
                start_unix_ns: self.start_unix_ns,
                value: spans.queued_bytes as f64,
            };
            let what = "Bytes of spans that wait for the OTLP receiver or are under way";
            metrics.push(self.metric("beyla_rs.export.queue.bytes", "By", what, Points::UpDownCounter(vec![point])));
        }
        if let Some(points) = self.metric_points() {
            let what = "Metric points given to the OTLP exporter, by what became of them";
            metrics.push(self.by_outcome("beyla_rs.export.metric_points", "{data_point}", what, &points));
        }
        if let Some(printed) = self.printed() {
            let what = "Spans to be printed, by what became of them";
            metrics.push(self.by_outcome("beyla_rs.print.spans", "{span}", what, &printed));
        }
        metrics
    }
}
