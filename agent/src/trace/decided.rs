//! What was decided about the traces that were begun last.

use super::sampling::Decision;
use crate::model::trace_context::TraceId;

/// Places in a set: of a trace's own set, the one that was taken first is taken anew.
const WAYS: usize = 8;
/// In place of a tag.
const NONE: u64 = 0;
/// Sets. A trace belongs to one of them by its id.
const SETS: usize = 4096;

/// Decisions about the last traces, a bounded number. A hash map whose oldest entry is removed for each that comes would miss the processor's cache
/// three times for each request: here the ids of a set lie side by side.
#[derive(Debug, Default)]
pub(super) struct Decided {
    /// What of ids is [compared](tag_of), of each set; empty as long as nothing is remembered.
    tags: Vec<[u64; WAYS]>,
    decisions: Vec<[Decision; WAYS]>,
    next: Vec<u8>,
}

impl Decided {
    pub(super) fn get(&self, trace_id: TraceId) -> Option<Decision> {
        let (set, tag) = (set_of(trace_id), tag_of(trace_id));
        let way = self.tags.get(set)?.iter().position(|known| *known == tag)?;
        self.decisions.get(set)?.get(way).copied()
    }

    pub(super) fn insert(&mut self, trace_id: TraceId, decision: Decision) {
        if self.tags.is_empty() {
            self.tags = vec![[NONE; WAYS]; SETS];
            self.decisions = vec![[Decision::default(); WAYS]; SETS];
            self.next = vec![0; SETS];
        }
        let (set, tag) = (set_of(trace_id), tag_of(trace_id));
        let Some(((tags, decisions), next)) =
            self.tags.get_mut(set).zip(self.decisions.get_mut(set)).zip(self.next.get_mut(set))
        else {
            return;
        };
        let way = tags.iter().position(|known| *known == tag).unwrap_or_else(|| {
            let way = usize::from(*next) % WAYS;
            *next = next.wrapping_add(1);
            way
        });
        if let Some((place, known)) = tags.get_mut(way).zip(decisions.get_mut(way)) {
            (*place, *known) = (tag, decision);
        }
    }
}

/// Half of a trace's id, by which it is known: eight of them fill a line of the processor's cache.
fn tag_of(trace_id: TraceId) -> u64 {
    let [.., a, b, c, d, e, f, g, h] = trace_id.0;
    u64::from_ne_bytes([a, b, c, d, e, f, g, h]).max(NONE + 1)
}

/// By its last bits, which are random where a trace's id is made as the specification asks.
fn set_of(trace_id: TraceId) -> usize {
    let [.., high, low] = trace_id.0;
    usize::from(u16::from_be_bytes([high, low])) % SETS
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::probability::Sampled, trace::ids::Ids};

    const KEPT: Decision = Decision { is_kept: true, sampled: Sampled::NOTHING };
    const LEFT: Decision = Decision { is_kept: false, ..KEPT };

    #[test]
    fn the_last_of_a_set_are_remembered_and_the_first_is_forgotten() {
        let mut decided = Decided::default();
        let of_one_set = |number: u8| TraceId([1, 0, 0, 0, 0, 0, 0, 0, 0, number, 0, 0, 0, 0, 0, 5]);
        assert_eq!(decided.get(of_one_set(0)), None);
        (0..=8).for_each(|number| decided.insert(of_one_set(number), if number % 2 == 0 { KEPT } else { LEFT }));
        assert_eq!(decided.get(of_one_set(0)), None);
        assert_eq!([1, 7, 8].map(|number| decided.get(of_one_set(number))), [Some(LEFT), Some(LEFT), Some(KEPT)]);
        decided.insert(of_one_set(8), LEFT);
        assert_eq!(
            [1, 8].map(|number| decided.get(of_one_set(number))),
            [Some(LEFT); 2],
            "one that is known takes no place more"
        );
    }

    #[test]
    fn of_traces_that_come_one_after_the_other_half_as_many_as_there_is_room_for_are_remembered() {
        let (mut decided, mut ids) = (Decided::default(), Ids::from_seed([3; 32]));
        let traces: Vec<TraceId> = (0..WAYS * SETS / 2).map(|_| ids.trace_id()).collect();
        traces.iter().for_each(|trace| decided.insert(*trace, KEPT));
        let known = traces.iter().filter(|trace| decided.get(**trace) == Some(KEPT)).count();
        assert!(known * 100 > traces.len() * 95, "{known} of {}", traces.len());
    }
}
