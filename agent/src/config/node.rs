//! Configuration before it has types: a tree whose every value and key knows where it came from. Files, environment,
//! flags and defaults all become such trees; one is laid over the other, and what results is read into the typed
//! structure. Scalars stay text until a type asks, so a value means the same from every source.

use std::{fmt, sync::Arc};

/// Where a value came from.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Origin {
    /// The program's own default.
    Default,
    /// A place in a file; line and column count from 1.
    File {
        /// The file as the user named it.
        file: Arc<str>,
        /// Line.
        line: u32,
        /// Column.
        column: u32,
    },
    /// An environment variable, as it was spelled.
    Env(Arc<str>),
    /// A command-line flag.
    Flag(&'static str),
}

impl Origin {
    pub(crate) fn env(name: &str) -> Self {
        Self::Env(name.into())
    }

    /// What an error message begins with: the place, and for a file the key.
    pub(crate) fn blame(&self, key: &str) -> String {
        match self {
            Self::Default => key.to_owned(),
            Self::File { file, line, column } if key.is_empty() => format!("{file}:{line}:{column}"),
            Self::File { file, line, column } => format!("{file}:{line}:{column}: {key}"),
            Self::Env(name) => name.to_string(),
            Self::Flag(name) => (*name).to_owned(),
        }
    }
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => f.write_str("default"),
            Self::File { file, line, .. } => write!(f, "file {file}:{line}"),
            Self::Env(name) => write!(f, "env {name}"),
            Self::Flag(name) => write!(f, "flag {name}"),
        }
    }
}

/// A value and its origin.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Node {
    pub(crate) value: Value,
    pub(crate) origin: Origin,
}

/// A value without its type.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Value {
    Null,
    /// Text; `is_plain` if it was not quoted, so that it may also be a number or a truth value.
    Scalar {
        text: String,
        is_plain: bool,
    },
    Seq(Vec<Node>),
    /// In the order it was written.
    Map(Vec<(Key, Node)>),
}

/// A key and where it stands.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Key {
    pub(crate) name: String,
    pub(crate) origin: Origin,
}

impl Node {
    pub(crate) fn empty_map(origin: Origin) -> Self {
        Self { value: Value::Map(Vec::new()), origin }
    }

    pub(crate) fn null(origin: Origin) -> Self {
        Self { value: Value::Null, origin }
    }

    /// A scalar that may be read as any type.
    pub(crate) fn text(text: impl Into<String>, origin: Origin) -> Self {
        Self { value: Value::Scalar { text: text.into(), is_plain: true }, origin }
    }

    pub(crate) fn list(items: impl IntoIterator<Item = String>, origin: Origin) -> Self {
        let items = items.into_iter().map(|item| Self::text(item, origin.clone())).collect();
        Self { value: Value::Seq(items), origin }
    }

    pub(crate) fn pairs(pairs: impl IntoIterator<Item = (String, String)>, origin: Origin) -> Self {
        let entries = pairs
            .into_iter()
            .map(|(name, value)| {
                let node = Self { value: Value::Scalar { text: value, is_plain: false }, origin: origin.clone() };
                (Key { name, origin: origin.clone() }, node)
            })
            .collect();
        Self { value: Value::Map(entries), origin }
    }

    pub(crate) fn from_json(json: &serde_json::Value, origin: &Origin) -> Self {
        use serde_json::Value as Json;
        let scalar = |text: String, is_plain| Value::Scalar { text, is_plain };
        let value = match json {
            Json::Null => Value::Null,
            Json::Bool(value) => scalar(value.to_string(), true),
            Json::Number(value) => scalar(value.to_string(), true),
            Json::String(value) => scalar(value.clone(), false),
            Json::Array(items) => Value::Seq(items.iter().map(|item| Self::from_json(item, origin)).collect()),
            Json::Object(entries) => Value::Map(
                entries
                    .iter()
                    .map(|(name, value)| {
                        (Key { name: name.clone(), origin: origin.clone() }, Self::from_json(value, origin))
                    })
                    .collect(),
            ),
        };
        Self { value, origin: origin.clone() }
    }

    /// Whether nothing is said here: null, or a map or list of nothing.
    /// Whether a file says anything of it.
    pub(crate) fn is_of_file(&self) -> bool {
        match &self.value {
            Value::Map(entries) => {
                entries.iter().any(|(key, node)| matches!(key.origin, Origin::File { .. }) || node.is_of_file())
            }
            _ => matches!(self.origin, Origin::File { .. }),
        }
    }

