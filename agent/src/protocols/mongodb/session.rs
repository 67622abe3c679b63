//! Matching answers with commands.

use std::mem;

use super::{
    NAME,
    message::{self, Answer, Command, HEADER, Header},
    recognise,
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

/// Commands that may wait for their answer at a time.
const LIMITS: Limits = Limits { requests: 1024, bytes: 1 << 20 };
/// Bytes that are kept of a message.
const KEPT: usize = 16 << 10;

/// One connection.
pub(super) struct MongoDb {
    role: Role,
    commands: Framed,
    /// Where the command that is read began.
    began: Began,
    answers: Framed,
    answer_ns: u64,
    /// The place in commands, in answers, was lost: the next piece that begins a message finds it.
    lost: [bool; 2],
    open: ByKey<i32, Open>,
    /// What is answered by what comes without being asked for, and is of no command that is open.
    pushed: Option<i32>,
    anomalies: Anomalies,
}

/// Where something began.
#[derive(Clone, Copy, Debug, Default)]
struct Began {
    at_ns: u64,
    thread: Thread,
}

/// A command that waits for its answer.
struct Open {
    key: Key,
    began: Began,
    first_byte_ns: Option<u64>,
    command: Command,
    /// Documents that came back by now.
    rows: Option<u64>,
}

impl Kept for Open {
    fn bytes(&self) -> usize {
        let Command { name, database, collection, text, .. } = &self.command;
        let heap = |text: &Option<compact_str::CompactString>| {
            text.as_ref().filter(|text| text.is_heap_allocated()).map_or(0, |text| text.capacity())
        };
        size_of::<Self>() + [name, database, collection, text].map(heap).iter().sum::<usize>()
    }
}

impl MongoDb {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            commands: Framed::new(HEADER, KEPT),
            began: Began::default(),
            answers: Framed::new(HEADER, KEPT),
            answer_ns: 0,
            lost: [false; 2],
            open: ByKey::new(LIMITS),
            pushed: None,
            anomalies: Anomalies::default(),
        }
    }

    /// Takes bytes of one direction; `None` if the place is lost.
    fn bytes(&mut self, is_request: bool, mut bytes: &[u8], chunk: &Chunk<'_>, out: &mut Output) -> Option<()> {
        while !bytes.is_empty() {
            self.note_beginning(is_request, chunk);
            let reader = if is_request { &mut self.commands } else { &mut self.answers };
            let (step, rest) = reader.step(bytes, message::length)?;
            bytes = rest;
            self.on_step(is_request, step, chunk, out)?;
        }
        Some(())
    }

    fn note_beginning(&mut self, is_request: bool, chunk: &Chunk<'_>) {
        if is_request && self.commands.is_between() {
            self.began = Began { at_ns: chunk.at_ns, thread: chunk.thread };
        } else if !is_request && self.answers.is_between() {
            self.answer_ns = chunk.at_ns;
        }
    }

    fn on_step(&mut self, is_request: bool, step: Step<'_>, chunk: &Chunk<'_>, out: &mut Output) -> Option<()> {
        let Step::Message(message, is_whole) = step else { return Some(()) };
        let header = Header::read(&message)?;
        if is_request {
            self.begin(header, message::command(&message, is_whole)?, chunk.at_ns, out);
        } else {
            let answer = message::answer(&message, is_whole)?;
            self.answer(header, answer, chunk.at_ns, out);
        }
        Some(())
    }

    /// A command was sent.
    fn begin(&mut self, header: Header, command: Command, at_ns: u64, out: &mut Output) {
        let open = Open { key: Key::of_number(0), began: self.began, first_byte_ns: None, command, rows: Some(0) };
        let is_one_way = open.command.is_one_way;
        if !is_one_way && !self.open.has_room_for(&open) {
            self.anomalies.over_limit += 1;
            return;
        }
        let (role, Began { at_ns: start_ns, thread }) = (self.role, open.began);
        let place = Place::Id(u64::from(header.id as u32));
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
        let open = Box::new(Open { key, ..open });
        if is_one_way {
            self.tell(*open, Outcome::Complete, Answer::default(), at_ns, out);
        } else if let Some(before) = self.open.insert(header.id, open) {
            self.tell(*before, Outcome::Unseen, Answer::default(), at_ns, out);
        }
    }

    /// An answer came.
    fn answer(&mut self, header: Header, mut answer: Answer, at_ns: u64, out: &mut Output) {
        let Some(mut open) = self.open.remove(header.answers) else {
            if self.pushed == Some(header.answers) {
                self.pushed = answer.more.then_some(header.id);
            } else {
                self.anomalies.unmatched_responses += 1;
            }
            return;
        };
        open.first_byte_ns.get_or_insert(self.answer_ns);
        open.rows = open.rows.zip(answer.rows).map(|(before, more)| before + more);
        if answer.more {
            // What a driver is told about the server for as long as it likes is over with the first.
            let is_endless = matches!(open.command.name.as_deref(), Some("hello" | "isMaster" | "ismaster"));
            if !is_endless && !answer.failed {
                // The next answers this one.
                if let Some(before) = self.open.insert(header.id, open) {
                    self.tell(*before, Outcome::Unseen, Answer::default(), at_ns, out);
                }
                return;
            }
            self.pushed = Some(header.id);
        }
        answer.rows = open.rows;
        self.tell(*open, Outcome::Complete, answer, at_ns, out);
    }

    /// A command is over.
    fn tell(&self, open: Open, outcome: Outcome, answer: Answer, end_ns: u64, out: &mut Output) {
        let Open { key, began, first_byte_ns, command, .. } = open;
        let Command { name, database, collection, text, batch, is_one_way, .. } = command;
        let db = Db {
            system: NAME,
            namespace: database,
            collection,
            operation: name,
            batch_size: batch,
            text,
            failed: answer.failed,
            status: answer.code,
            returned_rows: answer.rows.filter(|_| !answer.failed),
            ..Db::default()
        };
        let exchange = Exchange {
            role: self.role,
            thread: began.thread,
            start_ns: began.at_ns,
            first_byte_ns: first_byte_ns.filter(|_| outcome != Outcome::Unseen).map(|at| at.max(began.at_ns)),
            response_tid: ThreadId::NONE,
            end_ns,
            outcome,
            parent: None,
            protocol: NAME,
            pattern: if is_one_way { Pattern::OneWay } else { Pattern::RequestResponse },
            operation: Operation::Db(Box::new(db)),
            inside: Inside::default(),
        };
        out.finish(key, exchange);
    }

    /// All that is open is over.
    fn end_all(&mut self, end: End, at_ns: u64, out: &mut Output) {
        for (id, ()) in self.open.select(|_, _| Some(())) {
            let Some(open) = self.open.remove(id) else { continue };
            let outcome = match end {
                End::Forgotten => Outcome::Unseen,
                End::Closed | End::Reset if open.first_byte_ns.is_some() => Outcome::Cut,
                End::Closed | End::Reset => Outcome::NoResponse,
            };
            self.tell(*open, outcome, Answer::default(), at_ns, out);
        }
    }

    /// Takes a piece; `None` if the place is lost.
    fn piece(&mut self, is_request: bool, chunk: &Chunk<'_>, out: &mut Output) -> Option<()> {
        let gap = chunk.skipped.saturating_sub(chunk.tail.len() as u64);
        self.bytes(is_request, chunk.data, chunk, out)?;
        if gap > 0 && chunk.lost {
            return None;
        }
        if gap > 0 {
            let reader = if is_request { &mut self.commands } else { &mut self.answers };
            let step = reader.skip(gap, message::length)?;
            self.on_step(is_request, step, chunk, out)?;
        }
        self.bytes(is_request, chunk.tail, chunk, out)
    }
}

