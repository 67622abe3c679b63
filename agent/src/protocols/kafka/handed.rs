//! Whether what a consumer was given before has been handed out to who deals with messages: it asks a partition for more behind that only.

use super::request::{Fetch, Topic};

/// Partitions that are remembered.
const PARTITIONS_MAX: usize = 64;
/// Where it is not known what was given before, it has been handed out after so long without messages.
const QUIET_NS: u64 = 10_000_000_000;

/// Of one connection.
#[derive(Debug, Default)]
pub(super) struct Handed {
    /// Partitions that have given messages, and were not asked for more.
    given: Vec<(Topic, i32)>,
    /// It is not known what else was given; until when, once that can be said.
    unclear: Option<Option<u64>>,
}

impl Handed {
    /// What was given before is not known.
    pub(super) fn lose(&mut self) {
        *self = Self { given: Vec::new(), unclear: Some(None) };
    }

    /// Messages are asked for.
    pub(super) fn on_request(&mut self, fetch: &Fetch) {
        let is_asked =
            |it: &(Topic, i32)| fetch.from.iter().any(|(topic, partition, _)| *topic == it.0 && *partition == it.1);
        self.given.retain(|it| !is_asked(it));
    }

    /// Partitions give messages. Gives whether all that was given before has been handed out.
    pub(super) fn on_response<'a>(&mut self, given: impl Iterator<Item = (&'a Topic, i32)>, at_ns: u64) -> bool {
        let mut given = given.peekable();
        if let Some(until_ns) = &mut self.unclear {
            let quiet_ns = at_ns.saturating_add(QUIET_NS);
            if *until_ns.get_or_insert(quiet_ns) <= at_ns {
                self.unclear = None;
            } else if given.peek().is_some() {
                *until_ns = Some(quiet_ns);
            }
        }
        let is_alone = self.unclear.is_none() && self.given.is_empty();
        for (topic, partition) in given {
            if self.given.len() >= PARTITIONS_MAX {
                self.lose();
                return false;
            }
            self.given.push((topic.clone(), partition));
        }
        is_alone
    }

    /// Heap bytes held, about.
    pub(super) fn memory(&self) -> usize {
        // Names of topics have 255 bytes at most.
        self.given.capacity() * size_of::<(Topic, i32)>() + self.given.len() * 255
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_that_is_asked_for_more_has_handed_out_what_it_gave() {
        let topic = Topic::Name("orders".into());
        let asks = |partition: i32| Fetch { from: vec![(topic.clone(), partition, 7)], ..Fetch::default() };
        let mut handed = Handed::default();
        assert!(handed.on_response([(&topic, 0)].into_iter(), 1));
        handed.on_response([].into_iter(), 2);
        assert!(!handed.on_response([(&topic, 1)].into_iter(), 3), "the first may not be done");
        handed.on_request(&asks(0));
        assert!(!handed.on_response([(&topic, 0)].into_iter(), 4));
        [0, 1].iter().for_each(|partition| handed.on_request(&asks(*partition)));
        assert!(handed.on_response([(&topic, 0)].into_iter(), 5));
    }

    #[test]
    fn what_was_not_seen_is_handed_out_in_time() {
        let topic = Topic::Id([1; 16]);
        let mut handed = Handed::default();
        handed.lose();
        handed.on_response([].into_iter(), 0);
        let asks = Fetch { from: vec![(topic.clone(), 0, 7)], ..Fetch::default() };
        for (at_ns, is_alone) in [(QUIET_NS - 1, false), (QUIET_NS + 1, false), (3 * QUIET_NS, true)] {
            assert_eq!(handed.on_response([(&topic, 0)].into_iter(), at_ns), is_alone, "{at_ns}");
            handed.on_request(&asks);
        }
        for partition in 0..=PARTITIONS_MAX as i32 {
            handed.on_response([(&topic, partition)].into_iter(), 3 * QUIET_NS);
        }
        assert!(handed.given.is_empty() && handed.unclear.is_some());
    }
}
