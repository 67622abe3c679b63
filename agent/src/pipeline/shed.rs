//! Records that the kernel side shed because their process had taken more than its share of the ring, by service.

use std::collections::HashMap;

use crate::model::ids::ProcessId;
use compact_str::CompactString;

/// Most services that are told apart.
const SERVICES_MAX: usize = 256;
/// Stands for those beyond.
const OTHERS: &str = "*";

/// What was shed so far.
#[derive(Debug, Default)]
pub(super) struct Shed {
    /// All of it, as of when this was last asked.
    all: u64,
    of_process: HashMap<ProcessId, u64>,
    by_service: HashMap<CompactString, u64>,
}

impl Shed {
    /// Whether more was shed than is told here.
    pub(super) const fn is_behind(&self, all: u64) -> bool {
        self.all != all
    }

    /// Takes up what the kernel side counts by process, which it forgets again when there are many.
    pub(super) fn take(
        &mut self,
        all: u64,
        counts: impl Iterator<Item = (ProcessId, u64)>,
        service: impl Fn(ProcessId) -> CompactString,
    ) {
        self.all = all;
        let counts: HashMap<ProcessId, u64> = counts.collect();
        for (&tgid, &count) in &counts {
            let before = self.of_process.get(&tgid).copied().unwrap_or(0);
            // Less than before: it was forgotten in between.
            let more = if count < before { count } else { count - before };
            if more == 0 {
                continue;
            }
            let name = service(tgid);
            let is_room = self.by_service.len() < SERVICES_MAX || self.by_service.contains_key(&name);
            *self.by_service.entry(if is_room { name } else { OTHERS.into() }).or_default() += more;
        }
        self.of_process = counts;
    }

    /// Records by service.
    pub(super) fn by_service(&self) -> impl Iterator<Item = (&CompactString, u64)> {
        self.by_service.iter().map(|(name, &count)| (name, count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn told(shed: &Shed) -> Vec<(String, u64)> {
        let mut told: Vec<_> = shed.by_service().map(|(name, count)| (name.to_string(), count)).collect();
        told.sort();
        told
    }

    /// Of processes 1, 2 …
    fn counts<const N: usize>(counts: [u64; N]) -> impl Iterator<Item = (ProcessId, u64)> {
        (1..).map(ProcessId).zip(counts)
    }

    #[test]
    fn what_is_shed_is_counted_once_and_by_service() {
        let mut shed = Shed::default();
        let service = |tgid| if tgid < ProcessId(3) { "hog".into() } else { "other".into() };
        assert!(!shed.is_behind(0) && shed.is_behind(1));
        shed.take(8, counts([5, 2, 1]), service);
        assert_eq!(told(&shed), [("hog".into(), 7), ("other".into(), 1)]);
        // Of process 1 more, process 2 was forgotten and counted anew, 3 has no more.
        shed.take(12, counts([6, 1, 1]), service);
        assert_eq!(told(&shed), [("hog".into(), 9), ("other".into(), 1)]);
    }

    #[test]
    fn services_beyond_the_limit_are_counted_together() {
        let mut shed = Shed::default();
        shed.take(300, counts([1; 300]), |tgid| compact_str::format_compact!("service-{tgid}"));
        assert!(told(&shed).len() <= SERVICES_MAX + 1);
        assert_eq!(told(&shed).iter().map(|(_, count)| count).sum::<u64>(), 300);
    }
}
