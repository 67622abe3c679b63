//! This node's pods, found by uid and by container id.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::Arc,
    time::{Duration, Instant},
};

use compact_str::CompactString;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::{ObjectMeta, OwnerReference};

use super::{objects::PodObject, peers::Key};
use crate::procs::{
    container::ContainerRef,
    pod::{Owner, OwnerKind, Pod, PodContainer},
};

/// Most pods kept. A node has some hundred; without a node's name it is the whole cluster.
const PODS_MAX: usize = 20_000;
/// Most labels or annotations kept of one pod, and the longest value.
const LABELS_MAX: usize = 64;
const VALUE_MAX: usize = 1024;
/// How long a deleted pod is remembered: spans of its last moments come later than the news of its end.
const REMEMBERED: Duration = Duration::from_secs(60);
/// Most owners' owners remembered.
const OWNERS_MAX: usize = 4096;

/// Prefix of the annotations that name a service.
const ANNOTATION_PREFIX: &str = "resource.opentelemetry.io/";
/// The annotation of a static pod by which the kubelet names its cgroup.
const CONFIG_HASH: &str = "kubernetes.io/config.hash";
/// The label a Deployment's controller gives its pods; the ReplicaSet's name ends with it.
const TEMPLATE_HASH: &str = "pod-template-hash";

/// A controller whose own controller is asked for.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(super) struct OwnerQuery {
    pub(super) namespace: CompactString,
    pub(super) kind: OwnerKind,
    pub(super) name: CompactString,
    pub(super) uid: CompactString,
}

/// The pods.
#[derive(Debug, Default)]
pub(super) struct Pods {
    by_uid: HashMap<CompactString, Known>,
    by_key: HashMap<Key, CompactString>,
    by_container: HashMap<CompactString, CompactString>,
    by_config_hash: HashMap<CompactString, CompactString>,
    by_ip: HashMap<IpAddr, CompactString>,
    /// What is known of controllers' controllers, by the uid of the lower one; `None`: it has none.
    owners: HashMap<CompactString, Option<Owner>>,
    deleted: Vec<(Instant, CompactString)>,
    /// Annotations to keep besides those that name services.
    wanted_annotations: Vec<CompactString>,
    /// Pods that were left out because there are too many.
    pub(super) dropped: u64,
}

#[derive(Debug)]
struct Known {
    pod: Arc<Pod>,
    key: Key,
    config_hash: Option<CompactString>,
    ips: Vec<IpAddr>,
    query: Option<OwnerQuery>,
}

impl Pods {
    pub(super) fn new(wanted_annotations: Vec<CompactString>) -> Self {
        Self { wanted_annotations, ..Self::default() }
    }

    /// The pod of a container.
    pub(super) fn find(&self, container: &ContainerRef) -> Option<Arc<Pod>> {
        let by_uid = container
            .pod_uid
            .as_deref()
            .and_then(|uid| self.by_uid.get(uid).or_else(|| self.by_uid.get(self.by_config_hash.get(uid)?)));
        let by_container = || self.by_uid.get(self.by_container.get(container.id.as_deref()?)?);
        by_uid.or_else(by_container).map(|known| Arc::clone(&known.pod))
    }

    /// The pod at an address that no other pod has.
    pub(super) fn at(&self, ip: IpAddr) -> Option<&Arc<Pod>> {
        Some(&self.by_uid.get(self.by_ip.get(&ip)?)?.pod)
    }

    /// Takes up a pod's present state. What must be asked to know its controllers is returned.
    pub(super) fn apply(&mut self, object: &PodObject, now: Instant) -> Option<OwnerQuery> {
        let metadata = &object.metadata;
        let key = super::peers::key(metadata)?;
        let uid = CompactString::from(metadata.uid.as_deref()?);
        if self.by_key.get(&key).is_some_and(|old| *old != uid) {
            self.remove(&key, now);
        }
        self.forget(now);
        if self.by_uid.len() >= PODS_MAX && !self.by_uid.contains_key(&uid) {
            self.dropped += 1;
            return None;
        }
        self.unlink(&uid);
        let (owners, query) = self.owners_of(metadata, &key);
        let pod = Pod {
            namespace: key.0.clone(),
            name: key.1.clone(),
            uid: uid.clone(),
            start_time: object.status.start_time.clone(),
            node: object.spec.node_name.clone(),
            owners,
            labels: kept(metadata.labels.as_ref(), |_| true),
            annotations: kept(metadata.annotations.as_ref(), |key| {
                key.starts_with(ANNOTATION_PREFIX) || self.wanted_annotations.iter().any(|wanted| wanted == key)
            }),
            containers: containers(object),
        };
        for container in pod.containers.iter().filter(|container| !container.id.is_empty()) {
            self.by_container.insert(container.id.clone(), uid.clone());
        }
        let hash = metadata.annotations.as_ref().and_then(|annotations| annotations.get(CONFIG_HASH));
        let config_hash = hash.map(CompactString::from);
        if let Some(hash) = &config_hash {
            self.by_config_hash.insert(hash.clone(), uid.clone());
        }
        // An ended pod's address may be another's; the node's address is everybody's.
        let has_address = !object.spec.host_network && !matches!(object.status.phase.as_str(), "Succeeded" | "Failed");
        let ips: Vec<IpAddr> =
            object.status.pod_ips.iter().filter(|_| has_address).filter_map(|ip| ip.ip.parse().ok()).collect();
        for ip in &ips {
            self.by_ip.insert(*ip, uid.clone());
        }
        self.by_key.insert(key.clone(), uid.clone());
        let known = Known { pod: Arc::new(pod), key, config_hash, ips, query: query.clone() };
        self.by_uid.insert(uid, known);
        query
    }

