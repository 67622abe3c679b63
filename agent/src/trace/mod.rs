//! Requests become spans of traces: ids, parents and what says so, and whether a span is kept. Stands between protocols,
//! which tell when a request begins and when it is over, and telemetry, which describes it. No I/O.
//!
//! A request has its ids from its beginning on, so that what is asked while it is answered can name it as its parent.

pub mod ids;
pub mod sampling;
#[cfg(test)]
mod tests;

use self::{ids::Ids, sampling::Sampler};
use crate::model::{
    exchange::{Exchange, Key, Opened},
    trace_context::{SpanId, TraceId},
};

/// Where a span belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Context {
    /// Its trace.
    pub trace_id: TraceId,
    /// Its own id.
    pub span_id: SpanId,
    /// Its parent, and what says that it is.
    pub parent: Option<(SpanId, Evidence)>,
    /// Trace flags (W3C); bit 0: the span is kept.
    pub flags: u8,
}

impl Context {
    /// Whether the span is exported.
    #[must_use]
    pub const fn is_sampled(&self) -> bool {
        self.flags & 1 != 0
    }
}

/// What says that a span's parent is its parent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Evidence {
    /// The request carried it (`traceparent`, B3 …).
    Header,
}

impl Evidence {
    /// Its name, in `beyla.parent.evidence`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Header => "header",
        }
    }
}

/// The ids of a request that is open.
#[derive(Clone, Copy, Debug)]
struct Open {
    key: Key,
    trace_id: TraceId,
    span_id: SpanId,
}

/// The stage.
#[derive(Debug)]
pub struct Tracer {
    ids: Ids,
    sampler: Sampler,
    /// By the slot of their key: as many as were ever open at a time.
    open: Vec<Option<Open>>,
}

impl Tracer {
    /// The stage, with nothing open.
    #[must_use]
    pub const fn new(ids: Ids, sampler: Sampler) -> Self {
        Self { ids, sampler, open: Vec::new() }
    }

    /// Takes up another sampler.
    pub fn set_sampler(&mut self, sampler: Sampler) {
        self.sampler = sampler;
    }

    /// Requests that are open.
    #[must_use]
    pub fn open(&self) -> usize {
        self.open.iter().flatten().count()
    }

    /// A request has begun.
    pub fn on_opened(&mut self, opened: &Opened) {
        let parent = opened.parent;
        let trace_id = parent.map_or_else(|| self.ids.trace_id(), |parent| parent.trace_id);
        let open = Open { key: opened.key, trace_id, span_id: self.ids.span_id() };
        let slot = opened.key.slot();
        if slot >= self.open.len() {
            self.open.resize(slot + 1, None);
        }
        if let Some(place) = self.open.get_mut(slot) {
            *place = Some(open);
        }
    }

    /// A request is over. Gives its place; whether its span is kept is [decided](Self::sample) when its service is known.
    pub fn on_finished(&mut self, key: Key, exchange: &Exchange) -> Context {
        let open = self.open.get_mut(key.slot()).and_then(|place| place.take_if(|open| open.key == key));
        // It may have been found to carry a context only when all of it was known.
        let parent = exchange.parent;
        let trace_id = match (parent, open) {
            (Some(parent), _) => parent.trace_id,
            (None, Some(open)) => open.trace_id,
            (None, None) => self.ids.trace_id(),
        };
        let span_id = open.map_or_else(|| self.ids.span_id(), |open| open.span_id);
        Context {
            trace_id,
            span_id,
            parent: parent.map(|parent| (parent.span_id, Evidence::Header)),
            flags: parent.map_or(0, |parent| parent.flags & !1),
        }
    }

    /// Decides whether a span is kept; `sampler` is its service's own, where it has one.
    pub fn sample(&self, context: &mut Context, exchange: &Exchange, sampler: Option<&Sampler>) {
        let sampled = sampler.unwrap_or(&self.sampler).samples(exchange.parent.as_ref(), context.trace_id);
        context.flags = context.flags & !1 | u8::from(sampled);
    }
}
