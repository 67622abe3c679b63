//! HTTP/2: every frame header and every payload but that of DATA frames reaches user space, however frames fall over
//! calls; of DATA, where user space asks for it, the beginning in each piece. A connection is followed from its beginning, each direction by itself; a piece is recorded in parts, between
//! which long DATA payloads are left out.
//!
//! Runs as a program of its own (a tail call), which calls itself after a few steps: so the verifier has little to follow.
//! All that a step changes is kept in memory. The plaintext of TLS is followed in the same way, from the programs of uprobes.

use core::hint::cold_path;

use ebpf_common::{
    capture::GROWN_UNIT,
    events::{Data, Frames, flags, is_plaintext},
    limits::{FIRST_PIECES, HEAD_MAX, LONG_DATA, STEP_FRAMES, STEPS, WINDOW, WINDOW_MAX},
    policy::Counter,
};

use super::{
    capture::{Memory, least, opaque, read_user, read_user_value, room},
    counters::count,
    emit::emit_piece,
    messages, socket_io,
    sockets::Socket,
};
use crate::{
    maps::SCRATCH,
    state::{Buffer, Connection, FOLLOWED, FrameCursor, RESPONSES, Scratch, Walk},
};

/// Bytes of a frame's header (RFC 9113, section 4.1).
const HEADER: u64 = 9;
/// Bytes of a frame's header up to the flags.
const HEADER_READ: u64 = 5;
const PADDED: u64 = 0x8;
/// The type of the frame that begins a request, or a response (or its trailers).
const HEADERS: u64 = 0x1;
/// Bits of the length of the longest payload of a frame other than DATA that is taken for one.
const PLAUSIBLE_BITS: u64 = 18;

/// The beginning of what a client sends first (RFC 9113, section 3.4), as a word in memory.
const PREFACE: u64 = u64::from_le_bytes(*b"PRI * HT");
const PREFACE_LEN: u64 = 24;
/// What a server sends first: the header of a SETTINGS frame, but for the last byte of its length.
const SETTINGS: u64 = 0x04 << 24;
const SETTINGS_LEN: u64 = 0xff << 16;

/// A bound for the verifier on where in the captured bytes something lies.
const MASK: u64 = HEAD_MAX as u64 - 1;

impl FrameCursor {
    /// At the beginning of a frame.
    pub const BETWEEN: Self = Self { left: 0, data: 0, kind: FRAMES_OF_HTTP2 as u8, have: 0, word: 0 };
    /// At the beginning of a message of HTTP/1.
    pub const BEFORE_MESSAGE: Self = Self { kind: MESSAGES as u8, ..Self::BETWEEN };

    /// What is followed.
    #[inline(always)]
    fn what(&self) -> u64 {
        u64::from(self.kind) & MESSAGES
    }

    /// At the beginning of a frame, in a direction that stood here when its place was lost.
    #[inline(always)]
    fn found_again(&self) -> Self {
        const MOST: u8 = u8::MAX >> 1;
        let found = (self.kind >> 1) % MOST + 1;
        Self { kind: found << 1, ..Self::BETWEEN }
    }

    /// Within a message of HTTP/1.
    #[inline(always)]
    pub(super) fn in_message(left: u64, have: u64, word: u64) -> Self {
        Self { left: left as u32, data: u8::from(left > 0), kind: MESSAGES as u8, have: have as u16, word }
    }
}

impl Walk {
    /// From here on all of the piece is to be copied.
    #[inline(always)]
    pub(super) fn take_all(&self) {
        self.kind.set(WHOLE);
        self.found.set(0);
        self.left.set(u32::MAX.into());
        self.data.set(0);
    }
}

/// See [`Walk`].
const FRAMES_OF_HTTP2: u64 = 0;
/// Messages of HTTP/1.
const MESSAGES: u64 = 1;
/// Nothing: all of the piece is to be copied.
const WHOLE: u64 = 2;
/// The same, and the ring had no room for some of it.
const LOST_PART: u64 = 3;

/// The walk is over: all of the piece was reached.
pub const DONE: u32 = 0;
/// The walk is over: the rest of the piece cannot be made out.
pub const LOST: u32 = 1;
/// There is more to walk.
pub const MORE: u32 = 2;

