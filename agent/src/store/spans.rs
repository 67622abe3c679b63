//! The spans of the last minutes. All are kept while they fit; where more come than would be there for five minutes, traces are thinned
//! out by their id, whole ones. Errors, what is slow, and what else is of their traces are not thinned out, and stay when the
//! rest goes.

use std::{
    collections::VecDeque,
    sync::Arc,
    time::{Duration, Instant},
};

use hashbrown::HashSet;

use super::{
    block::{Block, Builder, Local, Resources, Written},
    disk::Disk,
    search::Snapshot,
};
use crate::model::{span::Span, trace_context::TraceId};

/// How long spans are to be there, where they are thinned out for it.
const RETENTION: Duration = Duration::from_secs(300);
/// What a span is taken to need before any was kept.
const FIRST_BYTES_PER_SPAN: f64 = 220.0;
/// Spans of a block that say what one needs.
const ENOUGH: usize = 100;
/// Share of the room for spans that is for those of traces with errors and slow spans, once they are old.
const NOTABLE_SHARE: f64 = 0.3;
/// Most traces that are known to have some.
const NOTABLE_MAX: usize = 50_000;
/// How often it is looked at how much comes.
const WINDOW: Duration = Duration::from_secs(1);
/// Changes of the share that is kept that are known: an hour of them.
const SHARES_MAX: usize = 3600;
/// How long after its end a span may come.
const ARRIVES_WITHIN_NS: u64 = 2_000_000_000;
/// Fewer spans a second are never thinned out.
const LEAST_PER_SECOND: f64 = 200.0;

/// What became of the spans that were offered.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counts {
    /// Kept at first.
    pub(crate) kept: u64,
    /// Thinned out.
    pub(crate) thinned: u64,
}

pub(super) struct Spans {
    /// Bytes that all may take.
    limit: usize,
    recent: Builder,
    full: VecDeque<Arc<Block>>,
    full_bytes: usize,
    /// Of traces with errors and slow spans, when the others had to go.
    notable: Builder,
    notable_full: VecDeque<Arc<Block>>,
    notable_bytes: usize,
    resources: Resources,
    notable_traces: HashSet<TraceId, rustc_hash::FxBuildHasher>,
    in_order: VecDeque<TraceId>,
    thinning: Thinning,
    slower_than: Option<Duration>,
    pub(super) counts: Counts,
    bytes_per_span: f64,
    disk: Option<Arc<Disk>>,
    /// The least share that was kept since a block was last full.
    share_of_block: f64,
}

impl Spans {
    pub(super) fn new(limit: usize, slower_than: Option<Duration>) -> Self {
        Self {
            limit,
            recent: Builder::new(1),
            full: VecDeque::new(),
            full_bytes: 0,
            notable: Builder::default(),
            notable_full: VecDeque::new(),
            notable_bytes: 0,
            resources: Resources::default(),
            notable_traces: HashSet::default(),
            in_order: VecDeque::new(),
            thinning: Thinning::new(Instant::now()),
            slower_than,
            counts: Counts::default(),
            bytes_per_span: FIRST_BYTES_PER_SPAN,
            disk: None,
            share_of_block: 1.0,
        }
    }

    /// What is full goes to the disk too. Spans have numbers from `first` on, since there are others of earlier runs.
    pub(super) fn keep_on(&mut self, disk: Arc<Disk>, first: u64) {
        self.disk = Some(disk);
        self.recent = Builder::new(first.max(self.next()));
    }

    /// What is there goes to the disk, though its block is not full.
    pub(super) fn flush(&mut self) {
        if self.disk.is_some() && !self.recent.block.heads.is_empty() {
            self.seal();
        }
    }

    fn recent_limit(&self) -> usize {
        (self.limit as f64 * (1.0 - NOTABLE_SHARE)) as usize
    }

    /// Bytes of all blocks.
    pub(super) fn bytes(&self) -> usize {
        self.full_bytes + self.notable_bytes + self.recent.block.bytes() + self.notable.block.bytes()
    }

    /// The share of traces that is kept.
    pub(super) fn share(&self) -> f64 {
        self.thinning.share
    }

