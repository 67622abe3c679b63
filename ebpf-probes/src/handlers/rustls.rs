//! Plaintext of rustls: record by record, where it is encrypted and where it was decrypted.
//!
//! A connection's value in Rust moves about in memory, so its address says nothing. What stays at its place is the
//! encrypter, and rustls hands over the number of each record, so that another encrypter at the same place is noticed. It
//! is made right after the thread received the peer's handshake, on the connection it is for. The program itself
//! receives cipher text and gives it to rustls at once; so what is decrypted came from where the thread last received.
//!
//! Where the records of an encrypter go that was made before the probes is learned from what its thread sends next: twice
//! in a row a piece on the same connection that begins with a record of just that length, while no other such encrypter
//! was used in between. The connection's plaintext is followed from there on; what was read before is left out as well,
//! so that no response is taken for that of a request it does not answer.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use ebpf_common::{
    events::{PLAINTEXT, RECEIVED, SENT},
    limits::{IOV_MAX, TLS_RECORD_MAX},
    policy::Counter,
};

use super::{
    capture::{Memory, least, read_user_value},
    counters::count,
    plaintext, process,
    tls::{self, AMBIGUOUS, BELIEVED, ESTABLISHED, MID_STREAM, NOTHING_DONE},
    tls_threads,
};
use crate::{
    maps::{TLS_CARRIERS, TLS_STREAMS, TLS_THREADS, TLS_WRITERS},
    state::{BOUND, Buffer, Connection, IGNORED, Scratch, TlsKey, TlsStream, TlsThread, TlsWriter},
};

/// `ContentType::ApplicationData`, as rustc numbers it.
const APPLICATION_DATA: u64 = 3;
/// `ProtocolVersion::TLSv1_2`, likewise, and 1.3, but for the last bit: what encrypted records claim to be.
const TLS_1_2: u64 = 4;
/// What stands for the capacity where a payload is borrowed.
const BORROWED: u64 = 1 << 63;
/// What stands before a record's length, and how many bytes it takes (RFC 8446, 5.2; RFC 5246, 6.2.3).
const APPLICATION_DATA_RECORD: u8 = 23;
const RECORD_HEADER: u16 = 5;
/// By how much a record is longer than what is in it: of ChaCha20-Poly1305 and of AES-GCM in TLS 1.2, and of all in 1.3.
const OVERHEADS: [u64; 3] = [16, 24, 17];
/// Most capacity of a vector that holds a record.
const CAPACITY_MAX: u64 = 1 << 20;

/// An encrypter was made. `file` gives the number of the program's file.
#[inline(always)]
pub fn makes(object: u64, file: impl FnOnce() -> u32) -> Option<()> {
    let thread_id = bpf_get_current_pid_tgid();
    let key = TlsKey { object, tgid: thread_id >> 32 };
    if !process::watched(key.tgid as u32) {
        return None;
    }
    let thread = TLS_THREADS.get_ptr(&thread_id)?;
    // SAFETY: only this thread changes the value; at worst another's, if it is evicted at this moment.
    let thread = unsafe { &*thread };
    let carrier = thread.last;
    if carrier == 0 {
        // New keys for the connection that was just written to, or a client's early data.
        let _was_there = TLS_WRITERS.remove(&key);
        return gives_up(thread.carrier, thread_id);
    }
    let found = tls::stream(&key_of(carrier, thread_id), file)?;
    // SAFETY: a value of the map; at worst another connection's, if it is evicted at this moment.
    let stream = unsafe { &mut *found };
    if stream.carrier == 0 {
        if !tls::carry(stream, carrier, thread_id) {
            return gives_up(carrier, thread_id);
        }
        let _told_already = TLS_CARRIERS.insert(&carrier, &stream.plaintext.id, 0);
    }
    if TLS_WRITERS.insert(&key, &TlsWriter { carrier, next: 0, observed: BELIEVED.into() }, 0).is_err() {
        return gives_up(carrier, thread_id);
    }
    Some(())
}

