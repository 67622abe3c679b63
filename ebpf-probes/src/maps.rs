//! Every map, with what it holds, who writes it, and when an entry dies.

use aya_ebpf::{
    btf_maps::SkStorage,
    macros::{btf_map, map},
    maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf},
};
use ebpf_common::{
    capture::Capture,
    events::Data,
    limits::{
        ANSWERED_MAX, CAPTURES_MAX, CONNECTIONS_MAX, IOV_MAX, MMSG_THREADS, PROCESSES_MAX, RING_BYTES, SCRATCH_PAYLOAD,
        SHARES_MAX, TLS_CALLS_MAX, TLS_CALLS_PER_PAGE, TLS_CARRIERS_MAX, TLS_SCRATCH_SLOTS, TLS_STREAMS_MAX,
        TLS_THREADS_MAX, UNDECIDED_LOSSES_MAX,
    },
    policy::{CLAIMS_CHUNK, COUNTERS, Counter, PORT_WORDS, TLS_ALL_FILES, TLS_COMPLETE, TLS_FILES_MAX},
    work::{PLANS_MAX, Plan},
};

use crate::handlers::{
    capture::Buffer,
    frames::{FrameCursor, Walk},
    losses::Losses,
};

/// What is remembered of a connection.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Connection {
    /// Its identity in events.
    pub id: u64,
    /// Bytes moved since it was met: received, sent.
    pub position: [u64; 2],
    /// TCP sequence numbers that belong to `position`.
    pub sequence: [u32; 2],
    /// Bytes that may still be copied in this turn: received, sent.
    pub budget: [u32; 2],
    /// What is captured of it.
    pub capture: Capture,
    /// The process last found to be watched, so that the map need not be asked at every hit.
    pub tgid: u32,
    /// See the constants.
    pub flags: u32,
    /// Direction of the last piece.
    pub last_direction: u32,
    /// Pieces seen.
    pub pieces: u32,
    /// Where the directions that are followed stand: received, sent.
    pub frames: [FrameCursor; 2],
    /// Inode of the socket (`syscall` backend): tells a reused address from the same socket.
    pub inode: u64,
    /// The stream of plaintext that it carries, if it is `BOUND`.
    pub plaintext: u64,
}

/// The connection was announced by an `Open` event.
pub const ANNOUNCED: u32 = 1;
/// User space wants nothing more of it.
pub const IGNORED: u32 = 1 << 1;
/// It is TCP, and has sequence numbers (MPTCP has none that would count its bytes).
pub const TCP: u32 = 1 << 2;
/// The process has sent its last byte: `write_seq` no longer counts bytes alone.
pub const FIN_SENT: u32 = 1 << 3;
/// Pieces received were seen to begin with a response; shifted by the direction.
pub const RESPONSES: u32 = 1 << 4;
/// A piece was seen to begin with a TLS record.
pub const CIPHER: u32 = 1 << 6;
/// Its plaintext is seen at a TLS library; nothing of its own is recorded.
pub const BOUND: u32 = 1 << 7;
/// What is received is followed, as `FrameCursor` says; shifted by the direction.
pub const FOLLOWED: u32 = 1 << 8;
/// A TLS library could not send on it, and nothing was sent on it since.
pub const HELD: u32 = 1 << 11;
/// The last piece began a turn.
pub const TURN: u32 = 1 << 12;
/// The first piece was sent, not received.
pub const SENT_FIRST: u32 = 1 << 13;
/// All of this turn is wanted, see `handlers::socket_io::wants_all`; shifted by the direction.
pub const WHOLE: u32 = 1 << 14;
/// The last turn had a response in it, and not an interim one; shifted by the direction.
pub const RESPONDED: u32 = 1 << 16;
/// Its process was not judged yet when it last used it.
pub const UNDECIDED_YET: u32 = 1 << 18;

/// Its process has a plan how units of work are read.
pub const HAS_WORK: u32 = 1 << 19;

/// How units of work are read, by thread group id. Written by user space.
#[map]
pub static WORK_PLANS: HashMap<u32, Plan> = HashMap::with_max_entries(PLANS_MAX, 0);

/// The unit of work that a connection with TLS stands for, by its identity. Written by the programs; least recently used goes.
#[map]
pub static WORK_OF_CARRIER: LruHashMap<u64, u64> = LruHashMap::with_max_entries(PLANS_MAX, 0);

/// Connections, by socket (`sock` backend). Written by the programs; freed by the kernel with the socket.
#[btf_map]
pub static CONNECTIONS: SkStorage<Connection> = SkStorage::new();

