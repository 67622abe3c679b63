//! Matching answers with requests.

use std::{collections::HashMap, mem};

use compact_str::CompactString;
use foldhash::fast::RandomState;

use super::{
    NAME,
    frame::{self, TRAILER},
    message::{self, AUTHENTICATE, Answer, Command, HEADER, Header, Id, PREPARE, READY, STARTUP},
    statement::Statement,
};
use crate::{
    model::{
        exchange::{Db, Exchange, Group, Inside, Key, Opened, Operation, Outcome, Pattern, Place},
        ids::ThreadId,
        net::{Direction, Role, Thread},
    },
    protocols::{
        Anomalies, Chunk, End, Interest, Output, Recognition, Session,
        framed::{Framed, Step},
        matching::{ByKey, Kept, Limits},
    },
};

/// Requests that may wait for their answer at a time.
const LIMITS: Limits = Limits { requests: 4096, bytes: 2 << 20 };
/// Bytes that are kept of a message.
const KEPT: usize = 16 << 10;
/// Prepared statements that are remembered.
const PREPARED_MAX: usize = 512;
/// Most bytes within a frame.
const FRAME_MAX: u64 = (1 << 17) - 1;

/// One connection.
pub(super) struct Cql {
    role: Role,
    /// Requests, responses.
    sides: [Side; 2],
    /// Messages lie in frames.
    is_framed: bool,
    /// The request to begin, which says how it goes on.
    startup: Option<Command>,
    open: ByKey<i16, Open>,
    prepared: HashMap<Id, Box<Statement>, RandomState>,
    prepared_bytes: usize,
    /// The keyspace that statements are for, where it was seen to be chosen.
    keyspace: Option<CompactString>,
    interest: Interest,
    anomalies: Anomalies,
}

/// A direction.
struct Side {
    messages: Framed,
    began: Began,
    frame: Frame,
    /// Where the next message begins is not known.
    is_lost: bool,
}

/// Where in a frame a direction stands.
#[derive(Debug, Default)]
struct Frame {
    header: Vec<u8>,
    /// Bytes within, and behind these, that are to come.
    left: u64,
    trailer: u64,
}

/// Where something began.
#[derive(Clone, Copy, Debug, Default)]
struct Began {
    at_ns: u64,
    thread: Thread,
}

/// A request that waits for its answer.
struct Open {
    key: Key,
    began: Began,
    command: Command,
    /// The keyspace it is for.
    keyspace: Option<CompactString>,
}

impl Kept for Open {
    fn bytes(&self) -> usize {
        let of_statement = self.command.statement.as_ref().map_or(0, Statement::heap);
        size_of::<Self>() + of_statement + self.keyspace.as_ref().map_or(0, |name| name.len())
    }
}

impl Cql {
    pub(super) fn new(role: Role) -> Self {
        let side = || Side {
            messages: Framed::new(HEADER, KEPT),
            began: Began::default(),
            frame: Frame::default(),
            is_lost: false,
        };
        Self {
            role,
            sides: [side(), side()],
            is_framed: false,
            startup: None,
            open: ByKey::new(LIMITS),
            prepared: HashMap::default(),
            prepared_bytes: 0,
            keyspace: None,
            interest: Interest::Parse,
            anomalies: Anomalies::default(),
        }
    }

    /// Takes bytes of one direction; `None` if the place is lost.
    fn bytes(&mut self, at: usize, mut bytes: &[u8], chunk: &Chunk<'_>, out: &mut Output) -> Option<()> {
        while !bytes.is_empty() && self.interest == Interest::Parse {
            if !self.is_framed {
                bytes = self.message(at, bytes, chunk, out)?;
                continue;
            }
            let frame = &mut self.sides[at].frame;
            if frame.left > 0 {
                let len = usize::try_from(frame.left).unwrap_or(usize::MAX).min(bytes.len());
                let (mut within, rest) = bytes.split_at_checked(len)?;
                frame.left -= len as u64;
                bytes = rest;
                while !within.is_empty() {
                    within = self.message(at, within, chunk, out)?;
                }
            } else if frame.trailer > 0 {
                let len = usize::try_from(frame.trailer).unwrap_or(usize::MAX).min(bytes.len());
                frame.trailer -= len as u64;
                bytes = bytes.get(len..)?;
            } else {
                let missing = frame::HEADER.saturating_sub(frame.header.len());
                let (part, rest) = bytes.split_at(missing.min(bytes.len()));
                frame.header.extend_from_slice(part);
                bytes = rest;
                if frame.header.len() == frame::HEADER {
                    let header = frame::Header::read(&frame.header)?;
                    frame.header.clear();
                    (frame.left, frame.trailer) = (header.len, TRAILER);
                    if header.is_self_contained && !self.sides[at].messages.is_between() {
                        return None;
                    }
                }
            }
        }
        Some(())
    }

