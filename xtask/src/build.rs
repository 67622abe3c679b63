//! `cargo xtask build`: the release binary.

use std::fs;

use anyhow::{Context as _, Result};

use crate::{setup, shell};

pub fn main() -> Result<()> {
    setup::ensure()?;
    agent()?;
    let binary = shell::agent_binary();
    let bytes = fs::metadata(&binary).with_context(|| format!("no {} after the build", binary.display()))?.len();
    shell::say(format_args!("built {} ({:.1} MB)", binary.display(), bytes as f64 / 1e6));
    Ok(())
}

/// Builds the agent; needs what [`setup::ensure`] sees to.
pub fn agent() -> Result<()> {
    shell::run(shell::cargo().args(["build", "--release", "--package", "beyla-rs"]))
}
