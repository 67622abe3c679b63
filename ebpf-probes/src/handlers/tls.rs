//! Plaintext, as it enters and leaves a TLS library, and which connection carries it.
//!
//! Nothing is known of the library's structures. A socket call within a TLS call that reads (or shakes hands) tells for
//! certain which connection carries the TLS object. Where the program moves the cipher text itself and hands it to
//! the library through memory, the connection on which a thread received just before it asked the library to read is
//! a candidate, and is believed when that was so twice in a row.
//!
//! A call is named by where on the stack its return address lies ([`crate::state::TlsCall`]): a program may switch stacks within it,
//! carry it on by another thread, begin another within it, or never return from it. A socket call is within the innermost call
//! above it on its own stack.
//!
//! Writes are seen when they begin only, so one that the library could not finish is told by what follows: the program
//! has to repeat it with the same bytes, or to go on with the rest of them.

use core::hint::cold_path;

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_get_smp_processor_id, bpf_ktime_get_ns};
use ebpf_common::{
    events::{Bind, EventKind, MET_MID_STREAM, Open, PLAINTEXT, RECEIVED, SENT, State, TCP_CLOSE, TCP_FIN_WAIT1},
    limits::{HEAD_MAX, TLS_RECORD_MAX},
    policy::Counter,
};

use super::{
    budget,
    capture::read_user_value,
    counters::count,
    emit::{Room, emit},
    held,
    plaintext::plaintext_piece,
    process, socket_io,
    tls_calls::{
        Begun, ENCRYPTER, HANDSHAKE, PAGE_SHIFT, PAGES, READ_PACKET, UNCORK, closes, innermost, open_call, opens,
    },
    tls_threads,
};
use crate::{
    kernel::task,
    maps::{TLS_CARRIERS, TLS_HELD, TLS_STREAMS, TLS_THREADS},
    state::{ANNOUNCED, BOUND, CIPHER, Connection, FrameCursor, HELD, IGNORED, TlsCall, TlsKey, TlsStream, TlsThread},
};

/// The first word of a TLS record with a handshake message or application data, as it reads in memory; its last bit
/// tells them apart, and the version's second byte differs (RFC 8446, 5.1).
pub const RECORD_BEGINNING: u32 = 0x0316;
/// See [`RECORD_BEGINNING`].
pub const RECORD_MASK: u32 = 0xf8_fffe;

/// [`TlsStream::traits`]: the library uses the socket itself.
const SOCKET_BIO: u32 = 1;
/// The program moves the cipher text.
const MEMORY_BIO: u32 = 1 << 1;
/// Plaintext was received: the handshake is over.
pub(super) const ESTABLISHED: u32 = 1 << 2;
/// The last write found the socket full; the same bytes will be written again.
const UNDONE: u32 = 1 << 3;
/// A read had nothing to give since the last write.
const WAITED: u32 = 1 << 4;
/// It was known to move bytes up to the moment when it was met.
pub(super) const MID_STREAM: u32 = 1 << 6;

/// It was asked to shake hands by a call of which the return is not seen.
const SHAKES: u32 = 1 << 7;
/// What is written is held back.
const CORKED: u32 = 1 << 9;
/// A socket may have been tried within such a call.
const MAY_HAVE_TRIED: u32 = 1 << 8;
/// It is one of Go's: [`TlsStream::written_at`] is the address of its socket.
pub(super) const OF_GO: u32 = 1 << 10;

/// A thread that has done nothing yet.
pub(super) const NOTHING_DONE: TlsThread = TlsThread {
    writes: 0,
    innermost: 0,
    carrier: 0,
    shakes: 0,
    shakes_at: 0,
    shakes_returns_to: 0,
    received: 0,
    last: 0,
    writer: 0,
    written: 0,
    forgotten: [0; 2],
};

