//! Tells PostgreSQL's messages from those of others by their content.

use super::message::{From, Tag, text};
use crate::protocols::{Recognition, sql};

/// What a connection begins with instead of a version: see the protocol's `SSLRequest`, `GSSENCRequest` and `CancelRequest`.
pub(super) const SSL_REQUEST: u32 = 80_877_103;
pub(super) const GSS_REQUEST: u32 = 80_877_104;
pub(super) const CANCEL_REQUEST: u32 = 80_877_102;

/// Longest first message of a connection.
const MAX_STARTUP: u32 = 10_000;
/// Longest message by which a client is known: others have numbers so large by chance.
const MAX_ASKED: u64 = 1 << 24;
/// Messages that are looked at in a row.
const MAX_MESSAGES: usize = 16;
/// Bytes of a statement's beginning that suffice.
const MIN_TEXT: usize = 8;

/// What a message is, as far as it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Seen {
    /// It is one, and one that others do not have by chance.
    Telling,
    /// It is one, but a short one.
    Short,
    Part,
    No,
}

/// See [`crate::protocols::Entry::recognise`].
pub(in crate::protocols) fn recognise(head: &[u8]) -> Recognition {
    match head.first() {
        Some(0) => startup(head),
        Some(_) => match (messages(head, From::Client), messages(head, From::Server)) {
            (Seen::Telling, _) => Recognition::Request,
            (_, Seen::Telling) => Recognition::Response,
            (Seen::Part | Seen::Short, _) | (_, Seen::Part | Seen::Short) => Recognition::Maybe,
            (Seen::No, Seen::No) => Recognition::No,
        },
        None => Recognition::No,
    }
}

/// The first message of a connection: it has no type.
fn startup(head: &[u8]) -> Recognition {
    // Its length is below 10,000, and its version 3.x.
    if head.get(1).is_some_and(|byte| *byte != 0) {
        return Recognition::No;
    }
    let Some(len) = head.get(..4).and_then(|len| len.try_into().ok()).map(u32::from_be_bytes) else {
        return Recognition::Maybe;
    };
    if !(8..=MAX_STARTUP).contains(&len) {
        return Recognition::No;
    }
    let code = head.get(4..head.len().min(8)).unwrap_or_default();
    let fits = |whole: u32| whole.to_be_bytes().starts_with(code);
    let is_request = len == 8 && (fits(SSL_REQUEST) || fits(GSS_REQUEST));
    let is_cancel = (16..=268).contains(&len) && fits(CANCEL_REQUEST);
    let is_version = len > 12 && [0x0003_0000, 0x0003_0001, 0x0003_0002].into_iter().any(fits);
    if !(is_request || is_cancel || is_version) {
        return Recognition::No;
    }
    if code.len() < 4 {
        return Recognition::Maybe;
    }
    if !is_version {
        return Recognition::Request;
    }
    // The name of a parameter follows.
    let name = head.get(8..).unwrap_or_default();
    let (name, is_whole) = text(name).map_or((name, false), |(name, _)| (name, true));
    match name.iter().all(|byte| byte.is_ascii_lowercase() || matches!(byte, b'_' | b'.')) && name.len() < 64 {
        true if is_whole && !name.is_empty() => Recognition::Request,
        true if !is_whole => Recognition::Maybe,
        _ => Recognition::No,
    }
}

/// What several messages in a row are.
fn messages(mut head: &[u8], from: From) -> Seen {
    let mut all = Seen::Short;
    for nth in 0..MAX_MESSAGES {
        let Some((&kind, behind)) = head.split_first() else { return all };
        let Some(shape) = from.shape(kind) else { return Seen::No };
        let Some(len) = behind.get(..4).and_then(|len| len.try_into().ok()).map(u32::from_be_bytes) else {
            // Lengths are below 2^30.
            let is_length = behind.first().is_none_or(|first| *first <= 0x40);
            return match is_length {
                true if all == Seen::Short => Seen::Part,
                true => all,
                false => Seen::No,
            };
        };
        let most = if from == From::Client { shape.len.1.min(MAX_ASKED) } else { shape.len.1 };
        let Some(len) = u64::from(len).checked_sub(4).filter(|len| (shape.len.0..=most).contains(len)) else {
            return Seen::No;
        };
        let rest = behind.get(4..).unwrap_or_default();
        let end = usize::try_from(len).unwrap_or(usize::MAX).min(rest.len());
        let (body, after) = rest.split_at(end);
        let is_whole = body.len() as u64 == len;
        let seen = match from {
            From::Client => asked(kind, body, is_whole, nth == 0),
            From::Server => answered(kind, body, is_whole),
        };
        all = match (seen, all) {
            (Seen::No, _) => return Seen::No,
            (Seen::Telling, _) | (_, Seen::Telling) => Seen::Telling,
            (Seen::Part, _) | (_, Seen::Part) => Seen::Part,
            _ => Seen::Short,
        };
        head = after;
        if !is_whole {
            return all;
        }
    }
    all
}

