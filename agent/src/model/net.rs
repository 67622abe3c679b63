//! Connections as the stages after capture know them.

use std::{
    fmt,
    net::{IpAddr, SocketAddr},
    sync::Arc,
};

use super::ids::{ConnectionId, ProcessId, ThreadId};

/// Which way bytes moved, as the watched process sees it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Direction {
    /// The watched process read them.
    Received,
    /// The watched process wrote them.
    Sent,
}

impl Direction {
    /// The opposite direction.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Received => Self::Sent,
            Self::Sent => Self::Received,
        }
    }

    /// 0 or 1, to index a pair.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            Self::Received => 0,
            Self::Sent => 1,
        }
    }
}

/// Which end of an exchange the watched process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// It answers requests.
    Server,
    /// It makes requests.
    Client,
}

impl Role {
    /// The other end's role.
    #[must_use]
    pub const fn other(self) -> Self {
        match self {
            Self::Server => Self::Client,
            Self::Client => Self::Server,
        }
    }

    /// The direction requests take, as seen from this role.
    #[must_use]
    pub const fn requests(self) -> Direction {
        match self {
            Self::Server => Direction::Received,
            Self::Client => Direction::Sent,
        }
    }
}

/// Who moved bytes: the thread, by its ids in the initial PID namespace.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Thread {
    /// Process (thread group) id.
    pub tgid: ProcessId,
    /// Thread id.
    pub tid: ThreadId,
    /// The unit of work that ran on it: a task, goroutine or virtual thread, of those that one has begun the first. 0 where there is
    /// none, or none is known.
    pub work: u64,
    /// When what ran on it was begun by that (a task of its own), in ns of `CLOCK_MONOTONIC`; 0: the unit itself ran. Where that is told of a unit that
    /// answers requests (a goroutine), when the last of them came, here and of the one that has read it.
    pub begun_ns: u64,
}

/// What the kernel's TCP said of a connection when a piece moved over it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct TcpFacts {
    /// For how long what was received last had been there by then, at least; saturated.
    pub waited_us: u32,
    /// Smoothed round trip time; 0 where none was measured.
    pub rtt_us: u32,
    /// Segments retransmitted so far.
    pub retransmits: u32,
}

/// One end of a connection.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Endpoint {
    /// TCP over IPv4 or IPv6.
    Inet(SocketAddr),
    /// A unix socket's name; an abstract one begins with `@`. Empty where it has none.
    Unix(Arc<str>),
    /// Not known (for example plaintext of TLS that could not be bound to a connection).
    Unknown,
}

impl Endpoint {
    /// The address, for TCP.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Inet(addr) => Some(addr.ip()),
            _ => None,
        }
    }

    /// The port, for TCP.
    #[must_use]
    pub fn port(&self) -> Option<u16> {
        match self {
            Self::Inet(addr) => Some(addr.port()),
            _ => None,
        }
    }
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Inet(addr) => addr.fmt(f),
            Self::Unix(name) if name.is_empty() => f.write_str("unix"),
            Self::Unix(name) => write!(f, "unix:{name}"),
            Self::Unknown => f.write_str("?"),
        }
    }
}

/// What is known of a connection besides its bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectionInfo {
    /// Identity; never reused.
    pub id: ConnectionId,
    /// The watched process's end.
    pub local: Endpoint,
    /// The other end.
    pub remote: Endpoint,
    /// Network namespace (inode number); 0 where unknown.
    pub netns: u32,
    /// The bytes were seen in the clear at a TLS library.
    pub tls: bool,
    /// The version of TLS that the server has chosen, where that was seen: `1.2`, `1.3`.
    pub tls_version: Option<&'static str>,
    /// The name that the watched process had asked a DNS server for, and was answered with the other end's address.
    pub asked: Option<Arc<str>>,
    /// The client that a proxy in between has named (PROXY protocol).
    pub client: Option<SocketAddr>,
    /// Both ends of a connection have the same number, where both are known to be on this host; none other has it.
    pub link: ConnectionId,
    /// Its other end was met too.
    pub is_paired: bool,
    /// What its positions are counted from.
    pub origin: Origin,
    /// Whoever reads from it waits in that call for bytes to come: a thread serves it alone meanwhile.
    pub is_blocking: bool,
    /// When it was met, in ns of `CLOCK_MONOTONIC`.
    pub met_ns: u64,
    /// Requests that were told of it so far.
    pub requests: u32,
    /// How long it took the watched process to connect, where that was seen.
    pub connect_ns: Option<u64>,
}

/// What the positions of a connection's bytes are counted from. Both ends count alike only from its beginning; by TCP's sequence
/// numbers they do from anywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Origin {
    /// Position 0 of either direction is the first byte that moved.
    pub is_beginning: bool,
    /// TCP sequence numbers of position 0: received, sent.
    pub sequence: Option<[u32; 2]>,
}
