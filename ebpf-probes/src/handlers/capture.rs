//! Copies the bytes of a piece out of the process that moved it.

use core::{hint::cold_path, mem::MaybeUninit};

use aya_ebpf::helpers::generated::bpf_probe_read_user;
use ebpf_common::{
    events::flags,
    limits::{HEAD_MAX, IOV_MAX, IOV_ROUNDS, TAIL_MAX},
};

use crate::state::{Buffer, Scratch};

const HEAD_ROOM: u64 = HEAD_MAX as u64;
const TAIL_ROOM: u64 = TAIL_MAX as u64;
/// For the verifier: an offset of the head (a full head begins anew, but then nothing more is taken).
const HEAD_MASK: u64 = HEAD_ROOM - 1;
/// For the verifier: a length of the head.
const TAKE_MASK: u64 = 2 * HEAD_ROOM - 1;
/// For the verifier: a length of the tail.
const TAIL_MASK: u64 = 2 * TAIL_ROOM - 1;
const _: () = assert!(HEAD_MAX.is_power_of_two() && TAIL_MAX.is_power_of_two() && (IOV_MAX + 1).is_power_of_two());

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
                let [iov, count] = read_user_value::<[u64; 2]>(self.what + MSG_IOV)?;
                Some(Memory { at: 0, len: 0, iov, count })
            }
            _ => None,
        }
    }
}

/// Memory of a process: `len` bytes, then an array of `count` `struct iovec`.
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
}

impl Copied {
    /// Says why in the record's header, not in what is given: that would be kept in half a word of the stack, whose other half the
    /// verifier goes on to compare.
    #[inline(always)]
    fn nothing(scratch: *mut Scratch, flags: u32) -> Self {
        // SAFETY: per-CPU memory.
        unsafe {
            let at = &raw mut (*scratch).header.flags;
            at.write_volatile(at.read() | flags);
        }
        Self { head_len: 0, tail_len: 0 }
    }
}

/// Copies up to `wanted` bytes of the beginning of a piece of `len` bytes, and the end of what that leaves out.
///
/// Older verifiers (6.1) also forget a bound when a value is spilled to the stack and compared there; a mask at the last
/// moment gives it back. Lengths are 64 bits wide here: for narrower ones the compiler compares a shifted copy, and the verifier does not
/// carry the bound over to the value itself.
#[inline(always)]
pub fn copy(scratch: *mut Scratch, buffer: Buffer, len: u64, wanted: u64) -> Copied {
    if buffer.kind == PLAIN {
        return plain(scratch, buffer.what, len, wanted);
    }
    if buffer.kind == HIDDEN {
        cold_path();
        return Copied::nothing(scratch, buffer.what as u32);
    }
    let (mut iov, mut count) = (buffer.what, buffer.count);
    if buffer.kind == MESSAGE {
        let Some(at) = read_user_value::<[u64; 2]>(buffer.what + MSG_IOV) else {
            return Copied::nothing(scratch, flags::FAULT);
        };
        [iov, count] = at;
    }
    vector(scratch, iov, count, len, wanted)
}

#[inline(always)]
fn plain(scratch: *mut Scratch, address: u64, len: u64, wanted: u64) -> Copied {
    let head = opaque(smaller(smaller(len, wanted), HEAD_ROOM)) & TAKE_MASK;
    if !read_user(room(scratch, 0), head, address) {
        return Copied::nothing(scratch, flags::FAULT);
    }
    Copied { head_len: head, tail_len: tail(scratch, head, address + len, len - head) }
}

/// Without branches but for its end: each would double the paths through the loop that the verifier follows.
#[inline(always)]
fn vector(scratch: *mut Scratch, iov: u64, count: u64, len: u64, wanted: u64) -> Copied {
    let wanted = least(least(len, wanted), HEAD_ROOM);
    // All of them at once: each read of the process's memory costs more than the bytes it brings.
    if !read_buffers(scratch, iov, count) {
        return Copied::nothing(scratch, flags::FAULT);
    }
    let (mut head, mut before) = (0u64, 0u64);
    // Where the last buffer that was walked ends, and how many bytes of it are not in the head.
    let (mut end, mut left_out) = (0u64, 0u64);
    // All ones until a buffer cannot be read.
    let mut readable = u64::MAX;
    let mut i = 0;
    while i < u64::from(IOV_MAX) {
        // One way out for all reasons: the verifier follows each way out of each step.
        if opaque(below(i, count) & below(before, len) & readable) == 0 {
            break;
        }
        let [base, size] = buffer(scratch, i);
        let here = least(size, len - before);
        let take = opaque(least(wanted - head, here)) & TAKE_MASK;
        readable = try_read_user(room(scratch, opaque(head) & HEAD_MASK), take, base);
        head = opaque(head + (take & readable));
        before = opaque(before + (here & readable));
        end = opaque(end ^ (end ^ base.wrapping_add(here)) & readable);
        left_out = opaque(left_out ^ (left_out ^ (here - take)) & readable);
        i += 1;
    }
    let head = forget(scratch, 0, least(head, HEAD_ROOM));
    let before = forget(scratch, 1, before);
    let end = forget(scratch, 2, end);
    let left_out = forget(scratch, 3, left_out);
    let head = opaque(head) & TAKE_MASK;
    if head == 0 {
        return Copied::nothing(scratch, flags::FAULT);
    }
    if before < len && count > u64::from(IOV_MAX) {
        cold_path();
        let last = last_buffer(scratch, iov, count, len - before);
        return Copied { head_len: head, tail_len: tail(scratch, head, last.end, last.len) };
    }
    let left_out = if before == len { left_out } else { 0 };
    Copied { head_len: head, tail_len: tail(scratch, head, end, left_out) }
}

