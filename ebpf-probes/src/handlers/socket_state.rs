//! TCP state changes of connections that were met.

use aya_ebpf::helpers::bpf_ktime_get_ns;
use ebpf_common::events::{
    EventKind, State, TCP_CLOSE, TCP_CLOSE_WAIT, TCP_ESTABLISHED, TCP_FIN_WAIT1, TCP_LAST_ACK, TCP_SYN_SENT,
};

use super::{emit::emit, held, process, socket_io, sockets::Socket};
use crate::{
    kernel::{
        socket::{self, Sequences},
        task,
    },
    state::{ANNOUNCED, BOUND, Connecting, Connection, FIN_SENT, IGNORED, TCP},
};

/// A socket whose connection may not be met yet changes from one state to another: how long it takes a watched process to connect.
#[inline(always)]
pub fn connects<S: Socket>(socket: S, before: u32, state: u32) {
    match (before, state) {
        (_, TCP_SYN_SENT) if process::may_be_watched(task::current_tgid(), || false) => {
            // SAFETY: the helper only returns a number.
            socket.begin_connecting(&Connecting { begun: unsafe { bpf_ktime_get_ns() }, done: 0 });
        }
        (TCP_SYN_SENT, TCP_ESTABLISHED) => {
            if let Some(connecting) = socket.connecting() {
                // SAFETY: a value of a map; the helper only returns a number.
                unsafe { (*connecting).done = bpf_ktime_get_ns() };
            }
        }
        (_, TCP_CLOSE) => socket.forget_connecting(),
        _ => {}
    }
}

/// `socket`, remembered as `connection`, enters `state`. Gives whether all that moves over it was recorded.
#[inline(always)]
pub fn changed<S: Socket>(socket: S, connection: *mut Connection, state: u32) -> bool {
    // SAFETY: state of a live connection.
    let connection = unsafe { &mut *connection };
    if !matches!(state, TCP_FIN_WAIT1 | TCP_LAST_ACK | TCP_CLOSE | TCP_CLOSE_WAIT) {
        return true;
    }
    // A send may be over whose record is yet to come: another thread's, or one that the peer's reset has overtaken.
    let is_tcp = connection.flags & TCP != 0;
    let sequences = if is_tcp { socket.sequences() } else { Sequences::NONE };
    let sk = socket.address();
    let sent = socket_io::elsewhere(connection, sk, 1, sequences);
    let received = socket_io::elsewhere(connection, sk, 0, sequences);
    // What has come before a reset can still be read.
    let unread = if state == TCP_CLOSE && is_tcp { socket::unread(sk) } else { 0 };
    let all = [received, sent] == connection.position && unread == 0;
    if matches!(state, TCP_FIN_WAIT1 | TCP_LAST_ACK) {
        connection.flags |= FIN_SENT;
    }
    let is_unwanted = connection.flags & (IGNORED | BOUND) == IGNORED && state != TCP_CLOSE;
    if connection.flags & ANNOUNCED != 0 && !is_unwanted {
        // Its own positions are not those of the plaintext.
        let is_bound = connection.flags & BOUND != 0;
        let (conn, [received, sent], unread) =
            if is_bound { (connection.plaintext, [0; 2], 0) } else { (connection.id, [received, sent], unread) };
        held::tell_held(conn);
        // What is lost is counted.
        let _told_or_lost = emit(State {
            kind: EventKind::State as u32,
            state,
            conn,
            // SAFETY: the helper only returns a number.
            at_ns: unsafe { bpf_ktime_get_ns() },
            error: socket::error(sk),
            unread,
            received,
            sent,
        });
    }
    all
}
