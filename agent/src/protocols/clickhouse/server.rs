//! What servers answer.

use super::{
    REVISIONS, block,
    client::SERVER_NAME,
    reader::{Read, Reader, Stop, holds},
};

pub(super) const HELLO: u64 = 0;
const DATA: u64 = 1;
pub(super) const EXCEPTION: u64 = 2;
const PROGRESS: u64 = 3;
pub(super) const PONG: u64 = 4;
const END: u64 = 5;
const PROFILE: u64 = 6;
const TOTALS: u64 = 7;
const EXTREMES: u64 = 8;
const LOG: u64 = 10;
const COLUMNS: u64 = 11;
const PROFILE_EVENTS: u64 = 14;
const TIME_ZONE: u64 = 17;

/// Revisions from which on something is said.
const TOTAL_ROWS: u64 = 51_554;
const WRITTEN: u64 = 54_420;
const ELAPSED: u64 = 54_460;
const TOTAL_BYTES: u64 = 54_463;
const BEFORE_AGGREGATION: u64 = 54_469;
const PACKED_LOGS: u64 = 54_484;

/// Longest text that is read.
const MAX_NAME: u64 = 255;

/// A message.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Packet {
    /// So many rows of what was asked for; `None` where they are compressed.
    Data(Option<u64>),
    /// How far it is, and how it went.
    Progress,
    /// A list, of which nothing is told.
    Other,
    Pong,
    End,
    /// With its code, and whether it is all there.
    Exception(i32, bool),
}

/// How messages are written on a connection.
#[derive(Clone, Copy, Debug)]
pub(super) struct Written {
    pub(super) revision: u64,
    pub(super) is_compressed: bool,
}

/// Reads the next message, and gives how long it is, which may be more than there is where the rest can be passed over.
pub(super) fn next(bytes: &[u8], written: Written) -> Read<(Packet, u64)> {
    let Written { revision, is_compressed } = written;
    let mut at = Reader::new(bytes);
    let packet = match at.number()? {
        DATA => return blocks(at, written, is_compressed, true),
        TOTALS | EXTREMES => return blocks(at, written, is_compressed, false),
        LOG | PROFILE_EVENTS => return blocks(at, written, is_compressed && revision >= PACKED_LOGS, false),
        EXCEPTION => {
            let code = exception(&mut at)?;
            let rest = || -> Read<usize> {
                let mut at = at;
                at.bytes()?;
                at.bytes()?;
                at.bytes()?;
                holds(at.u8()? <= 1)?;
                Ok(at.at())
            };
            return Ok(match rest() {
                Ok(end) => (Packet::Exception(code, true), end as u64),
                Err(Stop::More) => (Packet::Exception(code, false), bytes.len() as u64),
                Err(Stop::No) => return Err(Stop::No),
            });
        }
        PROGRESS => {
            let numbers = 2
                + u8::from(revision >= TOTAL_ROWS)
                + u8::from(revision >= TOTAL_BYTES)
                + 2 * u8::from(revision >= WRITTEN)
                + u8::from(revision >= ELAPSED);
            for _ in 0..numbers {
                at.number()?;
            }
            Packet::Progress
        }
        PONG => Packet::Pong,
        END => Packet::End,
        PROFILE => {
            at.number()?;
            at.number()?;
            at.number()?;
            holds(at.u8()? <= 1)?;
            at.number()?;
            holds(at.u8()? <= 1)?;
            if revision >= BEFORE_AGGREGATION {
                holds(at.u8()? <= 1)?;
                at.number()?;
            }
            Packet::Progress
        }
        COLUMNS => {
            at.bytes()?;
            at.bytes()?;
            Packet::Other
        }
        TIME_ZONE => {
            at.text(MAX_NAME)?;
            Packet::Other
        }
        _ => return Err(Stop::No),
    };
    Ok((packet, at.at() as u64))
}

/// The code of an exception.
fn exception(at: &mut Reader<'_>) -> Read<i32> {
    let code = i32::from_le_bytes(at.array()?);
    holds((0..10_000).contains(&code))?;
    let mut name = *at;
    match name.text(MAX_NAME) {
        Err(Stop::No) => Err(Stop::No),
        _ => Ok(code),
    }
}

fn blocks(mut at: Reader<'_>, written: Written, is_compressed: bool, counts: bool) -> Read<(Packet, u64)> {
    let _table = at.text(MAX_NAME)?;
    if !is_compressed {
        let rows = block::plain(&mut at, written.revision)?;
        let packet = if counts { Packet::Data(Some(rows)) } else { Packet::Other };
        return Ok((packet, at.at() as u64));
    }
    let packet = if counts { Packet::Data(None) } else { Packet::Other };
    // A block has as many parts as it takes. What follows the last is a message again.
    let mut end = at.at() as u64;
    loop {
        let rest = usize::try_from(end).ok().and_then(|end| bytes_from(at, end));
        let Some(rest) = rest.filter(|rest| !rest.is_empty()) else { return Ok((packet, end)) };
        match block::packed(rest) {
            Ok(len) => end = end.saturating_add(len),
            Err(Stop::More) if end == at.at() as u64 => return Err(Stop::More),
            Err(_) if end == at.at() as u64 => return Err(Stop::No),
            Err(_) => return Ok((packet, end)),
        }
    }
}

fn bytes_from(at: Reader<'_>, end: usize) -> Option<&[u8]> {
    at.rest().get(end.checked_sub(at.at())?..)
}

/// What the server speaks, as it says when a connection begins.
pub(super) fn hello(at: &mut Reader<'_>) -> Read<u64> {
    holds(at.text(MAX_NAME)? == SERVER_NAME)?;
    let (major, _minor) = (at.number()?, at.number()?);
    holds(major < 1000)?;
    let revision = at.number()?;
    holds(REVISIONS.contains(&revision))?;
    Ok(revision)
}

/// Whether bytes are what a server begins with, or an answer.
pub(super) fn begins(at: &mut Reader<'_>) -> Read<()> {
    match at.number()? {
        HELLO => hello(at).map(drop),
        DATA => {
            // An empty name, what the block is of, and its columns.
            holds(at.text(0)?.is_empty() && at.number()? == 1 && at.u8()? <= 1)?;
            holds(at.number()? == 2 && at.array()? == [0xff; 4] && at.number()? == 0)?;
            at.number().map(drop)
        }
        EXCEPTION => {
            exception(at)?;
            holds(at.text(MAX_NAME)?.starts_with("DB::"))
        }
        _ => Err(Stop::No),
    }
}

/// Whether bytes, of which the beginning is missing, end with how far a statement has come and the end of its answer.
pub(super) fn ends(tail: &[u8], written: Written) -> bool {
    (0..tail.len()).any(|from| {
        let rest = tail.get(from..).unwrap_or_default();
        let Ok((Packet::Progress, len)) = next(rest, written) else { return false };
        rest.first() == Some(&(PROGRESS as u8))
            && usize::try_from(len).ok().and_then(|len| rest.get(len..)) == Some(&[END as u8])
    })
}
