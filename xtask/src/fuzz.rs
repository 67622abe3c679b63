//! `cargo xtask fuzz`: feeds the parsers hostile bytes for a while, beginning with the corpus in `agent/fuzz/corpus`.
//!
//! With the pinned toolchain: libFuzzer needs code that was instrumented by LLVM's own passes, and no nightly one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use crate::setup::packages;
use crate::{setup, shell};

/// Targets: the files in `agent/fuzz/fuzz_targets`.
const TARGETS: [&str; 4] = ["http1", "http2", "hpack", "dns"];

/// What cargo-fuzz passes as well.
const INSTRUMENTED: &str = "--cfg=fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this target: http1, http2, hpack or dns
    target: Option<String>,
    /// Seconds per target; all run at once
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    setup::ensure_with(packages::FUZZ)?;
    let targets: Vec<&str> =
        TARGETS.into_iter().filter(|target| args.target.as_deref().is_none_or(|wanted| wanted == *target)).collect();
    if targets.is_empty() {
        bail!("no fuzz target {:?}; there are: {}", args.target.as_deref().unwrap_or_default(), TARGETS.join(", "));
    }
    run(&targets, args.seconds)
}

/// All targets for a short time.
pub(crate) fn briefly() -> Result<()> {
    run(&TARGETS, 20)
}

fn run(targets: &[&str], seconds: u32) -> Result<()> {
    let manifest = shell::root().join("agent/fuzz/Cargo.toml");
    let built = shell::target_dir().join("fuzz");
    // Named, so that build scripts and macros are not instrumented.
    let triple = shell::host_triple();
    shell::run(
        shell::cargo()
            .args(["build", "--release", "--quiet", "--target", &triple, "--manifest-path"])
            .arg(manifest)
            .arg("--target-dir")
            .arg(&built)
            .env("RUSTFLAGS", INSTRUMENTED),
    )?;
    let programs = built.join(&triple).join("release");
    let outcomes: Vec<Result<()>> = std::thread::scope(|scope| {
        let running: Vec<_> =
            targets.iter().map(|target| scope.spawn(|| fuzz(target, &programs, &built, seconds))).collect();
        running.into_iter().filter_map(|thread| thread.join().ok()).collect()
    });
    let errors: Vec<String> = outcomes.into_iter().filter_map(Result::err).map(|error| format!("{error:#}")).collect();
    if !errors.is_empty() {
        bail!("{}", errors.join("\n"));
    }
    Ok(())
}

fn fuzz(target: &str, programs: &Path, built: &Path, seconds: u32) -> Result<()> {
    let began = Instant::now();
    let found: PathBuf = built.join("found").join(target);
    let corpus: PathBuf = built.join("corpus").join(target);
    for folder in [&found, &corpus] {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    let mut command = Command::new(programs.join(target));
    command.arg(format!("-max_total_time={seconds}"));
    // An input may take a second and the process 1 GiB: parsers neither loop nor hoard.
    command.args(["-max_len=8192", "-timeout=5", "-rss_limit_mb=1024", "-print_final_stats=1"]);
    command.arg(format!("-artifact_prefix={}/", found.display()));
    // What is new goes into the first folder.
    command.arg(&corpus).arg(shell::root().join("agent/fuzz/corpus").join(target));
    let output = command.output().with_context(|| format!("cannot start the fuzz target {target}"))?;
    let said = String::from_utf8_lossy(&output.stderr);
    if !output.status.success() {
        let last: Vec<&str> = said.lines().rev().take(40).collect();
        let last: Vec<&str> = last.into_iter().rev().collect();
        bail!("the fuzz target {target} failed; what it was given is in {}:\n{}", found.display(), last.join("\n"));
    }
    let runs = said.lines().find_map(|line| line.strip_prefix("stat::number_of_executed_units:")).unwrap_or("no");
    shell::say(format_args!("fuzz {target}: {} runs in {} s, nothing found", runs.trim(), began.elapsed().as_secs()));
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_target_has_its_source_and_a_corpus() {
        let folder = shell::root().join("agent/fuzz");
        let mut sources: Vec<String> = fs::read_dir(folder.join("fuzz_targets"))
            .unwrap()
            .map(|entry| entry.unwrap().file_name().to_string_lossy().trim_end_matches(".rs").to_owned())
            .collect();
        sources.sort();
        let mut targets = TARGETS.map(str::to_owned);
        targets.sort();
        assert_eq!(sources, targets);
        for target in TARGETS {
            assert!(fs::read_dir(folder.join("corpus").join(target)).unwrap().next().is_some(), "{target}");
        }
    }
}
