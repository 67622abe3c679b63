//! Records of the ring as the agent's own events, checked and typed; bytes are not copied. Nobody behind this knows how the
//! kernel side lays them out.

use std::{
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr},
    num::NonZeroU64,
    sync::Arc,
};

use ebpf_common::events::{
    self, AF_INET, AF_INET6, AF_UNIX, EventKind, Frames, MET_AT_BEGINNING, MET_BLOCKING, MET_MID_STREAM, PROCESS_EXEC,
    PROCESS_EXIT, PROCESS_FORK, PROCESS_LISTENS, PROCESS_STARTS, RECEIVED, SENT, flags,
};
use zerocopy::FromBytes;

use crate::{
    kernel::tick,
    model::{
        ids::{ConnectionId, ProcessId, ThreadId},
        net::{ConnectionInfo, Direction, Endpoint, Origin, TcpFacts, Thread},
        probability::Sampled,
        trace_context::{SpanId, TraceId, TraceParent},
    },
};

/// What the kernel side tells. Times are ns of `CLOCK_MONOTONIC`; those at which processes were started of `CLOCK_BOOTTIME`, 0
/// where unknown: with the process's id they are its identity.
#[derive(Clone, Copy, Debug)]
pub enum Event<'a> {
    /// A connection was met.
    Open(Open<'a>),
    /// Bytes moved.
    Data(Data<'a>),
    /// A TCP connection changed its state.
    State(State),
    /// A process was forked, replaced its program, or ended.
    Process(Process<'a>),
    /// A process that is not evaluated yet uses a connection.
    Met(Met<'a>),
    /// It became known which connection carries a stream of plaintext.
    Bind(Bind),
    /// A unit of work begins to answer a request, or has one sent.
    Handles(Handles),
    /// A span is active on a thread that sends.
    Active(Active),
    /// A process asked a DNS server, or received what that answered.
    DnsMessage(DnsMessage<'a>),
}

/// A connection of a watched process, met for the first time.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Open<'a> {
    /// Its identity.
    pub id: ConnectionId,
    /// When it was met.
    pub at_ns: u64,
    /// The process that used it first.
    pub tgid: ProcessId,
    /// When that was started.
    pub started_at_ns: u64,
    /// The process it was forked from, if it still runs that one's program.
    pub forked_from: ProcessId,
    /// The process's name: it may be gone by now.
    pub comm: &'a [u8],
    /// What it connects.
    pub ends: Ends<'a>,
    /// Network namespace (inode number).
    pub netns: u32,
    /// Where in its life it was met.
    pub met_at: MetAt,
    /// Whoever reads from it waits in that call for bytes to come (no `O_NONBLOCK`).
    pub is_blocking: bool,
    /// How long it took the process to connect, where that was seen.
    pub connect_ns: Option<u64>,
}

/// What a connection connects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ends<'a> {
    /// Two ends of TCP (or MPTCP).
    Tcp {
        /// The watched process's.
        local: SocketAddr,
        /// The other.
        remote: SocketAddr,
        /// Its state.
        state: Option<TcpState>,
        /// TCP sequence numbers of the bytes at position 0: received, sent.
        sequence: Option<[u32; 2]>,
    },
    /// Two unix sockets.
    Unix {
        /// Name of the watched process's socket, else of its peer's. An abstract name begins with a zero byte.
        path: &'a [u8],
        /// Number of its inode.
        inode: Option<NonZeroU64>,
        /// What tells it from all others that there are at the same time, and the same of its peer.
        sockets: Option<[u64; 2]>,
    },
    /// Not known (yet): it is a stream of plaintext.
    Unknown,
}

/// Where in the life of a connection it was met.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MetAt {
    /// With the first piece that moved over it.
    Beginning,
    /// While bytes moved over it: a stream of plaintext.
    MidStream,
    /// That is not known.
    Unknown,
}

/// Bytes that moved over a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Data<'a> {
    /// The connection.
    pub id: ConnectionId,
    /// When the call that moved them returned.
    pub at_ns: u64,
    /// The thread that moved them.
    pub thread: Thread,
    /// Which way.
    pub direction: Direction,
    /// What else is known of them.
    pub flags: DataFlags,
    /// Position of the first of them in their direction, counted from where the connection was met.
    pub position: u64,
    /// How many bytes had moved in the other direction by then, on the same count.
    pub other_position: u64,
    /// How many they are.
    pub len: u32,
    /// Where frames of HTTP/2 begin in them, where they are followed.
    pub frames: Option<Frames>,
    /// What the kernel's TCP said of the connection.
    pub tcp: Option<TcpFacts>,
    /// The captured beginning of them.
    pub head: &'a [u8],
    /// The captured end of what the head leaves out.
    pub tail: &'a [u8],
}

