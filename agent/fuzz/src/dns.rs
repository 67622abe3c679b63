//! What processes are told of names.

#[path = "../../src/procs/dns/message.rs"]
mod message;

use std::net::IpAddr;

/// What a message says: a name, and its addresses with how many seconds they count for.
#[must_use]
pub fn parse(message: &[u8]) -> Option<(String, Vec<(IpAddr, u32)>)> {
    message::parse(message).map(|resolved| (resolved.name.to_string(), resolved.addresses))
}
