//! Requests that the receiver does not take now, on disk: they outlast the agent, and an outage for which memory is too
//! small. Only what is in trouble is put there: while the receiver is well nothing is written.

mod orphans;
mod store;
#[cfg(test)]
mod tests;

use std::{
    io,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
};

use tokio::{runtime::Handle, sync::Notify};
use tracing::{info, warn};

use self::store::{Place, Recovered, Store, Taken};
use super::{
    delivery::Outgoing,
    queue::{Batch, SpanQueue},
};
use crate::export::{
    config::{OtlpConfig, SpoolConfig},
    ledger::Fate,
};

/// See the module. Whatever is begun here is carried out, whether it is waited for or not: the books are kept by the
/// thread that waits for the disk.
pub(super) struct Spool {
    shared: Arc<Shared>,
    /// Told when there may be a request to be taken.
    added: Notify,
}

struct Shared {
    store: Mutex<Store>,
    queue: Arc<SpanQueue>,
    folder: PathBuf,
    /// As the store has them.
    bytes: AtomicU64,
    /// It is told that the disk fails.
    is_failing: AtomicBool,
    damage_is_told: AtomicBool,
}

/// A request that was put aside.
pub(super) struct PutAside {
    pub(super) request: Outgoing,
    place: Place,
}

impl Spool {
    /// Opens the spool of one receiver; what an earlier agent has left there waits again.
    ///
    /// # Errors
    /// The folder cannot be used.
    pub(super) async fn open(config: SpoolConfig, to: &OtlpConfig, queue: Arc<SpanQueue>) -> io::Result<Self> {
        let folder = config.dir.join(folder_name(to));
        let shared = blocking(move || {
            let (store, recovered) = Store::open(&folder, config.max_bytes)?;
            let Recovered { items, torn_bytes, torn_items } = recovered;
            queue.recover(items, torn_items);
            let shown = folder.display();
            if items > 0 {
                info!(spans = items, folder = %shown, "spans that an earlier agent could not deliver are in the spool");
            }
            if torn_bytes > 0 {
                let lost = torn_items;
                warn!(bytes = torn_bytes, spans = lost, folder = %shown, "the end of the spool is torn and left out");
            }
            let bytes = AtomicU64::new(store.bytes());
            let (is_failing, damage_is_told) = (AtomicBool::new(false), AtomicBool::new(false));
            let store = Mutex::new(store);
            io::Result::Ok(Arc::new(Shared { store, queue, folder, bytes, is_failing, damage_is_told }))
        });
        Ok(Self { shared: shared.await??, added: Notify::new() })
    }

    /// Bytes on disk.
    pub(super) fn bytes(&self) -> u64 {
        self.shared.bytes.load(Ordering::Relaxed)
    }

    /// Puts a batch aside, and drops the oldest there if it has to. Gives it back where the disk does not take it.
    pub(super) async fn put_aside(&self, batch: Batch, request: &Outgoing) -> Result<(), Option<Batch>> {
        let (shared, message, items) = (Arc::clone(&self.shared), request.message.clone(), request.items);
        let kept = blocking(move || {
            let mut store = shared.store();
            let appended = store.append(&message, items);
            shared.note(&store);
            let dropped = appended.as_ref().map_or_else(|(dropped, _)| *dropped, |dropped| *dropped);
            shared.queue.settle_spooled(dropped, Fate::DroppedSpoolFull);
            match appended {
                Ok(_) => {
                    // While nobody else can take it, so that it is counted in before it is counted out.
                    batch.put_aside();
                    drop(store);
                    shared.works();
                    Ok(())
                }
                Err((_, error)) => {
                    shared.fails(&error, "what the receiver does not take stays in memory");
                    Err(Some(batch))
                }
            }
        });
        kept.await.unwrap_or(Err(None))?;
        self.added.notify_one();
        Ok(())
    }

    /// The oldest request that is not on its way already, once there is one.
    pub(super) async fn next(&self) -> PutAside {
        loop {
            let shared = Arc::clone(&self.shared);
            let taken = blocking(move || {
                let Taken { record, damaged, error } = shared.store_with(Store::take);
                shared.queue.settle_spooled(damaged, Fate::DroppedSpoolDamaged);
                if let Some(error) = error {
                    shared.fails(&error, "what cannot be read of it is dropped");
                }
                if damaged > 0 && !shared.damage_is_told.swap(true, Ordering::Relaxed) {
                    warn!(spans = damaged, folder = %shared.folder.display(), "a part of the spool is damaged and left out");
                }
                record
            });
            if let Ok(Some(record)) = taken.await {
                // There may be more, for others that wait.
                self.added.notify_one();
                let request = Outgoing { message: record.message.into(), items: record.items, since: None };
                return PutAside { request, place: record.place };
            }
            self.added.notified().await;
        }
    }

    /// Ends a request that was put aside: `rejected` of its spans were refused by the receiver, the others had `outcome`.
    pub(super) async fn settle(&self, PutAside { request, place }: PutAside, outcome: Fate, rejected: u64) {
        let shared = Arc::clone(&self.shared);
        let settled = blocking(move || {
            if let Err(error) = shared.store_with(|store| store.settle(place)) {
                shared.fails(&error, "what was delivered of it may be sent again after a restart");
            }
            shared.queue.settle_spooled(rejected, Fate::Rejected);
            shared.queue.settle_spooled(request.items.saturating_sub(rejected), outcome);
        });
        if let Err(error) = settled.await {
            warn!(%error, "the spool ended in an unexpected way");
        }
    }
}

impl Shared {
    fn store(&self) -> MutexGuard<'_, Store> {
        self.store.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn store_with<T>(&self, work: impl FnOnce(&mut Store) -> T) -> T {
        let mut store = self.store();
        let done = work(&mut store);
        self.note(&store);
        done
    }

    fn note(&self, store: &Store) {
        self.bytes.store(store.bytes(), Ordering::Relaxed);
    }

    fn fails(&self, error: &io::Error, consequence: &str) {
        if !self.is_failing.swap(true, Ordering::Relaxed) {
            warn!(%error, folder = %self.folder.display(), "the spool's disk fails; {consequence}");
        }
    }

    fn works(&self) {
        if self.is_failing.swap(false, Ordering::Relaxed) {
            info!(folder = %self.folder.display(), "the spool's disk works again");
        }
    }
}

/// Tells, in the background, of folders that belong to none of the receivers.
pub(super) fn tell_of_orphans(config: &SpoolConfig, receivers: &[OtlpConfig], runtime: &Handle) {
    let (config, receivers) = (config.clone(), receivers.to_vec());
    drop(runtime.spawn_blocking(move || orphans::tell(&config, &receivers)));
}

/// Receivers have a folder each. Its name can be read, and is another for another URL.
fn folder_name(to: &OtlpConfig) -> String {
    let uri = to.endpoint.uri();
    let host = uri.authority().map_or("", |authority| authority.as_str());
    let readable: String = host.chars().map(|c| if c.is_ascii_alphanumeric() || c == '.' { c } else { '-' }).collect();
    let readable = readable.get(..readable.len().min(100)).unwrap_or_default();
    format!("traces-{readable}-{:08x}", crc32fast::hash(to.endpoint.to_string().as_bytes()))
}

/// Does this on a thread that may wait.
async fn blocking<T: Send + 'static>(work: impl FnOnce() -> T + Send + 'static) -> io::Result<T> {
    tokio::task::spawn_blocking(work).await.map_err(io::Error::other)
}
