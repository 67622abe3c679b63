//! `run` and `exec`: the pipeline from start to end.

use std::{
    ffi::OsString,
    fmt, io,
    net::SocketAddr,
    path::{Path, PathBuf},
    process::{ExitCode, ExitStatus},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use anyhow::Context;
use rustix::process::Signal;
use tokio::{
    runtime::{Builder, Runtime},
    signal::unix::{self, SignalKind, signal},
    sync::Notify,
};

use super::{
    announce, ask,
    child::Started,
    metadata,
    people::{self, Figures, People},
    permission,
    reload::{self, Reloader},
    remember,
    settings::{self, Settings, SettingsError},
    terminal::Terminal,
};
use crate::{
    capture::{self, Capture, CaptureError},
    cli::Exit,
    config::{Config, Features, Loaded, NameOrigin, Naming},
    conn::Limits,
    export::{Exporters, MetricSource},
    kernel::{capabilities::Capabilities, namespaces},
    model::{
        headers,
        ids::{ProcessId, ThreadId},
    },
    pipeline::{Ended, Gauges, KubernetesCounts, Parts, Pipeline, ProcessSource, ProcessUsage, RedSource},
    procs::{ProcessTable, fs::ProcFs, pod::PodSource},
    recording::recorder::{BYTES_MAX, Recorder},
    sys,
    telemetry::{
        Telemetry,
        clock::{Clock, Offset},
        select::SharedSelect,
        wanted::Reader,
    },
    tls::{self, Attachments, Finding},
    trace::{Tracer, ids::Ids},
};

/// How long the agent waits, before it says that it watches, for the TLS libraries of processes that run already.
const LIBRARIES_AT_START: Duration = Duration::from_secs(6);

/// How much of the time that stopping may take is left for what was seen, and for the probes, where a program goes on.
const FOR_THE_REST: Duration = Duration::from_secs(2);

/// How long it goes on to say that it is not ready when they are still being looked for.
const LIBRARIES_AT_MOST: Duration = Duration::from_secs(30);

/// Watches until a question is answered that is asked of the agent's own address. `otherwise`: what it exits with where it has
/// to stop before.
pub(super) fn until_answered<F: Future<Output = Exit>>(
    config: &Loaded,
    otherwise: Exit,
    answer: impl FnOnce(SocketAddr) -> F,
) -> Exit {
    let pids: Vec<ProcessId> = config.selection().pids.into_iter().map(ProcessId).collect();
    if let Some(pid) = pids.iter().find(|&&pid| !exists(pid)) {
        tracing::error!("--pid {pid}: there is no such process");
        return Exit::Usage;
    }
    match Agent::start(config, None, Targets::Chosen(pids)) {
        Ok(agent) => match agent.exporters.listen_addr() {
            Some(addr) => agent.until_told_to_stop(None, answer(addr), otherwise),
            None => Exit::Failed,
        },
        Err(error) => explain(&error),
    }
}

/// `beyla-rs run`.
pub(super) fn run(config: &Loaded, record: Option<&Path>) -> Exit {
    let pids: Vec<ProcessId> = config.selection().pids.into_iter().map(ProcessId).collect();
    if let Some(pid) = pids.iter().find(|&&pid| !exists(pid)) {
        let near = announce::listening(&ProcFs::new("/proc"))
            .map_or_else(String::new, |near| format!("; what listens is {near}"));
        tracing::error!("--pid {pid}: there is no such process{near}");
        return Exit::Usage;
    }
    if let Some((pid, process)) = pids.iter().find_map(|&pid| Some((pid, process_of_thread(ThreadId(pid.0))?))) {
        tracing::error!("--pid {pid}: that is a thread of process {process}; give --pid {process}");
        return Exit::Usage;
    }
    match Agent::start(config, record, Targets::Chosen(pids)) {
        Ok(agent) => agent.until_told_to_stop(None, std::future::pending(), Exit::Ok),
        Err(error) => explain(&error),
    }
}

/// `beyla-rs exec`. Exits with the program's status; with 128 and the signal's number if a signal ended it. Where the
/// program goes on after it was told to stop, the agent does not wait for it for ever, and exits with [`TIMED_OUT`].
pub(super) fn exec(command: &[OsString], config: &Loaded, record: Option<&Path>) -> ExitCode {
    let mut child = None;
    let agent = Agent::start(config, record, Targets::Started { command, child: &mut child });
    let (agent, mut child) = match (agent, child) {
        (Ok(agent), Some(child)) => (agent, child),
        (Ok(_), None) => return Exit::Failed.into(),
        (Err(error), child) => {
            // What was started to be watched is not left running unwatched.
            if let Some(mut child) = child {
                child.pass_on(Signal::TERM);
            }
            let exit = explain(&error);
            return error.downcast_ref::<NotStarted>().map_or_else(|| exit.into(), NotStarted::status);
        }
    };
    // The program's status says more.
    let _exit = agent.until_told_to_stop(Some(&mut child), std::future::pending(), Exit::Ok);
    match child.status() {
        Ok(Some(status)) => status_of(status),
        Ok(None) => {
            tracing::warn!("process {} goes on, and is not watched any more", child.pid());
            TIMED_OUT.into()
        }
        Err(error) => {
            tracing::error!("cannot learn how the program ended: {error}");
            Exit::Failed.into()
        }
    }
}

/// Exit status of `exec` where its program goes on, which has none yet: that of `timeout`.
const TIMED_OUT: u8 = 124;

/// The file of `--record` cannot be made.
#[derive(Debug, thiserror::Error)]
#[error("--record {}", .file.display())]
struct NoRecording {
    file: PathBuf,
    source: io::Error,
}

/// The program of `exec` does not run.
#[derive(Debug, thiserror::Error)]
#[error("cannot start {}", .program.display())]
struct NotStarted {
    program: OsString,
    source: io::Error,
}

impl NotStarted {
    /// As shells and `env` have it: 127 where there is no such program, 126 where it cannot be run.
    fn status(&self) -> ExitCode {
        ExitCode::from(if self.source.kind() == io::ErrorKind::NotFound { 127 } else { 126 })
    }
}

fn status_of(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn exists(pid: ProcessId) -> bool {
    Path::new("/proc").join(pid.to_string()).exists()
}

/// The process that a number is a thread of, if it is not that of a process.
fn process_of_thread(id: ThreadId) -> Option<ProcessId> {
    let status = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let process: ProcessId = status.lines().find_map(|line| line.strip_prefix("Tgid:"))?.trim().parse().ok()?;
    (process.0 != id.0).then_some(process)
}

/// Logs why the agent could not start, and gives the exit status for it.
fn explain(error: &anyhow::Error) -> Exit {
    tracing::error!("{error:#}");
    match error.downcast_ref::<CaptureError>() {
        Some(CaptureError::NotPermitted { .. }) => Exit::NotPermitted,
        _ if error.is::<SettingsError>() || error.is::<NoRecording>() => Exit::Usage,
        _ => Exit::Failed,
    }
}

/// What is watched.
enum Targets<'a> {
    /// Processes that run already; none: whatever the configuration's selection says.
    Chosen(Vec<ProcessId>),
    /// A program that is yet to be started.
    Started { command: &'a [OsString], child: &'a mut Option<Started> },
}

struct Agent {
    runtime: Runtime,
    signals: Signals,
    exporters: Exporters,
    pipeline: Pipeline,
    ended: mpsc::Receiver<Ended>,
    hung_up: Arc<Notify>,
    /// Where spans are shown at a terminal.
    people: Option<People>,
    /// How long it runs, if not until it is told to stop.
    duration: Option<Duration>,
    /// How long stopping may take.
    shutdown_timeout: Duration,
}

impl Agent {
    fn start(config: &Loaded, record: Option<&Path>, targets: Targets<'_>) -> anyhow::Result<Self> {
        let started = Instant::now();
        // Before a program is started for nothing.
        let recorder = record.map_or_else(|| Ok(Recorder::default()), start_recording)?;
        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("export")
            .enable_all()
            .build()
            .context("cannot start the asynchronous runtime")?;
        let terminal = Terminal::at_start();
        // Before a program is started: a signal that ends the agent alone would leave it behind.
        let (signals, hangups) = runtime
            .block_on(async { io::Result::Ok((Signals::new()?, reload::hangups()?)) })
            .context("cannot wait for signals")?;
        let is_open =
            matches!(&targets, Targets::Chosen(pids) if pids.is_empty() || !config.selection().criteria.is_empty());
        let mut settings = Settings::of(config)?;
        namespaces::same_numbers(&settings.processes.proc_root)?;
        let has_people = people::are_watching(config);
        // Their summary is made of what the store is given.
        settings.telemetry.metrics.readers.has_store |= has_people;
        headers::set(config.header_rules());
        let mut process_settings = settings.processes;
        let mut capture = Capture::start(&capture::Options { watch_all: is_open, ..settings.capture })?;
        for refusal in capture.refused() {
            tracing::info!("backend {refusal}");
        }
        if let Some(missing) = permission::unseen(config, Capabilities::of_this_process()) {
            tracing::warn!("{missing}");
        }
        let own = ProcessId(std::process::id());
        let proc = ProcFs::new(&process_settings.proc_root);
        let mut attachments = Attachments::default();
        if matches!(targets, Targets::Started { .. }) || config.selection().is_everything() {
            // What is not there yet may live a moment only. The libraries are those of the host, as far as it can be seen.
            let of = if is_open { ProcessId(1) } else { own };
            attachments.on_finding(&Finding { tgid: own, ..tls::installed(&proc, of) });
            attachments.proceed(&mut capture, LIBRARIES_AT_START);
        }
        let targets = match targets {
            Targets::Chosen(pids) => {
                watch_with_children(&mut capture, &proc, &pids)?;
                if is_open { Vec::new() } else { pids }
            }
            Targets::Started { command, child } => vec![start_watched(&mut capture, command, child)?],
        };
        capture.ignore(own)?;

        let kubernetes = metadata::kubernetes(&settings.metadata, &runtime);
        if let Some(kubernetes) = &kubernetes {
            let longest = settings.metadata.sync_timeout;
            process_settings.exit_grace = process_settings.exit_grace.max(longest + Duration::from_secs(1));
            process_settings.pods = Some(Arc::clone(kubernetes) as Arc<dyn PodSource>);
        }
        let metadata = kubernetes.as_ref().map(|kubernetes| metadata::readiness(&settings.metadata, kubernetes));
        let processes = Arc::new(ProcessTable::new(process_settings));
        metadata::ask_cloud(&runtime, &processes);
        let ids = Ids::from_os().context("cannot get random numbers for trace ids")?;
        let mut tracer = Tracer::new(ids, settings.sampler.clone());
        tracer.set_sampler(settings.sampler, settings.has_several_samplers);
        let readers = settings.telemetry.metrics.readers;
        let select = SharedSelect::new(settings.telemetry.red.select.clone());
        for doubt in select.get().doubts() {
            tracing::warn!("{doubt}");
        }
        let mut telemetry = Telemetry::new(settings.telemetry, Clock::new(Offset::sample()));
        if let Some(kubernetes) = kubernetes.as_ref().filter(|_| settings.metadata.names.contains(&NameOrigin::K8s)) {
            telemetry.set_peers(Arc::clone(kubernetes) as _);
        }
        telemetry.set_names(metadata::names(&settings.metadata, &processes)?);
        let red = telemetry.metrics();
        let (change, changes) = mpsc::channel();
        let table = Arc::clone(&processes);
        let hung_up = Arc::new(Notify::new());
        let agent = settings::agent_resource(&processes);
        let cluster = kubernetes.clone().map(|it| Box::new(move || it.counts()) as KubernetesCounts);
        let gauges = Arc::new(Gauges::new(red.clone(), Arc::clone(&agent), capture.backend().name(), cluster));
        let of_requests = |reader| {
            Arc::new(RedSource {
                metrics: red.clone(),
                naming: settings.naming,
                reader,
                select: select.clone(),
                of_resource: if reader == Reader::Prometheus { settings.of_shown_resource.clone() } else { Vec::new() },
            }) as Arc<dyn MetricSource>
        };
        let mut sources: Vec<Arc<dyn MetricSource>> = Reader::ALL.map(of_requests).to_vec();
        sources.push(Arc::clone(&gauges) as _);
        let of_rules =
            config.discovery.instrument.iter().filter_map(|entry| entry.metrics.as_ref()?.features.as_deref());
        let of_rules = of_rules.fold(Features::default(), |all, features| all.with(Features::of(features)));
        let usage = ProcessUsage::start(Arc::clone(&processes), settings.process_interval, readers, of_rules);
        sources
            .extend(Reader::ALL.map(|reader| Arc::new(ProcessSource(Arc::clone(&usage), reader, select.clone())) as _));
        let remembered = settings
            .store
            .as_ref()
            .map(|store| remember::start(store, &settings.export, &runtime, &processes, red.clone()));
        let remembered = remembered.transpose()?.flatten();
        let has_page = remembered.is_some();
        let exporters = Exporters::start(&settings.export, runtime.handle(), sources, agent, remembered)?;
        let reloader =
            Reloader::new(config.clone(), change, terminal, Arc::clone(&hung_up), exporters.receivers(), select);
        let figures = has_people.then(|| Figures {
            requests: Arc::new(RedSource {
                metrics: red.clone(),
                naming: Naming::Semconv,
                reader: Reader::Store,
                select: SharedSelect::default(),
                of_resource: Vec::new(),
            }),
            itself: Arc::clone(&gauges) as _,
            sink: exporters.sink(),
            processes: Arc::clone(&processes),
        });
        let backend = capture.backend();
        let chosen = targets.clone();
        let (tell, ended) = mpsc::channel();
        let (tell_ready, ready) = mpsc::channel();
        let parts = Parts {
            capture,
            targets,
            processes,
            tracer,
            telemetry,
            changes,
            gauges,
            sink: exporters.sink(),
            limits: Limits::default(),
            propagation: settings.propagation,
            health_checks: settings.health_checks,
            tail: settings.tail,
            disabled_harvesters: settings.disabled_harvesters,
            usage,
            attachments,
            metadata,
            recorder,
            own_limits: settings.limits,
        };
        let pipeline = Pipeline::start(parts, tell_ready, tell).context("cannot start a thread")?;
        runtime.spawn(reloader.run(hangups));
        let is_ready = ready.recv_timeout(LIBRARIES_AT_START).is_ok();
        sys::give_back_freed_memory();
        if !is_ready {
            tracing::info!("TLS libraries of processes that run already are still being looked for");
            let set_ready = exporters.ready_later();
            // It ends with the pipeline, if not before.
            std::thread::spawn(move || {
                if ready.recv_timeout(LIBRARIES_AT_MOST) != Err(mpsc::RecvTimeoutError::Disconnected) {
                    set_ready();
                }
            });
        } else {
            exporters.set_ready(true);
        }
        let path = &settings.export.prometheus.path;
        let scheme = if settings.export.listen_tls.certificate.is_some() { "https" } else { "http" };
        let pages: Vec<String> = exporters.listen_addrs().map(|addr| format!("{scheme}://{addr}{path}")).collect();
        let metrics = if pages.is_empty() { String::new() } else { format!("; metrics {}", pages.join(" and ")) };
        let page = exporters.listen_addr().filter(|_| has_page).map(ask::reachable);
        let page = page.map_or_else(String::new, |addr| format!("; look at {scheme}://{addr}/"));
        let sends = !(settings.export.traces.is_empty() && settings.export.metrics.is_empty());
        let hint = match (sends, config.sdk_disabled) {
            (true, _) => "",
            (false, true) => "; OTEL_SDK_DISABLED is true, so nothing is sent",
            (false, false) => "; no OTLP endpoint is set, so nothing is sent: give --endpoint URL",
        };
        let rest =
            format!("(backend {backend}, ready after {} ms){page}{metrics}{hint}", started.elapsed().as_millis());
        announce::watching(table, chosen, Config::clone(config), rest);
        let people = figures.map(People::at_terminal);
        let Settings { duration, shutdown_timeout, .. } = settings;
        Ok(Self { runtime, signals, exporters, pipeline, ended, hung_up, people, duration, shutdown_timeout })
    }

    /// Runs until a signal, the end of `--duration`, the end of all targets, or until what is done meanwhile is; then detaches and
    /// flushes. A program that was started is watched while it stops. `otherwise`: the exit status where it was not done.
    fn until_told_to_stop(
        self,
        mut child: Option<&mut Started>,
        done: impl Future<Output = Exit>,
        otherwise: Exit,
    ) -> Exit {
        let Self { runtime, mut signals, exporters, pipeline, ended, hung_up, people, duration, shutdown_timeout } =
            self;
        let gone = Arc::new(Notify::new());
        let notify = Arc::clone(&gone);
        // The channel is the pipeline's, which knows nothing of the runtime.
        let waiter = std::thread::spawn(move || {
            let outcome = ended.recv();
            notify.notify_one();
            outcome
        });
        let why = runtime.block_on(async {
            tokio::select! {
                why = signals.wait_for_end(duration, &gone) => why,
                () = hung_up.notified() => StopReason::HungUp,
                () = exporters.reader_gone() => StopReason::ReaderGone,
                exit = done => StopReason::Done(exit),
            }
        });
        tracing::info!("stopping: {why}");
        let deadline = tokio::time::Instant::now() + shutdown_timeout;
        if let (Some(child), Some(signal)) = (&mut child, why.signal()) {
            child.pass_on(signal);
            let until = deadline - FOR_THE_REST.min(shutdown_timeout / 4);
            runtime.block_on(signals.outlast(child, Some(until), shutdown_timeout));
        }
        let detaching = pipeline.stop();
        let panicked = waiter.join().map_or(true, |outcome| outcome.is_err());
        runtime.block_on(exporters.shutdown(deadline));
        if let Some(people) = people {
            people.say_goodbye();
        }
        if let (Some(child), None) = (&mut child, why.signal()) {
            runtime.block_on(signals.outlast(child, None, shutdown_timeout));
        }
        runtime.shutdown_timeout(Duration::from_millis(100));
        detaching.wait();
        match why {
            _ if panicked => Exit::Failed,
            StopReason::Done(exit) => exit,
            _ => otherwise,
        }
    }
}

/// Why the agent stops.
#[derive(Clone, Copy)]
enum StopReason {
    Signal(Signal),
    TimeIsOver,
    AllGone,
    /// The terminal was closed.
    HungUp,
    /// Spans are printed for nobody, and sent nowhere.
    ReaderGone,
    /// What it was started for is done.
    Done(Exit),
}

impl StopReason {
    /// What a program that was started is told.
    const fn signal(self) -> Option<Signal> {
        match self {
            Self::Signal(signal) => Some(signal),
            Self::HungUp => Some(Signal::HUP),
            Self::TimeIsOver | Self::AllGone | Self::ReaderGone | Self::Done(_) => None,
        }
    }
}

impl fmt::Display for StopReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Signal(Signal::INT) => "SIGINT",
            Self::Signal(_) => "SIGTERM",
            Self::TimeIsOver => "the time is over",
            Self::AllGone => "nothing is left to watch",
            Self::HungUp => "the terminal was closed",
            Self::ReaderGone => "nobody reads standard output any more",
            Self::Done(_) => "what it was started for is done",
        })
    }
}

