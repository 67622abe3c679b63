//! Exchanges become spans and RED histograms. The only stage that knows OpenTelemetry's names; no I/O.
//!
//! [`Telemetry::on_exchange`] counts, aggregates and describes one exchange; [`Telemetry::collect`] gives the metrics.
//! Decisions that readers of spans will want to know are told in [`outcome`](self), [`route`], [`redact`].

mod attributes;
pub mod clock;
mod endpoint;
mod exponential;
pub mod histogram;
mod http;
pub mod ids;
mod instances;
pub mod methods;
pub mod naming;
mod outcome;
mod own_exports;
pub mod red;
pub mod redact;
pub mod route;
mod rpc;
pub mod sampling;
pub mod semconv;
mod service;
mod target;
#[cfg(test)]
mod tests;

use std::sync::Arc;

use compact_str::CompactString;

use self::{
    attributes::Attributes,
    clock::Clock,
    endpoint::Remote,
    ids::Ids,
    instances::Instances,
    methods::{Method, Methods},
    own_exports::Signal,
    red::Family,
    redact::Redactor,
    route::Router,
    sampling::Sampler,
};
use crate::{
    kube::{Peer, PeerSource},
    model::{
        exchange::{Detail, Exchange, Outcome},
        metric::{Exemplar, Metric},
        net::{ConnectionInfo, Endpoint, Role},
        span::{Kind, Resource, Span, Status, Value},
        trace_context::{SpanId, TraceId, TraceParent},
    },
    procs::{NameSource, selector::Rule},
};

/// Settings of the stage.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// Which spans are exported.
    pub sampler: Sampler,
    /// How `http.route` is found.
    pub routes: route::Config,
    /// Which query values are secrets.
    pub redactor: Redactor,
    /// Which HTTP methods are known.
    pub methods: Methods,
    /// How histograms are kept.
    pub red: red::Config,
    /// A signal that a service sends over OTLP itself is left to it.
    pub leaves_own_exports: bool,
    /// `client.*` are the socket's other end, whatever a proxy says of the client (PROXY protocol).
    pub ignores_proxied_clients: bool,
}

/// What the stage has done; all counts only grow.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// `beyla_rs.exchanges`: protocol (`http1`, `http2`, `grpc`, `connectrpc`), outcome (`complete`, `no_response`,
    /// `cut`, `cancelled`, `unseen`), number.
    pub exchanges: Vec<(&'static str, &'static str, u64)>,
    /// Spans left out by the sampler.
    pub unsampled: u64,
    /// Exchanges that went to a metric's overflow series.
    pub overflowed: u64,
}

/// The stage.
pub struct Telemetry {
    sampler: Sampler,
    redactor: Redactor,
    methods: Methods,
    router: Router,
    clock: Clock,
    ids: Ids,
    instances: Instances,
    by_rule: service::ByRule,
    peers: Option<Arc<dyn PeerSource>>,
    names: Vec<Arc<dyn NameSource>>,
    leaves_own_exports: bool,
    ignores_proxied_clients: bool,
    counts: Counts,
}

/// A span without what is the same for all protocols.
struct Described {
    name: CompactString,
    kind: Kind,
    status: Status,
    attributes: Attributes,
}

/// Where a span belongs.
struct Context {
    trace_id: TraceId,
    /// `None` if the span is not exported.
    span_id: Option<SpanId>,
    parent: Option<SpanId>,
    flags: u8,
}

impl Telemetry {
    /// The stage, with no series.
    #[must_use]
    pub fn new(config: Config, clock: Clock, ids: Ids) -> Self {
        Self {
            sampler: config.sampler,
            redactor: config.redactor,
            methods: config.methods,
            router: Router::new(config.routes),
            clock,
            ids,
            instances: Instances::new(config.red),
            by_rule: service::ByRule::default(),
            peers: None,
            names: Vec::new(),
            leaves_own_exports: config.leaves_own_exports,
            ignores_proxied_clients: config.ignores_proxied_clients,
            counts: Counts::default(),
        }
    }

    /// The clock, to refresh it from time to time.
    pub const fn clock_mut(&mut self) -> &mut Clock {
        &mut self.clock
    }

    /// From now on the other side of requests is named by what is known there.
    pub fn set_peers(&mut self, peers: Arc<dyn PeerSource>) {
        self.peers = Some(peers);
    }

    /// From now on other sides that only have an address are called as the first of these does that knows it.
    pub fn set_names(&mut self, names: Vec<Arc<dyn NameSource>>) {
        self.names = names;
    }

