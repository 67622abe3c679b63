//! The agent's bounds on itself (`limits`). Near one it sheds, one step in a second: of connections that begin less is captured, then
//! a half of the traces is kept, a quarter, and so on; where it is memory that is short, what waits (queues of exporters, the spans that
//! are remembered) has half of its room too, a quarter, and so on. Requests are counted all the same. Well below both bounds it takes the
//! steps back.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{Duration, Instant},
};

use ebpf_common::limits::{HEAD_MAX, SMALL_PIECE};

use crate::{config::Limits, export::SpanSink};

/// From this part of a bound on it sheds more.
const NEAR: f64 = 0.9;
/// Below this part of both it sheds less, one step each time that it was so for [`CALM`].
const FAR: f64 = 0.75;
const CALM: Duration = Duration::from_secs(5);
/// The last step: no span is kept.
const LAST: u8 = 9;
/// How often the room of what waits is halved at most: with less, no request could be put together.
const SQUEEZED_MAX: u8 = 4;

/// What the agent uses of its bounds.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(super) struct Used {
    /// Part of `limits.memory`; `None`: there is no such bound.
    pub(super) memory: Option<f64>,
    /// Part of `limits.cpu`.
    pub(super) cpu: Option<f64>,
}

/// What is left out.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Level(u8);

impl Level {
    /// Most bytes captured from the beginning of a turn.
    pub(super) const fn head_max(self) -> u32 {
        if self.0 == 0 { HEAD_MAX } else { SMALL_PIECE }
    }

    /// Share of the traces that is kept.
    pub(super) fn share(self) -> f64 {
        match self.0 {
            0 | 1 => 1.0,
            LAST => 0.0,
            level => 0.5_f64.powi(i32::from(level) - 1),
        }
    }

    /// As a figure.
    pub(super) const fn number(self) -> u8 {
        self.0
    }
}

/// See the module.
#[derive(Debug)]
pub(super) struct Guard {
    limits: Limits,
    level: Level,
    /// How often the room of what waits was halved.
    squeezed: u8,
    used: Used,
    /// Since when it has been far from the bounds.
    calm_since: Option<Instant>,
    /// When it was last looked, and how much of the processors was used by then.
    looked: Option<(Instant, Duration)>,
}

impl Guard {
    /// `None`: there are no bounds.
    pub(super) fn new(limits: Limits) -> Option<Self> {
        let Limits { memory, cpu } = limits;
        let (used, level) = (Used::default(), Level::default());
        let (calm_since, looked, squeezed) = (None, None, 0);
        (memory.is_some() || cpu.is_some()).then_some(Self { limits, level, squeezed, used, calm_since, looked })
    }

    /// The same with other bounds from now on.
    pub(super) fn with(before: Option<Self>, limits: Limits) -> Option<Self> {
        let new = Self::new(limits)?;
        Some(match before {
            Some(before) => Self { limits, calm_since: None, ..before },
            None => new,
        })
    }

    /// Part of its room that what waits has.
    pub(super) fn room(&self) -> f64 {
        0.5_f64.powi(i32::from(self.squeezed))
    }

    pub(super) const fn level(&self) -> Level {
        self.level
    }

    pub(super) const fn used(&self) -> Used {
        self.used
    }

    /// Looks at what is used: once a second. Gives another level where there is one.
    pub(super) fn look(&mut self) -> Option<Level> {
        self.on_usage(Instant::now(), resident_bytes(), processor_time())
    }

