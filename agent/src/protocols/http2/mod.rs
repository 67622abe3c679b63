//! HTTP/2 (RFC 9113), and gRPC over it, for one who listens in, perhaps since the middle of the connection.
//!
//! Each direction is a [`half::Half`]: bytes become frames, header blocks are decoded in order, and what they say goes
//! to the [`streams::Streams`], where responses find their requests.
//!
//! - A connection that was upgraded from HTTP/1 (h2c) is handed over by that protocol, with the request that its stream 1
//!   answers.
//! - Promised requests (`PUSH_PROMISE`) are decoded and yield nothing; the responses to them count as unmatched.
//! - What cannot be known (HPACK entries from before our time) is `None`, never guessed; see [`hpack`].

#[doc(hidden)]
pub mod blocks;
mod frame;
mod half;
mod head;
mod hpack;
mod names;
mod proof;
mod seek;
mod stream;
mod streams;
#[cfg(test)]
mod tests;

use self::{
    half::{Arrival, Half},
    head::Head,
    proof::Proof,
    stream::Stream,
    streams::Streams,
};
#[cfg(test)]
pub(super) use tests::samples::samples;

use super::{Anomalies, Beginning, Begins, Capture, Chunk, End, Endings, Interest, Mode, Output, Recognition, Session};
use crate::model::{
    exchange::{Exchange, Group, Key, Operation},
    net::{Direction, Role},
};

/// The protocol's name.
pub const NAME: &str = "http2";

/// The client's preface, or the server's SETTINGS, whatever their length. Until a connection that is older than the agent is known to
/// be one, what begins with a header block is captured as a whole: a frame that begins beyond the budget of a turn would take away the
/// place of all behind it.
pub(super) const CAPTURE: Capture = Capture {
    mode: Mode::Http2Frames,
    requests: 8192,
    responses: 8192,
    answers: 0,
    renewed: false,
    tails: true,
    whole: 512 * 1024,
    endings: Endings::NONE,
    beginnings: &[
        Beginning::of(*b"PRI ", Begins::Followed),
        Beginning { bytes: [0, 0, 0, 1], mask: [0xff, 0xc0, 0, 0xff], begins: Begins::WholeInTheClear },
        Beginning { bytes: [0, 0, 0, 4], mask: [0xff, 0xff, 0, 0xff], begins: Begins::Followed },
    ],
};

/// Bytes of what requests carry that are captured of a piece where that is of interest.
const CONTENT: u32 = 8192;

/// See [`super::Entry::recognise`]. A client's preface is a request. In mid-life, the first header block decides that
/// tells by its pseudo-header fields which it is; whole frames that both sides send do not.
#[must_use]
pub fn recognise(head: &[u8]) -> Recognition {
    seek::recognise(head)
}

/// See [`super::Entry::open`]. Serves connections from their beginning, after an upgrade, and in mid-life.
#[must_use]
pub fn open(role: Role) -> Box<dyn Session> {
    Box::new(Http2::new(role))
}

/// A direction in which nothing has moved for so long has no frame in the making: endpoints write a frame as fast as
/// they can once they have begun it.
const QUIET_NS: u64 = 20_000_000;

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
    proof: Proof,
    streams: Streams,
    /// Which direction moved last.
    last: Option<Direction>,
    /// The connection's beginning was seen after a quiet time.
    began_quietly: bool,
    /// A direction's place was known at some time, and so the role.
    was_known: bool,
    /// The kernel side follows frames, from the beginning or since it was told of them.
    is_followed: bool,
    /// It was told to capture what requests carry.
    takes_content: bool,
}

impl Http2 {
    fn new(role: Role) -> Self {
        Self {
            role,
            requests: Half::new(Side::Requests),
            responses: Half::new(Side::Responses),
            proof: Proof::default(),
            streams: Streams::new(role),
            last: None,
            began_quietly: false,
            was_known: false,
            is_followed: false,
            takes_content: false,
        }
    }

    /// As long as nothing is certain, it may turn out that the process is at the connection's other end: what it was
    /// recognised by was the payload of a DATA frame.
    fn reconsider(&mut self, direction: Direction, chunk: &Chunk<'_>, out: &mut Output) {
        self.was_known |= self.requests.is_known() || self.responses.is_known();
        if self.was_known || self.proof.is_enough() {
            return;
        }
        let is_other_role = match recognise(chunk.data) {
            Recognition::Request => direction != self.role.requests(),
            Recognition::Response => direction == self.role.requests(),
            Recognition::Either | Recognition::Maybe | Recognition::Greeting | Recognition::No => false,
        };
        if is_other_role {
            let anomalies = self.take_anomalies();
            self.streams.on_forgotten(chunk.at_ns, out);
            *self = Self { last: self.last, ..Self::new(self.role.other()) };
            self.streams.anomalies = anomalies;
        }
    }

