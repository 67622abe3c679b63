//! SMTP and LMTP (RFC 5321, 2033): commands, in order, with the code of a refusal. Nothing is told of who writes to whom, of what is
//! written, and of what is shown to log in.

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
    sized::{Frame, Length},
};
use crate::model::{
    exchange::{Group, Operation, Rpc},
    net::Role,
};

/// The protocol's name.
pub(super) const NAME: &str = "smtp";

/// Lines are short; of messages nothing is told.
pub(super) const CAPTURE: Capture = Capture::turns(2048, 1024);

/// Commands that are told by their names.
const COMMANDS: &[&str] = &[
    "AUTH", "BDAT", "DATA", "EHLO", "ETRN", "EXPN", "HELO", "HELP", "LHLO", "MAIL", "NOOP", "QUIT", "RCPT", "RSET",
    "STARTTLS", "VRFY", "XCLIENT", "XFORWARD",
];
/// What a client begins with.
const GREETINGS: &[&[u8]] = &[b"EHLO ", b"HELO ", b"LHLO "];
/// Longest line.
const MAX_LINE: usize = 4096;

/// See [`super::Entry::open`].
pub(super) fn open(role: Role) -> Box<dyn Session> {
    Paired::open(role, Smtp::default())
}

/// See [`super::Entry::recognise`].
pub(super) fn recognise(head: &[u8]) -> Recognition {
    let upper = head.get(..5).unwrap_or(head).to_ascii_uppercase();
    if GREETINGS.iter().any(|greeting| greeting.starts_with(&upper)) {
        return match head.iter().position(|byte| *byte == b'\n') {
            Some(end) if head.get(..end).is_some_and(is_text) && head.len() > 7 => Recognition::Request,
            None if is_text(head) => Recognition::Maybe,
            _ => Recognition::No,
        };
    }
    let line = head.split(|byte| *byte == b'\n').next().unwrap_or_default();
    let is_begun = b"220".starts_with(head.get(..3).unwrap_or(head));
    let is_reply = is_begun && head.get(3).is_none_or(|byte| matches!(byte, b' ' | b'-')) && is_text(line);
    match () {
        () if !is_reply => Recognition::No,
        // FTP greets in the same way, but for that word.
        () if memchr::memmem::find(line, b"SMTP").is_some() => Recognition::Greeting,
        () => Recognition::Maybe,
    }
}

fn is_text(line: &[u8]) -> bool {
    line.len() <= 512 && line.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\r' | 0x80..))
}

fn length(head: &[u8]) -> Length {
    match memchr::memchr(b'\n', head) {
        Some(end) => Length::Is(end as u64 + 1),
        None => Length::Part,
    }
}

/// Reads its lines.
#[derive(Default)]
struct Smtp {
    /// Something was asked.
    has_asked: bool,
    /// The client writes a message, up to what the server says of it.
    is_content: bool,
    /// The next line of the client says who it is.
    is_challenged: bool,
    asks_for_tls: bool,
    is_over: bool,
}

impl Grammar for Smtp {
    const NAME: &'static str = NAME;
    const GROUP: Group = Group::Rpc;
    const IN_ORDER: bool = true;
    const KEEP: usize = MAX_LINE;

    fn length() -> [fn(&[u8]) -> Length; 2] {
        [length, length]
    }

    fn recognise(head: &[u8]) -> Recognition {
        // Of a connection that is known to be one, any command begins a request.
        let word = word(head);
        let is_command = word.is_some_and(|word| COMMANDS.contains(&&*word));
        if is_command { Recognition::Request } else { recognise(head) }
    }

    fn asked(&mut self, frame: &Frame<'_>) -> Option<Asked> {
        self.has_asked = true;
        if std::mem::take(&mut self.is_challenged) {
            return Some(Asked::Nothing);
        }
        let line = frame.reader().head();
        // What is no text is no line.
        if line.contains(&0) {
            return None;
        }
        let word = word(line);
        let known = word.as_ref().and_then(|word| COMMANDS.iter().find(|known| *known == word));
        self.is_content |= known == Some(&"BDAT");
        self.asks_for_tls = known == Some(&"STARTTLS");
        let method = Some(CompactString::const_new(known.copied().unwrap_or("_OTHER")));
        let rpc = Rpc { system: NAME, method, ..Rpc::default() };
        Some(Asked::Request(Request::new(0, Operation::Rpc(Box::new(rpc)))))
    }

    fn answered(&mut self, frame: &Frame<'_>) -> Option<Answered> {
        let line = frame.reader().head();
        let digits = line.get(..3).filter(|digits| digits.iter().all(u8::is_ascii_digit))?;
        let is_last = match line.get(3) {
            Some(b'-') => false,
            Some(b' ' | b'\r' | b'\n') => true,
            _ => return None,
        };
        let class = digits.first()?;
        if !(b'2'..=b'5').contains(class) {
            return None;
        }
        if !self.has_asked {
            // What it is.
            return Some(Answered::Nothing);
        }
        self.is_content = false;
        if *class == b'3' {
            // It goes on: with the message, or with who the client is.
            (self.is_content, self.is_challenged) = (digits == b"354", digits == b"334");
            return Some(Answered::To { key: 0, is_last: false, how: How::default() });
        }
        let failed = matches!(class, b'4' | b'5');
        self.is_over |= is_last && digits == b"220" && self.asks_for_tls;
        let code = failed.then(|| CompactString::from_utf8_lossy(digits));
        Some(Answered::To { key: 0, is_last, how: How { failed, code, ..How::default() } })
    }

    fn reads(&self, is_request: bool) -> bool {
        !(is_request && self.is_content)
    }

    fn is_over(&self) -> bool {
        self.is_over
    }

    fn forget(&mut self) {
        // A message may be on its way: what is no command is none of its lines then.
        *self = Self { has_asked: true, ..Self::default() };
    }
}

/// The first word of a line, in capitals.
fn word(line: &[u8]) -> Option<CompactString> {
    let end = line.iter().position(|byte| !byte.is_ascii_alphabetic())?;
    let word = line.get(..end).filter(|word| (4..=8).contains(&word.len()))?;
    let is_whole = matches!(line.get(end), Some(b' ' | b'\r' | b'\n'));
    is_whole.then(|| CompactString::from_utf8_lossy(&word.to_ascii_uppercase()))
}
