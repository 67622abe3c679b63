//! Every map, with what it holds, who writes it, and when an entry dies.

use aya_ebpf::{
    btf_maps::SkStorage,
    macros::{btf_map, map},
    maps::{Array, HashMap, LruHashMap, PerCpuArray, ProgramArray, RingBuf},
};
use ebpf_common::{
    capture::Capture,
    limits::{
        ANSWERED_MAX, CAPTURES_MAX, CONNECTING_MAX, CONNECTIONS_MAX, HELD_BITS, MMSG_THREADS, PROCESSES_MAX,
        RING_BYTES, SHARES_MAX, TLS_CALLS_MAX, TLS_CARRIERS_MAX, TLS_SCRATCH_SLOTS, TLS_STREAMS_MAX, TLS_THREADS_MAX,
        UNDECIDED_LOSSES_MAX,
    },
    policy::{CLAIMS_CHUNK, COUNTERS, PORT_WORDS, TLS_OF_GO},
    work::{GIVEN_MAX, GO_CALLS_MAX, GO_UNITS_MAX, PLANS_MAX, Plan, TASKS_MAX},
};

use crate::state::{
    Connecting, Connection, Fresh, Given, GoCall, GoUnit, Held, Losses, Many, Mmsg, Scratch, Share, StackKey,
    StackPage, TaskKey, TaskOrigin, TlsKey, TlsStream, TlsThread, TlsWriter,
};

/// How units of work are read, by thread group id. Written by user space.
#[map]
pub static WORK_PLANS: HashMap<u32, Plan> = HashMap::with_max_entries(PLANS_MAX, 0);

/// The unit of work that a connection with TLS stands for, by its identity. Written by the programs; least recently used goes.
#[map]
pub static WORK_OF_CARRIER: LruHashMap<u64, u64> = LruHashMap::with_max_entries(PLANS_MAX, 0);

/// By task of asyncio or tokio: what it is done for. Written by the program at its beginning; least recently used goes.
#[map]
pub static WORK_TASKS: LruHashMap<TaskKey, TaskOrigin> = LruHashMap::with_max_entries(TASKS_MAX, 0);

/// By task of tokio: what it was given to send. Written by the program where that happens; least recently used goes.
#[map]
pub static WORK_GIVEN: LruHashMap<TaskKey, Given> = LruHashMap::with_max_entries(GIVEN_MAX, 0);

/// Goroutines that answer requests. Written by the programs when they read them; least recently used goes.
#[map]
pub static GO_UNITS: LruHashMap<TaskKey, GoUnit> = LruHashMap::with_max_entries(GO_UNITS_MAX, 0);

/// By the address of a socket: a request that a goroutine has handed over to it. Written by the program where that happens; least recently used goes.
#[map]
pub static GO_CALLS: LruHashMap<TaskKey, GoCall> = LruHashMap::with_max_entries(GO_CALLS_MAX, 0);

/// One that is of no goroutine, which the stack of a program has no room for. Never written.
#[map]
pub static NO_GO_UNIT: Array<GoUnit> = Array::with_max_entries(1, 0);

/// Connections, by socket (`sock` backend). Written by the programs; freed by the kernel with the socket.
#[btf_map]
pub static CONNECTIONS: SkStorage<Connection> = SkStorage::new();

/// Sockets for datagrams without a connection over which a DNS server was asked (`sock` backend): there is a value, and it
/// says nothing. Written by the programs; freed by the kernel with the socket.
#[btf_map]
pub static ASKING: SkStorage<u32> = SkStorage::new();

/// Connections that a watched process has asked for, by socket (`sock` backend). Written by the programs; freed by the kernel with the
/// socket.
#[btf_map]
pub static CONNECTING: SkStorage<Connecting> = SkStorage::new();

/// The same by the address of their `struct sock` (backends that cannot use socket storage). Written by the programs; an entry goes
/// when bytes move, when TCP closes, or as the least recently used. The loader shrinks it to one entry where it is not needed.
#[map]
pub static CONNECTING_BY_ADDRESS: LruHashMap<u64, Connecting> = LruHashMap::with_max_entries(CONNECTING_MAX, 0);

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
pub static PORTS: Array<u64> = Array::with_max_entries(PORT_WORDS, 0);

/// By thread group id. Written by the programs; least recently used goes.
#[map]
pub static SHARES: LruHashMap<u32, Share> = LruHashMap::with_max_entries(SHARES_MAX, 0);

/// What was lost of processes that are not evaluated yet, by thread group id. Written by the programs; user space takes it away
/// once it has evaluated a process, or knows that it never will.
#[map]
pub static UNDECIDED_LOSSES: HashMap<u32, Losses> = HashMap::with_max_entries(UNDECIDED_LOSSES_MAX, 0);

/// What user space wants of connections, by their id; taken up by the programs when they next look. Least recently used goes.
#[map]
pub static CAPTURES: LruHashMap<u64, Capture> = LruHashMap::with_max_entries(CAPTURES_MAX, 0);

/// By connection, each of which shares a place with others: pieces that are told together, see `handlers::held`. Written by the programs;
/// what is there goes with the next record of its connection, with its end, or when another one finds it old.
#[map]
pub static HELD_PIECES: Array<Held> = Array::with_max_entries(1 << HELD_BITS, 0);

/// How much was captured of connections of which it is not known yet what they carry, see `handlers::budget`. Written by the programs.
#[map]
pub static FRESH_BYTES: Array<Fresh> = Array::with_max_entries(1, 0);

/// All events, in the order in which they were recorded.
#[map]
pub static EVENTS: RingBuf = RingBuf::with_byte_size(RING_BYTES, 0);

/// Counters, by `Counter`. Only ever grow.
#[map]
pub static COUNTS: PerCpuArray<u64> = PerCpuArray::with_max_entries(COUNTERS, 0);

/// One per direction, since a program that sends and one that receives may interrupt each other.
#[map]
pub static SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(2, 0);

/// For programs of uprobes, which claim one each, see `handlers::scratch`.
#[map]
pub static TLS_SCRATCH: PerCpuArray<Scratch> = PerCpuArray::with_max_entries(TLS_SCRATCH_SLOTS, 0);

/// Of the call that is being told. Written by `sys_exit` and `sys_exit_many`, of no use in between.
#[map]
pub static MANY: PerCpuArray<Many> = PerCpuArray::with_max_entries(1, 0);

/// By thread (`pid_tgid`). Written by the programs; least recently used goes.
#[map]
pub static MMSG: LruHashMap<u64, Mmsg> = LruHashMap::with_max_entries(MMSG_THREADS, 0);

/// By number of a file with a TLS library: how far its probes are, see `ebpf_common::policy`. Written by the loader; nobody
/// pays for TLS before the first.
#[map]
pub static TLS_PROBED: Array<u32> = Array::with_max_entries(TLS_OF_GO + 1, 0);

/// By TLS object. Written by the programs; an entry goes when the object is freed, or as the least recently used.
#[map]
pub static TLS_STREAMS: LruHashMap<TlsKey, TlsStream> = LruHashMap::with_max_entries(TLS_STREAMS_MAX, 0);

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

/// By thread (`pid_tgid`). Written by the programs; least recently used goes.
#[map]
pub static TLS_THREADS: LruHashMap<u64, TlsThread> = LruHashMap::with_max_entries(TLS_THREADS_MAX, 0);

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
pub static ALL_ATTACHED: Array<u32> = Array::with_max_entries(1, 0);

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
