//! What the API answers, as JSON. `docs/openapi.json` is made of these types.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::{
    model::span::Kind,
    store::{DiskStats, Kept, Red, Window, text_of},
};

/// Rate, errors and durations.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Rates {
    /// Requests.
    pub requests: u64,
    /// Those that failed.
    pub errors: u64,
    /// Requests a second.
    pub rate: f64,
    /// Share of requests that failed, from 0 to 1.
    pub error_share: f64,
    /// Median of the durations, in ms; absent where there were no requests.
    pub p50_ms: Option<f64>,
    /// 95th percentile.
    pub p95_ms: Option<f64>,
    /// 99th percentile.
    pub p99_ms: Option<f64>,
}

impl Rates {
    pub(crate) fn of(red: &Red, window: Window) -> Self {
        let ms = |share| red.quantile(share).map(|s| round(s * 1000.0));
        Self {
            requests: red.count,
            errors: red.errors,
            rate: round(window.per_second(red.count)),
            error_share: if red.count > 0 { (red.errors as f64 / red.count as f64 * 1e6).round() / 1e6 } else { 0.0 },
            p50_ms: ms(0.5),
            p95_ms: ms(0.95),
            p99_ms: ms(0.99),
        }
    }
}

/// Three digits suffice, and are shorter.
pub(crate) fn round(value: f64) -> f64 {
    (value * 1000.0).round() / 1000.0
}

/// A list of services.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Services {
    /// Seconds that the rates are of: at most what was asked for, less where the agent has not run for so long.
    pub window_s: f64,
    /// By their rates, the highest first.
    pub services: Vec<Service>,
}

/// A service.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Service {
    /// `service.name`.
    pub name: String,
    /// `service.namespace`; empty where there is none.
    pub namespace: String,
    /// `telemetry.sdk.language`, where it is known.
    pub language: Option<String>,
    /// Requests that it answered.
    pub served: Rates,
    /// Requests that it made.
    pub made: Rates,
    /// Requests a second in each of the last slots of `step_s`: answered, or made where it answers none.
    pub sparkline: Vec<f64>,
}

/// One service.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct ServiceDetail {
    /// The same as in the list.
    #[serde(flatten)]
    pub service: Service,
    /// Seconds that the rates are of.
    pub window_s: f64,
    /// Whether `over_time` and `routes` are of what it makes: it answers nothing.
    pub is_client: bool,
    /// Over the window.
    pub over_time: OverTime,
    /// What it is asked, by method and route; the most asked first.
    pub routes: Vec<Route>,
    /// Who asks it.
    pub callers: Vec<Peer>,
    /// Whom it asks.
    pub calls: Vec<Peer>,
    /// Its instances: attributes of their resources.
    pub instances: Vec<BTreeMap<String, String>>,
    /// The slowest that are kept.
    pub slowest: Vec<SpanSummary>,
    /// The latest that failed.
    pub failing: Vec<SpanSummary>,
}

/// Requests, counted since a time. What a later answer with the same `since` has more came between.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Counts {
    /// Since when is counted, in s since the Unix epoch: what was asked for, or up to ten seconds before.
    pub since_unix_s: u64,
    /// One for each name of each service.
    pub counted: Vec<Counted>,
}

/// Requests of one name.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Counted {
    /// `service.name`.
    pub service: String,
    /// `service.namespace`; empty where there is none.
    pub namespace: String,
    /// Whether it makes them; else it answers them.
    pub is_client: bool,
    /// Method and route, or what else calls are named by.
    pub name: String,
    /// Of those that it makes: who is asked; else empty.
    pub target: String,
    /// Requests.
    pub requests: u64,
    /// Those that failed.
    pub errors: u64,
    /// Their durations together.
    pub sum_s: f64,
    /// Durations: number of a bucket, and how many are in it. Bucket `i` ends at `2^((i - 119) / 4)` s, where the next one begins.
    pub buckets: Vec<(u8, u32)>,
}

