//! Requests that wait for their response: matched in the order in which they were made, as in a pipeline, or by a key that both
//! carry, as where several share a connection. Either is bounded in number and in bytes.

use std::{
    collections::{HashMap, VecDeque, hash_map},
    hash::Hash,
};

use foldhash::fast::RandomState;

/// A request that is kept until it is answered.
pub(crate) trait Kept {
    /// Bytes that it holds on the heap, with itself where it lies there; the same as long as it is kept.
    fn bytes(&self) -> usize;
}

/// What may be kept at a time.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Limits {
    /// Requests.
    pub(crate) requests: usize,
    /// Bytes that they hold.
    pub(crate) bytes: usize,
}

/// Each response answers the first request that is open.
#[derive(Debug)]
pub(crate) struct InOrder<T> {
    open: VecDeque<T>,
    bytes: usize,
    /// Number of the first of `open`, counted from the connection's beginning.
    first: u64,
    /// Requests that found no room, behind those in `open`.
    left_out: u64,
    limits: Limits,
}

impl<T: Kept> InOrder<T> {
    pub(crate) const fn new(limits: Limits) -> Self {
        Self { open: VecDeque::new(), bytes: 0, first: 0, left_out: 0, limits }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.open.is_empty()
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Number of the request that the next response answers.
    pub(crate) const fn first(&self) -> u64 {
        self.first
    }

    /// Requests that found no room and are not answered yet.
    pub(crate) const fn left_out(&self) -> u64 {
        self.left_out
    }

    /// Whether one more may be kept. Behind one that was left out there is no room, or responses would go to the wrong ones.
    pub(crate) fn has_room(&self) -> bool {
        self.left_out == 0 && self.open.len() < self.limits.requests && self.bytes <= self.limits.bytes
    }

    /// One more was made, and is not kept.
    pub(crate) const fn leave_out(&mut self) {
        self.left_out += 1;
    }

    /// The next response answers one that was left out; `false` if there is none, or one that is kept comes first.
    pub(crate) fn answer_left_out(&mut self) -> bool {
        let answers = self.open.is_empty() && self.left_out > 0;
        self.left_out -= u64::from(answers);
        answers
    }

    /// It is not known any more which were left out.
    pub(crate) const fn forget_left_out(&mut self) {
        self.left_out = 0;
    }

    /// Keeps a request; gives its number.
    pub(crate) fn push(&mut self, request: T) -> u64 {
        let number = self.first + self.open.len() as u64;
        self.bytes += request.bytes();
        // Most connections have one at a time.
        if self.open.capacity() == 0 {
            self.open.reserve_exact(1);
        }
        self.open.push_back(request);
        number
    }

    pub(crate) fn front(&self) -> Option<&T> {
        self.open.front()
    }

    pub(crate) fn front_mut(&mut self) -> Option<&mut T> {
        self.open.front_mut()
    }

    /// A request by its number.
    pub(crate) fn get_mut(&mut self, number: u64) -> Option<&mut T> {
        let at = usize::try_from(number.checked_sub(self.first)?).ok()?;
        self.open.get_mut(at)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &T> {
        self.open.iter()
    }

    /// The first is over.
    pub(crate) fn pop(&mut self) -> Option<T> {
        let request = self.open.pop_front()?;
        self.first += 1;
        self.bytes = self.bytes.saturating_sub(request.bytes());
        Some(request)
    }

    /// All behind the first `keep` are over, the first of them first.
    pub(crate) fn drain_behind(&mut self, keep: usize) -> impl Iterator<Item = T> {
        let keep = keep.min(self.open.len());
        self.bytes = self.open.range(..keep).map(T::bytes).sum();
        if keep == 0 {
            self.first += self.open.len() as u64;
        }
        self.open.drain(keep..)
    }

    /// Heap bytes held, about.
    pub(crate) fn memory(&self) -> usize {
        self.open.capacity() * size_of::<T>() + self.bytes
    }
}

/// Each response carries the key of the request that it answers.
#[derive(Debug)]
pub(crate) struct ByKey<K, T> {
    /// Hashed with a seed of its own: clients choose the keys.
    open: HashMap<K, Box<T>, RandomState>,
    bytes: usize,
    limits: Limits,
}

/// Room that is kept though nothing is open.
const SPARE: usize = 1024;

impl<K: Copy + Eq + Hash + Ord, T: Kept> ByKey<K, T> {
    pub(crate) fn new(limits: Limits) -> Self {
        Self { open: HashMap::default(), bytes: 0, limits }
    }

    pub(crate) fn len(&self) -> usize {
        self.open.len()
    }

    /// Whether one more may be kept.
    pub(crate) fn has_room_for(&self, request: &T) -> bool {
        self.open.len() < self.limits.requests && self.bytes + request.bytes() <= self.limits.bytes
    }

    /// Keeps a request. One that has its key already is given back: it is not answered any more.
    pub(crate) fn insert(&mut self, key: K, request: Box<T>) -> Option<Box<T>> {
        self.bytes += request.bytes();
        let before = self.open.insert(key, request)?;
        self.bytes = self.bytes.saturating_sub(before.bytes());
        Some(before)
    }

    pub(crate) fn contains(&self, key: K) -> bool {
        self.open.contains_key(&key)
    }

    pub(crate) fn get(&self, key: K) -> Option<&T> {
        self.open.get(&key).map(|request| &**request)
    }

    pub(crate) fn get_mut(&mut self, key: K) -> Option<&mut T> {
        self.open.get_mut(&key).map(|request| &mut **request)
    }

    /// A request is over.
    pub(crate) fn remove(&mut self, key: K) -> Option<Box<T>> {
        let hash_map::Entry::Occupied(entry) = self.open.entry(key) else { return None };
        let request = entry.remove();
        self.bytes = self.bytes.saturating_sub(request.bytes());
        if self.open.is_empty() && self.open.capacity() > SPARE {
            self.open = HashMap::default();
        }
        Some(request)
    }

    /// All of them, in no order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (K, &T)> {
        self.open.iter().map(|(&key, request)| (key, &**request))
    }

    /// All of them, in no order.
    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = (K, &mut T)> {
        self.open.iter_mut().map(|(&key, request)| (key, &mut **request))
    }

    /// Those of which something is to be said, by key: the same input gives the same output.
    pub(crate) fn select<R>(&self, mut what: impl FnMut(K, &T) -> Option<R>) -> Vec<(K, R)> {
        let mut selected: Vec<(K, R)> = self.iter().filter_map(|(key, it)| Some((key, what(key, it)?))).collect();
        selected.sort_unstable_by_key(|&(key, _)| key);
        selected
    }

    /// Heap bytes held, about.
    pub(crate) fn memory(&self) -> usize {
        self.bytes + self.open.capacity() * (size_of::<(K, Box<T>)>() + 1)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Debug, PartialEq)]
    struct Request(usize);

