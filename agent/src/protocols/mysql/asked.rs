//! What a client asks.

use std::sync::Arc;

use compact_str::CompactString;

use super::{
    kept::{Asked, At, Began, Command, Execute, Known},
    packet::{Packet, caps, number, text},
    session::{Mysql, Phase},
};
use crate::{
    model::{
        exchange::{Opened, Place},
        propagation::Format,
        trace_context::TraceParent,
    },
    protocols::{
        Interest, Output,
        sql::{self, Statement},
    },
};

/// Where in its packet a query's text begins, with the packet's head.
const TEXT_AT: u64 = 5;

impl Mysql {
    /// Takes a packet; `None` if there cannot be one such here.
    pub(super) fn on_asked(&mut self, packet: Packet<'_>, at_ns: u64, out: &mut Output) -> Option<()> {
        match self.phase {
            // The server speaks first, but for what it says before TLS.
            // Older than what is seen of it, and nothing was open.
            Phase::Greets if packet.sequence == 0 => self.phase = Phase::Commands,
            Phase::Greets | Phase::Login => return self.on_login(packet),
            Phase::Proves => return Some(()),
            Phase::Commands => {}
        }
        if packet.sequence != 0 || packet.continues {
            // What goes on, a file's content, or what proves who asks.
            return Some(());
        }
        self.end_prepare();
        let (&first, rest) = packet.body.split_first()?;
        match first {
            0x03 => self.on_query(packet, rest, at_ns, out),
            0x16 => {
                let query = self.without_attributes(rest).unwrap_or_default();
                let (list, parent) = self.read(query, packet.is_cut(), out);
                let statement = list.into_iter().next().unwrap_or_default();
                let heap = statement.heap() + size_of::<Statement>();
                self.push(Asked::Prepare { statement, parent, began: self.began }, None, heap, out);
            }
            0x17 | 0xfa => {
                let id = u32::from_le_bytes(*rest.first_chunk()?);
                let (statement, parent) = match self.prepared.get_mut(id) {
                    Some(prepared) => (Some(Arc::clone(&prepared.statement)), prepared.parent.take()),
                    None => (None, None),
                };
                let execute = self.open_execute(self.began, statement, parent, out);
                self.ask(Asked::Execute, execute, 0, at_ns, out);
            }
            0x1c => {
                let id = u32::from_le_bytes(*rest.first_chunk()?);
                let statement = self.prepared.get_mut(id).map(|prepared| Arc::clone(&prepared.statement));
                let mut execute = self.open_execute(self.began, statement, None, out);
                execute.fetches = true;
                self.ask(Asked::Fetch, execute, 0, at_ns, out);
            }
            0x02 => self.on_database(Some(rest), "USE", at_ns, out),
            0x11 => {
                let database = change_of_user(rest);
                self.prepared.clear();
                self.on_database(database, "CHANGE USER", at_ns, out);
            }
            0x19 => self.prepared.remove(u32::from_le_bytes(*rest.first_chunk()?)),
            0x1f => {
                self.prepared.clear();
                self.push(Asked::Untold, None, 0, out);
            }
            // The end, and what has no answer.
            0x01 | 0x18 => {}
            // From here on the server tells what is changed.
            0x12 | 0x1e => self.interest = Interest::Nothing,
            0x04 | 0x0a => self.push(Asked::Columns, None, 0, out),
            0x05..=0x0f | 0x1a | 0x1b => self.push(Asked::Untold, None, 0, out),
            _ => return None,
        }
        Some(())
    }

    /// The first packet of a client: whether TLS begins behind it, or who asks, and for which database.
    fn on_login(&mut self, packet: Packet<'_>) -> Option<()> {
        let flags = u32::from_le_bytes(*packet.body.first_chunk()?);
        self.phase = Phase::Proves;
        if flags & caps::PROTOCOL_41 == 0 {
            self.interest = Interest::Nothing;
            return Some(());
        }
        if packet.len == 32 && flags & caps::SSL != 0 {
            self.interest = Interest::Anew;
            return Some(());
        }
        // Of a connection within TLS the server's greeting was not within it.
        let agreed = self.caps.map_or(flags, |server| flags & server);
        self.caps = Some(agreed);
        self.deprecates_eof = Some(agreed & caps::DEPRECATE_EOF != 0);
        if let Some([a, b, c, d]) = packet.body.get(28..32) {
            // MariaDB's own stand where others have zeros, and so for its clients alone.
            self.caches_metadata = u32::from_le_bytes([*a, *b, *c, *d]) & caps::CACHE_METADATA != 0;
        }
        self.namespace = database(packet.body, flags).map(CompactString::from_utf8_lossy);
        self.is_compressed = agreed & (caps::COMPRESS | caps::ZSTD) != 0;
        Some(())
    }

