//! Tells the kernel side how to read which unit of work a thread of a process carries on, where threads are shared among requests.

mod early;
mod probed;

use std::{
    collections::{BTreeSet, HashMap},
    time::{Duration, Instant},
};

use ebpf_common::work::{ASYNCIO, CONTEXT, GoLayout, JAVA, NGINX, PUMA, Plan, TASK_IN_PLACE, TOKIO};

use self::{early::Early, probed::Files};
use crate::{
    capture::{Capture, OfRuntime},
    model::ids::ProcessId,
    procs::fs::ProcFs,
    runtimes::{Answer, Asyncio, Finder, Found, Go, GoStatistics, Java, Look, Tasks, Tls, Tokio, Variable},
    telemetry::clock::monotonic_ns,
    trace::{Runtime, Tracer},
};

/// Programs whose event loop is nginx's.
const NGINX_NAMES: [&str; 3] = ["nginx", "openresty", "angie"];

/// Programs that serve each request by a thread of its own (Apache's `event` and `worker`), though their sockets do not block.
const THREADED_NAMES: [&str; 2] = ["apache2", "httpd"];

/// When a process with a language runtime is looked at again: it may come to run an event loop, or another one. At first, and at most.
const AGAIN_AFTER: Duration = Duration::from_millis(50);
const AGAIN_AT_MOST: Duration = Duration::from_secs(60);

/// Processes that were looked at, and those that are to be.
pub(super) struct Units {
    proc: ProcFs,
    finder: Option<Finder>,
    /// After how long each is looked at again, if it is.
    looked: HashMap<ProcessId, Duration>,
    due: BTreeSet<(Instant, ProcessId)>,
    /// Those that are looked at before they are asked anything.
    early: Early,
    planned: HashMap<ProcessId, Plan>,
    /// What runtimes count.
    statistics: HashMap<ProcessId, GoStatistics>,
    found: Vec<(ProcessId, Plan)>,
    threaded: Vec<ProcessId>,
    /// What the trace stage is to be told, in this order.
    news: Vec<News>,
    /// Files at whose functions there are probes.
    probed: Files,
    /// Processes that are being looked at.
    open: usize,
    /// When a program of Go has come to have its plaintext seen, since that was last asked.
    tls_seen_ns: Option<u64>,
}

/// What the trace stage is to be told of processes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum News {
    Runtime(ProcessId, Runtime),
    /// Parent and child.
    Fork(ProcessId, ProcessId),
}

impl Units {
    pub(super) fn new(proc: ProcFs) -> Self {
        let finder = Finder::start(proc.clone());
        if let Err(error) = &finder {
            tracing::warn!(%error, "calls of event loops have no parents: no thread to look for language runtimes");
        }
        Self {
            proc,
            finder: finder.ok(),
            looked: HashMap::new(),
            due: BTreeSet::new(),
            early: Early::default(),
            planned: HashMap::new(),
            statistics: HashMap::new(),
            found: Vec::new(),
            threaded: Vec::new(),
            news: Vec::new(),
            probed: Files::default(),
            open: 0,
            tls_seen_ns: None,
        }
    }

    /// Whether all that was to be looked at was.
    pub(super) fn is_settled(&self) -> bool {
        self.finder.is_none() || self.open == 0 && self.due.first().is_none_or(|(at, _)| *at > Instant::now())
    }

    /// When a program of Go has come to have its plaintext seen, if one has since the last call.
    pub(super) const fn take_tls_seen(&mut self) -> Option<u64> {
        self.tls_seen_ns.take()
    }

    /// What the runtime of a process counts, where that can be read.
    pub(super) fn statistics(&self, tgid: ProcessId) -> Option<GoStatistics> {
        self.statistics.get(&tgid).copied()
    }

