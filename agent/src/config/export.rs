//! `export`: what is not of one signal.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{
    discovery::Signal,
    otlp::{Compression, Headers, MetricsExport, Otlp, OtlpEndpoint, OtlpTarget, Protocol, TracesExport},
    period::Period,
};

/// `export`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Export {
    /// Spans on disk while a receiver does not take them.
    pub spool: Spool,
    /// OTLP receivers besides that of `otlp`. Each has a queue of its own; none is slowed by another.
    pub endpoints: Vec<Receiver>,
}

/// An entry of `export.endpoints`. It has nothing of `otlp`: headers and certificates are for one receiver.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Receiver {
    /// Base URL; with an HTTP protocol `/v1/traces` and `/v1/metrics` are added.
    pub endpoint: OtlpEndpoint,
    /// What is sent there.
    #[serde(default = "both")]
    pub signals: Vec<Signal>,
    /// Not given: `grpc` for port 4317, else `http/protobuf`.
    #[serde(default)]
    pub protocol: Option<Protocol>,
    /// Headers sent with each request.
    #[serde(default)]
    pub headers: Headers,
    /// Longest time a request may take; not given: 10s.
    #[serde(default)]
    pub timeout: Option<Period>,
    /// Compression.
    #[serde(default)]
    pub compression: Compression,
    /// PEM file of the certificates that the collector's is checked with; not given: the system's.
    #[serde(default)]
    pub certificate: Option<PathBuf>,
    /// PEM file of the client's key.
    #[serde(default)]
    pub client_key: Option<PathBuf>,
    /// PEM file of the client's certificate.
    #[serde(default)]
    pub client_certificate: Option<PathBuf>,
    /// The collector's certificate is not checked, as `otlp.insecure_skip_verify`.
    #[serde(default)]
    pub insecure_skip_verify: bool,
}

fn both() -> Vec<Signal> {
    vec![Signal::Traces, Signal::Metrics]
}

impl Receiver {
    /// Where a signal goes; `None`: not there.
    pub fn target(&self, signal: Signal) -> Option<OtlpTarget> {
        let Self {
            endpoint,
            signals,
            protocol,
            headers,
            timeout,
            compression,
            certificate,
            client_key,
            client_certificate,
            insecure_skip_verify,
        } = self;
        let default = Otlp::default();
        let otlp = Otlp {
            endpoint: Some(endpoint.clone()),
            protocol: *protocol,
            headers: headers.clone(),
            timeout: timeout.unwrap_or(default.timeout),
            compression: *compression,
            certificate: certificate.clone(),
            client_key: client_key.clone(),
            client_certificate: client_certificate.clone(),
            insecure_skip_verify: *insecure_skip_verify,
        };
        let target = match signal {
            Signal::Traces => TracesExport::default().target(&otlp),
            Signal::Metrics => MetricsExport::default().target(&otlp),
        };
        target.filter(|_| signals.contains(&signal))
    }
}

/// `export.spool`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Spool {
    /// Folder for spans that an OTLP receiver does not take; they outlast the agent. Not given: they wait in memory only.
    pub dir: Option<PathBuf>,
    /// Most bytes on disk for one receiver; the oldest spans make room.
    #[serde(deserialize_with = "super::size::read")]
    #[schemars(schema_with = "super::size::schema")]
    pub max_bytes: u64,
}

impl Spool {
    /// Less would not hold a few requests.
    pub(crate) const LEAST_BYTES: u64 = 16 << 20;
}

impl Default for Spool {
    fn default() -> Self {
        Self { dir: None, max_bytes: 512 << 20 }
    }
}
