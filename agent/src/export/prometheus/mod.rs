//! `/metrics` for Prometheus, `/healthz` and `/readyz`, over HTTP/1. Whoever connects can hold up nobody else: a connection
//! is good for one request and a short time, and where there are too many, those go first that have asked for nothing.

mod exposition;
mod pages;

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
    net::{TcpListener, TcpStream},
    runtime::Handle,
    task::{AbortHandle, JoinHandle},
};

pub(in crate::export) use exposition::page;

use self::pages::MetricsPage;
use super::{MetricSource, Readiness};

/// Connections at once. Beyond, one that has not asked for anything yet is closed for each that comes, the oldest first.
const MAX_CONNECTIONS: usize = 64;
/// How long a client may take for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one connection may last, whatever its client does.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(20);
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
        readiness: Arc<Readiness>,
    ) -> Option<Self> {
        let _entered = runtime.enter();
        let bound = std::net::TcpListener::bind(listen)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .and_then(TcpListener::from_std)
            .and_then(|listener| Ok((listener.local_addr()?, listener)));
        match bound {
            Ok((addr, listener)) => {
                let pages = Arc::new(Pages { metrics: MetricsPage::new(sources), readiness });
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
    let mut connections = Connections::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => connections.add(stream, &pages),
            // Out of descriptors, or the client is gone already: the next may fare better, but not at once.
            Err(_) => tokio::time::sleep(Duration::from_millis(100)).await,
        }
    }
}

/// Those that are open, in their order.
#[derive(Default)]
struct Connections(Vec<Open>);

struct Open {
    task: JoinHandle<()>,
    has_asked: Arc<AtomicBool>,
}

impl Connections {
    fn add(&mut self, stream: TcpStream, pages: &Arc<Pages>) {
        self.0.retain(|open| !open.task.is_finished());
        if self.0.len() >= MAX_CONNECTIONS {
            let idle = self.0.iter().position(|open| !open.has_asked.load(Ordering::Relaxed));
            self.0.remove(idle.unwrap_or(0)).task.abort();
        }
        let has_asked = Arc::new(AtomicBool::new(false));
        let task = tokio::spawn(answer(stream, Arc::clone(pages), Arc::clone(&has_asked)));
        self.0.push(Open { task, has_asked });
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.0.iter().for_each(|open| open.task.abort());
    }
}

async fn answer(stream: TcpStream, pages: Arc<Pages>, has_asked: Arc<AtomicBool>) {
    let service = service_fn(move |request| {
        has_asked.store(true, Ordering::Relaxed);
        let pages = Arc::clone(&pages);
        async move { Ok::<_, Infallible>(pages.answer(&request).await) }
    });
    let connection = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .keep_alive(false)
        .max_buf_size(MAX_HEAD_BYTES)
        .serve_connection(TokioIo::new(stream), service);
    // What a client does wrong is its own affair.
    let _ended_well = tokio::time::timeout(CONNECTION_TIMEOUT, connection).await.is_ok_and(|end| end.is_ok());
}

struct Pages {
    metrics: MetricsPage,
    readiness: Arc<Readiness>,
}

impl Pages {
    async fn answer(&self, request: &Request<Incoming>) -> Response<Full<Bytes>> {
        if !matches!(*request.method(), Method::GET | Method::HEAD) {
            let mut response = text(StatusCode::METHOD_NOT_ALLOWED, "only GET\n");
            response.headers_mut().insert(header::ALLOW, HeaderValue::from_static("GET, HEAD"));
            return response;
        }
        match request.uri().path() {
            "/metrics" => {
                let Some(page) = self.metrics.current().await else {
                    return text(StatusCode::SERVICE_UNAVAILABLE, "the metrics could not be collected\n");
                };
                let mut response = text(StatusCode::OK, page);
                let kind = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
                response.headers_mut().insert(header::CONTENT_TYPE, kind);
                response
            }
            "/healthz" => text(StatusCode::OK, "ok\n"),
            "/readyz" => match self.readiness.objection() {
                None => text(StatusCode::OK, "ready\n"),
                Some(objection) => text(StatusCode::SERVICE_UNAVAILABLE, objection),
            },
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

#[cfg(test)]
mod tests;
