//! Bounds both sides rely on, each with its reason.

/// Most bytes copied from the beginning of a piece, and in all from the pieces of one turn (bytes moved in one
/// direction without any in the other). Header blocks above this are cut, and marked.
pub const HEAD_MAX: u32 = 8192;
/// Pieces up to this length are copied whole even where a turn has used up its share: pipelined requests.
pub const SMALL_PIECE: u32 = 512;
/// Most bytes of a turn that is copied whole, whatever a protocol asks for: one of requests without bodies (pipelining), or one that
/// goes on with a body that was answered before it had come (the next request stands somewhere behind it).
pub const WHOLE_MAX: u32 = 512 << 10;
/// Time in ns, as a shift, after which the budgets of a connection count anew though its turn goes on, where user space says so: about 4 ms.
/// Who is never answered, or sends without being asked again, has one turn for ever.
pub const RENEWED_EVERY: u32 = 22;
/// Most pieces of a connection of which [`WHOLE_MAX`] bytes of a turn are captured since it was met with its first byte, and nobody has
/// said yet what it carries.
pub const FRESH_PIECES: u32 = 256;
/// Most bytes of all such connections together in a window of time ...
pub const FRESH_MAX: u64 = 2 << 20;
/// ... of so many ns, as a shift: about 67 ms, so 31 MB in a second.
pub const FRESH_EVERY: u32 = 26;
/// By how many bytes, as a shift, what is copied of answers grows with each byte that was asked: many questions may have many answers,
/// while a long one to a short question is still cut.
pub const GROWS_BY: u32 = 7;
/// Bytes of a piece that count for that: more than these make as much as can be, [`WHOLE_MAX`].
pub const GROWS_MAX: u32 = WHOLE_MAX >> GROWS_BY;
/// Copied from the beginning of a larger piece where the turn's share is used up: enough for a status line, or for
/// the size of a chunk.
pub const LATER_HEAD: u32 = 64;
/// Bytes copied from the end of a piece longer than its captured beginning: enough to see a chunked body end.
pub const TAIL_MAX: u32 = 32;
/// Most bytes of pieces that are told together.
pub const MERGED_MAX: u32 = 64 << 20;
/// Longest time in ns from the first of them to the last, about a second: so it shows that a connection is in use.
pub const MERGED_NS: u64 = 1 << 30;
/// The number of connections, as a power of two, of which such pieces can wait at once, about: of more, each is told by itself.
pub const HELD_BITS: u32 = 8;
/// Most entries of an `iovec` array that are walked to gather a piece's beginning; one less than a power of two, so that it
/// is a mask for the verifier. HTTP/2 stacks hand over each field of a header block (gRPC's C core: 22 entries for a first
/// request) or each frame (Netty, Node: five for a call's answer) as an entry of its own, and what is left out of a header
/// block makes names and statuses of later ones unknown.
pub const IOV_MAX: u32 = 63;
/// Further entries, in that many lots of as many, that are summed up to find a piece's end: 126 in all.
pub const IOV_ROUNDS: u32 = 1;
/// HTTP/2: bytes copied at first, and again behind a payload that was left out: a few header blocks.
pub const WINDOW: u32 = 512;
/// HTTP/2: bytes copied next where nothing was left out of the first.
pub const WINDOW_MAX: u32 = 4096;
/// HTTP/2: DATA payloads are left out from this length on; to copy fewer costs less than a record.
pub const LONG_DATA: u32 = 256;
/// HTTP/2: among so many pieces of a connection the first request is captured with the beginning of its DATA, where the process is the
/// client: what SDKs export they begin to export on a connection of their own.
pub const FIRST_PIECES: u32 = 16;
/// HTTP/2: steps (buffers, windows) that a program walks over a piece before it calls itself, which the
/// kernel allows 32 times: 256 in all.
pub const STEPS: u32 = 8;
/// HTTP/2: most frames walked in a step.
pub const STEP_FRAMES: u32 = 24;
/// HTTP/1: steps (letters of a header's name, up to 32 bytes of a line) that a program takes through heads of requests before it
/// calls itself, 32 times at most.
pub const SCAN_STEPS: u32 = 64;
/// Most messages of one `sendmmsg` or `recvmmsg` that are followed.
pub const MMSG_MAX: u32 = 8;

