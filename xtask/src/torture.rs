//! `cargo xtask torture`: builds the agent and the torture (the crate `torture`), and runs the latter.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};

use anyhow::{Context as _, Result, bail};

use xtask::shell::{self, NotPermitted};
use xtask::{build, setup};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// What the rounds are drawn from; another at each time, unless given
    #[arg(long)]
    seed: Option<u64>,
    /// For how long
    #[arg(long, default_value_t = 10.0)]
    minutes: f64,
    /// Only this round
    #[arg(long)]
    round: Option<u64>,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    setup::ensure_for_tests()?;
    build::agent()?;
    run(args).map(drop)
}

/// From which seed it is run as one of the tests: always the same, so that a failure is of the change that is tested.
/// Others are for those who look for what nobody thought of.
const SEED_AS_TEST: u64 = 505;

/// Runs it as one of the tests, which have seen to all that it needs. Gives its last line, with the seed and the figures.
pub(crate) fn as_a_test(minutes: f64) -> Result<String> {
    run(&Args { seed: Some(SEED_AS_TEST), minutes, round: None })
}

/// Runs it, and lets what it says through.
fn run(args: &Args) -> Result<String> {
    let mut command = command(args)?;
    let shown = shell::shown(&command);
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).spawn();
    let mut child = child.with_context(|| format!("cannot start `{shown}`"))?;
    let mut figures = String::new();
    let mut failures = Failures::default();
    if let Some(stdout) = child.stdout.take() {
        for line in BufReader::new(stdout).lines() {
            let line = line.context("cannot read what the torture says")?;
            println!("{line}");
            failures.take(&line);
            if line.contains(" rounds ") {
                figures = line;
            }
        }
    }
    let status = child.wait()?;
    if !status.success() {
        let what = if figures.is_empty() { shown } else { figures };
        bail!("{what} ({status})\n{}", failures.said.join("\n"));
    }
    Ok(figures)
}

/// What was said of rounds that failed: told once more at the end, where whoever reads a long log looks first.
#[derive(Default)]
struct Failures {
    said: Vec<String>,
    /// Whether the lines that come are of such a round.
    is_in: bool,
}

/// Lines of it that are kept, and bytes of each.
const MAX_SAID: usize = 80;
const MAX_LINE: usize = 600;

impl Failures {
    /// A round's first line begins with its number, what there is to say of it is indented.
    fn take(&mut self, line: &str) {
        if line.starts_with("round ") {
            self.is_in = line.contains(": FAILED ");
        }
        if self.is_in && self.said.len() < MAX_SAID {
            self.said.push(line.chars().take(MAX_LINE).collect());
        }
    }
}

/// Builds it; the command runs it as root.
fn command(args: &Args) -> Result<Command> {
    shell::run(shell::cargo().args(["build", "--release", "--package", "torture"]))?;
    let binary = shell::target_dir().join("release/torture");
    let mut command = if shell::is_root() {
        Command::new(binary)
    } else {
        let Some(sudo) = shell::sudo() else {
            let what = "the torture starts agents, which load programs into the kernel, and that".to_owned();
            let command = "sudo env \"PATH=$PATH\" \"HOME=$HOME\" cargo xtask torture".to_owned();
            return Err(NotPermitted { what, command }.into());
        };
        let mut command = Command::new(&sudo[0]);
        command.args(&sudo[1..]).arg(binary);
        command
    };
    command.args(["--minutes", &args.minutes.to_string()]);
    if let Some(seed) = args.seed {
        command.args(["--seed", &seed.to_string()]);
    }
    if let Some(round) = args.round {
        command.args(["--round", &round.to_string()]);
    }
    Ok(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_said_of_failed_rounds_is_kept() {
        let mut failures = Failures::default();
        for line in ["torture: seed 1", "round 1: ok 1.0 s", "    2 requests without a span", "round 2: FAILED 1.0 s"] {
            failures.take(line);
        }
        failures.take(&format!("    missing: {}", "x".repeat(1000)));
        failures.take("round 3: ok 1.0 s");
        assert_eq!(failures.said.len(), 2, "{:?}", failures.said);
        assert_eq!((failures.said[0].as_str(), failures.said[1].len()), ("round 2: FAILED 1.0 s", MAX_LINE));
    }
}
