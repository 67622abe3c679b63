//! The network side: both protocols on every port, told apart by content type, so that a client that speaks the wrong one
//! is seen to.

use std::{convert::Infallible, future::Future, io::Read, net::SocketAddr, sync::Arc, time::Instant};

use flate2::read::GzDecoder;
use http::{HeaderMap, Request, Response, StatusCode, header};
use http_body_util::BodyExt;
use hyper::{body::Incoming, service::service_fn};
use hyper_util::{
    rt::{TokioExecutor, TokioIo},
    server::conn::auto,
};
use opentelemetry_proto::tonic::collector::{
    metrics::v1::{
        ExportMetricsPartialSuccess, ExportMetricsServiceRequest, ExportMetricsServiceResponse,
        metrics_service_server::{MetricsService, MetricsServiceServer},
    },
    trace::v1::{
        ExportTracePartialSuccess, ExportTraceServiceRequest, ExportTraceServiceResponse,
        trace_service_server::{TraceService, TraceServiceServer},
    },
};
use prost::Message;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpListener,
};
use tokio_rustls::TlsAcceptor;
use tonic::{Code, Status, body::Body, codec::CompressionEncoding};
use tonic_types::{ErrorDetails, StatusExt};
use tower_service::Service;

use super::{Failure, ReceivedRequest, Shared, State, telemetry};

/// What a receiver needs for TLS.
#[derive(Clone)]
pub struct Tls(pub Arc<rustls::ServerConfig>);

/// Starts to listen; the port that was chosen.
pub(crate) async fn listen(addr: SocketAddr, tls: Option<Tls>, shared: Arc<Shared>) -> std::io::Result<u16> {
    let listener = TcpListener::bind(addr).await?;
    let port = listener.local_addr()?.port();
    let acceptor = tls.map(|tls| TlsAcceptor::from(tls.0));
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let (shared, acceptor) = (Arc::clone(&shared), acceptor.clone());
            tokio::spawn(async move {
                match acceptor {
                    None => serve(stream, shared).await,
                    // A handshake that fails is the client's to report.
                    Some(acceptor) => {
                        if let Ok(stream) = acceptor.accept(stream).await {
                            serve(stream, shared).await;
                        }
                    }
                }
            });
        }
    });
    Ok(port)
}

async fn serve(stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static, shared: Arc<Shared>) {
    let service = service_fn(move |request| answer(request, Arc::clone(&shared)));
    let builder = auto::Builder::new(TokioExecutor::new());
    // How a connection ends is not what tests are about.
    let _end = builder.serve_connection(TokioIo::new(stream), service).await;
}

async fn answer(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Body>, Infallible> {
    let kind = request.headers().get(header::CONTENT_TYPE).cloned();
    let kind = kind.as_ref().and_then(|kind| kind.to_str().ok()).unwrap_or_default();
    if kind.starts_with("application/grpc") {
        return grpc(request, shared).await;
    }
    let form = match kind {
        "application/x-protobuf" => Form::Protobuf,
        "application/json" => Form::Json,
        _ => return Ok(plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "no OTLP")),
    };
    Ok(http(request, form, shared).await)
}

async fn grpc(request: Request<Incoming>, shared: Arc<Shared>) -> Result<Response<Body>, Infallible> {
    let service = Otlp { shared };
    if request.uri().path().starts_with("/opentelemetry.proto.collector.trace.v1.TraceService/") {
        TraceServiceServer::new(service)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd)
            .call(request)
            .await
    } else if request.uri().path().starts_with("/opentelemetry.proto.collector.metrics.v1.MetricsService/") {
        MetricsServiceServer::new(service)
            .accept_compressed(CompressionEncoding::Gzip)
            .accept_compressed(CompressionEncoding::Zstd)
            .call(request)
            .await
    } else {
        Ok(Status::unimplemented("no such service").into_http())
    }
}

/// A request of either signal, and how to answer it.
trait Signal: Message + Default + serde::de::DeserializeOwned {
    type Response: Message + serde::Serialize;
    fn items(&self) -> usize;
    fn resources(&self) -> usize;
    /// Keeps all items but the last `rejected`.
    fn keep(self, rejected: usize, state: &mut State);
    fn response(partial: Option<(usize, String)>) -> Self::Response;
}

impl Signal for ExportTraceServiceRequest {
    type Response = ExportTraceServiceResponse;

    fn items(&self) -> usize {
        self.resource_spans.iter().flat_map(|group| &group.scope_spans).map(|scope| scope.spans.len()).sum()
    }