/// [`TlsThread::received`], [`TlsThread::writer`]: more than one.
pub(super) const AMBIGUOUS: u64 = u64::MAX;
/// Observations in a row after which a candidate is believed.
pub(super) const BELIEVED: u32 = 2;
/// A write that was carried out in part ends after a record; no library makes shorter ones of a longer write.
const SHORTEST_RECORD: u64 = 512;

/// A call begins whose return will be seen. `file` gives the number of the library's file.
#[inline(always)]
pub fn begins(call: Begun, file: impl FnOnce() -> u32) -> Option<()> {
    let thread_id = bpf_get_current_pid_tgid();
    let key = TlsKey { object: call.object, tgid: thread_id >> 32 };
    let stream = stream(&key, file)?;
    // SAFETY: a value of the map; at worst another object's, if it is evicted at this moment.
    let stream = unsafe { &mut *stream };
    if call.kind == UNCORK {
        stream.traits &= !CORKED;
    } else {
        asked(stream, thread_id);
    }
    opens(call, stream.carrier, thread_id)
}

/// The program asks the library to go on with a handshake; when that returns is not seen. Its return address lies at `at`.
#[inline(always)]
pub fn observes(object: u64, at: u64, file: impl FnOnce() -> u32) -> Option<()> {
    let thread_id = bpf_get_current_pid_tgid();
    let stream = stream(&TlsKey { object, tgid: thread_id >> 32 }, file)?;
    // SAFETY: as in `begins`.
    let stream = unsafe { &mut *stream };
    asked(stream, thread_id);
    stream.traits |= SHAKES;
    let returns_to = read_user_value::<u64>(at)?;
    // SAFETY: only this thread uses the value; at worst another's, if it is evicted at this moment.
    let thread = unsafe { &mut *TLS_THREADS.get_ptr_mut(&thread_id)? };
    (thread.shakes, thread.shakes_at, thread.shakes_returns_to) = (object, at, returns_to);
    Some(())
}

/// The TLS object whose handshake, of which the return is not seen, may still be going on around code of the current thread whose
/// stack ends at `stack`; 0 for none.
///
/// A function of its own, which is exported so that the verifier follows it by itself: see `meet::meet_process`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn handshake_around(stack: u64) -> u64 {
    // SAFETY: the value is copied out at once.
    let Some(thread) = (unsafe { TLS_THREADS.get(&bpf_get_current_pid_tgid()) }) else { return 0 };
    let (object, at, returns_to) = (thread.shakes, thread.shakes_at, thread.shakes_returns_to);
    // What was put there by a call that has returned may have stayed.
    let may_be = object != 0
        && at.wrapping_sub(stack) < PAGES << PAGE_SHIFT
        && read_user_value::<u64>(at).is_some_and(|word| word == returns_to);
    if may_be { object } else { 0 }
}

/// A socket was tried, maybe within a handshake of this object, as [`handshake_around`] gives it.
#[inline(always)]
fn may_have_tried(object: u64) {
    if object != 0
        && let Some(stream) = TLS_STREAMS.get_ptr_mut(&TlsKey { object, tgid: bpf_get_current_pid_tgid() >> 32 })
    {
        // SAFETY: as in `begins`.
        unsafe { (*stream).traits |= MAY_HAVE_TRIED };
    }
}

/// The program asks the library to look at what it has received.
#[inline(always)]
fn asked(stream: &mut TlsStream, thread_id: u64) {
    let received = calls(thread_id, 0);
    if received != 0 && received != AMBIGUOUS && stream.traits & SOCKET_BIO == 0 {
        observe(stream, received);
    }
}

/// A call of rustls that makes an encrypter begins.
#[inline(always)]
pub fn begins_encrypter(at: u64) -> Option<()> {
    let thread_id = bpf_get_current_pid_tgid();
    if !process::watched((thread_id >> 32) as u32) {
        return None;
    }
    opens(Begun { at, object: 0, buffer: 0, count_at: 0, kind: ENCRYPTER }, 0, thread_id)
}

