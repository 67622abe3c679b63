//! Read-only values the loader fills in.

use aya_ebpf::Global;
use ebpf_common::{each_kernel_offset, offsets::KernelOffsets};

/// Offsets of kernel structure members.
#[unsafe(no_mangle)]
pub static OFFSETS: KernelOffsets<Global<u32>> = each_kernel_offset!(Global::new(ebpf_common::offsets::ABSENT));

/// 1: watch every process that is not marked to be ignored; 0: only those marked to be watched.
#[unsafe(no_mangle)]
pub static WATCH_ALL: Global<u32> = Global::new(0);
