//! What the store keeps on disk (`store.dir`): blocks of spans once they are full or some seconds old, and what came of series since the
//! last time. A thread of its own writes; who gives it something never waits, and what it cannot take is counted. What earlier runs have
//! written is read when it starts: of spans where they are and of when, of series all.

mod log;
mod record;
#[cfg(test)]
mod tests;
mod traces;

use std::{
    collections::VecDeque,
    io,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
        mpsc::{Receiver, SyncSender, sync_channel},
    },
    time::Duration,
};

use parking_lot::Mutex;

use self::{
    log::{Log, Place, Torn},
    record::{Names, Numbers, ROW_MAX, Record},
    traces::Traces,
};
use super::{
    block::{Block, KnownWhose, Whose},
    series::More,
    spans::is_among,
};
use crate::model::trace_context::TraceId;

/// Blocks and rounds of series that wait for the disk.
const WAITING_MAX: usize = 64;
/// Most rows of a record of series.
const ROWS_MAX: usize = 512;

/// Where, and how much.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct DiskConfig {
    pub(crate) dir: PathBuf,
    pub(crate) max_bytes: u64,
    pub(crate) max_age: Duration,
}

/// See the module.
pub(super) struct Disk {
    jobs: SyncSender<Job>,
    shared: Arc<Shared>,
    /// Held by who reads a block of it.
    pub(super) turn: Arc<Mutex<()>>,
}

enum Job {
    Spans(Arc<Block>, f64),
    Series(More),
    End(SyncSender<()>),
}

/// Seconds since the epoch.
pub(super) type ClockS = Box<dyn Fn() -> u64 + Send + Sync>;

struct Shared {
    config: DiskConfig,
    clock: ClockS,
    /// The oldest first.
    entries: Mutex<VecDeque<Arc<Entry>>>,
    bytes: AtomicU64,
    written: AtomicU64,
    dropped: AtomicU64,
    torn: AtomicU64,
    until_unix_ns: AtomicU64,
    failing: Mutex<Option<Failing>>,
    /// What earlier runs have left is known, or cannot be.
    is_open: AtomicBool,
}

/// What could not be written.
struct Failing {
    /// The largest record of it.
    bytes: usize,
    /// When one was not for the last time.
    last_unix_s: u64,
}

/// For so long all has to be written before the disk is said to work, where no record is as large as one that was not.
const WORKS_AFTER_S: u64 = 60;

/// What is said of what is on disk.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct DiskStats {
    pub(crate) bytes: u64,
    pub(crate) max_bytes: u64,
    /// Spans that are there.
    pub(crate) spans: u64,
    /// Spans that were written in this run.
    pub(crate) written: u64,
    /// Those that were not, since the disk is full, fails or is too slow.
    pub(crate) dropped: u64,
    /// Those of earlier runs that could not be read.
    pub(crate) torn: u64,
    /// Until when all that was counted is there; 0: nothing is yet.
    pub(crate) until_unix_ns: u64,
}

/// A block on disk.
pub(super) struct Entry {
    place: Place,
    /// Number of its first span.
    pub(super) first: u64,
    spans: u64,
    pub(super) has_errors: bool,
    pub(super) from_unix_ns: u64,
    /// Behind its last start.
    pub(super) until_unix_ns: u64,
    written_unix_s: u64,
    share: f64,
    pub(super) whose: Vec<Arc<Whose>>,
    /// The longest of its spans takes so long.
    pub(super) longest_us: u32,
    traces: Traces,
}

impl Entry {
    fn of(block: &Block, place: Place, share: f64, written_unix_s: u64) -> Self {
        let starts = || block.heads.iter().map(|head| head.start_unix_ns);
        Self {
            place,
            first: block.first,
            spans: block.heads.len() as u64,
            has_errors: block.heads.iter().any(super::block::Head::is_error),
            from_unix_ns: starts().min().unwrap_or(0),
            until_unix_ns: starts().max().map_or(0, |last| last.saturating_add(1)),
            written_unix_s,
            share,
            whose: block.whose.clone(),
            longest_us: block.heads.iter().map(|head| head.duration_us).max().unwrap_or(0),
            traces: Traces::of(block.heads.iter().map(|head| head.trace_id)),
        }
    }

    /// Reads it; `None`: that does not work.
    pub(super) fn load(&self) -> Option<Block> {
        #[cfg(test)]
        tests::LOADED.with(|loaded| loaded.set(loaded.get() + 1));
        let bytes = self.place.reader.read(self.place.at).ok()??;
        match record::read(&bytes, self.place.segment, &mut Names::default(), &mut KnownWhose::default())? {
            Record::Spans { block, .. } => Some(block),
            Record::Series { .. } => None,
        }
    }

    /// Whether a span of a trace may be in it.
    pub(super) fn may_have(&self, trace: &TraceId) -> bool {
        self.traces.may_have(trace)
    }

    /// Whether a span of this time may be in it.
    pub(super) fn is_of(&self, from_unix_ns: u64, until_unix_ns: u64) -> bool {
        self.from_unix_ns < until_unix_ns && self.until_unix_ns > from_unix_ns
    }
}

