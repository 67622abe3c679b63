//! Finds out which protocol a connection speaks, and which end the watched process is.
//!
//! | how the connection was met | what it takes to speak a protocol of ours |
//! | --- | --- |
//! | with its first byte | its first bytes are a request, or what servers greet with; a connection that begins otherwise is left alone |
//! | with its first byte of plaintext, behind a handshake of TLS that was seen | its first bytes are a request; else as the next |
//! | in its midst, or unknown | a request that begins a turn, and a response that begins the next; or frames of HTTP/2 |
//!
//! So what another protocol carries as its payload never becomes a request.

use std::net::SocketAddr;

use super::{
    order::{Kept, Piece},
    prologue::{self, Found},
};
use crate::{
    model::net::{Direction, Role},
    protocols::{Entry, REGISTRY, Recognition},
};

/// Turns (changes of direction) without anything recognisable after which a connection is left alone.
const TURNS_MAX: u32 = 16;
/// Most bytes kept while a beginning could become one of several protocols.
const PENDING_MAX: usize = 16 << 10;
/// Most pieces that are looked at again where an answer shows that they were no request of the protocol they were taken for.
const AGAIN_MAX: usize = 16;
/// Pieces in a row that begin with a request of the same protocol, after which they are believed without an answer: whoever publishes may never
/// get one.
const UNANSWERED_MAX: u32 = 8;
/// Bytes that are looked at.
const LOOK_MAX: usize = 4 << 10;

/// What is known so far of a connection that was not recognised yet.
#[derive(Default)]
pub(super) struct Undecided {
    /// Every byte was seen.
    from_beginning: bool,
    /// The first byte that is told is the first of all, as far as probes see all that a library does.
    begins: bool,
    /// Pieces that may turn out to be a beginning, in order.
    pending: Vec<Kept>,
    pending_bytes: usize,
    turns: u32,
    last: Option<Direction>,
    /// When bytes last moved in each direction.
    moved_ns: [u64; 2],
    /// The bytes before those that come next were seen, in each direction.
    follows: [bool; 2],
    /// How far the other direction had come when something was last asked in each.
    asked_at: [Option<u64>; 2],
    /// It was no farther at the next one, or nothing had come back at all.
    asks_ahead: bool,
    /// A request stands in `pending` that needs an answer to be believed.
    asked: Option<(&'static Entry, Role)>,
    /// How many pieces in a row behind it began with one, too.
    unanswered: u32,
    /// Of which protocol what stood there was no request, while it is looked at again.
    refuted: Option<&'static str>,
}

/// What a piece tells.
pub(super) enum Decision {
    /// Nothing yet.
    Undecided,
    /// The protocol and the watched process's role; these pieces come first, then the one at hand.
    Speaks(&'static Entry, Role, Vec<Kept>),
    /// The same: what would have told of so many requests was lost.
    Lost(u64),
    /// No protocol of ours.
    Foreign,
    /// TLS: only its plaintext, if it can be seen, tells more.
    Encrypted,
    /// The end of what stands before the protocol: so many bytes of the piece. It may name the client.
    Prologue(usize, Option<SocketAddr>),
}

/// Whether bytes begin with a TLS record: a handshake message or application data, version 3.x (RFC 8446, 5.1).
fn is_tls_record(head: &[u8]) -> bool {
    matches!(head, [0x16 | 0x17, 0x03, 0x00..=0x04, ..])
}

impl Undecided {
    /// Of a connection that was met with its first byte, or not.
    pub(super) fn new(from_beginning: bool) -> Self {
        Self { from_beginning, ..Self::default() }
    }

    /// It is plaintext of a connection that was met before its handshake.
    pub(super) fn set_begins(&mut self) {
        self.begins = true;
    }

    /// Takes the next piece. `lost`: its bytes, or some, are missing that were not left out on purpose.
    pub(super) fn look(&mut self, piece: &Piece<'_>, lost: bool) -> Decision {
        // Since when nothing had moved in either direction, of which a session that begins here sees one only.
        let quiet_ns = piece.at_ns.saturating_sub(self.moved_ns[piece.direction.other().index()]);
        let piece = &Piece { quiet_ns: piece.quiet_ns.min(quiet_ns), ..*piece };
        self.moved_ns[piece.direction.index()] = piece.at_ns;
        self.note_asked(piece);
        self.consider(piece, lost)
    }

