//! Packets, and what is known of their content.

use compact_str::CompactString;
use memchr::memmem;

use crate::{
    model::{exchange::Db, propagation::QueryText, trace_context::TraceParent},
    protocols::sql::{self, Syntax},
};

/// Bytes of a packet's header.
pub(super) const HEADER: usize = 8;

pub(super) const CONNECT: u8 = 1;
pub(super) const ACCEPT: u8 = 2;
pub(super) const REFUSE: u8 = 4;
pub(super) const REDIRECT: u8 = 5;
pub(super) const DATA: u8 = 6;
pub(super) const MARKER: u8 = 12;

/// Bits that are known of what data begins with.
pub(super) const DATA_FLAGS: u16 = 0x2c60;

/// What a message begins with: a call, or something else that a call follows.
pub(super) const FUNCTION: u8 = 3;
const PIGGYBACK: u8 = 0x11;

/// The first version that speaks of packets of more than 64 KiB.
const LARGE_UNIT: u16 = 315;

/// Calls by their numbers; statements are executed by 0x5e, and by 0x47 and 0x4e of older clients.
const FUNCTIONS: &[(u8, &str)] = &[
    (0x05, "FETCH"),
    (0x0e, "COMMIT"),
    (0x0f, "ROLLBACK"),
    (0x47, EXECUTE),
    (0x4e, EXECUTE),
    (0x5e, EXECUTE),
    (0x60, "LOB"),
    (0x67, "TRANSACTION START"),
    (0x68, "TRANSACTION END"),
    (0x93, "PING"),
];
const EXECUTE: &str = "EXECUTE";

/// The code that says that all rows were fetched.
pub(super) const NO_DATA: &str = "ORA-01403";

/// Shortest statement, and where in a message one is looked for.
const MIN_STATEMENT: usize = 6;
const LOOK_MAX: usize = 1024;

/// Versions of the protocol that clients of today speak, and of twenty years before.
pub(super) fn is_version(version: u16) -> bool {
    (300..330).contains(&version)
}

/// What a message of the server begins with.
pub(super) const fn is_answer(code: u8) -> bool {
    matches!(code, 0x04 | 0x06..=0x09 | 0x0b | 0x0c | 0x0f | 0x10 | 0x17 | 0x1b | 0x1d)
}

/// A call's name.
pub(super) fn name(function: u8) -> Option<&'static str> {
    FUNCTIONS.iter().find(|(number, _)| *number == function).map(|(_, name)| *name)
}

/// The service that a client connects to.
pub(super) fn service(content: &[u8]) -> Option<CompactString> {
    let upper = content.to_ascii_uppercase();
    let of = |key: &[u8]| {
        let at = memmem::find(&upper, key)?.checked_add(key.len())?;
        let rest = content.get(at..)?;
        let end = rest.iter().position(|byte| *byte == b')')?;
        let name = str::from_utf8(rest.get(..end)?).ok()?.trim();
        let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-' | b'$' | b'#');
        ((1..=128).contains(&name.len()) && name.bytes().all(is_part)).then(|| CompactString::new(name))
    };
    of(b"(SERVICE_NAME=").or_else(|| of(b"(SID="))
}

/// How long packets may be, as the server agrees.
pub(super) fn unit(content: &[u8]) -> Option<u64> {
    let version = u16::from_be_bytes(*content.first_chunk()?);
    let small = u16::from_be_bytes(*content.get(4..)?.first_chunk()?);
    let large = content.get(24..).and_then(|rest| rest.first_chunk()).map(|unit| u32::from_be_bytes(*unit));
    let unit = large.filter(|_| version >= LARGE_UNIT).map_or(u64::from(small), u64::from);
    Some(unit).filter(|unit| (512..=super::MAX_UNIT).contains(unit))
}

