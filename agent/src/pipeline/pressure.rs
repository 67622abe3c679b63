//! What is given up first where records come faster than they are read: spans, so that requests are counted all the same. Before the ring
//! is so full that the kernel side has to leave records out, a half of the traces is kept, then a quarter, and so on: of the services whose
//! records fill it. One that takes little of it keeps its spans, whoever floods another.

use std::time::{Duration, Instant};

use compact_str::CompactString;
use rustc_hash::{FxHashMap, FxHashSet};

use crate::model::ids::ProcessId;

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
/// How long it is counted whose records they are, before it is worked out anew who fills the ring.
const COUNTED_FOR: Duration = Duration::from_secs(1);
/// Most processes whose records are counted. What is read of others says nothing of their services.
const PROCESSES_MAX: usize = 65_536;
/// What a record takes beside what is captured, about.
const RECORD: u64 = 176;

/// See the module.
#[derive(Debug, Default)]
pub(super) struct Pressure {
    step: u8,
    rounds: u32,
    /// Since when there has been room.
    calm_since: Option<Instant>,
    warned: Option<Instant>,
    /// Bytes read of late, while it matters whose they are.
    read: FxHashMap<ProcessId, u64>,
    /// Since when they are counted.
    counted_since: Option<Instant>,
    /// Services that fill the ring.
    heavy: FxHashSet<CompactString>,
}

impl Pressure {
    /// A record was read, with so much captured.
    #[inline]
    pub(super) fn on_record(&mut self, tgid: ProcessId, captured: usize) {
        if !self.is_counting() {
            return;
        }
        if let Some(read) = self.read.get_mut(&tgid) {
            *read += RECORD + captured as u64;
        } else if self.read.len() < PROCESSES_MAX {
            self.read.insert(tgid, RECORD + captured as u64);
        }
    }

    const fn is_counting(&self) -> bool {
        self.rounds > 0 || self.step > 0
    }

    /// Behind a round: whether it was a full one, and how much of the ring waits now. Says whether another share of the traces is to be kept,
    /// or of other services.
    pub(super) fn on_round(
        &mut self,
        is_full: bool,
        waiting: f64,
        now: Instant,
        service: impl Fn(ProcessId) -> CompactString,
    ) -> bool {
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
        let is_other = self.work_out_heavy(before == 0 && self.step > 0, now, service);
        self.step != before || is_other
    }

    /// Who fills the ring, from time to time. Says whether these are others than before.
    fn work_out_heavy(&mut self, at_once: bool, now: Instant, service: impl Fn(ProcessId) -> CompactString) -> bool {
        if !self.is_counting() {
            self.read = FxHashMap::default();
            self.counted_since = None;
            return !std::mem::take(&mut self.heavy).is_empty();
        }
        let since = *self.counted_since.get_or_insert(now);
        if self.step == 0 || !at_once && now.saturating_duration_since(since) < COUNTED_FOR {
            return false;
        }
        self.counted_since = Some(now);
        let mut by_service: FxHashMap<CompactString, u64> = FxHashMap::default();
        for (tgid, bytes) in self.read.drain() {
            *by_service.entry(service(tgid)).or_default() += bytes;
        }
        if by_service.is_empty() {
            return false;
        }
        let heavy = heavy_of(by_service);
        let is_other = heavy != self.heavy;
        self.heavy = heavy;
        is_other
    }

    /// Share of the traces that is kept of [those services](Self::heavy) that fill the ring.
    pub(super) fn share(&self) -> f64 {
        if self.step == LAST { 0.0 } else { 0.5_f64.powi(self.step.into()) }
    }

    /// Services that fill the ring, where it fills.
    pub(super) const fn heavy(&self) -> &FxHashSet<CompactString> {
        &self.heavy
    }
}

