//! What an orchestrator knows of a process's container. [`PodSource`] is where it comes from; the process table only
//! asks, and never waits.

use std::sync::Arc;

use compact_str::CompactString;

use super::container::ContainerRef;

/// A pod, as the resource of its processes needs it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Pod {
    /// `k8s.namespace.name`.
    pub namespace: CompactString,
    /// `k8s.pod.name`.
    pub name: CompactString,
    /// `k8s.pod.uid`.
    pub uid: CompactString,
    /// `k8s.pod.start_time`, RFC 3339.
    pub start_time: Option<CompactString>,
    /// `k8s.node.name`.
    pub node: Option<CompactString>,
    /// Controllers, the nearest first: a ReplicaSet, then its Deployment.
    pub owners: Vec<Owner>,
    /// Labels.
    pub labels: Vec<(CompactString, CompactString)>,
    /// Annotations that are of use.
    pub annotations: Vec<(CompactString, CompactString)>,
    /// Containers.
    pub containers: Vec<PodContainer>,
}

/// A container of a pod.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PodContainer {
    /// Its name in the pod's specification.
    pub name: CompactString,
    /// Its id without the runtime's scheme; empty until it was started.
    pub id: CompactString,
    /// Its image, as the specification has it.
    pub image: CompactString,
}

/// A controller of a pod.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Owner {
    /// What it is.
    pub kind: OwnerKind,
    /// Its name.
    pub name: CompactString,
}

/// Kinds of controllers with an attribute of their own.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum OwnerKind {
    /// Deployment.
    Deployment,
    /// ReplicaSet.
    ReplicaSet,
    /// StatefulSet.
    StatefulSet,
    /// DaemonSet.
    DaemonSet,
    /// Job.
    Job,
    /// CronJob.
    CronJob,
    /// Any other, for example of a custom resource.
    Other,
}

impl OwnerKind {
    /// From an owner reference's `kind`.
    #[must_use]
    pub(crate) fn from_kind(kind: &str) -> Self {
        match kind {
            "Deployment" => Self::Deployment,
            "ReplicaSet" => Self::ReplicaSet,
            "StatefulSet" => Self::StatefulSet,
            "DaemonSet" => Self::DaemonSet,
            "Job" => Self::Job,
            "CronJob" => Self::CronJob,
            _ => Self::Other,
        }
    }

    /// The attribute that names a controller of this kind.
    #[must_use]
    pub(crate) const fn attribute(self) -> Option<&'static str> {
        Some(match self {
            Self::Deployment => "k8s.deployment.name",
            Self::ReplicaSet => "k8s.replicaset.name",
            Self::StatefulSet => "k8s.statefulset.name",
            Self::DaemonSet => "k8s.daemonset.name",
            Self::Job => "k8s.job.name",
            Self::CronJob => "k8s.cronjob.name",
            Self::Other => return None,
        })
    }
}

impl Pod {
    /// A label's value.
    #[must_use]
    pub(crate) fn label(&self, key: &str) -> Option<&CompactString> {
        self.labels.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// An annotation's value.
    #[must_use]
    pub(crate) fn annotation(&self, key: &str) -> Option<&CompactString> {
        self.annotations.iter().find(|(name, _)| name == key).map(|(_, value)| value)
    }

    /// The name of the nearest or highest controller of a kind.
    #[must_use]
    pub(crate) fn owner(&self, kind: OwnerKind) -> Option<&CompactString> {
        self.owners.iter().find(|owner| owner.kind == kind).map(|owner| &owner.name)
    }

    /// The controller highest up, if any.
    #[must_use]
    pub(crate) fn top_owner(&self) -> Option<&Owner> {
        self.owners.last()
    }

    /// The container with an id; the only container of a pod that has just one.
    #[must_use]
    pub(crate) fn container(&self, id: Option<&str>) -> Option<&PodContainer> {
        let by_id = id.and_then(|id| self.containers.iter().find(|container| container.id == id));
        by_id.or_else(|| match self.containers.as_slice() {
            // The id is told only after the container was started.
            [only] if id.is_some() && only.id.is_empty() => Some(only),
            _ => None,
        })
    }
}

/// Where pods are looked up. Lookups return what is known at once.
pub(crate) trait PodSource: Send + Sync {
    /// Grows with each change, so that resources built on older knowledge are built again.
    fn generation(&self) -> u64;

    /// The pod of a container, if it is known.
    fn pod(&self, container: &ContainerRef) -> Option<Arc<Pod>>;
}