    pub(crate) fn is_empty(&self) -> bool {
        match &self.value {
            Value::Null => true,
            Value::Scalar { .. } => false,
            Value::Seq(items) => items.is_empty(),
            Value::Map(entries) => entries.is_empty(),
        }
    }

    /// The node at a dotted path of map keys.
    pub(crate) fn get(&self, path: &str) -> Option<&Self> {
        path.split('.').try_fold(self, Self::entry)
    }

    /// The node of a map's key, which may have dots itself.
    pub(crate) fn entry(&self, name: &str) -> Option<&Self> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|(key, _)| key.name == name).map(|(_, node)| node),
            _ => None,
        }
    }

    /// The same, to change it.
    pub(crate) fn get_mut(&mut self, path: &str) -> Option<&mut Self> {
        path.split('.').try_fold(self, |node, name| match &mut node.value {
            Value::Map(entries) => entries.iter_mut().find(|(key, _)| key.name == name).map(|(_, node)| node),
            _ => None,
        })
    }

    /// Sets the node at a dotted path, making the maps on the way.
    pub(crate) fn set(&mut self, path: &str, node: Self) {
        let (name, rest) = match path.split_once('.') {
            Some((name, rest)) => (name, Some(rest)),
            None => (path, None),
        };
        if !matches!(self.value, Value::Map(_)) {
            self.value = Value::Map(Vec::new());
        }
        let Value::Map(entries) = &mut self.value else { return };
        let index = match entries.iter().position(|(key, _)| key.name == name) {
            Some(index) => index,
            None => {
                let key = Key { name: name.to_owned(), origin: node.origin.clone() };
                entries.push((key, Self::empty_map(node.origin.clone())));
                entries.len() - 1
            }
        };
        let Some((_, slot)) = entries.get_mut(index) else { return };
        match rest {
            Some(rest) => slot.set(rest, node),
            None => *slot = node,
        }
    }

    /// Takes out the value at a path of keys and `[index]`; whether there was one.
    pub(crate) fn clear(&mut self, path: &[String]) -> bool {
        let Some((segment, rest)) = path.split_first() else {
            let was_set = self.value != Value::Null;
            self.value = Value::Null;
            return was_set;
        };
        match &mut self.value {
            Value::Map(entries) => {
                entries.iter_mut().find(|(key, _)| key.name == *segment).is_some_and(|(_, node)| node.clear(rest))
            }
            // An item is not cleared but removed: no type has a null item.
            Value::Seq(items) => {
                let index = segment.trim_matches(['[', ']']).parse::<usize>().ok().filter(|index| *index < items.len());
                match index {
                    Some(index) if rest.is_empty() => {
                        items.remove(index);
                        true
                    }
                    Some(index) => items.get_mut(index).is_some_and(|node| node.clear(rest)),
                    None => false,
                }
            }
            _ => false,
        }
    }

    /// Lays `over` over this tree: maps are merged key by key, anything else replaces, and null says nothing.
    pub(crate) fn overlay(&mut self, over: Self) {
        let Value::Map(over_entries) = over.value else {
            if over.value != Value::Null {
                *self = over;
            }
            return;
        };
        let Value::Map(entries) = &mut self.value else {
            *self = Self { value: Value::Map(over_entries), origin: over.origin };
            return;
        };
        if !over_entries.is_empty() {
            self.origin = over.origin;
        }
        for (key, node) in over_entries {
            match entries.iter_mut().find(|(known, _)| known.name == key.name) {
                Some((known, slot)) => {
                    if node.value != Value::Null {
                        *known = key;
                    }
                    slot.overlay(node);
                }
                None => entries.push((key, node)),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_layer_replaces_values_and_keeps_what_it_does_not_name() {
        let mut tree = Node::empty_map(Origin::Default);
        tree.set("a.b", Node::text("1", Origin::Default));
        tree.set("a.c", Node::text("2", Origin::Default));
        let mut over = Node::empty_map(Origin::Flag("--x"));
        over.set("a.c", Node::text("3", Origin::Flag("--x")));
        over.set("a.b", Node::null(Origin::Flag("--x")));
        tree.overlay(over);
        assert_eq!(tree.get("a.b"), Some(&Node::text("1", Origin::Default)));
        assert_eq!(tree.get("a.c"), Some(&Node::text("3", Origin::Flag("--x"))));
    }
}
