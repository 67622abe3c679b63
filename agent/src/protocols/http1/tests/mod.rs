//! Conversations fed to a session.

mod boundaries;
mod gaps;
mod losses;
mod messages;
mod properties;
mod recognition;
pub(super) mod samples;

use super::open;
use crate::{
    model::{
        exchange::{Exchange, Http, Operation, Outcome},
        ids::{ProcessId, ThreadId},
        net::{Direction, Role, Thread},
    },
    protocols::{Anomalies, Chunk, End, Interest, Session, testing::Told},
};

/// A session with its output. Every piece takes a microsecond.
pub(super) struct Wire {
    pub(super) session: Box<dyn Session>,
    pub(super) out: Told,
    pub(super) now: u64,
    role: Role,
    pub(super) interest: Interest,
    /// Bytes that moved in each direction.
    pub(super) moved: [u64; 2],
    /// For how long nothing had moved before each piece.
    pub(super) quiet_ns: u64,
}

impl Wire {
    pub(super) fn new(role: Role) -> Self {
        Self {
            session: open(role),
            out: Told::default(),
            now: 0,
            role,
            interest: Interest::Parse,
            moved: [0; 2],
            quiet_ns: 0,
        }
    }

    pub(super) fn server() -> Self {
        Self::new(Role::Server)
    }

    pub(super) fn piece(&mut self, direction: Direction, data: &[u8], skipped: u64, tail: &[u8], lost: bool) {
        self.now += 1000 + self.quiet_ns;
        let thread =
            Thread { tgid: ProcessId(7), tid: ThreadId(u32::try_from(self.now / 1000).unwrap()), work: 0, begun_ns: 0 };
        let [position, other_position] = [direction, direction.other()].map(|direction| self.moved[direction.index()]);
        let chunk = Chunk {
            at_ns: self.now,
            thread,
            data,
            skipped,
            tail,
            lost,
            frames: None,
            quiet_ns: self.quiet_ns,
            position,
            other_position,
        };
        self.moved[direction.index()] = position.saturating_add(chunk.len());
        self.interest = self.out.of(|out| self.session.on_data(direction, &chunk, out));
    }

    /// A whole piece of which `head` bytes are captured, and up to 32 of the rest.
    pub(super) fn limited(&mut self, direction: Direction, piece: &[u8], head: usize) {
        let (data, rest) = piece.split_at(head.min(piece.len()));
        let tail = &rest[rest.len().saturating_sub(32)..];
        self.piece(direction, data, rest.len() as u64, tail, false);
    }

    pub(super) fn requests(&self) -> Direction {
        self.role.requests()
    }

    pub(super) fn responses(&self) -> Direction {
        self.role.requests().other()
    }

    pub(super) fn ask(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.piece(self.requests(), bytes.as_ref(), 0, &[], false);
        self
    }

    pub(super) fn answer(&mut self, bytes: impl AsRef<[u8]>) -> &mut Self {
        self.piece(self.responses(), bytes.as_ref(), 0, &[], false);
        self
    }

    pub(super) fn end_of_responses(&mut self) -> &mut Self {
        self.now += 1000;
        let responses = self.responses();
        self.out.of(|out| self.session.on_end_of_stream(responses, self.now, out));
        self
    }

    pub(super) fn end(&mut self, end: End) -> &mut Self {
        self.now += 1000;
        self.out.of(|out| self.session.on_end(end, self.now, out));
        assert!(self.out.open() == 0 || self.interest != Interest::Parse);
        self
    }

    /// One line for each exchange: what it asked and got, and how it ended.
    pub(super) fn told(&self) -> Vec<String> {
        self.out.iter().map(tell).collect()
    }

    pub(super) fn anomalies(&mut self) -> Anomalies {
        self.session.take_anomalies()
    }
}

pub(super) fn http(exchange: &Exchange) -> &Http {
    match &exchange.operation {
        Operation::Http(http) => http,
        _ => panic!("not HTTP"),
    }
}

pub(super) fn tell(exchange: &Exchange) -> String {
    let http = http(exchange);
    let number = |number: Option<u64>| number.map_or("?".to_owned(), |number| number.to_string());
    let outcome = match exchange.outcome {
        Outcome::Complete => String::new(),
        other => format!(" {other:?}"),
    };
    format!(
        "{} {} {} {}→{}{outcome}",
        http.method.as_deref().unwrap_or("?"),
        http.target.as_deref().unwrap_or("?"),
        http.status.map_or("-".to_owned(), |status| status.to_string()),
        number(http.request_body_bytes),
        number(http.response_body_bytes),
    )
}

pub(super) const GET: &str = "GET /a HTTP/1.1\r\nHost: h\r\n\r\n";
pub(super) const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
