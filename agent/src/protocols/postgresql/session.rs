//! Matching answers with what was asked.

use std::mem;

use compact_str::CompactString;

use super::{
    NAME,
    answered::{Ended, Named},
    kept::{AllPrepared, Began, Execute, Item, Portals},
    message::{From, Read, Reader, Tag},
    recognise,
};
use crate::{
    model::{
        exchange::{Db, Exchange, Group, Inside, Key, Operation, Outcome, Pattern},
        ids::ThreadId,
        net::{Direction, Role},
    },
    protocols::{
        Anomalies, Chunk, End, Interest, Output, Recognition, Session,
        in_use::{InUse, Start},
        matching::{InOrder, Limits},
        sql::{Dialect, Escapes, Syntax},
    },
};

/// Messages that may wait for their answer at a time.
const LIMITS: Limits = Limits { requests: 16_384, bytes: 2 << 20 };
/// Bytes of an answer's end that are remembered.
const TAIL: usize = 64;

/// One connection.
pub(super) struct Postgres {
    pub(super) role: Role,
    client: Reader,
    server: Reader,
    pub(super) phase: Phase,
    /// Where the message begins that is read of the client's.
    pub(super) began: Began,
    /// Where the first of several began that belong to one Execute.
    pub(super) group: Option<Began>,
    pub(super) open: InOrder<Item>,
    /// One that has ended well so far: at the Sync behind it its transaction ends, which may fail yet.
    pub(super) held: Option<(Key, Exchange)>,
    /// Something has failed, and the client has sent no Sync since.
    pub(super) is_skipping: bool,
    pub(super) prepared: AllPrepared,
    pub(super) portals: Portals,
    pub(super) namespace: Option<CompactString>,
    pub(super) syntax: Syntax,
    pub(super) copy: Copy,
    /// The place in what the client sends is not known.
    pub(super) is_client_lost: bool,
    /// Rows are left out: the end of what has come.
    blind: Option<Tail>,
    /// Where something was missed each statement is unseen until there is proof that nothing else is open.
    pub(super) in_use: InUse,
    last: Option<Direction>,
    answered_ns: u64,
    pub(super) interest: Interest,
    pub(super) anomalies: Anomalies,
}

/// What a connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The client has asked for encryption: a byte answers it.
    Negotiates,
    Talks,
}

/// Whether the client sends what is copied into a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Copy {
    None,
    In,
    /// The same, and where its messages begin is not known.
    Blind,
}

/// The last bytes that came, as far as they follow each other.
#[derive(Clone, Copy, Debug)]
struct Tail {
    bytes: [u8; TAIL],
    len: usize,
}

impl Tail {
    const EMPTY: Self = Self { bytes: [0; TAIL], len: 0 };

    fn push(&mut self, chunk: &Chunk<'_>) {
        let is_whole = chunk.skipped == chunk.tail.len() as u64;
        if is_whole {
            self.add(chunk.data);
        } else {
            self.len = 0;
        }
        self.add(chunk.tail);
    }

    fn add(&mut self, bytes: &[u8]) {
        let from = bytes.len().saturating_sub(TAIL);
        let new = bytes.get(from..).unwrap_or_default();
        let keep = self.len.min(TAIL - new.len());
        self.bytes.copy_within(self.len - keep..self.len, 0);
        if let Some(to) = self.bytes.get_mut(keep..keep + new.len()) {
            to.copy_from_slice(new);
        }
        self.len = keep + new.len();
    }

    /// What stands before the server's being ready, where it ends with that.
    fn ready(&self) -> Option<&[u8]> {
        let bytes = self.bytes.get(..self.len)?;
        let (before, ready) = bytes.split_at_checked(bytes.len().checked_sub(6)?)?;
        matches!(ready, [b'Z', 0, 0, 0, 5, b'I' | b'T' | b'E']).then_some(before)
    }

    /// Whether it ends with there being more rows.
    fn is_suspended(&self) -> bool {
        self.ready().is_some_and(|before| before.ends_with(&[b's', 0, 0, 0, 4]))
    }

    /// The tag of the statement that has ended last.
    fn tag(&self) -> Option<Tag<'_>> {
        let before = self.ready()?;
        (0..before.len()).rev().find_map(|at| {
            let (head, body) = before.get(at..)?.split_first_chunk::<5>()?;
            let [b'C', length @ ..] = head else { return None };
            (u32::from_be_bytes(*length) as usize == body.len() + 4).then(|| Tag::of(body))?
        })
    }
}

