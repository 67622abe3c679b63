//! Calls that seem to be made for no request. One may still be told: on a connection that was met in its midst, a request is certain
//! to be one only when it is answered, which is behind the calls that it took.

use rustc_hash::FxHashMap;

use super::Evidence;
use crate::model::{
    exchange::{Key, Opened},
    ids::ProcessId,
    trace_context::{SpanId, TraceId},
};

/// A call that is over waits for so long for its request.
const PATIENCE_NS: u64 = 50_000_000;
/// One that goes on waits for so long.
const OPEN_PATIENCE_NS: u64 = 1_000_000_000;
/// Most calls that wait.
const WAITING_MAX: usize = 16_384;

/// A call without a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Orphan {
    pub(super) opened: Opened,
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
}

/// Those of a process.
#[derive(Debug, Default)]
struct Calls {
    by_key: FxHashMap<Key, (Orphan, u64)>,
    /// When the latest of them began.
    latest_ns: u64,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    by_process: FxHashMap<ProcessId, Calls>,
    waiting: usize,
}

impl Orphans {
    /// A call was made. Gives until when it waits, if it does.
    pub(super) fn on_call(&mut self, orphan: Orphan) -> Option<u64> {
        if self.waiting >= WAITING_MAX {
            return None;
        }
        let Opened { key, thread, start_ns, .. } = orphan.opened;
        let until_ns = start_ns.saturating_add(OPEN_PATIENCE_NS);
        let calls = self.by_process.entry(thread.tgid).or_default();
        calls.latest_ns = calls.latest_ns.max(start_ns);
        self.waiting += usize::from(calls.by_key.insert(key, (orphan, until_ns)).is_none());
        Some(until_ns)
    }

    /// A call is over. Gives until when it waits, if it does.
    pub(super) fn on_over(&mut self, tgid: ProcessId, key: Key, end_ns: u64) -> Option<u64> {
        let (_, until_ns) = self.by_process.get_mut(&tgid)?.by_key.get_mut(&key)?;
        *until_ns = end_ns.saturating_add(PATIENCE_NS);
        Some(*until_ns)
    }

    /// Takes out those of a process that have found the request that began then.
    pub(super) fn adopted(
        &mut self,
        tgid: ProcessId,
        start_ns: u64,
        mut by: impl FnMut(&Opened) -> Option<Evidence>,
    ) -> Vec<(Orphan, Evidence)> {
        let mut adopted = Vec::new();
        // Mostly a request is told when it has just come: whatever is called for it is called later.
        let Some(calls) = self.by_process.get_mut(&tgid).filter(|calls| calls.latest_ns >= start_ns) else {
            return adopted;
        };
        calls.by_key.retain(|_, (orphan, _)| {
            let evidence = by(&orphan.opened);
            adopted.extend(evidence.map(|evidence| (*orphan, evidence)));
            evidence.is_none()
        });
        self.waiting -= adopted.len();
        adopted
    }

    /// Gives up those that have waited long enough: they were made for no request.
    pub(super) fn on_time(&mut self, now_ns: u64, mut given_up: impl FnMut(&Opened)) {
        if self.waiting == 0 {
            return;
        }
        let waiting = &mut self.waiting;
        self.by_process.retain(|_, calls| {
            calls.by_key.retain(|_, (orphan, until_ns)| {
                let waits = *until_ns > now_ns;
                if !waits {
                    given_up(&orphan.opened);
                    *waiting -= 1;
                }
                waits
            });
            !calls.by_key.is_empty()
        });
    }

    /// Calls that wait.
    #[cfg(test)]
    pub(super) const fn len(&self) -> usize {
        self.waiting
    }
}
