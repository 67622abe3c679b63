//! The agent's own HTTP server. What it answers with is its routers' affair; that nobody who connects can hold up others is
//! its own: a connection is good for one request and a short time, and where there are too many, those go first that have
//! asked for nothing.

mod unix;

use std::{
    io,
    net::SocketAddr,
    path::{Path, PathBuf},
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
    net::{TcpListener, TcpStream, UnixListener, UnixStream},
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
    addr: Option<SocketAddr>,
    /// Of a Unix socket, to be removed.
    path: Option<PathBuf>,
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
                let task = runtime.spawn(serve(listener, routes, tls)).abort_handle();
                Some(Self { addr: Some(addr), path: None, task })
            }
            Err(error) => {
                tracing::warn!(%listen, %error, "no /metrics: cannot listen; choose another address or `off` with --listen");
                None
            }
        }
    }

    /// The same at a Unix socket, which is named by its path, or by `@` and the name of an abstract one.
    pub(crate) fn start_unix(path: &Path, runtime: &Handle, routes: Router) -> Option<Self> {
        let _entered = runtime.enter();
        match unix::bind(path).and_then(UnixListener::from_std) {
            Ok(listener) => {
                let task = runtime.spawn(serve(listener, routes, None)).abort_handle();
                let path = unix::abstract_name(path).is_none().then(|| path.to_owned());
                Some(Self { addr: None, path, task })
            }
            Err(error) => {
                tracing::warn!(socket = %path.display(), %error, "cannot listen at the Unix socket");
                None
            }
        }
    }

    /// `None`: of a Unix socket.
    pub(crate) fn addr(&self) -> Option<SocketAddr> {
        self.addr
    }

    pub(crate) fn stop(&self) {
        self.task.abort();
        if let Some(path) = &self.path {
            // Who removed it before was sooner.
            let _is_gone = std::fs::remove_file(path).is_ok();
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop();
    }
}

/// What takes connections.
trait Accept: Send + Sync + 'static {
    type Stream: AsyncRead + AsyncWrite + Unpin + Send + 'static;

    fn next(&self) -> impl Future<Output = io::Result<Self::Stream>> + Send;
}

impl Accept for TcpListener {
    type Stream = TcpStream;

    async fn next(&self) -> io::Result<TcpStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

impl Accept for UnixListener {
    type Stream = UnixStream;

    async fn next(&self) -> io::Result<UnixStream> {
        self.accept().await.map(|(stream, _)| stream)
    }
}

async fn serve(listener: impl Accept, routes: Router, tls: Option<Tls>) {
    let mut connections = Connections::default();
    loop {
        match listener.next().await {
            Ok(stream) => {
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
    fn add<S>(&mut self, stream: S, routes: &Router, tls: Option<TlsAcceptor>)
    where
        S: AsyncRead + AsyncWrite + Unpin + Send + 'static,
    {
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
async fn greet(
    stream: impl AsyncRead + AsyncWrite + Unpin,
    routes: Router,
    has_asked: Arc<AtomicBool>,
    tls: Option<TlsAcceptor>,
) {
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
                silent.push(TcpStream::connect(server.addr().unwrap()).await.unwrap());
            }
            let mut client = TcpStream::connect(server.addr().unwrap()).await.unwrap();
            client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
            let mut answer = String::new();
            client.read_to_string(&mut answer).await.unwrap();
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
            // The first to come was the first to go.
            assert_eq!(silent[0].read(&mut [0]).await.unwrap_or(0), 0);
        });
    }

    #[test]
    fn a_unix_socket_is_served_and_one_that_is_left_over_is_taken() {
        let runtime = Runtime::new().unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("health.sock");
        // Of an agent that was killed.
        drop(std::os::unix::net::UnixListener::bind(&path).unwrap());
        let named = format!("@beyla-rs-test-{}", std::process::id());
        let routes = Router::new().route("/", get("here"));
        for socket in [path.as_path(), Path::new(&named)] {
            let server = Server::start_unix(socket, runtime.handle(), routes.clone()).unwrap();
            assert!(Server::start_unix(socket, runtime.handle(), routes.clone()).is_none(), "it is another's");
            let answer = runtime.block_on(async {
                let address = unix::address(socket).unwrap();
                let client = std::os::unix::net::UnixStream::connect_addr(&address).unwrap();
                client.set_nonblocking(true).unwrap();
                let mut client = UnixStream::from_std(client).unwrap();
                client.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
                let mut answer = String::new();
                client.read_to_string(&mut answer).await.unwrap();
                answer
            });
            assert!(answer.starts_with("HTTP/1.1 200") && answer.ends_with("here"), "{answer}");
            drop(server);
        }
        assert!(!path.exists());
        std::fs::write(&path, "a file of somebody's").unwrap();
        assert!(Server::start_unix(&path, runtime.handle(), routes).is_none());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), "a file of somebody's");
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
            let stream = TcpStream::connect(server.addr().unwrap()).await.unwrap();
            let name = "localhost".try_into().unwrap();
            let mut stream = tokio_rustls::TlsConnector::from(Arc::new(client)).connect(name, stream).await.unwrap();
            stream.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
            let mut answer = Vec::new();
            // The connection is closed without a word of farewell.
            let _ = stream.read_to_end(&mut answer).await;
            assert!(answer.starts_with(b"HTTP/1.1 200") && answer.ends_with(b"here"));
            let mut clear = TcpStream::connect(server.addr().unwrap()).await.unwrap();
            clear.write_all(b"GET / HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
            let mut answer = Vec::new();
            let _ = clear.read_to_end(&mut answer).await;
            assert!(!answer.starts_with(b"HTTP/"), "{answer:?}");
        });
    }
}