impl Postgres {
    pub(super) fn new(role: Role) -> Self {
        let mut client = Reader::new(From::Client);
        client.expect_untyped();
        Self {
            role,
            client,
            server: Reader::new(From::Server),
            phase: Phase::Talks,
            began: Began::default(),
            group: None,
            open: InOrder::new(LIMITS),
            held: None,
            is_skipping: false,
            prepared: AllPrepared::default(),
            portals: Portals::default(),
            namespace: None,
            // As servers have it unless they say otherwise, which they do where a connection begins.
            syntax: Syntax { dialect: Dialect::Postgres, escapes: Escapes::Unknown },
            copy: Copy::None,
            is_client_lost: false,
            blind: None,
            in_use: InUse::new(role),
            last: None,
            answered_ns: 0,
            interest: Interest::Parse,
            anomalies: Anomalies::default(),
        }
    }

    pub(super) const fn is_lost(&self) -> bool {
        self.in_use.is_lost()
    }

    // ---- pieces

    /// Takes a piece of what the client sends; `None` if the place is lost.
    fn client_piece(&mut self, chunk: &Chunk<'_>, out: &mut Output) -> Option<()> {
        if self.copy == Copy::Blind {
            return Some(());
        }
        if self.is_client_lost && !self.is_lost() {
            // Behind a COPY: what comes next begins with a message.
            let ends = matches!(chunk.data, [b'S' | b'X', 0, 0, 0, 4, ..]);
            if !ends && recognise(chunk.data) != Recognition::Request {
                return Some(());
            }
            self.client.reset();
            self.is_client_lost = false;
        }
        if self.client.is_untyped() && self.client.is_between() && chunk.data.first().is_some_and(|first| *first != 0) {
            // It is older than what is seen of it, and nothing was open.
            self.client.reset();
        }
        let gap = chunk.skipped.saturating_sub(chunk.tail.len() as u64);
        self.client_bytes(chunk.data, 0, chunk, out)?;
        if gap > 0 {
            match self.client.skip(gap) {
                Some(read) => self.on_client_read(read, chunk.at_ns, out)?,
                None if self.copy == Copy::In => {
                    self.copy = Copy::Blind;
                    return Some(());
                }
                None => return None,
            }
        }
        self.client_bytes(chunk.tail, chunk.len() - chunk.tail.len() as u64, chunk, out)
    }

    fn client_bytes(&mut self, mut bytes: &[u8], at: u64, chunk: &Chunk<'_>, out: &mut Output) -> Option<()> {
        let len = bytes.len();
        while !bytes.is_empty() && self.interest == Interest::Parse {
            if self.client.is_between() {
                let position = chunk.position.saturating_add(at).saturating_add((len - bytes.len()) as u64);
                self.began = Began { at_ns: chunk.at_ns, thread: chunk.thread, position };
            }
            let read = self.client.step(bytes)?;
            let Read::Whole(used) = read else { return Some(()) };
            self.on_client_read(read, chunk.at_ns, out)?;
            bytes = bytes.get(used..)?;
        }
        Some(())
    }

    fn on_client_read(&mut self, read: Read, at_ns: u64, out: &mut Output) -> Option<()> {
        if read == Read::More {
            return Some(());
        }
        // The reader gives the message away for as long as it is looked at.
        let client = mem::replace(&mut self.client, Reader::new(From::Client));
        let done = self.on_asked(client.message(), at_ns, out);
        self.client = client;
        done
    }

    /// The same of what the server sends.
    fn server_piece(&mut self, chunk: &Chunk<'_>, out: &mut Output) -> Option<()> {
        let mut data = chunk.data;
        if self.phase == Phase::Negotiates {
            let (answer, rest) = data.split_first()?;
            self.phase = Phase::Talks;
            match answer {
                b'S' => self.interest = Interest::Anew,
                b'N' => self.client.expect_untyped(),
                b'E' => {}
                // What follows is encrypted, and no TLS.
                _ => self.interest = Interest::Nothing,
            }
            if *answer != b'E' {
                data = rest;
            }
        }
        if let Some(tail) = &mut self.blind {
            tail.push(chunk);
            return self.look_at_tail(chunk.at_ns, out);
        }
        let gap = chunk.skipped.saturating_sub(chunk.tail.len() as u64);
        self.server_bytes(data, chunk, out)?;
        if gap > 0 && self.interest == Interest::Parse {
            match self.server.skip(gap) {
                Some(read) => self.on_server_read(read, chunk.at_ns, out)?,
                None if !chunk.lost && !self.is_lost() && !self.open.is_empty() => {
                    let mut tail = Tail::EMPTY;
                    tail.push(chunk);
                    self.blind = Some(tail);
                    return self.look_at_tail(chunk.at_ns, out);
                }
                None => return None,
            }
        }
        self.server_bytes(chunk.tail, chunk, out)
    }

