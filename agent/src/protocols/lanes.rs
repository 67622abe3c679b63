//! Both directions of a connection whose messages say how long they are, and whether their place is known: what sessions have in common
//! that do not only pair requests with answers (those are `paired`).

use std::mem;

use super::{
    Chunk, Recognition,
    sized::{Frame, Framed, Length},
};

/// Where in its messages each direction stands: that of clients, that of servers.
#[derive(Debug)]
pub(super) struct Lanes {
    framed: [Framed; 2],
    /// The place is to be found again.
    is_lost: [bool; 2],
    length: fn(&[u8]) -> Length,
    /// Most bytes kept of a message.
    keep: usize,
    recognise: fn(&[u8]) -> Recognition,
}

impl Lanes {
    /// Of a connection's beginning.
    pub(super) fn new(length: fn(&[u8]) -> Length, keep: usize, recognise: fn(&[u8]) -> Recognition) -> Self {
        let framed = [Framed::new(length, keep), Framed::new(length, keep)];
        Self { framed, is_lost: [false; 2], length, keep, recognise }
    }

    /// Messages may be under way.
    pub(super) const fn lose_both(&mut self) {
        self.is_lost = [true; 2];
    }

    /// Whether the place of a direction is to be found.
    pub(super) const fn seeks(&self, is_request: bool) -> bool {
        self.is_lost[is_request as usize ^ 1]
    }

    /// Whether the next piece can be read: its place is known, or it begins with a message.
    pub(super) fn finds(&mut self, is_request: bool, chunk: &Chunk<'_>) -> bool {
        let lost = &mut self.is_lost[usize::from(!is_request)];
        *lost &= chunk.lost || !(self.recognise)(chunk.data).fits(is_request);
        !*lost
    }

    /// Takes a direction out, to be put back with [`Self::put`]: who reads a message needs all else.
    pub(super) fn take(&mut self, is_request: bool) -> Framed {
        mem::replace(&mut self.framed[usize::from(!is_request)], Framed::new(self.length, self.keep))
    }

    /// Puts it back. `is_read`: it is known where the next message begins.
    pub(super) fn put(&mut self, is_request: bool, mut framed: Framed, is_read: bool) {
        if !is_read {
            framed.reset();
            self.is_lost[usize::from(!is_request)] = true;
        }
        self.framed[usize::from(!is_request)] = framed;
    }

    /// Heap bytes held.
    pub(super) fn memory(&self) -> usize {
        self.framed.iter().map(Framed::memory).sum()
    }
}

/// Reads a piece of which bytes that were lost may say anything: the place is lost with them. Whether it is still known.
pub(super) fn read(framed: &mut Framed, chunk: &Chunk<'_>, each: &mut impl FnMut(&Frame<'_>) -> Option<()>) -> bool {
    let is_lost = chunk.lost && chunk.skipped > 0;
    let seen = Chunk { skipped: 0, tail: &[], ..*chunk };
    framed.piece(if is_lost { &seen } else { chunk }, each).is_some() && !is_lost
}
