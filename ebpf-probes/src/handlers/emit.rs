//! How records reach user space: the one place that puts them into the ring, and counts those that it has no room for.

use core::hint::cold_path;

use aya_ebpf::{
    bindings::{BPF_RB_FORCE_WAKEUP, BPF_RB_NO_WAKEUP},
    helpers::generated::bpf_ringbuf_output,
    maps::ring_buf::RingBufEntry,
};
use ebpf_common::{
    events::Data,
    limits::{HEAD_MAX, LOOK_EVERY},
    policy::Counter,
};

use super::{capture, counters::count, shares};
use crate::{globals::WAKE_AT, kernel::clear, maps::EVENTS, state::Scratch};

/// Puts a record into the ring that is known whole.
#[inline(always)]
pub fn emit<T: 'static>(record: T) -> Option<()> {
    let mut room = Room::take()?;
    room.0.write(record);
    room.emit();
    Some(())
}

/// Room in the ring for a record that is put together there, since the stack has none for it. Has to be [emitted](Self::emit).
///
/// No closure that fills it: what that refers to the verifier follows once for each way by which it came about.
pub struct Room<T: 'static>(RingBufEntry<T>);

impl<T: 'static> Room<T> {
    /// `None` where the ring is full, which is counted.
    #[inline(always)]
    pub fn take() -> Option<Self> {
        let Some(room) = EVENTS.reserve::<T>(0) else {
            count(Counter::LostRingFull);
            return None;
        };
        Some(Self(room))
    }

    /// The record, of which nothing is set.
    #[inline(always)]
    pub fn record(&mut self) -> *mut T {
        self.0.as_mut_ptr()
    }

    /// The record, all of it zero.
    #[inline(always)]
    pub fn zeroed(&mut self) -> *mut T {
        let record = self.record();
        clear(record);
        record
    }

    /// Hands it over to user space, which looks for it by itself.
    #[inline(always)]
    pub fn emit(self) {
        self.emit_waking(BPF_RB_NO_WAKEUP);
    }

    /// The same; `wake` says whether user space is to be woken.
    #[inline(always)]
    pub fn emit_waking(self, wake: u32) {
        self.0.submit(wake.into());
    }
}

/// Puts `len` bytes into the ring that were put together elsewhere: a record and what belongs to it.
#[inline(always)]
pub fn emit_bytes(record: *const u8, len: u64, wake: u64) -> Option<()> {
    // SAFETY: the verifier proves that `len` bytes lie behind `record`.
    let result = unsafe { bpf_ringbuf_output(&raw const EVENTS as *mut _, record as *mut _, len, wake) };
    if result != 0 {
        cold_path();
        count(Counter::LostRingFull);
        return None;
    }
    Some(())
}

/// The same of the piece in `scratch`, its header and `payload` bytes, if its process may take as much of the ring.
#[inline(always)]
pub fn emit_piece(scratch: *mut Scratch, payload: u64) -> Option<()> {
    // For the verifier; head and tail together are less.
    const MASK: u64 = 2 * HEAD_MAX as u64 - 1;
    let len = size_of::<Data>() as u64 + (capture::opaque(payload) & MASK);
    // SAFETY: per-CPU memory.
    if !shares::may_take(scratch, unsafe { (*scratch).header.tgid }, len) {
        return None;
    }
    emit_bytes(scratch.cast(), len, wake_up(scratch, len))
}

/// Never wake user space for each event: that costs the watched thread more than all else together. It looks by itself
/// every few milliseconds; only when a share of the ring has filled up before is it told, once. Even to ask how full the
/// ring is would be felt if it were done for each event.
#[inline(always)]
fn wake_up(scratch: *mut Scratch, len: u64) -> u64 {
    // SAFETY: per-CPU memory.
    let (unasked, woken) = unsafe { (&mut (*scratch).unasked, &mut (*scratch).woken) };
    *unasked += len;
    if *unasked < u64::from(LOOK_EVERY) {
        return BPF_RB_NO_WAKEUP.into();
    }
    cold_path();
    *unasked = 0;
    let waiting = shares::waiting();
    // SAFETY: per-CPU memory.
    unsafe { (*scratch).pressed = u64::from(shares::is_pressed(waiting)) };
    if waiting < u64::from(WAKE_AT.load()) {
        *woken = 0;
        return BPF_RB_NO_WAKEUP.into();
    }
    if *woken != 0 {
        return BPF_RB_NO_WAKEUP.into();
    }
    *woken = 1;
    BPF_RB_FORCE_WAKEUP.into()
}
