//! Where spans belong, and what may become of that afterwards.

use super::sdks::Paired;
use crate::model::{
    ids::ProcessId,
    probability::Sampled,
    trace_context::{SpanId, TraceId, TraceParent},
};

/// Where a span belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Context {
    /// Its trace.
    pub trace_id: TraceId,
    /// Its own id.
    pub span_id: SpanId,
    /// Its parent, and what says that it is.
    pub parent: Option<(SpanId, Evidence)>,
    /// The request that it was begun for, and went on behind the end of: a span of the same trace.
    pub link: Option<SpanId>,
    /// What has brought the messages of which one is meant that it was begun for.
    pub poll: Option<(TraceId, SpanId)>,
    /// What came from elsewhere with the first request of the trace's part on this host.
    pub remote: Option<TraceParent>,
    /// Trace flags (W3C); bit 0: the span is kept.
    pub flags: u8,
    /// What is said of how it came to be kept.
    pub sampled: Sampled,
    /// Both were decided when its trace began, with it.
    pub is_decided: bool,
    /// It is a health check, or for one, and so is kept in no case.
    pub is_health_check: bool,
    /// What an SDK of its process makes of it.
    pub paired: Paired,
    /// The process at its other end, where the same request was seen there.
    pub other_end: Option<ProcessId>,
    /// Of a call: when its other end had begun to read it, where that is known. A thread that has sent may come to write that down later.
    pub read_ns: Option<u64>,
}

impl Context {
    /// Whether the span is exported.
    #[must_use]
    pub(crate) const fn is_sampled(&self) -> bool {
        self.flags & 1 != 0
    }

    /// What says that its parent is its parent, as `beyla.parent.evidence` has it.
    #[must_use]
    pub(crate) fn evidence(&self) -> &'static str {
        Evidence::WORDS[self.evidence_index()]
    }

    /// Which of [`Evidence::WORDS`] that is.
    #[must_use]
    pub(crate) fn evidence_index(&self) -> usize {
        self.parent.map_or(Evidence::WORDS.len() - 1, |(_, evidence)| evidence as usize)
    }
}

/// What says that a span's parent is its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Evidence {
    /// The request carried it (`traceparent`, B3 …), or the environment of its process did.
    Header,
    /// The request that a call is made for is described by its process's SDK: the parent is the one that this has.
    Sdk,
    /// Both ends of the connection were seen: a server's parent is the client that asked.
    Connection,
    /// A call was made by the unit of work that answers the request.
    Task,
    /// A call was made by the thread that answers the request, and does nothing else meanwhile.
    Thread,
    /// No other request was open that the call could be made for.
    SoleRequest,
}

impl Evidence {
    /// The words of `beyla.parent.evidence`, that for none last.
    pub(crate) const WORDS: [&'static str; 7] =
        ["header", "sdk", "connection", "task", "thread", "sole_request", "none"];
}

/// The place of a span turned out to be another than was said when it began.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Joined {
    /// The span.
    pub span_id: SpanId,
    /// Its parent.
    pub parent: (SpanId, Evidence),
    /// The trace that it and all below it were said to be of.
    pub before: TraceId,
    /// The trace that they are of.
    pub trace_id: TraceId,
    /// See [`Context::remote`].
    pub remote: Option<TraceParent>,
    /// Until when that may turn out to be otherwise in turn; 0 where it is certain.
    pub settles_ns: u64,
    /// See [`Context::is_health_check`].
    pub is_health_check: bool,
    /// See [`Context::other_end`]; `None` where the span's parent is of its own process.
    pub other_end: Option<ProcessId>,
}

impl Joined {
    /// Corrects what was said.
    pub(crate) fn correct(&self, context: &mut Context) {
        if context.trace_id == self.before {
            (context.trace_id, context.remote, context.is_decided) = (self.trace_id, self.remote, false);
            context.is_health_check |= self.is_health_check;
        }
        if let Some((poll, _)) = &mut context.poll
            && *poll == self.before
        {
            *poll = self.trace_id;
        }
        if context.span_id == self.span_id {
            context.parent = Some(self.parent);
            context.other_end = self.other_end.or(context.other_end);
        }
    }
}

/// A call was over before the request was told which it is at its other end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Met {
    /// The call's trace.
    pub trace_id: TraceId,
    /// Its span.
    pub span_id: SpanId,
    /// See [`Context::other_end`].
    pub other_end: ProcessId,
    /// See [`Context::read_ns`].
    pub read_ns: u64,
}
