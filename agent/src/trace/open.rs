//! Requests that are open, and what is kept of those that are over.

use super::{Evidence, joins::Request, sampling::Decision, sdks::Paired};
use crate::model::{
    exchange::Key,
    ids::ProcessId,
    trace_context::{SpanId, TraceId, TraceParent},
};

/// A request that is open.
#[derive(Clone, Copy, Debug)]
pub(super) struct Open {
    pub(super) key: Key,
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    /// Its parent where that is known already, and of a call the request that it is made for.
    pub(super) parent: Option<(SpanId, Evidence)>,
    pub(super) cause: Option<Key>,
    /// What it follows from, which was over when it began.
    pub(super) link: Option<SpanId>,
    /// See [`super::Context::poll`].
    pub(super) poll: Option<(TraceId, SpanId)>,
    pub(super) remote: Option<TraceParent>,
    /// Its other end is looked for by that.
    pub(super) request: Option<Request>,
    /// A call is made for it.
    pub(super) has_calls: bool,
    pub(super) is_health_check: bool,
    pub(super) paired: Paired,
    /// See [`super::Context::other_end`].
    pub(super) other_end: Option<ProcessId>,
    /// See [`super::Context::read_ns`].
    pub(super) read_ns: Option<u64>,
    /// What was decided about the trace that begins with it, where that was to be decided at once.
    pub(super) decision: Option<Decision>,
}

impl Open {
    /// The parent of what is done for it, which its own span is if it is told.
    pub(super) fn below(&self, evidence: Evidence) -> Option<(SpanId, Evidence)> {
        match self.paired {
            Paired::Alone => Some((self.span_id, evidence)),
            _ => self.parent.map(|(parent, _)| (parent, Evidence::Sdk)),
        }
    }

    pub(super) fn adopter(&self) -> Adopter {
        let &Self { trace_id, remote, is_health_check, paired, .. } = self;
        // What says so is said by who adopts.
        let parent = self.below(Evidence::Sdk).map(|(parent, _)| parent);
        Adopter { trace_id, parent, is_described: paired != Paired::Alone, remote, is_health_check }
    }
}

/// A request that is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Over {
    pub(super) tgid: ProcessId,
    pub(super) key: Key,
    pub(super) end_ns: u64,
    pub(super) adopter: Adopter,
}

/// A request that takes up calls.
#[derive(Clone, Copy, Debug)]
pub(super) struct Adopter {
    pub(super) trace_id: TraceId,
    /// The parent of calls; `None`: its process's SDK describes it, and it has none.
    pub(super) parent: Option<SpanId>,
    pub(super) is_described: bool,
    pub(super) remote: Option<TraceParent>,
    pub(super) is_health_check: bool,
}

impl Adopter {
    /// The parent of a call, and what says so.
    pub(super) fn parent(&self, evidence: Evidence) -> Option<(SpanId, Evidence)> {
        let evidence = if self.is_described { Evidence::Sdk } else { evidence };
        self.parent.map(|parent| (parent, evidence))
    }
}
