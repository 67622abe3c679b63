//! What a command's text is: names, and a `?` for each value.

use compact_str::CompactString;

use super::bson::{Document, Element, Value};

/// Longest name of a command, or of a field.
const MAX_NAME: usize = 64;
/// Longest text.
const MAX_TEXT: usize = 1024;
/// Documents within documents that are told.
const MAX_DEPTH: usize = 8;

/// Commands whose first value is the collection that they are about.
const OF_COLLECTIONS: &[&str] = &[
    "aggregate",
    "analyze",
    "cloneCollectionAsCapped",
    "collMod",
    "collStats",
    "compact",
    "convertToCapped",
    "count",
    "create",
    "createIndexes",
    "createSearchIndexes",
    "dataSize",
    "delete",
    "distinct",
    "drop",
    "dropIndexes",
    "dropSearchIndex",
    "filemd5",
    "find",
    "findAndModify",
    "findandmodify",
    "geoNear",
    "group",
    "insert",
    "killCursors",
    "listIndexes",
    "mapReduce",
    "mapreduce",
    "planCacheClear",
    "planCacheClearFilters",
    "planCacheListFilters",
    "planCacheSetFilter",
    "reIndex",
    "setIndexCommitQuorum",
    "update",
    "updateSearchIndex",
    "validate",
];

/// Parts of commands that say what is looked for, and how. Of others nothing is told: they have to do with sessions, with who asks, or
/// are what is stored.
const TOLD: &[&str] = &[
    "filter",
    "query",
    "q",
    "u",
    "pipeline",
    "updates",
    "deletes",
    "update",
    "key",
    "sort",
    "projection",
    "fields",
    "hint",
    "limit",
    "skip",
    "batchSize",
    "indexes",
    "ordered",
    "upsert",
    "multi",
    "new",
    "remove",
    "collation",
    "let",
    "arrayFilters",
];

/// Whether a command may have this name.
pub(super) fn is_name(name: &str) -> bool {
    (1..=MAX_NAME).contains(&name.len()) && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

pub(super) fn takes_collection(name: &str) -> bool {
    OF_COLLECTIONS.contains(&name)
}

/// `db.query.text`, of commands that look for something in collections.
pub(super) fn text(name: &str, document: Document<'_>) -> Option<CompactString> {
    if !takes_collection(name) {
        return None;
    }
    let mut text = Text(CompactString::const_new("{"));
    for (at, Element { name, value }) in document.elements().enumerate() {
        let is_told = at == 0 || TOLD.contains(&name);
        if !is_told {
            continue;
        }
        if at > 0 {
            text.0.push_str(", ");
        }
        text.name(name);
        match value {
            // Its collection.
            Value::Text(collection) if at == 0 => text.quoted(collection),
            value => text.value(value, 0),
        }
    }
    text.0.push('}');
    Some(text.0)
}

struct Text(CompactString);

impl Text {
    fn is_full(&self) -> bool {
        self.0.len() >= MAX_TEXT
    }

    fn quoted(&mut self, word: &str) {
        self.0.push('"');
        for letter in word.chars().take(MAX_NAME).filter(|letter| !letter.is_control()) {
            if matches!(letter, '"' | '\\') {
                self.0.push('\\');
            }
            self.0.push(letter);
        }
        self.0.push('"');
    }

    fn name(&mut self, name: &str) {
        self.quoted(name);
        self.0.push_str(": ");
    }

    fn value(&mut self, value: Value<'_>, depth: usize) {
        let goes_on = depth < MAX_DEPTH && !self.is_full();
        match value {
            Value::Document(document) if goes_on => {
                self.0.push('{');
                for (at, Element { name, value }) in document.elements().enumerate() {
                    if at > 0 {
                        self.0.push_str(", ");
                    }
                    if self.is_full() {
                        self.0.push_str("...");
                        break;
                    }
                    self.name(name);
                    self.value(value, depth + 1);
                }
                self.0.push('}');
            }
            Value::Array(array) if goes_on => {
                self.0.push('[');
                let mut is_first = true;
                // Values are one, however many there are.
                let mut has_values = false;
                for Element { value, .. } in array.elements() {
                    let is_value = !matches!(value, Value::Document(_) | Value::Array(_));
                    if is_value && has_values {
                        continue;
                    }
                    has_values |= is_value;
                    if !is_first {
                        self.0.push_str(", ");
                    }
                    is_first = false;
                    if self.is_full() {
                        self.0.push_str("...");
                        break;
                    }
                    self.value(value, depth + 1);
                }
                self.0.push(']');
            }
            _ => self.0.push('?'),
        }
    }
}