/// Reads the next `IOV_MAX` entries of an array of which `count` are left.
#[inline(always)]
fn read_buffers(scratch: *mut Scratch, iov: u64, count: u64) -> bool {
    let entries = opaque(least(count, u64::from(IOV_MAX))) & u64::from(IOV_MAX);
    // SAFETY: per-CPU memory.
    let to = unsafe { &raw mut (*scratch).buffers };
    read_user(to.cast(), entries * 16, iov)
}

/// Address and length of an entry that `read_buffers` has read.
#[inline(always)]
fn buffer(scratch: *mut Scratch, i: u64) -> [u64; 2] {
    // SAFETY: per-CPU memory; the mask keeps `i` within the array.
    let entry = unsafe { (&raw const (*scratch).buffers).cast::<u64>().add((i as usize & IOV_MAX as usize) * 2) };
    // SAFETY: as above.
    unsafe { [entry.read(), entry.add(1).read()] }
}

/// Where an array's last buffer ends, and its length; zeroes where a piece does not end with it.
struct Last {
    end: u64,
    len: u64,
}

/// The last of `count` buffers, if those behind the first `IOV_MAX` hold `rest` bytes. If they hold more, only a part was
/// moved, which ends somewhere else. Not within its caller, whose stack is full.
#[inline(never)]
fn last_buffer(scratch: *mut Scratch, iov: u64, count: u64, rest: u64) -> Last {
    let mut last = Last { end: 0, len: 0 };
    let (mut sum, mut at, mut left) = (0u64, iov, count);
    for _ in 0..IOV_ROUNDS {
        at += 16 * u64::from(IOV_MAX);
        left -= u64::from(IOV_MAX);
        if !read_buffers(scratch, at, left) {
            return Last { end: 0, len: 0 };
        }
        for i in 0..u64::from(IOV_MAX) {
            let [base, size] = buffer(scratch, i);
            // All ones for an entry of the array, zeroes for what lies behind it.
            let is_entry = opaque((i.wrapping_sub(left) as i64 >> 63) as u64);
            sum = sum.wrapping_add(size & is_entry);
            last.end ^= (last.end ^ base.wrapping_add(size)) & is_entry;
            last.len ^= (last.len ^ size) & is_entry;
        }
        if left <= u64::from(IOV_MAX) {
            return if sum == rest { last } else { Last { end: 0, len: 0 } };
        }
    }
    Last { end: 0, len: 0 }
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

/// Writes a number down and reads it again: from there on the verifier knows nothing of it, and so follows what comes after
/// once, not once for each way by which the number came about.
#[inline(always)]
pub fn forget(scratch: *mut Scratch, slot: usize, value: u64) -> u64 {
    // SAFETY: per-CPU memory.
    unsafe {
        let at = (&raw mut (*scratch).forgotten).cast::<u64>().add(slot & 3);
        at.write_volatile(value);
        at.read_volatile()
    }
}

/// Writes down where the bytes of a piece lie, and reads it again: see `forget`.
#[inline(always)]
pub fn keep(scratch: *mut Scratch, buffer: Buffer) -> Buffer {
    // SAFETY: per-CPU memory.
    unsafe {
        let at = &raw mut (*scratch).buffer;
        at.write_volatile(buffer);
        at.read_volatile()
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

/// All ones if a length is below another, else zeroes; without a branch, and with the same limits as `least`.
#[inline(always)]
fn below(a: u64, b: u64) -> u64 {
    opaque((opaque(a.wrapping_sub(b)) as i64 >> 63) as u64)
}

/// Keeps the compiler from drawing conclusions about a value, and so from removing a mask the verifier needs.
#[inline(always)]
pub fn opaque(mut value: u64) -> u64 {
    // A move onto itself: without any instruction two line numbers would share one, which the kernel refuses.
    // SAFETY: changes nothing.
    unsafe { core::arch::asm!("{0} = {0}", inout(reg) value, options(pure, nomem, nostack)) }
    value
}

/// Keeps the compiler from holding on to what it has read of a value, so that the verifier does not follow what comes after once for
/// each way by which that came about.
#[inline(always)]
pub fn read_afresh<T>(value: &mut T) {
    let at: *mut T = value;
    // SAFETY: changes nothing, but may write the value as far as the compiler knows.
    unsafe { core::arch::asm!("{0} = {0}", in(reg) at, options(nostack)) }
}

/// Reads the process's memory; `false` where that fails.
#[inline(always)]
pub fn read_user(to: *mut u8, len: u64, from: u64) -> bool {
    // SAFETY: the verifier proves that `len` bytes fit at `to`; the helper fails on a bad `from`.
    unsafe { bpf_probe_read_user(to.cast(), len as u32, from as *const _) == 0 }
}

/// The same, with all ones where it succeeds and zeroes where it fails.
#[inline(always)]
fn try_read_user(to: *mut u8, len: u64, from: u64) -> u64 {
    // SAFETY: as above.
    let failed = unsafe { bpf_probe_read_user(to.cast(), len as u32, from as *const _) };
    !((opaque(failed as u64) as i64 >> 63) as u64)
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
