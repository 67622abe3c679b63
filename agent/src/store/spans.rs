//! The spans of the last minutes. All are kept while they fit; where more come than would be there for five minutes, traces are thinned
//! out by their id, whole ones. Errors, what is slow, and what else is of their traces are not thinned out, and stay when the
//! rest goes.

use std::{
    collections::VecDeque,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use compact_str::CompactString;
use hashbrown::HashSet;

use super::{
    block::{Block, Builder, Kept, Local, Resources, Whose, Written, text_of},
    disk::{Disk, Entry},
};
use crate::model::{
    span::{Kind, Span},
    trace_context::TraceId,
};

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
/// Longest trace that is put together from what is on disk, where it is known when it was.
const TRACE_MAX_NS: u64 = 600_000_000_000;
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
        Snapshot { recent, notable, disk: Vec::new(), turn: Arc::default() }
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
            blocks.push(Arc::new(self.recent.block.clone()));
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

/// All spans as they were at a moment.
pub(crate) struct Snapshot {
    /// The latest first.
    recent: Vec<Arc<Block>>,
    notable: Vec<Arc<Block>>,
    /// Blocks that are on disk alone; empty where they are not asked for.
    disk: Vec<Arc<Entry>>,
    /// Whose turn it is to read them.
    turn: Arc<parking_lot::Mutex<()>>,
}

/// Which spans are asked for. What is `None` or empty asks for nothing.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Filter {
    pub(crate) service: Option<String>,
    pub(crate) namespace: Option<String>,
    /// The name, whole.
    pub(crate) name: Option<String>,
    pub(crate) kind: Option<Kind>,
    pub(crate) is_error: Option<bool>,
    pub(crate) min_us: Option<u64>,
    pub(crate) max_us: Option<u64>,
    /// Started at this time or later; before that.
    pub(crate) since_unix_ns: Option<u64>,
    pub(crate) until_unix_ns: Option<u64>,
    /// Attributes of the span or its resource, by their value as text.
    pub(crate) attributes: Vec<(String, String)>,
    /// Somewhere in name, service, path or status, without case.
    pub(crate) text: Option<String>,
}

impl Filter {
    fn of_head(&self, block: &Block, head: &super::block::Head) -> bool {
        let is_in_time = self.since_unix_ns.is_none_or(|since| head.start_unix_ns >= since)
            && self.until_unix_ns.is_none_or(|until| head.start_unix_ns < until);
        let duration_us = u64::from(head.duration_us);
        is_in_time
            && self.is_error.is_none_or(|is_error| head.is_error() == is_error)
            && self.kind.is_none_or(|kind| head.kind() == kind)
            && self.min_us.is_none_or(|least| duration_us >= least)
            && self.max_us.is_none_or(|most| duration_us <= most)
            && block.whose(head).is_some_and(|whose| self.of_whose(whose))
            && self.name.as_ref().is_none_or(|name| block.name(head) == Some(name.as_str()))
    }

    fn of_whose(&self, whose: &Whose) -> bool {
        self.service.as_ref().is_none_or(|service| whose.service == *service)
            && self.namespace.as_ref().is_none_or(|namespace| whose.namespace == *namespace)
    }

    fn of_rest(&self, kept: &Kept) -> bool {
        let of_resource = |key: &str| {
            let found = kept.whose.attributes.iter().find(|(its, _)| its == key);
            found.map(|(_, value)| text_of(value))
        };
        let has = |(key, value): &(String, String)| {
            kept.text(key).or_else(|| of_resource(key)).is_some_and(|its| its == value.as_str())
        };
        self.attributes.iter().all(has) && self.text.as_ref().is_none_or(|text| contains(kept, text))
    }

    /// Whether a span is asked for, of which no more is to be known. It is read only where its head does not say so.
    fn counts(&self, block: &Block, index: usize) -> bool {
        let has_head = block.heads.get(index).is_some_and(|head| self.of_head(block, head));
        let is_head_enough = self.attributes.is_empty() && self.text.is_none();
        has_head && (is_head_enough || block.read(index).is_some_and(|kept| self.of_rest(&kept)))
    }

    /// Whether a span is asked for.
    pub(crate) fn has(&self, block: &BlockRef<'_>, index: usize) -> Option<Kept> {
        let head = block.0.heads.get(index)?;
        if !self.of_head(block.0, head) {
            return None;
        }
        block.0.read(index).filter(|kept| self.of_rest(kept))
    }
}

/// A block to whom asks for its spans.
pub(crate) struct BlockRef<'a>(&'a Block);

fn contains(kept: &Kept, text: &str) -> bool {
    let text = text.to_lowercase();
    let is_in = |it: &str| it.to_lowercase().contains(&text);
    const KEYS: [&str; 7] = [
        "url.path",
        "url.full",
        "http.response.status_code",
        "rpc.status_code",
        "error.type",
        "server.address",
        "client.address",
    ];
    is_in(&kept.name)
        || is_in(&kept.whose.service)
        || KEYS.iter().any(|key| kept.text(key).is_some_and(|it| is_in(&it)))
}

