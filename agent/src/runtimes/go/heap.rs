//! What Go's runtime counts of its heap, and how long it was stopped for collections.

use super::{
    layout::{CLASSES, StatisticsLayout},
    offsets::SIZES,
};
use crate::model::go::{PAUSE_BOUNDS, Pauses};

/// Slots in which the runtime gathers what its processors tell of the heap: one that they add to, one that is gathered in, and one that is empty.
const SLOTS: usize = 3;
/// More bytes of a slot than any release has.
const SLOT_MAX: u64 = 4096;
/// How often it is read once more where it was being gathered meanwhile.
const TRIES: usize = 4;

/// What was allocated, and of what memory was asked for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Heap {
    /// Bytes that are there to be used, of all kinds that are counted in slots.
    pub(super) committed: u64,
    /// Bytes of them for stacks.
    pub(super) stacks: u64,
    /// Bytes of all objects there ever were, and their number.
    pub(super) allocated: u64,
    pub(super) allocations: u64,
}

/// All slots at a time, as far as that is certain: the runtime gathers them one into another when it is asked itself, and what was read meanwhile would be counted twice, or not at all.
/// `read` fills what it is given from the first slot on.
pub(super) fn heap(layout: &StatisticsLayout, read: impl Fn(&mut [u8]) -> Option<()>) -> Option<Heap> {
    let slot = usize::try_from(layout.heap_slot).ok().filter(|slot| (8..=SLOT_MAX as usize).contains(slot))?;
    let generation = usize::try_from(layout.generation).ok().filter(|at| *at == SLOTS * slot)?;
    let mut bytes = vec![0; generation + 4];
    let mut before = None;
    for _ in 0..TRIES {
        read(&mut bytes)?;
        let (slots, generation) = bytes.split_at_checked(generation)?;
        let generation = u32::from_le_bytes(generation.try_into().ok()?) as usize;
        if generation >= SLOTS {
            return None;
        }
        // Empty until what is gathered next goes there: it was gathered, and is not again before the number changes.
        let next = slots.chunks_exact(slot).nth((generation + 1) % SLOTS)?;
        let is_settled = next.iter().all(|byte| *byte == 0);
        // What was read before it was seen to be settled may be older.
        if is_settled && before == Some(generation) {
            return sums(layout, slots, slot);
        }
        before = is_settled.then_some(generation);
    }
    None
}

fn sums(layout: &StatisticsLayout, slots: &[u8], slot: usize) -> Option<Heap> {
    let mut sum = Heap::default();
    let [large, large_count, small_count] = layout.allocated;
    for slot in slots.chunks_exact(slot) {
        let word = |at: u64| -> Option<u64> {
            let at = usize::try_from(at).ok()?;
            Some(u64::from_le_bytes(slot.get(at..at.checked_add(8)?)?.try_into().ok()?))
        };
        // Differences, of which some are below zero.
        sum.committed = sum.committed.wrapping_add(word(layout.committed)?);
        sum.stacks = sum.stacks.wrapping_add(word(layout.stacks)?);
        sum.allocated = sum.allocated.wrapping_add(word(large)?);
        sum.allocations = sum.allocations.wrapping_add(word(large_count)?);
        for (class, size) in SIZES.into_iter().enumerate() {
            let count = word(small_count + 8 * class as u64)?;
            sum.allocated = sum.allocated.wrapping_add(count.wrapping_mul(size.into()));
            sum.allocations = sum.allocations.wrapping_add(count);
        }
    }
    let is_one =
        [sum.committed, sum.stacks, sum.allocated, sum.allocations].iter().all(|of| i64::try_from(*of).is_ok());
    is_one.then_some(sum)
}

/// Powers of two among a distribution's buckets, each of which has four parts.
const POWERS: usize = 40;
const PARTS: usize = 4;
/// How many words of a distribution (`runtime.timeHistogram`) are read: its buckets, those below zero, and those beyond all.
pub(super) const PAUSE_WORDS: usize = POWERS * PARTS + 2;
/// The length, in ns, at which the first power ends, as a shift.
const FIRST: u32 = 8;

