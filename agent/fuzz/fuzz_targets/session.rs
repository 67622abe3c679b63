//! A connection of hostile pieces in the protocol of the registry that `PROTOCOL` names, see `beyla_rs_fuzz::converse`.
#![no_main]

use std::sync::LazyLock;

use beyla_rs_fuzz::Protocol;
use libfuzzer_sys::fuzz_target;

static PROTOCOL: LazyLock<Protocol> = LazyLock::new(|| {
    let name = std::env::var("PROTOCOL").expect("PROTOCOL is to name a protocol of the registry");
    Protocol::named(&name).unwrap_or_else(|| panic!("{name} is not in the registry"))
});

fuzz_target!(|input: &[u8]| {
    beyla_rs_fuzz::recognise(input);
    PROTOCOL.converse(input);
});
