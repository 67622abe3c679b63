//! Spans of requests and calls that an SDK within their process may describe too, until it is known whether it does.

use std::collections::VecDeque;

use crate::{
    model::{
        ids::ProcessId,
        span::{Kind, Span},
    },
    trace::{Context, sdks::Paired},
};

/// For how long at most: SDKs export twice within that, unless they are told otherwise.
const PATIENCE_NS: u64 = 12_000_000_000;
/// Most spans that are held; of more, the oldest are told.
const HELD_MAX: usize = 2048;
/// So often it is looked which of them need not be held any more.
const LOOK_NS: u64 = 100_000_000;

/// A span that is held.
pub(super) struct Held {
    pub(super) span: Span,
    pub(super) context: Context,
    pub(super) end_ns: u64,
}

/// All of them, in the order in which they came.
#[derive(Default)]
pub(super) struct Pairing {
    held: VecDeque<Held>,
    looked_ns: u64,
    is_over: bool,
}

impl Pairing {
    /// Whether spans are held: not once the agent stops.
    pub(super) const fn holds(&self) -> bool {
        !self.is_over
    }

    /// No more spans are held.
    pub(super) const fn end(&mut self) {
        self.is_over = true;
    }

    pub(super) fn hold(&mut self, span: Span, context: Context, end_ns: u64) {
        self.held.push_back(Held { span, context, end_ns });
    }

    /// Takes out those that are to be told by now, and forgets those that are described, as `of` says of spans of their process and kind.
    pub(super) fn release(&mut self, now_ns: u64, of: impl Fn(ProcessId, Kind) -> Paired) -> Vec<Held> {
        let mut told = Vec::new();
        let is_due = self.is_over || now_ns.saturating_sub(self.looked_ns) >= LOOK_NS || self.held.len() > HELD_MAX;
        if self.held.is_empty() || !is_due {
            return told;
        }
        self.looked_ns = now_ns;
        let mut surplus = self.held.len().saturating_sub(HELD_MAX);
        for held in std::mem::take(&mut self.held) {
            let is_over = self.is_over || surplus > 0 || held.end_ns.saturating_add(PATIENCE_NS) <= now_ns;
            surplus = surplus.saturating_sub(1);
            match of(held.span.pid, held.span.kind) {
                Paired::Described | Paired::Excluded => {}
                Paired::Undecided if !is_over => self.held.push_back(held),
                Paired::Undecided | Paired::Alone => told.push(held),
            }
        }
        told
    }
}

#[cfg(test)]
mod tests {
    use super::{super::waiting::tests::CONTEXT, *};
    use crate::export::testing::span;

    const SECOND: u64 = 1_000_000_000;

    fn held(spans: u64) -> Pairing {
        let mut pairing = Pairing::default();
        (0..spans).for_each(|number| pairing.hold(span(number), CONTEXT, 1000 * SECOND));
        pairing
    }

    #[test]
    fn a_span_is_told_once_it_is_known_that_nobody_else_does_or_after_a_while() {
        let after = |paired, now_ns| held(1).release(now_ns, |_, _| paired).len();
        assert_eq!(after(Paired::Undecided, 1011 * SECOND), 0);
        assert_eq!(after(Paired::Undecided, 1012 * SECOND), 1);
        assert_eq!([Paired::Alone, Paired::Described].map(|paired| after(paired, 1001 * SECOND)), [1, 0]);
        let mut pairing = held(1);
        assert_eq!(pairing.release(1001 * SECOND, |_, _| Paired::Undecided).len(), 0);
        pairing.end();
        assert!(!pairing.holds() && pairing.release(1001 * SECOND, |_, _| Paired::Undecided).len() == 1);
    }

    #[test]
    fn of_too_many_the_oldest_are_told() {
        let mut pairing = held(HELD_MAX as u64 + 3);
        let told = pairing.release(1001 * SECOND, |_, _| Paired::Undecided);
        let told: Vec<_> = told.iter().map(|held| held.span.span_id).collect();
        assert_eq!(told, [0, 1, 2].map(|number| span(number).span_id));
        assert_eq!(pairing.held.len(), HELD_MAX);
    }
}
