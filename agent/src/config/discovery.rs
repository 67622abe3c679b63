//! Which processes are watched, and what is set for the ones that match.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    features::ServiceMetrics,
    pattern::Glob,
    ports::{Pids, Ports},
    routes::ServiceRoutes,
    sampler::Sampler,
};

/// A signal that a service's data may go out as.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Signal {
    /// Spans.
    Traces,
    /// Metrics.
    Metrics,
}

impl Signal {
    /// For logs.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
        }
    }
}

/// What is done about processes that have an SDK of OpenTelemetry.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Sdk {
    /// What it describes is not told a second time: spans, and metrics that it exports.
    #[default]
    Pair,
    /// They are as any other.
    Ignore,
    /// Nothing of them is told.
    Exclude,
}

/// Who reads the routes of programs in a language from their files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum RouteHarvester {
    /// Annotations of Spring and JAX-RS in a jar.
    Java,
    /// Sources of Express, what Next has built.
    Nodejs,
    /// Sources of Flask, FastAPI and Django.
    Python,
    /// Rails' `config/routes.rb`.
    Ruby,
    /// Laravel's `routes/*.php`.
    Php,
    /// Patterns of Go's `net/http`, as they are written in the program's code.
    Go,
}

/// One entry of `discovery.instrument` or `discovery.exclude_instrument`. All criteria given must hold; values are globs.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Criterion {
    /// `service.name` of what matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// `service.namespace` of what matches.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub namespace: Option<String>,
    /// Listens on one of these.
    #[serde(skip_serializing_if = "Ports::is_empty")]
    pub open_ports: Ports,
    /// Is one of these processes.
    #[serde(skip_serializing_if = "no_pids")]
    pub target_pids: Pids,
    /// Path of the executable.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exe_path: Option<Glob>,
    /// The arguments, joined by spaces.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cmd_args: Option<Glob>,
    /// The language, as `telemetry.sdk.language` says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub languages: Option<Glob>,
    /// Runs in a container.
    #[serde(skip_serializing_if = "is_false")]
    pub containers_only: bool,
    /// Name of the container, as its runtime says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub container_name: Option<Glob>,
    /// Kubernetes namespace.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k8s_namespace: Option<Glob>,
    /// Pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k8s_pod_name: Option<Glob>,
    /// Container of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k8s_container_name: Option<Glob>,
    /// Deployment.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k8s_deployment_name: Option<Glob>,
    /// ReplicaSet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k8s_replicaset_name: Option<Glob>,
    /// StatefulSet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k8s_statefulset_name: Option<Glob>,
    /// DaemonSet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k8s_daemonset_name: Option<Glob>,
    /// Job.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k8s_job_name: Option<Glob>,
    /// CronJob.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k8s_cronjob_name: Option<Glob>,
    /// Any owner of the pod.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub k8s_owner_name: Option<Glob>,
    /// Labels of the pod; all must match.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub k8s_pod_labels: BTreeMap<String, Glob>,
    /// Annotations of the pod; all must match.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub k8s_pod_annotations: BTreeMap<String, Glob>,
    /// What is exported of it; not given: everything, an empty list: nothing.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub exports: Option<Vec<Signal>>,
    /// Which metrics there are of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub metrics: Option<ServiceMetrics>,
    /// Its own sampler.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sampler: Option<Sampler>,
    /// Its own routes.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub routes: Option<ServiceRoutes>,
    /// What is done about an SDK of OpenTelemetry that it has, if not as `discovery.sdk` says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub sdk: Option<Sdk>,
}

fn no_pids(pids: &Pids) -> bool {
    pids.0.is_empty()
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "serde calls it with a reference")]
fn is_false(value: &bool) -> bool {
    !value
}

impl Criterion {
    /// Whether it chooses at all: an entry with none of the criteria would match everything by mistake.
    pub fn chooses(&self) -> bool {
        let globs = [
            &self.exe_path,
            &self.cmd_args,
            &self.languages,
            &self.container_name,
            &self.k8s_namespace,
            &self.k8s_pod_name,
            &self.k8s_container_name,
            &self.k8s_deployment_name,
            &self.k8s_replicaset_name,
            &self.k8s_statefulset_name,
            &self.k8s_daemonset_name,
            &self.k8s_job_name,
            &self.k8s_cronjob_name,
            &self.k8s_owner_name,
        ];
        globs.iter().any(|glob| glob.is_some())
            || !self.open_ports.is_empty()
            || !self.target_pids.0.is_empty()
            || self.containers_only
            || !self.k8s_pod_labels.is_empty()
            || !self.k8s_pod_annotations.is_empty()
    }

    /// Whether it can be answered only once Kubernetes has been asked.
    pub fn needs_kubernetes(&self) -> bool {
        let globs = [
            &self.k8s_namespace,
            &self.k8s_pod_name,
            &self.k8s_container_name,
            &self.k8s_deployment_name,
            &self.k8s_replicaset_name,
            &self.k8s_statefulset_name,
            &self.k8s_daemonset_name,
            &self.k8s_job_name,
            &self.k8s_cronjob_name,
            &self.k8s_owner_name,
        ];
        globs.iter().any(|glob| glob.is_some())
            || !self.k8s_pod_labels.is_empty()
            || !self.k8s_pod_annotations.is_empty()
    }

