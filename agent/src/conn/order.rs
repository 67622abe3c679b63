//! Causal order. The kernel records a piece when the call returns, so that a thread which sends may be overtaken by one
//! that already receives the answer. Each record says how far the other direction had come; a record that is ahead
//! of what has arrived waits. Where what it waits for was lost, the next record of that direction tells: it begins behind it.

use std::collections::VecDeque;

use ebpf_common::events::Frames;

use crate::{
    capture::event::{Data, DataFlags},
    model::net::{Direction, TcpFacts, Thread},
};

/// A piece with its bytes, borrowed from the ring.
#[derive(Clone, Copy, Debug)]
pub(super) struct Piece<'a> {
    pub(super) direction: Direction,
    pub(super) at_ns: u64,
    pub(super) thread: Thread,
    pub(super) position: u64,
    pub(super) other_position: u64,
    pub(super) len: u64,
    pub(super) flags: DataFlags,
    pub(super) head: &'a [u8],
    pub(super) tail: &'a [u8],
    pub(super) frames: Option<Frames>,
    pub(super) tcp: Option<TcpFacts>,
    /// For how long nothing is known to have moved in this direction before; told once it is in order.
    pub(super) quiet_ns: u64,
}

impl<'a> Piece<'a> {
    pub(super) const fn new(data: &Data<'a>) -> Self {
        let &Data { id: _, at_ns, thread, direction, flags, position, other_position, len, frames, tcp, head, tail } =
            data;
        let len = len as u64;
        Self { direction, at_ns, thread, position, other_position, len, flags, head, tail, frames, tcp, quiet_ns: 0 }
    }

    /// It stands for several that were told together, as far as is known.
    pub(super) const fn is_merged(&self) -> bool {
        self.head.is_empty() && !self.tail.is_empty()
    }

    fn end(&self) -> u64 {
        self.position.saturating_add(self.len)
    }
}

/// A piece that had to be kept.
#[derive(Debug)]
pub(super) struct Kept {
    direction: Direction,
    at_ns: u64,
    thread: Thread,
    position: u64,
    other_position: u64,
    len: u64,
    flags: DataFlags,
    bytes: Box<[u8]>,
    head_len: usize,
    frames: Option<Frames>,
    tcp: Option<TcpFacts>,
    quiet_ns: u64,
}

impl Kept {
    pub(super) fn of(piece: &Piece<'_>) -> Self {
        Self {
            direction: piece.direction,
            at_ns: piece.at_ns,
            thread: piece.thread,
            position: piece.position,
            other_position: piece.other_position,
            len: piece.len,
            flags: piece.flags,
            bytes: [piece.head, piece.tail].concat().into(),
            head_len: piece.head.len(),
            frames: piece.frames,
            tcp: piece.tcp,
            quiet_ns: piece.quiet_ns,
        }
    }

    pub(super) fn piece(&self) -> Piece<'_> {
        let (head, tail) = self.bytes.split_at_checked(self.head_len).unwrap_or((&self.bytes, &[]));
        Piece {
            direction: self.direction,
            at_ns: self.at_ns,
            thread: self.thread,
            position: self.position,
            other_position: self.other_position,
            len: self.len,
            flags: self.flags,
            head,
            tail,
            frames: self.frames,
            tcp: self.tcp,
            quiet_ns: self.quiet_ns,
        }
    }

    pub(super) fn memory(&self) -> usize {
        size_of::<Self>() + self.bytes.len()
    }
}

/// How long a piece waits for one that must come before it: the other thread has only to return from its call.
pub(super) const PATIENCE_NS: u64 = 20_000_000;
/// Most pieces that wait on one connection.
const WAITING_MAX: usize = 64;

/// Puts the pieces of one connection into order.
#[derive(Debug)]
pub(super) struct Order {
    /// Where the last piece that arrived in each direction ended; `None`: nothing has, and positions do not count from zero.
    arrived: Option<[u64; 2]>,
    /// Pieces of one direction, in order, the first of which is ahead of the other direction.
    waiting: VecDeque<Kept>,
}

impl Order {
    /// `whole`: positions count from zero. Else from wherever the first piece stands.
    pub(super) fn new(whole: bool) -> Self {
        Self { arrived: whole.then_some([0; 2]), waiting: VecDeque::new() }
    }

