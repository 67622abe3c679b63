//! Which connections are the two ends of one: both on this host, and both watched.

use std::{collections::VecDeque, net::SocketAddr};

use ebpf_common::events::{AF_UNIX, Open, is_plaintext};
use rustc_hash::FxHashMap;

use crate::model::net::{ConnectionInfo, Endpoint};

/// Most ends whose other end is waited for; beyond, the oldest are forgotten.
const WAITING_MAX: usize = 65_536;

/// What names one end of a connection, such that the other end's name can be told from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum End {
    /// TCP sequence numbers of the first byte that moved: sent, received. They stay the same where addresses are translated.
    Sequences(u32, u32),
    /// Addresses, and the network namespace of those that each has for itself.
    Addresses([SocketAddr; 2], u32),
    /// A unix socket and its peer.
    Sockets(u64, u64),
}

impl End {
    fn other(self) -> Self {
        match self {
            Self::Sequences(sent, received) => Self::Sequences(received, sent),
            Self::Addresses([local, remote], netns) => Self::Addresses([remote, local], netns),
            Self::Sockets(own, peer) => Self::Sockets(peer, own),
        }
    }
}

/// Ends whose other end was not met yet.
#[derive(Debug, Default)]
pub(super) struct Pairs {
    waiting: FxHashMap<End, u64>,
    order: VecDeque<End>,
}

impl Pairs {
    /// A connection was met. Gives the link of its other end, if that was met before.
    pub(super) fn on_open(&mut self, open: &Open, info: &ConnectionInfo) -> Option<u64> {
        if is_plaintext(open.conn) {
            return None;
        }
        let names = names(open, info);
        for end in names.into_iter().flatten() {
            if let Some(link) = self.waiting.remove(&end.other()) {
                return Some(link);
            }
        }
        for end in names.into_iter().flatten() {
            if self.waiting.insert(end, info.link).is_none() {
                self.order.push_back(end);
            }
        }
        while self.order.len() > WAITING_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.waiting.remove(&oldest);
            }
        }
        None
    }
}

/// The names of an end, the surest first.
fn names(open: &Open, info: &ConnectionInfo) -> [Option<End>; 2] {
    if open.family == AF_UNIX {
        let known = open.socket != 0 && open.peer_socket != 0;
        return [known.then_some(End::Sockets(open.socket, open.peer_socket)), None];
    }
    let sequences = info.origin.sequence.filter(|_| info.origin.is_beginning);
    let addresses = match (&info.local, &info.remote) {
        (&Endpoint::Inet(local), &Endpoint::Inet(remote)) => {
            // Each network namespace has a loopback device of its own.
            let netns = if local.ip().is_loopback() || remote.ip().is_loopback() { info.netns } else { 0 };
            Some(End::Addresses([local, remote], netns))
        }
        _ => None,
    };
    [sequences.map(|[received, sent]| End::Sequences(sent, received)), addresses]
}

#[cfg(test)]
mod tests {
    use ebpf_common::events::{AF_INET, MET_AT_BEGINNING};
    use zerocopy::FromZeros as _;

    use super::*;
    use crate::capture::event::connection;

    fn open(conn: u64, local: (u8, u16), remote: (u8, u16), sequence: [u32; 2], state: u16) -> Open {
        let mut open = Open::new_zeroed();
        (open.conn, open.family, open.state, open.netns) = (conn, AF_INET, state, 1);
        open.local_addr[..4].copy_from_slice(&[10, 0, 0, local.0]);
        open.remote_addr[..4].copy_from_slice(&[10, 0, 0, remote.0]);
        (open.local_port, open.remote_port, open.sequence) = (local.1, remote.1, sequence);
        open
    }

    fn link(pairs: &mut Pairs, open: &Open) -> Option<u64> {
        pairs.on_open(open, &connection(open))
    }

    #[test]
    fn the_second_end_that_is_met_has_the_link_of_the_first() {
        let mut pairs = Pairs::default();
        assert_eq!(link(&mut pairs, &open(1, (1, 4000), (2, 80), [7, 9], 1)), None);
        assert_eq!(link(&mut pairs, &open(2, (3, 4000), (2, 80), [8, 9], 1)), None);
        assert_eq!(link(&mut pairs, &open(3, (2, 80), (1, 4000), [900, 70], 1)), Some(1));
        assert_eq!(link(&mut pairs, &open(4, (2, 80), (1, 4000), [900, 70], 1)), None, "one has one other end");
    }

    #[test]
    fn addresses_may_be_translated_on_the_way() {
        let mut pairs = Pairs::default();
        assert_eq!(link(&mut pairs, &open(1, (1, 4000), (99, 80), [7, 9], MET_AT_BEGINNING)), None);
        assert_eq!(link(&mut pairs, &open(2, (2, 8080), (1, 4000), [9, 7], 1)), None, "met later, it may be any");
        assert_eq!(link(&mut pairs, &open(3, (2, 8080), (1, 4000), [9, 7], MET_AT_BEGINNING)), Some(1));
    }

    #[test]
    fn loopback_is_another_one_in_each_namespace() {
        let mut pairs = Pairs::default();
        let at = |conn, netns, local, remote| {
            let mut open = open(conn, (1, local), (1, remote), [0; 2], 1);
            (open.netns, open.local_addr[0], open.remote_addr[0]) = (netns, 127, 127);
            open
        };
        assert_eq!(link(&mut pairs, &at(1, 1, 4000, 80)), None);
        assert_eq!(link(&mut pairs, &at(2, 2, 80, 4000)), None);
        assert_eq!(link(&mut pairs, &at(3, 1, 80, 4000)), Some(1));
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut pairs = Pairs::default();
        for conn in 0..WAITING_MAX as u64 + 10 {
            let mut open = Open::new_zeroed();
            (open.conn, open.family, open.socket, open.peer_socket) = (conn, AF_UNIX, 2 * conn + 1, 2 * conn + 2);
            assert_eq!(pairs.on_open(&open, &connection(&open)), None);
        }
        assert_eq!((pairs.waiting.len(), pairs.order.len()), (WAITING_MAX, WAITING_MAX));
    }
}
