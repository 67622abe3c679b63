//! Bytes moved over a socket: finds the connection, decides how much to copy, and records it.

use core::hint::cold_path;

use aya_ebpf::helpers::bpf_ktime_get_ns;
use ebpf_common::{
    capture::{MODE_HTTP2_FRAMES, MODE_NOTHING, MODE_TURNS, MODES, RENEWED_SHIFT, RESPONSES_SHIFT, begins},
    events::{Data, EventKind, MET_AT_BEGINNING, Open, RECEIVED, Tcp, flags},
    limits::SMALL_PIECE,
    policy::{Counter, UNDECIDED},
};

use super::{
    beginnings, budget,
    capture::{self, Copied},
    counters::count,
    emit::{Room, emit, emit_piece},
    frames, held, losses, process, rustls, shares,
    sockets::Socket,
    tls, tls_threads, work,
};
use crate::{
    globals::HEAD_LIMIT,
    kernel::{
        socket::{self, Sequences},
        task::{self, tgid_of},
    },
    maps::{CAPTURES, SCRATCH},
    state::{
        ANNOUNCED, BOUND, Buffer, CIPHER, Connection, FIN_SENT, FOLLOWED, FRESH, FrameCursor, IGNORED, INTERIM,
        RENEWED, RESPONDED, RESPONSES, SENT_FIRST, Scratch, TCP, TURN, UNDECIDED_YET, WHOLE,
    },
};

/// Pieces between two looks at whether the process is still watched, and what user space says of the connection: at first, and from
/// as many on.
const ASKED_EVERY: [u32; 2] = [4, 64];

/// Bytes of the first TLS record that clients read before the rest: its header, and by OpenSSL 1.0.2 two more.
const PEEKED: u64 = 7;

/// The connection of a socket that the current process has used, if it is watched and of interest. One that is `IGNORED`
/// may be of interest for the sake of TLS alone. `on_datagrams` is called where it is a socket for datagrams.
#[inline(always)]
pub fn connection<S: Socket>(socket: S, tgid: u32, on_datagrams: impl FnOnce()) -> Option<*mut Connection> {
    if let Some(connection) = socket.connection() {
        // SAFETY: state of a live connection.
        let known = unsafe { &mut *connection };
        if known.flags & (IGNORED | CIPHER) == IGNORED {
            return None;
        }
        if known.tgid != tgid || known.flags & UNDECIDED_YET != 0 {
            cold_path();
            let was_undecided = known.tgid == tgid;
            let Some(policy) = process::admit(tgid, || socket.number(), !was_undecided) else {
                if was_undecided {
                    leave(known);
                    return None;
                }
                // A program that a watched server has started answers for it.
                let is_lent = known.flags & ANNOUNCED != 0 && process::is_chosen(known.tgid);
                return is_lent.then_some(connection);
            };
            known.tgid = tgid;
            set_undecided(known, policy);
        }
        return Some(connection);
    }
    cold_path();
    if !process::may_be_watched(tgid, || process::serves_chosen_port(socket.number()) != 0) {
        return None;
    }
    let tcp = socket::watched_kind(socket.address(), on_datagrams)?;
    if tcp && socket::is_closed(socket.address()) {
        // Its end has been told, or never will be.
        return None;
    }
    let policy = process::admit(tgid, || socket.number(), true)?;
    let Some(connection) = socket.remember() else {
        count(Counter::LostMapFull);
        return None;
    };
    // SAFETY: state of a live connection.
    let new = unsafe { &mut *connection };
    new.tgid = tgid;
    new.budget = [HEAD_LIMIT.load(); 2];
    new.capture = budget::at_first();
    // No turn has begun: the first piece of either direction begins one.
    new.last_direction = 2;
    new.flags = if tcp { TCP } else { 0 };
    set_undecided(new, policy);
    Some(connection)
}

#[inline(always)]
fn set_undecided(connection: &mut Connection, policy: u32) {
    if policy == UNDECIDED {
        connection.flags |= UNDECIDED_YET;
    } else {
        connection.flags &= !UNDECIDED_YET;
    }
}

/// Its process is left out. If that is watched again, the connection is met anew.
#[inline(always)]
fn leave(connection: &mut Connection) {
    held::let_go_all(connection);
    if connection.flags & FRESH != 0 {
        budget::settle(connection);
    }
    connection.tgid = 0;
    connection.flags &= !(ANNOUNCED | UNDECIDED_YET | FOLLOWED | FOLLOWED << 1);
    connection.position = [0; 2];
    connection.pieces = 0;
}

