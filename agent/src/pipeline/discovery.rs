//! Which processes are watched, from what the kernel side tells of them: a process is evaluated when it first uses a
//! connection, again when it starts another program, begins to listen or serves a port that processes are chosen by, and when
//! the selection changes. What the kernel side saw of it then suffices where it is gone already.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
};

use ebpf_common::limits::PROCESSES_MAX;

use crate::{
    capture::{
        Capture, Decision,
        event::{Met, Open, Process, ProcessChange},
    },
    model::ids::ProcessId,
    procs::{
        ProcessTable, Seen,
        selector::{Reason, Verdict},
    },
    telemetry::clock::monotonic_ns,
};

/// How often a process is evaluated anew because it serves a chosen port, and not chosen for another reason.
const REFUSALS_MAX: u8 = 8;

/// Processes that are evaluated at the start though they are not watched, at most: a quarter of those that the kernel side can
/// know a decision of.
const EVALUATED_AT_START: usize = PROCESSES_MAX as usize / 4;

/// The processes that were met.
pub(super) struct Discovery {
    processes: Arc<ProcessTable>,
    /// Any process may be watched; else `living` are, and their children.
    is_open: bool,
    /// Living processes among the chosen ones and their children.
    living: HashSet<ProcessId>,
    /// Where the choice is open: what was decided of processes that were met.
    evaluated: HashMap<ProcessId, Evaluated>,
    /// Decisions that the kernel side is to be told.
    decisions: Vec<(ProcessId, Decision)>,
    /// The ports that processes are chosen by have changed.
    ports_changed: bool,
    /// Processes of which nothing was known any more when they were to be evaluated.
    unknown: u64,
    /// Processes that have started a program since this was last asked for, with when they were started.
    executed: HashMap<ProcessId, u64>,
    /// Processes that are watched from now on, and were ignored before.
    resumed: Vec<ProcessId>,
    /// What the decisions were made on, see [`ProcessTable::generation`].
    generation: u64,
}

/// What was decided of a process.
#[derive(Clone, Copy)]
struct Evaluated {
    is_wanted: bool,
    /// How often it was refused.
    refusals: u8,
    /// When that began (`CLOCK_MONOTONIC`).
    at_ns: u64,
}

impl Discovery {
    /// With the processes that were chosen by pid; none: the choice is open.
    pub(super) fn new(processes: Arc<ProcessTable>, chosen: &[ProcessId]) -> Self {
        Self {
            generation: processes.generation(),
            processes,
            is_open: chosen.is_empty(),
            living: chosen.iter().copied().collect(),
            evaluated: HashMap::new(),
            decisions: Vec::new(),
            ports_changed: chosen.is_empty(),
            unknown: 0,
            executed: HashMap::new(),
            resumed: Vec::new(),
        }
    }

    /// Evaluates the processes that run already, and gives those that are watched. Where rules choose, the kernel side is told of
    /// all: until it is, what they move has little room in the ring, and takes that of others.
    pub(super) fn evaluate_running(&mut self) -> Vec<ProcessId> {
        let mut watched = Vec::new();
        for (tgid, verdict) in self.processes.scan() {
            match verdict {
                Verdict::Watch(Some(_)) => {
                    self.evaluate(tgid);
                }
                Verdict::Ignore(Reason::NotChosen) if self.evaluated.len() < EVALUATED_AT_START => {
                    self.evaluate(tgid);
                }
                _ => {}
            }
            if verdict.is_watch() {
                watched.push(tgid);
            }
        }
        watched
    }

    /// A process that the kernel side knows no decision of uses a connection.
    pub(super) fn on_met(&mut self, met: &Met<'_>) {
        let comm = String::from_utf8_lossy(met.comm);
        self.processes.on_met(met.tgid, met.started_at_ns, &comm, met.forked_from);
        let serves_another = self.processes.on_seen(met.tgid, met.started_at_ns, Seen::from(met.seen));
        // It is met again and again until the kernel side hears of the decision, and to make it may take longer than the next
        // connection.
        let is_known = |evaluated: &Evaluated| met.seen.at_ns < evaluated.at_ns && !serves_another;
        if self.is_open && !self.evaluated.get(&met.tgid).is_some_and(is_known) {
            // What was decided of it before is of an earlier program, or of before it listened or served.
            self.evaluate(met.tgid);
        }
    }

    /// A process uses a connection for the first time. Tells whether it is watched.
    pub(super) fn on_open(&mut self, open: &Open<'_>) -> bool {
        let comm = String::from_utf8_lossy(open.comm);
        let is_another = self.processes.on_met(open.tgid, open.started_at_ns, &comm, open.forked_from);
        if !self.is_open {
            return true;
        }
        match self.evaluated.get(&open.tgid) {
            Some(evaluated) if !is_another => evaluated.is_wanted,
            _ => self.evaluate(open.tgid),
        }
    }

    /// Whether what a process moves is wanted.
    pub(super) fn wants(&mut self, tgid: ProcessId) -> bool {
        if !self.is_open {
            return true;
        }
        match self.evaluated.get(&tgid) {
            Some(evaluated) => evaluated.is_wanted,
            None => self.evaluate(tgid),
        }
    }

