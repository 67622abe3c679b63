//! The service graph: who asks whom. Each request is one edge, counted by one end of it: by the client's, where that is watched, on
//! this host or by the agent of another; by the server's, where nobody watches the client (`docs/service-graph.md`).

use std::net::IpAddr;

use compact_str::{CompactString, ToCompactString};

use super::{
    endpoint::{Remote, Server},
    naming,
    red::{Family, Label, Labels},
    semconv,
};
use crate::{
    config::{self, Network},
    model::{
        exchange::Group,
        net::{ConnectionInfo, Endpoint, Role},
        span::{Attribute, Kind, Resource, Status, Value},
    },
};

/// What generates these metrics, where dashboards tell generators apart.
const SOURCE: &str = "beyla-rs";
/// The node of clients that nobody watches and nothing names.
const USER: &str = "user";
/// The node of servers of which nothing is known.
const UNKNOWN: &str = "unknown";
/// `connection_type` of edges to nodes that are outside.
const VIRTUAL_NODE: &str = "virtual_node";

/// Labels of one end of an edge.
pub(super) struct Keys {
    pub(super) name: &'static str,
    pub(super) namespace: &'static str,
    k8s_namespace: &'static str,
    k8s_cluster: &'static str,
}

/// Those of the end that plays a role.
pub(super) const fn keys(role: Role) -> Keys {
    match role {
        Role::Client => Keys {
            name: "client",
            namespace: "client_service_namespace",
            k8s_namespace: "client_k8s_namespace_name",
            k8s_cluster: "client_k8s_cluster_name",
        },
        Role::Server => Keys {
            name: "server",
            namespace: "server_service_namespace",
            k8s_namespace: "server_k8s_namespace_name",
            k8s_cluster: "server_k8s_cluster_name",
        },
    }
}

/// What is done about a request's edge here.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Share {
    /// It is counted.
    Counted,
    /// It is counted at its other end on this host; here its time is told.
    Timed,
    /// It is left to the agent of its client's host.
    Left,
}

/// Which part of a request's edge is this end's. `is_seen`: its other end is on this host, and the same request was
/// seen there, where it is an edge too.
/// `is_here`: whether an address is known to be one of this host's.
pub(super) fn share(
    role: Role,
    is_seen: bool,
    connection: &ConnectionInfo,
    watched: &[Network],
    is_here: impl FnOnce(IpAddr) -> bool,
) -> Share {
    match (role, is_seen) {
        (Role::Client, _) => Share::Counted,
        (Role::Server, true) => Share::Timed,
        // Plaintext of a connection that is not known: its client may be anyone's.
        (Role::Server, false) if connection.remote == Endpoint::Unknown && !watched.is_empty() => Share::Left,
        (Role::Server, false) => match far_ip(connection) {
            Some(ip) if watched.iter().any(|network| network.contains(ip)) && !is_here(ip) => Share::Left,
            _ => Share::Counted,
        },
    }
}

/// The other end's address, unless that is on this host as far as is known.
fn far_ip(connection: &ConnectionInfo) -> Option<IpAddr> {
    let ip = connection.remote.ip()?.to_canonical();
    let is_own = connection.local.ip().is_some_and(|own| own.to_canonical() == ip);
    (!is_own && !ip.is_loopback() && !connection.is_paired).then_some(ip)
}

/// What other ends are called that have an address and no name; `None`: by the address.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Unresolved {
    /// Those that the watched services ask.
    pub(crate) outgoing: Option<CompactString>,
    /// Those that ask them.
    pub(crate) incoming: Option<CompactString>,
}

impl Unresolved {
    /// The other end of a request of `own`, which plays a role. Who has no name of its own is of the namespace of whom it deals with, as
    /// OBI has it.
    fn rename(&self, node: Node, role: Role, own: &Resource) -> Node {
        let (word, is_nobody) = match role {
            Role::Client => (&self.outgoing, node.name == UNKNOWN),
            Role::Server => (&self.incoming, node.is_outside && node.name == USER),
        };
        match word {
            Some(word) if is_nobody || node.name.parse::<IpAddr>().is_ok() => {
                let namespace = find(own, semconv::SERVICE_NAMESPACE).map(CompactString::new);
                Node { name: word.clone(), namespace, ..node }
            }
            _ => node,
        }
    }
}

/// The other end of a request, as a node of the graph.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Node {
    name: CompactString,
    namespace: Option<CompactString>,
    k8s_namespace: Option<CompactString>,
    k8s_cluster: Option<CompactString>,
    is_outside: bool,
}

