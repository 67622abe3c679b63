//! From which offsets on a consumer asks: a session (KIP-227) says it once, and then only what has changed.

use std::collections::HashMap;

use foldhash::fast::RandomState;

use super::request::{Fetch, Topic};

/// Partitions that are remembered of a session.
pub(super) const OFFSETS_MAX: usize = 1024;

/// What a session asks for.
#[derive(Debug, Default)]
pub(super) struct Offsets {
    of: HashMap<(Topic, i32), i64, RandomState>,
}

impl Offsets {
    /// A request was made.
    pub(super) fn on_request(&mut self, fetch: &Fetch) {
        // It names all that it asks for, in no session or at the beginning of one.
        if fetch.epoch <= 0 {
            self.of.clear();
        }
        for (topic, partition) in &fetch.forgotten {
            self.of.remove(&(topic.clone(), *partition));
        }
        for (topic, partition, offset) in &fetch.from {
            let key = (topic.clone(), *partition);
            if self.of.len() < OFFSETS_MAX || self.of.contains_key(&key) {
                self.of.insert(key, *offset);
            }
        }
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
        self.of.capacity() * (size_of::<((Topic, i32), i64)>() + 1) + self.of.len() * 255
    }
}
