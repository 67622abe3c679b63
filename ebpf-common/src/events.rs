//! Records of the ring buffer. Each begins with a `u32` that names its [`EventKind`]; payload bytes follow the
//! [`Data`] record. All fields are in host byte order.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::limits::HEAD_MAX;

/// The first word of every record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum EventKind {
    /// [`Open`]: a connection of a watched process was met for the first time.
    Open = 1,
    /// [`Data`]: bytes moved over a connection.
    Data = 2,
    /// [`State`]: a TCP connection changed its state.
    State = 3,
    /// [`Process`]: a process was forked, replaced its program, or ended.
    Process = 4,
    /// [`Bind`]: it became known which connection carries a stream of plaintext.
    Bind = 5,
    /// [`DnsMessage`]: a process asked a DNS server, or received what that answered.
    DnsMessage = 6,
    /// [`Met`]: a process that is not evaluated yet uses a connection.
    Met = 7,
    /// [`Handles`]: a unit of work begins to answer a request, or has one sent.
    Handles = 8,
    /// [`Active`]: a span is active on a thread that sends.
    Active = 9,
}

impl EventKind {
    /// The kind a record's first word names, if it is one.
    #[must_use]
    pub const fn from_word(word: u32) -> Option<Self> {
        match word {
            1 => Some(Self::Open),
            2 => Some(Self::Data),
            3 => Some(Self::State),
            4 => Some(Self::Process),
            5 => Some(Self::Bind),
            6 => Some(Self::DnsMessage),
            7 => Some(Self::Met),
            8 => Some(Self::Handles),
            9 => Some(Self::Active),
            _ => None,
        }
    }
}

/// [`Data::direction`]: the watched process read the bytes.
pub const RECEIVED: u32 = 0;
/// [`Data::direction`]: the watched process wrote the bytes.
pub const SENT: u32 = 1;

/// Bits of [`Data::flags`].
pub mod flags {
    /// A read returned nothing: the peer will send no more.
    pub const END: u32 = 1;
    /// The bytes were moved by a call whose buffer cannot be read from here (sendfile, splice, io_uring, a kernel
    /// thread, `MSG_TRUNC`, or more pieces than are walked): counted, not copied.
    pub const UNREADABLE: u32 = 1 << 1;
    /// The buffer should have been readable, but reading it failed.
    pub const FAULT: u32 = 1 << 2;
    /// The caller is a 32-bit program: counted, not copied.
    pub const COMPAT: u32 = 1 << 3;
    /// Plaintext seen at a TLS library's read or write, not the bytes of the socket.
    pub const TLS: u32 = 1 << 4;
    /// [`super::Data::position`] is an estimate: two threads moved bytes in the same direction at once.
    pub const RACED: u32 = 1 << 5;
}

/// Bytes moved over a connection. `head_len` bytes of the beginning of the piece follow this record, then `tail_len`
/// bytes of its end; `head_len + tail_len <= len`.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Data {
    /// [`EventKind::Data`].
    pub kind: u32,
    /// [`RECEIVED`] or [`SENT`].
    pub direction: u32,
    /// See [`flags`].
    pub flags: u32,
    /// Bytes the call moved.
    pub len: u32,
    /// Captured bytes from the beginning of the piece.
    pub head_len: u16,
    /// Captured bytes from the end of the piece.
    pub tail_len: u16,
    /// Process that moved them (thread group id, in the initial PID namespace).
    pub tgid: u32,
    /// Thread that moved them.
    pub tid: u32,
    /// See [`Frames`]; 0 where no frames are followed.
    pub frames: u32,
    /// The task, goroutine or virtual thread that ran on it, of those that one has begun the first; 0 where there is none, or none
    /// is known.
    pub work: u64,
    /// When what that does here was begun by it (a task of its own), in ns of `CLOCK_MONOTONIC`; 0: nothing else was. Of a goroutine that answers requests,
    /// here and where it has read: when the last of them came. Of a process whose SDK says which span is active: [`Active::number`].
    pub begun_ns: u64,
    /// The connection: see [`Open::conn`].
    pub conn: u64,
    /// When the call returned, in ns of `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// Position of the piece's first byte in its direction, counted from where the connection was met. A value
    /// beyond what was reported so far means that bytes moved unseen.
    pub position: u64,
    /// How many bytes had moved in the other direction when this was recorded, on the same count: what lies below
    /// it moved earlier, even if its record comes later.
    pub other_position: u64,
    /// What the kernel's TCP said then of the connection; zeroes where it is none, or under TLS.
    pub tcp: Tcp,
}

