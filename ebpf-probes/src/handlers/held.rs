//! Pieces in the midst of a long turn, of which nothing is captured but the last bytes: they are held back, and told together, as one
//! piece with the time and the last bytes of the last of them, so that an answer of a gigabyte takes as many records as one of a megabyte.
//!
//! Never held back is a piece with which an answer may end, as user space says by its last bytes ([`ENDINGS`]), and what comes right behind
//! it: where the next answer begins. Nor is a piece that is shorter than what is told of one. What is held is told before whatever is told next of the connection, in either direction, or that it
//! ends; and a second after the first of it at the latest, if more comes. Where a piece that is held turns out to be the last of an answer
//! all the same, that is when it is told, with the time at which it moved: by its last bytes nobody would have known sooner.
//!
//! It waits in one of a few places, which connections share: whose is taken tells each piece by itself. Programs on several processors
//! may want the same place at once: each claims it, as in [`scratch`](super::scratch), and does without where it is not alone.

use core::{arch::asm, hint::cold_path};

use aya_ebpf::bindings::BPF_RB_NO_WAKEUP;
use ebpf_common::{
    capture::{ENDING_WORDS, ENDINGS_MAX, ENDINGS_SHIFT},
    events::{Data, flags},
    limits::{HELD_BITS, LATER_HEAD, MERGED_MAX, MERGED_NS, SMALL_PIECE, TAIL_MAX},
};

use super::{
    capture::{opaque, room},
    emit::emit_bytes,
    messages::load,
};
use crate::{
    globals::ENDINGS,
    maps::HELD_PIECES,
    state::{Connection, HELD_BACK, Held, MIDST, Scratch, TURN},
};

/// Times that a place is tried to be claimed.
const TRIES: u32 = 8;
/// A bound for the verifier on where in what was copied the last bytes of a piece stand.
const MASK: u64 = SMALL_PIECE as u64 - 1;
const _: () = assert!(SMALL_PIECE.is_power_of_two() && LATER_HEAD + TAIL_MAX < SMALL_PIECE);
const _: () = assert!(ENDINGS_MAX == (1 << ENDINGS_SHIFT >> 1) - 1 && TAIL_MAX.is_multiple_of(8));
/// What is told: a record, and the last bytes behind it.
const TOLD: u64 = (size_of::<Data>() + TAIL_MAX as usize) as u64;

/// Whether the piece that was put together in `scratch` is not to be told now. If it is, what was held back before it has been told.
/// `is_any`: nothing is known to begin with it.
///
/// Not within its callers, whose stack is full.
#[inline(never)]
pub fn holds_back(scratch: *mut Scratch, connection: &mut Connection, side: u32, is_any: bool) -> bool {
    let side = (side & 1) as usize;
    // The other direction's turn is over.
    let_go(connection, 1 - side);
    // SAFETY: per-CPU memory.
    let header: &Data = unsafe { &(*scratch).header };
    let (len, flags, run) = (header.len, header.flags, connection.runs[side]);
    let (head_len, tail_len) = (u32::from(header.head_len), u32::from(header.tail_len));
    // Small ones too, all of which was copied, but only behind others.
    let is_long = head_len == LATER_HEAD && tail_len == TAIL_MAX;
    let is_small = run != 0 && head_len == len && head_len >= TAIL_MAX && head_len <= SMALL_PIECE;
    let is_wanted = !is_any || connection.flags & TURN != 0 || flags & !flags::TLS != 0;
    let set = usize::from(connection.capture.endings >> (side as u32 * ENDINGS_SHIFT)) & ENDINGS_MAX;
    let at = u64::from(head_len + tail_len).wrapping_sub(TAIL_MAX.into());
    if !(is_long || is_small) || is_wanted || set == 0 || may_end(scratch, at, set) {
        let_go(connection, side);
        return false;
    }
    if run == 0 {
        connection.runs[side] = MIDST;
        return false;
    }
    if hold(scratch, connection, at) {
        // Not before: whoever tells it has taken this back by then.
        connection.runs[side] = HELD_BACK;
        return true;
    }
    let_go(connection, side);
    connection.runs[side] |= MIDST;
    false
}

/// Tells what is held back of a connection, if anything is.
#[inline(always)]
pub fn let_go_all(connection: &mut Connection) {
    if connection.runs != [0; 2] {
        cold_path();
        connection.runs = [0; 2];
        let _told_or_not = tell_held(connection.id);
    }
}

/// The same where it is of one direction, whose turn is over.
#[inline(always)]
fn let_go(connection: &mut Connection, side: usize) {
    let run = connection.runs[side & 1];
    connection.runs[side & 1] = 0;
    if run & HELD_BACK != 0 && tell_held(connection.id) == BUSY {
        connection.runs[side & 1] = HELD_BACK;
    }
}

/// Answers of [`tell_held`].
const NONE: u32 = 0;
const TOLD_NOW: u32 = 1;
/// Others claim the place for longer than it takes.
const BUSY: u32 = 2;

