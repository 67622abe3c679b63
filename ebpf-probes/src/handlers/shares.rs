//! Who may take how much of the ring, so that nobody blinds another. Given up first are records of processes that are not
//! evaluated yet, where processes are chosen by rules: they have a quarter of the ring, and half of it for what says that a connection is
//! there, without which what is lost of it later could be counted by turns only. Beyond half of it, each process may take as much as is free (Choudhury and
//! Hahne's dynamic threshold): of N busy ones each gets an N-th of the rest, and as much stays for one that is quiet.

use core::hint::cold_path;

use aya_ebpf::{
    bindings::{BPF_RB_AVAIL_DATA, BPF_RB_CONS_POS},
    helpers::generated::bpf_ringbuf_query,
};
use ebpf_common::{
    limits::{UNDECIDED_PART, UNSHARED_PART},
    policy::Counter,
};

use super::{counters::count, losses};
use crate::{
    globals::{RING, SELECTIVE},
    maps::{EVENTS, SHARES},
    state::{Scratch, Share},
};

/// Whether a record of `len` bytes, of the process `tgid` and put together in `scratch`, may go into the ring.
#[inline(always)]
pub fn may_take(scratch: *mut Scratch, tgid: u32, len: u64) -> bool {
    // SAFETY: per-CPU memory.
    let undecided = unsafe { (*scratch).undecided };
    may_take_as(scratch, tgid, len, if undecided == 0 { DECIDED } else { UNDECIDED_PART })
}

/// The same of what says that a connection is there.
#[inline(always)]
pub fn may_announce(scratch: *mut Scratch, tgid: u32, len: u64) -> bool {
    // SAFETY: per-CPU memory.
    let undecided = unsafe { (*scratch).undecided };
    may_take_as(scratch, tgid, len, if undecided == 0 { DECIDED } else { UNSHARED_PART })
}

/// The part of the ring of a process that is evaluated: nothing is kept from it before the ring is shared out.
const DECIDED: u32 = 0;

#[inline(always)]
fn may_take_as(scratch: *mut Scratch, tgid: u32, len: u64, part: u32) -> bool {
    // SAFETY: per-CPU memory.
    let pressed = unsafe { &mut (*scratch).pressed };
    if *pressed | u64::from(part) == 0 {
        return true;
    }
    cold_path();
    let answer = share_of_ring(tgid, len, part);
    if answer == UNSHARED {
        *pressed = 0;
    }
    answer != REFUSED
}

/// Answers of [`share_of_ring`].
const REFUSED: u32 = 0;
const GRANTED: u32 = 1;
/// Granted, and the ring is not so full that it is shared out.
const UNSHARED: u32 = 2;

/// Whether a record of `len` bytes of the process `tgid` may go into a ring that is shared out. As long as the process is not evaluated,
/// only a part of the ring is for such records: `part` is the shift of its size.
///
/// A function of its own, which is exported so that the verifier follows it by itself: see `meet::meet_process`.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn share_of_ring(tgid: u32, len: u64, part: u32) -> u32 {
    let waiting = waiting();
    if part != DECIDED && SELECTIVE.load() != 0 && waiting > u64::from(RING.load() >> (part & 31)) {
        losses::shed_undecided(tgid);
        return REFUSED;
    }
    if !is_pressed(waiting) {
        return UNSHARED;
    }
    if take(tgid, len, waiting) {
        return GRANTED;
    }
    count(Counter::ShedShare);
    REFUSED
}

/// Bytes that wait in the ring.
#[inline(always)]
pub fn waiting() -> u64 {
    // SAFETY: the helper only returns a number.
    unsafe { bpf_ringbuf_query(&raw const EVENTS as *mut _, BPF_RB_AVAIL_DATA.into()) }
}

/// Whether the ring is so full that it is shared out.
#[inline(always)]
pub fn is_pressed(waiting: u64) -> bool {
    waiting > u64::from(RING.load() >> UNSHARED_PART)
}

#[inline(always)]
fn take(tgid: u32, len: u64, waiting: u64) -> bool {
    let ring = u64::from(RING.load());
    // SAFETY: the helper only returns a number.
    let read = unsafe { bpf_ringbuf_query(&raw const EVENTS as *mut _, BPF_RB_CONS_POS.into()) };
    // The ring's size is a power of two; a division would bring a panic along.
    let epoch = read & !((ring >> UNSHARED_PART).wrapping_sub(1));
    let free = ring.saturating_sub(waiting);
    let Some(share) = SHARES.get_ptr_mut(&tgid) else {
        // Without room the ring is shared less well.
        let _counted_or_not = SHARES.insert(&tgid, &Share { epoch, taken: len, shed: 0 }, 0);
        return true;
    };
    // SAFETY: a value of the map. Two threads may lose each other's bytes, which makes a share no larger than twice.
    let share = unsafe { &mut *share };
    if share.epoch != epoch {
        share.epoch = epoch;
        share.taken = 0;
    }
    if share.taken.wrapping_add(len) > free {
        share.shed = share.shed.wrapping_add(1);
        return false;
    }
    share.taken = share.taken.wrapping_add(len);
    true
}