    fn server_bytes(&mut self, mut bytes: &[u8], chunk: &Chunk<'_>, out: &mut Output) -> Option<()> {
        while !bytes.is_empty() && self.interest == Interest::Parse {
            let read = self.server.step(bytes)?;
            let Read::Whole(used) = read else { return Some(()) };
            self.on_server_read(read, chunk.at_ns, out)?;
            bytes = bytes.get(used..)?;
        }
        Some(())
    }

    fn on_server_read(&mut self, read: Read, at_ns: u64, out: &mut Output) -> Option<()> {
        if read == Read::More {
            return Some(());
        }
        let server = mem::replace(&mut self.server, Reader::new(From::Server));
        let done = self.on_answered(server.message(), at_ns, out);
        self.server = server;
        done
    }

    /// Rows are left out: whether this is the answer's end. With several answers under way it would not be known whose.
    fn look_at_tail(&mut self, at_ns: u64, out: &mut Output) -> Option<()> {
        let Some(tail) = self.blind else { return Some(()) };
        let is_one = self.open.iter().filter(|item| matches!(item, Item::Sync)).count() == 1;
        let ended = match tail.tag() {
            Some(tag) => Some(Ended::With(Some(tag))),
            None => tail.is_suspended().then_some(Ended::Suspended),
        };
        if let Some(ended) = ended
            && is_one
        {
            self.end_blind(Some(ended), at_ns, out);
        }
        Some(())
    }

    fn end_blind(&mut self, ended: Option<Ended<'_>>, at_ns: u64, out: &mut Output) {
        self.blind = None;
        self.server.reset();
        if self.copy == Copy::Blind {
            self.is_client_lost = true;
        }
        self.copy = Copy::None;
        self.on_unseen_end(ended, at_ns, out);
    }

    /// The client asks while rows were left out: the answer has ended, or others are under way.
    fn before_client_piece(&mut self, chunk: &Chunk<'_>, out: &mut Output) {
        let Some(tail) = self.blind else { return };
        let is_one = self.open.iter().filter(|item| matches!(item, Item::Sync)).count() == 1;
        if self.last == Some(self.role.requests()) || self.copy != Copy::None {
            return;
        }
        if is_one && tail.ready().is_some() {
            // How it ended was not seen.
            self.end_blind(None, self.answered_ns, out);
        } else {
            self.lose(chunk.at_ns, out);
        }
    }

    // ---- ends

    /// A statement is over.
    pub(super) fn tell(&self, execute: Execute, outcome: Outcome, ended: Ended<'_>, end_ns: u64, out: &mut Output) {
        let (key, exchange) = self.exchange(execute, outcome, ended, end_ns);
        out.finish(key, exchange);
    }

    /// What is told of it.
    pub(super) fn exchange(
        &self,
        execute: Execute,
        outcome: Outcome,
        ended: Ended<'_>,
        end_ns: u64,
    ) -> (Key, Exchange) {
        let Execute { key, began, first_byte_ns, statement, parent, fetches, rows, .. } = execute;
        let (tag, failed, status) = match ended {
            Ended::With(tag) => (tag, false, None),
            Ended::Failed(code) => (None, true, code.map(CompactString::new)),
            Ended::Empty | Ended::Suspended => (None, false, None),
        };
        let returned_rows = match tag {
            Some(Tag { command: "SELECT" | "FETCH", rows }) => rows,
            // Those that it has changed, which came back, or did not.
            Some(Tag { rows: counted, .. }) => rows.and(counted),
            None => rows.filter(|_| matches!(ended, Ended::Suspended)),
        };
        let is_empty = matches!(ended, Ended::Empty);
        let Named { operation, summary, collection, is_unknown } = Named::of(statement.as_ref(), fetches, tag);
        let told = statement.as_ref();
        let db = Db {
            system: NAME,
            namespace: self.namespace.clone(),
            collection,
            operation,
            summary,
            text: told.and_then(|statement| statement.text.clone()),
            text_unknown: is_unknown && !is_empty,
            procedure: told.and_then(|statement| statement.procedure.clone()),
            failed,
            status,
            returned_rows,
            ..Db::default()
        };
        let exchange = Exchange {
            role: self.role,
            thread: began.thread,
            start_ns: began.at_ns,
            first_byte_ns,
            response_tid: ThreadId::NONE,
            end_ns: end_ns.max(began.at_ns),
            outcome,
            parent,
            protocol: NAME,
            pattern: Pattern::RequestResponse,
            operation: Operation::Db(Box::new(db)),
            inside: Inside::default(),
        };
        (key, exchange)
    }

