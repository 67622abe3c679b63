//! When the metrics were taken. What is counted in a slot came between the last time before it and the last time within it, which is ten
//! seconds on the whole, and less or more for the slot that is not over and where nobody had asked for a while.

use std::collections::VecDeque;

/// Slots of which it is known: an hour of them. Those before are taken to be whole.
const KNOWN_MAX: usize = 360;

struct Slot {
    number: u64,
    from_unix_ns: u64,
    until_unix_ns: u64,
}

/// See the module.
#[derive(Default)]
pub(super) struct Takes(VecDeque<Slot>);

impl Takes {
    /// They were taken in a slot, and before that at another time, or are counted since then.
    pub(super) fn add(&mut self, number: u64, from_unix_ns: u64, until_unix_ns: u64) {
        match self.0.back_mut() {
            // A clock that was put back counts where it counted before.
            Some(last) if last.number >= number => last.until_unix_ns = until_unix_ns.max(last.until_unix_ns),
            _ => self.0.push_back(Slot { number, from_unix_ns, until_unix_ns }),
        }
        if self.0.len() > KNOWN_MAX {
            self.0.pop_front();
        }
    }

    /// Since when is counted what is in this slot and those behind it.
    pub(super) fn begin(&self, number: u64) -> Option<u64> {
        let at = self.0.partition_point(|slot| slot.number < number);
        self.0.get(at).filter(|slot| at > 0 || slot.number == number).map(|slot| slot.from_unix_ns)
    }

    /// Seconds of which the counts in a slot are; `None`: it is not known any more.
    pub(super) fn seconds(&self, number: u64) -> Option<f64> {
        let at = self.0.partition_point(|slot| slot.number < number);
        let of = |slot: &Slot| slot.until_unix_ns.saturating_sub(slot.from_unix_ns) as f64 / 1e9;
        match self.0.get(at) {
            Some(slot) if slot.number == number => Some(of(slot)),
            _ => (at > 0).then_some(0.0),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_are_of_the_time_since_they_were_taken_before() {
        const S: u64 = 1_000_000_000;
        let mut takes = Takes::default();
        for (slot, from, until) in [(10, 100, 104), (10, 104, 108), (12, 108, 123), (13, 123, 130), (12, 130, 131)] {
            takes.add(slot, from * S, until * S);
        }
        let seconds = [9, 10, 11, 12, 13, 14].map(|slot| takes.seconds(slot));
        assert_eq!(seconds, [None, Some(8.0), Some(0.0), Some(15.0), Some(8.0), Some(0.0)]);
        let begin = [9, 10, 11, 12, 13, 14].map(|slot| takes.begin(slot).map(|ns| ns / S));
        assert_eq!(begin, [None, Some(100), Some(108), Some(108), Some(123), None]);
        for slot in 20..1000 {
            takes.add(slot, slot * 10 * S, (slot + 1) * 10 * S);
        }
        assert_eq!((takes.0.len(), takes.seconds(20), takes.seconds(999)), (KNOWN_MAX, None, Some(10.0)));
    }
}
