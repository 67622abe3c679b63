//! Header blocks of hostile bytes: `length, bytes`, one after the other, met from the beginning or in mid-life.
#![no_main]

use beyla_rs_fuzz::protocols::http2::blocks::Blocks;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&first, mut input)) = input.split_first() else { return };
    let mut blocks = if first & 1 == 0 { Blocks::from_beginning() } else { Blocks::in_mid_life() };
    while let Some((&length, rest)) = input.split_first() {
        let (block, rest) = rest.split_at(usize::from(length).min(rest.len()));
        input = rest;
        let path_len = blocks.path_len(block);
        assert!(path_len.is_none_or(|len| len <= 3 * 8192), "paths are cut");
        assert!(blocks.memory() < 1 << 20, "memory is bounded");
    }
});
