//! How long the reader leaves the ring alone while it does something else: the longest such time decides how much the ring
//! has to hold.

use std::time::{Duration, Instant};

/// Records between two looks at the clock: few enough that their own cost is no pause, many enough that the looks cost nothing.
const STRIDE: u32 = 128;
/// Seconds over which the longest pause is told.
const WINDOW: usize = 60;

/// The longest pauses of the last minute, second by second.
pub(super) struct Pauses {
    /// When the ring was last looked at.
    since: Instant,
    /// Records until the next look at the clock.
    left: u32,
    longest: [Duration; WINDOW],
    at: usize,
}

impl Pauses {
    pub(super) fn new(now: Instant) -> Self {
        Self { since: now, left: STRIDE, longest: [Duration::ZERO; WINDOW], at: 0 }
    }

    /// A record was taken.
    pub(super) fn on_record<T>(&mut self, record: T) -> T {
        self.left -= 1;
        if self.left == 0 {
            self.on_look(Instant::now());
        }
        record
    }

    /// The ring is about to be looked at.
    pub(super) fn on_look(&mut self, now: Instant) {
        let pause = now.saturating_duration_since(self.since);
        if let Some(longest) = self.longest.get_mut(self.at) {
            *longest = pause.max(*longest);
        }
        self.resume(now);
    }

    /// The reader has waited for records: that is no pause.
    pub(super) fn resume(&mut self, now: Instant) {
        self.since = now;
        self.left = STRIDE;
    }

    /// A second is over.
    pub(super) fn on_second(&mut self) {
        self.at = (self.at + 1) % WINDOW;
        if let Some(longest) = self.longest.get_mut(self.at) {
            *longest = Duration::ZERO;
        }
    }

    /// The longest of the last minute.
    pub(super) fn longest(&self) -> Duration {
        self.longest.iter().copied().max().unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_pause_counts_for_a_minute_and_waiting_does_not() {
        let start = Instant::now();
        let at = |ms| start + Duration::from_millis(ms);
        let mut pauses = Pauses::new(start);
        pauses.on_look(at(3));
        pauses.resume(at(1000));
        pauses.on_look(at(1007));
        pauses.on_look(at(1009));
        assert_eq!(pauses.longest(), Duration::from_millis(7));
        (0..WINDOW - 1).for_each(|_| pauses.on_second());
        assert_eq!(pauses.longest(), Duration::from_millis(7));
        pauses.on_second();
        assert_eq!(pauses.longest(), Duration::ZERO);
    }

    #[test]
    fn a_pause_between_records_is_noticed() {
        let began = Instant::now().checked_sub(Duration::from_millis(2)).unwrap();
        let mut pauses = Pauses::new(began);
        (1..STRIDE).for_each(|_| pauses.on_record(()));
        assert_eq!(pauses.longest(), Duration::ZERO, "the clock is not asked for each record");
        pauses.on_record(());
        assert!(pauses.longest() >= Duration::from_millis(2));
    }
}