    /// The same, of a piece that may have been looked at before.
    fn consider(&mut self, piece: &Piece<'_>, lost: bool) -> Decision {
        let begins_turn = self.last != Some(piece.direction);
        if begins_turn {
            self.last = Some(piece.direction);
            self.turns += 1;
        }
        let after_unseen =
            !self.from_beginning && !std::mem::replace(&mut self.follows[piece.direction.index()], !lost);
        // What cannot be read says nothing against it.
        self.from_beginning &= !lost && !piece.head.is_empty();
        if let Some((entry, role)) = self.asked {
            return self.on_answer(entry, role, piece, lost);
        }
        let mut maybe = false;
        let joined;
        let is_joined = self.pending.iter().any(|kept| kept.piece().direction == piece.direction);
        let head = if is_joined {
            joined = self.joined(piece);
            joined.as_slice()
        } else {
            piece.head
        };
        let head = head.get(..LOOK_MAX).unwrap_or(head);
        if is_tls_record(head) {
            self.pending.clear();
            return Decision::Encrypted;
        }
        if !head.is_empty() && !lost {
            if let Some(verdict) = self.look_for_prologue(piece, head) {
                return verdict;
            }
            for entry in REGISTRY.iter().filter(|entry| self.refuted != Some(entry.name)) {
                let spans_turns = begins_turn && is_joined && !self.from_beginning && !entry.proves_itself;
                // A request is not asked over several turns: what was moved in the one before is of something else. Unless a server
                // tries to read while it answers (Go), and gets the first byte of what is asked next.
                let is_split = spans_turns
                    && !(entry.is_likely)(piece.head)
                    && (entry.is_likely)(head)
                    && (entry.recognise)(head) == Recognition::Request;
                let is_alone = spans_turns && !is_split;
                let looked_at = if is_alone { piece.head } else { head };
                let recognition = (entry.recognise)(looked_at);
                if is_alone && recognition == Recognition::Request && !(entry.is_likely)(piece.head) {
                    // It may be the rest of one.
                    continue;
                }
                if recognition == Recognition::Greeting && self.from_beginning {
                    return self.speaks(entry, requests(piece.direction.other()));
                }
                let (role, is_request) = match recognition {
                    Recognition::Request => (requests(piece.direction), true),
                    Recognition::Response | Recognition::Greeting => (requests(piece.direction.other()), false),
                    Recognition::Either | Recognition::Maybe => {
                        maybe = true;
                        if (entry.recognise)(piece.head) == Recognition::Either {
                            // In the midst of something long, which may change direction many times.
                            self.turns = 0;
                        }
                        continue;
                    }
                    Recognition::No => continue,
                };
                let is_first = self.begins && self.is_first(piece);
                if is_request && is_first {
                    return self.speaks(entry, role);
                }
                if is_request && (entry.is_certain)(looked_at) {
                    if is_alone {
                        self.forget(piece.direction);
                    }
                    return self.speaks(entry, role);
                }
                if is_request && after_unseen && (entry.may_be_torn)(head) {
                    // A server that reads ahead (Go) had its beginning already, before the connection was met, or in what was lost.
                    continue;
                }
                if self.from_beginning && is_request || !self.from_beginning && entry.proves_itself {
                    return self.speaks(entry, role);
                }
                if !self.from_beginning && is_request && (begins_turn || is_joined) {
                    if is_alone {
                        self.forget(piece.direction);
                    }
                    (self.asked, self.unanswered) = (Some((entry, role)), 0);
                    return self.keep(piece);
                }
            }
        }
        let is_whole = piece.head.len() as u64 == piece.len;
        let may_go_on = begins_turn || is_joined || !self.from_beginning;
        if maybe && may_go_on && is_whole && self.pending_bytes + piece.head.len() < PENDING_MAX {
            return self.keep(piece);
        }
        if self.from_beginning {
            return Decision::Foreign;
        }
        self.forget(piece.direction);
        self.undecided()
    }

    /// Nothing has moved before the piece, but for what is kept of its direction.
    fn is_first(&self, piece: &Piece<'_>) -> bool {
        let first = self.pending.first().map_or(piece.position, |kept| kept.piece().position);
        first == 0 && piece.other_position == 0
    }

    /// Takes note of a client that pipelines. What shows it may be forgotten by the time a session begins.
    fn note_asked(&mut self, piece: &Piece<'_>) {
        let asks = |entry: &Entry| {
            !entry.proves_itself
                && (entry.is_likely)(piece.head)
                && (entry.recognise)(piece.head) == Recognition::Request
        };
        if self.from_beginning || piece.head.is_empty() || !REGISTRY.iter().any(asks) {
            return;
        }
        let before = self.asked_at[piece.direction.index()].replace(piece.other_position);
        self.asks_ahead |= before == Some(piece.other_position) || piece.other_position == 0 && piece.position > 0;
    }

    /// The client was seen to ask before it was answered.
    pub(super) const fn asks_ahead(&self) -> bool {
        self.asks_ahead
    }

    fn forget(&mut self, direction: Direction) {
        self.pending.retain(|kept| kept.piece().direction != direction);
        self.pending_bytes = self.pending.iter().map(Kept::memory).sum();
    }

