//! Header blocks alone, without frames and streams: for the benchmark and the fuzz target.

use super::{
    head::{First, Head},
    hpack::Decoder,
};

/// Decodes one direction's header blocks, and reads what they say of an exchange.
#[derive(Debug)]
pub struct Blocks(Decoder);

impl Blocks {
    /// The connection has only just begun.
    #[must_use]
    pub fn from_beginning() -> Self {
        let mut decoder = Decoder::unknown();
        decoder.assume_complete();
        Self(decoder)
    }

    /// The connection was met in its middle.
    #[must_use]
    pub fn in_mid_life() -> Self {
        Self(Decoder::unknown())
    }

    /// Whether the block could be decoded, and if so the length of its path; 0 if there is none or it is unknown.
    pub fn path_len(&mut self, block: &[u8]) -> Option<usize> {
        let mut head = Head::default();
        self.0.decode(block, true, &mut |field| head.add(field)).ok()?;
        if head.first == First::Nothing {
            return Some(0);
        }
        Some(head.http.target.map_or(0, |path| path.len()))
    }

    /// Heap bytes held.
    #[must_use]
    pub fn memory(&self) -> usize {
        self.0.memory()
    }
}
