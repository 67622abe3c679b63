//! Tells MySQL's packets from those of others by their content.

use super::packet::{caps, number, text};
use crate::protocols::{Recognition, sql};

/// Bytes of a statement's beginning that suffice.
const MIN_TEXT: usize = 8;
/// Longest first packet of a client.
const MAX_LOGIN: u32 = 64 << 10;

/// See [`crate::protocols::Entry::recognise`].
pub(in crate::protocols) fn recognise(head: &[u8]) -> Recognition {
    let (length, rest) = head.split_at(head.len().min(3));
    let [a, b, c] = [0, 1, 2].map(|at| length.get(at).copied().unwrap_or_default());
    let len = u32::from_le_bytes([a, b, c, 0]);
    let Some((&sequence, body)) = rest.split_first() else {
        return if head.is_empty() || length.len() == 3 && len == 0 { Recognition::No } else { Recognition::Maybe };
    };
    if len == 0 {
        return Recognition::No;
    }
    let body = body.get(..body.len().min(len as usize)).unwrap_or_default();
    let behind = rest.get(1 + body.len()..).unwrap_or_default();
    let is_whole = body.len() == len as usize;
    let Some(&first) = body.first() else {
        return if sequence <= 3 { Recognition::Maybe } else { Recognition::No };
    };
    match sequence {
        0 if first == 10 => greeting(body, len, is_whole, behind),
        0 => command(first, body, len, is_whole, behind),
        1 | 2 if is_login(body, len, is_whole, behind) != Recognition::No => is_login(body, len, is_whole, behind),
        1 => answer(first, body, is_whole, behind),
        // To who has said who it is.
        2..=6 if behind.is_empty() => welcome(first, body, is_whole, behind),
        _ => Recognition::No,
    }
}

/// A server's first packet.
fn greeting(body: &[u8], len: u32, is_whole: bool, behind: &[u8]) -> Recognition {
    if !(40..512).contains(&len) || !behind.is_empty() {
        return Recognition::No;
    }
    let version = body.get(1..).unwrap_or_default();
    let is_version = |version: &[u8]| {
        version.first().is_none_or(u8::is_ascii_digit) && version.iter().all(|byte| matches!(byte, b'!'..=b'~'))
    };
    match text(version) {
        Some((version, rest)) if is_version(version) && version.len() > 2 => {
            // Its number, eight bytes of a puzzle, a zero; later ten zeros, or six where MariaDB says more.
            match (rest.get(12), rest.get(21..27)) {
                (Some(0), Some(zeros)) if zeros.iter().all(|byte| *byte == 0) && is_whole => Recognition::Greeting,
                (Some(0) | None, None) if !is_whole => Recognition::Maybe,
                (Some(0), Some(zeros)) if zeros.iter().all(|byte| *byte == 0) => Recognition::Maybe,
                _ => Recognition::No,
            }
        }
        None if is_version(version) && !is_whole => Recognition::Maybe,
        _ => Recognition::No,
    }
}

/// A client's first packet, or the part of it that comes before TLS.
fn is_login(body: &[u8], len: u32, is_whole: bool, behind: &[u8]) -> Recognition {
    if !(32..MAX_LOGIN).contains(&len) || !behind.is_empty() {
        return Recognition::No;
    }
    let Some(flags) = body.first_chunk().map(|flags| u32::from_le_bytes(*flags)) else {
        return if is_whole { Recognition::No } else { Recognition::Maybe };
    };
    let zeros = body.get(9..body.len().min(28)).unwrap_or_default();
    if flags & caps::PROTOCOL_41 == 0 || zeros.iter().any(|byte| *byte != 0) {
        return Recognition::No;
    }
    match body.len() {
        ..32 => Recognition::Maybe,
        32 if is_whole => {
            if flags & caps::SSL != 0 {
                Recognition::Request
            } else {
                Recognition::No
            }
        }
        _ => {
            let name = body.get(32..).unwrap_or_default();
            let (name, has_end) = text(name).map_or((name, false), |(name, _)| (name, true));
            match name.iter().all(|byte| matches!(byte, b' '..=b'~' | 0x80..)) && name.len() <= 320 {
                true if has_end => Recognition::Request,
                true if !is_whole => Recognition::Maybe,
                _ => Recognition::No,
            }
        }
    }
}

