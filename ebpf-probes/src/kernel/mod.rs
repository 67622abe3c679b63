//! Readers of kernel structures, over the offsets that BTF gave.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::{bpf_probe_read_kernel, generated};
use ebpf_common::offsets::ABSENT;

pub mod file_table;
pub mod regs;
pub mod socket;
pub mod task;

/// Reads a member of the structure at `base`. `None` where the member is absent from this kernel, or cannot be read.
#[inline(always)]
pub fn read<T: Copy>(base: u64, offset: u32) -> Option<T> {
    if base == 0 || offset == ABSENT {
        return None;
    }
    // SAFETY: the helper checks the address and fails on a bad one.
    unsafe { bpf_probe_read_kernel((base + u64::from(offset)) as *const T) }.ok()
}

/// The same as a number, 0 for `None`: without a branch, each of which would double what the verifier follows.
#[inline(always)]
pub fn read_or_zero(base: u64, offset: u32) -> u32 {
    // The verifier knows the answer.
    if offset == ABSENT {
        return 0;
    }
    let mut value = MaybeUninit::<u32>::uninit();
    // SAFETY: the helper fails on a bad address, and writes zeroes then.
    unsafe {
        generated::bpf_probe_read_kernel(value.as_mut_ptr().cast(), 4, base.wrapping_add(offset.into()) as *const _);
        value.assume_init()
    }
}

/// The same of 64 bits.
#[inline(always)]
pub fn read_wide_or_zero(base: u64, offset: u32) -> u64 {
    // The verifier knows the answer.
    if offset == ABSENT {
        return 0;
    }
    let mut value = MaybeUninit::<u64>::uninit();
    // SAFETY: as above.
    unsafe {
        generated::bpf_probe_read_kernel(value.as_mut_ptr().cast(), 8, base.wrapping_add(offset.into()) as *const _);
        value.assume_init()
    }
}

/// An address as a plain number: the verifier lets no pointer be handed to an exported function.
#[inline(always)]
pub fn as_number(address: u64) -> u64 {
    read((&raw const address) as u64, 0).unwrap_or(0)
}

/// Loads a member through a pointer whose type the verifier knows: no helper call, and a bad address reads as zero.
#[inline(always)]
pub fn load<T: Copy>(base: *const u8, offset: u32) -> T {
    // SAFETY: the verifier checks offset and size against the type behind `base`, and refuses the program otherwise.
    unsafe { core::ptr::read_volatile(base.add(offset as usize).cast::<T>()) }
}

/// The same; 0 where this kernel has no such member.
#[inline(always)]
pub fn load_or_zero<T: Copy + Default>(base: *const u8, offset: u32) -> T {
    // The verifier knows the answer.
    if offset == ABSENT { T::default() } else { load(base, offset) }
}

/// Reads bytes at `offset` of the structure at `base` straight to where they are wanted: by value they would be
/// copied byte by byte, each step of which the verifier follows.
#[inline(always)]
pub fn read_into(to: *mut u8, len: u32, base: u64, offset: u32) -> Option<()> {
    if base == 0 || offset == ABSENT {
        return None;
    }
    // SAFETY: the verifier proves that `len` bytes fit at `to`; the helper fails on a bad address.
    let result = unsafe { generated::bpf_probe_read_kernel(to.cast(), len, (base + u64::from(offset)) as *const _) };
    (result == 0).then_some(())
}

/// Sets a record to zeroes, word by word.
#[inline(always)]
pub fn clear<T>(record: *mut T) {
    for word in 0..size_of::<T>() / 8 {
        // SAFETY: within the record, whose size is a multiple of eight.
        unsafe { record.cast::<u64>().add(word).write_volatile(0) }
    }
}
