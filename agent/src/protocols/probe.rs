//! Looks at the first bytes of a piece, of which the end may be missing.

use super::Recognition;

/// Reads on from the beginning. Where bytes are missing the answer is `Maybe`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Probe<'a>(pub(super) &'a [u8]);

impl<'a> Probe<'a> {
    /// The next byte.
    pub(super) fn u8(&mut self) -> Result<u8, Recognition> {
        let (&byte, rest) = self.0.split_first().ok_or(Recognition::Maybe)?;
        self.0 = rest;
        Ok(byte)
    }

    /// One that has to be this.
    pub(super) fn is(&mut self, due: u8) -> Result<(), Recognition> {
        Self::holds(self.u8()? == due)
    }

    /// A number of two bytes.
    pub(super) fn u16(&mut self) -> Result<u16, Recognition> {
        Ok(u16::from_be_bytes([self.u8()?, self.u8()?]))
    }

    /// One of four.
    pub(super) fn u32(&mut self) -> Result<u32, Recognition> {
        Ok(u32::from_be_bytes([self.u8()?, self.u8()?, self.u8()?, self.u8()?]))
    }

    /// These bytes.
    pub(super) fn all(&mut self, due: &[u8]) -> Result<(), Recognition> {
        due.iter().try_for_each(|&due| self.is(due))
    }

    /// So many bytes of which each is such.
    pub(super) fn each(&mut self, count: usize, fits: impl Fn(u8) -> bool) -> Result<(), Recognition> {
        (0..count).try_for_each(|_| Self::holds(fits(self.u8()?)))
    }

    /// It is none of this protocol unless that is so.
    pub(super) const fn holds(is: bool) -> Result<(), Recognition> {
        if is { Ok(()) } else { Err(Recognition::No) }
    }
}

/// What came of a look.
pub(super) fn outcome(found: Result<Recognition, Recognition>) -> Recognition {
    found.unwrap_or_else(|other| other)
}