/// Sockets for datagrams without a connection over which a DNS server was asked (`sock` backend): there is a value, and it
/// says nothing. Written by the programs; freed by the kernel with the socket.
#[btf_map]
pub static ASKING: SkStorage<u32> = SkStorage::new();

/// DNS answers that processes received, by thread group id: a window of time, and behind it, in the low 16 bits, how many
/// were read in it. Written by the programs; least recently used goes.
#[map]
pub static ANSWERED: LruHashMap<u32, u64> = LruHashMap::with_max_entries(ANSWERED_MAX, 0);

/// Connections, by the address of their `struct sock` (backends that cannot use socket storage). Written by the
/// programs; an entry goes when TCP closes, when the address is found reused, or as the least recently used. The loader shrinks it to one
/// entry where it is not needed.
#[map]
pub static CONNECTIONS_BY_ADDRESS: LruHashMap<u64, Connection> = LruHashMap::with_max_entries(CONNECTIONS_MAX, 0);

/// Processes to watch or to ignore, by thread group id. Written by user space, and on fork by the programs; removed
/// by the programs on exit.
#[map]
pub static PROCESSES: HashMap<u32, u32> = HashMap::with_max_entries(PROCESSES_MAX, 0);

/// Ports that processes are chosen by, a bit for each. Written by user space.
#[map]
static PORTS: Array<u64> = Array::with_max_entries(PORT_WORDS, 0);

/// Whether processes are chosen by a port.
#[inline(always)]
pub fn is_chosen_by(port: u16) -> bool {
    PORTS.get(u32::from(port) / 64).is_some_and(|word| word >> (port % 64) & 1 != 0)
}

/// What a process has taken of a ring that is filling up.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Share {
    /// How far the ring was read, in halves of it: what was taken before that counts no more.
    pub epoch: u64,
    /// Bytes since.
    pub taken: u64,
    /// Records that were shed, ever.
    pub shed: u64,
}

/// By thread group id. Written by the programs; least recently used goes.
#[map]
pub static SHARES: LruHashMap<u32, Share> = LruHashMap::with_max_entries(SHARES_MAX, 0);

/// What was lost of processes that are not judged yet, by thread group id. Written by the programs; user space takes it away
/// once it has judged a process, or knows that it never will.
#[map]
pub static UNDECIDED_LOSSES: HashMap<u32, Losses> = HashMap::with_max_entries(UNDECIDED_LOSSES_MAX, 0);

/// What user space wants of connections, by their id; taken up by the programs when they next look. Least recently used goes.
#[map]
pub static CAPTURES: LruHashMap<u64, Capture> = LruHashMap::with_max_entries(CAPTURES_MAX, 0);

/// All events, in the order in which they were recorded.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

/// Counters, by `Counter`. Only ever grow.
#[map]
static COUNTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTERS, 0);

/// Room to put a record together: header, then payload; and what those need who do so in steps.
#[repr(C)]
pub struct Scratch {
    pub header: Data,
    pub payload: [u8; SCRATCH_PAYLOAD],
    /// Entries of an `iovec` array: address, length.
    pub buffers: [[u64; 2]; IOV_MAX as usize + 1],
    /// Where the bytes of the piece at hand lie.
    pub buffer: Buffer,
    /// Numbers that the verifier is to forget, see `handlers::capture::forget`.
    pub forgotten: [u64; 4],
    /// Bytes recorded since it was last looked how full the ring is.
    pub unasked: u64,
    /// The ring was fuller than it should be when last looked at, and user space was woken for it.
    pub woken: u64,
    /// The ring was more than half full when last looked at.
    pub pressed: u64,
    /// The process of the piece at hand is not judged yet.
    pub undecided: u64,
    /// When user space was last woken to judge a process.
    pub judged_at: u64,
    /// What is being walked over of a direction that is followed.
    pub walk: Walk,
    /// Of `TLS_SCRATCH`: how many programs claim it, and the thread of the one that has it.
    pub claims: u64,
    pub owner: u64,
}

/// One per direction, since a program that sends and one that receives may interrupt each other.
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(2, 0);

/// For programs of uprobes, which claim one each, see `handlers::scratch`.
#[map]
pub static TLS_SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(TLS_SCRATCH_SLOTS, 0);

/// Where a thread stands within a `sendmmsg` or `recvmmsg`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Mmsg {
    /// Address of the array of messages.
    pub messages: u64,
    /// Messages seen so far.
    pub seen: u32,
    /// Messages in the array.
    pub count: u32,
}