/// What is to be done next about a piece.
pub const NOTHING: u32 = 0;
/// To continue in the program that follows directions; [`unfollowed`] if that cannot be.
pub const FOLLOW: u32 = 1;

/// The current thread moved `len` bytes over `socket`. Where they lie in the process is asked only if they are wanted: it
/// costs time, and the verifier would follow all that comes before once for each kind of buffer. `on_datagrams` is called, and
/// nothing else done, where it is a socket for datagrams. `call` gives of a call that receives
/// where the caller's stack ends, of one that sends how many bytes it was to send; 0 where that is not known.
#[inline(always)]
pub fn moved<S: Socket>(
    socket: S,
    thread: u64,
    direction: u32,
    len: u32,
    buffer: impl FnOnce() -> Buffer,
    on_datagrams: impl FnOnce(),
    call: impl Fn() -> u64,
) -> Option<u32> {
    let state = connection(socket, tgid_of(thread), on_datagrams)?;
    // SAFETY: state of a live connection.
    let connection = unsafe { &mut *state };
    // SAFETY: the helper only returns a number.
    let at_ns = unsafe { bpf_ktime_get_ns() };
    if connection.flags & CIPHER != 0 {
        cold_path();
        let tells = tls::carried(connection, direction, len, &call);
        // What a side sends first goes to user space nonetheless, and what comes after a header that was read before:
        // the server's has the version of TLS.
        let peeked = connection.position[(direction & 1) as usize] <= PEEKED;
        if connection.flags & IGNORED != 0 && !peeked && !tells {
            return None;
        }
    }
    let side = (direction & 1) as usize;
    // Straight to where they are sent from: what is kept in registers meanwhile, the verifier follows once for each way
    // by which it came about.
    let scratch = SCRATCH.get_ptr_mut(side as u32)?;
    // SAFETY: per-CPU memory that no other program of this direction uses meanwhile.
    let header = unsafe { &mut (*scratch).header };
    header.at_ns = at_ns;
    header.flags = 0;
    header.tcp = Tcp::NONE;
    let is_tcp = connection.flags & TCP != 0;
    let sequences = if is_tcp { socket.observe(at_ns, &raw mut header.tcp) } else { Sequences::NONE };
    let fresh = connection.pieces == 0;
    let due = connection.position[side];
    advance(scratch, connection, socket.address(), side, len, sequences, fresh);
    // SAFETY: as above.
    let header = unsafe { &mut (*scratch).header };
    header.other_position = elsewhere(connection, socket.address(), 1 - side, sequences);

    if unwanted(connection) {
        return None;
    }
    (header.work, header.begun_ns) = work::of_socket(connection, socket, direction);
    // SAFETY: as above.
    unsafe { (*scratch).undecided = u64::from(connection.flags & UNDECIDED_YET) };
    if connection.flags & ANNOUNCED == 0 {
        cold_path();
        let first = if connection.flags & TCP != 0 { len } else { 0 };
        if !shares::may_announce(scratch, tgid_of(thread), size_of::<Open>() as u64)
            || announce(socket, connection, tgid_of(thread), at_ns, first).is_none()
        {
            missed(connection, direction);
            tls_threads::overlooked(connection.id, direction);
            return None;
        }
        connection.flags |= ANNOUNCED;
    }
    let buffer = capture::keep(scratch, buffer());
    if connection.flags & (FOLLOWED << side) != 0 {
        cold_path();
        let in_place = S::FOLLOWED && header.position == due && header.flags == 0;
        if in_place && frames::prepare(scratch, socket, connection.frames[side], buffer, len.into()) {
            frames::wants(scratch, connection, side);
            describe(header, connection, thread, direction, len);
            return Some(FOLLOW);
        }
        if !in_place || !frames::pass(&mut connection.frames[side], len) {
            connection.flags &= !(FOLLOWED << side);
        }
    }
    if S::FOLLOWED && connection.flags & (WHOLE << side) != 0 {
        cold_path();
        let goes_on =
            u32::from(connection.last_direction) == direction && len > SMALL_PIECE && len <= connection.budget[side];
        if goes_on
            && header.flags == 0
            && budget::affords(connection, len)
            && frames::prepare_whole(scratch, socket, buffer, len.into())
        {
            held::let_go_all(connection);
            connection.budget[side] -= len;
            connection.flags &= !TURN;
            // Of a turn of so many bytes the answers may have all that there is.
            connection.budget[1 - side] =
                u32::max(connection.budget[1 - side], budget::grown(connection, 1 - side) as u32);
            describe(header, connection, thread, direction, len);
            return Some(FOLLOW);
        }
    }
    let beginning = record(scratch, connection, thread, direction, len, buffer, S::FOLLOWED);
    if beginning == ANYTHING {
        let is_unknown =
            connection.flags & (RESPONSES | RESPONSES << 1 | CIPHER) == 0 && connection.capture.mode == MODE_TURNS;
        if direction == RECEIVED && is_unknown {
            // It may begin within a record.
            tls_threads::may_have_received();
        }
        return Some(NOTHING);
    }
    cold_path();
    if beginning == TLS_RECORD {
        // The first piece of its kind: from the next on this is asked before.
        connection.flags |= CIPHER;
        // SAFETY: as above.
        work::carries(connection, unsafe { (*scratch).header.work });
        if tls::carried(connection, direction, len, &call) {
            rustls::sent(scratch, connection);
        }
        return Some(NOTHING);
    }
    follow(scratch, socket, connection, side, beginning, buffer, len);
    Some(FOLLOW)
}

