//! What a round does: drawn from the seed and the round's number, and from nothing else.

use std::fmt;

use ::tests::agent::Backend;
use rand::{RngExt, SeedableRng, rngs::StdRng, seq::IndexedRandom};
use serde::{Deserialize, Serialize};

use crate::ask::{Answer, Ask, Send, Shape};

/// What travels over the connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Wire {
    Http1,
    Pipelined,
    H2c,
    Grpc,
    Http1Tls,
    PipelinedTls,
    Http2Tls,
    GrpcTls,
}

impl Wire {
    const ALL: [Self; 8] = [
        Self::Http1,
        Self::Pipelined,
        Self::H2c,
        Self::Grpc,
        Self::Http1Tls,
        Self::PipelinedTls,
        Self::Http2Tls,
        Self::GrpcTls,
    ];

    pub(crate) const fn is_tls(self) -> bool {
        matches!(self, Self::Http1Tls | Self::PipelinedTls | Self::Http2Tls | Self::GrpcTls)
    }

    pub(crate) const fn is_http2(self) -> bool {
        matches!(self, Self::H2c | Self::Grpc | Self::Http2Tls | Self::GrpcTls)
    }

    pub(crate) const fn is_grpc(self) -> bool {
        matches!(self, Self::Grpc | Self::GrpcTls)
    }

    pub(crate) const fn is_pipelined(self) -> bool {
        matches!(self, Self::Pipelined | Self::PipelinedTls)
    }
}

/// Who answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ServerKind {
    Nginx,
    Node,
    Asyncio,
    Threads,
    Go,
    Nghttpd,
    /// hyper, over rustls where there is TLS.
    Hyper,
    /// A thread per connection over GnuTLS.
    GnuTls,
    /// nginx before hyper, with a connection of its own for each request.
    Proxy,
}

impl ServerKind {
    const ALL: [Self; 9] = [
        Self::Nginx,
        Self::Node,
        Self::Asyncio,
        Self::Threads,
        Self::Go,
        Self::Nghttpd,
        Self::Hyper,
        Self::GnuTls,
        Self::Proxy,
    ];

    pub(crate) const fn speaks(self, wire: Wire) -> bool {
        match self {
            Self::Nginx | Self::Proxy => !wire.is_grpc(),
            Self::Node | Self::Go | Self::Hyper => true,
            Self::Asyncio | Self::Threads => !wire.is_http2(),
            Self::GnuTls => wire.is_tls() && !wire.is_http2(),
            Self::Nghttpd => wire.is_http2() && !wire.is_grpc(),
        }
    }

    /// Its TLS is seen.
    pub(crate) const fn tls_is_seen(self) -> bool {
        !matches!(self, Self::Go)
    }

    /// Serves files as they lie in a folder: by query, 200 or 404 only.
    const fn is_file_server(self) -> bool {
        matches!(self, Self::Nghttpd)
    }

    /// Its bodies are files: neither pieces nor pauses.
    const fn has_files(self) -> bool {
        matches!(self, Self::Nginx | Self::Nghttpd)
    }
}

/// Who asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum ClientKind {
    /// One of ours, over rustls where there is TLS.
    Rust,
    /// libcurl over OpenSSL.
    CurlOpenSsl,
    /// libcurl over GnuTLS.
    CurlGnuTls,
}

impl ClientKind {
    const ALL: [Self; 3] = [Self::Rust, Self::CurlOpenSsl, Self::CurlGnuTls];

    const fn speaks(self, wire: Wire) -> bool {
        match self {
            Self::Rust => true,
            // libcurl 7.88 makes no second request on a connection that was HTTP/2 without asking.
            Self::CurlOpenSsl | Self::CurlGnuTls => {
                !wire.is_pipelined() && !wire.is_grpc() && !matches!(wire, Wire::H2c)
            }
        }
    }
}

/// By what the agent is told whom to watch.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Selection {
    Pid,
    Port,
    Exe,
    RulePort,
    RuleExe,
    RuleCommand,
    Nothing,
}

impl Selection {
    const ALL: [Self; 7] =
        [Self::Pid, Self::Port, Self::Exe, Self::RulePort, Self::RuleExe, Self::RuleCommand, Self::Nothing];
}

/// Which ends of the connections are watched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Side {
    Server,
    Client,
    Both,
}

impl Side {
    const ALL: [Self; 3] = [Self::Server, Self::Client, Self::Both];

    pub(crate) const fn has_server(self) -> bool {
        matches!(self, Self::Server | Self::Both)
    }

    pub(crate) const fn has_client(self) -> bool {
        matches!(self, Self::Client | Self::Both)
    }
}

