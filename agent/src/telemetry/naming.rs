//! What Beyla's dashboards ask for: the older names of metrics (only those of remote calls differ: HTTP's are the same), and
//! on each series what says of whom it is, which else stands in the resource only.

use super::{rpc, select::Select, semconv};
use crate::{
    config::Naming,
    model::{
        metric::Metric,
        span::{Attribute, Resource, Value},
    },
};

/// Today's name of a metric, and the older one.
const METRICS: [(&str, &str); 2] = [
    (semconv::RPC_SERVER_CALL_DURATION, "rpc.server.duration"),
    (semconv::RPC_CLIENT_CALL_DURATION, "rpc.client.duration"),
];

/// What each series has of its resource.
const IDENTITY: [&str; 15] = [
    "service.name",
    "service.namespace",
    "k8s.cluster.name",
    "k8s.namespace.name",
    "k8s.node.name",
    "k8s.pod.name",
    "k8s.pod.uid",
    "k8s.pod.start_time",
    "k8s.container.name",
    "k8s.deployment.name",
    "k8s.replicaset.name",
    "k8s.statefulset.name",
    "k8s.daemonset.name",
    "k8s.job.name",
    "k8s.cronjob.name",
];

/// Who owns a pod in the end, the furthest first, and what that is.
const OWNERS: [(&str, &str); 6] = [
    ("k8s.deployment.name", "Deployment"),
    ("k8s.statefulset.name", "StatefulSet"),
    ("k8s.daemonset.name", "DaemonSet"),
    ("k8s.cronjob.name", "CronJob"),
    ("k8s.job.name", "Job"),
    ("k8s.replicaset.name", "ReplicaSet"),
];

/// The metrics under the names that are asked for.
#[must_use]
pub(crate) fn named(mut metrics: Vec<Metric>, naming: Naming, select: &Select) -> Vec<Metric> {
    if naming == Naming::Semconv {
        return metrics;
    }
    for metric in &mut metrics {
        let mut identity = identity(&metric.resource);
        select.leave_out(metric.name, &mut identity, |_| true);
        metric.points.attributes_mut().for_each(|attributes| attributes.extend_from_slice(&identity));
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

/// Puts attributes of their resources on metrics.
pub(crate) fn add_of_resource(metrics: &mut [Metric], keys: &[&'static str]) {
    for metric in metrics {
        let find = |key: &&'static str| {
            let (_, value) = metric.resource.attributes.iter().find(|(its, _)| same_key(its, key))?;
            Some(Attribute { key, value: value.clone() })
        };
        let of_resource: Vec<Attribute> = keys.iter().filter_map(find).collect();
        for attributes in metric.points.attributes_mut() {
            let new = of_resource.iter().filter(|new| attributes.iter().all(|its| !same_key(its.key, new.key)));
            let new: Vec<Attribute> = new.cloned().collect();
            attributes.extend(new);
        }
    }
}

/// Whether two names are one, be they written with dots or with underscores.
pub(super) fn same_key(one: &str, other: &str) -> bool {
    let plain = |byte: u8| if byte == b'.' { b'_' } else { byte };
    one.len() == other.len() && one.bytes().map(plain).eq(other.bytes().map(plain))
}

fn renamed(metric: &Metric, name: &'static str) -> Metric {
    let mut metric = Metric { name, ..metric.clone() };
    for attribute in metric.points.attributes_mut().flatten() {
        match attribute.key {
            semconv::RPC_SYSTEM_NAME => attribute.key = "rpc.system",
            semconv::RPC_STATUS_CODE => {
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

fn identity(resource: &Resource) -> Vec<Attribute> {
    let find = |wanted: &str| resource.attributes.iter().find(|(key, _)| key == wanted).map(|(_, value)| value.clone());
    let mut out: Vec<Attribute> =
        IDENTITY.into_iter().filter_map(|key| find(key).map(|value| Attribute { key, value })).collect();
    if let Some((name, kind)) = OWNERS.into_iter().find_map(|(key, kind)| Some((find(key)?, kind))) {
        out.push(Attribute { key: "k8s.owner.name", value: name });
        out.push(Attribute { key: "k8s.kind", value: Value::Static(kind) });
    }
    out
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::model::{ids::ProcessId, metric::NumberPoint};

    #[test]
    fn each_series_says_of_whom_it_is_where_dashboards_ask_for_it() {
        let text = |text: &str| Value::Str(text.into());
        let attributes = vec![
            ("service.name".into(), text("pay")),
            ("host.name".into(), text("h")),
            ("k8s.namespace.name".into(), text("shop")),
            ("k8s.replicaset.name".into(), text("pay-1")),
            ("k8s.deployment.name".into(), text("pay")),
        ];
        let resource = Arc::new(Resource { attributes, service_name: "pay".into(), pid: ProcessId(1) });
        let point = NumberPoint { attributes: Vec::new(), start_unix_ns: 0, value: 1.0 };
        let points = crate::model::metric::Points::UpDownCounter(vec![point]);
        let metric = Metric { name: "http.server.active_requests", unit: "1", description: "", resource, points };
        for naming in [Naming::Beyla, Naming::Both] {
            let mut named = named(vec![metric.clone()], naming, &Select::default());
            let attributes: Vec<_> = named[0].points.attributes_mut().flatten().map(|it| it.clone()).collect();
            let keys: Vec<_> = attributes.iter().map(|attribute| attribute.key).collect();
            assert_eq!(
                keys,
                [
                    "service.name",
                    "k8s.namespace.name",
                    "k8s.deployment.name",
                    "k8s.replicaset.name",
                    "k8s.owner.name",
                    "k8s.kind",
                ]
            );
            assert_eq!((&attributes[4].value, &attributes[5].value), (&text("pay"), &Value::Static("Deployment")));
        }
        assert_eq!(named(vec![metric.clone()], Naming::Semconv, &Select::default()), [metric]);
    }
}
