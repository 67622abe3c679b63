//! The effective configuration as people read it: YAML with each value's origin behind it.

use super::node::{Node, Value};

/// Maps whose values can be credentials.
const HIDDEN: &[&str] = &["headers"];
/// Keys whose value is one.
const SECRET: &[&str] = &["token", "cloud_api_key"];

pub(crate) fn show(tree: &Node) -> String {
    let mut out = String::new();
    if let Value::Map(entries) = &tree.value {
        for (key, node) in entries {
            entry(&mut out, &key.name, node, 0);
        }
    }
    out
}

/// Puts `***` in the place of what can be a secret.
pub(crate) fn hide(json: &mut serde_json::Value) {
    use serde_json::Value as Json;
    match json {
        Json::Object(entries) => {
            for (key, value) in entries {
                match value {
                    Json::Object(values) if HIDDEN.contains(&key.as_str()) => {
                        values.values_mut().for_each(|value| *value = "***".into());
                    }
                    Json::String(_) if SECRET.contains(&key.as_str()) => *value = "***".into(),
                    _ => hide(value),
                }
            }
        }
        Json::Array(items) => items.iter_mut().for_each(hide),
        _ => {}
    }
}

fn entry(out: &mut String, name: &str, node: &Node, depth: usize) {
    let indent = "  ".repeat(depth);
    let name = scalar(name, false);
    match &node.value {
        Value::Map(entries) if !entries.is_empty() => {
            out.push_str(&format!("{indent}{name}:\n"));
            for (key, child) in entries {
                if HIDDEN.contains(&name.as_str()) {
                    let key = scalar(&key.name, false);
                    out.push_str(&format!("{indent}  {key}: \"***\"  # {}\n", child.origin));
                } else {
                    entry(out, &key.name, child, depth + 1);
                }
            }
        }
        Value::Seq(items) if !items.is_empty() => {
            if items.iter().all(|item| matches!(item.value, Value::Scalar { .. })) {
                let words: Vec<String> = items.iter().map(inline).collect();
                out.push_str(&format!("{indent}{name}: [{}]  # {}\n", words.join(", "), node.origin));
            } else {
                out.push_str(&format!("{indent}{name}:  # {}\n", node.origin));
                for child in items {
                    item(out, child, depth + 1);
                }
            }
        }
        Value::Scalar { .. } if SECRET.contains(&name.as_str()) => {
            out.push_str(&format!("{indent}{name}: \"***\"  # {}\n", node.origin));
        }
        _ => out.push_str(&format!("{indent}{name}: {}  # {}\n", inline(node), node.origin)),
    }
}

fn item(out: &mut String, node: &Node, depth: usize) {
    let Value::Map(entries) = &node.value else {
        out.push_str(&format!("{}- {}  # {}\n", "  ".repeat(depth), inline(node), node.origin));
        return;
    };
    let start = out.len();
    for (key, child) in entries {
        entry(out, &key.name, child, depth + 1);
    }
    // The first line's indent becomes the item's dash.
    let dash = start + depth * 2;
    if out.len() > dash + 2 {
        out.replace_range(dash..dash + 2, "- ");
    }
}

fn inline(node: &Node) -> String {
    match &node.value {
        Value::Null => "null".to_owned(),
        Value::Scalar { text, is_plain } => scalar(text, *is_plain),
        Value::Seq(_) => "[]".to_owned(),
        Value::Map(_) => "{}".to_owned(),
    }
}

/// A scalar that reads back as it is: bare if it is an ordinary word, else quoted.
fn scalar(text: &str, is_plain: bool) -> String {
    let is_word = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-');
    let lower = text.to_ascii_lowercase();
    let is_truth = matches!(lower.as_str(), "true" | "false");
    // Some readers take these for truth values.
    let is_truth_elsewhere = matches!(lower.as_str(), "yes" | "no" | "on" | "off" | "y" | "n" | "null");
    let is_number = text.parse::<f64>().is_ok();
    if is_number || is_truth || is_truth_elsewhere {
        if is_plain && !is_truth_elsewhere {
            return text.to_owned();
        }
    } else if text.parse::<super::Period>().is_ok()
        || (text.starts_with(|c: char| c.is_ascii_alphabetic() || c == '/') && text.chars().all(is_word))
    {
        return text.to_owned();
    }
    // JSON's quoting is YAML's; `$` would be looked up in the environment.
    serde_json::Value::from(text).to_string().replace('$', "$$")
}
