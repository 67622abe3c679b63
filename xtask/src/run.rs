//! `cargo xtask run -- ARGS`: build everything and become the agent.

use std::os::unix::process::CommandExt as _;
use std::process::Command;

use anyhow::{Context as _, Result};

use xtask::shell::{self, NotPermitted};
use xtask::{build, setup};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// The agent's own arguments
    #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
    agent: Vec<String>,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    setup::ensure()?;
    build::agent()?;
    let binary = shell::agent_binary();
    let mut command = if shell::is_root() || !needs_root(&args.agent) {
        Command::new(&binary)
    } else {
        let Some(sudo) = shell::sudo() else {
            let command = format!("{} {}", binary.display(), args.agent.join(" "));
            return Err(NotPermitted { what: "watching other programs".into(), command }.into());
        };
        shell::say(format_args!("watching other programs needs root: starting {} with sudo", binary.display()));
        let mut command = Command::new(&sudo[0]);
        command.args(&sudo[1..]).arg(&binary);
        command
    };
    Err(command.args(&args.agent).exec()).with_context(|| format!("cannot start {}", binary.display()))
}

/// What only reads arguments or asks for help runs as the user who typed it.
fn needs_root(args: &[String]) -> bool {
    let asks = args
        .iter()
        .take_while(|arg| *arg != "--")
        .any(|arg| ["-h", "--help", "-V", "--version"].contains(&arg.as_str()));
    !asks && !args.first().is_some_and(|verb| ["config", "help"].contains(&verb.as_str()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args(line: &str) -> Vec<String> {
        line.split_whitespace().map(str::to_owned).collect()
    }

    #[test]
    fn only_what_touches_the_kernel_asks_for_root() {
        assert!(needs_root(&args("--pid 12")));
        assert!(needs_root(&args("")));
        assert!(needs_root(&args("exec -- curl --help")));
        assert!(!needs_root(&args("config check file.yaml")));
        assert!(!needs_root(&args("survey --help")));
    }
}