    /// Whether a process would be watched if it used a connection now, as far as that is known before.
    pub(super) fn would_watch(&self, tgid: ProcessId) -> bool {
        !self.is_open || self.processes.verdict(tgid).is_watch()
    }

    fn evaluate(&mut self, tgid: ProcessId) -> bool {
        let at_ns = monotonic_ns();
        let verdict = self.processes.verdict(tgid);
        let is_wanted = verdict.is_watch();
        let before = self.evaluated.get(&tgid).copied();
        let refusals = before.map_or(0, |before| before.refusals).saturating_add(u8::from(!is_wanted));
        self.evaluated.insert(tgid, Evaluated { is_wanted, refusals, at_ns });
        if is_wanted && before.is_some_and(|before| !before.is_wanted) {
            self.resumed.push(tgid);
        }
        let is_unknown = !is_wanted && self.processes.is_unknown(tgid);
        self.unknown += u64::from(is_unknown);
        let decision = match verdict {
            Verdict::Watch(_) => Decision::Watch,
            Verdict::Ignore(_) if is_unknown => Decision::Unknown,
            // One that serves a chosen port and is refused for what else a rule asks would be met at each of its pieces.
            _ if refusals < REFUSALS_MAX && self.processes.may_be_chosen_by_port(&verdict) => {
                Decision::IgnoreUnlessServing
            }
            Verdict::Ignore(_) => Decision::Ignore,
        };
        self.decisions.push((tgid, decision));
        is_wanted
    }

    /// A process was forked, replaced its program, begins to listen, or ended.
    pub(super) fn on_process(&mut self, event: &Process<'_>) {
        match event.change {
            ProcessChange::Fork { parent } => {
                self.processes.on_fork(parent, event.tgid, event.started_at_ns);
                self.evaluated.remove(&event.tgid);
                if !self.is_open {
                    self.living.insert(event.tgid);
                }
            }
            ProcessChange::Exec => {
                let comm = String::from_utf8_lossy(event.comm);
                self.processes.on_exec(event.tgid, event.started_at_ns, &comm);
                self.evaluated.remove(&event.tgid);
                self.executed.insert(event.tgid, event.started_at_ns);
            }
            // What was read of it before is of another program.
            ProcessChange::Starts if self.processes.knows(event.tgid) => {
                let comm = String::from_utf8_lossy(event.comm);
                self.processes.on_exec(event.tgid, event.started_at_ns, &comm);
                self.evaluated.remove(&event.tgid);
            }
            ProcessChange::Starts | ProcessChange::Listens => {}
            ProcessChange::Exit => {
                self.executed.remove(&event.tgid);
                self.processes.on_exit(event.tgid, event.started_at_ns);
                self.evaluated.remove(&event.tgid);
                self.living.remove(&event.tgid);
            }
        }
    }

    /// Reads what those are that have started a program and were not told to have ended. To be called when all is told: most
    /// of a thousand programs a second are gone by then, and to look at them costs time and finds nothing.
    pub(super) fn read_executed(&mut self) {
        for (tgid, started_at_ns) in self.executed.drain() {
            self.processes.read_executed(tgid, started_at_ns);
        }
    }

    /// Tells the kernel side of processes that run already and are left out, before it meets them. One that is chosen is met all the
    /// same: what it has started by then to serve its connections is not taken for a part of it.
    pub(super) fn tell_running(&mut self, capture: &mut Capture) {
        for (tgid, decision) in self.decisions.drain(..).filter(|(_, decision)| *decision != Decision::Watch) {
            if let Err(error) = capture.decide_before(tgid, decision) {
                tracing::warn!("{error}: it is evaluated once it is met");
            }
        }
        self.tell(capture);
    }

    /// Tells the kernel side what was decided.
    pub(super) fn tell(&mut self, capture: &mut Capture) {
        if std::mem::take(&mut self.ports_changed) {
            capture.choose_ports(&self.processes.chosen_ports());
        }
        for (tgid, decision) in self.decisions.drain(..) {
            if let Err(error) = capture.decide(tgid, decision) {
                tracing::warn!("{error}: it is evaluated anew at each of its connections");
            }
        }
    }

    /// Processes that the kernel side was told to watch, and had ignored: what they moved before is not known.
    pub(super) fn take_resumed(&mut self) -> impl Iterator<Item = ProcessId> {
        self.resumed.drain(..)
    }

    /// To be called each second: evaluates anew where something has changed, and looks after chosen processes whose end may
    /// have been lost.
    pub(super) fn do_housekeeping(&mut self) {
        if self.is_open {
            let generation = self.processes.generation();
            if generation == self.generation {
                return;
            }
            self.generation = generation;
            self.ports_changed = true;
            for tgid in self.evaluated.keys().copied().collect::<Vec<_>>() {
                let is_wanted = self.processes.verdict(tgid).is_watch();
                if self.evaluated.get(&tgid).is_some_and(|evaluated| evaluated.is_wanted != is_wanted) {
                    self.evaluate(tgid);
                }
            }
        } else {
            self.living.retain(|&tgid| self.processes.is_alive(tgid));
        }
    }

