//! Puts the stages together: the only module that names them all. One thread takes events from the kernel side through
//! to spans; exporters run on the async runtime.

mod plaintext;
mod self_metrics;

use std::{
    collections::{HashMap, HashSet},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use ebpf_common::events::{PROCESS_EXEC, PROCESS_EXIT, PROCESS_FORK, Process};

use self::plaintext::Plaintext;
pub use self::self_metrics::Gauges;
use crate::{
    capture::{Capture, event::Event},
    conn::{Connections, Limits},
    export::{MetricSource, SpanSink},
    model::{exchange::Exchange, metric::Metric, net::ConnectionInfo, span::Span},
    procs::ProcessTable,
    telemetry::{
        Scheme, Telemetry,
        clock::{Offset, monotonic_ns},
    },
};

/// Events taken from the ring before spans are handed on.
const EVENTS_PER_ROUND: usize = 8192;
/// How long the reader waits for more when the last round found something, and when nothing happens.
const WAIT_BUSY: Duration = Duration::from_millis(4);
const WAIT_IDLE: Duration = Duration::from_millis(20);
/// How often slow-moving things are looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// How often processes are looked for whose end was missed.
const SWEEPING: Duration = Duration::from_secs(30);
/// Rounds that empty the ring when the agent stops: more than the ring can hold.
const LAST_ROUNDS: usize = 64;

/// Why the pipeline ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ended {
    /// It was asked to.
    Stopped,
    /// All processes that were chosen have ended.
    TargetsGone,
}

/// What the pipeline runs with.
pub struct Parts {
    /// The kernel side, attached.
    pub capture: Capture,
    /// Processes that were chosen by pid: when the last of them and of their children ends, so does the run. Empty
    /// where the choice is open.
    pub targets: Vec<u32>,
    /// Who is who.
    pub processes: Arc<ProcessTable>,
    /// Exchanges to spans and metrics.
    pub telemetry: Arc<Mutex<Telemetry>>,
    /// What is counted of the work.
    pub gauges: Arc<Gauges>,
    /// Where spans go.
    pub sink: SpanSink,
    /// Bounds of the table of connections.
    pub limits: Limits,
}

/// The running pipeline.
pub struct Pipeline {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<()>,
}

impl Pipeline {
    /// Starts it on a thread of its own. `ended` is told when it is over.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(parts: Parts, ended: mpsc::Sender<Ended>) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = thread::Builder::new().name("pipeline".to_owned()).spawn(move || {
            let outcome = Worker::new(parts).run(&asked);
            // Nobody listens any more if the agent stops for another reason.
            let _unheard = ended.send(outcome);
        })?;
        Ok(Self { stop, thread })
    }

    /// Detaches the kernel side, takes what is left in the ring, and waits for the thread.
    pub fn stop(self) {
        self.stop.store(true, Ordering::Relaxed);
        if self.thread.join().is_err() {
            tracing::error!("the pipeline's thread has panicked; spans of the last moments are missing");
        }
    }
}

/// Gives the exporters the RED metrics.
pub struct RedSource(pub Arc<Mutex<Telemetry>>);