impl Snapshot {
    /// Of what is on disk, the latest first.
    pub(super) fn of_disk(disk: Vec<Arc<Entry>>) -> Self {
        Self { recent: Vec::new(), notable: Vec::new(), disk, turn: Arc::default() }
    }

    /// With what is on disk alone.
    pub(super) fn with_disk(mut self, disk: &Disk) -> Self {
        let oldest = self.recent.last().map_or(u64::MAX, |block| block.first);
        self.disk = disk.before(oldest);
        self.turn = Arc::clone(&disk.turn);
        self
    }

    /// The block that is being filled.
    #[cfg(test)]
    pub(super) fn newest(&self) -> &Block {
        &self.recent[0]
    }

    fn in_memory(&self) -> impl Iterator<Item = &Arc<Block>> {
        self.recent.iter().chain(&self.notable)
    }

    /// Blocks on disk that may have what is asked for, read one after the other.
    fn on_disk(&self, filter: &Filter) -> impl Iterator<Item = Block> {
        self.entries(filter).filter_map(|entry| entry.load())
    }

    /// The same, to be read.
    fn entries(&self, filter: &Filter) -> impl Iterator<Item = &Arc<Entry>> {
        let (since, until) = (filter.since_unix_ns.unwrap_or(0), filter.until_unix_ns.unwrap_or(u64::MAX));
        let may_have = move |entry: &&Arc<Entry>| {
            entry.is_of(since, until)
                && filter.min_us.is_none_or(|least| u64::from(entry.longest_us) >= least)
                && (filter.is_error != Some(true) || entry.has_errors)
                && entry.whose.iter().any(|whose| filter.of_whose(whose))
        };
        self.disk.iter().filter(may_have)
    }

    /// The latest spans that are asked for, the latest first, and whether there are more.
    pub(crate) fn find(&self, filter: &Filter, limit: usize) -> (Vec<Kept>, bool) {
        let mut found = Found { spans: Vec::new(), saved: HashSet::new(), limit };
        for block in &self.recent {
            if found.is_more(block, filter, false) {
                return (found.spans, true);
            }
        }
        for block in &self.notable {
            if found.is_more(block, filter, true) {
                return (found.spans, true);
            }
        }
        let _turn = self.turn.lock();
        for block in self.on_disk(filter) {
            if found.is_more(&block, filter, false) {
                return (found.spans, true);
            }
        }
        (found.spans, false)
    }

