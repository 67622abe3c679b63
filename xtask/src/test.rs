//! `cargo xtask test`: lint, the unit tests, and the end-to-end tests against the release binary.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use crate::{fuzz, lint, torture, validate};
use xtask::shell::{self, NotPermitted};
use xtask::{build, setup};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only tests whose name contains this (and no lint)
    filter: Option<String>,
    /// Leave out formatting, clippy and the repository's own rules
    #[arg(long)]
    no_lint: bool,
    /// Only what needs neither root nor the agent: unit tests
    #[arg(long, conflicts_with = "e2e")]
    unit: bool,
    /// Only the end-to-end tests
    #[arg(long)]
    e2e: bool,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let started = Instant::now();
    if args.unit { setup::ensure() } else { setup::ensure_for_tests() }?;
    let lints = !args.no_lint && args.filter.is_none();
    if lints {
        setup::ensure_for_lint()?;
        lint::all()?;
    }
    let mut tally = Tally::default();
    let mut parts = Parts { since: started, done: Vec::new() };
    parts.done(if lints { "set-up and lint" } else { "no lint" });
    if !args.e2e {
        shell::say("unit tests");
        let mut command = shell::cargo();
        // As a workspace both times: for a package by itself cargo would choose other features of what it depends on, and
        // build half of that again.
        command.args([
            "test",
            "--workspace",
            "--lib",
            "--bin",
            "xtask",
            "--bin",
            "xtask-bench",
            "--bin",
            "xtask-kernels",
            "--bin",
            "xtask-kube",
            "--bin",
            "xtask-parents",
            "--bin",
            "torture",
            "--bin",
            "beyla-rs",
            "--no-fail-fast",
        ]);
        tally.run(command.args(&args.filter))?;
        parts.done("unit tests");
        if lints && !args.unit {
            shell::say("fuzzing, briefly");
            if let Err(error) = fuzz::briefly() {
                tally.broken.push(format!("`cargo xtask fuzz`: {error:#}"));
            }
            parts.done("fuzzing");
        }
    }
    if !args.unit {
        shell::say("end-to-end tests, on the release build");
        build::agent()?;
        parts.done("release build");
        if lints {
            if let Err(error) = validate::main() {
                tally.broken.push(format!("`cargo xtask validate`: {error:#}"));
            }
            parts.done("validation of deploy/");
        }
        tally.run(&mut end_to_end(args.filter.as_deref())?)?;
        parts.done("end-to-end tests");
    }
    if lints && !args.unit {
        let minutes = torture_minutes(started.elapsed());
        shell::say(format_args!("torture, {minutes:.1} minutes of it"));
        match torture::as_a_test(minutes) {
            Ok(figures) => shell::say(figures),
            Err(error) => tally.broken.push(format!("`cargo xtask torture`: {error:#}")),
        }
        parts.done("torture");
    }
    tally.report(&parts.done.join(", "), started)
}

/// For how many minutes the torture runs behind all else: ten, and fewer on a machine so slow that the whole would take more than the hour
/// it has.
fn torture_minutes(spent: Duration) -> f64 {
    (55.0 - spent.as_secs_f64() / 60.0).clamp(3.0, 10.0)
}

/// The end-to-end tests: built as who we are, run as root.
fn end_to_end(filter: Option<&str>) -> Result<Command> {
    let mut command = shell::cargo();
    command.args(["test", "--workspace", "--test", "*", "--no-fail-fast"]).args(filter);
    command.env("BEYLA_RS_BIN", shell::agent_binary());
    if !shell::is_root() {
        let Some(sudo) = shell::sudo() else {
            let what = "the end-to-end tests load programs into the kernel, which".to_owned();
            let command = "sudo env \"PATH=$PATH\" \"HOME=$HOME\" cargo xtask test --e2e".to_owned();
            return Err(NotPermitted { what, command }.into());
        };
        shell::say("the end-to-end tests need root: running them with sudo");
        command.env(runner_variable(), sudo.join(" "));
    }
    Ok(command)
}

/// The variable by which cargo is told what starts a test's binary.
fn runner_variable() -> String {
    format!("CARGO_TARGET_{}_RUNNER", shell::host_triple().replace('-', "_")).to_uppercase()
}

/// The parts that were run, each with the time that it took: what makes the whole too long is seen at its end.
struct Parts {
    since: Instant,
    done: Vec<String>,
}

impl Parts {
    fn done(&mut self, what: &str) {
        self.done.push(format!("{what} ({} s)", self.since.elapsed().as_secs()));
        self.since = Instant::now();
    }
}

