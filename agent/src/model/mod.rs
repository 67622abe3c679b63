//! The words all stages share: pure data, no I/O, no clock. Imports nothing of ours.

pub mod b3;
pub mod baggage;
pub mod exchange;
pub mod ids;
pub mod jaeger;
pub mod metric;
pub mod net;
pub mod probability;
pub mod propagation;
pub mod self_metric;
pub mod span;
pub mod trace_context;
