//! Metrics as they are exported.

use std::sync::Arc;

use super::{
    span::{Attribute, Resource},
    trace_context::{SpanId, TraceId},
};

/// One metric of one resource, as collected at a moment. Times are ns since the Unix epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Metric {
    /// Name, as the semantic conventions have it.
    pub name: &'static str,
    /// Unit, in UCUM.
    pub unit: &'static str,
    /// One sentence.
    pub description: &'static str,
    /// What it is about.
    pub resource: Arc<Resource>,
    /// Its points.
    pub points: Points,
}

/// A metric's points, by kind.
#[derive(Clone, Debug, PartialEq)]
pub enum Points {
    /// Explicit-bucket histograms.
    Histogram(Vec<HistogramPoint>),
    /// Base-2 exponential histograms.
    ExponentialHistogram(Vec<ExponentialPoint>),
    /// A sum that only grows.
    Counter(Vec<NumberPoint>),
    /// A value that goes up and down, summed over instances.
    UpDownCounter(Vec<NumberPoint>),
    /// The present value.
    Gauge(Vec<NumberPoint>),
}

impl Metric {
    /// Leaves out histograms that have had no value since `since_unix_ns`.
    pub fn retain_updated(&mut self, since_unix_ns: u64) {
        match &mut self.points {
            Points::Histogram(points) => points.retain(|point| point.updated_unix_ns >= since_unix_ns),
            Points::ExponentialHistogram(points) => points.retain(|point| point.updated_unix_ns >= since_unix_ns),
            Points::Counter(_) | Points::UpDownCounter(_) | Points::Gauge(_) => {}
        }
    }

    /// Whether it has no points.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        match &self.points {
            Points::Histogram(points) => points.is_empty(),
            Points::ExponentialHistogram(points) => points.is_empty(),
            Points::Counter(points) | Points::UpDownCounter(points) | Points::Gauge(points) => points.is_empty(),
        }
    }
}

impl Points {
    /// The attributes of each point.
    pub fn attributes_mut(&mut self) -> Box<dyn Iterator<Item = &mut Vec<Attribute>> + '_> {
        match self {
            Self::Histogram(points) => Box::new(points.iter_mut().map(|point| &mut point.attributes)),
            Self::ExponentialHistogram(points) => Box::new(points.iter_mut().map(|point| &mut point.attributes)),
            Self::Counter(points) | Self::UpDownCounter(points) | Self::Gauge(points) => {
                Box::new(points.iter_mut().map(|point| &mut point.attributes))
            }
        }
    }

    /// Leaves out the examples.
    pub fn clear_exemplars(&mut self) {
        match self {
            Self::Histogram(points) => points.iter_mut().for_each(|point| point.exemplars.clear()),
            Self::ExponentialHistogram(points) => points.iter_mut().for_each(|point| point.exemplars.clear()),
            Self::Counter(_) | Self::UpDownCounter(_) | Self::Gauge(_) => {}
        }
    }
}

/// A value with its attributes.
#[derive(Clone, Debug, PartialEq)]
pub struct NumberPoint {
    /// Attributes.
    pub attributes: Vec<Attribute>,
    /// Since when it counts.
    pub start_unix_ns: u64,
    /// The value.
    pub value: f64,
}

/// A histogram with the given upper bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct HistogramPoint {
    /// Attributes.
    pub attributes: Vec<Attribute>,
    /// Since when it counts.
    pub start_unix_ns: u64,
    /// When the last value came.
    pub updated_unix_ns: u64,
    /// Number of values.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// Upper bounds, inclusive, ascending; `buckets` has one entry more.
    pub bounds: Bounds,
    /// Values per bucket.
    pub buckets: Vec<u64>,
    /// The same values for scrapers that take native histograms, where those are kept.
    pub native: Option<Box<NativeHistogram>>,
    /// Examples.
    pub exemplars: Vec<Exemplar>,
}

/// Upper bounds of buckets, the same for many histograms.
#[derive(Clone, Debug)]
pub enum Bounds {
    /// Those of the program itself.
    Static(&'static [f64]),
    /// Those that were configured.
    Shared(Arc<[f64]>),
}

impl std::ops::Deref for Bounds {
    type Target = [f64];

    fn deref(&self) -> &[f64] {
        match self {
            Self::Static(bounds) => bounds,
            Self::Shared(bounds) => bounds,
        }
    }
}

impl PartialEq for Bounds {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

/// Prometheus's native histogram: base-2 exponential buckets of a resolution that it names. It may begin anew earlier than the
/// histogram that it stands beside, so it has a start and a count of its own.
#[derive(Clone, Debug, PartialEq)]
pub struct NativeHistogram {
    /// Since when it counts.
    pub start_unix_ns: u64,
    /// Number of values.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The base is `2^(2^-schema)`; from -4 to 8.
    pub schema: i32,
    /// Values that are zero.
    pub zero_count: u64,
    /// Index of the first of `buckets`, as OpenTelemetry counts: bucket `i` is `(base^i, base^(i+1)]`.
    pub offset: i32,
    /// Values per bucket.
    pub buckets: Vec<u64>,
    /// What the buckets of the histogram beside it held at `start_unix_ns`; empty: nothing.
    pub before: Vec<u64>,
}

/// A base-2 exponential histogram, as OpenTelemetry's data model defines it.
#[derive(Clone, Debug, PartialEq)]
pub struct ExponentialPoint {
    /// Attributes.
    pub attributes: Vec<Attribute>,
    /// Since when it counts.
    pub start_unix_ns: u64,
    /// When the last value came.
    pub updated_unix_ns: u64,
    /// Number of values.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// The smallest.
    pub min: f64,
    /// The largest.
    pub max: f64,
    /// The base is `2^(2^-scale)`.
    pub scale: i32,
    /// Values that are zero.
    pub zero_count: u64,
    /// Index of the first of `buckets`.
    pub offset: i32,
    /// Values per bucket (positive range; nothing here is negative).
    pub buckets: Vec<u64>,
    /// Examples.
    pub exemplars: Vec<Exemplar>,
}

/// A value with the span it came from.
#[derive(Clone, Debug, PartialEq)]
pub struct Exemplar {
    /// When.
    pub at_unix_ns: u64,
    /// The value.
    pub value: f64,
    /// Its trace.
    pub trace_id: TraceId,
    /// Its span.
    pub span_id: SpanId,
}
