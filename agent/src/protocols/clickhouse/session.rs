//! One statement after the other.

use std::mem;

use compact_str::CompactString;

use super::{
    NAME, SYNTAX,
    client::{self, Query},
    reader::{Reader, Stop},
    server::{self, Packet, Written},
};
use crate::{
    model::{
        exchange::{Db, Group, Key, Operation, Outcome, Place},
        net::{Direction, Role},
        propagation::QueryText,
        trace_context::TraceParent,
    },
    protocols::{
        Anomalies, Chunk, End, Interest, Output, Session, sql,
        told::{Began, Ended},
    },
};

/// Most bytes of a statement, or of an answer, that wait for the rest.
const KEEP: usize = 64 << 10;
/// Most bytes at the end of a piece that are looked at for the end of an answer.
const TAIL: usize = 64;

/// One connection.
pub(super) struct ClickHouse {
    role: Role,
    login: Login,
    /// What the client speaks, and what both do.
    offered: Option<u64>,
    revision: Option<u64>,
    database: Option<CompactString>,
    /// What the client says, as far as it was not read, and where that began.
    asked: Vec<u8>,
    began: Option<Began>,
    /// The rest of what the client says before it is answered is of nothing that is told.
    is_content: bool,
    answered: Vec<u8>,
    /// Bytes of the answer that are passed over.
    skips: u64,
    open: Option<Box<Open>>,
    anomalies: Anomalies,
}

/// How far the beginning of the connection has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Login {
    /// Nothing was said.
    Client,
    /// The client has said who it is.
    Server,
    /// The server has answered; the client adds what its revision asks for.
    Addendum,
    /// It is over, or was not seen.
    Over,
}

/// A statement that is not answered yet.
struct Open {
    key: Key,
    began: Began,
    parent: Option<TraceParent>,
    db: Db,
    written: Written,
    first_byte_ns: Option<u64>,
    rows: Option<u64>,
    /// The answer is not followed any more: what ends it is looked for.
    is_opaque: bool,
    /// When it may have ended.
    may_have_ended_ns: Option<u64>,
}

impl ClickHouse {
    pub(super) fn new(role: Role) -> Self {
        Self {
            role,
            login: Login::Client,
            offered: None,
            revision: None,
            database: None,
            asked: Vec::new(),
            began: None,
            is_content: false,
            answered: Vec::new(),
            skips: 0,
            open: None,
            anomalies: Anomalies::default(),
        }
    }

    // ---- what the client says

