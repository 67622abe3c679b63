//! `cargo xtask fuzz`: feeds the parsers hostile bytes for a while, beginning with the corpus in `agent/fuzz/corpus`.
//!
//! With the pinned toolchain: libFuzzer needs code that was instrumented by LLVM's own passes, and no nightly one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Instant;

use anyhow::{Context as _, Result, bail};

use xtask::setup::packages;
use xtask::{setup, shell};

/// The program that runs the session of the protocol which `PROTOCOL` names.
const SESSION: &str = "session";

/// What cargo-fuzz passes as well.
const INSTRUMENTED: &str = "--cfg=fuzzing -Cpasses=sancov-module -Cllvm-args=-sanitizer-coverage-level=4 \
    -Cllvm-args=-sanitizer-coverage-inline-8bit-counters -Cllvm-args=-sanitizer-coverage-pc-table \
    -Cllvm-args=-sanitizer-coverage-trace-compares -Ccodegen-units=1";

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Only this target: a folder of `agent/fuzz/corpus`, such as http1 or dns
    target: Option<String>,
    /// Seconds per target; all run at once
    #[arg(long, default_value_t = 60)]
    seconds: u32,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    setup::ensure_with(packages::FUZZ)?;
    let all = targets()?;
    let chosen: Vec<String> =
        all.iter().filter(|target| args.target.as_ref().is_none_or(|wanted| wanted == *target)).cloned().collect();
    if chosen.is_empty() {
        bail!("no fuzz target {:?}; there are: {}", args.target.as_deref().unwrap_or_default(), all.join(", "));
    }
    run(&chosen, args.seconds)
}

/// All targets for a short time.
pub(crate) fn briefly() -> Result<()> {
    run(&targets()?, 20)
}

/// A folder of the corpus each: that of a program, or of a protocol.
fn targets() -> Result<Vec<String>> {
    let corpus = shell::root().join("agent/fuzz/corpus");
    let folders = fs::read_dir(&corpus).with_context(|| format!("cannot read {}", corpus.display()))?;
    let mut targets = folders
        .map(|folder| Ok(folder?.file_name().to_string_lossy().into_owned()))
        .collect::<std::io::Result<Vec<String>>>()?;
    targets.sort();
    Ok(targets)
}

/// Whether a target has a program of its own.
fn has_program(target: &str) -> bool {
    shell::root().join("agent/fuzz/fuzz_targets").join(target).with_extension("rs").exists()
}

fn run(targets: &[String], seconds: u32) -> Result<()> {
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
    let mut command = Command::new(programs.join(if has_program(target) { target } else { SESSION }));
    command.env("PROTOCOL", target);
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
    fn every_target_has_a_corpus_and_every_program_is_run() {
        let folder = shell::root().join("agent/fuzz");
        let targets = targets().unwrap();
        for target in &targets {
            assert!(fs::read_dir(folder.join("corpus").join(target)).unwrap().next().is_some(), "{target}");
        }
        let programs = fs::read_dir(folder.join("fuzz_targets")).unwrap();
        let programs = programs.map(|file| file.unwrap().path().file_stem().unwrap().to_string_lossy().into_owned());
        for program in programs.filter(|program| program != SESSION) {
            assert!(targets.contains(&program), "{program}");
        }
        assert!(targets.iter().any(|target| !has_program(target)) && !has_program("no such"));
    }
}