/// Most bytes read of a DNS answer: what servers send over UDP without being fragmented (the size that DNS flag day 2020
/// agreed on). Of a longer one the records that are whole are used.
pub const ANSWER_MAX: u32 = 1232;
/// Most DNS messages read of one process in [`ANSWERS_EVERY`], questions and answers: a resolver of others receives as many as it is
/// asked for.
pub const ANSWERS_MAX: u64 = 256;
/// The bits of a time in ns that are left out to count in windows: about a second.
pub const ANSWERS_EVERY: u32 = 30;
/// Processes whose DNS answers are counted at once; the least recently used goes first.
pub const ANSWERED_MAX: u32 = 1024;

/// Bytes of payload a per-CPU buffer has room for: the verifier takes offset and length, masked to 13 and 14 bits, to be
/// at their largest both; then the tail. Per-CPU values have 32 KiB at most.
pub const SCRATCH_PAYLOAD: usize = (1 << 13) + (1 << 14) + 64;

/// Programs of uprobes that can be under way on one processor at once: what more are run while all of these are preempted
/// is counted as lost.
pub const TLS_SCRATCH_SLOTS: u32 = 4;

/// Processes that can be watched at once.
pub const PROCESSES_MAX: u32 = 16384;
/// Connections the `syscall` backend follows at once; the least recently used goes first.
pub const CONNECTIONS_MAX: u32 = 32768;
/// What is said of connections until they ask for it.
pub const CAPTURES_MAX: u32 = 4096;
/// Threads that can be within a `sendmmsg` or `recvmmsg` at once.
pub const MMSG_THREADS: u32 = 1024;
/// TLS objects of processes that are followed at once; the least recently used goes first.
pub const TLS_STREAMS_MAX: u32 = 16384;
/// Threads that use TLS at once.
pub const TLS_THREADS_MAX: u32 = 4096;
/// Connections of which it is remembered how long it took to make them, until bytes move (backend `syscall`).
pub const CONNECTING_MAX: u32 = 4096;
/// Pages of stacks (4 KiB) on which calls into TLS libraries can be open at once: about one per thread or fiber that is in one.
pub const TLS_CALLS_MAX: u32 = 8192;
/// Calls into TLS libraries that can be open on one page of a stack.
pub const TLS_CALLS_PER_PAGE: usize = 3;
/// Connections found by inference to carry a TLS object's bytes, until they next move some.
pub const TLS_CARRIERS_MAX: u32 = 4096;
/// Most plaintext of one TLS record (RFC 8446, 5.1).
pub const TLS_RECORD_MAX: u32 = 1 << 14;
/// Bytes that a processor records in one direction before it looks again how full the ring is: some fifty requests.
pub const LOOK_EVERY: u32 = 16 << 10;
/// The part of the ring that the records of undecided processes may fill, as a shift of its size: a quarter. What is beyond
/// is kept for those that are watched.
pub const UNDECIDED_PART: u32 = 2;
/// The part of the ring, as a shift, beyond which each process may only take as much as it leaves: a half.
pub const UNSHARED_PART: u32 = 1;
/// Processes whose share of the ring is counted at once; the least recently used goes first.
pub const SHARES_MAX: u32 = 1024;
/// Processes that are not evaluated yet of which it is remembered what was lost; what is lost of others is counted as if they were
/// chosen.
pub const UNDECIDED_LOSSES_MAX: u32 = 1024;
/// Least time between two times that user space is woken to evaluate a process, in ns, on each processor.
pub const EVALUATION_WAKE_NS: u64 = 1_000_000;
/// The same to look at a program that has just been started: there may be a thousand a second of which none is ever asked anything.
pub const START_WAKE_NS: u64 = 10_000_000;
/// Most names of a path that are followed.
pub const PATH_NAMES: u32 = 20;
/// Bytes of the ring buffer unless the user says otherwise: 50 ms of the busiest server measured.
pub const RING_BYTES: u32 = 8 << 20;
