//! A histogram of one series: explicit or base-2 exponential buckets, with exemplars.

use super::exponential::Exponential;
use crate::{
    config::HistogramAggregation,
    model::metric::{Exemplar, ExponentialPoint, HistogramPoint},
};

/// An exemplar older than this at collection is dropped: its trace has long been delivered.
const EXEMPLAR_MAX_AGE_NS: u64 = 300_000_000_000;
/// Exemplars per histogram.
const MAX_EXEMPLARS: usize = 20;

#[derive(Debug)]
enum Buckets {
    Explicit { bounds: &'static [f64], counts: Box<[u64]> },
    Exponential(Exponential),
}

/// Values of one series.
#[derive(Debug)]
pub(super) struct Histogram {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
    buckets: Buckets,
    /// The latest of each bucket (of each octave, for exponential ones).
    exemplars: Vec<(i32, Exemplar)>,
}

impl Histogram {
    pub(super) fn new(aggregation: HistogramAggregation, bounds: &'static [f64]) -> Self {
        let buckets = match aggregation {
            HistogramAggregation::ExplicitBucketHistogram => {
                Buckets::Explicit { bounds, counts: vec![0; bounds.len() + 1].into_boxed_slice() }
            }
            HistogramAggregation::Base2ExponentialBucketHistogram => Buckets::Exponential(Exponential::default()),
        };
        Self { count: 0, sum: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY, buckets, exemplars: Vec::new() }
    }

    /// Adds a value, which is finite and not negative.
    pub(super) fn record(&mut self, value: f64, exemplar: Option<&Exemplar>) {
        self.count += 1;
        self.sum += value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        let slot = match &mut self.buckets {
            Buckets::Explicit { bounds, counts } => {
                let at = bounds.iter().take_while(|bound| value > **bound).count();
                if let Some(count) = counts.get_mut(at) {
                    *count += 1;
                }
                at as i32
            }
            Buckets::Exponential(exponential) => {
                exponential.record(value);
                value.log2().floor() as i32
            }
        };
        if let Some(exemplar) = exemplar {
            self.keep(slot, Exemplar { value, ..exemplar.clone() });
        }
    }

    fn keep(&mut self, slot: i32, exemplar: Exemplar) {
        if let Some((_, kept)) = self.exemplars.iter_mut().find(|(at, _)| *at == slot) {
            *kept = exemplar;
            return;
        }
        if self.exemplars.len() >= MAX_EXEMPLARS {
            let oldest = self.exemplars.iter().enumerate().min_by_key(|(_, (_, kept))| kept.at_unix_ns);
            if let Some((at, _)) = oldest {
                self.exemplars.swap_remove(at);
            }
        }
        self.exemplars.push((slot, exemplar));
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The point at a moment, without attributes; the last value came at `updated_unix_ns`.
    pub(super) fn point(&mut self, start_unix_ns: u64, updated_unix_ns: u64, now_unix_ns: u64) -> Point {
        self.exemplars.retain(|(_, kept)| now_unix_ns.saturating_sub(kept.at_unix_ns) <= EXEMPLAR_MAX_AGE_NS);
        let exemplars = self.exemplars.iter().map(|(_, exemplar)| exemplar.clone()).collect();
        let (count, sum, min, max) = (self.count, self.sum, self.min, self.max);
        let attributes = Vec::new();
        match &self.buckets {
            Buckets::Explicit { bounds, counts } => Point::Explicit(HistogramPoint {
                attributes,
                start_unix_ns,
                updated_unix_ns,
                count,
                sum,
                min,
                max,
                bounds,
                buckets: counts.to_vec(),
                exemplars,
            }),
            Buckets::Exponential(exponential) => Point::Exponential(ExponentialPoint {
                attributes,
                start_unix_ns,
                updated_unix_ns,
                count,
                sum,
                min,
                max,
                scale: exponential.scale(),
                zero_count: exponential.zero_count(),
                offset: exponential.offset(),
                buckets: exponential.buckets().to_vec(),
                exemplars,
            }),
        }
    }
}

/// A histogram's state, by kind.
#[derive(Debug)]
pub(super) enum Point {
    Explicit(HistogramPoint),
    Exponential(ExponentialPoint),
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::trace_context::{SpanId, TraceId};
    use crate::telemetry::instruments::{DURATION_BOUNDS_S, SIZE_BOUNDS_BYTES};

