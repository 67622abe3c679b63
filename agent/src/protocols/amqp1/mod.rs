//! AMQP 1.0 (OASIS, ISO 19464): messages that are transferred over links, until they are settled.
//!
//! A client's transfer is a send, a broker's a delivery; each ends with the disposition that settles it, or at once where it was settled
//! before it was sent. Which address a link has says its `attach`: of links that are older than the agent it is not known.

mod message;
#[cfg(test)]
mod samples;
mod session;
#[cfg(test)]
mod tests;
mod values;

#[cfg(test)]
pub(super) use samples::samples;

use super::{
    Capture, Recognition, Session,
    probe::{Probe, outcome},
    sized::Length,
};
use crate::model::net::Role;

/// The protocol's name.
pub(super) const NAME: &str = "amqp1";

/// Bodies are passed over by their length. Many messages may come in one turn, each of which counts.
pub(super) const CAPTURE: Capture = Capture::streams();

/// Size, where the body begins, kind, channel.
const FRAME_HEAD: u64 = 8;
/// Largest frame that is believed.
const FRAME_MAX: u32 = 64 << 20;

const OPEN: u8 = 0x10;
const BEGIN: u8 = 0x11;
const ATTACH: u8 = 0x12;
const TRANSFER: u8 = 0x14;
const DISPOSITION: u8 = 0x15;
const DETACH: u8 = 0x16;
const SESSION_END: u8 = 0x17;
const CLOSE: u8 = 0x18;
/// Of the layer that logs in.
const SASL: [u8; 5] = [0x40, 0x41, 0x42, 0x43, 0x44];

fn length(head: &[u8]) -> Length {
    if head.first() == Some(&b'A') {
        // What either side begins a layer with.
        return if head.starts_with(b"AMQP") || b"AMQP".starts_with(head) { Length::Is(8) } else { Length::No };
    }
    match head.first_chunk() {
        Some(&size) => match u32::from_be_bytes(size) {
            size if (FRAME_HEAD as u32..=FRAME_MAX).contains(&size) => Length::Is(size.into()),
            _ => Length::No,
        },
        None => Length::Part,
    }
}

/// See [`super::Entry::recognise`].
pub(super) fn recognise(head: &[u8]) -> Recognition {
    outcome(look(Probe(head)))
}

fn look(mut probe: Probe<'_>) -> Result<Recognition, Recognition> {
    if probe.0.first() == Some(&b'A') {
        probe.all(b"AMQP")?;
        let layer = probe.u8()?;
        Probe::holds(matches!(layer, 0 | 2 | 3))?;
        probe.all(&[1, 0, 0])?;
        // A broker answers with the same.
        return Ok(Recognition::Request);
    }
    let size = probe.u32()?;
    Probe::holds((12..=FRAME_MAX).contains(&size))?;
    probe.is(2)?;
    let kind = probe.u8()?;
    Probe::holds(kind <= 1)?;
    let channel = probe.u16()?;
    probe.all(&[0, 0x53])?;
    let code = probe.u8()?;
    let is_known = if kind == 1 { SASL.contains(&code) && channel == 0 } else { (OPEN..=CLOSE).contains(&code) };
    Probe::holds(is_known)?;
    // A list, and what it has first.
    match probe.u8()? {
        0x45 => Probe::holds(size == 12)?,
        0xc0 => {
            let len = probe.u8()?;
            Probe::holds(u32::from(len) + 13 <= size && len > 0)?;
        }
        0xd0 => {
            let len = probe.u32()?;
            Probe::holds(len.saturating_add(16) <= size && len >= 4)?;
        }
        _ => return Err(Recognition::No),
    }
    Ok(match (kind, code) {
        // Mechanisms, a challenge, an outcome are a broker's.
        (1, 0x40 | 0x42 | 0x44) => Recognition::Response,
        (1, _) => Recognition::Request,
        _ => Recognition::Either,
    })
}

/// See [`super::Entry::open`].
pub(super) fn open(role: Role) -> Box<dyn Session> {
    Box::new(session::Amqp::new(role))
}