    /// Whether spans of a match go out.
    pub fn exports(&self, signal: Signal) -> bool {
        self.exports.as_ref().is_none_or(|signals| signals.contains(&signal))
    }
}

/// `discovery`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Discovery {
    /// What is watched. Of several entries that match, each value is that of the last one that sets it. Nothing given: everything not
    /// excluded.
    pub instrument: Vec<Criterion>,
    /// What is never watched, whatever `instrument` says.
    pub exclude_instrument: Vec<Criterion>,
    /// As `exclude_instrument`; a list of agents, collectors and node services unless it is set.
    pub default_exclude_instrument: Vec<Criterion>,
    /// `false`: as `sdk: ignore`, where an entry says nothing else.
    pub exclude_otel_instrumented_services: bool,
    /// Whether metrics of spans are left to services that are seen to send spans themselves.
    pub exclude_otel_instrumented_services_span_metrics: bool,
    /// What is done about processes that have an SDK of OpenTelemetry.
    pub sdk: Sdk,
    /// Languages in whose programs no routes are looked for.
    pub disabled_route_harvesters: Vec<RouteHarvester>,
}

impl Discovery {
    /// What is done about processes that have an SDK, where their entry does not say it.
    #[must_use]
    pub const fn sdk(&self) -> Sdk {
        if self.exclude_otel_instrumented_services { self.sdk } else { Sdk::Ignore }
    }
}

impl Default for Discovery {
    fn default() -> Self {
        Self {
            instrument: Vec::new(),
            exclude_instrument: Vec::new(),
            default_exclude_instrument: default_excludes(),
            exclude_otel_instrumented_services: true,
            exclude_otel_instrumented_services_span_metrics: false,
            sdk: Sdk::default(),
            disabled_route_harvesters: Vec::new(),
        }
    }
}

/// Agents and collectors (to watch them would make a loop), then what runs a node rather than serves its users.
fn default_excludes() -> Vec<Criterion> {
    const AGENTS: &str = "*{/,}{beyla-rs,beyla,obi,ebpf-instrument,alloy,otelcol,otelcol-contrib,\
                          prometheus-config-reloader}";
    const NODE: &str = "*{/,}{kubelet,kube-proxy,containerd,containerd-shim*,dockerd,docker-proxy,docker-containerd*,crio,\
                        conmon,podman,runc,crun,buildkitd,k3s,systemd-*}";
    const NAMESPACES: &str = "{kube-system,kube-node-lease,local-path-storage,grafana-alloy,cert-manager,monitoring,gke-*,\
                              gatekeeper-system}";
    const CONTAINERS: &str = "{beyla-rs,beyla,ebpf-instrument,obi,alloy,otelcol,otel-collector,otelcol-contrib}";
    // These are our own words; the test below reads each of them.
    let glob = |text: &str| text.parse().ok();
    vec![
        Criterion { exe_path: glob(AGENTS), ..Criterion::default() },
        Criterion { exe_path: glob(NODE), ..Criterion::default() },
        Criterion { k8s_namespace: glob(NAMESPACES), ..Criterion::default() },
        Criterion { k8s_container_name: glob(CONTAINERS), ..Criterion::default() },
    ]
}

/// What is to be watched, from all the ways of saying it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Selection {
    /// These processes and their children, whatever else is said.
    pub pids: Vec<u32>,
    /// Any process that matches one of them; what is set for it is what the last match says that says anything.
    pub criteria: Vec<Criterion>,
}

impl Selection {
    /// Whether nothing was chosen: every process not excluded is watched.
    pub fn is_everything(&self) -> bool {
        self.pids.is_empty() && self.criteria.is_empty()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_default_excludes_are_whole_and_know_their_processes() {
        let excludes = default_excludes();
        assert!(excludes.iter().all(Criterion::chooses));
        let excluded =
            |path: &str| excludes.iter().any(|c| c.exe_path.as_ref().is_some_and(|glob| glob.is_match(path)));
        for path in ["/usr/bin/kubelet", "/usr/bin/containerd-shim-runc-v2", "/opt/beyla-rs", "/otelcol-contrib"] {
            assert!(excluded(path), "{path}");
        }
        for path in ["/usr/sbin/nginx", "/app/my-kubelet-dashboard", "/usr/bin/python3"] {
            assert!(!excluded(path), "{path}");
        }
        assert!(excludes.iter().any(|c| c.k8s_namespace.as_ref().is_some_and(|glob| glob.is_match("kube-system"))));
    }

    #[test]
    fn exports_not_given_are_all_and_an_empty_list_is_none() {
        let mut criterion = Criterion::default();
        assert!(criterion.exports(Signal::Traces) && criterion.exports(Signal::Metrics));
        criterion.exports = Some(vec![]);
        assert!(!criterion.exports(Signal::Traces) && !criterion.exports(Signal::Metrics));
        criterion.exports = Some(vec![Signal::Traces]);
        assert!(criterion.exports(Signal::Traces) && !criterion.exports(Signal::Metrics));
    }
}
