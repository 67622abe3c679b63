//! What was told last.

use std::{collections::VecDeque, hash::Hash};

use rustc_hash::FxHashMap;

/// Remembers what was told by a key, as long as no `MAX` others were told behind it.
#[derive(Debug)]
pub(super) struct Recent<K, V, const MAX: usize> {
    of: FxHashMap<K, V>,
    /// All of the last ones, those that are gone too.
    order: VecDeque<K>,
}

impl<K, V, const MAX: usize> Default for Recent<K, V, MAX> {
    fn default() -> Self {
        Self { of: FxHashMap::default(), order: VecDeque::new() }
    }
}

impl<K: Copy + Eq + Hash, V, const MAX: usize> Recent<K, V, MAX> {
    pub(super) fn insert(&mut self, key: K, value: V) {
        if self.of.insert(key, value).is_some() {
            return;
        }
        self.order.push_back(key);
        if self.order.len() > MAX
            && let Some(oldest) = self.order.pop_front()
        {
            self.of.remove(&oldest);
        }
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        if self.of.is_empty() { None } else { self.of.remove(key) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_goes() {
        let mut recent: Recent<u32, u32, 3> = Recent::default();
        (0..4).for_each(|at| recent.insert(at, 10 + at));
        assert_eq!([0, 1, 2].map(|at| recent.remove(&at)), [None, Some(11), Some(12)]);
        // What was taken out has its place until its turn comes.
        recent.insert(4, 14);
        recent.insert(5, 15);
        assert_eq!([3, 4, 5].map(|at| recent.remove(&at)), [Some(13), Some(14), Some(15)]);
        (0..100).for_each(|at| recent.insert(at, at));
        assert_eq!((recent.of.len(), recent.order.len()), (3, 3));
        recent.insert(99, 7);
        assert_eq!((recent.remove(&99), recent.remove(&98)), (Some(7), Some(98)));
    }
}
