//! The two text formats: the classic one (0.0.4) and OpenMetrics 1.0, which has exemplars. They differ in little, so one writer
//! makes both.
//!
//! The crates that encode them (`prometheus`, `prometheus-client`) hold the metrics themselves, as an instrumented program does; what
//! is written here was collected, with labels that are known only then.

use std::fmt::Write as _;

use super::{
    family::{Family, Identities, Kind, LabelNames, PROCESS_PID},
    format::Format,
};
use crate::model::{
    metric::{Exemplar, ExponentialPoint, HistogramPoint, Metric, NumberPoint, Points},
    span::Attribute,
};

/// The page of all metrics.
pub(super) fn page(metrics: &[Metric], format: Format) -> String {
    let names = LabelNames::of(metrics);
    let identities = Identities::new(metrics);
    let mut writer = Writer {
        out: String::new(),
        is_open_metrics: format == Format::OpenMetrics,
        names: &names,
        bounds: &[],
        shown_bounds: Vec::new(),
        series: String::new(),
    };
    writer.target_info(&identities);
    let sets: Vec<String> = identities.sets.iter().map(|set| shown_labels(set.labels.iter().map(pair))).collect();
    for family in Family::all(metrics) {
        writer.family(&family, &identities, &sets);
    }
    if writer.is_open_metrics {
        writer.out.push_str("# EOF\n");
    }
    writer.out
}

struct Writer<'a> {
    out: String,
    is_open_metrics: bool,
    names: &'a LabelNames<'a>,
    /// Bounds as they are written, which most series of a family share.
    bounds: &'a [f64],
    shown_bounds: Vec<String>,
    /// The labels of the series at hand.
    series: String,
}

