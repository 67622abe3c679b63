//! What Go's runtime counts of itself, read from the memory of a process now and then. Where its variables lie is told by the code of functions that every program has: no symbols
//! are needed, nothing runs in the process, and what is read is believed only where it is what it has to be.

use super::{
    Memory,
    code::{addresses, given_as_first},
    layout::StatisticsLayout,
};
use crate::{
    model::{go::Counted, ids::ProcessId},
    procs::fs::ProcFs,
};

/// Most processors whose free goroutines are looked at.
const PROCESSORS_MAX: u64 = 4096;
/// More goroutines than a program is believed to have.
const GOROUTINES_MAX: u64 = 1 << 31;
/// As long as its memory is not limited (`math.MaxInt64`).
const NO_LIMIT: u64 = i64::MAX as u64;
/// How far the goal of the heap is above where the collection began, at least.
const RUNWAY: u64 = 64 << 10;
/// Slots in which the runtime gathers what its processors tell of the heap.
const SLOTS: u64 = 3;

/// Functions whose code tells where it is.
pub(super) const FUNCTIONS: [&str; 5] = [
    "runtime.allgadd",
    "runtime.checkdead",
    "runtime.gcinit",
    "runtime.gcControllerCommit",
    "runtime.gcMarkTermination",
];

/// Where a process's runtime keeps what it counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Statistics {
    layout: StatisticsLayout,
    /// The list of processors; 0 where it is not known, as are the others.
    processors: u64,
    /// `runtime.allgs`, the list of all goroutines there ever were at a time.
    goroutines: u64,
    /// `runtime.sched`.
    scheduler: u64,
    /// `runtime.gcController`.
    collector: u64,
    /// `runtime.memstats`.
    memory: u64,
}

/// Looks for it by the code of [`FUNCTIONS`], each with its address.
pub(super) fn find(
    memory: &Memory,
    layout: StatisticsLayout,
    processors: u64,
    bias: u64,
    functions: &[Option<(Vec<u8>, u64)>; FUNCTIONS.len()],
) -> Statistics {
    let named = |at: usize| -> Vec<u64> {
        let function = functions.get(at).and_then(Option::as_ref);
        let named = function.map(|(code, address)| addresses(code, *address)).unwrap_or_default();
        named.into_iter().map(|address| address.wrapping_add(bias)).collect()
    };
    let firsts = |at: usize| -> Vec<u64> {
        let function = functions.get(at).and_then(Option::as_ref);
        let given = function.map(|(code, address)| given_as_first(code, *address)).unwrap_or_default();
        given.into_iter().map(|address| address.wrapping_add(bias)).collect()
    };
    // A list is three words: where it is, its length, how long it may become.
    let of_lists = named(0);
    let is_list = |at: &u64| [8, 16].iter().all(|word| of_lists.contains(&at.wrapping_add(*word)));
    let goroutines = of_lists.iter().copied().filter(is_list).find(|at| are_goroutines(memory, *at));
    let of_scheduler = named(1);
    let scheduler = base(&of_scheduler, &layout.scheduler_marks());
    let initialised = firsts(2);
    let collector = firsts(3).into_iter().find(|at| initialised.contains(at) && is_collector(memory, *at, &layout));
    let statistics = base(&named(4), &layout.memory_marks());
    Statistics {
        layout,
        processors,
        goroutines: goroutines.unwrap_or_default(),
        scheduler: scheduler.unwrap_or_default(),
        collector: collector.unwrap_or_default(),
        memory: statistics.unwrap_or_default(),
    }
}

/// Where a structure begins of which code names all of these members.
fn base(named: &[u64], marks: &[u64]) -> Option<u64> {
    let (first, others) = marks.split_first()?;
    let begins = named.iter().filter_map(|at| at.checked_sub(*first));
    let mut fitting = begins.filter(|begin| others.iter().all(|mark| named.contains(&begin.wrapping_add(*mark))));
    // Two would be none for certain.
    let found = fitting.next()?;
    fitting.next().is_none().then_some(found)
}

fn are_goroutines(memory: &Memory, at: u64) -> bool {
    let all = || {
        let [list, len, room] = memory.words(at)?;
        let first = memory.word(list)?;
        Some(len > 0 && len <= room && room < GOROUTINES_MAX && first != 0 && first.is_multiple_of(8))
    };
    all().unwrap_or(false)
}

fn is_collector(memory: &Memory, at: u64, layout: &StatisticsLayout) -> bool {
    let is_one = || {
        let limit = memory.word(at.checked_add(layout.limit)?)?;
        let growth = memory.word(at)? as u32;
        Some(limit > 0 && limit <= NO_LIMIT && (growth <= i32::MAX.cast_unsigned() || growth == u32::MAX))
    };
    is_one().unwrap_or(false)
}