/// How far the messages that one call has moved are told (`syscall` backend).
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Many {
    /// Message to tell next.
    pub next: u32,
    /// Bytes told.
    pub all: u32,
    /// Nothing was told of the socket before.
    pub is_new: u32,
    /// Of the message at hand, so that the verifier knows nothing of its value: see `handlers::capture::forget`.
    pub len: u32,
}

/// Of the call that is being told. Written by `sys_exit` and `sys_exit_many`, of no use in between.
#[map]
pub static MANY: PerCpuArray<Many> = PerCpuArray::with_max_entries(1, 0);

/// By thread (`pid_tgid`). Written by the programs; least recently used goes.
#[map]
pub static MMSG: LruHashMap<u64, Mmsg> = LruHashMap::with_max_entries(MMSG_THREADS, 0);

/// By number of a file with a TLS library: how far its probes are, see `ebpf_common::policy`. Written by the loader; nobody
/// pays for TLS before the first.
#[map]
static TLS_PROBED: Array<u32> = Array::with_max_entries(TLS_FILES_MAX + 1, 0);

/// Whether TLS libraries are probed at all.
#[inline(always)]
pub fn tls_is_probed() -> bool {
    TLS_PROBED.get(TLS_ALL_FILES).is_some_and(|&probed| probed != 0)
}

/// Whether all functions of the library in file number `file` are probed.
#[inline(always)]
pub fn tls_probes_are_complete(file: u32) -> bool {
    TLS_PROBED.get(file).is_some_and(|&probed| probed == TLS_COMPLETE)
}

/// A TLS object of a process.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TlsKey {
    /// Its address in the process.
    pub object: u64,
    pub tgid: u64,
}

/// What is remembered of a TLS object.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TlsStream {
    /// The TLS object.
    pub object: u64,
    /// Its plaintext, counted and captured like the bytes of a connection.
    pub plaintext: Connection,
    /// The connection that carries it; 0 where that is not known.
    pub carrier: u64,
    /// The connection that may carry it.
    pub candidate: u64,
    /// How often that was observed in a row.
    pub observed: u32,
    /// See the constants of `handlers::tls`.
    pub traits: u32,
    /// Where the bytes of the last write lie in the process, and how many there are.
    pub written_at: u64,
    pub written_len: u64,
    /// The first of these bytes, and those where the next TLS record begins.
    pub written_first: [u64; 2],
    pub written_next: u64,
}

/// By TLS object. Written by the programs; an entry goes when the object is freed, or as the least recently used.
#[map]
pub static TLS_STREAMS: LruHashMap<TlsKey, TlsStream> = LruHashMap::with_max_entries(TLS_STREAMS_MAX, 0);

/// A call into a TLS library that has not returned. What names it is where on the stack its return address lies: that stays
/// the same until it returns, whatever thread carries it on, and others may be begun meanwhile on other stacks.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TlsCall {
    /// Where its return address lies; 0: there is no call.
    pub at: u64,
    /// The return address.
    pub returns_to: u64,
    /// The TLS object.
    pub object: u64,
    /// Where it puts bytes it reads.
    pub buffer: u64,
    /// Where it puts their number, or what holds them; 0 where it returns the number.
    pub count_at: u64,
    /// The connection that is known to carry the object.
    pub carrier: u64,
    /// The call around it on the same stack ([`TlsCall::at`]), as far as its thread knows; 0 for none.
    pub around: u64,
    /// The thread that began it.
    pub thread: u64,
    /// See the constants of `handlers::tls`.
    pub kind: u32,
    /// It tried to receive from a socket.
    pub nested: u32,
}

/// The calls that are open on one page of a stack.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StackPage {
    pub calls: [TlsCall; TLS_CALLS_PER_PAGE],
}

/// A page of a process's memory.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct StackKey {
    /// Its number.
    pub page: u64,
    pub tgid: u64,
}

/// By page of a stack. Written by the programs; the least recently used goes, so that calls which were left otherwise than
/// by their return (a fiber that was thrown away, a jump out of several functions) take no room for ever.
#[map]
pub static TLS_CALLS: LruHashMap<StackKey, StackPage> = LruHashMap::with_max_entries(TLS_CALLS_MAX, 0);

/// A page without calls, which the stack of a program has no room for. Never written.
#[map]
pub static NO_CALLS: Array<StackPage> = Array::with_max_entries(1, 0);

/// By connection: the library tried to send on it, could not, and nothing was sent on it since. Written by the programs; least
/// recently used goes.
#[map]
pub static TLS_HELD: LruHashMap<u64, u32> = LruHashMap::with_max_entries(TLS_CARRIERS_MAX, 0);

