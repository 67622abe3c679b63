//! What the agent prints and serves.

use std::{fmt, net::SocketAddr, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    features::Feature, headers::PayloadExtraction, otlp::Buckets, period::Period, scalar::written_as_text,
    told::Instrumentation,
};

/// How spans are printed to stdout.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Print {
    /// Not at all.
    Off,
    /// One line per span.
    Text,
    /// One JSON object per line.
    Json,
}

/// Address of the agent's own HTTP server, or `off`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Listen {
    /// No server.
    Off,
    /// There.
    On(SocketAddr),
}

written_as_text!(Listen, "Listen", "address and port, or `off`", ["127.0.0.1:9464", "0.0.0.0:9464", "off"]);

/// Why a text is no address.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{0}` is neither `off` nor an address such as `127.0.0.1:9464`, `[::1]:9464` or `:9464`")]
pub struct ListenError(String);

impl FromStr for Listen {
    type Err = ListenError;

    fn from_str(text: &str) -> Result<Self, ListenError> {
        let text = text.trim();
        // YAML's plain `off` is text here, but some writers turn it into false.
        if text.eq_ignore_ascii_case("off") || text.eq_ignore_ascii_case("false") {
            return Ok(Self::Off);
        }
        let refuse = || ListenError(text.to_owned());
        if let Some(port) = text.strip_prefix(':') {
            let port: u16 = port.parse().map_err(|_| refuse())?;
            return Ok(Self::On((std::net::Ipv4Addr::UNSPECIFIED, port).into()));
        }
        let text = match text.strip_prefix("localhost:") {
            Some(port) => format!("127.0.0.1:{port}"),
            None => text.to_owned(),
        };
        text.parse().map(Self::On).map_err(|_| refuse())
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Off => f.write_str("off"),
            Self::On(address) => address.fmt(f),
        }
    }
}

/// Where names of other sides of requests come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum NameOrigin {
    /// Services and pods of the cluster.
    #[serde(alias = "kubernetes")]
    K8s,
    /// `/etc/hosts`, as the watched process sees it.
    Hosts,
    /// DNS answers that the watched process was seen to receive: the names that it had asked for.
    Rdns,
    /// The machine's resolver is asked for the names of addresses.
    Dns,
}

/// `name_resolver`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NameResolver {
    /// What is asked, in the order `k8s`, `hosts`, `rdns`, `dns` whatever the order here; none: other sides are shown by
    /// their addresses.
    pub sources: Vec<NameOrigin>,
    /// Most names that the machine's resolver has given that are remembered (`dns`).
    pub cache_len: u32,
    /// How long they are, and that there is none; 0: until there is no room.
    pub cache_expiry: Period,
}

impl NameResolver {
    /// Whether names come from there.
    #[must_use]
    pub fn asks(&self, origin: NameOrigin) -> bool {
        self.sources.contains(&origin)
    }
}

impl Default for NameResolver {
    fn default() -> Self {
        let sources = vec![NameOrigin::K8s, NameOrigin::Hosts, NameOrigin::Rdns];
        Self { sources, cache_len: 1024, cache_expiry: Period::seconds(300) }
    }
}

/// `prometheus_export`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct PrometheusExport {
    /// A port on every address that serves what `listen` does; 0: none.
    pub port: u16,
    /// Path of the metrics, at `listen` too.
    pub path: String,
    /// How long a series without new values is shown.
    pub ttl: Period,
    /// Bounds of histograms' explicit buckets, those of OTLP too.
    pub buckets: Buckets,
    /// Native histograms, which scrapers get that ask for protocol buffers.
    pub native_histogram: NativeHistogram,
    /// Which groups of metrics are shown; not given: those of `metrics.features`.
    pub features: Option<Vec<Feature>>,
    /// Protocols whose metrics are shown.
    pub instrumentations: Vec<Instrumentation>,
    /// Which spans buckets name.
    pub exemplar_filter: ExemplarFilter,
    /// Attributes of the resource that each series has besides, by names with dots or underscores.
    pub extra_resource_attributes: Vec<String>,
    /// Those that metrics of spans have besides.
    pub extra_span_resource_attributes: Vec<String>,
    /// Whether the service graph has services that ask themselves.
    pub allow_service_graph_self_references: bool,
}

