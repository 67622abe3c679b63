//! Spans of SDKs that are active on threads (OTEP 4947): what a thread calls meanwhile, and its SDK does not describe, is below such a span.

use super::{Tracer, recent::Recent};
use crate::model::{
    exchange::Opened,
    ids::{ProcessId, ThreadId},
    trace_context::TraceParent,
};

/// Most that are remembered until what is sent meanwhile is told.
const AHEAD_MAX: usize = 4096;

/// By process, thread and number.
pub(super) type Active = Recent<(ProcessId, ThreadId, u64), TraceParent, AHEAD_MAX>;

impl Tracer {
    /// A span is active on a thread that sends. Of what it sends with that the number is `Thread::begun_ns`.
    pub(crate) fn on_active(&mut self, tgid: ProcessId, tid: ThreadId, number: u64, span: TraceParent) {
        self.active.insert((tgid, tid, number), span);
    }

    /// The span that is active where a call is made that carries no context.
    pub(super) fn active_span(&mut self, Opened { thread, parent, .. }: &Opened) -> Option<TraceParent> {
        if thread.work != 0 || thread.begun_ns == 0 {
            return None;
        }
        let span = self.active.remove(&(thread.tgid, thread.tid, thread.begun_ns))?;
        (parent.is_none() && !self.sdks.is_ignored(thread.tgid)).then_some(span)
    }
}
