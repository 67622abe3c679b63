//! Puts the stages together: the only module that names them all. One thread takes events from the kernel side through
//! to spans; exporters run on the async runtime.

mod discovery;
mod harvests;
mod limits;
mod lookups;
mod pairing;
mod pauses;
mod plaintext;
mod pressure;
mod self_metrics;
mod settling;
mod shed;
mod stages;
mod tail;
mod traffic;
mod units;
mod unix_sockets;
mod usage;
mod waiting;

use std::{
    cell::RefCell,
    collections::HashMap,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
        mpsc,
    },
    thread,
    time::{Duration, Instant},
};

use ebpf_common::policy::Counter;

use self::{
    discovery::Discovery,
    harvests::Harvests,
    limits::{Guard, Level},
    lookups::Lookups,
    pauses::Pauses,
    plaintext::Plaintext,
    pressure::Pressure,
    self_metrics::Snapshot,
    shed::Shed,
    stages::Stages,
    traffic::Traffic,
    units::Units,
    unix_sockets::UnixSockets,
    waiting::Waiting,
};
pub(crate) use self::{
    self_metrics::{Gauges, KubernetesCounts},
    stages::Change,
    usage::{ProcessSource, ProcessUsage},
    waiting::Ready,
};
use crate::{
    capture::{
        Capture, Uprobe,
        event::{Active, DnsMessage, Event, Handles, ProcessChange},
    },
    config::{Naming, RouteHarvester, Tail},
    conn::{Connections, Limits, Wanted},
    export::{MetricSource, SpanSink},
    model::{
        exchange::{Event as Told, Group, Opened},
        ids::{ConnectionId, ProcessId},
        metric::Metric,
        net::{ConnectionInfo, Direction, Role},
        propagation::Propagation,
        span::Resource,
    },
    procs::{DnsCache, DnsClient, ProcessTable},
    recording::{
        entry::{self, Entry, Head, VERSION},
        recorder::Recorder,
    },
    telemetry::{
        RedMetrics, Scheme, Telemetry,
        clock::{Offset, monotonic_ns},
        methods::Method,
        naming,
        select::SharedSelect,
        wanted::Reader,
    },
    tls::Attachments,
    trace::{Tracer, health::HealthRules},
};

/// Events taken from the ring before spans are handed on.
const EVENTS_PER_ROUND: usize = 2048;
/// How long the reader waits for more when the last round found something, and when nothing happens.
const WAIT_BUSY: Duration = Duration::from_millis(4);
const WAIT_IDLE: Duration = Duration::from_millis(20);
/// After so long without a byte a connection is taken to be at rest.
const AT_REST: Duration = Duration::from_millis(20);
/// How often slow-moving things are looked at.
const HOUSEKEEPING: Duration = Duration::from_secs(1);
/// How often processes are looked for whose end was missed.
const SWEEPING: Duration = Duration::from_secs(30);
/// Rounds that empty the ring when the agent stops: more than the ring can hold.
const LAST_ROUNDS: usize = 64;

/// Why the pipeline ended by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Ended {
    /// It was asked to.
    Stopped,
    /// All processes that were chosen have ended.
    TargetsGone,
}

/// What the pipeline runs with.
pub(crate) struct Parts {
    /// The kernel side, attached.
    pub capture: Capture,
    /// Processes that were chosen by pid: when the last of them and of their children ends, so does the run. Empty
    /// where the choice is open.
    pub targets: Vec<ProcessId>,
    /// Who is who.
    pub processes: Arc<ProcessTable>,
    /// Requests to spans of traces.
    pub tracer: Tracer,
    /// Exchanges to spans and metrics.
    pub telemetry: Telemetry,
    /// Settings that are taken up while it runs.
    pub changes: mpsc::Receiver<Change>,
    /// What is counted of the work.
    pub gauges: Arc<Gauges>,
    /// Where spans go.
    pub sink: SpanSink,
    /// Bounds of the table of connections.
    pub limits: Limits,
    /// What is read of the context that requests carry.
    pub propagation: Propagation,
    /// What tells health checks, where they are left out of traces.
    pub health_checks: Option<HealthRules>,
    /// What is kept once a trace is over.
    pub tail: Tail,
    /// Languages in whose programs no routes are looked for.
    pub disabled_harvesters: Vec<RouteHarvester>,
    /// Looks at what the watched processes use of their host.
    pub usage: Arc<ProcessUsage>,
    /// Probes of TLS libraries that are in place already.
    pub attachments: Attachments<Uprobe>,
    /// Whether metadata of pods is there, and until when spans of pods wait for it; `None`: there is none to wait for.
    pub metadata: Option<(Ready, Instant)>,
    /// Writes down what connections are told, if that is wanted.
    pub recorder: Recorder,
    /// What the agent itself may use.
    pub own_limits: crate::config::Limits,
}

