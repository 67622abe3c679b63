//! What happens to requests below their protocol: the same for all of them, by what the kernel said when their first and last bytes
//! moved.

use std::num::{NonZeroU32, NonZeroU64};

use super::order::Piece;
use crate::model::{
    exchange::{Event, Inside, Key},
    net::{Direction, Role, TcpFacts},
};

/// A piece, and what the kernel said then.
#[derive(Clone, Copy, Debug)]
struct Seen {
    at_ns: u64,
    tcp: TcpFacts,
}

/// A request that is open.
#[derive(Debug)]
struct Begun {
    key: Key,
    role: Role,
    tcp: Option<TcpFacts>,
    first_sent_ns: Option<NonZeroU64>,
}

/// Below the requests of one connection.
#[derive(Debug, Default)]
pub(super) struct Below {
    /// By direction: the first piece since bytes last moved in the other one, and the last.
    turns: [Option<Seen>; 2],
    pieces: [Option<Seen>; 2],
    last: Option<Direction>,
    /// When the first byte of all was sent.
    first_sent_ns: Option<NonZeroU64>,
    has_begun: bool,
    open: Vec<Begun>,
}

impl Below {
    /// A piece is about to be given to its protocol.
    pub(super) fn on_piece(&mut self, piece: &Piece<'_>) {
        let (index, seen) = (piece.direction.index(), piece.tcp.map(|tcp| Seen { at_ns: piece.at_ns, tcp }));
        if self.last.replace(piece.direction) != Some(piece.direction) {
            self.turns[index] = seen;
        }
        self.pieces[index] = seen;
        if piece.direction == Direction::Sent && piece.position == 0 {
            self.first_sent_ns = NonZeroU64::new(piece.at_ns);
        }
    }

    /// The protocol told this of it.
    pub(super) fn on_told(&mut self, told: &mut [Event]) {
        for event in told {
            match event {
                Event::Opened(opened) => {
                    let index = opened.role.requests().index();
                    let seen = [self.turns[index], self.pieces[index]];
                    let tcp = seen.iter().flatten().find(|seen| seen.at_ns == opened.start_ns).map(|seen| seen.tcp);
                    let is_first = !std::mem::replace(&mut self.has_begun, true) && opened.role == Role::Client;
                    let first_sent_ns = self.first_sent_ns.filter(|_| is_first);
                    if tcp.is_some() || first_sent_ns.is_some() {
                        self.open.push(Begun { key: opened.key, role: opened.role, tcp, first_sent_ns });
                    }
                }
                Event::Carried(..) | Event::Answered(..) | Event::Polled(_) => {}
                Event::Finished(key, exchange) => {
                    let Some(at) = self.open.iter().rposition(|begun| begun.key == *key) else { continue };
                    let begun = self.open.swap_remove(at);
                    exchange.inside = self.of(&begun);
                }
            }
        }
    }

    fn of(&self, begun: &Begun) -> Inside {
        let now = self.pieces.iter().flatten().max_by_key(|seen| seen.at_ns);
        let begins = begun.tcp.filter(|_| begun.role == Role::Server);
        Inside {
            queued_us: begins.map(|tcp| tcp.waited_us),
            rtt_us: now.and_then(|seen| NonZeroU32::new(seen.tcp.rtt_us)),
            retransmits: begun.tcp.zip(now).map(|(tcp, now)| now.tcp.retransmits.wrapping_sub(tcp.retransmits)),
            first_sent_ns: begun.first_sent_ns,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        capture::event::DataFlags,
        conn::{Connections, Limits},
        model::{
            exchange::Exchange,
            ids::ConnectionId,
            net::{ConnectionInfo, Direction::*},
        },
    };

    const ID: ConnectionId = ConnectionId(1);

    /// A connection, and what was told of it.
    struct Wire {
        connections: Connections,
        moved: [u64; 2],
        told: Vec<Exchange>,
    }

    impl Wire {
        fn new() -> Self {
            Self { connections: Connections::new(Limits::default(), 0), moved: [0; 2], told: Vec::new() }
        }

        fn moves(&mut self, at_ns: u64, direction: Direction, bytes: &str, tcp: TcpFacts) {
            let [position, other_position] = [direction.index(), direction.other().index()].map(|it| self.moved[it]);
            self.moved[direction.index()] += bytes.len() as u64;
            let data = crate::capture::testing::data(ID, at_ns, direction, bytes.as_bytes());
            let data = crate::capture::event::Data {
                position,
                other_position,
                tcp: Some(tcp),
                flags: DataFlags::default(),
                ..data
            };
            let told = &mut self.told;
            self.connections.on_data(&data, &mut |_: &ConnectionInfo, event: Event| told.extend(event.finished()));
        }
    }

    const fn tcp(waited_us: u32, rtt_us: u32, retransmits: u32) -> TcpFacts {
        TcpFacts { waited_us, rtt_us, retransmits }
    }

    #[test]
    fn a_request_has_waited_for_as_long_as_its_first_piece() {
        let mut wire = Wire::new();
        for at in [10, 20] {
            wire.moves(at, Received, "GET / HTTP/1.1\r\n", tcp(at as u32, 5, 1));
            wire.moves(at + 1, Received, "Host: h\r\n\r\n", tcp(2, 6, 1));
            wire.moves(at + 2, Sent, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n", tcp(3, 7, 1));
            wire.moves(at + 3, Sent, "ok", tcp(4, 8, 3));
        }
        let queued: Vec<_> = wire.told.iter().map(|it| it.inside.queued_us).collect();
        assert_eq!(queued, [Some(10), Some(20)]);
        let inside = wire.told[1].inside;
        assert_eq!((inside.rtt_us, inside.retransmits), (NonZeroU32::new(8), Some(2)));
        assert_eq!(inside.first_sent_ns, None, "it is a server");
    }

    #[test]
    fn only_the_first_request_of_a_client_says_when_it_began() {
        let mut wire = Wire::new();
        for at in [10, 20] {
            wire.moves(at, Sent, "GET / HTTP/1.1\r\nHost: h\r\n\r\n", tcp(9, 5, 0));
            wire.moves(at + 1, Received, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nok", tcp(9, 6, 1));
        }
        let told: Vec<_> = wire.told.iter().map(|it| (it.inside.first_sent_ns, it.inside.queued_us)).collect();
        assert_eq!(told, [(NonZeroU64::new(10), None), (None, None)]);
        assert_eq!(wire.told[0].inside.retransmits, Some(1));
    }
}
