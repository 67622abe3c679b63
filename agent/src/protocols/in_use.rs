//! What answers what, where answers come in the order of requests and something was missed: a connection that was in use before it
//! was met, or of which bytes were lost.
//!
//! It is known again by a quiet time behind an answer, or by an exchange that was seen whole: requests of one turn, as many answers
//! in the next, and behind these the next request, with nothing in between that was not seen.

use super::{Anomalies, Chunk, End, Output};
use crate::model::net::{Direction, Role};

/// After so long without a byte in either direction behind an answer nothing is open.
pub(crate) const QUIET_NS: u64 = 20_000_000;

/// A session of a protocol whose answers come in order, which is read on where it is not known what answers what, so that it is known again.
pub(crate) trait Reads {
    /// Whether bytes begin a request.
    const BEGINS: fn(&[u8]) -> bool;

    /// What is known of it.
    fn in_use(&mut self) -> &mut InUse;

    /// Requests that wait of which it is known what answers them.
    fn open(&self) -> usize;

    /// Whether a direction stands between two messages, and no request waits for the rest of its answer.
    fn is_between(&self, is_request: bool) -> bool;

    /// Takes bytes of a direction, of which the first stands at `at` in the piece; `None` if the place is lost.
    fn bytes(&mut self, is_request: bool, bytes: &[u8], at: u64, chunk: &Chunk<'_>, out: &mut Output) -> Option<()>;

    /// So many bytes of a direction were not seen. Whether what stands behind them can be read; `None` if the place is lost.
    fn skip(&mut self, is_request: bool, gap: u64, at_ns: u64, out: &mut Output) -> Option<bool>;

    /// Takes a piece; `None` if the place is lost.
    fn piece(&mut self, is_request: bool, chunk: &Chunk<'_>, out: &mut Output) -> Option<()> {
        if is_request && self.in_use().is_blind() {
            return Some(());
        }
        let gap = chunk.skipped.saturating_sub(chunk.tail.len() as u64);
        self.bytes(is_request, chunk.data, 0, chunk, out)?;
        if gap > 0 && !self.skip(is_request, gap, chunk.at_ns, out)? {
            return Some(());
        }
        self.bytes(is_request, chunk.tail, chunk.len().saturating_sub(chunk.tail.len() as u64), chunk, out)
    }

    /// What is under way in a direction is none.
    fn forget(&mut self, is_request: bool);

    /// All that is open is over.
    fn end_all(&mut self, end: End, at_ns: u64, out: &mut Output);

    /// What was missed may have changed more than what is open, and what is under way.
    fn on_lost(&mut self);

    /// What it could not make sense of.
    fn anomalies(&mut self) -> &mut Anomalies;

    /// Something was missed.
    fn lose(&mut self, at_ns: u64, out: &mut Output) {
        let open = self.open() as u64;
        self.end_all(End::Forgotten, at_ns, out);
        [true, false].into_iter().for_each(|is_request| self.forget(is_request));
        self.on_lost();
        self.in_use().lose();
        self.in_use().told_unseen = open;
    }

    /// Counts requests that are not told, since it was not known what answers what.
    fn count_untold(&mut self) {
        let untold = self.in_use().take_untold();
        self.anomalies().requests_lost += untold;
    }

    /// Takes a piece, and finds out whether it is known again what answers what.
    fn follow(&mut self, direction: Direction, chunk: &Chunk<'_>, out: &mut Output) {
        let is_request = self.in_use().is_request(direction);
        if self.in_use().is_lost() {
            if is_request && self.in_use().last != Some(direction) {
                self.count_untold();
            }
            let (begins, is_open) = (Self::BEGINS(chunk.data), self.open() > 0);
            match self.in_use().before(direction, chunk, begins, is_open) {
                Start::GoesOn => {}
                Start::Known => [true, false].into_iter().for_each(|is_request| self.forget(is_request)),
                Start::Anew => self.forget(is_request),
            }
        }
        // Nothing that stands behind lost bytes is where it is thought to be, unless they are of a value.
        let is_read = self.piece(is_request, chunk, out).is_some();
        if !is_read {
            if self.in_use().is_lost() {
                if !is_request {
                    self.end_all(End::Forgotten, chunk.at_ns, out);
                }
                [true, false].into_iter().for_each(|is_request| self.forget(is_request));
            } else {
                self.lose(chunk.at_ns, out);
            }
        }
        let is_between = self.is_between(is_request);
        self.in_use().after(direction, chunk, is_between, is_read);
    }
}

/// Knows whether it is known what answers what.
#[derive(Debug)]
pub(crate) struct InUse {
    role: Role,
    /// The direction that moved last.
    last: Option<Direction>,
    /// When answers came last.
    answered_ns: u64,
    /// `None`: each answer is that of the first request that is open.
    trial: Option<Trial>,
    /// Requests that were read while it was not known what answers what, and answers that none is known of: those of what was asked in the
    /// last turn, of which one says more than the other where not all of it could be read.
    asked: u64,
    answered: u64,
    /// Requests that were told to be unseen, whose answers may still come.
    told_unseen: u64,
}

/// An exchange that may prove it.
#[derive(Clone, Copy, Debug, Default)]
struct Trial {
    /// Requests of the last turn; `None` where not all of it could be read.
    asked: Option<u64>,
    /// How far requests have come.
    asked_to: u64,
    /// Answers to them.
    answered: u64,
    /// How far answers had come when the last of as many was whole.
    answered_to: Option<u64>,
    /// The rest of the turn of requests is not read.
    is_blind: bool,
}

/// What a piece means that comes while it is not known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Start {
    /// It follows what came before it.
    GoesOn,
    /// Its direction begins anew with it.
    Anew,
    /// Both directions do: from here on it is known.
    Known,
}

