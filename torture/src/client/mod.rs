//! The client of ours, a process of its own: HTTP/1.1, also pipelined, HTTP/2 and gRPC, in the clear and over rustls.
//!
//! It reads what to do from a file, then words from its input: `connect` (connections, and the first requests on each),
//! `go` (the rest), `enough` (no more requests). It prints `ready`, `connected`, a line of JSON per request, `done`, and
//! keeps its connections until its input ends.

mod http1;
mod http2;

use std::{
    collections::VecDeque,
    fs,
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, SystemTime, UNIX_EPOCH},
};

use anyhow::{Context as _, Result};
use rustls::pki_types::{CertificateDer, ServerName, pem::PemObject};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    sync::{mpsc, watch},
    task::JoinSet,
};
use tokio_rustls::TlsConnector;

pub(crate) use self::http2::message;
use crate::{
    ask::{Ask, Told},
    plan::Wire,
};

/// What a client is to do.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Orders {
    pub(crate) wire: Wire,
    pub(crate) port: u16,
    /// Certificate of the server, in PEM.
    pub(crate) certificate: String,
    /// Requests on each connection that are made before `go`.
    pub(crate) before: usize,
    /// Requests in flight on a connection.
    pub(crate) streams: usize,
    /// Pipelined requests go several in one write, once all before are answered.
    pub(crate) is_batched: bool,
    /// Requests on a connection before it is closed; 0: it stays.
    pub(crate) lifetime: usize,
    pub(crate) pace_us: u64,
    /// Requests by connection.
    pub(crate) asks: Vec<Vec<Ask>>,
}

/// How far it was told to go.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Stage {
    Nothing,
    Connect,
    Go,
    Enough,
}

/// What all tasks of a connection share.
#[derive(Clone)]
struct Shared {
    orders: Arc<Orders>,
    stage: watch::Receiver<Stage>,
    /// Told once the first requests are answered.
    connected: mpsc::UnboundedSender<()>,
    told: Arc<Mutex<Vec<Told>>>,
}

impl Shared {
    async fn until(&self, stage: Stage) {
        let mut now = self.stage.clone();
        // The sender lives as long as the process.
        let _alive = now.wait_for(|now| *now >= stage).await;
    }

    fn is_enough(&self) -> bool {
        *self.stage.borrow() == Stage::Enough
    }

    fn tell(&self, told: Told) {
        self.told.lock().unwrap_or_else(PoisonError::into_inner).push(told);
    }

    async fn pace(&self) {
        if self.orders.pace_us > 0 {
            tokio::time::sleep(Duration::from_micros(self.orders.pace_us)).await;
        }
    }
}

/// Requests of a connection that are still to be made.
type Queue = Arc<Mutex<VecDeque<Ask>>>;

fn next(queue: &Queue) -> Option<Ask> {
    queue.lock().unwrap_or_else(PoisonError::into_inner).pop_front()
}

/// Unix time in ns.
pub(crate) fn now() -> u64 {
    SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos() as u64)
}

trait Io: AsyncRead + AsyncWrite + Unpin + Send {}
impl<T: AsyncRead + AsyncWrite + Unpin + Send> Io for T {}

/// Runs it.
///
/// # Errors
/// If its orders cannot be read, or its input.
pub(crate) fn main(orders: &Path) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    runtime.block_on(run(orders))
}

async fn run(orders: &Path) -> Result<()> {
    let orders: Orders = serde_json::from_slice(&fs::read(orders).context("no orders")?)?;
    let tls = orders.wire.is_tls().then(|| connector(&orders)).transpose()?;
    let (stage, stages) = watch::channel(Stage::Nothing);
    let (connected, mut connections) = mpsc::unbounded_channel();
    let shared = Shared { orders: Arc::new(orders), stage: stages, connected, told: Arc::default() };
    println!("ready");
    let mut tasks = JoinSet::new();
    for asks in shared.orders.asks.clone() {
        let (shared, tls) = (shared.clone(), tls.clone());
        tasks.spawn(async move { connection(&shared, tls, Arc::new(Mutex::new(asks.into()))).await });
    }
    let count = tasks.len();
    let (done, mut all_done) = mpsc::channel::<()>(1);
    tokio::spawn(async move {
        while tasks.join_next().await.is_some() {}
        drop(done);
    });
    let told = Arc::clone(&shared.told);
    drop(shared);
    let mut lines = input();
    loop {
        tokio::select! {
            line = lines.recv() => match line.as_deref() {
                Some("connect") => {
                    stage.send_replace(Stage::Connect);
                    for _ in 0..count {
                        connections.recv().await.context("a connection ended at its beginning")?;
                    }
                    println!("connected");
                }
                Some("go") => { stage.send_replace(Stage::Go); }
                Some("enough") => { stage.send_replace(Stage::Enough); }
                Some(_) => {}
                None => return Ok(()),
            },
            _ = all_done.recv() => break,
        }
    }
    let all = std::mem::take(&mut *told.lock().unwrap_or_else(PoisonError::into_inner));
    for told in &all {
        println!("{}", serde_json::to_string(told)?);
    }
    println!("done");
    while lines.recv().await.is_some() {}
    Ok(())
}

/// Lines of the input, as they come.
fn input() -> mpsc::UnboundedReceiver<String> {
    let (lines, received) = mpsc::unbounded_channel();
    std::thread::spawn(move || {
        for line in std::io::stdin().lines().map_while(Result::ok) {
            if lines.send(line).is_err() {
                break;
            }
        }
    });
    received
}

