//! Exchanges that are told, and messages among them: what sessions have in common that do not only pair requests with answers.

use super::Output;
use crate::model::{
    exchange::{Exchange, Inside, Key, Messaging, MessagingStep, Opened, Operation, Outcome, Pattern, Place},
    ids::ThreadId,
    net::{Role, Thread},
    trace_context::TraceParent,
};

/// Where something began.
#[derive(Clone, Copy, Debug)]
pub(super) struct Began {
    pub(super) at_ns: u64,
    pub(super) thread: Thread,
    pub(super) place: Place,
}

/// An exchange that has begun.
#[derive(Debug)]
pub(super) struct Told {
    pub(super) key: Key,
    pub(super) began: Began,
    pub(super) parent: Option<TraceParent>,
    pub(super) messaging: Box<Messaging>,
}

/// How one is over.
#[derive(Clone, Copy, Debug)]
pub(super) struct Ended {
    outcome: Outcome,
    pattern: Pattern,
    first_byte_ns: Option<u64>,
    end_ns: u64,
}

impl Ended {
    /// Nobody answers.
    pub(super) const fn one_way(end_ns: u64) -> Self {
        Self { outcome: Outcome::Complete, pattern: Pattern::OneWay, first_byte_ns: None, end_ns }
    }

    /// An answer was seen.
    pub(super) const fn answered(first_byte_ns: u64, end_ns: u64) -> Self {
        let (outcome, pattern) = (Outcome::Complete, Pattern::RequestResponse);
        Self { outcome, pattern, first_byte_ns: Some(first_byte_ns), end_ns }
    }

    /// The end of one was not.
    pub(super) const fn cut(first_byte_ns: u64, end_ns: u64) -> Self {
        Self { outcome: Outcome::Cut, ..Self::answered(first_byte_ns, end_ns) }
    }

    /// None was.
    pub(super) const fn without_answer(outcome: Outcome, end_ns: u64) -> Self {
        Self { outcome, pattern: Pattern::RequestResponse, first_byte_ns: None, end_ns }
    }

    /// What was seen of it is not all.
    pub(super) const fn unseen(end_ns: u64) -> Self {
        Self::without_answer(Outcome::Unseen, end_ns)
    }
}

impl Told {
    /// Tells that an exchange has begun.
    pub(super) fn open(
        role: Role,
        messaging: Messaging,
        began: Began,
        parent: Option<TraceParent>,
        out: &mut Output,
    ) -> Self {
        let is_message = role == Role::Client && messaging.step == MessagingStep::Process;
        let key = began.open_as(role, parent, is_message, out);
        Self { key, began, parent, messaging: Box::new(messaging) }
    }

    /// Tells that it is over.
    pub(super) fn finish(self, role: Role, protocol: &'static str, ended: Ended, out: &mut Output) {
        let Self { key, began, parent, messaging } = self;
        let operation = Operation::Messaging(messaging);
        out.finish(key, began.exchange(role, protocol, parent, operation, ended));
    }

    /// Heap bytes held, about: names have 255 bytes at most.
    pub(super) const fn memory() -> usize {
        size_of::<Self>() + size_of::<Messaging>() + 512
    }
}

impl Began {
    /// Tells that an exchange has begun.
    pub(super) fn open(self, role: Role, parent: Option<TraceParent>, out: &mut Output) -> Key {
        self.open_as(role, parent, false, out)
    }

    fn open_as(self, role: Role, parent: Option<TraceParent>, is_message: bool, out: &mut Output) -> Key {
        let Self { at_ns: start_ns, thread, place } = self;
        out.open(|key| Opened { key, role, thread, start_ns, parent, is_health_check: false, is_message, place })
    }

    /// One that is over.
    pub(super) fn exchange(
        self,
        role: Role,
        protocol: &'static str,
        parent: Option<TraceParent>,
        operation: Operation,
        ended: Ended,
    ) -> Exchange {
        let Self { at_ns: start_ns, thread, .. } = self;
        let Ended { outcome, pattern, first_byte_ns, end_ns } = ended;
        Exchange {
            role,
            thread,
            start_ns,
            first_byte_ns: first_byte_ns.map(|at_ns| at_ns.max(start_ns)),
            response_tid: ThreadId::NONE,
            end_ns: end_ns.max(start_ns).max(first_byte_ns.unwrap_or_default()),
            outcome,
            parent,
            protocol,
            pattern,
            operation,
            inside: Inside::default(),
        }
    }
}
