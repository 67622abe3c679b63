//! Requests that were answered, by the units of work that go on behind their answer: what those do from there on is no part of them, but follows from them.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::model::{
    ids::ProcessId,
    net::Thread,
    trace_context::{SpanId, TraceId, TraceParent},
};

/// Most requests that are remembered: as many as stay in a processor's cache, since each request of such a program comes by.
const BEHIND_MAX: usize = 512;

/// A unit of work of a process, and when the request came that it worked for.
pub(super) type Done = (ProcessId, u64, u64);

/// A request that is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Followed {
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    pub(super) remote: Option<TraceParent>,
    pub(super) is_health_check: bool,
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Behind {
    /// `None`: several came at that time.
    of: FxHashMap<Done, Option<Followed>>,
    order: VecDeque<Done>,
    /// Those of a trace.
    by_trace: FxHashMap<TraceId, SmallVec<[Done; 1]>>,
}

impl Behind {
    /// A request is over that this was done for.
    pub(super) fn on_over(&mut self, done: Done, followed: Followed) {
        if let Some(other) = self.of.get_mut(&done) {
            if let Some(other) = other.take() {
                self.forget_trace(other.trace_id, done);
            }
            return;
        }
        self.of.insert(done, Some(followed));
        self.order.push_back(done);
        self.by_trace.entry(followed.trace_id).or_default().push(done);
        if self.order.len() > BEHIND_MAX
            && let Some(oldest) = self.order.pop_front()
            && let Some(Some(oldest_followed)) = self.of.remove(&oldest)
        {
            self.forget_trace(oldest_followed.trace_id, oldest);
        }
    }

    /// What a call follows from that is made for no request that is open.
    pub(super) fn of_call(&self, Thread { tgid, work, begun_ns, .. }: Thread) -> Option<Followed> {
        if work == 0 || begun_ns == 0 || self.of.is_empty() {
            return None;
        }
        self.of.get(&(tgid, work, begun_ns)).copied().flatten()
    }

    /// A trace turned out to be part of another.
    pub(super) fn rename(&mut self, before: TraceId, to: TraceId, remote: Option<TraceParent>, is_health_check: bool) {
        let Some(of_it) = self.by_trace.remove(&before) else { return };
        for done in &of_it {
            if let Some(Some(followed)) = self.of.get_mut(done) {
                (followed.trace_id, followed.remote) = (to, remote);
                followed.is_health_check |= is_health_check;
            }
        }
        self.by_trace.entry(to).or_default().extend(of_it);
    }

    fn forget_trace(&mut self, trace_id: TraceId, done: Done) {
        if let Some(of_it) = self.by_trace.get_mut(&trace_id) {
            of_it.retain(|other| *other != done);
            if of_it.is_empty() {
                self.by_trace.remove(&trace_id);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn followed(trace: u128) -> Followed {
        let trace_id = TraceId(trace.to_be_bytes());
        Followed { trace_id, span_id: SpanId([1; 8]), remote: None, is_health_check: false }
    }

    #[test]
    fn as_many_are_remembered_as_there_is_room_for() {
        let mut behind = Behind::default();
        let done = |at: u64| (ProcessId(1), 8, at);
        let thread = |at: u64| Thread { tgid: ProcessId(1), work: 8, begun_ns: at, ..Thread::default() };
        for at in 1..=BEHIND_MAX as u64 + 1 {
            behind.on_over(done(at), followed(u128::from(at % 2)));
        }
        assert!(behind.of_call(thread(1)).is_none());
        assert_eq!(behind.of_call(thread(2)).unwrap().trace_id, followed(0).trace_id);
        assert_eq!([behind.of.len(), behind.order.len()], [BEHIND_MAX; 2]);
        behind.rename(followed(0).trace_id, followed(7).trace_id, None, false);
        assert_eq!(behind.of_call(thread(2)).unwrap().trace_id, followed(7).trace_id);
        // Two that came at a time.
        behind.on_over(done(2), followed(1));
        assert!(behind.of_call(thread(2)).is_none());
        for at in 0..BEHIND_MAX as u64 {
            behind.on_over((ProcessId(2), 8, at), followed(9));
        }
        assert_eq!(behind.by_trace.len(), 1);
    }
}
