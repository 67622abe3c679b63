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

/// The spans of a recording, in the order in which they were told. They are all of one service: who a process was is not
/// recorded.
///
/// # Errors
/// When it is none, or of another version.
pub fn replay(recording: &str, config: telemetry::Config) -> Result<Vec<Span>, ReplayError> {
    let mut lines = recording.lines();
    let head = head(&mut lines)?;
    let clock = Clock::new(Offset { ns: head.unix_offset_ns, error_ns: 0 });
    let mut connections = Connections::new(Limits::default(), head.since_ns);
    let mut stages = Stages {
        tracer: Tracer::new(Ids::from_seed([0; 32]), Sampler::default()),
        telemetry: Telemetry::new(config, clock),
        resource: Arc::new(Resource { service_name: "recorded".into(), ..Resource::default() }),
        spans: Vec::new(),
    };
    let mut sink = |connection: &ConnectionInfo, told: Event| stages.on_event(connection, told);
    for (index, line) in lines.enumerate() {
        let entry = serde_json::from_str(line).map_err(|source| ReplayError::Line { line: index + 2, source })?;
        match entry {
            // One that was put behind another.
            Entry::Recording(_) => return Err(ReplayError::NoHead),
            Entry::Open(open) => {
                let asked = |_: IpAddr| open.asked.as_deref().map(Arc::from);
                connections.on_open(&open.event(), asked, &mut sink);
            }
            Entry::Data(data) => {
                let _wanted = connections.on_data(&data.event(), &mut sink);
            }
            Entry::State(state) => {
                if let Some(state) = state.event() {
                    connections.on_state(&state, &mut sink);
                }
            }
            Entry::Bind(bind) => connections.on_bind(&bind.event()),
            Entry::Exit { tgid, at_ns } => connections.on_exit(tgid, at_ns, &mut sink),
            Entry::Resumed { tgid, at_ns } => connections.on_resumed(tgid, at_ns),
            Entry::TlsProbed { at_ns } => connections.on_tls_probed(at_ns),
            Entry::Lost { at_ns } => connections.on_losses(at_ns),
            Entry::UnixClosed { conn, before_ns, at_ns } => {
                connections.on_unix_closed(conn, before_ns, at_ns, &mut sink);
            }
            Entry::Tick { at_ns } => connections.on_tick(at_ns, &mut sink),
            Entry::Stop { at_ns } => connections.on_stop(at_ns, &mut sink),
            Entry::Cut { .. } => break,
        }
    }
    Ok(stages.spans)
}

fn head<'a>(lines: &mut Lines<'a>) -> Result<Head<'a>, ReplayError> {
    match lines.next().map(serde_json::from_str) {
        Some(Ok(Entry::Recording(head))) if head.version == VERSION => Ok(head),
        Some(Ok(Entry::Recording(Head { version, .. }))) => Err(ReplayError::Version { version }),
        _ => Err(ReplayError::NoHead),
    }
}

/// What follows connections.
struct Stages {
    tracer: Tracer,
    telemetry: Telemetry,
    resource: Arc<Resource>,
    spans: Vec<Span>,
}

impl Stages {
    fn on_event(&mut self, connection: &ConnectionInfo, event: Event) {
        let (key, exchange) = match event {
            Event::Opened(opened) => return self.tracer.on_opened(connection, &opened, || None),
            Event::Answered(key, thread) => return self.tracer.on_answered(key, thread),
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
        };
        self.spans.extend(self.telemetry.on_record(record));
        self.telemetry.end_round();
    }
}
