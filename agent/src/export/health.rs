//! Whether the agent works: `/healthz` and `/readyz`.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::{Instant, SystemTime},
};

use axum::{
    Router,
    http::{StatusCode, header},
    routing::get,
};

use super::{consumers::Consumers, receivers::Receivers};

/// What `/readyz` says.
pub(super) struct Readiness {
    /// The agent says that it works.
    ready: AtomicBool,
    consumers: Consumers,
    receivers: Receivers,
}

impl Readiness {
    /// Not ready yet.
    pub(super) const fn new(consumers: Consumers, receivers: Receivers) -> Self {
        Self { ready: AtomicBool::new(false), consumers, receivers }
    }

    pub(super) fn set(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    fn exporters_work(&self) -> bool {
        self.consumers.active().iter().all(|consumer| consumer.is_alive()) && self.receivers.metrics_work()
    }

    /// Why the agent does not do its work; `None` if it does.
    fn objection(&self) -> Option<&'static str> {
        if !self.ready.load(Ordering::Relaxed) {
            Some("not ready\n")
        } else if !self.exporters_work() {
            Some("not ready: an exporter has ended\n")
        } else {
            None
        }
    }
}

/// Both pages, where nothing else is: there `/healthz` is answered with JSON, as OBI does.
pub(super) fn own_routes(readiness: Arc<Readiness>) -> Router {
    let started = Instant::now();
    let health = move || async move {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
        let uptime = started.elapsed().as_secs();
        let body = format!("{{\"schema_version\":1,\"unix_time\":{now},\"uptime_seconds\":{uptime}}}\n");
        ([(header::CONTENT_TYPE, "application/json")], body)
    };
    Router::new().route("/healthz", get(health)).route("/readyz", get(ready(readiness)))
}

/// Both pages.
pub(super) fn routes(readiness: Arc<Readiness>) -> Router {
    Router::new().route("/healthz", get("ok\n")).route("/readyz", get(ready(readiness)))
}

fn ready(readiness: Arc<Readiness>) -> impl axum::handler::Handler<((),), ()> {
    move || {
        let objection = readiness.objection();
        std::future::ready(match objection {
            None => (StatusCode::OK, "ready\n"),
            Some(objection) => (StatusCode::SERVICE_UNAVAILABLE, objection),
        })
    }
}
