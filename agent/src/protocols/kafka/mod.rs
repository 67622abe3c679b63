//! Kafka: what is sent to partitions, what is fetched from them, and how far groups have come, in every version up to the
//! release 4.3.
//!
//! A request may name many partitions; each with messages, or an error, is told by itself, as it has a batch, an offset and an outcome
//! of its own. Requests are told with their response, which carries their number. A fetch that waits in vain asks for nothing
//! that was given: it is told only where it brings messages or fails. Of keys, values and headers nothing is kept but `traceparent`.

mod api;
mod batch;
mod fields;
mod handed;
mod offsets;
mod request;
mod response;
#[cfg(test)]
mod samples;
mod session;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use samples::samples;

use self::api::Api;
use super::{Capture, Recognition, Session, sized::Length};
use crate::model::net::Role;

/// The protocol's name.
pub(super) const NAME: &str = "kafka";

/// Batches are passed over by their length; what stands before each names topic, partition and how many messages there are. So of a turn as
/// much is captured as a producer's batches for some partitions take (16 KiB each, by default), many times if none is acknowledged, and of
/// answers as much as a consumer's that keeps up.
pub(super) const CAPTURE: Capture = Capture { responses: 64 << 10, ..Capture::streams() };

/// Longest request or response: what brokers take at most is 100 MB, unless it is set otherwise.
const LENGTH_MAX: u32 = 1 << 28;
/// The same of requests that carry no records.
const OTHERS_MAX: u32 = 1 << 23;
/// Most requests of a connection that are open at a time. Clients have five, or some more.
const OPEN_MAX: i32 = 1024;
/// Bytes of a request without anything of its own.
const HEAD: u32 = 10;

/// How long a request or a response is.
fn length(head: &[u8]) -> Length {
    let Some(length) = head.first_chunk().map(|length| u32::from_be_bytes(*length)) else { return Length::Part };
    if (4..=LENGTH_MAX).contains(&length) { Length::Is(u64::from(length) + 4) } else { Length::No }
}

/// See [`super::Entry::recognise`]. A response has nothing but its length and its number, so what may be one is no proof.
pub(super) fn recognise(head: &[u8]) -> Recognition {
    match request(head) {
        Recognition::No if may_be_response(head) => Recognition::Maybe,
        Recognition::No if is_long_response(head) => Recognition::Response,
        recognition => recognition,
    }
}

fn request(head: &[u8]) -> Recognition {
    let bytes = |at: usize| head.get(at..at + 2).and_then(|bytes| bytes.try_into().ok()).map(i16::from_be_bytes);
    let Some(length) = head.first_chunk().map(|length| u32::from_be_bytes(*length)) else {
        let is_part = head.first().is_none_or(|first| u32::from(*first) <= LENGTH_MAX >> 24);
        return if is_part { Recognition::Maybe } else { Recognition::No };
    };
    if !(HEAD..=LENGTH_MAX).contains(&length) {
        return Recognition::No;
    }
    let Some(key) = bytes(4) else {
        return if head.get(4).is_none_or(|byte| *byte == 0) { Recognition::Maybe } else { Recognition::No };
    };
    let Some(version) = bytes(6) else {
        let is_part = Api::of(key, 0).is_some() && head.get(6).is_none_or(|byte| *byte == 0);
        return if is_part { Recognition::Maybe } else { Recognition::No };
    };
    let Some(api) = Api::of(key, version) else { return Recognition::No };
    if head.get(8).is_some_and(|byte| byte & 0x80 != 0) {
        return Recognition::No;
    }
    if length > OTHERS_MAX && key != api::PRODUCE {
        return Recognition::No;
    }
    let Some(client) = bytes(12) else { return Recognition::Maybe };
    let Some(client_length) = usize::try_from(client.max(0)).ok().filter(|it| client >= -1 && *it <= 255) else {
        return Recognition::No;
    };
    let client = head.get(14..).unwrap_or_default();
    let client = client.get(..client_length.min(client.len())).unwrap_or_default();
    let is_flexible = api.is_flexible(version);
    let least = HEAD as usize + client_length + usize::from(is_flexible);
    // Without a client's name what is a response may look like one of these.
    let may_be_response = client_length == 0 && key <= api::FETCH;
    let is_text = client.iter().all(|byte| matches!(byte, b' '..=b'~'));
    if !is_text || may_be_response || (length as usize) < least {
        return Recognition::No;
    }
    if head.len() < 14 + client_length {
        return Recognition::Maybe;
    }
    // Clients set none here.
    match head.get(14 + client_length) {
        _ if !is_flexible => Recognition::Request,
        None => Recognition::Maybe,
        Some(0) => Recognition::Request,
        Some(_) => Recognition::No,
    }
}

/// See [`super::Entry::is_answer`]. A response begins with the number of its request; those of a connection are counted up, and several may be open
/// when it is met. One that says where a message was put goes on like a request of a client that is called as the topic.
pub(super) fn is_answer(asked: &[u8], head: &[u8]) -> Option<bool> {
    let number = |bytes: &[u8], at: usize| bytes.get(at..)?.first_chunk().map(|number| i32::from_be_bytes(*number));
    let (asked_number, number) = (number(asked, 8)?, number(head, 4)?);
    let is_open = asked_number.checked_sub(number).is_some_and(|before| (0..OPEN_MAX).contains(&before));
    Some(is_open && matches!(length(head), Length::Is(_)))
}

/// A response that is all there.
fn may_be_response(head: &[u8]) -> bool {
    let is_number = head.get(4).is_none_or(|byte| byte & 0x80 == 0);
    match length(head) {
        Length::Is(length) => head.len() as u64 <= length && is_number && length <= 8192,
        Length::Part => head.first().is_none_or(|byte| *byte == 0),
        Length::No => false,
    }
}

/// One that is longer than what is looked at: nobody is throttled. Much of it has come at once, or it may be a question of DNS over TCP.
fn is_long_response(head: &[u8]) -> bool {
    let is_long = matches!(length(head), Length::Is(length) if length > 8192 && length > head.len() as u64);
    is_long
        && head.len() >= 512
        && head.get(4).is_some_and(|byte| byte & 0x80 == 0)
        && head.get(8..12) == Some(&[0; 4][..])
}

/// See [`super::Entry::open`].
pub(super) fn open(role: Role) -> Box<dyn Session> {
    Box::new(session::Kafka::new(role))
}