impl Node {
    fn named(name: impl Into<CompactString>) -> Self {
        Self { name: name.into(), ..Self::default() }
    }

    /// A service that is watched on this host.
    fn watched(resource: &Resource) -> Self {
        let text = |key| find(resource, key).map(CompactString::new);
        Self {
            name: resource.service_name.clone(),
            namespace: text(semconv::SERVICE_NAMESPACE),
            k8s_namespace: text("k8s.namespace.name"),
            k8s_cluster: text("k8s.cluster.name"),
            is_outside: false,
        }
    }

    /// What the cluster of `own` has there.
    fn of_cluster(name: &str, namespace: &str, own: &Resource) -> Self {
        let namespace = Some(CompactString::new(namespace)).filter(|namespace| !namespace.is_empty());
        Self {
            name: name.into(),
            k8s_namespace: namespace.clone(),
            namespace,
            k8s_cluster: find(own, "k8s.cluster.name").map(CompactString::new),
            is_outside: false,
        }
    }

    /// The other end of a request: the service that was seen there, else as the cluster, its name or its address says.
    pub(super) fn of(
        role: Role,
        seen: Option<&Resource>,
        server: &Server,
        remote: Remote<'_>,
        connection: &ConnectionInfo,
        own: &Resource,
        unresolved: &Unresolved,
    ) -> Self {
        if let Some(seen) = seen.filter(|seen| !seen.service_name.is_empty()) {
            return Self::watched(seen);
        }
        let peer = remote.peer.map(|peer| Self::of_cluster(&peer.name, &peer.namespace, own));
        peer.unwrap_or_else(|| {
            let node = match role {
                Role::Client => Self::server(server.shown(), connection, own),
                Role::Server => Self::client(remote, connection),
            };
            unresolved.rename(node, role, own)
        })
    }

    fn server(name: &str, connection: &ConnectionInfo, own: &Resource) -> Self {
        match name.parse::<IpAddr>() {
            Ok(ip) => Self { is_outside: !config::is_private(ip), ..Self::named(name) },
            Err(_) if !name.is_empty() => {
                let name = if name.bytes().any(|byte| byte.is_ascii_uppercase()) {
                    CompactString::from(name.to_ascii_lowercase())
                } else {
                    CompactString::new(name)
                };
                if let Some((service, namespace)) = cluster_name(&name) {
                    return Self::of_cluster(service, namespace, own);
                }
                let is_outside = connection.remote.ip().is_some_and(|ip| !config::is_private(ip.to_canonical()));
                Self { is_outside, ..Self::named(name) }
            }
            Err(_) => match &connection.remote {
                Endpoint::Unix(name) if !name.is_empty() => Self::named(&**name),
                _ => Self::named(UNKNOWN),
            },
        }
    }

    fn client(remote: Remote<'_>, connection: &ConnectionInfo) -> Self {
        let user = || Self { is_outside: true, ..Self::named(USER) };
        let Some(ip) = remote.client.map(|client| client.ip().to_canonical()).or_else(|| far_ip(connection)) else {
            return user();
        };
        if !config::is_private(ip) {
            return user();
        }
        let name = remote.name.filter(|_| remote.client.is_none());
        name.map_or_else(|| Self::named(ip.to_compact_string()), |name| Self::named(name.clone()))
    }

    /// As labels, where it plays a role.
    pub(super) fn labels(&self, role: Role, group: Group) -> Labels<'_> {
        let keys = keys(role);
        let kind = match group {
            Group::Db => Some("database"),
            Group::Messaging => Some("messaging_system"),
            Group::Http | Group::Rpc | Group::Dns => self.is_outside.then_some(VIRTUAL_NODE),
        };
        [
            Some((keys.name, Label::Str(&self.name))),
            self.namespace.as_deref().map(|value| (keys.namespace, Label::Str(value))),
            self.k8s_namespace.as_deref().map(|value| (keys.k8s_namespace, Label::Str(value))),
            self.k8s_cluster.as_deref().map(|value| (keys.k8s_cluster, Label::Str(value))),
            kind.map(|kind| ("connection_type", Label::Str(kind))),
            None,
            None,
            None,
            None,
        ]
    }
}