/// What is older: the connections or the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Age {
    /// Connections are made once the agent watches.
    Younger,
    /// They were made before, and rest while it starts.
    OlderResting,
    /// They were made before, and go on while it starts.
    OlderBusy,
    /// They are made once the agent watches; it ends while they go on, and another begins.
    Restarted,
}

impl Age {
    const ALL: [Self; 4] = [Self::Younger, Self::OlderResting, Self::OlderBusy, Self::Restarted];
}

/// What else happens.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Trouble {
    Quiet,
    /// The smallest ring buffer there can be, and an agent that is held up for moments.
    Overflow,
    /// The agent is stopped (SIGSTOP) for a while.
    Stopped,
    /// Twice as many busy threads as processors.
    CpuLoad,
    /// Real-time threads that take most of each processor, by the millisecond.
    RealTime,
}

impl Trouble {
    const ALL: [(Self, u32); 5] =
        [(Self::Quiet, 6), (Self::Overflow, 2), (Self::Stopped, 2), (Self::CpuLoad, 1), (Self::RealTime, 1)];
}

/// A round.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Round {
    pub(crate) seed: u64,
    pub(crate) number: u64,
    pub(crate) wire: Wire,
    pub(crate) server: ServerKind,
    pub(crate) client: ClientKind,
    pub(crate) selection: Selection,
    pub(crate) side: Side,
    /// `sock`, else `syscall`.
    pub(crate) is_sock: bool,
    pub(crate) age: Age,
    pub(crate) trouble: Trouble,
    pub(crate) connections: usize,
    /// Streams at once on a connection, or requests in flight on one that is pipelined.
    pub(crate) streams: usize,
    /// The client is started once the agent watches.
    pub(crate) is_late: bool,
    /// Requests on a connection before the client closes it and makes another; 0: it stays.
    pub(crate) lifetime: usize,
    /// Microseconds between two requests of a connection (of a stream).
    pub(crate) pace_us: u64,
    /// Body sizes.
    pub(crate) sizes: Sizes,
    /// Requests of all connections.
    pub(crate) requests: usize,
}

/// How large bodies are.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Sizes {
    Small,
    Mixed,
    Large,
}

impl Sizes {
    const ALL: [(Self, u32); 3] = [(Self::Small, 4), (Self::Mixed, 4), (Self::Large, 1)];

    fn draw(self, rng: &mut StdRng) -> usize {
        const SMALL: [usize; 6] = [0, 1, 5, 64, 300, 1_000];
        const MIDDLE: [usize; 9] = [0, 2, 100, 1_400, 2_048, 4_096, 8_192, 16_384, 30_000];
        const LARGE: [usize; 6] = [10_000, 65_535, 65_536, 100_000, 300_000, 1_000_000];
        let near = |base: usize, rng: &mut StdRng| {
            if base > 0 && rng.random_bool(0.3) { rng.random_range(base / 2..=base) } else { base }
        };
        let table: &[usize] = match self {
            Self::Small => &SMALL,
            Self::Mixed if rng.random_bool(0.03) => &LARGE,
            Self::Mixed => &MIDDLE,
            Self::Large => &LARGE,
        };
        let base = pick(table, rng);
        near(base, rng)
    }
}

fn pick<T: Copy>(of: &[T], rng: &mut StdRng) -> T {
    *of.choose(rng).expect("there is something to choose from")
}

fn pick_weighted<T: Copy>(of: &[(T, u32)], rng: &mut StdRng) -> T {
    of.choose_weighted(rng, |(_, weight)| *weight).expect("there is something to choose from").0
}

/// Something else for each purpose, so that a change of one leaves the others as they were.
fn rng(seed: u64, number: u64, purpose: u64) -> StdRng {
    const ODD: u64 = 0x9e37_79b9_7f4a_7c15;
    StdRng::seed_from_u64(seed.wrapping_mul(ODD).wrapping_add(number).wrapping_mul(ODD).wrapping_add(purpose))
}

/// Bytes that a round moves at most, about.
const MOST_BYTES: usize = 40_000_000;
/// How long connections are kept busy while agents start, in µs, unless the client is told that it is enough.
const LONG_US: u64 = 10_000_000;