/// What is known of bytes that moved: the bits of [`flags`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct DataFlags(pub u32);

impl DataFlags {
    /// See [`flags::END`].
    pub const END: Self = Self(flags::END);
    /// See [`flags::FAULT`].
    pub const FAULT: Self = Self(flags::FAULT);
    /// See [`flags::TLS`].
    pub const TLS: Self = Self(flags::TLS);

    /// Whether all of `others` are among them.
    #[must_use]
    pub const fn contains(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }
}

/// A TCP connection changed its state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct State {
    /// The connection.
    pub id: ConnectionId,
    /// When.
    pub at_ns: u64,
    /// The new state.
    pub state: TcpState,
    /// The socket's error, as a positive errno; 0 where there is none.
    pub error: u32,
    /// Bytes that had come by then and were not read yet, of a connection that is gone: they can be.
    pub unread: u32,
    /// Bytes received by then, as in [`Data::position`].
    pub received: u64,
    /// Bytes sent by then. Of either, the record of the last piece may still come.
    pub sent: u64,
}

macro_rules! tcp_states {
    ($($name:ident = $number:literal,)+) => {
        /// States of TCP, by the kernel's numbers (RFC 9293, 3.3.2).
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        #[repr(u16)]
        pub enum TcpState {
            $($name = $number,)+
        }

        impl TcpState {
            /// The state of a number, if it is one.
            #[must_use]
            pub const fn from_number(number: u32) -> Option<Self> {
                match number {
                    $($number => Some(Self::$name),)+
                    _ => None,
                }
            }
        }
    };
}

tcp_states! {
    Established = 1,
    SynSent = 2,
    SynRecv = 3,
    FinWait1 = 4,
    FinWait2 = 5,
    TimeWait = 6,
    Close = 7,
    CloseWait = 8,
    LastAck = 9,
    Listen = 10,
    Closing = 11,
    NewSynRecv = 12,
}

/// It became known which connection carries a stream of plaintext. What befalls it is told of the stream from here on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bind {
    /// The stream.
    pub stream: ConnectionId,
    /// What carries it.
    pub carrier: Carrier,
    /// When.
    pub at_ns: u64,
}

/// A unit of work begins to answer a request that another one has read, or has one sent that another one writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Handles {
    /// The process.
    pub tgid: ProcessId,
    /// The request's connection.
    pub id: ConnectionId,
    /// The request's number there.
    pub stream: u64,
    /// The unit.
    pub work: u64,
    /// As [`Thread::begun_ns`].
    pub begun_ns: u64,
    /// It asks.
    pub asks: bool,
}

/// A span is active on a thread that sends, as the SDK within its process says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Active {
    /// The process.
    pub tgid: ProcessId,
    /// The thread.
    pub tid: ThreadId,
    /// What it sends has this as its [`Thread::begun_ns`].
    pub number: u64,
    /// The span; `None` where what is said is not valid.
    pub span: Option<TraceParent>,
}

/// What carries a stream of plaintext.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Carrier {
    /// A connection.
    Connection(ConnectionId),
    /// Another stream of plaintext: TLS runs within TLS.
    Stream(ConnectionId),
    /// What was said before turned out to be uncertain.
    Unknown,
}

