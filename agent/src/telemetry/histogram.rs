//! A histogram of one series: explicit or base-2 exponential buckets, native ones beside explicit ones, and exemplars.

use std::{sync::Arc, time::Duration};

use super::{
    exponential::{Exponential, Size},
    tail_decisions::TailDecisions,
};
use crate::{
    config::HistogramAggregation,
    model::metric::{Bounds, Exemplar, ExponentialPoint, HistogramPoint, NativeHistogram},
};

/// An exemplar older than this at collection is dropped: its trace has long been delivered.
const EXEMPLAR_MAX_AGE_NS: u64 = 300_000_000_000;
/// For so long an exemplar of a bucket stands against those of smaller values.
const EXEMPLAR_STANDS_NS: u64 = 60_000_000_000;
/// What tail rules have not decided for so long they have: it was forgotten.
const UNDECIDED_MAX_NS: u64 = 120_000_000_000;
/// Exemplars per histogram.
const MAX_EXEMPLARS: usize = 20;

/// How values are kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Config {
    /// Kind of buckets.
    pub(crate) aggregation: HistogramAggregation,
    /// Other upper bounds of explicit buckets than the instruments', of durations, of request and of response sizes.
    pub(crate) bounds: [Option<Arc<[f64]>>; 3],
    /// Of exponential buckets.
    pub(crate) exponential: Size,
    /// Native histograms beside explicit buckets; `None`: there are none. Of a service they are kept from when somebody asks for them.
    pub(crate) native: Option<Native>,
}

/// How native histograms are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Native {
    /// Of their buckets.
    pub(crate) size: Size,
    /// One that had to become coarser begins anew after so long.
    pub(crate) min_reset: Duration,
}

#[derive(Debug)]
enum Buckets {
    Explicit { bounds: Bounds, counts: Box<[u64]>, native: Option<Box<NativeBuckets>> },
    Exponential(Exponential),
}

#[derive(Debug)]
struct NativeBuckets {
    exponential: Exponential,
    min_reset: Duration,
    count: u64,
    sum: f64,
    /// Since when it counts; `None`: since the series began.
    start_unix_ns: Option<u64>,
    /// When its first value came.
    first_unix_ns: u64,
    /// What the explicit buckets held then.
    before: Vec<u64>,
}

impl NativeBuckets {
    fn new(config: Native) -> Self {
        let (exponential, min_reset) = (Exponential::new(config.size), config.min_reset);
        Self { exponential, min_reset, count: 0, sum: 0.0, start_unix_ns: None, first_unix_ns: 0, before: Vec::new() }
    }

    fn record(&mut self, value: f64, at_unix_ns: u64, counts: &[u64]) {
        let age_ns = u128::from(at_unix_ns.saturating_sub(self.first_unix_ns));
        if self.exponential.is_coarser() && age_ns >= self.min_reset.as_nanos() {
            self.exponential.clear();
            (self.count, self.sum) = (0, 0.0);
            self.start_unix_ns = Some(at_unix_ns);
            self.before = counts.to_vec();
        }
        if self.count == 0 {
            self.first_unix_ns = at_unix_ns;
        }
        self.count += 1;
        self.sum += value;
        self.exponential.record(value);
    }

    /// One that begins now, beside buckets that hold something.
    fn begun(config: Native, at_unix_ns: u64, counts: &[u64]) -> Self {
        Self { start_unix_ns: Some(at_unix_ns), before: counts.to_vec(), ..Self::new(config) }
    }

    fn collect(&self, start_unix_ns: u64) -> NativeHistogram {
        NativeHistogram {
            start_unix_ns: self.start_unix_ns.unwrap_or(start_unix_ns),
            count: self.count,
            sum: self.sum,
            schema: self.exponential.scale(),
            zero_count: self.exponential.zero_count(),
            offset: self.exponential.offset(),
            buckets: self.exponential.buckets().to_vec(),
            before: self.before.clone(),
        }
    }
}

/// Examples of one bucket (of one octave, of exponential ones).
#[derive(Debug)]
struct Slot {
    at: i32,
    /// Of a span that was kept.
    kept: Option<Exemplar>,
    /// Of one that tail rules have yet to decide about.
    undecided: Option<Exemplar>,
}

