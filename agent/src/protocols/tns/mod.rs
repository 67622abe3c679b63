//! Oracle's TNS: what is asked for and how it ended, in order, with the statement where its text can be read.
//!
//! The content of packets is not published. What is read of it is what the thin drivers, whose source is open, write: the kind of a call,
//! a statement as a text behind its length, and the words that an error is told in. Where a connection is encrypted by Oracle's own
//! means, nothing is told.

mod message;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use samples::samples;

use compact_str::CompactString;

use self::message::{ACCEPT, CONNECT, Call, DATA, HEADER, MARKER, REDIRECT, REFUSE};
use super::{
    Capture, Recognition, Session,
    paired::{Answered, Asked, Grammar, How, Paired, Request},
    probe::{Probe, outcome},
    sized::{Frame, Length},
    sql::{Dialect, Escapes, Syntax},
};
use crate::model::{
    exchange::{Db, Group, Operation},
    net::Role,
};

/// The protocol's name.
pub(super) const NAME: &str = "tns";
/// The system's.
const SYSTEM: &str = "oracle.db";

/// Statements stand at the beginnings of messages, the words of an error at the end of a short one.
pub(super) const CAPTURE: Capture = Capture::turns(8192, 2048).with_tails();

/// Packets are as long as this where nothing else was agreed upon.
const DEFAULT_UNIT: u64 = 8192;
/// The longest that can be agreed upon.
const MAX_UNIT: u64 = 2 << 20;

/// Names stand in double quotes; a quote in a text is doubled.
const SYNTAX: Syntax = Syntax { dialect: Dialect::Postgres, escapes: Escapes::No };

/// See [`super::Entry::open`].
pub(super) fn open(role: Role) -> Box<dyn Session> {
    Paired::open(role, Tns { unit: DEFAULT_UNIT, ..Tns::default() })
}

/// See [`super::Entry::recognise`].
pub(super) fn recognise(head: &[u8]) -> Recognition {
    outcome(look(Probe(head)))
}

fn look(mut probe: Probe<'_>) -> Result<Recognition, Recognition> {
    let (high, low) = (probe.u16()?, probe.u16()?);
    // A length of two bytes, with a checksum that nobody uses; or of four, once that was agreed upon.
    let len = if high > 0 { u32::from(high) } else { u32::from(low) };
    Probe::holds(len > HEADER as u32 && (high == 0) != (low == 0))?;
    let (kind, flags) = (probe.u8()?, probe.u8()?);
    Probe::holds(flags & !0x2c == 0)?;
    probe.all(&[0, 0])?;
    match kind {
        CONNECT => {
            let (version, oldest) = (probe.u16()?, probe.u16()?);
            Probe::holds(
                high >= 34 && message::is_version(version) && message::is_version(oldest) && oldest <= version,
            )?;
            let (_options, unit) = (probe.u16()?, probe.u16()?);
            Probe::holds(unit >= 512)?;
            Ok(Recognition::Request)
        }
        ACCEPT => {
            let version = probe.u16()?;
            Probe::holds(len >= 24 && message::is_version(version))?;
            Ok(Recognition::Response)
        }
        DATA => {
            let flags = probe.u16()?;
            Probe::holds(flags & !message::DATA_FLAGS == 0 && len > HEADER as u32 + 2)?;
            let code = probe.u8()?;
            if message::is_answer(code) {
                // So may much begin that is no answer.
                return Err(Recognition::Maybe);
            }
            Probe::holds(code == message::FUNCTION)?;
            let function = probe.u8()?;
            let _sequence = probe.u8()?;
            Probe::holds(message::name(function).is_some())?;
            Ok(Recognition::Request)
        }
        REFUSE | REDIRECT | MARKER => Err(Recognition::Maybe),
        _ => Err(Recognition::No),
    }
}

