//! Metrics for Prometheus: one page, made when it is asked for, in the format that is asked for.

mod family;
mod format;
mod pages;
mod protobuf;
mod text;

use std::sync::Arc;

use axum::{
    Router,
    body::Bytes,
    http::{HeaderMap, HeaderValue, StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};

use self::{format::Format, pages::MetricsPage};
use super::{MetricSource, config::PrometheusConfig};
use crate::model::metric::Metric;

/// The page at its path, without series that have had no new value for `ttl`.
pub(super) fn routes(config: &PrometheusConfig, sources: Vec<Arc<dyn MetricSource>>) -> Router {
    let PrometheusConfig { path, ttl, has_requests: _, has_exemplars } = config;
    let metrics = Arc::new(MetricsPage::new(sources, *ttl, *has_exemplars));
    let answer = move |headers: HeaderMap| {
        let metrics = Arc::clone(&metrics);
        let format = accepted(&headers);
        async move { answer(metrics.current(format).await, format) }
    };
    Router::new().route(path, get(answer))
}

/// The page of these metrics as text.
pub(super) fn text(metrics: &[Metric]) -> String {
    text::page(metrics, Format::Text)
}

fn page(metrics: &[Metric], format: Format) -> Vec<u8> {
    match format {
        Format::Text | Format::OpenMetrics => text::page(metrics, format).into_bytes(),
        Format::Protobuf => protobuf::page(metrics),
    }
}

fn accepted(headers: &HeaderMap) -> Format {
    let accept: Vec<&str> = headers.get_all(header::ACCEPT).iter().filter_map(|value| value.to_str().ok()).collect();
    Format::accepted(&accept.join(","))
}

fn answer(page: Option<Bytes>, format: Format) -> Response {
    let kind = HeaderValue::from_static(format.content_type());
    match page {
        Some(page) => {
            ([(header::CONTENT_TYPE, kind), (header::VARY, HeaderValue::from_static("Accept"))], page).into_response()
        }
        None => (StatusCode::SERVICE_UNAVAILABLE, "the metrics could not be collected\n").into_response(),
    }
}

#[cfg(test)]
mod tests;
