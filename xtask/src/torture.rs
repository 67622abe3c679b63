//! `cargo xtask torture`: builds the agent and the torture (the crate `torture`), and runs the latter.

use std::process::Command;

use anyhow::{Result, bail};

use crate::shell::{self, NotPermitted};
use crate::{build, setup};

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
    let status = command(args)?.status()?;
    if !status.success() {
        bail!("the agent told something wrong, or left something out: {status}");
    }
    Ok(())
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