impl MetricSource for RedSource {
    fn collect(&self, now_unix_ns: u64) -> Vec<Metric> {
        lock(&self.0).collect(now_unix_ns)
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

struct Worker {
    parts: Parts,
    connections: Connections,
    /// Living processes among the targets and their children.
    living: HashSet<u32>,
    /// Where the choice is open: what was decided of processes that were met.
    judged: HashMap<u32, bool>,
    /// Requests being answered, by process and whether over TLS.
    being_answered: HashMap<(u32, bool), u64>,
    /// Decisions that the kernel side is to be told.
    verdicts: Vec<(u32, bool)>,
    /// Probes of TLS libraries, where there can be any.
    plaintext: Option<Plaintext>,
    spans: Vec<Span>,
    unwanted: Vec<u64>,
    housekeeping: Instant,
    swept: Instant,
}

impl Worker {
    fn new(parts: Parts) -> Self {
        let processes = &parts.processes;
        let mut plaintext = Plaintext::start(processes.proc().clone());
        if let Some(plaintext) = &mut plaintext {
            // Before they are first heard of, so that no request is missed.
            if parts.targets.is_empty() {
                let chosen = processes.proc().pids().into_iter().filter(|&tgid| processes.verdict(tgid).is_watch());
                chosen.for_each(|tgid| plaintext.on_watched(tgid));
            } else {
                parts.targets.iter().for_each(|&tgid| plaintext.on_watched(tgid));
            }
        }
        Self {
            plaintext,
            connections: Connections::new(parts.limits, monotonic_ns()),
            living: parts.targets.iter().copied().collect(),
            judged: HashMap::new(),
            being_answered: HashMap::new(),
            verdicts: Vec::new(),
            spans: Vec::new(),
            unwanted: Vec::new(),
            housekeeping: Instant::now(),
            swept: Instant::now(),
            parts,
        }
    }

    fn run(mut self, stop: &AtomicBool) -> Ended {
        let mut wait = WAIT_BUSY;
        let ended = loop {
            self.parts.capture.wait(wait);
            let taken = self.round();
            wait = if taken > 0 { WAIT_BUSY } else { (wait * 2).min(WAIT_IDLE) };
            if self.housekeeping.elapsed() > HOUSEKEEPING {
                self.keep_house();
            }
            if stop.load(Ordering::Relaxed) {
                break Ended::Stopped;
            }
            if !self.parts.targets.is_empty() && self.living.is_empty() {
                break Ended::TargetsGone;
            }
        };
        self.finish();
        ended
    }

    /// Takes events from the ring and carries them through to spans. Gives their number.
    fn round(&mut self) -> usize {
        let Self { parts, connections, living, judged, verdicts, plaintext, spans, unwanted, .. } = self;
        let is_open = parts.targets.is_empty();
        let mut telemetry = lock(&parts.telemetry);
        let processes = &parts.processes;
        let mut sink = |connection: &ConnectionInfo, exchange: Exchange| {
            let resource = processes.resource(exchange.thread.tgid);
            spans.extend(telemetry.on_exchange(exchange, connection, &resource));
        };
        let taken = parts.capture.drain(EVENTS_PER_ROUND, |event| match event {
            Event::Open(open) => {
                // A process is judged when it uses a connection: it serves or calls by then. Once told to ignore it,
                // the kernel side reports no more of it, unless it has ended and its number is another's.
                let is_wanted = !is_open || processes.verdict(open.tgid).is_watch();
                if is_open && (judged.insert(open.tgid, is_wanted) != Some(is_wanted) || !is_wanted) {
                    verdicts.push((open.tgid, is_wanted));
                }
                if is_wanted {
                    if let Some(plaintext) = plaintext {
                        plaintext.on_watched(open.tgid);
                    }
                    connections.on_open(open, &mut sink);
                }
            }
            Event::Data { header, head, tail } => {
                if judged.get(&header.tgid) != Some(&false) && !connections.on_data(header, head, tail, &mut sink) {
                    unwanted.push(header.conn);
                }
            }
            Event::Bind(bind) => connections.on_bind(bind),
            Event::State(state) => connections.on_state(state, &mut sink),
            Event::Process(process) => {
                on_process(process, processes, living, plaintext.as_mut());
                if process.what != PROCESS_FORK {
                    judged.remove(&process.tgid);
                }
                if process.what == PROCESS_EXIT {
                    connections.on_exit(process.tgid, process.at_ns, &mut sink);
                }
            }
        });
        connections.on_tick(monotonic_ns(), &mut sink);
        drop(telemetry);
        if let Some(plaintext) = plaintext {
            connections.take_encrypted().for_each(|tgid| plaintext.on_encrypted(tgid));
            plaintext.round(&mut parts.capture);
        }
        for (tgid, is_wanted) in verdicts.drain(..) {
            let told = if is_wanted { parts.capture.watch(tgid) } else { parts.capture.ignore(tgid) };
            if let Err(error) = told {
                tracing::warn!("{error}: too many processes; it is judged anew at each of its connections");
            }
        }
        for id in unwanted.drain(..) {
            parts.capture.ignore_connection(id);
        }
        parts.gauges.add_events(taken);
        if !spans.is_empty() {
            parts.sink.push(std::mem::take(spans));
        }
        taken
    }

    fn keep_house(&mut self) {
        self.housekeeping = Instant::now();
        lock(&self.parts.telemetry).clock_mut().refresh(Offset::sample());
        if self.swept.elapsed() > SWEEPING {
            self.swept = Instant::now();
            self.parts.processes.sweep();
        }
        self.connections.gather();
        self.count_open_requests();
        self.publish();
        if self.parts.targets.is_empty() {
            let processes = &self.parts.processes;
            for (tgid, verdict) in processes.rejudge() {
                if let Some(known) = self.judged.get_mut(&tgid) {
                    *known = verdict.is_watch();
                    self.verdicts.push((tgid, *known));
                }
            }
            self.judged.retain(|&tgid, _| processes.proc().stat(tgid).is_some());
        } else {
            // The event that says so may have been lost.
            let proc = self.parts.processes.proc();
            self.living.retain(|&tgid| proc.stat(tgid).is_some());
        }
    }

    /// `http.server.active_requests`: as of this moment, once a second.
    fn count_open_requests(&mut self) {
        for open in self.being_answered.values_mut() {
            *open = 0;
        }
        for (tgid, is_tls, open) in self.connections.being_answered() {
            *self.being_answered.entry((tgid, is_tls)).or_default() += open as u64;
        }
        let mut telemetry = lock(&self.parts.telemetry);
        self.being_answered.retain(|&(tgid, is_tls), open| {
            let scheme = if is_tls { Scheme::Https } else { Scheme::Http };
            telemetry.set_active_requests(&self.parts.processes.resource(tgid), scheme, *open);
            *open > 0
        });
    }

    fn publish(&self) {
        let watched = if self.parts.targets.is_empty() { self.parts.processes.len() } else { self.living.len() };
        self.parts.gauges.publish(
            self.parts.capture.counts(),
            self.connections.totals(),
            self.connections.len(),
            watched,
        );
    }

    /// Detaches the kernel side, and ends what is open.
    fn finish(mut self) {
        // Nothing is to be attached any more.
        self.plaintext = None;
        self.parts.capture.detach();
        for _ in 0..LAST_ROUNDS {
            if self.round() == 0 {
                break;
            }
        }
        let Self { parts, connections, spans, .. } = &mut self;
        {
            let mut telemetry = lock(&parts.telemetry);
            connections.on_stop(monotonic_ns(), &mut |connection, exchange: Exchange| {
                let resource = parts.processes.resource(exchange.thread.tgid);
                spans.extend(telemetry.on_exchange(exchange, connection, &resource));
            });
        }
        if !spans.is_empty() {
            parts.sink.push(std::mem::take(spans));
        }
        self.connections.gather();
        self.publish();
    }
}

fn on_process(event: &Process, processes: &ProcessTable, living: &mut HashSet<u32>, plaintext: Option<&mut Plaintext>) {
    if let Some(plaintext) = plaintext {
        match event.what {
            PROCESS_FORK => plaintext.on_fork(event.parent, event.tgid),
            PROCESS_EXEC => plaintext.on_exec(event.tgid),
            _ => plaintext.on_exit(event.tgid),
        }
    }
    match event.what {
        PROCESS_FORK => {
            processes.on_fork(event.parent, event.tgid, event.started_at_ns);
            living.insert(event.tgid);
        }
        PROCESS_EXEC => {
            let comm = event.comm.split(|&byte| byte == 0).next().unwrap_or_default();
            processes.on_exec(event.tgid, event.started_at_ns, &String::from_utf8_lossy(comm));
        }
        PROCESS_EXIT => {
            processes.on_exit(event.tgid, event.started_at_ns);
            living.remove(&event.tgid);
        }
        other => tracing::error!(what = other, "the kernel side reported an unknown thing of a process"),
    }
}