/// Series of one value for each step.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct OverTime {
    /// Start of the first step, in s since the Unix epoch.
    pub start_unix_s: u64,
    /// Length of a step in s.
    pub step_s: u64,
    /// Requests a second.
    pub rate: Vec<f64>,
    /// Failed requests a second.
    pub errors: Vec<f64>,
    /// Median in ms; null where there was nothing.
    pub p50_ms: Vec<Option<f64>>,
    /// 95th percentile.
    pub p95_ms: Vec<Option<f64>>,
    /// 99th percentile.
    pub p99_ms: Vec<Option<f64>>,
}

/// A route, or what else calls are named by.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Route {
    /// Method and route.
    pub name: String,
    /// Its rates.
    #[serde(flatten)]
    pub rates: Rates,
    /// Requests a second in each step.
    pub sparkline: Vec<f64>,
}

/// The other end of a service's requests.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Peer {
    /// The node.
    #[serde(flatten)]
    pub node: NodeName,
    /// The requests' rates.
    pub rates: Rates,
}

/// What is on the map.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
pub(crate) struct NodeName {
    /// It is the same as long as the node is there.
    pub id: String,
    /// What it is.
    pub kind: NodeKind,
    /// A service's name, or an address.
    pub name: String,
    /// A service's namespace; empty where there is none.
    pub namespace: String,
}

/// Kinds of nodes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub(crate) enum NodeKind {
    /// A service that is watched.
    Service,
    /// Whoever asks from outside of what is watched.
    Users,
    /// A database that is not watched.
    Database,
    /// A broker that is not watched.
    Messaging,
    /// Any other address that is asked and not watched.
    Outside,
}

/// Who asks whom.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct GraphAnswer {
    /// Seconds that the rates are of.
    pub window_s: f64,
    /// By id.
    pub nodes: Vec<GraphNode>,
    /// By their ends' ids.
    pub edges: Vec<GraphEdge>,
}

/// A node.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct GraphNode {
    /// Who.
    #[serde(flatten)]
    pub node: NodeName,
    /// What it was asked.
    pub rates: Rates,
}

/// Requests from one to another.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct GraphEdge {
    /// Id of who asks.
    pub from: String,
    /// Id of who is asked.
    pub to: String,
    /// As who asks has it.
    pub rates: Rates,
}

/// Traces that were found.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Traces {
    /// The latest first.
    pub traces: Vec<TraceSummary>,
    /// There are more than were asked for.
    pub has_more: bool,
    /// Share of traces that is kept at present: below 1, more requests come than there is room for. Rates are of all.
    pub kept_share: f64,
    /// Since when spans are there, in ms since the Unix epoch.
    pub since_unix_ms: Option<f64>,
    /// Where reading what is on disk would have taken too long: not all was looked at that began before this time. Asked for with it as
    /// `until` (in seconds), it goes on there.
    pub searched_since_unix_ms: Option<f64>,
}

/// A trace.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct TraceSummary {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// The span without a parent that is known; the earliest.
    pub root: SpanSummary,
    /// The span that was found.
    pub found: SpanSummary,
    /// Number of its spans.
    pub spans: u32,
    /// Of these, those that failed.
    pub errors: u32,
    /// Names of the services in it, in the order of their first spans.
    pub services: Vec<String>,
    /// Start, in ms since the Unix epoch.
    pub start_unix_ms: f64,
    /// From its first span's start to its last one's end.
    pub duration_ms: f64,
}

/// What a line says of a span.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SpanSummary {
    /// Spans that came later have a higher one.
    pub number: u64,
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
    /// The same of its parent.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub parent_span_id: Option<String>,
    /// `service.name`.
    pub service: String,
    /// `service.namespace`; empty where there is none.
    pub namespace: String,
    /// `SERVER`, `CLIENT`, `PRODUCER`, `CONSUMER` or `INTERNAL`.
    pub kind: String,
    /// Its name.
    pub name: String,
    /// The path that was asked for, where the name does not have it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub path: Option<String>,
    /// Status code, or what else became of it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub status: Option<String>,
    /// It failed.
    pub is_error: bool,
    /// Start, in ms since the Unix epoch.
    pub start_unix_ms: f64,
    /// How long it took.
    pub duration_ms: f64,
}

