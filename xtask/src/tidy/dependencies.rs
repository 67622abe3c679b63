//! What a package says that it needs, it uses: what nobody uses is built all the same.

use std::collections::HashSet;
use std::fs;

use anyhow::{Context as _, Result};
use xtask::shell;

/// Tables of a manifest that name packages.
const TABLES: &[&str] = &["[dependencies]", "[dev-dependencies]", "[build-dependencies]"];

/// Checks a package by its manifest and the words of its Rust files.
pub(super) fn check(package: &str, used: &HashSet<String>, breaks: &mut Vec<String>) -> Result<()> {
    let manifest = format!("{package}/Cargo.toml");
    let text = fs::read_to_string(shell::root().join(&manifest)).with_context(|| format!("cannot read {manifest}"))?;
    breaks.extend(unused(&text, used).iter().map(|name| format!("{manifest}: nothing uses `{name}`")));
    Ok(())
}

/// What the manifest names, and none of the words of the sources.
fn unused<'a>(manifest: &'a str, used: &HashSet<String>) -> Vec<&'a str> {
    let mut is_table = false;
    let mut unused = Vec::new();
    for line in manifest.lines() {
        if line.starts_with('[') {
            is_table = TABLES.contains(&line.trim());
        } else if is_table && let Some(end) = line.find(|c: char| !c.is_ascii_alphanumeric() && !"-_".contains(c)) {
            let (name, _) = line.split_at(end);
            if !name.is_empty() && !used.contains(&name.replace('-', "_")) {
                unused.push(name);
            }
        }
    }
    unused
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_no_source_names_is_unused() {
        let manifest = "[package]\nname = \"x\"\n\n[dependencies]\nserde-json.workspace = true\nrand = \"1\"\n# text\n\
                        [dev-dependencies]\ntempfile.workspace = true\n[lints]\nworkspace = true\n";
        let used = ["serde_json", "operand", "rand_core"].map(str::to_owned).into();
        assert_eq!(unused(manifest, &used), ["rand", "tempfile"]);
    }
}
