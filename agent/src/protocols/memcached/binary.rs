//! The binary protocol: a header of 24 bytes, and behind it extras, a key and a value of the lengths that it says.

use compact_str::CompactString;

use super::{Answer, Answers, Command, Content, Silence, Tag, Word, is_get, mark};
use crate::protocols::Recognition;

/// What a request begins with.
pub(super) const REQUEST: u8 = 0x80;
/// What an answer begins with.
pub(super) const RESPONSE: u8 = 0x81;
/// Bytes of a header.
pub(super) const HEADER: usize = 24;

/// Longest key.
const MAX_KEY: usize = 250;
/// Longest message behind its header: a value as long as a server can be told to take (`-I`), and what stands before it.
const MAX_BODY: u64 = (1 << 30) + 1024;

/// Whether a command has a part.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Has {
    No,
    Yes,
    Maybe,
}

/// A command: number, name, lengths that extras may have, key, value, whether it is quiet.
type Known = (u8, &'static str, &'static [u8], Has, Has, bool);

/// The commands that there are.
const COMMANDS: &[Known] = &[
    (0x00, "get", &[0], Has::Yes, Has::No, false),
    (0x01, "set", &[8], Has::Yes, Has::Maybe, false),
    (0x02, "add", &[8], Has::Yes, Has::Maybe, false),
    (0x03, "replace", &[8], Has::Yes, Has::Maybe, false),
    (0x04, "delete", &[0], Has::Yes, Has::No, false),
    (0x05, "incr", &[20], Has::Yes, Has::No, false),
    (0x06, "decr", &[20], Has::Yes, Has::No, false),
    (0x07, "quit", &[0], Has::No, Has::No, false),
    (0x08, "flush_all", &[0, 4], Has::No, Has::No, false),
    (0x09, "getq", &[0], Has::Yes, Has::No, true),
    (0x0a, "noop", &[0], Has::No, Has::No, false),
    (0x0b, "version", &[0], Has::No, Has::No, false),
    (0x0c, "getk", &[0], Has::Yes, Has::No, false),
    (0x0d, "getkq", &[0], Has::Yes, Has::No, true),
    (0x0e, "append", &[0], Has::Yes, Has::Maybe, false),
    (0x0f, "prepend", &[0], Has::Yes, Has::Maybe, false),
    (0x10, "stats", &[0], Has::Maybe, Has::No, false),
    (0x11, "setq", &[8], Has::Yes, Has::Maybe, true),
    (0x12, "addq", &[8], Has::Yes, Has::Maybe, true),
    (0x13, "replaceq", &[8], Has::Yes, Has::Maybe, true),
    (0x14, "deleteq", &[0], Has::Yes, Has::No, true),
    (0x15, "incrq", &[20], Has::Yes, Has::No, true),
    (0x16, "decrq", &[20], Has::Yes, Has::No, true),
    (0x17, "quitq", &[0], Has::No, Has::No, true),
    (0x18, "flush_allq", &[0, 4], Has::No, Has::No, true),
    (0x19, "appendq", &[0], Has::Yes, Has::Maybe, true),
    (0x1a, "prependq", &[0], Has::Yes, Has::Maybe, true),
    (0x1b, "verbosity", &[4], Has::No, Has::No, false),
    (0x1c, "touch", &[4], Has::Yes, Has::No, false),
    (0x1d, "gat", &[4], Has::Yes, Has::No, false),
    (0x1e, "gatq", &[4], Has::Yes, Has::No, true),
    (0x20, "sasl_list_mechs", &[0], Has::No, Has::No, false),
    (0x21, "sasl_auth", &[0], Has::Yes, Has::Maybe, false),
    (0x22, "sasl_step", &[0], Has::Yes, Has::Maybe, false),
    (0x23, "gatk", &[4], Has::Yes, Has::No, false),
    (0x24, "gatkq", &[4], Has::Yes, Has::No, true),
];

/// The parts of a header that count.
struct Header {
    code: u8,
    key: usize,
    extras: usize,
    /// `vbucket id` of a request, status of an answer.
    status: u16,
    body: u64,
    opaque: u32,
}

fn header(head: &[u8]) -> Option<Header> {
    let &[_, code, k1, k0, extras, kind, s1, s0, b3, b2, b1, b0, o3, o2, o1, o0, ..] = head.get(..HEADER)? else {
        return None;
    };
    let key = usize::from(u16::from_be_bytes([k1, k0]));
    let extras = usize::from(extras);
    let body = u64::from(u32::from_be_bytes([b3, b2, b1, b0]));
    let fits = kind == 0 && key <= MAX_KEY && (extras + key) as u64 <= body && body <= MAX_BODY;
    fits.then_some(Header {
        code,
        key,
        extras,
        status: u16::from_be_bytes([s1, s0]),
        body,
        opaque: u32::from_be_bytes([o3, o2, o1, o0]),
    })
}