/// Prepares the walk over a piece that was copied, and begins with what is followed from here on.
#[inline(always)]
pub(super) fn follow<S: Socket>(
    scratch: *mut Scratch,
    socket: S,
    connection: &mut Connection,
    side: usize,
    beginning: u32,
    buffer: Buffer,
    len: u32,
) {
    // Its bytes were read already, so they can be read.
    if beginning == OF_WHOLE {
        let _for_certain = frames::prepare_whole(scratch, socket, buffer, len.into());
        return;
    }
    connection.flags |= FOLLOWED << side;
    let stand = match beginning {
        FRAME => {
            connection.flags |= RESPONSES * frames::responses(scratch, side as u32);
            frames::beginning(scratch, connection.frames[side])
        }
        _ => FrameCursor::BEFORE_MESSAGE,
    };
    connection.frames[side] = stand;
    let _for_certain = frames::prepare(scratch, socket, stand, buffer, len.into());
    frames::wants(scratch, connection, side);
    if beginning == MESSAGE {
        // SAFETY: per-CPU memory that no other program of this direction uses meanwhile.
        frames::has_copied(scratch, unsafe { (*scratch).header.head_len }.into());
    }
}

/// The program to continue in is not there: the piece, one that begins a connection, is recorded as any other.
#[inline(always)]
pub fn unfollowed<S: Socket>(socket: S, direction: u32) -> Option<()> {
    let side = (direction & 1) as usize;
    let connection = socket.connection()?;
    // SAFETY: state of a live connection.
    unsafe {
        (*connection).flags &= !(FOLLOWED << side | WHOLE << side);
        (*connection).budget[side] = 0;
    }
    let scratch = SCRATCH.get_ptr_mut(side as u32)?;
    // SAFETY: per-CPU memory that no other program of this direction uses meanwhile.
    let header = unsafe { &(*scratch).header };
    emit_piece(scratch, u64::from(header.head_len) + u64::from(header.tail_len))
}

/// Counts a piece; whether user space wants nothing more of the connection.
#[inline(always)]
pub fn unwanted(connection: &mut Connection) -> bool {
    connection.pieces = connection.pieces.wrapping_add(1);
    let pieces = connection.pieces;
    let every = if pieces < ASKED_EVERY[1] { ASKED_EVERY[0] } else { ASKED_EVERY[1] };
    if pieces > 2 && !pieces.is_multiple_of(every) {
        return false;
    }
    cold_path();
    // User space answers some time after the first pieces.
    if pieces >= 4
        && let Some(wanted) = CAPTURES.get_ptr(&connection.id)
    {
        // SAFETY: a value of the map; at worst another's, if it is evicted at this moment.
        unsafe { connection.capture = *wanted };
        let mode = connection.capture.mode;
        connection.flags &= !(FRESH | RENEWED);
        connection.flags |= (RESPONSES * (mode >> RESPONSES_SHIFT & 3)) | (RENEWED * (mode >> RENEWED_SHIFT & 1));
        connection.capture.mode = mode & MODES;
        let _gone_already = CAPTURES.remove(&connection.id);
        if connection.capture.mode == MODE_NOTHING {
            connection.flags |= IGNORED;
            return true;
        }
    }
    if !process::watched(connection.tgid) {
        leave(connection);
        return true;
    }
    work::look(connection);
    false
}