/// A command; what is too short to be told from others by its content may become one.
fn command(first: u8, body: &[u8], len: u32, is_whole: bool, behind: &[u8]) -> Recognition {
    let short = if is_whole && !behind.is_empty() { Recognition::No } else { Recognition::Maybe };
    match first {
        // A query, a statement to be prepared.
        0x03 | 0x16 => {
            let query = body.get(1..).unwrap_or_default();
            let query = match query {
                // Without attributes.
                [0, 1, query @ ..] => query,
                [0] if !is_whole => return Recognition::Maybe,
                query => query,
            };
            match statement(query, is_whole) {
                // Another comes behind it where nobody waits for answers.
                Recognition::Request if behind.len() >= 4 && behind.get(3) != Some(&0) && len < 0x00ff_ffff => {
                    Recognition::No
                }
                known => known,
            }
        }
        // A prepared statement that is executed, once.
        0x17 => match (body.get(1..5), body.get(5..10)) {
            (Some(_), Some([flags, 1, 0, 0, 0])) if *flags <= 15 => Recognition::Request,
            (Some(_), Some(_)) => Recognition::No,
            _ if is_whole => Recognition::No,
            _ => Recognition::Maybe,
        },
        0x01 | 0x09 | 0x0d | 0x0e | 0x1f if len == 1 => short,
        0x02 if len <= 200 => short,
        0x19 | 0x1a if len == 5 => short,
        0x1c if len == 9 => short,
        0x04 | 0x11 | 0x12 | 0x18 | 0x1b | 0x1e | 0xfa => short,
        _ => Recognition::No,
    }
}

/// Text that begins with a word that statements begin with.
fn statement(text: &[u8], is_whole: bool) -> Recognition {
    let is_text = text.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\n' | b'\r' | 0x80..));
    // Strings may hold anything: what counts is how it begins.
    if !is_text && text.iter().take(32).any(|byte| matches!(byte, 0..b'\t' | 0x0e..b' ')) {
        return Recognition::No;
    }
    let mut rest = text;
    loop {
        rest = rest.trim_ascii_start();
        let skipped = match rest {
            [b'/', b'*', b'!', ..] => Some(3 + rest.iter().skip(3).take_while(|byte| byte.is_ascii_digit()).count()),
            [b'/', b'*', ..] => memchr::memmem::find(rest, b"*/").map(|end| end + 2),
            [b'-', b'-', ..] | [b'#', ..] => memchr::memchr(b'\n', rest).map(|end| end + 1),
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
        Some(_) if is_whole || !behind.is_empty() && text.len() >= MIN_TEXT => Recognition::Request,
        Some(_) => Recognition::Maybe,
        None if !is_whole && behind.is_empty() && word.len() < 20 => Recognition::Maybe,
        None => Recognition::No,
    }
}

/// What follows a client's first packet: it may come in, or not, or is asked for more.
fn welcome(first: u8, body: &[u8], is_whole: bool, behind: &[u8]) -> Recognition {
    match first {
        0x00 | 0xff => answer(first, body, is_whole, behind),
        0xfe => match text(body.get(1..).unwrap_or_default()) {
            Some((plugin, _))
                if plugin.len() > 4 && plugin.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_') =>
            {
                Recognition::Response
            }
            None if !is_whole => Recognition::Maybe,
            _ => Recognition::No,
        },
        _ => Recognition::No,
    }
}

/// The first packet of an answer.
fn answer(first: u8, body: &[u8], is_whole: bool, behind: &[u8]) -> Recognition {
    let part = if is_whole { Recognition::No } else { Recognition::Maybe };
    // What follows has the next number.
    let follows = behind.get(3).is_none_or(|sequence| *sequence == 2);
    match first {
        _ if !follows => Recognition::No,
        0x00 => match body {
            // A statement was prepared.
            [_, _, _, _, _, _, _, _, _, 0, _, _] if is_whole => Recognition::Response,
            _ => match number(body.get(1..).unwrap_or_default()).and_then(|(_, rest)| number(rest)) {
                Some((_, rest)) if is_whole && rest.len() >= 4 => Recognition::Response,
                Some(_) | None => part,
            },
        },
        0xff => match body {
            [_, _, _, b'#', state @ ..] if state.iter().take(5).all(u8::is_ascii_alphanumeric) => match is_whole {
                true if state.len() >= 5 => Recognition::Response,
                _ => part,
            },
            _ if body.len() < 4 => part,
            _ => Recognition::No,
        },
        0xfe if body.len() >= 2 && is_whole => Recognition::Maybe,
        0xfb if is_whole => Recognition::Response,
        0x01..=0xfa | 0xfc => match number(body) {
            Some((count, rest)) if is_whole && rest.len() <= 1 && (1..=4096).contains(&count) => {
                // The first column.
                match behind.get(4..) {
                    Some(definition) if definition.len() >= 4 => {
                        if definition.starts_with(b"\x03def") {
                            Recognition::Response
                        } else {
                            Recognition::No
                        }
                    }
                    Some(definition) if !b"\x03def".starts_with(definition) => Recognition::No,
                    _ => Recognition::Maybe,
                }
            }
            _ => part,
        },
        _ => part,
    }
}
