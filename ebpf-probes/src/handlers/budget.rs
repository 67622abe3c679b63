//! How much of a piece is captured: what is left of its turn's budget.
//!
//! As long as nobody has said what a connection carries, its first turns may be all there is of it: a client that asks many questions at
//! a time, or publishes and is never answered. So all of a turn is captured of one that was met with its first byte ([`FRESH`]), as far as
//! all such connections together have not taken more than is well: then, after so many pieces, or where a beginning tells what it is, it is
//! given up, and captured as one that is older. User space says of most within the first pieces that it wants no more.

use core::mem;

use aya_ebpf::helpers::bpf_ktime_get_ns;
use ebpf_common::{
    capture::{Capture, GROWN_UNIT, begins},
    events::flags,
    limits::{
        FRESH_EVERY, FRESH_MAX, FRESH_PIECES, GROWS_BY, GROWS_MAX, HEAD_MAX, LATER_HEAD, RENEWED_EVERY, SMALL_PIECE,
        WHOLE_MAX,
    },
};

use super::{
    capture::{forget, least},
    socket_io::{first_word, turn},
    tls,
};
use crate::{
    globals::{HEAD_LIMIT, SELECTIVE, WHOLE_LIMIT},
    maps::FRESH_BYTES,
    state::{AT_FIRST, Connection, FRESH, RENEWED, RESPONDED, Scratch, TURN, UNDECIDED_YET, WHOLE},
};

/// What is captured of a connection as long as it is not known what it carries.
#[inline(always)]
pub fn at_first() -> Capture {
    Capture { head: [HEAD_LIMIT.load(); 2], ..AT_FIRST }
}

/// A connection is met with its first byte.
#[inline(always)]
pub fn begins(connection: &mut Connection) {
    // Of a process that may be left out little is recorded before that is known.
    let is_chosen = SELECTIVE.load() == 0 || connection.flags & UNDECIDED_YET == 0;
    if is_chosen && HEAD_LIMIT.load() == HEAD_MAX && WHOLE_LIMIT.load() != 0 {
        connection.flags |= FRESH | RENEWED;
        connection.capture.head = [WHOLE_MAX; 2];
    }
}

/// Whether so many bytes may be captured of a connection that may be fresh.
#[inline(always)]
pub fn affords(connection: &Connection, len: u32) -> bool {
    connection.flags & FRESH == 0 || fresh_affords(len.into()) != 0
}

/// Whether so many more bytes may be captured of connections that are fresh. Two programs at once may lose each other's bytes, which
/// makes no window larger than twice.
///
/// A function of its own, which is exported so that the verifier follows it by itself: see `meet::meet_process`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn fresh_affords(len: u64) -> u32 {
    let Some(fresh) = FRESH_BYTES.get_ptr_mut(0) else { return 0 };
    // SAFETY: the value of the map.
    let fresh = unsafe { &mut *fresh };
    // SAFETY: the helper only returns a number.
    let window = unsafe { bpf_ktime_get_ns() } >> FRESH_EVERY;
    let before = if mem::replace(&mut fresh.window, window) == window { fresh.bytes } else { 0 };
    if before >= FRESH_MAX {
        return 0;
    }
    fresh.bytes = before.wrapping_add(len);
    1
}

/// A piece comes of a connection that is fresh, or of which budgets count anew. Not within its callers, whose stack is full.
#[inline(never)]
pub fn look(scratch: *mut Scratch, connection: &mut Connection, len: u32) {
    if connection.flags & FRESH != 0 && (connection.pieces > FRESH_PIECES || fresh_affords(len.into()) == 0) {
        give_up(connection);
        return;
    }
    // SAFETY: per-CPU memory that no other program of this direction uses meanwhile.
    let now = unsafe { (*scratch).header.at_ns };
    let tick = (now >> RENEWED_EVERY) as u8;
    if mem::replace(&mut connection.renewed, tick) == tick {
        return;
    }
    renew(connection, 0);
    renew(connection, 1);
}

#[inline(always)]
fn renew(connection: &mut Connection, side: usize) {
    let head = connection.capture.head[side];
    if head > connection.budget[side] {
        connection.budget[side] = head;
    }
    if head > HEAD_MAX {
        connection.flags |= WHOLE << side;
    }
}

