//! Matching answers with what was asked.

use std::mem;

use compact_str::CompactString;

use super::{
    NAME,
    answered::Ended,
    kept::{AllPrepared, Asked, Began, Command, Execute},
    packed::Packed,
    packet::{Read, Reader, status},
    recognise,
};
use crate::{
    model::{
        exchange::{Db, Exchange, Group, Inside, Operation, Outcome, Pattern},
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

/// Commands that may wait for their answer at a time.
const LIMITS: Limits = Limits { requests: 4096, bytes: 1 << 20 };
/// Bytes that are kept of a packet of the client's, and of one of the server's.
const ROOM: [usize; 2] = [8192, 160];
/// Bytes at its beginning by which it is known what a packet of the server's is.
const SAYS: usize = 11;
/// Bytes of an answer's end that are remembered.
const TAIL: usize = 32;

/// One connection.
pub(super) struct Mysql {
    pub(super) role: Role,
    client: Reader,
    server: Reader,
    pub(super) phase: Phase,
    /// What the server can, then what both can; `None` where that was not seen.
    pub(super) caps: Option<u32>,
    /// Whether rows end with an `OK`, and columns with nothing.
    pub(super) deprecates_eof: Option<bool>,
    pub(super) caches_metadata: bool,
    /// Both have agreed to compress what comes behind the login.
    pub(super) is_compressed: bool,
    /// It has come: packets of the client and of the server are within others.
    pub(super) packed: Option<Box<[Packed; 2]>>,
    pub(super) system: &'static str,
    /// Where the packet begins that is read of the client's.
    pub(super) began: Began,
    pub(super) open: InOrder<Command>,
    pub(super) prepared: AllPrepared,
    pub(super) namespace: Option<CompactString>,
    pub(super) syntax: Syntax,
    /// The client sends a file, of which not all is captured.
    sends_file: bool,
    is_client_lost: bool,
    /// Rows are left out: the end of what has come.
    blind: Option<Tail>,
    /// Where something was missed each statement is unseen until there is proof that nothing else is open.
    pub(super) in_use: InUse,
    last: Option<Direction>,
    pub(super) interest: Interest,
    pub(super) anomalies: Anomalies,
}

/// What a connection is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Phase {
    /// The server says what it is.
    Greets,
    /// The client says who it is.
    Login,
    /// And proves it.
    Proves,
    Commands,
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
        if chunk.skipped == chunk.tail.len() as u64 {
            self.add(chunk.data);
        } else {
            self.len = 0;
        }
        self.add(chunk.tail);
    }

    fn add(&mut self, bytes: &[u8]) {
        let new = bytes.get(bytes.len().saturating_sub(TAIL)..).unwrap_or_default();
        let keep = self.len.min(TAIL - new.len());
        self.bytes.copy_within(self.len - keep..self.len, 0);
        if let Some(to) = self.bytes.get_mut(keep..keep + new.len()) {
            to.copy_from_slice(new);
        }
        self.len = keep + new.len();
    }

    /// The server's status, where rows end here and no other result follows.
    fn end(&self, deprecates_eof: Option<bool>) -> Option<u16> {
        let bytes = self.bytes.get(..self.len)?;
        let status = match (bytes, deprecates_eof) {
            ([.., 5, 0, 0, _, 0xfe, _, _, low, high], Some(false) | None) => u16::from_le_bytes([*low, *high]),
            ([.., 7, 0, 0, _, 0xfe, 0, 0, low, high, _, _], Some(true) | None) => u16::from_le_bytes([*low, *high]),
            _ => return None,
        };
        (status & status::MORE_RESULTS == 0).then_some(status)
    }
}

