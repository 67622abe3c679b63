//! Which of the copies of a program tells of a hit.
//!
//! From Linux 7.0 on a program at a tracepoint can be preempted. Until it goes on, the kernel leaves it out for all other
//! threads of that processor. So copies stand behind each, at the same tracepoint, with room of their own to work in. They
//! are run in order; the first that is not left out tells of the hit and marks the thread, and those behind it look at
//! the mark. The last takes it away.

use aya_ebpf::helpers::{bpf_get_current_pid_tgid, bpf_get_smp_processor_id};
use ebpf_common::policy::{CLAIMS_CHUNK, Counter};

use super::counters::count;
use crate::{
    globals::{STANDBY, THREADS},
    maps::{CLAIMS, COPY, STANDING_BY},
};

/// Hooks, each with a bit of its own: an interrupt may hit one while a thread is at another.
#[derive(Clone, Copy)]
#[repr(u8)]
pub enum Hook {
    Send = 1,
    Receive = 1 << 1,
    State = 1 << 2,
    SysExit = 1 << 3,
    Fork = 1 << 4,
    Exec = 1 << 5,
    Exit = 1 << 6,
}

/// Whether a copy that was run before this one has told of the hit.
#[inline(always)]
pub fn already_claimed(hook: Hook) -> bool {
    let last = STANDBY.load();
    // The verifier knows the answer, and takes out the rest where there are no copies.
    if last == 0 {
        return false;
    }
    let Some(&copy) = COPY.get(0) else { return false };
    if STANDING_BY.get(0).is_none_or(|&all| all == 0) {
        return copy != 0;
    }
    let thread = match bpf_get_current_pid_tgid() as u32 {
        // SAFETY: the helper only returns a number.
        0 => THREADS.load().wrapping_add(unsafe { bpf_get_smp_processor_id() } as u32),
        thread => thread,
    };
    // Without room for its mark the first alone tells.
    let Some(marks) = CLAIMS.get_ptr_mut(thread / CLAIMS_CHUNK) else { return copy != 0 };
    // SAFETY: within the element. Nobody but the thread changes it, and an interrupt, which leaves it as it found it.
    let mark = unsafe { marks.cast::<u8>().add((thread % CLAIMS_CHUNK) as usize) };
    // SAFETY: as above.
    let marks = unsafe { mark.read_volatile() };
    let marked = marks & hook as u8 != 0;
    if marked && copy == 0 {
        // The last was left out of the thread's hit before this one.
        count(Counter::ToldBefore);
    }
    if marked && copy != 0 {
        if copy == last {
            // SAFETY: as above.
            unsafe { mark.write_volatile(marks & !(hook as u8)) };
        }
        return true;
    }
    if copy != last {
        // SAFETY: as above.
        unsafe { mark.write_volatile(marks | hook as u8) };
    }
    false
}