/// A function returns `result`; its return address lies at `at`. Gives what is to be done next, see [`socket_io::FOLLOW`].
#[inline(always)]
pub fn ends(result: u64, at: u64) -> Option<u32> {
    let thread_id = bpf_get_current_pid_tgid();
    let call = closes(at, thread_id)?;
    if call.kind >= UNCORK {
        return None;
    }
    let key = TlsKey { object: call.object, tgid: thread_id >> 32 };
    // SAFETY: as in `begins`.
    let stream = unsafe { &mut *TLS_STREAMS.get_ptr_mut(&key)? };
    let result = i64::from(result as i32);
    if call.nested != 0 {
        stream.traits = stream.traits & !MEMORY_BIO | SOCKET_BIO;
    } else if result <= 0 && stream.traits & SOCKET_BIO == 0 && call.thread == thread_id {
        // It wanted to read, and did not try the socket.
        stream.traits |= MEMORY_BIO;
    } else if result > 0
        && stream.traits & (SOCKET_BIO | SHAKES | MAY_HAVE_TRIED) == SHAKES
        && stream.observed >= BELIEVED
    {
        // It has read, after a handshake in which it tried no socket either, what the thread had received just before.
        stream.traits |= MEMORY_BIO;
    }
    if stream.traits & MEMORY_BIO != 0 && stream.carrier == 0 && stream.observed >= BELIEVED {
        let carrier = stream.candidate;
        if carry(stream, carrier, thread_id) {
            let _inferred_again_later = TLS_CARRIERS.insert(&carrier, &stream.plaintext.id, 0);
        }
    }
    if call.kind == HANDSHAKE {
        return None;
    }
    let len = match call.count_at {
        at if call.kind == READ_PACKET => return ends_packet(stream, thread_id, at, result),
        0 => result,
        at if result == 1 => read_user_value::<i64>(at)?,
        _ => -1,
    };
    if len <= 0 {
        return read_nothing(stream, thread_id, len);
    }
    stream.traits |= ESTABLISHED;
    Some(plaintext_piece(call.object, RECEIVED, len as u32, call.buffer))
}

/// A call that makes an encrypter of rustls may return; its return address lies at `at`. Gives whether it is one.
#[inline(always)]
pub fn ends_encrypter(at: u64) -> bool {
    closes(at, bpf_get_current_pid_tgid()).is_some_and(|call| call.kind == ENCRYPTER)
}

/// A read returned no bytes: `len` is 0 at the end.
#[inline(always)]
fn read_nothing(stream: &mut TlsStream, thread_id: u64, len: i64) -> Option<u32> {
    stream.traits |= WAITED;
    if len == 0 && stream.plaintext.flags & ANNOUNCED != 0 {
        let thread = u64::from(stream.plaintext.tgid) << 32 | thread_id & 0xffff_ffff;
        socket_io::end(stream.plaintext.id, thread, stream.plaintext.position);
    }
    None
}

/// A read into a packet of GnuTLS's own (`mbuffer_st`), whose address is at `at`, has returned `len`.
#[inline(always)]
fn ends_packet(stream: &mut TlsStream, thread_id: u64, at: u64, len: i64) -> Option<u32> {
    if len <= 0 {
        return read_nothing(stream, thread_id, len);
    }
    // Behind two links: how many bytes at the beginning were taken already, where they lie, and how many there are.
    let [taken, bytes, size] =
        read_user_value::<u64>(at).and_then(|packet| read_user_value::<[u64; 3]>(packet + 2 * 8)).unwrap_or([0; 3]);
    let size = size & 0xffff_ffff;
    let is_packet = bytes != 0 && size.wrapping_sub(taken) == len as u64;
    stream.traits |= ESTABLISHED;
    Some(plaintext_piece(stream.object, RECEIVED, len as u32, if is_packet { bytes + taken } else { 0 }))
}

/// The program wants what it writes to be held back.
#[inline(always)]
pub fn corks(object: u64, file: impl FnOnce() -> u32) -> Option<()> {
    let key = TlsKey { object, tgid: bpf_get_current_pid_tgid() >> 32 };
    // SAFETY: as in `begins`.
    unsafe { (*stream(&key, file)?).traits |= CORKED };
    Some(())
}

