//! Lines, and the bytes that some of them count and that stand between them and the next.

use super::{COMMANDS, MAX_WORD};
use crate::protocols::{Recognition, sized::Length};

/// Longest tag.
const MAX_TAG: usize = 32;
/// Words of what a server says by itself, or before a command is over.
const UNTAGGED: &[&[u8]] = &[
    b"ACL",
    b"CAPABILITY",
    b"ENABLED",
    b"ESEARCH",
    b"FLAGS",
    b"ID",
    b"LIST",
    b"LSUB",
    b"NAMESPACE",
    b"NO",
    b"QUOTA",
    b"QUOTAROOT",
    b"SEARCH",
    b"SORT",
    b"STATUS",
    b"THREAD",
];
/// Those that stand behind the number of a message, or how many there are.
const COUNTED: &[&[u8]] = &[b"EXISTS", b"EXPUNGE", b"FETCH", b"RECENT"];
/// Those that a connection begins with, or ends.
const GREETINGS: &[&[u8]] = &[b"BYE", b"OK", b"PREAUTH"];

/// Bytes that are counted at the end of a line, and stand behind it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Literal {
    pub(super) bytes: u64,
    /// Whoever sends them waits for the other side to say that it may.
    pub(super) waits: bool,
}

/// A message's line, without its end.
pub(super) fn line(head: &[u8]) -> &[u8] {
    let line = memchr::memchr(b'\n', head).and_then(|end| head.get(..end)).unwrap_or(head);
    line.strip_suffix(b"\r").unwrap_or(line)
}

/// What a line counts at its end.
pub(super) fn literal(line: &[u8]) -> Option<Literal> {
    let counted = line.strip_suffix(b"}")?;
    let open = counted.iter().rposition(|byte| *byte == b'{')?;
    let counted = counted.get(open.checked_add(1)?..)?;
    let (digits, waits) = match counted {
        [digits @ .., b'+' | b'-'] => (digits, false),
        digits => (digits, true),
    };
    let is_number = (1..=10).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    let bytes = str::from_utf8(digits).ok().filter(|_| is_number)?.parse().ok()?;
    Some(Literal { bytes, waits })
}

/// A tag, and what stands behind it.
pub(super) fn tagged(line: &[u8]) -> Option<(&[u8], &[u8])> {
    let end = line.iter().position(|byte| *byte == b' ')?;
    let (tag, rest) = (line.get(..end)?, line.get(end.checked_add(1)?..)?);
    let is_tag = (1..=MAX_TAG).contains(&tag.len()) && tag.iter().all(|byte| is_of_tag(*byte));
    (is_tag && rest.first().is_some_and(u8::is_ascii_alphabetic)).then_some((tag, rest))
}

/// (RFC 9051, section 9.)
const fn is_of_tag(byte: u8) -> bool {
    byte.is_ascii_graphic() && !matches!(byte, b'(' | b')' | b'{' | b'%' | b'*' | b'"' | b'\\' | b'+')
}

/// The word that says how something stands, where that is what is said.
pub(super) fn status(rest: &[u8]) -> Option<&'static str> {
    let rest = rest.strip_prefix(b"* ").unwrap_or(rest);
    let end = rest.iter().position(|byte| *byte == b' ').unwrap_or(rest.len());
    let word = rest.get(..end)?;
    ["OK", "NO", "BAD", "BYE", "PREAUTH"].into_iter().find(|known| word.eq_ignore_ascii_case(known.as_bytes()))
}

fn ended(head: &[u8]) -> Option<(&[u8], u64)> {
    let end = memchr::memchr(b'\n', head)?;
    Some((line(head), end as u64 + 1))
}

/// A command, or a part of one, with the bytes that it does not wait to send.
pub(super) fn length_of_request(head: &[u8]) -> Length {
    let Some((line, len)) = ended(head) else { return Length::Part };
    match literal(line) {
        Some(Literal { bytes, waits: false }) => Length::Is(len.saturating_add(bytes)),
        _ => Length::Is(len),
    }
}

