//! Events for tests, of process 7.

use std::net::{Ipv4Addr, SocketAddr};

use super::event::{Data, DataFlags, Ends, MetAt, Open, State, TcpState};
use crate::model::{
    ids::{ConnectionId, ProcessId, ThreadId},
    net::{Direction, Thread},
};

/// The process whose events these are.
pub(crate) const PROCESS: ProcessId = ProcessId(7);

const THREAD: Thread = Thread { tgid: PROCESS, tid: ThreadId(0), work: 0, begun_ns: 0 };

/// A connection was met, of which the ends are not known.
pub(crate) const fn open(id: ConnectionId, at_ns: u64) -> Open<'static> {
    let (started_at_ns, forked_from) = (0, ProcessId::NONE);
    let (ends, met_at) = (Ends::Unknown, MetAt::Unknown);
    Open {
        id,
        at_ns,
        tgid: PROCESS,
        started_at_ns,
        forked_from,
        comm: b"",
        ends,
        netns: 0,
        met_at,
        is_blocking: false,
        connect_ns: None,
    }
}

/// The ends of a connection over TCP.
pub(crate) fn tcp(remote: [u8; 4], port: u16) -> Ends<'static> {
    let local = SocketAddr::new(Ipv4Addr::UNSPECIFIED.into(), 0);
    Ends::Tcp {
        local,
        remote: SocketAddr::new(remote.into(), port),
        state: Some(TcpState::Established),
        sequence: None,
    }
}

/// Two unix sockets without names.
pub(crate) const fn unix() -> Ends<'static> {
    Ends::Unix { path: b"", inode: None, sockets: None }
}

/// Bytes moved, the first of their direction.
pub(crate) fn data(id: ConnectionId, at_ns: u64, direction: Direction, head: &[u8]) -> Data<'_> {
    let len = u32::try_from(head.len()).unwrap();
    let (flags, position, other_position, tail) = (DataFlags::default(), 0, 0, &[][..]);
    let (frames, tcp) = (None, None);
    Data { id, at_ns, thread: THREAD, direction, flags, position, other_position, len, frames, tcp, head, tail }
}

/// A connection changed its state.
pub(crate) const fn state(id: ConnectionId, at_ns: u64, state: TcpState) -> State {
    State { id, at_ns, state, error: 0, unread: 0, received: 0, sent: 0 }
}