    /// The share of traces that was kept of this time, where a trace was not among them and may so lack spans.
    pub(super) fn thinned_at(&self, trace: TraceId, from_unix_ns: u64, until_unix_ns: u64) -> Option<f64> {
        let share = self.thinning.least(from_unix_ns, until_unix_ns.saturating_add(ARRIVES_WITHIN_NS));
        (!is_among(trace, share)).then_some(share)
    }

    /// Bytes that a span takes.
    pub(super) fn bytes_per_span(&self) -> f64 {
        self.bytes_per_span
    }

    pub(super) fn insert(&mut self, spans: &[Span], now: Instant) {
        let per_second = self.recent_limit() as f64 / RETENTION.as_secs_f64() / self.bytes_per_span;
        let unix_ns = spans.last().map_or(0, |span| span.end_unix_ns);
        self.thinning.look(now, unix_ns, per_second.max(LEAST_PER_SECOND));
        self.share_of_block = self.share_of_block.min(self.thinning.share);
        for span in spans {
            let duration_us = span.end_unix_ns.saturating_sub(span.start_unix_ns) / 1000;
            let known = self.resources.get(&span.resource);
            let is_slow = known.is_slow(span.kind, duration_us);
            let is_long = self.slower_than.is_some_and(|than| u128::from(duration_us) >= than.as_micros());
            let is_error = span.has_failed();
            let is_notable = (is_error || is_slow || is_long) && self.thinning.takes_notable();
            if is_notable && self.notable_traces.insert(span.trace_id) {
                self.in_order.push_back(span.trace_id);
                if self.in_order.len() > NOTABLE_MAX
                    && let Some(oldest) = self.in_order.pop_front()
                {
                    self.notable_traces.remove(&oldest);
                }
            }
            let is_kept =
                self.thinning.takes(span.trace_id) || is_notable || self.notable_traces.contains(&span.trace_id);
            if !is_kept {
                self.counts.thinned += 1;
                continue;
            }
            self.counts.kept += 1;
            self.recent.write(&Written::of(span), &Local::Of(&span.local), &known.whose, None);
            if self.recent.is_full() {
                self.seal();
            }
        }
    }

    fn seal(&mut self) {
        let block = self.recent.take();
        let bytes = block.bytes();
        // One that was sealed for the disk says little of those that are full.
        if block.heads.len() >= ENOUGH {
            self.bytes_per_span = bytes as f64 / block.heads.len() as f64;
        }
        self.full_bytes += bytes;
        let block = Arc::new(block);
        if let Some(disk) = &self.disk {
            disk.offer(&block, self.share_of_block);
        }
        self.share_of_block = self.thinning.share;
        self.full.push_back(block);
        self.fit();
    }

    /// Takes no more than this from now on.
    pub(super) fn set_limit(&mut self, limit: usize) {
        self.limit = limit;
        self.fit();
        self.fit_notable();
    }

    /// Lets the oldest go where there is no room for all.
    fn fit(&mut self) {
        while self.full_bytes > self.recent_limit() {
            let Some(oldest) = self.full.pop_front() else { break };
            self.full_bytes -= oldest.bytes();
            self.save(&oldest);
        }
    }

    fn fit_notable(&mut self) {
        let limit = self.limit - self.recent_limit();
        while self.notable_bytes > limit {
            let Some(oldest) = self.notable_full.pop_front() else { break };
            self.notable_bytes -= oldest.bytes();
        }
    }

    /// Saves what is worth it of a block that goes.
    fn save(&mut self, block: &Block) {
        for (index, head) in block.heads.iter().enumerate() {
            if !self.notable_traces.contains(&head.trace_id) {
                continue;
            }
            let Some(kept) = block.read(index) else { continue };
            let local = Local::Text(kept.local.as_deref());
            self.notable.write(&Written::of_kept(&kept), &local, &kept.whose, Some(kept.number));
            if self.notable.is_full() {
                let block = self.notable.take();
                self.notable_bytes += block.bytes();
                self.notable_full.push_back(Arc::new(block));
            }
        }
        self.fit_notable();
    }

