//! What to capture: map values user space writes and the programs read.
