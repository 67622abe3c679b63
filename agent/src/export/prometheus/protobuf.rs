//! Prometheus's protocol buffers (`io.prometheus.client`), in which alone scrapers take native histograms.
//!
//! The messages are those fields of <https://github.com/prometheus/client_model> that are written here, encoded by `prost`. The crates
//! that have them (`prometheus`, `prometheus-client`) have either a model older than native histograms or OpenMetrics's, which
//! Prometheus does not read.

use super::{
    family::{Family, Identities, Kind, Label, LabelNames, PROCESS_PID},
    text::slowest,
};
use crate::model::{
    metric::{Exemplar, ExponentialPoint, HistogramPoint, Metric, NativeHistogram, NumberPoint, Points},
    span::Attribute,
};

/// Below it all values are zero to who reads native histograms: the least that Go's library has.
const ZERO_THRESHOLD: f64 = 1.0 / (1_u128 << 127) as f64 / 2.0;
/// The finest schema.
const SCHEMA_MAX: i32 = 8;
/// The coarsest.
const SCHEMA_MIN: i32 = -4;

/// The page of all metrics.
pub(super) fn page(metrics: &[Metric]) -> Vec<u8> {
    let names = LabelNames::of(metrics);
    let identities = Identities::new(metrics);
    let sets: Vec<Vec<message::LabelPair>> =
        identities.sets.iter().map(|set| set.labels.iter().map(|(name, value)| pair(name, value)).collect()).collect();
    let mut out = Vec::new();
    let mut body = Vec::new();
    if !identities.sets.is_empty() {
        head("target_info", "The resource of each service instance", Kind::Gauge, "", &mut body);
        for (set, labels) in identities.sets.iter().zip(&sets) {
            let rest = set.rest();
            let rest = rest.iter().map(|(name, value)| pair(name, value));
            let label = labels.iter().cloned().chain(rest).collect();
            let gauge = Some(message::Gauge { value: 1.0 });
            push(&message::Metric { label, gauge, ..message::Metric::default() }, &mut body);
        }
        finish(&mut body, &mut out);
    }
    for family in Family::all(metrics) {
        let Family { mut name, unit, help, kind, metrics } = family;
        if kind == Kind::Counter {
            name.push_str("_total");
        }
        head(&name, help, kind, unit, &mut body);
        for metric in metrics {
            let identity = sets.get(identities.index(&metric.resource)).map_or(&[][..], Vec::as_slice);
            let mut add = |attributes: &[Attribute], value: message::Metric| {
                let label = labels(identity, names.labels(attributes));
                push(&message::Metric { label, ..value }, &mut body);
            };
            match &metric.points {
                Points::Counter(points) => points.iter().for_each(|point| add(&point.attributes, counter(point))),
                Points::UpDownCounter(points) | Points::Gauge(points) => {
                    points.iter().for_each(|point| add(&point.attributes, gauge(point)));
                }
                Points::Histogram(points) => points.iter().for_each(|point| add(&point.attributes, classic(point))),
                Points::ExponentialHistogram(points) => {
                    points.iter().for_each(|point| add(&point.attributes, exponential(point)));
                }
            }
        }
        finish(&mut body, &mut out);
    }
    out
}

/// All of a family but its metrics.
fn head(name: &str, help: &str, kind: Kind, unit: &str, body: &mut Vec<u8>) {
    let r#type = match kind {
        Kind::Counter => message::Type::Counter,
        Kind::Gauge => message::Type::Gauge,
        Kind::Histogram => message::Type::Histogram,
    };
    let [name, help, unit] = [name, help, unit].map(str::to_owned);
    let unit = Some(unit).filter(|unit| !unit.is_empty());
    let head = message::MetricFamily { name, help, r#type: r#type.into(), unit };
    // A vector has room for whatever comes.
    let _encoded = prost::Message::encode(&head, body).is_ok();
}

/// A metric of the family at hand. One by one, so that no more than one is held as a message.
fn push(metric: &message::Metric, body: &mut Vec<u8>) {
    const METRIC: u32 = 4;
    prost::encoding::message::encode(METRIC, metric, body);
}

fn finish(body: &mut Vec<u8>, out: &mut Vec<u8>) {
    prost::encoding::encode_varint(body.len() as u64, out);
    out.append(body);
}

fn pair(name: &str, value: &str) -> message::LabelPair {
    message::LabelPair { name: name.to_owned(), value: value.to_owned() }
}

