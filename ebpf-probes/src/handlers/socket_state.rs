//! TCP state changes of connections that were met.

use aya_ebpf::{bindings::BPF_RB_NO_WAKEUP, helpers::bpf_ktime_get_ns};
use ebpf_common::{
    events::{EventKind, State, TCP_CLOSE, TCP_CLOSE_WAIT, TCP_FIN_WAIT1, TCP_LAST_ACK},
    policy::Counter,
};

use crate::{
    kernel::socket::{self, Socket},
    maps::{ANNOUNCED, BOUND, Connection, EVENTS, FIN_SENT, IGNORED, count},
};

/// `socket`, remembered as `connection`, enters `state`.
#[inline(always)]
pub fn changed<S: Socket>(socket: S, connection: *mut Connection, state: u32) -> Option<()> {
    // SAFETY: state of a live connection.
    let connection = unsafe { &mut *connection };
    match state {
        TCP_FIN_WAIT1 | TCP_LAST_ACK => connection.flags |= FIN_SENT,
        TCP_CLOSE | TCP_CLOSE_WAIT => {}
        _ => return None,
    }
    if connection.flags & ANNOUNCED == 0 || connection.flags & (IGNORED | BOUND) == IGNORED {
        return None;
    }
    let is_bound = connection.flags & BOUND != 0;
    let conn = if is_bound { connection.plaintext } else { connection.id };
    // Its own positions are not those of the plaintext.
    let [received, sent] = if is_bound { [0; 2] } else { connection.position };
    let Some(mut record) = EVENTS.reserve::<State>(0) else {
        count(Counter::LostRingFull);
        return None;
    };
    record.write(State {
        kind: EventKind::State as u32,
        state,
        conn,
        // SAFETY: the helper only returns a number.
        at_ns: unsafe { bpf_ktime_get_ns() },
        error: socket::error(socket.address()),
        reserved: 0,
        received,
        sent,
    });
    record.submit(BPF_RB_NO_WAKEUP.into());
    Some(())
}
