//! Buffers of requests, used again and again. A request is large, made on one thread and freed on another: left to the
//! allocator, each thread would come to keep room for several.

use std::{
    mem,
    sync::{Arc, Mutex, PoisonError},
};

use bytes::Bytes;

/// The free ones.
#[derive(Debug)]
pub(super) struct Buffers {
    free: Mutex<Vec<Vec<u8>>>,
    /// Most that are kept.
    most: usize,
    /// Most bytes of one that is kept.
    most_bytes: usize,
}

impl Buffers {
    /// Keeps as many as are in use at once, of a size that is usual.
    pub(super) const fn new(most: usize, most_bytes: usize) -> Self {
        Self { free: Mutex::new(Vec::new()), most, most_bytes }
    }

    /// What `fill` writes into a buffer, which comes back when the last reader drops it.
    pub(super) fn filled(self: &Arc<Self>, fill: impl FnOnce(&mut Vec<u8>)) -> Bytes {
        let free = self.free.lock().unwrap_or_else(PoisonError::into_inner).pop();
        let mut bytes = free.unwrap_or_default();
        fill(&mut bytes);
        Bytes::from_owner(Lent { bytes, home: Arc::clone(self) })
    }

    fn take_back(&self, mut bytes: Vec<u8>) {
        bytes.clear();
        let mut free = self.free.lock().unwrap_or_else(PoisonError::into_inner);
        if free.len() < self.most && bytes.capacity() <= self.most_bytes {
            free.push(bytes);
        }
    }
}

struct Lent {
    bytes: Vec<u8>,
    home: Arc<Buffers>,
}

impl AsRef<[u8]> for Lent {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl Drop for Lent {
    fn drop(&mut self) {
        self.home.take_back(mem::take(&mut self.bytes));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_buffer_is_used_again_once_nobody_reads_it_and_no_more_are_kept_than_said() {
        let buffers = Arc::new(Buffers::new(2, 1024));
        let filled = |byte, len| buffers.filled(|out| out.resize(len, byte));
        let first = filled(1, 100);
        let (reader, place) = (first.clone(), first.as_ptr());
        drop(first);
        assert_ne!(filled(2, 100).as_ptr(), place, "it is still read");
        assert_eq!(&reader[..], [1; 100]);
        drop(reader);
        let again = filled(3, 50);
        assert_eq!((again.as_ptr(), &again[..]), (place, &[3; 50][..]));
        drop((again, filled(4, 10), filled(5, 10), filled(6, 2000)));
        let free = buffers.free.lock().unwrap();
        assert!(free.len() <= 2 && free.iter().all(|buffer| buffer.capacity() <= 1024), "{free:?}");
    }
}
