//! Where spans and metrics go over OTLP, and in what batches. Names and defaults are the OpenTelemetry specification's;
//! keys are OBI's where it has one.

use std::{collections::BTreeMap, fmt, path::PathBuf, str::FromStr};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{features::Feature, period::Period, sampler::Sampler, scalar::written_as_text, told::Instrumentation};

/// OTLP transport and encoding.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
pub enum Protocol {
    /// gRPC.
    #[serde(rename = "grpc")]
    Grpc,
    /// HTTP with protobuf bodies.
    #[serde(rename = "http/protobuf")]
    HttpProtobuf,
    /// HTTP with JSON bodies.
    #[serde(rename = "http/json")]
    HttpJson,
}

/// Compression of requests.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Compression {
    /// None.
    #[default]
    None,
    /// gzip.
    Gzip,
    /// zstd: smaller than gzip for less of the processor, where the receiver takes it (the OpenTelemetry Collector does).
    Zstd,
}

/// `http://` or `https://` URL of a collector.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OtlpEndpoint(String);

written_as_text!(
    OtlpEndpoint,
    "Endpoint",
    "URL of an OTLP receiver",
    ["http://collector:4317", "https://collector.example/otlp"]
);

/// Why a text is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "`{text}` is no URL of a collector ({reason}); write it as `http://collector:4317` or `https://collector:4318`"
)]
pub struct EndpointError {
    text: String,
    reason: &'static str,
}

impl OtlpEndpoint {
    /// The URL as it was written.
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The port written in it.
    pub fn port(&self) -> Option<u16> {
        self.0.parse::<http::Uri>().ok().and_then(|uri| uri.port_u16())
    }

    /// Whether it has a path that says anything.
    pub(crate) fn has_path(&self) -> bool {
        self.0.parse::<http::Uri>().is_ok_and(|uri| !matches!(uri.path(), "" | "/"))
    }

    /// Whether it ends with its host and port.
    pub(crate) fn is_bare(&self) -> bool {
        self.0.split_once("://").is_some_and(|(_, rest)| !rest.contains('/'))
    }

    /// Without a path that says nothing.
    fn bare(&self) -> Self {
        Self(self.0.trim_end_matches('/').to_owned())
    }

    /// This URL with `segments` after its path.
    fn join(&self, segments: &str) -> Self {
        Self(format!("{}/{segments}", self.0.trim_end_matches('/')))
    }
}

impl FromStr for OtlpEndpoint {
    type Err = EndpointError;

    fn from_str(text: &str) -> Result<Self, EndpointError> {
        let text = text.trim();
        // What stands before `@` is a secret.
        let shown = || text.rsplit_once('@').map_or_else(|| text.to_owned(), |(_, rest)| format!("…@{rest}"));
        let refuse = |reason| EndpointError { text: shown(), reason };
        let Some((scheme, rest)) = text.split_once("://") else {
            return Err(refuse("it has no scheme"));
        };
        if !matches!(scheme, "http" | "https") {
            return Err(refuse("the scheme is neither http nor https"));
        }
        if rest.contains(['?', '#']) {
            return Err(refuse("it has a query or fragment"));
        }
        let uri: http::Uri = text.parse().map_err(|_| refuse("it cannot be read"))?;
        let authority = uri.authority().ok_or_else(|| refuse("it has no host"))?;
        if authority.as_str().contains('@') {
            return Err(refuse("credentials go into headers"));
        }
        if authority.host().is_empty() {
            return Err(refuse("it has no host"));
        }
        if authority.as_str().len() > authority.host().len() && !matches!(uri.port_u16(), Some(1..)) {
            return Err(refuse("the port is not 1 to 65535"));
        }
        Ok(Self(text.to_owned()))
    }
}

impl fmt::Display for OtlpEndpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Headers sent with each request. Their values can be credentials, so they are not shown.
#[derive(Clone, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Headers(pub BTreeMap<String, String>);

impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_map().entries(self.0.keys().map(|name| (name, "***"))).finish()
    }
}

/// `otlp`: for spans and metrics alike, where these say nothing of their own.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Otlp {
    /// Base URL; with an HTTP protocol `/v1/traces` and `/v1/metrics` are added. Not given: nothing is sent.
    pub endpoint: Option<OtlpEndpoint>,
    /// Not given: `grpc` for port 4317, else `http/protobuf`.
    pub protocol: Option<Protocol>,
    /// Headers sent with each request.
    pub headers: Headers,
    /// Longest time a request may take.
    pub timeout: Period,
    /// Compression.
    pub compression: Compression,
    /// PEM file of the certificates that the collector's is checked with; not given: the system's.
    pub certificate: Option<PathBuf>,
    /// PEM file of the client's key.
    pub client_key: Option<PathBuf>,
    /// PEM file of the client's certificate.
    pub client_certificate: Option<PathBuf>,
    /// The collector's certificate is not checked: who stands between can read all, credentials too. For trying things out.
    pub insecure_skip_verify: bool,
}

