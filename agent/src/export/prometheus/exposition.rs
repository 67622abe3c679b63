//! Metrics in Prometheus's text format, by OpenTelemetry's rules
//! (<https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/>): units and `_total` become part
//! of the name, `job` and `instance` say which service instance, `target_info` has the rest of its resource.

use std::{collections::HashMap, fmt::Write as _, sync::Arc};

use crate::model::{
    metric::{ExponentialPoint, HistogramPoint, Metric, NumberPoint, Points},
    span::{Attribute, Resource, Value},
};

/// The page of all metrics.
pub(in crate::export) fn page(metrics: &[Metric]) -> String {
    let mut out = String::new();
    let identities = Identities::new(metrics);
    identities.target_info(&mut out);
    let mut families: Vec<(String, Vec<&Metric>)> = Vec::new();
    let mut index: HashMap<String, usize> = HashMap::new();
    for metric in metrics {
        let name = family_name(metric);
        let at = *index.entry(name.clone()).or_insert_with(|| {
            families.push((name, Vec::new()));
            families.len() - 1
        });
        if let Some((_, family)) = families.get_mut(at) {
            family.push(metric);
        }
    }
    for (name, family) in &families {
        write_family(name, family, &identities, &mut out);
    }
    out
}

fn write_family(name: &str, family: &[&Metric], identities: &Identities<'_>, out: &mut String) {
    let Some(first) = family.first() else { return };
    let kind = kind(&first.points);
    push(out, format_args!("# HELP {name} {}\n", first.description.replace('\\', "\\\\").replace('\n', "\\n")));
    push(out, format_args!("# TYPE {name} {kind}\n"));
    // A family has one type; two sources that disagree about it are a fault of ours, and one page must stay readable.
    for metric in family.iter().filter(|metric| self::kind(&metric.points) == kind) {
        let identity = identities.labels(&metric.resource);
        match &metric.points {
            Points::Counter(points) | Points::UpDownCounter(points) | Points::Gauge(points) => {
                points.iter().for_each(|point| number(name, point, identity, out));
            }
            Points::Histogram(points) => points.iter().for_each(|point| histogram(name, point, identity, out)),
            Points::ExponentialHistogram(points) => {
                points.iter().for_each(|point| exponential(name, point, identity, out));
            }
        }
    }
}

fn kind(points: &Points) -> &'static str {
    match points {
        Points::Counter(_) => "counter",
        Points::UpDownCounter(_) | Points::Gauge(_) => "gauge",
        Points::Histogram(_) | Points::ExponentialHistogram(_) => "histogram",
    }
}

fn number(name: &str, point: &NumberPoint, identity: &str, out: &mut String) {
    let labels = labels(&point.attributes);
    push(out, format_args!("{name}{{{identity}{labels}}} {}\n", Float(point.value)));
}

fn histogram(name: &str, point: &HistogramPoint, identity: &str, out: &mut String) {
    let bounds = point.bounds.iter().copied();
    buckets(name, &point.attributes, identity, bounds.zip(point.buckets.iter().copied()), point.count, point.sum, out);
}

/// The text format has no exponential buckets, so each becomes one with its upper bound.
fn exponential(name: &str, point: &ExponentialPoint, identity: &str, out: &mut String) {
    let base = (-f64::from(point.scale)).exp2().exp2();
    let zero = (point.zero_count > 0).then_some((0.0, point.zero_count));
    let positive = point.buckets.iter().enumerate().map(|(index, count)| {
        let upper = f64::from(point.offset) + index as f64 + 1.0;
        (base.powf(upper), *count)
    });
    let all = zero.into_iter().chain(positive).filter(|(bound, _)| bound.is_finite());
    buckets(name, &point.attributes, identity, all, point.count, point.sum, out);
}

fn buckets(
    name: &str,
    attributes: &[Attribute],
    identity: &str,
    buckets: impl Iterator<Item = (f64, u64)>,
    count: u64,
    sum: f64,
    out: &mut String,
) {
    let labels = labels(attributes);
    let comma = if labels.is_empty() && identity.is_empty() { "" } else { "," };
    let mut below = 0_u64;
    for (bound, values) in buckets {
        below = below.saturating_add(values);
        let le = Float(bound);
        push(out, format_args!("{name}_bucket{{{identity}{labels}{comma}le=\"{le}\"}} {below}\n"));
    }
    push(out, format_args!("{name}_bucket{{{identity}{labels}{comma}le=\"+Inf\"}} {count}\n"));
    push(out, format_args!("{name}_sum{{{identity}{labels}}} {}\n", Float(sum)));
    push(out, format_args!("{name}_count{{{identity}{labels}}} {count}\n"));
}

/// The name with its unit and, for counters, `_total`.
fn family_name(metric: &Metric) -> String {
    let mut name = sanitized(metric.name, true);
    let unit = match metric.unit {
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "1" if matches!(metric.points, Points::Gauge(_)) => "ratio",
        _ => "",
    };
    if !unit.is_empty() && !name.ends_with(&format!("_{unit}")) {
        name = format!("{name}_{unit}");
    }
    if matches!(metric.points, Points::Counter(_)) && !name.ends_with("_total") {
        name.push_str("_total");
    }
    name
}

/// A name of letters, digits and `_` (and `:` for metrics) that begins with no digit.
fn sanitized(name: &str, colons: bool) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || c == '_' || (colons && c == ':');
    let mut clean: String = name.chars().map(|c| if allowed(c) { c } else { '_' }).collect();
    if clean.starts_with(|c: char| c.is_ascii_digit()) {
        clean.insert(0, '_');
    }
    clean
}

/// `,name="value"` for each attribute, sorted; attributes whose names become the same share a label.
fn labels(attributes: &[Attribute]) -> String {
    pairs(attributes.iter().map(|attribute| (attribute.key, &attribute.value)))
}

