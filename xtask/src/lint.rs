//! `cargo xtask lint`: formatting, clippy on both sides, and the repository's own rules.

use anyhow::Result;

use crate::{setup, shell, tidy};

pub(crate) fn main() -> Result<()> {
    setup::ensure()?;
    all()
}

/// Everything, cheapest first; needs what [`setup::ensure`] sees to.
pub(crate) fn all() -> Result<()> {
    shell::say("lint: the repository's own rules");
    tidy::all()?;
    shell::say("lint: formatting");
    shell::run(shell::cargo().args(["fmt", "--all", "--check"]))?;
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
