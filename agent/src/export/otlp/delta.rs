//! Delta temporality: what sources count since their start becomes what they counted since the last export *that
//! arrived*. So nothing is lost with a request that failed: the next one covers its time too.

use std::{collections::HashMap, sync::Arc};

use prost::Message;

use super::{encode, metric_encode::Fragment};
use crate::{
    export::config::Temporality,
    model::{
        metric::{ExponentialPoint, HistogramPoint, Metric, NumberPoint, Points},
        span::{Attribute, Resource},
    },
};

/// What was sent last, of each series that still exists: bounded by what the sources keep.
#[derive(Default)]
pub(super) struct Deltas {
    sent: HashMap<Series, Prior>,
    /// Number of the present export.
    round: u64,
}

/// A series' identity: resource and attributes as they are encoded.
#[derive(PartialEq, Eq, Hash)]
struct Series {
    resource: Arc<[u8]>,
    name: &'static str,
    attributes: Vec<u8>,
}

/// What will have been sent once requests have arrived: for each metric, for each point. Empty for metrics that are not
/// turned into deltas.
pub(super) struct Pending(Vec<Vec<Option<(Series, Prior)>>>);

struct Prior {
    at_unix_ns: u64,
    point: PriorPoint,
    /// The last round that met the series.
    round: u64,
}

enum PriorPoint {
    Number(NumberPoint),
    Histogram(HistogramPoint),
    Exponential(ExponentialPoint),
}

impl Deltas {
    /// Turns the points, of now, that the preference wants as deltas into such. Forgets series that are no more.
    pub(super) fn apply(&mut self, metrics: &mut [Metric], now_unix_ns: u64, preference: Temporality) -> Pending {
        self.round += 1;
        let pending = metrics.iter_mut().map(|metric| {
            let (counters, histograms) = (preference == Temporality::Delta, preference != Temporality::Cumulative);
            let (name, resource) = (metric.name, &metric.resource);
            match &mut metric.points {
                Points::Counter(points) if counters => self.subtract(name, resource, points, now_unix_ns),
                Points::Histogram(points) if histograms => self.subtract(name, resource, points, now_unix_ns),
                Points::ExponentialHistogram(points) if histograms => {
                    self.subtract(name, resource, points, now_unix_ns)
                }
                _ => Vec::new(),
            }
        });
        let pending = Pending(pending.collect());
        let round = self.round;
        self.sent.retain(|_, prior| prior.round == round);
        pending
    }

    fn subtract<P: Point>(
        &mut self,
        name: &'static str,
        resource: &Resource,
        points: &mut [P],
        now_unix_ns: u64,
    ) -> Vec<Option<(Series, Prior)>> {
        let resource: Arc<[u8]> = encode::resource(resource).encode_to_vec().into();
        let step = |point: &mut P| {
            let mut attributes = Vec::new();
            for attribute in encode::attributes(point.attributes()) {
                attributes.extend(attribute.encode_length_delimited_to_vec());
            }
            let series = Series { resource: Arc::clone(&resource), name, attributes };
            let now = Prior { at_unix_ns: now_unix_ns, point: point.clone().prior(), round: self.round };
            if let Some(prior) = self.sent.get_mut(&series) {
                prior.round = self.round;
                point.subtract(prior);
            }
            Some((series, now))
        };
        points.iter_mut().map(step).collect()
    }

    /// These points have arrived.
    pub(super) fn commit(&mut self, pending: &mut Pending, pieces: &[Fragment]) {
        for piece in pieces {
            let points = pending.0.get_mut(piece.metric).and_then(|points| points.get_mut(piece.points.clone()));
            for (series, prior) in points.into_iter().flatten().filter_map(Option::take) {
                self.sent.insert(series, prior);
            }
        }
    }
}

/// A point that can be told apart from its earlier self.
trait Point: Clone {
    fn attributes(&self) -> &[Attribute];
    fn prior(self) -> PriorPoint;
    /// Leaves what came since `prior`; or itself, if it was reset since.
    fn subtract(&mut self, prior: &Prior);
}

impl Point for NumberPoint {
    fn attributes(&self) -> &[Attribute] {
        &self.attributes
    }

    fn prior(self) -> PriorPoint {
        PriorPoint::Number(self)
    }

    fn subtract(&mut self, prior: &Prior) {
        let PriorPoint::Number(before) = &prior.point else { return };
        if self.start_unix_ns == before.start_unix_ns && self.value >= before.value {
            self.value -= before.value;
            self.start_unix_ns = prior.at_unix_ns;
        }
    }
}

impl Point for HistogramPoint {
    fn attributes(&self) -> &[Attribute] {
        &self.attributes
    }

    fn prior(mut self) -> PriorPoint {
        self.exemplars = Vec::new();
        self.native = None;
        PriorPoint::Histogram(self)
    }

    fn subtract(&mut self, prior: &Prior) {
        let PriorPoint::Histogram(before) = &prior.point else { return };
        if self.start_unix_ns != before.start_unix_ns || self.count < before.count || self.bounds != before.bounds {
            return;
        }
        self.start_unix_ns = prior.at_unix_ns;
        self.count -= before.count;
        self.sum -= before.sum;
        for (bucket, before) in self.buckets.iter_mut().zip(&before.buckets) {
            *bucket = bucket.saturating_sub(*before);
        }
        (self.min, self.max) = (f64::NAN, f64::NAN);
        self.exemplars.retain(|exemplar| exemplar.at_unix_ns >= prior.at_unix_ns);
    }
}