/// A process was forked, replaced its program, begins to listen, or ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Process<'a> {
    /// The process (the child, for a fork).
    pub tgid: ProcessId,
    /// What became of it.
    pub change: ProcessChange,
    /// When.
    pub at_ns: u64,
    /// When it was started.
    pub started_at_ns: u64,
    /// The thread's name.
    pub comm: &'a [u8],
}

/// What became of a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProcessChange {
    /// It was forked.
    Fork {
        /// By whom.
        parent: ProcessId,
    },
    /// It carries out another program.
    Exec,
    /// It has ended.
    Exit,
    /// It carries out another program, and is not evaluated: it has used no connection.
    Starts,
    /// It begins to listen, and is not evaluated.
    Listens,
}

/// A process that is not evaluated yet uses a connection.
#[derive(Clone, Copy, Debug)]
pub struct Met<'a> {
    /// The process.
    pub tgid: ProcessId,
    /// When it was started.
    pub started_at_ns: u64,
    /// The process it was forked from, if it still runs that one's program.
    pub forked_from: ProcessId,
    /// Its name.
    pub comm: &'a [u8],
    /// What it was at that moment.
    pub seen: &'a events::Met,
}

/// A process asked a DNS server, or received what that answered.
#[derive(Clone, Copy, Debug)]
pub struct DnsMessage<'a> {
    /// The process. It may be one that is not known yet: names come before connections.
    pub tgid: ProcessId,
    /// When it was started.
    pub started_at_ns: u64,
    /// The thread.
    pub tid: ThreadId,
    /// Which way the message went.
    pub direction: Direction,
    /// The server, where that is known.
    pub server: Option<IpAddr>,
    /// When the call returned.
    pub at_ns: u64,
    /// The beginning of the message.
    pub message: &'a [u8],
}

impl<'a> Event<'a> {
    /// Reads a record. `None` if its form is unknown or it is shorter than it says.
    #[must_use]
    pub fn parse(record: &'a [u8]) -> Option<Self> {
        let (kind, _) = u32::ref_from_prefix(record).ok()?;
        Some(match EventKind::from_word(*kind)? {
            EventKind::Data => Self::Data(Data::parse(record)?),
            EventKind::Open => Self::Open(Open::of(events::Open::ref_from_prefix(record).ok()?.0)),
            EventKind::State => Self::State(State::of(events::State::ref_from_prefix(record).ok()?.0)?),
            EventKind::Process => Self::Process(Process::of(events::Process::ref_from_prefix(record).ok()?.0)?),
            EventKind::Met => Self::Met(Met::of(events::Met::ref_from_prefix(record).ok()?.0)),
            EventKind::Bind => Self::Bind(Bind::of(events::Bind::ref_from_prefix(record).ok()?.0)),
            EventKind::Handles => Self::Handles(Handles::of(events::Handles::ref_from_prefix(record).ok()?.0)),
            EventKind::Active => Self::Active(Active::of(events::Active::ref_from_prefix(record).ok()?.0)),
            EventKind::DnsMessage => Self::DnsMessage(DnsMessage::parse(record)?),
        })
    }

    /// Whether it tells of bytes that moved, or of a connection that ended, behind that moment.
    #[must_use]
    pub(crate) const fn moves_after(&self, at_ns: u64) -> bool {
        match self {
            Self::Data(data) => data.at_ns > at_ns,
            Self::State(state) => state.at_ns > at_ns,
            Self::Met(_)
            | Self::Open(_)
            | Self::Process(_)
            | Self::Bind(_)
            | Self::Handles(_)
            | Self::Active(_)
            | Self::DnsMessage(_) => false,
        }
    }
}

