//! Values that this stage's unit tests share.

use std::sync::Arc;

use crate::model::{
    ids::ProcessId,
    net::Endpoint,
    span::{Attribute, Kind, Resource, Span, Status, Value},
    trace_context::{SpanId, TraceId},
};

pub(crate) fn resource(service: &str, pid: ProcessId) -> Arc<Resource> {
    let text = |text: &str| Value::Str(text.into());
    Arc::new(Resource {
        attributes: vec![
            ("service.name".into(), text(service)),
            ("service.namespace".into(), text("shop")),
            ("service.instance.id".into(), text("i-1")),
            ("process.pid".into(), Value::Int(pid.0.into())),
        ],
        service_name: service.into(),
        pid,
    })
}

/// A server span of 16 attributes, as HTTP makes them. All have an equal resource, but not the same.
pub(crate) fn span(number: u64) -> Span {
    thread_local!(static RESOURCE: Arc<Resource> = resource("shop-api", ProcessId(4711)));
    let text = |text: &str| Value::Str(text.into());
    let mut trace_id = [0x4b; 16];
    trace_id[8..].copy_from_slice(&number.to_be_bytes());
    let attributes = [
        ("http.request.method", Value::Static("GET")),
        ("http.response.status_code", Value::Int(200)),
        ("url.path", text("/api/items/4711")),
        ("url.query", text("page=2&sort=price")),
        ("url.scheme", Value::Static("http")),
        ("server.address", Value::Shared("127.0.0.1".into())),
        ("server.port", Value::Int(8080)),
        ("client.address", text("127.0.0.1")),
        ("client.port", Value::Int(51234)),
        ("network.peer.address", text("127.0.0.1")),
        ("network.peer.port", Value::Int(51234)),
        ("network.protocol.version", Value::Static("1.1")),
        ("http.route", text("/api/items/{id}")),
        ("user_agent.original", text("curl/8.14.1")),
        ("http.request.body.size", Value::Int(0)),
        ("http.response.body.size", Value::Int(12_345)),
    ];
    Span {
        trace_id: TraceId(trace_id),
        span_id: SpanId(number.to_be_bytes()),
        parent: Some(SpanId([7; 8])),
        flags: 1,
        trace_state: "vendor=1".into(),
        kind: Kind::Server,
        name: "GET /api/items/{id}".into(),
        start_unix_ns: 1_763_720_401_234_567_890,
        end_unix_ns: 1_763_720_401_235_802_290,
        status: Status::Unset,
        links: Vec::new(),
        attributes: attributes.into_iter().map(|(key, value)| Attribute { key, value }).collect(),
        resource: RESOURCE.with(Arc::clone),
        pid: ProcessId(4711),
        local: Endpoint::Inet("127.0.0.1:8080".parse().unwrap()),
    }
}
