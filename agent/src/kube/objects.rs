//! The few fields of Kubernetes objects that are needed. What is not named here is skipped while parsing, so that a
//! list of thousands of pods costs little.

use std::{borrow::Cow, net::IpAddr};

use ::kube::Resource;
use compact_str::CompactString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use serde::{Deserialize, Deserializer};

/// A pod.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct PodObject {
    pub(super) metadata: ObjectMeta,
    #[serde(default)]
    pub(super) spec: PodSpec,
    #[serde(default)]
    pub(super) status: PodStatus,
}

/// Its specification.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodSpec {
    pub(super) node_name: Option<CompactString>,
    pub(super) host_network: bool,
    #[serde(deserialize_with = "or_default")]
    pub(super) containers: Vec<Container>,
    #[serde(deserialize_with = "or_default")]
    pub(super) init_containers: Vec<Container>,
    #[serde(deserialize_with = "or_default")]
    pub(super) ephemeral_containers: Vec<Container>,
}

/// A container of the specification.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Container {
    pub(super) name: CompactString,
    pub(super) image: CompactString,
}

/// A pod's status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct PodStatus {
    pub(super) phase: CompactString,
    pub(super) start_time: Option<CompactString>,
    #[serde(rename = "podIPs", deserialize_with = "or_default")]
    pub(super) pod_ips: Vec<PodIp>,
    #[serde(deserialize_with = "or_default")]
    pub(super) container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "or_default")]
    pub(super) init_container_statuses: Vec<ContainerStatus>,
    #[serde(deserialize_with = "or_default")]
    pub(super) ephemeral_container_statuses: Vec<ContainerStatus>,
}

/// An address of a pod.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct PodIp {
    pub(super) ip: CompactString,
}

/// A container as it runs.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ContainerStatus {
    pub(super) name: CompactString,
    /// With the runtime's scheme: `containerd://…`.
    #[serde(rename = "containerID")]
    pub(super) container_id: CompactString,
}

/// A service.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct ServiceObject {
    pub(super) metadata: ObjectMeta,
    #[serde(default)]
    pub(super) spec: ServiceSpec,
    #[serde(default)]
    pub(super) status: ServiceStatus,
}

/// Its specification.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct ServiceSpec {
    /// `None` (as text) for a headless one.
    #[serde(rename = "clusterIP")]
    pub(super) cluster_ip: CompactString,
    #[serde(rename = "clusterIPs", deserialize_with = "or_default")]
    pub(super) cluster_ips: Vec<CompactString>,
    #[serde(rename = "externalIPs", deserialize_with = "or_default")]
    pub(super) external_ips: Vec<CompactString>,
}

/// A service's status.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct ServiceStatus {
    #[serde(deserialize_with = "or_default")]
    pub(super) load_balancer: LoadBalancer,
}

/// Its load balancer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct LoadBalancer {
    #[serde(deserialize_with = "or_default")]
    pub(super) ingress: Vec<Ingress>,
}

/// An address of a load balancer.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Ingress {
    pub(super) ip: CompactString,
}

impl ServiceObject {
    /// Every address that leads to the service.
    pub(super) fn addresses(&self) -> impl Iterator<Item = IpAddr> {
        let spec = &self.spec;
        let balancer = self.status.load_balancer.ingress.iter().map(|ingress| &ingress.ip);
        let texts =
            std::iter::once(&spec.cluster_ip).chain(&spec.cluster_ips).chain(&spec.external_ips).chain(balancer);
        texts.filter_map(|text| text.parse().ok())
    }
}

/// A part of a service's endpoints.
#[derive(Clone, Debug, Deserialize)]
pub(super) struct SliceObject {
    pub(super) metadata: ObjectMeta,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) endpoints: Vec<EndpointObject>,
    #[serde(default, deserialize_with = "or_default")]
    pub(super) ports: Vec<EndpointPort>,
}

/// An endpoint.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub(super) struct EndpointObject {
    #[serde(deserialize_with = "or_default")]
    pub(super) addresses: Vec<CompactString>,
    pub(super) target_ref: Option<TargetRef>,
}

/// What an endpoint is.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct TargetRef {
    pub(super) kind: CompactString,
    pub(super) name: CompactString,
}

/// A port of all endpoints of a slice.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct EndpointPort {
    pub(super) port: Option<u16>,
}

/// Go writes an empty list as `null` now and then.
fn or_default<'de, D: Deserializer<'de>, T: Default + Deserialize<'de>>(deserializer: D) -> Result<T, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

macro_rules! resource {
    ($object:ty, $kind:literal, $group:literal, $plural:literal) => {
        impl Resource for $object {
            type DynamicType = ();
            type Scope = ::kube::core::NamespaceResourceScope;

            fn kind(_: &()) -> Cow<'_, str> {
                $kind.into()
            }

            fn group(_: &()) -> Cow<'_, str> {
                $group.into()
            }

            fn version(_: &()) -> Cow<'_, str> {
                "v1".into()
            }

            fn plural(_: &()) -> Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut ObjectMeta {
                &mut self.metadata
            }
        }
    };
}

resource!(PodObject, "Pod", "", "pods");
resource!(ServiceObject, "Service", "", "services");
resource!(SliceObject, "EndpointSlice", "discovery.k8s.io", "endpointslices");