impl Statistics {
    /// Whether there is anything that could be read.
    pub(super) const fn is_empty(&self) -> bool {
        self.processors | self.goroutines | self.collector | self.memory == 0
    }

    /// Reads it; `None` where the process is gone.
    pub(crate) fn read(&self, proc: &ProcFs, pid: ProcessId) -> Option<Counted> {
        let memory = Memory::open_bare(proc, pid)?;
        let (limit, growth) = self.settings(&memory).unzip();
        Some(Counted {
            goroutines: self.goroutines(&memory),
            processors: self.processors(&memory).map(|[_, len]| len),
            memory: self.memory(&memory),
            limit: limit.filter(|limit| *limit < NO_LIMIT),
            goal: limit.and_then(|limit| self.goal(&memory, limit)),
            growth: growth.flatten(),
        })
    }

    /// The list of processors, and its length.
    fn processors(&self, memory: &Memory) -> Option<[u64; 2]> {
        let [list, len] = memory.words(Some(self.processors).filter(|at| *at != 0)?)?;
        (1..=PROCESSORS_MAX).contains(&len).then_some([list, len])
    }

    /// As `runtime.gcount`: all there are, without those that are kept for later.
    fn goroutines(&self, memory: &Memory) -> Option<u64> {
        let layout = &self.layout;
        if self.goroutines == 0 || self.scheduler == 0 {
            return None;
        }
        let count = |at: u64| Some(memory.word(at)? & 0xffff_ffff);
        let [_, all] = memory.words(self.goroutines)?;
        let mut less = 0;
        for member in layout.free_goroutines.iter().chain([&layout.system_goroutines]).flatten() {
            less += count(self.scheduler.checked_add(*member)?)?;
        }
        let [list, len] = self.processors(memory)?;
        for at in 0..len {
            let processor = memory.word(list.checked_add(8 * at)?)?;
            less += count(processor.checked_add(layout.free_of_processor)?)?;
        }
        // What was read meanwhile need not fit together; the one that runs is there.
        Some(all.checked_sub(less).filter(|count| *count < GOROUTINES_MAX)?.max(1))
    }

    fn memory(&self, memory: &Memory) -> Option<[u64; 2]> {
        let layout = &self.layout;
        let begin = Some(self.memory).filter(|at| *at != 0)?;
        let (mut committed, mut stacks) = (0_u64, 0_u64);
        for slot in 0..SLOTS {
            let slot = begin.checked_add(layout.heap + slot * layout.heap_slot)?;
            // Differences, of which some are below zero.
            committed = committed.wrapping_add(memory.word(slot.checked_add(layout.committed)?)?);
            stacks = stacks.wrapping_add(memory.word(slot.checked_add(layout.stacks)?)?);
        }
        let mut all = committed;
        for other in layout.other_memory {
            all = all.checked_add(memory.word(begin.checked_add(other)?)?)?;
        }
        // The slots were not read at one moment.
        (all <= i64::MAX.cast_unsigned()).then_some([stacks, all.checked_sub(stacks)?])
    }

    fn settings(&self, memory: &Memory) -> Option<(u64, Option<u64>)> {
        let begin = Some(self.collector).filter(|at| *at != 0)?;
        let limit = memory.word(begin.checked_add(self.layout.limit)?)?;
        let growth = memory.word(begin)? as u32;
        (limit > 0 && limit <= NO_LIMIT).then_some((limit, i32::try_from(growth).ok().map(|growth| growth as u64)))
    }

    /// As `runtime.gcControllerState.heapGoalInternal` where memory is not limited.
    fn goal(&self, memory: &Memory, limit: u64) -> Option<u64> {
        if limit != NO_LIMIT {
            return None;
        }
        let word = |at: u64| memory.word(self.collector.checked_add(at)?);
        let [goal, least, began] =
            [word(self.layout.goal)?, word(self.layout.least_trigger)?, word(self.layout.triggered)?];
        let goal = goal.max(least);
        let goal = if began == u64::MAX { goal } else { goal.max(began.checked_add(RUNWAY)?) };
        (goal <= NO_LIMIT).then_some(goal)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_structure_begins_where_all_of_its_members_are_named() {
        let named = [0x1000, 0x1040, 0x1044, 0x1060, 0x2040];
        assert_eq!(base(&named, &[0x40, 0x44, 0x60]), Some(0x1000));
        assert_eq!(base(&named, &[0x40, 0x48]), None);
        assert_eq!(base(&named, &[0x40]), None, "two places fit");
        assert_eq!(base(&named, &[]), None);
    }
}