/// The running pipeline.
pub(crate) struct Pipeline {
    stop: Arc<AtomicBool>,
    thread: thread::JoinHandle<Detaching>,
}

/// Probes that are being taken away.
#[must_use = "if the program ends meanwhile, the kernel leaves what it is at in the probed programs"]
#[derive(Default)]
pub(crate) struct Detaching(Option<thread::JoinHandle<()>>);

impl Detaching {
    /// Waits until all are.
    pub(crate) fn wait(self) {
        if self.0.is_some_and(|thread| thread.join().is_err()) {
            tracing::error!("probes of TLS libraries were not taken away: the thread for it has panicked");
        }
    }
}

impl Pipeline {
    /// Starts it on a thread of its own. `ready` is told once the TLS libraries of processes that are watched from the
    /// beginning have their probes, or will not get any; `ended` when it is over.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn start(parts: Parts, ready: mpsc::Sender<()>, ended: mpsc::Sender<Ended>) -> std::io::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = Arc::clone(&stop);
        let thread = thread::Builder::new().name("pipeline".to_owned()).spawn(move || {
            let (outcome, detaching) = Worker::new(parts, ready).run(&asked);
            // Nobody listens any more if the agent stops for another reason.
            let _unheard = ended.send(outcome);
            detaching
        })?;
        Ok(Self { stop, thread })
    }

    /// Detaches the kernel side, takes what is left in the ring, and waits for the thread. Probes of TLS libraries go
    /// after that: what was seen need not wait for it.
    pub(crate) fn stop(self) -> Detaching {
        self.stop.store(true, Ordering::Relaxed);
        self.thread.join().unwrap_or_else(|_| {
            tracing::error!("the pipeline's thread has panicked; spans of the last moments are missing");
            Detaching::default()
        })
    }
}

/// Gives an exporter the metrics of requests that it is to show, under the names that are asked for.
pub(crate) struct RedSource {
    pub metrics: RedMetrics,
    pub naming: Naming,
    pub reader: Reader,
    /// Which attributes metrics have.
    pub select: SharedSelect,
    /// Attributes of the resource that are put on each series.
    pub of_resource: Vec<&'static str>,
}

impl MetricSource for RedSource {
    fn collect(&self, now_unix_ns: u64) -> Vec<Metric> {
        let select = self.select.get();
        let mut metrics = naming::named(self.metrics.collect(self.reader, now_unix_ns), self.naming, &select);
        if !self.of_resource.is_empty() {
            naming::add_of_resource(&mut metrics, &self.of_resource);
        }
        metrics
    }

    fn is_for(&self, reader: Reader) -> bool {
        self.reader == reader
    }

    fn keep_native_histograms(&self, now_unix_ns: u64) {
        self.metrics.keep_native(now_unix_ns);
    }

    fn is_of_requests(&self) -> bool {
        true
    }
}

/// Sheds as much as the agent's own bounds, and what fills the ring, ask for just now.
fn shed(guard: Option<&Guard>, pressure: &Pressure, connections: &mut Connections, stages: &mut Stages) {
    let level = guard.map(Guard::level).unwrap_or_default();
    connections.set_head_max((level > Level::default()).then(|| level.head_max()));
    stages.tracer.sampling.set_bound(level.share());
    stages.tracer.sampling.set_heavy(pressure.share(), pressure.heavy());
    stages.set_room(guard.map_or(1.0, Guard::room));
}

