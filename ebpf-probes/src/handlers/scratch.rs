//! Room for programs of uprobes to work in.
//!
//! Such a program can be preempted, on every kernel, and others are run on its processor meanwhile, for other threads. So each
//! claims a room of its own for as long as it is under way, and no record carries another thread's bytes. A program that
//! continues in another one hands it on: a thread is in one program of a uprobe at a time.

use core::arch::asm;

use ebpf_common::{limits::TLS_SCRATCH_SLOTS, policy::Counter};

use super::counters::count;
use crate::{maps::TLS_SCRATCH, state::Scratch};

/// A room for a program that runs for `thread`. Has to be given back.
///
/// Whoever counts one claim, its own, has it: everybody claims before looking, and a room is claimed until it is given back.
#[inline(always)]
pub fn claim(thread: u64) -> Option<*mut Scratch> {
    for slot in 0..TLS_SCRATCH_SLOTS {
        let scratch = TLS_SCRATCH.get_ptr_mut(slot)?;
        add(scratch, 1);
        // SAFETY: per-CPU memory.
        if unsafe { (&raw const (*scratch).claims).read_volatile() } == 1 {
            set_owner(scratch, thread);
            return Some(scratch);
        }
        add(scratch, -1);
    }
    count(Counter::LostPreempted);
    None
}

/// The room that was claimed for `thread` by the program before this one.
#[inline(always)]
pub fn claimed(thread: u64) -> Option<*mut Scratch> {
    for slot in 0..TLS_SCRATCH_SLOTS {
        let scratch = TLS_SCRATCH.get_ptr_mut(slot)?;
        // SAFETY: per-CPU memory.
        if unsafe { (&raw const (*scratch).owner).read_volatile() } == thread {
            return Some(scratch);
        }
    }
    None
}

/// Gives a room back.
#[inline(always)]
pub fn release(scratch: *mut Scratch) {
    set_owner(scratch, 0);
    add(scratch, -1);
}

#[inline(always)]
fn set_owner(scratch: *mut Scratch, thread: u64) {
    // SAFETY: per-CPU memory, which this program has claimed.
    unsafe { (&raw mut (*scratch).owner).write_volatile(thread) }
}

/// Adds to the number of claims, in one instruction that every kernel knows: the others, which give the old value, came with
/// Linux 5.12.
#[inline(always)]
fn add(scratch: *mut Scratch, value: i64) {
    // SAFETY: an aligned word of per-CPU memory.
    unsafe {
        let claims = &raw mut (*scratch).claims;
        asm!("lock *(u64 *)({0} + 0) += {1}", in(reg) claims, in(reg) value, options(nostack));
    }
}
