//! Copies the bytes of a piece out of the process that moved it.

use core::mem::MaybeUninit;

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use ebpf_common::{
    events::flags,
    limits::{HEAD_MAX, IOV_MAX, TAIL_MAX},
};

use crate::maps::Scratch;

const HEAD_ROOM: u64 = HEAD_MAX as u64;
const TAIL_ROOM: u64 = TAIL_MAX as u64;
/// For the verifier: an offset of the head (a full head begins anew, but then nothing more is taken).
const HEAD_MASK: u64 = HEAD_ROOM - 1;
/// For the verifier: a length of the head.
const TAKE_MASK: u64 = 2 * HEAD_ROOM - 1;
/// For the verifier: a length of the tail.
const TAIL_MASK: u64 = 2 * TAIL_ROOM - 1;
const _: () = assert!(HEAD_MAX.is_power_of_two() && TAIL_MAX.is_power_of_two());

/// Where the bytes of a piece lie in the process's memory.
///
/// No `enum` with fields: a variant that lacks one leaves it undefined, and the compiler may still spill it to the
/// stack, which the verifier refuses.
#[derive(Clone, Copy)]
pub struct Buffer {
    kind: u64,
    /// Address, or the event's flag that says why the bytes are not read.
    what: u64,
    /// Entries of an array.
    count: u64,
}

const HIDDEN: u64 = 0;
const PLAIN: u64 = 1;
const VECTOR: u64 = 2;
const MESSAGE: u64 = 3;

impl Buffer {
    /// One buffer.
    #[inline(always)]
    pub const fn plain(address: u64) -> Self {
        Self { kind: PLAIN, what: address, count: 0 }
    }

    /// An array of `struct iovec`.
    #[inline(always)]
    pub const fn vector(iov: u64, count: u64) -> Self {
        Self { kind: VECTOR, what: iov, count }
    }

    /// A `struct msghdr`.
    #[inline(always)]
    pub const fn message(address: u64) -> Self {
        Self { kind: MESSAGE, what: address, count: 0 }
    }

    /// Not to be read from here, for the reason that the event's flag says.
    #[inline(always)]
    pub const fn hidden(flag: u32) -> Self {
        Self { kind: HIDDEN, what: flag as u64, count: 0 }
    }

    /// The memory of a piece of `len` bytes, for one who reads it in steps; `None` if it cannot be read.
    #[inline(always)]
    pub fn memory(self, len: u64) -> Option<Memory> {
        match self.kind {
            PLAIN => Some(Memory { at: self.what, len, iov: 0, count: 0 }),
            VECTOR => Some(Memory { at: 0, len: 0, iov: self.what, count: self.count }),
            MESSAGE => {
                let iov = read_user_value::<IoVec>(self.what + MSG_IOV)?;
                Some(Memory { at: 0, len: 0, iov: iov.base, count: iov.len })
            }
            _ => None,
        }
    }
}

/// Memory of a process: `len` bytes, then an array of `struct iovec`.
pub struct Memory {
    pub at: u64,
    pub len: u64,
    pub iov: u64,
    pub count: u64,
}

/// Offset of the array and its length in `struct msghdr`, behind a name and its length.
const MSG_IOV: u64 = 16;

/// What was copied into the scratch buffer.
pub struct Copied {
    pub head_len: u64,
    pub tail_len: u64,
    pub flags: u32,
}

/// `struct iovec`.
#[repr(C)]
#[derive(Clone, Copy)]
pub struct IoVec {
    pub base: u64,
    pub len: u64,
}

impl Copied {
    const fn nothing(flags: u32) -> Self {
        Self { head_len: 0, tail_len: 0, flags }
    }
}

/// Copies up to `wanted` bytes of the beginning of a piece of `len` bytes, and the end of what that leaves out.
///
/// Older verifiers (6.1) also forget a bound when a value is spilled to the stack and compared there; a mask at the last
/// moment gives it back. Lengths are 64 bits wide here: for narrower ones the compiler compares a shifted copy, and the verifier does not
/// carry the bound over to the value itself.
#[inline(always)]
pub fn copy(scratch: *mut Scratch, buffer: Buffer, len: u64, wanted: u64) -> Copied {
    match buffer.kind {
        PLAIN => plain(scratch, buffer.what, len, wanted),
        VECTOR => vector(scratch, buffer.what, buffer.count, len, wanted),
        MESSAGE => {
            let Some(at) = read_user_value::<IoVec>(buffer.what + MSG_IOV) else {
                return Copied::nothing(flags::FAULT);
            };
            vector(scratch, at.base, at.len, len, wanted)
        }
        _ => Copied::nothing(buffer.what as u32),
    }
}

#[inline(always)]
fn plain(scratch: *mut Scratch, address: u64, len: u64, wanted: u64) -> Copied {
    let head = opaque(smaller(smaller(len, wanted), HEAD_ROOM)) & TAKE_MASK;
    if !read_user(room(scratch, 0), head, address) {
        return Copied::nothing(flags::FAULT);
    }
    Copied { head_len: head, tail_len: tail(scratch, head, address + len, len - head), flags: 0 }
}