    /// A process is watched from now on.
    pub(super) fn on_watched(&mut self, tgid: ProcessId) {
        if self.looked.contains_key(&tgid) {
            return;
        }
        self.looked.insert(tgid, AGAIN_AFTER);
        // What was found before it was asked anything is looked at once more: not all may have been there.
        self.early.end(tgid);
        // The link alone: nothing of the process's files is opened here.
        let path = self.proc.exe(tgid).unwrap_or_default();
        let name = path.trim_end_matches(" (deleted)").rsplit('/').next().unwrap_or_default();
        if NGINX_NAMES.contains(&name) {
            self.found.push((tgid, Plan { kind: NGINX, ..Plan::default() }));
            self.news.push(News::Runtime(tgid, Runtime::Other));
        } else if THREADED_NAMES.contains(&name) {
            self.threaded.push(tgid);
            self.news.push(News::Runtime(tgid, Runtime::Other));
        } else {
            self.due.insert((Instant::now(), tgid));
        }
    }

    /// A program is started in a process: that it is looked at when it is asked something may be too late.
    pub(super) fn on_starts(&mut self, tgid: ProcessId) {
        if self.looked.contains_key(&tgid) || self.planned.contains_key(&tgid) || self.early.what(tgid).is_some() {
            self.on_gone(tgid);
        }
        self.look_early(tgid, Look::Started);
    }

    /// A process begins to listen, which was not asked anything yet.
    pub(super) fn on_listens(&mut self, tgid: ProcessId) {
        // Of one that has its plan already, all of it may not have been there.
        if !self.looked.contains_key(&tgid) {
            self.look_early(tgid, Look::Listening);
        }
    }

    fn look_early(&mut self, tgid: ProcessId, what: Look) {
        let now = Instant::now();
        if self.early.take_up(tgid, what, now) {
            self.due.retain(|(_, due)| *due != tgid);
            self.due.insert((now, tgid));
        }
    }

    /// A process was forked, and goes about its work as its parent does.
    pub(super) fn on_fork(&mut self, parent: ProcessId, child: ProcessId) {
        if self.looked.contains_key(&parent) {
            self.news.push(News::Fork(parent, child));
        }
        if self.planned.contains_key(&parent) {
            self.on_watched(child);
        }
    }

    /// A process carries out another program, or has ended.
    pub(super) fn on_gone(&mut self, tgid: ProcessId) {
        self.looked.remove(&tgid);
        self.early.end(tgid);
        self.statistics.remove(&tgid);
        self.news.push(News::Runtime(tgid, Runtime::NotRead));
        self.due.retain(|(_, due)| *due != tgid);
        self.found.retain(|(found, _)| *found != tgid);
        if self.planned.remove(&tgid).is_some() {
            self.found.push((tgid, Plan::default()));
        }
        self.probed.on_gone(tgid);
    }

    /// A process makes a call, or has connected to somebody.
    pub(super) fn on_calls(&mut self, tgid: ProcessId) {
        self.probed.on_calls(tgid);
    }

    /// It was told which of a process's units of work answers a request.
    pub(super) fn on_handled(&mut self, tgid: ProcessId) {
        self.probed.on_handled(tgid);
    }

    /// To be called now and then: forgets processes whose end was not told, as they were never met.
    pub(super) fn sweep(&mut self, is_alive: impl Fn(ProcessId) -> bool) {
        let all = self.looked.keys().chain(self.planned.keys()).copied().chain(self.early.all());
        let gone: Vec<ProcessId> = all.filter(|tgid| !is_alive(*tgid)).collect();
        gone.into_iter().for_each(|tgid| self.on_gone(tgid));
    }