    /// Takes bytes of a message, and gives what is left.
    fn message<'a>(&mut self, at: usize, bytes: &'a [u8], chunk: &Chunk<'_>, out: &mut Output) -> Option<&'a [u8]> {
        let side = &mut self.sides[at];
        if side.messages.is_between() {
            side.began = Began { at_ns: chunk.at_ns, thread: chunk.thread };
        }
        let (step, rest) = side.messages.step(bytes, message::length)?;
        self.on_step(at, step, chunk, out)?;
        Some(rest)
    }

    /// So many bytes were not seen.
    fn skip(&mut self, at: usize, mut gap: u64, chunk: &Chunk<'_>, out: &mut Output) -> Option<()> {
        while self.is_framed && gap > self.sides[at].frame.left {
            // The frames of a long message are as long as they may be.
            let within = mem::take(&mut self.sides[at].frame.left);
            gap = gap.checked_sub(within)?;
            if within > 0 {
                let step = self.sides[at].messages.skip(within, message::length)?;
                self.on_step(at, step, chunk, out)?;
            }
            let side = &mut self.sides[at];
            let trailer = gap.min(side.frame.trailer);
            side.frame.trailer -= trailer;
            gap -= trailer;
            if gap == 0 {
                return Some(());
            }
            gap = gap.checked_sub(frame::HEADER as u64)?;
            side.frame.left = side.messages.missing(message::length)?.min(FRAME_MAX);
            side.frame.trailer = TRAILER;
        }
        if gap > 0 {
            let side = &mut self.sides[at];
            side.frame.left = side.frame.left.saturating_sub(gap);
            let step = side.messages.skip(gap, message::length)?;
            self.on_step(at, step, chunk, out)?;
        }
        Some(())
    }

    fn on_step(&mut self, at: usize, step: Step<'_>, chunk: &Chunk<'_>, out: &mut Output) -> Option<()> {
        let Step::Message(message, _) = step else { return Some(()) };
        let header = Header::read(&message)?;
        if header.is_response != (at == 1) {
            return None;
        }
        if at == 0 {
            let command = message::command(&message, &|id| self.prepared.get(&id).map(|known| &**known))?;
            self.begin(header, command, chunk.at_ns, out);
        } else {
            self.answer(header, message::answer(&message)?, chunk.at_ns, out);
        }
        Some(())
    }

    /// Something was asked.
    fn begin(&mut self, header: Header, mut command: Command, at_ns: u64, out: &mut Output) {
        if let Some(known) = command.prepared.and_then(|id| self.prepared.get(&id)) {
            command.statement = Some((**known).clone());
        }
        if command.code == STARTUP {
            self.startup = Some(command.clone());
        }
        let keyspace = self.keyspace.clone().filter(|_| !command.has_keyspace);
        let open = Open { key: Key::of_number(0), began: self.sides[0].began, command, keyspace };
        if !self.open.has_room_for(&open) {
            self.anomalies.over_limit += 1;
            return;
        }
        let (role, Began { at_ns: start_ns, thread }) = (self.role, open.began);
        let place = Place::Id(header.stream as u64);
        let key = out.open(|key| Opened {
            key,
            role,
            thread,
            start_ns,
            parent: None,
            is_health_check: false,
            is_message: false,
            place,
        });
        if let Some(before) = self.open.insert(header.stream, Box::new(Open { key, ..open })) {
            self.tell(*before, None, Outcome::Unseen, Answer::default(), at_ns, out);
        }
    }

    /// An answer came.
    fn answer(&mut self, header: Header, answer: Answer, at_ns: u64, out: &mut Output) {
        if header.code == message::EVENT {
            return;
        }
        let Some(open) = self.open.remove(header.stream) else {
            self.anomalies.unmatched_responses += 1;
            return;
        };
        if open.command.code == STARTUP && matches!(header.code, READY | AUTHENTICATE) {
            let compression = self.startup.take().and_then(|command| command.compression);
            self.is_framed = header.version == 5;
            if self.is_framed && compression.is_some() {
                self.interest = Interest::Nothing;
            }
        }
        if let Some(keyspace) = &answer.keyspace {
            self.keyspace = Some(keyspace.clone());
        }
        if let (PREPARE, Some(id), Some(statement)) = (open.command.code, answer.prepared, &open.command.statement) {
            self.remember(id, statement);
        }
        let first_ns = Some(self.sides[1].began.at_ns);
        self.tell(*open, first_ns, Outcome::Complete, answer, at_ns, out);
    }

    fn remember(&mut self, id: Id, statement: &Statement) {
        if self.prepared.len() < PREPARED_MAX && !self.prepared.contains_key(&id) {
            self.prepared_bytes += size_of::<Statement>() + statement.heap();
            self.prepared.insert(id, Box::new(statement.clone()));
        }
    }

