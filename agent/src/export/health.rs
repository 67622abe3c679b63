//! Whether the agent works: `/healthz` and `/readyz`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{Router, http::StatusCode, routing::get};

use super::{consumer::SpanConsumer, otlp};

/// What `/readyz` says.
pub(super) struct Readiness {
    /// The agent says that it works.
    ready: AtomicBool,
    consumers: Arc<[Arc<dyn SpanConsumer>]>,
    metrics: Arc<[otlp::Metrics]>,
}

impl Readiness {
    /// Not ready yet.
    pub(super) const fn new(consumers: Arc<[Arc<dyn SpanConsumer>]>, metrics: Arc<[otlp::Metrics]>) -> Self {
        Self { ready: AtomicBool::new(false), consumers, metrics }
    }

    pub(super) fn set(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    fn exporters_work(&self) -> bool {
        self.consumers.iter().all(|consumer| consumer.is_alive()) && self.metrics.iter().all(otlp::Metrics::is_alive)
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

/// Both pages.
pub(super) fn routes(readiness: Arc<Readiness>) -> Router {
    let ready = move || {
        let objection = readiness.objection();
        async move {
            match objection {
                None => (StatusCode::OK, "ready\n"),
                Some(objection) => (StatusCode::SERVICE_UNAVAILABLE, objection),
            }
        }
    };
    Router::new().route("/healthz", get("ok\n")).route("/readyz", get(ready))
}
