//! Metrics as Prometheus groups and names them, by OpenTelemetry's rules
//! (<https://opentelemetry.io/docs/specs/otel/compatibility/prometheus_and_openmetrics/>): units and `_total` become part of the
//! name, `job` and `instance` say which service instance, `target_info` has the rest of its resource.

use std::{borrow::Cow, fmt::Write as _, sync::Arc};

use rustc_hash::FxHashMap;

use crate::model::{
    metric::{Metric, Points},
    span::{Attribute, Resource, Value},
};

/// What the metrics of a family are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Kind {
    fn of(points: &Points) -> Self {
        match points {
            Points::Counter(_) => Self::Counter,
            Points::UpDownCounter(_) | Points::Gauge(_) => Self::Gauge,
            Points::Histogram(_) | Points::ExponentialHistogram(_) => Self::Histogram,
        }
    }

    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Histogram => "histogram",
        }
    }
}

/// All metrics of one name.
pub(super) struct Family<'a> {
    /// With its unit, without `_total`.
    pub(super) name: String,
    /// As it stands at the end of the name; empty where none does.
    pub(super) unit: &'static str,
    pub(super) help: &'a str,
    pub(super) kind: Kind,
    pub(super) metrics: Vec<&'a Metric>,
}

impl<'a> Family<'a> {
    /// All families, each once, in the order of their first metrics.
    pub(super) fn all(metrics: &'a [Metric]) -> Vec<Self> {
        let mut families: Vec<Self> = Vec::new();
        let mut index: FxHashMap<(&str, &str, bool), usize> = FxHashMap::default();
        let mut by_name: FxHashMap<(String, bool), usize> = FxHashMap::default();
        for metric in metrics {
            let kind = Kind::of(&metric.points);
            let is_gauge = matches!(metric.points, Points::Gauge(_));
            let at = *index.entry((metric.name, metric.unit, is_gauge)).or_insert_with(|| {
                let (name, unit) = named(metric, kind);
                *by_name.entry((name.clone(), kind == Kind::Counter)).or_insert_with(|| {
                    families.push(Self { name, unit, help: metric.description, kind, metrics: Vec::new() });
                    families.len() - 1
                })
            });
            // A family has one type; two sources that disagree about it are a fault of ours, and one page must stay readable.
            if let Some(family) = families.get_mut(at).filter(|family| family.kind == kind) {
                family.metrics.push(metric);
            }
        }
        families
    }
}

/// The name with its unit, and the unit.
fn named(metric: &Metric, kind: Kind) -> (String, &'static str) {
    let mut name = sanitized(metric.name, true);
    if kind == Kind::Counter && name.ends_with("_total") {
        name.truncate(name.len() - "_total".len());
    }
    let unit = match metric.unit {
        "s" => "seconds",
        "ms" => "milliseconds",
        "us" => "microseconds",
        "ns" => "nanoseconds",
        "By" => "bytes",
        "%" => "percent",
        "1" if matches!(metric.points, Points::Gauge(_)) => "ratio",
        _ => "",
    };
    if !unit.is_empty() && name.strip_suffix(unit).is_none_or(|name| !name.ends_with('_')) {
        name.push('_');
        name.push_str(unit);
    }
    (name, unit)
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

/// A label and its value.
pub(super) type Label<'a> = (&'a str, Cow<'a, str>);

/// The names that labels have, by the attributes' keys, of which few kinds come often.
#[derive(Default)]
pub(super) struct LabelNames<'a>(FxHashMap<&'a str, String>);

impl<'a> LabelNames<'a> {
    /// Those of all attributes.
    pub(super) fn of(metrics: &'a [Metric]) -> Self {
        let mut names = Self::default();
        for metric in metrics {
            match &metric.points {
                Points::Counter(points) | Points::UpDownCounter(points) | Points::Gauge(points) => {
                    points.iter().for_each(|point| names.add(&point.attributes));
                }
                Points::Histogram(points) => points.iter().for_each(|point| names.add(&point.attributes)),
                Points::ExponentialHistogram(points) => points.iter().for_each(|point| names.add(&point.attributes)),
            }
        }
        names
    }

    fn add(&mut self, attributes: &'a [Attribute]) {
        for attribute in attributes {
            self.0.entry(attribute.key).or_insert_with(|| label_name(attribute.key));
        }
    }

    /// The labels, sorted.
    pub(super) fn labels<'b>(&'b self, attributes: &'b [Attribute]) -> Vec<Label<'b>> {
        let named = |attribute: &'b Attribute| Some((self.0.get(attribute.key)?.as_str(), &attribute.value));
        joined(attributes.iter().filter_map(named))
    }
}

fn label_name(key: &str) -> String {
    let mut name = sanitized(key, false);
    // These are ours to set, and names with two underscores in front are Prometheus's own.
    if matches!(name.as_str(), "job" | "instance" | "le" | "quantile") || name.starts_with("__") {
        name.insert_str(0, "attribute_");
    }
    name
}

/// Sorted; what has the same name becomes one label.
fn joined<'a>(named: impl Iterator<Item = (&'a str, &'a Value)>) -> Vec<Label<'a>> {
    let mut labels: Vec<Label<'a>> = Vec::new();
    for (name, value) in named {
        match labels.iter_mut().find(|(known, _)| *known == name) {
            Some((_, known)) => {
                let both = format!("{known};{}", shown(value));
                *known = Cow::Owned(both);
            }
            None => labels.push((name, shown(value))),
        }
    }
    labels.sort_unstable_by_key(|(name, _)| *name);
    labels
}

