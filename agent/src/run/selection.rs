//! Which processes: from the configuration to a selector.

use std::sync::Arc;

use crate::{
    config::{Config, Criterion, Features, Sampler, Sdk, ServiceMetrics, ServiceRoutes, Signal},
    model::ids::ProcessId,
    procs::{
        pod::OwnerKind,
        selector::{Criteria, Exports, Glob, InvalidGlob, KubernetesName, Routes, Rule, Selector},
    },
};

/// What the configuration chooses and leaves out.
pub(super) fn selector(config: &Config) -> Result<Selector, InvalidGlob> {
    let selection = config.selection();
    let mut rules = Vec::new();
    if !selection.pids.is_empty() {
        rules.push(Rule {
            label: "--pid".into(),
            criteria: Criteria { pids: processes(&selection.pids), ..Criteria::default() },
            ..Rule::default()
        });
    }
    for (index, criterion) in selection.criteria.iter().enumerate() {
        rules.push(rule(criterion, index)?);
    }
    let all = |list: &[Criterion]| list.iter().map(|it| criteria(it).map(|(it, _)| it)).collect::<Result<Vec<_>, _>>();
    let targets = [config.otlp_traces(), config.otlp_metrics()];
    let endpoints = targets.iter().flatten().map(|target| &target.endpoint);
    let on_this_host = endpoints.filter(|endpoint| is_local(endpoint.as_str()));
    Ok(Selector {
        rules: rules.into_iter().map(Arc::new).collect(),
        exclude: all(&config.discovery.exclude_instrument)?,
        default_exclude: all(&config.discovery.default_exclude_instrument)?,
        own_pid: Some(ProcessId(std::process::id())),
        collector_ports: on_this_host.filter_map(|endpoint| endpoint.port()).collect(),
        ..Selector::default()
    })
}

fn processes(pids: &[u32]) -> Vec<ProcessId> {
    pids.iter().copied().map(ProcessId).collect()
}

/// Whether the URL names this host. Another host's port says nothing of who listens on it here.
fn is_local(url: &str) -> bool {
    url.split_once("://").is_some_and(|(_, rest)| {
        ["localhost", "127.", "[::1]"].iter().any(|host| rest.to_ascii_lowercase().starts_with(host))
    })
}

fn rule(criterion: &Criterion, index: usize) -> Result<Rule, InvalidGlob> {
    let (criteria, set) = criteria(criterion)?;
    let Set { name, namespace, metrics, sampler, routes, sdk } = set;
    Ok(Rule {
        label: name.map_or_else(|| compact_str::format_compact!("rule {}", index + 1), Into::into),
        criteria,
        name: name.map(Into::into),
        namespace: namespace.map(Into::into),
        exports: criterion.exports.as_ref().map(|_| Exports {
            traces: criterion.exports(Signal::Traces),
            metrics: criterion.exports(Signal::Metrics),
        }),
        features: metrics.and_then(|ServiceMetrics { features }| features.as_deref().map(Features::of)),
        sampler: sampler.cloned(),
        sdk,
        routes: routes.map(|ServiceRoutes { incoming, outgoing }| {
            let list = |list: &[String]| list.iter().map(Into::into).collect();
            Routes { incoming: list(incoming), outgoing: list(outgoing) }
        }),
    })
}

/// What is set for processes that a criterion chooses.
struct Set<'a> {
    name: Option<&'a str>,
    namespace: Option<&'a str>,
    metrics: Option<&'a ServiceMetrics>,
    sampler: Option<&'a Sampler>,
    routes: Option<&'a ServiceRoutes>,
    sdk: Option<Sdk>,
}

/// Takes a criterion apart, without `..`: a key that nobody reads does not compile.
fn criteria(criterion: &Criterion) -> Result<(Criteria, Set<'_>), InvalidGlob> {
    let Criterion {
        name,
        namespace,
        open_ports,
        target_pids,
        exe_path,
        cmd_args,
        languages,
        containers_only,
        container_name,
        k8s_namespace,
        k8s_pod_name,
        k8s_container_name,
        k8s_deployment_name,
        k8s_replicaset_name,
        k8s_statefulset_name,
        k8s_daemonset_name,
        k8s_job_name,
        k8s_cronjob_name,
        k8s_owner_name,
        k8s_pod_labels,
        k8s_pod_annotations,
        // `Criterion::exports`
        exports: _,
        metrics,
        sampler,
        routes,
        sdk,
    } = criterion;
    let glob = |pattern: &Option<crate::config::Glob>| pattern.as_ref().map(|it| Glob::new(it.as_str())).transpose();
    let mut kubernetes = Vec::new();
    for (name, pattern) in [
        (KubernetesName::Namespace, k8s_namespace),
        (KubernetesName::Pod, k8s_pod_name),
        (KubernetesName::Container, k8s_container_name),
        (KubernetesName::Owner(OwnerKind::Deployment), k8s_deployment_name),
        (KubernetesName::Owner(OwnerKind::ReplicaSet), k8s_replicaset_name),
        (KubernetesName::Owner(OwnerKind::StatefulSet), k8s_statefulset_name),
        (KubernetesName::Owner(OwnerKind::DaemonSet), k8s_daemonset_name),
        (KubernetesName::Owner(OwnerKind::Job), k8s_job_name),
        (KubernetesName::Owner(OwnerKind::CronJob), k8s_cronjob_name),
        (KubernetesName::AnyOwner, k8s_owner_name),
    ] {
        kubernetes.extend(glob(pattern)?.map(|glob| (name, glob)));
    }
    let map = |patterns: &std::collections::BTreeMap<String, crate::config::Glob>| {
        patterns
            .iter()
            .map(|(key, pattern)| Ok((key.as_str().into(), Glob::new(pattern.as_str())?)))
            .collect::<Result<Vec<_>, InvalidGlob>>()
    };
    let criteria = Criteria {
        pids: processes(&target_pids.0),
        open_ports: open_ports.0.iter().map(|range| (*range.start(), *range.end())).collect(),
        exe_path: glob(exe_path)?,
        cmd_args: glob(cmd_args)?,
        container_name: glob(container_name)?,
        containers_only: *containers_only,
        languages: glob(languages)?,
        kubernetes,
        pod_labels: map(k8s_pod_labels)?,
        pod_annotations: map(k8s_pod_annotations)?,
    };
    let (name, namespace) = (name.as_deref(), namespace.as_deref());
    let (metrics, sampler, routes) = (metrics.as_ref(), sampler.as_ref(), routes.as_ref());
    Ok((criteria, Set { name, namespace, metrics, sampler, routes, sdk: *sdk }))
}
