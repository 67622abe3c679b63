//! What tail rules have said of traces lately: exemplars name spans that were kept.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use crate::model::trace_context::TraceId;

/// Most that are remembered. An exemplar of a trace that is forgotten before it is asked for is given up.
const REMEMBERED_MAX: usize = 32_768;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct TailDecisions {
    is_in_force: bool,
    is_kept: FxHashMap<TraceId, bool>,
    order: VecDeque<TraceId>,
}

impl TailDecisions {
    /// Whether there are tail rules; where there are none, every span that is sampled is kept.
    pub(super) const fn set_in_force(&mut self, is_in_force: bool) {
        self.is_in_force = is_in_force;
    }

    pub(super) fn add(&mut self, trace_id: TraceId, is_kept: bool) {
        if self.is_kept.insert(trace_id, is_kept).is_none() {
            self.order.push_back(trace_id);
        }
        if self.order.len() > REMEMBERED_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.is_kept.remove(&oldest);
        }
    }

    /// Whether a trace is kept; `None`: it is not decided, or was long ago.
    pub(super) fn of(&self, trace_id: TraceId) -> Option<bool> {
        if self.is_in_force { self.is_kept.get(&trace_id).copied() } else { Some(true) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn so_many_are_remembered_and_without_rules_all_are_kept() {
        let mut tail_decisions = TailDecisions::default();
        let id = |number: usize| TraceId((number as u128 + 1).to_be_bytes());
        assert_eq!(tail_decisions.of(id(0)), Some(true));
        tail_decisions.set_in_force(true);
        for number in 0..=REMEMBERED_MAX {
            assert_eq!(tail_decisions.of(id(number)), None);
            tail_decisions.add(id(number), number % 2 == 0);
        }
        let said = [0, 1, 2].map(|number| tail_decisions.of(id(number)));
        assert_eq!(said, [None, Some(false), Some(true)]);
        assert_eq!((tail_decisions.order.len(), tail_decisions.is_kept.len()), (REMEMBERED_MAX, REMEMBERED_MAX));
    }
}
