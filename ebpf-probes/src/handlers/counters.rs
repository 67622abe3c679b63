//! Counters that user space reads.

use ebpf_common::policy::Counter;

use crate::maps::COUNTS;

/// Adds one to a counter.
#[inline(always)]
pub fn count(counter: Counter) {
    count_many(counter, 1);
}

/// Counts so many.
#[inline(always)]
pub fn count_many(counter: Counter, more: u64) {
    if let Some(value) = COUNTS.get_ptr_mut(counter as u32) {
        // SAFETY: a per-CPU value, and the program is not preempted by itself.
        unsafe { *value += more }
    }
}
