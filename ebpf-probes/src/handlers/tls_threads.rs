//! Which connection a thread's plaintext came from, where that is not known.

use core::hint::cold_path;

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use ebpf_common::{
    events::RECEIVED,
    policy::{TLS_ALL_FILES, TLS_COMPLETE},
};

use super::{rustls, tls::AMBIGUOUS};
use crate::maps::{TLS_PROBED, TLS_THREADS};

/// Bytes moved over a connection that could not be told: it may carry TLS, of which a part is missing then.
#[inline(always)]
pub fn overlooked(id: u64, direction: u32) {
    if !is_probed() {
        return;
    }
    cold_path();
    rustls::gives_up(id, bpf_get_current_pid_tgid());
    if direction == RECEIVED {
        may_have_received();
    }
}

/// Bytes were received over a connection of which nobody knows whether it carries TLS: what the thread has decrypted next may have
/// come from there. It is nobody's then, rather than another connection's.
#[inline(always)]
pub fn may_have_received() {
    if !is_probed() {
        return;
    }
    let thread_id = bpf_get_current_pid_tgid();
    if let Some(thread) = TLS_THREADS.get_ptr_mut(&thread_id) {
        // SAFETY: only this thread changes the value; at worst another's, if it is evicted at this moment.
        let thread = unsafe { &mut *thread };
        thread.last = 0;
        // Keys that are made next are not for the one that it has written to.
        thread.carrier = 0;
        if thread.received != 0 {
            thread.received = AMBIGUOUS;
        }
    }
}

/// Whether TLS libraries are probed at all.
#[inline(always)]
pub fn is_probed() -> bool {
    TLS_PROBED.get(TLS_ALL_FILES).is_some_and(|&probed| probed != 0)
}

/// Whether all functions of the library in file number `file` are probed.
#[inline(always)]
pub fn probes_are_complete(file: u32) -> bool {
    TLS_PROBED.get(file).is_some_and(|&probed| probed == TLS_COMPLETE)
}
