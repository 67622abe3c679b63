//! The dynamic table as far as it is known.
//!
//! An index counts from the newest entry, and entries are evicted at the oldest end. So an index below the number of
//! entries that were inserted before our eyes names one of those, whatever the table held before and whatever its size
//! is: an encoder never refers to what was evicted. An index beyond names an entry that is unknown, but the same one
//! whenever the arithmetic gives the same absolute number.
//!
//! Two things that look like traps are none. A field larger than the table empties it and is not inserted; if the
//! size is not known here it is kept here as if it had been. But then everything that is older is gone, nothing can
//! refer to it or to what is older, and what is newer is counted right. And `SETTINGS_HEADER_TABLE_SIZE` only bounds
//! what an encoder may choose: the size it did choose is told within its header blocks (RFC 7541, section 4.2).

use std::{
    collections::VecDeque,
    hash::{DefaultHasher, Hash, Hasher},
};

use super::Error;
use crate::protocols::http::Field;

/// What an entry adds to its strings (RFC 7541, section 4.1).
const ENTRY_OVERHEAD: u64 = 32;
/// The table's size until an encoder says otherwise.
const DEFAULT_SIZE: u64 = 4096;
/// Most that is kept, as RFC 7541 counts; older entries become unknown beyond.
const KEPT_SIZE: u64 = 64 * 1024;
/// An index that far beyond what is known is taken for nonsense.
const FURTHEST: u64 = 1 << 16;

/// A name, where it is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Name {
    Known(Field),
    /// The identity of an unknown name.
    Unknown(u64),
}

/// What is kept of an entry's value.
#[derive(Debug)]
pub(crate) enum Stored {
    /// Nobody asks for values of this field.
    Nothing,
    /// The value, or its beginning where it is `cut`.
    Value { bytes: Box<[u8]>, cut: bool },
    /// The name is unknown: the identity of name and value together.
    Identity(u64),
}

/// An entry that was inserted before our eyes.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) name: Name,
    /// 0 where the name is unknown: sizes are lower bounds then, and evict too late, which does no harm.
    pub(crate) name_len: u32,
    pub(crate) value_len: u32,
    pub(crate) stored: Stored,
}

impl Entry {
    fn size(&self) -> u64 {
        u64::from(self.name_len) + u64::from(self.value_len) + ENTRY_OVERHEAD
    }

    fn heap(&self) -> usize {
        match &self.stored {
            Stored::Value { bytes, .. } => bytes.len(),
            _ => 0,
        }
    }
}

/// What an index names.
pub(crate) enum Lookup<'a> {
    Known(&'a Entry),
    /// An entry from before our time.
    Unknown(UnknownEntry),
}

/// An entry from before our time: the epoch, and its number in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct UnknownEntry(u64, i64);

impl UnknownEntry {
    /// The identity of its name.
    pub(crate) fn name(self) -> u64 {
        identity(&("name", self))
    }

    /// The identity of name and value together.
    pub(crate) fn field(self) -> u64 {
        identity(&("field", self))
    }
}

/// See the module.
#[derive(Debug)]
pub(crate) struct Table {
    /// Newest first.
    entries: VecDeque<Entry>,
    /// Sum of the sizes of `entries`.
    size: u64,
    /// Heap bytes of their values.
    heap: usize,
    /// The size the encoder chose, where it is known.
    max_size: Option<u64>,
    /// The table certainly holds nothing but `entries`.
    complete: bool,
    /// How many entries were inserted since this epoch began: the newest has this number less one.
    inserted: i64,
    /// How often knowledge was lost.
    epoch: u64,
}

impl Table {
    /// A table met in mid-life.
    pub(crate) fn unknown() -> Self {
        Self { entries: VecDeque::new(), size: 0, heap: 0, max_size: None, complete: false, inserted: 0, epoch: 0 }
    }

    /// Forgets everything: insertions may have been missed.
    pub(crate) fn forget(&mut self) {
        *self = Self { epoch: self.epoch.wrapping_add(1), ..Self::unknown() };
    }

    /// The connection has only just begun: what was inserted so far before our eyes is all there is.
    pub(crate) fn assume_complete(&mut self) {
        self.complete = true;
        self.max_size.get_or_insert(DEFAULT_SIZE);
        self.evict();
    }

    /// Whether knowledge was never lost since the table was made.
    pub(crate) const fn never_lost(&self) -> bool {
        self.epoch == 0
    }

    /// Takes a size update.
    pub(crate) fn resize(&mut self, max_size: u64) {
        self.max_size = Some(max_size);
        self.complete |= max_size < ENTRY_OVERHEAD;
        self.evict();
    }

    pub(crate) fn insert(&mut self, entry: Entry) {
        let size = entry.size();
        if self.max_size.is_some_and(|max| size > max) {
            self.entries.clear();
            (self.size, self.heap) = (0, 0);
            self.complete = true;
            return;
        }
        self.size += size;
        self.heap += entry.heap();
        self.inserted += 1;
        self.entries.push_front(entry);
        self.evict();
    }

