//! Spans that wait for their request: encoded (a third of their size as values, and freed by the thread that made them),
//! bounded in bytes, counted exactly.

use std::{
    cell::RefCell,
    collections::{HashMap, VecDeque},
    mem,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    time::Instant,
};

use bytes::Bytes;
use tokio::sync::Notify;

use super::{
    buffers::Buffers,
    delivery::Outgoing,
    encode::{self, SpanBuffer},
};
use crate::{
    export::{
        config::BatchConfig,
        ledger::{Fate, Ledger},
    },
    model::{
        ids::ProcessId,
        span::{Resource, Span},
    },
};

/// A push is cut into chunks of about this many bytes, so that the queue's limit is kept closely.
const CHUNK_BYTES: usize = 64 << 10;

/// See the module.
pub(crate) struct SpanQueue {
    limits: BatchConfig,
    /// Most bytes that wait or are under way; `limits.max_queue_bytes`, or less while memory is short.
    room: AtomicUsize,
    /// What requests are written to.
    buffers: Arc<Buffers>,
    state: Mutex<State>,
    /// Told when a request may be due: the first span after none, a full batch, the end of a request.
    pub(super) changed: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<Chunk>,
    waiting_spans: usize,
    waiting_bytes: usize,
    /// When the oldest that waits came.
    oldest: Option<Instant>,
    /// Resources that waiting spans hold alive, by address, and how many runs of spans do; each is charged once.
    resources: HashMap<usize, usize>,
    resource_bytes: usize,
    ledger: Ledger,
    closed: bool,
}

/// Encoded spans.
struct Chunk {
    bytes: Box<[u8]>,
    spans: usize,
    runs: Vec<Run>,
    since: Instant,
}

/// Neighbouring spans of a chunk with the same resource and process.
struct Run {
    resource: Arc<Resource>,
    pid: ProcessId,
    len: usize,
}

impl Chunk {
    fn cost(&self) -> usize {
        size_of::<Self>() + self.bytes.len() + self.runs.capacity() * size_of::<Run>()
    }
}

/// What waits, as [`SpanQueue::waiting`] saw it.
pub(super) struct Waiting {
    pub(super) full_batch: bool,
    pub(super) oldest: Option<Instant>,
}

impl SpanQueue {
    pub(crate) fn new(limits: BatchConfig) -> Self {
        // A request is a little more than its spans.
        let buffers = Arc::new(Buffers::new(limits.max_in_flight, 2 * limits.max_batch_bytes));
        let room = AtomicUsize::new(limits.max_queue_bytes);
        Self { limits, room, buffers, state: Mutex::default(), changed: Notify::new() }
    }

    /// Most bytes that wait or are under way.
    pub(super) fn room(&self) -> usize {
        self.room.load(Ordering::Relaxed)
    }

    /// Has this part of its room from now on. What waits beyond that is dropped and counted, the newest first; unless it can be put
    /// aside, which happens where it is more than half of the room.
    pub(super) fn set_room(&self, share: f64, can_be_put_aside: bool) {
        let room = (self.limits.max_queue_bytes as f64 * share) as usize;
        self.room.store(room, Ordering::Relaxed);
        let mut state = self.lock();
        while !can_be_put_aside && state.used_bytes() > room {
            let Some(chunk) = state.waiting.pop_back() else { break };
            state.release_resources(&chunk);
            state.waiting_spans = state.waiting_spans.saturating_sub(chunk.spans);
            state.waiting_bytes = state.waiting_bytes.saturating_sub(chunk.bytes.len());
            let cost = chunk.cost() as u64;
            state.ledger.settle(chunk.spans as u64, cost, Fate::DroppedQueueFull);
        }
        if state.waiting.is_empty() {
            state.oldest = None;
        }
        drop(state);
        self.changed.notify_one();
    }

    /// Adds spans. Never waits for the receiver; what finds no room is dropped and counted.
    pub(crate) fn push(&self, spans: &[Span]) {
        thread_local!(static SCRATCH: RefCell<SpanBuffer> = RefCell::default());
        let mut rest = spans;
        SCRATCH.with_borrow_mut(|scratch| {
            while !rest.is_empty() {
                // Encoding what will be dropped would be work for nothing.
                if let Some(outcome) = self.refuses() {
                    return self.lock().ledger.refuse(rest.len() as u64, outcome);
                }
                let (chunk, after) = self.encode(rest, scratch);
                rest = after;
                self.add(chunk);
            }
        });
    }

