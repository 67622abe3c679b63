//! What is depended upon: licences, duplicates, where it comes from, and known faults (`deny.toml`, by cargo-deny).

use std::path::Path;
use std::process::{Command, Output, Stdio};

use anyhow::{Context as _, Result, bail};

use xtask::{setup, shell};

/// What cargo-deny says when it has no list of known faults.
const NO_DATABASE: &[&str] =
    &["failed to fetch advisory database", "failed to load advisory database", "failed to get 'FETCH_HEAD' metadata"];

/// Checks it. Needs what [`setup::deny::ensure`] sees to.
///
/// # Errors
/// With what cargo-deny said.
pub(crate) fn all() -> Result<()> {
    let program = setup::deny::find().context("no cargo-deny; `cargo xtask setup --lint` installs it")?;
    // What is at fault is shown as it comes.
    shell::run(command(&program, &[]).args(["bans", "licenses", "sources"]))?;
    advisories(&program)
}

/// Known faults. Their list is a repository that cargo-deny fetches; where it cannot, the copy of the last time has to do.
fn advisories(program: &Path) -> Result<()> {
    let mut said = run(command(program, &[]).arg("advisories"))?;
    if has_no_database(&said) {
        said = run(command(program, &["--offline"]).arg("advisories"))?;
        if has_no_database(&said) {
            shell::say(
                "known faults of dependencies were NOT checked: the list of them (RustSec) cannot be reached from here, and \
                 there is no copy of it; licences, duplicates and sources were",
            );
            return Ok(());
        }
        shell::say("the list of known faults cannot be reached: checked with the copy of the last time");
    }
    if !said.status.success() {
        bail!("known faults of dependencies:\n{}", String::from_utf8_lossy(&said.stderr).trim_end());
    }
    Ok(())
}

/// `options` are cargo-deny's own, `--workspace check` is among what it is told.
fn command(program: &Path, options: &[&str]) -> Command {
    let mut command = Command::new(program);
    command.current_dir(shell::root()).args(options).args(["--workspace", "--log-level", "error", "check"]);
    // Nobody is there to be asked for a password.
    command
        .env("GIT_TERMINAL_PROMPT", "0")
        .env("GIT_HTTP_LOW_SPEED_LIMIT", "1000")
        .env("GIT_HTTP_LOW_SPEED_TIME", "20");
    command
}

fn run(command: &mut Command) -> Result<Output> {
    let shown = shell::shown(command);
    command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{shown}`"))
}

fn has_no_database(said: &Output) -> bool {
    let text = String::from_utf8_lossy(&said.stderr);
    !said.status.success() && NO_DATABASE.iter().any(|words| text.contains(words))
}

#[cfg(test)]
mod tests {
    use std::os::unix::process::ExitStatusExt as _;
    use std::process::ExitStatus;

    use super::*;

    #[test]
    fn a_list_that_cannot_be_had_is_no_fault_and_a_fault_is_one() {
        let said = |code: i32, text: &str| Output {
            status: ExitStatus::from_raw(code << 8),
            stdout: Vec::new(),
            stderr: text.as_bytes().to_vec(),
        };
        let text = "[ERROR] failed to fetch advisory database https://…: failed to clone";
        assert!(has_no_database(&said(1, text)));
        assert!(!has_no_database(&said(0, text)));
        assert!(!has_no_database(&said(1, "error[vulnerability]: …\nadvisories FAILED")));
    }
}
