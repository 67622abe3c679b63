//! The commands: each puts together what it needs of the configuration and the stages.

mod announce;
mod ask;
mod check;
mod child;
mod config_check;
mod json_lines;
mod log;
mod metadata;
mod people;
mod permission;
mod reload;
mod remember;
mod selection;
mod settings;
mod survey;
mod terminal;
mod watch;

use std::{io::Write, process::ExitCode, sync::OnceLock, time::Duration};

use tracing_subscriber::{
    Registry,
    filter::{LevelFilter, Targets},
    fmt,
    layer::{Layer as _, SubscriberExt as _},
    reload::{self as reload_filter, Handle},
    util::SubscriberInitExt as _,
};

pub use self::settings::{SettingsError, export as export_settings};
use self::{json_lines::JsonLines, log::Log};
use crate::{
    cli::{Command, Exit},
    config::{Loaded, LogConfig, LogFormat, LogLevel},
    sys,
    terminal::Paint,
};

/// How long the last lines of the log may take.
const LAST_LINES: Duration = Duration::from_secs(1);

/// Carries out a command.
#[must_use]
pub fn run(command: Command) -> ExitCode {
    sys::map_large_buffers();
    match command {
        Command::Print(text) => print(&text).into(),
        Command::ConfigCheck { file, config, is_strict } => config_check::check(&file, &config, is_strict).into(),
        Command::Run { config, record } => logged(&config, || watch::run(&config, record.as_deref()).into()),
        Command::Exec { command, config, record } => {
            logged(&config, || watch::exec(&command, &config, record.as_deref()))
        }
        Command::Ask { question, whom, config } => {
            let config = ask::quieter(&question, &config);
            logged(&config, || ask::ask(&question, &whom, &config).into())
        }
        Command::Check { json, config } => logged(&config, || check::check(json).into()),
        Command::Survey { json, config } => logged(&config, || survey::survey(json, &config).into()),
    }
}

/// Carries out a command that logs.
fn logged(config: &Loaded, carry_out: impl FnOnce() -> ExitCode) -> ExitCode {
    let log = start_log(config);
    let exit = carry_out();
    log.flush(LAST_LINES);
    exit
}

/// Writes an answer to standard output.
fn print(text: &str) -> Exit {
    match std::io::stdout().write_all(text.as_bytes()) {
        Ok(()) => Exit::Ok,
        // `beyla-rs survey | head` is no failure.
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Ok,
        Err(_) => Exit::Failed,
    }
}

/// Which lines there are.
fn log_filter(level: LogLevel) -> Targets {
    let level = match level {
        LogLevel::Off => LevelFilter::OFF,
        LogLevel::Error => LevelFilter::ERROR,
        LogLevel::Warn => LevelFilter::WARN,
        LogLevel::Info => LevelFilter::INFO,
        LogLevel::Debug => LevelFilter::DEBUG,
        LogLevel::Trace => LevelFilter::TRACE,
    };
    // Libraries speak only when something is wrong with them, unless everything is asked for.
    let libraries = if level > LevelFilter::DEBUG { level } else { level.min(LevelFilter::WARN) };
    // This one calls it an error when the API server is away; what that means here is said here.
    let kube = if libraries > LevelFilter::WARN { libraries } else { LevelFilter::OFF };
    Targets::new().with_default(libraries).with_target("kube_client", kube).with_target("beyla_rs", level)
}

/// What changes which lines there are; none where a test has set up the log.
static LOG_FILTER: OnceLock<Handle<Targets, Registry>> = OnceLock::new();

/// Another level from now on.
fn set_log_level(level: LogLevel) {
    let set = LOG_FILTER.get().map_or(Ok(()), |filter| filter.reload(log_filter(level)));
    if let Err(error) = set {
        tracing::warn!("log_level: {error}; it takes effect at the next start");
    }
}

/// Logs go to standard error; standard output is for spans and answers.
fn start_log(config: &Loaded) -> Log {
    let (filter, handle) = reload_filter::Layer::new(log_filter(config.log_level));
    let log = Log::start(std::io::stderr());
    let writer = log.clone();
    let lines = fmt::layer().with_writer(move || writer.clone()).log_internal_errors(false);
    let set_up = match config.log_format {
        LogFormat::Text => {
            let lines = lines.with_ansi(Paint::for_stderr().has_colour).with_target(false);
            tracing_subscriber::registry().with(lines.with_filter(filter)).try_init()
        }
        LogFormat::Json => {
            let lines = lines.with_ansi(false).event_format(JsonLines);
            tracing_subscriber::registry().with(lines.with_filter(filter)).try_init()
        }
    };
    if set_up.is_err() {
        // A test has set one up already.
        return log;
    }
    let _is_the_first = LOG_FILTER.set(handle).is_ok();
    match config.log_config {
        LogConfig::Off => {}
        LogConfig::Yaml => tracing::info!("configuration:\n{}", config.show()),
        LogConfig::Json => tracing::info!("configuration: {}", config.show_json()),
    }
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
    log
}