    fn on_usage(&mut self, now: Instant, resident: Option<u64>, processors: Duration) -> Option<Level> {
        let passed =
            self.looked.map(|(at, before)| (now.saturating_duration_since(at), processors.saturating_sub(before)));
        self.looked = Some((now, processors));
        let cores =
            passed.filter(|(time, _)| !time.is_zero()).map(|(time, used)| used.as_secs_f64() / time.as_secs_f64());
        let Limits { memory, cpu } = self.limits;
        self.used = Used {
            memory: memory.zip(resident).map(|(most, bytes)| bytes as f64 / most as f64),
            cpu: cpu.zip(cores).map(|(most, cores)| cores / most),
        };
        let highest = [self.used.memory, self.used.cpu].into_iter().flatten().fold(0.0, f64::max);
        let (before, squeezed_before) = (self.level, self.squeezed);
        if highest >= NEAR {
            self.calm_since = None;
            // Far beyond it does not feel its way.
            let steps = if highest >= 1.5 { 2 } else { 1 };
            self.level = Level((before.0 + steps).min(LAST));
            // First less is captured.
            if before.0 > 0 && self.used.memory.is_some_and(|part| part >= NEAR) {
                self.squeezed = (self.squeezed + steps).min(SQUEEZED_MAX);
            }
        } else if highest >= FAR || before.0 == 0 {
            self.calm_since = None;
        } else if now.saturating_duration_since(*self.calm_since.get_or_insert(now)) >= CALM {
            self.calm_since = None;
            self.level = Level(before.0 - 1);
            // The room comes back while spans are still left out.
            self.squeezed = self.squeezed.saturating_sub(1);
        }
        if before.0 == 0 && self.level.0 > 0 {
            tracing::warn!(
                "near its bounds ({self}): less is captured of new connections, then fewer spans are kept and wait; requests are counted \
                 all the same"
            );
        } else if before.0 > 0 && self.level.0 == 0 {
            tracing::info!("well below its bounds again ({self}): everything is kept");
        }
        ((self.level, self.squeezed) != (before, squeezed_before)).then_some(self.level)
    }
}

/// Part of its room that what waits is to have. It is made so by a thread of its own: to free much takes a moment.
#[derive(Debug, Default)]
pub(super) struct Room {
    /// Bits of the share.
    wanted: Arc<AtomicU64>,
    turn: Arc<Mutex<()>>,
}

impl Room {
    pub(super) fn set(&self, share: f64, sink: &SpanSink) {
        self.wanted.store(share.to_bits(), Ordering::Relaxed);
        let (wanted, turn, sink) = (Arc::clone(&self.wanted), Arc::clone(&self.turn), sink.clone());
        let make_so = move || {
            let _one_after_the_other = turn.lock().unwrap_or_else(PoisonError::into_inner);
            // As it is wanted by then.
            sink.set_room(f64::from_bits(wanted.load(Ordering::Relaxed)));
            crate::sys::give_back_freed_memory();
        };
        if let Err(error) = std::thread::Builder::new().name("room".into()).spawn(make_so) {
            tracing::warn!(%error, "no thread that makes room near limits.memory");
        }
    }
}

impl std::fmt::Display for Guard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let shown = [("memory", self.used.memory), ("cpu", self.used.cpu)];
        let shown =
            shown.into_iter().filter_map(|(name, part)| Some(format!("{:.0} % of limits.{name}", part? * 100.0)));
        f.write_str(&shown.collect::<Vec<_>>().join(", "))
    }
}

/// Memory of this process.
fn resident_bytes() -> Option<u64> {
    let statm = std::fs::read_to_string("/proc/self/statm").ok()?;
    let pages: u64 = statm.split_ascii_whitespace().nth(1)?.parse().ok()?;
    Some(pages.saturating_mul(rustix::param::page_size() as u64))
}

