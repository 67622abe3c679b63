//! Exchanges become spans and RED histograms. The only stage that knows OpenTelemetry's names; no I/O.
//!
//! [`Telemetry::on_record`] describes one exchange by its group's [`conventions`], and hands it to both consumers: to the
//! [metrics](RedMetrics), which count each, and as a span to who exports it.
//! Decisions that readers of spans will want to know are told in [`outcome`](self), [`route`], [`redact`].

mod aggregate;
mod attributes;
pub(crate) mod clock;
mod conventions;
mod db;
mod dns;
mod endpoint;
pub(crate) mod exponential;
pub(crate) mod filter;
mod graph;
pub(crate) mod histogram;
mod http;
mod inside;
mod instances;
mod instruments;
mod messaging;
pub(crate) mod methods;
pub(crate) mod naming;
mod outcome;
mod own_exports;
mod process;
pub(crate) mod red;
pub(crate) mod redact;
pub(crate) mod route;
mod rpc;
pub(crate) mod select;
pub(crate) mod semconv;
mod service;
mod services;
mod tail_decisions;
mod target;
#[cfg(test)]
mod tests;
pub(crate) mod wanted;

use std::sync::Arc;

use compact_str::CompactString;

pub(crate) use self::{
    aggregate::{Counts, RedMetrics},
    graph::Unresolved,
    own_exports::carries_spans,
    process::{ProcessSample, metrics as process_metrics},
    service::Settings,
    services::ByEvidence,
};
use self::{
    aggregate::{Entry, Writer},
    attributes::Free,
    clock::{Clock, Offset},
    conventions::{Conventions, Described, Policy},
    endpoint::Remote,
    filter::Filter,
    graph::{Node, Share},
    methods::{Method, Methods},
    red::{Family, Sample},
    redact::Redactor,
    route::{ProgramRoutes, Router},
    select::Select,
    services::{Service, Services},
    wanted::Readers,
};
use crate::{
    config::{Features, InsideAttributes, Network, Protocols, Sdk, Signal},
    kube::{Peer, PeerSource},
    model::{
        exchange::{Exchange, Operation, Outcome},
        metric::Exemplar,
        net::{ConnectionInfo, Endpoint, Role},
        route::ProgramRoute,
        span::{Link, Resource, Span, Status, Value},
        trace_context::{TraceId, TraceParent},
    },
    procs::{NameSource, selector::Rule},
    trace::{Context, sdks::Paired},
};

/// Says of a span that it is in metrics of spans already, as OBI does.
const SPAN_METRICS_SKIP: &str = "span.metrics.skip";

/// Settings of the stage.
#[derive(Clone, Debug, Default)]
pub struct Config {
    /// How `http.route` is found.
    pub routes: route::Config,
    /// Which query values are secrets.
    pub redactor: Redactor,
    /// Which HTTP methods are known.
    pub methods: Methods,
    /// How histograms are kept.
    pub red: red::Config,
    /// What is done about services that have an SDK of OpenTelemetry.
    pub sdk: Sdk,
    /// `client.*` are the socket's other end, whatever a proxy says of the client (PROXY protocol).
    pub ignores_proxied_clients: bool,
    /// What is told of what happens below a request.
    pub inside: InsideAttributes,
    /// Which metrics there are.
    pub(crate) metrics: Metrics,
}

/// Which metrics there are, besides how they are kept.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Metrics {
    /// Who is shown what.
    pub readers: Readers,
    /// Most names of a service's spans; 0: any number.
    pub span_names: usize,
    /// Protocols whose requests have spans.
    pub spans_of: Protocols,
    /// Which requests are told; `None`: all.
    pub filter: Option<Filter>,
    /// Clients on other hosts that an agent there watches.
    pub watched_clients: Vec<Network>,
    /// Services that send spans themselves have no metrics of spans.
    pub leaves_spans: bool,
    /// What other ends in the service graph are called that have no name.
    pub(crate) unresolved: Unresolved,
}

impl Metrics {
    fn are_of_all_protocols(&self) -> bool {
        // Look-ups are asked about one by one.
        [self.spans_of, self.readers.protocols()].iter().all(|of| of.with(Protocols::DNS).is_all())
    }
}

