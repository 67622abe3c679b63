//! What a server answers.

use compact_str::CompactString;

use super::{
    asked::nth_of,
    kept::{Asked, At, Command, Execute, Prepared},
    packet::{Packet, status, text},
    session::{Mysql, Phase},
};
use crate::protocols::{Interest, Output, sql::Escapes};

/// How a result, or a statement without one, has ended.
#[derive(Clone, Copy, Debug)]
pub(super) enum Ended {
    /// Well, with the server's status.
    Well(u16),
    /// With an error's code.
    Failed(u16),
}

impl Mysql {
    /// Takes a packet; `None` if it answers nothing that was asked.
    pub(super) fn on_answered(&mut self, packet: Packet<'_>, at_ns: u64, out: &mut Output) -> Option<()> {
        match self.phase {
            Phase::Greets => return self.on_greeting(packet),
            Phase::Login | Phase::Proves => {
                if packet.error().is_none() && packet.ok(0).is_some() {
                    self.phase = Phase::Commands;
                    self.on_status(packet.ok(0).unwrap_or_default());
                    if self.is_compressed {
                        // Packets are within others from here on.
                        self.packed = Some(Box::default());
                    }
                }
                return Some(());
            }
            Phase::Commands => {}
        }
        if self.is_lost() {
            // The numbers of a long answer's packets come again.
            if packet.sequence == 1 && !self.in_use.is_answered() {
                self.in_use.answered();
            }
            return Some(());
        }
        if packet.continues {
            return Some(());
        }
        let Some(command) = self.open.front_mut() else {
            // The server ends the connection; or columns end in a way that could not be known.
            if packet.error().is_some() {
                return Some(());
            }
            if packet.eof().is_some() && self.deprecates_eof.is_none() {
                self.deprecates_eof = Some(false);
                return Some(());
            }
            self.anomalies.unmatched_responses += 1;
            return None;
        };
        if let Some(execute) = &mut command.current {
            execute.first_byte_ns.get_or_insert(at_ns);
        }
        match command.at {
            At::First => self.on_first(packet, at_ns, out)?,
            At::Columns(left) => {
                command.at = if left > 1 { At::Columns(left - 1) } else { At::BehindColumns };
                if command.at == At::BehindColumns && self.deprecates_eof == Some(true) {
                    command.at = At::Rows;
                }
            }
            At::BehindColumns => {
                match packet.eof() {
                    Some(status) => {
                        self.deprecates_eof = Some(false);
                        command.at = At::Rows;
                        if status & status::CURSOR != 0 {
                            self.end_result(Ended::Well(status), at_ns, out);
                        }
                    }
                    // Without one it is a row.
                    None if self.deprecates_eof.is_none() => {
                        self.deprecates_eof = Some(true);
                        command.at = At::Rows;
                        self.on_row(packet, at_ns, out)?;
                    }
                    None => return None,
                }
            }
            At::Rows => self.on_row(packet, at_ns, out)?,
            At::Parameters(left, columns) => {
                command.at = match left {
                    2.. => At::Parameters(left - 1, columns),
                    _ => At::BehindParameters(columns),
                };
                self.pass_eof();
            }
            At::BehindParameters(columns) => {
                self.deprecates_eof = Some(packet.eof().is_none());
                if let Some(command) = self.open.front_mut() {
                    command.at = At::PreparedColumns(columns);
                }
                self.end_prepare_if_done(columns);
                if packet.eof().is_none() && columns > 0 {
                    self.on_prepared_column(columns);
                }
            }
            At::PreparedColumns(left) => self.on_prepared_column(left),
            At::BehindPrepared => {
                drop(self.open.pop());
            }
        }
        Some(())
    }