/// Whether the first piece of a direction, of which `len` bytes were copied, begins an HTTP/2 connection.
#[inline(always)]
pub fn begin(scratch: *mut Scratch, len: u64) -> bool {
    if len < HEADER {
        return false;
    }
    // SAFETY: within the payload, which is aligned.
    let word = |at: usize| unsafe { (&raw const (*scratch).payload).cast::<u64>().add(at).read() };
    let first = word(0);
    // The rest may come with the next piece, and nothing else begins like this.
    if first == PREFACE {
        return true;
    }
    first & !SETTINGS_LEN == SETTINGS && word(1) & 0xff == 0 && (first >> 16 & 0xff) % 6 == 0
}

/// Whether a piece of an HTTP/2 connection, of which `len` bytes were copied, begins with a HEADERS frame: one with a whole
/// block, as all but the largest are, so that a payload hardly ever looks like it.
#[inline(always)]
pub fn resume(scratch: *mut Scratch, len: u64) -> bool {
    if len < HEADER {
        return false;
    }
    // SAFETY: within the payload, which is aligned.
    let word = |at: usize| unsafe { (&raw const (*scratch).payload).cast::<u64>().add(at).read() };
    let (first, last) = (word(0), word(1));
    // Length below 2^16 and the type; END_HEADERS and no flag without a meaning (section 6.2); a client's stream.
    first & 0xff == 0 && first >> 24 & 0xff == 1 && first >> 32 & 0xd6 == 4 && first >> 40 & 0x80 == 0 && last & 1 == 1
}

/// Which directions responses take, a bit for each, as a connection's beginning in this one shows.
#[inline(always)]
pub(super) fn responses(scratch: *mut Scratch, direction: u32) -> u32 {
    // SAFETY: as above.
    let first = unsafe { (&raw const (*scratch).payload).cast::<u64>().read() };
    if first == PREFACE {
        2 >> (direction & 1)
    } else if first & !SETTINGS_LEN == SETTINGS {
        1 << (direction & 1)
    } else {
        0
    }
}

/// Where the direction stands that goes on, or begins, with these bytes, and stood there before.
#[inline(always)]
pub(super) fn beginning(scratch: *mut Scratch, before: FrameCursor) -> FrameCursor {
    // SAFETY: per-CPU memory; the payload is aligned.
    let (first, position) =
        unsafe { ((&raw const (*scratch).payload).cast::<u64>().read(), (*scratch).header.position) };
    if position != 0 {
        return before.found_again();
    }
    FrameCursor { left: if first == PREFACE { PREFACE_LEN as u32 } else { 0 }, ..FrameCursor::BETWEEN }
}

/// Prepares the walk over a piece, in a direction that stands there. `false` if its bytes cannot be read. The record's
/// header has to be put in place, too.
#[inline(always)]
pub fn prepare<S: Socket>(scratch: *mut Scratch, socket: S, stand: FrameCursor, buffer: Buffer, len: u64) -> bool {
    let Some(memory) = buffer.memory(len) else { return false };
    prepare_memory(scratch, socket, stand, memory, len);
    true
}

/// The same, for a piece whose memory is known.
#[inline(always)]
pub fn prepare_memory<S: Socket>(scratch: *mut Scratch, socket: S, stand: FrameCursor, memory: Memory, len: u64) {
    // SAFETY: per-CPU memory that no other program uses meanwhile.
    let walk = unsafe { &(*scratch).walk };
    let Memory { at, len: here, iov, count } = memory;
    walk.socket.set(socket.address());
    walk.inode.set(socket.inode());
    walk.at.set(at);
    walk.here.set(here);
    walk.iov.set(iov);
    walk.iov_left.set(count);
    walk.rest.set(len);
    walk.head.set(0);
    walk.walked.set(0);
    walk.skipped.set(0);
    walk.strange.set(0);
    walk.kind.set(stand.what());
    walk.is_copied.set(0);
    walk.has_head.set(0);
    walk.lost.set(0);
    walk.window.set(WINDOW.into());
    walk.left.set(stand.left.into());
    walk.data.set(u64::from(stand.data) & 1);
    walk.torn.set(u64::from(stand.data) >> 1);
    walk.have.set(stand.have.into());
    walk.word.set(stand.word);
    walk.content.set(0);
    walk.first.set(Frames::NONE.into());
    walk.found.set(((u64::from(stand.kind) >> 1) + 1) << Frames::FOUND_SHIFT);
}

