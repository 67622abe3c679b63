//! The older names of metrics, which Beyla's dashboards ask for. Only those of remote calls differ: HTTP's are the same.

use super::{rpc, semconv};
use crate::{
    config::Naming,
    model::{
        metric::{Metric, Points},
        span::{Attribute, Value},
    },
};

/// Today's name of a metric, and the older one.
const METRICS: [(&str, &str); 2] = [
    (semconv::RPC_SERVER_CALL_DURATION, "rpc.server.duration"),
    (semconv::RPC_CLIENT_CALL_DURATION, "rpc.client.duration"),
];

/// The metrics under the names that are asked for.
#[must_use]
pub fn named(metrics: Vec<Metric>, naming: Naming) -> Vec<Metric> {
    if naming == Naming::Semconv {
        return metrics;
    }
    let mut out = Vec::with_capacity(metrics.len());
    for metric in metrics {
        let older = METRICS.iter().find(|(name, _)| *name == metric.name).map(|(_, older)| renamed(&metric, older));
        if older.is_none() || naming == Naming::Both {
            out.push(metric);
        }
        out.extend(older);
    }
    out
}

fn renamed(metric: &Metric, name: &'static str) -> Metric {
    let mut metric = Metric { name, ..metric.clone() };
    let all: Vec<&mut Vec<Attribute>> = match &mut metric.points {
        Points::Histogram(points) => points.iter_mut().map(|point| &mut point.attributes).collect(),
        Points::ExponentialHistogram(points) => points.iter_mut().map(|point| &mut point.attributes).collect(),
        Points::Counter(points) | Points::UpDownCounter(points) | Points::Gauge(points) => {
            points.iter_mut().map(|point| &mut point.attributes).collect()
        }
    };
    for attribute in all.into_iter().flatten() {
        match attribute.key {
            semconv::RPC_SYSTEM_NAME => attribute.key = "rpc.system",
            semconv::RPC_RESPONSE_STATUS_CODE => {
                let Value::Str(name) = &attribute.value else { continue };
                // gRPC's have numbers; Connect has words only.
                if let Some(number) = rpc::grpc_number(name) {
                    *attribute = Attribute { key: "rpc.grpc.status_code", value: Value::Int(number) };
                }
            }
            _ => {}
        }
    }
    metric
}