    /// A request is over.
    fn tell(
        &self,
        open: Open,
        first_byte_ns: Option<u64>,
        outcome: Outcome,
        answer: Answer,
        end_ns: u64,
        out: &mut Output,
    ) {
        let Open { key, began, command, keyspace, .. } = open;
        let Command { code, statement, batch, .. } = command;
        let own = message::name(code);
        let Statement { operation, keyspace: named, table, text, batch: of_text } = statement.unwrap_or_default();
        let is_own = operation.is_empty() || code == PREPARE;
        let db = Db {
            system: NAME,
            namespace: named.or(keyspace),
            collection: table,
            operation: Some(if is_own { CompactString::const_new(own) } else { operation }),
            batch_size: batch.or(of_text.filter(|_| !is_own)).filter(|count| *count > 1),
            text: Some(text).filter(|text| !text.is_empty()),
            failed: answer.failed,
            status: answer.code,
            returned_rows: answer.rows,
            ..Db::default()
        };
        let exchange = Exchange {
            role: self.role,
            thread: began.thread,
            start_ns: began.at_ns,
            first_byte_ns: first_byte_ns.map(|at| at.max(began.at_ns)),
            response_tid: ThreadId::NONE,
            end_ns,
            outcome,
            parent: None,
            protocol: NAME,
            pattern: Pattern::RequestResponse,
            operation: Operation::Db(Box::new(db)),
            inside: Inside::default(),
        };
        out.finish(key, exchange);
    }

    /// All that is open is over.
    fn end_all(&mut self, end: End, at_ns: u64, out: &mut Output) {
        for (stream, ()) in self.open.select(|_, _| Some(())) {
            let Some(open) = self.open.remove(stream) else { continue };
            let outcome = if end == End::Forgotten { Outcome::Unseen } else { Outcome::NoResponse };
            self.tell(*open, None, outcome, Answer::default(), at_ns, out);
        }
    }

    /// Takes a piece; `None` if the place is lost.
    fn piece(&mut self, at: usize, chunk: &Chunk<'_>, out: &mut Output) -> Option<()> {
        self.bytes(at, chunk.data, chunk, out)?;
        let gap = chunk.skipped.saturating_sub(chunk.tail.len() as u64);
        if gap > 0 && chunk.lost {
            return None;
        }
        if gap > 0 && self.interest == Interest::Parse {
            self.skip(at, gap, chunk, out)?;
        }
        self.bytes(at, chunk.tail, chunk, out)
    }

    /// Whether a direction is found again by a piece that begins with a message.
    fn finds(&mut self, at: usize, data: &[u8]) -> bool {
        let wanted = if at == 0 { Recognition::Request } else { Recognition::Response };
        let is_plain = message::recognise(data) == wanted;
        let is_framed = !is_plain && frame::recognise(data) == wanted;
        // How the other direction is written is known.
        let fits = (is_plain || is_framed) && (self.sides[1 - at].is_lost || is_framed == self.is_framed);
        if fits {
            self.is_framed = is_framed;
            let side = &mut self.sides[at];
            side.is_lost = false;
            side.messages.reset();
            side.frame = Frame::default();
        }
        fits
    }
}

impl Session for Cql {
    fn on_data(&mut self, direction: Direction, chunk: &Chunk<'_>, out: &mut Output) -> Interest {
        if self.interest != Interest::Parse || chunk.is_empty() {
            return self.interest;
        }
        let at = usize::from(direction != self.role.requests());
        if self.sides[at].is_lost && !self.finds(at, chunk.data) {
            return Interest::Parse;
        }
        if self.piece(at, chunk, out).is_none() {
            self.anomalies.resyncs += 1;
            let side = &mut self.sides[at];
            side.is_lost = true;
            side.messages.reset();
            side.frame = Frame::default();
            // Answers to what is open may be among what was missed, and what was chosen meanwhile is not known.
            self.end_all(End::Forgotten, chunk.at_ns, out);
            self.keyspace = None;
        }
        if self.interest == Interest::Nothing {
            self.end_all(End::Forgotten, chunk.at_ns, out);
        }
        self.interest
    }

    fn begin_in_use(&mut self, _asks_ahead: bool) {
        self.sides.iter_mut().for_each(|side| side.is_lost = true);
    }

    fn seeks(&self, direction: Direction) -> bool {
        self.sides[usize::from(direction != self.role.requests())].is_lost
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
        (0..self.open.len()).for_each(|_| each(Group::Db, None));
    }

    fn memory(&self) -> usize {
        let sides: usize = self.sides.iter().map(|side| side.messages.memory() + side.frame.header.capacity()).sum();
        let prepared = self.prepared.capacity() * (size_of::<(Id, Box<Statement>)>() + 1) + self.prepared_bytes;
        size_of::<Self>() + sides + prepared + self.open.memory()
    }

    fn take_anomalies(&mut self) -> Anomalies {
        mem::take(&mut self.anomalies)
    }
}
