//! An OTLP receiver: real OTLP over gRPC and HTTP (protobuf and JSON, gzip, zstd, TLS), in the test's own process, on ports that
//! the system chooses. It remembers what it was sent, looks for what no exporter should send, and answers badly on demand.
//!
//! ```no_run
//! # use {tests::receiver::Receiver, std::time::Duration};
//! let receiver = Receiver::start();
//! // … start what exports to `receiver.grpc_endpoint()` …
//! receiver.wait_for(|state| state.spans.len() == 3, Duration::from_secs(10)).unwrap();
//! assert_eq!(receiver.spans()[0].attributes["http.response.status_code"], 200);
//! ```

mod answer;
mod server;
mod telemetry;

use std::{
    fmt,
    net::SocketAddr,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use tokio::runtime::Runtime;

pub use self::{
    answer::{FailNext, Failure},
    server::Tls,
    telemetry::{Attributes, ReceivedExemplar, ReceivedMetric, ReceivedPoint, ReceivedSpan},
};

/// A running receiver; it stops when dropped.
pub struct Receiver {
    shared: Arc<Shared>,
    ports: Ports,
    scheme: &'static str,
    runtime: Option<Runtime>,
}

/// Where a receiver listens (on 127.0.0.1); 0: anywhere.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Ports {
    /// For gRPC.
    pub grpc: u16,
    /// For HTTP.
    pub http: u16,
}

/// What was received so far.
#[derive(Clone, Debug, Default)]
pub struct State {
    /// Spans of all requests that were taken, in order.
    pub spans: Vec<ReceivedSpan>,
    /// Metrics of all requests that were taken, in order: one entry per metric and request.
    pub metrics: Vec<ReceivedMetric>,
    /// All requests, taken or not.
    pub requests: Vec<ReceivedRequest>,
    /// What no exporter should send: ids of zeroes, ends before starts, keys that occur twice, and the like.
    pub violations: Vec<String>,
}

/// A request.
#[derive(Clone, Debug)]
pub struct ReceivedRequest {
    /// When its body was there.
    pub at: Instant,
    /// Its path.
    pub path: String,
    /// `grpc`, `http/protobuf` or `http/json`.
    pub protocol: &'static str,
    /// `content-encoding` or `grpc-encoding`, if any.
    pub compression: Option<String>,
    /// Headers (or metadata); names in lower case.
    pub headers: Vec<(String, String)>,
    /// Spans or metric points.
    pub items: usize,
    /// Groups: `ResourceSpans` or `ResourceMetrics`.
    pub resources: usize,
    /// It was taken (perhaps in part).
    pub taken: bool,
}

impl ReceivedRequest {
    /// A header's value.
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(key, _)| key == name).map(|(_, value)| value.as_str())
    }
}

/// What was waited for did not happen in time.
#[derive(Debug)]
pub struct TimedOut {
    waited: Duration,
    state: State,
}

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let State { spans, metrics, requests, violations } = &self.state;
        let taken = requests.iter().filter(|request| request.taken).count();
        write!(f, "not within {:?}: {} spans", self.waited, spans.len())?;
        write!(f, ", {} metrics in {taken} requests ({} not taken)", metrics.len(), requests.len() - taken)?;
        if !violations.is_empty() {
            write!(f, "; violations: {violations:?}")?;
        }
        let names: Vec<&str> = spans.iter().rev().take(10).map(|span| span.name.as_str()).collect();
        write!(f, "; last spans: {names:?}")
    }
}

impl std::error::Error for TimedOut {}

pub(crate) struct Shared {
    state: Mutex<State>,
    changed: Condvar,
    answers: answer::Answers,
}

