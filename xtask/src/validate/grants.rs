//! What the agent is given is the same everywhere: in the manifests, the chart, the unit, the compose file and in what the
//! agent itself says it uses.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context as _, Result, ensure};

use xtask::shell;

/// Files that grant capabilities, and the marks of the lines that do.
const FILES: &[(&str, &[&str])] = &[
    ("kubernetes/base/daemonset.yaml", &["add: ["]),
    ("helm/beyla-rs/templates/daemonset.yaml", &["add: ["]),
    ("compose/compose.yaml", &["cap_add: ["]),
    ("systemd/beyla-rs.service", &["AmbientCapabilities=", "CapabilityBoundingSet="]),
];

/// Where the agent lists what it uses.
const USED: &str = "agent/src/kernel/capabilities.rs";

pub(super) fn check(deploy: &Path) -> Result<()> {
    let read = |path: &Path| fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()));
    let used = named(&read(&shell::root().join(USED))?);
    ensure!(!used.is_empty(), "{USED} names no capability");
    for (file, marks) in FILES {
        let text = read(&deploy.join(file))?;
        for mark in *marks {
            let granted = granted(&text, mark).with_context(|| format!("{file} has no `{mark}`"))?;
            ensure!(granted == used, "{file}: `{mark}` grants {granted:?}, the agent uses {used:?}");
        }
    }
    Ok(())
}

/// The capabilities of the agent's own list.
fn named(source: &str) -> BTreeSet<String> {
    let mark = "name: \"CAP_";
    let starts = source.match_indices(mark).map(|(at, _)| at + mark.len());
    starts.filter_map(|at| source.get(at..)?.split('"').next().map(str::to_owned)).collect()
}

/// The capabilities of the line with this mark.
fn granted(text: &str, mark: &str) -> Option<BTreeSet<String>> {
    let rest = text.lines().find_map(|line| line.split_once(mark))?.1;
    let words = rest.trim_end_matches(']').split([',', ' ']).filter(|word| !word.is_empty());
    Some(words.map(|word| word.strip_prefix("CAP_").unwrap_or(word).to_owned()).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn capabilities_are_read_off_every_kind_of_file() {
        let both = set(&["BPF", "SYS_PTRACE"]);
        assert_eq!(granted("  add: [BPF, SYS_PTRACE]\n", "add: [").unwrap(), both);
        assert_eq!(granted("x\nCaps=CAP_SYS_PTRACE CAP_BPF\n", "Caps=").unwrap(), both);
        assert_eq!(granted("x\n", "Caps="), None);
        assert_eq!(named("A { name: \"CAP_BPF\", n: 1 },\n A {\n name: \"CAP_SYS_PTRACE\"}"), both);
    }

    #[test]
    fn everything_in_deploy_grants_what_the_agent_uses() {
        check(&shell::root().join("deploy")).unwrap();
    }
}
