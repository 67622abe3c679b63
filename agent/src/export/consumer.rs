//! What takes finished spans: each kind is a folder of this stage and a line of [`super::consumers`].

use std::{future::Future, pin::Pin, sync::Arc};

use tokio::time::Instant;

use super::ledger::Ledger;
use crate::{
    model::{self_metric::SelfMetric, span::Span},
    store::DiskStats,
};

/// A future of a consumer, which lives as long as that.
pub(super) type Pending<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// Takes spans, holds a bounded number of bytes of them, and keeps a ledger of what became of each.
pub(super) trait SpanConsumer: Send + Sync {
    /// Its name in the log and in reports.
    fn name(&self) -> &'static str;

    /// URL of the receiver, where there may be several.
    fn endpoint(&self) -> Option<&Arc<str>> {
        None
    }

    /// Takes spans. Never waits: what is beyond its bound is dropped and counted. All consumers share the spans; who needs
    /// them for longer keeps the `Arc`.
    fn push(&self, spans: &Arc<Vec<Span>>);

    /// Most bytes that wait here or are under way.
    fn max_bytes(&self) -> u64;

    /// Has this part of its room from now on: memory is short, or not any more. May take a moment.
    fn set_room(&self, _share: f64) {}

    /// What it was given, what of it waits, and what became of the rest.
    fn ledger(&self) -> Ledger;

    /// The metric by which the ledger is told, by outcome.
    fn counted_as(&self) -> &'static SelfMetric;

    /// The metric by which the bytes are told that wait.
    fn waits_as(&self) -> &'static SelfMetric;

    /// Bytes that it keeps on disk; `None` where it keeps none there.
    fn spool_bytes(&self) -> Option<u64> {
        None
    }

    /// Whether what it takes is told to somebody: those that only remember keep no agent running.
    fn tells(&self) -> bool {
        true
    }

    /// What of it is kept on disk by itself.
    fn on_disk(&self) -> Option<DiskStats> {
        None
    }

    /// Whether it still works.
    fn is_alive(&self) -> bool {
        true
    }

    /// Waits until nobody takes from it any more what it is given; most never find that out.
    fn unheard(&self) -> Pending<'_> {
        Box::pin(std::future::pending())
    }

    /// Hands on what waits, until the deadline, and takes no more. All that was ever pushed is accounted for afterwards.
    fn shutdown(&self, deadline: Instant) -> Pending<'_>;
}