    /// The server's first packet.
    fn on_greeting(&mut self, packet: Packet<'_>) -> Option<()> {
        self.phase = Phase::Login;
        let rest = packet.body.strip_prefix(&[10]);
        let Some((version, rest)) = rest.and_then(text) else {
            // It refuses who asks.
            self.interest = Interest::Nothing;
            return Some(());
        };
        if memchr::memmem::find(version, b"MariaDB").is_some() {
            self.system = super::MARIADB;
        }
        if let (Some([a, b]), Some([c, d])) = (rest.get(13..15), rest.get(18..20)) {
            self.caps = Some(u32::from_le_bytes([*a, *b, *c, *d]));
        }
        if let Some([low, high]) = rest.get(16..18) {
            self.on_status(u16::from_le_bytes([*low, *high]));
        }
        Some(())
    }

    pub(super) fn on_status(&mut self, status: u16) {
        self.syntax.escapes = if status & status::NO_BACKSLASH_ESCAPES == 0 { Escapes::Yes } else { Escapes::No };
    }

    /// The first packet of a result, or all of an answer.
    fn on_first(&mut self, packet: Packet<'_>, at_ns: u64, out: &mut Output) -> Option<()> {
        let command = self.open.front_mut()?;
        if let Some(code) = packet.error() {
            self.end_result(Ended::Failed(code), at_ns, out);
            return Some(());
        }
        match &command.asked {
            Asked::Untold => drop(self.open.pop()),
            Asked::Columns => command.at = At::Rows,
            Asked::Fetch => {
                command.at = At::Rows;
                self.on_row(packet, at_ns, out)?;
            }
            Asked::Database(_) => {
                // What else comes asks who it is.
                if let Some(status) = packet.ok(0) {
                    self.end_result(Ended::Well(status), at_ns, out);
                }
            }
            Asked::Prepare { .. } => self.on_prepared(packet)?,
            Asked::Query { .. } | Asked::Execute => {
                if let Some(status) = packet.ok(0) {
                    self.end_result(Ended::Well(status), at_ns, out);
                } else if let Some((columns, _metadata)) = packet.columns() {
                    let comes = packet.body.len() < 2 || packet.body.last() != Some(&0) || !self.caches_metadata;
                    let command = self.open.front_mut()?;
                    command.at = if comes { At::Columns(columns) } else { At::BehindColumns };
                    if !comes && self.deprecates_eof == Some(true) {
                        command.at = At::Rows;
                    }
                    if let Some(execute) = &mut command.current {
                        execute.rows.get_or_insert(0);
                    }
                } else if packet.body.first() != Some(&0xfb) {
                    // Nor is it a file that is asked for.
                    return None;
                }
            }
        }
        Some(())
    }

    /// A row, or what ends them.
    fn on_row(&mut self, packet: Packet<'_>, at_ns: u64, out: &mut Output) -> Option<()> {
        if let Some(code) = packet.error() {
            self.end_result(Ended::Failed(code), at_ns, out);
            return Some(());
        }
        let end = match self.deprecates_eof {
            Some(true) => packet.ok(0xfe),
            Some(false) => packet.eof(),
            None => packet.eof().or_else(|| packet.ok(0xfe)),
        };
        match end {
            Some(status) => self.end_result(Ended::Well(status), at_ns, out),
            None => {
                let command = self.open.front_mut()?;
                if let Some(execute) = &mut command.current {
                    *execute.rows.get_or_insert(0) += 1;
                }
            }
        }
        Some(())
    }

    /// A statement was prepared.
    fn on_prepared(&mut self, packet: Packet<'_>) -> Option<()> {
        let [0, id @ .., _, _, _, _, _, _, _] = packet.body.get(..12)? else { return None };
        let id = u32::from_le_bytes(*id.first_chunk()?);
        let count = |at: usize| packet.body.get(at..at + 2).and_then(|it| it.try_into().ok()).map(u16::from_le_bytes);
        let (columns, parameters) = (u64::from(count(5)?), u64::from(count(7)?));
        let command = self.open.front_mut()?;
        if let Asked::Prepare { statement, parent, .. } = &command.asked {
            self.prepared.insert(id, Prepared { statement: statement.clone(), parent: *parent });
        }
        if parameters > 0 {
            command.at = At::Parameters(parameters, columns);
        } else {
            command.at = At::PreparedColumns(columns);
            self.end_prepare_if_done(columns);
        }
        Some(())
    }

