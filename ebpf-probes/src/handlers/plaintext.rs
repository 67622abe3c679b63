//! Pieces of plaintext: recorded like those of a socket, and followed frame by frame where they are HTTP/2.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns};
use ebpf_common::events::{Tcp, flags};

use super::{
    capture::{self, Memory},
    emit::emit_piece,
    frames, scratch,
    socket_io::{self, FOLLOW, NOTHING},
    sockets::Socket,
    tls::{OF_GO, announce},
    work,
};
use crate::{
    kernel::{socket::Sequences, task::tgid_of},
    maps::TLS_STREAMS,
    state::{Buffer, Connection, FOLLOWED, IGNORED, Scratch, TlsKey, TlsStream},
};

/// Plaintext as a backend would hand its socket over, so that its frames are followed in the same way.
#[derive(Clone, Copy)]
struct Plaintext {
    object: u64,
    id: u64,
}

impl Plaintext {
    #[inline(always)]
    fn of(stream: &TlsStream) -> Self {
        Self { object: stream.object, id: stream.plaintext.id }
    }
}

impl Socket for Plaintext {
    #[inline(always)]
    fn address(self) -> u64 {
        self.object
    }

    #[inline(always)]
    fn inode(self) -> u64 {
        self.id
    }

    #[inline(always)]
    fn connection(self) -> Option<*mut Connection> {
        let key = TlsKey { object: self.object, tgid: bpf_get_current_pid_tgid() >> 32 };
        let stream = TLS_STREAMS.get_ptr_mut(&key)?;
        // SAFETY: a value of the map; at worst another object's, if it is evicted at this moment.
        let plaintext = unsafe { &raw mut (*stream).plaintext };
        // SAFETY: as above.
        unsafe { (*plaintext).id == self.id }.then_some(plaintext)
    }

    #[inline(always)]
    fn remember(self) -> Option<*mut Connection> {
        None
    }

    #[inline(always)]
    fn sequences(self) -> Sequences {
        Sequences::NONE
    }
}

/// `len` bytes of plaintext of the current process's `object` at `address`; 0 where they cannot be read. As [`piece`].
///
/// A function of its own, which is exported so that the verifier follows it by itself: see `meet::meet_process`. Whoever comes here
/// has many ways behind it, and all of this behind each of them.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn plaintext_piece(object: u64, direction: u32, len: u32, address: u64) -> u32 {
    let thread = bpf_get_current_pid_tgid();
    let Some(stream) = TLS_STREAMS.get_ptr_mut(&TlsKey { object, tgid: thread >> 32 }) else { return NOTHING };
    // SAFETY: a value of the map; at worst another object's, if it is evicted at this moment.
    let stream = unsafe { &mut *stream };
    let buffer = if address == 0 { Buffer::hidden(flags::UNREADABLE) } else { Buffer::plain(address) };
    piece(stream, thread, direction, len, buffer, true).unwrap_or(NOTHING)
}

/// `len` bytes of plaintext in `buffer`. Gives what is to be done next: [`FOLLOW`], if they may be followed.
#[inline(always)]
pub(super) fn piece(
    stream: &mut TlsStream,
    thread: u64,
    direction: u32,
    len: u32,
    buffer: Buffer,
    may_follow: bool,
) -> Option<u32> {
    let scratch = met(stream, thread, direction, len)?;
    let side = (direction & 1) as usize;
    let buffer = capture::keep(scratch, buffer);
    if stream.plaintext.flags & (FOLLOWED << side) != 0 {
        if may_follow && let Some(memory) = buffer.memory(len.into()) {
            return follow(scratch, stream, thread, direction, len, memory);
        }
        passes(&mut stream.plaintext, side, len);
    }
    let beginning = socket_io::record(scratch, &mut stream.plaintext, thread, direction, len, buffer, may_follow);
    if beginning <= socket_io::TLS_RECORD {
        scratch::release(scratch);
        return Some(NOTHING);
    }
    let plaintext = Plaintext::of(stream);
    socket_io::follow(scratch, plaintext, &mut stream.plaintext, side, beginning, buffer, len);
    Some(FOLLOW)
}

/// `len` bytes of plaintext in `memory`, in a direction of which [`is_followed`] said so.
#[inline(always)]
pub(super) fn followed(stream: &mut TlsStream, thread: u64, direction: u32, len: u32, memory: Memory) -> Option<u32> {
    let scratch = met(stream, thread, direction, len)?;
    follow(scratch, stream, thread, direction, len, memory)
}

/// Whether the frames of HTTP/2 are followed in a direction.
#[inline(always)]
pub(super) fn is_followed(stream: &TlsStream, direction: u32) -> bool {
    stream.plaintext.flags & (FOLLOWED << (direction & 1)) != 0
}