/// An encrypter begins with record number `sequence`, described at `message`. `file` gives the number of the program's file.
/// Gives what is to be done next, see [`FOLLOW`](super::socket_io::FOLLOW).
#[inline(always)]
pub fn encrypts(object: u64, message: u64, sequence: u64, file: impl FnOnce() -> u32) -> Option<u32> {
    let thread_id = bpf_get_current_pid_tgid();
    let key = TlsKey { object, tgid: thread_id >> 32 };
    if !process::watched(key.tgid as u32) {
        return None;
    }
    // Payload, then content type and version, in one of two orders.
    let [chunks, first, second, third, kinds] = read_user_value::<[u64; 5]>(message)?;
    let kind = if kinds >> 16 & 0xfffe == TLS_1_2 {
        kinds & 0xff
    } else if kinds & 0xfffe == TLS_1_2 {
        kinds >> 32 & 0xff
    } else {
        0 // It counts nevertheless.
    };
    let len = match (kind == APPLICATION_DATA, chunks == 0) {
        (false, _) => 0,
        (true, true) => second,
        (true, false) => third.wrapping_sub(second),
    };
    let carrier = follow(&key, sequence, file)?;
    if carrier == 0 {
        waits(object, len, thread_id);
        return None;
    }
    if len == 0 || len > u64::from(TLS_RECORD_MAX) {
        return None;
    }
    let Some(thread) = thread(thread_id) else {
        gives_up(carrier, thread_id);
        return None;
    };
    // SAFETY: only this thread uses the value; at worst another's, if it is evicted at this moment.
    let thread = unsafe { &mut *thread };
    // New keys for later records may be made next, without anything received for this connection.
    thread.last = 0;
    thread.carrier = carrier;
    let stream = followed(carrier, thread_id)?;
    // SAFETY: as in `makes`.
    let stream = unsafe { &mut *stream };
    if chunks == 0 {
        return plaintext::piece(stream, thread_id, SENT, len as u32, Buffer::plain(first), true);
    }
    // A part of an array of `first` slices, from its `second` byte on.
    let (mut at, mut skip) = (0, second);
    while at < u64::from(IOV_MAX) {
        if skip == 0 || at >= first {
            break;
        }
        let size = read_user_value::<u64>(chunks + 16 * at + 8)?;
        if skip < size {
            break;
        }
        skip -= size;
        at += 1;
    }
    // Read from the map, so that the verifier follows what comes next once, not for each way through the loop.
    let at = forget(&raw mut thread.forgotten[0], at);
    let skip = forget(&raw mut thread.forgotten[1], skip);
    if at >= u64::from(IOV_MAX) {
        // Too many to be gathered, and so it shows as a gap.
        plaintext::unseen(stream, SENT, len as u32);
        return None;
    }
    let (mut slices, mut count, mut rest) = (chunks + 16 * at, first.wrapping_sub(at), len);
    if skip != 0 {
        let [base, size] = read_user_value::<[u64; 2]>(slices)?;
        let part = least(size.wrapping_sub(skip), len);
        (slices, count, rest) = (slices + 16, count.wrapping_sub(1), len - part);
        if plaintext::is_followed(stream, SENT) {
            let memory = Memory { at: base + skip, len: part, iov: slices, count };
            return plaintext::followed(stream, thread_id, SENT, len as u32, memory);
        }
        plaintext::piece(stream, thread_id, SENT, part as u32, Buffer::plain(base + skip), false)?;
    }
    let rest = forget(&raw mut thread.forgotten[0], rest);
    if rest == 0 {
        return None;
    }
    plaintext::piece(stream, thread_id, SENT, rest as u32, Buffer::vector(slices, count), true)
}

/// A record was decrypted; `payload` describes what was in it. Gives what is to be done next, as above.
#[inline(always)]
pub fn decrypted(payload: u64) -> Option<u32> {
    let thread_id = bpf_get_current_pid_tgid();
    if !process::watched((thread_id >> 32) as u32) {
        return None;
    }
    let [capacity, address, len] = read_user_value::<[u64; 3]>(payload)?;
    let plausible = capacity == BORROWED || (len <= capacity && capacity <= CAPACITY_MAX);
    if !plausible || len == 0 || len > u64::from(TLS_RECORD_MAX) {
        return None;
    }
    // SAFETY: the value is copied out at once.
    let carrier = unsafe { TLS_THREADS.get(&thread_id) }?.last;
    if carrier == 0 {
        return None;
    }
    let stream = followed(carrier, thread_id)?;
    // SAFETY: as in `makes`.
    let stream = unsafe { &mut *stream };
    stream.traits |= ESTABLISHED;
    plaintext::piece(stream, thread_id, RECEIVED, len as u32, Buffer::plain(address), true)
}

/// An encrypter whose connection is not known has made a record of `len` bytes of plaintext, 0 where it holds no data.
#[inline(always)]
fn waits(object: u64, len: u64, thread_id: u64) -> Option<()> {
    // SAFETY: only this thread uses the value; at worst another's, if it is evicted at this moment.
    let thread = unsafe { &mut *thread(thread_id)? };
    if thread.writer == 0 && len != 0 {
        thread.writer = object;
        thread.written = len;
    } else if thread.writer != object {
        thread.writer = AMBIGUOUS;
    }
    if len != 0 {
        // As after every record: new keys may be made next.
        thread.last = 0;
        thread.carrier = 0;
    }
    Some(())
}