/// Time of processors that this process has used.
fn processor_time() -> Duration {
    let time = rustix::time::clock_gettime(rustix::time::ClockId::ProcessCPUTime);
    let (seconds, nanos) = (u64::try_from(time.tv_sec), u32::try_from(time.tv_nsec));
    Duration::new(seconds.unwrap_or_default(), nanos.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Levels after looks once a second, with so much of both bounds used.
    fn levels(guard: &mut Guard, start: Instant, at: &mut u64, used: &[(f64, f64)]) -> Vec<u8> {
        let mut processors = guard.looked.map_or(Duration::ZERO, |(_, used)| used);
        let look = |(memory, cpu): &(f64, f64)| {
            *at += 1;
            processors += Duration::from_secs_f64(cpu * 0.5);
            let now = start + Duration::from_secs(*at);
            let _new = guard.on_usage(now, Some((memory * (100 << 20) as f64) as u64), processors);
            guard.level().number()
        };
        used.iter().map(look).collect()
    }

    #[test]
    fn it_sheds_step_by_step_near_a_bound_and_comes_back() {
        let mut guard = Guard::new(Limits { memory: Some(100 << 20), cpu: Some(0.5) }).unwrap();
        let (start, mut at) = (Instant::now(), 0);
        assert_eq!(levels(&mut guard, start, &mut at, &[(0.5, 0.1), (0.89, 0.5)]), [0, 0]);
        assert_eq!(levels(&mut guard, start, &mut at, &[(0.95, 0.1), (0.95, 0.1), (0.8, 0.1)]), [1, 2, 2]);
        assert_eq!((guard.level().head_max(), guard.level().share()), (SMALL_PIECE, 0.5));
        assert_eq!(
            levels(&mut guard, start, &mut at, &[(0.5, 1.0), (0.5, 2.0)]),
            [3, 5],
            "the processor is a bound too"
        );
        assert_eq!(levels(&mut guard, start, &mut at, &[(3.0, 3.0); 4]), [7, 9, 9, 9]);
        assert_eq!(guard.level().share(), 0.0);
        let calm = [(0.5, 0.5); 60];
        let back = levels(&mut guard, start, &mut at, &calm);
        assert!(back.windows(2).all(|pair| pair[0] - pair[1] <= 1) && back.last() == Some(&0), "{back:?}");
        assert_eq!((guard.level().head_max(), guard.level().share()), (HEAD_MAX, 1.0));
    }

    #[test]
    fn what_waits_has_less_room_where_memory_is_short_and_has_it_back() {
        let mut guard = Guard::new(Limits { memory: Some(100 << 20), cpu: Some(0.5) }).unwrap();
        let (start, mut at) = (Instant::now(), 0);
        assert_eq!(levels(&mut guard, start, &mut at, &[(0.5, 0.1), (0.5, 1.0), (0.5, 1.0), (0.5, 1.0)]), [0, 1, 2, 3]);
        assert_eq!(guard.room(), 1.0, "it is not memory that is short");
        let rooms = |guard: &mut Guard, at: &mut u64, used: &[(f64, f64)]| -> Vec<f64> {
            used.iter().map(|used| (levels(guard, start, at, &[*used]), guard.room()).1).collect()
        };
        assert_eq!(rooms(&mut guard, &mut at, &[(0.95, 0.1), (0.8, 0.1), (0.95, 0.1)]), [0.5, 0.5, 0.25]);
        assert_eq!(rooms(&mut guard, &mut at, &[(2.0, 0.1), (2.0, 0.1)]), [0.0625; 2], "never none");
        let back = rooms(&mut guard, &mut at, &[(0.5, 0.1); 60]);
        assert!(back.is_sorted() && back.last() == Some(&1.0), "{back:?}");
        assert_eq!(guard.level(), Level::default());
        // Alone it begins with what is captured.
        let mut guard = Guard::new(Limits { memory: Some(100 << 20), cpu: None }).unwrap();
        assert_eq!(rooms(&mut guard, &mut at, &[(0.95, 0.0), (0.95, 0.0)]), [1.0, 0.5]);
        // Other bounds, or none, are taken up.
        let other = Guard::with(Some(guard), Limits { memory: Some(1 << 30), cpu: None }).unwrap();
        assert_eq!((other.room(), other.level().number()), (0.5, 2));
        assert!(Guard::with(Some(other), Limits::default()).is_none());
    }

    #[test]
    fn without_bounds_there_is_no_guard_and_what_it_looks_at_is_there() {
        assert!(Guard::new(Limits::default()).is_none());
        assert!(resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
        assert!(processor_time() > Duration::ZERO);
        let mut guard = Guard::new(Limits { memory: Some(u64::MAX), cpu: None }).unwrap();
        assert_eq!(guard.look(), None);
        assert!(guard.used().memory.is_some() && guard.used().cpu.is_none());
    }
}
