//! The agent's own HTTP server. What it answers with is its routers' affair; that nobody who connects can hold up others is
//! its own: a connection is good for one request and a short time, and where there are too many, those go first that have
//! asked for nothing.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::Router;
use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use rustls::ServerConfig;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::{TcpListener, TcpStream},
    runtime::Handle,
    sync::watch,
    task::{AbortHandle, JoinHandle},
};
use tokio_rustls::TlsAcceptor;
use tower_service::Service as _;

/// Connections at once. Beyond, one that has not asked for anything yet is closed for each that comes, the oldest first.
const MAX_CONNECTIONS: usize = 160;
/// How long a client may take for the head of a request.
const HEAD_TIMEOUT: Duration = Duration::from_secs(5);
/// How long one connection may last, whatever its client does.
const CONNECTION_TIMEOUT: Duration = Duration::from_secs(20);
/// Most bytes of a request's head.
const MAX_HEAD_BYTES: usize = 16 << 10;

/// What connections are answered over: the latest.
pub(crate) type Tls = watch::Receiver<Arc<ServerConfig>>;

/// The running server.
pub(crate) struct Server {
    addr: SocketAddr,
    task: AbortHandle,
}

impl Server {
    /// Starts it; an address that cannot be bound is a warning, and the agent goes on without.
    pub(crate) fn start(listen: SocketAddr, runtime: &Handle, routes: Router, tls: Option<Tls>) -> Option<Self> {
        let _entered = runtime.enter();
        let bound = std::net::TcpListener::bind(listen)
            .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
            .and_then(TcpListener::from_std)
            .and_then(|listener| Ok((listener.local_addr()?, listener)));
        match bound {
            Ok((addr, listener)) => {
                Some(Self { addr, task: runtime.spawn(serve(listener, routes, tls)).abort_handle() })
            }
            Err(error) => {
                tracing::warn!(%listen, %error, "no /metrics: cannot listen; choose another address or `off` with --listen");
                None
            }
        }
    }

    pub(crate) fn addr(&self) -> SocketAddr {
        self.addr
    }

    pub(crate) fn stop(&self) {
        self.task.abort();
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

async fn serve(listener: TcpListener, routes: Router, tls: Option<Tls>) {
    let mut connections = Connections::default();
    loop {
        match listener.accept().await {
            Ok((stream, _)) => {
                let tls = tls.as_ref().map(|tls| TlsAcceptor::from(Arc::clone(&tls.borrow())));
                connections.add(stream, &routes, tls);
            }
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
    fn add(&mut self, stream: TcpStream, routes: &Router, tls: Option<TlsAcceptor>) {
        self.0.retain(|open| !open.task.is_finished());
        if self.0.len() >= MAX_CONNECTIONS {
            let idle = self.0.iter().position(|open| !open.has_asked.load(Ordering::Relaxed));
            self.0.remove(idle.unwrap_or(0)).task.abort();
        }
        let has_asked = Arc::new(AtomicBool::new(false));
        let (routes, asked) = (routes.clone(), Arc::clone(&has_asked));
        let task = tokio::spawn(greet(stream, routes, asked, tls));
        self.0.push(Open { task, has_asked });
    }
}

impl Drop for Connections {
    fn drop(&mut self) {
        self.0.iter().for_each(|open| open.task.abort());
    }
}

/// Shakes hands, where there is TLS.
async fn greet(stream: TcpStream, routes: Router, has_asked: Arc<AtomicBool>, tls: Option<TlsAcceptor>) {
    match tls {
        None => answer(stream, routes, has_asked).await,
        Some(tls) => {
            // Who speaks in the clear, or does not trust the certificate, is gone.
            if let Ok(Ok(stream)) = tokio::time::timeout(HEAD_TIMEOUT, tls.accept(stream)).await {
                answer(stream, routes, has_asked).await;
            }
        }
    }
}

async fn answer(stream: impl AsyncRead + AsyncWrite + Unpin, routes: Router, has_asked: Arc<AtomicBool>) {
    let service = service_fn(move |request| {
        has_asked.store(true, Ordering::Relaxed);
        // A router is ready at any time.
        routes.clone().call(request)
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

#[cfg(test)]
mod tests {
    use axum::routing::get;
    use rustls::pki_types::PrivateKeyDer;
    use tokio::{
        io::{AsyncReadExt as _, AsyncWriteExt as _},
        runtime::Runtime,
    };

    use super::*;

    #[test]
    fn silent_clients_hold_nobody_up_however_many_they_are() {
        let runtime = Runtime::new().unwrap();
        let listen = "127.0.0.1:0".parse().unwrap();
        let server = Server::start(listen, runtime.handle(), Router::new().route("/", get("here")), None).unwrap();
        runtime.block_on(async {
            let mut silent = Vec::new();
            for _ in 0..3 * MAX_CONNECTIONS {
                silent.push(TcpStream::connect(server.addr()).await.unwrap());
            }
            let mut client = TcpStream::connect(server.addr()).await.unwrap();
            client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
            // The first to come was the first to go.
            assert_eq!(silent[0].read(&mut [0]).await.unwrap_or(0), 0);
        });
    }

    #[test]
    fn with_a_certificate_only_those_are_answered_who_speak_tls() {
        let own = rcgen::generate_simple_self_signed(["localhost".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(own.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let config = ServerConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![own.cert.der().clone()], key)
            .unwrap();
        let runtime = Runtime::new().unwrap();
        let routes = Router::new().route("/", get("here"));
        let server = Server::start(
            "127.0.0.1:0".parse().unwrap(),
            runtime.handle(),
            routes,
            Some(watch::channel(Arc::new(config)).1),
        )
        .unwrap();
        let mut roots = rustls::RootCertStore::empty();
        roots.add(own.cert.der().clone()).unwrap();
        let client = rustls::ClientConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_root_certificates(roots)
            .with_no_client_auth();
        runtime.block_on(async {
            let stream = TcpStream::connect(server.addr()).await.unwrap();
            let name = "localhost".try_into().unwrap();
            let mut stream = tokio_rustls::TlsConnector::from(Arc::new(client)).connect(name, stream).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
            let mut answer = Vec::new();
            // The connection is closed without a word of farewell.
            let _ = stream.read_to_end(&mut answer).await;
            assert!(answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"here"));
            let mut clear = TcpStream::connect(server.addr()).await.unwrap();
            clear.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
            let mut answer = Vec::new();
            let _ = clear.read_to_end(&mut answer).await;
            assert!(!answer.starts_with(b"HTTP/"), "{answer:?}");
        });
    }
}