    /// To be called now and then: forgets processes whose end was missed, or not told because they are ignored.
    pub(super) fn sweep(&mut self, capture: &mut Capture) {
        self.processes.sweep();
        self.evaluated.retain(|&tgid, _| {
            let is_alive = self.processes.is_alive(tgid);
            if !is_alive {
                capture.forget(tgid);
            }
            is_alive
        });
    }

    /// Whether processes were chosen, and all of them and of their children have ended.
    pub(super) fn is_over(&self) -> bool {
        !self.is_open && self.living.is_empty()
    }

    /// Processes that could not be evaluated, since nothing was known of them any more.
    pub(super) fn unknown(&self) -> u64 {
        self.unknown
    }

    /// How many processes are watched.
    pub(super) fn watched(&self) -> usize {
        if self.is_open {
            self.evaluated.values().filter(|evaluated| evaluated.is_wanted).count()
        } else {
            self.living.len()
        }
    }

    /// Which those are, in order.
    pub(super) fn all_watched(&self) -> Vec<ProcessId> {
        let mut all: Vec<ProcessId> = if self.is_open {
            self.evaluated.iter().filter(|(_, evaluated)| evaluated.is_wanted).map(|(tgid, _)| *tgid).collect()
        } else {
            self.living.iter().copied().collect()
        };
        all.sort_unstable();
        all
    }
}

#[cfg(test)]
mod tests {
    use ebpf_common::events;
    use zerocopy::FromZeros as _;

    use super::*;
    use crate::procs::{
        ProcessConfig,
        fs::ProcFs,
        selector::{Criteria, Glob, Rule, Selector},
    };

    fn discovery(criteria: Vec<Criteria>) -> Discovery {
        let rules = criteria.into_iter().map(|criteria| Arc::new(Rule { criteria, ..Rule::default() })).collect();
        let selector = Selector { rules, own_pid: Some(ProcessId(1)), ..Selector::default() };
        Discovery::new(Arc::new(ProcessTable::new(ProcessConfig { selector, ..ProcessConfig::default() })), &[])
    }

    #[test]
    fn what_runs_already_is_decided_before_it_is_met() {
        let own = ProcessId(std::process::id());
        let exe = std::env::current_exe().unwrap();
        let glob = Glob::new(exe.to_str().unwrap()).unwrap();
        let mut chosen = discovery(vec![Criteria { exe_path: Some(glob), ..Criteria::default() }]);
        assert!(chosen.evaluate_running().contains(&own));
        assert!(chosen.decisions.contains(&(own, Decision::Watch)), "{:?}", chosen.decisions);
        let mut port = discovery(vec![Criteria { open_ports: vec![(1, 1)], ..Criteria::default() }]);
        assert!(!port.evaluate_running().contains(&own));
        assert!(!port.evaluate(ProcessId(u32::MAX >> 1)));
        assert!(port.decisions.contains(&(ProcessId(u32::MAX >> 1), Decision::Unknown)), "{:?}", port.decisions);
        assert!(port.decisions.contains(&(own, Decision::IgnoreUnlessServing)), "{:?}", port.decisions);
        // One of which nothing is known may have been one to watch.
        let gone = ProcessId(u32::MAX >> 1);
        assert!(!chosen.evaluate(gone));
        assert!(chosen.decisions.contains(&(gone, Decision::Unknown)), "{:?}", chosen.decisions);
        assert_eq!(chosen.unknown(), 1);
        // Where all are watched there is nothing to be told before.
        let mut all = discovery(Vec::new());
        assert!(all.evaluate_running().contains(&own));
        assert_eq!(all.decisions, []);
    }

    #[test]
    fn a_process_that_is_met_again_before_its_decision_is_told_is_evaluated_once() {
        let own = ProcessId(std::process::id());
        // In ticks of 10 ms there.
        let started_at_ns = ProcFs::new("/proc").stat(own).unwrap().start_ticks * 10_000_000;
        let mut chosen = discovery(vec![Criteria { open_ports: vec![(1, 1)], ..Criteria::default() }]);
        let meet = |discovery: &mut Discovery, at_ns: u64, port: u16| {
            let seen = events::Met { at_ns, port, ..events::Met::new_zeroed() };
            let met = Met { tgid: own, started_at_ns, forked_from: ProcessId::default(), comm: b"test", seen: &seen };
            discovery.on_met(&met);
            discovery.decisions.len()
        };
        let before_ns = monotonic_ns();
        assert_eq!(meet(&mut chosen, before_ns, 0), 1);
        assert_eq!((0..1000).map(|_| meet(&mut chosen, before_ns, 0)).max(), Some(1), "it was told of these at once");
        assert_eq!(meet(&mut chosen, before_ns, 1), 2, "it serves a port that was not known");
        assert!(chosen.evaluated.get(&own).is_some_and(|evaluated| evaluated.is_wanted));
        assert_eq!(meet(&mut chosen, before_ns, 1), 2);
        assert_eq!(meet(&mut chosen, u64::MAX, 0), 3, "what happened after the decision may change it");
    }
}
