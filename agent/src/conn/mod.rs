//! Connections: puts the events of a connection into order, finds out which protocol it speaks, and feeds that
//! protocol's session. Everything here is bounded: connections in number, what waits in bytes.

mod capture;
mod connection;
mod ended;
mod guarded;
mod hello;
mod inside;
mod order;
mod pairs;
mod prologue;
mod recognise;
mod table;
#[cfg(test)]
mod tests;
mod turns;

pub(crate) use capture::at_first;
pub(crate) use connection::Wanted;
pub(crate) use table::{Connections, Limits, Totals, UnixSocket};
