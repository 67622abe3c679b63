//! `docs/migrating.md` says what becomes of each option of theirs: its table is made of the lists, and held against them.

use std::{collections::BTreeMap, path::Path};

use serde_json::Value as Json;

use super::{env, load, node::Node, schema::schema, theirs};

/// An option that works: key, variable, what it is read as.
fn supported() -> impl Iterator<Item = (&'static str, Option<&'static str>, Option<&'static str>)> {
    include_str!("obi_supported.txt").lines().filter(|line| !line.starts_with('#')).map(|line| {
        let (line, note) = line.split_once(" : ").map_or((line, None), |(line, note)| (line, Some(note)));
        let mut words = line.split_whitespace();
        (words.next().unwrap(), words.next(), note)
    })
}

/// The schema below a dotted key.
fn below<'a>(schema: &'a Json, root: &'a Json, key: &str) -> Option<&'a Json> {
    let mut open = vec![schema];
    let (name, rest) = key.split_once('.').map_or((key, None), |(name, rest)| (name, Some(rest)));
    let (name, is_list) = name.strip_suffix("[]").map_or((name, false), |name| (name, true));
    while let Some(form) = open.pop() {
        if let Some(name) = form.get("$ref").and_then(Json::as_str).and_then(|path| path.strip_prefix("#/$defs/")) {
            open.push(&root["$defs"][name]);
        }
        for word in ["anyOf", "oneOf", "allOf"] {
            open.extend(form.get(word).and_then(Json::as_array).into_iter().flatten());
        }
        if let Some(found) = form.get("properties").and_then(|all| all.get(name)) {
            let found = if is_list { &found["items"] } else { found };
            return match rest {
                Some(rest) => below(found, root, rest),
                None => Some(found),
            };
        }
    }
    None
}

#[test]
fn each_option_that_is_said_to_work_is_one_of_the_schema_or_read_as_one() {
    let schema = schema();
    for (key, variable, note) in supported() {
        assert!(note.is_some() || below(&schema, &schema, key).is_some(), "{key} is no key");
        assert!(theirs::rows().iter().all(|row| row.key != key), "{key} is refused too");
        if let Some(variable) = variable {
            let known = env::keys_of(variable);
            assert!(known.iter().any(|known| known == key), "{variable} sets {known:?}, not {key}");
        }
    }
    // What is read under another name is no unknown key, and says something.
    for (key, _, note) in supported().filter(|(key, _, note)| note.is_some() && !key.ends_with("[]")) {
        let mut tree = Node::empty_map(super::node::Origin::Default);
        let is_switch = key == "print_traces" || key.ends_with("system_wide");
        tree.set(key, Node::text(if is_switch { "true" } else { "text" }, super::node::Origin::Default));
        let (mut problems, mut warnings) = (Vec::new(), Vec::new());
        let unknown = load::translate(&mut tree, &schema, &mut problems, &mut warnings);
        assert!(
            unknown.is_empty() && problems.is_empty() && warnings.is_empty(),
            "{key}: {unknown:?} {problems:?} {warnings:?}"
        );
        assert!(!tree.is_empty() || key.ends_with("system_wide"), "{key} ({note:?}) says nothing");
    }
}

/// One row for each option, by its key.
fn table() -> String {
    let mut rows = BTreeMap::new();
    for (key, variable, note) in supported() {
        rows.insert(key, (variable, note.map_or_else(|| "works".to_owned(), |note| format!("works: {note}"))));
    }
    for row in theirs::rows() {
        let what = match row.reason {
            Some(reason) => format!("refused: {reason}"),
            None => "not there yet".to_owned(),
        };
        rows.insert(row.key, (row.env, what));
    }
    let mut table = "| option | variable | here |\n| --- | --- | --- |\n".to_owned();
    for (key, (variable, what)) in rows {
        let variable = variable.map(|name| format!("`{name}`")).unwrap_or_default();
        table.push_str(&format!("| `{key}` | {variable} | {what} |\n"));
    }
    table
}

/// With `BEYLA_RS_WRITE_DOCS=1` the table is written instead.
#[test]
fn the_table_of_options_in_the_documentation_is_that_of_the_lists() {
    const BEGIN: &str = "<!-- options -->\n";
    const END: &str = "<!-- end of options -->\n";
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/migrating.md");
    let text = std::fs::read_to_string(&path).unwrap();
    let (before, rest) = text.split_once(BEGIN).unwrap();
    let (found, after) = rest.split_once(END).unwrap();
    let expected = table();
    if std::env::var_os("BEYLA_RS_WRITE_DOCS").is_some() {
        std::fs::write(&path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
    } else {
        assert!(found == expected, "docs/migrating.md is behind its lists: run this test with BEYLA_RS_WRITE_DOCS=1");
    }
}
