//! What to capture: map values that user space writes and the programs read, and the counters they keep.

/// Value of the map of watched processes: capture what it moves.
pub const WATCH: u32 = 1;
/// Value of the map of watched processes: never look at it, even where all others are watched.
pub const IGNORE: u32 = 2;

/// Value of the map of verdicts: nothing more is wanted of this connection.
pub const VERDICT_IGNORE: u32 = 1;

/// Word that says whether TLS libraries are probed (0: none is): all functions of each are.
pub const TLS_COMPLETE: u32 = 1;
/// The same: probes are just being put in place. TLS objects met now would be seen in part, so none is taken up.
pub const TLS_INCOMPLETE: u32 = 2;

/// Index into the array of programs: carries on where `sys_exit` finds a `sendmmsg` or `recvmmsg`.
pub const MANY_MESSAGES: u32 = 0;

/// Index into the array of programs: carries on where the frames of HTTP/2 are followed.
pub const FOLLOW_FRAMES: u32 = 1;

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
}

/// How many counters there are.
pub const COUNTERS: u32 = 6;
