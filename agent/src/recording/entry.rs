//! The lines of a recording: a JSON object each, with one member that names what happened. Independent of how the kernel
//! side lays its records out, so that recordings outlive that; what is not there was zero.

use std::{
    borrow::Cow,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use ebpf_common::events::{self, AF_INET, AF_INET6, EventKind, RECEIVED, SENT};
use serde::{Deserialize, Deserializer, Serialize, Serializer};
use zerocopy::FromZeros as _;

/// Version of the format; others are refused. Members may be added without another version.
pub const VERSION: u32 = 1;

/// A line.
#[derive(Debug, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Entry<'a> {
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
        tgid: u32,
        /// When.
        at_ns: u64,
    },
    /// A process is watched from now on that was not before.
    Resumed {
        /// Which.
        tgid: u32,
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
        conn: u64,
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
pub struct Head<'a> {
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
pub struct Bytes<'a>(pub Cow<'a, [u8]>);

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

/// See [`events::Open`].
#[derive(Debug, Default, Deserialize, Serialize)]
#[expect(missing_docs, reason = "they are those of the kernel side's record")]
#[serde(default)]
pub struct Open<'a> {
    pub conn: u64,
    pub at_ns: u64,
    pub tgid: u32,
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
    /// The name that the process had asked for to get the remote address.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub asked: Option<Cow<'a, str>>,
}

impl<'a> Open<'a> {
    /// Of the kernel side's record.
    #[must_use]
    pub fn new(open: &'a events::Open, asked: Option<&'a str>) -> Self {
        let comm = open.comm.split(|&byte| byte == 0).next().unwrap_or_default();
        let len = usize::try_from(open.path_len).unwrap_or_default();
        Self {
            conn: open.conn,
            at_ns: open.at_ns,
            tgid: open.tgid,
            comm: comm.into(),
            family: open.family,
            state: open.state,
            netns: open.netns,
            local: ip(open.family, open.local_addr).map(|ip| (ip, open.local_port)),
            remote: ip(open.family, open.remote_addr).map(|ip| (ip, open.remote_port)),
            path: open.path.get(..len).unwrap_or_default().into(),
            inode: open.inode,
            sequence: open.sequence,
            asked: asked.map(Cow::Borrowed),
        }
    }

    /// The kernel side's record.
    #[must_use]
    pub fn record(&self) -> events::Open {
        let mut open = events::Open::new_zeroed();
        (open.kind, open.conn, open.at_ns) = (EventKind::Open as u32, self.conn, self.at_ns);
        (open.tgid, open.family, open.state) = (self.tgid, self.family, self.state);
        (open.netns, open.inode, open.sequence) = (self.netns, self.inode, self.sequence);
        if let Some((ip, port)) = self.local {
            (open.local_addr, open.local_port) = (octets(ip), port);
        }
        if let Some((ip, port)) = self.remote {
            (open.remote_addr, open.remote_port) = (octets(ip), port);
        }
        open.path_len = copy(&self.path.0, &mut open.path);
        copy(&self.comm.0, &mut open.comm);
        open
    }
}

/// Copies as much as there is room for; gives how much that is.
fn copy(from: &[u8], to: &mut [u8]) -> u32 {
    let len = from.len().min(to.len());
    if let (Some(from), Some(to)) = (from.get(..len), to.get_mut(..len)) {
        to.copy_from_slice(from);
    }
    u32::try_from(len).unwrap_or_default()
}

fn ip(family: u16, bytes: [u8; 16]) -> Option<IpAddr> {
    match family {
        AF_INET => {
            let [a, b, c, d, ..] = bytes;
            Some(Ipv4Addr::new(a, b, c, d).into())
        }
        AF_INET6 => Some(Ipv6Addr::from(bytes).into()),
        _ => None,
    }
}

fn octets(ip: IpAddr) -> [u8; 16] {
    match ip {
        IpAddr::V4(ip) => {
            let mut all = [0; 16];
            copy(&ip.octets(), &mut all);
            all
        }
        IpAddr::V6(ip) => ip.octets(),
    }
}

