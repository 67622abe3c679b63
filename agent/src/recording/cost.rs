//! What a request costs the agent's own side, stage by stage: a recording is carried through again and again, without a kernel.

use std::{sync::Arc, time::Duration};

use rustix::time::{ClockId, clock_gettime};

use super::replay::{Replay, ReplayError, Stages};
use crate::{
    export::{SpanQueue, config::BatchConfig},
    model::{exchange::Event, net::ConnectionInfo, span::Span},
    store::Store,
    telemetry,
};

/// As many spans are handed on at once as in the pipeline.
const SPANS_TOGETHER: usize = 64;
/// Memory of the store, as by default.
const STORE_BYTES: usize = 64 << 20;

/// How far events are carried: each stage with those before.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Stage {
    /// Connections and protocols.
    Protocols,
    /// Trace and telemetry, until there are spans and metrics.
    Telemetry,
    /// The spans as bytes in the queue to a receiver, which takes all at once.
    Queue,
    /// The store that the query API reads.
    Store,
}

impl Stage {
    /// All, in their order.
    pub const ALL: [Self; 4] = [Self::Protocols, Self::Telemetry, Self::Queue, Self::Store];
}

/// What a recording cost once.
#[derive(Clone, Copy, Debug, Default)]
pub struct Cost {
    /// Requests that were over.
    pub requests: u64,
    /// Time of the processor.
    pub cpu: Duration,
}

impl Cost {
    /// Of one request, in µs; 0 without requests.
    #[must_use]
    pub fn per_request_us(&self) -> f64 {
        if self.requests == 0 { 0.0 } else { self.cpu.as_secs_f64() * 1e6 / self.requests as f64 }
    }
}

/// A recording that can be carried through.
pub struct Bed<'a>(Replay<'a>);

impl<'a> Bed<'a> {
    /// Reads it.
    ///
    /// # Errors
    /// When it is no recording, or of another version.
    pub fn new(recording: &'a str) -> Result<Self, ReplayError> {
        Replay::read(recording).map(Self)
    }

    /// Carries it through as far as `stage`, once.
    #[must_use]
    pub fn run(&self, stage: Stage) -> Cost {
        let mut through = Through::new(stage, Stages::new(telemetry::Config::default(), self.0.clock()));
        let before = cpu_time();
        self.0.run(&mut |connection, event| through.on_event(connection, event));
        through.flush();
        Cost { requests: through.requests, cpu: cpu_time().saturating_sub(before) }
    }
}

/// Time of the processor that this thread has taken so far.
fn cpu_time() -> Duration {
    let time = clock_gettime(ClockId::ThreadCPUTime);
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}

/// The stages, as far as they are asked for.
struct Through {
    stage: Stage,
    stages: Stages,
    queue: Arc<SpanQueue>,
    store: Store,
    spans: Vec<Span>,
    requests: u64,
}

impl Through {
    fn new(stage: Stage, stages: Stages) -> Self {
        Self {
            stage,
            stages,
            queue: Arc::new(SpanQueue::new(BatchConfig::default())),
            store: Store::new(STORE_BYTES, None),
            spans: Vec::new(),
            requests: 0,
        }
    }

    fn on_event(&mut self, connection: &ConnectionInfo, event: Event) {
        self.requests += u64::from(matches!(event, Event::Finished(..)));
        if self.stage == Stage::Protocols {
            return;
        }
        self.spans.extend(self.stages.on_event(connection, event));
        if self.spans.len() >= SPANS_TOGETHER {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if self.stage >= Stage::Queue {
            self.queue.push(&self.spans);
            self.queue.drain();
        }
        if self.stage >= Stage::Store {
            let spans = Arc::new(std::mem::take(&mut self.spans));
            self.store.push(&spans);
            self.spans = Arc::try_unwrap(spans).unwrap_or_default();
        }
        self.stages.telemetry.recycle(self.spans.drain(..));
    }
}
