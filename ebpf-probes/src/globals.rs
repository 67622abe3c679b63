//! Read-only values the loader fills in.

use core::cell::UnsafeCell;

use aya_ebpf::Global;
use ebpf_common::{each_kernel_offset, offsets::KernelOffsets};

/// Offsets of kernel structure members.
#[unsafe(no_mangle)]
pub static OFFSETS: KernelOffsets<Global<u32>> = each_kernel_offset!(Global::new(ebpf_common::offsets::ABSENT));

/// 1: watch every process that is not marked to be ignored; 0: only those marked to be watched.
#[unsafe(no_mangle)]
pub static WATCH_ALL: Global<u32> = Global::new(0);

/// Once true, always true.
pub struct Switch(UnsafeCell<u32>);

// SAFETY: a word is read and written as a whole, and only ever set.
unsafe impl Sync for Switch {}

impl Switch {
    #[inline(always)]
    pub fn is_on(&self) -> bool {
        // SAFETY: see `Sync`.
        unsafe { self.0.get().read_volatile() != 0 }
    }

    #[inline(always)]
    pub fn turn_on(&self) {
        // SAFETY: see `Sync`.
        unsafe { self.0.get().write_volatile(1) }
    }
}

/// A TLS call of a watched process was seen. Set by the programs; nobody pays for TLS before.
#[unsafe(no_mangle)]
pub static TLS_SEEN: Switch = Switch(UnsafeCell::new(0));
