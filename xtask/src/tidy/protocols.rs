//! Each folder of a protocol stands in the registry, and has seeds for the fuzzer: what is not in the registry is shown by no test of the
//! conformance suite.

use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result};
use xtask::shell;

const FOLDER: &str = "agent/src/protocols";
const SEEDS: &str = "agent/fuzz/corpus";

/// Checks all of them.
pub(super) fn check(breaks: &mut Vec<String>) -> Result<()> {
    let folder = shell::root().join(FOLDER);
    let read = |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let registry = read(&folder.join("mod.rs"))?;
    for entry in fs::read_dir(&folder).with_context(|| format!("cannot read {FOLDER}"))? {
        let entry = entry?;
        if !entry.file_type()?.is_dir() {
            continue;
        }
        let name = entry.file_name().to_string_lossy().into_owned();
        let has_seeds = |protocol: &str| {
            fs::read_dir(shell::root().join(SEEDS).join(protocol)).is_ok_and(|mut seeds| seeds.next().is_some())
        };
        breaks.extend(missing(&name, &read(&entry.path().join("mod.rs"))?, &registry, has_seeds));
    }
    Ok(())
}

/// What a folder lacks, by the text of its root file and that of the registry. One that has no name is shared by several.
fn missing(folder: &str, text: &str, registry: &str, has_seeds: impl Fn(&str) -> bool) -> Vec<String> {
    let name = text.split_once("const NAME: &str = \"").and_then(|(_, rest)| rest.split_once('"'));
    let Some((name, _)) = name else { return Vec::new() };
    let mut missing = Vec::new();
    if !registry.contains(&format!("entry!({folder},")) {
        missing.push(format!("{FOLDER}/{folder}: not in `REGISTRY` ({FOLDER}/mod.rs)"));
    }
    if !has_seeds(name) {
        missing.push(format!("{FOLDER}/{folder}: no seeds in {SEEDS}/{name}"));
    }
    missing
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_protocol_stands_in_the_registry_and_has_seeds() {
        let registry = "pub static REGISTRY: &[Entry] = &[\n    entry!(known, 1 << 20),\n];";
        let text = "pub(super) const NAME: &str = \"called\";\n";
        let seedless = text.replace("called", "seedless");
        let of = |folder, text| missing(folder, text, registry, |name| name == "called").len();
        assert_eq!(of("known", text), 0);
        assert_eq!(of("tools", "//! Of several.\n"), 0);
        assert_eq!(of("other", text), 1);
        assert_eq!(of("known", &seedless), 1);
        assert_eq!(of("other", &seedless), 2);
    }
}
