//! CQL, the native protocol of Cassandra and Scylla, versions 3 to 5
//! (<https://github.com/apache/cassandra/tree/trunk/doc>, `native_protocol_v5.spec`).
//!
//! Answers carry the stream of what they answer, so each is told with its own. From version 5 on messages lie in frames that a checksum proves. Statements are
//! told without literals; those that were prepared on the same connection are known by their text when they are executed.

mod frame;
mod message;
mod result;
#[cfg(test)]
mod samples;
mod session;
mod statement;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use samples::samples;

use super::{Capture, Recognition, Session};
use crate::model::net::Role;

/// The protocol's name.
pub(super) const NAME: &str = "cassandra";

/// Statements stand at the beginnings of messages, whose length is known.
pub(super) const CAPTURE: Capture = Capture::pipelined(4096);

/// See [`super::Entry::recognise`].
pub(super) fn recognise(head: &[u8]) -> Recognition {
    match message::recognise(head) {
        Recognition::No => frame::recognise(head),
        Recognition::Maybe if matches!(frame::recognise(head), Recognition::Request | Recognition::Response) => {
            frame::recognise(head)
        }
        taken => taken,
    }
}

/// See [`super::Entry::open`].
pub(super) fn open(role: Role) -> Box<dyn Session> {
    Box::new(session::Cql::new(role))
}