struct Worker {
    capture: Capture,
    processes: Arc<ProcessTable>,
    gauges: Arc<Gauges>,
    connections: Connections,
    discovery: Discovery,
    stages: Stages,
    /// What processes were answered by DNS servers.
    dns_cache: DnsCache,
    /// What they look up.
    lookups: Lookups,
    /// Requests being answered, by process, whether over TLS, and method.
    being_answered: HashMap<(ProcessId, bool, Method), u64>,
    /// Probes of TLS libraries, where there can be any.
    plaintext: Option<Plaintext>,
    /// Tells the kernel side how units of work are read.
    units: Units,
    /// Reads routes from programs' files.
    harvests: Harvests,
    /// Tells which unix sockets are closed.
    unix_sockets: Option<UnixSockets>,
    /// Told when they are in place for the first time.
    ready: Option<mpsc::Sender<()>>,
    /// Records that the kernel side shed of services that took too much of the ring.
    shed: Shed,
    recorder: Recorder,
    /// Processes that ended in this round.
    exited: Vec<ProcessId>,
    /// Connections of which something else is wanted than before.
    wanted: Vec<(ConnectionId, Wanted)>,
    /// Records that were lost so far.
    lost: u64,
    /// What moves behind that is not taken: the kernel side is being detached, piece by piece.
    until_ns: u64,
    /// Since when connections are watched.
    watched: Instant,
    housekeeping: Instant,
    swept: Instant,
    /// How long the ring was left alone.
    pauses: Pauses,
    usage: Arc<ProcessUsage>,
    /// What processes move, where somebody wants to know.
    traffic: Option<Traffic>,
    /// Where the agent has bounds of its own.
    guard: Option<Guard>,
    /// What is given up where records come faster than they are read.
    pressure: Pressure,
}

impl Worker {
    fn new(parts: Parts, ready: mpsc::Sender<()>) -> Self {
        let Parts {
            mut capture,
            targets,
            processes,
            mut tracer,
            telemetry,
            changes,
            gauges,
            sink,
            limits,
            propagation,
            health_checks,
            tail,
            disabled_harvesters,
            usage,
            attachments,
            metadata,
            mut recorder,
            own_limits,
        } = parts;
        let since_ns = monotonic_ns();
        recorder.write(|| {
            Entry::Recording(Head {
                version: VERSION,
                agent: env!("CARGO_PKG_VERSION").into(),
                backend: capture.backend().name().into(),
                since_ns,
                unix_offset_ns: Offset::sample().ns,
            })
        });
        let mut plaintext = Plaintext::start(Arc::clone(&processes), attachments);
        let mut discovery = Discovery::new(Arc::clone(&processes), &targets);
        // Before they are first heard of, so that no request is missed.
        let chosen = if targets.is_empty() { discovery.evaluate_running() } else { targets };
        discovery.tell_running(&mut capture);
        let mut units = Units::new(processes.proc().clone());
        // Those that rules have chosen too, which are not met yet: they may be idle.
        let watched: Vec<ProcessId> = capture.watched().into_iter().chain(discovery.all_watched()).collect();
        watched.iter().for_each(|tgid| units.on_watched(*tgid));
        units.tell(&mut capture, &mut tracer, |_| false);
        let mut harvests = Harvests::new(processes.proc().clone(), disabled_harvesters);
        watched.iter().for_each(|tgid| harvests.on_watched(*tgid));
        if let Some(plaintext) = &mut plaintext {
            chosen.into_iter().for_each(|tgid| plaintext.on_watched(tgid));
        }
        let mut connections = Connections::new(limits, since_ns);
        connections.set_propagation(propagation.clone());
        connections.set_health_checks(health_checks.map(|rules| Arc::new(rules) as _));
        let waiting = Waiting::new(metadata);
        let mut stages = Stages::new(Arc::clone(&processes), waiting, tracer, telemetry, changes, sink);
        stages.propagation = propagation;
        stages.set_tail(&tail);
        Self {
            unix_sockets: UnixSockets::start(processes.proc().clone()),
            plaintext,
            units,
            harvests,
            ready: Some(ready),
            connections,
            recorder,
            discovery,
            stages,
            dns_cache: DnsCache::default(),
            lookups: Lookups::default(),
            being_answered: HashMap::new(),
            shed: Shed::default(),
            exited: Vec::new(),
            wanted: Vec::new(),
            lost: 0,
            until_ns: u64::MAX,
            watched: Instant::now(),
            housekeeping: Instant::now(),
            swept: Instant::now(),
            pauses: Pauses::new(Instant::now()),
            traffic: usage.is_wanted().then(Traffic::default),
            guard: Guard::new(own_limits),
            pressure: Pressure::default(),
            usage,
            capture,
            processes,
            gauges,
        }
    }