/// What a server's line counts at its end. What is written for people counts nothing.
pub(super) fn literal_of_answer(line: &[u8]) -> Option<Literal> {
    let is_text = line.first() == Some(&b'+')
        || status(line).is_some()
        || tagged(line).is_some_and(|(_, rest)| status(rest).is_some());
    if is_text { None } else { literal(line) }
}

/// A line of a server, with the bytes that it counts.
pub(super) fn length_of_answer(head: &[u8]) -> Length {
    let Some((line, len)) = ended(head) else { return Length::Part };
    match literal_of_answer(line) {
        Some(Literal { bytes, .. }) => Length::Is(len.saturating_add(bytes)),
        None => Length::Is(len),
    }
}

/// See [`crate::protocols::Entry::recognise`].
pub(super) fn recognise(head: &[u8]) -> Recognition {
    if let Some(rest) = head.strip_prefix(b"*") {
        return match rest.split_first() {
            None => Recognition::Maybe,
            Some((b' ', said)) => untagged(said),
            Some(_) => Recognition::No,
        };
    }
    let Some(end) = head.iter().position(|byte| *byte == b' ') else {
        let is_part = head.len() <= MAX_WORD && head.iter().all(|byte| byte.is_ascii_alphanumeric());
        return if is_part { Recognition::Maybe } else { Recognition::No };
    };
    let (tag, rest) = head.split_at(end);
    // As clients count them: other text has such words, too, and replies of other protocols begin with three digits.
    let is_tag = tag.len() <= MAX_WORD
        && tag.iter().all(u8::is_ascii_alphanumeric)
        && tag.iter().any(u8::is_ascii_digit)
        && !(tag.len() == 3 && tag.iter().all(u8::is_ascii_digit));
    if !is_tag {
        return Recognition::No;
    }
    let rest = rest.get(1..).unwrap_or_default();
    let end = rest.iter().position(|byte| !byte.is_ascii_alphabetic()).unwrap_or(rest.len());
    let (word, behind) = rest.split_at(end);
    let is = |known: &str| word.eq_ignore_ascii_case(known.as_bytes());
    match behind.first() {
        None => {
            let begins =
                |known: &str| known.get(..word.len()).is_some_and(|known| word.eq_ignore_ascii_case(known.as_bytes()));
            let is_part =
                COMMANDS.iter().any(|(known, _)| begins(known)) || ["OK", "NO", "BAD"].into_iter().any(begins);
            if is_part { Recognition::Maybe } else { Recognition::No }
        }
        Some(b' ') if matches!(word, b"OK" | b"NO" | b"BAD") => Recognition::Response,
        Some(b' ') if COMMANDS.iter().any(|(known, has_more)| *has_more && is(known)) => Recognition::Request,
        Some(b'\r' | b'\n') if COMMANDS.iter().any(|(known, has_more)| !has_more && is(known)) => Recognition::Request,
        Some(_) => Recognition::No,
    }
}

fn untagged(said: &[u8]) -> Recognition {
    let digits = said.iter().take_while(|byte| byte.is_ascii_digit()).count();
    if digits > 0 {
        let words = said.get(digits..).unwrap_or_default();
        return match words.split_first() {
            None if digits <= 10 => Recognition::Maybe,
            Some((b' ', word)) => among(word, COUNTED, Recognition::Response),
            _ => Recognition::No,
        };
    }
    match among(said, GREETINGS, Recognition::Greeting) {
        Recognition::No => among(said, UNTAGGED, Recognition::Response),
        known => known,
    }
}

/// What a text is that begins with one of these words.
fn among(text: &[u8], words: &[&[u8]], what: Recognition) -> Recognition {
    let end = text.iter().position(|byte| !byte.is_ascii_uppercase());
    let word = text.get(..end.unwrap_or(text.len())).unwrap_or_default();
    let behind = end.and_then(|end| text.get(end));
    match behind {
        None if words.iter().any(|known| known.starts_with(word)) => Recognition::Maybe,
        Some(b' ' | b'\r' | b'\n') if words.contains(&word) => what,
        _ => Recognition::No,
    }
}