    /// Takes a piece; hands over what is in order now, by calls of `deliver`.
    pub(super) fn take(&mut self, piece: &Piece<'_>, mut deliver: impl FnMut(&Piece<'_>)) {
        if self.arrived.is_none() {
            let mut arrived = [piece.other_position; 2];
            arrived[piece.direction.index()] = piece.position;
            self.arrived = Some(arrived);
        }
        // What waits for bytes before this piece moved before it, and these bytes are not told any more.
        while let Some(first) = self.waiting.front()
            && first.direction != piece.direction
            && first.other_position <= piece.position
        {
            self.give_up_first(&mut deliver);
        }
        match self.waiting.front() {
            None => {
                let is_due = piece.other_position <= *self.arrived_in(piece.direction.other());
                self.has_arrived(piece);
                if is_due {
                    return deliver(piece);
                }
                self.waiting.push_back(Kept::of(piece));
            }
            Some(first) if first.direction == piece.direction => {
                self.has_arrived(piece);
                self.waiting.push_back(Kept::of(piece));
                if self.waiting.len() > WAITING_MAX {
                    self.give_up(deliver);
                }
            }
            Some(_) => {
                // What the others wait for: its own position in the ring says that they came before it.
                self.has_arrived(piece);
                deliver(piece);
                self.release(deliver);
            }
        }
    }

    /// Heap bytes held, about.
    pub(super) fn memory(&self) -> usize {
        self.waiting.iter().map(Kept::memory).sum()
    }

    /// Whether all pieces before these positions, received and sent, have arrived.
    pub(super) fn has_arrived_at(&self, positions: [u64; 2]) -> bool {
        self.arrived.is_none_or(|arrived| arrived[0] >= positions[0] && arrived[1] >= positions[1])
    }

    /// Something waits since before `since_ns`.
    pub(super) fn waits_since(&self) -> Option<u64> {
        self.waiting.front().map(|kept| kept.at_ns)
    }

    /// Hands over all that waits.
    pub(super) fn give_up(&mut self, mut deliver: impl FnMut(&Piece<'_>)) {
        while !self.waiting.is_empty() {
            self.give_up_first(&mut deliver);
        }
    }

    /// Hands over the first of what waits. What it waited for has moved, as the kernel counted it, but was never told (a lost
    /// record, `splice` on backend `sock`): a piece without content stands in for it.
    fn give_up_first(&mut self, deliver: &mut impl FnMut(&Piece<'_>)) {
        let Some(kept) = self.waiting.pop_front() else { return };
        let piece = kept.piece();
        let other = piece.direction.other();
        let arrived = self.arrived_in(other);
        if piece.other_position > *arrived {
            let (position, len) = (*arrived, piece.other_position - *arrived);
            *arrived = piece.other_position;
            let (flags, head, tail, frames) = (DataFlags::FAULT, &[][..], &[][..], None);
            deliver(&Piece { direction: other, position, len, flags, head, tail, frames, ..piece });
        }
        deliver(&piece);
    }

    fn release(&mut self, mut deliver: impl FnMut(&Piece<'_>)) {
        while let Some(first) = self.waiting.front() {
            let (due, other) = (first.other_position, first.direction.other());
            if due > *self.arrived_in(other) {
                return;
            }
            if let Some(kept) = self.waiting.pop_front() {
                deliver(&kept.piece());
            }
        }
    }

    fn has_arrived(&mut self, piece: &Piece<'_>) {
        let arrived = self.arrived_in(piece.direction);
        *arrived = (*arrived).max(piece.end());
    }

    fn arrived_in(&mut self, direction: Direction) -> &mut u64 {
        &mut self.arrived.get_or_insert([0; 2])[direction.index()]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn piece(direction: Direction, position: u64, len: u64, other_position: u64) -> Piece<'static> {
        Piece {
            direction,
            at_ns: position,
            thread: Thread::default(),
            position,
            other_position,
            len,
            flags: DataFlags::default(),
            head: &[],
            tail: &[],
            frames: None,
            tcp: None,
            quiet_ns: 0,
        }
    }

    fn run(pieces: &[Piece<'_>]) -> Vec<(Direction, u64)> {
        let (mut order, mut seen) = (Order::new(true), Vec::new());
        for piece in pieces {
            order.take(piece, |piece| seen.push((piece.direction, piece.position)));
        }
        seen
    }

    use Direction::{Received, Sent};

    #[test]
    fn pieces_in_order_pass_at_once() {
        let seen = run(&[piece(Received, 0, 10, 0), piece(Sent, 0, 20, 10), piece(Received, 10, 10, 20)]);
        assert_eq!(seen, [(Received, 0), (Sent, 0), (Received, 10)]);
    }

    #[test]
    fn an_answer_recorded_before_its_request_waits_for_it() {
        let seen = run(&[piece(Received, 0, 50, 100), piece(Received, 50, 5, 100), piece(Sent, 0, 100, 55)]);
        assert_eq!(seen, [(Sent, 0), (Received, 0), (Received, 50)]);
    }

    #[test]
    fn a_later_request_releases_only_what_it_precedes() {
        let seen = run(&[
            piece(Received, 0, 50, 100),
            piece(Received, 50, 50, 200),
            piece(Sent, 0, 100, 100),
            piece(Sent, 100, 100, 100),
        ]);
        assert_eq!(seen, [(Sent, 0), (Received, 0), (Sent, 100), (Received, 50)]);
    }

    #[test]
    fn an_answer_that_was_lost_does_not_put_the_next_before_its_request() {
        let mut order = Order::new(true);
        let mut seen = Vec::new();
        for piece in [
            piece(Received, 0, 10, 0),
            // Sent 0..100 is never told.
            piece(Received, 10, 10, 100),
            piece(Sent, 100, 50, 20),
            piece(Received, 20, 10, 150),
            piece(Sent, 150, 50, 30),
        ] {
            order.take(&piece, |piece| seen.push((piece.direction, piece.position, piece.flags)));
        }
        let (seen_whole, lost) = (DataFlags::default(), DataFlags::FAULT);
        let expected = [
            (Received, 0, seen_whole),
            (Sent, 0, lost),
            (Received, 10, seen_whole),
            (Sent, 100, seen_whole),
            (Received, 20, seen_whole),
            (Sent, 150, seen_whole),
        ];
        assert_eq!(seen, expected);
    }

    #[test]
    fn a_request_that_was_lost_does_not_put_the_next_before_its_answer() {
        let seen = run(&[
            piece(Received, 0, 10, 0),
            piece(Sent, 0, 100, 10),
            // Received 10..20 is never told.
            piece(Sent, 100, 100, 20),
            piece(Received, 20, 10, 200),
            piece(Sent, 200, 100, 30),
        ]);
        let expected = [(Received, 0), (Sent, 0), (Received, 10), (Sent, 100), (Received, 20), (Sent, 200)];
        assert_eq!(seen, expected);
    }

    #[test]
    fn positions_of_a_connection_taken_up_in_its_midst_count_from_its_first_piece() {
        let mut order = Order::new(false);
        let mut seen = Vec::new();
        for piece in [piece(Received, 1000, 10, 9000), piece(Sent, 9000, 100, 1010), piece(Received, 1010, 10, 9100)] {
            order.take(&piece, |piece| seen.push((piece.direction, piece.position)));
        }
        assert_eq!(seen, [(Received, 1000), (Sent, 9000), (Received, 1010)]);
    }

    #[test]
    fn a_lost_piece_holds_nothing_up_for_ever_and_leaves_a_gap_of_its_size() {
        let mut order = Order::new(true);
        let mut seen = Vec::new();
        order.take(&piece(Received, 0, 50, 100), |piece| seen.push((piece.direction, piece.position, piece.len)));
        assert_eq!((seen.len(), order.waits_since()), (0, Some(0)));
        order.give_up(|piece| seen.push((piece.direction, piece.position, piece.len)));
        assert_eq!((&seen[..], order.waits_since()), (&[(Sent, 0, 100), (Received, 0, 50)][..], None));

        let mut order = Order::new(true);
        let mut seen = 0;
        for i in 0..=WAITING_MAX as u64 {
            order.take(&piece(Received, i, 1, 100), |_| seen += 1);
        }
        assert_eq!(seen, 1 + WAITING_MAX + 1);
    }
}
