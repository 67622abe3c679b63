//! Calls that seem to be made for no request. One may still be told: on a connection that was met in its midst, a request is certain
//! to be one only when it is answered, which is behind the calls that it took.

use std::collections::hash_map::Entry;

use rustc_hash::FxHashMap;
use smallvec::SmallVec;

use super::Evidence;
use crate::model::{
    exchange::{Key, Opened},
    ids::{ConnectionId, ProcessId, ThreadId},
    trace_context::{SpanId, TraceId},
};

/// A connection, and a request's number on it.
pub(super) type Numbered = (ConnectionId, u64);

/// A call that is over waits for so long for its request.
const PATIENCE_NS: u64 = 50_000_000;
/// One that goes on waits for so long.
const OPEN_PATIENCE_NS: u64 = 1_000_000_000;
/// Most calls that wait.
const WAITING_MAX: usize = 16_384;

/// One of a unit of work waits for so long, from its beginning on, where requests are open of which it is known from their response on only
/// which unit answers them.
const LATE_PATIENCE_NS: u64 = 10_000_000_000;

/// A call without a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Orphan {
    pub(super) opened: Opened,
    pub(super) trace_id: TraceId,
    pub(super) span_id: SpanId,
    /// It may be for a request that was open, though nothing says so.
    pub(super) is_doubtful: bool,
    /// Its thread had a request.
    pub(super) had_request: bool,
    /// It may be told later who has it sent, by this.
    pub(super) numbered: Option<Numbered>,
    /// The request that it is made for if threads of its process turn out not to be shared.
    pub(super) meant: Option<Key>,
}

/// What comes of it when it is told which unit of work has a call sent.
#[derive(Debug)]
pub(super) enum Sent {
    /// The call does not wait: it was not told yet, or has its place.
    Unknown,
    /// It waits on.
    Waits,
    /// It has found its request.
    Found(Orphan, Key),
}

/// One that waits.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    orphan: Orphan,
    until_ns: u64,
    /// It waits for a response that tells which unit of work answers a request.
    is_late: bool,
    end_ns: Option<u64>,
}

/// Those of a process.
#[derive(Debug, Default)]
struct Calls {
    by_key: FxHashMap<Key, Waiting>,
    /// Those that wait for a response, by their unit of work.
    by_work: FxHashMap<u64, SmallVec<[Key; 4]>>,
    /// Those of which it may be told later who has them sent.
    by_number: FxHashMap<Numbered, Key>,
    /// How many wait for it to be known whether threads are shared.
    meant: usize,
    /// When the latest of them began.
    latest_ns: u64,
}

impl Calls {
    fn remove(&mut self, key: Key) {
        if let Some(waiting) = self.by_key.remove(&key) {
            self.leave(&waiting);
        }
    }

    /// One waits.
    fn enter(&mut self, waiting: Waiting) -> bool {
        let Opened { key, thread, .. } = waiting.orphan.opened;
        if waiting.is_late {
            self.by_work.entry(thread.work).or_default().push(key);
        }
        self.by_number.extend(waiting.orphan.numbered.map(|numbered| (numbered, key)));
        self.meant += usize::from(waiting.orphan.meant.is_some());
        self.by_key.insert(key, waiting).is_none()
    }

    fn leave(&mut self, waiting: &Waiting) {
        if let Some(numbered) = waiting.orphan.numbered {
            self.by_number.remove(&numbered);
        }
        self.meant -= usize::from(waiting.orphan.meant.is_some());
        if waiting.is_late
            && let Entry::Occupied(mut entry) = self.by_work.entry(waiting.orphan.opened.thread.work)
        {
            entry.get_mut().retain(|key| *key != waiting.orphan.opened.key);
            if entry.get().is_empty() {
                entry.remove();
            }
        }
    }
}

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Orphans {
    by_process: FxHashMap<ProcessId, Calls>,
    waiting: usize,
}

impl Orphans {
    /// A call was made. `is_late`: it may turn out to be for a request when that is answered. Gives until when it waits, if it does.
    pub(super) fn on_call(&mut self, orphan: Orphan, is_late: bool) -> Option<u64> {
        if self.waiting >= WAITING_MAX {
            return None;
        }
        let Opened { thread, start_ns, .. } = orphan.opened;
        let until_ns = start_ns.saturating_add(if is_late { LATE_PATIENCE_NS } else { OPEN_PATIENCE_NS });
        let calls = self.by_process.entry(thread.tgid).or_default();
        calls.latest_ns = calls.latest_ns.max(start_ns);
        self.waiting += usize::from(calls.enter(Waiting { orphan, until_ns, is_late, end_ns: None }));
        Some(until_ns)
    }

    /// It is told which unit of work, begun then for another, has a call sent that another one has written by now. `of`: the request that it
    /// is made for.
    pub(super) fn asked(
        &mut self,
        tgid: ProcessId,
        numbered: Numbered,
        (work, begun_ns): (u64, u64),
        of: impl FnOnce(&Opened) -> Option<Key>,
    ) -> Sent {
        let Some(calls) = self.by_process.get_mut(&tgid) else { return Sent::Unknown };
        let key = calls.by_number.get(&numbered).copied();
        let Some(mut waiting) = key.and_then(|key| calls.by_key.remove(&key)) else { return Sent::Unknown };
        calls.leave(&waiting);
        let orphan = &mut waiting.orphan;
        (orphan.opened.thread.work, orphan.opened.thread.begun_ns, orphan.numbered) = (work, begun_ns, None);
        if let Some(key) = of(&orphan.opened) {
            self.waiting -= 1;
            return Sent::Found(*orphan, key);
        }
        calls.enter(waiting);
        Sent::Waits
    }

