//! Bytes moved over a socket: finds the connection, decides how much to copy, and records it.

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::{
        bpf_get_current_pid_tgid, bpf_ktime_get_ns,
        generated::{bpf_ringbuf_output, bpf_ringbuf_query},
    },
};
use ebpf_common::{
    events::{Data, EventKind, Open, RECEIVED, flags},
    limits::{HEAD_MAX, LATER_HEAD, RESPONSE_HEAD_MAX, SMALL_PIECE},
    policy::{Counter, VERDICT_IGNORE},
};

use super::{
    capture::{self, Buffer, Copied},
    frames, process, tls,
};
use crate::{
    globals::{HEAD_LIMIT, WAKE_AT},
    kernel::{
        clear,
        socket::{self, Sequences, Socket},
    },
    maps::{
        ANNOUNCED, BOUND, CIPHER, Connection, EVENTS, FIN_SENT, FRAMES, IGNORED, RESPONSES, SCRATCH, Scratch, TCP,
        VERDICTS, count,
    },
};

/// `HTTP`, as the first word of a response reads in memory.
const HTTP: u32 = u32::from_le_bytes(*b"HTTP");

/// The connection of a socket that the current process has used, if it is watched and of interest. One that is `IGNORED`
/// may be of interest for the sake of TLS alone.
#[inline(always)]
pub fn connection<S: Socket>(socket: S, tgid: u32) -> Option<*mut Connection> {
    if let Some(connection) = socket.connection() {
        // SAFETY: state of a live connection.
        let known = unsafe { &mut *connection };
        if known.flags & (IGNORED | CIPHER) == IGNORED {
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
    new.budget = [HEAD_LIMIT.load(); 2];
    // No turn has begun: the first piece of either direction begins one.
    new.last_direction = 2;
    new.flags = if tcp { TCP } else { 0 };
    Some(connection)
}

/// What is to be done next about a piece.
pub const NOTHING: u32 = 0;
/// To continue in the program that walks over frames; [`unfollowed`] if that cannot be.
pub const FOLLOW: u32 = 1;

/// The current thread moved `len` bytes over `socket`, from or to `buffer`. `may_follow`: whether the answer will be
/// heeded.
#[inline(always)]
pub fn moved<S: Socket>(
    socket: S,
    tgid: u32,
    direction: u32,
    len: u32,
    buffer: Buffer,
    may_follow: bool,
) -> Option<u32> {
    let state = connection(socket, tgid)?;
    // SAFETY: state of a live connection.
    let connection = unsafe { &mut *state };
    // SAFETY: the helper only returns a number.
    let at_ns = unsafe { bpf_ktime_get_ns() };
    if connection.flags & CIPHER != 0 {
        tls::carried(connection, direction);
        if connection.flags & IGNORED != 0 {
            return None;
        }
    }
    let side = (direction & 1) as usize;
    let sequences = if connection.flags & TCP != 0 { socket.sequences() } else { Sequences::NONE };
    let fresh = connection.pieces == 0;
    let due = connection.position[side];
    let (position, raced) = advance(connection, socket.address(), side, len, sequences, fresh);
    let other_position = elsewhere(connection, 1 - side, sequences);

    if unwanted(connection) {
        return None;
    }
    if connection.flags & ANNOUNCED == 0 {
        announce(socket.address(), connection.id, tgid, at_ns)?;
        connection.flags |= ANNOUNCED;
    }
    let place = Place {
        at_ns,
        position,
        other_position,
        flags: if raced { flags::RACED } else { 0 },
        may_follow: may_follow && !raced,
    };
    if !may_follow {
        connection.flags &= !(FRAMES << side);
    } else if connection.flags & (FRAMES << side) != 0 {
        let in_place = position == due && !raced;
        let scratch = SCRATCH.get_ptr_mut(side as u32)?;
        if in_place && frames::prepare(scratch, socket, connection.frames[side], buffer, len.into()) {
            // SAFETY: per-CPU memory that no other program of this direction uses meanwhile.
            unsafe { (*scratch).header = header(connection, tgid, direction, len, &place) };
            return Some(FOLLOW);
        }
        if !in_place || !frames::pass(&mut connection.frames[side], len) {
            connection.flags &= !(FRAMES << side);
        }
    }
    match record(connection, tgid, direction, len, buffer, &place)? {
        TLS_RECORD => {
            // The first piece of its kind: from the next on this is asked before.
            connection.flags |= CIPHER;
            tls::carried(connection, direction);
        }
        HTTP2 => {
            let scratch = SCRATCH.get_ptr_mut(side as u32)?;
            connection.flags |= FRAMES << side;
            // Its bytes were read already, so they can be read.
            let _for_certain = frames::prepare(scratch, socket, frames::beginning(scratch), buffer, len.into());
            return Some(FOLLOW);
        }
        _ => {}
    }
    Some(NOTHING)
}

/// The program to continue in is not there: the piece, one that begins a connection, is recorded as any other.
#[inline(always)]
pub fn unfollowed<S: Socket>(socket: S, direction: u32) -> Option<()> {
    let side = (direction & 1) as usize;
    let connection = socket.connection()?;
    // SAFETY: state of a live connection.
    unsafe { (*connection).flags &= !(FRAMES << side) };
    let scratch = SCRATCH.get_ptr_mut(side as u32)?;
    // SAFETY: per-CPU memory that no other program of this direction uses meanwhile.
    let header = unsafe { &(*scratch).header };
    output(scratch, u64::from(header.head_len) + u64::from(header.tail_len))
}

/// Counts a piece; whether user space wants nothing more of the connection.
#[inline(always)]
pub fn unwanted(connection: &mut Connection) -> bool {
    connection.pieces = connection.pieces.wrapping_add(1);
    let pieces = connection.pieces;
    // User space answers some time after the first pieces; looking at every power of two finds it soon enough.
    if pieces >= 4 && pieces & (pieces - 1) == 0 {
        // SAFETY: the value is copied out at once.
        if unsafe { VERDICTS.get(&connection.id) }.copied() == Some(VERDICT_IGNORE) {
            connection.flags |= IGNORED;
            let _gone_already = VERDICTS.remove(&connection.id);
            return true;
        }
    }
    false
}

/// Where a piece stands among others.
pub struct Place {
    pub at_ns: u64,
    pub position: u64,
    pub other_position: u64,
    /// Of the event.
    pub flags: u32,
    /// Whether the frames of HTTP/2 may be followed from here.
    pub may_follow: bool,
}

/// What a piece begins with.
pub const TLS_RECORD: u32 = 1;
/// See [`TLS_RECORD`]. Such a piece is copied, but not handed over yet.
const HTTP2: u32 = 2;
const ANYTHING: u32 = 0;

/// Copies as much of a piece as is wanted, and hands it to user space. Gives what it was seen to begin with.
#[inline(always)]
pub fn record(
    connection: &mut Connection,
    tgid: u32,
    direction: u32,
    len: u32,
    buffer: Buffer,
    place: &Place,
) -> Option<u32> {
    let side = (direction & 1) as usize;
    let wanted = share(connection, direction, side, len);
    let plaintext = place.flags & flags::TLS != 0;
    let scratch = SCRATCH.get_ptr_mut(if plaintext { 2 + side as u32 } else { side as u32 })?;
    if plaintext {
        // A uprobe's program may lose the processor to another thread's.
        // SAFETY: per-CPU memory.
        unsafe { (&raw mut (*scratch).header.at_ns).write_volatile(place.at_ns) };
    }
    let mut copied = capture::copy(scratch, buffer, u64::from(len), u64::from(wanted));
    // SAFETY: per-CPU memory.
    if plaintext && unsafe { (&raw const (*scratch).header.at_ns).read_volatile() } != place.at_ns {
        copied = Copied { head_len: 0, tail_len: 0, flags: flags::FAULT };
    }
    let copied = capture::meet(scratch, &copied);
    if copied.flags & flags::FAULT != 0 {
        count(Counter::LostReadFault);
    }
    if copied.flags & flags::UNREADABLE != 0 {
        count(Counter::Unreadable);
    }
    if copied.flags & flags::COMPAT != 0 {
        count(Counter::Compat);
    }
    let mut beginning = ANYTHING;
    if copied.head_len >= 4 {
        let word = first_word(scratch);
        if word == HTTP {
            connection.flags |= RESPONSES << side;
        } else if word & tls::RECORD_MASK == tls::RECORD_BEGINNING {
            beginning = TLS_RECORD;
        }
    }
    connection.budget[side] = connection.budget[side].saturating_sub(copied.head_len as u32);

    let mut header = header(connection, tgid, direction, len, place);
    header.flags |= copied.flags;
    header.head_len = copied.head_len as u16;
    header.tail_len = copied.tail_len as u16;
    // SAFETY: per-CPU memory that no other program of this direction uses meanwhile.
    unsafe { (*scratch).header = header };
    if place.may_follow && place.position == 0 && frames::begin(scratch, copied.head_len) {
        return Some(HTTP2);
    }
    output(scratch, copied.head_len + copied.tail_len);
    Some(beginning)
}

/// The record of a piece of which nothing was copied yet.
#[inline(always)]
fn header(connection: &Connection, tgid: u32, direction: u32, len: u32, place: &Place) -> Data {
    Data {
        kind: EventKind::Data as u32,
        direction,
        flags: place.flags,
        len,
        head_len: 0,
        tail_len: 0,
        tgid,
        tid: bpf_get_current_pid_tgid() as u32,
        reserved: 0,
        conn: connection.id,
        at_ns: place.at_ns,
        position: place.position,
        other_position: place.other_position,
    }
}

/// Nothing was told of a socket so far.
#[inline(always)]
pub fn is_new<S: Socket>(socket: S) -> bool {
    match socket.connection() {
        // SAFETY: state of a live connection.
        Some(connection) => unsafe { (*connection).pieces == 0 },
        None => true,
    }
}

/// Brings a connection's sequence numbers up to its counts, after `all` bytes were told without them.
#[inline(always)]
pub fn settle<S: Socket>(socket: S, direction: u32, all: u32, was_new: bool) -> Option<()> {
    // SAFETY: state of a live connection.
    let connection = unsafe { &mut *socket.connection()? };
    if connection.flags & TCP == 0 {
        return None;
    }
    if was_new {
        let now = socket.sequences();
        connection.sequence = [now.received, now.sent];
    } else {
        let side = (direction & 1) as usize;
        connection.sequence[side] = connection.sequence[side].wrapping_add(all);
    }
    Some(())
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
    if connection.flags & ANNOUNCED == 0 || connection.flags & (IGNORED | BOUND) == IGNORED {
        return None;
    }
    if connection.flags & BOUND != 0 {
        // Its own positions are not those of the plaintext; there is nothing after it to be put in order.
        return end(connection.plaintext, tgid, [0; 2]);
    }
    let sequences = if connection.flags & TCP != 0 { socket.sequences() } else { Sequences::NONE };
    let positions = [connection.position[0], elsewhere(connection, 1, sequences)];
    end(connection.id, tgid, positions)
}

/// Tells user space that no more bytes come in.
#[inline(always)]
pub fn end(conn: u64, tgid: u32, [position, other_position]: [u64; 2]) -> Option<()> {
    let Some(mut record) = EVENTS.reserve::<Data>(0) else {
        count(Counter::LostRingFull);
        return None;
    };
    record.write(Data {
        kind: EventKind::Data as u32,
        direction: RECEIVED,
        flags: flags::END,
        len: 0,
        head_len: 0,
        tail_len: 0,
        tgid,
        tid: bpf_get_current_pid_tgid() as u32,
        reserved: 0,
        conn,
        // SAFETY: the helper only returns a number.
        at_ns: unsafe { bpf_ktime_get_ns() },
        position,
        other_position,
    });
    record.submit(BPF_RB_NO_WAKEUP.into());
    Some(())
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
            if connection.flags & (RESPONSES << side) != 0 { RESPONSE_HEAD_MAX } else { HEAD_LIMIT.load() };
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
    record.submit(BPF_RB_NO_WAKEUP.into());
    Some(())
}

#[inline(always)]
pub fn output(scratch: *mut Scratch, payload: u64) -> Option<()> {
    // For the verifier; head and tail together are less.
    const MASK: u64 = 2 * HEAD_MAX as u64 - 1;
    let len = size_of::<Data>() as u64 + (capture::opaque(payload) & MASK);
    // SAFETY: the verifier proves that `len` bytes lie within the scratch buffer.
    let result = unsafe {
        bpf_ringbuf_output(&raw const EVENTS as *mut _, (&raw mut (*scratch).header).cast(), len, wake_up(len))
    };
    if result != 0 {
        count(Counter::LostRingFull);
        return None;
    }
    Some(())
}

/// Never wake user space for each event: that costs the watched thread more than all else together. It looks by itself
/// every few milliseconds; only when a share of the ring has filled up before is it told, by the event that crosses
/// that line.
#[inline(always)]
fn wake_up(len: u64) -> u64 {
    // SAFETY: the helper only returns a number.
    let waiting = unsafe { bpf_ringbuf_query(&raw const EVENTS as *mut _, BPF_RB_AVAIL_DATA.into()) };
    let line = u64::from(WAKE_AT.load());
    if waiting >= line && waiting < line + len { BPF_RB_FORCE_WAKEUP.into() } else { BPF_RB_NO_WAKEUP.into() }
}