/// What the test binaries said.
#[derive(Default)]
struct Tally {
    passed: u64,
    failed: Vec<String>,
    ignored: Vec<String>,
    /// Test binaries that could not be built or died: their commands.
    broken: Vec<String>,
    /// What failed tests printed, its first lines.
    said: Vec<String>,
    /// Whether the lines that come are what a failed test printed.
    in_said: bool,
}

/// Lines of failed tests that are shown once more at the end.
const MAX_SAID: usize = 200;

impl Tally {
    /// Runs `cargo test`, lets its output through, and counts.
    fn run(&mut self, command: &mut Command) -> Result<()> {
        let shown = shell::shown(command);
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| format!("cannot start `{shown}`"))?;
        let failed_before = self.failed.len();
        if let Some(stdout) = child.stdout.take() {
            let mut console = std::io::stdout().lock();
            for line in BufReader::new(stdout).split(b'\n') {
                let line = line.context("cannot read what the tests say")?;
                // A console that went away must not end the tests.
                let _gone =
                    console.write_all(&line).and_then(|()| console.write_all(b"\n")).and_then(|()| console.flush());
                self.take(&String::from_utf8_lossy(&line));
            }
        }
        let status = child.wait()?;
        if !status.success() && self.failed.len() == failed_before {
            self.broken.push(format!("`{shown}`: {status}, with no failed test: not built, or a test binary died"));
        }
        Ok(())
    }

    /// Reads a line of libtest's.
    fn take(&mut self, line: &str) {
        self.in_said =
            line != "failures:" && (self.in_said || (line.starts_with("---- ") && line.ends_with(" stdout ----")));
        if self.in_said && self.said.len() < MAX_SAID {
            self.said.push(line.to_owned());
        }
        let Some(rest) = line.strip_prefix("test ") else { return };
        if let Some(result) = rest.strip_prefix("result: ") {
            let passed =
                result.split_whitespace().zip(result.split_whitespace().skip(1)).find(|(_, what)| *what == "passed;");
            self.passed += passed.and_then(|(count, _)| count.parse::<u64>().ok()).unwrap_or(0);
        } else if let Some(name) = rest.strip_suffix(" ... FAILED") {
            self.failed.push(name.to_owned());
        } else if let Some((name, reason)) = rest.split_once(" ... ignored") {
            self.ignored.push(format!("{name}{reason}"));
        }
    }

    /// The last lines of the run.
    fn report(&self, what: &str, started: Instant) -> Result<()> {
        let list = |title: &str, names: &[String]| {
            if !names.is_empty() {
                shell::say(format_args!("{title}:\n    {}", names.join("\n    ")));
            }
        };
        list("ignored", &self.ignored);
        list("failed tests said", &self.said);
        list("failed", &self.failed);
        list("broken", &self.broken);
        let (passed, failed, ignored) = (self.passed, self.failed.len(), self.ignored.len());
        let seconds = started.elapsed().as_secs();
        let summary = format!(
            "{passed} passed, {failed} failed, {ignored} ignored: {what}; kernel {}, {} min {} s",
            kernel_release(),
            seconds / 60,
            seconds % 60
        );
        if failed > 0 || !self.broken.is_empty() {
            bail!("{summary}");
        }
        if passed == 0 {
            bail!("no test ran, is the filter right? {summary}");
        }
        shell::say(summary);
        Ok(())
    }
}

fn kernel_release() -> String {
    let file = PathBuf::from("/proc/sys/kernel/osrelease");
    std::fs::read_to_string(file).map_or_else(|_| "unknown".into(), |release| release.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_torture_has_ten_minutes_unless_the_hour_ends() {
        let minutes = [20, 44, 48, 59].map(|spent| torture_minutes(Duration::from_secs(spent * 60)));
        assert_eq!(minutes, [10.0, 10.0, 7.0, 3.0]);
    }

    #[test]
    fn results_are_read_off_what_libtest_prints() {
        let mut tally = Tally::default();
        for line in [
            "running 3 tests",
            "test a::b ... ok",
            "test a::c ... FAILED",
            "test a::d ... ignored, needs a thing",
            "failures:",
            "---- a::c stdout ----",
            "it was 3",
            "failures:",
            "    a::c",
            "test result: FAILED. 1 passed; 1 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s",
            "test result: ok. 41 passed; 0 failed; 0 ignored; 0 measured; 2 filtered out; finished in 1.00s",
        ] {
            tally.take(line);
        }
        assert_eq!(
            (tally.passed, tally.failed, tally.ignored),
            (42, vec!["a::c".to_owned()], vec!["a::d, needs a thing".to_owned()])
        );
        assert_eq!(tally.said, ["---- a::c stdout ----", "it was 3"]);
    }
}