impl Round {
    /// Draws one.
    pub(crate) fn draw(seed: u64, number: u64) -> Self {
        let rng = &mut rng(seed, number, 0);
        let wire = pick(&Wire::ALL, rng);
        let servers: Vec<_> = ServerKind::ALL.into_iter().filter(|server| server.speaks(wire)).collect();
        let server = pick(&servers, rng);
        let clients: Vec<_> = ClientKind::ALL.into_iter().filter(|client| client.speaks(wire)).collect();
        let client = pick(&clients, rng);
        let selection = pick(&Selection::ALL, rng);
        let mut side = match selection {
            Selection::Port | Selection::RulePort => Side::Server,
            Selection::Nothing => Side::Both,
            _ => pick(&Side::ALL, rng),
        };
        let is_hidden = wire.is_tls() && !server.tls_is_seen();
        let selection = match selection {
            // There would be nothing to see.
            Selection::Port | Selection::RulePort if is_hidden => Selection::Pid,
            other => other,
        };
        if is_hidden && side == Side::Server {
            side = Side::Client;
        }
        let is_sock = rng.random_bool(0.5);
        let age = pick(&Age::ALL, rng);
        let trouble = pick_weighted(&Trouble::ALL, rng);
        // Each connection gets beyond its beginning, of which an agent that comes late need not know all.
        let is_older = age == Age::OlderResting;
        // What has to last while agents come and go is slow, and on few connections, so that each gets far.
        let lasts = matches!(age, Age::OlderBusy | Age::Restarted) || matches!(trouble, Trouble::Stopped);
        let connections = pick(if lasts { &[1, 2, 3, 4] } else { &[1, 2, 4, 8, 16, 32, 64] }, rng);
        let connections = if is_older { connections.min(16) } else { connections };
        let streams = if wire.is_http2() {
            pick(if lasts { &[1, 1, 2, 5, 10] } else { &[1, 1, 2, 5, 10, 30, 100] }, rng)
        } else if wire.is_pipelined() {
            pick(if lasts { &[2, 3, 5] } else { &[2, 3, 10, 30] }, rng)
        } else {
            1
        };
        let lifetime: usize = if age == Age::Younger && rng.random_bool(0.35) { pick(&[1, 1, 3, 10], rng) } else { 0 };
        let sizes = pick_weighted(&Sizes::ALL, rng);
        let most: usize = match sizes {
            Sizes::Small => 2_000,
            Sizes::Mixed => 1_000,
            Sizes::Large => 120,
        };
        let (requests, pace_us) = if lasts {
            let requests = 4 * most;
            let at_once = connections * if wire.is_http2() { streams } else { 1 };
            (requests, LONG_US / requests.div_ceil(at_once) as u64)
        } else {
            let most = if lifetime == 1 { most / 4 } else { most };
            let each = if is_older { 10 + 4 * streams } else { 10 };
            (most.max(each * connections), if rng.random_bool(0.3) { rng.random_range(0..3_000) } else { 0 })
        };
        // A new program's TLS is seen from a moment after its start on only.
        let is_late = age == Age::Younger && selection != Selection::Pid && !wire.is_tls() && rng.random_bool(0.5);
        Self {
            seed,
            number,
            wire,
            server,
            client,
            selection,
            side,
            is_sock,
            age,
            trouble,
            connections,
            streams,
            is_late,
            lifetime,
            pace_us,
            sizes,
            requests,
        }
    }

    pub(crate) const fn backend(&self) -> Backend {
        if self.is_sock { Backend::Sock } else { Backend::Syscall }
    }

    /// Pipelined requests go several in one write, once all before are answered; else one goes whenever one is answered.
    pub(crate) const fn is_batched(&self) -> bool {
        self.number.is_multiple_of(2)
    }

    /// Connections exist before the agent.
    pub(crate) const fn begins_before(&self) -> bool {
        matches!(self.age, Age::OlderResting | Age::OlderBusy)
    }

    /// Requests go on until the client is told that it is enough.
    pub(crate) const fn lasts(&self) -> bool {
        matches!(self.age, Age::OlderBusy | Age::Restarted) || matches!(self.trouble, Trouble::Stopped)
    }

    /// Both the agent's absence and its start are within the traffic.
    pub(crate) const fn goes_on_meanwhile(&self) -> bool {
        matches!(self.age, Age::OlderBusy)
    }

    /// Requests by connection.
    pub(crate) fn asks(&self) -> Vec<Vec<Ask>> {
        let rng = &mut rng(self.seed, self.number, 1);
        let mut bytes = 0;
        let mut number = self.number * 1_000_000;
        let each = self.requests.div_ceil(self.connections);
        (0..self.connections)
            .map(|_| {
                (0..each)
                    .map(|_| {
                        number += 1;
                        let ask = self.ask(number, bytes, rng);
                        bytes += ask.answer.bytes + ask.send.len();
                        ask
                    })
                    .collect()
            })
            .collect()
    }