impl Point for ExponentialPoint {
    fn attributes(&self) -> &[Attribute] {
        &self.attributes
    }

    fn prior(mut self) -> PriorPoint {
        self.exemplars = Vec::new();
        PriorPoint::Exponential(self)
    }

    fn subtract(&mut self, prior: &Prior) {
        let PriorPoint::Exponential(before) = &prior.point else { return };
        // A histogram that grew widens its buckets: the scale only falls.
        if self.start_unix_ns != before.start_unix_ns || self.count < before.count || self.scale > before.scale {
            return;
        }
        let shift = before.scale.abs_diff(self.scale).min(31);
        for (index, count) in before.buckets.iter().enumerate() {
            let wide = (i64::from(before.offset) + index as i64) >> shift;
            let place = usize::try_from(wide - i64::from(self.offset)).ok();
            if let Some(bucket) = place.and_then(|place| self.buckets.get_mut(place)) {
                *bucket = bucket.saturating_sub(*count);
            }
        }
        self.start_unix_ns = prior.at_unix_ns;
        self.count -= before.count;
        self.sum -= before.sum;
        self.zero_count = self.zero_count.saturating_sub(before.zero_count);
        (self.min, self.max) = (f64::NAN, f64::NAN);
        self.exemplars.retain(|exemplar| exemplar.at_unix_ns >= prior.at_unix_ns);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::metric::Bounds;
    use crate::{export::testing, model::ids::ProcessId};

    fn counter(start_unix_ns: u64, value: f64) -> [Metric; 1] {
        let points = Points::Counter(vec![NumberPoint { attributes: vec![], start_unix_ns, value }]);
        [Metric { name: "c", unit: "1", description: "", resource: testing::resource("a", ProcessId(1)), points }]
    }

    fn value(metrics: &[Metric]) -> (u64, f64) {
        match &metrics[0].points {
            Points::Counter(points) => (points[0].start_unix_ns, points[0].value),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn a_counter_tells_what_came_since_the_last_export_that_arrived() {
        let mut deltas = Deltas::default();
        let mut step = |now, start, total, arrives: bool| {
            let mut metrics = counter(start, total);
            let mut pending = deltas.apply(&mut metrics, now, Temporality::Delta);
            if arrives {
                deltas.commit(&mut pending, &[Fragment { metric: 0, points: 0..1 }]);
            }
            value(&metrics)
        };
        assert_eq!(step(10, 1, 5.0, true), (1, 5.0));
        assert_eq!(step(20, 1, 8.0, false), (10, 3.0));
        assert_eq!(step(30, 1, 9.0, true), (10, 4.0));
        assert_eq!(step(40, 35, 2.0, true), (35, 2.0), "reset");
    }

    #[test]
    fn a_series_that_is_no_more_is_forgotten() {
        let mut deltas = Deltas::default();
        let mut metrics = counter(1, 5.0);
        let mut pending = deltas.apply(&mut metrics, 10, Temporality::Delta);
        deltas.commit(&mut pending, &[Fragment { metric: 0, points: 0..1 }]);
        assert_eq!(deltas.sent.len(), 1);
        deltas.apply(&mut [], 20, Temporality::Delta);
        assert_eq!(deltas.sent.len(), 0);
    }

    #[test]
    fn low_memory_leaves_counters_cumulative() {
        let mut deltas = Deltas::default();
        for now in [10, 20] {
            let mut metrics = counter(1, 5.0);
            let mut pending = deltas.apply(&mut metrics, now, Temporality::LowMemory);
            deltas.commit(&mut pending, &[Fragment { metric: 0, points: 0..1 }]);
            assert_eq!(value(&metrics), (1, 5.0));
        }
    }

    #[test]
    fn a_histogram_is_subtracted_bucket_by_bucket() {
        let point = |count, buckets: &[u64]| HistogramPoint {
            attributes: vec![],
            start_unix_ns: 1,
            updated_unix_ns: 2,
            count,
            sum: count as f64,
            min: 0.1,
            max: 0.9,
            bounds: Bounds::Static(&[0.5]),
            buckets: buckets.to_vec(),
            native: None,
            exemplars: vec![],
        };
        let mut later = point(7, &[5, 2]);
        later.subtract(&Prior { at_unix_ns: 10, point: point(3, &[2, 1]).prior(), round: 1 });
        assert_eq!((later.start_unix_ns, later.count, later.sum, later.buckets), (10, 4, 4.0, vec![3, 1]));
        assert!(later.min.is_nan() && later.max.is_nan());
    }

    #[test]
    fn an_exponential_histogram_is_subtracted_at_the_coarser_scale() {
        let point = |scale, offset, buckets: &[u64]| ExponentialPoint {
            attributes: vec![],
            start_unix_ns: 1,
            updated_unix_ns: 2,
            count: buckets.iter().sum(),
            sum: 0.0,
            min: 0.0,
            max: 0.0,
            scale,
            zero_count: 0,
            offset,
            buckets: buckets.to_vec(),
            exemplars: vec![],
        };
        // Buckets -3..=2 of scale 1 are -2, -1, -1, 0, 0, 1 of scale 0.
        let before = point(1, -3, &[1, 2, 3, 4, 5, 6]);
        let mut later = point(0, -2, &[2, 6, 10, 6]);
        later.subtract(&Prior { at_unix_ns: 10, point: before.prior(), round: 1 });
        assert_eq!((later.count, later.buckets), (3, vec![1, 1, 1, 0]));
    }
}