/// The protocol of an exchange, as `instrumentations` call it.
fn protocols(operation: &Operation) -> Protocols {
    match operation {
        Operation::Http(_) => Protocols::HTTP,
        Operation::Rpc(_) => Protocols::CALLS,
        Operation::Db(db) => Protocols::of_system(db.system),
        Operation::Messaging(messaging) => Protocols::of_system(messaging.system),
        Operation::Dns(_) => Protocols::DNS,
    }
}

/// An exchange with all that is known of where it belongs.
#[derive(Debug)]
pub(crate) struct Record<'a> {
    /// What happened.
    pub exchange: Box<Exchange>,
    /// Over what.
    pub connection: &'a ConnectionInfo,
    /// Of which service instance.
    pub resource: &'a Arc<Resource>,
    /// What is configured for that.
    pub settings: &'a Settings,
    /// Its place in a trace.
    pub context: Context,
    /// The service at its other end, where the same request was seen there; asked for where [`Telemetry::draws_graph`].
    pub seen: Option<&'a Arc<Resource>>,
    /// That end is a client whose requests are edges: they are counted there.
    pub is_counted_there: bool,
    /// The list of states that came with what this is done for; what it carries itself goes before.
    pub handed_down: Option<CompactString>,
}

/// The stage. It belongs to the thread that reads the ring; others have its [metrics](Telemetry::metrics).
pub(crate) struct Telemetry {
    policy: Policy,
    router: Router,
    clock: Clock,
    services: Services,
    by_rule: service::ByRule,
    peers: Option<Arc<dyn PeerSource>>,
    names: Vec<Arc<dyn NameSource>>,
    sdk: Sdk,
    ignores_proxied_clients: bool,
    inside: InsideAttributes,
    select: Select,
    metrics: Metrics,
    /// Spans and metrics are of every protocol.
    of_all_protocols: bool,
    red: Writer,
    free: Free,
}

/// What is the same for all groups.
struct Common<'a> {
    role: Role,
    outcome: Outcome,
    protocol: &'static str,
    connection: &'a ConnectionInfo,
    resource: &'a Arc<Resource>,
    settings: &'a Settings,
    context: Context,
    /// It goes into histograms.
    is_counted: bool,
    /// Groups of metrics that it goes into.
    features: Features,
    /// It goes into those that are made of spans.
    is_span: bool,
    /// It goes into the service graph.
    is_edge: bool,
    remote: Remote<'a>,
    peers: Option<&'a dyn PeerSource>,
    seen: Option<&'a Arc<Resource>>,
    is_counted_there: bool,
    metrics: &'a Metrics,
    /// Its span is exported, as far as is known before its route is.
    is_kept: bool,
    /// The span of an SDK that describes the same.
    described_by: Option<TraceParent>,
    duration_s: f64,
    start_unix_ns: u64,
    end_unix_ns: u64,
}

impl Telemetry {
    /// The stage, with no series.
    #[must_use]
    pub(crate) fn new(config: Config, clock: Clock) -> Self {
        Self {
            policy: Policy { methods: config.methods, redactor: config.redactor },
            router: Router::new(config.routes),
            clock,
            services: Services::default(),
            by_rule: service::ByRule::default(),
            peers: None,
            names: Vec::new(),
            sdk: config.sdk,
            ignores_proxied_clients: config.ignores_proxied_clients,
            inside: config.inside,
            select: config.red.select.clone(),
            red: Writer::new(config.red, config.metrics.readers),
            of_all_protocols: config.metrics.are_of_all_protocols(),
            metrics: config.metrics,
            free: Free::default(),
        }
    }

    /// What exporters read.
    #[must_use]
    pub(crate) fn metrics(&self) -> RedMetrics {
        self.red.reader()
    }

    /// Sets the clock by the system's.
    pub(crate) fn refresh_clock(&mut self, offset: Offset) {
        self.clock.refresh(offset);
    }

    /// From now on the other side of requests is named by what is known there.
    pub(crate) fn set_peers(&mut self, peers: Arc<dyn PeerSource>) {
        self.peers = Some(peers);
    }

