//! What protocols tell goes through trace and telemetry to who exports spans: one way for all of it.

use std::sync::{Arc, mpsc};

use super::{limits::Room, pairing::Pairing, settling::Settling, tail::TailHold, waiting::Waiting};
use crate::{
    config::{InsideAttributes, Limits, Sdk, Tail},
    export::SpanSink,
    model::{
        exchange::{Baggage, Event, Exchange},
        ids::ProcessId,
        net::{ConnectionInfo, Role},
        probability::has_others,
        propagation::{Format, Propagation},
        route::ProgramRoute,
        span::{Kind, Span},
        trace_context::EnvironmentContext,
    },
    procs::{ProcessTable, Service, selector::Selector},
    telemetry::{
        Metrics, Record, Telemetry, carries_spans, clock::monotonic_ns, redact::Redactor, route, select::Select,
    },
    trace::{
        Context, Evidence, MEETING_NS, Tracer,
        health::HealthRules,
        sampling::Sampler,
        sdks::{Facts, Paired},
    },
};

/// Spans that are handed on at once, within a round too: one record can hold hundreds of requests. Few enough that they are
/// still in the processor's cache then.
const SPANS_TOGETHER: usize = 64;

/// A setting that is taken up while the agent runs.
#[derive(Debug)]
pub(crate) enum Change {
    /// What is read of the context that requests carry.
    Propagation(Propagation),
    /// What tells health checks.
    HealthChecks(Option<HealthRules>),
    /// Which spans are kept, and whether services have samplers of their own.
    Sampler(Sampler, bool),
    /// What is kept once a trace is over.
    Tail(Tail),
    /// How routes are found.
    Routes(route::Config),
    /// What is a secret.
    Redactor(Redactor),
    /// What is done about services that have an SDK.
    Sdk(Sdk),
    /// Which metrics there are.
    Metrics(Metrics),
    /// Which attributes metrics and spans have.
    Select(Select),
    /// What is told of what happens below a request, and whether its client is the other end of its socket whatever a proxy says.
    Below(InsideAttributes, bool),
    /// What the agent itself may use.
    Limits(Limits),
    /// Which processes are watched, and what they are called.
    Selector(Selector),
}

/// The stages behind protocols.
pub(super) struct Stages {
    processes: Arc<ProcessTable>,
    waiting: Waiting,
    settling: Settling,
    /// Spans of which their process's SDK may have one itself.
    pairing: Pairing,
    tail: Option<TailHold>,
    /// Spans that tail rules did not keep, before those that are in force.
    dropped_before: u64,
    pub(super) tracer: Tracer,
    pub(super) telemetry: Telemetry,
    changes: mpsc::Receiver<Change>,
    pub(super) propagation: Propagation,
    /// What is for the stages before.
    earlier: Vec<Change>,
    sink: SpanSink,
    room: Room,
    spans: Vec<Span>,
    /// What was asked for last in this round: mostly a process answers many requests in turn.
    last: Option<Asked>,
}

/// A process's service, and how much had changed of processes by then.
struct Asked {
    tgid: ProcessId,
    changes: u64,
    service: Service,
}

impl Stages {
    pub(super) fn new(
        processes: Arc<ProcessTable>,
        waiting: Waiting,
        tracer: Tracer,
        telemetry: Telemetry,
        changes: mpsc::Receiver<Change>,
        sink: SpanSink,
    ) -> Self {
        Self {
            processes,
            waiting,
            settling: Settling::default(),
            pairing: Pairing::default(),
            tail: None,
            dropped_before: 0,
            tracer,
            telemetry,
            changes,
            propagation: Propagation { formats: Vec::new(), ..Propagation::default() },
            earlier: Vec::new(),
            sink,
            room: Room::default(),
            spans: Vec::new(),
            last: None,
        }
    }

