//! What was received, flattened for assertions.

use std::collections::BTreeMap;

use opentelemetry_proto::tonic::{
    collector::{metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest},
    common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value},
    metrics::v1::{
        AggregationTemporality, Exemplar, ExponentialHistogramDataPoint, HistogramDataPoint, NumberDataPoint, exemplar,
        metric::Data, number_data_point,
    },
    resource::v1::Resource,
    trace::v1::Span,
};
use serde_json::Value;

/// Attributes by name; a value compares with strings, numbers and truth values as they are.
pub type Attributes = BTreeMap<String, Value>;

/// A span with its resource and scope.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedSpan {
    /// Attributes of its resource.
    pub resource: Attributes,
    /// Scope name.
    pub scope_name: String,
    /// Scope version.
    pub scope_version: String,
    /// In hex.
    pub trace_id: String,
    /// In hex.
    pub span_id: String,
    /// In hex; empty for a root.
    pub parent_span_id: String,
    /// Flags, as sent.
    pub flags: u32,
    /// Trace and span id of what it is linked to, in hex.
    pub links: Vec<(String, String)>,
    /// `tracestate`; empty for none.
    pub trace_state: String,
    /// Name.
    pub name: String,
    /// `SERVER`, `CLIENT`, …
    pub kind: &'static str,
    /// Start.
    pub start_unix_nano: u64,
    /// End.
    pub end_unix_nano: u64,
    /// `UNSET`, `OK` or `ERROR`.
    pub status: &'static str,
    /// Attributes.
    pub attributes: Attributes,
}

impl ReceivedSpan {
    /// `service.name`; empty without.
    #[must_use]
    pub fn service(&self) -> &str {
        self.resource.get("service.name").and_then(Value::as_str).unwrap_or_default()
    }

    /// End less start, in ns.
    #[must_use]
    pub fn duration_ns(&self) -> u64 {
        self.end_unix_nano.saturating_sub(self.start_unix_nano)
    }
}

/// A metric of a resource, with its points.
#[derive(Clone, Debug, PartialEq)]
pub struct ReceivedMetric {
    /// Attributes of its resource.
    pub resource: Attributes,
    /// Scope name.
    pub scope_name: String,
    /// Name.
    pub name: String,
    /// Unit.
    pub unit: String,
    /// Description.
    pub description: String,
    /// `gauge`, `sum`, `histogram`, `exponential_histogram` or `summary`.
    pub kind: &'static str,
    /// `cumulative` or `delta`; empty where it has none.
    pub temporality: &'static str,
    /// Of a sum: it only grows.
    pub monotonic: bool,
    /// Points.
    pub points: Vec<ReceivedPoint>,
}

/// A point of any kind; what a kind does not have is at its default.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReceivedPoint {
    /// Attributes.
    pub attributes: Attributes,
    /// Since when it counts.
    pub start_unix_nano: u64,
    /// When it was read.
    pub time_unix_nano: u64,
    /// Of a number.
    pub value: f64,
    /// Of a histogram: number of values.
    pub count: u64,
    /// Of a histogram.
    pub sum: Option<f64>,
    /// Of a histogram.
    pub min: Option<f64>,
    /// Of a histogram.
    pub max: Option<f64>,
    /// Of an explicit histogram.
    pub bounds: Vec<f64>,
    /// Of a histogram: values per bucket.
    pub buckets: Vec<u64>,
    /// Of an exponential histogram.
    pub scale: i32,
    /// Of an exponential histogram.
    pub zero_count: u64,
    /// Of an exponential histogram: the first bucket's index.
    pub offset: i32,
    /// Exemplars.
    pub exemplars: Vec<ReceivedExemplar>,
}

/// An exemplar.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReceivedExemplar {
    /// When.
    pub time_unix_nano: u64,
    /// The value.
    pub value: f64,
    /// In hex.
    pub trace_id: String,
    /// In hex.
    pub span_id: String,
}

/// The spans of a request, and what is wrong with it.
pub(crate) fn spans(request: ExportTraceServiceRequest) -> (Vec<ReceivedSpan>, Vec<String>) {
    let mut check = Check::default();
    let mut spans = Vec::new();
    for group in request.resource_spans {
        let resource = check.resource(group.resource);
        for scope_spans in group.scope_spans {
            let InstrumentationScope { name, version, .. } = scope_spans.scope.unwrap_or_default();
            check.that(!scope_spans.spans.is_empty(), || "a scope without spans".to_owned());
            check.schema(&scope_spans.schema_url);
            for span in scope_spans.spans {
                spans.push(self::span(span, &resource, (&name, &version), &mut check));
            }
        }
    }
    (spans, check.violations)
}