    /// The slowest of those that are asked for, the slowest first.
    pub(crate) fn slowest(&self, filter: &Filter, limit: usize) -> Vec<Kept> {
        let mut found: Vec<(u32, &Block, usize)> = Vec::new();
        for block in self.in_memory() {
            let of_block = block.heads.iter().enumerate().filter(|(_, head)| filter.of_head(block, head));
            found.extend(of_block.map(|(index, head)| (head.duration_us, &**block, index)));
            if found.len() > 64 * limit {
                found.sort_unstable_by_key(|(duration_us, ..)| std::cmp::Reverse(*duration_us));
                found.truncate(8 * limit);
            }
        }
        found.sort_by_key(|(duration_us, ..)| std::cmp::Reverse(*duration_us));
        let kept = found.into_iter().filter_map(|(_, block, index)| filter.has(&BlockRef(block), index));
        let mut kept: Vec<Kept> = kept.take(limit).collect();
        let _turn = self.turn.lock();
        let mut entries: Vec<&Arc<Entry>> = self.entries(filter).collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.longest_us));
        for entry in entries {
            // What is left has none that is slower.
            let is_slower = |kept: &Kept| kept.duration_ns() / 1000 > u64::from(entry.longest_us);
            if kept.len() == limit && kept.last().is_none_or(is_slower) {
                break;
            }
            let Some(block) = entry.load() else { continue };
            // The slowest of each, so that a block is not held longer.
            let mut of_block: Vec<(u32, usize)> =
                block.heads.iter().enumerate().map(|(index, head)| (head.duration_us, index)).collect();
            of_block.sort_unstable_by_key(|(duration_us, _)| std::cmp::Reverse(*duration_us));
            let fits = of_block.into_iter().filter_map(|(_, index)| filter.has(&BlockRef(&block), index));
            for span in fits.take(limit) {
                if !kept.iter().any(|other| other.number == span.number && other.span_id == span.span_id) {
                    kept.push(span);
                }
            }
            kept.sort_by_key(|span| std::cmp::Reverse(span.duration_ns()));
            kept.truncate(limit);
        }
        kept
    }

    /// All spans of a trace, by their start.
    pub(crate) fn trace(&self, id: TraceId) -> Vec<Kept> {
        let ids = std::iter::once(id).collect();
        let mut spans = self.traces(&ids, None).remove(&id).unwrap_or_default();
        spans.sort_by_key(|span| (span.start_unix_ns, span.number));
        spans
    }

    /// The spans of several traces, which have some between these times, where that is known.
    pub(crate) fn traces(
        &self,
        ids: &std::collections::HashSet<TraceId>,
        between: Option<(u64, u64)>,
    ) -> std::collections::HashMap<TraceId, Vec<Kept>> {
        let mut traces: std::collections::HashMap<TraceId, Vec<Kept>> = std::collections::HashMap::new();
        let mut seen = HashSet::new();
        let mut add = |block: &Block| {
            for (index, head) in block.heads.iter().enumerate().filter(|(_, head)| ids.contains(&head.trace_id)) {
                // What was saved in memory is on disk too.
                let span = block.read(index).filter(|span| seen.insert((span.number, span.span_id.0)));
                traces.entry(head.trace_id).or_default().extend(span);
            }
        };
        self.in_memory().for_each(|block| add(block));
        let (since, until) = between.map_or((None, None), |(from, until)| {
            (Some(from.saturating_sub(TRACE_MAX_NS)), Some(until.saturating_add(TRACE_MAX_NS)))
        });
        let of_then = Filter { since_unix_ns: since, until_unix_ns: until, ..Filter::default() };
        let _turn = self.turn.lock();
        let of_them = self.entries(&of_then).filter(|entry| ids.iter().any(|id| entry.may_have(id)));
        of_them.filter_map(|entry| entry.load()).for_each(|block| add(&block));
        traces
    }

    /// Names of the spans of a service.
    pub(crate) fn names(&self, service: &str) -> Vec<(CompactString, Kind)> {
        let filter = Filter { service: Some(service.to_owned()), ..Filter::default() };
        let mut names: HashSet<(&str, u8)> = HashSet::new();
        let mut found = Vec::new();
        for block in self.in_memory() {
            for head in &block.heads {
                if block.whose(head).is_some_and(|whose| filter.of_whose(whose))
                    && let Some(name) = block.name(head)
                    && names.insert((name, head.kind() as u8))
                {
                    found.push((CompactString::from(name), head.kind()));
                }
            }
        }
        found.sort_by(|a, b| a.0.cmp(&b.0));
        found
    }

    /// Whose spans there are.
    pub(crate) fn whose(&self) -> Vec<Arc<Whose>> {
        let mut seen = HashSet::new();
        let in_memory = self.in_memory().flat_map(|block| &block.whose);
        let all = in_memory.chain(self.disk.iter().flat_map(|entry| &entry.whose));
        all.filter(|whose| seen.insert(Arc::as_ptr(whose).addr())).cloned().collect()
    }

    /// When the earliest span began that is there (of those that are not saved).
    pub(crate) fn since_unix_ns(&self) -> Option<u64> {
        let on_disk = self.disk.last().map(|entry| entry.from_unix_ns);
        on_disk
            .or_else(|| self.recent.iter().rev().find_map(|block| block.heads.first()).map(|head| head.start_unix_ns))
    }
}

/// What [`Snapshot::find`] has so far.
struct Found {
    spans: Vec<Kept>,
    /// Numbers of those that were saved in memory: they are on disk too.
    saved: HashSet<(u64, [u8; 8])>,
    limit: usize,
}

impl Found {
    /// Takes what is asked for of a block; whether there is more than is asked for.
    fn is_more(&mut self, block: &Block, filter: &Filter, is_saved: bool) -> bool {
        for index in (0..block.heads.len()).rev() {
            let Some(kept) = filter.has(&BlockRef(block), index) else { continue };
            let key = (kept.number, kept.span_id.0);
            if self.saved.contains(&key) {
                continue;
            }
            if self.spans.len() == self.limit {
                return true;
            }
            if is_saved {
                self.saved.insert(key);
            }
            self.spans.push(kept);
        }
        false
    }
}

/// Spans from a number on.
#[derive(Default)]
pub(crate) struct Followed {
    /// Those that are asked for, the earliest first.
    pub(crate) spans: Vec<Kept>,
    /// How many more are asked for that are left out.
    pub(crate) left_out: u64,
    /// The number to go on with.
    pub(crate) next: u64,
}

/// Spans of these numbers that are asked for. Those beyond the limit are counted.
pub(super) fn between(blocks: &[Arc<Block>], numbers: Range<u64>, filter: &Filter, limit: usize) -> Followed {
    let (mut found, mut left_out, mut next) = (Vec::new(), 0, numbers.start);
    for block in blocks {
        let from = usize::try_from(numbers.start.saturating_sub(block.first)).unwrap_or(usize::MAX);
        for index in (from..block.heads.len()).take_while(|index| block.number(*index) < numbers.end) {
            if found.len() < limit {
                found.extend(filter.has(&BlockRef(block), index));
            } else {
                left_out += u64::from(filter.counts(block, index));
            }
            next = block.number(index) + 1;
        }
    }
    Followed { spans: found, left_out, next }
}
