//! A list of attributes in the making.

use compact_str::CompactString;

use crate::model::span::{Attribute, Value};

/// Room for all attributes of nearly every span, so that the list is allocated once.
const CAPACITY: usize = 24;

#[derive(Debug)]
pub(super) struct Attributes(Vec<Attribute>);

impl Attributes {
    pub(super) fn new() -> Self {
        Self(Vec::with_capacity(CAPACITY))
    }

    pub(super) fn push(&mut self, key: &'static str, value: Value) {
        self.0.push(Attribute { key, value });
    }

    pub(super) fn push_int(&mut self, key: &'static str, value: Option<impl Into<i64>>) {
        if let Some(value) = value {
            self.push(key, Value::Int(value.into()));
        }
    }

    pub(super) fn push_count(&mut self, key: &'static str, value: Option<u64>) {
        self.push_int(key, value.map(|count| i64::try_from(count).unwrap_or(i64::MAX)));
    }

    pub(super) fn push_str(&mut self, key: &'static str, value: Option<CompactString>) {
        if let Some(value) = value {
            self.push(key, Value::Str(value));
        }
    }

    /// Pushes `true`; what is false is left out.
    pub(super) fn push_flag(&mut self, key: &'static str, flag: bool) {
        if flag {
            self.push(key, Value::Bool(true));
        }
    }

    /// Pushes what a peer told under a name of its own, which replaces nothing that was seen.
    pub(super) fn push_foreign(&mut self, key: &'static str, value: &CompactString) {
        if self.0.iter().all(|attribute| attribute.key != key) {
            self.push(key, Value::Str(value.clone()));
        }
    }

    pub(super) fn into_vec(self) -> Vec<Attribute> {
        self.0
    }
}
