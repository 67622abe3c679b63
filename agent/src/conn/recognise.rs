//! Finds out which protocol a connection speaks, and which end the watched process is.

use super::order::{Kept, Piece};
use crate::{
    model::net::{Direction, Role},
    protocols::{Entry, REGISTRY, Recognition},
};

/// Turns (changes of direction) without anything recognisable after which a connection is left alone.
const TURNS_MAX: u32 = 16;
/// Most bytes kept while a beginning could become one of several protocols.
const PENDING_MAX: usize = 16 << 10;
/// Bytes that are looked at.
const LOOK_MAX: usize = 4 << 10;

/// What is known so far of a connection that was not recognised yet.
#[derive(Default)]
pub(super) struct Undecided {
    /// Pieces that may turn out to be a beginning, in order.
    pending: Vec<Kept>,
    pending_bytes: usize,
    turns: u32,
    last: Option<Direction>,
}

/// What a piece tells.
pub(super) enum Verdict {
    /// Nothing yet.
    Undecided,
    /// The protocol and the watched process's role; these pieces come first, then the one at hand.
    Speaks(&'static Entry, Role, Vec<Kept>),
    /// No protocol of ours.
    Foreign,
    /// TLS: only its plaintext, if it can be seen, tells more.
    Encrypted,
}

/// Whether bytes begin with a TLS record: a handshake message or application data, version 3.x (RFC 8446, 5.1).
fn is_tls_record(head: &[u8]) -> bool {
    matches!(head, [0x16 | 0x17, 0x03, 0x00..=0x04, ..])
}

impl Undecided {
    pub(super) fn look(&mut self, piece: &Piece<'_>) -> Verdict {
        if self.last != Some(piece.direction) {
            self.last = Some(piece.direction);
            self.turns += 1;
        }
        let mut maybe = false;
        let joined;
        let head = if self.pending.iter().any(|kept| kept.piece().direction == piece.direction) {
            joined = self.joined(piece);
            joined.as_slice()
        } else {
            piece.head
        };
        let head = head.get(..LOOK_MAX).unwrap_or(head);
        if is_tls_record(head) {
            self.pending.clear();
            return Verdict::Encrypted;
        }
        if !head.is_empty() {
            for entry in REGISTRY {
                match (entry.recognise)(head) {
                    Recognition::Request => return self.speaks(entry, requests(piece.direction)),
                    Recognition::Response => return self.speaks(entry, requests(piece.direction.other())),
                    Recognition::Maybe => maybe = true,
                    Recognition::No => {}
                }
            }
        }
        if maybe && piece.head.len() as u64 == piece.len && self.pending_bytes + piece.head.len() < PENDING_MAX {
            let kept = Kept::of(piece);
            self.pending_bytes += kept.memory();
            self.pending.push(kept);
            return Verdict::Undecided;
        }
        self.pending.retain(|kept| kept.piece().direction != piece.direction);
        self.pending_bytes = self.pending.iter().map(Kept::memory).sum();
        if self.turns > TURNS_MAX { Verdict::Foreign } else { Verdict::Undecided }
    }

    pub(super) fn memory(&self) -> usize {
        self.pending_bytes
    }

    fn joined(&self, piece: &Piece<'_>) -> Vec<u8> {
        let mut bytes: Vec<u8> = Vec::new();
        for kept in self.pending.iter().filter(|kept| kept.piece().direction == piece.direction) {
            bytes.extend_from_slice(kept.piece().head);
        }
        bytes.extend_from_slice(piece.head);
        bytes
    }

    fn speaks(&mut self, entry: &'static Entry, role: Role) -> Verdict {
        self.pending_bytes = 0;
        Verdict::Speaks(entry, role, std::mem::take(&mut self.pending))
    }
}

/// The role of a process whose requests take this direction.
const fn requests(direction: Direction) -> Role {
    match direction {
        Direction::Received => Role::Server,
        Direction::Sent => Role::Client,
    }
}
