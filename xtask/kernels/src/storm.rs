//! `cargo xtask kernels --storm RECORDS`: that no record of plaintext is another thread's, on kernels that preempt programs of uprobes
//! (`preempt=full`; the test is `tests/tests/tls_storm.rs`, and this machine's kernel may not).

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use super::guest;
use super::machine::{Ended, Machine};
use xtask::shell;

/// What the kernel is told.
pub(super) const TOLD: &str = "preempt=full";
/// What `/sys/kernel/debug/sched/preempt` says then.
const IN_FORCE: &str = "(full)";

/// Makes the guest.
pub(super) fn make(records: u64) -> Result<PathBuf> {
    let folder = shell::target_dir().join("kernels");
    std::fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let program = folder.join("storm-program");
    let source = shell::root().join("tests/programs/storm.c");
    let libraries = ["-lssl", "-lcrypto", "-lpthread"];
    let mut compiler = Command::new("cc");
    shell::run(compiler.args(["-O1", "-D_GNU_SOURCE", "-o"]).arg(&program).arg(source).args(libraries))?;
    guest::make_storm(&test()?, &program, records)
}

/// Builds the test, and finds it.
fn test() -> Result<PathBuf> {
    let arguments = ["test", "--release", "-p", "tests", "--test", "tls_storm", "--no-run", "--message-format=json"];
    let told = shell::output(shell::cargo().args(arguments))?;
    let executable = told.lines().find_map(|line| {
        let message: serde_json::Value = serde_json::from_str(line).ok()?;
        (message["target"]["name"] == "tls_storm").then(|| message["executable"].as_str().map(PathBuf::from))?
    });
    executable.context("cargo does not say where the test is")
}

/// Runs the guest; gives what the test says of itself.
pub(super) fn run(machine: &Machine<'_>) -> Result<String> {
    let Ended { results, console, was_stopped } = machine.run()?;
    let kernel = results.lines().find_map(|line| line.strip_prefix("@kernel ")).unwrap_or_default();
    if was_stopped || !results.lines().any(|line| line == "@done") {
        let end: Vec<&str> = console.lines().rev().take(20).collect();
        bail!("the guest did not come to its end ({kernel}): {end:#?}");
    }
    if !kernel.contains(IN_FORCE) {
        bail!("{kernel}: programs are not preempted there");
    }
    if !results.lines().any(|line| line == "@ended 0") {
        bail!("{kernel}: the test failed:\n{results}");
    }
    let compared =
        results.lines().find(|line| line.contains(" records of ")).context("the test has compared nothing")?;
    Ok(format!("{kernel}: {compared}"))
}
