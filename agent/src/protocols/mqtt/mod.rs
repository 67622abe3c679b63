//! MQTT 3.1, 3.1.1 and 5: what is published and delivered, in each quality of service.
//!
//! What is sent at most once is one-way. What is sent at least or exactly once is over with its acknowledgement (`PUBACK`, `PUBCOMP`): what a
//! client publishes with that of the broker, what it is delivered with its own, until when it is dealt with. Who is the client, a
//! connection's beginning, a subscription or a ping says; publishing looks the same from both ends.

mod packet;
#[cfg(test)]
mod samples;
mod session;
#[cfg(test)]
mod tests;
mod topics;

#[cfg(test)]
pub(super) use samples::samples;

use self::packet::{CONNACK, CONNECT, PINGREQ, PINGRESP, SUBACK, SUBSCRIBE};
use super::{
    Capture, Recognition, Session,
    sized::{Cursor, Length},
};
use crate::model::net::Role;

/// The protocol's name.
pub(super) const NAME: &str = "mqtt";

/// Payloads are passed over by their length. Many messages may come in one turn, each of which counts.
pub(super) const CAPTURE: Capture = Capture::streams();

/// How long a packet is: its first byte, a length of up to four, and what that counts.
fn length(head: &[u8]) -> Length {
    let Some((first, rest)) = head.split_first() else { return Length::Part };
    if !packet::is_first(*first) {
        return Length::No;
    }
    let mut value = 0_u64;
    for (nth, byte) in rest.iter().take(4).enumerate() {
        value |= u64::from(byte & 0x7f) << (7 * nth);
        if byte & 0x80 == 0 {
            return Length::Is(value + nth as u64 + 2);
        }
    }
    if rest.len() < 4 { Length::Part } else { Length::No }
}

/// See [`super::Entry::recognise`]. Only what one end alone sends says who is who.
pub(super) fn recognise(head: &[u8]) -> Recognition {
    let Some(first) = head.first() else { return Recognition::No };
    let len = match (first >> 4, length(head)) {
        (CONNECT | CONNACK | SUBSCRIBE | SUBACK | PINGREQ | PINGRESP, Length::Part) => return Recognition::Maybe,
        (CONNECT | CONNACK | SUBSCRIBE | SUBACK | PINGREQ | PINGRESP, Length::Is(len)) => len,
        _ => return Recognition::No,
    };
    let whole = usize::try_from(len).unwrap_or(usize::MAX);
    let mut at = Cursor::of(head.get(..whole.min(head.len())).unwrap_or(head));
    let skipped = head.iter().skip(1).take_while(|byte| **byte & 0x80 != 0).count() as u64 + 2;
    if at.skip(skipped).is_none() {
        return Recognition::Maybe;
    }
    let is_whole = head.len() == whole;
    let when = |recognition, fits: bool| match (fits, is_whole) {
        (false, _) => Recognition::No,
        (true, true) => recognition,
        (true, false) if head.len() < whole => Recognition::Maybe,
        (true, false) => Recognition::No,
    };
    match first >> 4 {
        CONNECT => packet::recognise_connect(at.head(), len - skipped),
        CONNACK => when(Recognition::Response, packet::may_be_connack(at.head(), len - skipped)),
        PINGREQ => when(Recognition::Request, len == 2),
        PINGRESP => when(Recognition::Response, len == 2),
        SUBSCRIBE => when(Recognition::Request, packet::may_be_subscribe(at.head(), len - skipped)),
        SUBACK => when(Recognition::Response, packet::may_be_suback(at.head(), len - skipped)),
        _ => Recognition::No,
    }
}

/// See [`super::Entry::open`].
pub(super) fn open(role: Role) -> Box<dyn Session> {
    Box::new(session::Mqtt::new(role))
}
