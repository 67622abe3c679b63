//! DNS answers of hostile bytes.
#![no_main]

use beyla_rs_fuzz::dns;
use libfuzzer_sys::fuzz_target;

/// Bytes of an A record's owner (a pointer), type, class, life, length and address: what an address takes at least.
const SHORTEST_RECORD: usize = 16;

fuzz_target!(|input: &[u8]| {
    let Some((name, addresses)) = dns::parse(input) else { return };
    let is_of_names = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    assert!(!name.is_empty() && name.len() <= 253 && name.bytes().all(is_of_names), "no name: {name:?}");
    assert!(!name.bytes().any(|byte| byte.is_ascii_uppercase()), "one name is written in one way: {name:?}");
    assert!(!addresses.is_empty() && addresses.len() <= input.len() / SHORTEST_RECORD, "{addresses:?}");
});
