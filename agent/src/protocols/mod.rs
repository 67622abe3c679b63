//! Protocols: each in a folder of its own. A protocol recognises its bytes, parses them as they come in pieces of any
//! size with known gaps, matches responses with requests, and tells when each begins and ends, and nothing else. It has no I/O, no
//! clock, no `unsafe`; its input is hostile.
//!
//! To add one, see `docs/adding-a-protocol.md`.

pub(crate) use self::capture::{Beginning, Begins, Capture, Ending, Endings, Mode};
pub use self::output::Output;
use crate::model::{
    exchange::{Exchange, Group, Key},
    net::{Direction, Role, Thread},
};

mod amqp;
mod amqp1;
mod capture;
mod carried;
mod clickhouse;
#[cfg(test)]
pub(crate) mod conformance;
mod cql;
pub(crate) mod dns;
mod dubbo;
mod fastcgi;
mod framed;
mod grpc;
mod http;
pub(crate) mod http1;
pub mod http2;
mod imap;
mod in_use;
mod kafka;
mod lanes;
mod ldap;
mod matching;
mod memcached;
mod mongodb;
mod mqtt;
mod mysql;
mod names;
mod nats;
mod output;
mod paired;
mod postgresql;
mod probe;
mod protobuf;
mod pulsar;
mod redis;
mod sized;
mod smtp;
mod sql;
mod tds;
#[cfg(test)]
mod testing;
mod thrift;
mod tns;
mod told;
#[cfg(any(test, fuzzing))]
mod toy;
mod zookeeper;

/// A protocol's entry: its folder, most bytes that a session of it holds, and what is not as of most.
macro_rules! entry {
    ($protocol:ident, $memory_max:expr $(, $field:ident: $value:expr)*) => {
        Entry {
            $($field: $value,)*
            ..Entry {
                name: $protocol::NAME,
                recognise: $protocol::recognise,
                is_likely: |_| true,
                may_be_torn: |_| false,
                is_certain: |_| false,
                is_answer: |_, _| None,
                open: $protocol::open,
                proves_itself: false,
                capture: $protocol::CAPTURE,
                memory_max: $memory_max,
                #[cfg(test)]
                samples: $protocol::samples,
            }
        }
    };
}

/// Every protocol the agent speaks, in the order in which they are asked: the strictest first.
pub(crate) static REGISTRY: &[Entry] = &[
    entry!(http2, 6 << 20, proves_itself: true),
    entry!(amqp, 6 << 20, proves_itself: true),
    entry!(kafka, 5 << 20, is_answer: kafka::is_answer),
    entry!(mqtt, 8 << 20),
    entry!(nats, 6 << 20, proves_itself: true),
    entry!(http1, 4 << 20, is_likely: http1::is_likely, may_be_torn: http1::may_be_torn),
    entry!(postgresql, 6 << 20),
    entry!(mysql, 4 << 20),
    entry!(redis, 4 << 20),
    entry!(memcached, 4 << 20),
    entry!(mongodb, 4 << 20),
    entry!(fastcgi, 4 << 20, is_certain: fastcgi::is_certain),
    entry!(cql, 4 << 20),
    entry!(dns, 4 << 20),
    entry!(ldap, 4 << 20),
    entry!(thrift, 4 << 20),
    entry!(smtp, 4 << 20),
    entry!(dubbo, 4 << 20),
    entry!(pulsar, 6 << 20),
    entry!(clickhouse, 4 << 20),
    entry!(tns, 4 << 20),
    entry!(imap, 4 << 20),
    entry!(zookeeper, 4 << 20),
    entry!(tds, 4 << 20),
    entry!(amqp1, 6 << 20),
    #[cfg(any(test, fuzzing))]
    entry!(toy, 1 << 20),
];

