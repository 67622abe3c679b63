//! Types of what is remembered in maps, and worked on there: data, which `handlers` give its meaning.

use core::cell::UnsafeCell;

use ebpf_common::{
    capture::{Capture, MODE_TURNS},
    events::Data,
    limits::{HEAD_MAX, IOV_MAX, SCRATCH_PAYLOAD, TAIL_MAX, TLS_CALLS_PER_PAGE},
    work::PROCESSORS_MAX,
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
    pub last_direction: u8,
    /// When its budgets last counted anew: the low bits of a time, see [`ebpf_common::limits::RENEWED_EVERY`].
    pub renewed: u8,
    /// Whether each direction is in the midst of a long turn: received, sent. See [`MIDST`]; a byte each, since both may move at once.
    pub runs: [u8; 2],
    /// Pieces seen.
    pub pieces: u32,
    /// Where the directions that are followed stand: received, sent.
    pub frames: [FrameCursor; 2],
    /// Inode of the socket (`syscall` backend): tells a reused address from the same socket.
    pub inode: u64,
    /// The stream of plaintext that it carries, if it is `BOUND`.
    pub plaintext: u64,
    /// The unit of work that it stands for as long as it lives; 0 where there is none, or none is known.
    pub work: u64,
}

/// [`Connection::runs`]: the last piece was one of which no more was captured than of any in a long turn, and no answer may have ended with it.
pub const MIDST: u8 = 1;
/// [`Connection::runs`]: the same, and it is held back, see `handlers::held`.
pub const HELD_BACK: u8 = 2;

/// Pieces that follow each other and are told together.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Held {
    /// As the last of them, but for position and length; and the last bytes behind it. [`Data::conn`] is 0 where there are none.
    pub record: Data,
    pub tail: [u8; TAIL_MAX as usize],
    /// When the first of them moved.
    pub since_ns: u64,
    /// How many programs claim it.
    pub claims: u64,
}

/// When the process of a socket began to connect, and when it was connected; 0: not yet.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Connecting {
    pub begun: u64,
    pub done: u64,
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
/// It was met with its first byte, and nobody has said yet what it carries, see `handlers::budget`.
pub const FRESH: u32 = 1 << 10;
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
/// Its process was not evaluated yet when it last used it.
pub const UNDECIDED_YET: u32 = 1 << 18;
/// Its process has a plan how units of work are read.
pub const HAS_WORK: u32 = 1 << 19;
/// Units of work are those of nginx: a connection that is served is one itself.
pub const WORK_OF_NGINX: u32 = 1 << 20;
/// It was asked which end of the connection the process is.
pub const END_ASKED: u32 = 1 << 21;
/// For certain it is the one that calls.
pub const CALLS: u32 = 1 << 22;
/// Units of work are tasks of tokio, which read and write themselves.
pub const WORK_OF_TOKIO: u32 = 1 << 23;

/// Units of work are goroutines.
pub const WORK_OF_GO: u32 = 1 << 24;
/// What was sent last began with an interim response, behind which the rest of the same request comes.
pub const INTERIM: u32 = 1 << 25;
/// Units of work are virtual threads of Java, which read and write themselves.
pub const WORK_OF_JAVA: u32 = 1 << 26;
/// Its end was told. What its socket's address does from then on is another connection's.
pub const ENDED: u32 = 1 << 27;

/// Its budgets count anew every few milliseconds.
pub const RENEWED: u32 = 1 << 28;

/// What was captured of connections that are [`FRESH`].
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Fresh {
    /// The window of time.
    pub window: u64,
    /// Bytes in it.
    pub bytes: u64,
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
    /// The process of the piece at hand is not evaluated yet.
    pub undecided: u64,
    /// When user space was last woken to evaluate a process.
    pub evaluation_asked_at: u64,
    /// What is being walked over of a direction that is followed.
    pub walk: Walk,
    /// Of `TLS_SCRATCH`: how many programs claim it, and the thread of the one that has it.
    pub claims: u64,
    pub owner: u64,
}

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

/// A task of a process.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TaskKey {
    /// Its address in the process; of tokio, its number.
    pub object: u64,
    pub tgid: u64,
}

/// What a task of tokio was given to send, by the channel that it reads requests from.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Given {
    /// Where the channel counts what was put into it; 0: the task reads from several.
    pub count_at: u64,
    /// That count behind the last request, so far as it is known who has given it.
    pub count: u64,
    /// That count when the task last wrote.
    pub written: u64,
    /// For what the last request was given; 0 for nothing that is known.
    pub unit: u64,
    /// When that was begun, see [`TaskOrigin::begun_ns`]; when it was given, where nothing else was begun.
    pub begun_ns: u64,
}

/// What a task is done for.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct TaskOrigin {
    /// The first in the row of tasks of which each has begun the next.
    pub unit: u64,
    /// When that one began what this one belongs to; 0: this is the first. Of a goroutine that answers requests, when the last of them came.
    pub begun_ns: u64,
}

/// A goroutine that answers requests.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct GoUnit {
    /// When the last of them came.
    pub at_ns: u64,
    /// The last number for goroutines that any processor of the runtime had then.
    pub last: u64,
    /// By processor: the number that it was to give out next, shifted by [`Self::LEFT`], and how many it had left.
    pub next: [u64; PROCESSORS_MAX],
    /// All processors are there.
    pub is_complete: u64,
    /// Room to read into, which the stack has none of: where the list of processors lies and how many there are, and what one has.
    pub list: [u64; 2],
    pub numbers: [u64; 2],
}

