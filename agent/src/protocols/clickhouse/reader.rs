//! Reads values from bytes of which more may come.

/// Why it cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stop {
    /// More bytes are needed.
    More,
    /// It is nothing that is known.
    No,
}

/// What came of it.
pub(super) type Read<T> = Result<T, Stop>;

/// Longest text but for statements.
const TEXT_MAX: u64 = 64 << 10;

/// Reads on from the beginning.
#[derive(Clone, Copy, Debug)]
pub(super) struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    pub(super) const fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, at: 0 }
    }

    /// How far it has come.
    pub(super) const fn at(&self) -> usize {
        self.at
    }

    /// What is left.
    pub(super) fn rest(&self) -> &'a [u8] {
        self.bytes.get(self.at..).unwrap_or_default()
    }

    pub(super) fn take(&mut self, count: u64) -> Read<&'a [u8]> {
        let count = usize::try_from(count).map_err(|_| Stop::No)?;
        let taken = self.rest().get(..count).ok_or(Stop::More)?;
        self.at += count;
        Ok(taken)
    }

    pub(super) fn array<const N: usize>(&mut self) -> Read<[u8; N]> {
        self.take(N as u64)?.try_into().map_err(|_| Stop::No)
    }

    pub(super) fn u8(&mut self) -> Read<u8> {
        self.array().map(|[byte]: [u8; 1]| byte)
    }

    /// A number of seven bits per byte, the lowest first.
    pub(super) fn number(&mut self) -> Read<u64> {
        let mut number = 0;
        for shift in (0..63).step_by(7) {
            let byte = self.u8()?;
            number |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Ok(number);
            }
        }
        Err(Stop::No)
    }

    /// Bytes behind their number.
    pub(super) fn bytes(&mut self) -> Read<&'a [u8]> {
        let len = self.number()?;
        holds(len <= TEXT_MAX)?;
        self.take(len)
    }

    /// A text of at most so many bytes, without anything that is not to be printed: it is none from the first byte on that is.
    pub(super) fn text(&mut self, most: u64) -> Read<&'a str> {
        let len = self.number()?;
        holds(len <= most)?;
        let there = self.rest().get(..usize::try_from(len).unwrap_or(usize::MAX)).unwrap_or(self.rest());
        holds(there.iter().all(|byte| *byte >= b' ' && *byte != 0x7f))?;
        str::from_utf8(self.take(len)?).map_err(|_| Stop::No)
    }
}

/// It is nothing that is known unless that is so.
pub(super) const fn holds(is: bool) -> Read<()> {
    if is { Ok(()) } else { Err(Stop::No) }
}
