//! The lines of a recording: a JSON object each, with one member that names what happened. Independent of how the kernel
//! side lays its records out, so that recordings outlive that; what is not there was zero.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, SocketAddr},
    num::NonZeroU64,
};

use ebpf_common::events::{AF_INET, AF_INET6, AF_UNIX, Frames, MET_AT_BEGINNING, MET_BLOCKING, MET_MID_STREAM};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::{
    capture::event::{self, Carrier, DataFlags, Ends, MetAt, TcpState, is_plaintext},
    model::{
        ids::{ConnectionId, ProcessId, ThreadId},
        net::{self, Thread},
    },
};

/// Version of the format; others are refused. Members may be added without another version.
pub(crate) const VERSION: u32 = 1;

/// A line.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Entry<'a> {
    /// What this is: the first line.
    Recording(Head<'a>),
    /// A connection was met.
    Open(Open<'a>),
    /// Bytes moved.
    Data(Data<'a>),
    /// A TCP connection changed its state.
    State(State),
    /// It became known which connection carries a stream of plaintext.
    Bind(Bind),
    /// A process ended.
    Exit {
        /// Which.
        tgid: ProcessId,
        /// When.
        at_ns: u64,
    },
    /// A process is watched from now on that was not before.
    Resumed {
        /// Which.
        tgid: ProcessId,
        /// When.
        at_ns: u64,
    },
    /// Probes of a TLS library are complete.
    TlsProbed {
        /// When.
        at_ns: u64,
    },
    /// Records of the kernel side were lost.
    Lost {
        /// When that was found.
        at_ns: u64,
    },
    /// A unix socket was found to be closed.
    UnixClosed {
        /// Its connection.
        conn: ConnectionId,
        /// Not if anything moved after this.
        before_ns: u64,
        /// When.
        at_ns: u64,
    },
    /// The time is looked at, for what waits for records that may not come.
    Tick {
        /// Now.
        at_ns: u64,
    },
    /// The agent stopped.
    Stop {
        /// When.
        at_ns: u64,
    },
    /// The recording ends before the agent did.
    Cut {
        /// Why.
        reason: Cow<'a, str>,
    },
}

/// See [`Entry::Recording`].
#[derive(Debug, Deserialize, Serialize)]
pub(crate) struct Head<'a> {
    /// [`VERSION`].
    pub version: u32,
    /// Version of the agent.
    pub agent: Cow<'a, str>,
    /// How the kernel was asked.
    pub backend: Cow<'a, str>,
    /// Since when connections are watched.
    pub since_ns: u64,
    /// Unix time minus the clock of the recording (`CLOCK_MONOTONIC`).
    pub unix_offset_ns: i64,
}

/// Bytes as text: one character each, U+0000 to U+00FF. What is text in a protocol can be read, and replaced by as much.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bytes<'a>(pub Cow<'a, [u8]>);

impl Bytes<'_> {
    fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl<'a> From<&'a [u8]> for Bytes<'a> {
    fn from(bytes: &'a [u8]) -> Self {
        Self(Cow::Borrowed(bytes))
    }
}

impl Serialize for Bytes<'_> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(&self.0.iter().map(|&byte| char::from(byte)).collect::<String>())
    }
}

impl<'de> Deserialize<'de> for Bytes<'_> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = Cow::<str>::deserialize(deserializer)?;
        let bytes = text.chars().map(u8::try_from).collect::<Result<Vec<_>, _>>();
        bytes.map(|bytes| Self(Cow::Owned(bytes))).map_err(serde::de::Error::custom)
    }
}

fn is_zero<T: Default + PartialEq>(number: &T) -> bool {
    *number == T::default()
}

/// See [`event::Open`].
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Open<'a> {
    pub conn: ConnectionId,
    pub at_ns: u64,
    pub tgid: ProcessId,
    /// The process's name.
    pub comm: Bytes<'a>,
    pub family: u16,
    pub state: u16,
    #[serde(skip_serializing_if = "is_zero")]
    pub netns: u32,
    /// Address and port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub local: Option<(IpAddr, u16)>,
    /// Address and port.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub remote: Option<(IpAddr, u16)>,
    #[serde(skip_serializing_if = "Bytes::is_empty")]
    pub path: Bytes<'a>,
    #[serde(skip_serializing_if = "is_zero")]
    pub inode: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub sequence: [u32; 2],
    /// How long it took to connect, where the process did.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub connect_ns: Option<u64>,
    /// The name that the process had asked for to get the remote address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<Cow<'a, str>>,
}