impl Slot {
    fn offer(&mut self, exemplar: Exemplar, tail_decisions: &TailDecisions) {
        self.settle(exemplar.at_unix_ns, tail_decisions);
        match tail_decisions.of(exemplar.trace_id) {
            Some(true) => prefer(&mut self.kept, exemplar),
            Some(false) => {}
            None => prefer(&mut self.undecided, exemplar),
        }
    }

    /// Takes up what was decided meanwhile.
    fn settle(&mut self, now_unix_ns: u64, tail_decisions: &TailDecisions) {
        if let Some(waiting) = &self.undecided {
            match tail_decisions.of(waiting.trace_id) {
                Some(true) => {
                    if let Some(decided) = self.undecided.take() {
                        prefer(&mut self.kept, decided);
                    }
                }
                Some(false) => self.undecided = None,
                None if now_unix_ns.saturating_sub(waiting.at_unix_ns) > UNDECIDED_MAX_NS => self.undecided = None,
                None => {}
            }
        }
    }
}

/// Of two the one with the larger value, unless that is old.
fn prefer(kept: &mut Option<Exemplar>, other: Exemplar) {
    let stands = |kept: &Exemplar| {
        kept.value > other.value && other.at_unix_ns.saturating_sub(kept.at_unix_ns) <= EXEMPLAR_STANDS_NS
    };
    if !kept.as_ref().is_some_and(stands) {
        *kept = Some(other);
    }
}

/// Values of one series.
#[derive(Debug)]
pub(super) struct Histogram {
    count: u64,
    sum: f64,
    min: f64,
    max: f64,
    buckets: Buckets,
    exemplars: Vec<Slot>,
}

impl Histogram {
    /// Keeps native buckets too from now on, which know nothing of what came before.
    pub(super) fn keep_native(&mut self, config: Native, now_unix_ns: u64) {
        if let Buckets::Explicit { counts, native: native @ None, .. } = &mut self.buckets {
            *native = Some(Box::new(NativeBuckets::begun(config, now_unix_ns, counts)));
        }
    }

    pub(super) fn new(config: &Config, bounds: Bounds) -> Self {
        let buckets = match config.aggregation {
            HistogramAggregation::ExplicitBucketHistogram => {
                let native = config.native.map(|native| Box::new(NativeBuckets::new(native)));
                let counts = vec![0; bounds.len() + 1].into_boxed_slice();
                Buckets::Explicit { bounds, counts, native }
            }
            HistogramAggregation::Base2ExponentialBucketHistogram => {
                Buckets::Exponential(Exponential::new(config.exponential))
            }
        };
        Self { count: 0, sum: 0.0, min: f64::INFINITY, max: f64::NEG_INFINITY, buckets, exemplars: Vec::new() }
    }

