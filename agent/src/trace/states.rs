//! What vendors have said beside the contexts that requests came with (`tracestate`): it belongs to all that is done for them.

use std::collections::{VecDeque, hash_map::Entry};

use compact_str::CompactString;
use rustc_hash::FxHashMap;

use super::Context;
use crate::model::trace_context::{SpanId, TraceId};

/// Most lists that are remembered, of 512 bytes each; of more the oldest go first.
const STATES_MAX: usize = 4096;

/// Lists of states by the context that they came with.
#[derive(Debug, Default)]
pub(crate) struct States {
    by_context: FxHashMap<(TraceId, SpanId), CompactString>,
    order: VecDeque<(TraceId, SpanId)>,
}

impl States {
    /// A list came with a context.
    pub(crate) fn insert(&mut self, context: (TraceId, SpanId), state: CompactString) {
        match self.by_context.entry(context) {
            Entry::Occupied(mut entry) => drop(entry.insert(state)),
            Entry::Vacant(entry) => {
                entry.insert(state);
                self.order.push_back(context);
            }
        }
        if self.order.len() > STATES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.by_context.remove(&oldest);
        }
    }

    /// The list that came with what a span's part of the trace on this host began with.
    #[must_use]
    pub(crate) fn handed_down(&self, context: &Context) -> Option<CompactString> {
        // Hardly anybody sends any.
        if self.by_context.is_empty() {
            return None;
        }
        context.remote.and_then(|remote| self.get((remote.trace_id, remote.span_id)))
    }

    fn get(&self, context: (TraceId, SpanId)) -> Option<CompactString> {
        self.by_context.get(&context).cloned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_too_many_the_oldest_go() {
        let context = |number: usize| (TraceId([1; 16]), SpanId((number as u64 + 1).to_be_bytes()));
        let mut states = States::default();
        for number in 0..=STATES_MAX {
            states.insert(context(number), "a=1".into());
            states.insert(context(number), "a=2".into());
        }
        assert_eq!([0, 1, STATES_MAX].map(|it| states.get(context(it)).is_some()), [false, true, true]);
        assert_eq!((states.by_context.len(), states.order.len()), (STATES_MAX, STATES_MAX));
        assert_eq!(states.get(context(1)).as_deref(), Some("a=2"));
    }
}
