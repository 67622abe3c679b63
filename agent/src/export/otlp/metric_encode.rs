//! Metrics as `opentelemetry-proto` has them, packed into requests of bounded size.

use std::{ops::Range, sync::Arc};

use bytes::Bytes;
use opentelemetry_proto::tonic::{
    collector::metrics::v1::ExportMetricsServiceRequest,
    metrics::v1::{
        AggregationTemporality, Exemplar as ExemplarProto, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge,
        Histogram, HistogramDataPoint, Metric as MetricProto, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
        exemplar, exponential_histogram_data_point::Buckets, metric::Data, number_data_point,
    },
};
use prost::Message;

use super::encode::{attributes, resource, scope};
use crate::{
    export::config::Temporality,
    model::{
        metric::{Exemplar, ExponentialPoint, HistogramPoint, Metric, NumberPoint, Points},
        span::Resource,
    },
    telemetry::semconv::SCHEMA_URL,
};

/// Most points of one metric of one resource in a piece; with their usual size, far below [`MAX_REQUEST_BYTES`].
const PIECE_POINTS: usize = 500;
/// About the most bytes of one request; receivers' usual limit is 4 MiB.
const MAX_REQUEST_BYTES: usize = 2 << 20;

/// An encoded request and the points it holds.
pub(super) struct Request {
    pub(super) message: Bytes,
    pub(super) points: u64,
    pub(super) pieces: Vec<Fragment>,
}

/// Some points of a metric.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Fragment {
    /// Index of the metric.
    pub(super) metric: usize,
    /// Indices of its points.
    pub(super) points: Range<usize>,
}

/// The temporalities of sums and of histograms.
pub(super) fn temporalities(preference: Temporality) -> (AggregationTemporality, AggregationTemporality) {
    use AggregationTemporality::{Cumulative, Delta};
    match preference {
        Temporality::Cumulative => (Cumulative, Cumulative),
        Temporality::Delta => (Delta, Delta),
        Temporality::LowMemory => (Cumulative, Delta),
    }
}

/// Requests of all the metrics' points as they were at `now_unix_ns`.
pub(super) fn requests(metrics: &[Metric], now_unix_ns: u64, preference: Temporality) -> Vec<Request> {
    let mut requests = Vec::new();
    let mut current = Packing::default();
    for (index, metric) in metrics.iter().enumerate() {
        let mut first = 0;
        for (encoded, points) in pieces(metric, now_unix_ns, preference) {
            let bytes = encoded.encoded_len();
            if current.bytes > 0 && current.bytes + bytes > MAX_REQUEST_BYTES {
                requests.push(std::mem::take(&mut current).finish());
            }
            current.add(&metric.resource, encoded, bytes, Fragment { metric: index, points: first..first + points });
            first += points;
        }
    }
    if current.bytes > 0 {
        requests.push(current.finish());
    }
    requests
}

#[derive(Default)]
struct Packing {
    groups: Vec<(Arc<Resource>, Vec<MetricProto>)>,
    bytes: usize,
    pieces: Vec<Fragment>,
}

impl Packing {
    fn add(&mut self, of: &Arc<Resource>, encoded: MetricProto, bytes: usize, piece: Fragment) {
        self.bytes += bytes;
        self.pieces.push(piece);
        let same = |group: &&mut (Arc<Resource>, _)| Arc::ptr_eq(&group.0, of) || group.0 == *of;
        // Sources give a resource's metrics one after another, so it is mostly the last.
        match self.groups.iter_mut().rev().find(same) {
            Some((_, metrics)) => metrics.push(encoded),
            None => {
                self.bytes += resource(of).encoded_len();
                self.groups.push((Arc::clone(of), vec![encoded]));
            }
        }
    }

    fn finish(self) -> Request {
        let resource_metrics = self
            .groups
            .into_iter()
            .map(|(of, metrics)| ResourceMetrics {
                resource: Some(resource(&of)),
                scope_metrics: vec![ScopeMetrics { scope: Some(scope()), metrics, schema_url: SCHEMA_URL.to_owned() }],
                schema_url: SCHEMA_URL.to_owned(),
            })
            .collect();
        let message = ExportMetricsServiceRequest { resource_metrics }.encode_to_vec().into();
        let points = self.pieces.iter().map(|piece| piece.points.len() as u64).sum();
        Request { message, points, pieces: self.pieces }
    }
}