    /// What the dynamic table's index names, counted from 0. Fails where it can name nothing.
    pub(crate) fn get(&self, index: u64) -> Result<Lookup<'_>, Error> {
        if let Some(entry) = usize::try_from(index).ok().and_then(|index| self.entries.get(index)) {
            return Ok(Lookup::Known(entry));
        }
        let furthest = self.max_size.map_or(FURTHEST, |max| (max / ENTRY_OVERHEAD).min(FURTHEST));
        if self.complete || index >= furthest {
            return Err(Error::Index);
        }
        Ok(Lookup::Unknown(UnknownEntry(self.epoch, self.inserted - 1 - index as i64)))
    }

    /// Heap bytes held.
    pub(crate) fn memory(&self) -> usize {
        self.heap + self.entries.capacity() * size_of::<Entry>()
    }

    fn evict(&mut self) {
        // What is unknown is older than ours, so it goes first: once one of ours goes, all that is left is ours.
        if let Some(max) = self.max_size {
            while self.size > max && self.drop_oldest() {
                self.complete = true;
            }
        }
        while self.size > KEPT_SIZE && self.drop_oldest() {
            self.complete = false;
        }
    }

    fn drop_oldest(&mut self) -> bool {
        let Some(entry) = self.entries.pop_back() else { return false };
        self.size -= entry.size();
        self.heap -= entry.heap();
        true
    }
}

/// A number that stands for what is unknown: the same for the same. It fits into an attribute, which has a sign.
pub(crate) fn identity(of: &impl Hash) -> u64 {
    let mut hasher = DefaultHasher::new();
    of.hash(&mut hasher);
    hasher.finish() >> 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn different_entries_are_told_as_different_numbers() {
        let told = |number| i64::try_from(UnknownEntry(0, number).field());
        let numbers: std::collections::HashSet<i64> = (-500..500).map(|number| told(number).unwrap()).collect();
        assert_eq!(numbers.len(), 1000);
    }

    fn entry(value_len: u32) -> Entry {
        let stored = Stored::Value { bytes: vec![0; value_len as usize].into(), cut: false };
        Entry { name: Name::Known(Field::Path), name_len: 5, value_len, stored }
    }

    fn value_len(table: &Table, index: u64) -> Option<u32> {
        match table.get(index) {
            Ok(Lookup::Known(entry)) => Some(entry.value_len),
            _ => None,
        }
    }

    fn unknown(table: &Table, index: u64) -> u64 {
        match table.get(index) {
            Ok(Lookup::Unknown(entry)) => entry.field(),
            _ => panic!("index {index} should be unknown"),
        }
    }

    #[test]
    fn an_index_below_the_number_of_insertions_is_ours_and_others_keep_their_identity() {
        let mut table = Table::unknown();
        let (first, second) = (unknown(&table, 0), unknown(&table, 1));
        assert_ne!(first, second);
        table.insert(entry(1));
        table.insert(entry(2));
        assert_eq!((value_len(&table, 0), value_len(&table, 1)), (Some(2), Some(1)));
        assert_eq!((unknown(&table, 2), unknown(&table, 3)), (first, second));
    }

    #[test]
    fn lost_knowledge_gives_new_identities() {
        let mut table = Table::unknown();
        let before = unknown(&table, 0);
        table.insert(entry(1));
        table.forget();
        assert_ne!(unknown(&table, 0), before);
        assert_eq!(value_len(&table, 0), None);
    }

    #[test]
    fn a_size_update_to_nothing_makes_the_table_known() {
        let mut table = Table::unknown();
        table.insert(entry(1));
        table.resize(0);
        table.resize(4096);
        assert!(matches!(table.get(0), Err(Error::Index)));
        table.insert(entry(2));
        assert_eq!(value_len(&table, 0), Some(2));
        assert!(matches!(table.get(1), Err(Error::Index)));
    }

    #[test]
    fn a_field_larger_than_the_table_empties_it() {
        let mut table = Table::unknown();
        table.resize(100);
        table.insert(entry(10));
        table.insert(entry(64));
        assert!(matches!(table.get(0), Err(Error::Index)), "5 + 64 + 32 > 100");
    }

    #[test]
    fn eviction_of_ours_tells_that_nothing_older_is_left() {
        let mut table = Table::unknown();
        table.resize(100);
        unknown(&table, 0);
        table.insert(entry(10));
        table.insert(entry(11));
        unknown(&table, 2);
        table.insert(entry(12));
        assert_eq!((value_len(&table, 0), value_len(&table, 1)), (Some(12), Some(11)));
        assert!(matches!(table.get(2), Err(Error::Index)));
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_rest_becomes_unknown() {
        let mut table = Table::unknown();
        for _ in 0..1000 {
            table.insert(entry(1000));
            table.insert(entry(0));
        }
        assert!(table.size <= KEPT_SIZE);
        assert!(table.memory() < 2 * KEPT_SIZE as usize, "{}", table.memory());
        assert_eq!((value_len(&table, 0), value_len(&table, 1)), (Some(0), Some(1000)));
        unknown(&table, 1500);
    }
}