    fn resources(&self) -> usize {
        self.resource_spans.len()
    }

    fn keep(self, rejected: usize, state: &mut State) {
        let (mut spans, violations) = telemetry::spans(self);
        spans.truncate(spans.len().saturating_sub(rejected));
        state.spans.extend(spans);
        state.violations.extend(violations);
    }

    fn response(partial: Option<(usize, String)>) -> Self::Response {
        let partial_success = partial.map(|(rejected, error_message)| ExportTracePartialSuccess {
            rejected_spans: rejected as i64,
            error_message,
        });
        ExportTraceServiceResponse { partial_success }
    }
}

impl Signal for ExportMetricsServiceRequest {
    type Response = ExportMetricsServiceResponse;

    fn items(&self) -> usize {
        telemetry::metrics(self.clone()).0.iter().map(|metric| metric.points.len()).sum()
    }

    fn resources(&self) -> usize {
        self.resource_metrics.len()
    }

    fn keep(self, mut rejected: usize, state: &mut State) {
        let (mut metrics, violations) = telemetry::metrics(self);
        for metric in metrics.iter_mut().rev() {
            let drop = rejected.min(metric.points.len());
            metric.points.truncate(metric.points.len() - drop);
            rejected -= drop;
        }
        state.metrics.extend(metrics);
        state.violations.extend(violations);
    }

    fn response(partial: Option<(usize, String)>) -> Self::Response {
        let partial_success = partial.map(|(rejected, error_message)| ExportMetricsPartialSuccess {
            rejected_data_points: rejected as i64,
            error_message,
        });
        ExportMetricsServiceResponse { partial_success }
    }
}

/// Notes the request, keeps what it holds or not, and says how to answer.
async fn receive<S: Signal>(
    message: S,
    path: String,
    protocol: &'static str,
    headers: &HeaderMap,
    shared: &Shared,
) -> Result<S::Response, Failure> {
    let header = |name| headers.get(name).and_then(|value| value.to_str().ok());
    let mut request = ReceivedRequest {
        at: Instant::now(),
        path,
        protocol,
        compression: header("content-encoding").or(header("grpc-encoding")).map(str::to_owned),
        headers: headers
            .iter()
            .map(|(name, value)| (name.to_string(), String::from_utf8_lossy(value.as_bytes()).into_owned()))
            .collect(),
        items: message.items(),
        resources: message.resources(),
        taken: false,
    };
    // The answer is chosen first, so that a test that has seen the request knows which it gets; and it is noted before the
    // answer is given, so that a test can wait for a request that hangs.
    let recovered = shared.answers.recovered();
    let answer = shared.answers.next();
    let index = {
        let mut index = 0;
        shared.change(|state| {
            index = state.requests.len();
            state.requests.push(request.clone());
        });
        index
    };
    let partial = match answer {
        None => None,
        Some(Failure::Hang) => {
            recovered.await;
            None
        }
        Some(Failure::Slow { by }) => {
            tokio::time::sleep(by).await;
            None
        }
        Some(Failure::Partial { rejected, message }) => Some((rejected.min(request.items), message)),
        Some(failure) => return Err(failure),
    };
    request.taken = true;
    let rejected = partial.as_ref().map_or(0, |(rejected, _)| *rejected);
    shared.change(|state| {
        message.keep(rejected, state);
        if let Some(noted) = state.requests.get_mut(index) {
            *noted = request;
        }
    });
    Ok(S::response(partial))
}

struct Otlp {
    shared: Arc<Shared>,
}

impl Otlp {
    fn export<S: Signal>(
        &self,
        request: tonic::Request<S>,
        path: &'static str,
    ) -> impl Future<Output = Result<tonic::Response<S::Response>, Status>> {
        let shared = Arc::clone(&self.shared);
        async move {
            let (metadata, _, message) = request.into_parts();
            let answer = receive(message, path.to_owned(), "grpc", &metadata.into_headers(), &shared).await;
            answer.map(tonic::Response::new).map_err(|failure| match failure {
                Failure::Refused { grpc, .. } => Status::new(Code::from_i32(grpc), "refused by the test"),
                Failure::Unavailable { retry_after: Some(after) } => Status::with_error_details(
                    Code::Unavailable,
                    "away by the test",
                    ErrorDetails::with_retry_info(Some(after)),
                ),
                Failure::Throttled { retry_after } => Status::with_error_details(
                    Code::ResourceExhausted,
                    "too much for the test",
                    ErrorDetails::with_retry_info(Some(retry_after)),
                ),
                _ => Status::unavailable("away by the test"),
            })
        }
    }
}

