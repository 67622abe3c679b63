//! `/metrics` for Prometheus, `/healthz` and `/readyz`, over HTTP/1.

mod exposition;

use std::{
    convert::Infallible,
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use http::{HeaderValue, Method, Request, Response, StatusCode, header};
use http_body_util::Full;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    net::TcpListener,
    runtime::Handle,
    sync::Semaphore,
    task::{AbortHandle, JoinSet},
};

pub(in crate::export) use exposition::page;

use super::{MetricSource, collect};

/// Connections at once; more wait in the listener's backlog.
const MAX_CONNECTIONS: usize = 16;
/// How long a client may take for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(10);
/// How long one connection may last. A scraper connects again; one that stalls gives its place back.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(300);
/// Most bytes of a request's head.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// The running server.
pub(super) struct Server {
    addr: SocketAddr,
    task: AbortHandle,
}

impl Server {
    /// Starts it; an address that cannot be bound is a warning, and the agent goes on without.
    pub(super) fn start(
        listen: SocketAddr,
        runtime: &Handle,
        sources: Vec<Arc<dyn MetricSource>>,
        ready: Arc<AtomicBool>,
    ) -> Option<Self> {
        let _entered = runtime.enter();
        let bound = std::net::TcpListener::bind(listen)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .and_then(TcpListener::from_std)
            .and_then(|listener| Ok((listener.local_addr()?, listener)));
        match bound {
            Ok((addr, listener)) => {
                let pages = Arc::new(Pages { sources, ready });
                Some(Self { addr, task: runtime.spawn(serve(listener, pages)).abort_handle() })
            }
            Err(error) => {
                tracing::warn!(%listen, %error, "no /metrics: cannot listen; choose another address or `off` with --listen");
                None
            }
        }
    }

    pub(super) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(super) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn serve(listener: TcpListener, pages: Arc<Pages>) {
    let slots = Arc::new(Semaphore::new(MAX_CONNECTIONS));
    let mut connections = JoinSet::new();
    while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
        while connections.try_join_next().is_some() {}
        let stream = match listener.accept().await {
            Ok((stream, _)) => stream,
            // Out of descriptors, or the client is gone already: the next may fare better, but not at once.
            Err(_) => {
                tokio::time::sleep(Duration::from_millis(100)).await;
                continue;
            }
        };
        let pages = Arc::clone(&pages);
        connections.spawn(async move {
            let _slot = slot;
            let service = service_fn(move |request| {
                let pages = Arc::clone(&pages);
                async move { Ok::<_, Infallible>(pages.answer(&request)) }
            });
            let connection = http1::Builder::new()
                .timer(TokioTimer::new())
                .header_read_timeout(HEAD_TIMEOUT)
                .max_buf_size(MAX_HEAD_BYTES)
                .serve_connection(TokioIo::new(stream), service);
            // What a client does wrong is its own affair.
            let _ended_well = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await.is_ok_and(|end| end.is_ok());
        });
    }
}

struct Pages {
    sources: Vec<Arc<dyn MetricSource>>,
    ready: Arc<AtomicBool>,
}

impl Pages {
    fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/metrics" => {
                let (_, metrics) = collect(&self.sources);
                let mut response = text(StatusCode::OK, page(&metrics));
                let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                response
            }
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" if self.ready.load(Ordering::Relaxed) => text(StatusCode::OK, "ready\n"),
            "/readyz" => text(StatusCode::SERVICE_UNAVAILABLE, "not ready\n"),
            _ => text(StatusCode::NOT_FOUND, "there are /metrics, /healthz and /readyz\n"),
        }
    }
}

fn text(status: StatusCode, body: impl Into<Bytes>) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(body.into()));
    *response.status_mut() = status;
    response.headers_mut().insert(header::CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response
}
