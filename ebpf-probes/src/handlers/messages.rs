//! HTTP/1 requests with a body of a known length: one that stands behind such a body reaches user space wherever in a piece it
//! begins, and what reaches it of the body is its beginning, in which calls are named, and its length.
//!
//! Runs in the program that walks over frames, see `frames`: from a piece on that begins with such a request, until one ends
//! with a piece. Where a request says that its length is not known beforehand, or that its body may be left out (`Expect`),
//! pieces are recorded as any others from there on. Heads are copied whole, as far as the budget of a turn reaches.

use core::arch::asm;

use ebpf_common::{
    events::{Data, flags},
    limits::{HEAD_MAX, SCAN_STEPS, TAIL_MAX, WHOLE_MAX},
    policy::Counter,
};

use super::{
    capture::{least, opaque, read_user, room},
    counters::count,
    emit::emit_piece,
    frames::{DONE, LOST, MORE, next_buffer},
    losses, socket_io,
};
use crate::state::{Connection, FOLLOWED, FrameCursor, Scratch, TURN, Walk};

/// Where in the head of a request the next byte stands, see [`Walk::have`]: before it.
const BEFORE: u64 = 0;
/// In a line of which nothing more is wanted.
const LINE: u64 = 1;
/// At the beginning of a header line.
const LINE_BEGINS: u64 = 2;
/// Behind a CR there.
const BLANK: u64 = 3;
/// In the value of `Content-Length`.
const LENGTH: u64 = 4;
/// In the name of a header, so many bytes into [`NAMES`].
const NAME: u64 = 64;

/// Names of headers that tell of the body, each with the colon behind it.
static NAMES: [u8; 64] = *b"content-length:transfer-encoding:expect:                        ";
const CONTENT_LENGTH: u64 = 0;
const TRANSFER_ENCODING: u64 = 15;
const EXPECT: u64 = 33;

/// A bound for the verifier on where in the captured bytes something lies.
const MASK: u64 = HEAD_MAX as u64 - 1;
/// The same for a length.
const TAKE_MASK: u64 = 2 * HEAD_MAX as u64 - 1;
const TAIL_MASK: u64 = 2 * TAIL_MAX as u64 - 1;

/// Most bytes of a body that are told: of one that begins in the same piece as its head, or in the next.
const BODY_HEAD: u64 = 1024;

/// What stands behind the method in an export of spans (OTLP): as much of its body is told as of a head, since it says what the program
/// describes by itself.
const EXPORT: u64 = u64::from_ne_bytes(*b"/v1/trac");

/// A byte of every word's.
const ONES: u64 = 0x0101_0101_0101_0101;

/// Goes on through the piece at hand; the answer is as that of [`frames::walk`](super::frames::walk).
#[inline(always)]
pub(super) fn walk(walk: &Walk, scratch: *mut Scratch) -> u32 {
    if walk.head.get() == 0 {
        let (left, rest) = (walk.left.get(), walk.rest.get());
        // Of a body of which nothing has come yet, see `behind_head`.
        let wanted = if left > 0 { walk.word.get() } else { 0 };
        if left > 0 {
            walk.word.set(0);
        }
        if left >= rest {
            if wanted > 0 {
                copy_body(walk, scratch, wanted);
            }
            return DONE;
        }
        if !is_plain(walk) {
            walk.take_all();
            return MORE;
        }
        if left > 0 {
            walk.left.set(0);
            let _counted = tell(scratch, left, 0);
            pass(walk, left);
        }
        if !copy(walk, scratch) {
            return LOST;
        }
    }
    let mut i = 0;
    while i < SCAN_STEPS {
        if walk.walked.get() >= walk.head.get() || walk.strange.get() != 0 {
            return behind_copied(walk, scratch);
        }
        if step(walk, scratch) {
            return behind_head(walk, scratch);
        }
        i += 1;
    }
    MORE
}

