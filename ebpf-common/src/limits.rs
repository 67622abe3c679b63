//! Bounds both sides rely on, each with its reason.

/// Most bytes copied from the beginning of one piece. Header blocks above this are cut, and marked.
pub const HEAD_MAX: usize = 4096;
/// Most bytes copied from a piece of HTTP/2, whose header frames travel whole.
pub const FRAMED_MAX: usize = 16384;
/// Bytes copied from the end of a piece longer than its captured beginning: enough to see a chunked body end.
pub const TAIL_MAX: usize = 32;