    /// To be called before events come.
    pub(super) fn begin_round(&mut self) {
        while let Ok(change) = self.changes.try_recv() {
            match change {
                Change::Propagation(propagation) => {
                    self.propagation = propagation.clone();
                    self.earlier.push(Change::Propagation(propagation));
                }
                change @ (Change::HealthChecks(_) | Change::Limits(_)) => self.earlier.push(change),
                Change::Sampler(sampler, has_several) => self.tracer.set_sampler(sampler, has_several),
                Change::Tail(tail) => self.set_tail(&tail),
                Change::Routes(routes) => self.telemetry.set_routes(routes),
                Change::Redactor(redactor) => self.telemetry.set_redactor(redactor),
                Change::Select(select) => self.telemetry.set_select(select),
                Change::Below(inside, ignores_proxies) => self.telemetry.set_below(inside, ignores_proxies),
                Change::Metrics(metrics) => {
                    self.telemetry.set_metrics(metrics.clone());
                    self.earlier.push(Change::Metrics(metrics));
                }
                Change::Selector(selector) => self.processes.set_selector(selector),
                Change::Sdk(sdk) => {
                    if self.telemetry.set_sdk(sdk) {
                        self.tracer.sdks.ask_again();
                    }
                }
            }
        }
        self.telemetry.begin_round();
        self.last = None;
        for (connection, exchange, context) in self.waiting.release() {
            let service = self.processes.service(exchange.thread.tgid);
            self.record(&connection, exchange, context, &service);
        }
    }

    /// A process's own files tell these routes.
    pub(super) fn set_program_routes(&mut self, tgid: ProcessId, routes: &[ProgramRoute]) {
        let resource = self.processes.service(tgid).resource;
        tracing::info!(service = %resource.service_name, pid = tgid.0, routes = routes.len(), "routes are read from the program's files");
        self.telemetry.set_program_routes(&resource, routes);
    }

    /// A process's own files tell that it uses an SDK.
    pub(super) fn set_uses_sdk(&mut self, tgid: ProcessId) {
        tracing::debug!(pid = tgid.0, "its code uses OpenTelemetry's SDK");
        self.tracer.sdks.on_used(tgid);
    }

    /// Takes up tail rules.
    pub(super) fn set_tail(&mut self, tail: &Tail) {
        self.release_tail(u64::MAX);
        self.dropped_before = self.tail_dropped();
        self.tail = TailHold::new(tail);
        self.tracer.count_open(self.tail.is_some());
        self.telemetry.set_tail_rules(self.tail.is_some());
    }

    /// Spans that tail rules did not keep.
    pub(super) fn tail_dropped(&self) -> u64 {
        self.dropped_before + self.tail.as_ref().map_or(0, TailHold::dropped)
    }

    /// Lets go of the spans of traces that are over.
    fn release_tail(&mut self, now_ns: u64) {
        let Self { tail: Some(tail), tracer, telemetry, .. } = self else { return };
        let kept = tail.release(now_ns, |trace_id| tracer.is_open(trace_id));
        let decided = tail.take_decided();
        if !decided.is_empty() {
            telemetry.on_tail_decisions(decided);
        }
        kept.into_iter().for_each(|span| self.hand_on(span));
    }

    /// What waits for who exports spans has this part of its room from now on. Nobody waits until it is so.
    pub(super) fn set_room(&self, share: f64) {
        self.room.set(share, &self.sink);
    }

    /// What is for the stages before, since the last call.
    pub(super) fn take_earlier(&mut self) -> Vec<Change> {
        std::mem::take(&mut self.earlier)
    }

    /// Lets go of what has its place in a trace now.
    fn settle(&mut self, now_ns: u64) {
        self.tracer.on_time(now_ns);
        let (joined, met, settled) = (self.tracer.take_joined(), self.tracer.take_met(), self.tracer.take_settled());
        for (connection, exchange, context) in self.settling.release(&joined, &met, &settled, now_ns) {
            self.record_or_hold(&connection, exchange, context);
        }
    }

    /// To be called when there are no more for now.
    pub(super) fn end_round(&mut self) {
        let now_ns = monotonic_ns();
        self.settle(now_ns);
        self.release_paired(now_ns);
        self.release_tail(now_ns);
        self.telemetry.end_round();
        self.flush();
    }