/// A message of a client.
fn asked(kind: u8, body: &[u8], is_whole: bool, is_first: bool) -> Seen {
    match kind {
        b'Q' => statement(body, is_whole),
        b'P' => match text(body) {
            Some((name, rest)) if is_name(name) => parsed(rest, is_whole),
            None if is_name(body) && !is_whole => Seen::Part,
            _ => Seen::No,
        },
        b'B' => bound(body, is_whole),
        b'E' => match text(body) {
            Some((name, rest)) if is_name(name) && rest.len() == 4 => Seen::Short,
            Some((name, rest)) if is_name(name) && !is_whole && rest.len() < 4 => Seen::Part,
            None if is_name(body) && !is_whole => Seen::Part,
            _ => Seen::No,
        },
        b'D' | b'C' => match body.split_first() {
            Some((b'S' | b'P', name)) => match text(name) {
                Some((name, rest)) if is_name(name) && rest.is_empty() => Seen::Short,
                None if is_name(name) && !is_whole => Seen::Part,
                _ => Seen::No,
            },
            None if !is_whole => Seen::Part,
            _ => Seen::No,
        },
        b'S' | b'H' => Seen::Short,
        // Nobody begins so whom we want to follow.
        _ if is_first => Seen::No,
        b'X' | b'F' | b'c' | b'd' | b'f' => Seen::Short,
        _ => Seen::No,
    }
}

/// A statement's text, with its zero.
fn statement(body: &[u8], is_whole: bool) -> Seen {
    let (statement, end) = match text(body) {
        Some((statement, [])) if is_whole => (statement, true),
        None if !is_whole => (body, false),
        _ => return Seen::No,
    };
    is_statement(statement, end)
}

fn parsed(rest: &[u8], is_whole: bool) -> Seen {
    match text(rest) {
        Some((statement, count)) => {
            // Types of parameters.
            let fits = match count {
                [a, b, types @ ..] if is_whole => types.len() == 4 * usize::from(u16::from_be_bytes([*a, *b])),
                _ => !is_whole,
            };
            if fits { is_statement(statement, true) } else { Seen::No }
        }
        None if !is_whole => is_statement(rest, false),
        None => Seen::No,
    }
}

/// Whether text is that of a statement: it begins with a word that statements begin with.
fn is_statement(statement: &[u8], is_whole: bool) -> Seen {
    let is_text = statement.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r' | 0x0c | 0x80..));
    if !is_text {
        return Seen::No;
    }
    let mut rest = statement;
    loop {
        rest = rest.trim_ascii_start();
        let skipped = match rest {
            [b'/', b'*', ..] => memchr::memmem::find(rest, b"*/").map(|end| end + 2),
            [b'-', b'-', ..] => memchr::memchr(b'\n', rest).map(|end| end + 1),
            [b'(' | b';', ..] => Some(1),
            [b'/' | b'-'] if !is_whole => None,
            _ => break,
        };
        match skipped.and_then(|end| rest.get(end..)) {
            Some(behind) => rest = behind,
            None => rest = &[],
        }
    }
    let end = rest.iter().position(|byte| !(byte.is_ascii_alphabetic() || *byte == b'_')).unwrap_or(rest.len());
    let (word, behind) = rest.split_at(end);
    match sql::verb(word) {
        Some(_) if is_whole || !behind.is_empty() && statement.len() >= MIN_TEXT => Seen::Telling,
        Some(_) => Seen::Part,
        None if is_whole && rest.is_empty() => Seen::Short,
        // It is not whole.
        None if !is_whole && behind.is_empty() && word.len() < 20 => Seen::Part,
        None => Seen::No,
    }
}

/// Bind: names, formats, parameters, formats of what comes back.
fn bound(body: &[u8], is_whole: bool) -> Seen {
    let part = if is_whole { Seen::No } else { Seen::Part };
    let Some((portal, rest)) = text(body) else { return if is_name(body) { part } else { Seen::No } };
    let Some((name, rest)) = text(rest) else { return if is_name(portal) && is_name(rest) { part } else { Seen::No } };
    if !is_name(portal) || !is_name(name) {
        return Seen::No;
    }
    let Some(rest) = formats(rest) else { return part };
    let Some((count, mut rest)) = rest.and_then(number) else { return if rest.is_none() { Seen::No } else { part } };
    for nth in 0..count {
        let Some((len, behind)) = rest.split_first_chunk().map(|(len, rest)| (i32::from_be_bytes(*len), rest)) else {
            // A long one: what comes before it is telling enough.
            return if nth > 0 && !is_whole { Seen::Telling } else { part };
        };
        match usize::try_from(len) {
            Ok(len) => match behind.get(len..) {
                Some(behind) => rest = behind,
                None if !is_whole => return if behind.len() >= MIN_TEXT { Seen::Telling } else { Seen::Part },
                None => return Seen::No,
            },
            Err(_) if len == -1 => rest = behind,
            Err(_) => return Seen::No,
        }
    }
    match formats(rest) {
        Some(Some([])) if is_whole => Seen::Telling,
        Some(_) => Seen::No,
        None => part,
    }
}

