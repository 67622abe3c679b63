//! What Go's runtime says of itself.

/// What a runtime counts at a moment, as far as that can be read.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Counted {
    /// Goroutines.
    pub goroutines: Option<u64>,
    /// Threads that run them at a time at most.
    pub processors: Option<u64>,
    /// Bytes of memory for stacks, and for all else.
    pub memory: Option<[u64; 2]>,
    /// Bytes that it is asked not to go beyond, if it is.
    pub limit: Option<u64>,
    /// Bytes of the heap at which the next collection shall be over.
    pub goal: Option<u64>,
    /// By how much the heap may grow until then, in percent, if that is said.
    pub growth: Option<u64>,
}