    /// A pod is gone. It is remembered for a while, but its addresses are not.
    pub(super) fn remove(&mut self, key: &Key, now: Instant) {
        let Some(uid) = self.by_key.remove(key) else { return };
        if let Some(known) = self.by_uid.get_mut(&uid) {
            for ip in std::mem::take(&mut known.ips) {
                if self.by_ip.get(&ip) == Some(&uid) {
                    self.by_ip.remove(&ip);
                }
            }
        }
        self.deleted.push((now, uid));
        self.forget(now);
    }

    /// A controller's controller became known: all pods of the lower one are told.
    pub(super) fn resolve(&mut self, query: &OwnerQuery, owner: Option<Owner>) {
        if self.owners.len() >= OWNERS_MAX {
            self.owners.clear();
        }
        for known in self.by_uid.values_mut().filter(|known| known.query.as_ref() == Some(query)) {
            let mut pod = Pod::clone(&known.pod);
            pod.owners.truncate(1);
            pod.owners.extend(owner.clone());
            known.pod = Arc::new(pod);
            known.query = None;
        }
        self.owners.insert(query.uid.clone(), owner);
    }

    /// As [`Self::resolve`], if the answer is known from before. Tells whether it is.
    pub(super) fn resolve_again(&mut self, query: &OwnerQuery) -> bool {
        let Some(owner) = self.owners.get(&query.uid).cloned() else { return false };
        self.resolve(query, owner);
        true
    }

    pub(super) fn keys(&self) -> Vec<Key> {
        self.by_key.keys().cloned().collect()
    }

    pub(super) fn len(&self) -> usize {
        self.by_uid.len()
    }

    fn owners_of(&self, metadata: &ObjectMeta, key: &Key) -> (Vec<Owner>, Option<OwnerQuery>) {
        let Some(controller) = controller(metadata) else { return (Vec::new(), None) };
        let kind = OwnerKind::from_kind(&controller.kind);
        let name = CompactString::from(&controller.name);
        let mut owners = vec![Owner { kind, name: name.clone() }];
        let mut query = None;
        let template = metadata.labels.as_ref().and_then(|labels| labels.get(TEMPLATE_HASH));
        let by_template = template.and_then(|hash| controller.name.strip_suffix(hash.as_str())?.strip_suffix('-'));
        match (kind, by_template) {
            // A Deployment's controller names its ReplicaSets so, and labels them: nothing need be asked.
            (OwnerKind::ReplicaSet, Some(deployment)) => {
                owners.push(Owner { kind: OwnerKind::Deployment, name: deployment.into() });
            }
            (OwnerKind::ReplicaSet | OwnerKind::Job, _) => match self.owners.get(controller.uid.as_str()) {
                Some(owner) => owners.extend(owner.clone()),
                None => {
                    let uid = CompactString::from(&controller.uid);
                    query = Some(OwnerQuery { namespace: key.0.clone(), kind, name, uid });
                }
            },
            _ => {}
        }
        (owners, query)
    }

    fn unlink(&mut self, uid: &CompactString) {
        self.deleted.retain(|(_, deleted)| deleted != uid);
        let Some(known) = self.by_uid.remove(uid) else { return };
        for container in &known.pod.containers {
            self.by_container.remove(&container.id);
        }
        if let Some(hash) = &known.config_hash {
            self.by_config_hash.remove(hash);
        }
        for ip in &known.ips {
            if self.by_ip.get(ip) == Some(uid) {
                self.by_ip.remove(ip);
            }
        }
        if self.by_key.get(&known.key) == Some(uid) {
            self.by_key.remove(&known.key);
        }
    }

    fn forget(&mut self, now: Instant) {
        let is_old = |(at, _): &(Instant, CompactString)| now.saturating_duration_since(*at) >= REMEMBERED;
        let old: Vec<CompactString> =
            self.deleted.iter().filter(|entry| is_old(entry)).map(|(_, uid)| uid.clone()).collect();
        for uid in old {
            self.unlink(&uid);
        }
    }
}

/// The owner that controls an object.
pub(super) fn controller(metadata: &ObjectMeta) -> Option<&OwnerReference> {
    metadata.owner_references.as_ref()?.iter().find(|owner| owner.controller == Some(true))
}

fn kept(
    from: Option<&std::collections::BTreeMap<String, String>>,
    keep: impl Fn(&str) -> bool,
) -> Vec<(CompactString, CompactString)> {
    let all = from.into_iter().flatten().filter(|(key, value)| keep(key) && value.len() <= VALUE_MAX);
    all.take(LABELS_MAX).map(|(key, value)| (key.into(), value.into())).collect()
}

fn containers(object: &PodObject) -> Vec<PodContainer> {
    let (spec, status) = (&object.spec, &object.status);
    let statuses = [&status.container_statuses, &status.init_container_statuses, &status.ephemeral_container_statuses];
    let id = |name: &str| {
        let status = statuses.iter().copied().flatten().find(|status| status.name == name)?;
        Some(status.container_id.rsplit_once("://").map_or(status.container_id.as_str(), |(_, id)| id).into())
    };
    let all = spec.containers.iter().chain(&spec.init_containers).chain(&spec.ephemeral_containers).take(LABELS_MAX);
    all.map(|container| PodContainer {
        name: container.name.clone(),
        id: id(&container.name).unwrap_or_default(),
        image: container.image.clone(),
    })
    .collect()
}