/// `prometheus_export.native_histogram`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct NativeHistogram {
    /// A bucket's upper bound is at most so many times that of the one below; 1 or less: there are no native histograms.
    pub bucket_factor: f64,
    /// Most buckets; they become coarser where that does not suffice.
    #[schemars(range(min = 4, max = 2048))]
    pub max_bucket_number: u32,
    /// One that had to become coarser begins anew after so long.
    pub min_reset_duration: Period,
}

impl Default for NativeHistogram {
    fn default() -> Self {
        Self { bucket_factor: 1.1, max_bucket_number: 100, min_reset_duration: Period::seconds(3600) }
    }
}

impl NativeHistogram {
    /// Their schema: the coarsest whose buckets are as narrow as `bucket_factor` says, of those that there are. `None`: there are none.
    pub fn schema(&self) -> Option<i32> {
        let factor = self.bucket_factor;
        (factor > 1.0).then(|| (-4..=8).find(|schema| (-f64::from(*schema)).exp2().exp2() <= factor).unwrap_or(8))
    }
}

impl Default for PrometheusExport {
    fn default() -> Self {
        Self {
            port: 0,
            path: "/metrics".to_owned(),
            ttl: Period::seconds(600),
            buckets: Buckets::default(),
            native_histogram: NativeHistogram::default(),
            features: None,
            instrumentations: vec![Instrumentation::All],
            exemplar_filter: ExemplarFilter::default(),
            extra_resource_attributes: Vec::new(),
            extra_span_resource_attributes: Vec::new(),
            allow_service_graph_self_references: false,
        }
    }
}

/// `internal_metrics`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InternalMetrics {
    /// What the agent says of itself by itself, besides `/metrics`.
    pub prometheus: InternalPrometheus,
}

/// `internal_metrics.prometheus`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct InternalPrometheus {
    /// A port on every address; 0: none.
    pub port: u16,
    /// Its path there.
    pub path: String,
}

impl Default for InternalPrometheus {
    fn default() -> Self {
        Self { port: 0, path: "/internal/metrics".to_owned() }
    }
}

/// Which spans buckets name.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum ExemplarFilter {
    /// None.
    AlwaysOff,
    /// Those that are kept: others are not there to be looked at.
    AlwaysOn,
    /// Those that are kept.
    #[default]
    TraceBased,
}

/// Which metric and attribute names are sent.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Naming {
    /// The semantic conventions'.
    #[default]
    Semconv,
    /// What Beyla's dashboards expect.
    Beyla,
    /// Both.
    Both,
}

/// `telemetry`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Telemetry {
    /// Names.
    pub naming: Naming,
    /// Most series of a metric and service instance; what is beyond is counted in one that is marked `otel.metric.overflow`.
    #[schemars(range(min = 1))]
    pub cardinality_limit: u32,
}

impl Default for Telemetry {
    fn default() -> Self {
        Self { naming: Naming::default(), cardinality_limit: 2000 }
    }
}

/// `processes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Processes {
    /// How often it is looked at what processes use.
    pub interval: Period,
}

impl Default for Processes {
    fn default() -> Self {
        Self { interval: Period::seconds(5) }
    }
}

/// A place where a signal goes (`OTEL_TRACES_EXPORTER`, `OTEL_METRICS_EXPORTER`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Exporter {
    /// OTLP, if an endpoint is set.
    Otlp,
    /// The Prometheus endpoint; metrics only.
    Prometheus,
    /// stdout: spans as lines, metrics as `/metrics` shows them.
    Console,
    /// Nowhere.
    None,
}

/// `exporters`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Exporters {
    /// Of spans.
    pub traces: Vec<Exporter>,
    /// Of metrics.
    pub metrics: Vec<Exporter>,
}