impl<'a> Data<'a> {
    fn parse(record: &'a [u8]) -> Option<Self> {
        let (header, payload) = events::Data::ref_from_prefix(record).ok()?;
        let (head, rest) = payload.split_at_checked(header.head_len.into())?;
        let tail = rest.get(..header.tail_len.into())?;
        let direction = match header.direction {
            RECEIVED => Direction::Received,
            SENT => Direction::Sent,
            _ => return None,
        };
        Some(Self {
            id: ConnectionId(header.conn),
            at_ns: header.at_ns,
            thread: Thread {
                tgid: ProcessId(header.tgid),
                tid: ThreadId(header.tid),
                work: header.work,
                begun_ns: header.begun_ns,
            },
            direction,
            flags: DataFlags(header.flags),
            position: header.position,
            other_position: header.other_position,
            len: header.len,
            frames: Frames::of(header.frames),
            tcp: TcpFacts::of(&header.tcp),
            head,
            tail,
        })
    }
}

impl TcpFacts {
    fn of(tcp: &events::Tcp) -> Option<Self> {
        tcp.is_known().then(|| {
            let quiet_us = (u64::from(tcp.quiet) << events::Tcp::QUIET_SHIFT) / 1000;
            // What was sent meanwhile, or came without data (an acknowledgement that was put off), is no quiet; the kernel's clock says
            // more coarsely when data came: up to a tick later than it seems.
            let ticks_us = u64::from(tcp.ticks.saturating_sub(1)) * u64::from(tick::length_us());
            Self {
                waited_us: u32::try_from(quiet_us.max(ticks_us)).unwrap_or(u32::MAX),
                rtt_us: tcp.srtt >> 3,
                retransmits: tcp.retransmits,
            }
        })
    }
}

impl<'a> Open<'a> {
    fn of(open: &'a events::Open) -> Self {
        let tcp_state = TcpState::from_number((open.state & !(MET_AT_BEGINNING | MET_BLOCKING)).into());
        let ends = match open.family {
            AF_INET | AF_INET6 => Ends::Tcp {
                local: SocketAddr::new(ip(open.family, open.local_addr), open.local_port),
                remote: SocketAddr::new(ip(open.family, open.remote_addr), open.remote_port),
                state: tcp_state,
                sequence: (open.sequence != [0; 2]).then_some(open.sequence),
            },
            AF_UNIX => {
                let len = usize::try_from(open.path_len).unwrap_or(usize::MAX).min(open.path.len());
                let sockets = [open.socket, open.peer_socket];
                Ends::Unix {
                    path: open.path.get(..len).unwrap_or_default(),
                    inode: NonZeroU64::new(open.inode),
                    sockets: (!sockets.contains(&0)).then_some(sockets),
                }
            }
            _ => Ends::Unknown,
        };
        let id = ConnectionId(open.conn);
        let tls = is_plaintext(id);
        let met_at = if tls && open.state & MET_MID_STREAM != 0 {
            MetAt::MidStream
        } else if open.state & MET_AT_BEGINNING != 0 {
            MetAt::Beginning
        } else {
            MetAt::Unknown
        };
        Self {
            id,
            at_ns: open.at_ns,
            tgid: ProcessId(open.tgid),
            started_at_ns: open.started_at_ns,
            forked_from: ProcessId(open.forked_from),
            comm: name(&open.comm),
            ends,
            netns: open.netns,
            met_at,
            is_blocking: !tls && open.state & MET_BLOCKING != 0,
            connect_ns: (open.connected[0] != 0).then(|| open.connected[1].checked_sub(open.connected[0])).flatten(),
        }
    }

    /// What is known of the connection.
    #[must_use]
    pub fn connection(&self) -> ConnectionInfo {
        let (local, remote) = match self.ends {
            Ends::Tcp { local, remote, .. } => (Endpoint::Inet(local), Endpoint::Inet(remote)),
            Ends::Unix { path, .. } => (Endpoint::Unix(unix_name(path)), Endpoint::Unix(Arc::from(""))),
            Ends::Unknown => (Endpoint::Unknown, Endpoint::Unknown),
        };
        ConnectionInfo {
            id: self.id,
            local,
            remote,
            netns: self.netns,
            tls: is_plaintext(self.id),
            tls_version: None,
            asked: None,
            client: None,
            link: self.id,
            is_paired: false,
            origin: self.origin(),
            is_blocking: self.is_blocking,
            met_ns: self.at_ns,
            requests: 0,
            connect_ns: self.connect_ns,
        }
    }