fn length(head: &[u8]) -> Length {
    let Some(&[a, b, c, d]) = head.first_chunk() else { return Length::Part };
    let (high, low) = (u16::from_be_bytes([a, b]), u16::from_be_bytes([c, d]));
    let len = if low == 0 { high.into() } else { u64::from(high) << 16 | u64::from(low) };
    if (HEADER as u64..=MAX_UNIT).contains(&len) { Length::Is(len) } else { Length::No }
}

/// Reads its packets.
#[derive(Default)]
struct Tns {
    /// As long is a packet that another one of the same message follows.
    unit: u64,
    /// The client's message goes on in its next packet.
    goes_on: bool,
    /// Something was asked and is not answered yet.
    is_asked: bool,
    /// The service that the client has connected to.
    service: Option<CompactString>,
    code: Option<CompactString>,
}

impl Tns {
    fn on_call(&mut self, content: &[u8], is_cut: bool) -> Asked {
        let call = match message::call(content, is_cut, SYNTAX) {
            Some(call) => call,
            None => return Asked::Nothing,
        };
        self.is_asked = true;
        self.code = None;
        let mut db = Db { system: SYSTEM, namespace: self.service.clone(), ..Db::default() };
        let mut parent = None;
        match call {
            Call::Statement(statement, carried) => {
                (db.operation, db.collection, db.summary) =
                    (statement.operation, statement.collection, statement.summary);
                (db.text, db.procedure) = (statement.text, statement.procedure);
                db.text_unknown = statement.text_unknown;
                parent = carried;
            }
            Call::Named(name) => db.operation = Some(CompactString::const_new(name)),
        }
        Asked::Request(Request { parent, ..Request::new(0, Operation::Db(Box::new(db))) })
    }
}

impl Grammar for Tns {
    const NAME: &'static str = NAME;
    const GROUP: Group = Group::Db;
    const IN_ORDER: bool = true;
    const KEEP: usize = 8192;

    fn length() -> [fn(&[u8]) -> Length; 2] {
        [length, length]
    }

    fn recognise(head: &[u8]) -> Recognition {
        recognise(head)
    }

    fn asked(&mut self, frame: &Frame<'_>) -> Option<Asked> {
        let packet = frame.reader().head();
        let (kind, content) = (*packet.get(4)?, packet.get(HEADER..)?);
        match kind {
            CONNECT => {
                self.service = message::service(content).or(self.service.take());
                return Some(Asked::Nothing);
            }
            DATA => {}
            // That it breaks off, or is there still.
            _ => return Some(Asked::Nothing),
        }
        let is_full = frame.len >= self.unit;
        if std::mem::replace(&mut self.goes_on, is_full) || self.is_asked {
            return Some(Asked::Nothing);
        }
        let is_cut = is_full || (packet.len() as u64) < frame.len;
        Some(self.on_call(content.get(2..)?, is_cut))
    }

    fn answered(&mut self, frame: &Frame<'_>) -> Option<Answered> {
        let packet = frame.reader().head();
        let (kind, content) = (*packet.get(4)?, packet.get(HEADER..)?);
        if kind == ACCEPT {
            self.unit = message::unit(content).unwrap_or(DEFAULT_UNIT);
        }
        if !self.is_asked {
            return Some(Answered::Nothing);
        }
        if kind != DATA {
            // That it breaks off: what went wrong comes behind it.
            return Some(Answered::To { key: 0, is_last: false, how: How::default() });
        }
        self.code = message::error(content).or(self.code.take());
        let is_last = frame.len < self.unit;
        if !is_last {
            return Some(Answered::To { key: 0, is_last, how: How::default() });
        }
        self.is_asked = false;
        // That nothing is left to be fetched is no failure.
        let code = self.code.take().filter(|code| code != message::NO_DATA);
        Some(Answered::To { key: 0, is_last, how: How { failed: code.is_some(), code, ..How::default() } })
    }

    fn forget(&mut self) {
        (self.goes_on, self.is_asked, self.code) = (false, false, None);
    }
}
