//! A request that waits for its response.

use super::{NAME, head::Upgrade, side::Moment};
use crate::{
    model::{
        exchange::{Exchange, Http, Inside, Key, Outcome, Pattern},
        ids::ThreadId,
        net::Role,
        trace_context::TraceParent,
    },
    protocols::{
        carried::Marks,
        http::{Answer, Call},
        matching::Kept,
    },
};

/// A request that waits for the end of its response.
pub(super) struct Open {
    pub(super) key: Key,
    pub(super) began: Moment,
    /// Which response answers it is not known for certain.
    pub(super) unproved: bool,
    pub(super) first_byte_ns: Option<u64>,
    pub(super) response_tid: ThreadId,
    pub(super) parent: Option<TraceParent>,
    pub(super) upgrade: Upgrade,
    /// It is a call.
    pub(super) call: Option<Call>,
    pub(super) answer: Answer,
    pub(super) http: Box<Http>,
    /// What it says of what it carries.
    pub(super) marks: Option<Box<Marks>>,
}

impl Open {
    /// Its exchange, once it is over.
    pub(super) fn end(mut self, role: Role, outcome: Outcome, end_ns: u64) -> Exchange {
        let outcome = if self.unproved { Outcome::Unseen } else { outcome };
        if let Some(marks) = &mut self.marks {
            marks.end();
        }
        let (protocol, operation) = self.answer.tell(self.http, self.call, self.marks.as_deref(), NAME);
        Exchange {
            role,
            thread: self.began.thread,
            start_ns: self.began.at_ns,
            first_byte_ns: self.first_byte_ns,
            response_tid: self.response_tid,
            end_ns,
            outcome,
            parent: self.parent,
            protocol,
            pattern: Pattern::RequestResponse,
            operation,
            inside: Inside::default(),
        }
    }
}

impl Kept for Open {
    fn bytes(&self) -> usize {
        let text = |text: &Option<compact_str::CompactString>| text.as_ref().map_or(0, |text| text.len());
        size_of::<Http>()
            + text(&self.http.target)
            + text(&self.http.host)
            + text(&self.http.user_agent)
            + text(&self.http.trace_state)
            + self.http.baggage.heap()
            + self.marks.as_ref().map_or(0, |marks| marks.heap_max())
    }
}
