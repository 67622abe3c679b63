//! Messages: a header of nine bytes, and a body of the length that it says.

use compact_str::CompactString;

use super::{result, statement};
use crate::protocols::Recognition;

/// Bytes of a header.
pub(super) const HEADER: usize = 9;
/// Longest body.
const MAX_BODY: u32 = 256 << 20;

const COMPRESSED: u8 = 0x01;
const TRACED: u8 = 0x02;
const CUSTOM_PAYLOAD: u8 = 0x04;
const WARNED: u8 = 0x08;
/// In the flags of a statement of version 5: it says its keyspace.
const WITH_KEYSPACE: u32 = 0x80;

pub(super) const ERROR: u8 = 0x00;
pub(super) const STARTUP: u8 = 0x01;
pub(super) const READY: u8 = 0x02;
pub(super) const AUTHENTICATE: u8 = 0x03;
pub(super) const OPTIONS: u8 = 0x05;
const SUPPORTED: u8 = 0x06;
pub(super) const QUERY: u8 = 0x07;
const RESULT: u8 = 0x08;
pub(super) const PREPARE: u8 = 0x09;
pub(super) const EXECUTE: u8 = 0x0a;
pub(super) const REGISTER: u8 = 0x0b;
pub(super) const EVENT: u8 = 0x0c;
pub(super) const BATCH: u8 = 0x0d;
const AUTH_CHALLENGE: u8 = 0x0e;
const AUTH_RESPONSE: u8 = 0x0f;
const AUTH_SUCCESS: u8 = 0x10;

/// A header's parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) version: u8,
    pub(super) is_response: bool,
    flags: u8,
    pub(super) stream: i16,
    pub(super) code: u8,
    len: u32,
}

/// What is asked.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Command {
    pub(super) code: u8,
    /// `None` where it was not seen.
    pub(super) statement: Option<statement::Statement>,
    /// What a prepared one is called.
    pub(super) prepared: Option<Id>,
    pub(super) batch: Option<u32>,
    /// It says its keyspace itself.
    pub(super) has_keyspace: bool,
    /// How what follows is compressed, where it asks for that.
    pub(super) compression: Option<CompactString>,
}

/// What a prepared statement is called: servers have checksums of 16 bytes.
pub(super) type Id = [u8; 16];

/// What is answered.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Answer {
    pub(super) failed: bool,
    pub(super) code: Option<CompactString>,
    pub(super) rows: Option<u64>,
    pub(super) prepared: Option<Id>,
    pub(super) keyspace: Option<CompactString>,
}

impl Header {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let &[first, flags, s1, s0, code, l3, l2, l1, l0, ..] = bytes else { return None };
        let (version, is_response) = (first & 0x7f, first & 0x80 != 0);
        let len = u32::from_be_bytes([l3, l2, l1, l0]);
        let stream = i16::from_be_bytes([s1, s0]);
        let fits = is_version(version) && flags <= 0x1f && is_code(code, is_response) && len <= MAX_BODY;
        // What is asked has a stream; what nobody asked for has none.
        let fits = fits && (stream >= 0 || is_response && code == EVENT);
        fits.then_some(Self { version, is_response, flags, stream, code, len })
    }
}

fn is_version(version: u8) -> bool {
    matches!(version, 3..=5)
}

fn is_code(code: u8, is_response: bool) -> bool {
    match code {
        STARTUP | OPTIONS | QUERY | PREPARE | EXECUTE | REGISTER | BATCH | AUTH_RESPONSE => !is_response,
        ERROR | READY | AUTHENTICATE | SUPPORTED | RESULT | EVENT | AUTH_CHALLENGE | AUTH_SUCCESS => is_response,
        _ => false,
    }
}

/// The name of what is asked.
pub(super) fn name(code: u8) -> &'static str {
    match code {
        STARTUP => "STARTUP",
        OPTIONS => "OPTIONS",
        QUERY => "QUERY",
        PREPARE => "PREPARE",
        EXECUTE => "EXECUTE",
        REGISTER => "REGISTER",
        BATCH => "BATCH",
        _ => "AUTH_RESPONSE",
    }
}

/// How long a message is with its header; `None` if it is none.
pub(super) fn length(header: &[u8]) -> Option<u64> {
    Header::read(header).map(|header| HEADER as u64 + u64::from(header.len))
}

/// Reads parts of a body one by one.
#[derive(Clone, Copy)]
pub(super) struct Parts<'a>(pub(super) &'a [u8]);

