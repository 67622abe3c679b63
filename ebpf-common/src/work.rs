//! How the unit of work that a thread carries on is read: what a call is made for is told by it, where threads are shared among
//! requests. One plan per process, written by user space.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// Most processes with a plan.
pub const PLANS_MAX: u32 = 4096;
/// Tasks whose beginning is remembered.
pub const TASKS_MAX: u32 = 16_384;
/// Tasks that are remembered for what others have given them to send.
pub const GIVEN_MAX: u32 = 8192;
/// Most steps of a chain.
pub const STEPS_MAX: usize = 4;

/// [`Plan::kind`]: the number at the end of a chain of pointers that begins at the thread's pointer (`fs`).
pub const CHAIN: u32 = 1;
/// [`Plan::kind`]: nginx. What its event loop keeps with a socket is the socket's `ngx_connection_t`; that of a connection
/// to an upstream leads to the request that it is used for, and from there to the client's.
pub const NGINX: u32 = 2;
/// [`Plan::kind`]: Python's asyncio. [`Plan::offsets`] are the dictionary of the tasks that run (`asyncio`'s `_current_tasks`), the event
/// loop, and the thread's pointer (`fs`) of the thread that runs it; where `steps` is 1, dictionaries are those of Python before 3.11. Where
/// it is [`TASK_IN_PLACE`], the first is where the running task itself stands. The fourth says where other threads have the context in which
/// their code runs: in its upper half where their state stands, seen from the thread's pointer, in its lower one where in that; or 0.
pub const ASYNCIO: u32 = 3;
/// [`Plan::steps`] of [`ASYNCIO`] from Python 3.14 on.
pub const TASK_IN_PLACE: u32 = 2;

/// [`Plan::kind`]: tokio. A [`CHAIN`] of one step to the number of the task that the thread polls. The second of [`Plan::offsets`] is the
/// address of the table of functions that wakers of tasks have (`WAKER_VTABLE`).
pub const TOKIO: u32 = 4;

/// [`Plan::kind`]: Go. The first of [`Plan::offsets`] is where the goroutine lies that the thread runs, seen from the thread's pointer; the second
/// the address of the list of the runtime's processors, or 0. What else is to be known is [`Plan::go`].
pub const GO: u32 = 5;
/// [`Plan::kind`]: Java from 21 on: its virtual threads, by their numbers. [`Plan::offsets`] are where a thread keeps its `JavaThread`, seen
/// from the thread's pointer; where that has a handle of its own thread object, and behind that one of the object whose code it runs; and
/// the number in such an object.
pub const JAVA: u32 = 6;
/// [`Plan::kind`]: worker threads of Puma, by their names: such a thread writes for one request after the other, whoever has read them.
pub const PUMA: u32 = 7;
/// [`Plan::kind`]: what an SDK says of its threads (OTEP 4947). The first of [`Plan::offsets`] is where a thread has its variable, seen from its pointer (`fs`); where `steps`
/// is 1, the first is the number of the library that has it, and the second where it lies in what a thread has of that one's.
pub const CONTEXT: u32 = 8;
/// Most processors of a runtime whose numbers of goroutines are looked at.
pub const PROCESSORS_MAX: usize = 16;
/// Goroutines that are remembered for answering requests.
pub const GO_UNITS_MAX: u32 = 8192;
/// Sockets to which requests were given that are not sent yet.
pub const GO_CALLS_MAX: u32 = 8192;

/// Where members of Go's structures lie.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct GoLayout {
    /// `g.m`.
    pub thread: u16,
    /// `g.goid`.
    pub number: u16,
    /// `g.parentGoid`; 0 where there is none.
    pub parent: u16,
    /// `m.curg`.
    pub current: u16,
    /// `p.goidcache`, `p.goidcacheend` behind it.
    pub numbers: u16,
    /// `poll.FD.Sysfd`, in `net.netFD`.
    pub descriptor: u16,
    /// `net.netFD.family`, `sotype` behind it.
    pub family: u16,
    /// `http.persistConn.conn`.
    pub client: u16,
    /// `http.http2serverConn.conn`.
    pub server2: u16,
    /// `http.http2responseWriterState.stream`.
    pub stream: u16,
    /// `http.http2stream.id`.
    pub stream_id: u16,
    /// Where a call of `tls.Conn.Read` has its connection, seen from the stack pointer at the probe; 0: nothing is seen of `crypto/tls`.
    pub tls_connection: u16,
    /// `conn` of grpc-go's `transport.http2Server`.
    pub grpc_server: u16,
    /// The number of a stream that one has.
    pub grpc_server_stream: u16,
    /// `conn` of grpc-go's `transport.http2Client`.
    pub grpc_client: u16,
    /// That client, in a stream that it has.
    pub grpc_client_of_stream: u16,
    /// The number of that stream.
    pub grpc_client_stream: u16,
    /// Not 0: either number is behind a pointer, the stream's first member.
    pub grpc_is_behind: u16,
    /// Not 0: the probe is at a call of `runtime.slicecopy`, as programs built with `-race` have it, not of `runtime.memmove`.
    pub tls_slices: u16,
    /// Zero.
    pub reserved: u16,
}

impl GoLayout {
    /// Of plans that are not for Go.
    pub const EMPTY: Self = Self {
        thread: 0,
        number: 0,
        parent: 0,
        current: 0,
        numbers: 0,
        descriptor: 0,
        family: 0,
        client: 0,
        server2: 0,
        stream: 0,
        stream_id: 0,
        tls_connection: 0,
        grpc_server: 0,
        grpc_server_stream: 0,
        grpc_client: 0,
        grpc_client_of_stream: 0,
        grpc_client_stream: 0,
        grpc_is_behind: 0,
        tls_slices: 0,
        reserved: 0,
    };
}

/// Bit of a unit's number: the number is that of a task whose beginning was seen, and the moment of that. Else it is an address.
pub const SEEN_TO_BEGIN: u64 = 1 << 63;

/// Bit of a unit's number: it is none, but the number by which it was told which span is active ([`CONTEXT`]).
pub const OF_CONTEXT: u64 = 1 << 62;

/// How the unit of work is read.
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes, IntoBytes, Immutable, KnownLayout)]
pub struct Plan {
    /// [`CHAIN`], [`NGINX`], [`ASYNCIO`], [`TOKIO`], [`GO`], [`JAVA`], [`PUMA`] or [`CONTEXT`].
    pub kind: u32,
    /// Steps of a chain.
    pub steps: u32,
    /// What is added to the pointer before each step, which reads 8 bytes there.
    pub offsets: [u64; STEPS_MAX],
    /// Of [`GO`].
    pub go: GoLayout,
}
