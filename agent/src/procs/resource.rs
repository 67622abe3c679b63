//! The resource of a process: what it is, in OpenTelemetry's names, and the service's name.

use std::sync::Arc;

use compact_str::{CompactString, format_compact};
use uuid::Uuid;

use super::{
    cloud::CLUSTER,
    container::{ContainerRef, runtime::ContainerInfo},
    env::OtelEnv,
    executable::BuildInfo,
    host::Host,
    instrumentation::Instrumentation,
    language::Runtime,
    pod::Pod,
};
use crate::model::{
    ids::ProcessId,
    span::{Resource, Value},
};

/// Prefix of pod annotations that become attributes.
const ANNOTATION_PREFIX: &str = "resource.opentelemetry.io/";
/// Name of the instrumentation, for `telemetry.*`.
const DISTRIBUTION: &str = "beyla-rs";
/// Namespace of the UUIDs made here (random, fixed).
const INSTANCE_NAMESPACE: Uuid = Uuid::from_u128(0x5f1c_6a0e_2a3d_4b57_9c3e_6d1f_0b8a_7e42);

/// A process's facts, as far as they are known.
#[derive(Clone, Debug, Default)]
pub(crate) struct Facts {
    /// Path of the executable; empty where unknown.
    pub(crate) exe: Arc<str>,
    /// The name of the program, see [`super::name`]; empty where unknown.
    pub(crate) name: CompactString,
    /// Language and runtime.
    pub(crate) runtime: Runtime,
    /// What a Go program says of itself.
    pub(crate) build: Option<Arc<BuildInfo>>,
    /// Who else describes what it does.
    pub(crate) instrumentation: Instrumentation,
    /// What the environment says.
    pub(crate) env: OtelEnv,
    /// The user's name.
    pub(crate) owner: Option<Arc<str>>,
    /// The command line, where asked for.
    pub(crate) command_line: Option<Arc<str>>,
    /// The container by the cgroup.
    pub(crate) container: ContainerRef,
    /// What the container's runtime says.
    pub(crate) container_info: Option<Arc<ContainerInfo>>,
    /// The process's own files did not answer: what they say is missing.
    pub(crate) is_partial: bool,
}

/// What all resources of one agent share.
pub(crate) struct Shared<'a> {
    /// The machine.
    pub(crate) host: &'a Host,
    /// The agent's own `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`.
    pub(crate) env: &'a OtelEnv,
    /// What instance ids are made of: the machine, by what is known of it from the first moment.
    pub(crate) machine: &'a str,
    /// `k8s.cluster.name`.
    pub(crate) cluster: Option<&'a CompactString>,
    /// Labels and annotations of pods that become attributes.
    pub(crate) pod_attributes: &'a PodAttributes,
}

/// What of pods' labels and annotations becomes attributes.
#[derive(Clone, Debug, Default)]
pub(crate) struct PodAttributes {
    /// Labels that become `k8s.pod.label.KEY`.
    pub labels: Vec<CompactString>,
    /// Annotations that become `k8s.pod.annotation.KEY`.
    pub annotations: Vec<CompactString>,
    /// Attributes, and the labels that give their value: the first that a pod has.
    pub by_label: Vec<(CompactString, Vec<CompactString>)>,
}

impl PodAttributes {
    /// What a pod's labels say of an attribute.
    fn of<'a>(&self, pod: &'a Pod, attribute: &str) -> Option<&'a CompactString> {
        let (_, labels) = self.by_label.iter().find(|(name, _)| name == attribute)?;
        labels.iter().filter_map(|label| pod.label(label)).find(|value| !value.is_empty())
    }
}

/// What the configuration says of a matched process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Configured<'a> {
    /// The service's name.
    pub(crate) name: Option<&'a str>,
    /// The service's namespace.
    pub(crate) namespace: Option<&'a str>,
}

/// Identity of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    /// Pid in the host's PID namespace.
    pub(crate) tgid: ProcessId,
    /// Start, in clock ticks since boot.
    pub(crate) start_ticks: u64,
}

/// Builds the resource.
pub(crate) fn build(
    identity: Identity,
    facts: &Facts,
    pod: Option<&Pod>,
    configured: Configured<'_>,
    shared: &Shared<'_>,
) -> Resource {
    let mut attributes = Attributes::default();
    attributes.service(identity, facts, pod, configured, shared);
    attributes.telemetry(facts);
    attributes.process(identity, facts);
    attributes.host(shared.host);
    attributes.container(facts);
    if let Some(pod) = pod {
        attributes.pod(facts, pod, shared);
    } else if let Some(info) = facts.container_info.as_ref().filter(|info| info.pod_name.is_some()) {
        attributes.pod_by_runtime(facts, info, shared);
    }
    // Later ones are stronger: pod annotations, the agent's environment, the target's.
    let annotations = pod.iter().flat_map(|pod| &pod.annotations);
    for (key, value) in annotations.filter_map(|(key, value)| Some((key.strip_prefix(ANNOTATION_PREFIX)?, value))) {
        attributes.replace(key, value);
    }
    for (key, value) in &shared.env.attributes {
        attributes.replace(key, value);
    }
    for (key, value) in &facts.env.attributes {
        attributes.replace(key, value);
    }
    if let Some(id) = facts.env.get("service.instance.id") {
        attributes.set("service.instance.id", id);
    }
    let service_name = match attributes.0.iter().find(|(key, _)| key == "service.name") {
        Some((_, Value::Str(name))) => name.clone(),
        _ => CompactString::default(),
    };
    Resource { attributes: attributes.0, service_name, pid: identity.tgid }
}