    /// A request has begun, or is over.
    pub(super) fn on_event(&mut self, connection: &ConnectionInfo, event: Event) {
        match event {
            Event::Carried(trace_id, span_id, state) => self.tracer.states.insert((trace_id, span_id), state),
            Event::Opened(opened) => {
                self.look_at_sdk(opened.thread.tgid, opened.start_ns);
                let (processes, is_read) = (&self.processes, self.reads_environment());
                let mut given = None;
                let environment = || {
                    given = if is_read { processes.environment(opened.thread.tgid) } else { None };
                    Some(given.as_ref()?.parent)
                };
                self.tracer.on_opened(connection, &opened, environment);
                if let Some(EnvironmentContext { parent, trace_state: Some(state), .. }) = given.as_deref()
                    && has_others(state)
                {
                    self.tracer.states.insert((parent.trace_id, parent.span_id), state.clone());
                }
                if self.tracer.decides_at_beginning(&opened) {
                    let asked = self.ask(opened.thread.tgid);
                    let Service { resource, rule } = &asked.service;
                    let settings = self.telemetry.settings(rule.as_ref());
                    self.tracer.on_beginning(&opened, settings.sampler.as_ref(), &resource.service_name);
                    self.last = Some(asked);
                }
            }
            Event::Answered(key, thread) => self.tracer.on_answered(key, thread),
            Event::Polled(polled) => self.tracer.on_polled(connection.id, &polled),
            Event::Finished(key, mut exchange) => {
                if carries_spans(&exchange) {
                    let kinds = exchange.operation.exported_kinds();
                    tracing::debug!(pid = exchange.thread.tgid.0, role = ?exchange.role, ?kinds, "spans are exported");
                    self.tracer.sdks.on_export(exchange.thread.tgid, exchange.role, kinds);
                }
                let context = self.tracer.on_finished(key, &exchange);
                self.add_environment(&mut exchange, &context);
                let settles_ns = self.tracer.settles_ns(&context);
                let settled = match settles_ns.or_else(|| self.meets_ns(connection, &exchange, &context)) {
                    Some(until_ns) => self
                        .settling
                        .hold(until_ns, connection, exchange, context)
                        .inspect(|_| self.tracer.let_go(&context)),
                    None => Some(exchange),
                };
                if let Some(exchange) = settled {
                    self.record_or_hold(connection, exchange, context);
                }
            }
        }
    }

    /// Until when a call waits for its other end, which is watched: threads come to write down what they did in any order, and an edge
    /// of the service graph is to have its service's name.
    fn meets_ns(&self, connection: &ConnectionInfo, exchange: &Exchange, context: &Context) -> Option<u64> {
        let waits = connection.is_paired && exchange.role == Role::Client && context.other_end.is_none();
        (waits && self.telemetry.may_draw_graph()).then(|| exchange.end_ns.saturating_add(MEETING_NS))
    }

    /// Tells the tracer who else describes what a process does.
    fn look_at_sdk(&mut self, tgid: ProcessId, now_ns: u64) {
        let changes = self.processes.changes();
        if !self.tracer.sdks.asks(tgid, changes, now_ns) {
            return;
        }
        let asked = self.ask(tgid);
        let settings = self.telemetry.settings(asked.service.rule.as_ref());
        let found = self.processes.instrumentation(tgid);
        let facts = Facts {
            has_sdk: found.has_sdk(),
            is_automatic: found.is_automatic,
            describes_all: found.describes_all(),
            policy: self.telemetry.sdk(&settings),
        };
        self.tracer.sdks.set(tgid, changes, now_ns, facts);
        self.last = Some(asked);
    }

    /// Whether what a process was started with is read.
    fn reads_environment(&self) -> bool {
        self.propagation.formats.contains(&Format::TraceContext)
    }

    /// What belongs to the context that a request has by its process's environment.
    fn add_environment(&self, exchange: &mut Exchange, context: &Context) {
        let is_by_header = context.parent.is_some_and(|(_, evidence)| evidence == Evidence::Header);
        if !is_by_header || exchange.parent.is_some() {
            return;
        }
        if let Some(environment) = self.processes.environment(exchange.thread.tgid) {
            let baggage = environment.baggage.as_deref().map(|list| Baggage::of(list, &self.propagation.baggage));
            exchange.operation.set_carried(environment.trace_state.clone(), baggage.unwrap_or_default());
        }
    }