    /// All that is open is over.
    fn end_all(&mut self, end: End, at_ns: u64, out: &mut Output) {
        self.release(out);
        let is_blind = self.blind.take().is_some_and(|tail| tail.ready().is_some());
        while let Some(item) = self.open.pop() {
            let execute = match item {
                Item::Execute(execute) | Item::Call(execute) => Some(*execute),
                Item::Query(query) => query.current,
                _ => None,
            };
            let Some(execute) = execute else { continue };
            let outcome = match end {
                End::Closed | End::Reset if is_blind => Outcome::Unseen,
                End::Forgotten => Outcome::Unseen,
                End::Closed | End::Reset if execute.first_byte_ns.is_some() => Outcome::Cut,
                End::Closed | End::Reset => Outcome::NoResponse,
            };
            match outcome {
                Outcome::Unseen => self.tell_unseen(execute, at_ns, out),
                _ => self.tell(execute, outcome, Ended::With(None), at_ns, out),
            }
        }
    }

    /// Something was missed.
    pub(super) fn lose(&mut self, at_ns: u64, out: &mut Output) {
        self.end_all(End::Forgotten, at_ns, out);
        self.anomalies.resyncs += 1;
        self.server.reset();
        (self.copy, self.is_skipping, self.group) = (Copy::None, false, None);
        self.phase = Phase::Talks;
        self.in_use.lose();
    }

    /// The same, of what the client sends: which statements are prepared is not known any more.
    fn lose_client(&mut self) {
        self.client.reset();
        self.is_client_lost = true;
        self.prepared.clear();
        (self.portals, self.group) = (Portals::default(), None);
    }

    /// A piece comes while it is not known what answers what.
    fn on_piece_when_lost(&mut self, direction: Direction, chunk: &Chunk<'_>) {
        if !self.is_lost() {
            return;
        }
        let is_request = direction == self.role.requests();
        let begins = !chunk.lost && recognise(chunk.data) == Recognition::Request;
        let start = self.in_use.before(direction, chunk, begins, false);
        if start == Start::GoesOn {
            return;
        }
        if !is_request || start == Start::Known {
            self.server.reset();
        }
        if is_request && begins && self.is_client_lost {
            self.client.reset();
            self.is_client_lost = false;
        }
    }

    /// The same, behind the piece.
    fn after_piece(&mut self, direction: Direction, is_read: bool, chunk: &Chunk<'_>) {
        let is_request = direction == self.role.requests();
        let is_between = if is_request { self.client.is_between() } else { self.server.is_between() };
        if !is_request && !is_read {
            self.server.reset();
        }
        self.in_use.after(direction, chunk, is_between, is_read && !(is_request && self.is_client_lost));
    }
}

impl Session for Postgres {
    fn on_data(&mut self, direction: Direction, chunk: &Chunk<'_>, out: &mut Output) -> Interest {
        if self.interest != Interest::Parse || chunk.is_empty() {
            return self.interest;
        }
        let is_request = direction == self.role.requests();
        if is_request && !self.is_lost() {
            self.before_client_piece(chunk, out);
        }
        self.on_piece_when_lost(direction, chunk);
        let read = if is_request { self.client_piece(chunk, out) } else { self.server_piece(chunk, out) };
        if is_request && read.is_none() {
            self.lose_client();
        }
        if !self.is_lost() && read.is_none() {
            self.lose(chunk.at_ns, out);
        }
        self.after_piece(direction, read.is_some(), chunk);
        self.last = Some(direction);
        if !is_request {
            self.answered_ns = chunk.at_ns;
        }
        if self.interest != Interest::Parse {
            self.end_all(End::Forgotten, chunk.at_ns, out);
        }
        self.interest
    }

    fn begin_in_use(&mut self, _asks_ahead: bool) {
        self.client.reset();
        self.is_client_lost = true;
        self.in_use.lose();
    }

    fn seeks(&self, _direction: Direction) -> bool {
        self.is_lost()
    }

    fn knows_ends(&self) -> bool {
        self.phase == Phase::Talks
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
        self.open.iter().filter(|item| item.is_told()).count() + usize::from(self.held.is_some())
    }

    fn open_methods(&self, each: &mut dyn FnMut(Group, Option<&str>)) {
        (0..self.open_requests()).for_each(|_| each(Group::Db, None));
    }

    fn memory(&self) -> usize {
        let readers = self.client.memory() + self.server.memory();
        size_of::<Self>() + readers + self.open.memory() + self.prepared.memory() + self.portals.memory()
    }

    fn take_anomalies(&mut self) -> Anomalies {
        mem::take(&mut self.anomalies)
    }
}