impl Mysql {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            client: Reader::new(ROOM[0]),
            server: Reader::new(ROOM[1]),
            phase: Phase::Greets,
            caps: None,
            deprecates_eof: None,
            caches_metadata: false,
            is_compressed: false,
            packed: None,
            system: NAME,
            began: Began::default(),
            open: InOrder::new(LIMITS),
            prepared: AllPrepared::default(),
            namespace: None,
            syntax: Syntax { dialect: Dialect::Mysql, escapes: Escapes::Unknown },
            sends_file: false,
            is_client_lost: false,
            blind: None,
            in_use: InUse::new(role),
            last: None,
            interest: Interest::Parse,
            anomalies: Anomalies::default(),
        }
    }

    pub(super) const fn is_lost(&self) -> bool {
        self.in_use.is_lost()
    }

    // ---- pieces

    /// Takes a piece of one direction; `None` if the place is lost.
    fn piece(&mut self, is_request: bool, chunk: &Chunk<'_>, out: &mut Output) -> Option<()> {
        if is_request { self.client_piece(chunk, out) } else { self.server_piece(chunk, out) }
    }

    /// Takes one in which packets are compressed. Whether it told anything: of a packet that goes on in the next piece it may not.
    fn packed_piece(
        &mut self,
        mut packed: Box<[Packed; 2]>,
        direction: Direction,
        chunk: &Chunk<'_>,
        out: &mut Output,
    ) -> bool {
        let is_request = direction == self.role.requests();
        let [client, server] = &mut *packed;
        let (side, other) = if is_request { (client, server) } else { (server, client) };
        let was_lost = self.is_lost();
        if was_lost && self.last != Some(direction) {
            // A turn begins with a packet.
            side.begin_turn();
        }
        let mut is_silent = true;
        let read = side.piece(chunk, &mut |opened| {
            let (data, skipped, position) = (opened.bytes, opened.gap, opened.position);
            let within = Chunk { data, skipped, tail: &[], position, ..*chunk };
            if mem::take(&mut is_silent) {
                self.on_piece_when_lost(direction, &within);
            }
            self.piece(is_request, &within, out)
        });
        if read.is_none() {
            side.reset();
        }
        side.is_silent = is_silent && read.is_some();
        if was_lost && !self.is_lost() {
            // What came of the answer before was read from anywhere.
            other.reset();
        }
        let tells = !side.is_silent;
        self.packed = Some(packed);
        if tells {
            self.after_piece(direction, read.is_some(), chunk, out);
        }
        tells
    }

    /// Takes a piece of what the client sends; `None` if the place is lost.
    fn client_piece(&mut self, chunk: &Chunk<'_>, out: &mut Output) -> Option<()> {
        if self.sends_file {
            return Some(());
        }
        if self.is_client_lost && !self.is_lost() {
            if recognise(chunk.data) != Recognition::Request {
                return Some(());
            }
            self.client.reset();
            self.is_client_lost = false;
        }
        let gap = chunk.skipped.saturating_sub(chunk.tail.len() as u64);
        self.client_bytes(chunk.data, 0, chunk, out)?;
        if gap > 0 {
            match self.client.skip(gap, 1) {
                Some(read) => self.on_client_read(read, chunk.at_ns, out)?,
                // A file may be as long as it likes.
                None if self.open.front().is_some_and(|command| matches!(command.asked, Asked::Query { .. })) => {
                    self.sends_file = true;
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
        // The reader gives the packet away for as long as it is looked at.
        let client = mem::replace(&mut self.client, Reader::new(ROOM[0]));
        let done = self.on_asked(client.packet(), at_ns, out);
        self.client = client;
        done
    }

    /// The same of what the server sends.
    fn server_piece(&mut self, chunk: &Chunk<'_>, out: &mut Output) -> Option<()> {
        if let Some(tail) = &mut self.blind {
            tail.push(chunk);
            self.look_at_tail(chunk.at_ns, out);
            return Some(());
        }
        let gap = chunk.skipped.saturating_sub(chunk.tail.len() as u64);
        self.server_bytes(chunk.data, chunk, out)?;
        if gap > 0 && self.interest == Interest::Parse {
            match self.server.skip(gap, SAYS) {
                Some(read) => self.on_server_read(read, chunk.at_ns, out)?,
                None if !chunk.lost && !self.is_lost() && !self.open.is_empty() => {
                    let mut tail = Tail::EMPTY;
                    tail.push(chunk);
                    self.blind = Some(tail);
                    self.look_at_tail(chunk.at_ns, out);
                    return Some(());
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
        let server = mem::replace(&mut self.server, Reader::new(ROOM[1]));
        let done = self.on_answered(server.packet(), at_ns, out);
        self.server = server;
        done
    }

    /// Rows are left out: whether this is the end of the answer, of the only command that waits for one.
    fn look_at_tail(&mut self, at_ns: u64, out: &mut Output) {
        let Some(status) = self.blind.and_then(|tail| tail.end(self.deprecates_eof)) else { return };
        if self.open.len() != 1 {
            return;
        }
        self.blind = None;
        self.server.reset();
        self.on_status(status);
        let Some(command) = self.open.pop() else { return };
        let Command { asked, current, .. } = command;
        // Of several results, and of rows that were not seen, it is not known how many there were.
        let rest = match asked {
            Asked::Query { rest, began } => {
                rest.into_iter().rev().map(|(it, nth)| (it, super::asked::nth_of(began, nth))).collect()
            }
            _ => Vec::new(),
        };
        let mut last = current;
        for (statement, began) in rest {
            let next = self.open_execute(began, Some(statement), None, out);
            if let Some(before) = last.replace(next) {
                self.tell_unseen(before, at_ns, out);
            }
        }
        if let Some(mut execute) = last {
            execute.rows = None;
            self.tell_ended(execute, Ended::Well(status), at_ns, out);
        }
    }

    /// A file that the client sends has been answered.
    pub(super) fn end_file(&mut self) {
        if mem::take(&mut self.sends_file) {
            self.is_client_lost = true;
        }
    }

    // ---- ends

    pub(super) fn tell_ended(&self, execute: Execute, ended: Ended, at_ns: u64, out: &mut Output) {
        let code = match ended {
            Ended::Well(_) => None,
            Ended::Failed(code) => Some(code),
        };
        self.tell(execute, Outcome::Complete, code, at_ns, out);
    }

    /// What has become of a statement was not seen.
    pub(super) fn tell_unseen(&self, mut execute: Execute, at_ns: u64, out: &mut Output) {
        (execute.first_byte_ns, execute.rows) = (None, None);
        self.tell(execute, Outcome::Unseen, None, at_ns, out);
    }

    fn tell(&self, execute: Execute, outcome: Outcome, error: Option<u16>, end_ns: u64, out: &mut Output) {
        let Execute { key, began, first_byte_ns, statement, parent, fetches, rows } = execute;
        let told = statement.as_deref();
        let collection = told.and_then(|statement| statement.collection.clone());
        let (operation, summary) = if fetches {
            let fetch = CompactString::const_new("FETCH");
            let summary = collection.as_ref().map(|name| compact_str::format_compact!("FETCH {name}"));
            (Some(fetch.clone()), summary.or(Some(fetch)))
        } else {
            told.map_or((None, None), |statement| (statement.operation.clone(), statement.summary.clone()))
        };
        let db = Db {
            system: self.system,
            namespace: self.namespace.clone(),
            collection,
            operation,
            summary,
            text: told.and_then(|statement| statement.text.clone()),
            text_unknown: told.is_none(),
            procedure: told.and_then(|statement| statement.procedure.clone()),
            failed: error.is_some(),
            status: error.map(|code| compact_str::format_compact!("{code}")),
            returned_rows: rows.filter(|_| error.is_none() && outcome == Outcome::Complete),
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
        out.finish(key, exchange);
    }

    /// All that is open is over.
    fn end_all(&mut self, end: End, at_ns: u64, out: &mut Output) {
        let is_blind = self.blind.take().is_some();
        while let Some(command) = self.open.pop() {
            let Some(execute) = command.current else { continue };
            match end {
                End::Forgotten => self.tell_unseen(execute, at_ns, out),
                // The end may have been among what was left out.
                End::Closed | End::Reset if is_blind => self.tell_unseen(execute, at_ns, out),
                End::Closed | End::Reset => {
                    let outcome = if execute.first_byte_ns.is_some() { Outcome::Cut } else { Outcome::NoResponse };
                    self.tell(execute, outcome, None, at_ns, out);
                }
            }
        }
    }

    /// Something was missed.
    pub(super) fn lose(&mut self, at_ns: u64, out: &mut Output) {
        self.end_all(End::Forgotten, at_ns, out);
        self.anomalies.resyncs += 1;
        self.server.reset();
        self.sends_file = false;
        self.phase = Phase::Commands;
        self.in_use.lose();
        // Which number a statement was given, and which database was chosen, may have been among it.
        self.prepared.clear();
        self.namespace = None;
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
        if is_request && begins {
            self.client.reset();
            self.is_client_lost = false;
        }
    }

    /// What follows from a piece. While it is not known what answers what it is enough that an answer has begun: rows may be left out of
    /// it, and nothing else is asked meanwhile.
    fn after_piece(&mut self, direction: Direction, is_read: bool, chunk: &Chunk<'_>, out: &mut Output) {
        let is_request = direction == self.role.requests();
        if is_request && !is_read {
            self.client.reset();
            self.is_client_lost = true;
        }
        if !is_read && !self.is_lost() {
            self.lose(chunk.at_ns, out);
        }
        if !is_request && !is_read {
            self.server.reset();
        }
        self.in_use.after(direction, chunk, true, !is_request || is_read && !self.is_client_lost);
    }

    /// The client asks while rows are left out: the answer has ended, in a way that was not seen.
    fn end_blind(&mut self, at_ns: u64, out: &mut Output) {
        let is_between = self.packed.as_ref().is_some_and(|packed| packed[1].is_between());
        let is_alone = self.open.len() == 1
            && self.open.front().is_some_and(|command| match &command.asked {
                Asked::Query { rest, .. } => rest.is_empty(),
                _ => true,
            });
        if !is_between || !is_alone {
            return self.lose(at_ns, out);
        }
        // Compressed packets say where they end, so that the next answer is found all the same.
        self.blind = None;
        self.server.reset();
        if let Some(execute) = self.open.pop().and_then(|command| command.current) {
            self.tell_unseen(execute, at_ns, out);
        }
    }
}

impl Session for Mysql {
    fn on_data(&mut self, direction: Direction, chunk: &Chunk<'_>, out: &mut Output) -> Interest {
        if self.interest != Interest::Parse || chunk.is_empty() {
            return self.interest;
        }
        let is_request = direction == self.role.requests();
        if is_request && !self.is_lost() && self.blind.is_some() && self.last != Some(direction) && !self.sends_file {
            self.end_blind(chunk.at_ns, out);
        }
        let tells = match self.packed.take() {
            Some(packed) => self.packed_piece(packed, direction, chunk, out),
            None => {
                self.on_piece_when_lost(direction, chunk);
                let is_read = self.piece(is_request, chunk, out).is_some();
                self.after_piece(direction, is_read, chunk, out);
                true
            }
        };
        if tells {
            self.last = Some(direction);
        }
        if self.interest != Interest::Parse {
            self.end_all(End::Forgotten, chunk.at_ns, out);
        }
        self.interest
    }

    fn begin_in_use(&mut self, _asks_ahead: bool) {
        self.phase = Phase::Commands;
        self.is_client_lost = true;
        self.in_use.lose();
    }

    fn seeks(&self, _direction: Direction) -> bool {
        self.is_lost()
    }

    /// Of compressed packets the heads are needed.
    fn knows_ends(&self) -> bool {
        self.phase == Phase::Commands && !self.is_compressed
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
        self.open.iter().filter(|command| command.current.is_some()).count()
    }

    fn open_methods(&self, each: &mut dyn FnMut(Group, Option<&str>)) {
        self.open.iter().filter(|command| command.current.is_some()).for_each(|_| each(Group::Db, None));
    }

    fn memory(&self) -> usize {
        let packed = self.packed.iter().flat_map(|sides| sides.iter());
        let packed: usize = packed.map(|side| size_of::<Packed>() + side.memory()).sum();
        let readers = self.client.memory() + self.server.memory() + packed;
        size_of::<Self>() + readers + self.open.memory() + self.prepared.memory()
    }

    fn take_anomalies(&mut self) -> Anomalies {
        mem::take(&mut self.anomalies)
    }
}