    /// What positions are counted from. Of a unix socket everything is told from its beginning on, or it was met in its midst.
    fn origin(&self) -> Origin {
        if is_plaintext(self.id) {
            return Origin { is_beginning: self.met_at != MetAt::MidStream, sequence: None };
        }
        match self.ends {
            Ends::Tcp { sequence, .. } => Origin { is_beginning: self.met_at == MetAt::Beginning, sequence },
            Ends::Unix { .. } => Origin { is_beginning: self.met_at != MetAt::MidStream, sequence: None },
            Ends::Unknown => Origin { is_beginning: false, sequence: None },
        }
    }
}

impl State {
    const fn of(record: &events::State) -> Option<Self> {
        let &events::State { state, conn, at_ns, error, unread, received, sent, kind: _ } = record;
        let Some(state) = TcpState::from_number(state) else { return None };
        Some(Self { id: ConnectionId(conn), at_ns, state, error, unread, received, sent })
    }
}

impl Bind {
    const fn of(bind: &events::Bind) -> Self {
        let &events::Bind { conn, carrier, at_ns, kind: _, reserved: _ } = bind;
        Self { stream: ConnectionId(conn), carrier: Carrier::of(ConnectionId(carrier)), at_ns }
    }
}

impl Active {
    fn of(active: &events::Active) -> Self {
        let &events::Active { tgid, number, tid, context, kind: _ } = active;
        Self { tgid: ProcessId(tgid), tid: ThreadId(tid), number, span: span(&context) }
    }
}

/// What an SDK says of a thread: ids of trace and span, whether that is valid, flags, and more.
fn span(context: &[u8; events::ACTIVE_LEN]) -> Option<TraceParent> {
    const VALID: u8 = 1;
    let (trace_id, rest) = context.split_first_chunk()?;
    let (span_id, rest) = rest.split_first_chunk()?;
    let [VALID, flags, ..] = *rest else { return None };
    if *trace_id == [0; 16] || *span_id == [0; 8] {
        return None;
    }
    let (trace_id, span_id) = (TraceId(*trace_id), SpanId(*span_id));
    Some(TraceParent { trace_id, span_id, flags, is_deferred: false, sampled: Sampled::NOTHING })
}

impl Handles {
    fn of(handles: &events::Handles) -> Self {
        let &events::Handles { tgid, conn, work, stream, kind: _, at_ns, asks } = handles;
        let (tgid, id, stream) = (ProcessId(tgid), ConnectionId(conn), stream.into());
        Self { tgid, id, stream, work, begun_ns: at_ns, asks: asks != 0 }
    }
}

impl Carrier {
    /// Of an identity; 0: none.
    #[must_use]
    pub const fn of(id: ConnectionId) -> Self {
        if is_plaintext(id) {
            Self::Stream(id)
        } else if id.0 == 0 {
            Self::Unknown
        } else {
            Self::Connection(id)
        }
    }
}

impl<'a> Process<'a> {
    fn of(process: &'a events::Process) -> Option<Self> {
        let change = match process.what {
            PROCESS_FORK => ProcessChange::Fork { parent: ProcessId(process.parent) },
            PROCESS_EXEC => ProcessChange::Exec,
            PROCESS_EXIT => ProcessChange::Exit,
            PROCESS_STARTS => ProcessChange::Starts,
            PROCESS_LISTENS => ProcessChange::Listens,
            _ => return None,
        };
        Some(Self {
            tgid: ProcessId(process.tgid),
            change,
            at_ns: process.at_ns,
            started_at_ns: process.started_at_ns,
            comm: name(&process.comm),
        })
    }
}

impl<'a> Met<'a> {
    fn of(met: &'a events::Met) -> Self {
        Self {
            tgid: ProcessId(met.tgid),
            started_at_ns: met.started_at_ns,
            forked_from: if met.is_forked != 0 { ProcessId(met.parent) } else { ProcessId::NONE },
            comm: name(&met.comm),
            seen: met,
        }
    }
}

