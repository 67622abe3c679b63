//! Programs of Go of hostile bytes: the first says which part of one the others are.
#![no_main]

use beyla_rs_fuzz::go;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&which, part)) = input.split_first() else { return };
    if which & 1 == 0 {
        let Some((release, path)) = go::build_info(part) else { return };
        assert!(!release.chars().chain(path.chars()).any(char::is_control), "they are printed: {release:?} {path:?}");
    } else {
        assert!(go::functions(part) <= 2);
    }
});
