//! The watches: one task per kind of object, and one that asks for controllers' controllers.

use std::{
    collections::HashSet,
    fmt::Debug,
    pin::pin,
    sync::{Arc, atomic::Ordering},
    time::{Duration, Instant},
};

use ::kube::{
    Api, Client, Resource,
    runtime::watcher::{Config, Error, Event, watcher},
};
use compact_str::CompactString;
use futures_util::StreamExt;
use k8s_openapi::api::{apps::v1::ReplicaSet, batch::v1::Job};
use serde::de::DeserializeOwned;
use tokio::{sync::mpsc, task::JoinSet};

use super::{
    Settings, Store,
    objects::{PodObject, ServiceObject, SliceObject},
    peers::{Key, key},
    pods::{OwnerQuery, controller},
};
use crate::procs::pod::{Owner, OwnerKind};

/// How long one watch lasts before it is renewed; also bounds how late a connection that died in silence is noticed.
const WATCH_SECONDS: u32 = 120;
/// Most questions for owners that wait; beyond it the pod's next change asks again.
const QUERIES_MAX: usize = 1024;

/// What a kind of object does to the store.
trait Kind: Resource<DynamicType = ()> + Clone + DeserializeOwned + Debug + Send + 'static {
    const NAME: &'static str;
    fn apply(&self, store: &Store, queries: &mpsc::Sender<OwnerQuery>);
    fn remove(store: &Store, key: &Key);
    fn keys(store: &Store) -> Vec<Key>;
    fn listed(_store: &Store) {}
}

impl Kind for PodObject {
    const NAME: &'static str = "pods";

    fn apply(&self, store: &Store, queries: &mpsc::Sender<OwnerQuery>) {
        if let Some(query) = store.write().pods.apply(self, Instant::now()) {
            // A full queue: the pod's next change asks again.
            let _ = queries.try_send(query);
        }
        store.changed();
    }

    fn remove(store: &Store, key: &Key) {
        store.write().pods.remove(key, Instant::now());
    }

    fn keys(store: &Store) -> Vec<Key> {
        store.read().pods.keys()
    }

    fn listed(store: &Store) {
        store.ready.send_replace(true);
    }
}

impl Kind for ServiceObject {
    const NAME: &'static str = "services";

    fn apply(&self, store: &Store, _: &mpsc::Sender<OwnerQuery>) {
        store.write().peers.apply_service(self);
    }

    fn remove(store: &Store, key: &Key) {
        store.write().peers.remove_service(key);
    }

    fn keys(store: &Store) -> Vec<Key> {
        store.read().peers.service_keys()
    }
}

impl Kind for SliceObject {
    const NAME: &'static str = "endpointslices";

    fn apply(&self, store: &Store, _: &mpsc::Sender<OwnerQuery>) {
        store.write().peers.apply_slice(self);
    }

    fn remove(store: &Store, key: &Key) {
        store.write().peers.remove_slice(key);
    }

    fn keys(store: &Store) -> Vec<Key> {
        store.read().peers.slice_keys()
    }
}

/// Starts all tasks.
pub(super) fn spawn_all(tasks: &mut JoinSet<()>, client: &Client, store: &Arc<Store>, settings: &Settings) {
    let (sender, receiver) = mpsc::channel(QUERIES_MAX);
    let mut of_node = Config::default().timeout(WATCH_SECONDS);
    if let Some(node) = &settings.node {
        of_node = of_node.fields(&format!("spec.nodeName={node}"));
    }
    let backoff = settings.backoff;
    tasks.spawn(watch::<PodObject>(client.clone(), of_node, Arc::clone(store), sender.clone(), backoff));
    tasks.spawn(resolve_owners(client.clone(), Arc::clone(store), receiver, backoff));
    if settings.peers {
        let all = Config::default().timeout(WATCH_SECONDS);
        tasks.spawn(watch::<ServiceObject>(client.clone(), all.clone(), Arc::clone(store), sender.clone(), backoff));
        tasks.spawn(watch::<SliceObject>(client.clone(), all, Arc::clone(store), sender, backoff));
    }
}