/// Of the piece that was prepared, so many bytes of DATA payloads are wanted as user space has asked for; and of what a client sends
/// first, so that its first request is known for what it is.
#[inline(always)]
pub fn wants(scratch: *mut Scratch, connection: &Connection, side: usize) {
    let side = side & 1;
    let asked = u64::from(connection.capture.grown[side]) * u64::from(GROWN_UNIT);
    let sends_requests = u64::from(connection.flags / RESPONSES) & side as u64;
    // All ones as long as there were only so many pieces.
    let is_first = opaque((u64::from(connection.pieces).wrapping_sub(FIRST_PIECES.into()) as i64 >> 63) as u64);
    let first = (sends_requests * u64::from(GROWN_UNIT)) & is_first;
    // SAFETY: per-CPU memory that no other program of this direction uses meanwhile.
    unsafe { (*scratch).walk.content.set(asked | first) };
}

/// The same, for a piece that is no HTTP/2, all of which is wanted: as the payload of a frame without an end.
#[inline(always)]
pub fn prepare_whole<S: Socket>(scratch: *mut Scratch, socket: S, buffer: Buffer, len: u64) -> bool {
    let stand = FrameCursor { left: u32::MAX, ..FrameCursor::BETWEEN };
    let prepared = prepare(scratch, socket, stand, buffer, len);
    // SAFETY: per-CPU memory that no other program of this direction uses meanwhile.
    let walk = unsafe { &(*scratch).walk };
    walk.kind.set(WHOLE);
    walk.found.set(0);
    prepared
}

/// Of the piece that was prepared, so many bytes have been copied.
#[inline(always)]
pub fn has_copied(scratch: *mut Scratch, len: u64) {
    // SAFETY: per-CPU memory that no other program of this direction uses meanwhile.
    let walk = unsafe { &(*scratch).walk };
    walk.head.set(len);
    walk.is_copied.set(1);
}

/// A piece moved whose bytes cannot be read. `true` if the direction's place is still known: all were DATA.
#[inline(always)]
pub fn pass(stand: &mut FrameCursor, len: u32) -> bool {
    if stand.data == 0 || stand.left < len {
        return false;
    }
    stand.left -= len;
    true
}

/// Walks on over the piece that was prepared for this direction, a few steps. If the answer is `MORE`, the program is to
/// call itself; when that cannot be, or for any other answer, [`finish`].
#[inline(always)]
pub fn walk(direction: u32) -> u32 {
    SCRATCH.get_ptr_mut(direction & 1).map_or(LOST, walk_in)
}

/// The same, for the piece that was prepared there.
#[inline(always)]
pub fn walk_in(scratch: *mut Scratch) -> u32 {
    // SAFETY: per-CPU memory that no other program uses meanwhile.
    let walk = unsafe { &(*scratch).walk };
    if walk.kind.get() == MESSAGES {
        return messages::walk(walk, scratch);
    }
    let mut i = 0;
    while i < u64::from(STEPS) {
        if walk.walked.get() == walk.head.get() {
            if walk.rest.get() == 0 {
                return DONE;
            }
            if !advance(walk, scratch) {
                return LOST;
            }
        }
        if !parse(walk, scratch) {
            return LOST;
        }
        i += 1;
    }
    MORE
}

/// Records what is left of the piece, and where the direction stands.
#[inline(always)]
pub fn finish<S: Socket>(direction: u32, outcome: u32, socket: impl Fn(&Walk) -> S) -> Option<()> {
    finish_in(SCRATCH.get_ptr_mut(direction & 1)?, direction, outcome, socket)
}

/// The same, for the piece that was prepared there.
#[inline(always)]
pub fn finish_in<S: Socket>(
    scratch: *mut Scratch,
    direction: u32,
    outcome: u32,
    socket: impl Fn(&Walk) -> S,
) -> Option<()> {
    let side = (direction & 1) as usize;
    // SAFETY: per-CPU memory that no other program uses meanwhile.
    let walk = unsafe { &(*scratch).walk };
    // SAFETY: state of a live connection.
    let connection = unsafe { &mut *socket(walk).connection()? };
    if walk.kind.get() == MESSAGES {
        return messages::finish(walk, scratch, connection, direction, outcome);
    }
    let rest = walk.rest.get();
    if walk.kind.get() != FRAMES_OF_HTTP2 {
        if connection.frames[side].what() == MESSAGES {
            // The messages of which this piece is could not be followed through it.
            connection.flags &= !(FOLLOWED << side);
        }
        // What was not reached is left out.
        let recorded = emit_walked(walk, scratch, rest, 0);
        if walk.kind.get() == LOST_PART {
            socket_io::count_request(connection, direction);
        }
        return recorded;
    }
    if connection.flags & (FOLLOWED << (1 - side)) == 0 {
        cold_path();
        // What comes the other way next begins a turn.
        connection.last_direction = direction as u8;
    }
    if outcome == DONE {
        let (left, data) = (walk.left.get() as u32, (walk.data.get() & 1 | walk.torn.get() << 1) as u8);
        let (have, word) = (walk.have.get() as u16, walk.word.get());
        connection.frames[side] =
            FrameCursor { left, data, have, word, kind: connection.frames[side].kind & !(MESSAGES as u8) };
    } else {
        // The place is lost: what was not reached shows as a gap, and from here on pieces are recorded as any others.
        connection.flags &= !(FOLLOWED << side);
        walk.found.set(0);
    }
    let recorded = emit_walked(walk, scratch, rest, if rest > 0 { flags::FAULT } else { 0 });
    if recorded.is_none() {
        cold_path();
        connection.frames[side].data |= (walk.torn.get() << 1) as u8;
    }
    if walk.lost.get() != 0 {
        cold_path();
        socket_io::count_requests(connection, direction, walk.lost.get());
    }
    recorded
}

