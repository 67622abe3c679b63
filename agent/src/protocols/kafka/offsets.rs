//! From which offsets on a consumer asks: a session (KIP-227) says it once, and then only what has changed. So where it was not captured how
//! many messages it was given, the next offset that it asks for tells how many there were at most: of some nothing is left, and marks of the
//! end of transactions have offsets too.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::{
    request::{Fetch, Topic},
    response::Given,
};

/// Partitions that are remembered of a session.
pub(super) const OFFSETS_MAX: usize = 1024;

/// What a session asks for.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    of: HashMap<(Topic, i32), i64, RandomState>,
    /// Partitions that have given messages that could not be counted.
    uncounted: HashMap<(Topic, i32), Uncounted, RandomState>,
}

/// Offsets of messages.
#[derive(Clone, Copy, Debug)]
struct Uncounted {
    from: i64,
    /// Where the partition ended then.
    to: i64,
    /// As many as there may be in so many bytes.
    most: u64,
}

impl Uncounted {
    fn up_to(self, to: i64) -> u64 {
        u64::try_from(to.saturating_sub(self.from)).unwrap_or(0).min(self.most)
    }
}

impl Offsets {
    /// A request was made. Gives how many messages that were given before could not be counted, at most.
    pub(super) fn on_request(&mut self, fetch: &Fetch) -> u64 {
        let mut uncounted = 0;
        // It names all that it asks for, in no session or at the beginning of one.
        if fetch.epoch <= 0 {
            self.of.clear();
        }
        for (topic, partition) in &fetch.forgotten {
            self.of.remove(&(topic.clone(), *partition));
        }
        for (topic, partition, offset) in &fetch.from {
            let key = (topic.clone(), *partition);
            if let Some(before) = self.uncounted.remove(&key) {
                uncounted = before.up_to(*offset).saturating_add(uncounted);
            }
            if self.of.len() < OFFSETS_MAX || self.of.contains_key(&key) {
                self.of.insert(key, *offset);
            }
        }
        uncounted
    }

    /// A partition has given messages that could not be counted.
    pub(super) fn leave_uncounted(&mut self, given: &Given) {
        let Some(from) = self.get(&given.topic, given.partition).or(given.records.first_offset) else { return };
        if self.uncounted.len() < OFFSETS_MAX {
            let uncounted = Uncounted { from, to: given.end, most: given.bytes };
            self.uncounted.insert((given.topic.clone(), given.partition), uncounted);
        }
    }

    /// A response of so many bytes was not read behind these.
    pub(super) fn leave_rest_uncounted(&mut self, given: &[Given], most: u64) {
        for ((topic, partition), &from) in &self.of {
            let is_read = given.iter().any(|it| it.topic == *topic && it.partition == *partition);
            if !is_read && self.uncounted.len() < OFFSETS_MAX {
                let uncounted = Uncounted { from, to: from, most };
                self.uncounted.entry((topic.clone(), *partition)).or_insert(uncounted);
            }
        }
    }

    /// What more is asked for is not known. Gives how many messages that were given before could not be counted, at most.
    pub(super) fn take_uncounted(&mut self) -> u64 {
        std::mem::take(&mut self.uncounted).into_values().fold(0, |sum, it| sum.saturating_add(it.up_to(it.to)))
    }

    /// What was said of a partition last.
    pub(super) fn get(&self, topic: &Topic, partition: i32) -> Option<i64> {
        self.of.get(&(topic.clone(), partition)).copied()
    }

    pub(super) fn clear(&mut self) {
        self.of = HashMap::default();
    }

    /// Heap bytes held, about.
    pub(super) fn memory(&self) -> usize {
        // Names of topics have 255 bytes at most.
        let names = (self.of.len() + self.uncounted.len()) * 255;
        self.of.capacity() * (size_of::<((Topic, i32), i64)>() + 1)
            + self.uncounted.capacity() * (size_of::<((Topic, i32), Uncounted)>() + 1)
            + names
    }
}
