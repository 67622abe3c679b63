//! Whether the agent works: `/healthz` and `/readyz`.

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use axum::{Router, http::StatusCode, routing::get};

use super::otlp::Otlp;

/// What `/readyz` says.
pub(super) struct Readiness {
    /// The agent says that it works.
    ready: AtomicBool,
    otlp: Arc<Otlp>,
}

impl Readiness {
    /// Not ready yet.
    pub(super) const fn new(otlp: Arc<Otlp>) -> Self {
        Self { ready: AtomicBool::new(false), otlp }
    }

    pub(super) fn set(&self, ready: bool) {
        self.ready.store(ready, Ordering::Relaxed);
    }

    /// Why the agent does not do its work; `None` if it does.
    fn objection(&self) -> Option<&'static str> {
        if !self.ready.load(Ordering::Relaxed) {
            Some("not ready\n")
        } else if !self.otlp.is_alive() {
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