#[inline(always)]
fn follow(
    scratch: *mut Scratch,
    stream: &TlsStream,
    thread: u64,
    direction: u32,
    len: u32,
    memory: Memory,
) -> Option<u32> {
    let side = (direction & 1) as usize;
    frames::prepare_memory(scratch, Plaintext::of(stream), stream.plaintext.frames[side], memory, len.into());
    frames::wants(scratch, &stream.plaintext, side);
    // SAFETY: per-CPU memory, which was claimed.
    let header = unsafe { &mut (*scratch).header };
    socket_io::describe(header, &stream.plaintext, thread, direction, len);
    Some(FOLLOW)
}

/// Counts a piece, and gives the room to put its record together if it is wanted.
#[inline(always)]
fn met(stream: &mut TlsStream, thread: u64, direction: u32, len: u32) -> Option<*mut Scratch> {
    // It may have been left out meanwhile.
    stream.plaintext.tgid = tgid_of(thread);
    let is_announced = announce(stream).is_some();
    let side = (direction & 1) as usize;
    let carrier = stream.carrier;
    let sk = if stream.traits & OF_GO != 0 { stream.written_at } else { 0 };
    let plaintext = &mut stream.plaintext;
    let position = plaintext.position[side];
    let other_position = plaintext.position[1 - side];
    plaintext.position[side] = position + u64::from(len);
    if plaintext.flags & IGNORED != 0 || socket_io::unwanted(plaintext) {
        return None;
    }
    if !is_announced {
        passes(plaintext, side, len);
        socket_io::missed(plaintext, direction);
        return None;
    }
    // Before its unit of work: what that is found to have begun for a request has begun behind it.
    // SAFETY: the helper only returns a number.
    let at_ns = unsafe { bpf_ktime_get_ns() };
    let work = work::of_plaintext(plaintext, carrier, sk, direction);
    let Some(scratch) = scratch::claim(thread) else {
        passes(plaintext, side, len);
        socket_io::missed(plaintext, direction);
        return None;
    };
    // SAFETY: per-CPU memory, which was claimed.
    let header = unsafe { &mut (*scratch).header };
    header.at_ns = at_ns;
    header.flags = flags::TLS;
    header.tcp = Tcp::NONE;
    (header.work, header.begun_ns) = work;
    header.position = position;
    header.other_position = other_position;
    Some(scratch)
}

/// `len` bytes of plaintext that cannot be gathered, and so show as a gap.
#[inline(always)]
pub(super) fn unseen(stream: &mut TlsStream, direction: u32, len: u32) {
    let side = (direction & 1) as usize;
    stream.plaintext.position[side] += u64::from(len);
    passes(&mut stream.plaintext, side, len);
}

/// Bytes are left out of a direction that may be followed.
#[inline(always)]
fn passes(plaintext: &mut Connection, side: usize, len: u32) {
    if !frames::pass(&mut plaintext.frames[side], len) {
        plaintext.flags &= !(FOLLOWED << side);
    }
}

/// Walks on over the frames of the piece that was prepared for the current thread. If the answer is [`frames::MORE`], the
/// program is to call itself; when that cannot be, or for any other answer, [`walked`].
#[inline(always)]
pub fn walks() -> u32 {
    scratch::claimed(bpf_get_current_pid_tgid()).map_or(frames::LOST, frames::walk_in)
}

/// Records what is left of that piece.
#[inline(always)]
pub fn walked(outcome: u32) -> Option<()> {
    let scratch = scratch::claimed(bpf_get_current_pid_tgid())?;
    // SAFETY: per-CPU memory, which was claimed.
    let direction = unsafe { (*scratch).header.direction };
    let recorded = frames::finish_in(scratch, direction, outcome, |walk| Plaintext {
        object: walk.socket.get(),
        id: walk.inode.get(),
    });
    scratch::release(scratch);
    recorded
}

/// The program to continue in is not there: the piece, one that begins a connection, is recorded as any other.
///
/// A function of its own, which is exported so that the verifier follows it by itself: see `meet::meet_process`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn record_unfollowed() -> u32 {
    unfollowed().is_some().into()
}

#[inline(always)]
fn unfollowed() -> Option<()> {
    let scratch = scratch::claimed(bpf_get_current_pid_tgid())?;
    // SAFETY: per-CPU memory, which was claimed.
    let Scratch { header, walk, .. } = unsafe { &*scratch };
    let side = (header.direction & 1) as usize;
    let plaintext = Plaintext { object: walk.socket.get(), id: walk.inode.get() };
    if let Some(connection) = plaintext.connection() {
        // SAFETY: a value of the map; at worst another object's, if it is evicted at this moment.
        unsafe { (*connection).flags &= !(FOLLOWED << side) };
    }
    let recorded = emit_piece(scratch, u64::from(header.head_len) + u64::from(header.tail_len));
    scratch::release(scratch);
    recorded
}