impl SpanSummary {
    pub(crate) fn of(span: &Kept) -> Self {
        let status =
            ["http.response.status_code", "rpc.status_code", "db.response.status_code", "error.type", "beyla.outcome"];
        let path = || {
            let has_path = ["http.route", "url.template", "rpc.method"].iter().any(|key| span.get(key).is_some());
            if has_path { None } else { span.text("url.path").or_else(|| span.text("url.full")) }
        };
        Self {
            number: span.number,
            trace_id: span.trace_id.to_string(),
            span_id: span.span_id.to_string(),
            parent_span_id: span.parent.map(|parent| parent.to_string()),
            service: span.whose.service.to_string(),
            namespace: span.whose.namespace.to_string(),
            kind: span.kind.name().to_owned(),
            name: span.name.to_string(),
            path: path().map(Into::into),
            status: status.iter().find_map(|key| span.text(key)).map(Into::into),
            is_error: span.is_error,
            start_unix_ms: ms(span.start_unix_ns),
            duration_ms: ms(span.duration_ns()),
        }
    }
}

/// ns as ms, to the µs.
pub(crate) fn ms(ns: u64) -> f64 {
    (ns / 1000) as f64 / 1000.0
}

/// A trace with all that is known of its spans.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Trace {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// Start, in ms since the Unix epoch.
    pub start_unix_ms: f64,
    /// From its first span's start to its last one's end.
    pub duration_ms: f64,
    /// What of it is not here, or may not be; absent where it is whole as far as is known.
    pub missing: Option<String>,
    /// By their start.
    pub spans: Vec<SpanDetail>,
}

/// A span with all that is known of it.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SpanDetail {
    /// What a line says.
    #[serde(flatten)]
    pub summary: SpanSummary,
    /// ms from the trace's start to its own, to the ns.
    pub offset_ms: f64,
    /// What its parent is known by (`beyla.parent.evidence`).
    pub evidence: Option<String>,
    /// Its process.
    pub pid: u32,
    /// Its end of the connection.
    pub local: Option<String>,
    /// Attributes, as text.
    pub attributes: BTreeMap<String, String>,
    /// Attributes of its resource, as text.
    pub resource: BTreeMap<String, String>,
    /// Spans that it has to do with, and that are not its parent.
    pub links: Vec<SpanLink>,
}

/// A link.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct SpanLink {
    /// 32 hexadecimal digits.
    pub trace_id: String,
    /// 16 hexadecimal digits.
    pub span_id: String,
}

impl SpanDetail {
    pub(crate) fn of(span: &Kept, from_ns: u64) -> Self {
        let link = |link: &crate::model::span::Link| SpanLink {
            trace_id: link.trace_id.to_string(),
            span_id: link.span_id.to_string(),
        };
        Self {
            summary: SpanSummary::of(span),
            offset_ms: span.start_unix_ns.saturating_sub(from_ns) as f64 / 1e6,
            evidence: span.text("beyla.parent.evidence").map(Into::into),
            pid: span.pid.0,
            local: span.local.clone().map(Into::into),
            attributes: span.attributes.iter().map(|it| (it.key.to_owned(), text_of(&it.value).into())).collect(),
            resource: span
                .whose
                .attributes
                .iter()
                .map(|(key, value)| (key.to_string(), text_of(value).into()))
                .collect(),
            links: span.links.iter().map(link).collect(),
        }
    }
}

/// Spans as they come; the data of an event of `/api/v1/live`.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct LiveSpans {
    /// The earliest first.
    pub spans: Vec<SpanSummary>,
    /// How many more were asked for and are left out, since more come than anybody reads.
    pub left_out: u64,
    /// How many spans, of all services, were not kept since the agent began: more come than there is room for. Rates are of all.
    pub thinned: u64,
    /// Where to go on (`after`), should the connection end.
    pub next: u64,
}

/// Processes that are watched.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Processes {
    /// By pid.
    pub processes: Vec<Process>,
}

