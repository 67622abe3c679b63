//! A list of attributes in the making.

use compact_str::CompactString;

use crate::model::span::{Attribute, Value};

/// Room for all attributes of nearly every span, so that the list is allocated once.
const CAPACITY: usize = 24;
/// Lists that are kept to be used again. The allocator keeps few of this size at hand, and merges and splits the others.
const FREE_MAX: usize = 64;

#[derive(Debug)]
pub(super) struct Attributes(Vec<Attribute>);

/// Lists whose spans are gone.
#[derive(Debug, Default)]
pub(super) struct Free(Vec<Vec<Attribute>>);

impl Free {
    /// An empty list.
    pub(super) fn take(&mut self) -> Attributes {
        Attributes(self.0.pop().unwrap_or_else(|| Vec::with_capacity(CAPACITY)))
    }

    /// A list that nobody needs any more.
    pub(super) fn give_back(&mut self, mut list: Vec<Attribute>) {
        if self.0.len() < FREE_MAX && list.capacity() == CAPACITY {
            list.clear();
            self.0.push(list);
        }
    }
}

impl Attributes {
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
