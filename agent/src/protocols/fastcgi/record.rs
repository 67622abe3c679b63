//! Records, and the names and values within.

use crate::protocols::Recognition;

/// Bytes of a header.
pub(super) const HEADER: usize = 8;

pub(super) const BEGIN_REQUEST: u8 = 1;
pub(super) const END_REQUEST: u8 = 3;
pub(super) const PARAMS: u8 = 4;
pub(super) const STDOUT: u8 = 6;
const STDERR: u8 = 7;
/// The greatest type that there is.
const LAST: u8 = 11;

/// A header's parts.
#[derive(Clone, Copy, Debug)]
pub(super) struct Header {
    pub(super) kind: u8,
    pub(super) id: u16,
    pub(super) content: u16,
    padding: u8,
}

impl Header {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let &[1, kind @ 1..=LAST, i1, i0, c1, c0, padding, 0, ..] = bytes else { return None };
        let (id, content) = (u16::from_be_bytes([i1, i0]), u16::from_be_bytes([c1, c0]));
        Some(Self { kind, id, content, padding })
    }
}

/// How long a record is; `None` if it is none.
pub(super) fn length(header: &[u8]) -> Option<u64> {
    Header::read(header).map(|header| HEADER as u64 + u64::from(header.content) + u64::from(header.padding))
}

/// What a record has, as far as it is there.
pub(super) fn content(record: &[u8], header: Header) -> &[u8] {
    let content = record.get(HEADER..).unwrap_or_default();
    content.get(..header.content.into()).unwrap_or(content)
}

/// The request that is over with the record at the end of these bytes.
pub(super) fn ended_at_end(bytes: &[u8]) -> Option<u16> {
    let record = bytes.last_chunk::<16>()?;
    match record {
        [1, END_REQUEST, i1, i0, 0, 8, 0, 0, _, _, _, _, 0..=3, _, _, _] => Some(u16::from_be_bytes([*i1, *i0])),
        _ => None,
    }
}

/// Names and values, as far as they are there.
pub(super) struct Parameters<'a>(pub(super) &'a [u8]);

impl<'a> Parameters<'a> {
    fn length(&mut self) -> Option<usize> {
        let (&first, rest) = self.0.split_first()?;
        if first & 0x80 == 0 {
            self.0 = rest;
            return Some(first.into());
        }
        let (length, rest) = self.0.split_first_chunk::<4>()?;
        self.0 = rest;
        usize::try_from(u32::from_be_bytes(*length) & 0x7fff_ffff).ok()
    }
}

impl<'a> Iterator for Parameters<'a> {
    type Item = (&'a [u8], &'a [u8]);

    fn next(&mut self) -> Option<(&'a [u8], &'a [u8])> {
        let (name, value) = (self.length()?, self.length()?);
        let (name, rest) = self.0.split_at_checked(name)?;
        let (value, rest) = rest.split_at_checked(value)?;
        self.0 = rest;
        Some((name, value))
    }
}

/// As much of the two records that a request begins with as tells them.
pub(super) const BEGINNING: usize = 20;

/// Whether bytes begin a record with which a request, or an answer, begins.
pub(super) fn recognise(head: &[u8]) -> Recognition {
    let byte = |at: usize, fits: &dyn Fn(u8) -> bool| head.get(at).is_none_or(|byte| fits(*byte));
    if head.is_empty() || !byte(0, &|version| version == 1) || !byte(7, &|reserved| reserved == 0) {
        return Recognition::No;
    }
    if head.get(2..4) == Some(&[0, 0]) {
        return Recognition::No;
    }
    match head.get(1) {
        None => Recognition::Maybe,
        Some(&BEGIN_REQUEST) => {
            let fits = byte(4, &|high| high == 0)
                && byte(5, &|low| low == 8)
                && byte(6, &|padding| padding == 0)
                && byte(8, &|high| high == 0)
                && byte(9, &|role| matches!(role, 1..=3))
                && byte(10, &|flags| flags <= 1)
                && (11..16).all(|at| byte(at, &|reserved| reserved == 0));
            match head.len() {
                _ if !fits => Recognition::No,
                // The next record is of the same request, and says what is asked.
                _ if !byte(16, &|version| version == 1) || !byte(17, &|kind| kind == PARAMS) => Recognition::No,
                _ if head.get(18..20).is_some_and(|id| head.get(2..4) != Some(id)) => Recognition::No,
                // A program may read each record by itself.
                ..BEGINNING => Recognition::Maybe,
                _ => Recognition::Request,
            }
        }
        Some(&END_REQUEST) => {
            let fits = byte(4, &|high| high == 0) && byte(5, &|low| low == 8) && byte(12, &|status| status <= 3);
            match head.len() {
                _ if !fits => Recognition::No,
                ..13 => Recognition::Maybe,
                _ => Recognition::Response,
            }
        }
        Some(&(STDOUT | STDERR)) => {
            if head.len() < HEADER {
                Recognition::Maybe
            } else {
                Recognition::Response
            }
        }
        Some(_) => Recognition::No,
    }
}
