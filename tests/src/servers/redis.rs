//! Redis.

use std::{collections::BTreeMap, process::Command};

use super::done;
use crate::{
    LONG, need,
    program::{Program, folder, free_port},
    receiver::ReceivedSpan,
};

/// How often each command was called.
pub type Calls = BTreeMap<String, u64>;

/// A server.
pub struct Server {
    /// Itself.
    pub program: Program,
    /// Where it listens.
    pub port: u16,
    _files: tempfile::TempDir,
}

impl Server {
    /// Starts it with further arguments.
    ///
    /// # Panics
    /// If it does not start.
    #[must_use]
    pub fn start(arguments: &[&str]) -> Self {
        let (files, port) = (folder(), free_port());
        let mut command = Command::new(need::program("redis-server"));
        command.current_dir(files.path()).args(["--save", "", "--appendonly", "no", "--daemonize", "no"]);
        command.args(["--bind", "127.0.0.1", "--port", &port.to_string()]).args(arguments);
        let program = Program::start(&mut command);
        let is_ready = |lines: &[String]| lines.iter().any(|line| line.contains("Ready to accept")).then_some(());
        let ready = program.stdout.until(LONG, is_ready);
        assert!(ready.is_some(), "the server does not start: {:#?}", program.stdout.so_far());
        Self { program, port, _files: files }
    }

    /// What it answers.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn ask(&self, words: &[&str]) -> String {
        let mut command = Command::new(need::program("redis-cli"));
        done(command.args(["-p", &self.port.to_string()]).args(words))
    }

    /// It counts from now on.
    pub fn forget(&self) {
        let _said = self.ask(&["CONFIG", "RESETSTAT"]);
    }

    /// What it has counted since, without these questions.
    #[must_use]
    pub fn calls(&self) -> Calls {
        let counted = self.ask(&["INFO", "commandstats"]);
        let call = |line: &str| {
            let (name, figures) = line.trim().strip_prefix("cmdstat_")?.split_once(':')?;
            let calls = figures.strip_prefix("calls=")?.split(',').next()?.parse().ok()?;
            Some((name.replace('|', " ").to_uppercase(), calls))
        };
        counted.lines().filter_map(call).filter(|(name, _)| name != "CONFIG RESETSTAT").collect()
    }
}

/// The same by what was told.
#[must_use]
pub fn told<'a>(spans: impl IntoIterator<Item = &'a ReceivedSpan>) -> Calls {
    let mut calls = Calls::new();
    for span in spans {
        let name = span.attributes.get("db.operation.name").and_then(|name| name.as_str()).unwrap_or_default();
        *calls.entry(name.to_owned()).or_default() += 1;
    }
    calls
}