/// Without branches but for its ends: each would double the paths through the loop that the verifier follows.
#[inline(always)]
fn vector(scratch: *mut Scratch, iov: u64, count: u64, len: u64, wanted: u64) -> Copied {
    let wanted = smaller(smaller(len, wanted), HEAD_ROOM);
    let (mut head, mut before) = (0u64, 0u64);
    // Where the last buffer that was walked ends, and how many bytes of it are not in the head.
    let (mut end, mut left_out) = (0u64, 0u64);
    let mut i = 0;
    while i < u64::from(IOV_MAX) {
        if i >= count || before >= len {
            break;
        }
        let Some(at) = read_user_value::<IoVec>(iov + i * 16) else { break };
        let here = least(at.len, len - before);
        let take = opaque(least(wanted - head, here)) & TAKE_MASK;
        if !read_user(room(scratch, opaque(head) & HEAD_MASK), take, at.base) {
            break;
        }
        head = opaque(head + take);
        before = opaque(before + here);
        end = at.base + here;
        left_out = here - take;
        i += 1;
    }
    let head = opaque(least(head, HEAD_ROOM)) & TAKE_MASK;
    if head == 0 {
        return Copied::nothing(flags::FAULT);
    }
    // More buffers than are walked: what was not reached is left out like any other bytes beyond the head.
    let left_out = if before == len { left_out } else { 0 };
    Copied { head_len: head, tail_len: tail(scratch, head, end, left_out), flags: 0 }
}

/// Copies the last bytes before `end`, behind the head; `left_out` bytes there are not part of it.
#[inline(always)]
fn tail(scratch: *mut Scratch, head: u64, end: u64, left_out: u64) -> u64 {
    if left_out == 0 {
        return 0;
    }
    let len = opaque(least(left_out, TAIL_ROOM)) & TAIL_MASK;
    if !read_user(room(scratch, opaque(head) & TAKE_MASK), len, end - len) {
        return 0;
    }
    len
}

/// The same, as read back from memory, where the verifier knows nothing of it: so all ways through copying are one from
/// here on, and it follows only one.
#[inline(always)]
pub fn meet(scratch: *mut Scratch, copied: &Copied) -> Copied {
    // SAFETY: per-CPU memory that no other program of this direction uses meanwhile.
    unsafe {
        let header = &raw mut (*scratch).header;
        (&raw mut (*header).head_len).write_volatile(copied.head_len as u16);
        (&raw mut (*header).tail_len).write_volatile(copied.tail_len as u16);
        (&raw mut (*header).flags).write_volatile(copied.flags);
        Copied {
            head_len: (&raw const (*header).head_len).read_volatile().into(),
            tail_len: (&raw const (*header).tail_len).read_volatile().into(),
            flags: (&raw const (*header).flags).read_volatile(),
        }
    }
}

/// Where a byte of the payload goes.
#[inline(always)]
pub fn room(scratch: *mut Scratch, at: u64) -> *mut u8 {
    // SAFETY: the verifier proves that `at` and what is written there lie within the payload.
    unsafe { (&raw mut (*scratch).payload).cast::<u8>().add(at as usize) }
}

/// The smaller of two numbers, by a comparison that the verifier can follow.
#[inline(always)]
fn smaller(a: u64, b: u64) -> u64 {
    if a < b { a } else { b }
}

/// The same without a branch. Meant for lengths; where one is above `i64::MAX` the result is of no use, but no harm.
#[inline(always)]
pub fn least(a: u64, b: u64) -> u64 {
    let difference = opaque(a.wrapping_sub(b));
    let negative = opaque((difference as i64 >> 63) as u64);
    b.wrapping_add(difference & negative)
}

/// Keeps the compiler from drawing conclusions about a value, and so from removing a mask the verifier needs.
#[inline(always)]
pub fn opaque(mut value: u64) -> u64 {
    // A move onto itself: without any instruction two line numbers would share one, which the kernel refuses.
    // SAFETY: changes nothing.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) value, options(pure, nomem, nostack)) }
    value
}

/// Reads the process's memory; `false` where that fails.
#[inline(always)]
pub fn read_user(to: *mut u8, len: u64, from: u64) -> bool {
    // SAFETY: the verifier proves that `len` bytes fit at `to`; the helper fails on a bad `from`.
    unsafe { bpf_probe_read_user(to.cast(), len as u32, from as *const _) == 0 }
}

/// Reads a value from the process's memory.
#[inline(always)]
pub fn read_user_value<T: Copy>(from: u64) -> Option<T> {
    // Not initialised beforehand: that would be a loop over its bytes, each step of which the verifier follows.
    let mut value = MaybeUninit::<T>::uninit();
    if !read_user(value.as_mut_ptr().cast(), size_of::<T>() as u64, from) {
        return None;
    }
    // SAFETY: the helper has written all of it.
    Some(unsafe { value.assume_init() })
}