    /// Takes up another sampler.
    pub fn set_sampler(&mut self, sampler: Sampler) {
        self.sampler = sampler;
    }

    /// Takes up other secrets.
    pub fn set_redactor(&mut self, redactor: Redactor) {
        self.redactor = redactor;
    }

    /// Takes up other routes. What services have been learnt to serve stays.
    pub fn set_routes(&mut self, routes: route::Config) {
        self.router = Router::new(routes);
    }

    /// Whether a signal that a service sends itself is left to it from now on.
    pub const fn leave_own_exports(&mut self, leave: bool) {
        self.leaves_own_exports = leave;
    }

    /// What was done so far.
    #[must_use]
    pub const fn counts(&self) -> &Counts {
        &self.counts
    }

    /// Takes an exchange into the metrics, and gives its span if it is sampled. One whose end was not seen is in no
    /// histogram; its span says so. `rule` is what the process is watched by.
    pub fn on_exchange(
        &mut self,
        exchange: Exchange,
        connection: &ConnectionInfo,
        resource: &Arc<Resource>,
        rule: Option<&Arc<Rule>>,
    ) -> Option<Span> {
        let Exchange { role, thread, start_ns, first_byte_ns, end_ns, outcome, parent, mut detail } = exchange;
        self.count(&detail, outcome);
        // Both ends by the same offset: see `clock`.
        let duration_ns = end_ns.saturating_sub(start_ns);
        let start_unix_ns = self.clock.unix_ns(start_ns);
        let end_unix_ns = start_unix_ns.saturating_add(duration_ns);
        let settings = self.by_rule.get(rule);
        let mut context = self.context(parent, settings.sampler.as_ref());
        let is_sampled = context.span_id.is_some();
        let peer = self.peer(connection, role);
        let name = self.names.iter().find_map(|names| names.name(resource.pid, role, connection));
        let client = connection.client.filter(|_| !self.ignores_proxied_clients);
        let remote = Remote { peer: peer.as_deref(), name: name.as_ref(), client };
        let (instance, room) = self.instances.get_or_insert(resource);
        if !instance.is_rest
            && let Some(signal) = instance.own_exports.notice(role, outcome, &detail)
            && self.leaves_own_exports
        {
            tracing::info!(
                service = %resource.service_name, pid = resource.pid, ?signal,
                "left to the service, which sends it by itself (discovery.exclude_otel_instrumented_services)"
            );
        }
        let leaves = |signal| self.leaves_own_exports && instance.own_exports.has(signal);
        if settings.hides_spans || leaves(Signal::Traces) {
            context.span_id = None;
        }
        let hides_metrics = settings.hides_metrics || leaves(Signal::Metrics);
        let family = Family::of(&detail, role);
        let mut sample = red::Sample {
            duration_s: seconds(duration_ns),
            request_bytes: None,
            response_bytes: None,
            start_unix_ns,
            exemplar: context.span_id.map(|span_id| Exemplar {
                at_unix_ns: end_unix_ns,
                value: 0.0,
                trace_id: context.trace_id,
                span_id,
            }),
        };
        let mut counted = outcome != Outcome::Unseen && !hides_metrics;
        let trace_state = match &mut detail {
            Detail::Http(http) => http.trace_state.take(),
            Detail::Rpc(rpc) => rpc.trace_state.take(),
        };
        let (overflowed, described) = match detail {
            Detail::Http(http) => {
                let facts = http::Facts::of(&http, role, outcome, connection, &self.methods, remote);
                // A route is made of the path's words, and goes into metrics too: secrets are out before.
                let path = facts.path(&http).map(|path| self.redactor.path(path));
                let route = path.as_deref().and_then(|path| {
                    let ignored = self.router.ignores(path);
                    counted &= !ignored.metrics;
                    if ignored.span {
                        context.span_id = None;
                        sample.exemplar = None;
                    }
                    match role {
                        Role::Server => {
                            let given = self.router.given(&settings.incoming, path);
                            given.or_else(|| self.router.route(&mut instance.routes, path, http.status))
                        }
                        Role::Client => self.router.given(&settings.outgoing, path),
                    }
                });
                let overflowed = counted && {
                    let sample = red::Sample {
                        request_bytes: http.request_body_bytes,
                        response_bytes: http.response_body_bytes,
                        ..sample
                    };
                    instance.red.record(family, &facts.labels(&http, route.as_deref(), &self.methods), &sample, room)
                };
                let describe = || facts.describe(*http, connection, route, &self.methods, &self.redactor);
                (overflowed, context.span_id.map(|_| describe()))
            }
            Detail::Rpc(rpc) => {
                let facts = rpc::Facts::of(&rpc, role, outcome, connection, remote);
                let overflowed = counted && instance.red.record(family, &facts.labels(&rpc), &sample, room);
                (overflowed, context.span_id.map(|_| facts.describe(*rpc, connection)))
            }
        };
        self.counts.overflowed += u64::from(overflowed);
        let (Some(Described { name, kind, status, mut attributes }), Some(span_id)) = (described, context.span_id)
        else {
            self.counts.unsampled += u64::from(!is_sampled);
            return None;
        };
        if let Some(first_byte_ns) = first_byte_ns.filter(|first_byte_ns| *first_byte_ns != end_ns) {
            let waited_s = seconds(first_byte_ns.saturating_sub(start_ns));
            attributes.push(semconv::BEYLA_TIME_TO_FIRST_BYTE, Value::Double(waited_s));
        }
        if context.parent.is_some() {
            attributes.push(semconv::BEYLA_PARENT_EVIDENCE, Value::Static("header"));
        }
        if let Some(peer) = peer {
            attributes.push(semconv::SERVICE_PEER_NAME, Value::Str(peer.name.clone()));
            attributes.push(semconv::SERVICE_PEER_NAMESPACE, Value::Str(peer.namespace.clone()));
        }
        attributes.push_flag(semconv::BEYLA_CONNECTION_UNBOUND, connection.remote == Endpoint::Unknown);
        Some(Span {
            trace_id: context.trace_id,
            span_id,
            parent: context.parent,
            flags: context.flags,
            // It belongs to the caller's span: to no other.
            trace_state: trace_state.filter(|_| context.parent.is_some()).unwrap_or_default(),
            kind,
            name,
            start_unix_ns,
            end_unix_ns,
            status,
            attributes: attributes.into_vec(),
            resource: Arc::clone(resource),
            pid: if thread.tgid == 0 { resource.pid } else { thread.tgid },
            local: connection.local.clone(),
        })
    }

