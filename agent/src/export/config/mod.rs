//! What the export stage is told: a plain value, made of the agent's configuration, which has read and checked it.

mod endpoint;

pub(crate) use endpoint::{Headers, ReceiverUrl};

use std::{net::SocketAddr, path::PathBuf, time::Duration};

use crate::config::BATCH_MAX_SIZE;
pub(crate) use crate::config::{Compression, ListenTls, Protocol};
pub use crate::config::{Print, Temporality};

/// Where finished telemetry goes and how.
#[derive(Clone, Debug, PartialEq)]
pub struct ExportConfig {
    /// OTLP receivers of spans.
    pub traces: Vec<OtlpConfig>,
    /// OTLP receivers of metrics.
    pub metrics: Vec<OtlpConfig>,
    /// How spans wait and travel.
    pub batch: BatchConfig,
    /// How failed requests are repeated.
    pub retry: RetryConfig,
    /// Where spans wait that a receiver does not take; `None`: in memory alone.
    pub spool: Option<SpoolConfig>,
    /// Time between two exports of metrics.
    pub metric_interval: Duration,
    /// Whether sums and histograms are sent since their start or since the last export.
    pub temporality: Temporality,
    /// How long one export of metrics may take, retries included.
    pub metric_timeout: Duration,
    /// How long a series without new values is sent.
    pub metric_ttl: Duration,
    /// Spans on standard output.
    pub print: Print,
    /// Metrics on standard output as well, as `/metrics` shows them, once each interval.
    pub print_metrics: bool,
    /// Addresses of `/metrics`, `/healthz` and `/readyz`; none: no server.
    pub listen: Vec<SocketAddr>,
    /// With TLS, where there is a certificate.
    pub listen_tls: ListenTls,
    /// What is shown there.
    pub prometheus: PrometheusConfig,
    /// What the agent says of itself, by itself.
    pub own_metrics: Option<OwnMetrics>,
    /// Whether it works, by itself.
    pub health: Option<HealthListen>,
}

/// Where nothing but `/healthz` and `/readyz` is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum HealthListen {
    /// An address.
    Tcp(SocketAddr),
    /// A Unix socket by its path, or `@` and the name of an abstract one.
    Unix(PathBuf),
}

/// A page with what the agent says of itself alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct OwnMetrics {
    /// Its address.
    pub listen: SocketAddr,
    /// Its path.
    pub path: String,
}

/// Metrics for Prometheus.
#[derive(Clone, Debug, PartialEq)]
pub struct PrometheusConfig {
    /// Their path.
    pub path: String,
    /// How long a series without new values is shown.
    pub ttl: Duration,
    /// Whether metrics of requests are among them; what the agent says of itself always is.
    pub has_requests: bool,
    /// Whether buckets name spans.
    pub has_exemplars: bool,
}

impl Default for PrometheusConfig {
    fn default() -> Self {
        Self { path: "/metrics".to_owned(), ttl: Duration::from_secs(600), has_requests: true, has_exemplars: true }
    }
}

impl ExportConfig {
    /// Default of `--listen`.
    pub const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(std::net::Ipv4Addr::LOCALHOST), 9464);
}

impl Default for ExportConfig {
    fn default() -> Self {
        Self {
            traces: Vec::new(),
            metrics: Vec::new(),
            batch: BatchConfig::default(),
            retry: RetryConfig::default(),
            spool: None,
            metric_interval: Duration::from_secs(60),
            temporality: Temporality::default(),
            metric_timeout: Duration::from_secs(30),
            metric_ttl: Duration::from_secs(600),
            print: Print::Text,
            print_metrics: false,
            listen: vec![Self::DEFAULT_LISTEN],
            listen_tls: ListenTls::default(),
            prometheus: PrometheusConfig::default(),
            own_metrics: None,
            health: None,
        }
    }
}

/// One signal's way to an OTLP receiver.
#[derive(Clone, Debug, PartialEq)]
pub struct OtlpConfig {
    /// Where to. For HTTP with the signal's path, as requests use it.
    pub endpoint: ReceiverUrl,
    /// How it is spoken.
    pub protocol: Protocol,
    /// Sent with each request.
    pub headers: Headers,
    /// How long one request may take.
    pub timeout: Duration,
    /// How request bodies are compressed.
    pub compression: Compression,
    /// Certificates, for `https`.
    pub tls: TlsConfig,
}