/// A process.
#[derive(Clone, Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Process {
    /// Pid in the host's PID namespace.
    pub pid: u32,
    /// `service.name`.
    pub service: String,
    /// `service.namespace`.
    pub namespace: Option<String>,
    /// `telemetry.sdk.language`.
    pub language: Option<String>,
    /// Path of the executable.
    pub executable: String,
    /// TCP ports it listens on.
    pub ports: Vec<u16>,
    /// TLS libraries that it uses.
    pub tls: Vec<String>,
    /// Why what is encrypted is not seen, where it is not.
    pub unseen: Vec<String>,
    /// Who else describes what it does.
    pub instrumented_by: Vec<String>,
    /// Rules that it is watched by.
    pub matched_by: Vec<String>,
    /// Whether spans of its service are there.
    pub has_spans: bool,
}

/// The agent itself.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Agent {
    /// Its version.
    pub version: String,
    /// How it asks the kernel.
    pub backend: String,
    /// Its process.
    pub pid: u32,
    /// For how long it runs.
    pub uptime_s: f64,
    /// CPU time that it took so far.
    pub cpu_s: f64,
    /// Memory that it takes (RSS).
    pub memory_bytes: u64,
    /// What it remembers.
    pub store: StoreInfo,
    /// What was lost or cannot be seen; empty: nothing.
    pub losses: Vec<Loss>,
    /// All that it says of itself (`beyla_rs.*`).
    pub metrics: Vec<MetricPoint>,
}

/// What the agent remembers.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct StoreInfo {
    /// Bytes that it takes.
    pub bytes: u64,
    /// Most that it may take.
    pub max_bytes: u64,
    /// Spans that came.
    pub offered: u64,
    /// Those that were kept at first.
    pub kept: u64,
    /// Those that were thinned out.
    pub thinned: u64,
    /// Bytes of a span.
    pub bytes_per_span: f64,
    /// Share of traces that is kept at present.
    pub kept_share: f64,
    /// Since when spans are there, in ms since the Unix epoch.
    pub since_unix_ms: Option<f64>,
    /// What of it is on disk, where `store.dir` is set.
    pub disk: Option<DiskInfo>,
}

/// What is remembered on disk.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct DiskInfo {
    /// Bytes of its files.
    pub bytes: u64,
    /// Most that they may have.
    pub max_bytes: u64,
    /// Spans that are there, of earlier runs too.
    pub spans: u64,
    /// Spans that this run has written.
    pub written: u64,
    /// Spans that it could not write.
    pub dropped: u64,
    /// Spans that earlier runs have left unreadable.
    pub torn: u64,
    /// Until when all requests that were counted are there, in ms since the Unix epoch.
    pub until_unix_ms: Option<f64>,
}

impl DiskInfo {
    pub(crate) fn of(stats: &DiskStats) -> Self {
        let DiskStats { bytes, max_bytes, spans, written, dropped, torn, until_unix_ns } = *stats;
        Self {
            bytes,
            max_bytes,
            spans,
            written,
            dropped,
            torn,
            until_unix_ms: (until_unix_ns > 0).then(|| ms(until_unix_ns)),
        }
    }
}

/// Something that was lost.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Loss {
    /// What.
    pub what: String,
    /// How much.
    pub count: f64,
    /// What can be done.
    pub advice: String,
}

/// A point of a metric.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct MetricPoint {
    /// Name.
    pub name: String,
    /// Attributes.
    pub attributes: BTreeMap<String, String>,
    /// Value.
    pub value: f64,
}

/// Why there is no answer.
#[derive(Debug, Serialize, Deserialize, JsonSchema)]
pub(crate) struct Problem {
    /// In a sentence.
    pub error: String,
}

/// A kind, by its name.
pub(crate) fn kind_of(name: &str) -> Option<Kind> {
    let all = [Kind::Server, Kind::Client, Kind::Producer, Kind::Consumer, Kind::Internal];
    all.into_iter().find(|kind| kind.name().eq_ignore_ascii_case(name))
}