    /// Behind a query's attributes, if there are none.
    fn without_attributes<'a>(&self, rest: &'a [u8]) -> Option<&'a [u8]> {
        match (rest, self.caps.map(|caps| caps & caps::ATTRIBUTES != 0)) {
            ([0, 1, query @ ..], None | Some(true)) => Some(query),
            (_, Some(true)) => None,
            (query, _) => Some(query),
        }
    }

    fn read(&self, text: &[u8], is_cut: bool, out: &Output) -> (Vec<Arc<Statement>>, Option<TraceParent>) {
        let told = out.propagation();
        let read = sql::read(text, is_cut, self.syntax, told.query_text);
        let parent = read.parent.filter(|_| told.formats.contains(&Format::TraceContext));
        (read.list.into_iter().map(Arc::new).collect(), parent)
    }

    fn on_query(&mut self, packet: Packet<'_>, rest: &[u8], at_ns: u64, out: &mut Output) {
        let began = self.began;
        let (list, parent) = match self.without_attributes(rest) {
            Some(query) => self.read(query, packet.is_cut(), out),
            None => (Vec::new(), None),
        };
        let heap = list.iter().map(|statement| statement.heap() + size_of::<Statement>()).sum();
        let mut statements = list.into_iter().zip(0_u64..);
        let first = statements.next().map(|(statement, _)| statement);
        let mut rest: Vec<_> = statements.collect();
        rest.reverse();
        let execute = self.open_execute(began, first, parent, out);
        if self.is_lost() {
            self.ask(Asked::Execute, execute, 0, at_ns, out);
            for (statement, nth) in rest.into_iter().rev() {
                let execute = self.open_execute(nth_of(began, nth), Some(statement), None, out);
                self.tell_unseen(execute, at_ns, out);
            }
            return;
        }
        self.ask(Asked::Query { rest, began }, execute, heap, at_ns, out);
    }

    /// The database changes.
    fn on_database(&mut self, name: Option<&[u8]>, operation: &'static str, at_ns: u64, out: &mut Output) {
        let operation = Some(CompactString::const_new(operation));
        let statement = Statement { summary: operation.clone(), operation, ..Statement::default() };
        let execute = self.open_execute(self.began, Some(Arc::new(statement)), None, out);
        let name = name.map(CompactString::from_utf8_lossy);
        self.ask(Asked::Database(name), execute, 0, at_ns, out);
    }

    /// A statement begins to be executed.
    pub(super) fn open_execute(
        &self,
        began: Began,
        statement: Known,
        parent: Option<TraceParent>,
        out: &mut Output,
    ) -> Execute {
        let Began { at_ns: start_ns, thread, position } = began;
        let (role, place) = (self.role, Place::Position(position));
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
        Execute { key, began, first_byte_ns: None, statement, parent, fetches: false, rows: None }
    }

    fn ask(&mut self, asked: Asked, execute: Execute, heap: usize, at_ns: u64, out: &mut Output) {
        if self.is_lost() {
            self.push(asked, None, heap, out);
            return self.tell_unseen(execute, at_ns, out);
        }
        self.push(asked, Some(execute), heap, out);
    }

    /// One more waits for its answer.
    fn push(&mut self, asked: Asked, current: Option<Execute>, heap: usize, out: &mut Output) {
        let at_ns = self.began.at_ns;
        if self.is_lost() {
            return self.in_use.asked(true);
        }
        if self.open.has_room() {
            self.open.push(Command { asked, current, at: At::First, has_result: false, heap });
            return;
        }
        self.anomalies.over_limit += 1;
        if let Some(execute) = current {
            self.tell_unseen(execute, at_ns, out);
        }
        self.lose(at_ns, out);
    }
}

/// Where the nth statement of a query stands.
pub(super) const fn nth_of(began: Began, nth: u64) -> Began {
    Began { position: began.position + TEXT_AT + nth, ..began }
}

/// The database that a client asks for as it connects.
fn database(login: &[u8], flags: u32) -> Option<&[u8]> {
    if flags & caps::WITH_DB == 0 {
        return None;
    }
    let (_user, rest) = text(login.get(32..)?)?;
    let behind = if flags & caps::AUTH_LENENC != 0 {
        let (len, rest) = number(rest)?;
        rest.get(usize::try_from(len).ok()?..)?
    } else if flags & caps::SECURE != 0 {
        let (len, rest) = rest.split_first()?;
        rest.get(usize::from(*len)..)?
    } else {
        text(rest)?.1
    };
    text(behind).map(|(name, _)| name).filter(|name| !name.is_empty())
}

/// The same where another user asks.
fn change_of_user(rest: &[u8]) -> Option<&[u8]> {
    let (_user, rest) = text(rest)?;
    let (len, rest) = rest.split_first()?;
    let behind = rest.get(usize::from(*len)..)?;
    text(behind).map(|(name, _)| name).filter(|name| !name.is_empty())
}