/// A write of `len` bytes begins. `by_record`: it takes no more than a record holds. `file` gives the number of the library's
/// file. Gives what is to be done next, see [`socket_io::FOLLOW`].
#[inline(always)]
pub fn writes(object: u64, address: u64, len: u32, by_record: bool, file: impl FnOnce() -> u32) -> Option<u32> {
    let thread = bpf_get_current_pid_tgid();
    let key = TlsKey { object, tgid: thread >> 32 };
    // SAFETY: as in `begins`.
    let is_corked = unsafe { (*stream(&key, file)?).traits & CORKED != 0 };
    let received = calls(thread, object);
    if uncorks(thread, object) != 0 {
        return None;
    }
    if address == 0 || len == 0 || len > i32::MAX as u32 {
        return None; // GnuTLS: go on with what was begun
    }
    let len = if by_record && !is_corked { len.min(TLS_RECORD_MAX) } else { len };
    let len = u64::from(len);
    let known = known_of_write(object, address, len, received);
    if known >= len {
        return None;
    }
    Some(plaintext_piece(object, SENT, (len - known) as u32, address + known))
}

/// Remembers a write of `len` bytes at `address`, and gives how many of the first were those of an earlier one. `received`: on
/// which connection the thread received since its last call.
///
/// A function of its own, which is exported so that the verifier follows it by itself: see `meet::meet_process`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn known_of_write(object: u64, address: u64, len: u64, received: u64) -> u64 {
    let key = TlsKey { object, tgid: bpf_get_current_pid_tgid() >> 32 };
    let Some(stream) = TLS_STREAMS.get_ptr_mut(&key) else { return len };
    // SAFETY: as in `begins`.
    let stream = unsafe { &mut *stream };
    let before = Write {
        at: stream.written_at,
        len: stream.written_len,
        first: stream.written_first,
        next: stream.written_next,
    };
    (stream.written_at, stream.written_len) = (address, len);
    // Read from the map each time, so that no comparison tells the verifier anything for the next one: it would follow what comes
    // next once for each outcome.
    let written_len = &raw const stream.written_len;
    // SAFETY: a member of the value.
    let len = || unsafe { written_len.read_volatile() };
    let first = if len() >= 16 && stream.traits & ESTABLISHED == 0 { read_user_value(address) } else { None };
    stream.written_first = first.unwrap_or([0; 2]);
    let is_held = is_held(stream);
    let known = if too_early(stream, &before, received != 0) {
        // Written again since the handshake has gone on, by what was received.
        if received != 0 && received != AMBIGUOUS {
            observe(stream, received);
        }
        len()
    } else if is_held {
        before.len
    } else {
        repeated(&before, address, len)
    };
    stream.traits &= !WAITED;
    if !is_held {
        stream.traits &= !UNDONE;
    }
    let has_next = len() >= u64::from(TLS_RECORD_MAX) + 8;
    let next = if has_next { read_user_value(address + u64::from(TLS_RECORD_MAX)) } else { None };
    stream.written_next = next.unwrap_or(0);
    known
}

/// A write, as it is remembered.
struct Write {
    at: u64,
    len: u64,
    first: [u64; 2],
    next: u64,
}

/// Whether the thread writes what it wrote to this object before, and was held back: 1 if it does.
///
/// A function of its own, which is exported so that the verifier follows it by itself: see `meet::meet_process`.
#[unsafe(no_mangle)]
#[inline(never)]
extern "C" fn uncorks(thread_id: u64, object: u64) -> u32 {
    // SAFETY: the value is copied out at once.
    let around = unsafe { TLS_THREADS.get(&thread_id) }.map_or(0, |thread| thread.innermost);
    if around == 0 {
        return 0;
    }
    let call = open_call(around, thread_id >> 32);
    // SAFETY: as in `opens`.
    call.is_some_and(|call| unsafe { (*call).kind == UNCORK && (*call).object == object }).into()
}

