//! Which traces a block may have spans of, in some ten bits for each: it is read for those alone.

use hashbrown::HashSet;

use crate::model::trace_context::TraceId;

/// Bits for each trace, and how many of them a trace sets: one in a hundred that is not there seems to be.
const BITS: usize = 10;
const SET: u64 = 5;

/// See the module. What is there is never missed.
#[derive(Debug)]
pub(super) struct Traces(Box<[u64]>);

impl Traces {
    pub(super) fn of(ids: impl Iterator<Item = TraceId>) -> Self {
        let ids: HashSet<TraceId> = ids.collect();
        let mut words = vec![0_u64; (ids.len() * BITS).div_ceil(64).max(1)].into_boxed_slice();
        for id in &ids {
            for (word, bit) in places(id, words.len()) {
                if let Some(word) = words.get_mut(word) {
                    *word |= bit;
                }
            }
        }
        Self(words)
    }

    /// Whether there may be spans of a trace.
    pub(super) fn may_have(&self, id: &TraceId) -> bool {
        places(id, self.0.len()).all(|(word, bit)| self.0.get(word).is_some_and(|word| word & bit != 0))
    }

    pub(super) const fn bytes(&self) -> usize {
        size_of_val(&*self.0)
    }
}

/// Words, and bits in them. Ids are random, but not those of who wants to be read for nothing, who gains nothing else.
fn places(id: &TraceId, words: usize) -> impl Iterator<Item = (usize, u64)> {
    let (high, low) = id.0.split_at(8);
    let number = |half: &[u8]| half.try_into().map_or(0, u64::from_le_bytes);
    let first = mixed(number(high) ^ mixed(number(low)));
    let step = mixed(first) | 1;
    let bits = words as u64 * 64;
    (0..SET).map(move |nth| {
        let bit = first.wrapping_add(nth.wrapping_mul(step)) % bits.max(1);
        ((bit / 64) as usize, 1 << (bit % 64))
    })
}

/// Each bit of a number comes to depend on all of them.
const fn mixed(mut number: u64) -> u64 {
    number = (number ^ number >> 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    number = (number ^ number >> 29).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    number ^ number >> 32
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64) -> TraceId {
        let mixed = number.wrapping_mul(0xd6e8_feb8_6659_fd93) ^ (number << 40);
        TraceId([mixed.to_le_bytes(), mixed.rotate_left(21).wrapping_mul(5).to_le_bytes()].concat().try_into().unwrap())
    }

    #[test]
    fn what_is_there_is_never_missed_and_little_else_is_found() {
        let traces = Traces::of((0..1000).flat_map(|number| [id(number), id(number)]));
        assert!((0..1000).all(|number| traces.may_have(&id(number))));
        let wrong = (1000..21_000).filter(|number| traces.may_have(&id(*number))).count();
        assert!(wrong < 600, "{wrong} of 20000");
        assert_eq!(traces.bytes(), 1256);
        // Ids that count up, and none at all.
        let few = Traces::of((1..=3).map(|n| TraceId([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n])));
        let is_there = |n| few.may_have(&TraceId([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, n]));
        assert!((1..=3).all(is_there) && (4..=255).filter(|n| is_there(*n)).count() < 64);
        assert!(!Traces::of(std::iter::empty()).may_have(&id(1)));
    }
}
