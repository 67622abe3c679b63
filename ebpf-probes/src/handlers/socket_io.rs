//! Bytes moved over a socket: finds the connection, decides how much to copy, and records it.

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::{bpf_get_current_pid_tgid, bpf_ktime_get_ns, generated::bpf_ringbuf_output},
};
use ebpf_common::{
    events::{Data, EventKind, Open, RECEIVED, flags},
    limits::{HEAD_MAX, LATER_HEAD, RESPONSE_HEAD_MAX, SCRATCH_PAYLOAD, SMALL_PIECE},
    policy::{Counter, VERDICT_ASK_AGAIN, VERDICT_IGNORE},
};

use super::{
    capture::{self, Buffer},
    process,
};
use crate::{
    kernel::{
        clear,
        socket::{self, Sequences, Socket},
        task,
    },
    maps::{ANNOUNCED, Connection, EVENTS, FIN_SENT, IGNORED, RESPONSES, SCRATCH, Scratch, TCP, VERDICTS, count},
};

/// `HTTP`, as the first word of a response reads in memory.
const HTTP: u32 = u32::from_le_bytes(*b"HTTP");

/// The connection of a socket that the current process has used, if it is watched and of interest.
#[inline(always)]
pub fn connection<S: Socket>(socket: S, tgid: u32) -> Option<*mut Connection> {
    if let Some(connection) = socket.connection() {
        // SAFETY: state of a live connection.
        let known = unsafe { &mut *connection };
        if known.flags & IGNORED != 0 {
            return None;
        }
        if known.tgid != tgid {
            if !process::watched(tgid) {
                return None;
            }
            known.tgid = tgid;
        }
        return Some(connection);
    }
    if !process::watched(tgid) {
        return None;
    }
    let tcp = socket::watched_kind(socket.address())?;
    let Some(connection) = socket.remember() else {
        count(Counter::LostMapFull);
        return None;
    };
    // SAFETY: state of a live connection.
    let new = unsafe { &mut *connection };
    new.tgid = tgid;
    new.budget = [HEAD_MAX; 2];
    // No turn has begun: the first piece of either direction begins one.
    new.last_direction = 2;
    new.flags = if tcp { TCP } else { 0 };
    Some(connection)
}

/// The current thread moved `len` bytes over `socket`, from or to `buffer`.
#[inline(always)]
pub fn moved<S: Socket>(socket: S, tgid: u32, direction: u32, len: u32, buffer: Buffer) -> Option<()> {
    let state = connection(socket, tgid)?;
    // SAFETY: state of a live connection.
    let connection = unsafe { &mut *state };
    let at_ns = unsafe { bpf_ktime_get_ns() };
    let side = (direction & 1) as usize;
    let sequences = if connection.flags & TCP != 0 { socket.sequences() } else { Sequences::NONE };
    let fresh = connection.pieces == 0;
    let (position, raced) = advance(connection, socket.address(), side, len, sequences, fresh);
    let other_position = elsewhere(connection, 1 - side, sequences);

    connection.pieces = connection.pieces.wrapping_add(1);
    let pieces = connection.pieces;
    // User space answers some time after the first pieces; looking at every power of two finds it soon enough.
    if pieces >= 4 && pieces & (pieces - 1) == 0 {
        // SAFETY: the value is copied out at once.
        match unsafe { VERDICTS.get(&connection.id) }.copied() {
            Some(VERDICT_IGNORE) => {
                connection.flags |= IGNORED;
                let _gone_already = VERDICTS.remove(&connection.id);
                return None;
            }
            Some(VERDICT_ASK_AGAIN) => {
                // If it is watched again, the connection is met anew.
                connection.tgid = 0;
                connection.flags &= !ANNOUNCED;
                connection.position = [0; 2];
                connection.pieces = 0;
                let _gone_already = VERDICTS.remove(&connection.id);
                return None;
            }
            _ => {}
        }
    }
    if connection.flags & ANNOUNCED == 0 {
        announce(socket.address(), connection.id, tgid, at_ns)?;
        connection.flags |= ANNOUNCED;
    }

    let wanted = share(connection, direction, side, len);
    let scratch = SCRATCH.get_ptr_mut(side as u32)?;
    let copied = capture::copy(scratch, buffer, u64::from(len), u64::from(wanted));
    if copied.flags & flags::FAULT != 0 {
        count(Counter::LostReadFault);
    }
    if copied.flags & flags::UNREADABLE != 0 {
        count(Counter::Unreadable);
    }
    if copied.flags & flags::COMPAT != 0 {
        count(Counter::Compat);
    }
    if copied.head_len >= 4 && first_word(scratch) == HTTP {
        connection.flags |= RESPONSES << side;
    }
    connection.budget[side] = connection.budget[side].saturating_sub(copied.head_len as u32);

    let thread = bpf_get_current_pid_tgid();
    let record = Data {
        kind: EventKind::Data as u32,
        direction,
        flags: copied.flags | if raced { flags::RACED } else { 0 },
        len,
        head_len: copied.head_len as u16,
        tail_len: copied.tail_len as u16,
        tgid,
        tid: thread as u32,
        reserved: 0,
        conn: connection.id,
        at_ns,
        position,
        other_position,
    };
    // SAFETY: per-CPU memory that no other program of this direction uses meanwhile.
    unsafe { (*scratch).header = record };
    output(scratch, copied.head_len + copied.tail_len)
}

