//! The agent against real programs: what was sent is what it tells, exactly, with every backend.

mod python;