/// No more is captured of a connection than of one that is older. Not within its callers, whose stack is full.
#[inline(never)]
pub fn settle(connection: &mut Connection) {
    give_up(connection);
}

/// A piece was copied of one that is fresh, which begins in the way of that number. Not within its callers, whose stack is full.
#[inline(never)]
pub fn on_beginning(scratch: *mut Scratch, connection: &mut Connection, number: u32) {
    // The verifier would follow what comes behind this once for each way of it.
    let number = forget(scratch, 2, number.into());
    let is_tls = first_word(scratch) & tls::RECORD_MASK == tls::RECORD_BEGINNING;
    if number != 0 || is_tls {
        give_up(connection);
    }
}

#[inline(always)]
fn give_up(connection: &mut Connection) {
    connection.flags &= !(FRESH | RENEWED | WHOLE | WHOLE << 1);
    connection.capture.head = [HEAD_LIMIT.load(); 2];
    for side in 0..2 {
        let left = least(connection.budget[side].into(), HEAD_LIMIT.load().into());
        connection.budget[side] = left as u32;
    }
}

/// How many bytes of the beginning of this piece to copy. Not within its callers, whose stack is full.
#[inline(never)]
pub fn share(connection: &mut Connection, direction: u32, len: u32) -> u32 {
    let side = (direction & 1) as usize;
    if !turn(connection, direction) {
        connection.flags &= !TURN;
    } else {
        connection.flags &= !(WHOLE << side);
        let head = connection.capture.head[side];
        // What it has grown to, at least the head.
        let left = least(connection.budget[side].into(), grown(connection, side));
        let more = u64::from(head).wrapping_sub(least(left, head.into()));
        connection.budget[side] = (left + more) as u32;
    }
    grow(connection, side, len);
    if len <= SMALL_PIECE {
        return len;
    }
    let budget = connection.budget[side];
    if budget < LATER_HEAD { LATER_HEAD } else { budget }
}

/// To how many bytes the budget of a direction grows.
#[inline(always)]
pub fn grown(connection: &Connection, side: usize) -> u64 {
    u64::from(connection.capture.grown[side]) * u64::from(GROWN_UNIT)
}

/// What is captured of answers grows with what is asked. Without branches: each would double the paths that the verifier follows.
#[inline(always)]
fn grow(connection: &mut Connection, side: usize, len: u32) {
    let other = 1 - side;
    let budget = u64::from(connection.budget[other]);
    let by = least(len.into(), GROWS_MAX.into()) << GROWS_BY;
    let grown = least(budget + by, grown(connection, other));
    // It may be more already, as the rest of a turn that does not grow.
    connection.budget[other] = grown.wrapping_add(budget).wrapping_sub(least(grown, budget)) as u32;
}

/// How many bytes of this turn are still wanted of one of which all is; 0 of any other. Not within its callers, whose stack is full.
#[inline(never)]
pub fn whole_turn(connection: &mut Connection, side: u32, what: u32, of: u32) -> u32 {
    let side = (side & 1) as usize;
    if wants_all(connection, side, what, of) {
        connection.flags |= WHOLE << side;
        connection.budget[side] = WHOLE_LIMIT.load();
    }
    if connection.flags & TURN != 0 && connection.budget[side] > HEAD_MAX {
        connection.flags |= WHOLE << side;
    }
    if connection.flags & (WHOLE << side) != 0 { connection.budget[side] } else { 0 }
}

/// Whether a piece begins a turn that is wanted whole: such as requests without a body, of which there may be many; or, behind
/// the answer, what is no request. That goes on with a body that was answered before it had come, and whose length is not known.
#[inline(always)]
fn wants_all(connection: &mut Connection, side: usize, what: u32, of: u32) -> bool {
    if connection.flags & TURN == 0 {
        return false;
    }
    let answered = RESPONDED << (1 - side);
    let is_answered = connection.flags & answered != 0;
    connection.flags &= !answered;
    if WHOLE_LIMIT.load() == 0 {
        // Less is wanted by whoever runs this.
        return false;
    }
    let wanted = if of & flags::TLS == 0 { begins::WHOLE } else { begins::WHOLE_OF_TLS };
    what & wanted != 0 || is_answered
}
