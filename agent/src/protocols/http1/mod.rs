//! HTTP/1.0 and HTTP/1.1 (RFC 9112).

use super::{Recognition, Session};
use crate::model::net::Role;

/// The protocol's name.
pub const NAME: &str = "http1";

/// See [`super::Entry::recognise`].
#[must_use]
pub fn recognise(_head: &[u8]) -> Recognition {
    Recognition::No
}

/// See [`super::Entry::open`].
#[must_use]
pub fn open(_role: Role) -> Box<dyn Session> {
    unreachable!()
}
