//! What processes ask DNS servers, and what those answer: the names of the addresses that they connect to next.

use core::hint::cold_path;

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::{bpf_get_current_pid_tgid, bpf_get_current_task, bpf_ktime_get_ns},
};
use ebpf_common::{
    events::{DnsMessage, EventKind},
    limits::{ANSWER_MAX, ANSWERS_EVERY, ANSWERS_MAX},
    policy::Counter,
};

use super::{
    capture::{least, opaque, read_user, read_user_value, room},
    counters::count,
    emit::emit_bytes,
};
use crate::{
    kernel::{
        socket,
        task::{self, tgid_of},
    },
    maps::{ANSWERED, SCRATCH},
    state::Buffer,
};

/// Where DNS servers listen.
pub const PORT: u16 = 53;

/// For the verifier: a length of what is copied.
const MASK: u64 = 2047;
const _: () = assert!(ANSWER_MAX as u64 <= MASK);
const COUNT_BITS: u32 = 16;

/// The current process moved `moved` bytes of a DNS message over a socket. They are handed to user space, of several buffers what the
/// first one holds.
#[inline(always)]
pub fn passed(sk: u64, direction: u32, moved: u32, buffer: Buffer) -> Option<()> {
    let thread = bpf_get_current_pid_tgid();
    let tgid = tgid_of(thread);
    // SAFETY: the helper only returns a number.
    let at_ns = unsafe { bpf_ktime_get_ns() };
    if !is_within_share(tgid, at_ns) {
        cold_path();
        count(Counter::AnswersSkipped);
        return None;
    }
    let memory = buffer.memory(moved.into())?;
    let (mut at, mut len) = (memory.at, memory.len);
    if memory.count != 0 {
        let [base, size] = read_user_value::<[u64; 2]>(memory.iov)?;
        (at, len) = (base, least(size, moved.into()));
    }
    let scratch = SCRATCH.get_ptr_mut(direction & 1)?;
    let record = room(scratch, 0);
    let len = opaque(least(len, ANSWER_MAX.into())) & MASK;
    if !read_user(room(scratch, size_of::<DnsMessage>() as u64), len, at) {
        count(Counter::LostReadFault);
        return None;
    }
    // SAFETY: the helper only returns an address.
    let task = unsafe { bpf_get_current_task() };
    let (family, [low, high]) = socket::datagram_server(sk, PORT);
    let message = DnsMessage {
        kind: EventKind::DnsMessage as u32,
        len: len as u32,
        tgid,
        direction,
        at_ns,
        started_at_ns: task::started_at_ns(task).unwrap_or(0),
        tid: thread as u32,
        family,
        reserved: 0,
        server: [0; 16],
    };
    // SAFETY: within the payload, which has room for more.
    unsafe {
        record.cast::<DnsMessage>().write_unaligned(message);
        let server = record.add(core::mem::offset_of!(DnsMessage, server)).cast::<u64>();
        server.write_unaligned(low);
        server.add(1).write_unaligned(high);
    }
    let len = size_of::<DnsMessage>() as u64 + len;
    emit_bytes(record, len, BPF_RB_NO_WAKEUP.into())
}

/// Whether a process has not had more answers lately than are read of one.
#[inline(always)]
fn is_within_share(tgid: u32, at_ns: u64) -> bool {
    let window = at_ns >> ANSWERS_EVERY << COUNT_BITS;
    if let Some(known) = ANSWERED.get_ptr_mut(&tgid) {
        // SAFETY: a value of the map. Two threads may both count the same: it is no exact bound.
        let known = unsafe { &mut *known };
        if *known >> COUNT_BITS << COUNT_BITS == window {
            *known += 1;
            return *known - window <= ANSWERS_MAX;
        }
        *known = window + 1;
        return true;
    }
    // Without room it is not counted.
    let _counted_or_not = ANSWERED.insert(&tgid, &(window + 1), 0);
    true
}
