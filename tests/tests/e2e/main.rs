//! The agent against real programs: what was sent is what it tells, exactly, with every backend.

mod calls;
mod clients;
mod keep_alive;
mod nginx;
mod node;
mod python;
