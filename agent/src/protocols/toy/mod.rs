//! A protocol that nobody speaks: the example of `docs/adding-a-protocol.md`. It is in the registry of the tests and of the
//! fuzzer, not in that of the agent.
//!
//! A client asks a store for values, as often as it likes before the first answer comes; these come in the same order.
//!
//! | who | writes | behind it |
//! | --- | --- | --- |
//! | client | `TOY GET key 0\n`, `TOY SET key 5\n` | so many bytes |
//! | server | `+OK 5\n`, `-ERR code 0\n` | so many bytes |
//!
//! Where its place is lost it says nothing more: a wrong answer is worse than none.

mod message;
#[cfg(test)]
mod samples;

#[cfg(test)]
pub(super) use samples::samples;

use compact_str::CompactString;

use self::message::{Reader, Step};
use super::{
    Anomalies, Capture, Chunk, End, Interest, Output, Recognition, Session,
    matching::{InOrder, Kept, Limits},
};
use crate::model::{
    exchange::{Db, Exchange, Group, Inside, Key, Opened, Operation, Outcome, Pattern, Place},
    ids::ThreadId,
    net::{Direction, Role, Thread},
};

/// The protocol's name.
pub(super) const NAME: &str = "toy";

/// Lines are short, and nothing is told of bodies.
pub(super) const CAPTURE: Capture = Capture::turns(512, 64);

/// Requests that may wait for their answer at a time.
const LIMITS: Limits = Limits { requests: 1024, bytes: 256 * 1024 };

/// See [`super::Entry::recognise`].
pub(super) fn recognise(head: &[u8]) -> Recognition {
    let begins = |with: &[u8]| head.starts_with(with) || with.starts_with(head);
    let whole = |with: &[u8]| head.starts_with(with);
    match () {
        () if whole(b"TOY GET ") || whole(b"TOY SET ") => Recognition::Request,
        () if whole(b"+OK ") || whole(b"-ERR ") => Recognition::Response,
        () if begins(b"TOY GET ") || begins(b"TOY SET ") || begins(b"+OK ") || begins(b"-ERR ") => Recognition::Maybe,
        () => Recognition::No,
    }
}

/// See [`super::Entry::open`].
pub(super) fn open(role: Role) -> Box<dyn Session> {
    Box::new(Toy {
        role,
        requests: Reader::default(),
        responses: Reader::default(),
        open: InOrder::new(LIMITS),
        is_lost: false,
        anomalies: Anomalies::default(),
    })
}

struct Toy {
    role: Role,
    requests: Reader,
    responses: Reader,
    open: InOrder<Open>,
    /// The place was lost, so nothing more is told.
    is_lost: bool,
    anomalies: Anomalies,
}

/// A request that waits for its answer.
struct Open {
    key: Key,
    thread: Thread,
    start_ns: u64,
    first_byte_ns: Option<u64>,
    db: Box<Db>,
}

impl Kept for Open {
    fn bytes(&self) -> usize {
        let text = |text: &Option<CompactString>| text.as_ref().map_or(0, |text| text.len());
        size_of::<Db>() + text(&self.db.operation) + text(&self.db.collection)
    }
}

impl Toy {
    /// Takes bytes of one direction; `None` if the place is lost.
    fn bytes(&mut self, is_request: bool, mut bytes: &[u8], chunk: &Chunk<'_>, out: &mut Output) -> Option<()> {
        while !bytes.is_empty() {
            let reader = if is_request { &mut self.requests } else { &mut self.responses };
            let (step, rest) = reader.step(bytes, chunk.at_ns)?;
            bytes = rest;
            match (step, is_request) {
                (Step::More, _) | (Step::End, true) => {}
                (Step::Head { at_ns, first, second }, true) => {
                    let (operation, collection) = (Some(first), Some(second));
                    let db = Box::new(Db { system: NAME, operation, collection, ..Db::default() });
                    self.begin(at_ns, chunk.thread, chunk.position, db, out);
                    self.requests.ends_here();
                }
                (Step::Head { at_ns, first, second }, false) => {
                    self.answer(at_ns, &first, second);
                    if self.responses.ends_here() {
                        self.finish(Outcome::Complete, chunk.at_ns, out);
                    }
                }
                (Step::End, false) => self.finish(Outcome::Complete, chunk.at_ns, out),
            }
        }
        Some(())
    }

