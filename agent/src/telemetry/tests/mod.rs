//! The stage as a whole: exchanges in, spans and metrics out.

use std::sync::Arc;

use super::{Config, Counts, Record, Telemetry, clock::Clock, clock::Offset, wanted::Reader};
use crate::{
    model::{
        exchange::{Exchange, Http, Inside, Key, Keys, Operation, Outcome, Pattern, Rpc},
        ids::{ConnectionId, ProcessId, ThreadId},
        metric::{HistogramPoint, Metric, Points},
        net::{ConnectionInfo, Endpoint, Origin, Role, Thread},
        span::{Attribute, Resource, Span, Value},
    },
    procs::selector::Rule,
    trace::{Tracer, ids::Ids, sampling::Sampler},
};

mod db;
mod http;
mod metrics;
mod protocols;
mod rpc;
mod stage;

fn resource() -> Arc<Resource> {
    Arc::new(Resource { attributes: Vec::new(), service_name: "shop".into(), pid: ProcessId(1) })
}

pub(super) fn connection() -> ConnectionInfo {
    ConnectionInfo {
        id: ConnectionId(1),
        local: Endpoint::Inet("10.0.0.1:8080".parse().unwrap()),
        remote: Endpoint::Inet("10.0.0.2:51234".parse().unwrap()),
        netns: 0,
        tls: false,
        tls_version: None,
        asked: None,
        client: None,
        link: ConnectionId(1),
        origin: Origin::default(),
        is_paired: false,
        is_blocking: false,
        met_ns: 0,
        requests: 0,
        connect_ns: None,
    }
}

fn unbound() -> ConnectionInfo {
    ConnectionInfo { local: Endpoint::Unknown, remote: Endpoint::Unknown, tls: true, ..connection() }
}

/// A GET of `target` that was answered 200.
pub(super) fn get(target: &str) -> Http {
    Http {
        version: "1.1",
        method: Some("GET".into()),
        target: Some(target.into()),
        host: Some("shop.example:81".into()),
        status: Some(200),
        ..Http::default()
    }
}

fn exchange(role: Role, operation: Operation) -> Exchange {
    Exchange {
        role,
        thread: Thread::default(),
        start_ns: 1_000,
        first_byte_ns: Some(2_000_000_000),
        response_tid: ThreadId::NONE,
        end_ns: 2_000_000_000,
        outcome: Outcome::Complete,
        parent: None,
        protocol: match &operation {
            Operation::Http(http) if http.version == "2" => "http2",
            Operation::Http(_) => "http1",
            Operation::Rpc(rpc) => rpc.system,
            Operation::Db(db) => db.system,
            Operation::Messaging(messaging) => messaging.system,
            Operation::Dns(_) => "dns_udp",
        },
        pattern: Pattern::RequestResponse,
        operation,
        inside: Inside::default(),
    }
}

pub(super) fn served(http: Http) -> Exchange {
    exchange(Role::Server, Operation::Http(Box::new(http)))
}

pub(super) fn called(http: Http) -> Exchange {
    exchange(Role::Client, Operation::Http(Box::new(http)))
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
    exchange(role, Operation::Rpc(Box::new(rpc)))
}

fn ended(outcome: Outcome, exchange: Exchange) -> Exchange {
    Exchange { outcome, first_byte_ns: None, ..exchange }
}

/// The stage with the one before it.
pub(super) struct Stage {
    tracer: Tracer,
    pub(super) telemetry: Telemetry,
    key: Key,
    /// The service at the other end of what comes next, where that was seen.
    pub(super) seen: Option<Arc<Resource>>,
}

impl Stage {
    fn sampled_by(sampler: Sampler, config: Config) -> Self {
        let telemetry = Telemetry::new(config, Clock::new(Offset { ns: 5_000, error_ns: 0 }));
        Self {
            tracer: Tracer::new(Ids::from_seed([1; 32]), sampler),
            telemetry,
            key: Keys::default().take(),
            seen: None,
        }
    }

    pub(super) fn on_exchange(
        &mut self,
        exchange: Exchange,
        connection: &ConnectionInfo,
        resource: &Arc<Resource>,
        rule: Option<&Arc<Rule>>,
    ) -> Option<Span> {
        let mut context = self.tracer.on_finished(self.key, &exchange);
        context.other_end = self.seen.as_ref().map(|seen| seen.pid);
        let settings = self.telemetry.settings(rule);
        self.tracer.sample(&mut context, settings.sampler.as_ref(), "", 1);
        self.telemetry.begin_round();
        let span = self.telemetry.on_record(Record {
            exchange: Box::new(exchange),
            connection,
            resource,
            settings: &settings,
            context,
            seen: self.seen.as_ref(),
            is_counted_there: self.seen.is_some(),
            handed_down: self.tracer.states.handed_down(&context),
        });
        self.telemetry.end_round();
        span
    }

    pub(super) fn collect(&self, now_unix_ns: u64) -> Vec<Metric> {
        self.telemetry.metrics().collect(Reader::Otlp, now_unix_ns)
    }

    pub(super) fn counts(&self) -> Counts {
        self.telemetry.metrics().counts()
    }
}

pub(super) fn stage(config: Config) -> Stage {
    Stage::sampled_by(Sampler::default(), config)
}

fn span_over(exchange: Exchange, connection: &ConnectionInfo) -> Span {
    stage(Config::default()).on_exchange(exchange, connection, &resource(), None).unwrap()
}

fn span(exchange: Exchange) -> Span {
    span_over(exchange, &connection())
}

/// Attributes as `key=value`, in order.
pub(super) fn shown(attributes: &[Attribute]) -> Vec<String> {
    let text = |value: &Value| match value {
        Value::Str(text) => text.to_string(),
        Value::Shared(text) => text.to_string(),
        Value::Static(text) => (*text).to_owned(),
        Value::Int(value) => value.to_string(),
        Value::Double(value) => value.to_string(),
        Value::Bool(value) => value.to_string(),
        Value::List(texts) => texts.join(","),
    };
    attributes.iter().map(|attribute| format!("{}={}", attribute.key, text(&attribute.value))).collect()
}

/// The value of one attribute, as text.
pub(super) fn attribute(span: &Span, key: &str) -> Option<String> {
    let all = shown(&span.attributes);
    let found: Vec<_> = all.iter().filter_map(|shown| shown.strip_prefix(key)?.strip_prefix('=')).collect();
    assert!(found.len() < 2, "{key} is there twice: {all:?}");
    found.first().map(|value| (*value).to_owned())
}

pub(super) fn points(metrics: &[Metric], name: &str) -> Vec<HistogramPoint> {
    match metrics.iter().find(|metric| metric.name == name).map(|metric| &metric.points) {
        Some(Points::Histogram(points)) => points.clone(),
        None => Vec::new(),
        Some(other) => panic!("{other:?}"),
    }
}