/// What a piece begins with.
pub const TLS_RECORD: u32 = 1;
/// See [`TLS_RECORD`]. Such a piece is copied, but not handed over yet.
const FRAME: u32 = 2;
/// The same: one of a turn that is wanted whole, and longer than what was copied.
const OF_WHOLE: u32 = 3;
/// The same: a request that has a body, see `messages`.
const MESSAGE: u32 = 4;
/// See [`TLS_RECORD`].
const ANYTHING: u32 = 0;

/// Copies as much of a piece as is wanted, and hands it to user space. Gives what it was seen to begin with. Time, positions
/// and flags stand in the scratch buffer's header already. `may_follow`: whether the answer `FRAME` will be heeded.
#[inline(always)]
pub fn record(
    scratch: *mut Scratch,
    connection: &mut Connection,
    thread: u64,
    direction: u32,
    len: u32,
    buffer: Buffer,
    may_follow: bool,
) -> u32 {
    if may_follow && connection.flags & (FRESH | RENEWED) != 0 {
        cold_path();
        budget::look(scratch, connection, len);
    }
    let wanted = budget::share(connection, direction, len);
    let moved = capture::forget(scratch, 0, u64::from(len));
    let wanted = capture::forget(scratch, 1, u64::from(wanted));
    capture::read_afresh(connection);
    let copied = capture::copy(scratch, buffer, moved, wanted);
    // Not `len`, of which the verifier knows how it compared.
    send(scratch, connection, thread, direction, moved as u32, &copied, may_follow)
}

/// The second half of `record`.
#[inline(always)]
pub fn send(
    scratch: *mut Scratch,
    connection: &mut Connection,
    thread: u64,
    direction: u32,
    len: u32,
    copied: &Copied,
    may_follow: bool,
) -> u32 {
    let side = (direction & 1) as usize;
    // SAFETY: per-CPU memory.
    let header = unsafe { &mut (*scratch).header };
    if header.flags & (flags::FAULT | flags::UNREADABLE | flags::COMPAT) != 0 {
        cold_path();
        if header.flags & flags::FAULT != 0 {
            count(Counter::LostReadFault);
        }
        if header.flags & flags::UNREADABLE != 0 {
            count(Counter::Unreadable);
        }
        if header.flags & flags::COMPAT != 0 {
            count(Counter::Compat);
        }
    }
    let is_certain = |header: &Data| header.flags & !flags::TLS == 0;
    let mut beginning = ANYTHING;
    if copied.head_len >= 4 {
        let number = beginnings::beginning_of(first_word(scratch));
        let what = beginnings::what(number);
        if may_follow && connection.flags & FRESH != 0 {
            cold_path();
            budget::on_beginning(scratch, connection, number);
        }
        if what & begins::RESPONSE != 0 {
            // Behind an interim one the request's body comes.
            let is_interim = beginnings::is_interim(scratch, what);
            let is_final = may_follow && !is_interim;
            connection.flags |=
                (RESPONSES << side) | (u32::from(is_final) * (RESPONDED << side)) | (u32::from(is_interim) * INTERIM);
            connection.capture.head[side] = beginnings::head(number);
            connection.capture.head[1 - side] = HEAD_LIMIT.load();
            connection.capture.grown = [0; 2];
            connection.budget[side] = capture::least(connection.budget[side].into(), HEAD_LIMIT.load().into()) as u32;
        } else if may_follow && what & begins::HTTP1_MESSAGES != 0 {
            cold_path();
            // Not where the piece's place is uncertain.
            if is_certain(header) {
                beginning = MESSAGE;
            }
        } else if first_word(scratch) & tls::RECORD_MASK == tls::RECORD_BEGINNING {
            beginning = TLS_RECORD;
        } else if may_follow
            && what & begins::HTTP2_FRAMES != 0
            && header.position == 0
            && frames::begin(scratch, copied.head_len)
        {
            connection.capture.mode = MODE_HTTP2_FRAMES;
            beginning = FRAME;
        } else if may_follow
            && connection.capture.mode == MODE_HTTP2_FRAMES
            // Not where the piece's place is uncertain.
            && header.flags & flags::RACED == 0
            && frames::resume(scratch, copied.head_len)
        {
            cold_path();
            beginning = FRAME;
        } else if may_follow {
            let room = budget::whole_turn(connection, side as u32, what, header.flags);
            // Not a piece for which there is no room, and what comes behind it.
            if copied.head_len < u64::from(len) && len <= room && is_certain(header) {
                cold_path();
                beginning = OF_WHOLE;
            }
        }
    }
    let used = if beginning == OF_WHOLE { len } else { copied.head_len as u32 };
    connection.budget[side] = connection.budget[side].saturating_sub(used);

    describe(header, connection, thread, direction, len);
    header.head_len = copied.head_len as u16;
    let tail_len = capture::least(copied.tail_len, connection.capture.tail.into());
    header.tail_len = tail_len as u16;
    let is_any = beginning == ANYTHING;
    if (tail_len != 0 || connection.runs != [0; 2]) && held::holds_back(scratch, connection, side as u32, is_any) {
        return beginning;
    }
    if beginning <= TLS_RECORD && emit_piece(scratch, copied.head_len + tail_len).is_none() {
        count_request(connection, direction);
    }
    beginning
}