#[tonic::async_trait]
impl TraceService for Otlp {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> Result<tonic::Response<ExportTraceServiceResponse>, Status> {
        Self::export(self, request, "TraceService/Export").await
    }
}

#[tonic::async_trait]
impl MetricsService for Otlp {
    async fn export(
        &self,
        request: tonic::Request<ExportMetricsServiceRequest>,
    ) -> Result<tonic::Response<ExportMetricsServiceResponse>, Status> {
        Self::export(self, request, "MetricsService/Export").await
    }
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    Protobuf,
    Json,
}

async fn http(request: Request<Incoming>, form: Form, shared: Arc<Shared>) -> Response<Body> {
    let (head, body) = request.into_parts();
    let path = head.uri.path().to_owned();
    let Ok(body) = body.collect().await.map(|body| body.to_bytes().to_vec()) else {
        return plain(StatusCode::BAD_REQUEST, "no body");
    };
    let body = match head.headers.get(header::CONTENT_ENCODING).map(|encoding| encoding.as_bytes()) {
        None => body,
        Some(b"gzip") => {
            let mut plain_body = Vec::new();
            if GzDecoder::new(&body[..]).read_to_end(&mut plain_body).is_err() {
                return plain(StatusCode::BAD_REQUEST, "no gzip");
            }
            plain_body
        }
        Some(b"zstd") => match zstd::decode_all(&body[..]) {
            Ok(body) => body,
            Err(_) => return plain(StatusCode::BAD_REQUEST, "no zstd"),
        },
        Some(_) => return plain(StatusCode::UNSUPPORTED_MEDIA_TYPE, "unknown encoding"),
    };
    if head.method != http::Method::POST {
        plain(StatusCode::METHOD_NOT_ALLOWED, "only POST")
    } else if path.ends_with("/v1/traces") {
        exchange::<ExportTraceServiceRequest>(&body, form, path, &head.headers, &shared).await
    } else if path.ends_with("/v1/metrics") {
        exchange::<ExportMetricsServiceRequest>(&body, form, path, &head.headers, &shared).await
    } else {
        plain(StatusCode::NOT_FOUND, "no such signal")
    }
}

async fn exchange<S: Signal>(
    body: &[u8],
    form: Form,
    path: String,
    headers: &HeaderMap,
    shared: &Shared,
) -> Response<Body> {
    let (message, protocol) = match form {
        Form::Protobuf => (S::decode(body).map_err(|error| error.to_string()), "http/protobuf"),
        Form::Json => (serde_json::from_slice(body).map_err(|error| error.to_string()), "http/json"),
    };
    let message = match message {
        Ok(message) => message,
        Err(error) => {
            shared.change(|state| state.violations.push(format!("{protocol} that cannot be read: {error}")));
            return plain(StatusCode::BAD_REQUEST, "not to be read");
        }
    };
    match receive::<S>(message, path, protocol, headers, shared).await {
        Ok(answer) => {
            let (body, kind) = match form {
                Form::Protobuf => (answer.encode_to_vec(), "application/x-protobuf"),
                Form::Json => (serde_json::to_vec(&answer).unwrap_or_default(), "application/json"),
            };
            respond(StatusCode::OK, body, kind)
        }
        Err(Failure::Refused { http, .. }) => {
            plain(StatusCode::from_u16(http).unwrap_or(StatusCode::BAD_REQUEST), "refused by the test")
        }
        Err(Failure::Throttled { retry_after: after }) => {
            let mut response = plain(StatusCode::TOO_MANY_REQUESTS, "too much for the test");
            response.headers_mut().insert(header::RETRY_AFTER, after.as_secs().into());
            response
        }
        Err(Failure::Unavailable { retry_after: Some(after) }) => {
            let mut response = plain(StatusCode::SERVICE_UNAVAILABLE, "away by the test");
            response.headers_mut().insert(header::RETRY_AFTER, after.as_secs().into());
            response
        }
        Err(_) => plain(StatusCode::SERVICE_UNAVAILABLE, "away by the test"),
    }
}

fn plain(status: StatusCode, text: &str) -> Response<Body> {
    respond(status, text.to_owned().into_bytes(), "text/plain")
}

fn respond(status: StatusCode, body: Vec<u8>, kind: &'static str) -> Response<Body> {
    let mut response = Response::new(Body::new(http_body_util::Full::from(body)));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, http::HeaderValue::from_static(kind));
    response
}