/// What a thread last did with TLS.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TlsThread {
    /// The TLS object that it last wrote to; 0 where its last call was another.
    pub writes: u64,
    /// The call that it last began of those that have not returned ([`TlsCall::at`]); 0 for none. Another thread may
    /// have seen it return.
    pub innermost: u64,
    /// The connection that a record of rustls was last written for.
    pub carrier: u64,
    /// Its last call, if that was a handshake of which the return is not seen: the TLS object, where its return address lies, and
    /// that address; 0 where it was another.
    pub shakes: u64,
    pub shakes_at: u64,
    pub shakes_returns_to: u64,
    /// Connection with TLS records on which the thread received since its last TLS call; 0 for none, all ones for
    /// several.
    pub received: u64,
    /// The one on which it last received, whatever it did since; 0 after it wrote a record of rustls.
    pub last: u64,
    /// The encrypter of rustls, of those whose connection is not known, that it has used since it last sent; 0 for none,
    /// all ones for several.
    pub writer: u64,
    /// How many bytes of plaintext went into the first record since.
    pub written: u64,
    /// Numbers that the verifier is to forget.
    pub forgotten: [u64; 2],
}

/// By thread (`pid_tgid`). Written by the programs; least recently used goes.
#[map]
pub static TLS_THREADS: LruHashMap<u64, TlsThread> = LruHashMap::with_max_entries(TLS_THREADS_MAX, 0);

/// What is remembered of an encrypter of rustls: the object with the keys of one direction of a connection, which has a
/// place of its own in memory for as long as they are used.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TlsWriter {
    /// The connection its records go to, if that was observed often enough; 0: never yet.
    pub carrier: u64,
    /// The number of its next record: another one stands for another encrypter at the same place.
    pub next: u64,
    /// How often that was observed in a row.
    pub observed: u64,
}

/// By encrypter. Written by the programs; least recently used goes.
#[map]
pub static TLS_WRITERS: LruHashMap<TlsKey, TlsWriter> = LruHashMap::with_max_entries(TLS_STREAMS_MAX, 0);

/// By connection: the stream of plaintext it was inferred to carry. Written by the TLS programs, removed when the
/// connection next moves bytes; least recently used goes.
#[map]
pub static TLS_CARRIERS: LruHashMap<u64, u64> = LruHashMap::with_max_entries(TLS_CARRIERS_MAX, 0);

/// Which of the copies of a program the reader is: 0 is the first. Each has a map of its own, as it has of all that it
/// works in. Written by the loader.
#[map]
pub static COPY: Array<u32> = Array::with_max_entries(1, 0);

/// 1: all copies are in their place. Until then the first alone tells, and leaves no marks. Written by the loader.
#[map]
pub static STANDING_BY: Array<u32> = Array::with_max_entries(1, 0);

/// 1: all programs are in their place. Until then nobody is watched: what only some of the hooks see of a connection is the
/// half of it. Written by the loader.
#[map]
static ALL_ATTACHED: Array<u32> = Array::with_max_entries(1, 0);

/// Whether all programs are in their place.
#[inline(always)]
pub fn all_are_attached() -> bool {
    ALL_ATTACHED.get(0).is_some_and(|&attached| attached != 0)
}

/// By thread: at which hooks one of the copies has told of the hit that it is at, see `handlers::standby`. Written by the
/// programs. The loader makes room where there are copies.
#[map]
pub static CLAIMS: Array<[u8; CLAIMS_CHUNK as usize]> = Array::with_max_entries(1, 0);

/// What `sys_exit` continues in, see `ebpf_common::policy`. Written by the loader.
#[map]
pub static TAIL_CALLS: ProgramArray = ProgramArray::with_max_entries(3, 0);

/// What `sock_recv_length` continues in. Written by the loader; programs of different hooks do not share a map.
#[map]
pub static TAIL_CALLS_RECEIVED: ProgramArray = ProgramArray::with_max_entries(2, 0);

/// What `sock_send_length` continues in.
#[map]
pub static TAIL_CALLS_SENT: ProgramArray = ProgramArray::with_max_entries(2, 0);

/// What programs of uprobes continue in.
#[map]
pub static TAIL_CALLS_TLS: ProgramArray = ProgramArray::with_max_entries(1, 0);

/// Adds one to a counter.
#[inline(always)]
pub fn count(counter: Counter) {
    count_many(counter, 1);
}

/// Counts so many.
#[inline(always)]
pub fn count_many(counter: Counter, more: u64) {
    if let Some(value) = COUNTS.get_ptr_mut(counter as u32) {
        // SAFETY: a per-CPU value, and the program is not preempted by itself.
        unsafe { *value += more }
    }
}