/// Leaves out the next bytes, or copies them.
#[inline(always)]
fn advance(walk: &Walk, scratch: *mut Scratch) -> bool {
    if walk.here.get() == 0 && !next_buffer(walk) {
        return false;
    }
    let left = walk.left.get();
    if walk.data.get() != 0
        && left != 0
        && (left > LONG_DATA.into() && walk.content.get() == 0 || walk.skipped.get() > 0)
    {
        let len = smallest(left, walk.here.get(), walk.rest.get());
        walk.left.take(len);
        walk.skipped.add(len);
        moved(walk, len);
        walk.window.set(WINDOW.into());
        if walk.here.get() == 0 || walk.rest.get() == 0 {
            return true;
        }
    }
    let head = walk.head.get();
    if walk.skipped.get() > 0 || head > u64::from(HEAD_MAX - WINDOW) {
        // Where the ring is full, the gap shows in the positions.
        let _counted = emit_walked(walk, scratch, 0, 0);
    }
    let head = walk.head.get();
    let room_left = u64::from(HEAD_MAX).wrapping_sub(head);
    let len = least(smallest(walk.window.get(), walk.here.get(), walk.rest.get()), room_left);
    let len = opaque(len) & MASK;
    if !read_user(room(scratch, opaque(head) & MASK), len, walk.at.get()) {
        count(Counter::LostReadFault);
        return false;
    }
    walk.head.set(head + len);
    walk.window.set(WINDOW_MAX.into());
    walk.content.take(least(len, walk.content.get()));
    moved(walk, len);
    true
}

/// Goes forward in the process's memory.
#[inline(always)]
fn moved(walk: &Walk, len: u64) {
    walk.at.add(len);
    walk.here.take(len);
    walk.rest.take(len);
}

/// Goes on to the next of an array of buffers; empty ones count as a step each.
#[inline(always)]
pub(super) fn next_buffer(walk: &Walk) -> bool {
    if walk.iov_left.get() == 0 {
        return false;
    }
    let Some([base, len]) = read_user_value::<[u64; 2]>(walk.iov.get()) else {
        count(Counter::LostReadFault);
        return false;
    };
    walk.at.set(base);
    walk.here.set(len);
    walk.iov.add(16);
    walk.iov_left.take(1);
    true
}

/// Walks the bytes that were copied last, as many frames as a step takes. `false` if they are no frames.
///
/// Without branches but for its ends: each would double the paths that the verifier follows.
#[inline(always)]
fn parse(walk: &Walk, scratch: *mut Scratch) -> bool {
    frame(walk, walk.walked.get(), walk.left.get());
    let have = walk.have.get();
    if have > 0 {
        absorb(walk, scratch, HEADER - have);
        if walk.have.get() == HEADER {
            let word = walk.word.get();
            walk.have.set(0);
            walk.word.set(0);
            let before = walk.has_head.get();
            begin_frame(walk, walk.walked.get(), word);
            // One of which user space misses the beginning is lost, whatever becomes of the rest.
            let lost = walk.has_head.get().wrapping_sub(before) & walk.torn.get();
            walk.has_head.take(lost);
            walk.lost.add(lost);
            walk.torn.set(0);
        }
    }
    let mut i = 0;
    while i < u64::from(STEP_FRAMES) {
        let at = walk.walked.get();
        // No whole header is there, or not the whole payload before it.
        let short = walk.head.get().wrapping_sub(at.wrapping_add(HEADER)) | walk.left.get().wrapping_neg();
        if (short as i64) < 0 {
            break;
        }
        begin_frame(walk, at.wrapping_add(HEADER), word(scratch, at));
        i += 1;
    }
    if walk.strange.get() != 0 {
        return false;
    }
    if walk.left.get() == 0 && walk.head.get() < walk.walked.get().wrapping_add(HEADER) {
        absorb(walk, scratch, HEADER);
    }
    true
}