fn shown(value: &Value) -> Cow<'_, str> {
    match value {
        Value::Str(text) => Cow::Borrowed(text),
        Value::Shared(text) => Cow::Borrowed(text),
        Value::Static(text) => Cow::Borrowed(text),
        Value::Int(value) => Cow::Owned(value.to_string()),
        Value::Double(value) => Cow::Owned(value.to_string()),
        Value::Bool(true) => Cow::Borrowed("true"),
        Value::Bool(false) => Cow::Borrowed("false"),
        Value::List(texts) => Cow::Owned(texts.join(",")),
    }
}

/// The labels that say which service instance a series is of, one set for each resource.
pub(super) struct Identities<'a> {
    by_address: FxHashMap<*const Resource, usize>,
    pub(super) sets: Vec<Identity<'a>>,
}

/// See [`Identities`].
pub(super) struct Identity<'a> {
    resource: &'a Resource,
    /// `job`, `instance`, and `process_pid` where they do not suffice.
    pub(super) labels: Vec<(&'static str, String)>,
}

impl<'a> Identities<'a> {
    pub(super) fn new(metrics: &'a [Metric]) -> Self {
        let mut new = Self { by_address: FxHashMap::default(), sets: Vec::new() };
        let mut taken: FxHashMap<Vec<(&'static str, String)>, usize> = FxHashMap::default();
        for metric in metrics {
            let address = Arc::as_ptr(&metric.resource);
            if new.by_address.contains_key(&address) {
                continue;
            }
            let mut labels = identity(&metric.resource);
            // Two instances that cannot be told apart by name would be one series, which a scraper refuses.
            let same = taken.get(&labels).and_then(|index| new.sets.get(*index));
            if same.is_some_and(|other| *other.resource != *metric.resource) {
                labels.push((PROCESS_PID, metric.resource.pid.to_string()));
            }
            let index = *taken.entry(labels.clone()).or_insert_with(|| {
                new.sets.push(Identity { resource: &metric.resource, labels });
                new.sets.len() - 1
            });
            new.by_address.insert(address, index);
        }
        new
    }

    /// The place of a resource's set among all.
    pub(super) fn index(&self, resource: &Arc<Resource>) -> usize {
        self.by_address.get(&Arc::as_ptr(resource)).copied().unwrap_or_default()
    }
}

pub(super) const PROCESS_PID: &str = "process_pid";

impl Identity<'_> {
    /// What of the resource is in no label yet: that of `target_info`.
    pub(super) fn rest(&self) -> Vec<(String, Cow<'_, str>)> {
        let by_pid = self.labels.iter().any(|(name, _)| *name == PROCESS_PID);
        let is_in_labels = |key: &str| match key {
            "service.name" | "service.namespace" | "service.instance.id" => true,
            "process.pid" => by_pid,
            _ => false,
        };
        let attributes = self.resource.attributes.iter().filter(|(key, _)| !is_in_labels(key));
        let named: Vec<(String, &Value)> = attributes.map(|(key, value)| (label_name(key), value)).collect();
        let joined = joined(named.iter().map(|(name, value)| (name.as_str(), *value)));
        joined.into_iter().map(|(name, value)| (name.to_owned(), Cow::Owned(value.into_owned()))).collect()
    }
}

/// `job` is the service with its namespace, `instance` the instance id (without one, the process id).
fn identity(resource: &Resource) -> Vec<(&'static str, String)> {
    let find = |name: &str| resource.attributes.iter().find(|(key, _)| key == name).map(|(_, value)| shown(value));
    let mut job = String::new();
    if let Some(namespace) = find("service.namespace") {
        // Writing to a string cannot fail.
        let _written = write!(job, "{namespace}/").is_ok();
    }
    job.push_str(&resource.service_name);
    let instance = find("service.instance.id").map_or_else(|| resource.pid.to_string(), Cow::into_owned);
    vec![("job", job), ("instance", instance)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{export::testing, model::ids::ProcessId};

    #[test]
    fn names_carry_their_unit() {
        let name = |name, unit, points| {
            let metric = Metric { name, unit, description: "", resource: testing::resource("a", ProcessId(1)), points };
            let families = Family::all(std::slice::from_ref(&metric));
            (families[0].name.clone(), families[0].unit)
        };
        let none = Vec::new;
        for (is, unit, points, expected) in [
            ("beyla_rs.export.spans", "{span}", Points::Counter(none()), ("beyla_rs_export_spans", "")),
            (
                "beyla_rs.export.queue.bytes",
                "By",
                Points::UpDownCounter(none()),
                ("beyla_rs_export_queue_bytes", "bytes"),
            ),
            ("cpu.use", "1", Points::Gauge(none()), ("cpu_use_ratio", "ratio")),
            ("x.time", "s", Points::Counter(none()), ("x_time_seconds", "seconds")),
            ("x_seconds_total", "s", Points::Counter(none()), ("x_seconds", "seconds")),
            ("1.a-b", "", Points::Gauge(none()), ("_1_a_b", "")),
        ] {
            assert_eq!(name(is, unit, points), (expected.0.to_owned(), expected.1));
        }
    }
}