impl GoUnit {
    /// Width of how many numbers a processor has left: it takes sixteen at a time.
    pub const LEFT: u64 = 5;
}

/// A request that was handed over to a socket of Go.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct GoCall {
    /// What tells the socket from another at the same address.
    pub inode: u64,
    /// See [`TaskOrigin`].
    pub unit: u64,
    pub begun_ns: u64,
    /// It was not written yet.
    pub is_due: u64,
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
    /// The connection that may carry it; of Go, the inode of the socket that does.
    pub candidate: u64,
    /// How often that was observed in a row.
    pub observed: u32,
    /// See the constants of `handlers::tls`.
    pub traits: u32,
    /// Where the bytes of the last write lie in the process, and how many there are. Of Go, whose writes are not repeated, the first is the address of
    /// the socket that carries it: where one is made on the stack there is no room for more.
    pub written_at: u64,
    pub written_len: u64,
    /// The first of these bytes, and those where the next TLS record begins.
    pub written_first: [u64; 2],
    pub written_next: u64,
}

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

/// Where a direction stands between two pieces.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct FrameCursor {
    /// Bytes left of the payload (or of the preface).
    pub left: u32,
    /// In the lowest bit: the payload is that of a DATA frame, or the body of a message. In the next: bytes that were seen of a
    /// frame's header were in a record that was lost.
    pub data: u8,
    /// What is followed, in the lowest bit: [`FRAMES_OF_HTTP2`] or [`MESSAGES`]; above it, of frames, how often the place was found
    /// again, see [`ebpf_common::events::Frames::found`].
    pub kind: u8,
    /// Bytes seen of a frame's header; or where in a message's head the next byte stands.
    pub have: u16,
    /// The first of them; or the length of the body, as far as it is known.
    pub word: u64,
}

/// A number in memory that is read and written exactly where the code says so.
#[repr(transparent)]
pub struct Slot(UnsafeCell<u64>);

// SAFETY: each processor has its own; see `Slot::get`.
unsafe impl Sync for Slot {}

impl Slot {
    #[inline(always)]
    pub fn get(&self) -> u64 {
        // SAFETY: in per-CPU memory that no other program uses meanwhile.
        unsafe { self.0.get().read_volatile() }
    }

    #[inline(always)]
    pub fn set(&self, value: u64) {
        // SAFETY: as above.
        unsafe { self.0.get().write_volatile(value) }
    }

    #[inline(always)]
    pub fn add(&self, value: u64) {
        self.set(self.get().wrapping_add(value));
    }

    #[inline(always)]
    pub fn take(&self, value: u64) {
        self.set(self.get().wrapping_sub(value));
    }
}

/// A piece being walked.
#[repr(C)]
pub struct Walk {
    /// The socket (`syscall` backend), or the TLS object; and what tells it from another at the same address.
    pub socket: Slot,
    pub inode: Slot,
    /// What is left of the buffer at hand, and of the array of buffers.
    pub at: Slot,
    pub here: Slot,
    pub iov: Slot,
    pub iov_left: Slot,
    /// Bytes of the piece that were neither copied nor left out yet; of messages: not recorded yet.
    pub rest: Slot,
    /// Bytes of the record: copied, walked of these, and left out after them; of messages: not 0 where what was copied is a body's.
    pub head: Slot,
    pub walked: Slot,
    pub skipped: Slot,
    /// How many bytes to copy next, at most.
    pub window: Slot,
    /// How many more are copied though they may be payload of DATA.
    pub content: Slot,
    /// See [`FrameCursor`].
    pub left: Slot,
    pub data: Slot,
    pub have: Slot,
    pub word: Slot,
    /// What was taken for a frame's header is none; or the length of a message's body is not known.
    pub strange: Slot,
    /// What there is to walk over, see [`FRAMES_OF_HTTP2`].
    pub kind: Slot,
    /// The piece was copied before, as any other.
    pub is_copied: Slot,
    /// The head of a message has ended in it; of frames: how many HEADERS began in what is not recorded yet.
    pub has_head: Slot,
    /// HEADERS in records that were lost.
    pub lost: Slot,
    /// Bytes that were seen of the present frame's header were in such a record.
    pub torn: Slot,
    /// What [`Data::frames`] says: where the first frame begins in what was copied, and the rest of it; 0 where it says nothing.
    pub first: Slot,
    pub found: Slot,
}

/// Where the bytes of a piece lie in the process's memory.
///
/// No `enum` with fields: a variant that lacks one leaves it undefined, and the compiler may still spill it to the
/// stack, which the verifier refuses.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Buffer {
    pub kind: u64,
    /// Address, or the event's flag that says why the bytes are not read.
    pub what: u64,
    /// Entries of an array.
    pub count: u64,
}

/// What was lost of a process.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct Losses {
    /// Records that were shed.
    pub records: u64,
    /// Requests that are not told, at most.
    pub requests: u64,
}

/// What is captured of a connection whose budgets are still to be set.
pub const AT_FIRST: Capture =
    Capture { mode: MODE_TURNS, head: [HEAD_MAX; 2], grown: [0; 2], tail: TAIL_MAX as u8, endings: 0 };