/// What the kernel's TCP says of a connection at some moment. All zero: nothing.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Tcp {
    /// For how long the connection has been quiet, in units of 1024 ns: no packet came, and none was sent. The lowest bit is set
    /// wherever anything is known.
    pub quiet: u32,
    /// Ticks of the kernel's clock since data last came.
    pub ticks: u32,
    /// Smoothed round trip time, in eighths of microseconds; 0 where none was measured.
    pub srtt: u32,
    /// Segments retransmitted so far.
    pub retransmits: u32,
}

impl Tcp {
    /// Nothing is known.
    pub const NONE: Self = Self { quiet: 0, ticks: 0, srtt: 0, retransmits: 0 };
    /// Width of a unit of [`Self::quiet`], as a shift.
    pub const QUIET_SHIFT: u32 = 10;

    /// Whether anything is known.
    #[must_use]
    pub const fn is_known(self) -> bool {
        self.quiet != 0
    }
}

/// Of a piece of HTTP/2 that is followed frame by frame: where frames begin in it. So whoever missed what came before, since its
/// record was lost, finds the place again.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Frames {
    /// Where in what was captured of the piece's beginning the first frame begins; `None`: none does.
    pub first: Option<u16>,
    /// How often the direction's place had to be found again so far, modulo a number. 0: never, it is followed from the first byte
    /// on that was met. What lies between two pieces with the same number was followed without a break.
    pub found: u8,
}

impl Frames {
    /// In place of [`Frames::first`].
    pub const NONE: u16 = u16::MAX;
    /// Where [`Frames::found`] stands in [`Data::frames`], one more than it is.
    pub const FOUND_SHIFT: u32 = 16;

    /// What [`Data::frames`] says.
    #[must_use]
    pub const fn of(word: u32) -> Option<Self> {
        let first = word as u16;
        match (word >> Self::FOUND_SHIFT) as u8 {
            0 => None,
            found if first >= HEAD_MAX as u16 => Some(Self { first: None, found: found - 1 }),
            found => Some(Self { first: Some(first), found: found - 1 }),
        }
    }

    /// As [`Data::frames`] says it.
    #[must_use]
    pub const fn word(self) -> u32 {
        let first = match self.first {
            Some(first) => first,
            None => Self::NONE,
        };
        (self.found as u32 + 1) << Self::FOUND_SHIFT | first as u32
    }
}

/// [`Open::family`] of IPv4, IPv6 and unix sockets: the kernel's `AF_` numbers.
pub const AF_UNIX: u16 = 1;
/// See [`AF_UNIX`].
pub const AF_INET: u16 = 2;
/// See [`AF_UNIX`].
pub const AF_INET6: u16 = 10;

/// Longest name of a unix socket (`sun_path`).
pub const UNIX_PATH_MAX: usize = 108;

/// A connection of a watched process, met for the first time.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Open {
    /// [`EventKind::Open`].
    pub kind: u32,
    /// Address family.
    pub family: u16,
    /// TCP state (MPTCP has the same), perhaps with [`MET_AT_BEGINNING`] and [`MET_BLOCKING`]; 0 for a unix socket, or the latter. Of a stream of plaintext: 0, or
    /// [`MET_MID_STREAM`].
    pub state: u16,
    /// Identity of the connection: the socket cookie, or a number of the same uniqueness with its top bit set.
    pub conn: u64,
    /// When it was met, in ns of `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// Process that used it first.
    pub tgid: u32,
    /// Network namespace (inode number).
    pub netns: u32,
    /// Local address; an IPv4 address is in the first four bytes.
    pub local_addr: [u8; 16],
    /// Remote address; an IPv4 address is in the first four bytes.
    pub remote_addr: [u8; 16],
    /// Local port.
    pub local_port: u16,
    /// Remote port.
    pub remote_port: u16,
    /// Bytes used of `path`.
    pub path_len: u32,
    /// Name of a unix socket: its own, else its peer's. An abstract name begins with a zero byte.
    pub path: [u8; UNIX_PATH_MAX],
    /// The process it was forked from, if it still runs that one's program; else 0.
    pub forked_from: u32,
    /// When the process was started, in ns of `CLOCK_BOOTTIME`: with `tgid`, its identity. 0 where unknown.
    pub started_at_ns: u64,
    /// The process's name (`comm` of its first thread), zero-padded: it may be gone when this record is read.
    pub comm: [u8; 16],
    /// Number of a unix socket's inode, by which `/proc/net/unix` tells whether it is still there; 0 where unknown.
    pub inode: u64,
    /// What tells a unix socket from all others that there are at the same time, and the same of its peer; 0 where unknown.
    pub socket: u64,
    /// See `socket`.
    pub peer_socket: u64,
    /// TCP sequence numbers of the bytes at position 0: received, sent. Both ends of a connection have the same ones, whatever
    /// addresses they see. Zeroes where there are none.
    pub sequence: [u32; 2],
    /// When the process began to connect, and when the connection was there, in ns of `CLOCK_MONOTONIC`; zeroes where it was accepted,
    /// or that was not seen.
    pub connected: [u64; 2],
}

