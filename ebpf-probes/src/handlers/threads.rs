//! Units of work that are threads: Java's virtual ones, and Puma's workers.

use aya_ebpf::helpers::{bpf_get_current_comm, bpf_get_current_pid_tgid};
use ebpf_common::work::Plan;

use super::capture::read_user_value;
use crate::kernel::task;

/// What the names of Puma's workers begin with, from its release 5 on, and before.
const NAMES: [[u64; 2]; 2] = [words(*b"puma srv tp \0\0\0\0"), words(*b"puma threadpool\0")];
/// What of a name's second half is looked at: the number of a thread stands behind it.
const BEGINNINGS: [u64; 2] = [0xffff_ffff, 0xff_ffff_ffff_ffff];

const fn words(name: [u8; 16]) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, rest @ ..] = name;
    [u64::from_ne_bytes([a, b, c, d, e, f, g, h]), u64::from_ne_bytes(rest)]
}

/// The virtual thread that the current thread carries: its number, shifted so that bits are free. What a thread does for itself is
/// told of threads.
#[inline(always)]
pub(super) fn virtual_thread(plan: &Plan) -> Option<u64> {
    let [thread, handles, number, _] = &plan.offsets;
    let thread = read_user_value::<u64>(task::thread_pointer()?.wrapping_add(*thread))?;
    // Objects move, handles do not.
    let [own, runs] = read_user_value::<[u64; 2]>(thread.wrapping_add(*handles))?;
    let (own, runs) = (read_user_value::<u64>(own)?, read_user_value::<u64>(runs)?);
    if runs == own {
        return None;
    }
    let runs = read_user_value::<u64>(runs.wrapping_add(*number))?;
    // The same object, seen before and after it was moved.
    if read_user_value::<u64>(own.wrapping_add(*number))? == runs {
        return None;
    }
    Some(runs << 2)
}

/// The current thread, if it is a worker of Puma.
#[inline(always)]
pub(super) fn worker_of_puma() -> Option<u64> {
    let [first, second] = words(bpf_get_current_comm().ok()?);
    let is = |at: usize| first == NAMES[at][0] && second & BEGINNINGS[at] == NAMES[at][1];
    (is(0) || is(1)).then(|| (bpf_get_current_pid_tgid() & 0xffff_ffff) << 2)
}