impl OtlpConfig {
    /// With the specification's defaults for all but the endpoint and the protocol.
    #[must_use]
    pub fn new(endpoint: ReceiverUrl, protocol: Protocol) -> Self {
        Self {
            endpoint,
            protocol,
            headers: Headers::default(),
            timeout: Duration::from_secs(10),
            compression: Compression::None,
            tls: TlsConfig::default(),
        }
    }
}

/// PEM files for `https`. Without a certificate authority, the system's are trusted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TlsConfig {
    /// Certificates that the receiver's must descend from.
    pub certificate: Option<PathBuf>,
    /// Our private key, with `client_certificate`.
    pub client_key: Option<PathBuf>,
    /// Our certificate chain, with `client_key`.
    pub client_certificate: Option<PathBuf>,
    /// The receiver's certificate is not checked.
    pub is_unchecked: bool,
}

/// How spans wait and travel. When the queue is full the *newest* spans are dropped (and counted), as OpenTelemetry's
/// batch processor does: it costs least when the receiver is away.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct BatchConfig {
    /// Longest time between two exports while there are spans (`OTEL_BSP_SCHEDULE_DELAY`). A full batch goes at once,
    /// and so does the first span after a quiet time.
    pub schedule_delay: Duration,
    /// Most spans of one request (`OTEL_BSP_MAX_EXPORT_BATCH_SIZE`).
    pub max_batch_spans: usize,
    /// Most bytes of one request, before compression; receivers' usual limit is 4 MiB.
    pub max_batch_bytes: usize,
    /// Most bytes of spans that wait or are under way.
    pub max_queue_bytes: usize,
    /// Most spans that wait or are under way (`OTEL_BSP_MAX_QUEUE_SIZE`); `None`: bytes alone decide.
    pub max_queue_spans: Option<usize>,
    /// Most requests under way at once.
    pub max_in_flight: usize,
    /// How long one batch may be tried, retries included (`OTEL_BSP_EXPORT_TIMEOUT`); `None`: until the receiver takes
    /// it, so that an outage loses nothing that the queue can hold.
    pub export_timeout: Option<Duration>,
}

impl Default for BatchConfig {
    fn default() -> Self {
        Self {
            schedule_delay: Duration::from_secs(5),
            max_batch_spans: BATCH_MAX_SIZE as usize,
            max_batch_bytes: 2 << 20,
            max_queue_bytes: 16 << 20,
            max_queue_spans: None,
            max_in_flight: 4,
            export_timeout: None,
        }
    }
}

/// Spans on disk, for each receiver of its own.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SpoolConfig {
    /// The folder; each receiver has one in it.
    pub dir: PathBuf,
    /// Most bytes of files for a receiver. The oldest make room.
    pub max_bytes: u64,
}

/// Exponential back-off: the wait doubles from `initial` to `max`, each with up to half of it taken off at random.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RetryConfig {
    /// First wait.
    pub initial: Duration,
    /// Longest wait that is ours to choose. A receiver's `Retry-After` may ask for more, up to [`Self::MAX_ASKED`].
    pub max: Duration,
}

impl RetryConfig {
    /// The longest `Retry-After` that is believed.
    pub const MAX_ASKED: Duration = Duration::from_secs(300);
}

impl Default for RetryConfig {
    fn default() -> Self {
        Self { initial: Duration::from_millis(500), max: Duration::from_secs(30) }
    }
}

/// A setting that cannot be used. Its text names the setting, the value and what it should look like; it never holds a
/// header's value or a password.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name}: {value:?} {problem}")]
pub struct ConfigError {
    /// The flag, variable or key.
    pub name: String,
    /// What it was set to (secrets left out).
    pub value: String,
    /// What is wrong with it and what would be right.
    pub problem: String,
}

impl ConfigError {
    pub(crate) fn new(name: &str, value: &str, problem: impl Into<String>) -> Self {
        Self { name: name.to_owned(), value: value.to_owned(), problem: problem.into() }
    }
}
