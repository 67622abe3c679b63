//! TDS 7 (Microsoft SQL Server, Sybase's successors): batches, procedures and prepared statements, in order, with rows and the numbers of
//! errors. Logins are not read, but for the database that the server says it has chosen.

mod answered;
mod asked;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use samples::samples;

use compact_str::CompactString;

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
pub(super) const NAME: &str = "tds";
/// The system's.
const SYSTEM: &str = "microsoft.sql_server";

/// Statements stand at the beginnings of messages, outcomes at their ends.
pub(super) const CAPTURE: Capture = Capture::turns(8192, 2048).with_tails();

/// Bytes of a packet's header.
const HEADER: usize = 8;
/// Longest packet (MS-TDS, 2.2.3.1.3).
const MAX_PACKET: u16 = 32_767;

/// What a packet is of.
const BATCH: u8 = 0x01;
const RPC: u8 = 0x03;
const RESPONSE: u8 = 0x04;
const ATTENTION: u8 = 0x06;
const BULK: u8 = 0x07;
const TRANSACTION: u8 = 0x0e;
const LOGIN: u8 = 0x10;
const SSPI: u8 = 0x11;
const PRELOGIN: u8 = 0x12;
/// The last packet of its message.
const END: u8 = 0x01;

/// Names stand in brackets or double quotes; a quote in a text is doubled.
const SYNTAX: Syntax = Syntax { dialect: Dialect::Postgres, escapes: Escapes::No };

/// See [`super::Entry::open`].
pub(super) fn open(role: Role) -> Box<dyn Session> {
    Paired::open(role, Tds::default())
}

/// See [`super::Entry::recognise`].
pub(super) fn recognise(head: &[u8]) -> Recognition {
    outcome(look(Probe(head)))
}

fn look(mut probe: Probe<'_>) -> Result<Recognition, Recognition> {
    let kind = probe.u8()?;
    Probe::holds(matches!(kind, BATCH | RPC | RESPONSE | ATTENTION | BULK | TRANSACTION | LOGIN | SSPI | PRELOGIN))?;
    let status = probe.u8()?;
    Probe::holds(status & !0x1b == 0)?;
    let len = probe.u16()?;
    Probe::holds((HEADER as u16..=MAX_PACKET).contains(&len))?;
    // The process at the server: clients have none. The number of the packet, and a window that nobody uses.
    let process = probe.u16()?;
    let _number = probe.u8()?;
    probe.is(0)?;
    Probe::holds(kind == RESPONSE || process == 0)?;
    match kind {
        PRELOGIN => {
            // Options: the version's comes first, behind all of them.
            probe.is(0)?;
            probe.is(0)?;
            let offset = probe.u8()?;
            Probe::holds(offset >= 6 && offset % 5 == 1 && u16::from(offset) < len)?;
            probe.all(&[0, 6])?;
            probe.is(1)?;
            Ok(Recognition::Request)
        }
        BATCH | RPC | TRANSACTION => {
            // Headers: their length, and that of the first, which is of the transaction.
            probe.u8()?;
            probe.all(&[0, 0, 0])?;
            probe.u8()?;
            probe.all(&[0, 0, 0])?;
            let header = probe.u8()?;
            Probe::holds((1..=3).contains(&header))?;
            probe.is(0)?;
            Probe::holds(len > 22)?;
            Ok(Recognition::Request)
        }
        RESPONSE => {
            // Tokens that answers begin with; that to a prelogin has options instead.
            let token = probe.u8()?;
            let is_token = matches!(token, 0x79 | 0x81 | 0xaa | 0xab | 0xac | 0xad | 0xe3 | 0xfd | 0xfe | 0xff);
            Probe::holds(is_token || token == 0)?;
            Probe::holds(len > HEADER as u16 + 4)?;
            if token == 0 {
                probe.is(0)?;
                let offset = probe.u8()?;
                Probe::holds(offset >= 6 && offset % 5 == 1 && u16::from(offset) < len)?;
            }
            Ok(Recognition::Response)
        }
        // Nothing else is asked for so.
        _ => Err(Recognition::Maybe),
    }
}

