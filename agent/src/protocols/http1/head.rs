//! Heads: the start line and the header fields that matter here.

use memchr::{memchr, memrchr};

use super::recognise::{self, MAX_METHOD};
use crate::{
    model::{exchange::Http, headers},
    protocols::{
        Recognition,
        grpc::parse_number,
        http::{Field, HeaderFacts, append, take_text, text},
    },
};

/// Version of requests without a header, and of responses that are nothing but a body.
pub(super) const HTTP_0_9: &str = "0.9";
/// Bytes kept of a target.
const MAX_TARGET: usize = 2048;
/// Bytes kept of a line that comes in several pieces; what is longer is cut there.
const MAX_LINE: usize = 16 * 1024;

/// The head of a message of one direction, as far as it was read.
pub(super) trait Head: Sized {
    /// What [`recognise::recognise`] calls it.
    const KIND: Recognition;

    /// Begins with its start line; `None` if it is none. `cut`: the line goes on, but its rest was not seen.
    fn start(line: &[u8], cut: bool) -> Option<Self>;

    /// Takes a header line, without its line end.
    fn field(&mut self, line: &[u8]);

    /// Takes a line that continues the header line before it (obs-fold), trimmed.
    fn continuation(&mut self, text: &[u8]);

    /// Whether `bytes` are or may become such a head.
    fn recognise(bytes: &[u8]) -> Recognition;

    /// Whether `bytes`, which stand where a head is due, cannot become one.
    fn is_refused(bytes: &[u8]) -> bool {
        Self::recognise(bytes) == Recognition::No
    }

    /// Whether nothing follows the start line.
    fn is_whole(&self) -> bool {
        false
    }

    /// Whether `bytes`, which may be anything, are or may become a head of a kind so common that chance is unlikely.
    fn is_likely(bytes: &[u8]) -> bool;
}

/// `Content-Length`, of all header lines together.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Length {
    #[default]
    Absent,
    Known(u64),
    /// No number, or several that differ.
    Invalid,
}

/// `Upgrade`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum Upgrade {
    #[default]
    None,
    H2c,
    Other,
}

/// The fields that say how a message's body is framed and what follows it.
#[derive(Debug, Default)]
pub(super) struct Framing {
    pub(super) length: Length,
    /// A transfer coding other than `identity` is applied.
    pub(super) coded: bool,
    /// `chunked` is the last one.
    pub(super) chunked: bool,
    pub(super) upgrade: Upgrade,
    /// `Expect: 100-continue`.
    pub(super) expects_continue: bool,
}

impl Framing {
    fn take(&mut self, field: Field, value: &[u8]) {
        match field {
            Field::ContentLength => self.content_length(value),
            Field::TransferEncoding => {
                for coding in tokens(value).filter(|coding| !coding.eq_ignore_ascii_case(b"identity")) {
                    self.coded = true;
                    self.chunked = coding.eq_ignore_ascii_case(b"chunked");
                }
            }
            Field::Upgrade => {
                for protocol in tokens(value) {
                    if protocol.eq_ignore_ascii_case(b"h2c") {
                        self.upgrade = Upgrade::H2c;
                    } else if self.upgrade == Upgrade::None {
                        self.upgrade = Upgrade::Other;
                    }
                }
            }
            Field::Expect => self.expects_continue |= tokens(value).any(|it| it.eq_ignore_ascii_case(b"100-continue")),
            _ => {}
        }
    }

    /// A list of equal numbers counts as one (RFC 9110, 8.6).
    fn content_length(&mut self, value: &[u8]) {
        match parse_number(value) {
            Some(number) => self.add_length(Some(number)),
            None => tokens(value).for_each(|token| self.add_length(parse_number(token))),
        }
    }

    #[inline]
    fn add_length(&mut self, number: Option<u64>) {
        self.length = match (self.length, number) {
            (Length::Absent, Some(number)) => Length::Known(number),
            (Length::Known(before), Some(number)) if before == number => Length::Known(number),
            _ => Length::Invalid,
        };
    }
}

/// The elements of a comma-separated list.
fn tokens(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|token| !token.is_empty())
}

/// A request's head.
#[derive(Debug)]
pub(super) struct RequestHead {
    /// What of it is reported.
    pub(super) http: Box<Http>,
    pub(super) framing: Framing,
    pub(super) facts: HeaderFacts,
    last: Field,
}

