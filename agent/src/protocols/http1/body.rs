//! Bodies whose framing is known (RFC 9112, 6 and 7).

use memchr::memchr;

/// Largest chunk taken for one.
const MAX_CHUNK: u64 = 1 << 48;

/// Where in a body the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// By `Content-Length`.
    Counted { left: u64, total: u64 },
    /// By chunks.
    Chunked(Chunked),
    /// All that comes until the direction ends.
    UntilEnd { total: u64 },
}

/// Where in a chunked body the next byte stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Chunked {
    part: Part,
    /// Bytes in the chunks whose header was read.
    total: u64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Part {
    /// In the digits of a chunk's size; none yet if `size` is `None`.
    Size { size: Option<u64> },
    /// Behind the digits: extensions, until the line ends.
    Extension { size: u64 },
    /// In a chunk's data.
    Data { left: u64 },
    /// In the line end behind a chunk's data; `cr`: behind its CR.
    DataEnd { cr: bool },
    /// In the trailer section; `blank`: in a line that has no bytes yet.
    Trailer { blank: bool },
}

/// What came of some bytes of a body.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// All of them are of the body, and more is due.
    More,
    /// The body ends behind the first `used` bytes.
    End { used: usize },
    /// The first `used` bytes are no chunked body.
    Invalid { used: usize },
}

/// What came of bytes of a body that were not captured.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Skip {
    /// The place in the body is still known.
    More,
    /// The body ends with them.
    End,
    /// The body ended among them; what followed it was not captured either.
    Passed,
    /// The place is lost.
    Lost,
}

impl Body {
    pub(super) const fn chunked() -> Self {
        Self::Chunked(Chunked { part: Part::Size { size: None }, total: 0 })
    }

    pub(super) const fn counted(length: u64) -> Self {
        Self::Counted { left: length, total: length }
    }

    /// Bytes of the whole body without transfer coding, once it has ended.
    pub(super) const fn total(&self) -> u64 {
        match self {
            Self::Counted { total, .. } | Self::Chunked(Chunked { total, .. }) | Self::UntilEnd { total } => *total,
        }
    }

    #[inline]
    pub(super) fn feed(&mut self, bytes: &[u8]) -> Step {
        match self {
            Self::Counted { left, .. } => {
                let used = usize::try_from(*left).unwrap_or(usize::MAX).min(bytes.len());
                *left -= used as u64;
                if *left == 0 { Step::End { used } } else { Step::More }
            }
            Self::Chunked(chunked) => chunked.feed(bytes),
            Self::UntilEnd { total } => {
                *total = total.saturating_add(bytes.len() as u64);
                Step::More
            }
        }
    }

    pub(super) fn skip(&mut self, count: u64) -> Skip {
        match self {
            Self::Counted { left, .. } if count > *left => Skip::Passed,
            Self::Counted { left, .. } => {
                *left -= count;
                if *left == 0 { Skip::End } else { Skip::More }
            }
            Self::Chunked(chunked) => chunked.skip(count),
            Self::UntilEnd { total } => {
                *total = total.saturating_add(count);
                Skip::More
            }
        }
    }
}

impl Chunked {
    fn feed(&mut self, bytes: &[u8]) -> Step {
        let mut at = 0;
        while let Some(rest @ [byte, ..]) = bytes.get(at..) {
            let byte = *byte;
            match self.part {
                Part::Size { size } => {
                    at += 1;
                    match (byte, size) {
                        (b'\n', Some(size)) => self.begin(size),
                        (b'\r' | b' ' | b'\t' | b';', Some(size)) => self.part = Part::Extension { size },
                        _ => {
                            let digit = (byte as char).to_digit(16).map(u64::from);
                            let next = digit.map(|digit| (size.unwrap_or(0) << 4) | digit);
                            match next.filter(|&size| size <= MAX_CHUNK) {
                                Some(size) => self.part = Part::Size { size: Some(size) },
                                None => return Step::Invalid { used: at },
                            }
                        }
                    }
                }
                Part::Extension { size } => match memchr(b'\n', rest) {
                    Some(end) => {
                        at += end + 1;
                        self.begin(size);
                    }
                    None => return Step::More,
                },
                Part::Data { left } => {
                    let used = usize::try_from(left).unwrap_or(usize::MAX).min(rest.len());
                    at += used;
                    let left = left - used as u64;
                    self.part = if left == 0 { Part::DataEnd { cr: false } } else { Part::Data { left } };
                }
                Part::DataEnd { cr } => {
                    at += 1;
                    match byte {
                        b'\n' => self.part = Part::Size { size: None },
                        b'\r' if !cr => self.part = Part::DataEnd { cr: true },
                        _ => return Step::Invalid { used: at },
                    }
                }
                Part::Trailer { blank } => {
                    at += 1;
                    match byte {
                        b'\n' if blank => return Step::End { used: at },
                        b'\r' if blank => {}
                        _ => match memchr(b'\n', rest) {
                            Some(end) => {
                                at += end;
                                self.part = Part::Trailer { blank: true };
                            }
                            None => {
                                self.part = Part::Trailer { blank: false };
                                return Step::More;
                            }
                        },
                    }
                }
            }
        }
        Step::More
    }

    fn begin(&mut self, size: u64) {
        self.total = self.total.saturating_add(size);
        self.part = if size == 0 { Part::Trailer { blank: true } } else { Part::Data { left: size } };
    }

    fn skip(&mut self, count: u64) -> Skip {
        // Behind a chunk's data stands CR LF for certain, so bytes up to there need not be seen.
        let due = match self.part {
            Part::Data { left } => left.saturating_add(2),
            Part::DataEnd { cr } => 2 - u64::from(cr),
            _ => 0,
        };
        let Some(left) = due.checked_sub(count) else { return Skip::Lost };
        self.part = match left {
            0 => Part::Size { size: None },
            1 | 2 => Part::DataEnd { cr: left == 1 },
            left => Part::Data { left: left - 2 },
        };
        Skip::More
    }
}
