//! What may stand before a connection's protocol.

#[path = "../../src/conn/prologue.rs"]
mod reader;

/// How long the header is that bytes begin with, if they begin with one.
#[must_use]
pub fn header(bytes: &[u8]) -> Option<usize> {
    match reader::read(bytes) {
        reader::Found::Header(len, _) => Some(len),
        _ => None,
    }
}