impl RequestHead {
    /// Begins with a request line as it should be.
    #[inline]
    fn strict(line: &[u8], cut: bool) -> Option<Self> {
        let (method, rest) = line.split_at_checked(memchr(b' ', line.get(..=MAX_METHOD).unwrap_or(line))?)?;
        let rest = rest.get(1..)?;
        let (target, version) = match memrchr(b' ', rest) {
            Some(at) => rest.split_at_checked(at)?,
            None => (rest, &[][..]),
        };
        let version = match version {
            b" HTTP/1.1" => "1.1",
            b" HTTP/1.0" => "1.0",
            // Not seen: the version of nearly all.
            _ if cut => "1.1",
            _ => return None,
        };
        let is_method = matches!(method, b"GET" | b"POST")
            || (!method.is_empty() && method.iter().all(|&byte| recognise::is_token(byte)) && method != b"PRI");
        // No early exit: this way it is done for many bytes at once.
        let is_target = target.iter().fold(true, |fits, &byte| fits & recognise::is_target(byte));
        if !is_method || target.is_empty() || !is_target {
            return None;
        }
        let http = Http {
            version,
            method: Some(text(method, MAX_METHOD)),
            target: Some(text(target, MAX_TARGET)),
            target_truncated: target.len() > MAX_TARGET || (cut && target.len() == rest.len()),
            ..Http::default()
        };
        Some(Self::of(http))
    }

    /// Begins with one that is not.
    #[cold]
    fn loose(line: &[u8]) -> Option<Self> {
        let recognise::RequestLine { method, target, version } = recognise::loose_line(line)?;
        // Of what no target can be, text is kept: it is what was asked for.
        let is_text = !target.is_empty() && target.iter().all(|&byte| recognise::is_target(byte) || byte == b' ');
        Some(Self::of(Http {
            version,
            method: Some(text(method, MAX_METHOD)),
            target: is_text.then(|| text(target, MAX_TARGET)),
            target_truncated: target.len() > MAX_TARGET,
            ..Http::default()
        }))
    }

    fn of(http: Http) -> Self {
        Self { http: Box::new(http), framing: Framing::default(), facts: HeaderFacts::default(), last: Field::Other }
    }
}

impl Head for RequestHead {
    const KIND: Recognition = Recognition::Request;

    #[inline]
    fn start(line: &[u8], cut: bool) -> Option<Self> {
        let strict = Self::strict(line, cut);
        if strict.is_some() || cut { strict } else { Self::loose(line) }
    }

    #[inline]
    fn field(&mut self, line: &[u8]) {
        let (field, value) = Field::of_line(line);
        self.last = field;
        if headers::any() {
            self.facts.take_wanted(line);
        }
        match field {
            Field::Other => self.facts.take_other(line),
            Field::Host | Field::UserAgent | Field::TraceState => {
                if !take_text(&mut self.http, field, value, false) {
                    self.last = Field::Other;
                }
            }
            Field::ContentType => {
                self.facts.take(field, value, false);
                self.facts.take_kind(value);
            }
            _ if field.frames() => self.framing.take(field, value),
            _ => self.facts.take(field, value, false),
        }
    }

    fn continuation(&mut self, more: &[u8]) {
        match self.last {
            field if field.is_carrier() => self.facts.continue_carried(field, more),
            field if field.frames() => self.framing.take(field, more),
            field => append(&mut self.http, field, more),
        }
    }

    fn recognise(bytes: &[u8]) -> Recognition {
        recognise::request(bytes)
    }

    fn is_refused(bytes: &[u8]) -> bool {
        recognise::request(bytes) == Recognition::No && recognise::loose_request(bytes) == Recognition::No
    }

    fn is_whole(&self) -> bool {
        self.http.version == HTTP_0_9
    }

    fn is_likely(bytes: &[u8]) -> bool {
        recognise::request(bytes) != Recognition::No && recognise::may_be_registered(bytes)
    }
}

/// A response's head.
#[derive(Debug)]
pub(super) struct ResponseHead {
    pub(super) status: u16,
    pub(super) framing: Framing,
    pub(super) facts: HeaderFacts,
    last: Field,
}

impl Head for ResponseHead {
    const KIND: Recognition = Recognition::Response;