fn length(head: &[u8]) -> Length {
    let Some(&[kind, _, high, low]) = head.first_chunk() else { return Length::Part };
    let len = u16::from_be_bytes([high, low]);
    let is_kind = matches!(kind, BATCH | RPC | RESPONSE | ATTENTION | BULK | TRANSACTION | LOGIN | SSPI | PRELOGIN);
    if is_kind && (HEADER as u16..=MAX_PACKET).contains(&len) { Length::Is(len.into()) } else { Length::No }
}

/// Reads its messages, packet by packet.
#[derive(Default)]
struct Tds {
    /// The client's message goes on in the next packet, the server's.
    goes_on: [bool; 2],
    /// Nothing is told of what is answered next: a login.
    is_login: bool,
    /// The client has asked to break off.
    breaks_off: bool,
    /// The database that was chosen.
    database: Option<CompactString>,
    how: How,
}

impl Grammar for Tds {
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
        let (&[kind, status, ..], content) = (packet.first_chunk::<4>()?, packet.get(HEADER..)?);
        if kind == RESPONSE {
            return None;
        }
        let is_last = status & END != 0;
        if std::mem::replace(&mut self.goes_on[0], !is_last) {
            return Some(Asked::Nothing);
        }
        let is_cut = !is_last || (packet.len() as u64) < frame.len;
        let mut db = Db { system: SYSTEM, namespace: self.database.clone(), ..Db::default() };
        match kind {
            ATTENTION => {
                self.breaks_off = true;
                return Some(Asked::Nothing);
            }
            PRELOGIN | LOGIN | SSPI => {
                self.is_login = true;
                return Some(Asked::Nothing);
            }
            BATCH => asked::batch(content, is_cut, SYNTAX, &mut db),
            RPC => asked::procedure(content, is_cut, SYNTAX, &mut db),
            TRANSACTION => asked::transaction(content, &mut db),
            // Rows that are written by the statement before.
            BULK => db.operation = Some(CompactString::const_new("BULK LOAD")),
            _ => return None,
        }
        Some(Asked::Request(Request::new(0, Operation::Db(Box::new(db)))))
    }

    fn answered(&mut self, frame: &Frame<'_>) -> Option<Answered> {
        let mut reader = frame.reader();
        let packet = reader.head();
        let &[kind, status, ..] = packet.first_chunk::<4>()?;
        if kind != RESPONSE {
            return None;
        }
        let is_last = status & END != 0;
        let goes_on = std::mem::replace(&mut self.goes_on[1], !is_last);
        if !goes_on {
            let first = answered::first(packet.get(HEADER..)?);
            self.database = first.database.or(self.database.take());
            self.how = How { failed: first.error.is_some(), code: first.error, ..How::default() };
        }
        if self.is_login {
            self.is_login = !is_last;
            return Some(Answered::Nothing);
        }
        if !is_last {
            return Some(Answered::To { key: 0, is_last: false, how: How::default() });
        }
        let mut how = std::mem::take(&mut self.how);
        reader.skip(frame.len.checked_sub(answered::DONE_LEN)?)?;
        let done = reader.take(answered::DONE_LEN).and_then(answered::done);
        if let Some(done) = done {
            if done.broken_off {
                let was_asked = std::mem::take(&mut self.breaks_off);
                how.failed = true;
                how.code = Some(CompactString::const_new("attention")).filter(|_| was_asked).or(how.code);
            }
            how.failed |= done.failed;
            how.rows = done.rows;
        }
        Some(Answered::To { key: 0, is_last: true, how })
    }

    fn forget(&mut self) {
        *self = Self { database: self.database.take(), ..Self::default() };
    }
}