impl Disk {
    /// Opens the folder on a thread of its own. `restore` is given what came of series in earlier runs, and the blocks of these, the latest
    /// first.
    ///
    /// # Errors
    /// There is no thread.
    pub(super) fn start(
        config: DiskConfig,
        clock: ClockS,
        restore: impl FnOnce(Vec<More>, Vec<Arc<Entry>>) + Send + 'static,
    ) -> io::Result<Self> {
        let (jobs, todo) = sync_channel(WAITING_MAX);
        let shared = Arc::new(Shared {
            config,
            clock,
            entries: Mutex::default(),
            bytes: AtomicU64::new(0),
            written: AtomicU64::new(0),
            dropped: AtomicU64::new(0),
            torn: AtomicU64::new(0),
            until_unix_ns: AtomicU64::new(0),
            failing: Mutex::default(),
            is_open: AtomicBool::new(false),
        });
        let own = Arc::clone(&shared);
        std::thread::Builder::new().name("store".to_owned()).spawn(move || own.run(&todo, restore))?;
        Ok(Self { jobs, shared, turn: Arc::default() })
    }

    /// Takes a block to be written; never waits.
    pub(super) fn offer(&self, block: &Arc<Block>, share: f64) {
        if self.jobs.try_send(Job::Spans(Arc::clone(block), share)).is_err() {
            self.shared.dropped.fetch_add(block.heads.len() as u64, Relaxed);
        }
    }

    /// The same of series; whether it was taken. What was not comes again with the next.
    pub(super) fn offer_series(&self, more: More) -> Result<(), More> {
        self.jobs.try_send(Job::Series(more)).map_err(|error| match error {
            std::sync::mpsc::TrySendError::Full(Job::Series(more))
            | std::sync::mpsc::TrySendError::Disconnected(Job::Series(more)) => more,
            _ => More::default(),
        })
    }

    /// Waits until all is written that was given, and ends.
    pub(super) fn end(&self) {
        let (tell, told) = sync_channel(1);
        if self.jobs.send(Job::End(tell)).is_ok() {
            let _ended = told.recv().is_ok();
        }
    }

    /// Blocks on disk, the latest first, of those that are before a number.
    pub(super) fn before(&self, number: u64) -> Vec<Arc<Entry>> {
        self.shared.entries.lock().iter().rev().filter(|entry| entry.first < number).cloned().collect()
    }

    /// The share of traces that was kept of this time, where a trace was not among them.
    pub(super) fn thinned_at(&self, trace: TraceId, from_unix_ns: u64, until_unix_ns: u64) -> Option<f64> {
        let entries = self.shared.entries.lock();
        let of_then = entries.iter().filter(|entry| entry.is_of(from_unix_ns, until_unix_ns));
        let least = of_then.map(|entry| entry.share).min_by(f64::total_cmp)?;
        (!is_among(trace, least)).then_some(least)
    }

    /// Bytes of memory that it takes to know what is on disk.
    pub(super) fn memory(&self) -> usize {
        let entries = self.shared.entries.lock();
        let of_traces: usize = entries.iter().map(|entry| entry.traces.bytes()).sum();
        of_traces + entries.len() * (size_of::<Entry>() + 2 * size_of::<usize>())
    }

    pub(super) fn stats(&self) -> DiskStats {
        let shared = &self.shared;
        DiskStats {
            bytes: shared.bytes.load(Relaxed),
            max_bytes: shared.config.max_bytes,
            spans: shared.entries.lock().iter().map(|entry| entry.spans).sum(),
            written: shared.written.load(Relaxed),
            dropped: shared.dropped.load(Relaxed),
            torn: shared.torn.load(Relaxed),
            until_unix_ns: shared.until_unix_ns.load(Relaxed),
        }
    }
}

/// The system's.
pub(super) fn system_clock() -> ClockS {
    Box::new(|| std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap_or_default().as_secs())
}

impl Shared {
    fn run(&self, todo: &Receiver<Job>, restore: impl FnOnce(Vec<More>, Vec<Arc<Entry>>)) {
        let mut log = match self.open(restore) {
            Ok(log) => Some(log),
            Err(error) => {
                let folder = self.config.dir.display();
                tracing::warn!(%error, %folder, "store.dir cannot be used: what is seen is remembered in memory alone");
                None
            }
        };
        self.is_open.store(true, Relaxed);
        let mut numbers = Numbers::default();
        for job in todo {
            match (job, &mut log) {
                (Job::End(tell), _) => {
                    // The folder is free from now on.
                    drop(log);
                    let _is_awaited = tell.send(()).is_ok();
                    return;
                }
                (Job::Spans(block, share), Some(log)) => self.write_spans(log, &block, share),
                (Job::Series(more), Some(log)) => self.write_series(log, &mut numbers, more),
                (Job::Spans(block, _), None) => {
                    self.dropped.fetch_add(block.heads.len() as u64, Relaxed);
                }
                (Job::Series(_), None) => {}
            }
        }
    }

