//! What protocols tell goes through trace and telemetry to who exports spans: one way for all of it.

use std::sync::{Arc, mpsc};

use super::{settling::Settling, waiting::Waiting};
use crate::{
    export::SpanSink,
    model::{
        exchange::{Event, Exchange},
        ids::ProcessId,
        net::ConnectionInfo,
        propagation::Propagation,
        span::Span,
    },
    procs::{ProcessTable, Service},
    telemetry::{Record, Telemetry, clock::monotonic_ns, redact::Redactor, route},
    trace::{Context, Tracer, sampling::Sampler},
};

/// Spans that are handed on at once, within a round too: one record can hold hundreds of requests. Few enough that they are
/// still in the processor's cache then.
const SPANS_TOGETHER: usize = 512;

/// A setting that is taken up while the agent runs.
#[derive(Debug)]
pub enum Change {
    /// What is read of the context that requests carry.
    Propagation(Propagation),
    /// Which spans are kept.
    Sampler(Sampler),
    /// How routes are found.
    Routes(route::Config),
    /// What is a secret.
    Redactor(Redactor),
    /// Whether a signal that a service sends itself is left to it.
    LeavesOwnExports(bool),
}

/// The stages behind protocols.
pub(super) struct Stages {
    processes: Arc<ProcessTable>,
    waiting: Waiting,
    settling: Settling,
    pub(super) tracer: Tracer,
    pub(super) telemetry: Telemetry,
    changes: mpsc::Receiver<Change>,
    /// Another one for the stages before, which is still to be taken.
    propagation: Option<Propagation>,
    sink: SpanSink,
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
            tracer,
            telemetry,
            changes,
            propagation: None,
            sink,
            spans: Vec::new(),
            last: None,
        }
    }

    /// To be called before events come.
    pub(super) fn begin_round(&mut self) {
        while let Ok(change) = self.changes.try_recv() {
            match change {
                Change::Propagation(propagation) => self.propagation = Some(propagation),
                Change::Sampler(sampler) => self.tracer.set_sampler(sampler),
                Change::Routes(routes) => self.telemetry.set_routes(routes),
                Change::Redactor(redactor) => self.telemetry.set_redactor(redactor),
                Change::LeavesOwnExports(leaves) => self.telemetry.leave_own_exports(leaves),
            }
        }
        self.telemetry.begin_round();
        self.last = None;
        for (connection, exchange, context) in self.waiting.release() {
            let service = self.processes.service(exchange.thread.tgid);
            self.record(&connection, exchange, context, &service);
        }
    }

    /// What of the context that requests carry is to be read from now on, if that has changed.
    pub(super) const fn take_propagation(&mut self) -> Option<Propagation> {
        self.propagation.take()
    }

    /// Lets go of what has its place in a trace now.
    fn settle(&mut self, now_ns: u64) {
        self.tracer.on_time(now_ns);
        let joined = self.tracer.take_joined();
        for (connection, exchange, context) in self.settling.release(&joined, now_ns) {
            self.record_or_hold(&connection, exchange, context);
        }
    }

    /// To be called when there are no more for now.
    pub(super) fn end_round(&mut self) {
        self.settle(monotonic_ns());
        self.telemetry.end_round();
        self.flush();
    }

    /// A request has begun, or is over.
    pub(super) fn on_event(&mut self, connection: &ConnectionInfo, event: Event) {
        match event {
            Event::Opened(opened) => self.tracer.on_opened(connection, &opened),
            Event::Finished(key, exchange) => {
                let context = self.tracer.on_finished(key, &exchange);
                if let Some(until_ns) = self.tracer.settles_ns(&context) {
                    return self.settling.hold(until_ns, connection, exchange, context);
                }
                self.record_or_hold(connection, exchange, context);
            }
        }
    }

    fn record_or_hold(&mut self, connection: &ConnectionInfo, exchange: Exchange, context: Context) {
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
    }

    fn record(&mut self, connection: &ConnectionInfo, exchange: Exchange, mut context: Context, service: &Service) {
        let Service { resource, rule } = service;
        let settings = self.telemetry.settings(rule.as_ref());
        self.tracer.sample(&mut context, settings.sampler.as_ref());
        let record = Record { exchange, connection, resource, settings: &settings, context };
        if let Some(span) = self.telemetry.on_record(record) {
            self.spans.push(span);
            if self.spans.len() >= SPANS_TOGETHER {
                self.flush();
            }
        }
    }

    fn flush(&mut self) {
        if !self.spans.is_empty() {
            self.spans = self.sink.push(std::mem::take(&mut self.spans));
        }
    }
}
