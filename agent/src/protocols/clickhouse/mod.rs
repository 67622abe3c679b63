//! ClickHouse's native protocol: statements, one at a time on a connection, with the code of an exception and how many rows came back.
//!
//! Nothing says how long a message is but its content, so that messages are followed as long as it can be read: blocks of columns of
//! common types, and those that are compressed. Behind what cannot be read, an answer has ended where a piece of it is nothing but the
//! messages that answers end with; or when the client goes on to the next statement, where the last bytes before that say so.

mod block;
mod client;
mod reader;
#[cfg(test)]
mod samples;
mod server;
mod session;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use samples::samples;

use self::reader::{Reader, Stop};
use super::{
    Capture, Recognition, Session,
    sql::{Dialect, Escapes, Syntax},
};
use crate::model::net::Role;

/// The protocol's name, and the system's.
pub(super) const NAME: &str = "clickhouse";

/// Statements stand at the beginnings of turns, how they ended at the ends.
pub(super) const CAPTURE: Capture = Capture::turns(16 << 10, 16 << 10).with_tails();

/// Backslashes escape; names stand in backticks or in double quotes.
const SYNTAX: Syntax = Syntax { dialect: Dialect::Postgres, escapes: Escapes::Yes };

/// Revisions of the protocol that clients speak, from 2017 on.
const REVISIONS: std::ops::Range<u64> = 54_000..56_000;

/// See [`super::Entry::recognise`].
pub(super) fn recognise(head: &[u8]) -> Recognition {
    match client::begins(&mut Reader::new(head)) {
        Ok(()) => return Recognition::Request,
        Err(Stop::More) => return Recognition::Maybe,
        Err(Stop::No) => {}
    }
    match server::begins(&mut Reader::new(head)) {
        Ok(()) => Recognition::Response,
        Err(Stop::More) => Recognition::Maybe,
        Err(Stop::No) => Recognition::No,
    }
}

/// See [`super::Entry::open`].
pub(super) fn open(role: Role) -> Box<dyn Session> {
    Box::new(session::ClickHouse::new(role))
}