impl Default for Exporters {
    fn default() -> Self {
        Self { traces: vec![Exporter::Otlp], metrics: vec![Exporter::Otlp, Exporter::Prometheus] }
    }
}

/// A way of carrying trace context (`OTEL_PROPAGATORS`).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Propagator {
    /// W3C `traceparent` and `tracestate`.
    #[serde(rename = "tracecontext")]
    TraceContext,
    /// W3C `baggage`; what of it becomes attributes is said by `attributes.baggage_keys`.
    Baggage,
    /// B3 in one header.
    B3,
    /// B3 in several headers.
    #[serde(rename = "b3multi")]
    B3Multi,
    /// Jaeger's `uber-trace-id`.
    Jaeger,
    /// None.
    None,
}

/// How much is logged.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogLevel {
    /// Nothing.
    Off,
    /// Data was lost, or someone must act.
    Error,
    /// Something works less well.
    Warn,
    /// Start, stop, changes.
    #[default]
    Info,
    /// Each connection.
    Debug,
    /// Each event.
    Trace,
}

/// How lines of the log are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogFormat {
    /// For people.
    #[default]
    Text,
    /// One JSON object per line.
    Json,
}

/// Whether the effective configuration is logged at the start, and how.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum LogConfig {
    /// It is not.
    #[default]
    #[serde(alias = "")]
    Off,
    /// As YAML, each value with its origin.
    Yaml,
    /// As JSON.
    Json,
}

/// How the kernel is asked.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Backend {
    /// The best that the kernel offers.
    #[default]
    Auto,
    /// Socket tracepoints.
    Sock,
    /// fentry and fexit.
    Fexit,
    /// kprobes.
    Kprobe,
    /// System calls.
    Syscall,
}

impl Backend {
    /// All that can be asked for.
    pub const ALL: [Self; 5] = [Self::Auto, Self::Sock, Self::Fexit, Self::Kprobe, Self::Syscall];

    /// How it is written.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Sock => "sock",
            Self::Fexit => "fexit",
            Self::Kprobe => "kprobe",
            Self::Syscall => "syscall",
        }
    }
}

/// `ebpf`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Ebpf {
    /// Size of the ring between kernel and agent; a power of two of at least 65536 bytes.
    pub ring_buffer_bytes: u32,
    /// Most bytes copied from the beginning of a message; 512 to 8192. Longer header blocks are cut, and marked.
    #[schemars(range(min = 512, max = 8192))]
    pub capture_bytes: u32,
    /// For measurements: the programs are attached, and look at nothing. What they cost then is what the hooks cost.
    pub hooks_only: bool,
    /// What is taken out of messages besides.
    pub payload_extraction: PayloadExtraction,
    /// Whether it is read in the memory of watched programs, and at probes in them, which task, or which request of nginx, a thread carries
    /// on: that tells whose their calls are in asyncio, tokio and nginx.
    pub runtimes: bool,
    /// How many copies stand behind each program at a tracepoint, 0 to 3: one takes over where a program is preempted, and
    /// the kernel would show nothing to it meanwhile. As many as are needed if not given: 2 from Linux 7.0 on, else none.
    #[schemars(range(max = 3))]
    pub standby_programs: Option<u32>,
}

impl Default for Ebpf {
    fn default() -> Self {
        Self {
            ring_buffer_bytes: 8 << 20,
            capture_bytes: ebpf_common::limits::HEAD_MAX,
            hooks_only: false,
            payload_extraction: PayloadExtraction::default(),
            runtimes: true,
            standby_programs: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn native_histograms_are_as_fine_as_their_factor_asks() {
        let schema = |bucket_factor| NativeHistogram { bucket_factor, ..NativeHistogram::default() }.schema();
        let schemas = [1.0, 1.0001, 1.01, 1.1, 2.0, 1e9].map(schema);
        assert_eq!(schemas, [None, Some(8), Some(7), Some(3), Some(0), Some(-4)]);
    }
}
