//! A way to a receiver that breaks connections on demand.

use std::{
    net::SocketAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::{
        TcpListener, TcpStream,
        tcp::{OwnedReadHalf, OwnedWriteHalf},
    },
    runtime::Runtime,
};

/// What is done to connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// Nothing.
    None,
    /// They are reset when the first bytes come.
    Reset,
    /// They end within what is answered: each at another byte.
    Truncate,
}

/// The longest part of an answer that is passed on: more than a whole one has.
const LONGEST_PART: u64 = 300;

/// A proxy of TCP.
pub struct Flaky {
    port: u16,
    shared: Arc<Shared>,
    runtime: Option<Runtime>,
}

struct Shared {
    to: SocketAddr,
    fault: Mutex<Fault>,
    broken: AtomicU64,
}

impl Flaky {
    /// Starts one on a free port, to this one.
    ///
    /// # Panics
    /// If it cannot.
    #[must_use]
    pub fn start(to: u16, fault: Fault) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .expect("the proxy's runtime starts");
        let shared =
            Arc::new(Shared { to: ([127, 0, 0, 1], to).into(), fault: Mutex::new(fault), broken: AtomicU64::new(0) });
        let listener = runtime.block_on(TcpListener::bind(("127.0.0.1", 0))).expect("the proxy can listen");
        let port = listener.local_addr().expect("it has a port").port();
        let accepts = Arc::clone(&shared);
        runtime.spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(connection(stream, Arc::clone(&accepts)));
            }
        });
        Self { port, shared, runtime: Some(runtime) }
    }

    /// Where it listens.
    #[must_use]
    pub const fn port(&self) -> u16 {
        self.port
    }

    /// Does this from the next bytes on.
    pub fn set(&self, fault: Fault) {
        *self.shared.fault.lock().unwrap_or_else(PoisonError::into_inner) = fault;
    }

    /// Connections that it has broken.
    #[must_use]
    pub fn broken(&self) -> u64 {
        self.shared.broken.load(Ordering::Relaxed)
    }
}

impl Drop for Flaky {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

impl Shared {
    fn fault(&self) -> Fault {
        *self.fault.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

async fn connection(client: TcpStream, shared: Arc<Shared>) {
    let Ok(server) = TcpStream::connect(shared.to).await else { return };
    if shared.fault() == Fault::Reset {
        let _first = client.readable().await;
        shared.broken.fetch_add(1, Ordering::Relaxed);
        // Dropped so, it ends with a reset.
        let _is_set = client.set_zero_linger();
        return;
    }
    let (from_client, to_client) = client.into_split();
    let (from_server, to_server) = server.into_split();
    tokio::select! {
        () = requests(from_client, to_server) => {}
        () = answers(from_server, to_client, &shared) => {}
    }
}

async fn requests(mut from: OwnedReadHalf, mut to: OwnedWriteHalf) {
    let mut bytes = vec![0; 64 << 10];
    while let Ok(len @ 1..) = from.read(&mut bytes).await {
        if to.write_all(&bytes[..len]).await.is_err() {
            return;
        }
    }
}

async fn answers(mut from: OwnedReadHalf, mut to: OwnedWriteHalf, shared: &Shared) {
    let mut bytes = vec![0; 64 << 10];
    let mut passed = 0;
    // Another one for each connection; 7 has no divisor in common with it.
    let most = shared.broken.load(Ordering::Relaxed) * 7 % LONGEST_PART;
    while let Ok(len @ 1..) = from.read(&mut bytes).await {
        let is_cut = shared.fault() == Fault::Truncate && passed + len as u64 > most;
        let part = if is_cut { usize::try_from(most.saturating_sub(passed)).unwrap_or(len) } else { len };
        if to.write_all(&bytes[..part]).await.is_err() {
            return;
        }
        passed += part as u64;
        if is_cut {
            shared.broken.fetch_add(1, Ordering::Relaxed);
            return;
        }
    }
}