impl Session for MongoDb {
    fn on_data(&mut self, direction: Direction, chunk: &Chunk<'_>, out: &mut Output) -> Interest {
        if chunk.is_empty() {
            return Interest::Parse;
        }
        let is_request = direction == self.role.requests();
        let at = usize::from(!is_request);
        if self.lost[at] {
            let wanted = if is_request { Recognition::Request } else { Recognition::Response };
            if recognise(chunk.data) != wanted {
                return Interest::Parse;
            }
            self.lost[at] = false;
        }
        if self.piece(is_request, chunk, out).is_none() {
            self.anomalies.resyncs += 1;
            self.lost[at] = true;
            let reader = if is_request { &mut self.commands } else { &mut self.answers };
            reader.reset();
            // Answers to what is open may be among what was missed; so may be another request with one of their numbers.
            self.end_all(End::Forgotten, chunk.at_ns, out);
        }
        Interest::Parse
    }

    fn begin_in_use(&mut self, _asks_ahead: bool) {
        self.lost = [true; 2];
    }

    fn seeks(&self, direction: Direction) -> bool {
        self.lost[usize::from(direction != self.role.requests())]
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
        size_of::<Self>() + self.commands.memory() + self.answers.memory() + self.open.memory()
    }

    fn take_anomalies(&mut self) -> Anomalies {
        mem::take(&mut self.anomalies)
    }
}