impl<'a> Writer<'a> {
    fn head(&mut self, name: &str, kind: &str, unit: &str, help: &str) {
        let mut help = help.replace('\\', "\\\\").replace('\n', "\\n");
        if self.is_open_metrics {
            help = help.replace('"', "\\\"");
        }
        push(&mut self.out, format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
        if self.is_open_metrics && !unit.is_empty() {
            push(&mut self.out, format_args!("# UNIT {name} {unit}\n"));
        }
    }

    fn target_info(&mut self, identities: &Identities<'_>) {
        if identities.sets.is_empty() {
            return;
        }
        let (name, kind) = if self.is_open_metrics { ("target", "info") } else { ("target_info", "gauge") };
        self.head(name, kind, "", "The resource of each service instance");
        for set in &identities.sets {
            let labels = shown_labels(set.labels.iter().map(pair));
            let rest = set.rest();
            let rest = shown_labels(rest.iter().map(|(name, value)| (name.as_str(), value.as_ref())));
            let comma = if rest.is_empty() { "" } else { "," };
            push(&mut self.out, format_args!("target_info{{{labels}{comma}{rest}}} 1\n"));
        }
    }

    fn family(&mut self, family: &Family<'a>, identities: &Identities<'_>, sets: &[String]) {
        let Family { name, unit, help, kind, metrics } = family;
        let total = format!("{name}_total");
        let info = name.strip_suffix("_info").filter(|_| *kind == Kind::Gauge);
        let (shown, sample, kind) = match (kind, info) {
            (Kind::Counter, _) if self.is_open_metrics => (name.as_str(), total.as_str(), "counter"),
            (Kind::Counter, _) => (total.as_str(), total.as_str(), "counter"),
            (_, Some(info)) if self.is_open_metrics => (info, name.as_str(), "info"),
            _ => (name.as_str(), name.as_str(), kind.name()),
        };
        self.head(shown, kind, unit, help);
        for metric in metrics {
            let identity = sets.get(identities.index(&metric.resource)).map_or("", String::as_str);
            match &metric.points {
                Points::Counter(points) | Points::UpDownCounter(points) | Points::Gauge(points) => {
                    points.iter().for_each(|point| self.number(sample, point, identity));
                }
                Points::Histogram(points) => points.iter().for_each(|point| self.histogram(name, point, identity)),
                Points::ExponentialHistogram(points) => {
                    points.iter().for_each(|point| self.exponential(name, point, identity));
                }
            }
        }
    }

    fn number(&mut self, name: &str, point: &NumberPoint, identity: &str) {
        self.set_series(&point.attributes, identity);
        let Self { out, series, .. } = self;
        push(out, format_args!("{name}{{{series}}} {}\n", Float(point.value)));
    }

    fn histogram(&mut self, name: &str, point: &'a HistogramPoint, identity: &str) {
        self.set_series(&point.attributes, identity);
        if *self.bounds != *point.bounds {
            self.bounds = &point.bounds;
            self.shown_bounds = point.bounds.iter().map(|bound| self.bound(*bound)).collect();
        }
        let Self { out, series, shown_bounds, is_open_metrics, .. } = self;
        let mut below = 0_u64;
        let mut lower = f64::NEG_INFINITY;
        for ((bound, shown), values) in point.bounds.iter().zip(shown_bounds).zip(&point.buckets) {
            below = below.saturating_add(*values);
            let exemplar = slowest(&point.exemplars, lower, *bound).filter(|_| *is_open_metrics);
            bucket(name, series, shown, below, exemplar, out);
            lower = *bound;
        }
        let exemplar = slowest(&point.exemplars, lower, f64::INFINITY).filter(|_| *is_open_metrics);
        bucket(name, series, "+Inf", point.count, exemplar, out);
        sum_and_count(name, series, point.sum, point.count, out);
    }

    /// Text has no exponential buckets, so each becomes one with its upper bound.
    fn exponential(&mut self, name: &str, point: &ExponentialPoint, identity: &str) {
        self.set_series(&point.attributes, identity);
        let base = (-f64::from(point.scale)).exp2().exp2();
        let zero = (point.zero_count > 0).then_some((0.0, point.zero_count));
        let positive = point.buckets.iter().enumerate().map(|(index, count)| {
            let upper = f64::from(point.offset) + index as f64 + 1.0;
            (base.powf(upper), *count)
        });
        let mut below = 0_u64;
        let mut lower = f64::NEG_INFINITY;
        for (bound, values) in zero.into_iter().chain(positive).filter(|(bound, _)| bound.is_finite()) {
            below = below.saturating_add(values);
            let shown = self.bound(bound);
            let exemplar = slowest(&point.exemplars, lower, bound).filter(|_| self.is_open_metrics);
            bucket(name, &self.series, &shown, below, exemplar, &mut self.out);
            lower = bound;
        }
        let exemplar = slowest(&point.exemplars, lower, f64::INFINITY).filter(|_| self.is_open_metrics);
        bucket(name, &self.series, "+Inf", point.count, exemplar, &mut self.out);
        sum_and_count(name, &self.series, point.sum, point.count, &mut self.out);
    }

    /// OpenMetrics asks for a bound as Go's and Python's libraries write a float (`1.0`).
    fn bound(&self, bound: f64) -> String {
        let shown = Float(bound).to_string();
        if self.is_open_metrics && shown.bytes().all(|byte| byte.is_ascii_digit() || byte == b'-') {
            return shown + ".0";
        }
        shown
    }

    fn set_series(&mut self, attributes: &[Attribute], identity: &str) {
        self.series.clear();
        self.series.push_str(identity);
        for (name, value) in self.names.labels(attributes) {
            // What tells the instance apart already is not said twice.
            if name == PROCESS_PID && identity.contains(",process_pid=\"") {
                continue;
            }
            push_label((name, &value), &mut self.series);
        }
    }
}

/// The exemplar of a bucket: of several that of the largest value.
pub(super) fn slowest(exemplars: &[Exemplar], lower: f64, upper: f64) -> Option<&Exemplar> {
    let within = exemplars.iter().filter(|exemplar| exemplar.value > lower && exemplar.value <= upper);
    within.max_by(|a, b| a.value.total_cmp(&b.value))
}

fn bucket(name: &str, series: &str, bound: &str, below: u64, exemplar: Option<&Exemplar>, out: &mut String) {
    let comma = if series.is_empty() { "" } else { "," };
    for part in [name, "_bucket{", series, comma, "le=\"", bound, "\"} "] {
        out.push_str(part);
    }
    out.push_str(itoa::Buffer::new().format(below));
    if let Some(Exemplar { at_unix_ns, value, trace_id, span_id }) = exemplar {
        let at = Seconds(*at_unix_ns);
        push(out, format_args!(" # {{trace_id=\"{trace_id}\",span_id=\"{span_id}\"}} {} {at}", Float(*value)));
    }
    out.push('\n');
}

fn sum_and_count(name: &str, series: &str, sum: f64, count: u64, out: &mut String) {
    push(out, format_args!("{name}_sum{{{series}}} {}\n{name}_count{{{series}}} {count}\n", Float(sum)));
}

fn pair<'a>((name, value): &'a (&'static str, String)) -> (&'a str, &'a str) {
    (name, value)
}

fn shown_labels<'a>(labels: impl Iterator<Item = (&'a str, &'a str)>) -> String {
    labels.fold(String::new(), |mut out, label| {
        push_label(label, &mut out);
        out
    })
}

/// `name="value"`, with a comma before it if it is not the first.
fn push_label((name, value): (&str, &str), out: &mut String) {
    if !out.is_empty() {
        out.push(',');
    }
    out.push_str(name);
    out.push_str("=\"");
    for part in value.split_inclusive(['\\', '"', '\n']) {
        match part.strip_suffix(['\\', '"', '\n']) {
            None => out.push_str(part),
            Some(plain) => {
                out.push_str(plain);
                out.push('\\');
                out.push(match part.as_bytes().last() {
                    Some(b'\n') => 'n',
                    Some(b'"') => '"',
                    _ => '\\',
                });
            }
        }
    }
    out.push('"');
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

/// Nanoseconds as seconds with three digits behind the point.
struct Seconds(u64);

impl std::fmt::Display for Seconds {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let ms = self.0 / 1_000_000;
        write!(f, "{}.{:03}", ms / 1000, ms % 1000)
    }
}

fn push(out: &mut String, text: std::fmt::Arguments<'_>) {
    // Writing to a string cannot fail.
    let _written = out.write_fmt(text).is_ok();
}