    /// Tells the kernel side and the trace stage what was found. `wants` says whether a process would be watched if it were asked something.
    pub(super) fn tell(&mut self, capture: &mut Capture, tracer: &mut Tracer, wants: impl Fn(ProcessId) -> bool) {
        if !capture.reads_runtimes() {
            self.news.clear();
            self.found.clear();
            self.due.clear();
        }
        self.threaded.drain(..).for_each(|tgid| tracer.trust_threads(tgid));
        self.look(capture, wants);
        for news in self.news.drain(..) {
            match news {
                News::Runtime(tgid, runtime) => tracer.set_runtime(tgid, runtime),
                News::Fork(parent, child) => tracer.on_fork(parent, child),
            }
        }
        for (tgid, plan) in self.found.drain(..) {
            if plan == Plan::default() {
                capture.forget_plan(tgid);
            } else if capture.plan(tgid, plan) {
                self.planned.insert(tgid, plan);
                if plan.go.tls_connection != 0 {
                    // From here on, not from when the others are told: what begins meanwhile is seen from its beginning on.
                    self.tls_seen_ns = Some(monotonic_ns());
                    tracing::debug!(%tgid, "TLS library attached: crypto/tls of Go");
                }
            }
        }
    }

    /// Looks at the processes that are due, and takes up what was found in others.
    fn look(&mut self, capture: &mut Capture, wants: impl Fn(ProcessId) -> bool) {
        let Self { finder: Some(finder), looked, due, early, planned, statistics, found, news, probed, open, .. } =
            self
        else {
            return;
        };
        let now = Instant::now();
        while let Some(&(at, tgid)) = due.first()
            && at <= now
        {
            due.pop_first();
            if !finder.look(tgid, early.what(tgid).unwrap_or(Look::Any)) {
                due.insert((now + AGAIN_AFTER, tgid));
                break;
            }
            *open += 1;
        }
        while let Some(Answer { pid: tgid, look, found: what }) = finder.next() {
            *open = open.saturating_sub(1);
            let mut first = AGAIN_AFTER;
            let after = if look == Look::Any {
                // It may have ended meanwhile.
                let Some(after) = looked.get_mut(&tgid) else { continue };
                after
            } else {
                // It may be looked at otherwise by now.
                if early.what(tgid) != Some(look) {
                    continue;
                }
                match what {
                    Found::NotYet | Found::Later => {
                        due.extend(early.again(tgid).map(|after| (now + after, tgid)));
                        continue;
                    }
                    // What there is to be said of it is said when it is asked something.
                    Found::Nothing | Found::Puma => {
                        early.end(tgid);
                        continue;
                    }
                    Found::Asyncio(..) | Found::Tokio(..) | Found::Go(..) | Found::Java(_) | Found::Contexts(_) => {
                        early.end(tgid);
                        if !wants(tgid) {
                            continue;
                        }
                        &mut first
                    }
                }
            };
            let runtime = match what {
                // What Java's threads of the system do is told of those.
                Found::Nothing | Found::Java(_) | Found::Later | Found::Contexts(_) => Runtime::Other,
                Found::Puma => Runtime::Workers,
                Found::NotYet => Runtime::MayHaveTasks,
                Found::Asyncio(..) | Found::Tokio(..) => Runtime::Tasks,
                Found::Go(..) => Runtime::Goroutines,
            };
            news.push(News::Runtime(tgid, runtime));
            let (mut plan, probes): (_, Vec<(_, _, Vec<_>)>) = match what {
                Found::Nothing => continue,
                Found::Java(java) => (plan_of_java(java), Vec::new()),
                Found::Contexts(variable) => (plan_of_contexts(variable), Vec::new()),
                Found::Puma => (Plan { kind: PUMA, ..Plan::default() }, Vec::new()),
                // All of it is there from the beginning on.
                Found::Tokio(tokio, file) => {
                    let plan = plan_of_tokio(&tokio);
                    let Tokio { begins, gives, .. } = tokio;
                    // In this order: for what something is given is told by how the giver began.
                    let of = [(OfRuntime::TokioTask, begins), (OfRuntime::TokioGives, gives)];
                    (plan, file.map(|(id, file)| (id, file, Vec::from(of))).into_iter().collect())
                }
                Found::Go(go, file) => {
                    let Go { plan, calls, calls2, handles2, handles_grpc, asks, tls, statistics: counts } = *go;
                    statistics.extend(counts.map(|counts| (tgid, counts)));
                    let (reads, writes) = match tls {
                        Tls::Seen { reads, writes } => (vec![reads], vec![writes]),
                        Tls::None | Tls::Unexpected => (Vec::new(), Vec::new()),
                    };
                    // Those of TLS first: what is not in its place then leaves out no more than it must.
                    let of = [
                        (OfRuntime::GoTlsRead, reads),
                        (OfRuntime::GoTlsWrite, writes),
                        (OfRuntime::GoCalls, calls),
                        (OfRuntime::GoCalls2, calls2),
                        (OfRuntime::GoHandles2, handles2),
                        (OfRuntime::GoHandlesGrpc, handles_grpc),
                        (OfRuntime::GoAsks, asks),
                    ];
                    (plan, file.map(|(id, file)| (id, file, Vec::from(of))).into_iter().collect())
                }
                _ => {
                    if look == Look::Any {
                        due.insert((now + *after, tgid));
                        *after = (*after * 2).min(AGAIN_AT_MOST);
                    }
                    let Found::Asyncio(asyncio, begins, copies) = what else { continue };
                    // In this order: whoever copies is told by how it began.
                    let of = [
                        begins.map(|(id, file, at)| (id, file, vec![(OfRuntime::AsyncioTask, vec![at])])),
                        copies.map(|(id, file, places)| (id, file, vec![(OfRuntime::PythonContext, places)])),
                    ];
                    (plan_of(&asyncio), of.into_iter().flatten().collect())
                }
            };
            if planned.get(&tgid) == Some(&plan) {
                continue;
            }
            let places = probes.iter().flat_map(|(.., of)| of).map(|(what, places)| (*what, places.len()));
            let places = places.collect::<Vec<_>>();
            // The probes first: what begins then is seen.
            let mut has_tls = false;
            for (id, file, places) in probes {
                has_tls |= probed.probe(tgid, capture, id, file, places);
            }
            if !has_tls {
                plan.go.tls_connection = 0;
            }
            tracing::debug!(%tgid, ?plan, probes = ?places, is_early = look != Look::Any, "tasks are told apart");
            found.push((tgid, plan));
        }
        probed.settle(capture);
    }
}