    fn open(&self, restore: impl FnOnce(Vec<More>, Vec<Arc<Entry>>)) -> io::Result<Log> {
        let DiskConfig { dir, max_bytes, max_age } = &self.config;
        let (mut names, mut known, mut series) = (Names::default(), KnownWhose::default(), Vec::new());
        let mut entries = VecDeque::new();
        let oldest_unix_s = (self.clock)().saturating_sub(max_age.as_secs());
        let look = |place: Place, bytes: &[u8]| match record::read(bytes, place.segment, &mut names, &mut known)? {
            Record::Spans { block, share, written_unix_s } => {
                if written_unix_s >= oldest_unix_s {
                    entries.push_back(Arc::new(Entry::of(&block, place, share, written_unix_s)));
                }
                Some(written_unix_s)
            }
            Record::Series { more, written_unix_s } => {
                if written_unix_s >= oldest_unix_s {
                    series.push(more);
                }
                Some(written_unix_s)
            }
        };
        let (log, Torn { bytes, spans }) = Log::open(dir, *max_bytes, *max_age, look)?;
        let folder = dir.display();
        if bytes > 0 || spans > 0 {
            tracing::warn!(bytes, spans, %folder, "a part of what was remembered on disk is torn or damaged and left out");
        }
        let kept: u64 = entries.iter().map(|entry| entry.spans).sum();
        if kept > 0 {
            tracing::info!(spans = kept, %folder, "spans of earlier runs are remembered");
        }
        self.torn.store(spans, Relaxed);
        self.bytes.store(log.bytes(), Relaxed);
        // What was written meanwhile: nothing, by this very thread.
        let latest_first = entries.iter().rev().cloned().collect();
        *self.entries.lock() = entries;
        restore(series, latest_first);
        Ok(log)
    }

    fn write_spans(&self, log: &mut Log, block: &Block, share: f64) {
        let now = (self.clock)();
        let spans = block.heads.len() as u64;
        let mut bytes = 0;
        let written = record::of_spans(block, share, now).and_then(|message| {
            bytes = message.len();
            log.make_room(message.len(), now)?;
            log.write(&message, spans, now)
        });
        match written {
            Ok(place) => {
                self.entries.lock().push_back(Arc::new(Entry::of(block, place, share, now)));
                self.written.fetch_add(spans, Relaxed);
                self.works(bytes, now);
            }
            Err(error) => {
                self.dropped.fetch_add(spans, Relaxed);
                self.fails(&error, bytes, now);
            }
        }
        self.forget(log, now);
    }

    fn write_series(&self, log: &mut Log, numbers: &mut Numbers, more: More) {
        let now = (self.clock)();
        let More { started_unix_ns, until_unix_ns, rows } = more;
        // Once where there are none: that it ran then is known.
        let mut rest = rows;
        loop {
            let behind = rest.split_off(rest.len().min(ROWS_MAX));
            let part = More { started_unix_ns, until_unix_ns, rows: rest };
            let mut bytes = 0;
            let written = log.make_room((part.rows.len() + 1) * ROW_MAX, now).and_then(|segment| {
                if numbers.segment != segment {
                    *numbers = Numbers::of(segment);
                }
                let message = record::of_series(&part, numbers, now);
                bytes = message.len();
                log.write(&message, 0, now)
            });
            match written {
                Ok(_) => self.works(bytes, now),
                Err(error) => {
                    // What it names is not there: all are named anew.
                    *numbers = Numbers::default();
                    self.fails(&error, bytes, now);
                    break;
                }
            }
            if behind.is_empty() {
                self.until_unix_ns.store(until_unix_ns, Relaxed);
                break;
            }
            rest = behind;
        }
        self.forget(log, now);
    }

    /// Forgets blocks whose files are gone, or that are too old.
    fn forget(&self, log: &Log, now_unix_s: u64) {
        self.bytes.store(log.bytes(), Relaxed);
        let (oldest, max_age) = (log.oldest(), self.config.max_age.as_secs());
        let mut entries = self.entries.lock();
        while let Some(entry) = entries.front()
            && (entry.place.segment < oldest || now_unix_s.saturating_sub(entry.written_unix_s) > max_age)
        {
            entries.pop_front();
        }
    }

    fn fails(&self, error: &io::Error, bytes: usize, now_unix_s: u64) {
        let mut failing = self.failing.lock();
        let before = failing.replace(Failing { bytes, last_unix_s: now_unix_s });
        if let (Some(before), Some(failing)) = (&before, &mut *failing) {
            failing.bytes = bytes.max(before.bytes);
        }
        if before.is_none() {
            let folder = self.config.dir.display();
            tracing::warn!(%error, %folder, "what is seen cannot be written to store.dir, and is remembered in memory alone");
        }
    }

    /// A record was written. A small one that finds room on a full disk says nothing.
    fn works(&self, bytes: usize, now_unix_s: u64) {
        let mut failing = self.failing.lock();
        let works = |it: &mut Failing| bytes >= it.bytes || now_unix_s.saturating_sub(it.last_unix_s) >= WORKS_AFTER_S;
        if failing.take_if(works).is_some() {
            tracing::info!(folder = %self.config.dir.display(), "what is seen is written to store.dir again");
        }
    }
}
