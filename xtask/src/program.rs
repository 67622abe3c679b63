//! Verbs that are programs of their own: built, and then run in place of this one.

use std::ffi::OsString;
use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};
use xtask::shell;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Its arguments; `--help` says which
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    arguments: Vec<OsString>,
}

/// Builds the program of a verb, and becomes it.
pub(crate) fn main(verb: &str, args: &Args) -> Result<()> {
    let package = format!("xtask-{verb}");
    shell::run(shell::cargo().args(["build", "--quiet", "--package", &package]))?;
    let program = shell::target_dir().join("debug").join(&package);
    let mut command = Command::new(&program);
    // It finds the workspace where cargo found it for us.
    Err(command.args(&args.arguments).exec()).with_context(|| format!("cannot start {}", program.display()))
}