    impl Kept for Request {
        fn bytes(&self) -> usize {
            self.0
        }
    }

    const LIMITS: Limits = Limits { requests: 3, bytes: 100 };

    #[test]
    fn responses_go_to_requests_in_order_and_behind_one_left_out_to_none() {
        let mut open = InOrder::new(LIMITS);
        for bytes in [1, 2, 3] {
            assert!(open.has_room());
            assert_eq!(open.push(Request(bytes)), bytes as u64 - 1);
        }
        assert!(!open.has_room());
        open.leave_out();
        assert!(!open.answer_left_out(), "others come first");
        assert_eq!(open.pop(), Some(Request(1)));
        assert!(!open.has_room(), "one that was left out comes before the next");
        assert_eq!(open.get_mut(2), Some(&mut Request(3)));
        assert_eq!(open.get_mut(0), None, "it is over");
        assert_eq!(open.drain_behind(1).collect::<Vec<_>>(), [Request(3)]);
        assert_eq!((open.first(), open.front()), (1, Some(&Request(2))));
        assert_eq!(open.drain_behind(0).count(), 1);
        assert_eq!((open.first(), open.is_empty()), (2, true));
        assert!(open.answer_left_out() && !open.answer_left_out());
        assert!(open.has_room());
    }

    #[test]
    fn bytes_are_bounded_and_given_back() {
        let mut open = InOrder::new(LIMITS);
        open.push(Request(101));
        assert!(!open.has_room());
        assert!(open.memory() >= 101);
        open.pop();
        assert!(open.has_room());
        let mut open = ByKey::new(LIMITS);
        assert!(open.has_room_for(&Request(100)) && !open.has_room_for(&Request(101)));
        assert_eq!(open.insert(1, Box::new(Request(60))), None);
        assert!(!open.has_room_for(&Request(41)));
        assert_eq!(open.insert(1, Box::new(Request(10))), Some(Box::new(Request(60))));
        assert!(open.has_room_for(&Request(90)) && !open.has_room_for(&Request(91)));
        assert_eq!(open.remove(1), Some(Box::new(Request(10))));
        assert_eq!((open.remove(1), open.len()), (None, 0));
        assert!(open.has_room_for(&Request(100)));
    }

    #[test]
    fn what_is_selected_comes_in_the_order_of_keys() {
        let mut open = ByKey::new(Limits { requests: 100, bytes: 10_000 });
        for key in (0..50_usize).rev() {
            open.insert(key, Box::new(Request(key)));
        }
        let odd = open.select(|key, request| (key % 2 == 1).then_some(request.0));
        assert_eq!(odd.len(), 25);
        assert!(odd.is_sorted() && odd.iter().all(|(key, bytes)| key == bytes));
    }
}