/// What a client asks for.
pub(super) enum Call {
    Statement(Box<Said>, Option<TraceParent>),
    Named(&'static str),
}

/// What is told of a statement.
#[derive(Debug, Default)]
pub(super) struct Said {
    pub(super) operation: Option<CompactString>,
    pub(super) collection: Option<CompactString>,
    pub(super) summary: Option<CompactString>,
    pub(super) text: Option<CompactString>,
    pub(super) procedure: Option<CompactString>,
    pub(super) text_unknown: bool,
}

/// Reads a message; `None`: nothing is told of it (it belongs to logging in, or is nothing that is known).
pub(super) fn call(content: &[u8], is_cut: bool, syntax: Syntax) -> Option<Call> {
    let name = match *content.first_chunk::<2>()? {
        [FUNCTION, function] => name(function)?,
        // What is done beside it stands before the call.
        [PIGGYBACK, _] => EXECUTE,
        _ => return None,
    };
    if name != EXECUTE {
        return Some(Call::Named(name));
    }
    let mut said = Said { operation: Some(CompactString::const_new(EXECUTE)), text_unknown: true, ..Said::default() };
    let Some((text, is_whole)) = statement(content) else { return Some(Call::Statement(Box::new(said), None)) };
    // How quotes of one's own choice (`q'[…]'`) end is not known to who reads statements.
    if has_own_quotes(text) {
        let verb = text.split(|byte| !byte.is_ascii_alphabetic()).next().and_then(sql::verb);
        said.operation = verb.map(CompactString::const_new).or(said.operation);
        return Some(Call::Statement(Box::new(said), None));
    }
    let mut db = Db::default();
    let parent = sql::describe(&mut db, text, is_cut && !is_whole, syntax, QueryText::Sanitized);
    if let Some(parent) = parent {
        let Db { operation, collection, summary, text, procedure, .. } = db;
        let said = Said { operation, collection, summary, text, procedure, text_unknown: false };
        return Some(Call::Statement(Box::new(said), parent));
    }
    Some(Call::Statement(Box::new(said), None))
}

fn has_own_quotes(text: &[u8]) -> bool {
    text.windows(2).any(|pair| pair.eq_ignore_ascii_case(b"q'"))
}

/// A statement: a text that begins with a verb, behind its length. What there is of it, and whether that is all.
fn statement(content: &[u8]) -> Option<(&[u8], bool)> {
    let from = 2_usize;
    (from..content.len().min(LOOK_MAX)).find_map(|at| {
        let len = usize::from(*content.get(at)?);
        let rest = content.get(at.checked_add(1)?..)?;
        // One of more than 252 bytes comes in parts, each behind its length: here a number of so many bytes, or of one.
        let (len, rest) = match (len, rest) {
            (0xfe, [1, len, rest @ ..]) => (usize::from(*len), rest),
            (0xfe, [2, high, low, rest @ ..]) => (usize::from(u16::from_be_bytes([*high, *low])), rest),
            (len, rest) if (MIN_STATEMENT..0xfd).contains(&len) => (len, rest),
            _ => return None,
        };
        let text = rest.get(..len.min(rest.len()))?;
        let verb = text.split(|byte| !byte.is_ascii_alphabetic()).next()?;
        let is_text = text.len() >= MIN_STATEMENT
            && sql::verb(verb).is_some()
            && text.iter().all(|byte| *byte >= b' ' || matches!(byte, b'\t' | b'\r' | b'\n'));
        is_text.then_some((text, text.len() == len))
    })
}

/// The code of an error, by which the words begin that it is told in.
pub(super) fn error(content: &[u8]) -> Option<CompactString> {
    const PREFIX: &[u8] = b"ORA-";
    let rest = content.get(memmem::find(content, PREFIX)?..)?;
    let (digits, behind) = rest.get(PREFIX.len()..)?.split_first_chunk::<5>()?;
    let is_code = digits.iter().all(u8::is_ascii_digit) && behind.first() == Some(&b':');
    is_code.then(|| CompactString::from_utf8_lossy(rest.get(..PREFIX.len() + 5).unwrap_or_default()))
}