impl InUse {
    /// Of a connection's beginning.
    pub(crate) const fn new(role: Role) -> Self {
        Self { role, last: None, answered_ns: 0, trial: None, asked: 0, answered: 0, told_unseen: 0 }
    }

    /// Whether it is not known what answers what.
    pub(crate) const fn is_lost(&self) -> bool {
        self.trial.is_some()
    }

    /// Something was missed.
    pub(crate) fn lose(&mut self) {
        self.trial = Some(Trial::default());
    }

    /// The rest of this turn of requests is not read. As many answers as there are requests open prove that nothing else stood there.
    pub(crate) fn lose_rest(&mut self) {
        self.trial.get_or_insert(Trial { asked: Some(0), is_blind: true, ..Trial::default() });
    }

    /// Whether what comes of this turn of requests is not read.
    pub(crate) fn is_blind(&self) -> bool {
        self.trial.is_some_and(|trial| trial.is_blind)
    }

    /// Whether an answer to the last turn of requests was read.
    pub(crate) fn is_answered(&self) -> bool {
        self.trial.is_some_and(|trial| trial.answered > 0)
    }

    fn is_request(&self, direction: Direction) -> bool {
        direction == self.role.requests()
    }

    /// To be asked before a piece is read. `begins`: by its bytes it begins with a request. `is_open`: requests of which it is known what
    /// answers them wait for that.
    pub(crate) fn before(&mut self, direction: Direction, chunk: &Chunk<'_>, begins: bool, is_open: bool) -> Start {
        let begins_turn = self.last != Some(direction);
        let quiet_ns = chunk.quiet_ns.min(chunk.at_ns.saturating_sub(self.answered_ns));
        let is_quiet = self.last == Some(self.role.requests().other()) && quiet_ns >= QUIET_NS;
        let is_request = self.is_request(direction);
        let Some(trial) = &mut self.trial else { return Start::GoesOn };
        if !begins_turn {
            return Start::GoesOn;
        }
        if !is_request {
            (trial.answered, trial.answered_to) = (0, None);
            return if is_open || trial.is_blind { Start::GoesOn } else { Start::Anew };
        }
        let is_next = trial.asked.is_some_and(|asked| asked > 0 || trial.is_blind)
            && trial.answered_to == Some(chunk.other_position)
            && trial.asked_to == chunk.position;
        let begins = begins && !chunk.lost;
        if begins && !is_open && (is_next || is_quiet) {
            self.trial = None;
            return Start::Known;
        }
        *trial = Trial { asked: begins.then_some(0), ..Trial::default() };
        Start::Anew
    }

    /// A request was read. `is_answered_once`: exactly one answer comes to it.
    pub(crate) fn asked(&mut self, is_answered_once: bool) {
        if let Some(trial) = &mut self.trial {
            trial.asked = trial.asked.filter(|_| is_answered_once).map(|asked| asked + 1);
            self.asked += 1;
        }
    }

    /// How many requests of the last turn are not told, as far as they, or their answers, could be read.
    pub(crate) fn take_untold(&mut self) -> u64 {
        let answered = std::mem::take(&mut self.answered);
        let told = std::mem::take(&mut self.told_unseen).min(answered);
        std::mem::take(&mut self.asked).max(answered - told)
    }

    /// An answer was read.
    pub(crate) fn answered(&mut self) {
        if let Some(trial) = &mut self.trial {
            trial.answered += 1;
            self.answered += 1;
        }
    }

    /// To be told behind each piece. `is_between`: it ends where a message does. `is_read`: all of it could be read.
    pub(crate) fn after(&mut self, direction: Direction, chunk: &Chunk<'_>, is_between: bool, is_read: bool) {
        let is_request = self.is_request(direction);
        self.last = Some(direction);
        if !is_request {
            self.answered_ns = chunk.at_ns;
        }
        let Some(trial) = &mut self.trial else { return };
        let end = chunk.position.saturating_add(chunk.len());
        if is_request {
            trial.asked_to = end;
            trial.asked = trial.asked.filter(|_| is_read && !chunk.lost);
            return;
        }
        trial.asked = trial.asked.filter(|asked| is_read && !chunk.lost && trial.answered <= *asked);
        let is_answered = is_between && trial.asked == Some(trial.answered);
        trial.answered_to = is_answered.then_some(end);
    }
}