fn span(span: Span, resource: &Attributes, scope: (&str, &str), check: &mut Check) -> ReceivedSpan {
    let name = span.name.clone();
    check.that(is_id(&span.trace_id, 16), || format!("span {name:?}: trace id {:?}", span.trace_id));
    check.that(is_id(&span.span_id, 8), || format!("span {name:?}: span id {:?}", span.span_id));
    let parent = &span.parent_span_id;
    check.that(parent.is_empty() || is_id(parent, 8), || format!("span {name:?}: parent id {parent:?}"));
    check.that(span.start_time_unix_nano > 0, || format!("span {name:?}: no start"));
    check.that(span.end_time_unix_nano >= span.start_time_unix_nano, || format!("span {name:?} ends before it starts"));
    check.that(!name.is_empty(), || "a span without a name".to_owned());
    let kinds = ["UNSPECIFIED", "INTERNAL", "SERVER", "CLIENT", "PRODUCER", "CONSUMER"];
    let kind = usize::try_from(span.kind).ok().and_then(|kind| kinds.get(kind));
    check.that(kind.is_some(), || format!("span {name:?}: kind {}", span.kind));
    let status = span.status.unwrap_or_default().code;
    ReceivedSpan {
        resource: resource.clone(),
        scope_name: scope.0.to_owned(),
        scope_version: scope.1.to_owned(),
        trace_id: hex(&span.trace_id),
        span_id: hex(&span.span_id),
        parent_span_id: hex(&span.parent_span_id),
        links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
        trace_state: span.trace_state,
        flags: span.flags,
        name: span.name,
        kind: kind.copied().unwrap_or("?"),
        start_unix_nano: span.start_time_unix_nano,
        end_unix_nano: span.end_time_unix_nano,
        status: usize::try_from(status)
            .ok()
            .and_then(|code| ["UNSET", "OK", "ERROR"].get(code))
            .copied()
            .unwrap_or("?"),
        attributes: check.attributes(&name, span.attributes),
    }
}

/// The metrics of a request, and what is wrong with it.
pub(crate) fn metrics(request: ExportMetricsServiceRequest) -> (Vec<ReceivedMetric>, Vec<String>) {
    let mut check = Check::default();
    let mut metrics = Vec::new();
    for group in request.resource_metrics {
        let resource = check.resource(group.resource);
        for scope_metrics in group.scope_metrics {
            let scope_name = scope_metrics.scope.unwrap_or_default().name;
            check.schema(&scope_metrics.schema_url);
            for metric in scope_metrics.metrics {
                let (kind, temporality, monotonic, points) = data(&metric.name, metric.data, &mut check);
                let (name, unit, description) = (metric.name, metric.unit, metric.description);
                let (resource, scope_name) = (resource.clone(), scope_name.clone());
                metrics.push(ReceivedMetric {
                    resource,
                    scope_name,
                    name,
                    unit,
                    description,
                    kind,
                    temporality,
                    monotonic,
                    points,
                });
            }
        }
    }
    (metrics, check.violations)
}

type Flat = (&'static str, &'static str, bool, Vec<ReceivedPoint>);

fn data(name: &str, data: Option<Data>, check: &mut Check) -> Flat {
    match data {
        Some(Data::Gauge(gauge)) => {
            ("gauge", "", false, gauge.data_points.into_iter().map(|p| number(name, p, check)).collect())
        }
        Some(Data::Sum(sum)) => {
            let temporality = temporality(name, sum.aggregation_temporality, check);
            let points = sum.data_points.into_iter().map(|p| number(name, p, check)).collect();
            ("sum", temporality, sum.is_monotonic, points)
        }
        Some(Data::Histogram(histogram)) => {
            let temporality = temporality(name, histogram.aggregation_temporality, check);
            let points = histogram.data_points.into_iter().map(|p| explicit(name, p, check)).collect();
            ("histogram", temporality, false, points)
        }
        Some(Data::ExponentialHistogram(histogram)) => {
            let temporality = temporality(name, histogram.aggregation_temporality, check);
            let points = histogram.data_points.into_iter().map(|p| exponential(name, p, check)).collect();
            ("exponential_histogram", temporality, false, points)
        }
        Some(Data::Summary(_)) => ("summary", "", false, Vec::new()),
        None => {
            check.that(false, || format!("metric {name:?} has no data"));
            ("", "", false, Vec::new())
        }
    }
}

fn temporality(name: &str, value: i32, check: &mut Check) -> &'static str {
    match AggregationTemporality::try_from(value) {
        Ok(AggregationTemporality::Delta) => "delta",
        Ok(AggregationTemporality::Cumulative) => "cumulative",
        _ => {
            check.that(false, || format!("metric {name:?} has no temporality"));
            ""
        }
    }
}

fn number(name: &str, point: NumberDataPoint, check: &mut Check) -> ReceivedPoint {
    check.that(point.value.is_some(), || format!("metric {name:?}: a point without a value"));
    ReceivedPoint {
        attributes: check.attributes(name, point.attributes),
        start_unix_nano: point.start_time_unix_nano,
        time_unix_nano: check.time(name, point.start_time_unix_nano, point.time_unix_nano),
        value: match point.value {
            Some(number_data_point::Value::AsDouble(value)) => value,
            Some(number_data_point::Value::AsInt(value)) => value as f64,
            None => f64::NAN,
        },
        ..ReceivedPoint::default()
    }
}

