//! From `CLOCK_MONOTONIC`, which the kernel side stamps, to Unix time, which spans carry.
//!
//! Both clocks are slewed alike, so their difference changes only by steps of the wall clock and by suspend. A new
//! sample is therefore taken up only if it differs by more than the samples can err: spans of one trace keep their
//! places to each other to the nanosecond. An exchange's two ends are converted with one and the same difference, so
//! that no step can make it end before it starts.

use std::time::{SystemTime, UNIX_EPOCH};

use rustix::time::{ClockId, clock_gettime};

/// Wall clock minus `CLOCK_MONOTONIC`, as sampled.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Offset {
    /// The difference in ns.
    pub ns: i64,
    /// How far off it can be, in ns.
    pub error_ns: u64,
}

impl Offset {
    const TRIES: usize = 8;

    /// Samples both clocks: the best of a few tries, since the thread may be interrupted between the readings.
    #[must_use]
    pub(crate) fn sample() -> Self {
        (0..Self::TRIES).map(|_| Self::sample_once()).min_by_key(|offset| offset.error_ns).unwrap_or_default()
    }

    fn sample_once() -> Self {
        let before_ns = monotonic_ns();
        let unix_ns = unix_ns();
        let after_ns = monotonic_ns();
        let error_ns = after_ns.saturating_sub(before_ns) / 2;
        let at_ns = before_ns.saturating_add(error_ns);
        Self { ns: (unix_ns as i64).wrapping_sub(at_ns as i64), error_ns: error_ns + 1 }
    }
}

/// `CLOCK_MONOTONIC` now, in ns.
#[must_use]
pub(crate) fn monotonic_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    (now.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec as u64)
}

/// `CLOCK_BOOTTIME` now, in ns: processes' start times are on it.
#[must_use]
pub(crate) fn boot_ns() -> u64 {
    let now = clock_gettime(ClockId::Boottime);
    (now.tv_sec as u64).saturating_mul(1_000_000_000).saturating_add(now.tv_nsec as u64)
}

/// The wall clock now, in ns since the Unix epoch; 0 if it is set to before that.
#[must_use]
pub(crate) fn unix_ns() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

/// Converts times; see the module's head.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Clock {
    offset: Offset,
}

impl Clock {
    /// A clock with this difference.
    #[must_use]
    pub(crate) const fn new(offset: Offset) -> Self {
        Self { offset }
    }

    /// Takes up a new sample if the wall clock was stepped or if the sample is better. Returns by how much the clock
    /// moved, in ns, if it did.
    pub(crate) fn refresh(&mut self, sample: Offset) -> Option<i64> {
        let moved_ns = sample.ns.wrapping_sub(self.offset.ns);
        let stepped = moved_ns.unsigned_abs() > sample.error_ns.saturating_add(self.offset.error_ns);
        if !stepped && sample.error_ns >= self.offset.error_ns {
            return None;
        }
        self.offset = sample;
        Some(moved_ns)
    }

    /// Unix time of a moment of `CLOCK_MONOTONIC`, both in ns.
    #[must_use]
    pub(crate) const fn unix_ns(&self, monotonic_ns: u64) -> u64 {
        monotonic_ns.saturating_add_signed(self.offset.ns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sample_leads_from_the_monotonic_to_the_wall_clock() {
        let clock = Clock::new(Offset::sample());
        let before = unix_ns();
        let converted = clock.unix_ns(monotonic_ns());
        let after = unix_ns();
        // A tenth of a second is far above what sampling errs and far below what a wrong clock or unit would give.
        assert!(converted + 100_000_000 > before && converted < after + 100_000_000, "{before} {converted} {after}");
    }

    #[test]
    fn jitter_within_the_error_does_not_move_the_clock() {
        let mut clock = Clock::new(Offset { ns: 1_000_000, error_ns: 50 });
        assert_eq!(clock.refresh(Offset { ns: 1_000_090, error_ns: 60 }), None);
        assert_eq!(clock.unix_ns(5), 1_000_005);
    }

    #[test]
    fn a_step_of_the_wall_clock_moves_it() {
        let mut clock = Clock::new(Offset { ns: 1_000_000, error_ns: 50 });
        assert_eq!(clock.refresh(Offset { ns: -1_000_000, error_ns: 60 }), Some(-2_000_000));
        assert_eq!(clock.unix_ns(3_000_000), 2_000_000);
    }

    #[test]
    fn a_better_sample_is_taken_up() {
        let mut clock = Clock::new(Offset { ns: 1_000, error_ns: 500 });
        assert_eq!(clock.refresh(Offset { ns: 1_200, error_ns: 20 }), Some(200));
    }

    #[test]
    fn times_saturate() {
        assert_eq!(Clock::new(Offset { ns: -10, error_ns: 0 }).unix_ns(3), 0);
        assert_eq!(Clock::new(Offset { ns: 10, error_ns: 0 }).unix_ns(u64::MAX), u64::MAX);
    }
}
