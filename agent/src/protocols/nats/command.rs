//! Lines: a word, subjects, and sizes.

use crate::{model::trace_context::TraceParent, protocols::sized::Cursor};

/// Largest message that is believed: servers take 1 MiB unless it is set otherwise, and 64 MiB at most.
const PAYLOAD_MAX: u64 = 64 << 20;
/// Longest subject.
const SUBJECT_MAX: usize = 1024;
/// Most bytes of headers that are looked through.
const HEADERS_MAX: u64 = 4096;

/// What a line begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Word {
    Info,
    Connect,
    Pub,
    HPub,
    Sub,
    Unsub,
    Msg,
    HMsg,
    Ping,
    Pong,
    Ok,
    Err,
}

impl Word {
    pub(super) const ALL: [Self; 12] = [
        Self::Info,
        Self::Connect,
        Self::Pub,
        Self::HPub,
        Self::Sub,
        Self::Unsub,
        Self::Msg,
        Self::HMsg,
        Self::Ping,
        Self::Pong,
        Self::Ok,
        Self::Err,
    ];

    /// As it is written, and whether something stands behind it.
    const fn text(self) -> (&'static [u8], bool) {
        match self {
            Self::Info => (b"INFO", true),
            Self::Connect => (b"CONNECT", true),
            Self::Pub => (b"PUB", true),
            Self::HPub => (b"HPUB", true),
            Self::Sub => (b"SUB", true),
            Self::Unsub => (b"UNSUB", true),
            Self::Msg => (b"MSG", true),
            Self::HMsg => (b"HMSG", true),
            Self::Ping => (b"PING", false),
            Self::Pong => (b"PONG", false),
            Self::Ok => (b"+OK", false),
            Self::Err => (b"-ERR", true),
        }
    }

    /// Whether bytes without an end of line may become a line that begins with it.
    pub(super) fn may_begin(self, head: &[u8]) -> bool {
        let (text, _) = self.text();
        let common = head.len().min(text.len());
        let Some((word, rest)) = head.split_at_checked(common) else { return false };
        if !text.get(..common).is_some_and(|text| text.eq_ignore_ascii_case(word)) {
            return false;
        }
        match (self, rest) {
            (_, []) => true,
            (Self::Ping | Self::Pong | Self::Ok, rest) => rest == b"\r",
            (Self::Info | Self::Connect, [b' ' | b'\t', rest @ ..]) => {
                rest.trim_ascii_start().first().is_none_or(|it| *it == b'{')
            }
            (_, [b' ' | b'\t', rest @ ..]) => rest.iter().all(|byte| matches!(byte, b' '..=b'~' | b'\t' | b'\r')),
            _ => false,
        }
    }
}

/// A line.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Line<'a> {
    pub(super) word: Word,
    pub(super) subject: &'a str,
    /// The subject that an answer is to have; of a subscription, its group.
    pub(super) reply: Option<&'a str>,
    /// Bytes of headers.
    pub(super) headers: u64,
    /// Bytes of headers and payload, where there is one.
    pub(super) payload: Option<u64>,
    /// The number of a subscription.
    pub(super) subscription: &'a str,
}

impl<'a> Line<'a> {
    /// Reads one without its `\n`; `None` if it is none.
    pub(super) fn read(line: &'a [u8]) -> Option<Self> {
        let line = line.strip_suffix(b"\r")?;
        let word_end = line.iter().position(|byte| matches!(byte, b' ' | b'\t')).unwrap_or(line.len());
        let (word, rest) = line.split_at_checked(word_end)?;
        let is_it = |it: &&Word| it.text().0.eq_ignore_ascii_case(word);
        let word = Word::ALL.iter().find(is_it).copied()?;
        if word.text().1 == rest.is_empty() {
            return None;
        }
        let mut read = Self { word, subject: "", reply: None, headers: 0, payload: None, subscription: "" };
        let rest = match word {
            // What is in it is nobody's business.
            Word::Info | Word::Connect => {
                let rest = rest.trim_ascii();
                return (rest.first() == Some(&b'{') && rest.last() == Some(&b'}')).then_some(read);
            }
            Word::Err => return rest.trim_ascii().starts_with(b"'").then_some(read),
            Word::Ping | Word::Pong | Word::Ok => return Some(read),
            _ => str::from_utf8(rest).ok()?,
        };
        let mut words = [""; 6];
        let mut count = 0;
        for word in rest.split([' ', '\t']).filter(|word| !word.is_empty()) {
            *words.get_mut(count)? = word;
            count += 1;
        }
        let words = words.get(..count)?;
        let sizes = match (word, words) {
            (Word::Pub, [subject, reply @ .., size]) if reply.len() <= 1 => {
                (read.subject, read.reply) = (subject, reply.first().copied());
                ("0", *size)
            }
            (Word::HPub, [subject, reply @ .., headers, size]) if reply.len() <= 1 => {
                (read.subject, read.reply) = (subject, reply.first().copied());
                (*headers, *size)
            }
            (Word::Msg, [subject, subscription, reply @ .., size]) if reply.len() <= 1 => {
                (read.subject, read.subscription, read.reply) = (subject, subscription, reply.first().copied());
                ("0", *size)
            }
            (Word::HMsg, [subject, subscription, reply @ .., headers, size]) if reply.len() <= 1 => {
                (read.subject, read.subscription, read.reply) = (subject, subscription, reply.first().copied());
                (*headers, *size)
            }
            (Word::Sub, [subject, group @ .., subscription]) if group.len() <= 1 => {
                (read.subject, read.subscription, read.reply) = (subject, subscription, group.first().copied());
                let is_number = subscription.bytes().all(|byte| byte.is_ascii_alphanumeric());
                return (is_number && is_subject(subject)).then_some(read);
            }
            (Word::Unsub, [subscription, ..]) if words.len() <= 2 => {
                read.subscription = subscription;
                return Some(read);
            }
            _ => return None,
        };
        let size = |text: &str| number(text).filter(|size| *size <= PAYLOAD_MAX);
        let (headers, payload) = (size(sizes.0)?, size(sizes.1)?);
        (read.headers, read.payload) = (headers, Some(payload));
        (headers <= payload && is_subject(read.subject)).then_some(read)
    }
}

fn number(text: &str) -> Option<u64> {
    text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok())?
}

fn is_subject(text: &str) -> bool {
    !text.is_empty() && text.len() <= SUBJECT_MAX && text.bytes().all(|byte| byte > b' ' && byte != 0x7f)
}

/// What the headers of a message say.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Headers {
    /// A word of the server's own, instead of a message: a number as HTTP has them.
    pub(super) status: Option<u16>,
    pub(super) context: Option<TraceParent>,
}

/// Reads headers, as far as they are there.
pub(super) fn headers(at: &mut Cursor<'_>, length: u64) -> Headers {
    let mut read = Headers::default();
    let Some(text) = at.take(length.min(HEADERS_MAX)) else { return read };
    let mut lines = text.split(|byte| *byte == b'\n').map(<[u8]>::trim_ascii);
    let first = lines.next().and_then(|first| first.strip_prefix(b"NATS/1.0")).unwrap_or_default().trim_ascii();
    read.status = first.get(..3).and_then(|digits| str::from_utf8(digits).ok()?.parse().ok());
    for line in lines {
        if let Some(colon) = memchr::memchr(b':', line)
            && let Some((name, value)) = line.split_at_checked(colon)
            && name.eq_ignore_ascii_case(b"traceparent")
        {
            read.context = value.strip_prefix(b":").and_then(TraceParent::parse);
        }
    }
    read
}
