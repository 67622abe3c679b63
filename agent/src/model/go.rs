//! What Go's runtime says of itself.

/// Upper bounds, in seconds, of the buckets in which pauses are told: some of the runtime's own, 4096 ns times powers of four.
pub(crate) const PAUSE_BOUNDS: [f64; 11] = [
    0.000_004_096,
    0.000_016_384,
    0.000_065_536,
    0.000_262_144,
    0.001_048_576,
    0.004_194_304,
    0.016_777_216,
    0.067_108_864,
    0.268_435_456,
    1.073_741_824,
    4.294_967_296,
];

/// How long the world was stopped for collections, each time.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Pauses {
    /// How often, by [`PAUSE_BOUNDS`] and beyond.
    pub buckets: [u64; PAUSE_BOUNDS.len() + 1],
    /// All of them together, each as long as the middle of the runtime's own bucket: an eighth more or less.
    pub sum_s: f64,
}

/// What a runtime counts at a moment, as far as that can be read.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counted {
    /// Goroutines.
    pub goroutines: Option<u64>,
    /// Threads that run them at a time at most.
    pub processors: Option<u64>,
    /// Bytes of memory for stacks, and for all else.
    pub memory: Option<[u64; 2]>,
    /// Bytes of all objects that were ever made on the heap, and their number.
    pub allocated: Option<[u64; 2]>,
    /// Collections that are over.
    pub collections: Option<u64>,
    /// Their pauses.
    pub pauses: Option<Pauses>,
    /// Bytes that it is asked not to go beyond, if it is.
    pub limit: Option<u64>,
    /// Bytes of the heap at which the next collection shall be over.
    pub goal: Option<u64>,
    /// By how much the heap may grow until then, in percent, if that is said.
    pub growth: Option<u64>,
}
