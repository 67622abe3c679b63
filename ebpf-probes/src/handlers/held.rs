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

use aya_ebpf::{bindings::BPF_RB_NO_WAKEUP, helpers::bpf_get_current_pid_tgid};
use ebpf_common::{
    capture::{ENDING_WORDS, ENDINGS_MAX, ENDINGS_SHIFT},
    events::{Data, flags},
    limits::{HELD_BITS, LATER_HEAD, MERGED_MAX, MERGED_NS, SMALL_PIECE, TAIL_MAX},
};

use super::{
    capture::{opaque, room},
    emit::emit_bytes,
    messages::load,
    scratch,
};
use crate::{
    globals::ENDINGS,
    maps::{HELD_PIECES, SCRATCH},
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
/// Not within its callers, whose stack is full: they leave 64 bytes to it and all that it calls, and kernels before 6.9 count at least 32 for
/// each. So what it does stands in functions of their own, one behind the other.
#[inline(never)]
pub fn holds_back(scratch: *mut Scratch, connection: &mut Connection, side: u32, is_any: bool) -> bool {
    // The compiler knows that it is one or the other, older verifiers forget it.
    let side = (opaque(side.into()) & 1) as usize;
    // The other direction's turn is over.
    let_go(connection, side ^ 1);
    if !is_any || !may_wait(scratch, connection, side as u32) {
        let_go(connection, side);
        return false;
    }
    if connection.runs[side] == 0 {
        connection.runs[side] = MIDST;
        return false;
    }
    // SAFETY: per-CPU memory.
    let is_tls = unsafe { (*scratch).header.flags } & flags::TLS;
    let mut held = hold_piece(side as u32, is_tls);
    if held == TAKEN {
        tell_held(connection.id, 1);
        held = hold_piece(side as u32, is_tls);
    }
    if held == HOLDS {
        // Not before: whoever tells it has taken this back by then.
        connection.runs[side] = HELD_BACK;
        return true;
    }
    let_go(connection, side);
    connection.runs[side] |= MIDST;
    false
}

/// Whether the piece in `scratch` is one in the midst of a long turn, with which no answer ends.
#[inline(never)]
fn may_wait(scratch: *mut Scratch, connection: &Connection, side: u32) -> bool {
    // SAFETY: per-CPU memory.
    let header: &Data = unsafe { &(*scratch).header };
    let (head_len, tail_len) = (u32::from(header.head_len), u32::from(header.tail_len));
    // Small ones too, all of which was copied, but only behind others.
    let is_long = head_len == LATER_HEAD && tail_len == TAIL_MAX;
    let side = opaque(side.into()) & 1;
    let has_run = connection.runs[side as usize] != 0;
    let is_small = has_run && head_len == header.len && (TAIL_MAX..=SMALL_PIECE).contains(&head_len);
    let set = usize::from(connection.capture.endings >> (side as u32 * ENDINGS_SHIFT)) & ENDINGS_MAX;
    (is_long || is_small)
        && set != 0
        && connection.flags & TURN == 0
        && header.flags & !flags::TLS == 0
        && !may_end(scratch, tail_at(header), set)
}

/// Where in what was copied the last bytes of such a piece stand.
#[inline(always)]
fn tail_at(header: &Data) -> u64 {
    opaque((u64::from(header.head_len) + u64::from(header.tail_len)).wrapping_sub(TAIL_MAX.into())) & MASK
}

/// Tells what is held back of a connection, if anything is.
#[inline(always)]
pub fn let_go_all(connection: &mut Connection) {
    if connection.runs != [0; 2] {
        cold_path();
        connection.runs = [0; 2];
        let _told_or_not = tell_held(connection.id, 0);
    }
}

/// The same where it is of one direction, whose turn is over.
#[inline(always)]
fn let_go(connection: &mut Connection, side: usize) {
    let run = connection.runs[side & 1];
    connection.runs[side & 1] = 0;
    if run & HELD_BACK != 0 && tell_held(connection.id, 0) == BUSY {
        connection.runs[side & 1] = HELD_BACK;
    }
}

/// Answers of [`tell_held`].
const NONE: u32 = 0;
const TOLD_NOW: u32 = 1;
/// Others claim the place for longer than it takes.
const BUSY: u32 = 2;

/// Tells what is held back of the connection of that identity; or, if `whoever` is not 0, of whichever has its place.
///
/// A function of its own, which is exported so that the verifier follows it by itself: see `meet::meet_process`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn tell_held(conn: u64, whoever: u32) -> u32 {
    let Some(place) = place_of(conn) else { return NONE };
    let is_it = |owner: u64| owner == conn || (whoever != 0 && owner != 0);
    if !is_it(owner(place)) {
        return NONE;
    }
    if !claim(place) {
        return BUSY;
    }
    let is_there = is_it(owner(place));
    if is_there {
        tell(place);
    }
    release(place);
    if is_there { TOLD_NOW } else { NONE }
}

/// Answers of [`hold_piece`].
const HOLDS: u32 = 0;
/// There is no place for it.
const NOWHERE: u32 = 1;
/// What is there is to be told before.
const TAKEN: u32 = 2;

/// Holds back the piece that was put together of this direction, or of plaintext for the current thread.
///
/// A function of its own, which is exported so that the verifier follows it by itself: see `meet::meet_process`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn hold_piece(side: u32, is_tls: u32) -> u32 {
    let scratch =
        if is_tls == 0 { SCRATCH.get_ptr_mut(side & 1) } else { scratch::claimed(bpf_get_current_pid_tgid()) };
    let Some(scratch) = scratch else { return NOWHERE };
    // SAFETY: per-CPU memory.
    let header: &Data = unsafe { &(*scratch).header };
    let Some(place) = place_of(header.conn) else { return NOWHERE };
    if !claim(place) {
        return NOWHERE;
    }
    // SAFETY: a value of the map that this program has claimed.
    let held = unsafe { &mut *place };
    let before = &mut held.record;
    let is_own = before.conn == header.conn;
    let is_recent = header.at_ns.wrapping_sub(if is_own { held.since_ns } else { before.at_ns }) < MERGED_NS;
    let goes_on = is_own
        && is_recent
        && before.direction == header.direction
        && before.position.wrapping_add(before.len.into()) == header.position
        && u64::from(before.len) + u64::from(header.len) <= MERGED_MAX.into();
    if !goes_on && before.conn != 0 {
        // Of another connection more may come; else it may be gone.
        let is_others = !is_own && is_recent;
        release(place);
        return if is_others { NOWHERE } else { TAKEN };
    }
    let (position, len) = if goes_on { (before.position, before.len) } else { (header.position, 0) };
    if !goes_on {
        held.since_ns = header.at_ns;
    }
    for word in 0..size_of::<Data>() / 8 {
        // Word by word: the stack has no room for a copy.
        // SAFETY: within the records, which are aligned.
        unsafe {
            let value = (&raw const *header).cast::<u64>().add(word).read_volatile();
            (&raw mut *before).cast::<u64>().add(word).write_volatile(value);
        }
    }
    before.position = position;
    before.len = len.wrapping_add(header.len);
    (before.head_len, before.tail_len) = (0, TAIL_MAX as u16);
    let from = room(scratch, tail_at(header));
    for word in 0..TAIL_MAX as usize / 8 {
        // SAFETY: within the payload, and within the value, which is aligned.
        unsafe { (&raw mut held.tail).cast::<u64>().add(word).write(load(from.add(word * 8))) };
    }
    release(place);
    HOLDS
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
    let last = load(unsafe { room(scratch, at).add(TAIL_MAX as usize - 8) });
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
