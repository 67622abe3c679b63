//! `cargo xtask lint`: formatting, clippy on both sides, the repository's own rules, and what is depended upon.

use anyhow::Result;

use crate::{deny, tidy};
use xtask::{setup, shell};

pub(crate) fn main() -> Result<()> {
    setup::ensure_for_lint()?;
    all()
}

/// Everything, cheapest first; needs what [`setup::ensure_for_lint`] sees to.
pub(crate) fn all() -> Result<()> {
    shell::say("lint: the repository's own rules");
    tidy::all()?;
    shell::say("lint: formatting");
    shell::run(shell::cargo().args(["fmt", "--all", "--check"]))?;
    shell::say("lint: what is depended upon");
    deny::all()?;
    shell::say("lint: clippy, host side");
    shell::run(shell::cargo().args(["clippy", "--workspace", "--all-targets", "--", "--deny", "warnings"]))?;
    shell::say("lint: clippy, kernel side");
    // A folder of its own: with RUSTC_BOOTSTRAP in the environment cargo would build half of the host's crates again.
    let target_dir = shell::target_dir().join("lint-bpf");
    shell::run(
        shell::cargo()
            .args([
                "clippy",
                "--package",
                "ebpf-probes",
                "--target",
                "bpfel-unknown-none",
                "-Zbuild-std=core",
                "--target-dir",
            ])
            .arg(target_dir)
            .args(["--", "--deny", "warnings"])
            .env("RUSTC_BOOTSTRAP", "1"),
    )
}
