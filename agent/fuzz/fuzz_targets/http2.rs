//! A connection of hostile pieces, see `beyla_rs_fuzz::converse`.
#![no_main]

use beyla_rs_fuzz::{converse, protocols::http2};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = http2::recognise(input);
    converse(input, http2::open, 6 << 20);
});