/// How many of the first bytes of a write were those of an earlier one that was not wholly carried out.
#[inline(always)]
fn repeated(before: &Write, address: u64, len: impl Fn() -> u64) -> u64 {
    if len() >= before.len {
        return 0;
    }
    let done = before.len - len();
    let same_end = address + len() == before.at + before.len && done.is_multiple_of(SHORTEST_RECORD);
    // The program may have moved the rest.
    let may_be_next = done == u64::from(TLS_RECORD_MAX) && len() >= 8;
    let moved = may_be_next && read_user_value(address).unwrap_or(0) == before.next;
    if same_end || moved { len() } else { 0 }
}

/// Whether the last write found the socket full, and nothing was sent since.
#[inline(always)]
fn is_held(stream: &TlsStream) -> bool {
    // SAFETY: the value is only looked at for being there.
    stream.traits & UNDONE != 0 && unsafe { TLS_HELD.get(&stream.carrier) }.is_some()
}

/// Whether a write repeats one from before the end of the handshake, when nothing could be written: the same bytes,
/// without any plaintext received yet, after the program had a reason to try again, or before anything came from the
/// peer.
#[inline(always)]
fn too_early(stream: &TlsStream, before: &Write, received: bool) -> bool {
    stream.traits & (MEMORY_BIO | ESTABLISHED) == MEMORY_BIO
        && (received || stream.traits & WAITED != 0 || stream.candidate == 0)
        && stream.written_len == before.len
        && stream.written_first == before.first
}

/// The program ends its direction of a TLS object.
#[inline(always)]
pub fn shuts_down(object: u64) -> Option<()> {
    let key = TlsKey { object, tgid: bpf_get_current_pid_tgid() >> 32 };
    // SAFETY: as in `begins`.
    let stream = unsafe { &*TLS_STREAMS.get_ptr(&key)? };
    changed(stream, TCP_FIN_WAIT1)
}

/// The program gives a TLS object back.
#[inline(always)]
pub fn frees(object: u64) -> Option<()> {
    let key = TlsKey { object, tgid: bpf_get_current_pid_tgid() >> 32 };
    // SAFETY: as in `begins`.
    let stream = unsafe { &*TLS_STREAMS.get_ptr(&key)? };
    changed(stream, TCP_CLOSE);
    let _gone_already = TLS_STREAMS.remove(&key);
    Some(())
}

/// Bytes moved over a connection with TLS records. Gives whether they may tell what rustls has written to it: the piece is
/// to be read, and [`super::rustls::sent`] to be told. `call`: see [`socket_io::moved`].
#[inline(always)]
pub fn carried(connection: &mut Connection, direction: u32, len: u32, call: impl FnOnce() -> u64) -> bool {
    if !tls_threads::is_probed() {
        return false;
    }
    if connection.flags & BOUND == 0 {
        // SAFETY: the value is copied out at once.
        if let Some(plaintext) = unsafe { TLS_CARRIERS.get(&connection.id) }.copied() {
            connection.plaintext = plaintext;
            connection.flags |= BOUND | IGNORED;
            let _gone_already = TLS_CARRIERS.remove(&connection.id);
        }
    }
    if direction == RECEIVED {
        received(connection, call());
        return false;
    }
    if u64::from(len) < call() {
        // The socket is full. What the library does next may be to give up, without trying it again.
        cold_path();
        held_back(bpf_get_current_pid_tgid(), connection);
    } else if connection.flags & HELD != 0 {
        connection.flags &= !HELD;
        let _gone_already = TLS_HELD.remove(&connection.id);
    }
    if connection.flags & BOUND != 0 {
        return false;
    }
    // SAFETY: the value is copied out at once.
    unsafe { TLS_THREADS.get(&bpf_get_current_pid_tgid()) }.is_some_and(|thread| thread.writer != 0)
}

