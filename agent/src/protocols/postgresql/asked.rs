//! What a client asks.

use std::{mem, sync::Arc};

use compact_str::CompactString;

use super::{
    kept::{Began, Execute, Item, Known, Portal, Prepared, Query},
    message::{Message, text},
    recognise::{CANCEL_REQUEST, GSS_REQUEST, SSL_REQUEST},
    session::{Copy, Phase, Postgres},
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

/// Where in a Query's message its text begins.
const TEXT_AT: u64 = 5;

impl Postgres {
    /// Takes a message; `None` if there cannot be one such here.
    pub(super) fn on_asked(&mut self, message: Message<'_>, at_ns: u64, out: &mut Output) -> Option<()> {
        if message.kind == 0 {
            return self.on_startup(message);
        }
        let Message { kind, body, .. } = message;
        if self.copy == Copy::In {
            // Until all of it has been sent, what asks for an answer is passed over by the server.
            match kind {
                b'd' | b'H' | b'S' => return Some(()),
                b'c' | b'f' => {
                    self.copy = Copy::None;
                    return Some(());
                }
                _ => self.copy = Copy::None,
            }
        }
        if matches!(kind, b'P' | b'B' | b'D' | b'E' | b'C') {
            self.group.get_or_insert(self.began);
        }
        match kind {
            b'Q' => {
                self.group = None;
                self.on_query(message, at_ns, out);
            }
            b'P' => self.on_parse(message, out)?,
            b'B' => self.on_bind(body, out)?,
            b'D' => {
                let (kind, name) = body.split_first()?;
                let (name, _) = text(name)?;
                let statement = self.statement_of(*kind == b'P', &String::from_utf8_lossy(name));
                let began = self.group.unwrap_or(self.began);
                self.push(Item::Describe(began, statement), out);
            }
            b'E' => self.on_execute(body, at_ns, out)?,
            b'C' => {
                let (kind, name) = body.split_first()?;
                let name = String::from_utf8_lossy(text(name)?.0);
                if *kind == b'S' {
                    self.prepared.remove(&name);
                } else {
                    self.portals.remove(&name);
                }
                self.push(Item::Close, out);
            }
            b'S' => {
                self.group = None;
                self.on_sync(out);
            }
            b'F' => {
                let execute = self.open_execute(self.began, None, None, out);
                if let Some(execute) = self.keep_or_tell(execute, at_ns, out) {
                    self.push(Item::Call(execute), out);
                }
                self.on_sync(out);
            }
            b'H' => self.group = None,
            // A password, the end, or what is left of a COPY that the server has ended.
            _ => {}
        }
        Some(())
    }

    fn on_startup(&mut self, message: Message<'_>) -> Option<()> {
        let (code, parameters) = message.body.split_first_chunk()?;
        match u32::from_be_bytes(*code) {
            SSL_REQUEST | GSS_REQUEST => self.phase = Phase::Negotiates,
            CANCEL_REQUEST => self.interest = Interest::Nothing,
            code if code >> 16 == 3 => {
                let mut rest = parameters;
                let (mut user, mut database) = (None, None);
                while let Some((key, behind)) = text(rest).filter(|(key, _)| !key.is_empty()) {
                    let Some((value, behind)) = text(behind) else { break };
                    match key {
                        b"user" => user = Some(value),
                        b"database" => database = Some(value),
                        _ => {}
                    }
                    rest = behind;
                }
                // Without one it is called as the user.
                let name = database.or(user.filter(|_| !message.is_cut()));
                self.namespace = name.map(CompactString::from_utf8_lossy);
                self.open.push(Item::Startup);
            }
            _ => self.interest = Interest::Nothing,
        }
        Some(())
    }

    fn read(&self, text: &[u8], is_cut: bool, out: &Output) -> (Vec<Arc<Statement>>, Option<TraceParent>) {
        let told = out.propagation();
        let read = sql::read(text, is_cut, self.syntax, told.query_text);
        let parent = read.parent.filter(|_| told.formats.contains(&Format::TraceContext));
        (read.list.into_iter().map(Arc::new).collect(), parent)
    }

    /// A query of the simple protocol.
    fn on_query(&mut self, message: Message<'_>, at_ns: u64, out: &mut Output) {
        let is_cut = message.is_cut();
        let query = message.body.strip_suffix(b"\0").unwrap_or(message.body);
        let (list, parent) = self.read(query, is_cut, out);
        list.iter().for_each(|statement| self.on_statement(statement));
        let began = self.began;
        let heap = list.iter().map(|statement| statement.heap() + size_of::<Statement>()).sum();
        let mut statements = list.into_iter().zip(0_u64..);
        let first = statements.next().map(|(statement, _)| statement);
        let mut rest: Vec<_> = statements.collect();
        rest.reverse();
        let current = self.open_execute(began, first, parent, out);
        self.in_use.asked(true);
        let Some(current) = self.keep_or_tell(current, at_ns, out) else {
            // Those behind it may be executed, or not.
            for (statement, nth) in rest.into_iter().rev() {
                let execute = self.open_execute(nth_of(began, nth), Some(statement), None, out);
                drop(self.keep_or_tell(execute, at_ns, out));
            }
            return;
        };
        self.push(Item::Query(Box::new(Query { began, current: Some(*current), rest, heap })), out);
        self.push(Item::Sync, out);
    }

    /// What a statement does to what is prepared.
    fn on_statement(&mut self, statement: &Statement) {
        match (statement.operation.as_deref(), statement.prepared.as_deref()) {
            (Some("DISCARD"), _) => self.prepared.clear(),
            (Some("DEALLOCATE"), Some(all)) if all.eq_ignore_ascii_case("all") => self.prepared.clear(),
            (Some("DEALLOCATE" | "PREPARE"), Some(name)) => {
                let folded = name.to_lowercase();
                self.prepared.remove(name);
                self.prepared.remove(&folded);
            }
            _ => {}
        }
    }

    fn on_parse(&mut self, message: Message<'_>, out: &mut Output) -> Option<()> {
        let (name, behind) = text(message.body)?;
        let name = CompactString::from_utf8_lossy(name);
        let (query, is_cut) = match text(behind) {
            Some((query, _)) => (query, false),
            None => (behind, true),
        };
        let (list, parent) = self.read(query, is_cut, out);
        // There is one at most; without any it is empty.
        let statement = list.into_iter().next().unwrap_or_default();
        let prepared = Prepared { statement: Arc::clone(&statement), parent };
        let before = self.prepared.insert(&name, prepared);
        let began = self.group.unwrap_or(self.began);
        self.push(Item::Parse { began, name, before, statement }, out);
        Some(())
    }

    fn on_bind(&mut self, body: &[u8], out: &mut Output) -> Option<()> {
        let (portal, rest) = text(body)?;
        let (name, _) = text(rest)?;
        let prepared = self.prepared.get_mut(&String::from_utf8_lossy(name));
        let (statement, parent) = match prepared {
            Some(prepared) => (Some(Arc::clone(&prepared.statement)), prepared.parent.take()),
            None => (None, None),
        };
        let began = self.group.unwrap_or(self.began);
        self.push(Item::Bind(began, statement.clone()), out);
        self.portals.insert(&String::from_utf8_lossy(portal), Portal { statement, parent, is_suspended: false });
        Some(())
    }

    fn statement_of(&mut self, is_portal: bool, name: &str) -> Known {
        if is_portal {
            self.portals.get_mut(name).and_then(|portal| portal.statement.clone())
        } else {
            self.prepared.get_mut(name).map(|prepared| Arc::clone(&prepared.statement))
        }
    }

    fn on_execute(&mut self, body: &[u8], at_ns: u64, out: &mut Output) -> Option<()> {
        let name = String::from_utf8_lossy(text(body)?.0);
        let portal = self.portals.get_mut(&name);
        let (statement, parent, fetches) = match portal {
            Some(portal) => (portal.statement.clone(), portal.parent.take(), portal.is_suspended),
            None => (None, None, false),
        };
        if let Some(statement) = &statement {
            let statement = Arc::clone(statement);
            self.on_statement(&statement);
        }
        let began = mem::take(&mut self.group).unwrap_or(self.began);
        let mut execute = self.open_execute(began, statement, parent, out);
        (execute.fetches, execute.portal) = (fetches, CompactString::new(&*name));
        if let Some(execute) = self.keep_or_tell(execute, at_ns, out) {
            self.push(Item::Execute(execute), out);
        }
        Some(())
    }

    fn on_sync(&mut self, out: &mut Output) {
        self.is_skipping = false;
        self.in_use.asked(true);
        self.push(Item::Sync, out);
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
        let portal = CompactString::default();
        Execute { key, began, first_byte_ns: None, statement, parent, fetches: false, portal, rows: None }
    }

    /// Gives it back if it is to be kept until it is answered.
    fn keep_or_tell(&mut self, execute: Execute, at_ns: u64, out: &mut Output) -> Option<Box<Execute>> {
        match self.is_lost() {
            true => self.tell_unseen(execute, at_ns, out),
            // The server passes it over until the next Sync.
            false if self.is_skipping => self.tell_failed(execute, None, at_ns, out),
            false => return Some(Box::new(execute)),
        }
        None
    }

    /// One more waits for its answer.
    fn push(&mut self, item: Item, out: &mut Output) {
        let at_ns = self.began.at_ns;
        if self.is_lost() || self.is_skipping {
            if let Item::Parse { name, before, .. } = item
                && self.is_skipping
            {
                self.prepared.restore(&name, before);
            }
            return;
        }
        if self.open.has_room() {
            self.open.push(item);
            return;
        }
        self.anomalies.over_limit += 1;
        match item {
            Item::Execute(execute) | Item::Call(execute) => self.tell_unseen(*execute, at_ns, out),
            Item::Query(query) => query.current.into_iter().for_each(|execute| self.tell_unseen(execute, at_ns, out)),
            _ => {}
        }
        self.lose(at_ns, out);
    }
}

/// Where the nth statement of a query stands.
pub(super) const fn nth_of(began: Began, nth: u64) -> Began {
    Began { position: began.position + TEXT_AT + nth, ..began }
}