/// A piece that begins with a TLS record, in the scratch buffer, was sent on a connection whose plaintext is not known.
#[inline(always)]
pub fn sent(scratch: *mut Scratch, connection: &mut Connection) -> Option<()> {
    let thread_id = bpf_get_current_pid_tgid();
    // SAFETY: as in `waits`.
    let thread = unsafe { &mut *TLS_THREADS.get_ptr_mut(&thread_id)? };
    let (object, len) = (thread.writer, thread.written);
    thread.writer = 0;
    if object == 0 || object == AMBIGUOUS || connection.flags & BOUND != 0 {
        return None;
    }
    // SAFETY: within the payload.
    let [kind, _, _, high, low] =
        unsafe { (&raw const (*scratch).payload).cast::<[u8; RECORD_HEADER as usize]>().read() };
    let overhead = u64::from(u16::from_be_bytes([high, low])).wrapping_sub(len);
    if kind != APPLICATION_DATA_RECORD || !OVERHEADS.contains(&overhead) {
        return None;
    }
    // SAFETY: as in `waits`.
    let writer = unsafe { &mut *TLS_WRITERS.get_ptr_mut(&TlsKey { object, tgid: thread_id >> 32 })? };
    if writer.carrier != connection.id {
        writer.carrier = connection.id;
        writer.observed = 1;
        return None;
    }
    writer.observed += 1;
    if writer.observed < u64::from(BELIEVED) {
        return None;
    }
    let found = tls::fresh_stream(&key_of(connection.id, thread_id), ESTABLISHED | MID_STREAM)?;
    // SAFETY: as in `makes`.
    let stream = unsafe { &mut *found };
    if !tls::carry(stream, connection.id, thread_id) {
        return gives_up(connection.id, thread_id);
    }
    connection.plaintext = stream.plaintext.id;
    connection.flags |= BOUND | IGNORED;
    Some(())
}

/// Where the records of an encrypter go; 0 where that is not known. None where a record of it was not seen.
#[inline(always)]
fn follow(key: &TlsKey, sequence: u64, file: impl FnOnce() -> u32) -> Option<u64> {
    let Some(writer) = TLS_WRITERS.get_ptr_mut(key) else {
        if tls_threads::probes_are_complete(file()) {
            let _full = TLS_WRITERS.insert(key, &TlsWriter { carrier: 0, next: sequence + 1, observed: 0 }, 0);
        }
        return Some(0);
    };
    // SAFETY: as in `makes`.
    let writer = unsafe { &mut *writer };
    let carrier = if writer.observed < u64::from(BELIEVED) { 0 } else { writer.carrier };
    if writer.next != sequence {
        let _gone_already = TLS_WRITERS.remove(key);
        if carrier != 0 {
            gives_up(carrier, key.tgid << 32);
        }
        return None;
    }
    writer.next = sequence + 1;
    Some(carrier)
}

/// What is remembered of the current thread.
#[inline(always)]
fn thread(thread_id: u64) -> Option<*mut TlsThread> {
    if let Some(known) = TLS_THREADS.get_ptr_mut(&thread_id) {
        return Some(known);
    }
    let _full = TLS_THREADS.insert(&thread_id, &NOTHING_DONE, 0);
    TLS_THREADS.get_ptr_mut(&thread_id)
}

/// The plaintext of a connection that is followed.
#[inline(always)]
fn followed(carrier: u64, thread_id: u64) -> Option<*mut TlsStream> {
    TLS_STREAMS.get_ptr_mut(&key_of(carrier, thread_id))
}

/// Not all that is written to a connection is seen: nothing more is told of it.
#[inline(always)]
pub(super) fn gives_up(carrier: u64, thread_id: u64) -> Option<()> {
    if TLS_STREAMS.remove(&key_of(carrier, thread_id)).is_ok() {
        // So that what is open there is not taken for what was never answered.
        count(Counter::LostTlsRecord);
    }
    None
}

/// Writes a number down and reads it again.
#[inline(always)]
fn forget(slot: *mut u64, value: u64) -> u64 {
    // SAFETY: a member of a value that only this thread uses.
    unsafe {
        slot.write_volatile(value);
        slot.read_volatile()
    }
}

/// Stands in for the address of a TLS object; no address has that bit.
#[inline(always)]
fn key_of(carrier: u64, thread_id: u64) -> TlsKey {
    TlsKey { object: carrier | PLAINTEXT, tgid: thread_id >> 32 }
}
