//! A connection of hostile pieces in the protocol of the registry that `PROTOCOL` names, see `beyla_rs_fuzz::converse`.
#![no_main]

use std::sync::LazyLock;

use beyla_rs_fuzz::{
    converse, prologue,
    protocols::{Entry, REGISTRY},
};
use libfuzzer_sys::fuzz_target;

static PROTOCOL: LazyLock<&Entry> = LazyLock::new(|| {
    let name = std::env::var("PROTOCOL").expect("PROTOCOL is to name a protocol of the registry");
    REGISTRY.iter().find(|entry| entry.name == name).unwrap_or_else(|| panic!("{name} is not in the registry"))
});

fuzz_target!(|input: &[u8]| {
    for entry in REGISTRY {
        let _ = (entry.recognise)(input);
    }
    if let Some(header) = prologue::header(input) {
        assert!(header <= input.len(), "a header ends within what was read: {header}");
    }
    converse(input, PROTOCOL.open, PROTOCOL.memory_max);
});