#[derive(Default)]
struct Attributes(Vec<(CompactString, Value)>);

impl Attributes {
    fn push(&mut self, key: &'static str, value: Value) {
        self.0.push((CompactString::const_new(key), value));
    }

    fn text(&mut self, key: &'static str, value: Option<&CompactString>) {
        if let Some(value) = value.filter(|value| !value.is_empty()) {
            self.push(key, Value::Str(value.clone()));
        }
    }

    fn set(&mut self, key: &str, value: &CompactString) {
        let value = Value::Str(value.clone());
        match self.0.iter_mut().find(|(name, _)| name == key) {
            Some((_, old)) => *old = value,
            None => self.0.push((key.into(), value)),
        }
    }

    /// Sets an attribute that somebody chose, unless it is one that only the agent can know.
    fn replace(&mut self, key: &str, value: &CompactString) {
        let is_fixed = matches!(key, "service.name" | "service.namespace" | "service.instance.id" | "process.pid")
            || key.starts_with("telemetry.");
        if !is_fixed && !value.is_empty() {
            self.set(key, value);
        }
    }

    fn service(
        &mut self,
        identity: Identity,
        facts: &Facts,
        pod: Option<&Pod>,
        configured: Configured<'_>,
        shared: &Shared<'_>,
    ) {
        self.push("service.name", Value::Str(service_name(facts, pod, configured, shared)));
        self.text("service.namespace", service_namespace(facts, pod, configured, shared).as_ref());
        self.push("service.instance.id", Value::Str(instance_id(identity, facts, shared.machine)));
        let version = pod.and_then(|pod| pod.label("app.kubernetes.io/version"));
        let built = || facts.build.as_ref().and_then(|build| build.service_version());
        self.text("service.version", version.cloned().or_else(built).as_ref());
    }

    fn telemetry(&mut self, facts: &Facts) {
        self.push("telemetry.sdk.name", Value::Static(DISTRIBUTION));
        if let Some(language) = facts.runtime.language {
            self.push("telemetry.sdk.language", Value::Static(language.name()));
        }
        self.push("telemetry.sdk.version", Value::Static(env!("CARGO_PKG_VERSION")));
        self.push("telemetry.distro.name", Value::Static(DISTRIBUTION));
        self.push("telemetry.distro.version", Value::Static(env!("CARGO_PKG_VERSION")));
    }

    fn process(&mut self, identity: Identity, facts: &Facts) {
        self.push("process.pid", Value::Int(identity.tgid.0.into()));
        if !facts.exe.is_empty() {
            self.push("process.executable.name", Value::Str(super::name::base(&facts.exe).into()));
            self.push("process.executable.path", Value::Shared(Arc::clone(&facts.exe)));
        }
        if let Some(owner) = &facts.owner {
            self.push("process.owner", Value::Shared(Arc::clone(owner)));
        }
        if let Some(name) = facts.runtime.name {
            self.push("process.runtime.name", Value::Static(name));
        }
        self.text("process.runtime.version", facts.build.as_ref().map(|build| &build.release));
        if let Some(line) = &facts.command_line {
            self.push("process.command_line", Value::Shared(Arc::clone(line)));
        }
    }

    fn host(&mut self, host: &Host) {
        self.text("host.name", Some(&host.name));
        self.text("host.id", host.id.as_ref());
        self.push("host.arch", Value::Static(host.arch));
        self.push("os.type", Value::Static("linux"));
        for (key, value) in host.cloud.iter().filter(|(key, _)| *key != CLUSTER) {
            self.text(key, Some(value));
        }
    }

    fn container(&mut self, facts: &Facts) {
        if let Some(id) = &facts.container.id {
            self.push("container.id", Value::Shared(Arc::clone(id)));
        }
        if let Some(runtime) = facts.container.runtime {
            self.push("container.runtime.name", Value::Static(runtime.name()));
        }
        if let Some(info) = &facts.container_info {
            self.text("container.name", info.name.as_ref());
            self.text("container.image.name", info.image.as_ref());
        }
    }

