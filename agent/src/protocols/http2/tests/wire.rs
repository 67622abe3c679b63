//! Writes connections and reads them through a session.

use httlib_hpack::Encoder;

use super::super::{
    super::{testing::Told, *},
    *,
};
use crate::model::{
    exchange::{Http, Operation, Rpc},
    ids::{ProcessId, ThreadId},
    net::Thread,
};
pub(super) use crate::protocols::testing::Random;

pub(super) const END_STREAM: u8 = 1;
pub(super) const END_HEADERS: u8 = 4;
pub(super) const PADDED: u8 = 8;
pub(super) const PRIORITY: u8 = 0x20;

/// Every field is indexed and Huffman-coded.
pub(super) const INDEXED: u8 =
    Encoder::BEST_FORMAT | Encoder::WITH_INDEXING | Encoder::HUFFMAN_NAME | Encoder::HUFFMAN_VALUE;

pub(super) const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// A frame's bytes.
pub(super) fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

pub(super) fn data(flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    frame(0, flags, stream, payload)
}

pub(super) fn rst(stream: u32, code: u32) -> Vec<u8> {
    frame(3, 0, stream, &code.to_be_bytes())
}

pub(super) fn settings() -> Vec<u8> {
    frame(4, 0, 0, &[0, 1, 0, 0, 0x10, 0, 0, 3, 0, 0, 0, 100])
}

pub(super) fn encode(encoder: &mut Encoder<'_>, fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        encoder.encode((name.as_bytes().to_vec(), value.as_bytes().to_vec(), INDEXED), &mut block).unwrap();
    }
    block
}

/// A piece of a connection: which way, when, what.
#[derive(Clone, Debug)]
pub(super) struct Moved {
    pub(super) side: Side,
    pub(super) at_ns: u64,
    pub(super) bytes: Vec<u8>,
}

/// A connection in the making: each write is a piece, a microsecond after the last.
pub(super) struct Wire {
    pub(super) client: Encoder<'static>,
    pub(super) server: Encoder<'static>,
    pub(super) pieces: Vec<Moved>,
}

impl Wire {
    /// Nothing was sent yet.
    pub(super) fn bare() -> Self {
        Self { client: Encoder::default(), server: Encoder::default(), pieces: Vec::new() }
    }

    /// Preface and SETTINGS were exchanged.
    pub(super) fn new() -> Self {
        let mut wire = Self::bare();
        wire.request([PREFACE, &settings()].concat());
        wire.response([settings(), frame(4, 1, 0, &[])].concat());
        wire.request(frame(4, 1, 0, &[]));
        wire
    }

    pub(super) fn request(&mut self, bytes: Vec<u8>) -> u64 {
        self.write(Side::Requests, bytes)
    }

    pub(super) fn response(&mut self, bytes: Vec<u8>) -> u64 {
        self.write(Side::Responses, bytes)
    }

    /// Returns when it was moved.
    pub(super) fn write(&mut self, side: Side, bytes: Vec<u8>) -> u64 {
        let at_ns = 1000 * (self.pieces.len() as u64 + 1);
        self.pieces.push(Moved { side, at_ns, bytes });
        at_ns
    }

    /// The client's HEADERS.
    pub(super) fn ask(&mut self, stream: u32, flags: u8, fields: &[(&str, &str)]) -> u64 {
        let block = encode(&mut self.client, fields);
        self.request(frame(1, flags | END_HEADERS, stream, &block))
    }

    /// The server's HEADERS.
    pub(super) fn answer(&mut self, stream: u32, flags: u8, fields: &[(&str, &str)]) -> u64 {
        let block = encode(&mut self.server, fields);
        self.response(frame(1, flags | END_HEADERS, stream, &block))
    }

    pub(super) fn get(&mut self, stream: u32, path: &str) -> u64 {
        self.ask(stream, END_STREAM, &get(path))
    }

    pub(super) fn call(&mut self, stream: u32, path: &str) -> u64 {
        self.ask(stream, 0, &call(path))
    }

