//! OTLP/HTTP (<https://opentelemetry.io/docs/specs/otlp/#otlphttp>), protobuf and JSON.

use std::{
    io::Write,
    time::{Duration, SystemTime},
};

use bytes::Bytes;
use flate2::{Compression as Level, write::GzEncoder};
use http::{HeaderMap, HeaderValue, Request, Response, StatusCode, Uri, header};
use http_body_util::{BodyExt, Full, Limited};
use hyper::body::Incoming;
use hyper_rustls::HttpsConnector;
use hyper_util::{
    client::legacy::{Client as HyperClient, connect::HttpConnector},
    rt::{TokioExecutor, TokioTimer},
};
use opentelemetry_proto::tonic::collector::{
    metrics::v1::ExportMetricsServiceRequest, trace::v1::ExportTraceServiceRequest,
    trace::v1::ExportTraceServiceResponse,
};
use prost::Message;
use thiserror::Error;

use super::{Accepted, Blame, Failure, TransportError, USER_AGENT, tls, with_causes};
use crate::{
    config::Signal,
    export::config::{Compression, OtlpConfig},
};

/// Most bytes of an answer that are read.
const MAX_ANSWER_BYTES: usize = 64 << 10;
/// Most characters of an answer that are shown.
const MAX_SHOWN_CHARS: usize = 200;

/// The fastest of those that are meant to be used.
const ZSTD_LEVEL: i32 = 1;

/// How bodies are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Form {
    Protobuf,
    Json,
}

pub(crate) struct Client {
    hyper: HyperClient<HttpsConnector<HttpConnector>, Full<Bytes>>,
    signal: Signal,
    form: Form,
    uri: Uri,
    headers: HeaderMap,
    compression: Compression,
    timeout: Duration,
}

impl Client {
    pub(super) fn new(signal: Signal, config: &OtlpConfig, form: Form) -> Result<Self, TransportError> {
        let mut headers: HeaderMap = config.headers.iter().cloned().collect();
        let content_type = match form {
            Form::Protobuf => "application/x-protobuf",
            Form::Json => "application/json",
        };
        headers.insert(header::CONTENT_TYPE, HeaderValue::from_static(content_type));
        headers.entry(header::USER_AGENT).or_insert(HeaderValue::from_static(USER_AGENT));
        let compression = config.compression;
        let encoding = match compression {
            Compression::None => None,
            Compression::Gzip => Some(HeaderValue::from_static("gzip")),
            Compression::Zstd => Some(HeaderValue::from_static("zstd")),
        };
        headers.extend(encoding.map(|encoding| (header::CONTENT_ENCODING, encoding)));
        let hyper = HyperClient::builder(TokioExecutor::new())
            .pool_timer(TokioTimer::new())
            .pool_idle_timeout(Duration::from_secs(90))
            .build(tls::connector(config)?);
        Ok(Self {
            hyper,
            signal,
            form,
            uri: config.endpoint.uri().clone(),
            headers,
            compression,
            timeout: config.timeout,
        })
    }

    pub(super) async fn send(&self, message: Bytes) -> Result<Accepted, Failure> {
        let body = self.body(message).map_err(|error| Failure::permanent(error.to_string()))?;
        let mut request = Request::post(self.uri.clone())
            .body(Full::new(body))
            .map_err(|error| Failure::permanent(with_causes(&error)))?;
        *request.headers_mut() = self.headers.clone();
        let call = async {
            let response = self.hyper.request(request).await.map_err(|error| Failure::retry(with_causes(&error)))?;
            self.answer(response).await
        };
        tokio::time::timeout(self.timeout, call).await.unwrap_or_else(|_| Err(Failure::timed_out(self.timeout)))
    }

    fn body(&self, message: Bytes) -> Result<Bytes, BodyError> {
        let body = match self.form {
            Form::Protobuf => message,
            Form::Json => json(self.signal, message)?.into(),
        };
        Ok(match self.compression {
            Compression::None => body,
            Compression::Gzip => {
                let mut encoder = GzEncoder::new(Vec::with_capacity(body.len() / 8), Level::fast());
                encoder.write_all(&body)?;
                encoder.finish()?.into()
            }
            Compression::Zstd => zstd::bulk::compress(&body, ZSTD_LEVEL)?.into(),
        })
    }

    async fn answer(&self, response: Response<Incoming>) -> Result<Accepted, Failure> {
        let (head, body) = response.into_parts();
        let body = Limited::new(body, MAX_ANSWER_BYTES).collect().await;
        if head.status.is_success() {
            // It was taken; an answer that cannot be read does not change that.
            return Ok(body.map(|body| self.accepted(&body.to_bytes())).unwrap_or_default());
        }
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        let error = format!("HTTP {}{}", head.status, shown(&head.headers, &body));
        let blame = match head.status {
            StatusCode::TOO_MANY_REQUESTS | StatusCode::BAD_GATEWAY | StatusCode::SERVICE_UNAVAILABLE => {
                Blame::Receiver
            }
            StatusCode::GATEWAY_TIMEOUT => Blame::Unknown,
            _ => return Err(Failure::permanent(error)),
        };
        Err(Failure::Retry { after: retry_after(&head.headers, SystemTime::now()), blame, error })
    }

