//! Spans as they are exported: the only type that carries OpenTelemetry names.

use std::sync::Arc;

use compact_str::CompactString;

use super::{
    ids::ProcessId,
    net::Endpoint,
    trace_context::{SpanId, TraceId},
};

/// `SpanKind`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// SERVER.
    Server,
    /// CLIENT.
    Client,
    /// PRODUCER.
    Producer,
    /// CONSUMER.
    Consumer,
    /// INTERNAL.
    Internal,
}

impl Kind {
    /// Its name, as text and JSON have it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Server => "SERVER",
            Self::Client => "CLIENT",
            Self::Producer => "PRODUCER",
            Self::Consumer => "CONSUMER",
            Self::Internal => "INTERNAL",
        }
    }
}

/// Span status. `Ok` is never set: the conventions leave it to applications.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Status {
    /// Unset.
    Unset,
    /// ERROR.
    Error,
}

/// An attribute's value.
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// A string.
    Str(CompactString),
    /// A string that is the same for many spans.
    Shared(Arc<str>),
    /// A string of the program itself.
    Static(&'static str),
    /// An integer.
    Int(i64),
    /// A number.
    Double(f64),
    /// A truth value.
    Bool(bool),
    /// Strings.
    List(Arc<[CompactString]>),
}

/// A key (a name of the semantic conventions) and its value.
#[derive(Clone, Debug, PartialEq)]
pub struct Attribute {
    /// The name.
    pub key: &'static str,
    /// The value.
    pub value: Value,
}

/// What a span or metric is about: the service instance. Shared by all its spans.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Resource {
    /// Its attributes; keys may come from the target's environment, so they are owned.
    pub attributes: Vec<(CompactString, Value)>,
    /// `service.name`, also in `attributes`.
    pub service_name: CompactString,
    /// The process that stands for all of the instance's.
    pub pid: ProcessId,
}

/// A span that another is linked to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Link {
    /// Its trace.
    pub trace_id: TraceId,
    /// Its id.
    pub span_id: SpanId,
}

/// A finished span. Times are ns since the Unix epoch.
#[derive(Clone, Debug, PartialEq)]
pub struct Span {
    /// Trace it belongs to.
    pub trace_id: TraceId,
    /// Its own id.
    pub span_id: SpanId,
    /// Its parent's id.
    pub parent: Option<SpanId>,
    /// Trace flags (W3C); bit 0: sampled.
    pub flags: u8,
    /// What the caller's `tracestate` says; empty where there is none.
    pub trace_state: CompactString,
    /// Kind.
    pub kind: Kind,
    /// Low-cardinality name.
    pub name: CompactString,
    /// Start.
    pub start_unix_ns: u64,
    /// End; never before `start_unix_ns`.
    pub end_unix_ns: u64,
    /// Status.
    pub status: Status,
    /// Spans that it has to do with, and that are not its parent.
    pub links: Vec<Link>,
    /// Attributes, in a fixed order per kind.
    pub attributes: Vec<Attribute>,
    /// The service instance.
    pub resource: Arc<Resource>,
    /// The process that moved its bytes: one of the instance's, which may be another than the resource names.
    pub pid: ProcessId,
    /// Its end of the connection, for print: the conventions have no attribute for it.
    pub local: Endpoint,
}

impl Span {
    /// Whether its request counts as failed: it has an `error.type` then, as its series have.
    #[must_use]
    pub(crate) fn has_failed(&self) -> bool {
        self.status == Status::Error
    }
}