/// Bit of [`Open::conn`]: a stream of plaintext, seen at a TLS library. Its [`Open`] has no addresses; those of its
/// connection follow by [`Bind`].
pub const PLAINTEXT: u64 = 1 << 62;

/// [`Open::state`] of a stream of plaintext that was known to move bytes up to the moment when it was met.
pub const MET_MID_STREAM: u16 = 1;

/// Bit of [`Open::state`] of a TCP connection: the piece with which it was met is the first that moved over it.
pub const MET_AT_BEGINNING: u16 = 1 << 15;

/// Bit of [`Open::state`]: whoever reads from the socket waits in that call for bytes to come (no `O_NONBLOCK`).
pub const MET_BLOCKING: u16 = 1 << 14;

/// Whether an identity is that of a stream of plaintext.
#[must_use]
pub const fn is_plaintext(conn: u64) -> bool {
    conn >> 62 == 1
}

/// It became known which connection carries a stream of plaintext. The connection itself is not reported from here on;
/// what befalls it (end of file, change of state) is reported of the stream.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Bind {
    /// [`EventKind::Bind`].
    pub kind: u32,
    /// Zero.
    pub reserved: u32,
    /// The stream.
    pub conn: u64,
    /// The connection, or the stream of plaintext where TLS runs within TLS; 0 where what was said before turned out to be
    /// uncertain.
    pub carrier: u64,
    /// When, in ns of `CLOCK_MONOTONIC`.
    pub at_ns: u64,
}

/// A TCP connection changed its state.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct State {
    /// [`EventKind::State`].
    pub kind: u32,
    /// The new state (`TCP_CLOSE_WAIT` …).
    pub state: u32,
    /// See [`Open::conn`].
    pub conn: u64,
    /// When, in ns of `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// The socket's error (`sk_err`), as a positive errno; `ECONNRESET` after a reset.
    pub error: u32,
    /// Bytes that had come by then and were not read yet, of a connection that is gone: they can be.
    pub unread: u32,
    /// Bytes received by then, as in [`Data::position`].
    pub received: u64,
    /// Bytes sent by then. Of either, the record of the last piece may still come.
    pub sent: u64,
}

/// The connection is there. Not reported.
pub const TCP_ESTABLISHED: u32 = 1;
/// The process has asked for a connection. Not reported.
pub const TCP_SYN_SENT: u32 = 2;

/// TCP states that are reported.
pub const TCP_FIN_WAIT1: u32 = 4;
/// The connection is gone.
pub const TCP_CLOSE: u32 = 7;
/// The peer has sent its last byte.
pub const TCP_CLOSE_WAIT: u32 = 8;
/// Both ends have sent their last byte.
pub const TCP_LAST_ACK: u32 = 9;

/// The socket waits for connections. Not reported.
pub const TCP_LISTEN: u32 = 10;

/// [`Process::what`].
pub const PROCESS_FORK: u32 = 1;
/// See [`PROCESS_FORK`].
pub const PROCESS_EXEC: u32 = 2;
/// See [`PROCESS_FORK`].
pub const PROCESS_EXIT: u32 = 3;
/// See [`PROCESS_FORK`]. The process has replaced its program, and is not evaluated yet: it has used no connection.
pub const PROCESS_STARTS: u32 = 4;
/// See [`PROCESS_FORK`]. The process begins to listen, and is not evaluated yet.
pub const PROCESS_LISTENS: u32 = 5;

/// A process was forked, replaced its program, begins to listen, or ended.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Process {
    /// [`EventKind::Process`].
    pub kind: u32,
    /// [`PROCESS_FORK`], [`PROCESS_EXEC`], [`PROCESS_EXIT`], [`PROCESS_STARTS`] or [`PROCESS_LISTENS`].
    pub what: u32,
    /// The process (the child, for a fork).
    pub tgid: u32,
    /// Its parent (fork only, else 0).
    pub parent: u32,
    /// When, in ns of `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// When the process was started, in ns of `CLOCK_BOOTTIME`: with `tgid`, its identity.
    pub started_at_ns: u64,
    /// Exit status as `wait(2)` encodes it (exit only, else 0).
    pub exit_code: u32,
    /// Zero.
    pub reserved: u32,
    /// The thread's name (`comm`), zero-padded.
    pub comm: [u8; 16],
}

