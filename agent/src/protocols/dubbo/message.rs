//! Messages: sixteen bytes, and a body whose length stands in them
//! (<https://dubbo.apache.org/en/docs3-v2/java-sdk/reference-manual/protocol/dubbo/>).

use compact_str::CompactString;

use super::hessian::{next_text, pairs_at_end};
use crate::model::trace_context::TraceParent;

/// What each begins with.
pub(super) const MAGIC: [u8; 2] = [0xda, 0xbb];
/// Bytes before the body.
pub(super) const HEAD: usize = 16;
/// Longest body that is taken for one; by default servers take 8 MB.
pub(super) const MAX_BODY: u32 = 1 << 28;

/// What the third byte says.
pub(super) const REQUEST: u8 = 0x80;
pub(super) const TWO_WAY: u8 = 0x40;
pub(super) const EVENT: u8 = 0x20;
pub(super) const SERIALIZATION: u8 = 0x1f;
const HESSIAN: u8 = 2;

/// The word of the status that is no error.
pub(super) const OK: &str = "OK";
/// Statuses of responses, by their numbers.
const STATUSES: &[(u8, &str)] = &[
    (20, OK),
    (25, "SERIALIZATION_ERROR"),
    (30, "CLIENT_TIMEOUT"),
    (31, "SERVER_TIMEOUT"),
    (35, "CHANNEL_INACTIVE"),
    (40, "BAD_REQUEST"),
    (50, "BAD_RESPONSE"),
    (60, "SERVICE_NOT_FOUND"),
    (70, "SERVICE_ERROR"),
    (80, "SERVER_ERROR"),
    (90, "CLIENT_ERROR"),
    (100, "SERVER_THREADPOOL_EXHAUSTED_ERROR"),
];
/// Longest name that is told.
const MAX_NAME: usize = 128;

/// The head of a message.
#[derive(Clone, Copy, Debug)]
pub(super) struct Head {
    flags: u8,
    pub(super) status: u8,
    pub(super) id: u64,
    pub(super) len: u32,
}

impl Head {
    pub(super) const fn is_request(self) -> bool {
        self.flags & REQUEST != 0
    }

    pub(super) const fn is_two_way(self) -> bool {
        self.flags & TWO_WAY != 0
    }

    pub(super) const fn is_event(self) -> bool {
        self.flags & EVENT != 0
    }

    pub(super) const fn is_hessian(self) -> bool {
        self.flags & SERIALIZATION == HESSIAN
    }
}

/// Reads it.
pub(super) fn head(bytes: &[u8; HEAD]) -> Option<Head> {
    let [m0, m1, flags, status, i0, i1, i2, i3, i4, i5, i6, i7, l0, l1, l2, l3] = *bytes;
    let len = u32::from_be_bytes([l0, l1, l2, l3]);
    let id = u64::from_be_bytes([i0, i1, i2, i3, i4, i5, i6, i7]);
    ([m0, m1] == MAGIC && len <= MAX_BODY).then_some(Head { flags, status, id, len })
}

/// A status' word.
pub(super) fn status_name(status: u8) -> Option<&'static str> {
    STATUSES.iter().find(|(number, _)| *number == status).map(|(_, name)| *name)
}

/// The service and the method that a request calls: behind the version of the protocol, and around that of the service.
pub(super) fn called(body: &[u8]) -> Option<(CompactString, CompactString)> {
    let mut rest = body;
    let _protocol = next_text(&mut rest)?;
    let service = name(next_text(&mut rest)?)?;
    let _version = next_text(&mut rest)?;
    Some((service, name(next_text(&mut rest)?)?))
}

fn name(name: &str) -> Option<CompactString> {
    let is_part =
        |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'$' | b'/' | b'-' | b'<' | b'>');
    ((1..=MAX_NAME).contains(&name.len()) && name.bytes().all(is_part)).then(|| CompactString::new(name))
}

/// The context that is carried beside a request, all of which is there.
pub(super) fn context(body: &[u8]) -> Option<TraceParent> {
    let (_, value) = pairs_at_end(body)?.into_iter().find(|(key, _)| *key == "traceparent")?;
    TraceParent::parse(value.as_bytes())
}

/// Whether a response has an exception instead of a value: alone, or with what is carried beside it.
pub(super) fn throws(body: &[u8]) -> bool {
    matches!(body.first(), Some(0x90 | 0x93))
}
