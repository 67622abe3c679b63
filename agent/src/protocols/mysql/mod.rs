//! MySQL, MariaDB and what speaks as they do: a statement that is executed is an exchange.
//!
//! That is each statement of a query's text that is answered, each execution of a prepared statement, and what else the server counts
//! in `Questions`; preparing is told where it fails. Answers come in the order of what was asked, and each begins with the number that follows
//! the question's. Where bytes were lost that are not within one packet, what is open ends unseen, and so does each statement
//! until an exchange was seen whole. Rows beyond what is captured of an answer are left out on purpose: it ends where a piece does,
//! which is always captured. Of parameters, rows and passwords nothing is kept.

mod answered;
mod asked;
mod kept;
mod packed;
mod packet;
mod recognise;
#[cfg(test)]
mod samples;
mod session;
#[cfg(test)]
mod tests;

pub(super) use recognise::recognise;
#[cfg(test)]
pub(super) use samples::samples;

use super::{Capture, Ending, Session};
use crate::model::net::Role;

/// The protocol's name.
pub(super) const NAME: &str = "mysql";
/// `db.system.name` of servers that say so.
const MARIADB: &str = "mariadb";

/// The packet behind the last row: its length but for the first byte, its number, what it is, and the server's status among what follows.
const EOF: Ending = Ending::of([Some(0), Some(0), None, Some(0xfe), None, None, None, None]);
/// The same where the client has asked for another one in its place, without the length.
const OK: Ending = Ending::of([None, Some(0xfe), Some(0), Some(0), None, None, None, None]);

/// Of a large result the end is enough.
pub(super) const CAPTURE: Capture = Capture::pipelined(4096).ending(&[EOF, OK]);

/// See [`super::Entry::open`].
pub(super) fn open(role: Role) -> Box<dyn Session> {
    Box::new(session::Mysql::new(role))
}
