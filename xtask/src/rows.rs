//! What the verbs have in common that ask an agent many things, and print a row of a table for each.

use std::any::Any;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use crate::{build, setup, shell};

/// Those of a table that are asked for by name; all, if none is. A name that ends with `*` stands for all that begin like it.
pub fn chosen<T>(
    what: &str,
    all: &'static [T],
    name: impl Fn(&'static T) -> &'static str,
    asked: &[String],
) -> Result<Vec<&'static T>> {
    let is = |it: &'static T, asked: &str| match asked.strip_suffix('*') {
        Some(beginning) => name(it).starts_with(beginning),
        None => name(it) == asked,
    };
    if let Some(unknown) = asked.iter().find(|asked| !all.iter().any(|it| is(it, asked))) {
        bail!("no {what} {unknown:?}; there are: {}", all.iter().map(&name).collect::<Vec<_>>().join(", "));
    }
    Ok(all.iter().filter(|it| asked.is_empty() || asked.iter().any(|asked| is(it, asked))).collect())
}

/// The agent that a verb asks, which needs root: one that is built already, or this one; and what `prepare` installs.
pub fn agent(verb: &str, built: Option<&Path>, prepare: impl FnOnce() -> Result<()>) -> Result<PathBuf> {
    if !shell::is_root() {
        let command = format!("sudo env \"PATH=$PATH\" \"HOME=$HOME\" cargo xtask {verb}");
        return Err(shell::NotPermitted { what: "the agent".into(), command }.into());
    }
    prepare()?;
    if let Some(path) = built {
        return fs::canonicalize(path).with_context(|| format!("no agent {}", path.display()));
    }
    setup::ensure()?;
    build::agent()?;
    Ok(shell::agent_binary())
}

/// What a panic says.
pub fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic").chars().take(400).collect::<String>().replace(['\n', '|'], " ")
}