/// Tells what is held back of the connection of that identity.
///
/// A function of its own, which is exported so that the verifier follows it by itself: see `meet::meet_process`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tell_held(conn: u64) -> u32 {
    let Some(place) = place_of(conn) else { return NONE };
    if owner(place) != conn {
        return NONE;
    }
    if !claim(place) {
        return BUSY;
    }
    let is_there = owner(place) == conn;
    if is_there {
        tell(place);
    }
    release(place);
    if is_there { TOLD_NOW } else { NONE }
}

/// Holds back the piece in `scratch`, whose last bytes stand at `at`; `false` where there is no place for it.
#[inline(always)]
fn hold(scratch: *mut Scratch, connection: &Connection, at: u64) -> bool {
    let conn = connection.id;
    let Some(place) = place_of(conn) else { return false };
    if !claim(place) {
        return false;
    }
    // SAFETY: per-CPU memory, and a value of the map that this program has claimed.
    let (header, held) = unsafe { (&(*scratch).header, &mut *place) };
    let before = &mut held.record;
    let (position, len, owner) = (before.position, before.len, before.conn);
    let goes_on = owner == conn
        && before.direction == header.direction
        && position.wrapping_add(len.into()) == header.position
        && u64::from(len) + u64::from(header.len) <= MERGED_MAX.into()
        && header.at_ns.wrapping_sub(held.since_ns) < MERGED_NS;
    if !goes_on && owner != 0 {
        // Another connection's, of which more may come; else it may be gone.
        if owner != conn && header.at_ns.wrapping_sub(before.at_ns) < MERGED_NS {
            release(place);
            return false;
        }
        tell(place);
    }
    for word in 0..size_of::<Data>() / 8 {
        // Word by word: the stack has no room for a copy.
        // SAFETY: within the records, which are aligned.
        unsafe {
            let value = (&raw const *header).cast::<u64>().add(word).read_volatile();
            (&raw mut *before).cast::<u64>().add(word).write_volatile(value);
        }
    }
    (before.head_len, before.tail_len) = (0, TAIL_MAX as u16);
    if goes_on {
        before.position = position;
        before.len = len.wrapping_add(header.len);
    } else {
        held.since_ns = header.at_ns;
    }
    let from = room(scratch, opaque(at) & MASK);
    for word in 0..TAIL_MAX as usize / 8 {
        // SAFETY: within the payload, and within the value, which is aligned.
        unsafe { (&raw mut held.tail).cast::<u64>().add(word).write(load(from.add(word * 8))) };
    }
    release(place);
    true
}

/// Tells what is held at a place that was claimed. Where the ring is full, the gap shows in the positions. No more of the ring is taken
/// by it than by what it stands for, so that nobody asks whose share that is.
#[inline(always)]
fn tell(place: *mut Held) {
    let _counted = emit_bytes(place.cast(), TOLD, BPF_RB_NO_WAKEUP.into());
    // SAFETY: a value of the map that this program has claimed.
    unsafe { (&raw mut (*place).record.conn).write_volatile(0) }
}

/// Whether an answer may end with the piece in `scratch`, whose last bytes stand at `at`, as a set of endings says.
#[inline(always)]
fn may_end(scratch: *mut Scratch, at: u64, set: usize) -> bool {
    // SAFETY: within the payload.
    let last = load(unsafe { room(scratch, opaque(at) & MASK).add(TAIL_MAX as usize - 8) });
    let (first, second) = (last as u32, (last >> 32) as u32);
    let word = |at: usize| ENDINGS[(set & ENDINGS_MAX) * ENDING_WORDS + at].load();
    let is = |at: usize| (first & word(at + 2) ^ word(at)) | (second & word(at + 3) ^ word(at + 1)) == 0;
    is(0) || is(4)
}

/// Where pieces of a connection of that identity wait.
#[inline(always)]
fn place_of(conn: u64) -> Option<*mut Held> {
    // The golden ratio spreads numbers that follow each other.
    const SPREAD: u64 = 0x9e37_79b9_7f4a_7c15;
    HELD_PIECES.get_ptr_mut((conn.wrapping_mul(SPREAD) >> (u64::BITS - HELD_BITS)) as u32)
}

/// The connection whose pieces wait there; 0 for none.
#[inline(always)]
fn owner(place: *mut Held) -> u64 {
    // SAFETY: a value of the map.
    unsafe { (&raw const (*place).record.conn).read_volatile() }
}

/// Claims a place, which has to be [released](release) then.
///
/// Whoever counts one claim, its own, has it: everybody claims before looking. Others keep it for as long as a record takes to be written.
#[inline(always)]
fn claim(place: *mut Held) -> bool {
    let mut i = 0;
    while i < TRIES {
        add(place, 1);
        // SAFETY: a value of the map.
        if unsafe { (&raw const (*place).claims).read_volatile() } == 1 {
            return true;
        }
        add(place, -1);
        i += 1;
    }
    cold_path();
    false
}

/// Gives a place back.
#[inline(always)]
fn release(place: *mut Held) {
    add(place, -1);
}

/// Adds to the number of claims, see `scratch::add`.
#[inline(always)]
fn add(place: *mut Held, value: i64) {
    // SAFETY: an aligned word of the map.
    unsafe {
        let claims = &raw mut (*place).claims;
        asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) claims, in(reg) value, options(nostack));
    }
}