/// Bytes were received over a connection with TLS records.
#[inline(always)]
fn received(connection: &mut Connection, stack: u64) -> Option<()> {
    let thread_id = bpf_get_current_pid_tgid();
    let within = innermost(stack, thread_id >> 32);
    if within.is_none() {
        may_have_tried(handshake_around(stack));
    }
    match TLS_THREADS.get_ptr_mut(&thread_id) {
        None => {
            let id = connection.id;
            let received = if within.is_some() { 0 } else { id };
            // The library may be asked next.
            let _full = TLS_THREADS.insert(&thread_id, &TlsThread { received, last: id, ..NOTHING_DONE }, 0);
        }
        Some(thread) => {
            // SAFETY: as in `opens`.
            let thread = unsafe { &mut *thread };
            thread.last = connection.id;
            if within.is_none() {
                let known = thread.received == 0 || thread.received == connection.id;
                thread.received = if known { connection.id } else { AMBIGUOUS };
            }
        }
    }
    within_call(within?, connection, thread_id)
}

/// A call of a library tried to receive on a connection with TLS records.
#[inline(always)]
fn within_call(call: *mut TlsCall, connection: &mut Connection, thread_id: u64) -> Option<()> {
    // SAFETY: as in `opens`.
    let call = unsafe { &mut *call };
    call.nested = 1;
    if call.carrier != connection.id || connection.flags & BOUND == 0 {
        connection.plaintext = carries(call, connection.id, thread_id)?;
        connection.flags |= BOUND | IGNORED;
    }
    if call.around == 0 {
        return None;
    }
    // TLS within TLS: what the other object's plaintext is, this one's cipher text.
    // SAFETY: as in `opens`.
    let outer = unsafe { &mut *open_call(call.around, thread_id >> 32)? };
    outer.nested = 1;
    if outer.object != call.object && outer.carrier != connection.plaintext {
        carries(outer, connection.plaintext, thread_id)?;
    }
    None
}

/// The object of a call is carried by a connection, or by another's plaintext, if the call is open indeed. Gives the identity of its plaintext.
#[inline(always)]
fn carries(call: &mut TlsCall, carrier: u64, thread_id: u64) -> Option<u64> {
    // A call that was left otherwise than by its return is not: others have written to its place on the stack since.
    let returns_to = read_user_value::<u64>(call.at)?;
    let is_open = returns_to == call.returns_to || task::return_trampoline() == Some(returns_to);
    if call.kind > HANDSHAKE || !is_open {
        return None;
    }
    let key = TlsKey { object: call.object, tgid: thread_id >> 32 };
    // SAFETY: as in `begins`.
    let stream = unsafe { &mut *TLS_STREAMS.get_ptr_mut(&key)? };
    stream.traits = stream.traits & !MEMORY_BIO | SOCKET_BIO;
    if !carry(stream, carrier, thread_id) {
        return None;
    }
    call.carrier = carrier;
    Some(stream.plaintext.id)
}

/// The current thread tried to receive, and got nothing. `connection` finds it where it is a socket: a library reads
/// files as well, up to their ends. `stack` gives where the caller's stack ends.
#[inline(always)]
pub fn received_nothing(
    stack: impl FnOnce() -> u64,
    connection: impl FnOnce() -> Option<Option<*mut Connection>>,
) -> Option<()> {
    if !tls_threads::is_probed() {
        return None;
    }
    let thread_id = bpf_get_current_pid_tgid();
    // SAFETY: the value is only looked at for being there.
    unsafe { TLS_THREADS.get(&thread_id) }?;
    let stack = stack();
    let Some(call) = innermost(stack, thread_id >> 32) else {
        let object = handshake_around(stack);
        if object != 0 && connection().is_some() {
            may_have_tried(object);
        }
        return None;
    };
    let connection = connection()?;
    // SAFETY: as in `opens`.
    unsafe { (*call).nested = 1 };
    // SAFETY: state of a live connection.
    let connection = unsafe { &mut *connection? };
    if connection.flags & CIPHER == 0 {
        return None;
    }
    within_call(call, connection, thread_id)
}

