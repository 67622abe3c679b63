//! The words all stages share: pure data, no I/O, no clock. Imports nothing of ours.

pub(crate) mod b3;
pub(crate) mod baggage;
pub(crate) mod exchange;
pub(crate) mod go;
pub(crate) mod headers;
pub(crate) mod ids;
pub(crate) mod jaeger;
pub(crate) mod metric;
pub(crate) mod net;
pub(crate) mod probability;
pub(crate) mod propagation;
pub(crate) mod route;
pub(crate) mod self_metric;
pub(crate) mod span;
pub(crate) mod trace_context;