/// A metric, in pieces of at most [`PIECE_POINTS`], each with its number of points.
fn pieces(metric: &Metric, now: u64, preference: Temporality) -> Vec<(MetricProto, usize)> {
    let (sums, histograms) = temporalities(preference);
    let data: Vec<(Data, usize)> = match &metric.points {
        Points::Gauge(points) => cut(points, |p| number(p, now), |data_points| Data::Gauge(Gauge { data_points })),
        Points::Counter(points) => cut(
            points,
            |p| number(p, now),
            |data_points| Data::Sum(Sum { data_points, aggregation_temporality: sums.into(), is_monotonic: true }),
        ),
        // The specification has these cumulative whatever is preferred.
        Points::UpDownCounter(points) => cut(
            points,
            |p| number(p, now),
            |data_points| {
                let aggregation_temporality = AggregationTemporality::Cumulative.into();
                Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic: false })
            },
        ),
        Points::Histogram(points) => cut(
            points,
            |p| histogram(p, now),
            |data_points| Data::Histogram(Histogram { data_points, aggregation_temporality: histograms.into() }),
        ),
        Points::ExponentialHistogram(points) => cut(
            points,
            |p| exponential(p, now),
            |data_points| {
                let aggregation_temporality = histograms.into();
                Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality })
            },
        ),
    };
    let named = |data| MetricProto {
        name: metric.name.to_owned(),
        description: metric.description.to_owned(),
        unit: metric.unit.to_owned(),
        data: Some(data),
        ..MetricProto::default()
    };
    data.into_iter().map(|(data, points)| (named(data), points)).collect()
}

fn cut<P, D>(points: &[P], point: impl Fn(&P) -> D, data: impl Fn(Vec<D>) -> Data) -> Vec<(Data, usize)> {
    points.chunks(PIECE_POINTS).map(|piece| (data(piece.iter().map(&point).collect()), piece.len())).collect()
}

fn number(point: &NumberPoint, now: u64) -> NumberDataPoint {
    NumberDataPoint {
        attributes: attributes(&point.attributes),
        start_time_unix_nano: point.start_unix_ns,
        time_unix_nano: now,
        value: Some(number_value(point.value)),
        ..NumberDataPoint::default()
    }
}

/// Whole numbers go as integers: counts are exact, and receivers show them as such.
fn number_value(value: f64) -> number_data_point::Value {
    const EXACT: f64 = (1_u64 << 53) as f64;
    if value.fract() == 0.0 && value.abs() <= EXACT {
        number_data_point::Value::AsInt(value as i64)
    } else {
        number_data_point::Value::AsDouble(value)
    }
}

fn histogram(point: &HistogramPoint, now: u64) -> HistogramDataPoint {
    let (min, max) = range(point.count, point.min, point.max);
    HistogramDataPoint {
        attributes: attributes(&point.attributes),
        start_time_unix_nano: point.start_unix_ns,
        time_unix_nano: now,
        count: point.count,
        sum: Some(point.sum),
        bucket_counts: point.buckets.clone(),
        explicit_bounds: point.bounds.to_vec(),
        exemplars: point.exemplars.iter().map(exemplar).collect(),
        min,
        max,
        ..HistogramDataPoint::default()
    }
}

fn exponential(point: &ExponentialPoint, now: u64) -> ExponentialHistogramDataPoint {
    let (min, max) = range(point.count, point.min, point.max);
    ExponentialHistogramDataPoint {
        attributes: attributes(&point.attributes),
        start_time_unix_nano: point.start_unix_ns,
        time_unix_nano: now,
        count: point.count,
        sum: Some(point.sum),
        scale: point.scale,
        zero_count: point.zero_count,
        positive: Some(Buckets { offset: point.offset, bucket_counts: point.buckets.clone() }),
        exemplars: point.exemplars.iter().map(exemplar).collect(),
        min,
        max,
        ..ExponentialHistogramDataPoint::default()
    }
}

/// Smallest and largest, where they are known: without values there are none, and of a difference of two histograms they
/// are not known (NaN).
fn range(count: u64, min: f64, max: f64) -> (Option<f64>, Option<f64>) {
    let known = |value: f64| (count > 0 && value.is_finite()).then_some(value);
    (known(min), known(max))
}