impl Default for Otlp {
    fn default() -> Self {
        Self {
            endpoint: None,
            protocol: None,
            headers: Headers::default(),
            timeout: Period::seconds(10),
            compression: Compression::None,
            certificate: None,
            client_key: None,
            client_certificate: None,
            insecure_skip_verify: false,
        }
    }
}

/// A signal's section: what `otlp` has, each for this signal alone, and what only this signal has, with its defaults.
/// Neither serde's `flatten` nor a field of its own would do: it would lose where a value was written, and the keys are OBI's.
macro_rules! signal {
    (
        $(#[$about:meta])* $name:ident, $path:literal
        { $($(#[$doc:meta])* $field:ident: $type:ty = $default:expr,)* }
    ) => {
        $(#[$about])*
        #[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
        #[serde(default, deny_unknown_fields)]
        pub struct $name {
            /// URL for this signal, used as it is; one without a path (`http://collector:4318`) gets the signal's.
            pub endpoint: Option<OtlpEndpoint>,
            /// As in `otlp`.
            pub protocol: Option<Protocol>,
            /// As in `otlp`, and instead of those.
            pub headers: Option<Headers>,
            /// As in `otlp`.
            pub timeout: Option<Period>,
            /// As in `otlp`.
            pub compression: Option<Compression>,
            /// As in `otlp`.
            pub certificate: Option<PathBuf>,
            /// As in `otlp`.
            pub client_key: Option<PathBuf>,
            /// As in `otlp`.
            pub client_certificate: Option<PathBuf>,
            /// As in `otlp`.
            pub insecure_skip_verify: Option<bool>,
            $($(#[$doc])* pub $field: $type,)*
        }

        impl Default for $name {
            fn default() -> Self {
                Self {
                    endpoint: None,
                    protocol: None,
                    headers: None,
                    timeout: None,
                    compression: None,
                    certificate: None,
                    client_key: None,
                    client_certificate: None,
                    insecure_skip_verify: None,
                    $($field: $default,)*
                }
            }
        }

        impl $name {
            /// Where the signal goes; `None`: no endpoint is set.
            pub fn target(&self, common: &Otlp) -> Option<OtlpTarget> {
                // Both without `..`: a key that is not used does not compile.
                let Self {
                    endpoint, protocol, headers, timeout, compression, certificate, client_key, client_certificate,
                    insecure_skip_verify,
                    $($field: _,)*
                } = self;
                let Otlp {
                    endpoint: common_endpoint,
                    protocol: common_protocol,
                    headers: common_headers,
                    timeout: common_timeout,
                    compression: common_compression,
                    certificate: common_certificate,
                    client_key: common_key,
                    client_certificate: common_client_certificate,
                    insecure_skip_verify: common_skip,
                } = common;
                let (base, is_own) = match (endpoint, common_endpoint) {
                    (Some(endpoint), _) => (endpoint, true),
                    (None, Some(endpoint)) => (endpoint, false),
                    (None, None) => return None,
                };
                let guessed = if base.port() == Some(4317) { Protocol::Grpc } else { Protocol::HttpProtobuf };
                let protocol = protocol.or(*common_protocol).unwrap_or(guessed);
                let endpoint = if protocol == Protocol::Grpc {
                    if base.has_path() { base.clone() } else { base.bare() }
                } else if is_own && !base.is_bare() {
                    base.clone()
                } else {
                    base.join($path)
                };
                let path = |own: &Option<PathBuf>, common: &Option<PathBuf>| own.clone().or_else(|| common.clone());
                Some(OtlpTarget {
                    endpoint,
                    protocol,
                    headers: headers.as_ref().unwrap_or(common_headers).clone(),
                    timeout: timeout.unwrap_or(*common_timeout),
                    compression: compression.unwrap_or(*common_compression),
                    certificate: path(certificate, common_certificate),
                    client_key: path(client_key, common_key),
                    client_certificate: path(client_certificate, common_client_certificate),
                    insecure_skip_verify: insecure_skip_verify.unwrap_or(*common_skip),
                })
            }
        }
    };
}

/// Spans of one request. Not the specification's 512: an agent sends for all processes of a host, and fewer, larger
/// requests cost both ends less.
pub(crate) const BATCH_MAX_SIZE: u32 = 4096;

signal! {
    /// `otel_traces_export`.
    TracesExport, "v1/traces" {
        /// Which spans are kept.
        sampler: Sampler = Sampler::default(),
        /// Protocols whose requests have spans.
        instrumentations: Vec<Instrumentation> = vec![Instrumentation::All],
        /// Most spans that wait; not given: as many as `queue_bytes` hold.
        #[schemars(range(min = 1))]
        queue_size: Option<u32> = None,
        /// Most memory of the spans that wait, in bytes.
        #[serde(deserialize_with = "super::size::read")]
        #[schemars(schema_with = "super::size::schema")]
        queue_bytes: u64 = 16 << 20,
        /// Most spans in one request; not given: 4096, or a quarter of `queue_size` where that is less.
        #[schemars(range(min = 1))]
        batch_max_size: Option<u32> = None,
        /// Longest time a span waits for its batch.
        batch_timeout: Period = Period::seconds(5),
        /// Longest time a batch may take, retries included. Not given: until the receiver takes it, so that an outage loses
        /// nothing that the queue can hold.
        export_timeout: Option<Period> = None,
        /// First pause before a failed request is sent again.
        backoff_initial_interval: Period = Period::millis(500),
        /// Longest pause.
        backoff_max_interval: Period = Period::seconds(30),
        /// When a batch that fails is given up. Not given: as `export_timeout`; the shorter of both counts.
        backoff_max_elapsed_time: Option<Period> = None,
    }
}

impl TracesExport {
    /// Most spans in one request. A queue holds some requests, so that spans can wait while others are under way.
    #[must_use]
    pub fn batch_max_size(&self) -> u32 {
        let default = || self.queue_size.map_or(BATCH_MAX_SIZE, |queue| (queue / 4).clamp(1, BATCH_MAX_SIZE));
        self.batch_max_size.unwrap_or_else(default)
    }
}

/// How histograms are aggregated.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum HistogramAggregation {
    /// Fixed boundaries.
    #[default]
    ExplicitBucketHistogram,
    /// Base-2 exponential.
    Base2ExponentialBucketHistogram,
}

/// `buckets`: upper bounds of explicit buckets, ascending; those that are not given are the semantic conventions'.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Buckets {
    /// Of durations, in seconds.
    pub duration_histogram: Option<Vec<f64>>,
    /// Of sizes of request bodies, in bytes.
    pub request_size_histogram: Option<Vec<f64>>,
    /// Of sizes of response bodies, in bytes.
    pub response_size_histogram: Option<Vec<f64>>,
}

impl Buckets {
    /// Each with its key.
    pub fn all(&self) -> [(&'static str, Option<&[f64]>); 3] {
        [
            ("duration_histogram", self.duration_histogram.as_deref()),
            ("request_size_histogram", self.request_size_histogram.as_deref()),
            ("response_size_histogram", self.response_size_histogram.as_deref()),
        ]
    }
}

/// `otel_metrics_export.exponential_histogram`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ExponentialHistogram {
    /// The finest scale, with which each begins.
    #[schemars(range(min = -10, max = 20))]
    pub max_scale: i32,
    /// Most buckets; it becomes coarser where they do not suffice.
    #[schemars(range(min = 2, max = 2048))]
    pub max_size: u32,
}

impl Default for ExponentialHistogram {
    fn default() -> Self {
        Self { max_scale: 20, max_size: 160 }
    }
}

/// `OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum Temporality {
    /// All sums and histograms since start.
    #[default]
    Cumulative,
    /// Counters and histograms since the last export, up-down counters since start.
    Delta,
    /// As `delta` for synchronous instruments, as `cumulative` for others.
    LowMemory,
}

signal! {
    /// `otel_metrics_export`.
    MetricsExport, "v1/metrics" {
        /// Time between two exports.
        interval: Period = Period::seconds(60),
        /// Longest time one export may take, retries included; at most until the next.
        export_timeout: Period = Period::seconds(30),
        /// How long a series without new values is sent.
        ttl: Period = Period::seconds(600),
        /// Since when values count.
        temporality: Temporality = Temporality::default(),
        /// How histograms are aggregated.
        histogram_aggregation: HistogramAggregation = HistogramAggregation::default(),
        /// Bounds of histograms' explicit buckets, those of `/metrics` too.
        buckets: Buckets = Buckets::default(),
        /// How fine exponential histograms are.
        exponential_histogram: ExponentialHistogram = ExponentialHistogram::default(),
        /// Which groups of metrics are sent; not given: those of `metrics.features`.
        features: Option<Vec<Feature>> = None,
        /// Attributes of the resource that metrics of spans have besides, by names with dots or underscores.
        extra_span_resource_attributes: Vec<String> = Vec::new(),
        /// Protocols whose metrics are sent.
        instrumentations: Vec<Instrumentation> = vec![Instrumentation::All],
        /// Whether the service graph has services that ask themselves.
        allow_service_graph_self_references: bool = false,
    }
}

/// Where one signal goes: what `otlp` and the signal's own section say together.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpTarget {
    /// Full URL; with an HTTP protocol it includes the signal's path.
    pub endpoint: OtlpEndpoint,
    /// Transport and encoding.
    pub protocol: Protocol,
    /// Headers sent with each request.
    pub headers: Headers,
    /// Longest time a request may take.
    pub timeout: Period,
    /// Compression.
    pub compression: Compression,
    /// PEM file of the certificates that the collector's is checked with.
    pub certificate: Option<PathBuf>,
    /// PEM file of the client's key.
    pub client_key: Option<PathBuf>,
    /// PEM file of the client's certificate.
    pub client_certificate: Option<PathBuf>,
    /// The collector's certificate is not checked.
    pub insecure_skip_verify: bool,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(text: &str) -> Option<OtlpEndpoint> {
        Some(text.parse().unwrap())
    }

    #[test]
    fn what_is_no_endpoint_is_refused_with_the_reason_and_an_example() {
        let cases = [
            ("collector:4317", "no scheme"),
            ("ftp://collector", "neither http nor https"),
            ("http://", "cannot be read"),
            ("http://collector:99999", "port"),
            ("http://collector:0", "port"),
            ("http://a b", "cannot be read"),
            ("http://collector?x=1", "query"),
        ];
        for (text, reason) in cases {
            let error = text.parse::<OtlpEndpoint>().unwrap_err().to_string();
            assert!(error.contains(reason) && error.contains(text), "{text}: {error}");
            assert!(error.contains("http://collector:4317"), "{error}");
        }
        let error = "http://u:secret@collector".parse::<OtlpEndpoint>().unwrap_err().to_string();
        assert!(error.contains("headers") && error.contains("`…@collector`") && !error.contains("secret"), "{error}");
        for text in ["http://127.0.0.1:4318", "https://[::1]:4317/x", "https://collector.example"] {
            assert!(text.parse::<OtlpEndpoint>().is_ok(), "{text}");
        }
    }

    #[test]
    fn the_common_endpoint_gets_the_signals_path_and_so_does_an_own_one_without_any() {
        let common = Otlp { endpoint: endpoint("http://c:4318/base/"), ..Otlp::default() };
        let traces = TracesExport::default().target(&common).unwrap();
        assert_eq!(traces.endpoint.as_str(), "http://c:4318/base/v1/traces");
        assert_eq!(traces.protocol, Protocol::HttpProtobuf);
        let own = MetricsExport { endpoint: endpoint("http://m:9090/otlp"), ..MetricsExport::default() };
        assert_eq!(own.target(&common).unwrap().endpoint.as_str(), "http://m:9090/otlp");
        for (own, full) in [
            ("http://m:4318", "http://m:4318/v1/metrics"),
            ("http://m:4318/", "http://m:4318/"),
            ("http://m:4317", "http://m:4317"),
        ] {
            let own = MetricsExport { endpoint: endpoint(own), ..MetricsExport::default() };
            assert_eq!(own.target(&common).unwrap().endpoint.as_str(), full);
        }
        assert_eq!(TracesExport::default().target(&Otlp::default()), None);
    }

    #[test]
    fn the_protocol_is_guessed_from_the_port_only_where_none_is_set() {
        let mut common = Otlp { endpoint: endpoint("http://c:4317"), ..Otlp::default() };
        let target = TracesExport::default().target(&common).unwrap();
        assert_eq!((target.protocol, target.endpoint.as_str()), (Protocol::Grpc, "http://c:4317"));
        common.protocol = Some(Protocol::HttpJson);
        let target = TracesExport::default().target(&common).unwrap();
        assert_eq!((target.protocol, target.endpoint.as_str()), (Protocol::HttpJson, "http://c:4317/v1/traces"));
    }

    #[test]
    fn headers_are_not_shown() {
        let headers = Headers(BTreeMap::from([("authorization".to_owned(), "Bearer x".to_owned())]));
        assert_eq!(format!("{headers:?}"), r#"{"authorization": "***"}"#);
    }
}