    fn refuses(&self) -> Option<Fate> {
        let state = self.lock();
        if state.closed {
            return Some(Fate::DroppedShutdown);
        }
        let full = state.used_bytes() >= self.room()
            || self.limits.max_queue_spans.is_some_and(|most| state.in_memory() >= most as u64);
        full.then_some(Fate::DroppedQueueFull)
    }

    fn encode<'a>(&self, spans: &'a [Span], scratch: &mut SpanBuffer) -> (Chunk, &'a [Span]) {
        scratch.clear();
        let mut runs: Vec<Run> = Vec::new();
        let mut count = 0;
        for span in spans {
            let before = scratch.len();
            if count >= self.limits.max_batch_spans || before >= CHUNK_BYTES.min(self.limits.max_batch_bytes) {
                break;
            }
            scratch.push(span);
            count += 1;
            let len = scratch.len() - before;
            match runs.last_mut() {
                Some(run) if Arc::ptr_eq(&run.resource, &span.resource) && run.pid == span.pid => run.len += len,
                _ => runs.push(Run { resource: Arc::clone(&span.resource), pid: span.pid, len }),
            }
        }
        let chunk = Chunk { bytes: scratch.as_slice().into(), spans: count, runs, since: Instant::now() };
        // One huge span must not hold its memory for ever.
        if scratch.capacity() > 4 * CHUNK_BYTES {
            *scratch = SpanBuffer::default();
        }
        (chunk, spans.get(count..).unwrap_or_default())
    }

    fn add(&self, chunk: Chunk) {
        let mut state = self.lock();
        if state.closed {
            return state.ledger.refuse(chunk.spans as u64, Fate::DroppedShutdown);
        }
        let (spans, cost) = (chunk.spans as u64, chunk.cost());
        let new_resources = state.hold_resources(&chunk);
        let fits = state.used_bytes() + new_resources + cost <= self.room()
            && self.limits.max_queue_spans.is_none_or(|most| state.in_memory() + spans <= most as u64);
        state.resource_bytes += new_resources;
        if !fits {
            state.release_resources(&chunk);
            return state.ledger.refuse(spans, Fate::DroppedQueueFull);
        }
        state.ledger.enqueue(spans, cost as u64);
        let was = (state.waiting.is_empty(), self.full_batch(&state), self.half_full(&state));
        state.oldest.get_or_insert(chunk.since);
        state.waiting_spans += chunk.spans;
        state.waiting_bytes += chunk.bytes.len();
        state.waiting.push_back(chunk);
        let now = (false, self.full_batch(&state), self.half_full(&state));
        drop(state);
        if was != now {
            self.changed.notify_one();
        }
    }

    fn full_batch(&self, state: &State) -> bool {
        state.waiting_spans >= self.limits.max_batch_spans
            || state.waiting_bytes >= self.limits.max_batch_bytes.min(self.room() / 2)
    }

    fn half_full(&self, state: &State) -> bool {
        state.used_bytes() >= self.room() / 2
            || self.limits.max_queue_spans.is_some_and(|most| state.in_memory() >= (most as u64).div_ceil(2))
    }

    /// Whether it is time to put what waits aside, if nobody takes it.
    pub(super) fn is_half_full(&self) -> bool {
        self.half_full(&self.lock())
    }

    pub(super) fn waiting(&self) -> Waiting {
        let state = self.lock();
        Waiting { full_batch: self.full_batch(&state), oldest: state.oldest }
    }

    /// Takes the oldest spans, at most a request's worth; they stay charged until the batch ends.
    pub(super) fn take(self: &Arc<Self>) -> Option<Batch> {
        let mut state = self.lock();
        let mut chunks = Vec::new();
        let (mut spans, mut bytes, mut cost) = (0, 0, 0);
        while let Some(chunk) = state.waiting.front() {
            let fits = spans + chunk.spans <= self.limits.max_batch_spans
                && bytes + chunk.bytes.len() <= self.limits.max_batch_bytes;
            if !fits && !chunks.is_empty() {
                break;
            }
            let Some(chunk) = state.waiting.pop_front() else { break };
            state.release_resources(&chunk);
            spans += chunk.spans;
            bytes += chunk.bytes.len();
            cost += chunk.cost();
            chunks.push(chunk);
        }
        state.waiting_spans -= spans;
        state.waiting_bytes -= bytes;
        state.oldest = state.waiting.front().map(|chunk| chunk.since);
        drop(state);
        (!chunks.is_empty()).then(|| Batch {
            queue: Arc::clone(self),
            chunks,
            spans: spans as u64,
            cost: cost as u64,
            outcome: (Fate::DroppedShutdown, 0),
        })
    }

    /// Makes requests of all that waits, as if a receiver took each at once. Gives their bytes.
    pub(crate) fn drain(self: &Arc<Self>) -> usize {
        let mut bytes = 0;
        while let Some(mut batch) = self.take() {
            bytes += batch.request().message.len();
            batch.settle(Fate::Sent, 0);
        }
        bytes
    }

    /// Drops what waits and refuses what comes.
    pub(super) fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let waiting = mem::take(&mut state.waiting);
        for chunk in &waiting {
            state.release_resources(chunk);
            let cost = chunk.cost() as u64;
            state.ledger.settle(chunk.spans as u64, cost, Fate::DroppedShutdown);
        }
        (state.waiting_spans, state.waiting_bytes, state.oldest) = (0, 0, None);
        let left = state.ledger.spooled;
        state.ledger.settle_spooled(left, Fate::LeftInSpool);
    }

    /// Spans of an earlier agent wait in the spool; so many more were in it and cannot be read.
    pub(super) fn recover(&self, spans: u64, lost: u64) {
        let mut state = self.lock();
        state.ledger.recover(spans);
        state.ledger.refuse(lost, Fate::DroppedSpoolDamaged);
    }

    /// Spans that waited in the spool have come to an end.
    pub(super) fn settle_spooled(&self, spans: u64, outcome: Fate) {
        let mut state = self.lock();
        // Once it is closed they are counted as left there.
        if !state.closed {
            state.ledger.settle_spooled(spans, outcome);
        }
    }

    /// The counts at this moment; `queued_bytes` with the resources that waiting spans hold alive.
    pub(crate) fn ledger(&self) -> Ledger {
        let state = self.lock();
        let mut ledger = state.ledger;
        ledger.queued_bytes = state.used_bytes() as u64;
        ledger
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    /// Spans that wait in memory or are under way.
    fn in_memory(&self) -> u64 {
        self.ledger.queued.saturating_sub(self.ledger.spooled)
    }

    fn used_bytes(&self) -> usize {
        usize::try_from(self.ledger.queued_bytes).unwrap_or(usize::MAX).saturating_add(self.resource_bytes)
    }

    /// Notes the chunk's resources; the bytes of those that were not held before.
    fn hold_resources(&mut self, chunk: &Chunk) -> usize {
        let mut new_bytes = 0;
        for run in &chunk.runs {
            let holders = self.resources.entry(Arc::as_ptr(&run.resource) as usize).or_default();
            *holders += 1;
            if *holders == 1 {
                new_bytes += resource_bytes(&run.resource);
            }
        }
        new_bytes
    }

    fn release_resources(&mut self, chunk: &Chunk) {
        for run in &chunk.runs {
            let address = Arc::as_ptr(&run.resource) as usize;
            let Some(holders) = self.resources.get_mut(&address) else { continue };
            *holders -= 1;
            if *holders == 0 {
                self.resources.remove(&address);
                self.resource_bytes = self.resource_bytes.saturating_sub(resource_bytes(&run.resource));
            }
        }
    }
}

