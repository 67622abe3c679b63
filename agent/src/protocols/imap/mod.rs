//! IMAP (RFC 3501, 9051): commands, by the tag that each carries, with `NO` or `BAD` where one failed. Nothing is told of mailboxes,
//! messages, what is looked for, and of what is shown to log in.

mod line;
#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use samples::samples;

use compact_str::CompactString;

use self::line::{Literal, length_of_answer, length_of_request, line, literal, literal_of_answer, status, tagged};
use super::{
    Capture, Recognition, Session,
    paired::{Answered, Asked, Grammar, How, Paired, Request},
    sized::{Frame, Length},
};
use crate::model::{
    exchange::{Group, Operation, Rpc},
    net::Role,
};

/// The protocol's name.
pub(super) const NAME: &str = "imap";

/// How a command ended stands behind all that it gives: of longer answers it is not known.
pub(super) const CAPTURE: Capture = Capture::turns(8192, 64 << 10);

/// Bytes kept of a line: lists of messages are long.
const MAX_LINE: usize = 16 << 10;

/// Commands that are told by their names, and whether something may stand behind them.
const COMMANDS: &[(&str, bool)] = &[
    ("APPEND", true),
    ("AUTHENTICATE", true),
    ("CAPABILITY", false),
    ("CHECK", false),
    ("CLOSE", false),
    ("COMPRESS", true),
    ("COPY", true),
    ("CREATE", true),
    ("DELETE", true),
    ("DELETEACL", true),
    ("ENABLE", true),
    ("EXAMINE", true),
    ("EXPUNGE", false),
    ("FETCH", true),
    ("GETACL", true),
    ("GETMETADATA", true),
    ("GETQUOTA", true),
    ("GETQUOTAROOT", true),
    ("ID", true),
    ("IDLE", false),
    ("LIST", true),
    ("LISTRIGHTS", true),
    ("LOGIN", true),
    ("LOGOUT", false),
    ("LSUB", true),
    ("MOVE", true),
    ("MYRIGHTS", true),
    ("NAMESPACE", false),
    ("NOOP", false),
    ("NOTIFY", true),
    ("RENAME", true),
    ("REPLACE", true),
    ("SEARCH", true),
    ("SELECT", true),
    ("SETACL", true),
    ("SETMETADATA", true),
    ("SETQUOTA", true),
    ("SORT", true),
    ("STARTTLS", false),
    ("STATUS", true),
    ("STORE", true),
    ("SUBSCRIBE", true),
    ("THREAD", true),
    ("UID", true),
    ("UNAUTHENTICATE", false),
    ("UNSELECT", false),
    ("UNSUBSCRIBE", true),
    ("XLIST", true),
];
/// Commands that name messages by their unique numbers.
const OF_UIDS: &[&str] = &["COPY", "EXPUNGE", "FETCH", "MOVE", "REPLACE", "SEARCH", "SORT", "STORE", "THREAD"];
/// Longest word that is looked at.
const MAX_WORD: usize = 16;

/// See [`super::Entry::open`].
pub(super) fn open(role: Role) -> Box<dyn Session> {
    Paired::open(role, Imap::default())
}

/// See [`super::Entry::recognise`].
pub(super) fn recognise(head: &[u8]) -> Recognition {
    line::recognise(head)
}

/// Reads its lines.
#[derive(Default)]
struct Imap {
    /// What the client's next message is.
    next: Next,
    /// The client asks to go on with so many bytes.
    asks: Option<u64>,
    lets_pass: Option<u64>,
    /// The last command.
    last: u64,
    /// One that changes what the connection speaks.
    changes: Option<u64>,
    /// The server's line goes on behind bytes that it has counted.
    goes_on: bool,
    is_over: bool,
}

/// What the client's next message is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Next {
    #[default]
    Command,
    /// Bytes that were counted before.
    Literal,
    /// The rest of a command, behind those.
    Rest,
    /// What the server has asked for: who the client is, or when it has waited enough.
    Line,
}

/// A tag as a number. Those of more than eight bytes may have the same as others.
fn key(tag: &[u8]) -> u64 {
    match tag.len() {
        0..=8 => tag.iter().fold(0, |number, byte| number << 8 | u64::from(*byte)),
        _ => tag
            .iter()
            .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)),
    }
}

