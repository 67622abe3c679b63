//! `config migrate`: a file of OBI's or Beyla's, of either version, as one of ours. What is written is held against what the file
//! means before it is handed out: both give the same effective configuration, or there is an error.

use std::path::Path;

use super::{
    Config, Environment,
    error::{ConfigError, Problem},
    load::{defaults, file_text, translate},
    node::{Node, Origin, Value},
    reload,
    schema::schema,
    validate, yaml,
};

/// Reads a file and writes it anew, in our keys. Variables stay where the file has them, if it means the same with them.
///
/// # Errors
/// What is wrong with the file.
pub(crate) fn migrate(path: &Path, environment: &Environment) -> Result<String, ConfigError> {
    let shown = path.display().to_string();
    let text = file_text(path)?;
    rewritten(&shown, &text, environment)
}

pub(super) fn rewritten(file: &str, text: &str, environment: &Environment) -> Result<String, ConfigError> {
    let meant = effective(file, text, environment)?;
    let means_the_same = |migrated: &str| {
        let again = effective("the migrated file", migrated, environment);
        again.map(|again| reload::changed_keys(&meant, &again))
    };
    let as_written = Migrated::read(file, text, None).map(|migrated| migrated.write(false));
    if let Ok(migrated) = as_written
        && means_the_same(&migrated).is_ok_and(|differing| differing.is_empty())
    {
        return Ok(migrated);
    }
    let migrated = Migrated::read(file, text, Some(environment))?.write(true);
    let differing = means_the_same(&migrated)?;
    if differing.is_empty() {
        return Ok(migrated);
    }
    let message = format!("cannot be written anew so that it means the same: {}", differing.join(", "));
    Err(Problem::at(Origin::Default, file, message).into())
}

/// What a file means, by itself.
fn effective(file: &str, text: &str, environment: &Environment) -> Result<Config, ConfigError> {
    let (mut problems, mut warnings) = (Vec::new(), Vec::new());
    let mut layer = yaml::parse(file, text, environment, &mut warnings)?;
    let _told_elsewhere = translate(&mut layer, &schema(), &mut problems, &mut warnings);
    let mut tree = defaults()?;
    tree.overlay(layer);
    match super::de::from_node::<Config>(&mut tree.clone()) {
        Ok(config) => {
            validate::validate(&config, &tree, &mut problems, &mut warnings);
            if problems.is_empty() {
                return Ok(config);
            }
        }
        Err(more) => problems.extend(more),
    }
    Err(ConfigError { problems })
}

/// A file in our keys, and what of it was not taken over.
struct Migrated<'a> {
    file: &'a str,
    tree: Node,
    left: Vec<Problem>,
}

impl<'a> Migrated<'a> {
    /// With the values of variables, or (`None`) with their names.
    fn read(file: &'a str, text: &str, environment: Option<&Environment>) -> Result<Self, ConfigError> {
        let (mut problems, mut left) = (Vec::new(), Vec::new());
        let mut tree = match environment {
            Some(environment) => yaml::parse(file, text, environment, &mut Vec::new())?,
            None => yaml::parse_as_written(file, text)?,
        };
        let unknown = translate(&mut tree, &schema(), &mut problems, &mut left);
        left.extend(unknown);
        if problems.is_empty() { Ok(Self { file, tree, left }) } else { Err(ConfigError { problems }) }
    }

    fn write(&self, has_values: bool) -> String {
        let mut out = format!("# Made of {} by `beyla-rs config migrate`.\n", self.file);
        if has_values {
            out.push_str("# Variables of the environment are replaced by the values that they had.\n");
        }
        if !self.left.is_empty() {
            out.push_str("# Not taken over:\n");
            for problem in &self.left {
                let line = problem.to_string().replace('\n', " ");
                out.push_str(&format!("#   {line}\n"));
            }
        }
        map(&mut out, &self.tree, 0, has_values);
        out
    }
}

fn map(out: &mut String, node: &Node, depth: usize, escapes: bool) {
    let Value::Map(entries) = &node.value else { return };
    for (key, node) in entries {
        let start = format!("{}{}:", "  ".repeat(depth), scalar(&key.name, true, false));
        match &node.value {
            // It says nothing.
            Value::Null => {}
            Value::Scalar { text, is_plain } => {
                out.push_str(&format!("{start} {}\n", scalar(text, *is_plain, escapes)))
            }
            Value::Seq(items) if items.is_empty() => out.push_str(&format!("{start} []\n")),
            Value::Map(entries) if entries.is_empty() => out.push_str(&format!("{start} {{}}\n")),
            Value::Seq(_) => {
                out.push_str(&format!("{start}\n"));
                list(out, node, depth + 1, escapes);
            }
            Value::Map(_) => {
                out.push_str(&format!("{start}\n"));
                map(out, node, depth + 1, escapes);
            }
        }
    }
}

fn list(out: &mut String, node: &Node, depth: usize, escapes: bool) {
    let Value::Seq(items) = &node.value else { return };
    let indent = "  ".repeat(depth);
    for item in items {
        match &item.value {
            Value::Null => {}
            Value::Scalar { text, is_plain } => {
                out.push_str(&format!("{indent}- {}\n", scalar(text, *is_plain, escapes)));
            }
            Value::Seq(_) => {
                out.push_str(&format!("{indent}-\n"));
                list(out, item, depth + 1, escapes);
            }
            Value::Map(_) => {
                let start = out.len();
                map(out, item, depth + 1, escapes);
                // The first line's indent becomes the item's dash.
                let dash = start + depth * 2;
                if out.len() > dash + 2 {
                    out.replace_range(dash..dash + 2, "- ");
                } else {
                    out.push_str(&format!("{indent}- {{}}\n"));
                }
            }
        }
    }
}

/// A scalar that reads back as it is. `$` would be looked up in the environment; where that is meant it stays.
fn scalar(text: &str, is_plain: bool, escapes: bool) -> String {
    let begins =
        text.starts_with(|c: char| c.is_ascii_alphanumeric() || matches!(c, '/' | '_' | '.')) || text.starts_with("${");
    let is_bare = is_plain
        && begins
        && !text.ends_with([':', ' '])
        && !text.contains(": ")
        && !text.contains(" #")
        && !text.contains(char::is_control)
        && !text.eq_ignore_ascii_case("null");
    let text = if escapes { text.replace('$', "$$") } else { text.to_owned() };
    // JSON's quoting is YAML's.
    if is_bare { text } else { serde_json::Value::from(text).to_string() }
}

#[cfg(test)]
mod tests;
