use bytes::Buf;
use prost::Message;

use super::super::protobuf::{self, message};
use crate::{
    export::testing,
    model::{
        ids::ProcessId,
        metric::{Bounds, Exemplar, ExponentialPoint, HistogramPoint, Metric, NativeHistogram, NumberPoint, Points},
        span::{Attribute, Value},
        trace_context::{SpanId, TraceId},
    },
};

/// A family as it is read.
#[derive(Clone, PartialEq, Message)]
struct Family {
    #[prost(string, tag = "1")]
    name: String,
    #[prost(enumeration = "message::Type", tag = "3")]
    r#type: i32,
    #[prost(message, repeated, tag = "4")]
    metrics: Vec<message::Metric>,
    #[prost(string, tag = "5")]
    unit: String,
}

fn read(metrics: &[Metric]) -> Vec<Family> {
    let page = protobuf::page(metrics);
    let mut left = page.as_slice();
    let mut families = Vec::new();
    while left.has_remaining() {
        families.push(Family::decode_length_delimited(&mut left).unwrap());
    }
    families
}

fn metric(name: &'static str, unit: &'static str, points: Points) -> Metric {
    Metric { name, unit, description: "What it is", resource: testing::resource("a", ProcessId(1)), points }
}

fn native(start_unix_ns: u64, count: u64, before: Vec<u64>) -> Option<Box<NativeHistogram>> {
    // Around the gap of two.
    let (offset, buckets) = (-3, vec![2, 1, 0, 0, 3]);
    let (schema, zero_count) = (3, 1);
    Some(Box::new(NativeHistogram { start_unix_ns, count, sum: 1.5, schema, zero_count, offset, buckets, before }))
}

fn histogram(native: Option<Box<NativeHistogram>>) -> Metric {
    let exemplar =
        Exemplar { at_unix_ns: 5_000_000_007, value: 0.4, trace_id: TraceId([1; 16]), span_id: SpanId([2; 8]) };
    let point = HistogramPoint {
        attributes: vec![Attribute { key: "http.route", value: Value::Static("/a") }],
        start_unix_ns: 1_000_000_000,
        updated_unix_ns: 2,
        count: 7,
        sum: 1.5,
        min: 0.0,
        max: 1.0,
        bounds: Bounds::Static(&[0.5, 1.0]),
        buckets: vec![4, 2, 1],
        native,
        exemplars: vec![exemplar],
    };
    metric("http.server.request.duration", "s", Points::Histogram(vec![point]))
}

fn the_histogram(families: &[Family]) -> &message::Histogram {
    families[1].metrics[0].histogram.as_ref().unwrap()
}

#[test]
fn a_family_has_a_name_a_type_and_what_says_whose_it_is() {
    let point = |value| vec![NumberPoint { attributes: Vec::new(), start_unix_ns: 3_000_000_000, value }];
    let families = read(&[
        metric("spans", "{span}", Points::Counter(point(3.0))),
        metric("queue", "By", Points::UpDownCounter(point(4.0))),
    ]);
    let heads: Vec<_> =
        families.iter().map(|family| (family.name.as_str(), family.r#type(), family.unit.as_str())).collect();
    assert_eq!(
        heads,
        [
            ("target_info", message::Type::Gauge, ""),
            ("spans_total", message::Type::Counter, ""),
            ("queue_bytes", message::Type::Gauge, "bytes"),
        ]
    );
    let labels = |metric: &message::Metric| -> Vec<String> {
        metric.label.iter().map(|pair| format!("{}={}", pair.name, pair.value)).collect()
    };
    assert_eq!(labels(&families[0].metrics[0]), ["job=shop/a", "instance=i-1", "process_pid=1"]);
    assert_eq!(labels(&families[1].metrics[0]), ["job=shop/a", "instance=i-1"]);
    let counter = families[1].metrics[0].counter.unwrap();
    assert_eq!((counter.value, counter.created.unwrap().seconds), (3.0, 3));
    assert_eq!(families[2].metrics[0].gauge.unwrap().value, 4.0);
}

#[test]
fn a_histogram_has_classic_buckets_and_native_ones_where_they_are_kept() {
    let families = read(&[histogram(None)]);
    let without = the_histogram(&families);
    let buckets: Vec<_> = without.bucket.iter().map(|it| (it.upper_bound, it.cumulative_count)).collect();
    assert_eq!(buckets, [(0.5, 4), (1.0, 6), (f64::INFINITY, 7)]);
    assert_eq!((without.sample_count, without.schema, without.spans.len()), (7, None, 0));
    let exemplar = without.bucket[0].exemplar.as_ref().unwrap();
    assert_eq!((exemplar.value, exemplar.timestamp.unwrap().nanos), (0.4, 7));
    assert_eq!(exemplar.label[0].value, "01".repeat(16));

    let families = read(&[histogram(native(1_000_000_000, 7, Vec::new()))]);
    let with = the_histogram(&families);
    assert_eq!(with.bucket, without.bucket);
    assert_eq!((with.schema, with.zero_count, with.zero_threshold), (Some(3), Some(1), Some((-128_f64).exp2())));
    // Bucket `i` of Prometheus ends where OpenTelemetry's bucket `i` begins.
    let spans: Vec<_> = with.spans.iter().map(|span| (span.offset, span.length)).collect();
    assert_eq!((spans, with.deltas.as_slice()), (vec![(-2, 2), (2, 1)], [2, -1, 2].as_slice()));
    assert_eq!(with.exemplars.len(), 1);
}

#[test]
fn native_buckets_that_began_anew_have_the_classic_ones_begin_anew_too() {
    let families = read(&[histogram(native(4_000_000_000, 3, vec![3, 1, 0]))]);
    let histogram = the_histogram(&families);
    assert_eq!((histogram.sample_count, histogram.created.unwrap().seconds), (3, 4));
    let buckets: Vec<_> = histogram.bucket.iter().map(|it| it.cumulative_count).collect();
    assert_eq!(buckets, [1, 2, 3]);
}

#[test]
fn an_exponential_histogram_is_a_native_one_of_the_finest_schema_at_most() {
    for (scale, offset, buckets, expected) in [
        (3, -1, vec![2, 0, 3], (Some(3), vec![(0, 1), (1, 1)])),
        // Four buckets each become one: -5 is in -2, -4..=-1 in -1.
        (10, -5, vec![1, 1, 1, 1, 1], (Some(8), vec![(-1, 2)])),
        (-5, 0, vec![5], (None, vec![])),
    ] {
        let point = ExponentialPoint {
            attributes: vec![],
            start_unix_ns: 1,
            updated_unix_ns: 2,
            count: 5,
            sum: 9.0,
            min: 0.0,
            max: 4.0,
            scale,
            zero_count: 0,
            offset,
            buckets,
            exemplars: vec![],
        };
        let families = read(&[metric("m", "", Points::ExponentialHistogram(vec![point]))]);
        let histogram = the_histogram(&families);
        let spans: Vec<_> = histogram.spans.iter().map(|span| (span.offset, span.length)).collect();
        assert_eq!((histogram.schema, spans), expected, "{scale}");
    }
}