    fn run(mut self, stop: &AtomicBool) -> (Ended, Detaching) {
        let mut wait = WAIT_BUSY;
        let ended = loop {
            self.pauses.on_look(Instant::now());
            self.capture.wait(wait);
            self.pauses.resume(Instant::now());
            let taken = self.round();
            let waiting = self.capture.waiting();
            let processes = &self.processes;
            let service = |tgid| processes.resource(tgid).service_name.clone();
            if self.pressure.on_round(taken >= EVENTS_PER_ROUND, waiting, Instant::now(), service) {
                shed(self.guard.as_ref(), &self.pressure, &mut self.connections, &mut self.stages);
            }
            wait = if taken > 0 { WAIT_BUSY } else { (wait * 2).min(WAIT_IDLE) };
            if self.housekeeping.elapsed() > HOUSEKEEPING {
                self.do_housekeeping();
            }
            if stop.load(Ordering::Relaxed) {
                break Ended::Stopped;
            }
            if self.discovery.is_over() {
                break Ended::TargetsGone;
            }
        };
        (ended, self.finish())
    }

    /// Takes events from the ring and carries them through to spans. Gives their number.
    fn round(&mut self) -> usize {
        let Self {
            capture,
            gauges,
            connections,
            discovery,
            stages,
            dns_cache,
            lookups,
            plaintext,
            units,
            harvests,
            ready,
            watched,
            exited,
            wanted,
            recorder,
            lost: known_lost,
            until_ns,
            pauses,
            traffic,
            usage,
            guard,
            pressure,
            ..
        } = self;
        stages.begin_round();
        for change in stages.take_earlier() {
            match change {
                Change::Propagation(propagation) => connections.set_propagation(propagation),
                Change::HealthChecks(rules) => connections.set_health_checks(rules.map(|rules| Arc::new(rules) as _)),
                Change::Sampler(..)
                | Change::Tail(_)
                | Change::Routes(_)
                | Change::Redactor(_)
                | Change::Sdk(_)
                | Change::Select(_)
                | Change::Below(..)
                | Change::Selector(_) => {}
                Change::Limits(limits) => {
                    *guard = Guard::with(guard.take(), limits);
                    shed(guard.as_ref(), pressure, connections, stages);
                }
                Change::Metrics(metrics) => usage.set_readers(metrics.readers),
            }
        }
        let shared = RefCell::new(&mut *stages);
        let shared_units = RefCell::new(&mut *units);
        let mut sink = |connection: &ConnectionInfo, told: Told| {
            if let Told::Opened(Opened { role: Role::Client, thread, .. }) = &told {
                shared_units.borrow_mut().on_calls(thread.tgid);
            }
            shared.borrow_mut().on_event(connection, told);
        };
        pauses.on_look(Instant::now());
        let taken = capture.drain(EVENTS_PER_ROUND, |event| match pauses.on_record(event) {
            // Some hooks are gone by then, and others still tell.
            event if event.moves_after(*until_ns) => {}
            Event::Met(met) => discovery.on_met(&met),
            Event::Open(open) => {
                if discovery.on_open(&open) {
                    let mut units = shared_units.borrow_mut();
                    units.on_watched(open.tgid);
                    if open.connect_ns.is_some() {
                        units.on_calls(open.tgid);
                    }
                    drop(units);
                    harvests.on_watched(open.tgid);
                    if let Some(traffic) = traffic {
                        traffic.on_open(&open);
                    }
                    if let Some(plaintext) = plaintext {
                        plaintext.on_watched(open.tgid);
                    }
                    let client =
                        DnsClient { tgid: open.tgid, started_at_ns: open.started_at_ns, forked_from: open.forked_from };
                    let mut asked = None;
                    let name = |ip| {
                        asked = dns_cache.name(client, ip, open.at_ns);
                        asked.clone()
                    };
                    connections.on_open(&open, name, &mut sink);
                    recorder.write(|| Entry::Open(entry::Open::new(&open, asked.as_deref())));
                }
            }
            // The process may not be evaluated yet: it is by its first connection, before which it asks for names.
            Event::DnsMessage(response) => {
                let DnsMessage { tgid, started_at_ns, at_ns, message, .. } = response;
                if response.direction == Direction::Received {
                    dns_cache.on_response(tgid, started_at_ns, at_ns, message);
                }
                lookups.on_message(&response);
            }
            Event::Data(data) => {
                pressure.on_record(data.thread.tgid, data.head.len() + data.tail.len());
                // The kernel side goes on for a while with a connection that was met before its process was left out. A program that a
                // watched one has started may answer on its connection.
                if discovery.wants(data.thread.tgid) || connections.follows(data.id) {
                    recorder.write(|| Entry::Data(entry::Data::new(&data)));
                    if let Some(traffic) = traffic {
                        traffic.on_data(&data);
                    }
                    match connections.on_data(&data, &mut sink) {
                        Wanted::Pieces => {}
                        other => wanted.push((data.id, other)),
                    }
                }
            }
            Event::Bind(bind) => {
                recorder.write(|| Entry::Bind(entry::Bind::new(&bind)));
                connections.on_bind(&bind);
            }
            Event::Handles(handles) => {
                let Handles { tgid, id, stream, work, begun_ns, asks } = handles;
                let tracer = &mut shared.borrow_mut().tracer;
                if asks {
                    tracer.on_asked(tgid, id, stream, (work, begun_ns));
                } else {
                    tracer.on_handled(tgid, id, stream, (work, begun_ns));
                    shared_units.borrow_mut().on_handled(tgid);
                }
            }
            Event::Active(Active { tgid, tid, number, span }) => {
                if let Some(span) = span {
                    shared.borrow_mut().tracer.on_active(tgid, tid, number, span);
                }
            }
            Event::State(state) => {
                recorder.write(|| Entry::State(entry::State::new(&state)));
                if let Some(traffic) = traffic {
                    traffic.on_state(&state);
                }
                connections.on_state(&state, &mut sink);
            }
            Event::Process(process) => {
                discovery.on_process(&process);
                match process.change {
                    ProcessChange::Fork { parent } => {
                        shared_units.borrow_mut().on_fork(parent, process.tgid);
                        connections.on_fork(parent, process.at_ns);
                    }
                    ProcessChange::Exec | ProcessChange::Exit => {
                        shared_units.borrow_mut().on_gone(process.tgid);
                        harvests.on_gone(process.tgid);
                    }
                    ProcessChange::Starts => {}
                    ProcessChange::Listens => shared_units.borrow_mut().on_listens(process.tgid),
                }
                if matches!(process.change, ProcessChange::Exec | ProcessChange::Starts) {
                    shared_units.borrow_mut().on_starts(process.tgid);
                }
                if process.change == ProcessChange::Exec {
                    shared.borrow_mut().tracer.sdks.on_other_program(process.tgid);
                }
                if let Some(plaintext) = plaintext {
                    match process.change {
                        ProcessChange::Fork { parent } => plaintext.on_fork(parent, process.tgid),
                        ProcessChange::Exec => plaintext.on_exec(process.tgid),
                        ProcessChange::Exit => plaintext.on_exit(process.tgid),
                        ProcessChange::Starts | ProcessChange::Listens => {}
                    }
                }
                if process.change == ProcessChange::Exit {
                    recorder.write(|| Entry::Exit { tgid: process.tgid, at_ns: process.at_ns });
                    connections.on_exit(process.tgid, process.at_ns, &mut sink);
                    dns_cache.on_exit(process.tgid, process.at_ns);
                    exited.push(process.tgid);
                }
            }
        });
        // What was lost behind the records at hand counts too where what they tell of is over.
        let lost = capture.lost();
        if lost > std::mem::replace(known_lost, lost) {
            let at_ns = monotonic_ns();
            recorder.write(|| Entry::Lost { at_ns });
            connections.on_losses(at_ns);
        }
        let now_ns = monotonic_ns();
        if connections.is_waiting() {
            recorder.write(|| Entry::Tick { at_ns: now_ns });
        }
        connections.on_tick(now_ns, &mut sink);
        lookups.tell(now_ns, |tgid| discovery.wants(tgid), connections.output(), &mut sink);
        exited.drain(..).for_each(|tgid| stages.tracer.on_exit(tgid));
        stages.end_round();
        discovery.read_executed();
        let settled = plaintext.as_mut().is_none_or(|plaintext| {
            connections.take_encrypted().for_each(|tgid| plaintext.on_encrypted(tgid));
            let round = plaintext.round(capture);
            if round.completed {
                let at_ns = monotonic_ns();
                recorder.write(|| Entry::TlsProbed { at_ns });
                connections.on_tls_probed(at_ns);
            }
            round.settled
        });
        // Then a connection at rest is known to be.
        let is_settled = settled && units.is_settled() && watched.elapsed() > AT_REST;
        if is_settled && let Some(ready) = ready.take() {
            // Nobody listens any more if that took too long.
            let _unheard = ready.send(());
        }
        units.tell(capture, &mut stages.tracer, |tgid| discovery.would_watch(tgid));
        if let Some(at_ns) = units.take_tls_seen() {
            recorder.write(|| Entry::TlsProbed { at_ns });
            connections.on_tls_probed(at_ns);
        }
        harvests.tell(stages);
        discovery.tell(capture);
        for tgid in discovery.take_resumed() {
            let at_ns = monotonic_ns();
            recorder.write(|| Entry::Resumed { tgid, at_ns });
            connections.on_resumed(tgid, at_ns);
        }
        for (id, wanted) in wanted.drain(..) {
            match wanted {
                Wanted::Pieces => {}
                Wanted::Captured(needed) => capture.capture_connection(id, needed),
                Wanted::Nothing => capture.ignore_connection(id),
            }
        }
        gauges.add_events(taken);
        taken
    }

