//! PostgreSQL and what speaks its protocol, version 3 (pgbouncer, and servers that are asked as it is): a statement that is executed
//! is an exchange.
//!
//! In the simple protocol that is each statement of a query's text that is answered, in the extended one each Execute; preparing,
//! binding and describing belong to the Execute that follows, or are told where they fail and none does. So the server's own counts
//! (`pg_stat_statements`) and what is told are the same, but for statements that failed, which only the latter has. Of
//! parameters, rows, the data of COPY and passwords nothing is kept.
//!
//! What comes back is in the order of what was asked. Where bytes were lost that are not within one message, what is open ends unseen, and so
//! does each statement until it is proved again what answers what: by a quiet time, or by an exchange that was seen whole. Rows
//! beyond what is captured of an answer are left out on purpose: its end is the end of a piece, which is always captured.

mod answered;
mod asked;
mod kept;
mod message;
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
pub(super) const NAME: &str = "postgresql";

/// The server is ready for what comes next.
const READY: Ending = Ending::of([None, None, Some(b'Z'), Some(0), Some(0), Some(0), Some(5), None]);

/// Of a pipeline every statement counts: its beginning is captured far. Of a large result the end is enough.
pub(super) const CAPTURE: Capture = Capture::pipelined(8192).ending(&[READY]);

/// See [`super::Entry::open`].
pub(super) fn open(role: Role) -> Box<dyn Session> {
    Box::new(session::Postgres::new(role))
}
