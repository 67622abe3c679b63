//! What is given up first where records come faster than they are read: spans, so that requests are counted all the same. Before the ring
//! is so full that the kernel side has to leave records out, a half of the traces is kept, then a quarter, and so on.

use std::time::{Duration, Instant};

/// Where so much of the ring still waits behind a round that took as much as a round takes, it fills. The reader is woken at a quarter, and from a
/// half on the kernel side shares it out.
const FILLING: f64 = 3.0 / 8.0;
/// Such rounds in a row: one may follow a moment in which the reader had no processor.
const ROUNDS: u32 = 2;
/// With less than so much waiting there is room again.
const CALM: f64 = 1.0 / 8.0;
/// For how long there has to be, for a step back.
const CALM_FOR: Duration = Duration::from_secs(2);
/// The last step: no span is kept.
const LAST: u8 = 8;
/// Between two warnings.
const SILENT_FOR: Duration = Duration::from_secs(60);

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    step: u8,
    rounds: u32,
    /// Since when there has been room.
    calm_since: Option<Instant>,
    warned: Option<Instant>,
}

impl Pressure {
    /// Behind a round: whether it was a full one, and how much of the ring waits now. Gives another share of the traces where there
    /// is one.
    pub(super) fn on_round(&mut self, is_full: bool, waiting: f64, now: Instant) -> Option<f64> {
        let before = self.step;
        self.rounds = if is_full && waiting >= FILLING { self.rounds + 1 } else { 0 };
        if self.rounds >= ROUNDS {
            (self.rounds, self.calm_since) = (0, None);
            self.step = (self.step + 1).min(LAST);
        } else if waiting >= CALM || self.step == 0 {
            self.calm_since = None;
        } else if now.saturating_duration_since(*self.calm_since.get_or_insert(now)) >= CALM_FOR {
            self.calm_since = None;
            self.step -= 1;
        }
        if before == 0 && self.step > 0 && self.warned.is_none_or(|at| now.saturating_duration_since(at) >= SILENT_FOR)
        {
            self.warned = Some(now);
            tracing::warn!(
                "requests come faster than spans can be made of them: fewer traces are kept for now (beyla_rs.reader.kept_share); \
                 requests are counted all the same"
            );
        }
        (self.step != before).then(|| self.share())
    }

    /// Share of the traces that is kept.
    pub(super) fn share(&self) -> f64 {
        if self.step == LAST { 0.0 } else { 0.5_f64.powi(self.step.into()) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ring_that_fills_takes_the_spans_and_room_gives_them_back_step_by_step() {
        let mut pressure = Pressure::default();
        let start = Instant::now();
        let mut at_ms = 0;
        let mut round = |is_full, waiting, ms| {
            at_ms += ms;
            pressure.on_round(is_full, waiting, start + Duration::from_millis(at_ms))
        };
        assert_eq!(round(true, 0.9, 5), None, "a moment without a processor");
        assert_eq!(round(false, 0.0, 5), None);
        assert_eq!([round(true, 0.4, 5), round(true, 0.3, 5), round(true, 0.4, 5)], [None; 3], "it does not fill");
        let filling: Vec<_> = (0..20).filter_map(|_| round(true, 0.45, 5)).collect();
        assert_eq!(filling, [0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.0]);
        assert_eq!([round(false, 0.2, 5000), round(false, 0.1, 1999), round(false, 0.2, 1)], [None; 3]);
        let calm: Vec<_> = (0..20).filter_map(|_| round(false, 0.05, 1000)).collect();
        assert_eq!(calm, [0.0078125, 0.015625, 0.03125, 0.0625, 0.125, 0.25, 0.5][..calm.len()]);
        assert!(calm.len() >= 6, "{calm:?}");
    }
}
