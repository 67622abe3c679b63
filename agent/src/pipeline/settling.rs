//! Exchanges whose place in a trace may turn out to be another: held for a moment, until what it depends on is told or will not
//! be.

use std::collections::BTreeMap;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use crate::{
    model::{exchange::Exchange, net::ConnectionInfo, trace_context::TraceId},
    trace::{Context, Joined, Met},
};

/// Most exchanges held, some 1.3 KiB each with what they say; beyond, they go as they are known.
const HELD_MAX: usize = 8192;

/// One that is held.
type Held = (ConnectionInfo, Box<Exchange>, Context);

/// Until when one is held, and a number of its own.
type At = (u64, u64);

/// What is held.
#[derive(Default)]
pub(super) struct Settling {
    held: BTreeMap<At, Box<Held>>,
    by_trace: FxHashMap<TraceId, SmallVec<[At; 2]>>,
    next: u64,
}

impl Settling {
    /// Takes an exchange that may have to wait until then; gives it back where too many are held. One round can bring far more
    /// than that: a record can hold hundreds.
    pub(super) fn hold(
        &mut self,
        until_ns: u64,
        connection: &ConnectionInfo,
        exchange: Box<Exchange>,
        context: Context,
    ) -> Option<Box<Exchange>> {
        if self.held.len() >= HELD_MAX {
            return Some(exchange);
        }
        let at = (until_ns, self.next);
        self.next += 1;
        self.insert(at, Box::new((connection.clone(), exchange, context)));
        None
    }

    fn insert(&mut self, at: At, held: Box<Held>) {
        self.by_trace.entry(held.2.trace_id).or_default().push(at);
        self.held.insert(at, held);
    }

    /// Corrects what is held by what has become known, and gives those that need not wait any more. `settled`: traces that turned out to be
    /// no parts of others.
    pub(super) fn release(&mut self, joined: &[Joined], met: &[Met], settled: &[TraceId], now_ns: u64) -> Vec<Held> {
        if self.held.is_empty() {
            return Vec::new();
        }
        let mut released = Vec::new();
        for joined in joined {
            for at in self.by_trace.remove(&joined.before).unwrap_or_default() {
                if let Some(mut held) = self.held.remove(&at) {
                    joined.correct(&mut held.2);
                    self.insert((joined.settles_ns, at.1), held);
                }
            }
        }
        for met in met {
            for at in self.by_trace.get(&met.trace_id).into_iter().flatten() {
                if let Some(held) = self.held.get_mut(at).filter(|held| held.2.span_id == met.span_id) {
                    (held.2.other_end, held.2.read_ns) = (Some(met.other_end), Some(met.read_ns));
                }
            }
        }
        for trace_id in settled {
            for at in self.by_trace.remove(trace_id).unwrap_or_default() {
                released.extend(self.held.remove(&at).map(|held| *held));
            }
        }
        while let Some(entry) = self.held.first_entry()
            && entry.key().0 <= now_ns
        {
            let (at, held) = entry.remove_entry();
            if let Some(of_trace) = self.by_trace.get_mut(&held.2.trace_id) {
                of_trace.retain(|other| *other != at);
                if of_trace.is_empty() {
                    self.by_trace.remove(&held.2.trace_id);
                }
            }
            released.push(*held);
        }
        released
    }
}

#[cfg(test)]
mod tests {
    use super::{super::waiting::tests as samples, *};
    use crate::model::{ids::ProcessId, trace_context::SpanId};

    #[test]
    fn of_too_many_at_once_the_others_go_as_they_are_known() {
        let mut settling = Settling::default();
        let connection = samples::connection();
        let hold = |settling: &mut Settling, number| {
            settling.hold(10, &connection, samples::exchange(number), samples::CONTEXT)
        };
        let release = |settling: &mut Settling, now_ns| settling.release(&[], &[], &[], now_ns);
        assert!((0..HELD_MAX as u64).all(|number| hold(&mut settling, number).is_none()));
        assert!(hold(&mut settling, HELD_MAX as u64).is_some());
        assert_eq!((release(&mut settling, 9).len(), release(&mut settling, 10).len()), (0, HELD_MAX));
        assert!(hold(&mut settling, 1).is_none());
    }

    #[test]
    fn a_call_is_told_of_its_other_end_while_it_is_held() {
        let mut settling = Settling::default();
        let (call, other) = (samples::CONTEXT, Context { span_id: SpanId([2; 8]), ..samples::CONTEXT });
        for context in [call, other] {
            let held = settling.hold(10, &samples::connection(), samples::exchange(1), context);
            assert!(held.is_none());
        }
        let met = Met { trace_id: call.trace_id, span_id: call.span_id, other_end: ProcessId(7), read_ns: 5 };
        assert!(settling.release(&[], &[met], &[], 9).is_empty());
        let released = settling.release(&[], &[], &[], 10);
        let ends = released.into_iter().map(|(_, _, it)| (it.span_id, it.other_end, it.read_ns)).collect::<Vec<_>>();
        assert_eq!(ends, [(call.span_id, Some(ProcessId(7)), Some(5)), (other.span_id, None, None)]);
    }
}
