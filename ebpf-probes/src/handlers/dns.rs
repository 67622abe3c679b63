//! What DNS servers answer to processes: the names of the addresses that they connect to next.

use core::hint::cold_path;

use aya_ebpf::{
    bindings::BPF_RB_NO_WAKEUP,
    helpers::{bpf_get_current_pid_tgid, bpf_get_current_task, bpf_ktime_get_ns},
};
use ebpf_common::{
    events::{DnsResponse, EventKind, RECEIVED},
    limits::{ANSWER_MAX, ANSWERS_EVERY, ANSWERS_MAX},
    policy::Counter,
};

use super::{
    capture::{least, opaque, read_user, read_user_value, room},
    counters::count,
    emit::emit_bytes,
};
use crate::{
    kernel::task::{self, tgid_of},
    maps::{ANSWERED, SCRATCH},
    state::Buffer,
};

/// Where DNS servers listen.
pub const PORT: u16 = 53;

/// For the verifier: a length of what is copied.
const MASK: u64 = 2047;
const _: () = assert!(ANSWER_MAX as u64 <= MASK);
const COUNT_BITS: u32 = 16;

/// The current process received `moved` bytes from a DNS server. They are handed to user space, of several buffers what the
/// first one holds.
#[inline(always)]
pub fn answered(moved: u32, buffer: Buffer) -> Option<()> {
    let tgid = tgid_of(bpf_get_current_pid_tgid());
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
    let scratch = SCRATCH.get_ptr_mut(RECEIVED)?;
    let record = room(scratch, 0);
    let len = opaque(least(len, ANSWER_MAX.into())) & MASK;
    if !read_user(room(scratch, size_of::<DnsResponse>() as u64), len, at) {
        count(Counter::LostReadFault);
        return None;
    }
    // SAFETY: the helper only returns an address.
    let task = unsafe { bpf_get_current_task() };
    let answer = DnsResponse {
        kind: EventKind::DnsResponse as u32,
        len: len as u32,
        tgid,
        reserved: 0,
        at_ns,
        started_at_ns: task::started_at_ns(task).unwrap_or(0),
    };
    // SAFETY: within the payload, which has room for more.
    unsafe { record.cast::<DnsResponse>().write_unaligned(answer) };
    let len = size_of::<DnsResponse>() as u64 + len;
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