    /// Responses that came where their place is not known may have answered all that is open.
    fn on_missed(&mut self, at_ns: u64, out: &mut Output) {
        if self.responses.misses() {
            self.streams.on_loss(Side::Responses, u32::MAX, at_ns, out);
        }
    }
}

impl Session for Http2 {
    fn on_data(&mut self, direction: Direction, chunk: &Chunk<'_>, out: &mut Output) -> Interest {
        self.reconsider(direction, chunk, out);
        let is_request = direction == self.role.requests();
        let mut piece = Arrival {
            at_ns: chunk.at_ns,
            thread: chunk.thread,
            position: chunk.position,
            quiet: chunk.quiet_ns >= QUIET_NS,
            turn: self.last.is_some_and(|last| last != direction),
            other_known: if is_request { self.responses.is_known() } else { self.requests.is_known() },
            proof: &mut self.proof,
            streams: &mut self.streams,
            out,
        };
        self.last = Some(direction);
        if is_request {
            if self.responses.misses() {
                piece.streams.on_loss(Side::Responses, u32::MAX, chunk.at_ns, piece.out);
            }
            self.requests.feed(chunk, &mut piece);
            if self.requests.take_preface() {
                // Not behind an upgrade, nor behind what a proxy has put before it.
                self.is_followed |= !self.was_known && chunk.position == 0;
                self.began_quietly = piece.quiet;
                let (has_begun, fits) = (self.responses.has_begun(), self.responses.on_beginning());
                match (has_begun, fits) {
                    (true, true) => piece.streams.on_certain(piece.out),
                    (_, true) => {}
                    (_, false) => self.requests.on_refuted(&mut piece),
                }
            }
        } else {
            self.responses.feed(chunk, &mut piece);
        }
        if self.requests.take_refuted() | self.responses.take_refuted() {
            self.requests.on_refuted(&mut piece);
            self.responses.on_refuted(&mut piece);
            self.was_known = false;
        }
        if !self.is_followed && (self.requests.is_known() || self.responses.is_known()) {
            self.is_followed = true;
            return Interest::Follow;
        }
        let reads_content = self.streams.reads_content();
        if self.is_followed && std::mem::replace(&mut self.takes_content, reads_content) != reads_content {
            return Interest::Content(if reads_content { CONTENT } else { 0 });
        }
        Interest::Parse
    }

    fn on_end_of_stream(&mut self, direction: Direction, at_ns: u64, out: &mut Output) {
        if direction != self.role.requests() {
            self.on_missed(at_ns, out);
            self.streams.on_end(at_ns, out);
        }
    }

    fn on_end(&mut self, end: End, at_ns: u64, out: &mut Output) {
        if self.began_quietly && !self.responses.has_begun() {
            // A server that never said anything refutes nothing.
            self.streams.on_certain(out);
        }
        self.on_missed(at_ns, out);
        self.streams.on_unseen_end(self.requests.unseen_at_end());
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

    fn open_methods(&self, each: &mut dyn FnMut(Group, Option<&str>)) {
        self.streams.methods().for_each(|(group, method)| each(group, method));
    }

    fn memory(&self) -> usize {
        size_of::<Self>()
            + self.requests.memory()
            + self.responses.memory()
            + self.proof.memory()
            + self.streams.memory()
    }

    fn take_anomalies(&mut self) -> Anomalies {
        std::mem::take(&mut self.streams.anomalies)
    }

    fn take_over(&mut self, key: Key, request: Exchange, out: &mut Output) {
        // The server's frames begin behind its 101, those of the client with the preface.
        self.responses.on_beginning();
        self.was_known = true;
        let Exchange { start_ns, thread, parent, operation: Operation::Http(http), .. } = request else {
            return out.finish(key, request);
        };
        let body = http.request_body_bytes;
        let moved = stream::Moved { first_ns: start_ns, last_ns: start_ns, thread };
        let mut stream = Box::new(Stream::new(Head::of_upgrade(*http, parent), None, moved, true));
        stream.on_request_data(body, true);
        self.streams.on_upgraded(key, stream);
    }
}
