//! Which connections are the two ends of one: both on this host, and both watched.

use std::{collections::VecDeque, net::SocketAddr};

use rustc_hash::FxHashMap;

use crate::{
    capture::event::{Ends, Open, is_plaintext},
    model::{ids::ConnectionId, net::ConnectionInfo},
};

/// Most ends whose other end is waited for; beyond, the oldest are forgotten.
const WAITING_MAX: usize = 65_536;
/// Addresses are used again: two ends with the same are those of one connection if they were met within that time.
const TOGETHER_NS: u64 = 10_000_000_000;

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
    /// With when they were met.
    waiting: FxHashMap<End, (ConnectionId, u64)>,
    order: VecDeque<End>,
}

impl Pairs {
    /// A connection was met. Gives the link of its other end, if that was met before.
    pub(super) fn on_open(&mut self, open: &Open<'_>, info: &ConnectionInfo) -> Option<ConnectionId> {
        if is_plaintext(open.id) {
            return None;
        }
        let names = names(open, info);
        let mut found = None;
        for end in names.into_iter().flatten() {
            // All that the other end is called: one has one other end.
            if let Some((link, met_ns)) = self.waiting.remove(&end.other())
                && (matches!(end, End::Sequences(..)) || met_ns.abs_diff(info.met_ns) < TOGETHER_NS)
            {
                found = found.or(Some(link));
            }
        }
        if found.is_some() {
            return found;
        }
        for end in names.into_iter().flatten() {
            if self.waiting.insert(end, (info.link, info.met_ns)).is_none() {
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
fn names(open: &Open<'_>, info: &ConnectionInfo) -> [Option<End>; 2] {
    match open.ends {
        Ends::Unix { sockets, .. } => [sockets.map(|[own, peer]| End::Sockets(own, peer)), None],
        Ends::Tcp { local, remote, sequence, .. } => {
            let sequences = sequence.filter(|_| info.origin.is_beginning);
            // Each network namespace has a loopback device of its own.
            let netns = if local.ip().is_loopback() || remote.ip().is_loopback() { info.netns } else { 0 };
            let addresses = End::Addresses([local, remote], netns);
            [sequences.map(|[received, sent]| End::Sequences(sent, received)), Some(addresses)]
        }
        Ends::Unknown => [None; 2],
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::capture::{event::MetAt, testing};

    fn open(
        id: u64,
        local: ([u8; 4], u16),
        remote: ([u8; 4], u16),
        sequence: Option<[u32; 2]>,
        met_at: MetAt,
    ) -> Open<'static> {
        let [local, remote] = [local, remote].map(|(ip, port)| SocketAddr::new(ip.into(), port));
        let ends = Ends::Tcp { local, remote, state: None, sequence };
        Open { ends, met_at, netns: 1, ..testing::open(ConnectionId(id), 0) }
    }

    fn link(pairs: &mut Pairs, open: &Open<'_>) -> Option<u64> {
        pairs.on_open(open, &open.connection()).map(|link| link.0)
    }

    const fn host(last: u8, port: u16) -> ([u8; 4], u16) {
        ([10, 0, 0, last], port)
    }

    #[test]
    fn the_second_end_that_is_met_has_the_link_of_the_first() {
        let mut pairs = Pairs::default();
        let mut link =
            |id, local, remote, sequence| link(&mut pairs, &open(id, local, remote, Some(sequence), MetAt::Unknown));
        assert_eq!(link(1, host(1, 4000), host(2, 80), [7, 9]), None);
        assert_eq!(link(2, host(3, 4000), host(2, 80), [8, 9]), None);
        assert_eq!(link(3, host(2, 80), host(1, 4000), [900, 70]), Some(1));
        assert_eq!(link(4, host(2, 80), host(1, 4000), [900, 70]), None, "one has one other end");
    }

    #[test]
    fn addresses_may_be_translated_on_the_way() {
        let mut pairs = Pairs::default();
        let mut link =
            |id, local, remote, sequence, met_at| link(&mut pairs, &open(id, local, remote, Some(sequence), met_at));
        assert_eq!(link(1, host(1, 4000), host(99, 80), [7, 9], MetAt::Beginning), None);
        assert_eq!(link(2, host(2, 8080), host(1, 4000), [9, 7], MetAt::Unknown), None, "met later, it may be any");
        assert_eq!(link(3, host(2, 8080), host(1, 4000), [9, 7], MetAt::Beginning), Some(1));
    }

    #[test]
    fn loopback_is_another_one_in_each_namespace() {
        let mut pairs = Pairs::default();
        let mut link = |id, netns, local, remote| {
            let loopback = |port| ([127, 0, 0, 1], port);
            let open = open(id, loopback(local), loopback(remote), None, MetAt::Unknown);
            link(&mut pairs, &Open { netns, ..open })
        };
        assert_eq!(link(1, 1, 4000, 80), None);
        assert_eq!(link(2, 2, 80, 4000), None);
        assert_eq!(link(3, 1, 80, 4000), Some(1));
    }

    #[test]
    fn an_address_that_is_used_again_is_of_another_connection() {
        let mut pairs = Pairs::default();
        let mut meet = |id, local, remote, sequence, at_ns| {
            let open = Open { at_ns, ..open(id, local, remote, Some(sequence), MetAt::Beginning) };
            pairs.on_open(&open, &open.connection()).map(|link| link.0)
        };
        let (client, server) = (host(1, 4000), host(2, 80));
        assert_eq!(meet(1, client, server, [7, 9], 0), None);
        assert_eq!(meet(2, server, client, [9, 7], 0), Some(1));
        // The server's end is told first.
        assert_eq!(
            meet(3, server, client, [19, 17], 1),
            None,
            "the first client's end is not called by its address any more"
        );
        assert_eq!(meet(4, client, server, [17, 19], 1), Some(3));
        // Of the next nobody watches the client.
        assert_eq!(meet(5, server, client, [29, 27], 2), None);
        assert_eq!(meet(6, client, server, [37, 39], 2 + TOGETHER_NS), None);
        assert_eq!(meet(7, server, client, [39, 37], 2 + TOGETHER_NS), Some(6));
    }

    #[test]
    fn what_waits_is_bounded() {
        let mut pairs = Pairs::default();
        for id in 0..WAITING_MAX as u64 + 10 {
            let ends = Ends::Unix { path: b"", inode: None, sockets: Some([2 * id + 1, 2 * id + 2]) };
            assert_eq!(link(&mut pairs, &Open { ends, ..testing::open(ConnectionId(id), 0) }), None);
        }
        assert_eq!((pairs.waiting.len(), pairs.order.len()), (WAITING_MAX, WAITING_MAX));
    }
}