    /// From now on other sides that only have an address are called as the first of these does that knows it.
    pub(crate) fn set_names(&mut self, names: Vec<Arc<dyn NameSource>>) {
        self.names = names;
    }

    /// Takes back what spans are made of that nobody needs any more.
    pub(crate) fn recycle(&mut self, spans: impl Iterator<Item = Span>) {
        spans.for_each(|span| self.free.give_back(span.attributes));
    }

    /// Takes out of a span what spans are not to have.
    pub(crate) fn leave_out(&self, span: &mut Span) {
        if !self.select.keeps_all_of_spans() {
            span.attributes.retain(|attribute| self.select.spans_keep(attribute.key));
        }
    }

    /// Whether spans are kept by tail rules from now on.
    pub(crate) fn set_tail_rules(&mut self, is_in_force: bool) {
        self.red.set_tail_rules(is_in_force);
    }

    /// Whether traces are kept, as tail rules say.
    pub(crate) fn on_tail_decisions(&mut self, traces: impl IntoIterator<Item = (TraceId, bool)>) {
        self.red.decided(traces);
    }

    /// Takes up other secrets.
    pub(crate) fn set_redactor(&mut self, redactor: Redactor) {
        self.policy.redactor = redactor;
    }

    /// Takes up other routes. What services have been learnt to serve stays.
    pub(crate) fn set_routes(&mut self, routes: route::Config) {
        self.router = Router::new(routes);
        self.services.forget_route_names();
    }

    /// A service instance serves these routes, as its program's files tell.
    pub(crate) fn set_program_routes(&mut self, resource: &Arc<Resource>, routes: &[ProgramRoute]) {
        self.services.set_program_routes(resource, Arc::new(ProgramRoutes::new(routes)));
    }

    /// What is done about services that have an SDK from now on. Gives whether that is something else than before.
    pub(crate) fn set_sdk(&mut self, sdk: Sdk) -> bool {
        std::mem::replace(&mut self.sdk, sdk) != sdk
    }

    /// Which metrics there are from now on. What was counted so far stays.
    pub(crate) fn set_metrics(&mut self, metrics: Metrics) {
        self.red.set_readers(metrics.readers);
        self.of_all_protocols = metrics.are_of_all_protocols();
        self.metrics = metrics;
    }

    /// What is told of what happens below a request from now on.
    pub(crate) const fn set_below(&mut self, inside: InsideAttributes, ignores_proxied_clients: bool) {
        (self.inside, self.ignores_proxied_clients) = (inside, ignores_proxied_clients);
    }

    /// Which attributes metrics and spans have from now on.
    pub(crate) fn set_select(&mut self, select: Select) {
        self.select = select.clone();
        self.red.set_select(select);
    }

    /// Whether a service's requests are edges of the service graph.
    #[must_use]
    pub(crate) fn draws_graph(&self, settings: &Settings) -> bool {
        self.metrics.readers.kept(settings.features).has(Features::SERVICE_GRAPH)
    }

    /// Whether any service's are, as far as it was asked for their settings.
    #[must_use]
    pub(crate) fn may_draw_graph(&self) -> bool {
        self.metrics.readers.kept(None).has(Features::SERVICE_GRAPH) || self.by_rule.has(Features::SERVICE_GRAPH)
    }

    /// What is done about a service that has one.
    #[must_use]
    pub(crate) fn sdk(&self, settings: &Settings) -> Sdk {
        settings.sdk.unwrap_or(self.sdk)
    }

    /// What the rule that a service is watched by sets.
    pub(crate) fn settings(&mut self, rule: Option<&Arc<Rule>>) -> Arc<Settings> {
        self.by_rule.get(rule)
    }

    /// How many spans there were by runtime, and by what says whose child they are (in the order of [`Evidence::WORDS`]).
    ///
    /// [`Evidence::WORDS`]: crate::trace::Evidence::WORDS
    #[must_use]
    pub(crate) fn parents(&self) -> &[(CompactString, ByEvidence)] {
        self.services.parents()
    }

    /// Records come from here on, until [`Telemetry::end_round`].
    pub(crate) fn begin_round(&mut self) {
        self.red.begin();
    }

