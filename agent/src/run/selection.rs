//! Which processes: from the configuration to a selector, and the list of what it chooses.

use std::sync::Arc;

use super::{print, settings};
use crate::{
    cli::Exit,
    config::{Config, Criterion, Loaded, Signal},
    procs::{
        ProcessTable,
        pod::OwnerKind,
        selector::{Criteria, Exports, Glob, InvalidGlob, KubernetesName, Routes, Rule, Selector},
        survey,
    },
};

/// What the configuration chooses and leaves out.
pub(super) fn selector(config: &Config) -> Result<Selector, InvalidGlob> {
    let selection = config.selection();
    let mut rules = Vec::new();
    if !selection.pids.is_empty() {
        rules.push(Rule {
            label: "--pid".into(),
            criteria: Criteria { pids: selection.pids.clone(), ..Criteria::default() },
            ..Rule::default()
        });
    }
    for (index, criterion) in selection.criteria.iter().enumerate() {
        rules.push(Rule {
            label: label(criterion, index),
            criteria: criteria(criterion)?,
            name: criterion.name.as_deref().map(Into::into),
            namespace: criterion.namespace.as_deref().map(Into::into),
            exports: Some(Exports {
                traces: criterion.exports(Signal::Traces),
                metrics: criterion.exports(Signal::Metrics),
            }),
            sampler: criterion.sampler.clone(),
            routes: criterion.routes.as_ref().map_or_else(Routes::default, |routes| {
                let list = |list: &[String]| list.iter().map(Into::into).collect();
                Routes { incoming: list(&routes.incoming), outgoing: list(&routes.outgoing) }
            }),
        });
    }
    let all = |list: &[Criterion]| list.iter().map(criteria).collect::<Result<Vec<_>, _>>();
    let targets = [config.otlp_traces(), config.otlp_metrics()];
    let endpoints = targets.iter().flatten().map(|target| &target.endpoint);
    let on_this_host = endpoints.filter(|endpoint| is_local(endpoint.as_str()));
    Ok(Selector {
        rules: rules.into_iter().map(Arc::new).collect(),
        exclude: all(&config.discovery.exclude_instrument)?,
        default_exclude: all(&config.discovery.default_exclude_instrument)?,
        own_pid: Some(std::process::id()),
        collector_ports: on_this_host.filter_map(|endpoint| endpoint.port()).collect(),
    })
}

/// Whether the URL names this host. Another host's port says nothing of who listens on it here.
fn is_local(url: &str) -> bool {
    url.split_once("://").is_some_and(|(_, rest)| {
        ["localhost", "127.", "[::1]"].iter().any(|host| rest.to_ascii_lowercase().starts_with(host))
    })
}

fn label(criterion: &Criterion, index: usize) -> compact_str::CompactString {
    match &criterion.name {
        Some(name) => name.as_str().into(),
        None => compact_str::format_compact!("rule {}", index + 1),
    }
}

fn criteria(criterion: &Criterion) -> Result<Criteria, InvalidGlob> {
    let glob = |pattern: &Option<crate::config::Glob>| pattern.as_ref().map(|it| Glob::new(it.as_str())).transpose();
    let mut kubernetes = Vec::new();
    for (name, pattern) in [
        (KubernetesName::Namespace, &criterion.k8s_namespace),
        (KubernetesName::Pod, &criterion.k8s_pod_name),
        (KubernetesName::Container, &criterion.k8s_container_name),
        (KubernetesName::Owner(OwnerKind::Deployment), &criterion.k8s_deployment_name),
        (KubernetesName::Owner(OwnerKind::ReplicaSet), &criterion.k8s_replicaset_name),
        (KubernetesName::Owner(OwnerKind::StatefulSet), &criterion.k8s_statefulset_name),
        (KubernetesName::Owner(OwnerKind::DaemonSet), &criterion.k8s_daemonset_name),
        (KubernetesName::Owner(OwnerKind::Job), &criterion.k8s_job_name),
        (KubernetesName::Owner(OwnerKind::CronJob), &criterion.k8s_cronjob_name),
        (KubernetesName::AnyOwner, &criterion.k8s_owner_name),
    ] {
        kubernetes.extend(glob(pattern)?.map(|glob| (name, glob)));
    }
    let map = |patterns: &std::collections::BTreeMap<String, crate::config::Glob>| {
        patterns
            .iter()
            .map(|(key, pattern)| Ok((key.as_str().into(), Glob::new(pattern.as_str())?)))
            .collect::<Result<Vec<_>, InvalidGlob>>()
    };
    Ok(Criteria {
        pids: criterion.target_pids.0.clone(),
        open_ports: criterion.open_ports.0.iter().map(|range| (*range.start(), *range.end())).collect(),
        exe_path: glob(&criterion.exe_path)?,
        cmd_args: glob(&criterion.cmd_args)?,
        container_name: glob(&criterion.container_name)?,
        containers_only: criterion.containers_only,
        languages: glob(&criterion.languages)?,
        kubernetes,
        pod_labels: map(&criterion.k8s_pod_labels)?,
        pod_annotations: map(&criterion.k8s_pod_annotations)?,
    })
}

/// `beyla-rs survey`.
pub(super) fn survey(json: bool, config: &Loaded) -> Exit {
    let processes = match settings::processes(config) {
        Ok(settings) => ProcessTable::new(settings),
        Err(error) => {
            tracing::error!("{error}");
            return Exit::Usage;
        }
    };
    if !rustix::process::geteuid().is_root() {
        tracing::warn!("of other users' processes nothing can be read without root: they are missing");
    }
    let rows = processes.survey();
    let text = if json { survey::json(&rows).unwrap_or_default() + "\n" } else { survey::text(&rows) };
    print(&text)
}