/// What a record says of a piece besides where it lies and what was copied of it.
#[inline(always)]
pub(super) fn describe(header: &mut Data, connection: &Connection, thread: u64, direction: u32, len: u32) {
    header.kind = EventKind::Data as u32;
    header.direction = direction;
    header.len = len;
    header.head_len = 0;
    header.tail_len = 0;
    header.tgid = tgid_of(thread);
    header.tid = thread as u32;
    header.frames = 0;
    header.conn = connection.id;
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
pub fn ended<S: Socket>(socket: S, thread: u64) -> Option<()> {
    if !socket::peer_has_finished(socket.address()) {
        return None;
    }
    let state = connection(socket, tgid_of(thread), || {})?;
    // SAFETY: state of a live connection.
    let connection = unsafe { &mut *state };
    if connection.flags & ANNOUNCED == 0 || connection.flags & (IGNORED | BOUND) == IGNORED {
        return None;
    }
    if connection.flags & BOUND != 0 {
        // Its own positions are not those of the plaintext; there is nothing after it to be put in order.
        return end(connection.plaintext, thread, [0; 2]);
    }
    let sequences = if connection.flags & TCP != 0 { socket.sequences() } else { Sequences::NONE };
    let positions = [connection.position[0], elsewhere(connection, socket.address(), 1, sequences)];
    end(connection.id, thread, positions)
}

/// Tells user space that no more bytes come in.
#[inline(always)]
pub fn end(conn: u64, thread: u64, [position, other_position]: [u64; 2]) -> Option<()> {
    held::tell_held(conn, 0);
    emit(Data {
        kind: EventKind::Data as u32,
        direction: RECEIVED,
        flags: flags::END,
        len: 0,
        head_len: 0,
        tail_len: 0,
        tgid: tgid_of(thread),
        tid: thread as u32,
        frames: 0,
        work: 0,
        begun_ns: 0,
        conn,
        // SAFETY: the helper only returns a number.
        at_ns: unsafe { bpf_ktime_get_ns() },
        position,
        other_position,
        tcp: Tcp::NONE,
    })
}

/// Moves a direction's count forward over a piece. Writes down the position of its first byte, and whether two threads
/// moved bytes at once so that it is not certain.
#[inline(always)]
fn advance(
    scratch: *mut Scratch,
    connection: &mut Connection,
    sk: u64,
    side: usize,
    len: u32,
    sequences: Sequences,
    fresh: bool,
) {
    // SAFETY: per-CPU memory that no other program of this direction uses meanwhile.
    let header = unsafe { &mut (*scratch).header };
    let at = connection.position[side];
    header.position = at;
    if !sequences.known {
        connection.position[side] = at + u64::from(len);
        return;
    }
    if fresh {
        cold_path();
        connection.sequence = [sequences.received, sequences.sent];
        header.position = 0;
        connection.position[side] = u64::from(len);
        return;
    }
    let now = of_side(sequences, side);
    let mut moved = now.wrapping_sub(connection.sequence[side]);
    // A FIN has a sequence number of its own.
    if moved == len.wrapping_add(1) && has_finished(connection, sk, side) {
        moved = len;
    }
    // Else the verifier follows all that comes after once more for a peer that has finished.
    moved = capture::forget(scratch, 2, u64::from(moved)) as u32;
    if moved < len || moved > i32::MAX as u32 {
        header.position = at.saturating_sub(u64::from(len));
        header.flags = flags::RACED;
        return;
    }
    connection.sequence[side] = now;
    connection.position[side] = at + u64::from(moved);
    header.position = at + u64::from(moved - len);
}

/// How far a direction has come by now, including pieces that are not recorded yet.
#[inline(always)]
pub fn elsewhere(connection: &Connection, sk: u64, side: usize, sequences: Sequences) -> u64 {
    let side = side & 1;
    let at = connection.position[side];
    if !sequences.known {
        return at;
    }
    let ahead = of_side(sequences, side).wrapping_sub(connection.sequence[side]);
    // A FIN has a sequence number of its own; nothing comes after it.
    if ahead > i32::MAX as u32 || (ahead == 1 && has_finished(connection, sk, side)) {
        return at;
    }
    at + u64::from(ahead)
}

/// The FIN of a direction was sent, or has come.
#[inline(always)]
fn has_finished(connection: &Connection, sk: u64, side: usize) -> bool {
    if side == 0 { socket::peer_has_finished(sk) } else { connection.flags & FIN_SENT != 0 }
}

#[inline(always)]
fn of_side(sequences: Sequences, side: usize) -> u32 {
    if side == 0 { sequences.received } else { sequences.sent }
}

/// Whether a piece begins a turn. The first of all says where requests go, until a response is seen.
#[inline(always)]
pub(super) fn turn(connection: &mut Connection, direction: u32) -> bool {
    let before = u32::from(connection.last_direction);
    if before == direction {
        return false;
    }
    connection.last_direction = direction as u8;
    connection.flags |= TURN;
    if before > 1 && direction != RECEIVED {
        connection.flags |= SENT_FIRST;
    }
    true
}

/// A piece is lost before it was looked at: counts the request that it may have begun.
#[inline(always)]
pub(super) fn missed(connection: &mut Connection, direction: u32) {
    connection.flags &= !TURN;
    turn(connection, direction);
    count_request(connection, direction);
}

/// A piece was lost: counts the request that it may have begun.
#[inline(always)]
pub fn count_request(connection: &Connection, direction: u32) {
    cold_path();
    if connection.flags & TURN != 0 {
        count_requests(connection, direction, 1);
    }
}

/// So many messages were lost, which are requests if they went where those go.
#[inline(always)]
pub(super) fn count_requests(connection: &Connection, direction: u32, messages: u64) {
    let responses = (connection.flags / RESPONSES) & 3;
    let requests = match responses {
        1 => 1,
        2 => 0,
        _ => u32::from(connection.flags & SENT_FIRST != 0),
    };
    if requests == direction & 1 {
        let _counted = losses::lose_requests(connection.tgid, messages);
    }
}

#[inline(always)]
pub(super) fn first_word(scratch: *mut Scratch) -> u32 {
    // SAFETY: within the payload.
    unsafe { (&raw const (*scratch).payload).cast::<u32>().read_unaligned() }
}

/// Tells user space of a connection before its first piece. `first`: how long that is, for TCP.
#[inline(always)]
fn announce<S: Socket>(socket: S, connection: &mut Connection, tgid: u32, at_ns: u64, first: u32) -> Option<()> {
    let sk = socket.address();
    let mut room = Room::<Open>::take()?;
    let open = room.zeroed();
    // SAFETY: members of a record in the ring buffer.
    unsafe {
        (*open).kind = EventKind::Open as u32;
        (*open).conn = connection.id;
        (*open).at_ns = at_ns;
        (*open).tgid = tgid;
    }
    // What could not be read stays zero, which user space shows as unknown.
    let _unknown = socket::describe(sk, open);
    let _unknown = task::identify_current(open);
    let [received, sent] = connection.sequence;
    let origin =
        [received.wrapping_sub(connection.position[0] as u32), sent.wrapping_sub(connection.position[1] as u32)];
    // SAFETY: as above. Where there are no sequence numbers, positions alone would be taken for some.
    unsafe { (*open).sequence = if connection.sequence == [0; 2] { [0; 2] } else { origin } };
    if let Some(connecting) = socket.connecting() {
        // SAFETY: as above; a value of a map, at worst another socket's, if it is evicted at this moment.
        unsafe { (*open).connected = [(*connecting).begun, (*connecting).done] };
        socket.forget_connecting();
    }
    if first > 0 && socket::has_moved_only(sk, first) == Some(true) {
        // SAFETY: as above.
        unsafe { (*open).state |= MET_AT_BEGINNING };
        budget::begins(connection);
    }
    room.emit();
    Some(())
}
