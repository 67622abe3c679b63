use super::super::{format::Format, text};
use crate::{
    export::testing,
    model::{
        ids::ProcessId,
        metric::{Bounds, Exemplar, ExponentialPoint, HistogramPoint, Metric, NumberPoint, Points},
        span::{Attribute, Value},
        trace_context::{SpanId, TraceId},
    },
};

fn page(metrics: &[Metric]) -> String {
    text::page(metrics, Format::Text)
}

fn metric(name: &'static str, unit: &'static str, points: Points) -> Metric {
    Metric { name, unit, description: "What it is", resource: testing::resource("a", ProcessId(1)), points }
}

fn one(value: f64, attributes: &[(&'static str, Value)]) -> Vec<NumberPoint> {
    let attributes = attributes.iter().map(|(key, value)| Attribute { key, value: value.clone() }).collect();
    vec![NumberPoint { attributes, start_unix_ns: 1, value }]
}

#[test]
fn a_histogram_is_written_with_cumulative_buckets() {
    let point = HistogramPoint {
        attributes: vec![Attribute { key: "http.route", value: Value::Str("/a\"\\\n".into()) }],
        start_unix_ns: 1,
        updated_unix_ns: 2,
        count: 6,
        sum: 1.5,
        min: 0.0,
        max: 1.0,
        bounds: Bounds::Static(&[0.005, 0.5]),
        buckets: vec![2, 3, 1],
        native: None,
        exemplars: vec![],
    };
    let page = page(&[metric("http.server.request.duration", "s", Points::Histogram(vec![point]))]);
    assert_eq!(
        page,
        r#"# HELP target_info The resource of each service instance
# TYPE target_info gauge
target_info{job="shop/a",instance="i-1",process_pid="1"} 1
# HELP http_server_request_duration_seconds What it is
# TYPE http_server_request_duration_seconds histogram
http_server_request_duration_seconds_bucket{job="shop/a",instance="i-1",http_route="/a\"\\\n",le="0.005"} 2
http_server_request_duration_seconds_bucket{job="shop/a",instance="i-1",http_route="/a\"\\\n",le="0.5"} 5
http_server_request_duration_seconds_bucket{job="shop/a",instance="i-1",http_route="/a\"\\\n",le="+Inf"} 6
http_server_request_duration_seconds_sum{job="shop/a",instance="i-1",http_route="/a\"\\\n"} 1.5
http_server_request_duration_seconds_count{job="shop/a",instance="i-1",http_route="/a\"\\\n"} 6
"#
    );
}

#[test]
fn a_family_is_written_once_whatever_the_order_of_its_metrics() {
    let page = page(&[
        metric("a", "1", Points::Counter(one(1.0, &[("x", Value::Int(1))]))),
        metric("b", "1", Points::Counter(one(2.0, &[]))),
        metric("a", "1", Points::Counter(one(3.0, &[("x", Value::Int(2))]))),
    ]);
    let lines: Vec<&str> = page.lines().filter(|line| line.contains("a_total")).collect();
    assert_eq!(
        lines,
        [
            "# HELP a_total What it is",
            "# TYPE a_total counter",
            "a_total{job=\"shop/a\",instance=\"i-1\",x=\"1\"} 1",
            "a_total{job=\"shop/a\",instance=\"i-1\",x=\"2\"} 3",
        ]
    );
}

#[test]
fn two_instances_of_one_name_are_told_apart() {
    let mut second = metric("a", "", Points::Gauge(one(2.0, &[])));
    second.resource = testing::resource("a", ProcessId(2));
    let page = page(&[metric("a", "", Points::Gauge(one(1.0, &[]))), second]);
    assert!(page.contains("a{job=\"shop/a\",instance=\"i-1\"} 1\n"), "{page}");
    assert!(page.contains("a{job=\"shop/a\",instance=\"i-1\",process_pid=\"2\"} 2\n"), "{page}");
}

#[test]
fn labels_that_become_the_same_are_joined_and_reserved_ones_renamed() {
    let attributes = [("a.b", Value::Int(1)), ("a_b", Value::Bool(true)), ("le", Value::Static("x"))];
    let page = page(&[metric("m", "", Points::Gauge(one(f64::INFINITY, &attributes)))]);
    assert!(page.contains("instance=\"i-1\",a_b=\"1;true\",attribute_le=\"x\"} +Inf\n"), "{page}");
}

#[test]
fn exponential_buckets_get_their_upper_bounds() {
    let point = ExponentialPoint {
        attributes: vec![],
        start_unix_ns: 1,
        updated_unix_ns: 2,
        count: 6,
        sum: 9.0,
        min: 0.0,
        max: 4.0,
        scale: 0,
        zero_count: 1,
        offset: -1,
        buckets: vec![2, 0, 3],
        exemplars: vec![],
    };
    let page = page(&[metric("m", "", Points::ExponentialHistogram(vec![point]))]);
    let bounds: Vec<&str> = page.lines().filter_map(|line| line.split_once("le=").map(|(_, bucket)| bucket)).collect();
    assert_eq!(bounds, ["\"0\"} 1", "\"1\"} 3", "\"2\"} 3", "\"4\"} 6", "\"+Inf\"} 6"]);
}
fn exemplar(value: f64, number: u8) -> Exemplar {
    let (trace_id, span_id) = (TraceId([number; 16]), SpanId([number; 8]));
    Exemplar { at_unix_ns: 1_700_000_000_123_456_789, value, trace_id, span_id }
}

#[test]
fn open_metrics_has_exemplars_units_and_an_end() {
    let point = HistogramPoint {
        attributes: vec![Attribute { key: "http.route", value: Value::Static("/a") }],
        start_unix_ns: 1,
        updated_unix_ns: 2,
        count: 6,
        sum: 1.5,
        min: 0.0,
        max: 1.0,
        bounds: Bounds::Static(&[0.0, 0.5, 1.0]),
        buckets: vec![0, 5, 0, 1],
        native: None,
        exemplars: vec![exemplar(0.25, 1), exemplar(0.5, 2), exemplar(7.0, 3)],
    };
    let build = Points::Gauge(one(1.0, &[("version", Value::Static("1"))]));
    let metrics = [
        metric("http.server.request.duration", "s", Points::Histogram(vec![point])),
        metric("spans", "{span}", Points::Counter(one(3.0, &[]))),
        metric("agent.build_info", "", build),
    ];
    assert_eq!(
        text::page(&metrics, Format::OpenMetrics),
        r#"# HELP target The resource of each service instance
# TYPE target info
target_info{job="shop/a",instance="i-1",process_pid="1"} 1
# HELP http_server_request_duration_seconds What it is
# TYPE http_server_request_duration_seconds histogram
# UNIT http_server_request_duration_seconds seconds
http_server_request_duration_seconds_bucket{job="shop/a",instance="i-1",http_route="/a",le="0.0"} 0
http_server_request_duration_seconds_bucket{job="shop/a",instance="i-1",http_route="/a",le="0.5"} 5 # {trace_id="02020202020202020202020202020202",span_id="0202020202020202"} 0.5 1700000000.123
http_server_request_duration_seconds_bucket{job="shop/a",instance="i-1",http_route="/a",le="1.0"} 5
http_server_request_duration_seconds_bucket{job="shop/a",instance="i-1",http_route="/a",le="+Inf"} 6 # {trace_id="03030303030303030303030303030303",span_id="0303030303030303"} 7 1700000000.123
http_server_request_duration_seconds_sum{job="shop/a",instance="i-1",http_route="/a"} 1.5
http_server_request_duration_seconds_count{job="shop/a",instance="i-1",http_route="/a"} 6
# HELP spans What it is
# TYPE spans counter
spans_total{job="shop/a",instance="i-1"} 3
# HELP agent_build What it is
# TYPE agent_build info
agent_build_info{job="shop/a",instance="i-1",version="1"} 1
# EOF
"#
    );
    let classic = page(&metrics);
    assert!(!classic.contains(" # {") && !classic.contains("# UNIT") && !classic.contains("# EOF"), "{classic}");
}