    /// Adds a value, which is finite and not negative.
    pub(super) fn record(
        &mut self,
        value: f64,
        at_unix_ns: u64,
        exemplar: Option<&Exemplar>,
        tail_decisions: &TailDecisions,
    ) {
        self.count += 1;
        self.sum += value;
        self.min = self.min.min(value);
        self.max = self.max.max(value);
        let slot = match &mut self.buckets {
            Buckets::Explicit { bounds, counts, native } => {
                if let Some(native) = native {
                    native.record(value, at_unix_ns, counts);
                }
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
            self.keep(slot, Exemplar { value, ..exemplar.clone() }, tail_decisions);
        }
    }

    fn keep(&mut self, at: i32, exemplar: Exemplar, tail_decisions: &TailDecisions) {
        if let Some(slot) = self.exemplars.iter_mut().find(|slot| slot.at == at) {
            return slot.offer(exemplar, tail_decisions);
        }
        if self.exemplars.len() >= MAX_EXEMPLARS {
            let latest = |slot: &Slot| slot.kept.iter().chain(&slot.undecided).map(|kept| kept.at_unix_ns).max();
            let oldest = self.exemplars.iter().enumerate().min_by_key(|(_, slot)| latest(slot));
            if let Some((at, _)) = oldest {
                self.exemplars.swap_remove(at);
            }
        }
        let mut slot = Slot { at, kept: None, undecided: None };
        slot.offer(exemplar, tail_decisions);
        self.exemplars.push(slot);
    }

    pub(super) const fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// The point at a moment, without attributes; the last value came at `updated_unix_ns`.
    pub(super) fn point(
        &mut self,
        start_unix_ns: u64,
        updated_unix_ns: u64,
        now_unix_ns: u64,
        tail_decisions: &TailDecisions,
    ) -> Point {
        let is_new = |kept: &Exemplar| now_unix_ns.saturating_sub(kept.at_unix_ns) <= EXEMPLAR_MAX_AGE_NS;
        self.exemplars.retain_mut(|slot| {
            slot.settle(now_unix_ns, tail_decisions);
            slot.kept.take_if(|kept| !is_new(kept));
            slot.kept.is_some() || slot.undecided.is_some()
        });
        let exemplars = self.exemplars.iter().filter_map(|slot| slot.kept.clone()).collect();
        let (count, sum, min, max) = (self.count, self.sum, self.min, self.max);
        let attributes = Vec::new();
        match &self.buckets {
            Buckets::Explicit { bounds, counts, native } => Point::Explicit(HistogramPoint {
                attributes,
                start_unix_ns,
                updated_unix_ns,
                count,
                sum,
                min,
                max,
                bounds: bounds.clone(),
                buckets: counts.to_vec(),
                native: native.as_ref().map(|native| Box::new(native.collect(start_unix_ns))),
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

    fn histogram(bounds: &'static [f64]) -> Histogram {
        Histogram::new(&Config::default(), Bounds::Static(bounds))
    }

    fn exponential(bounds: &'static [f64]) -> Histogram {
        let aggregation = HistogramAggregation::Base2ExponentialBucketHistogram;
        Histogram::new(&Config { aggregation, ..Config::default() }, Bounds::Static(bounds))
    }

    fn kept() -> TailDecisions {
        TailDecisions::default()
    }

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
        let mut histogram = histogram(DURATION_BOUNDS_S);
        for value in [0.0, 0.005, 0.0051, 10.0, 10.1] {
            histogram.record(value, 0, None, &kept());
        }
        let point = explicit(histogram.point(1, 2, 2, &kept()));
        assert_eq!(point.buckets, [2, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1]);
        assert_eq!((point.count, point.min, point.max, point.start_unix_ns), (5, 0.0, 10.1, 1));
        assert!((point.sum - 20.1101).abs() < 1e-9);
    }

    #[test]
    fn an_empty_body_has_a_bucket_of_its_own() {
        let mut histogram = histogram(SIZE_BOUNDS_BYTES);
        histogram.record(0.0, 0, None, &kept());
        histogram.record(1.0, 0, None, &kept());
        assert_eq!(explicit(histogram.point(0, 0, 0, &kept())).buckets[..3], [1, 1, 0]);
    }

    #[test]
    fn a_bucket_keeps_the_exemplar_of_its_largest_value_for_a_while() {
        let mut histogram = histogram(DURATION_BOUNDS_S);
        histogram.record(0.001, 0, Some(&exemplar(1, 1)), &kept());
        histogram.record(0.002, 0, Some(&exemplar(2, 2)), &kept());
        histogram.record(0.0015, 0, Some(&exemplar(3, 9)), &kept());
        histogram.record(0.003, 0, None, &kept());
        histogram.record(0.2, 0, Some(&exemplar(3, 3)), &kept());
        let kept = explicit(histogram.point(0, 4, 4, &kept())).exemplars;
        assert_eq!(kept, [Exemplar { value: 0.002, ..exemplar(2, 2) }, Exemplar { value: 0.2, ..exemplar(3, 3) }]);
        let later = 3 + EXEMPLAR_STANDS_NS;
        histogram.record(0.001, 0, Some(&exemplar(later, 4)), &self::kept());
        let kept = explicit(histogram.point(0, later, later, &self::kept())).exemplars;
        assert_eq!(kept[0], Exemplar { value: 0.001, ..exemplar(later, 4) });
    }

    #[test]
    fn old_exemplars_are_dropped() {
        let mut histogram = histogram(DURATION_BOUNDS_S);
        histogram.record(0.001, 0, Some(&exemplar(1, 1)), &kept());
        assert_eq!(explicit(histogram.point(0, 0, EXEMPLAR_MAX_AGE_NS + 1, &kept())).exemplars.len(), 1);
        assert_eq!(explicit(histogram.point(0, 0, EXEMPLAR_MAX_AGE_NS + 2, &kept())).exemplars.len(), 0);
    }

    #[test]
    fn exponential_exemplars_are_bounded() {
        let mut histogram = exponential(DURATION_BOUNDS_S);
        histogram.record(0.0, 0, Some(&exemplar(0, 1)), &kept());
        for power in -30..30_i8 {
            histogram.record(
                f64::from(power).exp2(),
                0,
                Some(&exemplar(u64::from(power.unsigned_abs()) + 1, 1)),
                &kept(),
            );
        }
        let Point::Exponential(point) = histogram.point(0, 40, 40, &kept()) else { panic!("not exponential") };
        assert_eq!((point.exemplars.len(), point.count, point.zero_count), (MAX_EXEMPLARS, 61, 1));
        assert_eq!(point.buckets.iter().sum::<u64>(), 60);
    }

    #[test]
    fn exemplars_are_of_traces_that_tail_rules_have_kept() {
        let mut tail_decisions = TailDecisions::default();
        tail_decisions.set_in_force(true);
        let mut histogram = histogram(DURATION_BOUNDS_S);
        let shown = |histogram: &mut Histogram, tail_decisions: &TailDecisions| -> Vec<u8> {
            let point = explicit(histogram.point(0, 9, 9, tail_decisions));
            point.exemplars.iter().map(|exemplar| exemplar.trace_id.0[0]).collect()
        };
        histogram.record(0.002, 1, Some(&exemplar(1, 1)), &tail_decisions);
        histogram.record(0.2, 1, Some(&exemplar(1, 2)), &tail_decisions);
        assert_eq!(shown(&mut histogram, &tail_decisions), Vec::<u8>::new(), "nothing is decided yet");
        tail_decisions.add(TraceId([1; 16]), false);
        tail_decisions.add(TraceId([2; 16]), true);
        assert_eq!(shown(&mut histogram, &tail_decisions), [2]);
        // A slower one that is undecided takes nothing away, and what comes late is known.
        histogram.record(0.24, 2, Some(&exemplar(2, 3)), &tail_decisions);
        assert_eq!(shown(&mut histogram, &tail_decisions), [2]);
        histogram.record(0.22, 2, Some(&exemplar(2, 2)), &tail_decisions);
        assert_eq!(shown(&mut histogram, &tail_decisions), [2]);
        // What is never decided is forgotten.
        let later = 3 + UNDECIDED_MAX_NS;
        drop(histogram.point(0, later, later, &tail_decisions));
        assert!(histogram.exemplars.iter().all(|slot| slot.undecided.is_none()));
    }

    #[test]
    fn native_buckets_are_kept_beside_and_begin_anew_once_they_have_become_coarse() {
        let native = Native { size: Size { max_scale: 3, max_buckets: 4 }, min_reset: Duration::from_nanos(1_000) };
        let mut histogram =
            Histogram::new(&Config { native: Some(native), ..Config::default() }, Bounds::Static(DURATION_BOUNDS_S));
        for (value, at) in [(0.1, 10), (0.0, 20), (0.3, 30)] {
            histogram.record(value, at, None, &kept());
        }
        let of = |histogram: &mut Histogram| *explicit(histogram.point(5, 40, 40, &kept())).native.unwrap();
        let first = of(&mut histogram);
        assert_eq!((first.count, first.zero_count, first.start_unix_ns), (3, 1, 5));
        assert_eq!((first.buckets.iter().sum::<u64>(), first.before.len()), (2, 0));
        assert!(first.schema < 3 && first.buckets.len() <= 4);
        histogram.record(0.3, 1_009, None, &kept());
        assert_eq!(of(&mut histogram).count, 4, "not yet");
        histogram.record(0.3, 1_010, None, &kept());
        let anew = of(&mut histogram);
        assert_eq!((anew.count, anew.schema, anew.start_unix_ns, anew.sum), (1, 3, 1_010, 0.3));
        assert_eq!(anew.before.iter().sum::<u64>(), 4, "what was in explicit buckets, which go on");
        assert_eq!(explicit(histogram.point(5, 40, 40, &kept())).count, 5);
    }
}