    fn do_housekeeping(&mut self) {
        self.housekeeping = Instant::now();
        self.stages.telemetry.refresh_clock(Offset::sample());
        if self.swept.elapsed() > SWEEPING {
            self.swept = Instant::now();
            self.discovery.sweep(&mut self.capture);
            self.connections.forget_processes(|tgid| self.processes.is_alive(tgid));
            self.units.sweep(|tgid| self.processes.is_alive(tgid));
            self.harvests.sweep(|tgid| self.processes.is_alive(tgid));
            if let Some(traffic) = &mut self.traffic {
                traffic.sweep(|id| self.connections.follows(id), |tgid| self.processes.is_alive(tgid));
            }
        }
        self.dns_cache.sweep(monotonic_ns());
        self.look_after_unix_sockets();
        self.recorder.hand_over();
        self.connections.gather();
        self.count_open_requests();
        self.count_shed();
        self.capture.settle_losses(false);
        if self.guard.as_mut().and_then(Guard::look).is_some() {
            shed(self.guard.as_ref(), &self.pressure, &mut self.connections, &mut self.stages);
        }
        self.publish();
        self.discovery.do_housekeeping();
    }

    /// Ends connections over unix sockets that are closed, and asks about those that are idle.
    fn look_after_unix_sockets(&mut self) {
        let Self { connections, stages, recorder, unix_sockets: Some(unix_sockets), .. } = self else { return };
        let now_ns = monotonic_ns();
        if let Some(closed) = unix_sockets.answer() {
            stages.begin_round();
            let mut sink = |connection: &ConnectionInfo, told: Told| stages.on_event(connection, told);
            for id in closed.ids {
                let before_ns = closed.before_ns;
                recorder.write(|| Entry::UnixClosed { conn: id, before_ns, at_ns: now_ns });
                connections.on_unix_closed(id, before_ns, now_ns, &mut sink);
            }
            stages.end_round();
        }
        unix_sockets.ask(now_ns, |before_ns| connections.idle_unix_sockets(before_ns));
    }

