//! What the cluster itself says of its pods: what each of their spans must say.

use std::collections::BTreeMap;

use anyhow::Result;

use super::cluster::kubectl;
use super::spans::Span;

/// Name, uid, node, start time, owner's kind and name, and `container=id` pairs of each pod; a line each.
const PODS: &str = concat!(
    "jsonpath={range .items[*]}{.metadata.name}{'\\t'}{.metadata.uid}{'\\t'}{.spec.nodeName}{'\\t'}{.status.startTime}{'\\t'}",
    "{.metadata.ownerReferences[0].kind}{'\\t'}{.metadata.ownerReferences[0].name}{'\\t'}",
    "{range .status.containerStatuses[*]}{.name}={.containerID} {end}{'\\n'}{end}"
);
/// Name, owner's kind and name of each ReplicaSet and Job.
const OWNERS: &str = concat!(
    "jsonpath={range .items[*]}{.kind}{'\\t'}{.metadata.name}{'\\t'}",
    "{.metadata.ownerReferences[0].kind}{'\\t'}{.metadata.ownerReferences[0].name}{'\\n'}{end}"
);

/// A pod's attributes, and the ids of its containers by their names.
struct Pod {
    attributes: BTreeMap<String, String>,
    /// Name of the topmost owner.
    owner: Option<String>,
    containers: BTreeMap<String, String>,
}

/// All pods of the sample's namespace that were ever seen.
#[derive(Default)]
pub(super) struct Expected(BTreeMap<String, Pod>);

/// Attributes that only some pods have: they must be absent from the others'.
const OWNER_KEYS: &[&str] = &[
    "k8s.deployment.name",
    "k8s.replicaset.name",
    "k8s.statefulset.name",
    "k8s.daemonset.name",
    "k8s.job.name",
    "k8s.cronjob.name",
];

impl Expected {
    /// Asks the cluster for the pods of now; those seen before are kept.
    pub(super) fn look(&mut self) -> Result<()> {
        let owners = kubectl(&["-n", "shop", "get", "replicasets,jobs", "-o", OWNERS])?;
        let above: BTreeMap<(&str, &str), (&str, &str)> = owners
            .lines()
            .filter_map(|line| {
                let mut fields = line.split('\t');
                Some(((fields.next()?, fields.next()?), (fields.next()?, fields.next()?)))
            })
            .collect();
        for line in kubectl(&["-n", "shop", "get", "pods", "-o", PODS])?.lines() {
            let fields: Vec<&str> = line.split('\t').collect();
            if let [name, uid, node, started, kind, owner, containers] = fields[..] {
                let mut attributes: BTreeMap<String, String> = BTreeMap::new();
                let mut set = |key: &str, value: &str| attributes.insert(key.to_owned(), value.to_owned());
                set("k8s.namespace.name", "shop");
                set("k8s.pod.name", name);
                set("k8s.pod.uid", uid);
                set("k8s.node.name", node);
                set("host.name", node);
                set("k8s.pod.start_time", started);
                let mut top = None;
                for (kind, owner) in [Some(&(kind, owner)), above.get(&(kind, owner))].into_iter().flatten() {
                    if !kind.is_empty() {
                        set(&format!("k8s.{}.name", kind.to_lowercase()), owner);
                        top = Some((*owner).to_owned());
                    }
                }
                let containers = containers.split_whitespace().filter_map(|pair| pair.split_once('='));
                let containers = containers.map(|(name, id)| (name.to_owned(), plain(id).to_owned())).collect();
                self.0.insert(name.to_owned(), Pod { attributes, owner: top, containers });
            }
        }
        Ok(())
    }

    /// What is wrong with a span's resource. `container` is where the request is known to have been.
    pub(super) fn complaints(&self, span: &Span, container: &str) -> Vec<String> {
        let who = span.get("service.name").unwrap_or("?");
        let Some(pod) = span.get("k8s.pod.name").and_then(|name| self.0.get(name)) else {
            return vec![format!("{who}: k8s.pod.name is {:?}", span.get("k8s.pod.name"))];
        };
        let mut wanted: Vec<(&str, Option<&str>)> =
            pod.attributes.iter().map(|(key, value)| (key.as_str(), Some(value.as_str()))).collect();
        wanted.extend(OWNER_KEYS.iter().filter(|key| !pod.attributes.contains_key(**key)).map(|key| (*key, None)));
        wanted.push(("service.name", Some(pod.owner.as_deref().unwrap_or(container))));
        wanted.push(("k8s.container.name", Some(container)));
        wanted.push(("container.id", pod.containers.get(container).map(String::as_str)));
        let wrong = wanted.into_iter().filter(|(key, value)| span.get(key) != *value);
        wrong.map(|(key, value)| format!("{who}: {key} is {:?}, not {value:?}", span.get(key))).collect()
    }
}

/// A container's id without its runtime's scheme.
fn plain(id: &str) -> &str {
    id.split_once("://").map_or(id, |(_, id)| id)
}