/// Labels of a span.
pub(super) fn span_labels(name: &str, kind: Kind, status: Status) -> Labels<'_> {
    let kind = match kind {
        Kind::Server => "SPAN_KIND_SERVER",
        Kind::Client => "SPAN_KIND_CLIENT",
        Kind::Producer => "SPAN_KIND_PRODUCER",
        Kind::Consumer => "SPAN_KIND_CONSUMER",
        Kind::Internal => "SPAN_KIND_INTERNAL",
    };
    let status = match status {
        Status::Unset => "STATUS_CODE_UNSET",
        Status::Error => "STATUS_CODE_ERROR",
    };
    let mut labels = Labels::default();
    let all = [("span.name", name), ("span.kind", kind), ("status.code", status)];
    labels.iter_mut().zip(all).for_each(|(place, (key, value))| *place = Some((key, Label::Str(value))));
    labels
}

/// Service and namespace of a name that Kubernetes' DNS gives services: `cart.shop.svc`, `cart.shop.svc.cluster.local`.
fn cluster_name(name: &str) -> Option<(&str, &str)> {
    let mut labels = name.split('.');
    let (service, namespace) = (labels.next()?, labels.next()?);
    (labels.next()? == "svc" && !service.is_empty()).then_some((service, namespace))
}

/// An attribute of a resource that is a text.
pub(super) fn find<'a>(resource: &'a Resource, key: &str) -> Option<&'a str> {
    resource.attributes.iter().find_map(|(its, value)| match value {
        Value::Str(text) if its == key => Some(text.as_str()),
        Value::Shared(text) if its == key => Some(&**text),
        Value::Static(text) if its == key => Some(*text),
        _ => None,
    })
}

/// Attributes that all series of a family have, for the service that they are of.
pub(super) fn common_attributes(family: Family, resource: &Resource, extra: &[&'static str]) -> Vec<Attribute> {
    let attribute = |key, value: &str| Attribute { key, value: Value::Str(value.into()) };
    let named = |key, name: &str| find(resource, name).map(|value| attribute(key, value));
    let source = Attribute { key: "source", value: Value::Static(SOURCE) };
    match family {
        Family::Exchange(..) | Family::Process => Vec::new(),
        Family::Edge(role) => {
            let keys = keys(role);
            let rest = [
                named(keys.namespace, semconv::SERVICE_NAMESPACE),
                named(keys.k8s_namespace, "k8s.namespace.name"),
                named(keys.k8s_cluster, "k8s.cluster.name"),
            ];
            let own = [attribute(keys.name, &resource.service_name)];
            own.into_iter().chain(rest.into_iter().flatten()).chain([source]).collect()
        }
        Family::Span => {
            let own = [attribute("service.name", &resource.service_name), source];
            let of_spans = OF_SPANS.iter().filter_map(|key| named(key, key));
            let mut all: Vec<Attribute> = own.into_iter().chain(of_spans).collect();
            for key in extra {
                let found = resource.attributes.iter().find(|(its, _)| naming::same_key(its, key));
                if let Some((_, value)) = found
                    && all.iter().all(|attribute| !naming::same_key(attribute.key, key))
                {
                    all.push(Attribute { key, value: value.clone() });
                }
            }
            all
        }
    }
}

/// What metrics of spans have of their resource.
const OF_SPANS: &[&str] = &[
    "service.namespace",
    "service.version",
    "telemetry.sdk.language",
    "deployment.environment.name",
    "k8s.cluster.name",
    "k8s.namespace.name",
    "k8s.node.name",
    "cloud.region",
    "cloud.availability_zone",
];

/// What `traces_target_info` has of a resource besides.
const OF_TARGETS: &[&str] = &[
    "service.instance.id",
    "host.name",
    "host.id",
    "os.type",
    "container.id",
    "container.name",
    "k8s.pod.name",
    "k8s.pod.uid",
    "k8s.container.name",
    "k8s.deployment.name",
    "k8s.replicaset.name",
    "k8s.statefulset.name",
    "k8s.daemonset.name",
    "k8s.job.name",
    "k8s.cronjob.name",
    "cloud.provider",
    "cloud.account.id",
    "cloud.platform",
    "telemetry.sdk.name",
    "telemetry.sdk.version",
    "telemetry.distro.name",
    "telemetry.distro.version",
    "process.executable.name",
];

/// Attributes of `traces_target_info`.
pub(super) fn target_attributes(resource: &Resource) -> Vec<Attribute> {
    let mut attributes = common_attributes(Family::Span, resource, &[]);
    let text = |key: &&'static str| Some(Attribute { key, value: Value::Str(find(resource, key)?.into()) });
    attributes.extend(OF_TARGETS.iter().filter_map(text));
    attributes
}

#[cfg(test)]
mod tests;