impl Shared {
    pub(crate) fn change(&self, change: impl FnOnce(&mut State)) {
        change(&mut self.lock());
        self.changed.notify_all();
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Receiver {
    /// Starts one on free ports.
    ///
    /// # Panics
    /// If it cannot: the test then has nothing to say.
    #[must_use]
    pub fn start() -> Self {
        Self::start_on(Ports::default(), None)
    }

    /// Starts one on these ports, with TLS or without.
    ///
    /// # Panics
    /// As [`Self::start`].
    #[must_use]
    pub fn start_on(ports: Ports, tls: Option<Tls>) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .thread_name("otlp-receiver")
            .enable_all()
            .build()
            .expect("the receiver's runtime starts");
        let shared =
            Arc::new(Shared { state: Mutex::default(), changed: Condvar::new(), answers: answer::Answers::default() });
        let scheme = if tls.is_some() { "https" } else { "http" };
        let listen = |port: u16| {
            let addr = SocketAddr::from(([127, 0, 0, 1], port));
            runtime.block_on(server::listen(addr, tls.clone(), Arc::clone(&shared))).expect("the receiver can listen")
        };
        let ports = Ports { grpc: listen(ports.grpc), http: listen(ports.http) };
        Self { shared, ports, scheme, runtime: Some(runtime) }
    }

    /// Value of `OTEL_EXPORTER_OTLP_ENDPOINT` for `grpc`.
    #[must_use]
    pub fn grpc_endpoint(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.ports.grpc)
    }

    /// Value of `OTEL_EXPORTER_OTLP_ENDPOINT` for `http/protobuf` and `http/json`.
    #[must_use]
    pub fn http_endpoint(&self) -> String {
        format!("{}://127.0.0.1:{}", self.scheme, self.ports.http)
    }

    /// Where it listens.
    #[must_use]
    pub const fn ports(&self) -> Ports {
        self.ports
    }

    /// The port for a protocol.
    #[must_use]
    pub fn port(&self, protocol: &str) -> u16 {
        if protocol == "grpc" { self.ports.grpc } else { self.ports.http }
    }

    /// All spans so far.
    #[must_use]
    pub fn spans(&self) -> Vec<ReceivedSpan> {
        self.state().spans
    }

    /// All metrics so far.
    #[must_use]
    pub fn metrics(&self) -> Vec<ReceivedMetric> {
        self.state().metrics
    }

    /// Everything so far.
    #[must_use]
    pub fn state(&self) -> State {
        self.shared.lock().clone()
    }

    /// Number of spans so far that are of this kind.
    #[must_use]
    pub fn count(&self, is_of_it: impl Fn(&ReceivedSpan) -> bool) -> usize {
        self.shared.lock().spans.iter().filter(|span| is_of_it(span)).count()
    }

    /// Waits until the condition holds, looking at each change.
    ///
    /// # Errors
    /// If it does not hold in time; the text says what there is instead.
    pub fn wait_for(&self, condition: impl Fn(&State) -> bool, timeout: Duration) -> Result<(), TimedOut> {
        let until = Instant::now() + timeout;
        let mut state = self.shared.lock();
        while !condition(&state) {
            let left = until.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(TimedOut { waited: timeout, state: state.clone() });
            }
            state = self.shared.changed.wait_timeout(state, left).unwrap_or_else(PoisonError::into_inner).0;
        }
        Ok(())
    }

    /// Forgets what was received.
    pub fn clear(&self) {
        self.shared.change(|state| *state = State::default());
    }

    /// Answers badly, from the next request on. Replaces what was said before.
    pub fn respond_with(&self, fail: FailNext) {
        self.shared.answers.set(fail);
    }

    /// Answers well again; requests that hang are answered.
    pub fn recover(&self) {
        self.shared.answers.clear();
    }

    /// Stops, as a receiver that crashes does: connections break. Another can take its ports.
    #[must_use]
    pub fn stop(self) -> Ports {
        self.ports
    }
}

impl Drop for Receiver {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            // Tasks are dropped at their next await, and with them all sockets.
            runtime.shutdown_timeout(Duration::from_secs(5));
        }
    }
}