    fn explicit(point: Point) -> HistogramPoint {
        match point {
            Point::Explicit(point) => point,
            Point::Exponential(_) => panic!("not explicit"),
        }
    }

    fn exemplar(at_unix_ns: u64, n: u8) -> Exemplar {
        Exemplar { at_unix_ns, value: 0.0, trace_id: TraceId([n; 16]), span_id: SpanId([n; 8]) }
    }

    #[test]
    fn upper_bounds_are_inclusive() {
        let mut histogram = Histogram::new(HistogramAggregation::ExplicitBucketHistogram, DURATION_BOUNDS_S);
        for value in [0.0, 0.005, 0.0051, 10.0, 10.1] {
            histogram.record(value, None);
        }
        let point = explicit(histogram.point(1, 2, 2));
        assert_eq!(point.buckets, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!((point.count, point.min, point.max, point.start_unix_ns), (5, 0.0, 10.1, 1));
        assert!((point.sum - 20.1101).abs() < 1e-9);
    }

    #[test]
    fn an_empty_body_has_a_bucket_of_its_own() {
        let mut histogram = Histogram::new(HistogramAggregation::ExplicitBucketHistogram, SIZE_BOUNDS_BYTES);
        histogram.record(0.0, None);
        histogram.record(1.0, None);
        assert_eq!(explicit(histogram.point(0, 0, 0)).buckets[..3], [1, 1, 0]);
    }

    #[test]
    fn a_bucket_keeps_its_latest_exemplar() {
        let mut histogram = Histogram::new(HistogramAggregation::ExplicitBucketHistogram, DURATION_BOUNDS_S);
        histogram.record(0.001, Some(&exemplar(1, 1)));
        histogram.record(0.002, Some(&exemplar(2, 2)));
        histogram.record(0.003, None);
        histogram.record(0.2, Some(&exemplar(3, 3)));
        let kept = explicit(histogram.point(0, 4, 4)).exemplars;
        assert_eq!(kept, [Exemplar { value: 0.002, ..exemplar(2, 2) }, Exemplar { value: 0.2, ..exemplar(3, 3) }]);
    }

    #[test]
    fn old_exemplars_are_dropped() {
        let mut histogram = Histogram::new(HistogramAggregation::ExplicitBucketHistogram, DURATION_BOUNDS_S);
        histogram.record(0.001, Some(&exemplar(1, 1)));
        assert_eq!(explicit(histogram.point(0, 0, EXEMPLAR_MAX_AGE_NS + 1)).exemplars.len(), 1);
        assert_eq!(explicit(histogram.point(0, 0, EXEMPLAR_MAX_AGE_NS + 2)).exemplars.len(), 0);
    }

    #[test]
    fn exponential_exemplars_are_bounded() {
        let mut histogram = Histogram::new(HistogramAggregation::Base2ExponentialBucketHistogram, DURATION_BOUNDS_S);
        histogram.record(0.0, Some(&exemplar(0, 1)));
        for power in -30..30_i8 {
            histogram.record(f64::from(power).exp2(), Some(&exemplar(u64::from(power.unsigned_abs()) + 1, 1)));
        }
        let Point::Exponential(point) = histogram.point(0, 40, 40) else { panic!("not exponential") };
        assert_eq!((point.exemplars.len(), point.count, point.zero_count), (MAX_EXEMPLARS, 61, 1));
        assert_eq!(point.buckets.iter().sum::<u64>(), 60);
    }
}