/// Records what is left of the piece, and where its direction stands.
#[inline(always)]
pub(super) fn finish(
    walk: &Walk,
    scratch: *mut Scratch,
    connection: &mut Connection,
    direction: u32,
    outcome: u32,
) -> Option<()> {
    let side = (direction & 1) as usize;
    let (head, rest) = (walk.head.get(), walk.rest.get());
    let is_first = walk.is_copied.get() != 0;
    let is_body = walk.skipped.get() != 0;
    if !is_first {
        socket_io::turn(connection, direction);
        connection.flags &= !TURN;
    }
    let mut left = walk.left.get();
    // SAFETY: per-CPU memory that no other program uses meanwhile.
    let header: &mut Data = unsafe { &mut (*scratch).header };
    if head == 0 || is_body {
        left = left.saturating_sub(rest);
        header.tail_len = 0;
    }
    if outcome == LOST {
        header.flags |= flags::FAULT;
    }
    if is_first || walk.has_head.get() != 0 {
        connection.budget[side] = WHOLE_MAX;
    }
    // However long a head is.
    let is_within_head = walk.have.get() != BEFORE && rest <= connection.budget[side].into();
    connection.budget[side] = connection.budget[side].saturating_sub(rest as u32);
    if outcome == DONE && walk.strange.get() == 0 && (left > 0 || is_within_head) {
        connection.frames[side] = FrameCursor::in_message(left, walk.have.get(), walk.word.get());
    } else {
        connection.flags &= !(FOLLOWED << side);
    }
    let tail = u64::from(header.tail_len);
    (header.len, header.head_len) = (rest as u32, head as u16);
    let recorded = emit_piece(scratch, head + tail);
    if recorded.is_none() && is_first {
        socket_io::count_request(connection, direction);
    } else if recorded.is_none() && head > 0 && !is_body {
        let _counted = losses::lose_requests(connection.tgid, 1);
    }
    recorded
}

/// Whether the rest of the piece lies in one buffer.
#[inline(always)]
fn is_plain(walk: &Walk) -> bool {
    if walk.here.get() == 0 && !next_buffer(walk) {
        return false;
    }
    walk.here.get() >= walk.rest.get()
}

/// Goes forward in the piece.
#[inline(always)]
fn pass(walk: &Walk, len: u64) {
    walk.at.add(len);
    walk.here.take(len);
    walk.rest.take(len);
}

/// Copies the beginning of what is left of the piece, and its end.
#[inline(always)]
fn copy(walk: &Walk, scratch: *mut Scratch) -> bool {
    let (at, rest) = (walk.at.get(), walk.rest.get());
    let head = opaque(least(rest, HEAD_MAX.into())) & TAKE_MASK;
    if !read_user(room(scratch, 0), head, at) {
        count(Counter::LostReadFault);
        return false;
    }
    let tail = opaque(least(rest.wrapping_sub(head), TAIL_MAX.into())) & TAIL_MASK;
    let has_tail = read_user(room(scratch, opaque(head) & TAKE_MASK), tail, at.wrapping_add(rest).wrapping_sub(tail));
    // SAFETY: per-CPU memory that no other program uses meanwhile.
    unsafe { (*scratch).header.tail_len = if has_tail { tail as u16 } else { 0 } };
    walk.head.set(head);
    walk.walked.set(0);
    true
}

/// Copies the beginning of a body, with which the piece begins and which goes on to its end: as much as is told of it, or lies in
/// its first buffer.
#[inline(always)]
fn copy_body(walk: &Walk, scratch: *mut Scratch, wanted: u64) {
    if walk.here.get() == 0 && !next_buffer(walk) {
        return;
    }
    let len = opaque(least(least(walk.rest.get(), walk.here.get()), least(wanted, HEAD_MAX.into()))) & TAKE_MASK;
    if read_user(room(scratch, 0), len, walk.at.get()) {
        walk.head.set(len);
        walk.skipped.set(1);
    }
}

/// Records the next `len` bytes of the piece, of which the first `head` were copied and are told.
#[inline(always)]
fn tell(scratch: *mut Scratch, len: u64, head: u64) -> Option<()> {
    // SAFETY: per-CPU memory that no other program uses meanwhile.
    let header: &mut Data = unsafe { &mut (*scratch).header };
    (header.len, header.head_len, header.tail_len) = (len as u32, head as u16, 0);
    let recorded = emit_piece(scratch, head);
    if recorded.is_none() && head > 0 {
        let _counted = losses::lose_requests(header.tgid, 1);
    }
    header.position += len;
    recorded
}

/// All that was copied is part of heads, or of bodies that end in it.
#[inline(always)]
fn behind_copied(walk: &Walk, scratch: *mut Scratch) -> u32 {
    let head = walk.head.get();
    if walk.strange.get() != 0 || head >= walk.rest.get() {
        return DONE;
    }
    go_on(walk, scratch, head, head)
}

/// Records the next `len` bytes of the piece, of which the first `head` are told, and goes on behind them.
#[inline(always)]
fn go_on(walk: &Walk, scratch: *mut Scratch, len: u64, head: u64) -> u32 {
    if !is_plain(walk) {
        walk.strange.set(1);
        return DONE;
    }
    let _counted = tell(scratch, len, head);
    pass(walk, len);
    walk.head.set(0);
    MORE
}