    fn on_asked(&mut self, chunk: &Chunk<'_>, out: &mut Output) {
        if let Some(open) = &self.open {
            if open.first_byte_ns.is_none() || !self.begins_statement(chunk.data) {
                // Data, or that it gives up.
                return;
            }
            // It goes on, so that what it asked before is answered.
            let ended_ns = open.may_have_ended_ns;
            let outcome = ended_ns.map_or(Outcome::Unseen, |_| Outcome::Complete);
            self.finish(None, outcome, ended_ns.unwrap_or(chunk.at_ns), out);
        }
        if self.is_content && !self.begins_statement(chunk.data) {
            return;
        }
        self.is_content = false;
        let place = Place::Position(chunk.position);
        let now = Began { at_ns: chunk.at_ns, thread: chunk.thread, place };
        let mut began = *self.began.get_or_insert(now);
        let mut bytes = mem::take(&mut self.asked);
        let before = bytes.len();
        bytes.extend_from_slice(chunk.data);
        let is_all = chunk.skipped > 0 || bytes.len() >= KEEP;
        let mut at = 0;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            match self.message(rest, is_all, began, out) {
                Ok(used) if used > 0 => {
                    at += used;
                    // What follows has come with this piece, unless it had begun before.
                    if at >= before {
                        let offset = (at - before) as u64;
                        began = Began { place: Place::Position(chunk.position.saturating_add(offset)), ..now };
                    }
                }
                Err(Stop::More) if !is_all => {
                    self.asked = rest.to_vec();
                    self.began = Some(began);
                    return;
                }
                // The rest of this turn is content.
                Ok(_) | Err(_) => {
                    self.is_content = true;
                    break;
                }
            }
        }
        self.began = None;
        if is_all {
            self.is_content = true;
        }
    }

    /// Whether a piece begins with a statement.
    fn begins_statement(&self, data: &[u8]) -> bool {
        let mut at = Reader::new(data);
        at.number() == Ok(client::QUERY) && client::query(&mut at, self.revision, true).is_ok()
    }

    /// Takes a message; gives how long it is, 0 where nothing of what follows is read.
    fn message(&mut self, bytes: &[u8], is_all: bool, began: Began, out: &mut Output) -> Result<usize, Stop> {
        let mut at = Reader::new(bytes);
        if self.login == Login::Addendum {
            match client::addendum(&mut at, self.revision.unwrap_or_default()) {
                Err(Stop::More) if !is_all => return Err(Stop::More),
                read => {
                    self.login = Login::Over;
                    if read.is_ok() && at.at() > 0 {
                        return Ok(at.at());
                    }
                    at = Reader::new(bytes);
                }
            }
        }
        match at.number()? {
            client::HELLO if self.login == Login::Client => {
                let hello = client::hello(&mut at)?;
                self.offered = Some(hello.revision);
                self.database = Some(hello.database).filter(|name| !name.is_empty()).map(CompactString::new);
                self.login = Login::Server;
            }
            client::QUERY => {
                let query = client::query(&mut at, self.revision, is_all)?;
                self.begin(&query, began, out);
                // Its data comes behind it.
                return Ok(0);
            }
            client::PING => {}
            _ => return Err(Stop::No),
        }
        Ok(at.at())
    }

    fn begin(&mut self, query: &Query<'_>, began: Began, out: &mut Output) {
        let told = out.propagation().query_text;
        let mut db = Db { system: NAME, namespace: self.database.clone(), ..Db::default() };
        let parent = sql::describe(&mut db, query.text, query.is_cut, SYNTAX, told);
        db.text_unknown = parent.is_none();
        if told == QueryText::Off {
            db.text = None;
        }
        let parent = query.parent.or(parent.flatten());
        let written = Written { revision: query.revision, is_compressed: query.is_compressed };
        let key = began.open(self.role, parent, out);
        let (first_byte_ns, rows, is_opaque, may_have_ended_ns) = (None, Some(0), false, None);
        let open = Open { key, began, parent, db, written, first_byte_ns, rows, is_opaque, may_have_ended_ns };
        self.answered.clear();
        self.skips = 0;
        self.open = Some(Box::new(open));
    }

    // ---- what the server says

    fn on_answered(&mut self, chunk: &Chunk<'_>, out: &mut Output) {
        // Whatever the client had to say is said.
        self.is_content = false;
        if self.open.is_none() {
            self.asked.clear();
            self.began = None;
            if self.login == Login::Server {
                self.on_hello(chunk);
            }
            return;
        }
        let data = self.pass(chunk);
        let Some(open) = &mut self.open else { return };
        open.first_byte_ns.get_or_insert(chunk.at_ns);
        if open.is_opaque {
            return self.look_for_end(chunk, out);
        }
        let mut bytes = mem::take(&mut self.answered);
        bytes.extend_from_slice(data);
        let is_all = self.skips == 0 && chunk.skipped > 0;
        let mut at = 0_usize;
        while let Some(rest) = bytes.get(at..).filter(|rest| !rest.is_empty()) {
            match server::next(rest, open.written) {
                Ok((packet, used)) => {
                    let used = usize::try_from(used).unwrap_or(usize::MAX);
                    if let Packet::Data(rows) = packet {
                        open.rows = open.rows.zip(rows).and_then(|(before, rows)| before.checked_add(rows));
                    }
                    match packet {
                        Packet::End => return self.finish(None, Outcome::Complete, chunk.at_ns, out),
                        Packet::Exception(code, is_whole) if is_whole || is_all || rest.len() >= KEEP => {
                            return self.finish(Some(code), Outcome::Complete, chunk.at_ns, out);
                        }
                        Packet::Exception(..) => {
                            self.answered = rest.to_vec();
                            return;
                        }
                        _ => {}
                    }
                    at = at.saturating_add(used);
                    if at > bytes.len() {
                        self.skips = (at - bytes.len()) as u64;
                        break;
                    }
                }
                Err(Stop::More) if !is_all && rest.len() < KEEP => {
                    self.answered = rest.to_vec();
                    return;
                }
                Err(_) => {
                    (open.is_opaque, open.rows) = (true, None);
                    return self.look_for_end(chunk, out);
                }
            }
        }
        // What was not captured is passed over where it is known to be of one message.
        if self.skips > 0 {
            let left = self.skips.checked_sub(chunk.skipped);
            match left {
                Some(left) => self.skips = left,
                None => self.lose_answer(chunk, out),
            }
        } else if chunk.skipped > 0 {
            self.lose_answer(chunk, out);
        }
    }

    /// What the server says of itself. Behind what it speaks stands what nobody needs.
    fn on_hello(&mut self, chunk: &Chunk<'_>) {
        self.answered.extend_from_slice(chunk.data);
        let mut at = Reader::new(&self.answered);
        let said =
            at.number().and_then(|kind| if kind == server::HELLO { server::hello(&mut at) } else { Err(Stop::No) });
        if said == Err(Stop::More) && chunk.skipped == 0 && self.answered.len() < KEEP {
            return;
        }
        self.answered.clear();
        self.revision = said.ok().zip(self.offered).map(|(server, client)| server.min(client));
        self.login = if self.revision.is_some() { Login::Addendum } else { Login::Over };
    }

    /// The captured part of a piece behind what is passed over.
    fn pass<'a>(&mut self, chunk: &Chunk<'a>) -> &'a [u8] {
        let passed = usize::try_from(self.skips).unwrap_or(usize::MAX).min(chunk.data.len());
        self.skips -= passed as u64;
        chunk.data.get(passed..).unwrap_or_default()
    }

    fn lose_answer(&mut self, chunk: &Chunk<'_>, out: &mut Output) {
        self.skips = 0;
        if let Some(open) = &mut self.open {
            (open.is_opaque, open.rows) = (true, None);
            self.look_for_end(chunk, out);
        }
    }

    /// Whether a piece of an answer that is not followed ends it: it is nothing but messages up to the last; or it looks so, which is
    /// believed once the client goes on.
    fn look_for_end(&mut self, chunk: &Chunk<'_>, out: &mut Output) {
        let Some(open) = &mut self.open else { return };
        let mut rest = chunk.data;
        let (mut before, is_whole) = (0, chunk.skipped == 0);
        while let Ok((packet, used)) = server::next(rest, open.written)
            && is_whole
        {
            let Some(behind) = usize::try_from(used).ok().and_then(|used| rest.get(used..)) else { break };
            match packet {
                Packet::End if behind.is_empty() && before > 0 => {
                    return self.finish(None, Outcome::Complete, chunk.at_ns, out);
                }
                Packet::Exception(code, true) if behind.is_empty() => {
                    return self.finish(Some(code), Outcome::Complete, chunk.at_ns, out);
                }
                Packet::End | Packet::Exception(..) => break,
                _ => {}
            }
            (rest, before) = (behind, before + 1);
        }
        let tail = if chunk.skipped > 0 { chunk.tail } else { chunk.data };
        let tail = tail.get(tail.len().saturating_sub(TAIL)..).unwrap_or_default();
        open.may_have_ended_ns = (!chunk.lost && server::ends(tail, open.written)).then_some(chunk.at_ns);
    }

    // ---- ends

    fn finish(&mut self, code: Option<i32>, outcome: Outcome, end_ns: u64, out: &mut Output) {
        (self.answered, self.skips) = (Vec::new(), 0);
        let Some(open) = self.open.take() else { return };
        let Open { key, began, parent, mut db, first_byte_ns, rows, .. } = *open;
        let ended = match (outcome, first_byte_ns) {
            (Outcome::Complete, Some(first_byte_ns)) => Ended::answered(first_byte_ns, end_ns),
            (Outcome::Cut, Some(first_byte_ns)) => Ended::cut(first_byte_ns, end_ns),
            (outcome, _) => Ended::without_answer(outcome, end_ns),
        };
        (db.failed, db.status) = (code.is_some(), code.map(|code| compact_str::format_compact!("{code}")));
        let returns = db.operation.as_deref().is_some_and(|name| !name.starts_with("INSERT"));
        db.returned_rows = rows.filter(|_| returns && code.is_none() && outcome == Outcome::Complete);
        out.finish(key, began.exchange(self.role, NAME, parent, Operation::Db(Box::new(db)), ended));
    }

    fn end(&mut self, end: End, at_ns: u64, out: &mut Output) {
        let Some(open) = &self.open else { return };
        let (outcome, at_ns) = match (end, open.may_have_ended_ns, open.first_byte_ns) {
            (End::Forgotten, ..) => (Outcome::Unseen, at_ns),
            (_, Some(ended_ns), _) => (Outcome::Complete, ended_ns),
            (_, None, Some(_)) => (if open.is_opaque { Outcome::Unseen } else { Outcome::Cut }, at_ns),
            (_, None, None) => (Outcome::NoResponse, at_ns),
        };
        self.finish(None, outcome, at_ns, out);
    }
}

