//! A connection of hostile pieces, see `beyla_rs_fuzz::converse`.
#![no_main]

use beyla_rs_fuzz::{converse, prologue, protocols::http1};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let _ = http1::recognise(input);
    if let Some(header) = prologue::header(input) {
        assert!(header <= input.len(), "a header ends within what was read: {header}");
    }
    converse(input, http1::open, 4 << 20);
});