    /// Lets readers of the metrics in.
    pub(crate) fn end_round(&mut self) {
        self.red.end();
    }

    /// Takes an exchange into the metrics, and gives its span if it is sampled. One whose end was not seen is in no
    /// histogram; its span says so.
    pub(crate) fn on_record(&mut self, record: Record<'_>) -> Option<Span> {
        let Record { exchange, connection, resource, settings, context, seen, is_counted_there, handed_down } = record;
        let Exchange {
            role,
            thread,
            start_ns,
            first_byte_ns,
            end_ns,
            outcome,
            protocol,
            mut operation,
            inside,
            parent: carried,
            ..
        } = *exchange;
        // Both ends by the same offset: see `clock`.
        let duration_ns = end_ns.saturating_sub(start_ns);
        let start_unix_ns = self.clock.unix_ns(start_ns);
        let end_unix_ns = start_unix_ns.saturating_add(duration_ns);
        let peer = self.peer(connection, role);
        let name = self.names.iter().find_map(|names| names.name(resource.pid, role, connection));
        let client = connection.client.filter(|_| !self.ignores_proxied_clients);
        let remote = Remote { peer: peer.as_deref(), name: name.as_ref(), client };
        let is_paired = self.sdk(settings) == Sdk::Pair;
        let (service, is_rest) = self.services.get_or_insert(resource);
        if !is_rest
            && let Some(signal) = service.own_exports.notice(role, outcome, &operation)
            && signal == Signal::Metrics
            && is_paired
        {
            tracing::info!(
                service = %resource.service_name, pid = resource.pid.0, ?signal,
                "left to the service, which sends it by itself (discovery.sdk)"
            );
        }
        let leaves_metrics = is_paired && service.own_exports.has(Signal::Metrics);
        let is_export = is_paired && role == Role::Client && service.own_exports.is_of_its_own(&operation);
        let is_described = matches!(context.paired, Paired::Described | Paired::Excluded) || is_export;
        let features = self.metrics.readers.kept(settings.features);
        // Mostly all are, and nothing is to be looked up.
        let (has_metrics, has_span) = if self.of_all_protocols && !matches!(operation, Operation::Dns(_)) {
            (true, true)
        } else {
            let its = protocols(&operation);
            (self.metrics.readers.protocols().has(its), self.metrics.spans_of.has(its))
        };
        let is_told = outcome != Outcome::Unseen && !settings.hides_metrics && context.paired != Paired::Excluded;
        let leaves_spans = self.metrics.leaves_spans && service.own_exports.has(Signal::Traces);
        let is_span = is_told && !is_export && !leaves_spans && features.has(Features::ANY_SPAN);
        // Exemplars name the span that there is, and none that may turn out not to be.
        let is_named = matches!(context.paired, Paired::Described | Paired::Undecided);
        let described_by = carried.filter(|_| role == Role::Client && is_named);
        let common = Common {
            role,
            outcome,
            protocol,
            connection,
            resource,
            settings,
            context,
            is_counted: is_told && has_metrics && !leaves_metrics && features.has(Features::RED.with(Features::SIZES)),
            features,
            is_span,
            is_edge: is_told && features.has(Features::SERVICE_GRAPH),
            remote,
            peers: self.peers.as_deref(),
            seen,
            is_counted_there,
            metrics: &self.metrics,
            is_kept: context.is_sampled() && has_span && !settings.hides_spans && !is_described,
            described_by,
            duration_s: seconds(duration_ns),
            start_unix_ns,
            end_unix_ns,
        };
        let (trace_state, baggage) = (operation.take_trace_state(), operation.take_baggage());
        let carried_links = operation.take_links();
        // It belongs to the caller's span: to no other.
        let trace_state = trace_state.filter(|_| context.parent.is_some()).or(handed_down);
        let (policy, router, red, free) = (&self.policy, &mut self.router, &mut self.red, &mut self.free);
        let runtime = service.runtime;
        let described = match operation {
            Operation::Http(http) => {
                let facts = http::Facts::of(http, role, outcome, connection, policy, remote);
                common.tell(facts, policy, router, service, red, free)
            }
            Operation::Rpc(rpc) => {
                let facts = rpc::Facts::of(rpc, role, outcome, connection, remote);
                common.tell(facts, policy, router, service, red, free)
            }
            Operation::Db(db) => {
                let facts = db::Facts::of(db, role, outcome, connection, remote);
                common.tell(facts, policy, router, service, red, free)
            }
            Operation::Messaging(messaging) => {
                let facts = messaging::Facts::of(messaging, role, outcome, connection, remote);
                common.tell(facts, policy, router, service, red, free)
            }
            Operation::Dns(dns) => {
                let facts = dns::Facts::of(dns, role, outcome, connection, remote);
                common.tell(facts, policy, router, service, red, free)
            }
        };
        let Described { name, kind, status, mut attributes } = described?;
        self.services.count_parent(runtime, &context);
        if let Some(first_byte_ns) = first_byte_ns.filter(|first_byte_ns| *first_byte_ns != end_ns) {
            let waited_s = seconds(first_byte_ns.saturating_sub(start_ns));
            attributes.push(semconv::BEYLA_TIME_TO_FIRST_BYTE, Value::Double(waited_s));
        }
        inside::push(&inside, connection, &self.inside, &mut attributes);
        attributes.push(semconv::BEYLA_PARENT_EVIDENCE, Value::Static(context.evidence()));
        if let Some(peer) = peer {
            attributes.push(semconv::SERVICE_PEER_NAME, Value::Str(peer.name.clone()));
            attributes.push(semconv::SERVICE_PEER_NAMESPACE, Value::Str(peer.namespace.clone()));
        }
        for (key, value) in baggage.entries() {
            attributes.push_foreign(key, value);
        }
        // Whoever makes metrics of spans need not count it again.
        attributes.push_flag(SPAN_METRICS_SKIP, is_span && features.has(Features::SPAN.with(Features::SPAN_OTEL)));
        attributes.push_flag(semconv::BEYLA_CONNECTION_UNBOUND, connection.remote == Endpoint::Unknown);
        Some(Span {
            trace_id: context.trace_id,
            span_id: context.span_id,
            parent: context.parent.map(|(parent, _)| parent),
            flags: context.flags,
            // It belongs to the caller's span: to no other.
            trace_state: context.sampled.written_to(trace_state.as_deref().unwrap_or_default()),
            kind,
            name,
            start_unix_ns,
            end_unix_ns,
            status,
            links: {
                let own = context.link.map(|span_id| Link { trace_id: context.trace_id, span_id });
                let carried = carried_links.iter().map(|it| Link { trace_id: it.trace_id, span_id: it.span_id });
                let poll = context.poll.map(|(trace_id, span_id)| Link { trace_id, span_id });
                own.into_iter().chain(poll).chain(carried).collect()
            },
            attributes: attributes.into_vec(),
            resource: Arc::clone(resource),
            pid: if thread.tgid.is_some() { thread.tgid } else { resource.pid },
            local: connection.local.clone(),
        })
    }