impl Session for ClickHouse {
    fn on_data(&mut self, direction: Direction, chunk: &Chunk<'_>, out: &mut Output) -> Interest {
        let is_request = direction == self.role.requests();
        if chunk.lost && chunk.skipped > 0 {
            self.anomalies.resyncs += 1;
            self.finish(None, Outcome::Unseen, chunk.at_ns, out);
            (self.asked, self.began, self.is_content) = (Vec::new(), None, is_request);
            self.login = Login::Over;
            return Interest::Parse;
        }
        if is_request {
            self.on_asked(chunk, out);
        } else {
            self.on_answered(chunk, out);
        }
        Interest::Parse
    }

    fn begin_in_use(&mut self, _asks_ahead: bool) {
        self.login = Login::Over;
    }

    fn begin_older(&mut self) {
        self.login = Login::Over;
    }

    fn on_end_of_stream(&mut self, direction: Direction, at_ns: u64, out: &mut Output) {
        if direction != self.role.requests() {
            self.end(End::Closed, at_ns, out);
        }
    }

    fn on_end(&mut self, end: End, at_ns: u64, out: &mut Output) {
        self.end(end, at_ns, out);
    }

    fn role(&self) -> Role {
        self.role
    }

    fn open_requests(&self) -> usize {
        usize::from(self.open.is_some())
    }

    fn open_methods(&self, each: &mut dyn FnMut(Group, Option<&str>)) {
        (0..self.open_requests()).for_each(|_| each(Group::Db, None));
    }

    fn memory(&self) -> usize {
        let open = self.open.as_ref().map_or(0, |_| size_of::<Open>() + 2 * sql::MAX_TEXT);
        size_of::<Self>() + self.asked.capacity() + self.answered.capacity() + open
    }

    fn take_anomalies(&mut self) -> Anomalies {
        mem::take(&mut self.anomalies)
    }
}