/// Services that take more than half of what they take on average. There is always one.
fn heavy_of(by_service: FxHashMap<CompactString, u64>) -> FxHashSet<CompactString> {
    let all: u64 = by_service.values().sum();
    let services = by_service.len() as u64;
    let is_heavy = |bytes: u64| bytes.saturating_mul(2).saturating_mul(services) > all;
    by_service.into_iter().filter(|(_, bytes)| is_heavy(*bytes)).map(|(service, _)| service).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(tgid: ProcessId) -> CompactString {
        compact_str::format_compact!("service-{}", tgid.0 % 100)
    }

    #[test]
    fn a_ring_that_fills_takes_the_spans_and_room_gives_them_back_step_by_step() {
        let mut pressure = Pressure::default();
        let start = Instant::now();
        let mut at_ms = 0;
        let mut round = |is_full, waiting, ms| {
            at_ms += ms;
            pressure.on_record(ProcessId(1), 100);
            let is_other = pressure.on_round(is_full, waiting, start + Duration::from_millis(at_ms), name);
            is_other.then(|| pressure.share())
        };
        assert_eq!(round(true, 0.9, 5), None, "a moment without a processor");
        assert_eq!(round(false, 0.0, 5), None);
        assert_eq!([round(true, 0.4, 5), round(true, 0.3, 5), round(true, 0.4, 5)], [None; 3], "it does not fill");
        let filling: Vec<_> = (0..20).filter_map(|_| round(true, 0.45, 5)).collect();
        assert_eq!(filling, [0.5, 0.25, 0.125, 0.0625, 0.03125, 0.015625, 0.0078125, 0.0]);
        assert_eq!([round(false, 0.2, 5000), round(false, 0.1, 1999), round(false, 0.2, 1)], [None; 3]);
        let calm: Vec<_> = (0..30).filter_map(|_| round(false, 0.05, 1000)).collect();
        assert_eq!(calm, [0.0078125, 0.015625, 0.03125, 0.0625, 0.125, 0.25, 0.5, 1.0]);
        assert!(pressure.heavy().is_empty() && !pressure.is_counting() && pressure.read.is_empty());
    }

    #[test]
    fn spans_are_given_up_of_services_whose_records_fill_the_ring() {
        let mut pressure = Pressure::default();
        let start = Instant::now();
        let heavy = |pressure: &Pressure| {
            let mut names: Vec<_> = pressure.heavy().iter().map(ToString::to_string).collect();
            names.sort();
            names
        };
        // Workers of service 1 flood, as many as the others have requests.
        let round = |pressure: &mut Pressure, flooding: u32, waiting, ms| {
            for worker in 0..8 {
                pressure.on_record(ProcessId(100 * worker + flooding), 4000);
            }
            (1..=3).for_each(|quiet| pressure.on_record(ProcessId(quiet), 200));
            pressure.on_round(true, waiting, start + Duration::from_millis(ms), name)
        };
        assert!(!round(&mut pressure, 1, 0.5, 1) && heavy(&pressure).is_empty());
        assert!(round(&mut pressure, 1, 0.5, 2));
        assert_eq!((heavy(&pressure), pressure.share()), (vec!["service-1".to_owned()], 0.5));
        // Another one does, which is seen after a while.
        assert!(!round(&mut pressure, 2, 0.3, 3));
        pressure.read.clear();
        assert!(!round(&mut pressure, 2, 0.3, 900));
        assert!(round(&mut pressure, 2, 0.3, 1002));
        assert_eq!(heavy(&pressure), ["service-2"]);
        // All alike.
        for tgid in 1..=3 {
            pressure.on_record(ProcessId(tgid), 100_000);
        }
        assert!(round(&mut pressure, 3, 0.3, 2100));
        assert_eq!(heavy(&pressure), ["service-1", "service-2", "service-3"]);
    }

    #[test]
    fn records_are_counted_only_where_the_ring_fills_and_of_so_many_processes() {
        let mut pressure = Pressure::default();
        pressure.on_record(ProcessId(1), 100);
        assert!(pressure.read.is_empty());
        pressure.on_round(true, 0.9, Instant::now(), name);
        for tgid in 0..2 * PROCESSES_MAX as u32 {
            pressure.on_record(ProcessId(tgid), 100);
        }
        assert_eq!(pressure.read.len(), PROCESSES_MAX);
    }
}
