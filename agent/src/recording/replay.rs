//! Reads a recording, and carries it through connections, protocols, trace and telemetry as the pipeline does.

use std::{net::IpAddr, str::Lines, sync::Arc};

use thiserror::Error;

use super::entry::{Entry, Head, VERSION};
use crate::{
    conn::{Connections, Limits},
    model::{
        exchange::Event,
        net::ConnectionInfo,
        span::{Resource, Span},
    },
    telemetry::{
        self, Record, Telemetry,
        clock::{Clock, Offset},
    },
    trace::{Tracer, ids::Ids, sampling::Sampler},
};

/// Why a recording cannot be replayed.
#[derive(Debug, Error)]
pub enum ReplayError {
    /// It does not say what it is.
    #[error("this is no recording: its first line does not say so")]
    NoHead,
    /// Of another version.
    #[error("the recording is of version {version} of its format, and {VERSION} can be read")]
    Version {
        /// Its version.
        version: u32,
    },
    /// A line is no entry.
    #[error("line {line}: {source}")]
    Line {
        /// Counted from 1.
        line: usize,
        /// What is wrong.
        source: serde_json::Error,
    },
}

/// A recording that was read.
pub(super) struct Replay<'a> {
    head: Head<'a>,
    entries: Vec<Entry<'a>>,
}

impl<'a> Replay<'a> {
    /// Reads one.
    pub(super) fn read(recording: &'a str) -> Result<Self, ReplayError> {
        let mut lines = recording.lines();
        let head = head(&mut lines)?;
        let mut entries = Vec::new();
        for (index, line) in lines.enumerate() {
            match serde_json::from_str(line).map_err(|source| ReplayError::Line { line: index + 2, source })? {
                // One that was put behind another.
                Entry::Recording(_) => return Err(ReplayError::NoHead),
                Entry::Cut { .. } => break,
                entry => entries.push(entry),
            }
        }
        Ok(Self { head, entries })
    }

    /// Between the clock of its times and Unix time.
    pub(super) fn clock(&self) -> Clock {
        Clock::new(Offset { ns: self.head.unix_offset_ns, error_ns: 0 })
    }

    /// Tells connections all of it, and `sink` what they tell.
    pub(super) fn run(&self, sink: &mut impl FnMut(&ConnectionInfo, Event)) {
        let mut connections = Connections::new(Limits::default(), self.head.since_ns);
        for entry in &self.entries {
            match entry {
                Entry::Recording(_) | Entry::Cut { .. } => {}
                Entry::Open(open) => {
                    let asked = |_: IpAddr| open.asked.as_deref().map(Arc::from);
                    connections.on_open(&open.event(), asked, sink);
                }
                Entry::Data(data) => {
                    let _wanted = connections.on_data(&data.event(), sink);
                }
                Entry::State(state) => {
                    if let Some(state) = state.event() {
                        connections.on_state(&state, sink);
                    }
                }
                Entry::Bind(bind) => connections.on_bind(&bind.event()),
                Entry::Exit { tgid, at_ns } => connections.on_exit(*tgid, *at_ns, sink),
                Entry::Resumed { tgid, at_ns } => connections.on_resumed(*tgid, *at_ns),
                Entry::TlsProbed { at_ns } => connections.on_tls_probed(*at_ns),
                Entry::Lost { at_ns } => connections.on_losses(*at_ns),
                Entry::UnixClosed { conn, before_ns, at_ns } => {
                    connections.on_unix_closed(*conn, *before_ns, *at_ns, sink);
                }
                Entry::Tick { at_ns } => connections.on_tick(*at_ns, sink),
                Entry::Stop { at_ns } => connections.on_stop(*at_ns, sink),
            }
        }
    }
}

/// The spans of a recording, in the order in which they were told. They are all of one service: who a process was is not
/// recorded.
///
/// # Errors
/// When it is none, or of another version.
pub fn replay(recording: &str, config: telemetry::Config) -> Result<Vec<Span>, ReplayError> {
    let replay = Replay::read(recording)?;
    let mut stages = Stages::new(config, replay.clock());
    let mut spans = Vec::new();
    replay.run(&mut |connection, told| spans.extend(stages.on_event(connection, told)));
    Ok(spans)
}

fn head<'a>(lines: &mut Lines<'a>) -> Result<Head<'a>, ReplayError> {
    match lines.next().map(serde_json::from_str) {
        Some(Ok(Entry::Recording(head))) if head.version == VERSION => Ok(head),
        Some(Ok(Entry::Recording(Head { version, .. }))) => Err(ReplayError::Version { version }),
        _ => Err(ReplayError::NoHead),
    }
}

/// What follows connections.
pub(super) struct Stages {
    pub(super) tracer: Tracer,
    pub(super) telemetry: Telemetry,
    resource: Arc<Resource>,
}

impl Stages {
    pub(super) fn new(config: telemetry::Config, clock: Clock) -> Self {
        Self {
            tracer: Tracer::new(Ids::from_seed([0; 32]), Sampler::default()),
            telemetry: Telemetry::new(config, clock),
            resource: Arc::new(Resource { service_name: "recorded".into(), ..Resource::default() }),
        }
    }

    /// Where a request is over: its span, if it has one.
    pub(super) fn on_event(&mut self, connection: &ConnectionInfo, event: Event) -> Option<Span> {
        let (key, exchange) = match event {
            Event::Carried(trace_id, span_id, state) => {
                self.tracer.states.insert((trace_id, span_id), state);
                return None;
            }
            Event::Opened(opened) => {
                self.tracer.on_opened(connection, &opened, || None);
                return None;
            }
            Event::Answered(key, thread) => {
                self.tracer.on_answered(key, thread);
                return None;
            }
            Event::Polled(polled) => {
                self.tracer.on_polled(connection.id, &polled);
                return None;
            }
            Event::Finished(key, exchange) => (key, exchange),
        };
        let mut context = self.tracer.on_finished(key, &exchange);
        let settings = self.telemetry.settings(None);
        self.tracer.sample(&mut context, None, "", exchange.start_ns);
        self.telemetry.begin_round();
        let record = Record {
            exchange,
            connection,
            resource: &self.resource,
            settings: &settings,
            context,
            seen: None,
            is_counted_there: false,
            handed_down: self.tracer.states.handed_down(&context),
        };
        let span = self.telemetry.on_record(record);
        self.telemetry.end_round();
        span
    }
}