    /// All blocks as of now, the latest first. Full ones are shared, the others copied: whoever reads them holds up nobody.
    pub(super) fn blocks(&self) -> Snapshot {
        let current = Arc::new(self.recent.block.clone());
        let recent = std::iter::once(current).chain(self.full.iter().rev().cloned()).collect();
        let saved = Arc::new(self.notable.block.clone());
        let notable = std::iter::once(saved).chain(self.notable_full.iter().rev().cloned()).collect();
        Snapshot::of_memory(recent, notable)
    }

    /// The number of the next span.
    pub(super) fn next(&self) -> u64 {
        self.recent.block.end()
    }

    /// Blocks that have spans from this number on, the earliest first.
    pub(super) fn since(&self, number: u64) -> Vec<Arc<Block>> {
        let mut blocks: Vec<Arc<Block>> =
            self.full.iter().rev().take_while(|block| block.end() > number).cloned().collect();
        blocks.reverse();
        if self.recent.block.end() > number {
            let from = number.saturating_sub(self.recent.block.first);
            blocks.push(Arc::new(self.recent.block.tail(usize::try_from(from).unwrap_or(usize::MAX))));
        }
        blocks
    }
}

/// Which traces are kept, so that not more spans come than are asked for.
struct Thinning {
    share: f64,
    since: Instant,
    offered: u64,
    kept: u64,
    notable: u64,
    per_second: f64,
    /// From when on which share was kept, and which one before.
    shares: VecDeque<(u64, f64)>,
    before_shares: f64,
}

impl Thinning {
    const fn new(now: Instant) -> Self {
        let shares = VecDeque::new();
        Self {
            share: 1.0,
            since: now,
            offered: 0,
            kept: 0,
            notable: 0,
            per_second: f64::MAX,
            shares,
            before_shares: 1.0,
        }
    }

    /// `unix_ns`: when that is, as spans have it.
    fn look(&mut self, now: Instant, unix_ns: u64, per_second: f64) {
        let before = self.share;
        self.adjust(now, per_second);
        if self.share != before {
            self.shares.push_back((unix_ns, self.share));
            if self.shares.len() > SHARES_MAX
                && let Some((_, oldest)) = self.shares.pop_front()
            {
                self.before_shares = oldest;
            }
        }
    }

    /// The least share that was kept at any moment of this time.
    fn least(&self, from_unix_ns: u64, until_unix_ns: u64) -> f64 {
        let (mut least, mut then) = (f64::MAX, self.before_shares);
        for &(at, share) in &self.shares {
            if at > until_unix_ns {
                break;
            }
            if at > from_unix_ns {
                least = least.min(then);
            }
            then = share;
        }
        least.min(then)
    }

    fn adjust(&mut self, now: Instant, per_second: f64) {
        self.per_second = per_second;
        let passed = now.saturating_duration_since(self.since);
        if passed >= WINDOW {
            let offered = self.offered as f64 / passed.as_secs_f64();
            let wanted = if offered > per_second { per_second / offered } else { 1.0 };
            // Down at once, up by and by.
            self.share = if wanted < self.share { wanted } else { wanted.min(self.share * 1.5) };
            (self.since, self.offered, self.kept, self.notable) = (now, 0, 0, 0);
        } else if self.kept as f64 > 2.0 * per_second {
            self.share /= 2.0;
            self.kept = 0;
        }
    }

    fn takes(&mut self, trace: TraceId) -> bool {
        self.offered += 1;
        let is_taken = is_among(trace, self.share);
        self.kept += u64::from(is_taken);
        is_taken
    }

    /// Whether one more with an error, or slow, is taken though the rest is thinned out.
    fn takes_notable(&mut self) -> bool {
        self.notable += 1;
        (self.notable as f64) <= self.per_second / 2.0
    }
}

/// Whether a trace is one of those that are kept where this share is.
pub(super) fn is_among(trace: TraceId, share: f64) -> bool {
    // The last bytes are random by the specification of trace context, level 2; ours all are.
    let [.., a, b, c, d] = trace.0;
    f64::from(u32::from_le_bytes([a, b, c, d])) < share * 4_294_967_296.0
}