/// A distribution of lengths, with fewer of its bounds.
pub(super) fn pauses(words: &[u64; PAUSE_WORDS]) -> Pauses {
    let (counts, [below, beyond]) = words.split_last_chunk::<2>().unwrap_or((&[], &[0; 2]));
    let mut pauses = Pauses::default();
    let mut add = |at: usize, count: u64, middle_ns: f64| {
        if let Some(bucket) = pauses.buckets.get_mut(at) {
            *bucket = bucket.saturating_add(count);
        }
        pauses.sum_s += count as f64 * middle_ns / 1e9;
    };
    add(0, *below, 0.0);
    for (power, counts) in counts.chunks_exact(PARTS).enumerate() {
        // The first begins at zero.
        let end = 1_u64 << (FIRST + power as u32);
        let begin = if power == 0 { 0 } else { end / 2 };
        let width = (end - begin) as f64 / PARTS as f64;
        let at = PAUSE_BOUNDS.iter().take_while(|bound| **bound * 1e9 < end as f64 - 0.5).count();
        for (part, count) in counts.iter().enumerate() {
            add(at, *count, width.mul_add(part as f64 + 0.5, begin as f64));
        }
    }
    add(PAUSE_BOUNDS.len(), *beyond, (1_u64 << (FIRST + POWERS as u32 - 1)) as f64);
    pauses
}

const _: () = assert!(SIZES.len() == CLASSES);

#[cfg(test)]
mod tests {
    use std::cell::Cell;

    use super::*;

    const SLOT: usize = 1168;

    /// Slots of which each has these words, and the number of the one that is written to.
    fn slots(words: [&[(u64, u64)]; SLOTS], generation: u32) -> Vec<u8> {
        let mut bytes = vec![0; SLOTS * SLOT];
        for (slot, words) in bytes.chunks_exact_mut(SLOT).zip(words) {
            for (at, word) in words {
                slot[*at as usize..*at as usize + 8].copy_from_slice(&word.to_le_bytes());
            }
        }
        bytes.extend_from_slice(&generation.to_le_bytes());
        bytes
    }

    /// What is read where memory is so, one state after the other, of which the last stays.
    fn of(states: &[Vec<u8>]) -> Option<Heap> {
        let layout = StatisticsLayout::of("go1.26.1").unwrap();
        assert_eq!((layout.heap_slot, layout.generation), (SLOT as u64, (SLOTS * SLOT) as u64));
        let round = Cell::new(0);
        heap(&layout, |bytes| {
            bytes.copy_from_slice(&states[round.get().min(states.len() - 1)]);
            round.set(round.get() + 1);
            Some(())
        })
    }

    #[test]
    fn slots_are_summed_up_when_none_is_being_gathered() {
        let StatisticsLayout { committed, stacks, allocated: [large, large_count, small], .. } =
            StatisticsLayout::of("go1.26.1").unwrap();
        let gathered: &[(u64, u64)] =
            &[(committed, 1000), (stacks, 400), (large, 70_000), (large_count, 2), (small + 16, 3)];
        let less: &[(u64, u64)] = &[(committed, (-100_i64).cast_unsigned()), (small + 8, 5)];
        let settled = slots([less, &[], gathered], 0);
        let expected = Heap { committed: 900, stacks: 400, allocated: 70_000 + 5 * 8 + 3 * 16, allocations: 10 };
        assert_eq!(of(std::slice::from_ref(&settled)), Some(expected));
        // The next number is set, what was gathered is added to what was written, and then cleared.
        let begun = slots([less, &[], gathered], 1);
        let over = slots([&[(committed, 900)], &[], &[]], 1);
        assert_eq!(of(&[begun.clone(), begun.clone(), over.clone()]), Some(Heap { committed: 900, ..Heap::default() }));
        assert_eq!(of(&[settled.clone(), over.clone()]).unwrap().committed, 900);
        // It is never over; there is no such number; it makes no sense.
        assert_eq!(of(&[begun]), None);
        assert_eq!(of(&[slots([gathered, &[], &[]], 3)]), None);
        assert_eq!(of(&[slots([less, &[], &[]], 0)]), None);
    }

    #[test]
    fn lengths_of_pauses_are_told_by_fewer_bounds() {
        assert_eq!(
            PAUSE_BOUNDS.map(|bound| (bound * 1e9).round() as u64),
            [12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32].map(|at| 1 << at)
        );
        let mut words = [0; PAUSE_WORDS];
        // Below zero, beyond all, 0 to 64 ns, the last part below 4096 ns and the first above that.
        (words[160], words[161], words[0], words[4 * 4 + 3], words[5 * 4]) = (1, 2, 3, 4, 5);
        let Pauses { buckets, sum_s } = pauses(&words);
        assert_eq!(buckets, [8, 5, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2]);
        let expected = 3.0 * 32.0 + 4.0 * 3840.0 + 5.0 * 4608.0 + 2.0 * (1_u64 << 47) as f64;
        assert!((sum_s * 1e9 / expected - 1.0).abs() < 1e-9, "{sum_s}");
    }
}