fn plan_of(asyncio: &Asyncio) -> Plan {
    let &Asyncio { tasks, event_loop, thread, contexts, .. } = asyncio;
    let contexts = contexts.map_or(0, |(state, context)| u64::from(state) << 32 | u64::from(context));
    let (steps, tasks) = match tasks {
        Tasks::ByLoop(tasks) => (0, tasks),
        Tasks::ByLoopBefore311(tasks) => (1, tasks),
        Tasks::OfThread(task) => (TASK_IN_PLACE, task),
    };
    Plan { kind: ASYNCIO, steps, offsets: [tasks, event_loop, thread, contexts], go: GoLayout::EMPTY }
}

const fn plan_of_java(java: Java) -> Plan {
    let Java { thread, handles, number } = java;
    Plan { kind: JAVA, steps: 0, offsets: [thread, handles, number, 0], go: GoLayout::EMPTY }
}

const fn plan_of_contexts(variable: Variable) -> Plan {
    let (steps, first, second) = match variable {
        Variable::OfThread(offset) => (0, offset, 0),
        Variable::OfLibrary { library, offset } => (1, library, offset),
    };
    Plan { kind: CONTEXT, steps, offsets: [first, second, 0, 0], go: GoLayout::EMPTY }
}

const fn plan_of_tokio(tokio: &Tokio) -> Plan {
    Plan { kind: TOKIO, steps: 1, offsets: [tokio.current, tokio.waker_table, 0, 0], go: GoLayout::EMPTY }
}
