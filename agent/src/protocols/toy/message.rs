//! Messages: a line, and behind it as many bytes as it says.

use compact_str::CompactString;
use memchr::memchr;

/// Longest line.
const MAX_LINE: usize = 512;

/// Where in its messages a direction stands.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// What has come of a line that goes on.
    line: Vec<u8>,
    line_ns: u64,
    /// Bytes of the body that are to come.
    body: Option<u64>,
}

/// What came of some bytes.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// More has to come.
    More,
    /// A line has ended that began at this time: the words behind `TOY`, or those of an answer.
    Head { at_ns: u64, first: CompactString, second: CompactString },
    /// A message has ended.
    End,
}

impl Reader {
    /// Takes the next step, and gives what is left of the bytes; `None` if they are no message.
    pub(super) fn step<'a>(&mut self, bytes: &'a [u8], at_ns: u64) -> Option<(Step, &'a [u8])> {
        if let Some(left) = self.body {
            let len = usize::try_from(left).unwrap_or(usize::MAX).min(bytes.len());
            return Some((self.skip(len as u64)?, bytes.get(len..)?));
        }
        if self.line.is_empty() {
            self.line_ns = at_ns;
        }
        let (part, rest) = match memchr(b'\n', bytes) {
            Some(end) => (bytes.get(..end)?, bytes.get(end + 1..)?),
            None => (bytes, &[][..]),
        };
        if self.line.len() + part.len() > MAX_LINE {
            return None;
        }
        self.line.extend_from_slice(part);
        if part.len() == bytes.len() {
            return Some((Step::More, rest));
        }
        let line = std::mem::take(&mut self.line);
        let mut words = str::from_utf8(&line).ok()?.split(' ');
        let first = words.next()?;
        let (first, second) = match first {
            "TOY" => (words.next().filter(|verb| matches!(*verb, "GET" | "SET"))?, words.next()?),
            "-ERR" => (first, words.next()?),
            "+OK" => (first, ""),
            _ => return None,
        };
        self.body = Some(words.next()?.parse().ok()?);
        let (first, second) = (first.into(), second.into());
        Some((Step::Head { at_ns: self.line_ns, first, second }, rest))
    }

    /// Whether the message that is read ends here, with nothing behind its line.
    pub(super) fn ends_here(&mut self) -> bool {
        self.body.take_if(|left| *left == 0).is_some()
    }

    /// So many bytes were not seen; `None` if they were not all of a body.
    pub(super) fn skip(&mut self, count: u64) -> Option<Step> {
        let left = self.body?.checked_sub(count)?;
        self.body = (left > 0).then_some(left);
        Some(if left == 0 { Step::End } else { Step::More })
    }

    /// Heap bytes held.
    pub(super) fn memory(&self) -> usize {
        self.line.capacity()
    }
}
