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

/// See [`super::Entry::is_certain`]: both the record that begins a request and the head of the one behind it, which is of the same request, say nothing else in any of
/// 20 bytes. It counts where a process first does what is asked, and then answers: the request has to be told before.
pub(super) fn is_certain(head: &[u8]) -> bool {
    head.len() >= record::BEGINNING && recognise(head) == Recognition::Request
}

/// See [`super::Entry::open`].
pub(super) fn open(role: Role) -> Box<dyn Session> {
    Box::new(session::FastCgi::new(role))
}
