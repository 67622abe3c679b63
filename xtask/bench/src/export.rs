//! `cargo xtask bench export`: what it costs to encode spans and metrics and to send them. It looks into the agent, and so is a benchmark of
//! its package (`agent/benches/export.rs`).

use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use xtask::shell;

pub(crate) const NAME: &str = "export";

pub(crate) fn main(length: Duration) -> Result<()> {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.args(["bench", "--package", "beyla-rs", "--bench", NAME, "--", "--seconds"]);
    let status = command.arg(length.as_secs().to_string()).current_dir(shell::root()).status();
    let status = status.context("cannot start cargo")?;
    if !status.success() {
        bail!("the benchmark ended with {status}");
    }
    Ok(())
}
