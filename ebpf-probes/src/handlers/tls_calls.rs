//! Calls into TLS libraries that are open, see [`super::tls`].

use core::ptr;

use ebpf_common::{limits::TLS_CALLS_PER_PAGE, policy::Counter};

use super::{
    capture::{self, read_user_value},
    counters::count,
};
use crate::{
    maps::{NO_CALLS, TLS_CALLS, TLS_THREADS},
    state::{StackKey, TlsCall},
};

/// [`TlsCall::kind`]: returns how many bytes it read, or puts their number where [`TlsCall::count_at`] says.
pub const READ: u32 = 1;
/// It puts what it read into a packet, and that where [`TlsCall::count_at`] says.
pub const READ_PACKET: u32 = 2;
/// A handshake.
pub const HANDSHAKE: u32 = 3;
/// It writes what was written before and held back.
pub const UNCORK: u32 = 4;
/// It makes an encrypter of rustls.
pub const ENCRYPTER: u32 = 5;

/// Pages of a stack on which the call around a socket call is looked for: libraries and programs put less between the two.
pub(super) const PAGES: u64 = 3;
pub(super) const PAGE_SHIFT: u32 = 12;

/// What a probe at the beginning of a function says of a call.
pub struct Begun {
    /// Where its return address lies.
    pub at: u64,
    /// The TLS object.
    pub object: u64,
    /// Where it puts bytes it reads.
    pub buffer: u64,
    /// See [`TlsCall::count_at`].
    pub count_at: u64,
    /// See [`TlsCall::kind`].
    pub kind: u32,
}

/// Writes down that a call is open.
#[inline(always)]
pub(super) fn opens(call: Begun, carrier: u64, thread_id: u64) -> Option<()> {
    let returns_to = read_user_value::<u64>(call.at)?;
    let key = StackKey { page: call.at >> PAGE_SHIFT, tgid: thread_id >> 32 };
    let page = match TLS_CALLS.get_ptr_mut(&key) {
        Some(page) => page,
        None => {
            if TLS_CALLS.insert(&key, NO_CALLS.get(0)?, 0).is_err() {
                count(Counter::LostMapFull);
                return None;
            }
            TLS_CALLS.get_ptr_mut(&key)?
        }
    };
    let mut around = 0;
    if let Some(thread) = TLS_THREADS.get_ptr_mut(&thread_id) {
        // SAFETY: only this thread uses the value; at worst another's, if it is evicted at this moment.
        let thread = unsafe { &mut *thread };
        if thread.innermost > call.at && thread.innermost - call.at < PAGES << PAGE_SHIFT {
            around = thread.innermost;
        }
        thread.innermost = call.at;
    }
    let mut free: *mut TlsCall = ptr::null_mut();
    for i in 0..TLS_CALLS_PER_PAGE {
        // SAFETY: a value of the map; only who runs on this stack uses it.
        let other = unsafe { &raw mut (*page).calls[i] };
        // SAFETY: as above.
        if unsafe { (*other).at } <= call.at {
            // Deeper on the stack than a call that begins: it was left otherwise than by its return.
            // SAFETY: as above.
            unsafe { (*other).at = 0 };
            free = other;
        }
    }
    if free.is_null() {
        count(Counter::LostMapFull);
        return None;
    }
    let Begun { at, object, buffer, count_at, kind } = call;
    let open =
        TlsCall { at, returns_to, object, buffer, count_at, carrier, around, thread: thread_id, kind, nested: 0 };
    // SAFETY: as above.
    unsafe { *free = open };
    Some(())
}

/// The open call whose return address lies at `at`.
#[inline(always)]
pub(super) fn open_call(at: u64, tgid: u64) -> Option<*mut TlsCall> {
    let page = TLS_CALLS.get_ptr_mut(&StackKey { page: at >> PAGE_SHIFT, tgid })?;
    for i in 0..TLS_CALLS_PER_PAGE {
        // SAFETY: as in `opens`.
        let call = unsafe { &raw mut (*page).calls[i] };
        // SAFETY: as above.
        if unsafe { (*call).at } == at {
            return Some(call);
        }
    }
    None
}

/// The innermost call around code whose stack ends at `stack`: the first above it on the same stack.
#[inline(always)]
pub(super) fn innermost(stack: u64, tgid: u64) -> Option<*mut TlsCall> {
    if stack == 0 {
        return None;
    }
    for i in 0..PAGES {
        let Some(page) = TLS_CALLS.get_ptr_mut(&StackKey { page: (stack >> PAGE_SHIFT) + i, tgid }) else { continue };
        // Without branches: the verifier would follow all that comes after once for each call that it may be.
        let (mut nearest, mut found) = (u64::MAX >> 1, 0);
        for i in 0..TLS_CALLS_PER_PAGE {
            // SAFETY: as in `opens`.
            let at = unsafe { (*page).calls[i].at };
            let is_above = capture::opaque(stack.wrapping_sub(at)) as i64 >> 63;
            let is_nearer = capture::opaque(at.wrapping_sub(nearest)) as i64 >> 63;
            let chosen = (is_above & is_nearer) as u64;
            nearest = nearest & !chosen | at & chosen;
            found = found & !chosen | i as u64 & chosen;
        }
        if nearest != u64::MAX >> 1 {
            let index = capture::opaque(found);
            if index >= TLS_CALLS_PER_PAGE as u64 {
                return None;
            }
            // SAFETY: as in `opens`.
            return Some(unsafe { (&raw mut (*page).calls).cast::<TlsCall>().add(index as usize) });
        }
    }
    None
}

/// The function that was called with its return address at `at` returns. Gives the call, if it was open.
#[inline(always)]
pub(super) fn closes(at: u64, thread_id: u64) -> Option<TlsCall> {
    let found = open_call(at, thread_id >> 32)?;
    // SAFETY: as in `opens`.
    let call = unsafe { *found };
    // SAFETY: as above.
    unsafe { (*found).at = 0 };
    if let Some(thread) = TLS_THREADS.get_ptr_mut(&thread_id) {
        // SAFETY: as in `opens`.
        let thread = unsafe { &mut *thread };
        if thread.innermost == at {
            thread.innermost = call.around;
        }
    }
    Some(call)
}