impl<'a> Open<'a> {
    /// Of the event; `asked`: see [`Self::asked`].
    #[must_use]
    pub(crate) fn new(open: &event::Open<'a>, asked: Option<&'a str>) -> Self {
        let mut entry = Self {
            conn: open.id,
            at_ns: open.at_ns,
            tgid: open.tgid,
            comm: open.comm.into(),
            netns: open.netns,
            connect_ns: open.connect_ns,
            asked: asked.map(Cow::Borrowed),
            ..Self::default()
        };
        match open.ends {
            Ends::Tcp { local, remote, state, sequence } => {
                entry.sequence = sequence.unwrap_or_default();
                entry.family = if local.is_ipv4() { AF_INET } else { AF_INET6 };
                entry.state = state.map_or(0, |state| state as u16);
                entry.local = Some((local.ip(), local.port()));
                entry.remote = Some((remote.ip(), remote.port()));
            }
            Ends::Unix { path, inode, sockets: _ } => {
                entry.family = AF_UNIX;
                entry.path = path.into();
                entry.inode = inode.map_or(0, NonZeroU64::get);
            }
            Ends::Unknown => {}
        }
        entry.state |= match open.met_at {
            MetAt::Beginning => MET_AT_BEGINNING,
            MetAt::MidStream => MET_MID_STREAM,
            MetAt::Unknown => 0,
        };
        if open.is_blocking {
            entry.state |= MET_BLOCKING;
        }
        entry
    }

    /// The event.
    #[must_use]
    pub(crate) fn event(&self) -> event::Open<'_> {
        let address = |end: Option<(IpAddr, u16)>| {
            let (ip, port) = end.unwrap_or((Ipv4Addr::UNSPECIFIED.into(), 0));
            SocketAddr::new(ip.to_canonical(), port)
        };
        let ends = match self.family {
            AF_INET | AF_INET6 => Ends::Tcp {
                local: address(self.local),
                remote: address(self.remote),
                state: TcpState::from_number((self.state & !(MET_AT_BEGINNING | MET_BLOCKING)).into()),
                sequence: (self.sequence != [0; 2]).then_some(self.sequence),
            },
            AF_UNIX => Ends::Unix { path: &self.path.0, inode: NonZeroU64::new(self.inode), sockets: None },
            _ => Ends::Unknown,
        };
        let tls = is_plaintext(self.conn);
        let met_at = if tls && self.state & MET_MID_STREAM != 0 {
            MetAt::MidStream
        } else if self.state & MET_AT_BEGINNING != 0 {
            MetAt::Beginning
        } else {
            MetAt::Unknown
        };
        event::Open {
            id: self.conn,
            at_ns: self.at_ns,
            tgid: self.tgid,
            started_at_ns: 0,
            forked_from: ProcessId::NONE,
            comm: &self.comm.0,
            ends,
            netns: self.netns,
            met_at,
            is_blocking: !tls && self.state & MET_BLOCKING != 0,
            connect_ns: self.connect_ns,
        }
    }
}

/// Which way bytes moved.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Direction {
    /// The watched process read them.
    #[default]
    Received,
    /// It wrote them.
    Sent,
}

/// See [`event::Data`].
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Data<'a> {
    pub conn: ConnectionId,
    pub at_ns: u64,
    pub tgid: ProcessId,
    pub tid: ThreadId,
    #[serde(skip_serializing_if = "is_zero")]
    pub work: u64,
    #[serde(skip_serializing_if = "is_zero")]
    pub begun_ns: u64,
    pub direction: Direction,
    #[serde(skip_serializing_if = "is_zero")]
    pub flags: u32,
    pub position: u64,
    pub other_position: u64,
    pub len: u32,
    #[serde(skip_serializing_if = "is_zero")]
    pub frames: u32,
    /// What was captured of its beginning.
    #[serde(skip_serializing_if = "Bytes::is_empty")]
    pub head: Bytes<'a>,
    /// What TCP said: for how long bytes had waited and the smoothed round trip time (us), segments retransmitted so far.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub tcp: Option<[u32; 3]>,
    /// What was captured of its end.
    #[serde(skip_serializing_if = "Bytes::is_empty")]
    pub tail: Bytes<'a>,
}

