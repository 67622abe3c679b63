//! HTTP/1.0 and HTTP/1.1 (RFC 9112, RFC 9110).
//!
//! Each direction is a [`side::Side`] that knows where in its messages it stands: in a head, in a body whose framing is
//! known, or seeking the next beginning. The [`session::Http1`] matches responses with requests in order.
//!
//! What is kept true when bytes are missing:
//! - Bytes of a body whose framing is known are never read as a head, and are skipped by count.
//! - A chunked body is followed exactly while its chunk headers are captured. After that it ends where a piece ends
//!   with the last chunk, where a piece begins with the next head, or where the client asks again; its size is unknown.
//! - A head that is cut by missing bytes counts with what was seen of it; its message ends like one whose framing is lost.
//! - Where a message may have gone missing, what is open ends [unseen](crate::model::exchange::Outcome::Unseen), and so do later
//!   requests until there is proof that nothing else is open: see [`session`].
//!
//! A connection that is met while it is in use may have unseen requests open, so its first request is unseen too. A client that
//! keeps the same number of them open all the time cannot be told from one that has none.
//!
//! An upgrade to h2c hands the connection to `http2`, and with it the upgraded request: its response is stream 1's
//! (RFC 7540, 3.2), so no exchange of it is yielded here.

mod body;
mod framing;
mod head;
mod open;
mod recognise;
mod session;
mod side;
mod suffix;

#[cfg(test)]
mod tests;

pub(crate) use recognise::{may_be_registered as is_likely, may_be_torn, recognise};
#[cfg(test)]
pub(super) use tests::samples::samples;

use super::{Beginning, Begins, Capture, Endings, Mode, Session};
use crate::model::net::Role;

/// The protocol's name.
pub(crate) const NAME: &str = "http1";

/// Heads of requests are of more interest than those of responses. Requests without a body may be pipelined; of those that have one
/// the heads stand wherever the body before ends.
pub(super) const CAPTURE: Capture = Capture {
    mode: Mode::Http1Messages,
    requests: 8192,
    responses: 2048,
    answers: 0,
    renewed: false,
    tails: true,
    whole: 512 * 1024,
    endings: Endings::NONE,
    beginnings: &[
        // Behind 1xx the request's body comes, or (101) another protocol.
        Beginning::of(*b"HTTP", Begins::Response { interim_at: 9, interim: b'1' }),
        Beginning::of(*b"GET ", Begins::Whole),
        Beginning::of(*b"HEAD", Begins::Whole),
        Beginning::of(*b"POST", Begins::Followed),
        Beginning::of(*b"PUT ", Begins::Followed),
        Beginning::of(*b"PATC", Begins::Followed),
        Beginning::of(*b"DELE", Begins::Followed),
        Beginning::of(*b"OPTI", Begins::Followed),
    ],
};

/// See [`super::Entry::open`].
#[must_use]
pub(crate) fn open(role: Role) -> Box<dyn Session> {
    Box::new(session::Http1::new(role))
}
