//! Process metrics: what the watched processes use of their host, looked at once an interval on a thread of its own, so that no
//! exporter waits for `/proc`.

use std::{
    collections::HashMap,
    sync::{
        Arc, Mutex, OnceLock, PoisonError, Weak,
        atomic::{AtomicBool, Ordering},
    },
    thread::{self, Thread},
    time::{Duration, Instant},
};

use super::traffic::Moved;
use crate::{
    config::Features,
    export::MetricSource,
    model::{ids::ProcessId, metric::Metric},
    procs::{
        ProcessTable, Usage,
        blocking::{PATIENCE, Place},
    },
    runtimes::GoStatistics,
    telemetry::{
        ProcessSample,
        clock::{boot_ns, unix_ns},
        process_metrics,
        select::SharedSelect,
        wanted::{Reader, Readers},
    },
};

/// Most processes that are looked at.
const PROCESSES_MAX: usize = 1000;
/// The unit of `starttime` in `/proc/PID/stat`.
const NS_PER_TICK: u64 = 10_000_000;

/// See the module.
pub(crate) struct ProcessUsage {
    processes: Arc<ProcessTable>,
    readers: Mutex<Readers>,
    watched: Mutex<Vec<Watched>>,
    looked: Mutex<Looked>,
    thread: OnceLock<Thread>,
    is_wanted: AtomicBool,
}

/// A process, with what moved over its connections, and where its runtime keeps what it counts.
type Watched = (ProcessId, Option<Moved>, Option<GoStatistics>);

/// A process with the features of the rule that it is watched by.
type Sample = (Option<Features>, ProcessSample);

#[derive(Default)]
struct Looked {
    samples: Arc<[Sample]>,
    /// When each was started, and what it had used at what time.
    before: HashMap<ProcessId, (u64, [f64; 2], Instant)>,
    has_warned: bool,
}

impl ProcessUsage {
    /// Looks at processes of the table once an interval, at those of which somebody wants to know: by the readers' features, or by
    /// the rules' (`of_rules`: of all rules).
    #[must_use]
    pub(crate) fn start(
        processes: Arc<ProcessTable>,
        interval: Duration,
        readers: Readers,
        of_rules: Features,
    ) -> Arc<Self> {
        let is_wanted = readers.kept(None).with(readers.kept(Some(of_rules))).has(Features::PROCESS);
        let new = Arc::new(Self {
            processes,
            readers: Mutex::new(readers),
            watched: Mutex::default(),
            looked: Mutex::default(),
            thread: OnceLock::new(),
            is_wanted: AtomicBool::new(is_wanted),
        });
        let weak = Arc::downgrade(&new);
        let spawned = thread::Builder::new().name("processes".to_owned()).spawn(move || run(&weak, interval));
        match spawned {
            Ok(thread) => drop(new.thread.set(thread.thread().clone())),
            Err(error) => tracing::warn!(%error, "no thread to look at processes: there are no process metrics"),
        }
        new
    }

    /// What each reader is given from now on.
    pub(super) fn set_readers(&self, readers: Readers) {
        *lock(&self.readers) = readers;
    }

    /// Whether anybody wants to know, as of the last look.
    pub(super) fn is_wanted(&self) -> bool {
        self.is_wanted.load(Ordering::Relaxed)
    }

    /// These are watched at the moment. Others than before are looked at at once.
    pub(super) fn publish(&self, watched: Vec<Watched>) {
        let mut known = lock(&self.watched);
        let are_others =
            known.len() != watched.len() || known.iter().zip(&watched).any(|(a, b)| (a.0, a.2) != (b.0, b.2));
        *known = watched;
        drop(known);
        if are_others && let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    fn look(&self) {
        let readers = *lock(&self.readers);
        let mut watched = lock(&self.watched).clone();
        let mut looked = lock(&self.looked);
        if watched.len() > PROCESSES_MAX && !std::mem::replace(&mut looked.has_warned, true) {
            tracing::warn!(
                watched = watched.len(),
                "process metrics are of {PROCESSES_MAX} of the watched processes only"
            );
        }
        watched.truncate(PROCESSES_MAX);
        let mut before = std::mem::take(&mut looked.before);
        drop(looked);
        let mut samples = Vec::with_capacity(watched.len());
        let mut known = HashMap::with_capacity(watched.len());
        for (pid, network, statistics) in watched {
            let service = self.processes.service(pid);
            let features = service.rule.as_ref().and_then(|rule| rule.features);
            if !readers.kept(features).has(Features::PROCESS) {
                continue;
            }
            let Some(usage) = Usage::read(self.processes.proc(), pid) else { continue };
            // Its memory need not answer.
            let go = statistics.and_then(|statistics| {
                let proc = self.processes.proc().clone();
                let place = Place::of(&proc, pid);
                self.processes.pool().call(place, PATIENCE, move || statistics.read(&proc, pid)).flatten()
            });
            let now = Instant::now();
            let last = before.remove(&pid).filter(|(start, _, _)| *start == usage.start_ticks);
            let utilization = last.and_then(|(_, cpu_s, at)| {
                let passed_s = now.saturating_duration_since(at).as_secs_f64() * usage.cpus as f64;
                let [user, system] = [0, 1].map(|mode: usize| {
                    let used = |cpu_s: &[f64; 2]| cpu_s.get(mode).copied().unwrap_or_default();
                    (used(&usage.cpu_s) - used(&cpu_s)).max(0.0) / passed_s
                });
                (passed_s > 0.0).then_some([user, system])
            });
            known.insert(pid, (usage.start_ticks, usage.cpu_s, now));
            let age_ns = boot_ns().saturating_sub(usage.start_ticks.saturating_mul(NS_PER_TICK));
            samples.push((
                features,
                ProcessSample {
                    resource: service.resource,
                    pid,
                    usage,
                    utilization,
                    network,
                    go,
                    start_unix_ns: unix_ns().saturating_sub(age_ns),
                    uptime_s: age_ns as f64 / 1e9,
                },
            ));
        }
        if !samples.is_empty() {
            self.is_wanted.store(true, Ordering::Relaxed);
        }
        let mut looked = lock(&self.looked);
        looked.before = known;
        looked.samples = samples.into();
    }
}

fn run(usage: &Weak<ProcessUsage>, interval: Duration) {
    while let Some(usage) = usage.upgrade() {
        usage.look();
        drop(usage);
        thread::park_timeout(interval);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Gives a reader what it wants to know.
pub(crate) struct ProcessSource(pub Arc<ProcessUsage>, pub Reader, pub SharedSelect);

impl MetricSource for ProcessSource {
    fn collect(&self, _now_unix_ns: u64) -> Vec<Metric> {
        let Self(usage, reader, select) = self;
        let readers = *lock(&usage.readers);
        let samples = Arc::clone(&lock(&usage.looked).samples);
        let shown = |features| readers.shown(*reader, features).has(Features::PROCESS);
        let samples = samples.iter().filter(|(features, _)| shown(*features)).map(|(_, sample)| sample);
        process_metrics(samples, &select.get())
    }

    fn is_for(&self, reader: Reader) -> bool {
        self.1 == reader
    }

    fn is_of_requests(&self) -> bool {
        true
    }
}