    fn begin(&mut self, start_ns: u64, thread: Thread, position: u64, db: Box<Db>, out: &mut Output) {
        if !self.open.has_room() {
            self.open.leave_out();
            self.anomalies.over_limit += 1;
            return;
        }
        let (role, place) = (self.role, Place::Position(position));
        let opened = |key| Opened {
            key,
            role,
            thread,
            start_ns,
            parent: None,
            is_health_check: false,
            is_message: false,
            place,
        };
        let key = out.open(opened);
        self.open.push(Open { key, thread, start_ns, first_byte_ns: None, db });
    }

    fn answer(&mut self, at_ns: u64, word: &str, code: CompactString) {
        if let Some(open) = self.open.front_mut() {
            open.first_byte_ns = Some(at_ns);
            open.db.failed = word == "-ERR";
            open.db.status = open.db.failed.then_some(code);
        } else if !self.open.answer_left_out() {
            self.anomalies.unmatched_responses += 1;
        }
    }

    /// The first request is over, if its answer has begun or none will come.
    fn finish(&mut self, outcome: Outcome, end_ns: u64, out: &mut Output) {
        let is_due = |open: &Open| outcome != Outcome::Complete || open.first_byte_ns.is_some();
        let Some(open) = self.open.front().is_some_and(is_due).then(|| self.open.pop()).flatten() else { return };
        let Open { key, thread, start_ns, first_byte_ns, db } = open;
        let exchange = Exchange {
            role: self.role,
            thread,
            start_ns,
            first_byte_ns,
            response_tid: ThreadId::NONE,
            end_ns,
            outcome,
            parent: None,
            protocol: NAME,
            pattern: Pattern::RequestResponse,
            operation: Operation::Db(db),
            inside: Inside::default(),
        };
        out.finish(key, exchange);
    }

    /// All that is open is over; of the first it may have been seen how.
    fn end_all(&mut self, end: End, at_ns: u64, out: &mut Output) {
        while let Some(open) = self.open.front() {
            let outcome = match end {
                End::Forgotten => Outcome::Unseen,
                End::Closed | End::Reset if open.first_byte_ns.is_some() => Outcome::Cut,
                End::Closed | End::Reset => Outcome::NoResponse,
            };
            self.finish(outcome, at_ns, out);
        }
    }
}

impl Session for Toy {
    fn on_data(&mut self, direction: Direction, chunk: &Chunk<'_>, out: &mut Output) -> Interest {
        let is_request = direction == self.role.requests();
        let gap = chunk.skipped.saturating_sub(chunk.tail.len() as u64);
        let taken = (!self.is_lost).then_some(()).and_then(|()| {
            self.bytes(is_request, chunk.data, chunk, out)?;
            let reader = if is_request { &mut self.requests } else { &mut self.responses };
            if gap > 0 && reader.skip(gap)? == Step::End && !is_request {
                self.finish(Outcome::Complete, chunk.at_ns, out);
            }
            self.bytes(is_request, chunk.tail, chunk, out)
        });
        if taken.is_none() {
            self.anomalies.resyncs += u64::from(!self.is_lost);
            self.is_lost = true;
            self.end_all(End::Forgotten, chunk.at_ns, out);
            return Interest::Nothing;
        }
        Interest::Parse
    }

    fn begin_in_use(&mut self, _asks_ahead: bool) {
        self.is_lost = true;
    }

    fn on_end_of_stream(&mut self, direction: Direction, at_ns: u64, out: &mut Output) {
        if direction != self.role.requests() {
            self.end_all(End::Closed, at_ns, out);
        }
    }

    fn on_end(&mut self, end: End, at_ns: u64, out: &mut Output) {
        self.end_all(end, at_ns, out);
    }

    fn role(&self) -> Role {
        self.role
    }

    fn open_requests(&self) -> usize {
        self.open.len()
    }

    fn open_methods(&self, each: &mut dyn FnMut(Group, Option<&str>)) {
        self.open.iter().for_each(|_| each(Group::Db, None));
    }

    fn memory(&self) -> usize {
        size_of::<Self>() + self.requests.memory() + self.responses.memory() + self.open.memory()
    }

    fn take_anomalies(&mut self) -> Anomalies {
        std::mem::take(&mut self.anomalies)
    }
}
