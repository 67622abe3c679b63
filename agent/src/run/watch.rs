//! `run` and `exec`: the pipeline from start to end.

use std::{
    ffi::OsString,
    process::{Child, ExitCode, ExitStatus},
    sync::{Arc, mpsc},
    time::{Duration, Instant},
};

use anyhow::Context;
use tokio::runtime::{Builder, Runtime};

use super::{
    metadata,
    reload::{self, Reloader},
    settings::{self, SettingsError},
};
use crate::{
    capture::{Capture, CaptureError},
    cli::Exit,
    config::{Config, Loaded},
    conn::Limits,
    export::{Exporters, MetricSource},
    pipeline::{Ended, Gauges, Parts, Pipeline, RedSource, Shared},
    procs::{ProcessTable, fs::ProcFs, pod::PodSource},
    telemetry::{
        Telemetry,
        clock::{Clock, Offset},
        ids::Ids,
    },
};

/// `beyla-rs run`.
pub(super) fn run(config: &Loaded) -> Exit {
    let pids = config.selection().pids;
    if let Some(pid) = pids.iter().find(|&&pid| !exists(pid)) {
        tracing::error!("--pid {pid}: there is no such process");
        return Exit::Usage;
    }
    match Agent::start(config, Targets::Chosen(pids)) {
        Ok(agent) => agent.until_told_to_stop(config),
        Err(error) => explain(&error),
    }
}

/// `beyla-rs exec`. Exits with the program's status; with 128 and the signal's number if a signal ended it.
pub(super) fn exec(command: &[OsString], config: &Loaded) -> ExitCode {
    let mut child = None;
    let agent = Agent::start(config, Targets::Started { command, child: &mut child });
    let (agent, mut child) = match (agent, child) {
        (Ok(agent), Some(child)) => (agent, child),
        (Ok(_), None) => return Exit::Failed.into(),
        (Err(error), _) => return explain(&error).into(),
    };
    agent.until_told_to_stop(config);
    match child.wait() {
        Ok(status) => status_of(status),
        Err(error) => {
            tracing::error!("cannot learn how the program ended: {error}");
            Exit::Failed.into()
        }
    }
}

fn status_of(status: ExitStatus) -> ExitCode {
    use std::os::unix::process::ExitStatusExt;
    let code = status.code().or_else(|| status.signal().map(|signal| 128 + signal)).unwrap_or(1);
    ExitCode::from(u8::try_from(code).unwrap_or(1))
}

fn exists(pid: u32) -> bool {
    std::path::Path::new("/proc").join(pid.to_string()).exists()
}

/// Logs why the agent could not start, and gives the exit status for it.
fn explain(error: &anyhow::Error) -> Exit {
    tracing::error!("{error:#}");
    match error.downcast_ref::<CaptureError>() {
        Some(CaptureError::NotPermitted { .. }) => Exit::NotPermitted,
        _ if error.downcast_ref::<SettingsError>().is_some() => Exit::Usage,
        _ => Exit::Failed,
    }
}

/// What is watched.
enum Targets<'a> {
    /// Processes that run already; none: whatever the configuration's selection says.
    Chosen(Vec<u32>),
    /// A program that is yet to be started.
    Started { command: &'a [OsString], child: &'a mut Option<Child> },
}

struct Agent {
    runtime: Runtime,
    exporters: Exporters,
    pipeline: Pipeline,
    ended: mpsc::Receiver<Ended>,
}