/// A frame with the header whose first bytes are `word` has its payload at `at`.
#[inline(always)]
fn begin_frame(walk: &Walk, at: u64, word: u64) {
    let len = (word & 0xff) << 16 | word & 0xff00 | word >> 16 & 0xff;
    // How much of a DATA frame is padding only its payload tells; there hardly are any.
    let other = word >> 24 & (0xff | PADDED << 8);
    let data = other.wrapping_sub(1) >> 63;
    walk.data.set(data);
    walk.has_head.add((word >> 24 & 0xff ^ HEADERS).wrapping_sub(1) >> 63);
    // Not one whose header began in another record.
    walk.first.set(least(walk.first.get(), at.wrapping_sub(HEADER) & u64::from(Frames::NONE)));
    walk.strange.set(walk.strange.get() | (len >> PLAUSIBLE_BITS & data.wrapping_sub(1)));
    frame(walk, at, len);
}

/// Walks over what was copied of the `len` bytes of a payload at `at`.
#[inline(always)]
fn frame(walk: &Walk, at: u64, len: u64) {
    let here = least(len, walk.head.get().wrapping_sub(at));
    walk.left.set(len.wrapping_sub(here));
    walk.walked.set(at.wrapping_add(here));
}

/// Takes up to `most` bytes of a header that is not copied as a whole.
#[inline(always)]
fn absorb(walk: &Walk, scratch: *mut Scratch, most: u64) {
    let at = walk.walked.get();
    let have = walk.have.get();
    // Where a frame begins of which not even all of the header is there.
    let begins = at | (have.wrapping_neg() >> 63).wrapping_neg();
    walk.first.set(least(walk.first.get(), begins & u64::from(Frames::NONE)));
    let len = least(most, walk.head.get().wrapping_sub(at));
    // Beyond the fifth nothing is kept; beyond `len` nothing is there.
    let fresh = word(scratch, at) & !(u64::MAX << ((8 * least(len, HEADER_READ)) & 63));
    walk.word.set(walk.word.get() | fresh << ((8 * least(have, HEADER_READ)) & 63));
    walk.have.set(have.wrapping_add(len));
    walk.walked.set(at.wrapping_add(len));
}

/// Five of the bytes that were copied.
#[inline(always)]
fn word(scratch: *mut Scratch, at: u64) -> u64 {
    let from = room(scratch, opaque(at) & MASK);
    let mut word = 0;
    for k in 0..HEADER_READ {
        // SAFETY: the verifier proves that it lies within the payload.
        word |= u64::from(unsafe { from.add(k as usize).read_volatile() }) << (8 * k);
    }
    word
}

/// Records what was copied and what was left out after it, and `more` bytes that were not reached.
#[inline(always)]
fn emit_walked(walk: &Walk, scratch: *mut Scratch, more: u64, why: u32) -> Option<()> {
    let head = walk.head.get();
    let len = head + walk.skipped.get() + more;
    walk.head.set(0);
    walk.walked.set(0);
    walk.skipped.set(0);
    // SAFETY: per-CPU memory that no other program uses meanwhile.
    let header: &mut Data = unsafe { &mut (*scratch).header };
    let seen = if is_plaintext(header.conn) { flags::TLS } else { 0 };
    (header.len, header.flags) = (len as u32, seen | why);
    // A first piece was put together as any other before it was known to be one, with a tail where it is long.
    (header.head_len, header.tail_len) = (head as u16, 0);
    let found = walk.found.get();
    header.frames = (found | walk.first.get() & (found.wrapping_neg() as i64 >> 63) as u64) as u32;
    let recorded = emit_piece(scratch, head);
    if recorded.is_none() {
        walk.lost.add(walk.has_head.get());
        walk.torn.set(walk.torn.get() | walk.have.get().wrapping_neg() >> 63);
        if walk.kind.get() != FRAMES_OF_HTTP2 {
            walk.kind.set(LOST_PART);
        }
    }
    walk.has_head.set(0);
    walk.first.set(Frames::NONE.into());
    header.position += len;
    recorded
}

#[inline(always)]
fn smallest(a: u64, b: u64, c: u64) -> u64 {
    let least = if a < b { a } else { b };
    if least < c { least } else { c }
}
