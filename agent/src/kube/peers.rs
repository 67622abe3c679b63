//! Names of other sides by address: services by their own addresses, pods behind services by their endpoints'.

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use compact_str::CompactString;

use super::objects::{ServiceObject, SliceObject};

/// Most addresses kept of either kind, some 150 bytes each.
const ADDRESSES_MAX: usize = 50_000;
/// The label that names a slice's service.
const SERVICE_LABEL: &str = "kubernetes.io/service-name";

/// The other side of a request, as the cluster names it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Peer {
    /// `service.peer.name`: the service's name.
    pub name: CompactString,
    /// `service.peer.namespace`.
    pub namespace: CompactString,
}

/// Where the other side of requests is looked up. Lookups return what is known at once.
pub(crate) trait PeerSource: Send + Sync {
    /// The service at an address. `port` is the other side's where that is the server.
    fn peer(&self, ip: IpAddr, port: Option<u16>) -> Option<Arc<Peer>>;

    /// Whether an address is that of a pod of this node.
    fn is_here(&self, _ip: IpAddr) -> bool {
        false
    }
}

/// Identity of an object: namespace and name.
pub(super) type Key = (CompactString, CompactString);

/// Services and endpoints of the cluster.
#[derive(Debug, Default)]
pub(super) struct Peers {
    services: HashMap<Key, Vec<IpAddr>>,
    by_service_ip: HashMap<IpAddr, Arc<Peer>>,
    slices: HashMap<Key, Vec<IpAddr>>,
    by_endpoint_ip: HashMap<IpAddr, Vec<SliceEndpoint>>,
    endpoints: usize,
    /// Addresses that were left out because there are too many.
    pub(super) dropped: u64,
}

#[derive(Debug)]
struct SliceEndpoint {
    slice: Key,
    peer: Arc<Peer>,
    /// Empty: any.
    ports: Box<[u16]>,
    /// The pod; `None` for what is none.
    pod: Option<CompactString>,
}

impl Peers {
    /// The service at an address. `port` is the other side's port where that is a server's; a client's port is of its
    /// own choice and says nothing.
    pub(super) fn find(&self, ip: IpAddr, port: Option<u16>) -> Option<&Arc<Peer>> {
        if let Some(peer) = self.by_service_ip.get(&ip) {
            return Some(peer);
        }
        let endpoints = self.by_endpoint_ip.get(&ip)?;
        match port {
            Some(port) => {
                let serves = |endpoint: &&SliceEndpoint| endpoint.ports.is_empty() || endpoint.ports.contains(&port);
                endpoints.iter().filter(serves).map(|endpoint| &endpoint.peer).min()
            }
            None => {
                // Several pods at one address share the node's network: which one it was is not known.
                let pod = endpoints.first()?.pod.as_ref()?;
                let same = endpoints.iter().all(|endpoint| endpoint.pod.as_ref() == Some(pod));
                if same { endpoints.iter().map(|endpoint| &endpoint.peer).min() } else { None }
            }
        }
    }

    pub(super) fn apply_service(&mut self, service: &ServiceObject) {
        let Some(key) = key(&service.metadata) else { return };
        self.remove_service(&key);
        let peer = Arc::new(Peer { name: key.1.clone(), namespace: key.0.clone() });
        let mut addresses = Vec::new();
        for ip in service.addresses() {
            if self.by_service_ip.len() >= ADDRESSES_MAX {
                self.dropped += 1;
            } else if !addresses.contains(&ip) {
                self.by_service_ip.insert(ip, Arc::clone(&peer));
                addresses.push(ip);
            }
        }
        self.services.insert(key, addresses);
    }

    pub(super) fn remove_service(&mut self, key: &Key) {
        for ip in self.services.remove(key).unwrap_or_default() {
            // The address may be another service's by now.
            if self.by_service_ip.get(&ip).is_some_and(|peer| peer.name == key.1 && peer.namespace == key.0) {
                self.by_service_ip.remove(&ip);
            }
        }
    }

    pub(super) fn apply_slice(&mut self, slice: &SliceObject) {
        let Some(key) = key(&slice.metadata) else { return };
        self.remove_slice(&key);
        let label = slice.metadata.labels.as_ref().and_then(|labels| labels.get(SERVICE_LABEL));
        let Some(service) = label else { return };
        let peer = Arc::new(Peer { name: service.into(), namespace: key.0.clone() });
        let ports: Box<[u16]> = slice.ports.iter().filter_map(|port| port.port).collect();
        let mut addresses = Vec::new();
        for endpoint in &slice.endpoints {
            let target = endpoint.target_ref.as_ref().filter(|target| target.kind == "Pod");
            for ip in endpoint.addresses.iter().filter_map(|address| address.parse().ok()) {
                if self.endpoints >= ADDRESSES_MAX {
                    self.dropped += 1;
                    continue;
                }
                self.endpoints += 1;
                addresses.push(ip);
                self.by_endpoint_ip.entry(ip).or_default().push(SliceEndpoint {
                    slice: key.clone(),
                    peer: Arc::clone(&peer),
                    ports: ports.clone(),
                    pod: target.map(|target| target.name.clone()),
                });
            }
        }
        self.slices.insert(key, addresses);
    }

    pub(super) fn remove_slice(&mut self, key: &Key) {
        for ip in self.slices.remove(key).unwrap_or_default() {
            let Some(endpoints) = self.by_endpoint_ip.get_mut(&ip) else { continue };
            let before = endpoints.len();
            endpoints.retain(|endpoint| endpoint.slice != *key);
            self.endpoints = self.endpoints.saturating_sub(before - endpoints.len());
            if endpoints.is_empty() {
                self.by_endpoint_ip.remove(&ip);
            }
        }
    }

    pub(super) fn service_keys(&self) -> Vec<Key> {
        self.services.keys().cloned().collect()
    }

    pub(super) fn slice_keys(&self) -> Vec<Key> {
        self.slices.keys().cloned().collect()
    }
}

/// An object's identity; `None` for one without a name, which the API server never sends.
pub(super) fn key(metadata: &k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta) -> Option<Key> {
    Some((metadata.namespace.as_deref()?.into(), metadata.name.as_deref()?.into()))
}