/// The signals that stop the agent.
struct Signals {
    terminate: unix::Signal,
    interrupt: unix::Signal,
    /// A child has ended.
    children: unix::Signal,
}

impl Signals {
    /// Needs the runtime.
    fn new() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
            children: signal(SignalKind::child())?,
        })
    }

    async fn wait_for_end(&mut self, duration: Option<Duration>, gone: &Notify) -> StopReason {
        let over = async {
            match duration {
                Some(duration) => tokio::time::sleep(duration).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            signal = next(&mut self.terminate, &mut self.interrupt) => StopReason::Signal(signal),
            () = over => StopReason::TimeIsOver,
            () = gone.notified() => StopReason::AllGone,
        }
    }

    /// Waits for the end of a program, for ever or no longer than `until`. Signals are passed on; after the first,
    /// `after_signal` is the limit.
    async fn outlast(&mut self, child: &mut Started, mut until: Option<tokio::time::Instant>, after_signal: Duration) {
        while child.runs() {
            let over = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                _ = self.children.recv() => {}
                signal = next(&mut self.terminate, &mut self.interrupt) => {
                    child.pass_on(signal);
                    until = until.or_else(|| Some(tokio::time::Instant::now() + after_signal));
                }
                () = over => return,
            }
        }
    }
}

async fn next(terminate: &mut unix::Signal, interrupt: &mut unix::Signal) -> Signal {
    tokio::select! {
        _ = terminate.recv() => Signal::TERM,
        _ = interrupt.recv() => Signal::INT,
    }
}