fn number(bytes: &[u8]) -> Option<(u16, &[u8])> {
    let (number, rest) = bytes.split_first_chunk()?;
    Some((u16::from_be_bytes(*number), rest))
}

/// What stands behind a list of formats: text or binary. `None`: it is not whole; `Some(None)`: it is none.
fn formats(bytes: &[u8]) -> Option<Option<&[u8]>> {
    let (count, rest) = number(bytes)?;
    let (list, rest) = rest.split_at_checked(2 * usize::from(count))?;
    Some(list.chunks_exact(2).all(|format| matches!(format, [0, 0 | 1])).then_some(rest))
}

/// A name of a statement or a portal; it may be empty.
fn is_name(name: &[u8]) -> bool {
    name.len() <= 128 && name.iter().all(|byte| matches!(byte, b'!'..=b'~' | b' ' | 0x80..))
}

/// A message of a server.
fn answered(kind: u8, body: &[u8], is_whole: bool) -> Seen {
    let fits = |fits: bool| if fits { Seen::Telling } else { Seen::No };
    match kind {
        b'1' | b'2' | b'3' | b'n' | b's' | b'I' => Seen::Telling,
        b'Z' => match body.first() {
            Some(state) => fits(matches!(state, b'I' | b'T' | b'E')),
            None => Seen::Part,
        },
        b'C' if is_whole => fits(Tag::of(body).is_some()),
        b'C' => {
            if body.first().is_none_or(u8::is_ascii_uppercase) {
                Seen::Part
            } else {
                Seen::No
            }
        }
        b'E' | b'N' => match body.split_first() {
            Some((b'S', name)) => match text(name) {
                Some((severity, _)) => {
                    fits(!severity.is_empty() && severity.iter().all(|byte| matches!(byte, b'A'..=b'Z' | 0x80..)))
                }
                None if !is_whole => Seen::Part,
                None => Seen::No,
            },
            Some(_) => Seen::No,
            None => Seen::Part,
        },
        b'S' => match text(body) {
            Some((name, _)) => fits(
                name.len() > 1 && name.iter().all(|byte| byte.is_ascii_alphabetic() || matches!(byte, b'_' | b'.')),
            ),
            None if !is_whole => Seen::Part,
            None => Seen::No,
        },
        b'R' => match body.first_chunk().map(|code| u32::from_be_bytes(*code)) {
            Some(code) => fits(code <= 12),
            None if !is_whole => Seen::Part,
            None => Seen::No,
        },
        b'T' => match number(body) {
            Some((count, rest)) => {
                let least = u64::from(count) * 19;
                match text(rest) {
                    Some((name, _)) if count > 0 => fits(is_name(name) && (!is_whole || rest.len() as u64 >= least)),
                    None if count > 0 && !is_whole => Seen::Part,
                    _ => fits(count == 0 && rest.is_empty() && is_whole),
                }
            }
            None => Seen::Part,
        },
        b't' => match number(body) {
            Some((count, rest)) if is_whole => fits(rest.len() == 4 * usize::from(count)),
            _ => Seen::Part,
        },
        b'G' | b'H' | b'W' => match body.split_first() {
            Some((0 | 1, rest)) => match number(rest) {
                Some((count, rest)) if is_whole => fits(rest.len() == 2 * usize::from(count)),
                _ => Seen::Part,
            },
            Some(_) => Seen::No,
            None => Seen::Part,
        },
        b'D' => match number(body) {
            Some((count, rest)) => row(count, rest, is_whole),
            None => Seen::Part,
        },
        _ => Seen::Short,
    }
}

/// A row: its columns, each with its length.
fn row(count: u16, mut rest: &[u8], is_whole: bool) -> Seen {
    for _ in 0..count {
        let Some((len, behind)) = rest.split_first_chunk().map(|(len, rest)| (i32::from_be_bytes(*len), rest)) else {
            return if is_whole { Seen::No } else { Seen::Part };
        };
        let behind = match usize::try_from(len) {
            Ok(len) => behind.get(len..),
            Err(_) if len == -1 => Some(behind),
            Err(_) => return Seen::No,
        };
        match behind {
            Some(behind) => rest = behind,
            None if is_whole => return Seen::No,
            None => return Seen::Part,
        }
    }
    if is_whole && rest.is_empty() {
        Seen::Telling
    } else if is_whole {
        Seen::No
    } else {
        Seen::Part
    }
}
