//! Tells the kernel side how to read which unit of work a thread of a process carries on, where threads are shared among requests.

use std::collections::HashSet;

use ebpf_common::work::{NGINX, Plan};

use crate::{capture::Capture, model::ids::ProcessId, procs::fs::ProcFs, trace::Tracer};

/// Programs whose event loop is nginx's.
const NGINX_NAMES: [&str; 3] = ["nginx", "openresty", "angie"];

/// Programs that serve each request by a thread of its own (Apache's `event` and `worker`), though their sockets do not block.
const THREADED_NAMES: [&str; 2] = ["apache2", "httpd"];

/// Processes that were looked at, and those that are to be.
pub(super) struct Units {
    proc: ProcFs,
    looked: HashSet<ProcessId>,
    planned: HashSet<ProcessId>,
    found: Vec<(ProcessId, Plan)>,
    threaded: Vec<ProcessId>,
}

impl Units {
    pub(super) fn new(proc: ProcFs) -> Self {
        Self { proc, looked: HashSet::new(), planned: HashSet::new(), found: Vec::new(), threaded: Vec::new() }
    }

    /// A process is watched from now on.
    pub(super) fn on_watched(&mut self, tgid: ProcessId) {
        if !self.looked.insert(tgid) {
            return;
        }
        // The link alone: nothing of the process's files is opened.
        let path = self.proc.exe(tgid).unwrap_or_default();
        let name = path.trim_end_matches(" (deleted)").rsplit('/').next().unwrap_or_default();
        if NGINX_NAMES.contains(&name) {
            self.found.push((tgid, Plan { kind: NGINX, ..Plan::default() }));
        }
        if THREADED_NAMES.contains(&name) {
            self.threaded.push(tgid);
        }
    }

    /// A process was forked, and goes about its work as its parent does.
    pub(super) fn on_fork(&mut self, parent: ProcessId, child: ProcessId) {
        if self.planned.contains(&parent) {
            self.on_watched(child);
        }
    }

    /// A process carries out another program, or has ended.
    pub(super) fn on_gone(&mut self, tgid: ProcessId) {
        self.looked.remove(&tgid);
        self.found.retain(|(found, _)| *found != tgid);
        if self.planned.remove(&tgid) {
            self.found.push((tgid, Plan::default()));
        }
    }

    /// Tells the kernel side and the trace stage what was found.
    pub(super) fn tell(&mut self, capture: &mut Capture, tracer: &mut Tracer) {
        self.threaded.drain(..).for_each(|tgid| tracer.trust_threads(tgid));
        for (tgid, plan) in self.found.drain(..) {
            if plan == Plan::default() {
                capture.forget_plan(tgid);
            } else if capture.plan(tgid, plan) {
                self.planned.insert(tgid);
            }
        }
    }
}