    fn accepted(&self, body: &Bytes) -> Accepted {
        let partial = match self.form {
            Form::Protobuf => ExportTraceServiceResponse::decode(body.clone()).ok().and_then(|answer| {
                let partial = answer.partial_success?;
                Some((partial.rejected_spans, partial.error_message))
            }),
            Form::Json => serde_json::from_slice::<serde_json::Value>(body).ok().and_then(|answer| {
                let partial = answer.get("partialSuccess")?;
                let key = match self.signal {
                    Signal::Traces => "rejectedSpans",
                    Signal::Metrics => "rejectedDataPoints",
                };
                // 64-bit integers are strings in protobuf's JSON; numbers are read too.
                let rejected = partial.get(key).map_or(Some(0), |n| n.as_i64().or_else(|| n.as_str()?.parse().ok()))?;
                let message = partial.get("errorMessage").and_then(|text| text.as_str()).unwrap_or_default();
                Some((rejected, message.to_owned()))
            }),
        };
        partial.map_or_else(Accepted::default, |(rejected, message)| Accepted {
            rejected: u64::try_from(rejected).unwrap_or(0),
            message,
        })
    }
}

/// Why a message is not put into the form in which it is to be sent.
#[derive(Debug, Error)]
enum BodyError {
    #[error(transparent)]
    Protobuf(#[from] prost::DecodeError),
    #[error(transparent)]
    Json(#[from] serde_json::Error),
    #[error(transparent)]
    Compression(#[from] std::io::Error),
}

/// The same request in protobuf's JSON form, with ids in hex as OTLP has them.
fn json(signal: Signal, message: Bytes) -> Result<Vec<u8>, BodyError> {
    fn convert<M: Message + Default + serde::Serialize>(message: Bytes) -> Result<Vec<u8>, BodyError> {
        Ok(serde_json::to_vec(&M::decode(message)?)?)
    }
    match signal {
        Signal::Traces => convert::<ExportTraceServiceRequest>(message),
        Signal::Metrics => convert::<ExportMetricsServiceRequest>(message),
    }
}

/// `Retry-After`: seconds, or a date.
fn retry_after(headers: &HeaderMap, now: SystemTime) -> Option<Duration> {
    let text = headers.get(header::RETRY_AFTER)?.to_str().ok()?.trim();
    if let Ok(seconds) = text.parse() {
        return Some(Duration::from_secs(seconds));
    }
    httpdate::parse_http_date(text).ok().map(|date| date.duration_since(now).unwrap_or_default())
}

/// What the receiver said, in one short line: the message of a `google.rpc.Status`, or text.
fn shown(headers: &HeaderMap, body: &Bytes) -> String {
    let is_protobuf = headers.get(header::CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().ends_with(b"protobuf"));
    let text = if is_protobuf {
        tonic_types::Status::decode(body.clone()).map(|status| status.message).unwrap_or_default()
    } else {
        String::from_utf8_lossy(body).into_owned()
    };
    let line: String =
        text.trim().chars().take(MAX_SHOWN_CHARS).map(|c| if c.is_control() { ' ' } else { c }).collect();
    if line.is_empty() { line } else { format!(": {line}") }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::export::{otlp::encode, testing};

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        let read = |text: &'static str| {
            let headers = HeaderMap::from_iter([(header::RETRY_AFTER, HeaderValue::from_static(text))]);
            // Fri, 21 Nov 2025 10:00:00 GMT
            retry_after(&headers, SystemTime::UNIX_EPOCH + Duration::from_secs(1_763_719_200))
        };
        assert_eq!(read("120"), Some(Duration::from_secs(120)));
        assert_eq!(read("Fri, 21 Nov 2025 10:00:07 GMT"), Some(Duration::from_secs(7)));
        assert_eq!(read("Fri, 21 Nov 2025 09:00:00 GMT"), Some(Duration::ZERO));
        assert_eq!(read("soon"), None);
    }

    #[test]
    fn json_is_the_form_that_otlp_asks_for() {
        let mut span = testing::span(1);
        span.attributes.truncate(2);
        let mut encoded = encode::SpanBuffer::default();
        encoded.push(&span);
        let mut message = Vec::new();
        encode::request([(&span.resource, span.pid, encoded.as_slice())].into_iter(), &mut message);
        let json: serde_json::Value = serde_json::from_slice(&json(Signal::Traces, message.into()).unwrap()).unwrap();
        let group = &json["resourceSpans"][0];
        assert_eq!(group["resource"]["attributes"][3]["value"]["intValue"], "4711");
        assert_eq!(group["scopeSpans"][0]["scope"]["name"], "beyla-rs");
        let sent = &group["scopeSpans"][0]["spans"][0];
        assert_eq!(sent["traceId"], "4b4b4b4b4b4b4b4b0000000000000001");
        assert_eq!(sent["parentSpanId"], "0707070707070707");
        assert_eq!(sent["kind"], 2);
        assert_eq!(sent["startTimeUnixNano"], "1763720401234567890");
        assert_eq!(sent["attributes"][0]["value"]["stringValue"], "GET");
        assert_eq!(sent["attributes"][1]["value"]["intValue"], "200");
    }

    #[test]
    fn an_answer_is_shown_in_one_short_line() {
        let headers = HeaderMap::new();
        assert_eq!(shown(&headers, &Bytes::from_static(b" no\x1b[31m such\ntenant ")), ": no [31m such tenant");
        assert_eq!(shown(&headers, &Bytes::from("x".repeat(1000))).len(), 202);
        assert_eq!(shown(&headers, &Bytes::new()), "");
    }
}
