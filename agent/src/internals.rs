//! What end-to-end tests and benches look into. Nothing else is public but the [command line](crate::cli) and what it [runs](crate::run),
//! and nothing of this is an interface that is kept.

pub use crate::{
    kernel::capabilities::USED,
    procs::fs::ProcFs,
    protocols::{
        Chunk, Output,
        http2::{self, blocks::Blocks},
    },
    recording::{
        cost::{Bed, Cost, Stage},
        replay::replay,
    },
    tls::{Attachments, Finder},
};

/// The kernel side.
pub mod capture {
    pub use crate::capture::{
        Capture, Options,
        event::{Data, DataFlags, Event},
    };
}

/// The configuration.
pub mod config {
    pub use crate::config::{Environment, FlagLayer, Loaded, Sources};
}

/// Export.
pub mod export {
    pub use crate::export::{
        ExportConfig, Exporters, Fate, Ledger, MetricSource, OTLP,
        config::{Print, SpoolConfig, Temporality},
    };
}

/// The model.
pub mod model {
    pub use crate::model::{
        ids::{ConnectionId, ProcessId, ThreadId},
        metric::{Bounds, Exemplar, ExponentialPoint, HistogramPoint, Metric, NumberPoint, Points},
        net::{Direction, Endpoint, Role, Thread},
        span::{Attribute, Kind, Resource, Span, Status, Value},
        trace_context::{SpanId, TraceId},
    };
}

/// Telemetry.
pub mod telemetry {
    pub use crate::telemetry::{
        Config,
        route::{Config as RouteConfig, Router, Routes},
    };
}
