//! Sessions of protocols that need no more than to read messages: who asks what, and what is answered. Everything else is the same for
//! all of them and stands here: messages in pieces, pairs in order or by key, connections that are older than the agent, losses, ends.

use std::mem;

use compact_str::CompactString;

use super::{
    Anomalies, Chunk, End, Interest, Output, Recognition, Session,
    in_use::{InUse, Start},
    lanes,
    matching::{ByKey, InOrder, Kept, Limits},
    sized::{Frame, Framed, Length},
};
use crate::model::{
    exchange::{Address, Exchange, Group, Inside, Key, Opened, Operation, Outcome, Pattern, Place},
    ids::ThreadId,
    net::{Direction, Role, Thread},
    propagation::QueryText,
    trace_context::TraceParent,
};

/// Requests that may wait for their answer at a time.
const LIMITS: Limits = Limits { requests: 1024, bytes: 1 << 20 };

/// Reads messages.
pub(super) trait Grammar: Send + 'static {
    /// The protocol's name.
    const NAME: &'static str;
    /// Which of the conventions its exchanges follow.
    const GROUP: Group;
    /// Answers come in the order of requests; else each carries the key of its own.
    const IN_ORDER: bool;
    /// Most bytes that are kept of a message.
    const KEEP: usize;

    /// How long a message is: of requests, of answers.
    fn length() -> [fn(&[u8]) -> Length; 2];

    /// See [`super::Entry::recognise`].
    fn recognise(head: &[u8]) -> Recognition;

    /// Where an answer cannot be told from other bytes by itself: the key that it carries, if it is one that begins so. It is where a
    /// request with that key waits.
    fn key_of_answer(_head: &[u8]) -> Option<u64> {
        None
    }

    /// What a client's message asks for; `None` if it is none.
    fn asked(&mut self, message: &Frame<'_>) -> Option<Asked>;

    /// What a server's message answers; `None` if it is none.
    fn answered(&mut self, message: &Frame<'_>) -> Option<Answered>;

    /// Whether messages are read in this direction; else what comes is content, up to what the other side says next.
    fn reads(&self, _is_request: bool) -> bool {
        true
    }

    /// The server has let the client go on with so many bytes, which are no message; said once.
    fn lets_pass(&mut self) -> Option<u64> {
        None
    }

    /// From here on the connection speaks something else.
    fn is_over(&self) -> bool {
        false
    }

    /// Something was missed: what was known of messages before counts no more.
    fn forget(&mut self) {}
}

/// What a client's message asks for.
pub(super) enum Asked {
    /// Something that is answered once.
    Request(Request),
    /// Something that nobody answers.
    OneWay(Request),
    /// It goes on with what was asked before, or asks for nothing.
    Nothing,
}

/// What is asked for.
pub(super) struct Request {
    /// What the answer carries; of no meaning where answers come in order.
    pub(super) key: u64,
    pub(super) operation: Operation,
    /// The context that it carries.
    pub(super) parent: Option<TraceParent>,
    /// A code that says of it that nothing is wrong.
    pub(super) harmless: Option<&'static str>,
}

impl Request {
    /// One that carries nothing else.
    pub(super) const fn new(key: u64, operation: Operation) -> Self {
        Self { key, operation, parent: None, harmless: None }
    }
}

/// What a server's message answers.
pub(super) enum Answered {
    /// A request.
    To {
        /// That of the request.
        key: u64,
        /// No more comes.
        is_last: bool,
        how: How,
    },
    /// None.
    Nothing,
}

/// How a request was answered.
#[derive(Debug, Default)]
pub(super) struct How {
    pub(super) failed: bool,
    /// The code of an error.
    pub(super) code: Option<CompactString>,
    /// What came back, counted.
    pub(super) rows: Option<u64>,
    /// Addresses that a name stands for.
    pub(super) answers: Vec<Address>,
}

/// One connection.
pub(super) struct Paired<G: Grammar> {
    sides: [Framed; 2],
    /// Where the next message begins is not known (by key): in requests, in answers.
    lost: [bool; 2],
    in_use: InUse,
    core: Core<G>,
}

/// All but where messages begin.
struct Core<G> {
    role: Role,
    grammar: G,
    in_order: InOrder<Open>,
    by_key: ByKey<u64, Open>,
    /// What answers what is not known (in order).
    is_lost: bool,
    is_over: bool,
    anomalies: Anomalies,
}

/// A request that waits for its answer.
struct Open {
    key: Key,
    thread: Thread,
    start_ns: u64,
    first_byte_ns: Option<u64>,
    parent: Option<TraceParent>,
    harmless: Option<&'static str>,
    how: How,
    operation: Operation,
}

impl Kept for Open {
    fn bytes(&self) -> usize {
        // Names and texts are bounded by who reads them; what is answered comes later, and counts from the beginning.
        let text = |text: &Option<CompactString>| text.as_ref().map_or(0, |text| text.len());
        let heap = match &self.operation {
            Operation::Db(db) => {
                let texts = [&db.operation, &db.collection, &db.namespace, &db.summary, &db.text, &db.procedure];
                size_of_val(&**db) + texts.into_iter().map(text).sum::<usize>()
            }
            Operation::Rpc(rpc) => size_of_val(&**rpc) + text(&rpc.method),
            Operation::Messaging(it) => size_of_val(&**it) + it.operation.len() + text(&it.destination),
            Operation::Dns(dns) => size_of_val(&**dns) + dns.question.len() + dns.kind.len(),
            Operation::Http(http) => size_of_val(&**http),
        };
        size_of::<Self>() + heap + 64
    }
}

impl<G: Grammar> Paired<G> {
    pub(super) fn open(role: Role, grammar: G) -> Box<dyn Session> {
        let [requests, answers] = G::length();
        Box::new(Self {
            sides: [Framed::new(requests, G::KEEP), Framed::new(answers, G::KEEP)],
            lost: [false; 2],
            in_use: InUse::new(role),
            core: Core {
                role,
                grammar,
                in_order: InOrder::new(LIMITS),
                by_key: ByKey::new(LIMITS),
                is_lost: false,
                is_over: false,
                anomalies: Anomalies::default(),
            },
        })
    }

    fn reset(&mut self) {
        self.sides.iter_mut().for_each(Framed::reset);
        self.core.grammar.forget();
    }

    /// Prepares for a piece of a connection of which something was missed. `false`: it cannot be read.
    fn find_place(&mut self, direction: Direction, chunk: &Chunk<'_>) -> bool {
        let is_request = direction == self.core.role.requests();
        let side = usize::from(!is_request);
        if G::IN_ORDER {
            if !self.in_use.is_lost() {
                return true;
            }
            match self.in_use.before(direction, chunk, G::recognise(chunk.data) == Recognition::Request, false) {
                Start::GoesOn => {}
                Start::Known => {
                    self.core.is_lost = false;
                    self.reset();
                }
                Start::Anew => self.sides.get_mut(side).into_iter().for_each(Framed::reset),
            }
            return true;
        }
        let Some(lost) = self.lost.get_mut(side) else { return false };
        if !*lost {
            return true;
        }
        let is_it = G::recognise(chunk.data).fits(is_request)
            || !is_request && G::key_of_answer(chunk.data).is_some_and(|key| self.core.by_key.contains(key));
        *lost = !is_it;
        is_it
    }

    fn on_lost(&mut self, is_request: bool, at_ns: u64, out: &mut Output) {
        let side = usize::from(!is_request);
        if !G::IN_ORDER {
            if let Some(lost) = self.lost.get_mut(side) {
                *lost = true;
            }
            self.sides.get_mut(side).into_iter().for_each(Framed::reset);
            self.core.anomalies.resyncs += 1;
            self.core.grammar.forget();
            // Answers to what is open may be among what was missed; so may be another request with one of their keys.
            self.core.end_all(End::Forgotten, at_ns, out);
            return;
        }
        if !self.in_use.is_lost() {
            self.core.anomalies.resyncs += 1;
            self.core.end_all(End::Forgotten, at_ns, out);
            self.core.in_order.forget_left_out();
            self.in_use.lose();
            self.core.is_lost = true;
        }
        self.reset();
    }
}

impl<G: Grammar> Core<G> {
    /// A message has ended.
    fn on_frame(&mut self, is_request: bool, frame: &Frame<'_>, in_use: &mut InUse, out: &mut Output) -> Option<()> {
        if self.is_over {
            return Some(());
        }
        if !self.grammar.reads(is_request) {
            return Some(());
        }
        if is_request {
            match self.grammar.asked(frame)? {
                Asked::Request(request) => self.begin(request, frame, in_use, out),
                Asked::OneWay(request) => {
                    let open = self.open(request, frame, out);
                    self.tell(open, Outcome::Complete, Pattern::OneWay, frame.end_ns, out);
                }
                Asked::Nothing => {}
            }
            return Some(());
        }
        let answered = self.grammar.answered(frame)?;
        self.is_over = self.grammar.is_over();
        match answered {
            Answered::To { key, is_last, how } => self.answer(key, is_last, how, frame, in_use, out),
            Answered::Nothing => Some(()),
        }
    }

    fn open(&self, request: Request, frame: &Frame<'_>, out: &mut Output) -> Open {
        let Request { mut operation, parent, harmless, .. } = request;
        if let Operation::Db(db) = &mut operation
            && out.propagation().query_text == QueryText::Off
        {
            db.text = None;
        }
        let (role, thread, start_ns, place) = (self.role, frame.thread, frame.at_ns, Place::Position(frame.position));
        let key = out.open(|key| Opened {
            key,
            role,
            thread,
            start_ns,
            parent,
            is_health_check: false,
            is_message: false,
            place,
        });
        Open { key, thread, start_ns, first_byte_ns: None, parent, harmless, how: How::default(), operation }
    }

    fn begin(&mut self, request: Request, frame: &Frame<'_>, in_use: &mut InUse, out: &mut Output) {
        let number = request.key;
        if self.is_lost {
            // What is taken for a request may be a part of what another carries: nothing of it is told.
            return in_use.asked(true);
        }
        if G::IN_ORDER {
            if !self.in_order.has_room() {
                self.in_order.leave_out();
                self.anomalies.over_limit += 1;
                return;
            }
            let open = self.open(request, frame, out);
            self.in_order.push(open);
            return;
        }
        if self.by_key.len() >= LIMITS.requests || self.by_key.memory() >= LIMITS.bytes {
            self.anomalies.over_limit += 1;
            return;
        }
        let open = self.open(request, frame, out);
        if let Some(before) = self.by_key.insert(number, Box::new(open)) {
            self.tell(*before, Outcome::Unseen, Pattern::RequestResponse, frame.at_ns, out);
        }
    }

    fn answer(
        &mut self,
        key: u64,
        is_last: bool,
        how: How,
        frame: &Frame<'_>,
        in_use: &mut InUse,
        out: &mut Output,
    ) -> Option<()> {
        if self.is_lost {
            if is_last {
                in_use.answered();
            }
            return Some(());
        }
        let open = if G::IN_ORDER { self.in_order.front_mut() } else { self.by_key.get_mut(key) };
        let Some(open) = open else {
            let is_left_out = if is_last { self.in_order.answer_left_out() } else { self.in_order.left_out() > 0 };
            if G::IN_ORDER && is_left_out {
                return Some(());
            }
            self.anomalies.unmatched_responses += 1;
            // In order, what was asked for was missed.
            return (!G::IN_ORDER).then_some(());
        };
        open.first_byte_ns.get_or_insert(frame.at_ns.max(open.start_ns));
        if how.code.is_none() || how.code.as_deref() != open.harmless {
            open.how.failed |= how.failed;
            open.how.code = open.how.code.take().or(how.code);
        }
        if open.how.answers.is_empty() {
            open.how.answers = how.answers;
        }
        open.how.rows = match (open.how.rows, how.rows) {
            (Some(before), Some(more)) => before.checked_add(more),
            (before, more) => before.or(more),
        };
        if is_last {
            let open = if G::IN_ORDER { self.in_order.pop() } else { self.by_key.remove(key).map(|open| *open) };
            self.tell(open?, Outcome::Complete, Pattern::RequestResponse, frame.end_ns, out);
        }
        Some(())
    }

    fn tell(&self, open: Open, outcome: Outcome, pattern: Pattern, end_ns: u64, out: &mut Output) {
        let Open { key, thread, start_ns, first_byte_ns, parent, how, mut operation, .. } = open;
        let How { failed, code, rows, answers } = how;
        match &mut operation {
            Operation::Db(db) => {
                (db.failed, db.status) = (failed, code);
                db.returned_rows = rows.filter(|_| !failed && outcome == Outcome::Complete);
            }
            Operation::Rpc(rpc) => rpc.code = code.or_else(|| failed.then(|| CompactString::const_new("_OTHER"))),
            Operation::Messaging(it) => {
                it.error = code.or_else(|| failed.then(|| CompactString::const_new("_OTHER")));
                it.messages = it.messages.or(rows);
            }
            Operation::Dns(dns) => (dns.code, dns.answers) = (code, answers),
            Operation::Http(_) => {}
        }
        let exchange = Exchange {
            role: self.role,
            thread,
            start_ns,
            first_byte_ns: first_byte_ns.filter(|_| outcome != Outcome::Unseen),
            response_tid: ThreadId::NONE,
            end_ns: end_ns.max(start_ns).max(first_byte_ns.unwrap_or_default()),
            outcome,
            parent,
            protocol: G::NAME,
            pattern,
            operation,
            inside: Inside::default(),
        };
        out.finish(key, exchange);
    }

    /// All that is open is over.
    fn end_all(&mut self, end: End, at_ns: u64, out: &mut Output) {
        let outcome = |open: &Open| match end {
            End::Forgotten => Outcome::Unseen,
            End::Closed | End::Reset if open.first_byte_ns.is_some() => Outcome::Cut,
            End::Closed | End::Reset => Outcome::NoResponse,
        };
        while let Some(open) = self.in_order.pop() {
            self.tell_open(open, outcome, at_ns, out);
        }
        for (key, ()) in self.by_key.select(|_, _| Some(())) {
            if let Some(open) = self.by_key.remove(key) {
                self.tell_open(*open, outcome, at_ns, out);
            }
        }
    }

    fn tell_open(&self, open: Open, outcome: impl Fn(&Open) -> Outcome, at_ns: u64, out: &mut Output) {
        let outcome = outcome(&open);
        self.tell(open, outcome, Pattern::RequestResponse, at_ns, out);
    }
}

impl<G: Grammar> Session for Paired<G> {
    fn on_data(&mut self, direction: Direction, chunk: &Chunk<'_>, out: &mut Output) -> Interest {
        if self.core.is_over {
            return Interest::Nothing;
        }
        if chunk.is_empty() {
            return Interest::Parse;
        }
        let is_request = direction == self.core.role.requests();
        if !self.core.grammar.reads(is_request) {
            self.sides.get_mut(usize::from(!is_request)).into_iter().for_each(Framed::reset);
            return Interest::Parse;
        }
        if !self.find_place(direction, chunk) {
            return Interest::Parse;
        }
        let Self { sides: [requests, answers], core, in_use, .. } = self;
        let side = if is_request { &mut *requests } else { &mut *answers };
        let is_read = lanes::read(side, chunk, &mut |frame| core.on_frame(is_request, frame, in_use, out));
        // Behind what turned reading off the rest of the piece is content.
        let is_between = side.is_between() || !core.grammar.reads(is_request);
        let is_read = is_read || !core.grammar.reads(is_request) && !core.is_lost;
        if !core.grammar.reads(is_request) {
            side.reset();
        }
        if let Some(count) = core.grammar.lets_pass() {
            requests.expect(count);
        }
        if self.core.is_over {
            self.core.end_all(End::Forgotten, chunk.at_ns, out);
            return Interest::Nothing;
        }
        if !is_read {
            self.on_lost(is_request, chunk.at_ns, out);
        }
        if G::IN_ORDER {
            self.in_use.after(direction, chunk, is_between, is_read);
        }
        Interest::Parse
    }

    fn begin_in_use(&mut self, _asks_ahead: bool) {
        if G::IN_ORDER {
            self.in_use.lose();
            self.core.is_lost = true;
        } else {
            self.lost = [true; 2];
        }
        self.core.grammar.forget();
    }

    fn seeks(&self, direction: Direction) -> bool {
        let side = usize::from(direction != self.core.role.requests());
        if G::IN_ORDER { self.core.is_lost } else { self.lost.get(side).is_some_and(|lost| *lost) }
    }

    fn on_end_of_stream(&mut self, direction: Direction, at_ns: u64, out: &mut Output) {
        if direction != self.core.role.requests() {
            self.core.end_all(End::Closed, at_ns, out);
        }
    }

    fn on_end(&mut self, end: End, at_ns: u64, out: &mut Output) {
        self.core.end_all(end, at_ns, out);
    }

    fn role(&self) -> Role {
        self.core.role
    }

    fn open_requests(&self) -> usize {
        self.core.in_order.len() + self.core.by_key.len()
    }

    fn open_methods(&self, each: &mut dyn FnMut(Group, Option<&str>)) {
        (0..self.open_requests()).for_each(|_| each(G::GROUP, None));
    }

    fn memory(&self) -> usize {
        let framed: usize = self.sides.iter().map(Framed::memory).sum();
        size_of::<Self>() + framed + self.core.in_order.memory() + self.core.by_key.memory()
    }

    fn take_anomalies(&mut self) -> Anomalies {
        mem::take(&mut self.core.anomalies)
    }
}
