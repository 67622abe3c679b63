//! Which connection a thread's plaintext came from, where that is not known.

use core::hint::cold_path;

use aya_ebpf::helpers::bpf_get_current_pid_tgid;
use ebpf_common::events::RECEIVED;

use super::{rustls, tls::AMBIGUOUS};
use crate::maps::{self, TLS_THREADS};

/// Bytes moved over a connection that could not be told: it may carry TLS, of which a part is missing then.
#[inline(always)]
pub fn overlooked(id: u64, direction: u32) {
    if !maps::tls_is_probed() {
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
    if !maps::tls_is_probed() {
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
