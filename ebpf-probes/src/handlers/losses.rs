//! What is lost of processes that are not evaluated yet is remembered by process: if one turns out not to be chosen, nothing was.

use core::{arch::asm, hint::cold_path};

use ebpf_common::policy::{Counter, WATCH};

use super::counters::count_many;
use crate::{
    maps::{PROCESSES, UNDECIDED_LOSSES},
    state::Losses,
};

/// So many requests of a process may have been lost.
///
/// A function of its own, which is exported so that the verifier follows it by itself: see `meet::meet_process`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn lose_requests(tgid: u32, requests: u64) -> u32 {
    cold_path();
    // SAFETY: the value is copied out at once.
    let policy = unsafe { PROCESSES.get(&tgid) }.copied();
    if policy == Some(WATCH) || !remember(tgid, 0, requests) {
        count_many(Counter::LostRequests, requests);
    }
    0
}

/// A record of a process that is not evaluated yet was shed.
#[inline(always)]
pub(super) fn shed_undecided(tgid: u32) {
    count_many(Counter::ShedUndecided, 1);
    if !remember(tgid, 1, 0) {
        count_many(Counter::ShedUnattributed, 1);
    }
}

/// `false` where there is no room for it.
#[inline(always)]
fn remember(tgid: u32, records: u64, requests: u64) -> bool {
    if let Some(losses) = UNDECIDED_LOSSES.get_ptr_mut(&tgid) {
        // SAFETY: members of a value of the map.
        unsafe {
            add(&raw mut (*losses).records, records);
            add(&raw mut (*losses).requests, requests);
        }
        return true;
    }
    let losses = Losses { records, requests };
    // Of two threads that come here at the same time one has its first loss overwritten.
    UNDECIDED_LOSSES.insert(&tgid, &losses, 0).is_ok()
}

/// Adds to a number that other processors add to at the same time.
///
/// # Safety
/// It is one of a map.
#[inline(always)]
unsafe fn add(to: *mut u64, more: u64) {
    // SAFETY: as the caller says. It is what a 64-bit number lies at.
    unsafe { asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) to, in(reg) more, options(nostack)) }
}