/// The current thread tried to send, and could not. `conn` finds the connection.
#[inline(always)]
pub fn sent_nothing(connection: impl FnOnce() -> Option<*mut Connection>) -> Option<()> {
    if !tls_threads::is_probed() {
        return None;
    }
    let thread_id = bpf_get_current_pid_tgid();
    // SAFETY: as in `opens`.
    let thread = unsafe { &mut *TLS_THREADS.get_ptr_mut(&thread_id)? };
    // What it has encrypted will be sent later, maybe after something else.
    thread.writer = 0;
    if thread.writes == 0 {
        return None;
    }
    // SAFETY: state of a live connection.
    held_back(thread_id, unsafe { &mut *connection()? })
}

/// The socket of `connection` has not taken all that the thread had for it: if it writes to the TLS object that is carried, the same
/// bytes will be written again.
#[inline(always)]
fn held_back(thread_id: u64, connection: &mut Connection) -> Option<()> {
    // SAFETY: the value is copied out at once.
    let object = unsafe { TLS_THREADS.get(&thread_id) }?.writes;
    if object == 0 {
        return None;
    }
    // SAFETY: as in `begins`.
    let stream = unsafe { &mut *TLS_STREAMS.get_ptr_mut(&TlsKey { object, tgid: thread_id >> 32 })? };
    if stream.traits & SOCKET_BIO != 0 && connection.flags & CIPHER != 0 && stream.carrier == connection.id {
        stream.traits |= UNDONE;
        connection.flags |= HELD;
        let _full = TLS_HELD.insert(&connection.id, &0, 0);
    }
    Some(())
}

/// What is remembered of a TLS object of the current process, if it is watched. `file` gives the number of its library's
/// file.
#[inline(always)]
pub(super) fn stream(key: &TlsKey, file: impl FnOnce() -> u32) -> Option<*mut TlsStream> {
    if !process::watched(key.tgid as u32) {
        return None;
    }
    if let Some(stream) = TLS_STREAMS.get_ptr_mut(key) {
        return Some(stream);
    }
    if !tls_threads::probes_are_complete(file()) {
        return None;
    }
    remember_stream(key.object, key.tgid);
    TLS_STREAMS.get_ptr_mut(key)
}

/// Begins to remember a TLS object of a process.
///
/// A function of its own, which is exported so that the verifier follows it by itself; what it puts together takes half of the
/// stack, of which its callers need the rest.
#[unsafe(no_mangle)]
#[inline(never)]
pub(super) extern "C" fn remember_stream(object: u64, tgid: u64) -> u32 {
    fresh_stream(&TlsKey { object, tgid }, 0).is_some().into()
}

/// Begins to remember a TLS object.
#[inline(always)]
pub(super) fn fresh_stream(key: &TlsKey, traits: u32) -> Option<*mut TlsStream> {
    let fresh = TlsStream {
        object: key.object,
        plaintext: plaintext(key.tgid as u32),
        carrier: 0,
        candidate: 0,
        observed: 0,
        traits,
        written_at: 0,
        written_len: 0,
        written_first: [0; 2],
        written_next: 0,
    };
    if TLS_STREAMS.insert(key, &fresh, 0).is_err() {
        count(Counter::LostMapFull);
        return None;
    }
    TLS_STREAMS.get_ptr_mut(key)
}

/// A new stream of plaintext.
#[inline(always)]
pub(super) fn plaintext(tgid: u32) -> Connection {
    // SAFETY: the helpers only return numbers.
    let (now, processor) = unsafe { (bpf_ktime_get_ns(), bpf_get_smp_processor_id()) };
    Connection {
        // The clock and the processor make it unique.
        id: PLAINTEXT | now << 10 >> 2 | u64::from(processor & 0xff),
        position: [0; 2],
        sequence: [0; 2],
        budget: [HEAD_MAX; 2],
        capture: budget::at_first(),
        tgid,
        flags: 0,
        last_direction: 2,
        renewed: 0,
        runs: [0; 2],
        pieces: 0,
        frames: [FrameCursor::BETWEEN; 2],
        inode: 0,
        plaintext: 0,
        work: 0,
    }
}

