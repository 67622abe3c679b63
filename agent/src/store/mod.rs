//! What the agent remembers for whoever asks it: the spans of the last minutes, and rate, errors and durations of the last hours. In
//! memory, and bounded in bytes; on disk for longer, where there is a folder for it ([`disk`]).
//!
//! Spans come from the pipeline, which never waits: where somebody reads just then, they wait, and readers hold the lock only to
//! copy what is not shared. Rates do not come from spans, of which not all are kept, but from the metrics,
//! which count every request anyway.

mod block;
mod disk;
mod graph;
mod search;
mod series;
mod spans;
mod takes;
#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use parking_lot::Mutex;

use self::disk::Disk;
pub(crate) use self::{
    block::{Kept, Whose, text_of},
    disk::{DiskConfig, DiskStats},
    graph::{Graph, Name, Node},
    search::{Filter, Followed, Snapshot},
    series::{Key, Red, STEP_S, Side, Window},
};
use self::{series::Series, spans::Spans};
use crate::model::{metric::Metric, span::Span, trace_context::TraceId};

/// Share of the memory that is for series.
const SERIES_SHARE: f64 = 0.25;
/// Batches that wait while somebody reads; a reader is done in a few µs.
const WAITING_MAX: usize = 256;

/// What is counted apart, with its requests of a time.
pub(crate) type Summed = (Key, Red);

/// See the module.
pub(crate) struct Store {
    limit: usize,
    /// Of that, what is for spans: less of it while memory is short.
    for_spans: std::sync::atomic::AtomicUsize,
    spans: Mutex<Spans>,
    waiting: Mutex<Vec<Arc<Vec<Span>>>>,
    series: Mutex<Series>,
    graph: Mutex<graph::Resolved>,
    disk: std::sync::OnceLock<Arc<Disk>>,
    before_close: std::sync::OnceLock<Box<dyn Fn() + Send + Sync>>,
    /// Spans for which there was no room to wait.
    dropped: std::sync::atomic::AtomicU64,
    started: Instant,
}

/// What is said of the store itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Stats {
    /// Spans that were offered.
    pub(crate) offered: u64,
    /// Those that were kept, at first.
    pub(crate) kept: u64,
    /// Those that were thinned out.
    pub(crate) thinned: u64,
    /// Those that were lost.
    pub(crate) dropped: u64,
    /// Bytes that all takes.
    pub(crate) bytes: u64,
    /// Bytes that a span takes.
    pub(crate) bytes_per_span: f64,
    /// The share of traces that is kept now.
    pub(crate) share: f64,
}

impl Store {
    /// One that takes `limit` bytes at most. What takes longer than `slower_than` is slow.
    #[must_use]
    pub(crate) fn new(limit: usize, slower_than: Option<Duration>) -> Self {
        let for_series = (limit as f64 * SERIES_SHARE) as usize;
        Self {
            limit,
            for_spans: (limit - for_series).into(),
            spans: Mutex::new(Spans::new(limit - for_series, slower_than)),
            waiting: Mutex::default(),
            series: Mutex::new(Series::new(for_series)),
            graph: Mutex::default(),
            disk: std::sync::OnceLock::new(),
            before_close: std::sync::OnceLock::new(),
            dropped: std::sync::atomic::AtomicU64::new(0),
            started: Instant::now(),
        }
    }

    /// Keeps all on disk too, and remembers what earlier runs have left there.
    ///
    /// # Errors
    /// There is no thread for it. That the folder cannot be used is only told.
    pub(crate) fn keep_on_disk(self: &Arc<Self>, config: DiskConfig, now_unix_ns: u64) -> std::io::Result<()> {
        self.keep_on_disk_by(disk::system_clock(), config, now_unix_ns)
    }