    /// Exchanges of the connection so far, which then closes, as the server sees them.
    pub(super) fn exchanges(&self) -> Vec<Exchange> {
        let mut reader = Reader::new(Role::Server);
        reader.feed_all(&self.pieces);
        reader.close()
    }
}

pub(super) fn get(path: &str) -> [(&str, &str); 4] {
    [(":method", "GET"), (":scheme", "http"), (":authority", "example.com"), (":path", path)]
}

pub(super) fn call(path: &str) -> [(&str, &str); 7] {
    [
        (":method", "POST"),
        (":scheme", "http"),
        (":path", path),
        (":authority", "example.com"),
        ("content-type", "application/grpc"),
        ("user-agent", "grpc-go/1.70.0"),
        ("te", "trailers"),
    ]
}

/// A session that is fed.
pub(super) struct Reader {
    pub(super) session: Box<dyn Session>,
    pub(super) role: Role,
    pub(super) out: Told,
    /// How often frames were said to be found in the connection's midst.
    pub(super) frames_found: usize,
    /// What was said to be wanted of what requests carry.
    pub(super) content: Vec<u32>,
    /// Directions whose first piece comes after a quiet time.
    at_rest: Vec<Side>,
}

pub(super) const THREAD: Thread = Thread { tgid: ProcessId(1), tid: ThreadId(2), work: 0, begun_ns: 0 };

/// A piece that was captured whole.
pub(super) fn whole(at_ns: u64, data: &[u8]) -> Chunk<'_> {
    Chunk {
        at_ns,
        thread: THREAD,
        data,
        skipped: 0,
        tail: &[],
        frames: None,
        lost: false,
        quiet_ns: 0,
        position: 0,
        other_position: 0,
    }
}

/// The same, after nothing had moved for a while.
pub(super) fn after_rest(at_ns: u64, data: &[u8]) -> Chunk<'_> {
    Chunk { quiet_ns: QUIET_NS, ..whole(at_ns, data) }
}

impl Reader {
    pub(super) fn new(role: Role) -> Self {
        Self {
            session: open(role),
            role,
            out: Told::default(),
            frames_found: 0,
            content: Vec::new(),
            at_rest: Vec::new(),
        }
    }

    /// Attaches to a connection on which nothing has moved for a while.
    pub(super) fn at_rest(role: Role) -> Self {
        Self { at_rest: vec![Side::Requests, Side::Responses], ..Self::new(role) }
    }

    pub(super) fn direction(&self, side: Side) -> Direction {
        match side {
            Side::Requests => self.role.requests(),
            Side::Responses => self.role.requests().other(),
        }
    }

    pub(super) fn feed(&mut self, side: Side, chunk: &Chunk<'_>) {
        let direction = self.direction(side);
        match self.out.of(|out| self.session.on_data(direction, chunk, out)) {
            Interest::Parse => {}
            Interest::Follow => self.frames_found += 1,
            Interest::Content(most) => self.content.push(most),
            other => panic!("{other:?}"),
        }
    }

    pub(super) fn feed_all(&mut self, pieces: &[Moved]) {
        for piece in pieces {
            let resting = self.at_rest.len();
            self.at_rest.retain(|&side| side != piece.side);
            let quiet_ns = if self.at_rest.len() < resting { QUIET_NS } else { 0 };
            self.feed(piece.side, &Chunk { quiet_ns, ..whole(piece.at_ns, &piece.bytes) });
        }
    }

    pub(super) fn close(mut self) -> Vec<Exchange> {
        self.out.of(|out| self.session.on_end(End::Closed, u64::MAX, out));
        assert_eq!(self.session.open_requests(), 0);
        self.out.finished()
    }
}

pub(super) fn http(exchange: &Exchange) -> &Http {
    match &exchange.operation {
        Operation::Http(http) => http,
        _ => panic!("not HTTP: {exchange:?}"),
    }
}

pub(super) fn rpc(exchange: &Exchange) -> &Rpc {
    match &exchange.operation {
        Operation::Rpc(rpc) => rpc,
        _ => panic!("no call: {exchange:?}"),
    }
}