impl<'a> DnsMessage<'a> {
    fn parse(record: &'a [u8]) -> Option<Self> {
        let (header, rest) = events::DnsMessage::ref_from_prefix(record).ok()?;
        let message = rest.get(..usize::try_from(header.len).ok()?)?;
        let &events::DnsMessage { tgid, tid, at_ns, started_at_ns, family, server, .. } = header;
        let direction = match header.direction {
            RECEIVED => Direction::Received,
            SENT => Direction::Sent,
            _ => return None,
        };
        let server = matches!(family, AF_INET | AF_INET6).then(|| ip(family, server));
        let (tgid, tid) = (ProcessId(tgid), ThreadId(tid));
        Some(Self { tgid, started_at_ns, tid, direction, server, at_ns, message })
    }
}

/// Whether an identity is that of a stream of plaintext.
#[must_use]
pub(crate) const fn is_plaintext(id: ConnectionId) -> bool {
    events::is_plaintext(id.0)
}

/// An IPv4 address mapped into IPv6 is what it is mapped from.
fn ip(family: u16, bytes: [u8; 16]) -> IpAddr {
    if family == AF_INET {
        let [a, b, c, d, ..] = bytes;
        return Ipv4Addr::new(a, b, c, d).into();
    }
    Ipv6Addr::from(bytes).to_canonical()
}

fn unix_name(path: &[u8]) -> Arc<str> {
    match path {
        [0, name @ ..] => format!("@{}", String::from_utf8_lossy(name)).into(),
        path => String::from_utf8_lossy(name(path)).into(),
    }
}

