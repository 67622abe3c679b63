//! Metrics for Prometheus: one page, made when it is asked for.

mod exposition;
mod pages;

use std::{sync::Arc, time::Duration};

use axum::{
    Router,
    body::Bytes,
    http::{HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

pub(in crate::export) use exposition::page;

use self::pages::MetricsPage;
use super::MetricSource;

/// The page at `path`, without series that have had no new value for `ttl`.
pub(super) fn routes(path: &str, sources: Vec<Arc<dyn MetricSource>>, ttl: Duration) -> Router {
    let metrics = Arc::new(MetricsPage::new(sources, ttl));
    let answer = move || {
        let metrics = Arc::clone(&metrics);
        async move { answer(metrics.current().await) }
    };
    Router::new().route(path, get(answer))
}

fn answer(page: Option<Bytes>) -> Response {
    const KIND: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
    match page {
        Some(page) => ([(header::CONTENT_TYPE, KIND)], page).into_response(),
        None => (StatusCode::SERVICE_UNAVAILABLE, "the metrics could not be collected\n").into_response(),
    }
}

#[cfg(test)]
mod tests;
