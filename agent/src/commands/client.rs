//! Asks an agent over HTTP.

use std::{path::Path, sync::Arc, time::Duration};

use bytes::Bytes;
use http::{HeaderValue, Request, StatusCode, header};
use http_body_util::{BodyExt as _, Empty, Limited};
use hyper_rustls::{ConfigBuilderExt as _, HttpsConnector, HttpsConnectorBuilder};
use hyper_util::{
    client::legacy::{Client as HyperClient, connect::HttpConnector},
    rt::TokioExecutor,
};
use rustls::{ClientConfig, RootCertStore, pki_types::CertificateDer, pki_types::pem::PemObject};
use serde::de::DeserializeOwned;

use crate::{api::answers::Problem, cli::Exit, trust};

/// Most bytes of an answer.
const ANSWER_MAX: usize = 64 << 20;
/// How long one may take.
const WITHIN: Duration = Duration::from_secs(30);
/// How long an address may take to be connected to.
const CONNECT_WITHIN: Duration = Duration::from_secs(5);

/// Asks one agent.
#[derive(Clone)]
pub(crate) struct Client {
    http: HyperClient<HttpsConnector<HttpConnector>, Empty<Bytes>>,
    url: Arc<str>,
    token: Option<HeaderValue>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub(crate) enum NoAnswer {
    #[error("no agent answers at {url}: {reason}")]
    NotThere { url: Arc<str>, reason: String },
    #[error("what answers at {url} is no beyla-rs, or an older one: it knows nothing of {path}")]
    NotOurs { url: Arc<str>, path: String },
    #[error("the agent at {url} says: {reason}{}", if *.status == StatusCode::UNAUTHORIZED { " (here: OTEL_EBPF_API_TOKEN, or api.token_file)" } else { "" })]
    Refused { url: Arc<str>, status: StatusCode, reason: String },
    #[error("the connection to {url} cannot be made: {reason}")]
    NoClient { url: Arc<str>, reason: String },
}

impl NoAnswer {
    /// What a command exits with that got it.
    pub(crate) fn exit(&self) -> Exit {
        match self {
            Self::Refused { status, .. } if *status == StatusCode::BAD_REQUEST => Exit::Usage,
            Self::Refused { status, .. } if *status == StatusCode::NOT_FOUND => Exit::NothingSeen,
            Self::Refused { status: StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN, .. } => Exit::NotPermitted,
            // Whoever asked whether a service works is not told that it does not.
            _ => Exit::NothingSeen,
        }
    }

    /// Whether nobody is there.
    pub(crate) const fn is_nobody(&self) -> bool {
        matches!(self, Self::NotThere { .. })
    }
}

impl Client {
    /// `certificate`: one that is trusted besides those of the system.
    ///
    /// # Errors
    /// Certificates or a token that cannot be used.
    pub(crate) fn new(url: &str, token: Option<&str>, certificate: Option<&Path>) -> Result<Self, NoAnswer> {
        let own: Arc<str> = url.into();
        let fail = |reason: String| NoAnswer::NoClient { url: Arc::clone(&own), reason };
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let builder = ClientConfig::builder_with_provider(Arc::clone(&provider)).with_safe_default_protocol_versions();
        let builder = builder.map_err(|error| fail(error.to_string()))?;
        let tls = match certificate {
            Some(path) => {
                let of_file = |error: &dyn std::fmt::Display| fail(format!("{}: {error}", path.display()));
                let found = CertificateDer::pem_file_iter(path).and_then(Iterator::collect::<Result<Vec<_>, _>>);
                let trusted = trust::by(found.map_err(|error| of_file(&error))?, provider);
                let trusted = trusted.map_err(|error| of_file(&error))?;
                builder.dangerous().with_custom_certificate_verifier(trusted)
            }
            // Reading all authorities takes milliseconds.
            None if !url.starts_with("https:") => builder.with_root_certificates(RootCertStore::empty()),
            None => builder.with_native_roots().map_err(|error| fail(error.to_string()))?,
        };
        let mut tcp = HttpConnector::new();
        tcp.enforce_http(false);
        tcp.set_nodelay(true);
        tcp.set_connect_timeout(Some(CONNECT_WITHIN));
        let connector = HttpsConnectorBuilder::new()
            .with_tls_config(tls.with_no_client_auth())
            .https_or_http()
            .enable_http1()
            .wrap_connector(tcp);
        let header = |token: &str| {
            let mut value = HeaderValue::from_str(&format!("Bearer {token}"))
                .map_err(|_| fail("the token is no text that a header can carry".to_owned()))?;
            value.set_sensitive(true);
            Ok(value)
        };
        let token = token.map(header).transpose()?;
        Ok(Self { http: HyperClient::builder(TokioExecutor::new()).build(connector), url: own, token })
    }

    /// Who is asked.
    pub(crate) fn url(&self) -> &str {
        &self.url
    }

    /// Asks, and reads the answer.
    ///
    /// # Errors
    /// Why there is none.
    pub(crate) async fn get<T: DeserializeOwned>(&self, path: &str) -> Result<T, NoAnswer> {
        let not_there = |reason: String| NoAnswer::NotThere { url: Arc::clone(&self.url), reason };
        let mut request = Request::get(format!("{}{path}", self.url));
        if let Some(token) = &self.token {
            request = request.header(header::AUTHORIZATION, token);
        }
        let request = request.body(Empty::new()).map_err(|error| not_there(error.to_string()))?;
        let call = async {
            let response = self.http.request(request).await.map_err(|error| not_there(with_causes(&error)))?;
            let status = response.status();
            let body = Limited::new(response.into_body(), ANSWER_MAX).collect().await;
            Ok((status, body.map_err(|error| not_there(error.to_string()))?.to_bytes()))
        };
        let answered = tokio::time::timeout(WITHIN, call).await;
        let (status, body) = answered.unwrap_or_else(|_| Err(not_there("it takes too long".to_owned())))?;
        if !status.is_success() {
            return Err(match serde_json::from_slice::<Problem>(&body) {
                Ok(Problem { error }) => NoAnswer::Refused { url: Arc::clone(&self.url), status, reason: error },
                Err(_) => self.not_ours(path),
            });
        }
        serde_json::from_slice(&body).map_err(|_| self.not_ours(path))
    }

    fn not_ours(&self, path: &str) -> NoAnswer {
        let path = path.split('?').next().unwrap_or_default().to_owned();
        NoAnswer::NotOurs { url: Arc::clone(&self.url), path }
    }
}

fn with_causes(error: &dyn std::error::Error) -> String {
    // The last says what happened; those before, in which library.
    let mut last = error;
    while let Some(cause) = last.source() {
        last = cause;
    }
    last.to_string()
}

/// A path with parameters; those without a value are left out.
pub(super) fn path(path: &str, parameters: &[(&str, Option<String>)]) -> String {
    let mut query = form_urlencoded::Serializer::new(String::new());
    for (key, value) in parameters {
        if let Some(value) = value {
            query.append_pair(key, value);
        }
    }
    let query = query.finish();
    if query.is_empty() { path.to_owned() } else { format!("{path}?{query}") }
}