    fn record_or_hold(&mut self, connection: &ConnectionInfo, exchange: Box<Exchange>, context: Context) {
        let asked = self.ask(exchange.thread.tgid);
        if let Some(exchange) = self.waiting.hold(connection, exchange, context, &asked.service.resource) {
            self.record(connection, exchange, context, &asked.service);
        }
        self.last = Some(asked);
    }

    fn ask(&mut self, tgid: ProcessId) -> Asked {
        let changes = self.processes.changes();
        match self.last.take() {
            Some(asked) if asked.tgid == tgid && asked.changes == changes => asked,
            // Asked before what is asked for may change it.
            _ => Asked { tgid, changes, service: self.processes.service(tgid) },
        }
    }

    /// Holds nothing any more: the agent stops.
    pub(super) fn release_all(&mut self) {
        self.settle(u64::MAX);
        for (connection, exchange, context) in self.waiting.release_all() {
            let service = self.processes.service(exchange.thread.tgid);
            self.record(&connection, exchange, context, &service);
        }
        self.pairing.end();
        self.release_paired(u64::MAX);
        self.release_tail(u64::MAX);
    }

    fn record(
        &mut self,
        connection: &ConnectionInfo,
        mut exchange: Box<Exchange>,
        mut context: Context,
        service: &Service,
    ) {
        let Service { resource, rule } = service;
        // What was read was sent by then.
        exchange.start_ns = exchange.start_ns.min(context.read_ns.unwrap_or(u64::MAX));
        let settings = self.telemetry.settings(rule.as_ref());
        self.tracer.sample(&mut context, settings.sampler.as_ref(), &resource.service_name, exchange.start_ns);
        let end_ns = exchange.end_ns;
        let other_end = context.other_end.filter(|_| self.telemetry.draws_graph(&settings));
        let seen = other_end.map(|tgid| self.processes.service(tgid));
        // Rules may ask for the graph at one end only.
        let is_counted_there = seen.as_ref().is_some_and(|seen| {
            let settings = self.telemetry.settings(seen.rule.as_ref());
            self.telemetry.draws_graph(&settings)
        });
        let seen = seen.as_ref().map(|seen| &seen.resource);
        let handed_down = self.tracer.states.handed_down(&context);
        let record = Record {
            exchange,
            connection,
            resource,
            settings: &settings,
            context,
            seen,
            is_counted_there,
            handed_down,
        };
        let Some(span) = self.telemetry.on_record(record) else { return };
        if context.paired == Paired::Undecided && self.pairing.holds() {
            return self.pairing.hold(span, context, end_ns);
        }
        self.keep(span, &context, end_ns);
    }

    /// Lets go of spans of which it is known whether their process's SDK has one itself.
    fn release_paired(&mut self, now_ns: u64) {
        let Self { pairing, tracer, .. } = self;
        let of = |tgid, kind| match kind {
            Kind::Server => tracer.sdks.of_request(tgid, now_ns),
            _ => tracer.sdks.of_own_call(tgid, now_ns),
        };
        for held in pairing.release(now_ns, of) {
            self.keep(held.span, &held.context, held.end_ns);
        }
    }

    fn keep(&mut self, span: Span, context: &Context, end_ns: u64) {
        let span = match &mut self.tail {
            Some(tail) => tail.hold(span, self.tracer.is_open(context.trace_id), end_ns),
            None => Some(span),
        };
        if let Some(span) = span {
            self.hand_on(span);
        }
    }

    fn hand_on(&mut self, mut span: Span) {
        // Rules have seen all of it by now.
        self.telemetry.leave_out(&mut span);
        self.spans.push(span);
        if self.spans.len() >= SPANS_TOGETHER {
            self.flush();
        }
    }

    fn flush(&mut self) {
        if !self.spans.is_empty() {
            self.spans = self.sink.push(std::mem::take(&mut self.spans));
            self.telemetry.recycle(self.spans.drain(..));
        }
    }
}
