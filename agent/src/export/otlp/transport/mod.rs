//! One request to an OTLP receiver and what it answered, over gRPC or HTTP.

mod grpc;
mod http;
mod tls;

pub(crate) use tls::server_config;

use std::{error::Error, time::Duration};

use bytes::Bytes;

use crate::{
    config::Signal,
    export::config::{OtlpConfig, Protocol},
};

/// The receiver took the request.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Accepted {
    /// Spans or points it rejected (partial success).
    pub(crate) rejected: u64,
    /// What it had to say.
    pub(crate) message: String,
}

/// The request was not taken, or it is not known whether it was.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    /// It may be sent again.
    Retry {
        /// The receiver asked to wait this long.
        after: Option<Duration>,
        /// Whether the request itself may be the cause.
        blame: Blame,
        /// What happened.
        error: String,
    },
    /// It must not be sent again.
    Permanent {
        /// What happened.
        error: String,
    },
}

/// What a failure that may be retried is due to: a request must not be tried for ever if it is the cause.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Blame {
    /// The receiver is not there, or has too much to do.
    Receiver,
    /// There was no answer in time, which may be due to either.
    Unknown,
    /// The receiver is there and answered that it failed at this.
    Request,
}

impl Failure {
    fn retry(error: impl Into<String>) -> Self {
        Self::Retry { after: None, blame: Blame::Receiver, error: error.into() }
    }

    fn permanent(error: impl Into<String>) -> Self {
        Self::Permanent { error: error.into() }
    }

    fn timed_out(timeout: Duration) -> Self {
        Self::Retry { after: None, blame: Blame::Unknown, error: format!("no answer within {timeout:?}") }
    }
}

/// A client that cannot be set up.
#[derive(Debug, thiserror::Error)]
pub enum TransportError {
    /// A certificate or key file.
    #[error("cannot use the {what} file {path}: {reason}")]
    TlsFile {
        /// Which of the files.
        what: &'static str,
        /// Its path.
        path: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The system's certificate authorities.
    #[error("found no certificate authorities on this system; name a file in OTEL_EXPORTER_OTLP_CERTIFICATE")]
    NoRoots,
    /// The TLS library refuses the certificates.
    #[error("cannot set up TLS")]
    Tls(#[source] rustls::Error),
}

/// A client of one receiver. Connects when first used and again when need be.
pub(crate) enum Transport {
    Grpc(grpc::Client),
    Http(Box<http::Client>),
}

impl Transport {
    /// # Errors
    /// Certificate files that cannot be used.
    pub(crate) fn new(signal: Signal, config: &OtlpConfig) -> Result<Self, TransportError> {
        Ok(match config.protocol {
            Protocol::Grpc => Self::Grpc(grpc::Client::new(signal, config)?),
            Protocol::HttpProtobuf => Self::Http(Box::new(http::Client::new(signal, config, http::Form::Protobuf)?)),
            Protocol::HttpJson => Self::Http(Box::new(http::Client::new(signal, config, http::Form::Json)?)),
        })
    }

    /// Sends one encoded request, once.
    pub(crate) async fn send(&self, message: Bytes) -> Result<Accepted, Failure> {
        match self {
            Self::Grpc(client) => client.send(message).await,
            Self::Http(client) => client.send(message).await,
        }
    }
}

const USER_AGENT: &str = concat!("beyla-rs/", env!("CARGO_PKG_VERSION"));

/// An error with its causes, in one line, each said once.
fn with_causes(error: &dyn Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let more = error.to_string();
        if !text.contains(&more) {
            text.push_str(": ");
            text.push_str(&more);
        }
        cause = error.source();
    }
    text
}
