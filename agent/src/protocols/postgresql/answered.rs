//! What a server answers.

use std::sync::Arc;

use compact_str::CompactString;

use super::{
    asked::nth_of,
    kept::{Execute, Item, Known, Query},
    message::{Message, Tag, sqlstate, text},
    session::{Copy, Postgres},
};
use crate::{
    model::exchange::{Exchange, Operation, Outcome},
    protocols::{
        Interest, Output,
        sql::{Escapes, Statement},
    },
};

/// How a statement has ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ended<'a> {
    /// With a tag, where that was seen.
    With(Option<Tag<'a>>),
    /// With an error's code.
    Failed(Option<&'a str>),
    /// There was none.
    Empty,
    /// There are more rows.
    Suspended,
}

impl Postgres {
    /// Takes a message; `None` if it answers nothing that was asked.
    pub(super) fn on_answered(&mut self, message: Message<'_>, at_ns: u64, out: &mut Output) -> Option<()> {
        let Message { kind, body, .. } = message;
        match kind {
            b'S' => {
                self.on_parameter(body);
                return Some(());
            }
            // What comes without being asked for, and what is about how a connection begins.
            b'N' | b'A' | b'R' | b'K' | b'v' => return Some(()),
            _ => {}
        }
        if self.is_lost() {
            if kind == b'Z' {
                self.in_use.answered();
            }
            return Some(());
        }
        if self.held.is_some() {
            if kind == b'E' && matches!(self.open.front(), Some(Item::Sync)) {
                self.fail_held(sqlstate(body), at_ns);
            }
            self.release(out);
        }
        if kind == b'E' {
            self.on_error(sqlstate(body), at_ns, out);
            return Some(());
        }
        match (kind, self.open.front_mut()) {
            (b'1', Some(Item::Parse { .. }))
            | (b'2', Some(Item::Bind(..)))
            | (b'3', Some(Item::Close))
            | (b'T' | b'n', Some(Item::Describe(..))) => drop(self.open.pop()),
            (b't', Some(Item::Describe(..))) => {}
            (b'Z', _) => return self.on_ready(),
            (
                b'T' | b'D' | b'C' | b'I' | b'G' | b'H' | b'W' | b'd' | b'c' | b's',
                Some(Item::Query(_) | Item::Execute(_)),
            ) => {
                self.on_result(message, at_ns, out)?;
            }
            (b'V', Some(Item::Call(_))) => {
                let Some(Item::Call(mut call)) = self.open.pop() else { return None };
                call.first_byte_ns.get_or_insert(at_ns);
                self.tell_ended(*call, Ended::With(None), at_ns, out);
            }
            _ => {
                self.anomalies.unmatched_responses += u64::from(self.open.is_empty());
                return None;
            }
        }
        Some(())
    }

    fn on_parameter(&mut self, body: &[u8]) {
        if let Some((b"standard_conforming_strings", value)) = text(body) {
            self.syntax.escapes = if value.starts_with(b"off") { Escapes::Yes } else { Escapes::No };
        }
    }

    /// What a statement gives.
    fn on_result(&mut self, message: Message<'_>, at_ns: u64, out: &mut Output) -> Option<()> {
        let Message { kind, body, .. } = message;
        // The next statement of a query has begun to be answered.
        self.begin_next(out)?;
        let execute = match self.open.front_mut()? {
            Item::Execute(execute) => &mut **execute,
            Item::Query(query) => query.current.as_mut()?,
            _ => return None,
        };
        execute.first_byte_ns.get_or_insert(at_ns);
        match kind {
            b'D' => *execute.rows.get_or_insert(0) += 1,
            // Rows come.
            b'H' => drop(execute.rows.get_or_insert(0)),
            b'G' => self.begin_copy_in(),
            b'W' => {
                self.end_front(Ended::With(None), at_ns, out);
                self.interest = Interest::Nothing;
            }
            b'C' => self.end_front(Ended::With(Tag::of(body)), at_ns, out),
            b'I' => self.end_front(Ended::Empty, at_ns, out),
            b's' => self.end_front(Ended::Suspended, at_ns, out),
            _ => {}
        }
        Some(())
    }

    /// Where a query's statement is over and the next one is answered, that is opened.
    fn begin_next(&mut self, out: &mut Output) -> Option<()> {
        let Some(Item::Query(query)) = self.open.front_mut() else { return Some(()) };
        if query.current.is_some() {
            return Some(());
        }
        let (began, next) = (query.began, query.rest.pop());
        // There may be more than were seen of a long one.
        let (statement, began) = match next {
            Some((statement, nth)) => (Some(statement), nth_of(began, nth)),
            None => (None, began),
        };
        let execute = self.open_execute(began, statement, None, out);
        match self.open.front_mut() {
            Some(Item::Query(query)) => query.current = Some(execute),
            _ => return None,
        }
        Some(())
    }

    /// COPY from the client: what asks for an answer before it has come is passed over.
    fn begin_copy_in(&mut self) {
        self.copy = Copy::In;
        if matches!(self.open.front(), Some(Item::Execute(_))) {
            self.open.drain_behind(1).for_each(drop);
        }
    }

    /// The statement that is answered is over.
    pub(super) fn end_front(&mut self, ended: Ended<'_>, at_ns: u64, out: &mut Output) {
        let is_extended = matches!(self.open.front(), Some(Item::Execute(_)));
        let execute = match self.open.front_mut() {
            Some(Item::Query(query)) => query.current.take(),
            Some(Item::Execute(_)) => match self.open.pop() {
                Some(Item::Execute(execute)) => Some(*execute),
                _ => None,
            },
            _ => None,
        };
        let Some(execute) = execute else { return };
        if self.copy == Copy::Blind {
            self.is_client_lost = true;
        }
        self.copy = Copy::None;
        if !execute.portal.is_empty() || matches!(ended, Ended::Suspended) {
            let is_suspended = matches!(ended, Ended::Suspended);
            if let Some(portal) = self.portals.get_mut(&execute.portal) {
                portal.is_suspended = is_suspended;
            }
        }
        if is_extended && matches!(ended, Ended::With(_)) && matches!(self.open.front(), None | Some(Item::Sync)) {
            self.release(out);
            self.held = Some(self.exchange(execute, Outcome::Complete, ended, at_ns));
            return;
        }
        self.tell_ended(execute, ended, at_ns, out);
    }

    /// What ends the transaction of the statement that has ended last has failed: a constraint that is looked at then.
    fn fail_held(&mut self, code: Option<&str>, at_ns: u64) {
        if let Some((_, Exchange { operation: Operation::Db(db), end_ns, .. })) = &mut self.held {
            (db.failed, db.status, db.returned_rows) = (true, code.map(CompactString::new), None);
            *end_ns = at_ns.max(*end_ns);
        }
    }

    /// Nothing of that comes any more.
    pub(super) fn release(&mut self, out: &mut Output) {
        if let Some((key, exchange)) = self.held.take() {
            out.finish(key, exchange);
        }
    }

    fn on_error(&mut self, code: Option<&str>, at_ns: u64, out: &mut Output) {
        match self.open.front() {
            Some(Item::Startup) => drop(self.open.pop()),
            Some(Item::Query(_)) => {
                // The rest of it is not executed.
                if self.begin_failing(out) {
                    self.touch_front(at_ns);
                    self.end_front(Ended::Failed(code), at_ns, out);
                }
            }
            Some(Item::Call(_)) => {
                if let Some(Item::Call(mut call)) = self.open.pop() {
                    call.first_byte_ns.get_or_insert(at_ns);
                    self.tell_failed(*call, code, at_ns, out);
                }
            }
            Some(Item::Execute(_)) => {
                self.touch_front(at_ns);
                self.end_front(Ended::Failed(code), at_ns, out);
                self.skip_to_sync(at_ns, out);
            }
            Some(Item::Parse { .. } | Item::Bind(..) | Item::Describe(..) | Item::Close) => {
                self.on_failed_before_execute(code, at_ns, out);
                self.skip_to_sync(at_ns, out);
            }
            // For no statement's sake: the server is shut down. At the end of a transaction it is that of the last (`fail_held`).
            Some(Item::Sync) | None => {}
        }
    }

    /// Whether a query has a statement that the error is of.
    fn begin_failing(&mut self, out: &mut Output) -> bool {
        let Some(Item::Query(query)) = self.open.front() else { return false };
        let has_more = query.current.is_some() || !query.rest.is_empty();
        has_more && self.begin_next(out).is_some()
    }

    fn touch_front(&mut self, at_ns: u64) {
        let execute = match self.open.front_mut() {
            Some(Item::Execute(execute)) => Some(&mut **execute),
            Some(Item::Query(query)) => query.current.as_mut(),
            _ => None,
        };
        if let Some(execute) = execute {
            execute.first_byte_ns.get_or_insert(at_ns);
        }
    }

    /// What comes before an Execute has failed: that of the Execute that follows, or a statement that is told for it.
    fn on_failed_before_execute(&mut self, code: Option<&str>, at_ns: u64, out: &mut Output) {
        let (began, statement): (_, Known) = match self.open.pop() {
            Some(Item::Parse { began, name, before, statement }) => {
                self.prepared.restore(&name, before);
                (began, Some(statement))
            }
            Some(Item::Bind(began, known) | Item::Describe(began, known)) => (began, known),
            _ => return,
        };
        while let Some(item) = self.open.front() {
            match item {
                Item::Execute(_) => {
                    self.touch_front(at_ns);
                    return self.end_front(Ended::Failed(code), at_ns, out);
                }
                Item::Sync | Item::Query(_) | Item::Call(_) | Item::Startup => break,
                Item::Parse { .. } | Item::Bind(..) | Item::Describe(..) | Item::Close => self.pass_over(at_ns, out),
            }
        }
        let mut execute = self.open_execute(began, statement, None, out);
        execute.first_byte_ns = Some(at_ns);
        self.tell_failed(execute, code, at_ns, out);
    }

    /// The server passes over one that was asked.
    fn pass_over(&mut self, at_ns: u64, out: &mut Output) {
        match self.open.pop() {
            Some(Item::Parse { name, before, .. }) => self.prepared.restore(&name, before),
            Some(Item::Execute(execute) | Item::Call(execute)) => self.tell_failed(*execute, None, at_ns, out),
            Some(Item::Query(query)) => {
                query.current.into_iter().for_each(|execute| self.tell_failed(execute, None, at_ns, out));
            }
            _ => {}
        }
    }

    /// Until the next Sync the server passes over what was asked.
    fn skip_to_sync(&mut self, at_ns: u64, out: &mut Output) {
        loop {
            match self.open.front() {
                Some(Item::Sync) => return,
                Some(_) => self.pass_over(at_ns, out),
                None => {
                    self.is_skipping = true;
                    return;
                }
            }
        }
    }

    /// The server is ready for the next query.
    fn on_ready(&mut self) -> Option<()> {
        if let Some(Item::Query(query)) = self.open.front() {
            if query.current.is_some() {
                return None;
            }
            self.open.pop();
        }
        match self.open.front() {
            Some(Item::Sync | Item::Startup) => {
                self.open.pop();
                Some(())
            }
            // The Sync behind a COPY was not seen.
            None if self.is_client_lost => Some(()),
            None => {
                self.anomalies.unmatched_responses += 1;
                None
            }
            Some(_) => None,
        }
    }

    /// Rows were left out, and the answer's end shows that all went well: what was asked up to the Sync is over.
    pub(super) fn on_unseen_end(&mut self, ended: Option<Ended<'_>>, at_ns: u64, out: &mut Output) {
        let mut last: Option<Execute> = None;
        while let Some(item) = self.open.pop() {
            let executes: Vec<Execute> = match item {
                Item::Execute(execute) | Item::Call(execute) => vec![*execute],
                Item::Query(query) => self.all_of(*query, out),
                Item::Sync => break,
                _ => continue,
            };
            for execute in executes {
                if let Some(before) = last.replace(execute) {
                    self.tell_unseen(before, at_ns, out);
                }
            }
        }
        let Some(mut last) = last else { return };
        let Some(ended) = ended else { return self.tell_unseen(last, at_ns, out) };
        let is_suspended = matches!(ended, Ended::Suspended);
        // How many rows there were only the statement's end says.
        last.rows = if is_suspended { None } else { last.rows.or(Some(0)) };
        if let Some(portal) = self.portals.get_mut(&last.portal) {
            portal.is_suspended = is_suspended;
        }
        self.tell_ended(last, ended, at_ns, out);
    }

    /// The statements of a query, each opened.
    fn all_of(&self, query: Query, out: &mut Output) -> Vec<Execute> {
        let Query { began, current, rest, .. } = query;
        let rest = rest.into_iter().rev();
        let opened: Vec<_> =
            rest.map(|(statement, nth)| self.open_execute(nth_of(began, nth), Some(statement), None, out)).collect();
        current.into_iter().chain(opened).collect()
    }

    /// A statement has failed.
    pub(super) fn tell_failed(&self, execute: Execute, code: Option<&str>, at_ns: u64, out: &mut Output) {
        self.tell_ended(execute, Ended::Failed(code), at_ns, out);
    }

    /// What has become of a statement was not seen.
    pub(super) fn tell_unseen(&self, mut execute: Execute, at_ns: u64, out: &mut Output) {
        execute.first_byte_ns = None;
        self.tell(execute, Outcome::Unseen, Ended::With(None), at_ns, out);
    }

    fn tell_ended(&self, execute: Execute, ended: Ended<'_>, at_ns: u64, out: &mut Output) {
        self.tell(execute, Outcome::Complete, ended, at_ns, out);
    }
}

/// What is told of a statement: its operation, summary and text, and whether nothing is known of the latter.
pub(super) struct Named {
    pub(super) operation: Option<CompactString>,
    pub(super) summary: Option<CompactString>,
    pub(super) collection: Option<CompactString>,
    pub(super) is_unknown: bool,
}

impl Named {
    pub(super) fn of(statement: Option<&Arc<Statement>>, fetches: bool, tag: Option<Tag<'_>>) -> Self {
        let Some(statement) = statement else {
            let operation = tag.map(|tag| CompactString::new(tag.command));
            return Self { operation, summary: None, collection: None, is_unknown: true };
        };
        let collection = statement.collection.clone();
        if fetches {
            let summary = collection.as_ref().map(|name| compact_str::format_compact!("FETCH {name}"));
            let fetch = CompactString::const_new("FETCH");
            return Self {
                summary: summary.or_else(|| Some(fetch.clone())),
                operation: Some(fetch),
                collection,
                is_unknown: false,
            };
        }
        let (operation, summary) = (statement.operation.clone(), statement.summary.clone());
        Self { operation, summary, collection, is_unknown: false }
    }
}