/// Room for a path in [`Met`], and for its last name beyond that.
pub const PATH_ROOM: usize = 512;
/// Longest name within a path, with the zero behind it.
pub const NAME_ROOM: usize = 256;
/// Most of a command line in [`Met`].
pub const ARGS_ROOM: usize = 512;

/// A process that is not evaluated yet uses a connection, and what it is at that moment: it may be gone when this is read. Told
/// before the connection; again where a connection shows that it serves a port that processes are chosen by.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Met {
    /// [`EventKind::Met`].
    pub kind: u32,
    /// The process.
    pub tgid: u32,
    /// When, in ns of `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// When the process was started, in ns of `CLOCK_BOOTTIME`: with `tgid`, its identity. 0 where unknown.
    pub started_at_ns: u64,
    /// Its parent.
    pub parent: u32,
    /// Not 0: it was forked, and still runs the program of who forked it.
    pub is_forked: u32,
    /// The process's name (`comm` of its first thread), zero-padded.
    pub comm: [u8; 16],
    /// The port that it serves, if processes are chosen by it; else 0.
    pub port: u16,
    /// Bytes used of `exe`; 0 where the path is not known whole.
    pub exe_len: u16,
    /// Bytes used of `args`.
    pub args_len: u16,
    /// Bytes used of `cgroup`; 0 where the path is not known whole.
    pub cgroup_len: u16,
    /// The path of the executable: its names, the last one first, each with a zero behind it.
    pub exe: [u8; PATH_ROOM + NAME_ROOM],
    /// The same of the cgroup (v2).
    pub cgroup: [u8; PATH_ROOM + NAME_ROOM],
    /// The beginning of the command line, a zero behind each argument.
    pub args: [u8; ARGS_ROOM],
}

/// A process asked a DNS server, or received what that answered. `len` bytes of the message follow this record.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct DnsMessage {
    /// [`EventKind::DnsMessage`].
    pub kind: u32,
    /// Captured bytes of the message, from its beginning.
    pub len: u32,
    /// The process. Where nothing is chosen it may be one that is not known yet: names come before connections.
    pub tgid: u32,
    /// [`RECEIVED`] or [`SENT`].
    pub direction: u32,
    /// When the call returned, in ns of `CLOCK_MONOTONIC`.
    pub at_ns: u64,
    /// When the process was started, in ns of `CLOCK_BOOTTIME`: with `tgid`, its identity. 0 where unknown.
    pub started_at_ns: u64,
    /// The thread.
    pub tid: u32,
    /// Family of the server's address; 0 where the socket is not connected, so that it is not known.
    pub family: u16,
    /// Zero.
    pub reserved: u16,
    /// The server's address; of IPv4 the first four bytes.
    pub server: [u8; 16],
}

/// A unit of work begins to answer one of the requests of a connection, which another one has read; or has one sent over it, which another one writes.
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Handles {
    /// [`EventKind::Handles`].
    pub kind: u32,
    /// The process.
    pub tgid: u32,
    /// See [`Open::conn`].
    pub conn: u64,
    /// When, in ns of `CLOCK_MONOTONIC`; of one that asks, as [`Data::begun_ns`].
    pub at_ns: u64,
    /// The unit, as in [`Data::work`].
    pub work: u64,
    /// The request's stream.
    pub stream: u32,
    /// Not 0: it asks.
    pub asks: u32,
}

/// What is read of what an SDK says of a thread.
pub const ACTIVE_LEN: usize = 28;

/// A span is active on a thread that sends, as the SDK within its process says (OTEP 4947).
#[repr(C)]
#[derive(Clone, Copy, Debug, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Active {
    /// [`EventKind::Active`].
    pub kind: u32,
    /// The process.
    pub tgid: u32,
    /// What it sends has this as its [`Data::begun_ns`].
    pub number: u64,
    /// The thread.
    pub tid: u32,
    /// Ids of trace and span, whether that is valid, flags, and how long is what follows.
    pub context: [u8; ACTIVE_LEN],
}

const _: () = assert!(size_of::<Active>() == 48);
const _: () = assert!(size_of::<Handles>() == 40);
const _: () = assert!(size_of::<DnsMessage>() == 56);
const _: () = assert!(size_of::<Data>() == 96);
const _: () = assert!(size_of::<Open>() == 256);
const _: () = assert!(size_of::<State>() == 48);
const _: () = assert!(size_of::<Bind>() == 32);
const _: () = assert!(size_of::<Process>() == 56);
const _: () = assert!(size_of::<Met>() == 56 + 2 * (PATH_ROOM + NAME_ROOM) + ARGS_ROOM);
