//! Processes that describe themselves, by an SDK of OpenTelemetry: what it describes is not told a second time.
//!
//! That there is one is known before it exports anything, by what put it there, or by what the program was made of. What it describes
//! is known by what it does: a call that carries a context of its own, made for it, has a span; where the trace that a request came with
//! goes on in such calls, the request has one; and so do those of a process that is seen to export spans of their kind. What is not
//! certainly described is told.

use rustc_hash::{FxHashMap, FxHashSet};

use crate::{
    config::Sdk,
    model::{
        exchange::ExportedKinds,
        ids::ProcessId,
        net::Role,
        trace_context::{SpanId, TraceId, TraceParent},
    },
};

/// Calls of a process that are remembered.
const CALLS: usize = 8;
/// So often it is asked at most what is known of a process: others come and go all the time.
const ASK_EVERY_NS: u64 = 1_000_000_000;
/// Of a process that has an SDK, and has exported nothing for so long, nothing is held back: it has nobody to export to.
const SILENT_NS: u64 = 60_000_000_000;
/// So many exports in which there was nothing of a kind, or nothing could be read: spans of that kind are not held back any more.
const FRUITLESS: u8 = 3;
/// Processes that are remembered; of more, what was learnt of all is forgotten.
const PROCESSES_MAX: usize = 16_384;

/// What a process's own SDK makes of a span.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum Paired {
    /// Nothing: the span is told.
    #[default]
    Alone,
    /// That is not known yet: the span is held for a while.
    Undecided,
    /// It describes the same, so the span is not told.
    Described,
    /// Nothing of such a process is told.
    Excluded,
}

/// What is known of a process from outside.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Facts {
    /// It has an SDK.
    pub has_sdk: bool,
    /// See [`Instrumentation::is_automatic`](crate::procs::Instrumentation).
    pub is_automatic: bool,
    /// Its instrumentation describes whatever is served.
    pub describes_all: bool,
    /// What is to be done about it.
    pub policy: Sdk,
}

#[derive(Debug, Default)]
struct Process {
    /// As of how many changes of processes, and when it was asked.
    changes: u64,
    asked_ns: u64,
    /// When it was asked first.
    since_ns: u64,
    facts: Facts,
    exports: bool,
    /// Exports without spans of requests, and of calls.
    fruitless: [u8; 2],
    /// It takes in what others export: a gateway.
    forwards: bool,
    /// Whether requests are described, once that is known.
    requests: Option<bool>,
    /// Each call has a span of its own.
    has_call_spans: bool,
    calls: [Option<(TraceId, SpanId)>; CALLS],
    next: usize,
}

impl Process {
    fn has_sdk(&self) -> bool {
        self.facts.has_sdk || self.exports && !self.forwards
    }

    /// Whether it may turn out that spans of requests (0) or calls (1) are described.
    fn may_describe(&self, what: usize, now_ns: u64) -> bool {
        if self.forwards && !self.facts.is_automatic {
            return false;
        }
        let is_heard = self.exports || now_ns < self.since_ns.saturating_add(SILENT_NS);
        is_heard && (self.facts.is_automatic || self.facts.has_sdk && self.fruitless[what] < FRUITLESS)
    }

    fn of_request(&self, now_ns: u64) -> Paired {
        match (self.facts.policy, self.requests) {
            (Sdk::Ignore, _) => Paired::Alone,
            (Sdk::Exclude, _) => self.excluded(),
            // Others have their own places to tell of it.
            (Sdk::Pair, Some(true)) if self.has_sdk() => Paired::Described,
            (Sdk::Pair, None) if self.may_describe(0, now_ns) => Paired::Undecided,
            (Sdk::Pair, _) => Paired::Alone,
        }
    }

    fn excluded(&self) -> Paired {
        if self.has_sdk() { Paired::Excluded } else { Paired::Alone }
    }

    /// Of a call with a context of its own.
    fn of_call(&self, now_ns: u64) -> Paired {
        match self.facts.policy {
            Sdk::Ignore => Paired::Alone,
            Sdk::Exclude => self.excluded(),
            Sdk::Pair if self.facts.is_automatic || self.has_sdk() && self.has_call_spans => Paired::Described,
            Sdk::Pair if self.may_describe(1, now_ns) => Paired::Undecided,
            Sdk::Pair => Paired::Alone,
        }
    }
}

/// All of them.
#[derive(Debug, Default)]
pub(crate) struct Sdks {
    by_process: FxHashMap<ProcessId, Process>,
    /// Those whose own code uses an SDK, as their files tell.
    used: FxHashSet<ProcessId>,
}

impl Sdks {
    /// Whether it is to be [told](Self::set) what is known of a process, where there were so many changes of any by now.
    #[must_use]
    pub(crate) fn asks(&self, tgid: ProcessId, changes: u64, now_ns: u64) -> bool {
        self.by_process
            .get(&tgid)
            .is_none_or(|process| process.changes != changes && now_ns.saturating_sub(process.asked_ns) >= ASK_EVERY_NS)
    }

