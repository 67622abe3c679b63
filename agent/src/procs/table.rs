//! The processes of the host and their resources.
//!
//! A process is its pid *and* its start time, so a reused pid is another process. The kernel's fork, exec and exit
//! events keep the table; what they miss is noticed when a process is looked up again. Nothing is read of a process
//! before somebody asks for it, but for a bounded number of freshly executed programs per second, so that a short-lived
//! one is known by name even if it is gone when its request is handled.

mod evaluate;

use std::{
    collections::{HashMap, VecDeque},
    path::PathBuf,
    sync::{
        Arc, PoisonError, RwLock, RwLockReadGuard, RwLockWriteGuard,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use compact_str::CompactString;

use self::evaluate::Subject;
pub(crate) use self::evaluate::Watched;
use super::{
    blocking::{BlockingPool, PATIENCE, Place},
    cloud::CloudAttributes,
    container::runtime::RuntimeRoots,
    env::OtelEnv,
    facts::FactsReader,
    fs::ProcFs,
    host::{Host, HostSource},
    instrumentation::Instrumentation,
    pod::{Pod, PodSource},
    ports::Ports,
    resource::{self, Configured, Facts, Identity, PodAttributes, Shared},
    seen::Seen,
    selector::{Reason, Rule, Selector, Verdict},
};
use crate::model::{ids::ProcessId, span::Resource, trace_context::EnvironmentContext};

/// How often a process that is asked for is looked at again: bounds how long a lost exit event can mislead, and how
/// late metadata that came later is taken up.
const RECHECK: Duration = Duration::from_secs(5);
/// Most processes kept; beyond it new ones are read when they are asked for and not remembered before.
const LIVE_MAX: usize = 1 << 17;
/// Most ended processes kept for late events.
const GONE_MAX: usize = 1 << 14;
/// Freshly executed programs that are read at once, per second. A read costs some 100 us.
const EAGER_READS_PER_SECOND: u32 = 200;
/// How far up it is looked for the process that a worker was forked off.
const GENERATIONS_MAX: usize = 8;
/// The unit of `starttime` in `/proc/PID/stat` (`USER_HZ`, 100 on every architecture).
const NS_PER_TICK: u64 = 10_000_000;

/// Settings of the table.
pub(crate) struct ProcessConfig {
    /// Where the host's `/proc` is mounted.
    pub proc_root: PathBuf,
    /// The agent's own `OTEL_SERVICE_NAME` and `OTEL_RESOURCE_ATTRIBUTES`: for every service.
    pub env: OtelEnv,
    /// Report `process.command_line`, which may hold secrets.
    pub command_line: bool,
    /// The machine; read from `proc_root` where `None`.
    pub host: Option<Host>,
    /// `k8s.cluster.name`; where `None`, what the cloud says.
    pub cluster: Option<CompactString>,
    /// Labels and annotations of pods that become attributes.
    pub pod_attributes: PodAttributes,
    /// How long an ended process's resource stays available for late events.
    pub exit_grace: Duration,
    /// Where pods are looked up.
    pub pods: Option<Arc<dyn PodSource>>,
    /// Where container runtimes keep their state; the usual places of the host's file system where `None`.
    pub runtimes: Option<RuntimeRoots>,
    /// Which processes to watch. Its `own_pid` is filled in where it is `None`.
    pub selector: Selector,
}

impl Default for ProcessConfig {
    fn default() -> Self {
        Self {
            proc_root: PathBuf::from("/proc"),
            env: OtelEnv::default(),
            command_line: false,
            host: None,
            cluster: None,
            pod_attributes: PodAttributes::default(),
            exit_grace: Duration::from_secs(10),
            pods: None,
            runtimes: None,
            selector: Selector::default(),
        }
    }
}

/// The processes known, by pid in the host's PID namespace. Shared between threads.
pub(crate) struct ProcessTable {
    proc: ProcFs,
    reader: Arc<FactsReader>,
    /// Reads what processes' own file systems and memory hold.
    pool: Arc<BlockingPool>,
    ports: Ports,
    selector: RwLock<Arc<Selector>>,
    env: OtelEnv,
    host: RwLock<Host>,
    machine: CompactString,
    pod_attributes: PodAttributes,
    cluster: Option<CompactString>,
    exit_grace: Duration,
    pods: Option<Arc<dyn PodSource>>,
    /// Grows when something changed that many resources are built from.
    revision: AtomicU64,
    /// Grows with each change of `state`.
    changes: AtomicU64,
    state: RwLock<State>,
}

/// What spans and metrics of a process need to know of it.
#[derive(Clone, Debug)]
pub(crate) struct Service {
    /// Its resource.
    pub resource: Arc<Resource>,
    /// The rule of the configuration that it is watched by, if any.
    pub rule: Option<Arc<Rule>>,
}

#[derive(Default)]
struct State {
    live: HashMap<ProcessId, Entry>,
    /// Ended processes, in the order in which they are forgotten.
    gone: VecDeque<(Instant, Identity)>,
    /// Resources of service instances by the process that leads each, and when they were last asked for: children that
    /// come and go have the same.
    instances: HashMap<Identity, Vec<(u64, Arc<Resource>)>>,
    eager_reads: u32,
    eager_since: Option<Instant>,
}

/// A process. Small: there is one for each process of the host.
struct Entry {
    start_ticks: u64,
    parent: ProcessId,
    has_ended: bool,
    /// `parent` is known to have forked it, with the program that it runs unless it was seen to start another.
    is_forked: bool,
    /// Programs it was seen to start: above 0, it runs another one than its parent did.
    executions: u32,
    comm: CompactString,
    /// The process whose service instance it belongs to, once that was looked for.
    leader: Option<Identity>,
    facts: Option<Arc<Facts>>,
    known: Option<Known>,
    /// Until its facts are read: what the kernel side saw of it.
    seen: Option<Arc<Seen>>,
    /// Ports it was seen to serve that processes are chosen by. Almost always none or one.
    served: Vec<u16>,
}

/// Most ports a process is remembered to serve.
const SERVED_MAX: usize = 16;

/// What was made of a process's facts.
struct Known {
    verdict: Verdict,
    /// Built when first asked for: most processes never need one.
    resource: Option<Arc<Resource>>,
    generation: u64,
    checked_at: Instant,
}

impl Entry {
    fn new(start_ticks: u64, parent: ProcessId) -> Self {
        let comm = CompactString::default();
        Self {
            start_ticks,
            parent,
            has_ended: false,
            is_forked: false,
            executions: 0,
            comm,
            leader: None,
            facts: None,
            known: None,
            seen: None,
            served: Vec::new(),
        }
    }

    /// It was forked off its parent, and still runs that one's program.
    fn runs_parents(&self) -> bool {
        self.is_forked && self.executions == 0
    }

    /// What is known, if it need not be looked at again.
    fn fresh(&self, now: Instant, generation: u64) -> Option<&Known> {
        let is_fresh = |known: &&Known| {
            known.generation == generation
                && (self.has_ended || now.saturating_duration_since(known.checked_at) < RECHECK)
        };
        self.known.as_ref().filter(is_fresh)
    }
}

impl ProcessTable {
    /// An empty table.
    #[must_use]
    pub(crate) fn new(config: ProcessConfig) -> Self {
        let proc = ProcFs::new(&config.proc_root);
        let host = config.host.unwrap_or_else(|| Host::read(&proc, &HostSource::new(&config.proc_root)));
        // With the host's PID namespace, the file system of its process 1 is the host's. Else this one is tried.
        let of_init = config.proc_root.join("1/root");
        let host_root = if of_init.join("etc").is_dir() { of_init } else { PathBuf::from("/") };
        let runtimes = config.runtimes.unwrap_or_else(|| RuntimeRoots::below(&host_root));
        Self {
            reader: Arc::new(FactsReader::new(proc.clone(), config.command_line, runtimes)),
            pool: Arc::default(),
            selector: RwLock::new(Arc::new(with_own_pid(config.selector, &proc))),
            ports: Ports::default(),
            proc,
            env: config.env,
            machine: host.id.clone().unwrap_or_else(|| host.name.clone()),
            pod_attributes: config.pod_attributes,
            host: RwLock::new(host),
            cluster: config.cluster,
            exit_grace: config.exit_grace,
            pods: config.pods,
            revision: AtomicU64::new(0),
            changes: AtomicU64::new(0),
            state: RwLock::default(),
        }
    }

    /// The `/proc` the table reads.
    #[must_use]
    pub(crate) fn proc(&self) -> &ProcFs {
        &self.proc
    }

    /// The threads that read what processes' own file systems hold.
    #[must_use]
    pub(crate) const fn pool(&self) -> &Arc<BlockingPool> {
        &self.pool
    }

    /// Takes up another selection. Verdicts and names follow from now on.
    pub(crate) fn set_selector(&self, selector: Selector) {
        let selector = Arc::new(with_own_pid(selector, &self.proc));
        *self.selector.write().unwrap_or_else(PoisonError::into_inner) = selector;
        self.revision.fetch_add(1, Ordering::Relaxed);
    }

    fn selector(&self) -> Arc<Selector> {
        Arc::clone(&self.selector.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes up what a cloud says of the machine. Instances keep their ids.
    pub(crate) fn set_cloud(&self, attributes: CloudAttributes) {
        self.host.write().unwrap_or_else(PoisonError::into_inner).set_cloud(attributes);
        self.revision.fetch_add(1, Ordering::Relaxed);
    }

    /// The resource of a process. Always answers: of a process that ended before anything could be read, with what its
    /// parent or its events told. Equal facts give the same `Arc`.
    #[must_use]
    pub(crate) fn resource(&self, tgid: ProcessId) -> Arc<Resource> {
        self.resource_at(tgid, Instant::now())
    }

    fn resource_at(&self, tgid: ProcessId, now: Instant) -> Arc<Resource> {
        self.service_at(tgid, now).resource
    }

    /// The resource of a process, and the rule it is watched by.
    #[must_use]
    pub(crate) fn service(&self, tgid: ProcessId) -> Service {
        self.service_at(tgid, Instant::now())
    }

    fn service_at(&self, tgid: ProcessId, now: Instant) -> Service {
        let generation = self.generation();
        if let Some(entry) = self.read().live.get(&tgid)
            && let Some(known) = entry.fresh(now, generation)
            && let Some(resource) = &known.resource
        {
            return Service { resource: Arc::clone(resource), rule: known.verdict.rule().cloned() };
        }
        let (resource, verdict) = self.refresh(tgid, now, generation, true);
        Service { resource: resource.unwrap_or_default(), rule: verdict.rule().cloned() }
    }

    /// The trace context that a process was started with, if any. What serves a port does not do all of its work for who started it.
    #[must_use]
    pub(crate) fn environment(&self, tgid: ProcessId) -> Option<Arc<EnvironmentContext>> {
        let known = || {
            let state = self.read();
            let entry = state.live.get(&tgid)?;
            let facts = entry.facts.as_ref().filter(|facts| !facts.is_partial)?;
            Some(facts.env.context.clone().filter(|_| entry.served.is_empty()))
        };
        known().or_else(|| {
            drop(self.service(tgid));
            known()
        })?
    }

    /// Who else describes what a process does; nobody as long as that was not read.
    #[must_use]
    pub(crate) fn instrumentation(&self, tgid: ProcessId) -> Instrumentation {
        let state = self.read();
        let facts = state.live.get(&tgid).and_then(|entry| entry.facts.as_ref());
        facts.map(|facts| facts.instrumentation).unwrap_or_default()
    }

    /// Whether to watch a process, and the configuration that it matched.
    #[must_use]
    pub(crate) fn verdict(&self, tgid: ProcessId) -> Verdict {
        self.verdict_at(tgid, Instant::now())
    }

    fn verdict_at(&self, tgid: ProcessId, now: Instant) -> Verdict {
        let generation = self.generation();
        if let Some(entry) = self.read().live.get(&tgid)
            && let Some(known) = entry.fresh(now, generation)
        {
            return known.verdict.clone();
        }
        self.refresh(tgid, now, generation, false).1
    }

    /// A process was forked. `started_at_ns` is on the boot clock.
    pub(crate) fn on_fork(&self, parent: ProcessId, child: ProcessId, started_at_ns: u64) {
        let mut state = self.write();
        if state.live.len() < LIVE_MAX {
            let entry = Entry { is_forked: true, ..Entry::new(started_at_ns / NS_PER_TICK, parent) };
            state.live.insert(child, entry);
        }
    }

    /// A process runs another program from now on. `comm` is its thread's name.
    pub(crate) fn on_exec(&self, tgid: ProcessId, started_at_ns: u64, comm: &str) {
        let start_ticks = started_at_ns / NS_PER_TICK;
        let mut state = self.write();
        let is_room = state.live.len() < LIVE_MAX;
        let known = state.live.get(&tgid).filter(|entry| entry.start_ticks == start_ticks);
        let (parent, executions) =
            known.map_or((ProcessId::NONE, 1), |entry| (entry.parent, entry.executions.wrapping_add(1).max(1)));
        // A connection may stay open for the next program.
        let served = known.map(|entry| entry.served.clone()).unwrap_or_default();
        if is_room || state.live.contains_key(&tgid) {
            let entry = Entry { executions, served, comm: comm.into(), ..Entry::new(start_ticks, parent) };
            state.live.insert(tgid, entry);
        }
    }

    /// Whether something is kept of a process, or of an earlier one of this number.
    #[must_use]
    pub(crate) fn knows(&self, tgid: ProcessId) -> bool {
        self.read().live.contains_key(&tgid)
    }

    /// A process that was just seen to start a program has not ended meanwhile: reads what it is, if not too many are read
    /// already, so that it is known by name even if it is gone when its request is handled.
    pub(crate) fn read_executed(&self, tgid: ProcessId, started_at_ns: u64) {
        self.read_executed_at(tgid, started_at_ns, Instant::now());
    }

    fn read_executed_at(&self, tgid: ProcessId, started_at_ns: u64, now: Instant) {
        let start_ticks = started_at_ns / NS_PER_TICK;
        let mut state = self.write();
        let unread = |entry: &&Entry| entry.start_ticks == start_ticks && entry.facts.is_none();
        let Some(executions) = state.live.get(&tgid).filter(unread).map(|entry| entry.executions) else { return };
        if !state.may_read_eagerly(now) {
            return;
        }
        drop(state);
        let facts = self.read_facts(tgid).map(Arc::new);
        if let Some(entry) = self.write().live.get_mut(&tgid)
            && entry.start_ticks == start_ticks
            && entry.executions == executions
            && self.proc.stat(tgid).is_some_and(|stat| stat.start_ticks == start_ticks)
        {
            entry.facts = facts;
        }
    }

    /// A process uses a connection: `started_at_ns` (on the boot clock) and `comm` are of that moment. An earlier process
    /// of this pid is told apart, and what was read of an earlier program of this process is looked at again. Tells
    /// whether either may be so. `forked_from` is the process whose program it still runs, if any.
    pub(crate) fn on_met(&self, tgid: ProcessId, started_at_ns: u64, comm: &str, forked_from: ProcessId) -> bool {
        let start_ticks = started_at_ns / NS_PER_TICK;
        let is_same = |entry: &Entry| entry.start_ticks == start_ticks && entry.comm == comm;
        if started_at_ns == 0 || self.read().live.get(&tgid).is_some_and(is_same) {
            return false;
        }
        let met =
            || Entry { comm: comm.into(), is_forked: forked_from.is_some(), ..Entry::new(start_ticks, forked_from) };
        let mut state = self.write();
        let is_room = state.live.len() < LIVE_MAX;
        match state.live.get_mut(&tgid) {
            // No later process of this pid has the same start: a tick is shorter than any way round the pids.
            Some(entry) if entry.start_ticks == start_ticks => {
                // Threads may also be renamed: what was read is dropped only where it turns out to be of another program.
                let is_another = !entry.comm.is_empty();
                entry.comm = comm.into();
                if is_another {
                    entry.known = None;
                }
                is_another
            }
            Some(entry) => {
                *entry = met();
                true
            }
            None if is_room => {
                state.live.insert(tgid, met());
                true
            }
            None => false,
        }
    }

    /// A process that is not evaluated yet uses a connection, of which [`Self::on_met`] has told: what it was at that moment.
    /// Gives whether it serves a port that it was not seen to serve before.
    pub(crate) fn on_seen(&self, tgid: ProcessId, started_at_ns: u64, seen: Seen) -> bool {
        let start_ticks = started_at_ns / NS_PER_TICK;
        let mut state = self.write();
        let entry = state.live.get_mut(&tgid).filter(|entry| entry.start_ticks == start_ticks);
        let Some(entry) = entry else { return false };
        let new_port = seen.port.filter(|port| !entry.served.contains(port) && entry.served.len() < SERVED_MAX);
        entry.served.extend(new_port);
        if !entry.parent.is_some() {
            (entry.parent, entry.is_forked) = (seen.parent, seen.is_forked);
        }
        entry.seen = Some(Arc::new(seen));
        // It is evaluated by all of this.
        if let Some(known) = &mut entry.known {
            known.generation = known.generation.wrapping_sub(1);
        }
        new_port.is_some()
    }

    /// Whether a verdict may change when its process serves a port that processes are chosen by.
    #[must_use]
    pub(crate) fn may_be_chosen_by_port(&self, verdict: &Verdict) -> bool {
        matches!(verdict, Verdict::Ignore(Reason::NotChosen)) && !self.chosen_ports().is_empty()
    }

    /// The ports that processes are chosen by.
    #[must_use]
    pub(crate) fn chosen_ports(&self) -> Vec<(u16, u16)> {
        self.selector().ports()
    }

    /// Whether nothing at all is known of what a process was.
    #[must_use]
    pub(crate) fn is_unknown(&self, tgid: ProcessId) -> bool {
        let state = self.read();
        state
            .live
            .get(&tgid)
            .is_none_or(|entry| entry.has_ended && entry.facts.as_ref().is_none_or(|facts| facts.exe.is_empty()))
    }

    /// A process ended. Its resource stays available for a while.
    pub(crate) fn on_exit(&self, tgid: ProcessId, started_at_ns: u64) {
        self.on_exit_at(tgid, started_at_ns, Instant::now());
    }

    fn on_exit_at(&self, tgid: ProcessId, started_at_ns: u64, now: Instant) {
        let start_ticks = started_at_ns / NS_PER_TICK;
        let mut state = self.write();
        if let Some(entry) = state.live.get_mut(&tgid)
            && entry.start_ticks == start_ticks
            && !entry.has_ended
        {
            entry.has_ended = true;
            // Nobody asked for it: a late event would, soon; ten seconds of a fork bomb would be much to keep.
            let grace =
                if entry.known.is_some() { self.exit_grace } else { self.exit_grace.min(Duration::from_secs(1)) };
            state.gone.push_back((now + grace, Identity { tgid, start_ticks }));
        }
        state.forget(now);
    }

    /// Whether a process lives: there is one of that number, and that is not one of which the end was told (a zombie is still there).
    /// The end of others may have been missed: whoever keeps something by process asks this, now and then.
    #[must_use]
    pub(crate) fn is_alive(&self, tgid: ProcessId) -> bool {
        let Some(stat) = self.proc.stat(tgid) else { return false };
        let state = self.read();
        !state.live.get(&tgid).is_some_and(|entry| entry.has_ended && entry.start_ticks == stat.start_ticks)
    }

    /// Forgets ended processes and those whose end was missed. To be called now and then (each half minute).
    pub(crate) fn sweep(&self) {
        self.sweep_at(Instant::now());
    }

    fn sweep_at(&self, now: Instant) {
        let known: Vec<Identity> = {
            let state = self.read();
            let alive = state.live.iter().filter(|(_, entry)| !entry.has_ended);
            alive.map(|(&tgid, entry)| Identity { tgid, start_ticks: entry.start_ticks }).collect()
        };
        for Identity { tgid, start_ticks } in known {
            if self.proc.stat(tgid).is_none_or(|stat| stat.start_ticks != start_ticks) {
                self.on_exit_at(tgid, start_ticks.saturating_mul(NS_PER_TICK), now);
            }
        }
        let mut state = self.write();
        state.forget(now);
        // Leaders that the table itself has not met, or has forgotten.
        let State { live, instances, .. } = &mut *state;
        instances.retain(|leader, _| {
            live.get(&leader.tgid).is_some_and(|entry| entry.start_ticks == leader.start_ticks)
                || self.proc.stat(leader.tgid).is_some_and(|stat| stat.start_ticks == leader.start_ticks)
        });
    }

    /// Number of processes remembered, ended ones included.
    #[must_use]
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.read().live.len()
    }

    /// Whether none is remembered.
    #[must_use]
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Grows when something changed that verdicts and resources are made of: the selection, news of pods or of the cloud.
    #[must_use]
    pub(crate) fn generation(&self) -> u64 {
        let pods = self.pods.as_ref().map_or(0, |pods| pods.generation());
        self.revision.load(Ordering::Relaxed).wrapping_add(pods)
    }

    /// Grows when anything that is told of a process may have changed.
    #[must_use]
    pub(crate) fn changes(&self) -> u64 {
        self.changes.load(Ordering::Relaxed).wrapping_add(self.generation())
    }

    /// Reads what is missing, evaluates, and builds the resource if it is wanted. No lock is held while files are read.
    fn refresh(&self, tgid: ProcessId, now: Instant, generation: u64, wants: bool) -> (Option<Arc<Resource>>, Verdict) {
        let (found, old) = self.snapshot(tgid);
        let stat = self.proc.stat(tgid);
        let reused = matches!((&found, &stat), (Some(found), Some(stat)) if !found.has_ended && stat.start_ticks != found.start_ticks);
        let mut entry = match (found, &stat) {
            (Some(found), _) if !reused => found,
            (_, Some(stat)) => Entry { is_forked: stat.is_forked, ..Entry::new(stat.start_ticks, stat.parent) },
            (_, None) => Entry { has_ended: true, ..Entry::new(0, ProcessId::NONE) },
        };
        let is_alive = stat.as_ref().is_some_and(|stat| stat.start_ticks == entry.start_ticks);
        entry.has_ended |= !is_alive;
        if let (true, Some(stat)) = (is_alive, stat) {
            entry.comm = stat.comm.into();
            if !entry.is_forked {
                entry.parent = stat.parent;
            }
        }
        // An exec that nobody told of: of a process that was asked for before it used a connection.
        let is_replaced = |facts: &Arc<Facts>| is_alive && self.proc.exe(tgid).is_some_and(|exe| *exe != *facts.exe);
        let facts = entry.facts.take().filter(|facts| !(is_replaced(facts) || is_alive && facts.is_partial));
        let runs_parents = entry.runs_parents();
        let read = || {
            let facts = self.read_facts(tgid)?;
            // It may have ended meanwhile: without its arguments and environment it would have another name.
            let is_whole = facts.exe.is_empty() || !runs_parents || self.proc.exe(tgid).is_some();
            is_whole.then(|| Arc::new(facts))
        };
        let facts = facts.or_else(|| if is_alive { read() } else { None });
        // What it forked off and never replaced is the parent's program, unless that one has started another meanwhile.
        let seen = entry.seen.take();
        let was_read = facts.is_some();
        let is_seen =
            |facts: &Arc<Facts>| seen.as_ref().is_none_or(|seen| seen.exe.is_empty() || seen.exe == *facts.exe);
        let facts = facts
            .or_else(|| if runs_parents { self.facts_of(entry.parent).filter(is_seen) } else { None })
            .or_else(|| seen.as_ref().map(|seen| Arc::new(self.reader.of_seen(seen))));
        let facts = facts.unwrap_or_else(|| Arc::new(Facts { name: entry.comm.clone(), ..Facts::default() }));

        let identity = Identity { tgid, start_ticks: entry.start_ticks };
        let pod = self.pods.as_ref().filter(|_| !facts.container.is_none()).and_then(|pods| pods.pod(&facts.container));
        // Of a worker that is gone, the parent that forked it tells what it was.
        let asked = if runs_parents && !is_alive { entry.parent } else { tgid };
        let subject = Subject {
            tgid,
            asked,
            parent: entry.parent,
            runs_parents,
            served: &entry.served,
            args: seen.as_ref().map(|seen| seen.args.as_slice()).unwrap_or_default(),
        };
        let verdict = self.evaluate(&subject, &facts, pod.as_deref(), Selector::decide);
        let resource = (wants || old.is_some()).then(|| {
            let leader =
                *entry.leader.get_or_insert_with(|| self.leader(identity, entry.parent, runs_parents, &facts.exe));
            let of_leader = (leader != identity).then(|| self.facts_of_leader(leader, now)).flatten();
            let facts = of_leader.as_ref().unwrap_or(&facts);
            let built = self.describe(leader, facts, pod.as_deref(), verdict.rule().map(AsRef::as_ref));
            match old.filter(|old| **old == built) {
                Some(old) => old,
                None => self.write().share(leader, generation, built),
            }
        });
        entry.facts = Some(facts);
        entry.seen = seen.filter(|_| !was_read);
        entry.known = Some(Known { verdict: verdict.clone(), resource: resource.clone(), generation, checked_at: now });

        let mut state = self.write();
        // What was read may be of an earlier program, if the process started another one meanwhile.
        let is_newer = state.live.get(&tgid).is_some_and(|newer| {
            !reused && (newer.start_ticks != entry.start_ticks || newer.executions != entry.executions)
        });
        if !is_newer && (state.live.len() < LIVE_MAX || state.live.contains_key(&tgid)) {
            if entry.has_ended && state.live.get(&tgid).is_none_or(|older| !older.has_ended) {
                state.gone.push_back((now + self.exit_grace, identity));
            }
            state.live.insert(tgid, entry);
        }
        (resource, verdict)
    }

    /// A copy of what is known of a process, to work on without the lock.
    fn snapshot(&self, tgid: ProcessId) -> (Option<Entry>, Option<Arc<Resource>>) {
        let state = self.read();
        let Some(entry) = state.live.get(&tgid) else { return (None, None) };
        let copy = Entry {
            comm: entry.comm.clone(),
            facts: entry.facts.clone(),
            seen: entry.seen.clone(),
            served: entry.served.clone(),
            known: None,
            ..*entry
        };
        (Some(copy), entry.known.as_ref().and_then(|known| known.resource.clone()))
    }

    fn describe(&self, identity: Identity, facts: &Facts, pod: Option<&Pod>, rule: Option<&Rule>) -> Resource {
        let host = self.host.read().unwrap_or_else(PoisonError::into_inner);
        let shared = Shared {
            host: &host,
            env: &self.env,
            machine: &self.machine,
            cluster: self.cluster.as_ref().or_else(|| host.cluster()),
            pod_attributes: &self.pod_attributes,
        };
        let configured = Configured {
            name: rule.and_then(|rule| rule.name.as_deref()),
            namespace: rule.and_then(|rule| rule.namespace.as_deref()),
        };
        resource::build(identity, facts, pod, configured, &shared)
    }

    /// Reads a process's facts; where its files do not answer, what can be told without them.
    fn read_facts(&self, tgid: ProcessId) -> Option<Facts> {
        let reader = Arc::clone(&self.reader);
        let read = self.pool.call(Place::of(&self.proc, tgid), PATIENCE, move || reader.read(tgid));
        read.unwrap_or_else(|| self.reader.read_outside(tgid))
    }

    /// The process whose service instance a process belongs to: what it was forked off and never replaced is a worker of its
    /// parent, as far up as the same program runs.
    fn leader(&self, of: Identity, mut parent: ProcessId, mut runs_parents: bool, exe: &str) -> Identity {
        let mut leader = of;
        for _ in 0..GENERATIONS_MAX {
            // A parent that has ended may have left it to another, which runs something else or the same by chance.
            let Some(stat) =
                self.proc.stat(parent).filter(|_| runs_parents && parent > ProcessId(1) && !exe.is_empty())
            else {
                break;
            };
            if self.proc.exe(parent).is_none_or(|runs| runs != exe) {
                break;
            }
            leader = Identity { tgid: parent, start_ticks: stat.start_ticks };
            let state = self.read();
            let known = state.live.get(&parent).filter(|entry| entry.start_ticks == stat.start_ticks);
            (parent, runs_parents) =
                known.map_or((stat.parent, stat.is_forked), |entry| (entry.parent, entry.runs_parents()));
        }
        leader
    }

    fn facts_of_leader(&self, leader: Identity, now: Instant) -> Option<Arc<Facts>> {
        // Read once, not for each of its workers.
        let _known_now = self.verdict_at(leader.tgid, now);
        self.facts_of(leader.tgid)
    }

    /// A process's facts, from the table or read.
    fn facts_of(&self, tgid: ProcessId) -> Option<Arc<Facts>> {
        if !tgid.is_some() {
            return None;
        }
        let known = self.read().live.get(&tgid).and_then(|entry| entry.facts.clone());
        known.or_else(|| self.read_facts(tgid).map(Arc::new))
    }

    fn read(&self) -> RwLockReadGuard<'_, State> {
        self.state.read().unwrap_or_else(PoisonError::into_inner)
    }

    fn write(&self) -> RwLockWriteGuard<'_, State> {
        self.changes.fetch_add(1, Ordering::Relaxed);
        self.state.write().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn forget(&mut self, now: Instant) {
        while let Some(&(at, identity)) = self.gone.front()
            && (at <= now || self.gone.len() > GONE_MAX)
        {
            self.gone.pop_front();
            if self
                .live
                .get(&identity.tgid)
                .is_some_and(|entry| entry.has_ended && entry.start_ticks == identity.start_ticks)
            {
                self.live.remove(&identity.tgid);
                self.instances.remove(&identity);
            }
        }
    }

    /// The one copy of an instance's resource.
    fn share(&mut self, leader: Identity, generation: u64, built: Resource) -> Arc<Resource> {
        let known = self.instances.entry(leader).or_default();
        if let Some((asked, same)) = known.iter_mut().find(|(_, known)| **known == built) {
            *asked = generation;
            return Arc::clone(same);
        }
        // What it was called before is kept by who still uses it: this table and the metrics' always do.
        known.retain(|(asked, resource)| *asked == generation || Arc::strong_count(resource) > 2);
        let built = Arc::new(built);
        known.push((generation, Arc::clone(&built)));
        built
    }

    fn may_read_eagerly(&mut self, now: Instant) -> bool {
        if self.eager_since.is_none_or(|since| now.saturating_duration_since(since) >= Duration::from_secs(1)) {
            self.eager_since = Some(now);
            self.eager_reads = 0;
        }
        self.eager_reads += 1;
        self.eager_reads <= EAGER_READS_PER_SECOND
    }
}

fn with_own_pid(mut selector: Selector, proc: &ProcFs) -> Selector {
    selector.own_pid = selector.own_pid.or_else(|| proc.own_pid());
    selector
}

#[cfg(test)]
mod tests;