/// How many bytes from a message's first one on have to be there to read it, and how many follow; `None` if it is none.
pub(super) fn lengths(head: &[u8], is_request: bool) -> Option<(usize, u64)> {
    let first = if is_request { REQUEST } else { RESPONSE };
    let Header { key, extras, body, .. } = header(head).filter(|_| head.first() == Some(&first))?;
    Some((HEADER + extras + key, body - (extras + key) as u64))
}

fn key<'a>(message: &'a [u8], header: &Header) -> &'a [u8] {
    message.get(HEADER + header.extras..).and_then(|rest| rest.get(..header.key)).unwrap_or_default()
}

/// Reads a request, of which as many bytes are there as [`lengths`] says.
pub(super) fn command(message: &[u8]) -> Option<Command> {
    let header = header(message)?;
    let known = COMMANDS.iter().find(|known| known.0 == header.code);
    let key = key(message, &header);
    let (name, is_quiet) = known.map_or(("", false), |known| (known.1, known.5));
    let silence = match name {
        "quitq" => Silence::Always,
        _ if is_quiet => Silence::Quiet,
        _ => Silence::Never,
    };
    // Answers carry the key of these.
    let carries_key = matches!(header.code, 0x0c | 0x0d | 0x23 | 0x24);
    let tag = Tag { opaque: Some(u64::from(header.opaque)), key: carries_key.then(|| mark(key)) };
    let keys = u32::from(known.is_some_and(|known| known.3 == Has::Yes && !name.starts_with("sasl")));
    Some(Command { name, keys, is_cut: false, answers: Answers::Code(header.code), silence, tag })
}

/// Reads an answer.
pub(super) fn answer(message: &[u8]) -> Option<Answer> {
    let header = header(message)?;
    let key = key(message, &header);
    let is_nothing = matches!(header.status, 0x01 | 0x02 | 0x05);
    let content = match header.status {
        // Statistics end with an empty one.
        0 if header.code == 0x10 && header.key > 0 => Content::Part,
        _ if is_nothing => Content::Nothing,
        _ => Content::Found,
    };
    // What is asked of a client that authenticates by steps is no failure.
    let is_error = !(header.status == 0 || is_nothing || header.status == 0x21);
    let carries_key = matches!(header.code, 0x0c | 0x0d | 0x23 | 0x24) && !key.is_empty();
    Some(Answer {
        word: Word::Code(header.code, content),
        tag: Tag { opaque: Some(u64::from(header.opaque)), key: carries_key.then(|| mark(key)) },
        error: is_error.then(|| status(header.status)),
    })
}

/// A status as the protocol's description writes it.
fn status(status: u16) -> CompactString {
    compact_str::format_compact!("0x{status:04x}")
}

/// Whether bytes begin a message.
pub(super) fn recognise(head: &[u8]) -> Recognition {
    let is_request = head.first() == Some(&REQUEST);
    let Some(&code) = head.get(1) else { return Recognition::Maybe };
    let Some((_, _, extras, has_key, has_value, _)) = COMMANDS.iter().find(|known| known.0 == code) else {
        return Recognition::No;
    };
    let Some(header) = header(head) else {
        // What there is of it must fit.
        let byte = |at: usize, fits: &dyn Fn(u8) -> bool| head.get(at).is_none_or(|byte| fits(*byte));
        let fits = head.len() < HEADER
            && byte(2, &|high| high == 0)
            && byte(3, &|low| usize::from(low) <= MAX_KEY)
            && byte(4, &|len| !is_request && len <= 20 || extras.contains(&len))
            && byte(5, &|kind| kind == 0)
            && byte(6, &|high| high == 0)
            && byte(7, &|low| !is_request || low == 0);
        return if fits { Recognition::Maybe } else { Recognition::No };
    };
    let has = |has: Has, len: u64| match has {
        Has::No => len == 0,
        Has::Yes => len > 0,
        Has::Maybe => true,
    };
    let value = header.body - (header.extras + header.key) as u64;
    if is_request {
        let fits = u8::try_from(header.extras).is_ok_and(|len| extras.contains(&len))
            && header.status == 0
            && has(*has_key, header.key as u64)
            && has(*has_value, value);
        return if fits { Recognition::Request } else { Recognition::No };
    }
    let is_status = matches!(header.status, 0..=0x08 | 0x20..=0x24 | 0x81..=0x86);
    let fits = is_status && matches!(header.extras, 0 | 4) && (header.extras == 0 || is_get(code));
    if fits { Recognition::Response } else { Recognition::No }
}
