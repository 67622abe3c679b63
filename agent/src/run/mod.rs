//! The commands: each puts together what it needs of the configuration and the stages.

mod announce;
mod check;
mod child;
mod metadata;
mod permission;
mod reload;
mod selection;
mod settings;
mod watch;

use std::{
    io::{IsTerminal, Write},
    process::ExitCode,
};

use tracing_subscriber::{EnvFilter, filter::LevelFilter};

pub use self::settings::{SettingsError, export as export_settings};
use crate::{
    cli::{Command, Exit},
    config::{Loaded, LogLevel},
};

/// Carries out a command.
#[must_use]
pub fn run(command: Command) -> ExitCode {
    match command {
        Command::Print(text) => print(&text).into(),
        Command::Run(config) => {
            start_log(&config);
            watch::run(&config).into()
        }
        Command::Exec { command, config } => {
            start_log(&config);
            watch::exec(&command, &config)
        }
        Command::Check { json, config } => {
            start_log(&config);
            check::check(json).into()
        }
        Command::Survey { json, config } => {
            start_log(&config);
            selection::survey(json, &config).into()
        }
    }
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

/// Logs go to standard error; standard output is for spans and answers.
fn start_log(config: &Loaded) {
    let level = match config.log_level {
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
    let filter = EnvFilter::new(format!("{libraries},kube_client={kube},beyla_rs={level}"));
    let logger = tracing_subscriber::fmt()
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .with_env_filter(filter);
    if logger.try_init().is_err() {
        // A test has set one up already.
        return;
    }
    for warning in &config.warnings {
        tracing::warn!("{warning}");
    }
}