impl Agent {
    fn start(config: &Loaded, targets: Targets<'_>) -> anyhow::Result<Self> {
        let started = Instant::now();
        let is_open =
            matches!(&targets, Targets::Chosen(pids) if pids.is_empty() || !config.selection().criteria.is_empty());
        let export = settings::export(config)?;
        let mut process_settings = settings::processes(config)?;
        let mut capture = Capture::start(&settings::capture(config, is_open)?)?;
        for refusal in capture.refused() {
            tracing::info!("backend {refusal}");
        }
        let own = std::process::id();
        let targets = match targets {
            Targets::Chosen(pids) => {
                watch_with_children(&mut capture, &ProcFs::new(&process_settings.proc_root), &pids)?;
                if is_open { Vec::new() } else { pids }
            }
            Targets::Started { command, child } => vec![start_watched(&mut capture, command, child)?],
        };
        capture.ignore(own)?;

        let runtime = Builder::new_multi_thread()
            .worker_threads(2)
            .thread_name("export")
            .enable_all()
            .build()
            .context("cannot start the asynchronous runtime")?;
        let hangups = runtime.block_on(async { reload::hangups() }).context("cannot wait for SIGHUP")?;
        let kubernetes = metadata::kubernetes(config, &runtime);
        if let Some(kubernetes) = &kubernetes {
            let longest = config.attributes.kubernetes.informers_sync_timeout.0;
            process_settings.exit_grace = process_settings.exit_grace.max(longest + Duration::from_secs(1));
            process_settings.pods = Some(Arc::clone(kubernetes) as Arc<dyn PodSource>);
        }
        let metadata = kubernetes.as_ref().map(|kubernetes| metadata::readiness(config, kubernetes));
        let processes = Arc::new(ProcessTable::new(process_settings));
        metadata::ask_cloud(&runtime, &processes);
        let ids = Ids::from_os().context("cannot get random numbers for trace ids")?;
        let mut telemetry = Telemetry::new(settings::telemetry(config), Clock::new(Offset::sample()), ids);
        if let Some(kubernetes) = &kubernetes {
            telemetry.set_peers(Arc::clone(kubernetes) as _);
        }
        let telemetry = Arc::new(Shared::new(telemetry));
        let reloader = Reloader::new(config.clone(), Arc::clone(&processes), Arc::clone(&telemetry));
        let agent = settings::agent_resource(&processes);
        let gauges = Arc::new(Gauges::new(Arc::clone(&telemetry), Arc::clone(&agent), capture.backend().name()));
        let sources: Vec<Arc<dyn MetricSource>> =
            vec![Arc::new(RedSource(Arc::clone(&telemetry))), Arc::clone(&gauges) as _];
        let exporters = Exporters::start(&export, runtime.handle(), sources, agent)?;
        let backend = capture.backend();
        let watching = if is_open { "all processes that are not left out".to_owned() } else { describe(&targets) };
        let (tell, ended) = mpsc::channel();
        let parts = Parts {
            capture,
            targets,
            processes,
            telemetry,
            gauges,
            sink: exporters.sink(),
            limits: Limits::default(),
            metadata,
        };
        let pipeline = Pipeline::start(parts, tell).context("cannot start a thread")?;
        runtime.spawn(reloader.run(hangups));
        exporters.set_ready(true);
        tracing::info!(
            "watching {watching} (backend {backend}, ready after {} ms){}",
            started.elapsed().as_millis(),
            if config.otlp_traces().is_none() && config.otlp_metrics().is_none() {
                "; no OTLP endpoint is set, so nothing is sent: give --endpoint URL"
            } else {
                ""
            }
        );
        Ok(Self { runtime, exporters, pipeline, ended })
    }

    /// Runs until a signal, the end of `--duration`, or the end of all targets; then detaches and flushes.
    fn until_told_to_stop(self, config: &Config) -> Exit {
        let Self { runtime, exporters, pipeline, ended } = self;
        let gone = Arc::new(tokio::sync::Notify::new());
        let notify = Arc::clone(&gone);
        // The channel is the pipeline's, which knows nothing of the runtime.
        let waiter = std::thread::spawn(move || {
            let outcome = ended.recv();
            notify.notify_one();
            outcome
        });
        let why = runtime.block_on(wait_for_end(config.duration.as_ref().map(|period| period.0), &gone));
        match why {
            Ok(why) => tracing::info!("stopping: {why}"),
            Err(error) => tracing::error!("stopping: cannot wait for signals: {error}"),
        }
        pipeline.stop();
        let panicked = waiter.join().map_or(true, |outcome| outcome.is_err());
        runtime.block_on(exporters.shutdown(config.shutdown_timeout.0));
        runtime.shutdown_timeout(Duration::from_millis(100));
        if panicked { Exit::Failed } else { Exit::Ok }
    }
}

async fn wait_for_end(duration: Option<Duration>, gone: &tokio::sync::Notify) -> std::io::Result<&'static str> {
    use tokio::signal::unix::{SignalKind, signal};
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    let over = async {
        match duration {
            Some(duration) => tokio::time::sleep(duration).await,
            None => std::future::pending().await,
        }
    };
    Ok(tokio::select! {
        _ = terminate.recv() => "SIGTERM",
        _ = interrupt.recv() => "SIGINT",
        () = over => "the time is over",
        () = gone.notified() => "nothing is left to watch",
    })
}

fn describe(targets: &[u32]) -> String {
    let list: Vec<String> = targets.iter().map(u32::to_string).collect();
    format!("process {} and children", list.join(", "))
}

/// Watches processes and all their living descendants. Children started meanwhile inherit it in the kernel, so
/// looking until nothing new is found misses none.
fn watch_with_children(capture: &mut Capture, proc: &ProcFs, pids: &[u32]) -> anyhow::Result<()> {
    if pids.is_empty() {
        return Ok(());
    }
    let mut family: std::collections::HashSet<u32> = pids.iter().copied().collect();
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
fn start_watched(capture: &mut Capture, command: &[OsString], child: &mut Option<Child>) -> anyhow::Result<u32> {
    let (program, arguments) = command.split_first().context("exec: no command is given")?;
    let own = std::process::id();
    capture.watch(own)?;
    let started = std::process::Command::new(program).args(arguments).spawn();
    capture.forget(own);
    let started = started.with_context(|| format!("cannot start {}", program.display()))?;
    let pid = started.id();
    *child = Some(started);
    Ok(pid)
}
