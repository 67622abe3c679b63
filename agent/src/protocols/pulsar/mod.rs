//! Apache Pulsar: what is sent, until the broker has it, and what is delivered, until it is acknowledged.
//!
//! Which topic a producer or a consumer has says the command that begins it: of those that are older than the agent it is not known.

mod command;
mod content;
#[cfg(test)]
mod samples;
mod session;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use samples::samples;

use super::{
    Capture, Recognition, Session,
    probe::{Probe, outcome},
    sized::{Length, prefixed},
};
use crate::model::net::Role;

/// The protocol's name.
pub(super) const NAME: &str = "pulsar";

/// Payloads are passed over by their length. Many messages may come in one turn, each of which counts.
pub(super) const CAPTURE: Capture = Capture::streams();

/// Shortest frame: a length, and a command's type. Longest: brokers take messages of 5 MB by default.
const MIN_FRAME: u32 = 6;
const MAX_FRAME: u32 = 1 << 28;

fn length(head: &[u8]) -> Length {
    prefixed::<MIN_FRAME, MAX_FRAME>(head)
}

/// See [`super::Entry::recognise`].
pub(super) fn recognise(head: &[u8]) -> Recognition {
    outcome(look(Probe(head)))
}

/// A frame's length, the command's; the command's type, and what it says as the field of that number, which is the rest of it.
fn look(mut probe: Probe<'_>) -> Result<Recognition, Recognition> {
    let (total, len) = (probe.u32()?, probe.u32()?);
    Probe::holds((MIN_FRAME..MAX_FRAME).contains(&total) && len >= 4 && len <= total - 4)?;
    probe.is(0x08)?;
    let kind = probe.u8()?;
    let said = command::side(kind).ok_or(Recognition::No)?;
    // Payloads stand behind few of them.
    Probe::holds(command::has_payload(kind) == (len < total - 4))?;
    let tag = u32::from(kind) << 3 | 2;
    let mut before = 4;
    if tag < 0x80 {
        probe.is(tag as u8)?;
    } else {
        probe.all(&[tag as u8 | 0x80, (tag >> 7) as u8])?;
        before += 1;
    }
    let (mut rest, mut shift) = (0, 0);
    loop {
        let byte = probe.u8()?;
        rest |= u32::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
        (before, shift) = (before + 1, shift + 7);
        Probe::holds(shift <= 21)?;
    }
    Probe::holds(rest.saturating_add(before) == len)?;
    Ok(said)
}

/// See [`super::Entry::open`].
pub(super) fn open(role: Role) -> Box<dyn Session> {
    Box::new(session::Pulsar::new(role))
}