    /// What the container's runtime knows of its pod, while the API server has not told more.
    fn pod_by_runtime(&mut self, facts: &Facts, info: &ContainerInfo, shared: &Shared<'_>) {
        self.text("k8s.namespace.name", info.pod_namespace.as_ref());
        self.text("k8s.pod.name", info.pod_name.as_ref());
        self.text("k8s.container.name", info.name.as_ref());
        if let Some(uid) = &facts.container.pod_uid {
            self.push("k8s.pod.uid", Value::Shared(Arc::clone(uid)));
        }
        self.text("k8s.cluster.name", shared.cluster);
    }

    fn pod(&mut self, facts: &Facts, pod: &Pod, shared: &Shared<'_>) {
        self.text("k8s.namespace.name", Some(&pod.namespace));
        self.text("k8s.pod.name", Some(&pod.name));
        self.text("k8s.container.name", container_name(facts, Some(pod)));
        self.text("k8s.node.name", pod.node.as_ref());
        for owner in &pod.owners {
            if let Some(key) = owner.kind.attribute() {
                self.text(key, Some(&owner.name));
            }
        }
        self.text("k8s.pod.uid", Some(&pod.uid));
        self.text("k8s.pod.start_time", pod.start_time.as_ref());
        for key in &shared.pod_attributes.labels {
            if let Some(value) = pod.label(key) {
                self.set(&format!("k8s.pod.label.{key}"), value);
            }
        }
        for key in &shared.pod_attributes.annotations {
            if let Some(value) = pod.annotation(key) {
                self.set(&format!("k8s.pod.annotation.{key}"), value);
            }
        }
        for (attribute, _) in &shared.pod_attributes.by_label {
            if let Some(value) = shared.pod_attributes.of(pod, attribute) {
                self.replace(attribute, value);
            }
        }
        self.text("k8s.cluster.name", shared.cluster);
    }
}

/// The order is INTERFACE's: the target's environment, the configuration, the pod, the container, the program.
fn service_name(facts: &Facts, pod: Option<&Pod>, configured: Configured<'_>, shared: &Shared<'_>) -> CompactString {
    let from_env = |env: &OtelEnv| env.service_name.clone().or_else(|| env.get("service.name").cloned());
    let usable = |name: &CompactString| !name.is_empty();
    from_env(&facts.env)
        .or_else(|| configured.name.map(CompactString::from).filter(usable))
        .or_else(|| from_env(shared.env))
        .or_else(|| pod.and_then(|pod| pod_service_name(pod, shared.pod_attributes)).filter(usable))
        .or_else(|| container_name(facts, pod).cloned().filter(usable))
        .or_else(|| Some(facts.name.clone()).filter(usable))
        .unwrap_or_else(|| CompactString::const_new("unknown_service"))
}

/// The name a pod's own metadata gives its service.
pub(crate) fn pod_service_name(pod: &Pod, attributes: &PodAttributes) -> Option<CompactString> {
    let annotated = pod.annotation("resource.opentelemetry.io/service.name");
    let chosen = || attributes.of(pod, "service.name");
    let labelled = || pod.label("app.kubernetes.io/name");
    // A custom resource's name is as good as a Deployment's.
    let owner = || pod.top_owner().map(|owner| &owner.name);
    annotated.or_else(chosen).or_else(labelled).or_else(owner).cloned()
}

fn service_namespace(
    facts: &Facts,
    pod: Option<&Pod>,
    configured: Configured<'_>,
    shared: &Shared<'_>,
) -> Option<CompactString> {
    let annotated = || pod.and_then(|pod| pod.annotation("resource.opentelemetry.io/service.namespace").cloned());
    facts
        .env
        .get("service.namespace")
        .cloned()
        .or_else(|| configured.namespace.map(CompactString::from))
        .or_else(|| shared.env.get("service.namespace").cloned())
        .or_else(annotated)
        .or_else(|| pod.and_then(|pod| shared.pod_attributes.of(pod, "service.namespace").cloned()))
        .or_else(|| pod.map(|pod| pod.namespace.clone()))
        .or_else(|| facts.container_info.as_ref().and_then(|info| info.pod_namespace.clone()))
}

fn container_name<'a>(facts: &'a Facts, pod: Option<&'a Pod>) -> Option<&'a CompactString> {
    let of_pod = pod.and_then(|pod| pod.container(facts.container.id.as_deref())).map(|container| &container.name);
    let of_runtime = || facts.container_info.as_ref().and_then(|info| info.name.as_ref());
    of_pod.or_else(of_runtime)
}

/// The same for the whole life of a process and never again: of the machine (or the container), pid and start.
fn instance_id(identity: Identity, facts: &Facts, machine: &str) -> CompactString {
    let container = facts.container.id.as_deref().unwrap_or_default();
    let Identity { tgid, start_ticks } = identity;
    let name = format!("{machine}/{container}/{tgid}/{start_ticks}");
    format_compact!("{}", Uuid::new_v5(&INSTANCE_NAMESPACE, name.as_bytes()).as_hyphenated())
}

#[cfg(test)]
mod tests;
