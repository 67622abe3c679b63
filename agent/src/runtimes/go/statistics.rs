//! What Go's runtime counts of itself, read from the memory of a process now and then. Where its variables lie is told by the code of functions that every program has: no symbols
//! are needed, nothing runs in the process, and what is read is believed only where it is what it has to be.

use super::{
    Memory,
    code::{addresses, given_as_first},
    heap::{self, Heap, PAUSE_WORDS},
    layout::{Pauses, StatisticsLayout},
};
use crate::{
    model::{
        go::{self, Counted},
        ids::ProcessId,
    },
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
/// What the goal of a heap that is limited leaves free, at least.
const SPARED: u64 = 1 << 20;
/// So many percent of it, where that is more.
const SPARED_PERCENT: u64 = 3;

/// Functions whose code tells where it is.
pub(super) const FUNCTIONS: [&str; 6] = [
    "runtime.allgadd",
    "runtime.checkdead",
    "runtime.gcinit",
    "runtime.gcControllerCommit",
    "runtime.(*mcache).releaseAll",
    "runtime.(*consistentHeapStats).acquire",
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
    let firsts = |at: usize, called: Option<u64>| -> Vec<u64> {
        let function = functions.get(at).and_then(Option::as_ref);
        let given = function.map(|(code, address)| given_as_first(code, *address, called)).unwrap_or_default();
        given.into_iter().map(|address| address.wrapping_add(bias)).collect()
    };
    // A list is three words: where it is, its length, how long it may become.
    let of_lists = named(0);
    let is_list = |at: &u64| [8, 16].iter().all(|word| of_lists.contains(&at.wrapping_add(*word)));
    let goroutines = of_lists.iter().copied().filter(is_list).find(|at| are_goroutines(memory, *at));
    let of_scheduler = named(1);
    let scheduler = base(&of_scheduler, &layout.scheduler_marks());
    let initialised = firsts(2, None);
    let collector =
        firsts(3, None).into_iter().find(|at| initialised.contains(at) && is_collector(memory, *at, &layout));
    // What is told of the heap goes to one place.
    let of_heap = functions.get(5).and_then(Option::as_ref).map(|(_, acquire)| firsts(4, Some(*acquire)));
    let statistics = match of_heap.as_deref() {
        Some(&[at]) => at.checked_sub(layout.heap).filter(|at| read_heap(memory, *at, &layout).is_some()),
        _ => None,
    };
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

fn read_heap(memory: &Memory, statistics: u64, layout: &StatisticsLayout) -> Option<Heap> {
    let begin = statistics.checked_add(layout.heap)?;
    heap::heap(layout, |bytes| memory.read(begin, bytes))
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
        self.processors | self.goroutines | self.scheduler | self.collector | self.memory == 0
    }

    /// Reads it; `None` where the process is gone.
    pub(crate) fn read(&self, proc: &ProcFs, pid: ProcessId) -> Option<Counted> {
        let memory = Memory::open_bare(proc, pid)?;
        let (limit, growth) = self.settings(&memory).unzip();
        let heap = Some(self.memory).filter(|at| *at != 0).and_then(|at| read_heap(&memory, at, &self.layout));
        Some(Counted {
            goroutines: self.goroutines(&memory),
            processors: self.processors(&memory).map(|[_, len]| len),
            memory: heap.and_then(|heap| self.memory(&memory, heap)),
            allocated: heap.map(|Heap { allocated, allocations, .. }| [allocated, allocations]),
            collections: self.collections(&memory),
            pauses: self.pauses(&memory),
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

    fn memory(&self, memory: &Memory, Heap { committed, stacks, .. }: Heap) -> Option<[u64; 2]> {
        let mut all = committed;
        for other in self.layout.other_memory {
            all = all.checked_add(memory.word(self.memory.checked_add(other)?)?)?;
        }
        (all <= i64::MAX.cast_unsigned()).then_some([stacks, all.checked_sub(stacks)?])
    }

    fn collections(&self, memory: &Memory) -> Option<u64> {
        let begin = Some(self.memory).filter(|at| *at != 0)?;
        Some(memory.word(begin.checked_add(self.layout.collections)?)? & 0xffff_ffff)
    }

    fn pauses(&self, memory: &Memory) -> Option<go::Pauses> {
        let (begin, at) = match self.layout.pauses? {
            Pauses::OfScheduler(at) => (self.scheduler, at),
            Pauses::OfMemory(at) => (self.memory, at),
        };
        let begin = Some(begin).filter(|begin| *begin != 0)?.checked_add(at)?;
        let mut bytes = [0; 8 * PAUSE_WORDS];
        memory.read(begin, &mut bytes)?;
        let mut words = [0; PAUSE_WORDS];
        let (read, _) = bytes.as_chunks::<8>();
        words.iter_mut().zip(read).for_each(|(word, bytes)| *word = u64::from_le_bytes(*bytes));
        // As often as a program may have been stopped.
        (words.iter().all(|count| *count <= u64::from(u32::MAX))).then(|| heap::pauses(&words))
    }

    fn settings(&self, memory: &Memory) -> Option<(u64, Option<u64>)> {
        let begin = Some(self.collector).filter(|at| *at != 0)?;
        let limit = memory.word(begin.checked_add(self.layout.limit)?)?;
        let growth = memory.word(begin)? as u32;
        (limit > 0 && limit <= NO_LIMIT).then_some((limit, i32::try_from(growth).ok().map(|growth| growth as u64)))
    }

    /// As `runtime.gcControllerState.heapGoalInternal`.
    fn goal(&self, memory: &Memory, limit: u64) -> Option<u64> {
        let layout = &self.layout;
        let word = |at: u64| memory.word(self.collector.checked_add(at)?);
        let [goal, least, began] = [word(layout.goal)?, word(layout.least_trigger)?, word(layout.triggered)?];
        let [free, allocated, freed, ready, marked] = layout.limited.map(word);
        let limited = || {
            Limited {
                limit,
                free: free?,
                used: allocated?.checked_sub(freed?)?,
                ready: ready?,
                marked: marked?,
                spares_percents: layout.spares_percents,
            }
            .goal()
        };
        let of_limit = if limit == NO_LIMIT { None } else { Some(limited()?) };
        let goal = if let Some(of_limit) = of_limit.filter(|of_limit| *of_limit < goal) {
            of_limit
        } else {
            let goal = goal.max(least);
            if began == u64::MAX { goal } else { goal.max(began.checked_add(RUNWAY)?) }
        };
        (goal <= NO_LIMIT).then_some(goal)
    }
}

/// What the goal of a heap that is limited follows from.
#[derive(Clone, Copy, Debug)]
struct Limited {
    limit: u64,
    /// Bytes of the heap that are free, and of objects.
    free: u64,
    used: u64,
    /// Bytes of memory that is mapped and was not given back.
    ready: u64,
    /// Bytes of the heap that the last collection has left.
    marked: u64,
    spares_percents: bool,
}

impl Limited {
    /// As `runtime.gcControllerState.memoryLimitHeapGoal`; `None` where what was read does not fit together.
    fn goal(self) -> Option<u64> {
        let Self { limit, free, used, ready, marked, spares_percents } = self;
        let other = ready.checked_sub(free.checked_add(used)?)?;
        let other = other.checked_add(ready.saturating_sub(limit))?;
        if other >= limit {
            return Some(marked);
        }
        let goal = limit - other;
        let spared = if spares_percents { (goal / 100 * SPARED_PERCENT).max(SPARED) } else { SPARED };
        Some(goal.saturating_sub(spared).max(spared).max(marked))
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

    #[test]
    fn the_goal_of_a_heap_that_is_limited_leaves_something_free() {
        const MB: u64 = 1 << 20;
        let few =
            Limited { limit: 200 * MB, free: 2 * MB, used: 4 * MB, ready: 10 * MB, marked: MB, spares_percents: true };
        assert_eq!(few.goal(), Some(196 * MB - 196 * MB / 100 * 3));
        assert_eq!(Limited { spares_percents: false, ..few }.goal(), Some(195 * MB));
        // As much is there as may be, or more; nearly.
        assert_eq!(Limited { ready: 300 * MB, ..few }.goal(), Some(MB));
        assert_eq!(Limited { limit: 6 * MB, used: 8 * MB, marked: 0, ..few }.goal(), Some(MB));
        // What was read at several moments.
        assert_eq!(Limited { used: 20 * MB, ..few }.goal(), None);
    }
}
