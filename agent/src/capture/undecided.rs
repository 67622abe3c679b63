//! What the kernel side lost of processes that were not evaluated yet. It counts once such a process is chosen, or has ended
//! without being evaluated; of one that is left out nothing was lost.

use std::{collections::HashSet, mem, ops::AddAssign};

use aya::maps::{HashMap, MapData};
use ebpf_common::policy::{UNDECIDED, WATCH};

use crate::model::ids::ProcessId;

/// What was lost.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Losses {
    /// Records that were shed.
    pub(super) records: u64,
    /// Requests that are not told, at most.
    pub(super) requests: u64,
}

impl AddAssign for Losses {
    fn add_assign(&mut self, more: Self) {
        self.records += more.records;
        self.requests += more.requests;
    }
}

/// What is done about a process's losses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fate {
    Count,
    Drop,
    /// It is not evaluated yet.
    Wait,
    /// The same, and it has ended: its records may still wait in the ring.
    Ended,
}

/// By the kernel side's policy of a process; none: it has ended. `is_last`: it is not evaluated any more.
fn fate(policy: Option<u32>, had_ended: bool, is_last: bool) -> Fate {
    match policy {
        Some(WATCH) => Fate::Count,
        Some(UNDECIDED) if is_last => Fate::Count,
        Some(UNDECIDED) => Fate::Wait,
        Some(_) => Fate::Drop,
        None if had_ended || is_last => Fate::Count,
        None => Fate::Ended,
    }
}

/// The kernel side's memory of it, and what of it counts.
pub(super) struct UndecidedLosses {
    map: HashMap<MapData, u32, [u64; 2]>,
    /// Processes that had ended when it was last looked.
    ended: HashSet<ProcessId>,
    counted: Losses,
}

impl UndecidedLosses {
    pub(super) fn new(map: HashMap<MapData, u32, [u64; 2]>) -> Self {
        Self { map, ended: HashSet::new(), counted: Losses::default() }
    }

    /// A process was evaluated. `counts`: it is chosen, or may have been.
    pub(super) fn on_decision(&mut self, tgid: ProcessId, counts: bool) {
        if counts && let Ok([records, requests]) = self.map.get(&tgid.0, 0) {
            self.counted += Losses { records, requests };
        }
        self.forget(tgid);
    }

    /// To be called now and then: what decisions have missed. `is_last`: a last time.
    pub(super) fn settle(&mut self, policies: &HashMap<MapData, u32, u32>, is_last: bool) {
        let all: Vec<(u32, [u64; 2])> = self.map.iter().flatten().collect();
        let had_ended = mem::take(&mut self.ended);
        for (tgid, [records, requests]) in all.into_iter().map(|(tgid, lost)| (ProcessId(tgid), lost)) {
            match fate(policies.get(&tgid.0, 0).ok(), had_ended.contains(&tgid), is_last) {
                Fate::Count => {
                    self.counted += Losses { records, requests };
                    self.forget(tgid);
                }
                Fate::Drop => self.forget(tgid),
                Fate::Wait => {}
                Fate::Ended => {
                    self.ended.insert(tgid);
                }
            }
        }
    }

    fn forget(&mut self, tgid: ProcessId) {
        // Most processes have lost nothing.
        let _not_there = self.map.remove(&tgid.0);
    }

    /// What counts.
    pub(super) const fn counted(&self) -> Losses {
        self.counted
    }
}

#[cfg(test)]
mod tests {
    use ebpf_common::policy::{IGNORE, IGNORE_UNLESS_SERVING};

    use super::*;

    #[test]
    fn losses_of_a_process_that_is_left_out_are_none() {
        for (policy, had_ended, is_last, expected) in [
            (Some(WATCH), false, false, Fate::Count),
            (Some(IGNORE), false, false, Fate::Drop),
            (Some(IGNORE_UNLESS_SERVING), false, true, Fate::Drop),
            (Some(UNDECIDED), false, false, Fate::Wait),
            (Some(UNDECIDED), false, true, Fate::Count),
            (None, false, false, Fate::Ended),
            (None, true, false, Fate::Count),
            (None, false, true, Fate::Count),
        ] {
            assert_eq!(fate(policy, had_ended, is_last), expected, "{policy:?}");
        }
    }
}