fn start_recording(file: &Path) -> anyhow::Result<Recorder> {
    let recorder = Recorder::create(file).map_err(|source| NoRecording { file: file.to_owned(), source })?;
    tracing::warn!(
        "what the watched processes send and receive in the clear is written to {}, secrets too, up to {} MiB: look it \
         through before you pass it on",
        file.display(),
        BYTES_MAX >> 20
    );
    Ok(recorder)
}

/// Watches processes and all their living descendants. Children started meanwhile inherit it in the kernel, so
/// looking until nothing new is found misses none.
fn watch_with_children(capture: &mut Capture, proc: &ProcFs, pids: &[ProcessId]) -> anyhow::Result<()> {
    if pids.is_empty() {
        return Ok(());
    }
    let mut family: std::collections::HashSet<ProcessId> = pids.iter().copied().collect();
    for &pid in pids {
        capture.watch(pid)?;
    }
    loop {
        let before = family.len();
        for pid in proc.pids() {
            if !family.contains(&pid) && proc.stat(pid).is_some_and(|stat| family.contains(&stat.parent)) {
                capture.watch(pid)?;
                family.insert(pid);
            }
        }
        if family.len() == before {
            return Ok(());
        }
    }
}

/// Starts a program that is watched from its first instruction on: it inherits that from this process, which is watched
/// just for the moment.
fn start_watched(
    capture: &mut Capture,
    command: &[OsString],
    child: &mut Option<Started>,
) -> anyhow::Result<ProcessId> {
    let (program, arguments) = command.split_first().context("exec: no command is given")?;
    let own = ProcessId(std::process::id());
    capture.watch(own)?;
    let started = std::process::Command::new(program).args(arguments).spawn();
    capture.forget(own);
    let started = started.map_err(|source| NotStarted { program: program.clone(), source })?;
    let started = Started::new(started);
    let pid = started.pid();
    *child = Some(started);
    Ok(pid)
}
