//! Spans for the agent's own [store](Store).

use std::sync::{
    Arc,
    atomic::{AtomicBool, AtomicU64, Ordering},
};

use tokio::time::Instant;

use super::{
    consumer::{Pending, SpanConsumer},
    ledger::{Fate, Ledger},
};
use crate::{
    model::{
        self_metric::{self, SelfMetric},
        span::Span,
    },
    store::{DiskStats, Store},
};

/// See the module.
pub(super) struct Keeper {
    store: Arc<Store>,
    has_stopped: AtomicBool,
    refused: AtomicU64,
}

impl Keeper {
    pub(super) const fn new(store: Arc<Store>) -> Self {
        Self { store, has_stopped: AtomicBool::new(false), refused: AtomicU64::new(0) }
    }
}

impl SpanConsumer for Keeper {
    fn name(&self) -> &'static str {
        super::STORE
    }

    fn push(&self, spans: &Arc<Vec<Span>>) {
        if self.has_stopped.load(Ordering::Relaxed) {
            self.refused.fetch_add(spans.len() as u64, Ordering::Relaxed);
        } else {
            self.store.push(spans);
        }
    }

    fn max_bytes(&self) -> u64 {
        self.store.limit() as u64
    }

    fn set_room(&self, share: f64) {
        self.store.set_room(share);
    }

    fn ledger(&self) -> Ledger {
        let stats = self.store.stats();
        let mut ledger = Ledger::default();
        ledger.queued_bytes = stats.bytes;
        ledger.refuse(stats.kept, Fate::Sent);
        ledger.refuse(stats.thinned, Fate::ThinnedOut);
        ledger.refuse(stats.dropped, Fate::DroppedQueueFull);
        ledger.refuse(self.refused.load(Ordering::Relaxed), Fate::DroppedShutdown);
        ledger
    }

    fn counted_as(&self) -> &'static SelfMetric {
        &self_metric::STORE_SPANS
    }

    fn waits_as(&self) -> &'static SelfMetric {
        &self_metric::STORE_BYTES
    }

    fn tells(&self) -> bool {
        false
    }

    fn on_disk(&self) -> Option<DiskStats> {
        self.store.disk_stats()
    }

    fn shutdown(&self, deadline: Instant) -> Pending<'_> {
        self.has_stopped.store(true, Ordering::Relaxed);
        let store = Arc::clone(&self.store);
        let is_on_disk = self.on_disk().is_some();
        Box::pin(async move {
            let closed = tokio::task::spawn_blocking(move || store.close());
            if tokio::time::timeout_at(deadline, closed).await.is_err() && is_on_disk {
                tracing::warn!("stopped before all that is remembered was on disk (store.dir)");
            }
        })
    }
}