fn exemplar(exemplar: &Exemplar) -> ExemplarProto {
    ExemplarProto {
        time_unix_nano: exemplar.at_unix_ns,
        span_id: exemplar.span_id.0.to_vec(),
        trace_id: exemplar.trace_id.0.to_vec(),
        value: Some(exemplar::Value::AsDouble(exemplar.value)),
        ..ExemplarProto::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        export::testing,
        model::{
            ids::ProcessId,
            metric::Bounds,
            span::{Attribute, Value},
            trace_context::{SpanId, TraceId},
        },
    };

    fn metric(resource: Arc<Resource>, points: Points) -> Metric {
        Metric { name: "m", unit: "s", description: "d", resource, points }
    }

    fn numbers(count: usize) -> Vec<NumberPoint> {
        let point = |n| NumberPoint {
            attributes: vec![Attribute { key: "n", value: Value::Int(n as i64) }],
            start_unix_ns: 1,
            value: n as f64,
        };
        (0..count).map(point).collect()
    }

    fn decode(requests: &[Request]) -> Vec<ExportMetricsServiceRequest> {
        requests.iter().map(|request| ExportMetricsServiceRequest::decode(request.message.clone()).unwrap()).collect()
    }

    #[test]
    fn metrics_are_grouped_by_resource() {
        let (a, b) = (testing::resource("a", ProcessId(1)), testing::resource("b", ProcessId(2)));
        let equal = Arc::new((*a).clone());
        let metrics: Vec<_> =
            [a, b, equal].map(|resource| metric(resource, Points::Counter(numbers(1)))).into_iter().collect();
        let requests = requests(&metrics, 9, Temporality::Cumulative);
        assert_eq!(requests[0].points, 3);
        let groups: Vec<usize> =
            decode(&requests)[0].resource_metrics.iter().map(|group| group.scope_metrics[0].metrics.len()).collect();
        assert_eq!(groups, [2, 1]);
    }

    #[test]
    fn many_points_are_cut_into_requests_that_a_receiver_takes() {
        let metrics = [metric(testing::resource("a", ProcessId(1)), Points::Gauge(numbers(100_000)))];
        let requests = requests(&metrics, 9, Temporality::Cumulative);
        assert!(requests.len() > 1);
        assert!(requests.iter().all(|request| request.message.len() < 4 << 20));
        assert_eq!(requests.iter().map(|request| request.points).sum::<u64>(), 100_000);
        let points = |request: &ExportMetricsServiceRequest| -> usize {
            let metrics = request.resource_metrics.iter().flat_map(|group| &group.scope_metrics[0].metrics);
            metrics.map(|m| if let Some(Data::Gauge(gauge)) = &m.data { gauge.data_points.len() } else { 0 }).sum()
        };
        assert_eq!(decode(&requests).iter().map(points).sum::<usize>(), 100_000);
    }

    #[test]
    fn a_histogram_keeps_its_buckets_and_exemplars_and_an_unknown_range_is_left_out() {
        let point = HistogramPoint {
            attributes: vec![],
            start_unix_ns: 1,
            updated_unix_ns: 2,
            count: 3,
            sum: 0.5,
            min: f64::NAN,
            max: 0.4,
            bounds: Bounds::Static(&[0.1, 1.0]),
            buckets: vec![2, 1, 0],
            native: None,
            exemplars: vec![Exemplar {
                at_unix_ns: 5,
                value: 0.4,
                trace_id: TraceId([1; 16]),
                span_id: SpanId([2; 8]),
            }],
        };
        let requests = requests(
            &[metric(testing::resource("a", ProcessId(1)), Points::Histogram(vec![point]))],
            9,
            Temporality::Delta,
        );
        let request = decode(&requests).remove(0);
        let Some(Data::Histogram(histogram)) = &request.resource_metrics[0].scope_metrics[0].metrics[0].data else {
            panic!("no histogram");
        };
        assert_eq!(histogram.aggregation_temporality(), AggregationTemporality::Delta);
        let sent = &histogram.data_points[0];
        assert_eq!((sent.count, sent.sum, sent.min, sent.max), (3, Some(0.5), None, Some(0.4)));
        assert_eq!((&sent.bucket_counts[..], &sent.explicit_bounds[..]), (&[2, 1, 0][..], &[0.1, 1.0][..]));
        assert_eq!(
            (sent.exemplars[0].trace_id.len(), sent.exemplars[0].time_unix_nano, sent.time_unix_nano),
            (16, 5, 9)
        );
    }

    #[test]
    fn whole_numbers_are_integers() {
        assert_eq!(number_value(3.0), number_data_point::Value::AsInt(3));
        assert_eq!(number_value(0.5), number_data_point::Value::AsDouble(0.5));
        assert_eq!(number_value(f64::INFINITY), number_data_point::Value::AsDouble(f64::INFINITY));
        assert_eq!(number_value(1e300), number_data_point::Value::AsDouble(1e300));
    }
}
