//! Plaintext of Go's `crypto/tls`, as it is read and written.
//!
//! A connection's structure (`tls.Conn`) lies on the heap, where nothing moves, and begins with the connection that carries it: so its socket
//! is known at each hit, on connections that are older than the probes too. Nothing is kept of stacks, which do move. Nobody
//! says when a structure is given back; that another connection has its place shows by its socket.

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use ebpf_common::{
    events::{RECEIVED, SENT},
    policy::TLS_OF_GO,
};

use super::{
    capture::{self, read_user_value},
    go,
    plaintext::plaintext_piece,
    process, sockets, tls, tls_threads,
};
use crate::{
    kernel::{file_table, task::tgid_of},
    maps::{TLS_CARRIERS, TLS_STREAMS},
    state::TlsKey,
};

/// `recordTypeApplicationData`.
const APPLICATION_DATA: u8 = 23;

/// A record of this `kind`, or several, is made of `len` bytes at `address`. Gives what is to be done next, see
/// [`FOLLOW`](super::socket_io::FOLLOW).
#[inline(always)]
pub fn writes(object: u64, kind: u8, address: u64, len: u64) -> Option<u32> {
    if kind != APPLICATION_DATA || !process::watched(tgid_of(bpf_get_current_pid_tgid())) {
        return None;
    }
    piece(object, SENT, address, len)
}

/// Bytes are handed over to who reads, by a call with these arguments: to where and from where, and how many; or, as programs built with `-race` have it, to where and
/// how many, from where and how many. The stack ends at `stack`. Gives what is to be done next, as above.
#[inline(always)]
pub fn reads(stack: u64, [second, third, fourth]: [u64; 3]) -> Option<u32> {
    let tgid = tgid_of(bpf_get_current_pid_tgid());
    if !process::watched(tgid) {
        return None;
    }
    let layout = &go::plan(tgid)?.go;
    let (address, len) = if layout.tls_slices == 0 { (second, third) } else { (third, capture::least(second, fourth)) };
    piece(read_user_value(stack.wrapping_add(layout.tls_connection.into()))?, RECEIVED, address, len)
}

#[inline(always)]
fn piece(object: u64, direction: u32, address: u64, len: u64) -> Option<u32> {
    if address == 0 || len == 0 || len > i32::MAX as u64 || go_tls_stream(object) == 0 {
        return None;
    }
    Some(plaintext_piece(object, direction, len as u32, address))
}

/// Whether the plaintext of a connection of the current process is followed, from now on if not before.
///
/// A function of its own, which is exported so that the verifier follows it by itself: see `meet::meet_process`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn go_tls_stream(object: u64) -> u32 {
    follows(object).is_some().into()
}

#[inline(always)]
fn follows(object: u64) -> Option<()> {
    let thread_id = bpf_get_current_pid_tgid();
    let key = TlsKey { object, tgid: thread_id >> 32 };
    let plan = go::plan(tgid_of(thread_id))?;
    if plan.go.tls_connection == 0 {
        // Not all of its probes are in their place.
        return None;
    }
    let socket = file_table::socket(go::descriptor(plan, object)?)?;
    if TLS_STREAMS.get_ptr(&key).is_none() {
        if !tls_threads::probes_are_complete(TLS_OF_GO) {
            return None;
        }
        tls::remember_stream(object, key.tgid);
    }
    // SAFETY: a value of the map; at worst another object's, if it is evicted at this moment.
    let stream = unsafe { &mut *TLS_STREAMS.get_ptr_mut(&key)? };
    if stream.candidate != socket.inode {
        if stream.candidate != 0 {
            stream.plaintext = tls::plaintext(tgid_of(thread_id));
            stream.carrier = 0;
        }
        (stream.candidate, stream.written_at) = (socket.inode, socket.sk);
        stream.traits |= tls::OF_GO;
    }
    // Of one that is older, and over which nothing was seen to move yet, it becomes known later.
    if stream.carrier == 0
        && let Some(carrier) = sockets::identity(socket.sk, socket.inode)
        && tls::carry(stream, carrier, thread_id)
    {
        let _told_already = TLS_CARRIERS.insert(&carrier, &stream.plaintext.id, 0);
    }
    Some(())
}