    /// What a method counts as.
    #[must_use]
    pub(crate) fn method(&self, method: Option<&str>) -> Method {
        self.policy.methods.find(method)
    }

    /// Sets how many requests with a method a service instance's HTTP servers are answering
    /// (`http.server.active_requests`).
    pub(crate) fn set_active_requests(&mut self, resource: &Arc<Resource>, scheme: Scheme, method: Method, open: u64) {
        let exports = self.services.get(resource).map(|service| service.own_exports).unwrap_or_default();
        if !(self.sdk == Sdk::Pair && exports.has(Signal::Metrics)) {
            let value = self.policy.methods.value(method);
            self.red.set_active(resource, scheme, value, open);
        }
    }

    /// The service at the other end, if the cluster knows it. A client's port says nothing.
    fn peer(&self, connection: &ConnectionInfo, role: Role) -> Option<Arc<Peer>> {
        let peers = self.peers.as_ref()?;
        let Endpoint::Inet(remote) = &connection.remote else { return None };
        peers.peer(remote.ip(), (role == Role::Client).then_some(remote.port()))
    }
}

impl Common<'_> {
    /// Hands an exchange to the metrics, and describes its span if that is exported.
    fn tell<C: Conventions>(
        self,
        mut facts: C,
        policy: &Policy,
        router: &mut Router,
        service: &mut Service,
        red: &mut Writer,
        free: &mut Free,
    ) -> Option<Described> {
        let (mut is_counted, mut is_kept) = (self.is_counted, self.is_kept);
        let (mut is_span, mut is_edge) = (self.is_span, self.is_edge);
        // A route is made of the path's words, and goes into metrics too: secrets are out before.
        let path = facts.path().map(|path| policy.redactor.path(path));
        let route = path.as_deref().and_then(|path| {
            let ignored = router.ignores(path);
            is_counted &= !ignored.metrics;
            is_span &= !ignored.metrics;
            is_edge &= !ignored.metrics;
            is_kept &= !ignored.span;
            match self.role {
                Role::Server => {
                    let given = router.given(&self.settings.incoming, path);
                    let own = || service.program_routes.as_ref()?.find(path);
                    let given = given.or_else(own);
                    given.or_else(|| router.route(&mut service.routes, path, facts.http_status()))
                }
                Role::Client => router.given(&self.settings.outgoing, path),
            }
        });
        drop(path);
        if let Some(route) = route {
            facts.set_route(route);
        }
        if let Some(filter) = &self.metrics.filter {
            let its = facts.clone().describe(self.connection, policy, free.take()).attributes.into_vec();
            if !filter.lets_through(&its, self.resource) {
                (is_counted, is_span, is_edge, is_kept) = (false, false, false, false);
            }
            free.give_back(its);
        }
        let is_certain = is_kept && self.context.paired == Paired::Alone;
        let own = is_certain.then_some((self.context.trace_id, self.context.span_id));
        let span = self.described_by.map(|it| (it.trace_id, it.span_id)).or(own);
        let at_unix_ns = self.end_unix_ns;
        let sample = Sample {
            duration_s: self.duration_s,
            body_bytes: facts.body_sizes(),
            messages: facts.messages(),
            start_unix_ns: self.start_unix_ns,
            end_unix_ns: at_unix_ns,
            exemplar: span.map(|(trace_id, span_id)| Exemplar { at_unix_ns, value: 0.0, trace_id, span_id }),
            is_call: true,
            is_failed: facts.status() == Status::Error,
        };
        let Self { role, connection, resource, protocol, outcome, .. } = self;
        let mut others = Vec::new();
        let name = is_span.then(|| service.span_name(facts.name(policy), self.metrics.span_names));
        if let Some(name) = &name {
            others.push((Family::Span, graph::span_labels(name, facts.kind(), facts.status()), sample.clone()));
        }
        let share = is_edge.then(|| {
            let watched = &self.metrics.watched_clients;
            graph::share(role, self.is_counted_there, connection, watched, |ip| {
                self.peers.is_some_and(|peers| peers.is_here(ip))
            })
        });
        let node = share.filter(|share| *share != Share::Left).map(|share| {
            let seen = self.seen.map(|seen| &**seen);
            let unresolved = &self.metrics.unresolved;
            (Node::of(role, seen, facts.server(), self.remote, connection, resource, unresolved), share)
        });
        if let Some((node, share)) = &node {
            let sample = Sample { is_call: *share == Share::Counted, ..sample.clone() };
            others.push((Family::Edge(role), node.labels(role.other(), C::GROUP), sample));
        }
        let measured = is_counted.then(|| {
            let has_sizes = self.features.has(Features::SIZES);
            let body_bytes = if has_sizes { sample.body_bytes } else { [None; 2] };
            (facts.family(), facts.labels(policy), Sample { body_bytes, ..sample })
        });
        let is_unsampled = !self.context.is_sampled();
        let (of_rule, is_left_edge) = (self.settings.features, share == Some(Share::Left));
        red.record(Entry { resource, protocol, outcome, is_unsampled, of_rule, measured, others, is_left_edge });
        is_kept.then(|| facts.describe(connection, policy, free.take()))
    }
}

/// `url.scheme` of `http.server.active_requests`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

fn seconds(ns: u64) -> f64 {
    ns as f64 / 1e9
}