    #[inline]
    fn start(line: &[u8], _cut: bool) -> Option<Self> {
        if !line.starts_with(b"HTTP/1.1 200 ") && recognise::response(line) != Recognition::Response {
            return None;
        }
        let digits = line.get(9..12)?;
        let status = digits.iter().fold(0, |status, digit| status * 10 + u16::from(digit - b'0'));
        Some(Self { status, framing: Framing::default(), facts: HeaderFacts::default(), last: Field::Other })
    }

    #[inline]
    fn field(&mut self, line: &[u8]) {
        let (field, value) = Field::of_line(line);
        self.last = field;
        if headers::any() {
            self.facts.take_wanted(line);
        }
        match field {
            Field::Other => self.facts.take_other_of_answer(line),
            _ if field.frames() => self.framing.take(field, value),
            _ => self.facts.take(field, value, false),
        }
    }

    fn continuation(&mut self, more: &[u8]) {
        self.framing.take(self.last, more);
    }

    fn recognise(bytes: &[u8]) -> Recognition {
        recognise::response(bytes)
    }

    fn is_likely(bytes: &[u8]) -> bool {
        recognise::response(bytes) != Recognition::No
    }
}

/// A line of which only the beginning has come yet.
#[derive(Debug, Default)]
pub(super) struct Line {
    pub(super) bytes: Vec<u8>,
    /// It is longer than what is kept of it.
    pub(super) cut: bool,
}

impl Line {
    pub(super) fn is_empty(&self) -> bool {
        self.bytes.is_empty()
    }

    pub(super) fn push(&mut self, more: &[u8]) {
        let room = MAX_LINE - self.bytes.len().min(MAX_LINE);
        self.bytes.extend_from_slice(more.get(..room).unwrap_or(more));
        self.cut |= more.len() > room;
    }

    pub(super) fn clear(&mut self) {
        // Heads that come in pieces are rare: give the memory back.
        *self = Self::default();
    }
}

/// What came of reading a head.
pub(super) enum Scanned<H> {
    /// The whole head, and how many bytes of the input follow it.
    Done(H, usize),
    /// It goes on behind the input.
    More,
    /// The start line is none.
    Invalid,
}

/// Reads on in a head whose beginning is in `partial` and whose unfinished line is in `line`. A head that stands in
/// `bytes` as a whole is read in place.
#[inline]
pub(super) fn scan<H: Head>(partial: &mut Option<H>, line: &mut Line, bytes: &[u8]) -> Scanned<H> {
    let mut head = partial.take();
    let mut rest = bytes;
    while let Some(at) = memchr(b'\n', rest) {
        let (text, behind) = rest.split_at(at);
        rest = behind.get(1..).unwrap_or_default();
        if line.is_empty() {
            match take_line(&mut head, text, false) {
                Taken::Line => continue,
                Taken::End => {}
                Taken::Invalid => return Scanned::Invalid,
            }
        } else {
            line.push(text);
            let taken = take_line(&mut head, &line.bytes, line.cut);
            line.clear();
            match taken {
                Taken::Line => continue,
                Taken::End => {}
                Taken::Invalid => return Scanned::Invalid,
            }
        }
        if let Some(head) = head {
            return Scanned::Done(head, rest.len());
        }
    }
    let young = line.bytes.len() <= 64;
    line.push(rest);
    // A look at the first bytes is enough to refuse most of what is no head; not repeated for long lines.
    if head.is_none() && young && H::is_refused(&line.bytes) {
        return Scanned::Invalid;
    }
    *partial = head;
    Scanned::More
}

enum Taken {
    Line,
    End,
    Invalid,
}

#[inline]
fn take_line<H: Head>(head: &mut Option<H>, line: &[u8], cut: bool) -> Taken {
    let line = line.strip_suffix(b"\r").unwrap_or(line);
    match (head, line.first()) {
        (Some(_), None) => return Taken::End,
        (Some(head), Some(b' ' | b'\t')) => head.continuation(line.trim_ascii()),
        (Some(head), Some(_)) => head.field(line),
        (head @ None, _) => match H::start(line, cut) {
            Some(started) => {
                let is_whole = started.is_whole();
                *head = Some(started);
                if is_whole {
                    return Taken::End;
                }
            }
            None => return Taken::Invalid,
        },
    }
    Taken::Line
}