fn explicit(name: &str, point: HistogramDataPoint, check: &mut Check) -> ReceivedPoint {
    let whole = point.bucket_counts.len() == point.explicit_bounds.len() + 1
        && point.bucket_counts.iter().sum::<u64>() == point.count;
    check.that(whole, || format!("histogram {name:?}: buckets do not add up to the count"));
    check.that(point.explicit_bounds.is_sorted(), || format!("histogram {name:?}: bounds in disorder"));
    ReceivedPoint {
        attributes: check.attributes(name, point.attributes),
        start_unix_nano: point.start_time_unix_nano,
        time_unix_nano: check.time(name, point.start_time_unix_nano, point.time_unix_nano),
        count: point.count,
        sum: point.sum,
        min: point.min,
        max: point.max,
        bounds: point.explicit_bounds,
        buckets: point.bucket_counts,
        exemplars: point.exemplars.into_iter().map(exemplar).collect(),
        ..ReceivedPoint::default()
    }
}

fn exponential(name: &str, point: ExponentialHistogramDataPoint, check: &mut Check) -> ReceivedPoint {
    let positive = point.positive.unwrap_or_default();
    let negative: u64 = point.negative.unwrap_or_default().bucket_counts.iter().sum();
    let all = positive.bucket_counts.iter().sum::<u64>() + negative + point.zero_count;
    check.that(all == point.count, || format!("histogram {name:?}: buckets do not add up to the count"));
    ReceivedPoint {
        attributes: check.attributes(name, point.attributes),
        start_unix_nano: point.start_time_unix_nano,
        time_unix_nano: check.time(name, point.start_time_unix_nano, point.time_unix_nano),
        count: point.count,
        sum: point.sum,
        min: point.min,
        max: point.max,
        buckets: positive.bucket_counts,
        scale: point.scale,
        zero_count: point.zero_count,
        offset: positive.offset,
        exemplars: point.exemplars.into_iter().map(exemplar).collect(),
        ..ReceivedPoint::default()
    }
}

fn exemplar(exemplar: Exemplar) -> ReceivedExemplar {
    ReceivedExemplar {
        time_unix_nano: exemplar.time_unix_nano,
        value: match exemplar.value {
            Some(exemplar::Value::AsDouble(value)) => value,
            Some(exemplar::Value::AsInt(value)) => value as f64,
            None => f64::NAN,
        },
        trace_id: hex(&exemplar.trace_id),
        span_id: hex(&exemplar.span_id),
    }
}

/// Collects what is wrong.
#[derive(Default)]
struct Check {
    violations: Vec<String>,
}

impl Check {
    /// What names are used is said.
    fn schema(&mut self, url: &str) {
        self.that(url == "https://opentelemetry.io/schemas/1.45.0", || format!("schema_url {url:?}"));
    }

    fn that(&mut self, holds: bool, otherwise: impl FnOnce() -> String) {
        if !holds {
            self.violations.push(otherwise());
        }
    }

    fn resource(&mut self, resource: Option<Resource>) -> Attributes {
        let attributes = self.attributes("resource", resource.unwrap_or_default().attributes);
        self.that(attributes.contains_key("service.name"), || {
            format!("a resource without service.name: {attributes:?}")
        });
        attributes
    }

    fn attributes(&mut self, of: &str, pairs: Vec<KeyValue>) -> Attributes {
        let mut attributes = Attributes::new();
        for KeyValue { key, value, .. } in pairs {
            self.that(!key.is_empty(), || format!("{of:?}: an attribute without a name"));
            let known = attributes.insert(key.clone(), any(value));
            self.that(known.is_none(), || format!("{of:?}: attribute {key:?} occurs twice"));
        }
        attributes
    }

    fn time(&mut self, name: &str, start: u64, time: u64) -> u64 {
        self.that(time > 0 && start <= time, || format!("metric {name:?}: from {start} to {time}"));
        time
    }
}

fn any(value: Option<AnyValue>) -> Value {
    match value.and_then(|value| value.value) {
        Some(any_value::Value::StringValue(text)) => text.into(),
        Some(any_value::Value::BoolValue(value)) => value.into(),
        Some(any_value::Value::IntValue(value)) => value.into(),
        Some(any_value::Value::DoubleValue(value)) => value.into(),
        Some(any_value::Value::ArrayValue(array)) => array.values.into_iter().map(|value| any(Some(value))).collect(),
        Some(any_value::Value::KvlistValue(list)) => {
            list.values.into_iter().map(|pair| (pair.key, any(pair.value))).collect::<serde_json::Map<_, _>>().into()
        }
        Some(any_value::Value::BytesValue(bytes)) => hex(&bytes).into(),
        Some(any_value::Value::StringValueStrindex(_)) | None => Value::Null,
    }
}

fn is_id(id: &[u8], len: usize) -> bool {
    id.len() == len && id.iter().any(|byte| *byte != 0)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