impl<'a> Parts<'a> {
    pub(super) fn take(&mut self, len: usize) -> Option<&'a [u8]> {
        let (part, rest) = self.0.split_at_checked(len)?;
        self.0 = rest;
        Some(part)
    }

    pub(super) fn byte(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(super) fn short(&mut self) -> Option<u16> {
        Some(u16::from_be_bytes(*self.take(2)?.first_chunk()?))
    }

    pub(super) fn int(&mut self) -> Option<i32> {
        Some(i32::from_be_bytes(*self.take(4)?.first_chunk()?))
    }

    pub(super) fn string(&mut self) -> Option<&'a [u8]> {
        let len = self.short()?;
        self.take(len.into())
    }

    /// A value; nothing where there is none.
    pub(super) fn bytes(&mut self) -> Option<&'a [u8]> {
        let len = usize::try_from(self.int()?).unwrap_or_default();
        self.take(len)
    }

    /// Text, of which the end may be missing, and whether all of it is there.
    fn long_string(&mut self) -> Option<(&'a [u8], bool)> {
        let len = usize::try_from(self.int()?).ok()?;
        let part = self.0.get(..len).unwrap_or(self.0);
        self.0 = self.0.get(len..).unwrap_or_default();
        Some((part, part.len() == len))
    }

    fn map_of_bytes(&mut self) -> Option<()> {
        for _ in 0..self.short()? {
            self.string()?;
            self.bytes()?;
        }
        Some(())
    }
}

fn id(bytes: &[u8]) -> Option<Id> {
    bytes.try_into().ok()
}

/// Finds a statement that was prepared.
pub(super) type Known<'a> = dyn Fn(Id) -> Option<&'a statement::Statement> + 'a;

/// Reads a request.
pub(super) fn command(message: &[u8], known: &Known<'_>) -> Option<Command> {
    let header = Header::read(message)?;
    let command = Command { code: header.code, ..Command::default() };
    let body = message.get(HEADER..).unwrap_or_default();
    if header.flags & COMPRESSED != 0 {
        return Some(command);
    }
    let mut parts = Parts(body);
    if header.flags & CUSTOM_PAYLOAD != 0 && parts.map_of_bytes().is_none() {
        return Some(command);
    }
    let whole = command.clone();
    Some(read(header, parts, command, known).unwrap_or(whole))
}

/// `None` where something of it is missing that has to be known.
fn read(header: Header, mut parts: Parts<'_>, mut command: Command, known: &Known<'_>) -> Option<Command> {
    let is_five = header.version == 5;
    match header.code {
        QUERY | PREPARE => {
            let (text, is_whole) = parts.long_string()?;
            command.statement = statement::read(text, is_whole);
            let flags =
                if header.code == PREPARE { is_five.then(|| parts.int()) } else { Some(query_flags(parts, is_five)) };
            let keyspace = if header.code == PREPARE { 1 } else { WITH_KEYSPACE };
            command.has_keyspace = is_five && flags.flatten().is_none_or(|flags| flags as u32 & keyspace != 0);
        }
        EXECUTE => {
            command.prepared = id(parts.string()?);
            if is_five {
                parts.string()?;
            }
            command.has_keyspace =
                is_five && query_flags(parts, true).is_none_or(|flags| flags as u32 & WITH_KEYSPACE != 0);
        }
        BATCH => {
            let (_kind, count) = (parts.byte()?, parts.short()?);
            command.batch = Some(count.into());
            let mut statements = statement::Several::default();
            for _ in 0..count {
                let kind = match parts.byte() {
                    Some(0) => match parts.long_string() {
                        Some((text, is_whole)) => {
                            statements.add(statement::read(text, is_whole).as_ref());
                            is_whole.then_some(())
                        }
                        None => None,
                    },
                    Some(1) => parts.string().map(|bytes| statements.add(id(bytes).and_then(known))),
                    _ => None,
                };
                let values = kind
                    .and_then(|()| parts.short())
                    .and_then(|values| (0..values).try_for_each(|_| parts.bytes().map(|_| ())));
                if values.is_none() {
                    statements.add(None);
                    break;
                }
            }
            command.statement = statements.end();
            command.has_keyspace = is_five;
        }
        STARTUP => {
            for _ in 0..parts.short()? {
                let (key, value) = (parts.string()?, parts.string()?);
                if key.eq_ignore_ascii_case(b"COMPRESSION") && !value.is_empty() {
                    command.compression = Some(CompactString::from_utf8_lossy(value.get(..16).unwrap_or(value)));
                }
            }
        }
        _ => {}
    }
    Some(command)
}

/// The flags behind a statement.
fn query_flags(mut parts: Parts<'_>, is_five: bool) -> Option<i32> {
    parts.short()?;
    if is_five { parts.int() } else { parts.byte().map(i32::from) }
}

/// Reads an answer.
pub(super) fn answer(message: &[u8]) -> Option<Answer> {
    let header = Header::read(message)?;
    let mut answer = Answer { failed: header.code == ERROR, ..Answer::default() };
    if header.flags & COMPRESSED != 0 {
        return Some(answer);
    }
    let mut parts = Parts(message.get(HEADER..).unwrap_or_default());
    // What stands before it, where it is there.
    let before = |parts: &mut Parts<'_>| {
        if header.flags & TRACED != 0 {
            parts.take(16)?;
        }
        if header.flags & WARNED != 0 {
            for _ in 0..parts.short()? {
                parts.string()?;
            }
        }
        if header.flags & CUSTOM_PAYLOAD != 0 { parts.map_of_bytes() } else { Some(()) }
    };
    if before(&mut parts).is_none() {
        return Some(answer);
    }
    match header.code {
        ERROR => answer.code = parts.int().map(|code| compact_str::format_compact!("0x{code:04x}")),
        RESULT => match parts.int() {
            Some(2) => answer.rows = result::rows(parts, header.version),
            Some(3) => {
                answer.keyspace = parts.string().and_then(|name| str::from_utf8(name).ok()).map(CompactString::new)
            }
            Some(4) => answer.prepared = parts.string().and_then(id),
            _ => {}
        },
        _ => {}
    }
    Some(answer)
}

