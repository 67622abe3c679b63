//! FastCGI (<https://fastcgi-archives.github.io/FastCGI_Specification.html>): what a web server asks of programs behind it, such as php-fpm. Told as
//! HTTP, of which it carries what a request's head says.
//!
//! Records carry the number of their request. A large body is passed over by the lengths of records; where more than one of these was not captured, a
//! response is over with the record that says so, at the end of a piece.

mod record;
#[cfg(test)]
mod samples;
mod session;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use samples::samples;

use super::{Capture, Recognition, Session};
use crate::model::net::Role;

/// The protocol's name.
pub(super) const NAME: &str = "fastcgi";

/// What is told stands in the parameters, and in the beginning of what comes back; its end at the end of a piece.
pub(super) const CAPTURE: Capture = Capture::turns(8192, 2048).with_tails();

/// See [`super::Entry::recognise`].
pub(super) fn recognise(head: &[u8]) -> Recognition {
    record::recognise(head)
}

/// See [`super::Entry::open`].
pub(super) fn open(role: Role) -> Box<dyn Session> {
    Box::new(session::FastCgi::new(role))
}