/// The peer has finished: a read returned nothing.
#[inline(always)]
pub fn ended<S: Socket>(socket: S, tgid: u32) -> Option<()> {
    if !socket::peer_has_finished(socket.address()) {
        return None;
    }
    let state = connection(socket, tgid)?;
    // SAFETY: state of a live connection.
    let connection = unsafe { &mut *state };
    if connection.flags & ANNOUNCED == 0 {
        return None;
    }
    let sequences = if connection.flags & TCP != 0 { socket.sequences() } else { Sequences::NONE };
    let scratch = SCRATCH.get_ptr_mut(RECEIVED)?;
    let record = Data {
        kind: EventKind::Data as u32,
        direction: RECEIVED,
        flags: flags::END,
        len: 0,
        head_len: 0,
        tail_len: 0,
        tgid,
        tid: bpf_get_current_pid_tgid() as u32,
        reserved: 0,
        conn: connection.id,
        at_ns: unsafe { bpf_ktime_get_ns() },
        position: connection.position[0],
        other_position: elsewhere(connection, 1, sequences),
    };
    // SAFETY: as in `moved`.
    unsafe { (*scratch).header = record };
    output(scratch, 0)
}

/// Moves a direction's count forward over a piece. Gives the position of its first byte, and whether two threads
/// moved bytes at once so that it is not certain.
#[inline(always)]
fn advance(
    connection: &mut Connection,
    sk: u64,
    side: usize,
    len: u32,
    sequences: Sequences,
    fresh: bool,
) -> (u64, bool) {
    let at = connection.position[side];
    if !sequences.known {
        connection.position[side] = at + u64::from(len);
        return (at, false);
    }
    if fresh {
        connection.sequence = [sequences.received, sequences.sent];
        connection.position[side] = u64::from(len);
        return (0, false);
    }
    let now = of_side(sequences, side);
    let mut moved = now.wrapping_sub(connection.sequence[side]);
    // The peer's FIN has a sequence number of its own.
    if moved == len.wrapping_add(1) && side == 0 && socket::peer_has_finished(sk) {
        moved = len;
    }
    if moved < len || moved > i32::MAX as u32 {
        return (at.saturating_sub(u64::from(len)), true);
    }
    connection.sequence[side] = now;
    connection.position[side] = at + u64::from(moved);
    (at + u64::from(moved - len), false)
}

/// How far the other direction has come by now, including pieces that are not recorded yet.
#[inline(always)]
fn elsewhere(connection: &Connection, side: usize, sequences: Sequences) -> u64 {
    let side = side & 1;
    let at = connection.position[side];
    if !sequences.known {
        return at;
    }
    // A FIN has a sequence number of its own; nothing comes after it.
    if side == 1 && connection.flags & FIN_SENT != 0 {
        return at;
    }
    let ahead = of_side(sequences, side).wrapping_sub(connection.sequence[side]);
    if ahead > i32::MAX as u32 { at } else { at + u64::from(ahead) }
}

#[inline(always)]
fn of_side(sequences: Sequences, side: usize) -> u32 {
    if side == 0 { sequences.received } else { sequences.sent }
}

/// How many bytes of the beginning of this piece to copy.
#[inline(always)]
fn share(connection: &mut Connection, direction: u32, side: usize, len: u32) -> u32 {
    if connection.last_direction != direction {
        connection.last_direction = direction;
        connection.budget[side] =
            if connection.flags & (RESPONSES << side) != 0 { RESPONSE_HEAD_MAX } else { HEAD_MAX };
    }
    if len <= SMALL_PIECE {
        return len;
    }
    let budget = connection.budget[side];
    if budget < LATER_HEAD { LATER_HEAD } else { budget }
}

#[inline(always)]
fn first_word(scratch: *mut Scratch) -> u32 {
    // SAFETY: within the payload.
    unsafe { (&raw const (*scratch).payload).cast::<u32>().read_unaligned() }
}

/// Tells user space of a connection before its first piece.
#[inline(always)]
fn announce(sk: u64, id: u64, tgid: u32, at_ns: u64) -> Option<()> {
    let Some(mut record) = EVENTS.reserve::<Open>(0) else {
        count(Counter::LostRingFull);
        return None;
    };
    let open = record.as_mut_ptr();
    clear(open);
    // SAFETY: members of a record in the ring buffer.
    unsafe {
        (*open).kind = EventKind::Open as u32;
        (*open).conn = id;
        (*open).at_ns = at_ns;
        (*open).tgid = tgid;
    }
    // What could not be read stays zero, which user space shows as unknown.
    let _unknown = socket::describe(sk, open);
    let _unknown = task::identify_current(open);
    record.submit(BPF_RB_NO_WAKEUP.into());
    Some(())
}

#[inline(always)]
fn output(scratch: *mut Scratch, payload: u64) -> Option<()> {
    const ROOM: u64 = SCRATCH_PAYLOAD as u64;
    if payload > ROOM {
        return None;
    }
    let len = size_of::<Data>() as u64 + payload;
    // SAFETY: the verifier proves that `len` bytes lie within the scratch buffer.
    let result =
        unsafe { bpf_ringbuf_output(&raw const EVENTS as *mut _, scratch.cast(), len, BPF_RB_NO_WAKEUP.into()) };
    if result != 0 {
        count(Counter::LostRingFull);
        return None;
    }
    Some(())
}
