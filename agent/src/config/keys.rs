//! Which keys exist. The schema of the typed structure is the list; what it lacks is one of OBI's options or a mistake.

use serde_json::Value as Json;

use super::{
    error::Problem,
    node::{Node, Value},
    theirs::{self, ObiKey},
};

/// Looks through one layer: keys that are most likely mistyped are problems, OBI's options that we lack are warnings. What
/// is near to nothing that is known, as an option of a version of OBI that is newer than this list, is given back. All these
/// are taken out of the tree.
pub(crate) fn check(
    tree: &mut Node,
    schema: &Json,
    problems: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) -> Vec<Problem> {
    let mut walk = Walk { schema, problems, warnings, unknown: Vec::new() };
    walk.node(tree, Some(schema), "", "");
    walk.unknown
}

struct Walk<'a> {
    schema: &'a Json,
    problems: &'a mut Vec<Problem>,
    warnings: &'a mut Vec<Problem>,
    unknown: Vec<Problem>,
}

impl<'a> Walk<'a> {
    /// `path` has `[]` for items, `shown` their index.
    fn node(&mut self, node: &mut Node, schema: Option<&'a Json>, path: &str, shown: &str) {
        match &mut node.value {
            Value::Map(entries) => {
                let forms = schema.map(|schema| self.forms(schema)).unwrap_or_default();
                entries.retain_mut(|(key, child)| {
                    let child_path = join(path, &key.name);
                    let child_shown = join(shown, &key.name);
                    let ours = forms.iter().find_map(|form| form.get("properties")?.get(&key.name));
                    let free = forms.iter().find_map(|form| form.get("additionalProperties").filter(|s| s.is_object()));
                    if let Some(schema) = ours.or(free) {
                        self.node(child, Some(schema), &child_path, &child_shown);
                        return true;
                    }
                    match theirs::look_up(&child_path) {
                        ObiKey::Option(row) if row.asks_nothing(child) => {}
                        ObiKey::Option(row) => {
                            self.warnings.push(Problem::at(key.origin.clone(), child_shown, row.message()));
                        }
                        ObiKey::Section if !child.is_empty() => self.node(child, None, &child_path, &child_shown),
                        ObiKey::Section => {}
                        ObiKey::Unknown => {
                            let problem = |message| Problem::at(key.origin.clone(), child_shown, message);
                            match self.meant(path, &key.name, &forms) {
                                Some(near) => {
                                    let is_ours =
                                        forms.iter().any(|form| has_property(form, &near)) || near.contains('.');
                                    let message = format!("is no known key; did you mean `{near}`?");
                                    // One that would be ignored however it is written does no harm.
                                    if is_ours { &mut *self.problems } else { &mut self.unknown }
                                        .push(problem(message));
                                }
                                None => self.unknown.push(problem("is no known key; it is ignored".to_owned())),
                            }
                        }
                    }
                    false
                });
            }
            Value::Seq(items) => {
                let forms = schema.map(|schema| self.forms(schema)).unwrap_or_default();
                let item_schema = forms.iter().find_map(|form| form.get("items"));
                for (index, item) in items.iter_mut().enumerate() {
                    self.node(item, item_schema, &format!("{path}[]"), &format!("{shown}[{index}]"));
                }
            }
            Value::Null | Value::Scalar { .. } => {}
        }
    }

    /// The schema itself with references followed and alternatives laid open.
    fn forms(&self, schema: &'a Json) -> Vec<&'a Json> {
        let mut open = vec![schema];
        let mut forms = Vec::new();
        while let Some(schema) = open.pop() {
            // References of a schema that we made: the depth is ours.
            if let Some(name) = schema.get("$ref").and_then(Json::as_str).and_then(|r| r.strip_prefix("#/$defs/")) {
                open.extend(self.schema.get("$defs").and_then(|defs| defs.get(name)));
            }
            for word in ["anyOf", "oneOf", "allOf"] {
                open.extend(schema.get(word).and_then(Json::as_array).into_iter().flatten());
            }
            forms.push(schema);
        }
        forms
    }

    /// The key that was most likely meant.
    fn meant(&self, section: &str, name: &str, forms: &[&'a Json]) -> Option<String> {
        let ours = forms.iter().filter_map(|form| form.get("properties")?.as_object()).flat_map(|map| map.keys());
        let theirs: Vec<&str> = theirs::keys_below(section).collect();
        let beside = ours.map(String::as_str).chain(theirs);
        nearest(name, beside).map(str::to_owned).or_else(|| self.elsewhere(name))
    }

    /// The full path of our key of this very name in another section.
    fn elsewhere(&self, name: &str) -> Option<String> {
        let mut open = vec![(String::new(), self.schema)];
        while let Some((path, schema)) = open.pop() {
            for form in self.forms(schema) {
                for (key, child) in form.get("properties").and_then(Json::as_object).into_iter().flatten() {
                    let child_path = join(&path, key);
                    if key == name {
                        return Some(child_path);
                    }
                    if child_path.split('.').count() < 6 {
                        open.insert(0, (child_path, child));
                    }
                }
            }
        }
        None
    }
}

fn has_property(schema: &Json, name: &str) -> bool {
    schema.get("properties").is_some_and(|properties| properties.get(name).is_some())
}

fn join(path: &str, name: &str) -> String {
    if path.is_empty() { name.to_owned() } else { format!("{path}.{name}") }
}

/// The candidate that `word` is most likely a mistyping of, if any is near.
pub(crate) fn nearest<'a>(word: &str, candidates: impl Iterator<Item = &'a str>) -> Option<&'a str> {
    let word = word.to_ascii_lowercase();
    let limit = (word.chars().count() / 3).clamp(1, 4);
    candidates
        .map(|candidate| (strsim::damerau_levenshtein(&word, &candidate.to_ascii_lowercase()), candidate))
        .filter(|(distance, _)| *distance <= limit)
        .min()
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_word_is_found_only_if_it_is_near() {
        let words = ["endpoint", "protocol", "headers"];
        assert_eq!(nearest("endpiont", words.into_iter()), Some("endpoint"));
        assert_eq!(nearest("Header", words.into_iter()), Some("headers"));
        assert_eq!(nearest("timeout", words.into_iter()), None);
    }
}
