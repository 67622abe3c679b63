//! What connections of a process have learnt for one another: names behind numbers that are the same on all of them.

use std::collections::{HashMap, VecDeque, hash_map::Entry};

use compact_str::CompactString;
use foldhash::fast::RandomState;

use crate::model::ids::ProcessId;

/// Names that are remembered, of all processes.
const NAMES_MAX: usize = 4096;

/// Names by process and number.
#[derive(Debug, Default)]
pub(super) struct Names {
    known: HashMap<(ProcessId, [u8; 16]), CompactString, RandomState>,
    /// The oldest first.
    order: VecDeque<(ProcessId, [u8; 16])>,
}

impl Names {
    /// What a process was told.
    pub(super) fn learn(&mut self, tgid: ProcessId, number: [u8; 16], name: CompactString) {
        if !tgid.is_some() {
            return;
        }
        let key = (tgid, number);
        match self.known.entry(key) {
            Entry::Occupied(mut known) => *known.get_mut() = name,
            Entry::Vacant(place) => {
                place.insert(name);
                self.order.push_back(key);
            }
        }
        if self.order.len() > NAMES_MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.known.remove(&oldest);
        }
    }

    /// What it was told of a number.
    pub(super) fn get(&self, tgid: ProcessId, number: [u8; 16]) -> Option<&CompactString> {
        self.known.get(&(tgid, number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_of_one_process_and_the_oldest_go_first() {
        let mut names = Names::default();
        names.learn(ProcessId(1), [1; 16], "orders".into());
        assert_eq!(names.get(ProcessId(1), [1; 16]).map(|name| &**name), Some("orders"));
        assert_eq!(names.get(ProcessId(2), [1; 16]), None);
        for number in 0..NAMES_MAX as u128 {
            names.learn(ProcessId(2), number.to_be_bytes(), "other".into());
        }
        assert_eq!(names.get(ProcessId(1), [1; 16]), None);
        assert_eq!(names.known.len(), NAMES_MAX);
    }
}