/// Follows one kind of object for ever.
async fn watch<K: Kind>(
    client: Client,
    config: Config,
    store: Arc<Store>,
    queries: mpsc::Sender<OwnerQuery>,
    backoff: (Duration, Duration),
) {
    let mut events = pin!(watcher(Api::<K>::all(client), config));
    // What a running list has named so far: what it leaves out is gone, but only once it is complete.
    let mut listed: HashSet<Key> = HashSet::new();
    let mut wait = Backoff::new(backoff);
    while let Some(event) = events.next().await {
        let event = match event {
            Ok(event) => event,
            // The history no longer reaches back to what was seen last: a new list follows, nothing is wrong.
            Err(Error::WatchError(status)) if status.code == 410 => continue,
            Err(error) => {
                store.failures.fetch_add(1, Ordering::Relaxed);
                if wait.is_first() {
                    tracing::warn!(%error, kind = K::NAME, "Kubernetes API server does not answer; going on with what is known");
                }
                wait.pause().await;
                continue;
            }
        };
        match event {
            Event::Init => listed.clear(),
            Event::InitApply(object) => {
                listed.extend(key(object.meta()));
                object.apply(&store, &queries);
            }
            Event::InitDone => {
                for gone in K::keys(&store).into_iter().filter(|key| !listed.contains(key)) {
                    K::remove(&store, &gone);
                }
                listed = HashSet::new();
                K::listed(&store);
                wait.reset(K::NAME);
            }
            Event::Apply(object) => {
                object.apply(&store, &queries);
                wait.reset(K::NAME);
            }
            Event::Delete(object) => {
                if let Some(key) = key(object.meta()) {
                    K::remove(&store, &key);
                }
            }
        }
    }
}

/// Answers questions for controllers' controllers, one after the other, each until it is answered.
async fn resolve_owners(
    client: Client,
    store: Arc<Store>,
    mut queries: mpsc::Receiver<OwnerQuery>,
    backoff: (Duration, Duration),
) {
    let mut wait = Backoff::new(backoff);
    while let Some(query) = queries.recv().await {
        // The pods of a Job ask one after the other.
        if store.write().pods.resolve_again(&query) {
            store.changed();
            continue;
        }
        let owner = loop {
            let asked = match query.kind {
                OwnerKind::ReplicaSet => owner_of::<ReplicaSet>(&client, &query).await,
                _ => owner_of::<Job>(&client, &query).await,
            };
            match asked {
                Ok(owner) => break owner,
                Err(::kube::Error::Api(status)) if status.code == 403 => {
                    tracing::warn!(kind = ?query.kind, "not allowed to get this kind: its controllers stay unknown");
                    break None;
                }
                Err(error) => {
                    store.failures.fetch_add(1, Ordering::Relaxed);
                    tracing::debug!(%error, name = %query.name, "owner not known yet");
                    wait.pause().await;
                }
            }
        };
        wait.reset("owners");
        store.write().pods.resolve(&query, owner);
        store.changed();
    }
}

async fn owner_of<K>(client: &Client, query: &OwnerQuery) -> Result<Option<Owner>, ::kube::Error>
where
    K: Resource<DynamicType = (), Scope = ::kube::core::NamespaceResourceScope> + Clone + DeserializeOwned + Debug,
{
    let api = Api::<K>::namespaced(client.clone(), &query.namespace);
    let Some(object) = api.get_metadata_opt(&query.name).await? else { return Ok(None) };
    // Deleted and made again under the same name: not the one that was asked for.
    if object.metadata.uid.as_deref() != Some(query.uid.as_str()) {
        return Ok(None);
    }
    let owner = controller(&object.metadata);
    Ok(owner.map(|owner| Owner { kind: OwnerKind::from_kind(&owner.kind), name: CompactString::from(&owner.name) }))
}

/// Doubling waits with jitter, so that the agents of a cluster do not come back all at once.
struct Backoff {
    first: Duration,
    longest: Duration,
    next: Duration,
}

impl Backoff {
    fn new((first, longest): (Duration, Duration)) -> Self {
        Self { first, longest, next: first }
    }

    fn is_first(&self) -> bool {
        self.next == self.first
    }

    async fn pause(&mut self) {
        // A quarter up or down, from the clock's low digits: nothing depends on its quality.
        let noise =
            std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).map_or(0, |now| now.subsec_nanos());
        let factor = 0.75 + f64::from(noise % 1000) / 2000.0;
        let wait = self.next.mul_f64(factor);
        self.next = (self.next * 2).min(self.longest);
        tokio::time::sleep(wait).await;
    }

    fn reset(&mut self, kind: &'static str) {
        if !self.is_first() {
            tracing::info!(kind, "Kubernetes API server answers again");
            self.next = self.first;
        }
    }
}
