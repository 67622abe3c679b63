//! Which module of the agent, and of the kernel side, may name which.

use super::rules::{FORBIDDEN, Layer, PROTOCOL_IMPORTS};
use super::text::{Source, line_at, words};

/// Checks a file; `inner` is its path below the `src` to which the table `layers` belongs.
pub(super) fn check(name: &str, inner: &str, layers: &[Layer], source: &Source, breaks: &mut Vec<String>) {
    let here = module_path(inner);
    let Some(own) = here.first().copied() else { return };
    let Some(layer) = layers.iter().find(|layer| layer.module == own) else {
        breaks.push(format!("{name}: the module `{own}` is not in the table of who imports whom: add it"));
        return;
    };
    if inner.ends_with("/tests.rs") || inner.contains("/tests/") {
        return;
    }
    let code = source.shipped();
    let first = breaks.len();
    for (at, path) in paths(code, &here) {
        let line = line_at(code, at);
        let Some(target) = path.first() else { continue };
        let is_module = layers.iter().any(|layer| layer.module == target);
        if is_module && target != own && !layer.may_import.contains(&target.as_str()) {
            breaks.push(format!("{name}:{line}: `{own}` must not import `{target}`"));
        }
        if let (["protocols", this, ..], ["protocols", other, ..]) = (&here[..], &strs(&path)[..])
            && this != other
            && is_folder_of_protocols(other)
            && !PROTOCOL_IMPORTS.contains(&(*this, *other))
        {
            breaks.push(format!("{name}:{line}: the protocol `{this}` must not import the protocol `{other}`"));
        }
    }
    for (_, forbidden) in FORBIDDEN.iter().filter(|(module, _)| *module == own) {
        for (at, path) in outside_paths(code) {
            if let Some(what) = forbidden.iter().find(|what| path == **what || path.starts_with(&format!("{what}::"))) {
                breaks.push(format!("{name}:{}: `{own}` must not use `{what}`", line_at(code, at)));
            }
        }
    }
    // `use crate::later::{A, B}` is one break.
    let mut own_breaks = breaks.split_off(first);
    own_breaks.dedup();
    breaks.append(&mut own_breaks);
}

/// `protocols/http1/parse.rs` is the module `protocols::http1::parse`.
fn module_path(inner: &str) -> Vec<&str> {
    inner.trim_end_matches(".rs").trim_end_matches("/mod").split('/').collect()
}

/// A sibling in `protocols/` that is a protocol, not one of the words all of them share.
fn is_folder_of_protocols(name: &str) -> bool {
    xtask::shell::root().join("agent/src/protocols").join(name).is_dir()
        || PROTOCOL_IMPORTS.iter().any(|(a, b)| *a == name || *b == name)
}

fn strs(path: &[String]) -> Vec<&str> {
    path.iter().map(String::as_str).collect()
}

/// Paths into our own crate, from its root: those that begin with `crate::` and those that climb by `super::`.
fn paths(code: &str, here: &[&str]) -> Vec<(usize, Vec<String>)> {
    let mut found = Vec::new();
    for (at, word) in words(code) {
        let follows_a_path = code[..at].trim_end().ends_with("::");
        let base: Vec<String> = match word {
            "crate" if !follows_a_path => Vec::new(),
            "super" if !follows_a_path => here[..here.len().saturating_sub(1)].iter().map(|&m| m.to_owned()).collect(),
            _ => continue,
        };
        expand(code, at, at + word.len(), &base, &mut found);
    }
    found
}

/// Paths that begin outside of our crate and have at least two parts.
fn outside_paths(code: &str) -> Vec<(usize, String)> {
    let mut found = Vec::new();
    for (at, word) in words(code) {
        if code[..at].trim_end().ends_with("::") || !code[at + word.len()..].starts_with("::") {
            continue;
        }
        expand(code, at, at + word.len(), &[word.to_owned()], &mut found);
    }
    found.into_iter().map(|(at, path)| (at, path.join("::"))).collect()
}

/// Follows `::a::{b, c::d}` from byte `end` on and adds every path it names.
fn expand(code: &str, at: usize, end: usize, base: &[String], found: &mut Vec<(usize, Vec<String>)>) {
    let Some(rest) = code[end..].strip_prefix("::") else {
        found.push((at, base.to_vec()));
        return;
    };
    let start = code.len() - rest.len();
    if let Some(group) = rest.strip_prefix('{') {
        let mut depth = 1;
        let mut item = start + 1;
        for (offset, c) in group.char_indices() {
            let here = start + 1 + offset;
            match c {
                '{' => depth += 1,
                '}' => depth -= 1,
                _ => {}
            }
            if (c == ',' && depth == 1) || depth == 0 {
                let skipped = code[item..here].len() - code[item..here].trim_start().len();
                step(code, item + skipped, base, found);
                item = here + 1;
            }
            if depth == 0 {
                break;
            }
        }
    } else {
        step(code, start, base, found);
    }
}

/// Takes the identifier at `start` onto the path and goes on behind it.
fn step(code: &str, start: usize, base: &[String], found: &mut Vec<(usize, Vec<String>)>) {
    let len = code[start..].find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(code.len() - start);
    let word = &code[start..start + len];
    let mut path = base.to_vec();
    match word {
        "" | "self" => {}
        "super" => {
            path.pop();
        }
        _ => path.push(word.to_owned()),
    }
    if word.is_empty() {
        found.push((start, path));
    } else {
        expand(code, start, start + len, &path, found);
    }
}
