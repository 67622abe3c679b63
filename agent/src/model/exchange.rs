//! A request and its response, in the terms all protocols share. What protocols yield.

use compact_str::CompactString;

use super::{
    net::{Role, Thread},
    trace_context::TraceParent,
};

/// A request with the response it got, as one watched process saw it. Times are ns of `CLOCK_MONOTONIC`.
#[derive(Clone, Debug, PartialEq)]
pub struct Exchange {
    /// Which end the watched process was.
    pub role: Role,
    /// The thread that moved the request's first byte.
    pub thread: Thread,
    /// First byte of the request.
    pub start_ns: u64,
    /// First byte of the (final) response; `None` if none was seen.
    pub first_byte_ns: Option<u64>,
    /// Last byte of the response, or the moment it became certain that none would come.
    pub end_ns: u64,
    /// How it ended.
    pub outcome: Outcome,
    /// The context the request carried.
    pub parent: Option<TraceParent>,
    /// What was asked and answered.
    pub detail: Detail,
}

/// How an exchange ended. Only what was seen is said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// The whole response was seen.
    Complete,
    /// The connection ended before the first byte of a response.
    NoResponse,
    /// The connection (or stream) ended within the response.
    Cut,
    /// The peer or the process itself cancelled it (HTTP/2 `RST_STREAM`), with the protocol's error code.
    Cancelled(u32),
    /// The agent lost sight of it (events lost, connection evicted, agent stopped): left out of the histograms.
    Unseen,
}

/// What was asked and answered, by OpenTelemetry's groups of conventions.
#[derive(Clone, Debug, PartialEq)]
pub enum Detail {
    /// HTTP, of any version.
    Http(Box<Http>),
    /// A remote procedure call (gRPC, gRPC-Web, Connect).
    Rpc(Box<Rpc>),
}

/// An HTTP exchange.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Http {
    /// `1.0`, `1.1` or `2`.
    pub version: &'static str,
    /// The method as on the wire; `None` where it cannot be known (HTTP/2 met in mid-life).
    pub method: Option<CompactString>,
    /// The request target as on the wire: `/path?query`, an absolute URI, `host:port` or `*`; `None` where it cannot
    /// be known.
    pub target: Option<CompactString>,
    /// `target` was longer than what was captured.
    pub target_truncated: bool,
    /// `Host` or `:authority`.
    pub host: Option<CompactString>,
    /// `:scheme`, where the wire says it.
    pub scheme: Option<CompactString>,
    /// `User-Agent`.
    pub user_agent: Option<CompactString>,
    /// `tracestate`.
    pub trace_state: Option<CompactString>,
    /// Status of the final response.
    pub status: Option<u16>,
    /// Bytes of the request's body, without transfer coding; `None` where not known.
    pub request_body_bytes: Option<u64>,
    /// Bytes of the response's body, without transfer coding; `None` where not known.
    pub response_body_bytes: Option<u64>,
    /// The header block was longer than what was captured: a header that is not reported may have been there.
    pub headers_truncated: bool,
    /// A number that is the same for the same unknown name on the same connection (HPACK entry), where `target` or
    /// `method` is `None` because of it.
    pub unknown_name: Option<u64>,
}

/// A remote procedure call.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Rpc {
    /// `rpc.system.name`: `grpc`, `grpc_web`, `connectrpc`.
    pub system: &'static str,
    /// HTTP version it ran over: `1.1` or `2`.
    pub version: &'static str,
    /// `package.Service/Method`; `None` where it cannot be known.
    pub method: Option<CompactString>,
    /// `:authority` or `Host`.
    pub host: Option<CompactString>,
    /// `User-Agent`.
    pub user_agent: Option<CompactString>,
    /// `tracestate`.
    pub trace_state: Option<CompactString>,
    /// gRPC status code; `None` where none was seen.
    pub status: Option<u32>,
    /// HTTP status, where it says more than `status` (a proxy's 502).
    pub http_status: Option<u16>,
    /// The deadline the client set (`grpc-timeout`), in ns.
    pub timeout_ns: Option<u64>,
    /// As in [`Http::unknown_name`].
    pub unknown_name: Option<u64>,
}
