//! What is asked of others about processes: the Kubernetes API, the cloud. Both are asked in the background: tracing never
//! waits for them.

use std::{
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant},
};

use anyhow::Context as _;
use compact_str::CompactString;
use tokio::runtime::Runtime;

use crate::{
    config::{Enable, NameOrigin},
    kube::{self, Kubernetes, KubernetesError},
    pipeline::Ready,
    procs::{AskedNames, HostsFiles, NameSource, PodAttributes, ProcessTable, Remembered, ReverseDns, cloud},
};

/// The longest pause before the API server is tried again.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);

/// Who is asked, and what for.
#[derive(Clone, Debug)]
pub(super) struct Settings {
    /// Whether the API server is.
    pub(super) enable: Enable,
    /// How it is reached, if not as a pod.
    pub(super) kubeconfig: Option<PathBuf>,
    /// Whether only this node's pods are followed.
    pub(super) only_this_node: bool,
    /// How long spans wait for the first list of pods.
    pub(super) sync_timeout: Duration,
    /// The first pause before the API server is asked again.
    pub(super) first_pause: Duration,
    /// What is wanted of pods' labels and annotations.
    pub(super) pod_attributes: PodAttributes,
    /// Where names of addresses come from.
    pub(super) names: Vec<NameOrigin>,
    /// What is remembered of the names that the machine's resolver gives.
    pub(super) remembered: Remembered,
}

/// Begins to watch the cluster, if this host is part of one and the configuration does not forbid it.
pub(super) fn kubernetes(settings: &Settings, runtime: &Runtime) -> Option<Arc<Kubernetes>> {
    if settings.enable == Enable::False {
        return None;
    }
    match runtime.block_on(start(settings)) {
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
async fn start(settings: &Settings) -> Result<Option<Kubernetes>, KubernetesError> {
    let Some(reach) = kube::detect(settings.kubeconfig.as_deref()).await? else { return Ok(None) };
    let node = settings.only_this_node.then(node_name).flatten();
    match &node {
        Some(node) => tracing::info!("pods of node {node} are followed"),
        None => tracing::info!("pods of all nodes are followed: NODE_NAME is not set"),
    }
    let first = settings.first_pause;
    let watched = kube::Settings {
        node,
        backoff: (first, LONGEST_PAUSE.max(first)),
        attributes: settings.pod_attributes.clone(),
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
pub(super) fn names(settings: &Settings, processes: &ProcessTable) -> anyhow::Result<Vec<Arc<dyn NameSource>>> {
    let mut names: Vec<Arc<dyn NameSource>> = Vec::new();
    let asks = |origin| settings.names.contains(&origin);
    if asks(NameOrigin::Hosts) {
        names.push(Arc::new(HostsFiles::new(processes.proc().clone(), Arc::clone(processes.pool()))));
    }
    if asks(NameOrigin::Rdns) {
        names.push(Arc::new(AskedNames));
    }
    if asks(NameOrigin::Dns) {
        names.push(Arc::new(ReverseDns::start(settings.remembered).context("cannot start a thread")?));
    }
    Ok(names)
}

/// Until when spans of pods wait for the first list of pods.
pub(super) fn readiness(settings: &Settings, kubernetes: &Arc<Kubernetes>) -> (Ready, Instant) {
    let kubernetes = Arc::clone(kubernetes);
    let limit = settings.sync_timeout;
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