fn labels(identity: &[message::LabelPair], labels: Vec<Label<'_>>) -> Vec<message::LabelPair> {
    let is_new = |name: &str| name != PROCESS_PID || identity.iter().all(|pair| pair.name != PROCESS_PID);
    let rest = labels.iter().filter(|(name, _)| is_new(name)).map(|(name, value)| pair(name, value));
    identity.iter().cloned().chain(rest).collect()
}

fn counter(point: &NumberPoint) -> message::Metric {
    let created = Some(time(point.start_unix_ns));
    let counter = Some(message::Counter { value: point.value, created });
    message::Metric { counter, ..message::Metric::default() }
}

fn gauge(point: &NumberPoint) -> message::Metric {
    let gauge = Some(message::Gauge { value: point.value });
    message::Metric { gauge, ..message::Metric::default() }
}

fn classic(point: &HistogramPoint) -> message::Metric {
    let mut histogram = message::Histogram {
        sample_count: point.count,
        sample_sum: point.sum,
        created: Some(time(point.start_unix_ns)),
        exemplars: point.exemplars.iter().map(exemplar).collect(),
        ..message::Histogram::default()
    };
    let mut since = &[][..];
    if let Some(native) = &point.native {
        let NativeHistogram { start_unix_ns, count, sum, schema, zero_count, offset, buckets, before } = &**native;
        // One message has one count: where the native buckets have begun anew, so have the others here.
        (histogram.sample_count, histogram.sample_sum) = (*count, *sum);
        histogram.created = Some(time(*start_unix_ns));
        set_native(&mut histogram, *schema, *zero_count, *offset, buckets);
        since = before;
    }
    let (mut below, mut lower) = (0_u64, f64::NEG_INFINITY);
    let bounds = point.bounds.iter().copied().chain([f64::INFINITY]);
    let since = since.iter().copied().chain(std::iter::repeat(0));
    histogram.bucket = bounds
        .zip(point.buckets.iter().zip(since))
        .map(|(upper_bound, (values, before))| {
            below = below.saturating_add(values.saturating_sub(before));
            let exemplar = slowest(&point.exemplars, lower, upper_bound).map(exemplar);
            lower = upper_bound;
            message::Bucket { cumulative_count: below, upper_bound, exemplar }
        })
        .collect();
    message::Metric { histogram: Some(histogram), ..message::Metric::default() }
}

fn exponential(point: &ExponentialPoint) -> message::Metric {
    let mut histogram = message::Histogram {
        sample_count: point.count,
        sample_sum: point.sum,
        created: Some(time(point.start_unix_ns)),
        exemplars: point.exemplars.iter().map(exemplar).collect(),
        ..message::Histogram::default()
    };
    let ExponentialPoint { scale, zero_count, offset, buckets, .. } = point;
    if *scale >= SCHEMA_MIN {
        let finer = (scale - SCHEMA_MAX).max(0);
        if finer == 0 {
            set_native(&mut histogram, *scale, *zero_count, *offset, buckets);
        } else {
            let first = offset >> finer;
            let mut joined = Vec::new();
            for (at, count) in buckets.iter().enumerate() {
                let to = (((offset + at as i32) >> finer) - first) as usize;
                joined.resize(joined.len().max(to + 1), 0);
                if let Some(sum) = joined.get_mut(to) {
                    *sum += count;
                }
            }
            set_native(&mut histogram, SCHEMA_MAX, *zero_count, first, &joined);
        }
    }
    message::Metric { histogram: Some(histogram), ..message::Metric::default() }
}

/// Buckets as native histograms have them: runs of buckets with the gaps between them, and counts as differences.
fn set_native(histogram: &mut message::Histogram, schema: i32, zero_count: u64, offset: i32, buckets: &[u64]) {
    histogram.schema = Some(schema);
    histogram.zero_threshold = Some(ZERO_THRESHOLD);
    histogram.zero_count = Some(zero_count);
    let mut before = 0_i64;
    // Where the next bucket would be that belongs to the last run.
    let mut next = None;
    for (at, count) in buckets.iter().enumerate().filter(|(_, count)| **count > 0) {
        // Theirs are counted by their upper bounds.
        let index = offset + at as i32 + 1;
        match (next, histogram.spans.last_mut()) {
            (Some(expected), Some(run)) if expected == index => run.length += 1,
            (expected, _) => {
                let offset = index - expected.unwrap_or(0);
                histogram.spans.push(message::BucketSpan { offset, length: 1 });
            }
        }
        next = Some(index + 1);
        let count = i64::try_from(*count).unwrap_or(i64::MAX);
        histogram.deltas.push(count - before);
        before = count;
    }
}