/// A zero-padded name.
fn name(padded: &[u8]) -> &[u8] {
    padded.split(|&byte| byte == 0).next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use zerocopy::{FromZeros, IntoBytes};

    use super::*;

    #[repr(align(8))]
    struct Aligned([u8; HEADER + 64]);

    const HEADER: usize = size_of::<events::Data>();

    fn record(head_len: u16, tail_len: u16) -> Aligned {
        let mut data = events::Data::new_zeroed();
        (data.kind, data.head_len, data.tail_len) = (EventKind::Data as u32, head_len, tail_len);
        let mut bytes = Aligned([b'x'; HEADER + 64]);
        bytes.0[..HEADER].copy_from_slice(data.as_bytes());
        bytes
    }

    #[test]
    fn of_a_unix_socket_all_is_told_unless_it_is_met_in_its_midst() {
        let unix = Ends::Unix { path: b"", inode: None, sockets: Some([1, 2]) };
        for (ends, met_at, expected) in
            [(unix, MetAt::Unknown, true), (unix, MetAt::MidStream, false), (Ends::Unknown, MetAt::Unknown, false)]
        {
            let open = Open { ends, met_at, ..super::super::testing::open(ConnectionId(1), 0) };
            assert_eq!(open.connection().origin.is_beginning, expected, "{ends:?} {met_at:?}");
        }
    }

    #[test]
    fn what_an_sdk_says_of_a_thread_counts_where_it_is_valid() {
        let said = |trace: u8, of_span: u8, valid: u8| {
            let mut context = [0; events::ACTIVE_LEN];
            context[..16].fill(trace);
            context[16..24].fill(of_span);
            (context[24], context[25]) = (valid, 1);
            span(&context)
        };
        let whole = said(7, 8, 1).unwrap();
        assert_eq!((whole.trace_id, whole.span_id, whole.flags), (TraceId([7; 16]), SpanId([8; 8]), 1));
        assert_eq!([said(7, 8, 0), said(7, 8, 2), said(0, 8, 1), said(7, 0, 1)], [None; 4]);
    }

    #[test]
    fn what_moves_while_hooks_are_taken_away_is_told_apart() {
        // Without those of sockets the others go on for a while: what a thread reads then is of a connection that nobody names.
        let data = |at_ns| Event::Data(super::super::testing::data(ConnectionId(1), at_ns, Direction::Received, b"x"));
        let state = |at_ns| Event::State(super::super::testing::state(ConnectionId(1), at_ns, TcpState::Close));
        let process = Event::Open(super::super::testing::open(ConnectionId(1), 9));
        assert!(!data(7).moves_after(7) && data(8).moves_after(7));
        assert!(!state(7).moves_after(7) && state(8).moves_after(7));
        assert!(!process.moves_after(7), "who it is counts nevertheless");
    }

    #[test]
    fn head_and_tail_are_taken_apart() {
        let record = record(3, 2);
        let Some(Event::Data(Data { head, tail, .. })) = Event::parse(&record.0) else { panic!("not data") };
        assert_eq!((head.len(), tail.len()), (3, 2));
    }

    #[test]
    fn a_record_shorter_than_it_says_is_refused() {
        assert!(Event::parse(&record(64, 1).0).is_none());
        assert!(Event::parse(&record(64, 0).0).is_some());
        assert!(Event::parse(&record(u16::MAX, u16::MAX).0).is_none());
        for len in 0..HEADER {
            assert!(Event::parse(&record(0, 0).0[..len]).is_none(), "{len}");
        }
    }

    #[test]
    fn an_answer_comes_with_its_message_or_not_at_all() {
        let mut answer = events::DnsMessage::new_zeroed();
        (answer.kind, answer.len, answer.tgid) = (EventKind::DnsMessage as u32, 5, 7);
        const SIZE: usize = size_of::<events::DnsMessage>();
        let mut bytes = Aligned([b'x'; HEADER + 64]);
        let mut parsed_of = |len: u32, direction: u32, record: usize| {
            (answer.len, answer.direction) = (len, direction);
            bytes.0[..SIZE].copy_from_slice(answer.as_bytes());
            match Event::parse(&bytes.0[..record]) {
                Some(Event::DnsMessage(DnsMessage { tgid, direction, message, server: None, .. })) => {
                    Some((tgid.0, direction, message.len()))
                }
                _ => None,
            }
        };
        assert_eq!(parsed_of(5, RECEIVED, SIZE + 8), Some((7, Direction::Received, 5)));
        assert_eq!(parsed_of(0, SENT, SIZE), Some((7, Direction::Sent, 0)));
        let short =
            [parsed_of(5, RECEIVED, SIZE + 4), parsed_of(u32::MAX, RECEIVED, 128), parsed_of(0, RECEIVED, SIZE - 1)];
        assert_eq!(short, [None; 3]);
        assert_eq!(parsed_of(0, 2, SIZE), None);
    }

    #[test]
    fn what_waited_did_so_since_data_came_whatever_was_heard_since() {
        let facts = |quiet, ticks| TcpFacts::of(&events::Tcp { quiet, ticks, srtt: 81, retransmits: 2 });
        let waited_us = |quiet, ticks| facts(quiet, ticks).unwrap().waited_us;
        let tick_us = tick::length_us();
        assert_eq!(facts(0, 9), None);
        assert_eq!(facts(1, 0), Some(TcpFacts { waited_us: 1, rtt_us: 10, retransmits: 2 }));
        assert_eq!(waited_us(1_000_000, 1), 1_024_000);
        // An acknowledgement went out a moment ago.
        assert_eq!(waited_us(1, 101), 100 * tick_us);
        assert_eq!(waited_us(u32::MAX, u32::MAX), u32::MAX);
    }

    #[test]
    fn how_long_it_took_to_connect_is_known_once_it_is_done() {
        let connect_ns = |connected| {
            let mut open = events::Open::new_zeroed();
            (open.kind, open.connected) = (EventKind::Open as u32, connected);
            Open::of(&open).connect_ns
        };
        let all = [[0, 0], [5, 0], [5, 12], [0, 12]].map(connect_ns);
        assert_eq!(all, [None, None, Some(7), None]);
    }

    #[test]
    fn an_unknown_kind_is_refused() {
        let mut bytes = record(0, 0);
        bytes.0[0] = 99;
        assert!(Event::parse(&bytes.0).is_none());
    }
}
