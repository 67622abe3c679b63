//! What is asked of others about processes: the Kubernetes API, the cloud. Both are asked in the background: tracing never
//! waits for them.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use compact_str::CompactString;
use tokio::runtime::Runtime;

use super::settings::pod_attributes;
use crate::{
    config::{Config, Enable, NameOrigin},
    kube::{self, Kubernetes, KubernetesError},
    pipeline::Ready,
    procs::{AskedNames, HostsFiles, NameSource, ProcessTable, ReverseDns, cloud},
};

/// The longest pause before the API server is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Begins to watch the cluster, if this host is part of one and the configuration does not forbid it.
pub(super) fn kubernetes(config: &Config, runtime: &Runtime) -> Option<Arc<Kubernetes>> {
    let settings = &config.attributes.kubernetes;
    if settings.enable == Enable::False {
        return None;
    }
    match runtime.block_on(start(config)) {
        Ok(Some(kubernetes)) => Some(Arc::new(kubernetes)),
        Ok(None) => {
            if settings.enable == Enable::True {
                tracing::warn!(
                    "attributes.kubernetes.enable is true, but there is neither a kubeconfig nor a service account: spans \
                     have no k8s attributes"
                );
            }
            None
        }
        Err(error) => {
            tracing::warn!("{:#}: spans have no k8s attributes", anyhow::Error::new(error));
            None
        }
    }
}

/// Reads files only; what goes over the network does so later.
async fn start(config: &Config) -> Result<Option<Kubernetes>, KubernetesError> {
    let settings = &config.attributes.kubernetes;
    let Some(reach) = kube::detect(settings.kubeconfig_path.as_deref()).await? else { return Ok(None) };
    let node = settings.meta_restrict_local_node.then(node_name).flatten();
    match &node {
        Some(node) => tracing::info!("pods of node {node} are followed"),
        None => tracing::info!("pods of all nodes are followed: NODE_NAME is not set"),
    }
    let first = settings.reconnect_initial_interval.0;
    let watched = kube::Settings {
        node,
        backoff: (first, LONGEST_PAUSE.max(first)),
        attributes: pod_attributes(config),
        ..kube::Settings::default()
    };
    Kubernetes::start(reach, watched).map(Some)
}

/// This node's name in the cluster, which a DaemonSet passes on.
pub(super) fn node_name() -> Option<CompactString> {
    let value = std::env::var("NODE_NAME").ok()?;
    (!value.is_empty()).then(|| value.into())
}

/// Where names of addresses come from: what the process itself uses first.
pub(super) fn names(config: &Config, processes: &ProcessTable) -> anyhow::Result<Vec<Arc<dyn NameSource>>> {
    let mut names: Vec<Arc<dyn NameSource>> = Vec::new();
    let asks = |origin| config.name_resolver.asks(origin);
    if asks(NameOrigin::Hosts) {
        names.push(Arc::new(HostsFiles::new(processes.proc().clone(), Arc::clone(processes.pool()))));
    }
    if asks(NameOrigin::Rdns) {
        names.push(Arc::new(AskedNames));
    }
    if asks(NameOrigin::Dns) {
        names.push(Arc::new(ReverseDns::start().context("cannot start a thread")?));
    }
    Ok(names)
}

/// Until when spans of pods wait for the first list of pods.
pub(super) fn readiness(config: &Config, kubernetes: &Arc<Kubernetes>) -> (Ready, Instant) {
    let kubernetes = Arc::clone(kubernetes);
    let limit = config.attributes.kubernetes.informers_sync_timeout.0;
    (Box::new(move || kubernetes.is_ready()), Instant::now() + limit)
}

/// Asks the cloud that the machine is of, if any, once.
pub(super) fn ask_cloud(runtime: &Runtime, processes: &Arc<ProcessTable>) {
    let processes = Arc::clone(processes);
    runtime.spawn(async move {
        let attributes = cloud::detect(&cloud::CloudSource::default()).await;
        if !attributes.is_empty() {
            processes.set_cloud(attributes);
        }
    });
}
