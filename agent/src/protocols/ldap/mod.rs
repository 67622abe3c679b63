//! LDAP (RFC 4511): operations, by the number that each carries, with what a search looks for and how many entries it found.
//!
//! Names of entries and values are not told, and nothing of who binds with what.

mod ber;
mod filter;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use samples::samples;

use compact_str::CompactString;

use self::ber::{Element, element, number};
use super::{
    Capture, Recognition, Session,
    paired::{Answered, Asked, Grammar, How, Paired, Request},
    probe::{Probe, outcome},
    sized::{Frame, Length},
};
use crate::model::{
    exchange::{Db, Group, Operation},
    net::Role,
};

/// The protocol's name.
pub(super) const NAME: &str = "ldap";

/// What is asked and what became of it stands at the beginnings of messages, whose length is known.
pub(super) const CAPTURE: Capture = Capture::pipelined(4096);

/// Longest message that is taken for one.
const MAX: u64 = 1 << 30;
/// Replaces the connection by TLS.
const START_TLS: &[u8] = b"1.3.6.1.4.1.1466.20037";

const UNBIND: u8 = 0x42;
const ABANDON: u8 = 0x50;
const BIND: u8 = 0x60;
const SEARCH: u8 = 0x63;
const EXTENDED: u8 = 0x77;
const SEARCH_ENTRY: u8 = 0x64;
const SEARCH_REFERENCE: u8 = 0x73;
const EXTENDED_RESPONSE: u8 = 0x78;
const INTERMEDIATE: u8 = 0x79;

/// Requests by their tags.
const OPERATIONS: &[(u8, &str)] = &[
    (UNBIND, "unbind"),
    (0x4a, "delete"),
    (ABANDON, "abandon"),
    (BIND, "bind"),
    (SEARCH, "search"),
    (0x66, "modify"),
    (0x68, "add"),
    (0x6c, "modifyDN"),
    (0x6e, "compare"),
    (EXTENDED, "extended"),
];
/// Responses that end an operation.
const RESULTS: &[u8] = &[0x61, 0x65, 0x67, 0x69, 0x6b, 0x6d, 0x6f, EXTENDED_RESPONSE];

/// See [`super::Entry::open`].
pub(super) fn open(role: Role) -> Box<dyn Session> {
    Paired::open(role, Ldap::default())
}

/// See [`super::Entry::recognise`].
pub(super) fn recognise(head: &[u8]) -> Recognition {
    outcome(look(Probe(head)))
}

fn look(mut probe: Probe<'_>) -> Result<Recognition, Recognition> {
    probe.is(0x30)?;
    let len = length_of(&mut probe)?;
    Probe::holds(len >= 5)?;
    probe.is(0x02)?;
    let digits = probe.u8()?;
    Probe::holds((1..=4).contains(&digits))?;
    let first = probe.u8()?;
    Probe::holds(first < 0x80 && (first > 0 || digits == 1))?;
    probe.each(usize::from(digits) - 1, |_| true)?;
    let tag = probe.u8()?;
    let content = length_of(&mut probe)?;
    Probe::holds(content + u64::from(digits) + 4 <= len)?;
    match tag {
        UNBIND => Probe::holds(content == 0 && len == u64::from(digits) + 4)?,
        ABANDON => Probe::holds((1..=4).contains(&content))?,
        BIND => {
            probe.all(&[0x02, 0x01])?;
            let version = probe.u8()?;
            Probe::holds((2..=3).contains(&version))?;
            probe.is(0x04)?;
        }
        SEARCH => {
            probe.is(0x04)?;
            let name = length_of(&mut probe)?;
            Probe::holds(name < content)?;
            probe.each(usize::try_from(name).unwrap_or(usize::MAX), |byte| byte >= b' ')?;
            for _ in 0..2 {
                probe.all(&[0x0a, 0x01])?;
                Probe::holds(probe.u8()? <= 3)?;
            }
        }
        EXTENDED => {
            probe.is(0x80)?;
            let name = length_of(&mut probe)?;
            Probe::holds((3..content).contains(&name))?;
            probe.each(3, |byte| byte == b'.' || byte.is_ascii_digit())?;
        }
        0x66 | 0x68 | 0x6c | 0x6e => {
            probe.is(0x04)?;
            let name = length_of(&mut probe)?;
            Probe::holds((1..content).contains(&name))?;
            // A name is `attribute=value`.
            let letter = probe.u8()?;
            Probe::holds(letter.is_ascii_alphanumeric())?;
        }
        0x4a => probe.each(3.min(usize::try_from(content).unwrap_or(3)), |byte| byte >= b' ')?,
        SEARCH_ENTRY => probe.is(0x04)?,
        SEARCH_REFERENCE => probe.is(0x04)?,
        tag if RESULTS.contains(&tag) => {
            probe.all(&[0x0a, 0x01])?;
            Probe::holds(probe.u8()? < 128)?;
            probe.is(0x04)?;
        }
        _ => return Err(Recognition::No),
    }
    let is_request = OPERATIONS.iter().any(|(known, _)| *known == tag);
    Ok(if is_request { Recognition::Request } else { Recognition::Response })
}