fn exemplar(exemplar: &Exemplar) -> message::Exemplar {
    let Exemplar { at_unix_ns, value, trace_id, span_id } = exemplar;
    let label = vec![pair("trace_id", &trace_id.to_string()), pair("span_id", &span_id.to_string())];
    message::Exemplar { label, value: *value, timestamp: Some(time(*at_unix_ns)) }
}

fn time(unix_ns: u64) -> message::Timestamp {
    message::Timestamp { seconds: (unix_ns / 1_000_000_000) as i64, nanos: (unix_ns % 1_000_000_000) as i32 }
}

/// The messages. Fields are optional there and written by everybody, so that most are not here.
pub(super) mod message {
    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct MetricFamily {
        #[prost(string, tag = "1")]
        pub(in super::super) name: String,
        #[prost(string, tag = "2")]
        pub(in super::super) help: String,
        #[prost(enumeration = "Type", required, tag = "3")]
        pub(in super::super) r#type: i32,
        #[prost(string, optional, tag = "5")]
        pub(in super::super) unit: Option<String>,
    }

    #[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, prost::Enumeration)]
    #[repr(i32)]
    pub(in super::super) enum Type {
        Counter = 0,
        Gauge = 1,
        Histogram = 4,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct Metric {
        #[prost(message, repeated, tag = "1")]
        pub(in super::super) label: Vec<LabelPair>,
        #[prost(message, optional, tag = "2")]
        pub(in super::super) gauge: Option<Gauge>,
        #[prost(message, optional, tag = "3")]
        pub(in super::super) counter: Option<Counter>,
        #[prost(message, optional, tag = "7")]
        pub(in super::super) histogram: Option<Histogram>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct LabelPair {
        #[prost(string, tag = "1")]
        pub(in super::super) name: String,
        #[prost(string, tag = "2")]
        pub(in super::super) value: String,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(in super::super) struct Gauge {
        #[prost(double, required, tag = "1")]
        pub(in super::super) value: f64,
    }

    #[derive(Clone, Copy, PartialEq, prost::Message)]
    pub(in super::super) struct Counter {
        #[prost(double, required, tag = "1")]
        pub(in super::super) value: f64,
        #[prost(message, optional, tag = "3")]
        pub(in super::super) created: Option<Timestamp>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct Histogram {
        #[prost(uint64, required, tag = "1")]
        pub(in super::super) sample_count: u64,
        #[prost(double, required, tag = "2")]
        pub(in super::super) sample_sum: f64,
        #[prost(message, repeated, tag = "3")]
        pub(in super::super) bucket: Vec<Bucket>,
        #[prost(sint32, optional, tag = "5")]
        pub(in super::super) schema: Option<i32>,
        #[prost(double, optional, tag = "6")]
        pub(in super::super) zero_threshold: Option<f64>,
        #[prost(uint64, optional, tag = "7")]
        pub(in super::super) zero_count: Option<u64>,
        #[prost(message, repeated, tag = "12")]
        pub(in super::super) spans: Vec<BucketSpan>,
        #[prost(sint64, repeated, tag = "13")]
        pub(in super::super) deltas: Vec<i64>,
        #[prost(message, optional, tag = "15")]
        pub(in super::super) created: Option<Timestamp>,
        #[prost(message, repeated, tag = "16")]
        pub(in super::super) exemplars: Vec<Exemplar>,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct Bucket {
        #[prost(uint64, required, tag = "1")]
        pub(in super::super) cumulative_count: u64,
        #[prost(double, required, tag = "2")]
        pub(in super::super) upper_bound: f64,
        #[prost(message, optional, tag = "3")]
        pub(in super::super) exemplar: Option<Exemplar>,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
    pub(in super::super) struct BucketSpan {
        #[prost(sint32, required, tag = "1")]
        pub(in super::super) offset: i32,
        #[prost(uint32, required, tag = "2")]
        pub(in super::super) length: u32,
    }

    #[derive(Clone, PartialEq, prost::Message)]
    pub(in super::super) struct Exemplar {
        #[prost(message, repeated, tag = "1")]
        pub(in super::super) label: Vec<LabelPair>,
        #[prost(double, required, tag = "2")]
        pub(in super::super) value: f64,
        #[prost(message, optional, tag = "3")]
        pub(in super::super) timestamp: Option<Timestamp>,
    }

    #[derive(Clone, Copy, PartialEq, Eq, Hash, prost::Message)]
    pub(in super::super) struct Timestamp {
        #[prost(int64, tag = "1")]
        pub(in super::super) seconds: i64,
        #[prost(int32, tag = "2")]
        pub(in super::super) nanos: i32,
    }
}
