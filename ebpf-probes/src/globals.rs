//! Read-only values the loader fills in.

use aya_ebpf::Global;
use ebpf_common::{
    capture::{BEGINNINGS_WORDS, ENDINGS_WORDS},
    each_kernel_offset,
    limits::{HEAD_MAX, RING_BYTES},
    offsets::KernelOffsets,
};

/// Offsets of kernel structure members.
#[unsafe(no_mangle)]
pub static OFFSETS: KernelOffsets<Global<u32>> = each_kernel_offset!(Global::new(ebpf_common::offsets::ABSENT));

/// 1: watch every process that is not marked to be ignored; 0: only those marked to be watched.
#[unsafe(no_mangle)]
pub static WATCH_ALL: Global<u32> = Global::new(0);

/// 1: processes are chosen by rules, so that most are left out once they are evaluated; 0: most are watched.
#[unsafe(no_mangle)]
pub static SELECTIVE: Global<u32> = Global::new(0);

/// 1: look at nothing, so that it can be measured what the hooks alone cost.
#[unsafe(no_mangle)]
static HOOKS_ONLY: Global<u32> = Global::new(0);

/// Whether a program that moves bytes is to return at once. The verifier knows the answer, and takes out what is never run.
#[inline(always)]
pub fn hooks_only() -> bool {
    HOOKS_ONLY.load() != 0
}

/// 1: probes of TLS libraries carry the number of their file as a cookie (Linux 5.15).
#[unsafe(no_mangle)]
pub static HAS_COOKIES: Global<u32> = Global::new(0);

/// How many copies stand behind each program at a tracepoint, see `handlers::standby`.
#[unsafe(no_mangle)]
pub static STANDBY: Global<u32> = Global::new(0);

/// Numbers that threads may have, rounded up to a whole element of `CLAIMS`.
#[unsafe(no_mangle)]
pub static THREADS: Global<u32> = Global::new(0);

/// Most bytes copied from the beginning of the pieces of a turn as long as it is not known what a connection carries; at most
/// `HEAD_MAX`.
#[unsafe(no_mangle)]
pub static HEAD_LIMIT: Global<u32> = Global::new(HEAD_MAX);

/// Most bytes of a turn that is copied whole; 0: none is. At most `WHOLE_MAX`.
#[unsafe(no_mangle)]
pub static WHOLE_LIMIT: Global<u32> = Global::new(0);

/// What pieces may begin with: the words of a [`Beginning`](ebpf_common::capture::Beginning) each, behind one that stands for
/// none.
#[unsafe(no_mangle)]
pub static BEGINNINGS: [Global<u32>; BEGINNINGS_WORDS] = [const { Global::new(0) }; BEGINNINGS_WORDS];

/// How many there are.
#[unsafe(no_mangle)]
pub static BEGINNINGS_COUNT: Global<u32> = Global::new(0);

/// What answers may end with: the words of a set of [`Ending`](ebpf_common::capture::Ending)s each, behind one that stands for none.
#[unsafe(no_mangle)]
pub static ENDINGS: [Global<u32>; ENDINGS_WORDS] = [const { Global::new(0) }; ENDINGS_WORDS];

/// Size of the ring in bytes.
#[unsafe(no_mangle)]
pub static RING: Global<u32> = Global::new(RING_BYTES);

/// Bytes that wait in the ring when user space is woken before its timer: a share of the ring.
#[unsafe(no_mangle)]
pub static WAKE_AT: Global<u32> = Global::new(RING_BYTES / 4);
