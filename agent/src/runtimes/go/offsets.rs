//! Where members of structures of Go's runtime and library, and of grpc-go, lie, by release. Written by `cargo xtask go-offsets`.

use super::layout::{GrpcOffsets, Offsets};

/// By the second number of a release.
#[rustfmt::skip]
pub(super) const TABLE: &[(u32, Offsets)] = &[
    (18, [48, 152, -1, 192, 384, 392, 16, 56, 64, 80, 8, 16, 0, 8]),
    (19, [48, 152, -1, 192, 384, 392, 16, 56, 64, 80, 8, 16, 0, 8]),
    (20, [48, 152, -1, 192, 384, 392, 16, 56, 64, 80, 8, 16, 0, 8]),
    (21, [48, 152, 272, 192, 384, 392, 16, 56, 64, 80, 8, 16, 0, 8]),
    (22, [48, 152, 272, 192, 384, 392, 16, 56, 64, 80, 8, 16, 0, 8]),
    (23, [48, 160, 280, 192, 376, 384, 16, 56, 64, 80, 8, 16, 0, 8]),
    (24, [48, 160, 280, 192, 376, 384, 16, 56, 64, 80, 8, 16, 0, 8]),
    (25, [48, 152, 272, 184, 376, 384, 16, 56, 64, 80, 8, 16, 0, 8]),
    (26, [48, 152, 280, 184, 384, 392, 16, 56, 64, 80, 8, 16, 0, 8]),
];

/// Second and third number of the release of grpc-go from which on they lie so.
#[rustfmt::skip]
pub(super) const GRPC: &[((u32, u32), GrpcOffsets)] = &[
    ((40, 0), [32, 0, 64, 24, 0, 0]),
    ((52, 0), [32, 0, 136, 24, 0, 0]),
    ((58, 0), [32, 0, 128, 24, 0, 0]),
    ((60, 0), [16, 0, 128, 24, 0, 0]),
    ((69, 0), [16, 0, 128, 8, 0, 1]),
    ((77, 0), [16, 108, 128, 328, 108, 0]),
    ((83, 1), [16, 108, 128, 360, 108, 0]),
];

/// The second number of its newest release that was looked at.
pub(super) const GRPC_NEWEST: u32 = 85;