    /// The same by a clock, which says how old what is there is.
    fn keep_on_disk_by(
        self: &Arc<Self>,
        clock: disk::ClockS,
        config: DiskConfig,
        now_unix_ns: u64,
    ) -> std::io::Result<()> {
        let own = Arc::downgrade(self);
        let restore = move |earlier: Vec<series::More>, on_disk: Vec<Arc<disk::Entry>>| {
            if let Some(store) = own.upgrade() {
                store.series.lock().restore(earlier, now_unix_ns);
                // Who was at which address.
                let latest: Vec<_> = Snapshot::of_disk(on_disk).latest_on_disk(graph::LOOKED_AT as usize);
                store.graph.lock().learn(&latest.iter().collect::<Vec<_>>(), 0);
            }
        };
        let disk = Arc::new(Disk::start(config, clock, restore)?);
        self.series.lock().tell_more();
        // Later runs have higher ones; they are exact in JavaScript.
        self.spans.lock().keep_on(Arc::clone(&disk), now_unix_ns / 1000);
        let _is_first = self.disk.set(disk).is_ok();
        Ok(())
    }

    /// What is done before it is closed: the metrics are taken a last time.
    pub(crate) fn before_close(&self, take: impl Fn() + Send + Sync + 'static) {
        let _is_first = self.before_close.set(Box::new(take)).is_ok();
    }

    /// Hands to the disk what it does not have yet; done every few seconds.
    pub(crate) fn flush(&self) {
        let Some(disk) = self.disk.get() else { return };
        {
            let mut spans = self.spans.lock();
            self.catch_up(&mut spans, Instant::now());
            spans.flush();
        }
        let more = self.series.lock().more();
        if let Err(more) = disk.offer_series(more) {
            self.series.lock().take_back(more);
        }
    }

    /// The same, and waits until it is written. Nothing is written afterwards.
    pub(crate) fn close(&self) {
        let Some(disk) = self.disk.get() else { return };
        if let Some(take) = self.before_close.get() {
            take();
        }
        self.flush();
        disk.end();
    }

    fn for_series(&self) -> usize {
        (self.limit as f64 * SERIES_SHARE) as usize
    }

