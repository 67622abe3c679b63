//! The agent against real programs: what was sent is what it tells, exactly, with every backend.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod calls;
mod clients;
mod commands;
mod connections;
mod endings;
mod exec;
mod failures;
mod forks;
mod keep_alive;
mod losses;
mod nginx;
mod node;
mod python;
mod readers;
mod recordings;
mod spool;