    /// Behind definitions of parameters: without an `EOF` the next ones follow at once.
    fn pass_eof(&mut self) {
        if self.deprecates_eof != Some(true) {
            return;
        }
        let Some(command) = self.open.front_mut() else { return };
        if let At::BehindParameters(columns) = command.at {
            command.at = At::PreparedColumns(columns);
            self.end_prepare_if_done(columns);
        }
    }

    fn on_prepared_column(&mut self, left: u64) {
        let Some(command) = self.open.front_mut() else { return };
        if left > 1 {
            command.at = At::PreparedColumns(left - 1);
        } else if self.deprecates_eof == Some(false) {
            command.at = At::BehindPrepared;
        } else {
            // Where it is not known an `EOF` may follow: see above.
            drop(self.open.pop());
        }
    }

    /// The client asks again: what may have come behind a statement's parameters has not.
    pub(super) fn end_prepare(&mut self) {
        if self.open.front().is_some_and(|command| matches!(command.at, At::BehindParameters(0))) {
            self.deprecates_eof = Some(true);
            drop(self.open.pop());
        }
    }

    fn end_prepare_if_done(&mut self, columns: u64) {
        if columns == 0 {
            drop(self.open.pop());
        }
    }

    /// A result of the command that is answered has ended, and with it perhaps a statement, or all of them.
    pub(super) fn end_result(&mut self, ended: Ended, at_ns: u64, out: &mut Output) {
        let more = match ended {
            Ended::Well(status) => {
                self.on_status(status);
                status & status::MORE_RESULTS != 0
            }
            Ended::Failed(_) => false,
        };
        let Some(command) = self.open.front_mut() else { return };
        let is_result = command.at != At::First;
        command.at = At::First;
        let calls = |execute: &Execute| {
            execute.statement.as_ref().is_some_and(|statement| statement.operation.as_deref() == Some("CALL"))
        };
        // What a procedure gives are several results, the last of which has no columns.
        let is_of_procedure = match &command.asked {
            Asked::Execute => true,
            _ => is_result && command.current.as_ref().is_some_and(calls),
        };
        if more && is_of_procedure {
            command.has_result = true;
            return;
        }
        if let Some(execute) = command.current.take() {
            let asked = &command.asked;
            match (asked, ended) {
                (Asked::Database(name), Ended::Well(_)) => self.namespace = name.clone(),
                (Asked::Query { .. }, Ended::Well(_)) => {
                    if let Some(name) = used(&execute) {
                        self.namespace = Some(name);
                    }
                }
                _ => {}
            }
            self.tell_ended(execute, ended, at_ns, out);
        } else {
            self.tell_failed_prepare(ended, at_ns, out);
        }
        if !more {
            drop(self.open.pop());
            self.end_file();
            return;
        }
        self.begin_next(out);
    }

    /// The next statement of a query is answered.
    fn begin_next(&mut self, out: &mut Output) {
        let Some(Command { asked: Asked::Query { rest, began }, .. }) = self.open.front_mut() else { return };
        let began = *began;
        let (statement, began) = match rest.pop() {
            Some((statement, nth)) => (Some(statement), nth_of(began, nth)),
            None => (None, began),
        };
        let execute = self.open_execute(began, statement, None, out);
        if let Some(command) = self.open.front_mut() {
            command.current = Some(execute);
        }
    }

    /// Preparing has failed.
    fn tell_failed_prepare(&mut self, ended: Ended, at_ns: u64, out: &mut Output) {
        let Ended::Failed(_) = ended else { return };
        let Some(Command { asked: Asked::Prepare { statement, began, .. }, .. }) = self.open.front() else { return };
        let (statement, began) = (statement.clone(), *began);
        let mut execute = self.open_execute(began, Some(statement), None, out);
        execute.first_byte_ns = Some(at_ns);
        self.tell_ended(execute, ended, at_ns, out);
    }
}

/// The database that a statement chooses.
fn used(execute: &Execute) -> Option<CompactString> {
    let statement = execute.statement.as_ref().filter(|statement| statement.operation.as_deref() == Some("USE"))?;
    statement.prepared.clone()
}