/// A protocol's line in the registry.
pub(crate) struct Entry {
    /// Name, for counters and logs.
    pub name: &'static str,
    /// Tells whether a piece of a connection's bytes begins a message of this protocol.
    pub recognise: fn(&[u8]) -> Recognition,
    /// Whether bytes that begin a request begin one of a kind so common that they do not by chance.
    pub is_likely: fn(&[u8]) -> bool,
    /// Whether bytes that would begin a request may as well be the rest of one, of which the first were read before.
    pub may_be_torn: fn(&[u8]) -> bool,
    /// Whether bytes that begin a request do so beyond doubt, wherever in a connection's life they come.
    pub is_certain: fn(&[u8]) -> bool,
    /// Whether bytes (the second) answer a request that begins so, or one shortly before it, where that shows: by themselves they may be
    /// something else.
    pub is_answer: fn(&[u8], &[u8]) -> Option<bool>,
    /// A new session, for a connection on which the watched process has the given role.
    pub open: fn(Role) -> Box<dyn Session>,
    /// Met in its midst, a session tells nothing until it has seen proof that it is this protocol.
    pub proves_itself: bool,
    /// What it needs captured of its connections.
    pub capture: Capture,
    /// Bytes that a session of it never exceeds, whatever it is fed.
    #[cfg_attr(not(any(test, fuzzing)), expect(dead_code, reason = "the conformance suite holds sessions to it"))]
    pub memory_max: usize,
    /// Conversations in it, with which it is shown to keep what all protocols do: see [`conformance`].
    #[cfg(test)]
    pub(crate) samples: fn() -> Vec<conformance::Sample>,
}

/// What the first bytes of a piece say. Bytes may be few: every valid beginning, down to one byte, is `Maybe` at least.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Recognition {
    /// The beginning of a request.
    Request,
    /// The beginning of a response.
    Response,
    /// What a server says before anything is asked, and others do not begin with.
    Greeting,
    /// Of this protocol, and what either side may send.
    Either,
    /// Could become one with more bytes.
    Maybe,
    /// Not this protocol.
    No,
}

impl Recognition {
    /// Whether what begins so is a message of this direction: a request, or what a server says.
    const fn fits(self, is_request: bool) -> bool {
        match self {
            Self::Request => is_request,
            Self::Response | Self::Greeting => !is_request,
            Self::Either => true,
            Self::Maybe | Self::No => false,
        }
    }
}

/// A piece of one direction of a connection, as one call moved it. Pieces of a direction come in order without
/// overlap. Events of the two directions come in causal order: what was moved earlier comes earlier.
#[derive(Clone, Copy, Debug)]
pub struct Chunk<'a> {
    /// When the call returned, in ns of `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// The thread that made it.
    pub thread: Thread,
    /// The captured beginning of the piece; may be empty.
    pub data: &'a [u8],
    /// How many bytes moved after `data` without being captured.
    pub skipped: u64,
    /// The last bytes among the `skipped`: `tail.len() <= skipped`. At most 32; fewer, with bytes left out before them, are
    /// all of the last buffer that the writer gave.
    pub tail: &'a [u8],
    /// Where frames begin in `data`, as the kernel side says where it follows them.
    pub frames: Option<Frames>,
    /// The skipped bytes were lost (ring full, fault), not left out on purpose; headers may have been among them.
    pub lost: bool,
    /// For how long nothing is known to have moved in this direction before.
    pub quiet_ns: u64,
    /// Where the piece's first byte stands in its direction, on a count that both directions share with `other_position`.
    pub position: u64,
    /// How far the other direction had come when this piece was recorded: what lies below it moved earlier. What lies above it
    /// moved later, but for what a thread has sent and another received the answer to before the first was recorded.
    pub other_position: u64,
}

/// Where frames begin in a piece of HTTP/2, as the kernel side says that follows them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frames {
    /// Where in [`Chunk::data`] the first begins; `None`: none does.
    pub first: Option<usize>,
    /// Between two pieces for which this is the same they were followed without a break; 0: from the connection's first byte on.
    pub found: u8,
}

impl Chunk<'_> {
    /// Bytes the piece has on the wire.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.data.len() as u64 + self.skipped
    }

    /// Bytes of it behind a place in its direction.
    #[must_use]
    pub fn behind(&self, position: u64) -> u64 {
        self.len().saturating_sub(position.saturating_sub(self.position))
    }

    /// Whether it has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// Both sides closed it, or the process ended.
    Closed,
    /// It was reset.
    Reset,
    /// The agent gave up on it: evicted, or the agent stops. What is open now ends unseen.
    Forgotten,
}

