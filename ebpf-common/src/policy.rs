//! What to capture: map values that user space writes and the programs read, and the counters they keep.

/// Value of the map of watched processes: capture what it moves.
pub const WATCH: u32 = 1;
/// Value of the map of watched processes: never look at it, even where all others are watched.
pub const IGNORE: u32 = 2;

/// Value of the map of watched processes: it uses a connection, and user space has not evaluated it yet.
pub const UNDECIDED: u32 = 3;
/// Value of the map of watched processes: as [`IGNORE`], until it uses a connection on a port that processes are chosen by.
pub const IGNORE_UNLESS_SERVING: u32 = 4;

/// Words of the map of ports that processes are chosen by: a bit for each.
pub const PORT_WORDS: u32 = 1024;

/// Most files with probes on a TLS library at once. Each has a number from 1 on, which its probes carry in their cookie.
pub const TLS_FILES_MAX: u32 = 256;
/// Beside it in the cookie: a write of this function takes no more than a record holds, and leaves the rest to its caller.
pub const TLS_BY_RECORD: u32 = 1 << 31;
/// Above it in the cookie: how far the stack pointer is at the probe from where the return address lies.
pub const TLS_DEPTH_SHIFT: u32 = 32;
/// Word that says how far the probes of one such file are: all its functions have theirs.
pub const TLS_COMPLETE: u32 = 1;
/// The same: probes are just being put in place. TLS objects met now would be seen in part, so none is taken up.
pub const TLS_INCOMPLETE: u32 = 2;
/// The number that stands for all files together: its word is 0 where none has probes, and how far the probes of all are
/// where the kernel knows no cookies.
pub const TLS_ALL_FILES: u32 = 0;
/// Index that stands for programs of Go, each of which is told from others by its plan.
pub const TLS_OF_GO: u32 = TLS_FILES_MAX + 1;

/// Index into the array of programs: carries on where `sys_exit` finds a `sendmmsg` or `recvmmsg`.
pub const MANY_MESSAGES: u32 = 0;

/// Index into the array of programs: carries on where a direction is followed (see the modes of [`crate::capture`]).
pub const FOLLOW: u32 = 1;

/// Index into the array of programs of `sys_exit`: carries on where a datagram was received.
pub const READ_DATAGRAM: u32 = 2;

/// Index into the arrays of programs of the socket tracepoints: carries on where a datagram was received, or sent.
pub const DATAGRAM: u32 = 1;

/// Threads per element of the map with their marks, a byte for each. Behind the elements for all numbers that threads may
/// have there is one more, for the idle threads of the processors.
pub const CLAIMS_CHUNK: u32 = 4096;
/// Most copies behind a program.
pub const STANDBY_MAX: u32 = 3;

/// Index into the per-CPU array of counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Counter {
    /// Records that found the ring full.
    LostRingFull = 0,
    /// Pieces whose connection had no room in a map.
    LostMapFull = 1,
    /// Pieces whose buffer could not be read, though it should have been readable.
    LostReadFault = 2,
    /// Pieces whose bytes cannot be read from here, only counted (sendfile, splice, io_uring, kernel threads).
    Unreadable = 3,
    /// Pieces moved by 32-bit programs, only counted.
    Compat = 4,
    /// Processes that found the map of watched processes full: their traffic is not seen.
    ProcessMapFull = 5,
    /// DNS answers that a process received beyond what is read of one process in a second.
    AnswersSkipped = 6,
    /// Hits that the last copy of a program was left out of, and that another had told of.
    ToldBefore = 7,
    /// Lost records of a connection with which a turn began in the direction that requests take, as far as that is known.
    LostRequests = 8,
    /// Pieces that a program of a uprobe found no room to work in: those before it on its processor were all preempted.
    LostPreempted = 9,
    /// Records of processes that are not evaluated yet, which found no room in what they may use of the ring.
    ShedUndecided = 10,
    /// Records of watched processes that had taken more than their share of a ring that was filling up.
    ShedShare = 11,
    /// Connections of rustls that are followed no further, since a record of theirs was not seen.
    LostTlsRecord = 12,
    /// Those of [`Self::ShedUndecided`] of which it is not remembered whose they were.
    ShedUnattributed = 13,
}

/// How many counters there are.
pub const COUNTERS: u32 = 14;
