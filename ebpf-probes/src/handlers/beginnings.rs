//! What pieces begin with: user space says by which words it knows requests and responses, so that what is wanted of a connection is
//! known before user space has seen anything of it.

use ebpf_common::capture::{BEGINNING_WORDS, BEGINNINGS_MAX, begins};

use super::capture::{opaque, room};
use crate::{
    globals::{BEGINNINGS, BEGINNINGS_COUNT},
    state::Scratch,
};

/// For the verifier: the number of a beginning.
const MASK: usize = BEGINNINGS_MAX;
const _: () = assert!((BEGINNINGS_MAX + 1).is_power_of_two());

/// Number of the beginning that a word is; 0 for none.
///
/// A function of its own, which is exported so that the verifier follows it by itself: see `meet::meet_process`. What comes behind it
/// is followed once, not once for each beginning.
#[unsafe(no_mangle)]
#[inline(never)]
pub extern "C" fn beginning_of(word: u32) -> u32 {
    let mut at = 1;
    while at <= MASK && at <= BEGINNINGS_COUNT.load() as usize {
        if word & field(at, 1) == field(at, 0) {
            return at as u32;
        }
        at += 1;
    }
    0
}

/// What is known of what begins so.
#[inline(always)]
pub fn what(number: u32) -> u32 {
    field(opaque(number.into()) as usize, 2)
}

/// The budget of a response's direction.
#[inline(always)]
pub fn head(number: u32) -> u32 {
    field(opaque(number.into()) as usize, 3)
}

/// Whether what comes behind the response that was copied is still of the request.
#[inline(always)]
pub fn is_interim(scratch: *mut Scratch, what: u32) -> bool {
    let at = u64::from(what >> 8 & 0x1f);
    // SAFETY: within the payload.
    let byte = unsafe { room(scratch, opaque(at) & 0x1f).read() };
    what & begins::RESPONSE != 0 && at != 0 && u32::from(byte) == what >> 16 & 0xff
}

#[inline(always)]
fn field(number: usize, field: usize) -> u32 {
    BEGINNINGS[(number & MASK) * BEGINNING_WORDS + field].load()
}