fn pairs<'a>(attributes: impl Iterator<Item = (&'a str, &'a Value)>) -> String {
    let mut labels: Vec<(String, String)> = Vec::new();
    for (key, value) in attributes {
        let mut name = sanitized(key, false);
        // These are ours to set, and names with two underscores in front are Prometheus's own.
        if matches!(name.as_str(), "job" | "instance" | "le" | "quantile") || name.starts_with("__") {
            name.insert_str(0, "attribute_");
        }
        match labels.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => {
                known.push(';');
                known.push_str(&shown(value));
            }
            None => labels.push((name, shown(value))),
        }
    }
    labels.sort();
    labels.iter().fold(String::new(), |mut out, (name, value)| {
        push(&mut out, format_args!(",{name}=\"{}\"", escaped(value)));
        out
    })
}

fn shown(value: &Value) -> String {
    match value {
        Value::Str(text) => text.to_string(),
        Value::Shared(text) => text.to_string(),
        Value::Static(text) => (*text).to_owned(),
        Value::Int(value) => value.to_string(),
        Value::Double(value) => value.to_string(),
        Value::Bool(value) => value.to_string(),
    }
}

fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

/// A number as Prometheus writes it.
struct Float(f64);

impl std::fmt::Display for Float {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.0 {
            value if value.is_nan() => f.write_str("NaN"),
            f64::INFINITY => f.write_str("+Inf"),
            f64::NEG_INFINITY => f.write_str("-Inf"),
            value => value.fmt(f),
        }
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _written = out.write_fmt(text).is_ok();
}

/// The labels that say which service instance a series is of, one set for each resource.
struct Identities<'a> {
    by_address: HashMap<*const Resource, usize>,
    sets: Vec<Identity<'a>>,
}

struct Identity<'a> {
    resource: &'a Resource,
    labels: String,
    /// `labels` has `process_pid`.
    by_pid: bool,
}

impl<'a> Identities<'a> {
    fn new(metrics: &'a [Metric]) -> Self {
        let mut new = Self { by_address: HashMap::new(), sets: Vec::new() };
        let mut taken: HashMap<String, usize> = HashMap::new();
        for metric in metrics {
            let address = Arc::as_ptr(&metric.resource);
            if new.by_address.contains_key(&address) {
                continue;
            }
            let mut labels = identity(&metric.resource);
            // Two instances that cannot be told apart by name would be one series, which a scraper refuses.
            let same = taken.get(&labels).and_then(|index| new.sets.get(*index));
            let by_pid = same.is_some_and(|other| *other.resource != *metric.resource);
            if by_pid {
                push(&mut labels, format_args!(",process_pid=\"{}\"", metric.resource.pid));
            }
            let index = *taken.entry(labels.clone()).or_insert_with(|| {
                new.sets.push(Identity { resource: &metric.resource, labels, by_pid });
                new.sets.len() - 1
            });
            new.by_address.insert(address, index);
        }
        new
    }

    fn labels(&self, resource: &Arc<Resource>) -> &str {
        let index = self.by_address.get(&Arc::as_ptr(resource));
        index.and_then(|index| self.sets.get(*index)).map_or("", |identity| &identity.labels)
    }

    fn target_info(&self, out: &mut String) {
        if self.sets.is_empty() {
            return;
        }
        out.push_str("# HELP target_info The resource of each service instance\n# TYPE target_info gauge\n");
        for Identity { resource, labels, by_pid } in &self.sets {
            let in_labels = |key: &str| match key {
                "service.name" | "service.namespace" | "service.instance.id" => true,
                "process.pid" => *by_pid,
                _ => false,
            };
            let attributes = resource.attributes.iter().map(|(key, value)| (key.as_str(), value));
            let rest = pairs(attributes.filter(|(key, _)| !in_labels(key)));
            push(out, format_args!("target_info{{{labels}{rest}}} 1\n"));
        }
    }
}

/// `job` is the service with its namespace, `instance` the instance id (without one, the process id).
fn identity(resource: &Resource) -> String {
    let find = |name: &str| resource.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| shown(value));
    let service = escaped(&resource.service_name);
    let job = match find("service.namespace") {
        Some(namespace) => format!("{}/{service}", escaped(&namespace)),
        None => service,
    };
    let instance = find("service.instance.id").unwrap_or_else(|| resource.pid.to_string());
    format!("job=\"{job}\",instance=\"{}\"", escaped(&instance))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{export::testing, model::ids::ProcessId};

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
            bounds: &[0.005, 0.5],
            buckets: vec![2, 3, 1],
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
    fn names_carry_unit_and_total() {
        let name = |name, unit, points| family_name(&metric(name, unit, points));
        let none = Vec::new;
        assert_eq!(name("beyla_rs.export.spans", "{span}", Points::Counter(none())), "beyla_rs_export_spans_total");
        assert_eq!(
            name("beyla_rs.export.queue.bytes", "By", Points::UpDownCounter(none())),
            "beyla_rs_export_queue_bytes"
        );
        assert_eq!(name("cpu.use", "1", Points::Gauge(none())), "cpu_use_ratio");
        assert_eq!(name("x.time", "s", Points::Counter(none())), "x_time_seconds_total");
        assert_eq!(name("1.a-b", "", Points::Gauge(none())), "_1_a_b");
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
        let bounds: Vec<&str> =
            page.lines().filter_map(|line| line.split_once("le=").map(|(_, bucket)| bucket)).collect();
        assert_eq!(bounds, ["\"0\"} 1", "\"1\"} 3", "\"2\"} 3", "\"4\"} 6", "\"+Inf\"} 6"]);
    }
}
