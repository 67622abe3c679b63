//! MongoDB and what speaks as it does (DocumentDB, FerretDB, Cosmos DB): `OP_MSG`, and the older messages with which drivers still begin.
//!
//! Answers carry the number of what they answer, so each is told with its own, also on connections older than the agent. Answers that come without
//! being asked for again belong to the request that has allowed it. Values are not kept, and nothing of what is stored.

mod bson;
mod message;
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
pub(super) const NAME: &str = "mongodb";

/// Commands stand at the beginnings of messages, whose length is known.
pub(super) const CAPTURE: Capture = Capture::turns(8192, 4096);

/// See [`super::Entry::recognise`].
pub(super) fn recognise(head: &[u8]) -> Recognition {
    message::recognise(head)
}

/// See [`super::Entry::open`].
pub(super) fn open(role: Role) -> Box<dyn Session> {
    Box::new(session::MongoDb::new(role))
}
