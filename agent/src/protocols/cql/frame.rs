//! The frames of version 5: what is within them is proved by a checksum of their header. Those that are compressed are not opened.

use super::message;
use crate::protocols::Recognition;

/// Bytes of a header: three of lengths, three of their checksum.
pub(super) const HEADER: usize = 6;
/// Bytes behind what is within: its checksum.
pub(super) const TRAILER: u64 = 4;

/// A header's parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Header {
    /// Bytes within.
    pub(super) len: u64,
    /// There are whole messages within, else a part of one.
    pub(super) is_self_contained: bool,
}

impl Header {
    pub(super) fn read(bytes: &[u8]) -> Option<Self> {
        let &[l0, l1, l2, c0, c1, c2, ..] = bytes else { return None };
        if checksum(&[l0, l1, l2]) != u32::from_le_bytes([c0, c1, c2, 0]) {
            return None;
        }
        let word = u32::from_le_bytes([l0, l1, l2, 0]);
        // The bits above are not used.
        (word >> 18 == 0).then_some(Self { len: u64::from(word & 0x1_ffff), is_self_contained: word & 1 << 17 != 0 })
    }
}

/// CRC-24 as the protocol has it: its polynomial, and what it begins with.
pub(super) fn checksum(bytes: &[u8]) -> u32 {
    bytes.iter().fold(0x87_5060, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 16, |crc, _| {
            let crc = crc << 1;
            if crc & 0x100_0000 == 0 { crc } else { crc ^ 0x197_4f0b }
        })
    })
}

/// Whether bytes begin a frame with whole messages.
pub(super) fn recognise(head: &[u8]) -> Recognition {
    match Header::read(head) {
        _ if head.len() < HEADER => {
            // The bits that are not used.
            let fits = head.get(2).is_none_or(|byte| byte & 0xfc == 0);
            if fits { Recognition::Maybe } else { Recognition::No }
        }
        Some(header) if header.is_self_contained => {
            let within = head.get(HEADER..).unwrap_or_default();
            match message::recognise(within) {
                _ if within.is_empty() => Recognition::Maybe,
                taken if within.first().is_some_and(|version| version & 0x7f == 5) => taken,
                _ => Recognition::No,
            }
        }
        _ => Recognition::No,
    }
}