/// A head has ended, and its body does not end within what was copied.
#[inline(always)]
fn behind_head(walk: &Walk, scratch: *mut Scratch) -> u32 {
    let (end, rest) = (walk.walked.get(), walk.rest.get());
    let next = end.wrapping_add(walk.word.get());
    walk.word.set(0);
    if next >= rest {
        walk.left.set(next.wrapping_sub(rest));
        // The head tells how long the body is.
        let told = if load(room(scratch, 5)) == EXPORT { HEAD_MAX.into() } else { BODY_HEAD };
        walk.head.set(least(walk.head.get(), end.wrapping_add(told)));
        if end >= rest {
            walk.word.set(told);
        }
        // SAFETY: per-CPU memory that no other program uses meanwhile.
        unsafe { (*scratch).header.tail_len = 0 };
        return DONE;
    }
    go_on(walk, scratch, next, end)
}

/// Takes the next bytes of a head. `true`: it has ended, and its body does not end within what was copied.
#[inline(always)]
fn step(walk: &Walk, scratch: *mut Scratch) -> bool {
    let (at, state) = (walk.walked.get(), walk.have.get());
    if state == LINE {
        to_end_of_line(walk, scratch);
        return false;
    }
    // SAFETY: within the payload.
    let byte = u64::from(unsafe { room(scratch, opaque(at) & MASK).read_volatile() });
    let letter = byte | 0x20;
    if state >= NAME {
        let index = state.wrapping_sub(NAME) & 63;
        // SAFETY: within the array.
        let due =
            u64::from(unsafe { (&raw const NAMES).cast::<u8>().add(opaque(index) as usize & 63).read_volatile() });
        if letter != due {
            // It may be the line's end.
            walk.have.set(LINE);
            return false;
        }
        walk.walked.set(at.wrapping_add(1));
        if due != b':'.into() {
            walk.have.set(state.wrapping_add(1));
        } else if index < TRANSFER_ENCODING {
            walk.have.set(LENGTH);
            walk.word.set(0);
        } else {
            walk.strange.set(1);
        }
        return false;
    }
    if state == LENGTH {
        let digit = byte.wrapping_sub(b'0'.into());
        if digit < 10 {
            let length = walk.word.get().wrapping_mul(10).wrapping_add(digit);
            walk.word.set(length);
            walk.strange.set(length >> 32);
        } else if byte == b'\n'.into() {
            walk.have.set(LINE_BEGINS);
        } else if byte != b' '.into() && byte != b'\t'.into() && byte != b'\r'.into() {
            walk.strange.set(1);
        }
        walk.walked.set(at.wrapping_add(1));
        return false;
    }
    if state == BEFORE {
        // Empty lines before a request are left out (RFC 9112, section 2.2).
        if byte != b'\r'.into() && byte != b'\n'.into() {
            walk.have.set(LINE);
        }
        walk.walked.set(at.wrapping_add(1));
        return false;
    }
    walk.walked.set(at.wrapping_add(1));
    if byte == b'\n'.into() {
        walk.have.set(BEFORE);
        walk.has_head.set(1);
        let next = at.wrapping_add(1).wrapping_add(walk.word.get());
        if next >= walk.head.get() {
            return true;
        }
        walk.word.set(0);
        walk.walked.set(next);
    } else if letter == b'c'.into() {
        walk.have.set(NAME + CONTENT_LENGTH + 1);
    } else if letter == b't'.into() {
        walk.have.set(NAME + TRANSFER_ENCODING + 1);
    } else if letter == b'e'.into() {
        walk.have.set(NAME + EXPECT + 1);
    } else if byte == b'\r'.into() && state == LINE_BEGINS {
        walk.have.set(BLANK);
    } else {
        walk.have.set(LINE);
    }
    false
}

/// Goes on to the end of the line, 32 bytes at most.
#[inline(always)]
fn to_end_of_line(walk: &Walk, scratch: *mut Scratch) {
    let mut at = walk.walked.get();
    let mut is_found = 0;
    let mut i = 0;
    while i < 4 {
        let word = load(room(scratch, opaque(at) & MASK)) ^ (ONES * b'\n' as u64);
        // The highest bit of each byte that is a line's end, perhaps of some behind it.
        let ends = word.wrapping_sub(ONES) & !word & (ONES << 7);
        // The lowest of them as the number of bytes up to it; all eight without any.
        let below = (ends & ends.wrapping_neg()).wrapping_sub(1);
        at = at.wrapping_add((below & ONES).wrapping_mul(ONES) >> 56);
        is_found = ends;
        if ends != 0 {
            break;
        }
        i += 1;
    }
    let head = walk.head.get();
    // What lies behind what was copied is of another piece.
    if is_found != 0 && at <= head {
        walk.have.set(LINE_BEGINS);
    }
    walk.walked.set(least(at, head));
}

/// Eight of the bytes that were copied.
#[inline(always)]
pub(super) fn load(from: *mut u8) -> u64 {
    let word: u64;
    // SAFETY: the verifier proves that they lie within the payload. x86-64 has no need of alignment.
    unsafe { asm!("{0} = *(u64 *)({1} + 0)", out(reg) word, in(reg) from, options(readonly, nostack)) }
    word
}
