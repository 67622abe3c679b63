//! Redis and what speaks as it does (Valkey, KeyDB, Dragonfly): commands and replies in RESP 2 and 3.
//!
//! Replies come in the order of commands, so each is told with its own, in a pipeline too. What comes without being asked for
//! (messages of channels, invalidations) answers nothing. Where bytes were lost that are not within one value, what is open ends unseen, and so does
//! each command until it is proved again what answers what: by a quiet time, or by an exchange that was seen whole
//! ([`session`]). Of keys and values nothing is kept.

mod command;
mod resp;
#[cfg(test)]
mod samples;
mod session;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use samples::samples;

use super::{Capture, Ending, Recognition, Session};
use crate::model::net::Role;

/// The protocol's name.
pub(super) const NAME: &str = "redis";

/// Of a pipeline every command counts: its beginning is captured far, and values that are longer are passed over by their length.
pub(super) const CAPTURE: Capture = Capture::pipelined(8192).ending(Ending::OF_LINE).asking(Ending::OF_LINE);

/// Longest name of a command.
const MAX_NAME: usize = 32;

/// See [`super::Entry::recognise`]. A request is an array that begins with a command's name, or `PING` in a line, as health
/// checks write it; replies that look like one are taken for it, and never answered by something that does not.
pub(super) fn recognise(head: &[u8]) -> Recognition {
    match head.first() {
        Some(b'*' | b'P') => command(head),
        Some(_) => reply(head),
        None => Recognition::No,
    }
}

fn command(head: &[u8]) -> Recognition {
    const PING: &[u8] = b"PING\r\n";
    if head.first() == Some(&b'P') {
        return match () {
            () if head.starts_with(PING) => Recognition::Request,
            () if PING.starts_with(head) => Recognition::Maybe,
            () => Recognition::No,
        };
    }
    const NULL: &[u8] = b"*-1\r\n";
    if head.get(1) == Some(&b'-') {
        return match () {
            () if head.starts_with(NULL) => Recognition::Response,
            () if NULL.starts_with(head) => Recognition::Maybe,
            () => Recognition::No,
        };
    }
    let rest = match length(head, b'*', 7) {
        Length::Is(0, _) => return Recognition::Response,
        Length::Is(_, rest) => rest,
        Length::Part => return Recognition::Maybe,
        Length::No => return Recognition::No,
    };
    let (len, rest) = match (length(rest, b'$', 2), rest) {
        (Length::Is(len, rest), _) if (1..=MAX_NAME).contains(&len) => (len, rest),
        (Length::Part, _) | (_, []) => return Recognition::Maybe,
        // An array of something else is a reply.
        (_, [b'$' | b'+' | b':' | b'*' | b'-' | b'_' | b'#' | b',' | b'%' | b'~' | b'(' | b'=', ..]) => {
            return Recognition::Response;
        }
        _ => return Recognition::No,
    };
    let (name, end) = rest.split_at(len.min(rest.len()));
    let is_name = name.first().is_none_or(u8::is_ascii_alphabetic)
        && name.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-'));
    match is_name {
        false => Recognition::Response,
        true if is_of_channels(name, end) => Recognition::Response,
        true if end.starts_with(b"\r\n") => Recognition::Request,
        true if name.len() < len || b"\r\n".starts_with(end) => Recognition::Maybe,
        true => Recognition::No,
    }
}

/// Whether an array that begins with this word is what servers tell of channels: a message, or a confirmation, in which a number stands
/// where a command would have the next channel.
fn is_of_channels(word: &[u8], behind: &[u8]) -> bool {
    if matches!(word, b"message" | b"pmessage" | b"smessage") {
        return true;
    }
    let confirms = word.ends_with(b"subscribe").then(|| behind.strip_prefix(b"\r\n")).flatten();
    confirms.is_some_and(|rest| match (length(rest, b'$', 9), rest) {
        (Length::Is(len, rest), _) => rest.get(len..).is_some_and(|rest| rest.starts_with(b"\r\n:")),
        // No channel is left.
        (_, [b'$', b'-', ..]) => true,
        _ => false,
    })
}

/// A length, with its mark before it and its end of line behind.
enum Length<'a> {
    /// And what follows.
    Is(usize, &'a [u8]),
    /// It may become one.
    Part,
    No,
}

/// Reads a length of at most `digits` digits.
fn length(head: &[u8], mark: u8, digits: usize) -> Length<'_> {
    let Some(behind) = head.strip_prefix(&[mark]) else { return Length::No };
    let count = behind.iter().take_while(|byte| byte.is_ascii_digit()).count();
    let (number, end) = behind.split_at(count);
    let fits = count <= digits && (count <= 1 || number.first() != Some(&b'0'));
    match end.strip_prefix(b"\r\n") {
        Some(rest) if fits && count > 0 => {
            Length::Is(number.iter().fold(0, |value, digit| value * 10 + usize::from(digit - b'0')), rest)
        }
        None if fits && (end.is_empty() || count > 0 && end == b"\r") => Length::Part,
        _ => Length::No,
    }
}

/// A reply of one line, or the line that a longer one begins with.
fn reply(head: &[u8]) -> Recognition {
    let Some((kind, rest)) = head.split_first() else { return Recognition::No };
    let line = rest.get(..rest.len().min(64)).unwrap_or(rest);
    let (text, end) = match line.iter().position(|&byte| byte == b'\r') {
        Some(at) => line.split_at(at),
        None => (line, &[][..]),
    };
    let digits = |text: &[u8]| text.strip_prefix(b"-").unwrap_or(text).iter().all(u8::is_ascii_digit);
    let fits = match kind {
        b'+' | b'-' => text.iter().all(|byte| matches!(byte, b' '..=b'~')) && text.first() != Some(&b' '),
        b':' | b'$' | b'%' | b'~' | b'>' | b'=' | b'!' => digits(text),
        b'_' => text.is_empty(),
        b'#' => matches!(text, b"" | b"t" | b"f"),
        _ => false,
    };
    match fits {
        false => Recognition::No,
        true if end.starts_with(b"\r\n") && !text.is_empty() | matches!(kind, b'_') => Recognition::Response,
        // An error's text may be longer than what is looked at.
        true if b"\r\n".starts_with(end)
            && (line.len() < 64 || matches!(kind, b'-'))
            && (end.is_empty() || !text.is_empty()) =>
        {
            Recognition::Maybe
        }
        true => Recognition::No,
    }
}

/// See [`super::Entry::open`].
pub(super) fn open(role: Role) -> Box<dyn Session> {
    Box::new(session::Redis::new(role))
}
