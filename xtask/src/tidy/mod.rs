//! Rules of this repository that rustc and clippy do not know: how long a file may be, which module may import which,
//! where `unsafe` may stand, that what is depended upon is used, and that protocols stand in their registry. They read the text, not the syntax tree: enough for these, and nothing to build.

mod dependencies;
mod imports;
mod protocols;
mod rules;
mod text;

use std::collections::{HashMap, HashSet};
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};

use text::Source;
use xtask::shell;

/// Checks every Rust file.
///
/// # Errors
/// With one line per break of a rule.
pub(crate) fn all() -> Result<()> {
    let mut files = Vec::new();
    for folder in rules::FOLDERS {
        rust_files(&shell::root().join(folder), &mut files)?;
    }
    files.sort();
    let mut breaks = Vec::new();
    let mut used: HashMap<&str, HashSet<String>> = HashMap::new();
    for path in &files {
        let raw = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
        let name = path.strip_prefix(shell::root()).unwrap_or(path).to_string_lossy();
        let source = Source::of(&raw);
        check(&name, &raw, &source, &mut breaks);
        let package = rules::PROGRAMS.iter().chain(rules::FOLDERS).find(|place| is_within(&name, place));
        if let Some(package) = package {
            used.entry(package).or_default().extend(text::words(source.code()).map(|(_, word)| word.to_owned()));
        }
    }
    protocols::check(&mut breaks)?;
    for (package, used) in used {
        dependencies::check(package, &used, &mut breaks)?;
    }
    if !breaks.is_empty() {
        bail!(
            "{} breaks of the repository's rules (xtask/src/tidy/rules.rs):\n  {}",
            breaks.len(),
            breaks.join("\n  ")
        );
    }
    Ok(())
}

/// Checks one file; `name` is relative to the workspace.
fn check(name: &str, raw: &str, source: &Source, breaks: &mut Vec<String>) {
    let lines = raw.lines().count();
    if lines > rules::MAX_LINES {
        breaks.push(format!("{name}: {lines} lines, at most {}: split it by meaning", rules::MAX_LINES));
    }
    if !rules::UNSAFE_ALLOWED.iter().any(|place| is_within(name, place)) {
        for line in source.lines_with_word("unsafe") {
            breaks.push(format!("{name}:{line}: `unsafe` outside of the modules that are fenced for it"));
        }
    }
    for (folder, layers) in [("agent/src/", rules::LAYERS), ("ebpf-probes/src/", rules::KERNEL_SIDE_LAYERS)] {
        if let Some(inner) = name.strip_prefix(folder) {
            imports::check(name, inner, layers, source, breaks);
        }
    }
}

/// Whether a file is `place` or lies in the folder `place`.
fn is_within(name: &str, place: &str) -> bool {
    name.strip_prefix(place).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}

fn rust_files(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    for entry in fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))? {
        let entry = entry?;
        let path = entry.path();
        if entry.file_type()?.is_dir() {
            if entry.file_name() != "target" {
                rust_files(&path, files)?;
            }
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn breaks_of(name: &str, text: &str) -> Vec<String> {
        let mut breaks = Vec::new();
        check(name, text, &Source::of(text), &mut breaks);
        breaks
    }

    #[test]
    fn this_repository_keeps_its_rules() {
        all().unwrap();
    }

    #[test]
    fn a_file_of_more_than_800_lines_is_too_long() {
        assert!(breaks_of("xtask/src/a.rs", &"\n".repeat(800)).is_empty());
        assert_eq!(breaks_of("xtask/src/a.rs", &"\n".repeat(801)).len(), 1);
    }

    #[test]
    fn unsafe_code_is_found_outside_of_the_fence_only() {
        let code = "//! unsafe\n#![deny(unsafe_code)]\nlet s = \"unsafe\";\nunsafe { f() }\n";
        assert_eq!(
            breaks_of("agent/src/conn/mod.rs", code),
            ["agent/src/conn/mod.rs:4: `unsafe` outside of the modules that are fenced for it"]
        );
        assert!(breaks_of("agent/src/sys/mod.rs", code).is_empty());
        assert!(breaks_of("agent/src/sys.rs", code).is_empty());
    }

    #[test]
    fn a_stage_may_not_import_a_later_one() {
        assert!(breaks_of("agent/src/conn/mod.rs", "use crate::model::Exchange;\n").is_empty());
        assert_eq!(breaks_of("agent/src/conn/mod.rs", "use crate::{model::A, export::{B, model}};\n").len(), 1);
        assert_eq!(breaks_of("agent/src/conn/mod.rs", "fn f(_: crate::pipeline::P) {}\n").len(), 1);
        assert_eq!(breaks_of("agent/src/conn/table.rs", "use super::super::export::B;\n").len(), 1);
        assert!(breaks_of("agent/src/conn/table.rs", "use super::export::B;\n").is_empty());
    }

    #[test]
    fn on_the_kernel_side_nobody_names_what_is_built_on_it() {
        assert_eq!(breaks_of("ebpf-probes/src/maps.rs", "use crate::handlers::frames::Walk;\n").len(), 1);
        assert_eq!(breaks_of("ebpf-probes/src/kernel/socket.rs", "use crate::maps::CONNECTIONS;\n").len(), 1);
        assert!(breaks_of("ebpf-probes/src/handlers/emit.rs", "use crate::maps::EVENTS;\n").is_empty());
    }

    #[test]
    fn a_module_that_the_table_does_not_know_must_be_added_to_it() {
        assert_eq!(breaks_of("agent/src/novelty/mod.rs", "use crate::model::A;\n").len(), 1);
    }

    #[test]
    fn protocols_import_one_another_only_where_one_builds_on_the_other() {
        assert!(breaks_of("agent/src/protocols/http2/mod.rs", "use crate::protocols::grpc::Media;\n").is_empty());
        assert_eq!(breaks_of("agent/src/protocols/grpc/mod.rs", "use crate::protocols::http2::Frame;\n").len(), 1);
        assert_eq!(breaks_of("agent/src/protocols/http1/mod.rs", "use crate::protocols::http2::Frame;\n").len(), 1);
        assert_eq!(breaks_of("agent/src/protocols/http1/mod.rs", "use super::http2::Frame;\n").len(), 1);
        assert!(breaks_of("agent/src/protocols/mod.rs", "pub mod http1;\nuse http1::Http1;\n").is_empty());
    }

    #[test]
    fn protocols_have_no_clock_no_io_and_no_kernel() {
        assert_eq!(breaks_of("agent/src/protocols/http1/parse.rs", "use std::time::Instant;\n").len(), 1);
        assert_eq!(breaks_of("agent/src/protocols/http1/parse.rs", "use std::{fmt, net::IpAddr};\n").len(), 1);
        assert_eq!(breaks_of("agent/src/protocols/http1/parse.rs", "tracing::warn!(1);\n").len(), 1);
        assert!(breaks_of("agent/src/protocols/http1/parse.rs", "use std::fmt;\n").is_empty());
    }

    #[test]
    fn test_modules_may_import_what_they_need() {
        let text = "use crate::model::A;\n#[cfg(test)]\nmod tests {\n    use crate::export::B;\n}\n";
        assert!(breaks_of("agent/src/conn/mod.rs", text).is_empty());
    }
}
