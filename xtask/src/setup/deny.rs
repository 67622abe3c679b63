//! `cargo-deny`, which lint checks what is depended upon with. Not needed to build, so only lint and tests ask for it.

use std::path::PathBuf;

use anyhow::Result;

use crate::shell;

/// The release that is installed. Any that is here does as well: what it is told (`deny.toml`) has been the same for long.
const VERSION: &str = "0.20.2";

/// Where it is, if it is.
pub fn find() -> Option<PathBuf> {
    shell::tool("cargo-deny").next()
}

/// Builds it into the target folder where there is none. Not optimised: that takes a third of the time, and it runs for a second.
pub fn ensure() -> Result<()> {
    if find().is_some() {
        return Ok(());
    }
    let root = shell::tools();
    shell::say(format_args!(
        "building cargo-deny {VERSION} into {} (there is none); this takes a minute, once",
        root.display()
    ));
    let mut command = shell::cargo();
    command
        .args(["install", "cargo-deny", "--version", &format!("={VERSION}"), "--locked", "--debug", "--root"])
        .arg(root)
        .env("CARGO_PROFILE_DEV_DEBUG", "0");
    shell::run(&mut command)
}