/// About what a resource takes in memory.
fn resource_bytes(resource: &Resource) -> usize {
    use crate::model::span::Value;
    let heap = |(key, value): &(compact_str::CompactString, Value)| {
        let text = match value {
            Value::Str(text) => text.len(),
            Value::Shared(text) => text.len(),
            _ => 0,
        };
        size_of_val(key) + size_of_val(value) + key.len() + text
    };
    size_of::<Resource>() + resource.service_name.len() + resource.attributes.iter().map(heap).sum::<usize>()
}

/// Spans of one request. Whatever happens to it, its spans are accounted for when it ends: as undelivered, unless an
/// outcome was set.
pub(super) struct Batch {
    queue: Arc<SpanQueue>,
    chunks: Vec<Chunk>,
    spans: u64,
    cost: u64,
    /// Fate of all spans but so many that the receiver rejected.
    outcome: (Fate, u64),
}

impl Batch {
    /// The request. Frees the single chunks.
    pub(super) fn request(&mut self) -> Outgoing {
        let since = self.chunks.first().map(|chunk| chunk.since.into());
        Outgoing { message: self.assemble(), items: self.spans, since }
    }

    fn assemble(&mut self) -> Bytes {
        let chunks = mem::take(&mut self.chunks);
        let slices = chunks.iter().flat_map(|chunk| {
            let mut rest = &chunk.bytes[..];
            chunk.runs.iter().map(move |run| {
                let (run_bytes, after) = rest.split_at_checked(run.len).unwrap_or((rest, &[]));
                rest = after;
                (&run.resource, run.pid, run_bytes)
            })
        });
        self.queue.buffers.filled(|out| encode::request(slices, out))
    }