fn connector(orders: &Orders) -> Result<TlsConnector> {
    let mut roots = rustls::RootCertStore::empty();
    roots.add(CertificateDer::from_pem_slice(orders.certificate.as_bytes()).context("no certificate")?)?;
    let mut config = rustls::ClientConfig::builder().with_root_certificates(roots).with_no_client_auth();
    config.alpn_protocols = vec![if orders.wire.is_http2() { b"h2".to_vec() } else { b"http/1.1".to_vec() }];
    Ok(TlsConnector::from(Arc::new(config)))
}

/// Opens a connection: its stream and own port.
async fn open(shared: &Shared, tls: Option<&TlsConnector>) -> Result<(Box<dyn Io>, u16)> {
    let stream = TcpStream::connect(("127.0.0.1", shared.orders.port)).await.context("cannot connect")?;
    stream.set_nodelay(true)?;
    let port = stream.local_addr()?.port();
    Ok(match tls {
        None => (Box::new(stream), port),
        Some(tls) => {
            let name = ServerName::try_from("localhost")?;
            (Box::new(tls.connect(name, stream).await.context("no handshake")?), port)
        }
    })
}

/// Makes all requests of one connection, on several if it breaks or has done its part.
async fn connection(shared: &Shared, tls: Option<TlsConnector>, queue: Queue) {
    /// Connections that break in succession before it gives up.
    const ATTEMPTS: usize = 4;
    shared.until(Stage::Connect).await;
    let mut attempts = 0;
    let mut kept = Vec::new();
    let mut before = shared.orders.before;
    while attempts < ATTEMPTS && !shared.is_enough() {
        let left = queue.lock().unwrap_or_else(PoisonError::into_inner).len();
        if left == 0 {
            break;
        }
        let outcome = match open(shared, tls.as_ref()).await {
            Ok((stream, port)) if shared.orders.wire.is_http2() => {
                http2::requests(shared, stream, port, &queue, before).await
            }
            Ok((stream, port)) => http1::requests(shared, stream, port, &queue, before).await,
            Err(error) => Err(error),
        };
        before = 0;
        match outcome {
            Ok(stays) => {
                attempts = 0;
                kept.extend(stays);
            }
            Err(error) => {
                eprintln!("connection: {error:#}");
                attempts += 1;
            }
        }
    }
    // Those that stay do so until the process ends.
    std::mem::forget(kept);
}

/// A connection that is not closed.
type Kept = Option<Box<dyn std::any::Any + Send>>;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{
        plan::{Round, ServerKind, Sizes},
        servers::Servers,
    };

    /// What is pipelined over TLS to a server that has more to write than its sockets take.
    #[test]
    fn node_answers_all_that_is_asked_at_once_over_tls() {
        let (wire, server, sizes) = (Wire::PipelinedTls, ServerKind::Node, Sizes::Mixed);
        let (connections, streams, requests) = (2, 10, 600);
        let drawn = Round::draw(9001, 7);
        let asks = Round { wire, server, sizes, connections, streams, requests, ..drawn }.asks();
        let mut servers = Servers::new();
        let port = servers.get(server).port(wire);
        let certificate = fs::read_to_string(servers.folder().join("cert.pem")).expect("there is a certificate");
        let (before, is_batched, lifetime, pace_us) = (0, false, 0, 0);
        let queues: Vec<Queue> = asks.iter().map(|asks| Arc::new(Mutex::new(asks.clone().into()))).collect();
        let orders = Orders { wire, port, certificate, before, streams, is_batched, lifetime, pace_us, asks };
        let tls = connector(&orders).expect("the certificate is one");
        let (_stage, stage) = watch::channel(Stage::Go);
        let (connected, _connected) = mpsc::unbounded_channel();
        let shared = Shared { orders: Arc::new(orders), stage, connected, told: Arc::default() };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let mut tasks = JoinSet::new();
            for queue in queues {
                let (shared, tls) = (shared.clone(), tls.clone());
                tasks.spawn(async move { connection(&shared, Some(tls), queue).await });
            }
            let _done = tasks.join_all().await;
        });
        let told = shared.told.lock().unwrap_or_else(PoisonError::into_inner);
        let failed: Vec<_> = told.iter().filter(|told| told.error.is_some()).collect();
        assert_eq!((told.len(), failed.len()), (requests, 0), "{failed:?}");
    }

    /// Over a stream that holds what it is given until it is flushed, as TLS may.
    #[test]
    fn what_is_asked_leaves() {
        let asks = Round { wire: Wire::Http1, connections: 1, requests: 20, ..Round::draw(9001, 281) }.asks();
        let queue: Queue = Arc::new(Mutex::new(asks[0].clone().into()));
        let orders = Orders {
            wire: Wire::Http1,
            port: 0,
            certificate: String::new(),
            before: 0,
            streams: 1,
            is_batched: false,
            lifetime: 0,
            pace_us: 0,
            asks,
        };
        let (_stage, stage) = watch::channel(Stage::Go);
        let (connected, _connected) = mpsc::unbounded_channel();
        let shared = Shared { orders: Arc::new(orders), stage, connected, told: Arc::default() };
        let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
        runtime.expect("a runtime").block_on(async {
            let (client, server) = tokio::io::duplex(1 << 16);
            tokio::spawn(crate::serve::serve(server));
            let held = Box::new(tokio::io::BufStream::with_capacity(1 << 16, 1 << 16, client));
            let made = http1::requests(&shared, held, 0, &queue, 0);
            tokio::time::timeout(Duration::from_secs(20), made).await.expect("all is answered").expect("well");
        });
        assert_eq!(shared.told.lock().unwrap_or_else(PoisonError::into_inner).len(), 20);
    }
}