    /// `http.server.active_requests`: as of this moment, once a second.
    fn count_open_requests(&mut self) {
        for open in self.being_answered.values_mut() {
            *open = 0;
        }
        // Workers of one service are one instance.
        let mut of_instance: HashMap<(usize, bool, Method), (Arc<Resource>, u64)> = HashMap::new();
        let telemetry = &mut self.stages.telemetry;
        self.connections.being_answered(|tgid, is_tls, group, method| {
            if group == Group::Http {
                *self.being_answered.entry((tgid, is_tls, telemetry.method(method))).or_default() += 1;
            }
        });
        self.being_answered.retain(|&(tgid, is_tls, method), open| {
            let resource = self.processes.resource(tgid);
            let key = (Arc::as_ptr(&resource).addr(), is_tls, method);
            of_instance.entry(key).or_insert((resource, 0)).1 += *open;
            *open > 0
        });
        telemetry.begin_round();
        for ((_, is_tls, method), (resource, open)) in of_instance {
            let scheme = if is_tls { Scheme::Https } else { Scheme::Http };
            telemetry.set_active_requests(&resource, scheme, method, open);
        }
        telemetry.end_round();
    }

    /// Which services the records were of that were shed, if there are more than before.
    fn count_shed(&mut self) {
        let all = self.capture.counts().get(Counter::ShedShare);
        if self.shed.is_behind(all) {
            let processes = &self.processes;
            self.shed.take(all, self.capture.shed(), |tgid| processes.resource(tgid).service_name.clone());
        }
    }