/// Which way bytes moved.
#[derive(Clone, Copy, Debug, Default, Deserialize, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// The watched process read them.
    #[default]
    Received,
    /// It wrote them.
    Sent,
}

/// See [`events::Data`].
#[derive(Debug, Default, Deserialize, Serialize)]
#[expect(missing_docs, reason = "they are those of the kernel side's record")]
#[serde(default)]
pub struct Data<'a> {
    pub conn: u64,
    pub at_ns: u64,
    pub tgid: u32,
    pub tid: u32,
    #[serde(skip_serializing_if = "is_zero")]
    pub work: u64,
    pub direction: Direction,
    #[serde(skip_serializing_if = "is_zero")]
    pub flags: u32,
    pub position: u64,
    pub other_position: u64,
    pub len: u32,
    /// What was captured of its beginning.
    #[serde(skip_serializing_if = "Bytes::is_empty")]
    pub head: Bytes<'a>,
    /// What was captured of its end.
    #[serde(skip_serializing_if = "Bytes::is_empty")]
    pub tail: Bytes<'a>,
}

impl<'a> Data<'a> {
    /// Of the kernel side's record.
    #[must_use]
    pub fn new(data: &events::Data, head: &'a [u8], tail: &'a [u8]) -> Self {
        Self {
            conn: data.conn,
            at_ns: data.at_ns,
            tgid: data.tgid,
            tid: data.tid,
            work: data.work,
            direction: if data.direction == SENT { Direction::Sent } else { Direction::Received },
            flags: data.flags,
            position: data.position,
            other_position: data.other_position,
            len: data.len,
            head: head.into(),
            tail: tail.into(),
        }
    }

    /// The kernel side's record; its payload is [`Self::head`] and [`Self::tail`].
    #[must_use]
    pub fn record(&self) -> events::Data {
        let mut data = events::Data::new_zeroed();
        (data.kind, data.conn, data.at_ns) = (EventKind::Data as u32, self.conn, self.at_ns);
        (data.tgid, data.tid, data.work) = (self.tgid, self.tid, self.work);
        (data.flags, data.len) = (self.flags, self.len);
        (data.position, data.other_position) = (self.position, self.other_position);
        data.direction = match self.direction {
            Direction::Received => RECEIVED,
            Direction::Sent => SENT,
        };
        data.head_len = u16::try_from(self.head.0.len()).unwrap_or(u16::MAX);
        data.tail_len = u16::try_from(self.tail.0.len()).unwrap_or(u16::MAX);
        data
    }
}

/// See [`events::State`].
#[derive(Debug, Default, Deserialize, Serialize)]
#[expect(missing_docs, reason = "they are those of the kernel side's record")]
#[serde(default)]
pub struct State {
    pub conn: u64,
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
    /// Of the kernel side's record.
    #[must_use]
    pub const fn new(state: &events::State) -> Self {
        let &events::State { state, conn, at_ns, error, unread, received, sent, kind: _ } = state;
        Self { conn, at_ns, state, error, unread, received, sent }
    }

    /// The kernel side's record.
    #[must_use]
    pub const fn record(&self) -> events::State {
        let &Self { conn, at_ns, state, error, unread, received, sent } = self;
        events::State { kind: EventKind::State as u32, state, conn, at_ns, error, unread, received, sent }
    }
}

/// See [`events::Bind`].
#[derive(Debug, Default, Deserialize, Serialize)]
#[expect(missing_docs, reason = "they are those of the kernel side's record")]
#[serde(default)]
pub struct Bind {
    pub conn: u64,
    pub carrier: u64,
    pub at_ns: u64,
}

impl Bind {
    /// Of the kernel side's record.
    #[must_use]
    pub const fn new(bind: &events::Bind) -> Self {
        let &events::Bind { conn, carrier, at_ns, .. } = bind;
        Self { conn, carrier, at_ns }
    }

    /// The kernel side's record.
    #[must_use]
    pub const fn record(&self) -> events::Bind {
        let &Self { conn, carrier, at_ns } = self;
        events::Bind { kind: EventKind::Bind as u32, reserved: 0, conn, carrier, at_ns }
    }
}