    /// A request was seen that is none if what comes back is no response.
    fn on_answer(&mut self, entry: &'static Entry, role: Role, piece: &Piece<'_>, lost: bool) -> Decision {
        if lost {
            let asked = self.pending.iter().filter(|kept| kept.piece().direction == role.requests()).count();
            (self.asked, self.pending_bytes) = (None, 0);
            self.pending.clear();
            return Decision::Lost(asked as u64);
        }
        if piece.direction == role.requests() {
            let begins = (entry.recognise)(piece.head) == Recognition::Request;
            self.unanswered = if begins { self.unanswered + 1 } else { 0 };
            if self.unanswered < UNANSWERED_MAX && self.pending_bytes + piece.head.len() < PENDING_MAX {
                return self.keep(piece);
            }
            return self.speaks(entry, role);
        }
        let recognition = match (entry.is_answer)(&self.kept(role.requests()), piece.head) {
            Some(true) => return self.speaks(entry, role),
            Some(false) if !piece.head.is_empty() => Recognition::No,
            _ => (entry.recognise)(piece.head),
        };
        match recognition {
            Recognition::Response => self.speaks(entry, role),
            _ if piece.head.is_empty() => self.speaks(entry, role),
            Recognition::Maybe if piece.head.len() as u64 == piece.len => self.speaks(entry, role),
            _ if self.refuted.is_none() && self.pending.len() <= AGAIN_MAX => self.reconsider(entry, piece),
            _ => {
                (self.asked, self.pending_bytes) = (None, 0);
                self.pending.clear();
                self.undecided()
            }
        }
    }

    /// What was taken for a request is not answered as one: it may be another protocol's, or have one of another behind it.
    fn reconsider(&mut self, entry: &'static Entry, piece: &Piece<'_>) -> Decision {
        let (pending, turns) = (std::mem::take(&mut self.pending), self.turns);
        (self.asked, self.pending_bytes, self.last, self.follows) = (None, 0, None, [false; 2]);
        self.refuted = Some(entry.name);
        let mut kept = pending.into_iter();
        let mut decision = Decision::Undecided;
        while let Some(next) = kept.next() {
            decision = match self.consider(&next.piece(), false) {
                Decision::Undecided | Decision::Prologue(..) => continue,
                Decision::Speaks(entry, role, mut before) => {
                    before.push(next);
                    before.extend(kept.by_ref());
                    Decision::Speaks(entry, role, before)
                }
                other => other,
            };
            break;
        }
        if matches!(decision, Decision::Undecided) {
            // An answer may look like a request, and a request like what asks in the other direction.
            self.refuted = self.refuted.filter(|_| self.asked.is_some());
            decision = self.consider(piece, false);
        }
        (self.turns, self.refuted) = (turns, None);
        match decision {
            Decision::Undecided => self.undecided(),
            decision => decision,
        }
    }

    /// A request was seen that is one if a response to it comes, or nothing at all.
    pub(super) const fn has_asked(&self) -> bool {
        self.asked.is_some()
    }

    /// The connection has ended: a request with which it was met was not answered.
    pub(super) fn unanswered(&mut self) -> Option<(&'static Entry, Role, Vec<Kept>)> {
        let (entry, role) = self.asked.take()?;
        Some((entry, role, std::mem::take(&mut self.pending)))
    }

    /// What stands before the protocol itself, where a connection begins with it.
    fn look_for_prologue(&mut self, piece: &Piece<'_>, head: &[u8]) -> Option<Decision> {
        let before = head.len().saturating_sub(piece.head.len());
        if piece.position != before as u64 {
            return None;
        }
        match prologue::read(head) {
            Found::Header(len, client) => {
                self.forget(piece.direction);
                // The turn begins behind it.
                self.last = None;
                Some(Decision::Prologue(len.saturating_sub(before), client))
            }
            Found::Socks => {
                self.from_beginning = false;
                Some(Decision::Undecided)
            }
            Found::Part if piece.head.len() as u64 == piece.len => Some(self.keep(piece)),
            Found::Part | Found::Nothing => None,
        }
    }

    fn undecided(&self) -> Decision {
        if self.turns > TURNS_MAX { Decision::Foreign } else { Decision::Undecided }
    }

    fn keep(&mut self, piece: &Piece<'_>) -> Decision {
        let kept = Kept::of(piece);
        self.pending_bytes += kept.memory();
        self.pending.push(kept);
        Decision::Undecided
    }

    pub(super) fn memory(&self) -> usize {
        self.pending_bytes
    }

    fn joined(&self, piece: &Piece<'_>) -> Vec<u8> {
        let mut bytes = self.kept(piece.direction);
        bytes.extend_from_slice(piece.head);
        bytes
    }

    fn kept(&self, direction: Direction) -> Vec<u8> {
        let mut bytes: Vec<u8> = Vec::new();
        for kept in self.pending.iter().map(Kept::piece).filter(|kept| kept.direction == direction) {
            bytes.extend_from_slice(kept.head);
        }
        bytes
    }

    fn speaks(&mut self, entry: &'static Entry, role: Role) -> Decision {
        self.pending_bytes = 0;
        let mut pending = std::mem::take(&mut self.pending);
        if self.asked.is_some() {
            // What came before that answers nothing of it: the end of what another protocol says first (SOCKS).
            let is_asked = |kept: &Kept| kept.piece().direction == role.requests();
            pending.drain(..pending.iter().position(is_asked).unwrap_or(0));
        }
        Decision::Speaks(entry, role, pending)
    }
}

/// The role of a process whose requests take this direction.
const fn requests(direction: Direction) -> Role {
    match direction {
        Direction::Received => Role::Server,
        Direction::Sent => Role::Client,
    }
}