/// The thread begins a TLS call, one that writes to an object where `writes` is not 0. Gives on which connection it received
/// since the last one.
#[inline(always)]
fn calls(thread_id: u64, writes: u64) -> u64 {
    match TLS_THREADS.get_ptr_mut(&thread_id) {
        Some(known) => {
            // SAFETY: as in `opens`.
            let known = unsafe { &mut *known };
            let received = known.received;
            *known = TlsThread { writes, innermost: known.innermost, ..NOTHING_DONE };
            received
        }
        None => {
            if TLS_THREADS.insert(&thread_id, &TlsThread { writes, ..NOTHING_DONE }, 0).is_err() {
                count(Counter::LostMapFull);
            }
            0
        }
    }
}

/// The thread received on `carrier`, then asked the library to read.
#[inline(always)]
fn observe(stream: &mut TlsStream, carrier: u64) {
    if stream.carrier == carrier {
        return;
    }
    if stream.carrier != 0 {
        // What was believed is not certain after all.
        stream.carrier = 0;
        bind(stream.plaintext.id, 0);
    }
    if stream.candidate == carrier {
        stream.observed += 1;
    } else {
        stream.candidate = carrier;
        stream.observed = 1;
    }
}

/// `carrier` carries the stream. `false` if user space could not be told.
#[inline(always)]
pub(super) fn carry(stream: &mut TlsStream, carrier: u64, thread: u64) -> bool {
    if stream.carrier == carrier {
        return true;
    }
    if stream.carrier != 0 {
        // The object was taken for another connection.
        stream.plaintext = plaintext((thread >> 32) as u32);
        stream.written_len = 0;
        stream.traits &= SOCKET_BIO | MEMORY_BIO;
    }
    stream.carrier = 0;
    if announce(stream).is_none() || bind(stream.plaintext.id, carrier).is_none() {
        return false;
    }
    stream.carrier = carrier;
    true
}

/// Tells user space of a stream, once.
#[inline(always)]
pub(super) fn announce(stream: &mut TlsStream) -> Option<()> {
    if stream.plaintext.flags & ANNOUNCED != 0 {
        return Some(());
    }
    let mut room = Room::<Open>::take()?;
    let open = room.zeroed();
    // SAFETY: members of a record in the ring buffer; the helper only returns a number.
    unsafe {
        (*open).kind = EventKind::Open as u32;
        (*open).conn = stream.plaintext.id;
        (*open).at_ns = bpf_ktime_get_ns();
        (*open).tgid = stream.plaintext.tgid;
        (*open).state = if stream.traits & MID_STREAM != 0 { MET_MID_STREAM } else { 0 };
    }
    room.emit();
    stream.plaintext.flags |= ANNOUNCED;
    Some(())
}

#[inline(always)]
fn bind(conn: u64, carrier: u64) -> Option<()> {
    emit(Bind {
        kind: EventKind::Bind as u32,
        reserved: 0,
        conn,
        carrier,
        // SAFETY: the helper only returns a number.
        at_ns: unsafe { bpf_ktime_get_ns() },
    })
}

#[inline(always)]
fn changed(stream: &TlsStream, state: u32) -> Option<()> {
    if stream.plaintext.flags & ANNOUNCED == 0 {
        return None;
    }
    held::tell_held(stream.plaintext.id, 0);
    emit(State {
        kind: EventKind::State as u32,
        state,
        conn: stream.plaintext.id,
        // SAFETY: the helper only returns a number.
        at_ns: unsafe { bpf_ktime_get_ns() },
        error: 0,
        unread: 0,
        received: stream.plaintext.position[0],
        sent: stream.plaintext.position[1],
    })
}
