//! The stage as a whole: exchanges in, spans and metrics out.

use std::sync::Arc;

use super::{Config, Telemetry, clock::Clock, clock::Offset, ids::Ids};
use crate::model::{
    exchange::{Detail, Exchange, Http, Outcome, Rpc},
    metric::{HistogramPoint, Metric, Points},
    net::{ConnectionInfo, Endpoint, Role, Thread},
    span::{Attribute, Resource, Span, Value},
};

mod http;
mod metrics;
mod rpc;
mod stage;

fn resource() -> Arc<Resource> {
    Arc::new(Resource { attributes: Vec::new(), service_name: "shop".into(), pid: 1 })
}

fn connection() -> ConnectionInfo {
    ConnectionInfo {
        id: 1,
        local: Endpoint::Inet("10.0.0.1:8080".parse().unwrap()),
        remote: Endpoint::Inet("10.0.0.2:51234".parse().unwrap()),
        netns: 0,
        tls: false,
        tls_version: None,
        asked: None,
        client: None,
    }
}

fn unbound() -> ConnectionInfo {
    ConnectionInfo { local: Endpoint::Unknown, remote: Endpoint::Unknown, tls: true, ..connection() }
}

/// A GET of `target` that was answered 200.
fn get(target: &str) -> Http {
    Http {
        version: "1.1",
        method: Some("GET".into()),
        target: Some(target.into()),
        host: Some("shop.example:81".into()),
        status: Some(200),
        ..Http::default()
    }
}

fn exchange(role: Role, detail: Detail) -> Exchange {
    Exchange {
        role,
        thread: Thread::default(),
        start_ns: 1_000,
        first_byte_ns: Some(2_000_000_000),
        end_ns: 2_000_000_000,
        outcome: Outcome::Complete,
        parent: None,
        detail,
    }
}

fn served(http: Http) -> Exchange {
    exchange(Role::Server, Detail::Http(Box::new(http)))
}

fn called(http: Http) -> Exchange {
    exchange(Role::Client, Detail::Http(Box::new(http)))
}

fn rpc(role: Role, status: Option<u32>) -> Exchange {
    let rpc = Rpc {
        system: "grpc",
        version: "2",
        method: Some("shop.Cart/Add".into()),
        host: Some("cart:50051".into()),
        status,
        ..Rpc::default()
    };
    exchange(role, Detail::Rpc(Box::new(rpc)))
}

fn ended(outcome: Outcome, exchange: Exchange) -> Exchange {
    Exchange { outcome, first_byte_ns: None, ..exchange }
}

fn stage(config: Config) -> Telemetry {
    Telemetry::new(config, Clock::new(Offset { ns: 5_000, error_ns: 0 }), Ids::from_seed([1; 32]))
}

fn span_over(exchange: Exchange, connection: &ConnectionInfo) -> Span {
    stage(Config::default()).on_exchange(exchange, connection, &resource(), None).unwrap()
}

fn span(exchange: Exchange) -> Span {
    span_over(exchange, &connection())
}

/// Attributes as `key=value`, in order.
fn shown(attributes: &[Attribute]) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::Str(text) => text.to_string(),
        Value::Shared(text) => text.to_string(),
        Value::Static(text) => (*text).to_owned(),
        Value::Int(value) => value.to_string(),
        Value::Double(value) => value.to_string(),
        Value::Bool(value) => value.to_string(),
    };
    attributes.iter().map(|attribute| format!("{}={}", attribute.key, text(&attribute.value))).collect()
}

/// The value of one attribute, as text.
fn attribute(span: &Span, key: &str) -> Option<String> {
    let all = shown(&span.attributes);
    let found: Vec<_> = all.iter().filter_map(|shown| shown.strip_prefix(key)?.strip_prefix('=')).collect();
    assert!(found.len() < 2, "{key} is there twice: {all:?}");
    found.first().map(|value| (*value).to_owned())
}

fn points(metrics: &[Metric], name: &str) -> Vec<HistogramPoint> {
    match metrics.iter().find(|metric| metric.name == name).map(|metric| &metric.points) {
        Some(Points::Histogram(points)) => points.clone(),
        None => Vec::new(),
        Some(other) => panic!("{other:?}"),
    }
}
