//! AMQP 0-9-1, as RabbitMQ speaks it: what is published, delivered, fetched and acknowledged.
//!
//! A message that is published on a channel with confirms is over when the broker confirms it; without them nobody answers, and it is
//! over when it was moved. A delivery that is to be acknowledged is one that is dealt with from its first byte to its acknowledgement; one
//! that is not is received, and no more is known of it. Of bodies nothing is kept but their size, and of headers `traceparent`.

mod channel;
mod content;
mod method;
#[cfg(test)]
mod samples;
mod session;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use samples::samples;

use self::method::{Direction, direction};
use super::{Capture, Recognition, Session, sized::Length};
use crate::model::net::Role;

/// The protocol's name.
pub(super) const NAME: &str = "amqp";

/// Bodies are passed over by their length. Many messages may come in one turn, each of which counts.
pub(super) const CAPTURE: Capture = Capture::streams();

/// What a client begins with: the protocol, and its version.
const PREAMBLE: &[u8; 8] = b"AMQP\x00\x00\x09\x01";
/// Type, channel, size.
const FRAME_HEAD: usize = 7;
/// What every frame ends with.
const FRAME_END: u8 = 0xce;
/// Largest frame that is believed: brokers agree on 128 KiB unless it is set otherwise.
const FRAME_MAX: u32 = 64 << 20;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const HEARTBEAT: u8 = 8;

/// How long a frame is.
fn length(head: &[u8]) -> Length {
    let Some(first) = head.first() else { return Length::Part };
    if *first == b'A' {
        // A broker that speaks another version answers with its own.
        return if head.starts_with(b"AMQP") || b"AMQP".starts_with(head) { Length::Is(8) } else { Length::No };
    }
    if !matches!(*first, METHOD | HEADER | BODY | HEARTBEAT) {
        return Length::No;
    }
    let Some(size) = head.get(3..7).and_then(|size| size.try_into().ok()).map(u32::from_be_bytes) else {
        return Length::Part;
    };
    if size <= FRAME_MAX { Length::Is(FRAME_HEAD as u64 + u64::from(size) + 1) } else { Length::No }
}

/// See [`super::Entry::recognise`]. A whole frame with a method that there is, and its end where it is to be, is proof. Behind one
/// that either end may send the next tells.
pub(super) fn recognise(head: &[u8]) -> Recognition {
    let mut rest = head;
    while frame(rest) == Recognition::Either
        && let Length::Is(len) = length(rest)
        && let Some(behind) = usize::try_from(len).ok().and_then(|len| rest.get(len..))
    {
        match frame(behind) {
            told @ (Recognition::Request | Recognition::Response) => return told,
            _ => rest = behind,
        }
    }
    frame(head)
}

fn frame(head: &[u8]) -> Recognition {
    const IDLE: &[u8] = &[HEARTBEAT, 0, 0, 0, 0, 0, 0, FRAME_END];
    match head {
        [b'A', ..] if head.starts_with(PREAMBLE) => Recognition::Request,
        [b'A', ..] if PREAMBLE.starts_with(head) => Recognition::Maybe,
        [HEARTBEAT, ..] if head.starts_with(IDLE) => Recognition::Either,
        [HEARTBEAT, ..] if IDLE.starts_with(head) => Recognition::Maybe,
        [METHOD, ..] => method(head),
        _ => Recognition::No,
    }
}

fn method(head: &[u8]) -> Recognition {
    // The class's number has one byte.
    let is_no_class = |byte: u8| !matches!(byte, 10 | 20 | 40 | 50 | 60 | 85 | 90);
    let [_, _, _, size @ ..] = head else { return Recognition::Maybe };
    let is_large =
        |size: &[u8]| size.first().is_some_and(|byte| *byte > 0) || size.get(1).is_some_and(|byte| *byte > 2);
    let Some((size, payload)) = size.split_first_chunk().map(|(size, payload)| (u32::from_be_bytes(*size), payload))
    else {
        return if is_large(size) { Recognition::No } else { Recognition::Maybe };
    };
    if !(4..=128 << 10).contains(&size) {
        return Recognition::No;
    }
    let Some((id, _)) = payload.split_first_chunk() else {
        let is_part = payload.first().is_none_or(|byte| *byte == 0)
            && payload.get(1).is_none_or(|byte| !is_no_class(*byte))
            && payload.get(2).is_none_or(|byte| *byte == 0);
        return if is_part { Recognition::Maybe } else { Recognition::No };
    };
    let Some(direction) = direction(*id) else { return Recognition::No };
    match payload.get(size as usize) {
        None => Recognition::Maybe,
        Some(&FRAME_END) => match direction {
            Direction::Client => Recognition::Request,
            Direction::Server => Recognition::Response,
            Direction::Either => Recognition::Either,
        },
        Some(_) => Recognition::No,
    }
}

/// See [`super::Entry::open`].
pub(super) fn open(role: Role) -> Box<dyn Session> {
    Box::new(session::Amqp::new(role))
}
