//! Spans that are asked for: of all that were there at a moment, in memory and on disk. What is on disk is read a block at a time,
//! by questions that take turns, and for so long only; how far that came is known.

use std::{
    cell::Cell,
    collections::VecDeque,
    ops::Range,
    sync::Arc,
    time::{Duration, Instant},
};

use compact_str::CompactString;
use hashbrown::HashSet;
use parking_lot::{Mutex, MutexGuard};

use super::{
    block::{Block, Head, Kept, Whose, text_of},
    disk::{Disk, Entry},
};
use crate::model::{span::Kind, trace_context::TraceId};

/// Longest trace that is put together from what is on disk, where it is known when it was.
const TRACE_MAX_NS: u64 = 600_000_000_000;
/// For so long a question waits for its turns and reads what is on disk.
const READS_FOR: Duration = Duration::from_secs(5);

/// All spans as they were at a moment.
pub(crate) struct Snapshot {
    /// The latest first.
    recent: Vec<Arc<Block>>,
    notable: Vec<Arc<Block>>,
    /// Blocks that are on disk alone; empty where they are not asked for.
    disk: Vec<Arc<Entry>>,
    /// Whose turn it is to read one of them.
    turn: Arc<Mutex<()>>,
    /// Until when they are read.
    until: Option<Instant>,
    /// Behind the last start of a span of those that were to be read, and were not in that time.
    unread_until_unix_ns: Cell<u64>,
}

/// A question's turns to read what is on disk: block by block, so that one that needs a few does not wait for one that needs all.
struct Turns<'a> {
    of: &'a Snapshot,
    held: Option<MutexGuard<'a, ()>>,
}