    /// Bytes that it takes at most.
    pub(crate) fn limit(&self) -> usize {
        self.for_series() + self.for_spans.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Spans have this part of their room from now on; the oldest go, and more are thinned out. What requests were counted stays. May
    /// take a moment, in which spans wait.
    pub(crate) fn set_room(&self, share: f64) {
        let room = ((self.limit - self.for_series()) as f64 * share) as usize;
        self.for_spans.store(room, std::sync::atomic::Ordering::Relaxed);
        self.spans.lock().set_limit(room);
    }

    /// Takes spans; never waits for a reader.
    pub(crate) fn push(&self, batch: &Arc<Vec<Span>>) {
        let Some(mut spans) = self.spans.try_lock() else {
            let mut waiting = self.waiting.lock();
            if waiting.len() < WAITING_MAX {
                waiting.push(Arc::clone(batch));
            } else {
                let count = batch.len() as u64;
                self.dropped.fetch_add(count, std::sync::atomic::Ordering::Relaxed);
            }
            return;
        };
        let now = Instant::now();
        self.catch_up(&mut spans, now);
        spans.insert(batch, now);
    }

    fn catch_up(&self, spans: &mut Spans, now: Instant) {
        let waiting = std::mem::take(&mut *self.waiting.lock());
        waiting.iter().for_each(|batch| spans.insert(batch, now));
    }

    fn read<T>(&self, read: impl FnOnce(&Spans) -> T) -> T {
        let mut spans = self.spans.lock();
        self.catch_up(&mut spans, Instant::now());
        read(&spans)
    }

    /// The spans as of now.
    #[must_use]
    pub(crate) fn snapshot(&self) -> Snapshot {
        self.read(Spans::blocks)
    }

    /// The same with those that are on disk alone, which takes longer to be asked.
    #[must_use]
    pub(crate) fn everything(&self) -> Snapshot {
        let snapshot = self.snapshot();
        match self.disk.get() {
            Some(disk) => snapshot.with_disk(disk),
            None => snapshot,
        }
    }

    /// What is said of what is on disk; `None`: nothing is.
    #[must_use]
    pub(crate) fn disk_stats(&self) -> Option<DiskStats> {
        self.disk.get().map(|disk| disk.stats())
    }

    /// The number of the next span.
    #[must_use]
    pub(crate) fn next(&self) -> u64 {
        self.read(Spans::next)
    }

    /// Spans from this number on and before another that are asked for, and the number to go on with.
    #[must_use]
    pub(crate) fn between(&self, number: u64, until: u64, filter: &Filter, limit: usize) -> Followed {
        let blocks = self.read(|spans| spans.since(number));
        search::between(&blocks, number..until, filter, limit)
    }

    /// The share of traces that was kept of this time, where a trace was not among them and may so lack spans.
    #[must_use]
    pub(crate) fn thinned_at(&self, trace: TraceId, from_unix_ns: u64, until_unix_ns: u64) -> Option<f64> {
        let own = self.read(|spans| spans.thinned_at(trace, from_unix_ns, until_unix_ns));
        own.or_else(|| self.disk.get()?.thinned_at(trace, from_unix_ns, until_unix_ns))
    }

    /// Says since when requests are counted.
    pub(crate) fn start_at(&self, unix_ns: u64) {
        self.series.lock().start_at(unix_ns);
    }

    /// Takes what the metrics say now.
    pub(crate) fn take(&self, metrics: &[Metric], now_unix_ns: u64) {
        self.series.lock().take(metrics, now_unix_ns);
    }

    /// Rates, errors and durations of a window of time, one row for each series that `is_wanted`.
    #[must_use]
    pub(crate) fn red(&self, window: Window, is_wanted: impl Fn(&Key) -> bool) -> Vec<Summed> {
        self.series.lock().sums(window, is_wanted)
    }

    /// The same over time: one for each step of the window, over all series that `is_wanted`; `None` where there was nothing.
    #[must_use]
    pub(crate) fn over_time(&self, window: Window, is_wanted: impl Fn(&Key) -> bool) -> Vec<Red> {
        self.series.lock().over_time(window, is_wanted)
    }

    /// Seconds of which the counts of each step are.
    #[must_use]
    pub(crate) fn seconds(&self, window: Window) -> Vec<f64> {
        self.series.lock().seconds(window)
    }

    /// The window of the last `length`, as far as there are metrics of it.
    #[must_use]
    pub(crate) fn last(&self, length: Duration) -> Window {
        self.series.lock().last(length)
    }

    /// The window from this time on, to be told of as far as there are metrics of it.
    #[must_use]
    pub(crate) fn since(&self, unix_s: u64) -> Window {
        self.series.lock().since(unix_s)
    }

    /// Who asks whom.
    #[must_use]
    pub(crate) fn graph(&self, window: Window) -> Graph {
        let sums = self.red(window, |_| true);
        let mut resolved = self.graph.lock();
        let (next, blocks) = self.read(|spans| {
            let from = resolved.wants_from(spans.next());
            (from, from.map(|from| spans.since(from)).unwrap_or_default())
        });
        if let Some(from) = next {
            resolved.learn(&blocks, from);
        }
        resolved.graph(&sums)
    }

    /// For how long there is one.
    #[must_use]
    pub(crate) fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// What is said of the store itself.
    #[must_use]
    pub(crate) fn stats(&self) -> Stats {
        let of_series = self.series.lock().bytes();
        let of_disk = self.disk.get().map_or(0, |disk| disk.memory());
        let dropped = self.dropped.load(std::sync::atomic::Ordering::Relaxed);
        self.read(|spans| {
            let (kept, thinned) = (spans.counts.kept, spans.counts.thinned);
            Stats {
                offered: kept + thinned + dropped,
                kept,
                thinned,
                dropped,
                bytes: (spans.bytes() + of_series + of_disk) as u64,
                bytes_per_span: spans.bytes_per_span(),
                share: spans.share(),
            }
        })
    }
}
