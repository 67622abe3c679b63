//! What Kubernetes says of this node's pods and of the services of the cluster: watched, not polled.
//!
//! Lookups answer at once from what is known. An API server that is away delays nothing; when it returns, the lists are
//! taken up again, and resources are built anew because [`PodSource::generation`] has grown. It needs: list and watch of
//! pods, services and endpointslices; get of replicasets and jobs.

mod objects;
mod peers;
mod pods;
mod watch;

use std::{
    net::IpAddr,
    path::Path,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use ::kube::{Client, Config};
use compact_str::CompactString;
use tokio::{sync::watch as signal, task::JoinSet};

pub(crate) use self::peers::{Peer, PeerSource};
use self::{peers::Peers, pods::Pods};
use crate::procs::{
    PodAttributes,
    container::ContainerRef,
    pod::{Pod, PodSource},
};

/// How long a connection to the API server may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// What to watch.
#[derive(Clone, Debug)]
pub(crate) struct Settings {
    /// This node's name: only its pods are watched. `None`: all pods of the cluster.
    pub node: Option<CompactString>,
    /// Watch services and their endpoints, to name the other side of requests.
    pub peers: bool,
    /// What of pods' labels and annotations is wanted besides what names services anyway.
    pub attributes: PodAttributes,
    /// The first and the longest wait before the API server is tried again.
    pub backoff: (Duration, Duration),
}

impl Default for Settings {
    fn default() -> Self {
        let backoff = (Duration::from_millis(500), Duration::from_secs(10));
        Self { node: None, peers: true, attributes: PodAttributes::default(), backoff }
    }
}

/// Why the API server cannot be watched at all.
#[derive(Debug, thiserror::Error)]
pub(crate) enum KubernetesError {
    /// `KUBECONFIG`, or what it names, cannot be used.
    #[error("kubeconfig cannot be used")]
    Kubeconfig(#[source] ::kube::config::KubeconfigError),
    /// The service account of the pod cannot be used.
    #[error("the pod's service account cannot be used")]
    ServiceAccount(#[source] ::kube::config::InClusterError),
    /// The client cannot be built (a certificate that is none, for example).
    #[error("client for the Kubernetes API cannot be built")]
    Client(#[source] Box<::kube::Error>),
}

/// How to reach the API server: by the file given, by `KUBECONFIG`, or as a pod of the cluster; `None` outside of any.
///
/// # Errors
/// When one of these is there but cannot be used.
pub(crate) async fn detect(kubeconfig: Option<&Path>) -> Result<Option<Config>, KubernetesError> {
    use ::kube::config::{KubeConfigOptions, Kubeconfig};
    let options = KubeConfigOptions::default();
    if let Some(path) = kubeconfig {
        let file = Kubeconfig::read_from(path).map_err(KubernetesError::Kubeconfig)?;
        let config = Config::from_custom_kubeconfig(file, &options).await;
        return config.map(Some).map_err(KubernetesError::Kubeconfig);
    }
    if std::env::var_os("KUBECONFIG").is_some_and(|path| !path.is_empty()) {
        return Config::from_kubeconfig(&options).await.map(Some).map_err(KubernetesError::Kubeconfig);
    }
    if std::env::var_os("KUBERNETES_SERVICE_HOST").is_some() {
        return Config::incluster().map(Some).map_err(KubernetesError::ServiceAccount);
    }
    Ok(None)
}

/// The cluster as it is known. Dropping it ends the watches.
pub(crate) struct Kubernetes {
    store: Arc<Store>,
    /// The pods are those of this node, and not all.
    knows_node: bool,
    _tasks: JoinSet<()>,
}

/// How much is known, for self-telemetry.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Pods kept.
    pub pods: usize,
    /// Pods and addresses left out because there are too many.
    pub dropped: u64,
    /// Attempts to list or watch that failed.
    pub failures: u64,
}

impl Kubernetes {
    /// Starts watching. Returns at once, whether or not the API server answers.
    ///
    /// # Errors
    /// When `config` is of no use. Needs a tokio runtime.
    pub(crate) fn start(mut config: Config, settings: Settings) -> Result<Self, KubernetesError> {
        config.connect_timeout = Some(CONNECT_TIMEOUT);
        // Another library of this program may bring a second implementation of TLS's primitives; then rustls wants to be
        // told. An error says that somebody did already.
        let _ = rustls::crypto::ring::default_provider().install_default();
        let client = Client::try_from(config).map_err(|error| KubernetesError::Client(Box::new(error)))?;
        let store = Arc::new(Store::new(settings.attributes.clone()));
        let mut tasks = JoinSet::new();
        watch::spawn_all(&mut tasks, &client, &store, &settings);
        Ok(Self { store, knows_node: settings.node.is_some(), _tasks: tasks })
    }

    /// Waits until the first list of pods is known, no longer than `limit`. Tells whether it is.
    #[cfg(test)]
    pub(crate) async fn ready(&self, limit: Duration) -> bool {
        let mut ready = self.store.ready.subscribe();
        matches!(tokio::time::timeout(limit, ready.wait_for(|ready| *ready)).await, Ok(Ok(_)))
    }

    /// Whether the first list of pods is known.
    #[must_use]
    pub(crate) fn is_ready(&self) -> bool {
        *self.store.ready.borrow()
    }

    /// The service (or, for a pod of this node that is behind none, its own name) at an address. `port` is the other
    /// side's where that is the server.
    #[must_use]
    pub(crate) fn peer(&self, ip: IpAddr, port: Option<u16>) -> Option<Arc<Peer>> {
        let known = self.store.read();
        let ip = ip.to_canonical();
        known.peers.find(ip, port).cloned().or_else(|| {
            let pod = known.pods.at(ip)?;
            let name = crate::procs::pod_service_name(pod, &self.store.attributes).unwrap_or_else(|| pod.name.clone());
            Some(Arc::new(Peer { name, namespace: pod.namespace.clone() }))
        })
    }

    /// Figures of the agent itself.
    #[must_use]
    pub(crate) fn counts(&self) -> Counts {
        let known = self.store.read();
        let failures = self.store.failures.load(Ordering::Relaxed);
        Counts { pods: known.pods.len(), dropped: known.pods.dropped + known.peers.dropped, failures }
    }
}

impl PeerSource for Kubernetes {
    fn peer(&self, ip: IpAddr, port: Option<u16>) -> Option<Arc<Peer>> {
        self.peer(ip, port)
    }

    fn is_here(&self, ip: IpAddr) -> bool {
        self.knows_node && self.store.read().pods.at(ip.to_canonical()).is_some()
    }
}

impl PodSource for Kubernetes {
    fn generation(&self) -> u64 {
        self.store.generation.load(Ordering::Acquire)
    }

    fn pod(&self, container: &ContainerRef) -> Option<Arc<Pod>> {
        self.store.read().pods.find(container)
    }
}

/// What the watches fill and lookups read.
struct Store {
    attributes: PodAttributes,
    known: RwLock<Cluster>,
    generation: AtomicU64,
    failures: AtomicU64,
    ready: signal::Sender<bool>,
}

#[derive(Default)]
struct Cluster {
    pods: Pods,
    peers: Peers,
}

impl Store {
    fn new(attributes: PodAttributes) -> Self {
        let pods = Pods::new(attributes.annotations.clone());
        Self {
            attributes,
            known: RwLock::new(Cluster { pods, ..Cluster::default() }),
            generation: AtomicU64::new(0),
            failures: AtomicU64::new(0),
            ready: signal::Sender::new(false),
        }
    }

    fn read(&self) -> RwLockReadGuard<'_, Cluster> {
        self.known.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, Cluster> {
        self.known.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Resources built before are to be built again.
    fn changed(&self) {
        self.generation.fetch_add(1, Ordering::Release);
    }
}

#[cfg(test)]
mod tests;
