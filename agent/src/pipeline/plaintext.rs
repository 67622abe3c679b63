//! Keeps TLS libraries of watched processes probed, by what events say of the processes.

use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use crate::{
    capture::{Capture, Uprobe},
    model::ids::ProcessId,
    procs::ProcessTable,
    tls::{Attachments, Finder},
};

/// How long a process in which TLS was seen is not looked at again: at first, and at most. Its library may be one
/// that cannot be probed, and each new connection would be a reason to look.
const AGAIN_AFTER: Duration = Duration::from_millis(200);
const AGAIN_AT_MOST: Duration = Duration::from_secs(60);
/// How long putting probes in place may keep the events of other processes waiting, at each turn.
const SLICE: Duration = Duration::from_millis(5);
/// How often files without users are looked for.
const SWEEPING: Duration = Duration::from_secs(5);

struct Looked {
    at: Instant,
    again_after: Duration,
}

/// What came of putting probes in place.
pub(super) struct Round {
    /// All that was to be looked at has its probes, or will not get any.
    pub(super) settled: bool,
    /// A library has got the last of its probes.
    pub(super) completed: bool,
}

/// The probes of TLS libraries, and what is known of who uses them.
pub(super) struct Plaintext {
    processes: Arc<ProcessTable>,
    finder: Finder,
    attachments: Attachments<Uprobe>,
    looked: HashMap<ProcessId, Looked>,
    /// Processes that have started a program since the last round, and in the one before.
    newborn: HashSet<ProcessId>,
    executed: HashSet<ProcessId>,
    swept: Instant,
}

impl Plaintext {
    /// Goes on with probes that are in place. `None` where it cannot be, which is said.
    pub(super) fn start(processes: Arc<ProcessTable>, attachments: Attachments<Uprobe>) -> Option<Self> {
        match Finder::start(processes.proc().clone()) {
            Ok(finder) => Some(Self {
                processes,
                finder,
                attachments,
                looked: HashMap::new(),
                newborn: HashSet::new(),
                executed: HashSet::new(),
                swept: Instant::now(),
            }),
            Err(error) => {
                tracing::warn!(%error, "TLS traffic is not seen: no thread to look for TLS libraries");
                None
            }
        }
    }

    /// A process is watched from now on.
    pub(super) fn on_watched(&mut self, tgid: ProcessId) {
        if let std::collections::hash_map::Entry::Vacant(entry) = self.looked.entry(tgid) {
            entry.insert(Looked { at: Instant::now(), again_after: AGAIN_AFTER });
            self.finder.look(tgid);
        }
    }

    /// A process was forked.
    pub(super) fn on_fork(&mut self, parent: ProcessId, child: ProcessId) {
        self.attachments.on_fork(parent, child);
    }

    /// A process carries out another program. It is looked at a round later, if it has not ended by then: now it has not
    /// loaded its libraries yet, and most that end at once never will.
    pub(super) fn on_exec(&mut self, tgid: ProcessId) {
        self.attachments.on_gone(tgid, Instant::now());
        self.looked.insert(tgid, Looked { at: Instant::now(), again_after: AGAIN_AFTER });
        self.newborn.insert(tgid);
    }

    /// A process has ended.
    pub(super) fn on_exit(&mut self, tgid: ProcessId) {
        self.attachments.on_gone(tgid, Instant::now());
        self.looked.remove(&tgid);
        self.newborn.remove(&tgid);
        self.executed.remove(&tgid);
    }

    /// A process was seen to use TLS: by a library that it may have loaded just now.
    pub(super) fn on_encrypted(&mut self, tgid: ProcessId) {
        let now = Instant::now();
        let looked = self.looked.entry(tgid).or_insert(Looked { at: now, again_after: Duration::ZERO });
        if now.saturating_duration_since(looked.at) >= looked.again_after {
            *looked = Looked { at: now, again_after: (looked.again_after * 2).clamp(AGAIN_AFTER, AGAIN_AT_MOST) };
            self.finder.look(tgid);
        }
    }

    /// Takes all probes away, as far as `capture` does not go on with it after.
    pub(super) fn detach(self, capture: &mut Capture) {
        self.attachments.detach(capture);
    }

    /// Puts probes on what was found meanwhile.
    pub(super) fn round(&mut self, capture: &mut Capture) -> Round {
        // Asked before its findings are taken: what comes in between is for the next round.
        let looked = self.finder.is_idle();
        self.executed.drain().for_each(|tgid| self.finder.executed(tgid));
        std::mem::swap(&mut self.newborn, &mut self.executed);
        while let Some(finding) = self.finder.next() {
            self.attachments.on_finding(&finding);
        }
        let completed = self.attachments.proceed(capture, SLICE);
        if self.swept.elapsed() > SWEEPING {
            self.swept = Instant::now();
            let processes = &self.processes;
            let lives = |tgid| processes.is_alive(tgid);
            self.attachments.sweep(self.swept, lives, capture);
            self.looked.retain(|&tgid, _| lives(tgid));
        }
        Round { settled: looked && self.attachments.is_settled(), completed }
    }
}