/// What a session wants of its connection from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// More of the same.
    Parse,
    /// The same, said once: where messages begin was found in the midst of the connection, so that the kernel side may follow them
    /// in the [mode](Capture::mode) of the protocol from here on.
    Follow,
    /// The same where it is followed: of each piece of requests so many bytes of what messages carry from here on, which the
    /// [mode](Capture::mode) leaves out; 0: none any more.
    Content(u32),
    /// The connection speaks something else now (WebSocket, a tunnel through this process): nothing more is wanted.
    Nothing,
    /// A connection to somebody else begins behind this piece, or within it (the client's end of a CONNECT tunnel).
    Anew,
    /// The connection continues as another protocol of the registry, by name (h2c upgrade).
    Switch(&'static str),
}

/// One connection's parser.
pub trait Session: Send {
    /// Takes the next piece of one direction; what begins and ends by it is told to `out`.
    fn on_data(&mut self, direction: Direction, chunk: &Chunk<'_>, out: &mut Output) -> Interest;

    /// To be called before anything else: it is known that the connection was in use when what is told begins, so requests may be
    /// open. `asks_ahead`: the client was seen to ask before it was answered.
    fn begin_in_use(&mut self, _asks_ahead: bool) {}

    /// To be called before anything else: bytes may have moved before the connection was met, though nothing is open of it. What was
    /// agreed upon by them is not known.
    fn begin_older(&mut self) {}

    /// Whether it waits for a piece of this direction that begins with a message, since its place there, or what answers what, was lost.
    /// It is then given a message's head together with what comes behind it, where that was moved by itself.
    fn seeks(&self, _direction: Direction) -> bool {
        false
    }

    /// Of a turn of which nothing more is captured it needs no pieces but those that end in one of the ways that its protocol's
    /// [`Capture::endings`] names, and what comes right behind them.
    fn knows_ends(&self) -> bool {
        false
    }

    /// No more bytes will come in this direction (end of file, half-close).
    fn on_end_of_stream(&mut self, direction: Direction, at_ns: u64, out: &mut Output);

    /// The connection has ended; every open request is finished with what is known of it.
    fn on_end(&mut self, end: End, at_ns: u64, out: &mut Output);

    /// Which end the watched process is.
    fn role(&self) -> Role;

    /// Requests that wait for the end of their response.
    fn open_requests(&self) -> usize;

    /// Calls `each` with the group and the method of each of them; that is `None` where it is not known, or there is none.
    fn open_methods(&self, each: &mut dyn FnMut(Group, Option<&str>));

    /// Heap bytes held, about.
    fn memory(&self) -> usize;

    /// Counts of what could not be made sense of, since the last call.
    fn take_anomalies(&mut self) -> Anomalies;

    /// After [`Interest::Switch`] and [`Interest::Anew`]: what is left to the next protocol's session.
    fn hand_over(&mut self) -> Handover {
        Handover::default()
    }

    /// Takes over a request that another protocol's session has read and this one is to see answered.
    fn take_over(&mut self, key: Key, request: Exchange, out: &mut Output) {
        out.finish(key, request);
    }
}

/// What a session leaves to that of the protocol that its connection continues as.
#[derive(Debug, Default)]
pub struct Handover {
    /// Bytes at the end of the last piece that are the next protocol's.
    pub rest: u64,
    /// The request that is answered there; its end is still to come.
    pub request: Option<(Key, Exchange)>,
}

/// What a session could not make sense of.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Anomalies {
    /// Times the parser lost its place and looked for the next beginning of a message.
    pub resyncs: u64,
    /// Responses whose request was not seen.
    pub unmatched_responses: u64,
    /// Something exceeded a limit (header block, open requests) and was cut.
    pub over_limit: u64,
    /// Requests whose bytes were lost, as their numbers tell, or that are not told since it is not known what answers what.
    pub requests_lost: u64,
    /// Bytes of requests and of responses that could not be read, in which requests, or messages, may have begun that are not told.
    pub unread: [u64; 2],
    /// Panics of the session.
    pub panics: u64,
}

impl std::ops::AddAssign for Anomalies {
    fn add_assign(&mut self, more: Self) {
        let Self { resyncs, unmatched_responses, over_limit, requests_lost, unread, panics } = more;
        self.resyncs += resyncs;
        self.unmatched_responses += unmatched_responses;
        self.over_limit += over_limit;
        self.requests_lost += requests_lost;
        self.unread = [self.unread[0] + unread[0], self.unread[1] + unread[1]];
        self.panics += panics;
    }
}