    /// What a method counts as.
    #[must_use]
    pub fn method(&self, method: Option<&str>) -> Method {
        self.methods.find(method)
    }

    /// Sets how many requests with a method a service instance's HTTP servers are answering
    /// (`http.server.active_requests`).
    pub fn set_active_requests(&mut self, resource: &Arc<Resource>, scheme: Scheme, method: Method, open: u64) {
        let value = self.methods.value(method);
        let (instance, _) = self.instances.get_or_insert(resource);
        if !(instance.is_rest || self.leaves_own_exports && instance.own_exports.has(Signal::Metrics)) {
            instance.set_active(scheme, value, open);
        }
    }

    /// All metrics as of now. Instances that were [forgotten](Self::forget), or that nobody else refers to any more,
    /// are collected for the last time.
    pub fn collect(&mut self, now_unix_ns: u64) -> Vec<Metric> {
        self.instances.collect(now_unix_ns)
    }

    /// The service instance has ended: its series are dropped after the next collection.
    pub fn forget(&mut self, resource: &Arc<Resource>) {
        self.instances.forget(resource);
    }

    /// The service at the other end, if the cluster knows it. A client's port says nothing.
    fn peer(&self, connection: &ConnectionInfo, role: Role) -> Option<Arc<Peer>> {
        let peers = self.peers.as_ref()?;
        let Endpoint::Inet(remote) = &connection.remote else { return None };
        peers.peer(remote.ip(), (role == Role::Client).then_some(remote.port()))
    }

    fn context(&mut self, parent: Option<TraceParent>, sampler: Option<&Sampler>) -> Context {
        let trace_id = parent.map_or_else(|| self.ids.trace_id(), |parent| parent.trace_id);
        let sampled = sampler.unwrap_or(&self.sampler).samples(parent.as_ref(), trace_id);
        Context {
            trace_id,
            span_id: sampled.then(|| self.ids.span_id()),
            parent: parent.map(|parent| parent.span_id),
            flags: parent.map_or(0, |parent| parent.flags & !1) | u8::from(sampled),
        }
    }

    fn count(&mut self, detail: &Detail, outcome: Outcome) {
        let protocol = match detail {
            Detail::Http(http) if http.version == "2" => "http2",
            Detail::Http(_) => "http1",
            Detail::Rpc(rpc) => rpc.system,
        };
        let outcome = outcome::word(outcome);
        match self.counts.exchanges.iter_mut().find(|(p, o, _)| *p == protocol && *o == outcome) {
            Some((_, _, count)) => *count += 1,
            None => self.counts.exchanges.push((protocol, outcome, 1)),
        }
    }
}

/// `url.scheme` of `http.server.active_requests`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