impl Turns<'_> {
    /// Reads a block; `None`: it cannot be read, or not any more, which is noted. The one before is to be dropped.
    fn load(&mut self, entry: &Entry) -> Option<Block> {
        let Snapshot { turn, until, unread_until_unix_ns: unread, .. } = self.of;
        match (&mut self.held, until) {
            (Some(held), _) => MutexGuard::bump(held),
            (None, Some(until)) => self.held = turn.try_lock_until(*until),
            (None, None) => self.held = Some(turn.lock()),
        }
        if self.held.is_none() || until.is_some_and(|until| Instant::now() >= until) {
            unread.set(unread.get().max(entry.until_unix_ns));
            return None;
        }
        entry.load()
    }
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
    fn of_head(&self, block: &Block, head: &Head) -> bool {
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

    /// Whether there may be a span in it that is asked for.
    fn may_be_in(&self, block: &Block) -> bool {
        self.attributes.iter().all(|(key, _)| {
            let of_resource = || block.whose.iter().any(|whose| whose.attributes.iter().any(|(its, _)| its == key));
            block.may_have(key) || of_resource()
        })
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
    let is_in = |it: &str| has_text(it, text);
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

/// Whether a text is somewhere in another, whatever the case of either.
fn has_text(all: &str, text: &str) -> bool {
    if all.is_ascii() && text.is_ascii() {
        // As nearly all is: nothing is copied for it.
        return text.is_empty()
            || all.as_bytes().windows(text.len()).any(|part| part.eq_ignore_ascii_case(text.as_bytes()));
    }
    all.to_lowercase().contains(&text.to_lowercase())
}

impl Snapshot {
    /// Of what is on disk, the latest first.
    pub(super) fn of_disk(disk: Vec<Arc<Entry>>) -> Self {
        Self { disk, ..Self::of_memory(Vec::new(), Vec::new()) }
    }

    /// Of what is in memory: blocks, and those that were saved, the latest first.
    pub(super) fn of_memory(recent: Vec<Arc<Block>>, notable: Vec<Arc<Block>>) -> Self {
        let (turn, unread_until_unix_ns) = (Arc::default(), Cell::new(0));
        Self { recent, notable, disk: Vec::new(), turn, until: None, unread_until_unix_ns }
    }

    /// With what is on disk alone.
    pub(super) fn with_disk(self, disk: &Disk) -> Self {
        let until = Instant::now().checked_add(READS_FOR);
        self.with_disk_until(disk, until)
    }

    /// The same, read until then.
    pub(super) fn with_disk_until(mut self, disk: &Disk, until: Option<Instant>) -> Self {
        let oldest = self.recent.last().map_or(u64::MAX, |block| block.first);
        self.disk = disk.before(oldest);
        self.turn = Arc::clone(&disk.turn);
        self.until = until;
        self
    }

    /// Where reading what is on disk would have taken too long: the time before which not all spans began that were looked at.
    pub(crate) fn searched_since_unix_ns(&self) -> Option<u64> {
        Some(self.unread_until_unix_ns.get()).filter(|until| *until > 0)
    }

    fn turns(&self) -> Turns<'_> {
        Turns { of: self, held: None }
    }

    /// Blocks on disk with the latest so many spans, the earliest first.
    pub(super) fn latest_on_disk(&self, spans: usize) -> Vec<Block> {
        let (mut turns, mut blocks, mut seen) = (self.turns(), VecDeque::new(), 0);
        for block in self.disk.iter().filter_map(|entry| turns.load(entry)) {
            seen += block.heads.len();
            blocks.push_front(block);
            if seen >= spans {
                break;
            }
        }
        blocks.into()
    }

    /// The block that is being filled.
    #[cfg(test)]
    pub(super) fn newest(&self) -> &Block {
        &self.recent[0]
    }

    fn in_memory(&self) -> impl Iterator<Item = &Arc<Block>> {
        self.recent.iter().chain(&self.notable)
    }

    /// Blocks on disk that may have what is asked for.
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
        let mut turns = self.turns();
        for block in self.entries(filter).filter_map(|entry| turns.load(entry)) {
            if found.is_more(&block, filter, false) {
                return (found.spans, true);
            }
        }
        (found.spans, false)
    }

    /// The slowest of those that are asked for, the slowest first.
    pub(crate) fn slowest(&self, filter: &Filter, limit: usize) -> Vec<Kept> {
        let mut slowest = Slowest { spans: Vec::new(), limit };
        self.in_memory().for_each(|block| slowest.take(block, filter));
        let mut turns = self.turns();
        let mut entries: Vec<&Arc<Entry>> = self.entries(filter).collect();
        entries.sort_by_key(|entry| std::cmp::Reverse(entry.longest_us));
        for entry in entries {
            // What is left has none that is slower.
            if slowest.least_us().is_some_and(|least| least > u64::from(entry.longest_us)) {
                break;
            }
            let Some(block) = turns.load(entry) else { continue };
            slowest.take(&block, filter);
        }
        slowest.spans
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
        let mut turns = self.turns();
        let of_them = self.entries(&of_then).filter(|entry| ids.iter().any(|id| entry.may_have(id)));
        of_them.filter_map(|entry| turns.load(entry)).for_each(|block| add(&block));
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
        if !filter.may_be_in(block) {
            return false;
        }
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

/// What [`Snapshot::slowest`] has so far.
struct Slowest {
    spans: Vec<Kept>,
    limit: usize,
}

impl Slowest {
    /// How long one has to take to be among them; `None`: there is room for any.
    fn least_us(&self) -> Option<u64> {
        self.spans.last().filter(|_| self.spans.len() >= self.limit).map(|span| span.duration_ns() / 1000)
    }

    /// Takes those of a block that are asked for, and no slower one is left out for what only reading a span tells.
    fn take(&mut self, block: &Block, filter: &Filter) {
        if !filter.may_be_in(block) {
            return;
        }
        let least = self.least_us().unwrap_or(0);
        let of_block = block.heads.iter().enumerate().filter(|(_, head)| u64::from(head.duration_us) >= least);
        let mut of_block: Vec<(u32, usize)> = of_block.map(|(index, head)| (head.duration_us, index)).collect();
        of_block.sort_by_key(|(duration_us, _)| std::cmp::Reverse(*duration_us));
        let fits = of_block.into_iter().filter_map(|(_, index)| filter.has(&BlockRef(block), index));
        for span in fits.take(self.limit) {
            if !self.spans.iter().any(|other| other.number == span.number && other.span_id == span.span_id) {
                self.spans.push(span);
            }
        }
        self.spans.sort_by_key(|span| std::cmp::Reverse(span.duration_ns()));
        self.spans.truncate(self.limit);
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_found_whatever_its_case() {
        for (all, text, is_in) in [
            ("GET /Items", "items", true),
            ("GET /items", "ITEMS", true),
            ("GET /items", "itemz", false),
            ("", "a", false),
            ("a", "", true),
            ("short", "longer than it", false),
            ("/STRASSE/Ä", "ä", true),
            ("/\u{1e9e}", "\u{df}", true),
            ("/ä", "a", false),
        ] {
            assert_eq!(has_text(all, text), is_in, "{all} {text}");
        }
    }
}