    /// A call is over. Gives until when it waits, if it does.
    pub(super) fn on_over(&mut self, tgid: ProcessId, key: Key, end_ns: u64) -> Option<u64> {
        let waiting = self.by_process.get_mut(&tgid)?.by_key.get_mut(&key)?;
        waiting.end_ns = Some(end_ns);
        if !waiting.is_late && waiting.orphan.meant.is_none() {
            waiting.until_ns = end_ns.saturating_add(PATIENCE_NS);
        }
        Some(waiting.until_ns)
    }

    /// Whether calls of a process wait for responses.
    pub(super) fn has_late(&self, tgid: ProcessId) -> bool {
        self.by_process.get(&tgid).is_some_and(|calls| !calls.by_work.is_empty())
    }

    /// Whether calls of a process wait for it to be known whether its threads are shared.
    pub(super) fn has_meant(&self, tgid: ProcessId) -> bool {
        self.by_process.get(&tgid).is_some_and(|calls| calls.meant > 0)
    }

    /// It is known of a process whether its threads are shared. Takes out the calls that are for the requests that they were meant for, as `by` says of
    /// each and of when it ended; the others wait for that no more. Not those of a thread of which a call for nobody waits, too.
    pub(super) fn meant(
        &mut self,
        tgid: ProcessId,
        by: impl Fn(&Opened, Option<u64>, Key) -> bool,
    ) -> Vec<(Orphan, Key)> {
        let mut found = Vec::new();
        let Some(calls) = self.by_process.get_mut(&tgid) else { return found };
        let of_nobody = calls.by_key.values().filter(|it| !it.orphan.had_request);
        let others: SmallVec<[ThreadId; 8]> = of_nobody.map(|it| it.orphan.opened.thread.tid).collect();
        for waiting in calls.by_key.values_mut() {
            let opened = waiting.orphan.opened;
            let Some(key) = waiting.orphan.meant.take() else { continue };
            if !others.contains(&opened.thread.tid) && by(&opened, waiting.end_ns, key) {
                found.push((waiting.orphan, key));
            } else if let Some(end_ns) = waiting.end_ns {
                waiting.until_ns = waiting.until_ns.min(end_ns.saturating_add(PATIENCE_NS));
            }
        }
        calls.meant = 0;
        found.iter().for_each(|(orphan, _)| calls.remove(orphan.opened.key));
        self.waiting -= found.len();
        found
    }

    /// Takes out those of a process that have found the request that began then.
    pub(super) fn adopted(
        &mut self,
        tgid: ProcessId,
        start_ns: u64,
        mut by: impl FnMut(&Opened) -> Option<Evidence>,
    ) -> Vec<(Orphan, Evidence)> {
        let mut adopted = Vec::new();
        // Mostly a request is told when it has just come: whatever is called for it is called later.
        let Some(calls) = self.by_process.get_mut(&tgid).filter(|calls| calls.latest_ns >= start_ns) else {
            return adopted;
        };
        for Waiting { orphan, .. } in calls.by_key.values() {
            adopted.extend(by(&orphan.opened).map(|evidence| (*orphan, evidence)));
        }
        adopted.iter().for_each(|(orphan, _)| calls.remove(orphan.opened.key));
        self.waiting -= adopted.len();
        adopted
    }

    /// Takes out those of a process that have found their request now that it is known which unit of work (of this one, or of any) answers
    /// one. `by` is also told when they ended.
    pub(super) fn found(
        &mut self,
        tgid: ProcessId,
        work: Option<u64>,
        mut by: impl FnMut(&Opened, Option<u64>) -> Option<(Key, Evidence)>,
    ) -> Vec<(Orphan, (Key, Evidence))> {
        let mut found = Vec::new();
        let Some(calls) = self.by_process.get_mut(&tgid) else { return found };
        let mut look = |key: &Key| {
            let waiting = calls.by_key.get(key)?;
            Some((waiting.orphan, by(&waiting.orphan.opened, waiting.end_ns)?))
        };
        match work {
            Some(work) => found.extend(calls.by_work.get(&work).into_iter().flatten().filter_map(&mut look)),
            None => found.extend(calls.by_work.values().flatten().filter_map(&mut look)),
        }
        found.iter().for_each(|(orphan, _)| calls.remove(orphan.opened.key));
        self.waiting -= found.len();
        found
    }

    /// Gives up those that have waited long enough, or for nothing: they were made for no request. `oldest_ns`: when the oldest request
    /// of a process began of which it is not known which unit of work answers it.
    pub(super) fn on_time(
        &mut self,
        now_ns: u64,
        oldest_ns: impl Fn(ProcessId) -> Option<u64>,
        mut given_up: impl FnMut(&Orphan),
    ) {
        if self.waiting == 0 {
            return;
        }
        let waiting = &mut self.waiting;
        self.by_process.retain(|tgid, calls| {
            let oldest_ns = if calls.by_work.is_empty() { None } else { oldest_ns(*tgid) };
            let left: SmallVec<[Waiting; 8]> = calls
                .by_key
                .extract_if(|_, it| {
                    let is_hopeless = it.is_late && oldest_ns.is_none_or(|oldest| oldest > it.orphan.opened.start_ns);
                    it.until_ns <= now_ns || is_hopeless
                })
                .map(|(_, it)| it)
                .collect();
            for it in left {
                calls.leave(&it);
                given_up(&it.orphan);
                *waiting -= 1;
            }
            !calls.by_key.is_empty()
        });
    }

    /// Calls that wait.
    #[cfg(test)]
    pub(super) const fn len(&self) -> usize {
        self.waiting
    }
}