/// The length of an element.
fn length_of(probe: &mut Probe<'_>) -> Result<u64, Recognition> {
    match probe.u8()? {
        short if short < 0x80 => Ok(short.into()),
        long @ 0x81..=0x84 => {
            let mut len = 0;
            for _ in 0x80..long {
                len = len << 8 | u64::from(probe.u8()?);
            }
            Probe::holds(len < MAX)?;
            Ok(len)
        }
        _ => Err(Recognition::No),
    }
}

fn length(head: &[u8]) -> Length {
    let mut probe = Probe(head);
    if let Err(other) = probe.is(0x30) {
        return if other == Recognition::Maybe { Length::Part } else { Length::No };
    }
    match length_of(&mut probe) {
        Ok(len) => Length::Is(len + (head.len() - probe.0.len()) as u64),
        Err(Recognition::Maybe) => Length::Part,
        Err(_) => Length::No,
    }
}

/// Reads its messages.
#[derive(Default)]
struct Ldap {
    /// The request that asks for TLS.
    asks_for_tls: Option<u64>,
    is_over: bool,
}

/// Number, tag and content of a message.
fn message<'a>(frame: &'a Frame<'_>) -> Option<(u64, u8, &'a [u8])> {
    let envelope = frame.reader().head();
    let (Element { content, .. }, _) = element(envelope)?;
    let (id, rest) = element(content)?;
    let (operation, _) = element(rest)?;
    Some((number(id.content).filter(|_| id.tag == 0x02)?, operation.tag, operation.content))
}

impl Grammar for Ldap {
    const NAME: &'static str = NAME;
    const GROUP: Group = Group::Db;
    const IN_ORDER: bool = false;
    const KEEP: usize = 4096;

    fn length() -> [fn(&[u8]) -> Length; 2] {
        [length, length]
    }

    fn recognise(head: &[u8]) -> Recognition {
        recognise(head)
    }

    fn asked(&mut self, frame: &Frame<'_>) -> Option<Asked> {
        let (key, tag, content) = message(frame)?;
        let (_, name) = OPERATIONS.iter().find(|(known, _)| *known == tag)?;
        let text = if tag == SEARCH { filter::of_search(content) } else { None };
        if tag == EXTENDED && element(content).is_some_and(|(name, _)| name.content == START_TLS) {
            self.asks_for_tls = Some(key);
        }
        let text_unknown = tag == SEARCH && text.is_none();
        let operation = Some(CompactString::const_new(name));
        let db = Db { system: NAME, operation, text, text_unknown, ..Db::default() };
        let request = Request::new(key, Operation::Db(Box::new(db)));
        Some(if matches!(tag, UNBIND | ABANDON) { Asked::OneWay(request) } else { Asked::Request(request) })
    }

    fn answered(&mut self, frame: &Frame<'_>) -> Option<Answered> {
        let (key, tag, content) = message(frame)?;
        if tag == SEARCH_ENTRY {
            return Some(Answered::To { key, is_last: false, how: How { rows: Some(1), ..How::default() } });
        }
        if matches!(tag, SEARCH_REFERENCE | INTERMEDIATE) {
            return Some(Answered::To { key, is_last: false, how: How::default() });
        }
        if !RESULTS.contains(&tag) {
            return None;
        }
        if tag == EXTENDED_RESPONSE && key == 0 {
            // That the server goes away.
            return Some(Answered::Nothing);
        }
        let code = element(content).filter(|(code, _)| code.tag == 0x0a).and_then(|(code, _)| number(code.content))?;
        if self.asks_for_tls == Some(key) {
            self.asks_for_tls = None;
            self.is_over = code == 0;
        }
        // A comparison's answer, and a bind that goes on, are no failures.
        let failed = !matches!(code, 0 | 5 | 6 | 14);
        let rows = (tag == 0x65).then_some(0);
        let code = failed.then(|| compact_str::format_compact!("{code}"));
        Some(Answered::To { key, is_last: true, how: How { failed, code, rows, ..How::default() } })
    }

    fn is_over(&self) -> bool {
        self.is_over
    }

    fn forget(&mut self) {
        self.asks_for_tls = None;
    }
}
