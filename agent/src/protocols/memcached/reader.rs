//! Where a direction's messages begin and end. It reads pieces of any size, and keeps what it has to read at once only.

use std::borrow::Cow;

use memchr::memchr;

use super::binary;

/// Longest line: commands may name many keys.
const MAX_LINE: usize = 64 * 1024;

/// Where in its messages a direction stands.
#[derive(Debug)]
pub(super) struct Reader {
    is_request: bool,
    dialect: Option<Dialect>,
    /// What has come of a message that has to be read at once.
    part: Vec<u8>,
    /// Bytes of a value that are to come, its end of line included.
    value: u64,
}

/// In which of the protocols a direction is written: the first byte says it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    Text,
    Binary,
}

/// What came of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step<'a> {
    /// More has to come.
    More,
    /// A line, without its end.
    Line(Cow<'a, [u8]>),
    /// A message of the binary protocol, without its value.
    Message(Cow<'a, [u8]>),
    /// A value has ended.
    End,
}

impl Reader {
    pub(super) const fn new(is_request: bool) -> Self {
        Self { is_request, dialect: None, part: Vec::new(), value: 0 }
    }

    /// Whether the next byte begins a message.
    pub(super) fn is_between(&self) -> bool {
        self.part.is_empty() && self.value == 0
    }

    /// It is written in lines.
    pub(super) fn is_text(&self) -> bool {
        self.dialect == Some(Dialect::Text)
    }

    /// Forgets what it was reading.
    pub(super) fn reset(&mut self) {
        (self.part, self.value, self.dialect) = (Vec::new(), 0, None);
    }

    /// A value of so many bytes stands behind the line that was read.
    pub(super) const fn expect(&mut self, value: u64) {
        self.value = value + 2;
    }

    /// Takes the next step, and gives what is left of the bytes; `None` if they are no message.
    pub(super) fn step<'a>(&mut self, bytes: &'a [u8]) -> Option<(Step<'a>, &'a [u8])> {
        if self.value > 0 {
            let len = usize::try_from(self.value).unwrap_or(usize::MAX).min(bytes.len());
            let (part, rest) = bytes.split_at_checked(len)?;
            self.value -= len as u64;
            if self.value == 0 && self.dialect == Some(Dialect::Text) {
                let ends_right = part.ends_with(b"\r\n") || part == b"\n";
                return ends_right.then_some((Step::End, rest));
            }
            return Some((if self.value == 0 { Step::End } else { Step::More }, rest));
        }
        let first = *self.part.first().or(bytes.first())?;
        let is_binary = first == if self.is_request { binary::REQUEST } else { binary::RESPONSE };
        let dialect = if is_binary { Dialect::Binary } else { Dialect::Text };
        if *self.dialect.get_or_insert(dialect) != dialect {
            return None;
        }
        match dialect {
            Dialect::Text => self.line(bytes),
            Dialect::Binary => self.message(bytes),
        }
    }

    fn line<'a>(&mut self, bytes: &'a [u8]) -> Option<(Step<'a>, &'a [u8])> {
        let Some(end) = memchr(b'\n', bytes) else {
            self.keep(bytes, MAX_LINE)?;
            return Some((Step::More, &[]));
        };
        let (part, rest) = (bytes.get(..end)?, bytes.get(end + 1..)?);
        let line = if self.part.is_empty() {
            Cow::Borrowed(part.strip_suffix(b"\r").unwrap_or(part))
        } else {
            self.keep(part, MAX_LINE)?;
            let mut line = std::mem::take(&mut self.part);
            line.pop_if(|last| *last == b'\r');
            Cow::Owned(line)
        };
        Some((Step::Line(line), rest))
    }

    fn message<'a>(&mut self, bytes: &'a [u8]) -> Option<(Step<'a>, &'a [u8])> {
        if self.part.is_empty()
            && let Some((head, value)) =
                bytes.get(..binary::HEADER).and_then(|head| binary::lengths(head, self.is_request))
            && let Some((head, rest)) = bytes.split_at_checked(head)
        {
            self.value = value;
            return Some((Step::Message(Cow::Borrowed(head)), rest));
        }
        let mut rest = bytes;
        let mut wanted = binary::HEADER;
        loop {
            let missing = wanted.saturating_sub(self.part.len());
            let (part, behind) = rest.split_at(missing.min(rest.len()));
            self.part.extend_from_slice(part);
            rest = behind;
            if self.part.len() < wanted {
                return Some((Step::More, rest));
            }
            let (head, value) = binary::lengths(&self.part, self.is_request)?;
            if self.part.len() >= head {
                self.value = value;
                return Some((Step::Message(Cow::Owned(std::mem::take(&mut self.part))), rest));
            }
            wanted = head;
        }
    }

    fn keep(&mut self, bytes: &[u8], most: usize) -> Option<()> {
        // Lines are text; what is none is found out before all of a limit was kept.
        let is_text = bytes.iter().all(|byte| *byte >= b' ' || *byte == b'\r' || *byte == b'\t');
        (is_text && self.part.len() + bytes.len() <= most).then(|| self.part.extend_from_slice(bytes))
    }

    /// So many bytes were not seen; `None` if they were not all of a value.
    pub(super) fn skip(&mut self, count: u64) -> Option<Step<'static>> {
        if self.value == 0 {
            return None;
        }
        self.value = self.value.checked_sub(count)?;
        Some(if self.value == 0 { Step::End } else { Step::More })
    }

    /// What has come of a line whose end was not seen.
    pub(super) fn give_up(&mut self) -> Vec<u8> {
        let line = std::mem::take(&mut self.part);
        let is_line = self.dialect == Some(Dialect::Text);
        self.reset();
        if is_line { line } else { Vec::new() }
    }

    /// Heap bytes held.
    pub(super) fn memory(&self) -> usize {
        self.part.capacity()
    }
}