/// The command's name, with the one behind `UID`.
fn method(rest: &[u8]) -> CompactString {
    let mut words = rest.split(|byte| matches!(byte, b' ' | b'\r' | b'\n')).map(upper);
    let first = words.next().flatten();
    let Some((name, _)) = COMMANDS.iter().find(|(known, _)| first.as_deref() == Some(*known)) else {
        return CompactString::const_new("_OTHER");
    };
    let second = words.next().flatten().filter(|_| *name == "UID");
    match OF_UIDS.iter().find(|known| second.as_deref() == Some(**known)) {
        Some(second) => compact_str::format_compact!("UID {second}"),
        None => CompactString::const_new(name),
    }
}

/// A word in capitals, if it is one.
fn upper(word: &[u8]) -> Option<CompactString> {
    let is_word = (1..=MAX_WORD).contains(&word.len()) && word.iter().all(u8::is_ascii_alphabetic);
    is_word.then(|| CompactString::from_utf8_lossy(&word.to_ascii_uppercase()))
}

impl Imap {
    /// What follows a line of a command.
    fn follow(&mut self, line: &[u8]) {
        match literal(line) {
            Some(Literal { bytes, waits: true }) => self.asks = Some(bytes),
            Some(Literal { waits: false, .. }) => self.next = Next::Rest,
            None => {}
        }
    }
}

impl Grammar for Imap {
    const NAME: &'static str = NAME;
    const GROUP: Group = Group::Rpc;
    const IN_ORDER: bool = false;
    const KEEP: usize = MAX_LINE;

    fn length() -> [fn(&[u8]) -> Length; 2] {
        [length_of_request, length_of_answer]
    }

    fn recognise(head: &[u8]) -> Recognition {
        recognise(head)
    }

    fn asked(&mut self, frame: &Frame<'_>) -> Option<Asked> {
        // Whoever asks to go on waits until it may.
        if self.asks.is_some() {
            return None;
        }
        match std::mem::take(&mut self.next) {
            Next::Command => {}
            Next::Literal => {
                self.next = Next::Rest;
                return Some(Asked::Nothing);
            }
            Next::Rest => {
                self.follow(line(frame.reader().head()));
                return Some(Asked::Nothing);
            }
            Next::Line => return Some(Asked::Nothing),
        }
        let line = line(frame.reader().head());
        if line.is_empty() {
            return Some(Asked::Nothing);
        }
        let (tag, rest) = tagged(line)?;
        let (key, method) = (key(tag), method(rest));
        self.last = key;
        if matches!(&*method, "STARTTLS" | "COMPRESS") {
            self.changes = Some(key);
        }
        self.follow(line);
        let rpc = Rpc { system: NAME, method: Some(method), ..Rpc::default() };
        Some(Asked::Request(Request::new(key, Operation::Rpc(Box::new(rpc)))))
    }

    fn answered(&mut self, frame: &Frame<'_>) -> Option<Answered> {
        let line = line(frame.reader().head());
        let goes_on = std::mem::replace(&mut self.goes_on, literal_of_answer(line).is_some());
        if goes_on || line.starts_with(b"* ") {
            return Some(Answered::Nothing);
        }
        if line.first() == Some(&b'+') {
            match self.asks.take() {
                Some(0) => self.next = Next::Rest,
                Some(bytes) => (self.next, self.lets_pass) = (Next::Literal, Some(bytes)),
                None => self.next = Next::Line,
            }
            return Some(Answered::Nothing);
        }
        let (tag, rest) = tagged(line)?;
        let code = match status(rest)? {
            "OK" => None,
            code @ ("NO" | "BAD") => Some(CompactString::const_new(code)),
            _ => return None,
        };
        let key = key(tag);
        if key == self.last {
            // What it was to go on with does not come any more.
            (self.asks, self.next) = (None, Next::Command);
        }
        if self.changes == Some(key) {
            self.changes = None;
            self.is_over = code.is_none();
        }
        Some(Answered::To { key, is_last: true, how: How { failed: code.is_some(), code, ..How::default() } })
    }

    fn lets_pass(&mut self) -> Option<u64> {
        self.lets_pass.take()
    }

    fn is_over(&self) -> bool {
        self.is_over
    }

    fn forget(&mut self) {
        *self = Self::default();
    }
}