    /// Ends the batch: its spans wait in the spool.
    pub(super) fn put_aside(mut self) {
        let mut state = self.queue.lock();
        if state.closed {
            state.ledger.settle(self.spans, self.cost, Fate::LeftInSpool);
        } else {
            state.ledger.put_aside(self.spans, self.cost);
        }
        drop(state);
        (self.spans, self.cost) = (0, 0);
    }

    /// Ends the batch: `rejected` of its spans were refused by the receiver, the others had `outcome`.
    pub(super) fn settle(mut self, outcome: Fate, rejected: u64) {
        self.outcome = (outcome, rejected.min(self.spans));
    }
}

impl Drop for Batch {
    fn drop(&mut self) {
        let (outcome, rejected) = self.outcome;
        let mut state = self.queue.lock();
        state.ledger.settle(rejected, 0, Fate::Rejected);
        state.ledger.settle(self.spans - rejected, self.cost, outcome);
        drop(state);
        self.queue.changed.notify_one();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::testing;

    fn spans(count: u64) -> Vec<Span> {
        (1..=count).map(testing::span).collect()
    }

    fn queue(max_queue_bytes: usize) -> Arc<SpanQueue> {
        Arc::new(SpanQueue::new(BatchConfig { max_queue_bytes, max_batch_spans: 10, ..BatchConfig::default() }))
    }

    /// The equation that must hold at any time.
    fn balanced(ledger: &Ledger) -> bool {
        let ended: u64 = Fate::ALL.iter().map(|outcome| ledger.count(*outcome)).sum();
        ledger.pushed == ended + ledger.queued
    }

    #[test]
    fn a_full_queue_drops_the_newest_and_counts_them() {
        let queue = queue(20 << 10);
        for _ in 0..100 {
            queue.push(&spans(3));
            let ledger = queue.ledger();
            assert!(ledger.queued_bytes <= 20 << 10, "{ledger:?}");
            assert!(balanced(&ledger), "{ledger:?}");
        }
        let ledger = queue.ledger();
        assert_eq!(ledger.pushed, 300);
        assert!(ledger.queued > 20, "{ledger:?}");
        assert_eq!(ledger.count(Fate::DroppedQueueFull), 300 - ledger.queued);
    }

    #[test]
    fn with_less_room_the_newest_go_and_are_counted_and_it_comes_back() {
        let queue = queue(1 << 20);
        (1..=1000).for_each(|number| queue.push(&[testing::span(number)]));
        let before = queue.ledger();
        assert_eq!((before.queued, before.count(Fate::DroppedQueueFull)), (1000, 0));
        let under_way = queue.take().unwrap();
        queue.set_room(0.0625, false);
        let ledger = queue.ledger();
        assert!(ledger.queued_bytes <= 64 << 10 && ledger.queued > 20, "{ledger:?}");
        assert!(balanced(&ledger) && ledger.count(Fate::DroppedQueueFull) == 1000 - ledger.queued, "{ledger:?}");
        under_way.settle(Fate::Sent, 0);
        // What comes finds room again when some is taken, and no more than there is.
        (0..1000).for_each(|number| queue.push(&[testing::span(number)]));
        assert!(queue.ledger().queued_bytes <= 64 << 10 && balanced(&queue.ledger()));
        while let Some(batch) = queue.take() {
            batch.settle(Fate::Sent, 0);
        }
        queue.set_room(1.0, false);
        let dropped = queue.ledger().count(Fate::DroppedQueueFull);
        (0..1000).for_each(|number| queue.push(&[testing::span(number)]));
        assert_eq!((queue.ledger().queued, queue.ledger().count(Fate::DroppedQueueFull)), (1000, dropped));
        // The spool takes what is too much, where there is one.
        queue.set_room(0.0625, true);
        assert!(queue.ledger().queued == 1000 && queue.is_half_full());
    }

    #[test]
    fn a_limit_in_spans_is_kept() {
        let limits = BatchConfig { max_queue_spans: Some(7), ..BatchConfig::default() };
        let queue = Arc::new(SpanQueue::new(limits));
        (0..10).for_each(|_| queue.push(&spans(1)));
        assert_eq!((queue.ledger().queued, queue.ledger().count(Fate::DroppedQueueFull)), (7, 3));
    }

    #[test]
    fn a_batch_holds_its_place_until_it_ends() {
        let queue = queue(1 << 20);
        queue.push(&spans(25));
        let batch = queue.take().unwrap();
        assert_eq!(batch.spans, 10);
        assert_eq!(queue.ledger().queued, 25);
        batch.settle(Fate::Sent, 4);
        let ledger = queue.ledger();
        assert_eq!((ledger.queued, ledger.count(Fate::Sent), ledger.count(Fate::Rejected)), (15, 6, 4));
        drop(queue.take());
        assert_eq!(queue.ledger().count(Fate::DroppedShutdown), 10);
        queue.take().unwrap().settle(Fate::DroppedFailed, u64::MAX);
        let ledger = queue.ledger();
        assert_eq!((ledger.queued, ledger.queued_bytes, ledger.count(Fate::Rejected)), (0, 0, 9));
        assert!(balanced(&ledger));
    }

    #[test]
    fn resources_that_only_the_queue_holds_alive_are_charged() {
        let queue = queue(64 << 10);
        let mut dropped = 0;
        for pid in 0..1000 {
            let mut span = testing::span(1);
            span.attributes.clear();
            span.resource = testing::resource(&"s".repeat(1000), ProcessId(pid));
            queue.push(&[span]);
            dropped = queue.ledger().count(Fate::DroppedQueueFull);
        }
        // Each costs two kilobytes and more, though its encoded span is of a hundred bytes.
        assert!(dropped > 900, "{dropped}");
        while queue.take().is_some() {}
        assert_eq!(queue.ledger().queued_bytes, 0);
    }

    #[test]
    fn a_closed_queue_counts_what_comes_late() {
        let queue = queue(1 << 20);
        queue.push(&spans(5));
        queue.close();
        queue.push(&spans(2));
        let ledger = queue.ledger();
        assert_eq!((ledger.queued, ledger.queued_bytes, ledger.count(Fate::DroppedShutdown)), (0, 0, 7));
    }

    #[test]
    fn threads_that_push_and_take_at_once_leave_the_books_balanced() {
        let queue = queue(32 << 10);
        std::thread::scope(|scope| {
            for _ in 0..2 {
                scope.spawn(|| (0..500).for_each(|_| queue.push(&spans(3))));
            }
            scope.spawn(|| {
                for round in 0..500 {
                    if let Some(batch) = queue.take() {
                        batch.settle(Fate::Sent, round % 3);
                    }
                    assert!(balanced(&queue.ledger()));
                }
            });
        });
        assert_eq!(queue.ledger().pushed, 3000);
        assert!(balanced(&queue.ledger()));
    }
}