/// Whether bytes begin a message.
pub(super) fn recognise(head: &[u8]) -> Recognition {
    let Some(header) = Header::read(head) else { return part(head) };
    let mut parts = Parts(head.get(HEADER..).unwrap_or_default());
    let len = header.len as usize;
    let is_packed = header.flags & COMPRESSED != 0;
    if header.is_response {
        let fits = match header.code {
            READY => len == 0,
            ERROR if !is_packed && header.flags & (TRACED | WARNED | CUSTOM_PAYLOAD) == 0 => {
                len >= 6 && Parts(parts.0).int().is_none_or(|code| (0..=0x2600).contains(&code))
            }
            RESULT if !is_packed && header.flags & (TRACED | WARNED | CUSTOM_PAYLOAD) == 0 => {
                len >= 4 && Parts(parts.0).int().is_none_or(|kind| (1..=5).contains(&kind))
            }
            _ => true,
        };
        return if fits { Recognition::Response } else { Recognition::No };
    }
    let fits = match header.code {
        OPTIONS => Some(len == 0 && header.flags & !0x10 == 0),
        // What is in it proves nothing.
        _ if is_packed || header.flags & CUSTOM_PAYLOAD != 0 => Some(false),
        STARTUP => is_startup(parts, len),
        QUERY | PREPARE => is_statement(parts, len),
        EXECUTE => parts.short().map(|id| id == 16 && len >= 18),
        BATCH => match (parts.byte(), parts.short(), parts.byte()) {
            (Some(0..=2), Some(1..), Some(0..=1)) => Some(len >= 7),
            (None | Some(0..=2), None | Some(1..), None) => None,
            _ => Some(false),
        },
        REGISTER => match (parts.short(), parts.string()) {
            (Some(count), Some(kind)) => {
                let is_word = kind.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'_');
                Some((1..=8).contains(&count) && !kind.is_empty() && is_word)
            }
            _ => None,
        },
        AUTH_RESPONSE => parts.int().map(|inner| i64::from(inner) + 4 == len as i64 || inner == -1),
        _ => Some(false),
    };
    match fits {
        Some(true) => Recognition::Request,
        Some(false) => Recognition::No,
        None if len > head.len() - HEADER => Recognition::Maybe,
        None => Recognition::No,
    }
}

/// A header of which the end is missing.
fn part(head: &[u8]) -> Recognition {
    let byte = |at: usize, fits: &dyn Fn(u8) -> bool| head.get(at).is_none_or(|byte| fits(*byte));
    let is_response = head.first().is_some_and(|first| first & 0x80 != 0);
    let fits = !head.is_empty()
        && head.len() < HEADER
        && byte(0, &|first| is_version(first & 0x7f))
        && byte(1, &|flags| flags <= 0x1f)
        && byte(2, &|stream| is_response || stream < 0x80)
        && byte(4, &|code| is_code(code, is_response))
        && byte(5, &|high| high <= 0x10);
    if fits { Recognition::Maybe } else { Recognition::No }
}

fn is_startup(mut parts: Parts<'_>, len: usize) -> Option<bool> {
    if !(22..4096).contains(&len) {
        return Some(false);
    }
    if !(1..=32).contains(&parts.short()?) {
        return Some(false);
    }
    let key = parts.string()?;
    Some(!key.is_empty() && key.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'_'))
}

/// Longer ones prove nothing.
const STATEMENT_MAX: usize = 1 << 24;

/// Whether it may be UTF-8 that is cut.
fn is_utf8(bytes: &[u8]) -> bool {
    std::str::from_utf8(bytes).map_or_else(|error| error.error_len().is_none(), |_| true)
}

fn is_statement(mut parts: Parts<'_>, len: usize) -> Option<bool> {
    let text = usize::try_from(parts.int()?).unwrap_or(usize::MAX);
    if !(3..=len.saturating_sub(4)).contains(&text) || text > STATEMENT_MAX {
        return Some(false);
    }
    let begins = parts.0.first().copied()?;
    let is_text = parts.0.iter().take(text.min(64)).all(|byte| *byte >= b' ' || matches!(byte, b'\t' | b'\r' | b'\n'));
    let is_text = is_text && is_utf8(parts.0.get(..text.min(parts.0.len()))?);
    Some(is_text && (begins.is_ascii_alphabetic() || matches!(begins, b' ' | b'\t' | b'\r' | b'\n' | b'-' | b'/')))
}