    fn ask(&self, number: u64, bytes: usize, rng: &mut StdRng) -> Ask {
        let sizes = if bytes > MOST_BYTES { Sizes::Small } else { self.sizes };
        let is_call = self.wire.is_grpc();
        let by_query = self.server.is_file_server();
        // nginx answers before it has read a body, by resetting the stream, after which libcurl asks once more.
        let is_repeated = self.client != ClientKind::Rust && self.wire.is_http2() && self.server == ServerKind::Nginx;
        let method = if is_call {
            "POST"
        } else if is_repeated {
            "GET"
        } else {
            pick_weighted(&[("GET", 6), ("POST", 3), ("PUT", 1), ("HEAD", if by_query { 0 } else { 1 })], rng)
        };
        let status = if is_call {
            pick_weighted(&[(0, 6), (5, 1), (13, 1), (7, 1)], rng)
        } else if by_query {
            pick_weighted(&[(200, 4), (404, 1)], rng)
        } else {
            pick_weighted(
                &[(200, 8), (201, 1), (204, 1), (304, 1), (400, 1), (403, 1), (404, 1), (500, 1), (503, 1)],
                rng,
            )
        };
        let mut answer_bytes = sizes.draw(rng);
        if self.server.has_files() {
            // Those that there are.
            answer_bytes = pick(FILES, rng).min(if sizes == Sizes::Small { 1_000 } else { usize::MAX });
        }
        let delay_ms = if rng.random_bool(0.03) && !self.server.has_files() { pick(&[1, 5, 20, 60], rng) } else { 0 };
        let shape = if !self.server.has_files() {
            pick_weighted(&[(Shape::Whole, 6), (Shape::Pieces, 2), (Shape::Streamed, 1)], rng)
        } else {
            Shape::Whole
        };
        let mut answer = Answer { status, bytes: answer_bytes, delay_ms, shape };
        if !is_call && (!answer.has_body() || method == "HEAD") {
            answer = Answer { bytes: 0, shape: Shape::Whole, ..answer };
        }
        if is_call && status != 0 {
            answer = Answer { bytes: 0, ..answer };
        }
        let send = match method {
            "POST" | "PUT" => {
                // Of a turn of pipelined requests with bodies 8 KiB are captured.
                let most =
                    if self.wire.is_pipelined() { (7_000 / self.streams).saturating_sub(120) } else { usize::MAX };
                let len = sizes.draw(rng).min(most);
                if rng.random_bool(0.75) { Send::Whole(len) } else { Send::Pieces(len) }
            }
            _ => Send::Nothing,
        };
        Ask { number, is_call, method: method.to_owned(), answer, send, by_query }
    }
}

/// Sizes of files that are served.
pub(crate) const FILES: &[usize] = &[0, 5, 300, 1_000, 5_000, 16_384, 30_000, 100_000, 1_000_000];

impl fmt::Display for Round {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let backend = self.backend().name();
        write!(f, "{:?} {backend} of {:?}; ", self.selection, self.side)?;
        write!(f, "{:?} from {:?} to {:?}; ", self.wire, self.client, self.server)?;
        write!(f, "{:?}, {:?}; ", self.age, self.trouble)?;
        write!(f, "{} requests {:?} on {} connections", self.requests, self.sizes, self.connections)?;
        if self.streams > 1 {
            write!(f, ", {} at once on each", self.streams)?;
        }
        if self.is_late {
            f.write_str(", by a program that starts last")?;
        }
        if self.lifetime > 0 {
            write!(f, ", a new connection after {}", self.lifetime)?;
        }
        if self.pace_us > 0 {
            write!(f, ", each {} us", self.pace_us)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_what_its_seed_and_number_say() {
        for number in 0..200 {
            let (one, other) = (Round::draw(7, number), Round::draw(7, number));
            assert_eq!(one.to_string(), other.to_string());
            assert_eq!(one.asks(), other.asks());
        }
        assert_ne!(Round::draw(7, 1).to_string(), Round::draw(8, 1).to_string());
    }

    #[test]
    fn every_value_of_every_dimension_is_drawn() {
        let rounds: Vec<_> = (0..500).map(|number| Round::draw(1, number)).collect();
        for wire in Wire::ALL {
            assert!(rounds.iter().any(|round| round.wire == wire), "{wire:?}");
        }
        for server in ServerKind::ALL {
            assert!(rounds.iter().any(|round| round.server == server), "{server:?}");
        }
        for client in ClientKind::ALL {
            assert!(rounds.iter().any(|round| round.client == client), "{client:?}");
        }
        for selection in Selection::ALL {
            assert!(rounds.iter().any(|round| round.selection == selection), "{selection:?}");
        }
        for age in Age::ALL {
            assert!(rounds.iter().any(|round| round.age == age), "{age:?}");
        }
        for (trouble, _) in Trouble::ALL {
            assert!(rounds.iter().any(|round| round.trouble == trouble), "{trouble:?}");
        }
    }
}