    fn publish(&mut self) {
        self.gauges.publish(Snapshot {
            kernel: self.capture.counts(),
            table: self.connections.totals(),
            connections: self.connections.len(),
            processes: self.discovery.watched(),
            tail_dropped: self.stages.tail_dropped(),
            unanswered: self.processes.pool().unanswered(),
            unknown: self.discovery.unknown(),
            pause: self.pauses.longest(),
            kept_share: Some(self.pressure.share()),
            own: self.guard.as_ref().map(|guard| (guard.level(), guard.used())),
        });
        self.pauses.on_second();
        if self.usage.is_wanted() {
            let traffic = self.traffic.get_or_insert_default();
            let watched = self.discovery.all_watched().into_iter();
            let units = &self.units;
            self.usage.publish(watched.map(|tgid| (tgid, traffic.of(tgid), units.statistics(tgid))).collect());
        }
        self.gauges.publish_shed(self.shed.by_service());
        self.gauges.publish_parents(self.stages.telemetry.parents());
    }

    /// Detaches the kernel side, and ends what is open.
    fn finish(mut self) -> Detaching {
        // Nothing is to be attached any more.
        let plaintext = self.plaintext.take();
        self.until_ns = monotonic_ns();
        self.capture.detach();
        for _ in 0..LAST_ROUNDS {
            if self.round() == 0 {
                break;
            }
        }
        let Self { connections, stages, recorder, .. } = &mut self;
        stages.begin_round();
        stages.release_all();
        let now_ns = monotonic_ns();
        recorder.write(|| Entry::Stop { at_ns: now_ns });
        recorder.finish();
        connections.on_stop(now_ns, &mut |connection: &ConnectionInfo, told: Told| stages.on_event(connection, told));
        stages.end_round();
        self.connections.gather();
        self.capture.settle_losses(true);
        self.publish();
        // The kernel takes its time for that.
        let mut capture = self.capture;
        let take_away = move || {
            if let Some(plaintext) = plaintext {
                plaintext.detach(&mut capture);
            }
            drop(capture);
        };
        let thread = thread::Builder::new().name("detach".to_owned()).spawn(take_away);
        if let Err(error) = &thread {
            tracing::debug!(%error, "no thread to take probes away: that was done before what was seen was sent");
        }
        Detaching(thread.ok())
    }
}
