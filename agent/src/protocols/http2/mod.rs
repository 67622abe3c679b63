//! HTTP/2 (RFC 9113), and gRPC over it, for one who listens in, perhaps since the middle of the connection.
//!
//! Each direction is a [`half::Half`]: bytes become frames, header blocks are decoded in order, and what they say goes
//! to the [`streams::Streams`], where responses find their requests.
//!
//! - A connection that was upgraded from HTTP/1 (h2c) is handed over by that protocol. Its stream 1 answers the request
//!   that was seen there, and yields nothing here.
//! - Promised requests (`PUSH_PROMISE`) are decoded and yield nothing; the responses to them count as unmatched.
//! - What cannot be known (HPACK entries from before our time) is `None`, never guessed; see [`hpack`].

#[doc(hidden)]
pub mod blocks;
mod frame;
mod half;
mod head;
mod hpack;
mod names;
mod seek;
mod stream;
mod streams;
#[cfg(test)]
mod tests;

use self::{
    half::{Half, Piece},
    streams::Streams,
};
use super::{Anomalies, Chunk, End, Interest, Recognition, Session};
use crate::model::{
    exchange::Exchange,
    net::{Direction, Role},
};

/// The protocol's name.
pub const NAME: &str = "http2";

/// See [`super::Entry::recognise`]. A client's preface is a request. In mid-life, the first header block decides that
/// tells by its pseudo-header fields which it is; frames that both sides send decide nothing.
#[must_use]
pub fn recognise(head: &[u8]) -> Recognition {
    seek::recognise(head)
}

/// See [`super::Entry::open`]. Serves connections from their beginning, after an upgrade, and in mid-life.
#[must_use]
pub fn open(role: Role) -> Box<dyn Session> {
    Box::new(Http2 {
        role,
        requests: Half::new(Side::Requests),
        responses: Half::new(Side::Responses),
        streams: Streams::new(role),
    })
}

/// What a direction carries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Side {
    /// From the client.
    Requests,
    /// From the server.
    Responses,
}

#[derive(Debug)]
struct Http2 {
    role: Role,
    requests: Half,
    responses: Half,
    streams: Streams,
}

impl Session for Http2 {
    fn on_data(&mut self, direction: Direction, chunk: &Chunk<'_>, out: &mut Vec<Exchange>) -> Interest {
        let mut piece =
            Piece { at_ns: chunk.at_ns, thread: chunk.thread, framed: chunk.framed, streams: &mut self.streams, out };
        if direction == self.role.requests() {
            self.requests.feed(chunk, &mut piece);
            if self.requests.take_preface() {
                self.responses.on_beginning();
            }
        } else {
            self.responses.feed(chunk, &mut piece);
        }
        Interest::Parse
    }

    fn on_end_of_stream(&mut self, direction: Direction, at_ns: u64, out: &mut Vec<Exchange>) {
        if direction != self.role.requests() {
            self.streams.on_end(at_ns, out);
        }
    }

    fn on_end(&mut self, end: End, at_ns: u64, out: &mut Vec<Exchange>) {
        match end {
            End::Closed | End::Reset => self.streams.on_end(at_ns, out),
            End::Forgotten => self.streams.on_forgotten(at_ns, out),
        }
    }

    fn role(&self) -> Role {
        self.role
    }

    fn open_requests(&self) -> usize {
        self.streams.len()
    }

    fn memory(&self) -> usize {
        size_of::<Self>() + self.requests.memory() + self.responses.memory() + self.streams.memory()
    }

    fn take_anomalies(&mut self) -> Anomalies {
        std::mem::take(&mut self.streams.anomalies)
    }
}