impl<'a> Data<'a> {
    /// Of the event.
    #[must_use]
    pub(crate) fn new(data: &event::Data<'a>) -> Self {
        let &event::Data {
            id,
            at_ns,
            thread,
            direction,
            flags,
            position,
            other_position,
            len,
            frames,
            tcp,
            head,
            tail,
        } = data;
        let Thread { tgid, tid, work, begun_ns } = thread;
        let direction = match direction {
            net::Direction::Received => Direction::Received,
            net::Direction::Sent => Direction::Sent,
        };
        let (flags, frames) = (flags.0, frames.map_or(0, Frames::word));
        let (head, tail) = (head.into(), tail.into());
        let tcp = tcp.map(|net::TcpFacts { waited_us, rtt_us, retransmits }| [waited_us, rtt_us, retransmits]);
        Self {
            conn: id,
            at_ns,
            tgid,
            tid,
            work,
            begun_ns,
            direction,
            flags,
            position,
            other_position,
            len,
            frames,
            head,
            tcp,
            tail,
        }
    }

    /// The event.
    #[must_use]
    pub(crate) fn event(&self) -> event::Data<'_> {
        event::Data {
            id: self.conn,
            at_ns: self.at_ns,
            thread: Thread { tgid: self.tgid, tid: self.tid, work: self.work, begun_ns: self.begun_ns },
            direction: match self.direction {
                Direction::Received => net::Direction::Received,
                Direction::Sent => net::Direction::Sent,
            },
            flags: DataFlags(self.flags),
            position: self.position,
            other_position: self.other_position,
            len: self.len,
            frames: Frames::of(self.frames),
            tcp: self.tcp.map(|[waited_us, rtt_us, retransmits]| net::TcpFacts { waited_us, rtt_us, retransmits }),
            head: &self.head.0,
            tail: &self.tail.0,
        }
    }
}

/// See [`event::State`].
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct State {
    pub conn: ConnectionId,
    pub at_ns: u64,
    pub state: u32,
    #[serde(skip_serializing_if = "is_zero")]
    pub error: u32,
    #[serde(skip_serializing_if = "is_zero")]
    pub unread: u32,
    pub received: u64,
    pub sent: u64,
}

impl State {
    /// Of the event.
    #[must_use]
    pub(crate) const fn new(state: &event::State) -> Self {
        let &event::State { id, at_ns, state, error, unread, received, sent } = state;
        Self { conn: id, at_ns, state: state as u32, error, unread, received, sent }
    }

    /// The event; `None` where TCP has no such state.
    #[must_use]
    pub(crate) fn event(&self) -> Option<event::State> {
        let &Self { conn, at_ns, state, error, unread, received, sent } = self;
        let state = TcpState::from_number(state)?;
        Some(event::State { id: conn, at_ns, state, error, unread, received, sent })
    }
}

/// See [`event::Bind`].
#[derive(Debug, Default, Deserialize, Serialize)]
#[serde(default)]
pub(crate) struct Bind {
    pub conn: ConnectionId,
    pub carrier: ConnectionId,
    pub at_ns: u64,
}

impl Bind {
    /// Of the event.
    #[must_use]
    pub(crate) fn new(bind: &event::Bind) -> Self {
        let &event::Bind { stream, carrier, at_ns } = bind;
        let carrier = match carrier {
            Carrier::Connection(id) | Carrier::Stream(id) => id,
            Carrier::Unknown => ConnectionId::default(),
        };
        Self { conn: stream, carrier, at_ns }
    }

    /// The event.
    #[must_use]
    pub(crate) const fn event(&self) -> event::Bind {
        event::Bind { stream: self.conn, carrier: Carrier::of(self.carrier), at_ns: self.at_ns }
    }
}