    /// Everything is to be told again.
    pub(crate) fn ask_again(&mut self) {
        for process in self.by_process.values_mut() {
            (process.changes, process.asked_ns) = (u64::MAX, 0);
        }
    }

    /// A process's own code uses an SDK.
    pub(crate) fn on_used(&mut self, tgid: ProcessId) {
        if self.used.len() >= PROCESSES_MAX {
            self.used.clear();
        }
        self.used.insert(tgid);
        if let Some(process) = self.by_process.get_mut(&tgid) {
            (process.changes, process.asked_ns) = (u64::MAX, 0);
        }
    }

    /// A process carries out another program.
    pub(crate) fn on_other_program(&mut self, tgid: ProcessId) {
        self.used.remove(&tgid);
    }

    /// What is known of a process.
    pub(crate) fn set(&mut self, tgid: ProcessId, changes: u64, now_ns: u64, facts: Facts) {
        if self.by_process.len() >= PROCESSES_MAX {
            self.by_process.clear();
        }
        let facts = Facts { has_sdk: facts.has_sdk || self.used.contains(&tgid), ..facts };
        let process = self.by_process.entry(tgid).or_default();
        if process.facts != facts {
            // Another program, or it is known better now.
            let requests = process.requests.or(facts.describes_all.then_some(true));
            *process = Process { facts, requests, exports: process.exports, since_ns: now_ns, ..Process::default() };
        }
        (process.changes, process.asked_ns) = (changes, now_ns);
    }

    /// A process has sent, or received, what an SDK exports: spans of these kinds, as far as they were read.
    pub(crate) fn on_export(&mut self, tgid: ProcessId, role: Role, kinds: ExportedKinds) {
        let Some(process) = self.by_process.get_mut(&tgid) else { return };
        match role {
            Role::Server => {
                if !process.forwards && !process.facts.is_automatic {
                    // What it has exported was others' spans.
                    (process.requests, process.has_call_spans) = (None, false);
                }
                process.forwards = true;
            }
            Role::Client => {
                process.exports = true;
                let kinds = if process.forwards { ExportedKinds::default() } else { kinds };
                // It has something to tell, and was not seen to leave what it is asked alone.
                if process.facts.is_automatic || kinds.has(ExportedKinds::SERVER) {
                    process.requests = process.requests.or(Some(true));
                }
                process.has_call_spans |= kinds.has(ExportedKinds::CLIENT);
                for (fruitless, kind) in
                    process.fruitless.iter_mut().zip([ExportedKinds::SERVER, ExportedKinds::CLIENT])
                {
                    *fruitless = if kinds.has(kind) { 0 } else { fruitless.saturating_add(1) };
                }
            }
        }
    }

    /// What is made of a request of a process, as far as that is known by now.
    #[must_use]
    pub(crate) fn of_request(&self, tgid: ProcessId, now_ns: u64) -> Paired {
        self.by_process.get(&tgid).map_or(Paired::Alone, |process| process.of_request(now_ns))
    }

    /// What is made of a call of a process with a context of its own, as far as that is known by now.
    #[must_use]
    pub(crate) fn of_own_call(&self, tgid: ProcessId, now_ns: u64) -> Paired {
        self.by_process.get(&tgid).map_or(Paired::Alone, |process| process.of_call(now_ns))
    }

    /// Whether what a process describes is to be ignored.
    pub(super) fn is_ignored(&self, tgid: ProcessId) -> bool {
        self.by_process.get(&tgid).is_some_and(|process| process.facts.policy == Sdk::Ignore)
    }

    /// A call that carries nothing, or what its request came with.
    pub(super) fn of_bare_call(&self, tgid: ProcessId) -> Paired {
        let process = self.by_process.get(&tgid).filter(|process| process.facts.policy == Sdk::Exclude);
        process.map_or(Paired::Alone, Process::excluded)
    }

    /// A call that carries a context of its own. `continues`: it is of a trace that an open request of its process came with; if
    /// not, `alone` is the context of the only request that is open.
    pub(super) fn of_call(
        &mut self,
        tgid: ProcessId,
        carried: TraceParent,
        continues: bool,
        alone: Option<TraceParent>,
        now_ns: u64,
    ) -> Paired {
        let Some(process) = self.by_process.get_mut(&tgid) else { return Paired::Alone };
        if continues {
            process.requests = Some(true);
        } else if alone.is_some() && process.facts.is_automatic && !process.facts.describes_all {
            // It has not taken up what came.
            process.requests = process.requests.or(Some(false));
        }
        let own = (carried.trace_id, carried.span_id);
        let others = || process.calls.iter().flatten().filter(|(trace_id, _)| *trace_id == own.0);
        let is_known = others().any(|(_, span_id)| *span_id == own.1);
        process.has_call_spans |= !is_known && others().next().is_some();
        if !is_known {
            if let Some(place) = process.calls.get_mut(process.next) {
                *place = Some(own);
            }
            process.next = (process.next + 1) % CALLS;
        }
        process.of_call(now_ns)
    }

    /// A process has ended.
    pub(super) fn remove(&mut self, tgid: ProcessId) {
        self.by_process.remove(&tgid);
        self.used.remove(&tgid);
    }
}
