//! A connection of hostile pieces. Each is `control, length, bytes`; `control` is
//!
//! | bits | mean |
//! | ---- | ---- |
//! | 0 | the direction |
//! | 1 | bytes were lost after it |
//! | 3 | 300 bytes were skipped |
//! | 4 | the last byte is the tail of what was skipped |
//! | 5 | the length counts 16 bytes |
//! | 6 | nothing had moved for long |
#![no_main]

use beyla_rs::{
    model::net::{Direction, Role, Thread},
    protocols::{Chunk, End, http2},
};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let Some((&first, mut input)) = input.split_first() else { return };
    let role = if first & 1 == 0 { Role::Server } else { Role::Client };
    let mut session = http2::open(role);
    let (mut out, mut at_ns, mut told) = (Vec::new(), 0, 0);
    while let [control, length, rest @ ..] = input {
        let length = usize::from(*length) * if control & 32 != 0 { 16 } else { 1 };
        let (piece, rest) = rest.split_at(length.min(rest.len()));
        input = rest;
        let direction = if control & 1 == 0 { Direction::Received } else { Direction::Sent };
        let (data, tail) = match piece {
            [data @ .., _] if control & 24 == 24 => (data, &piece[data.len()..]),
            data => (data, &[][..]),
        };
        at_ns += 1;
        let chunk = Chunk {
            at_ns,
            thread: Thread::default(),
            data,
            skipped: if control & 8 != 0 { 300 } else { 0 },
            tail,
            lost: control & 2 != 0,
            quiet_ns: if control & 64 != 0 { 1 << 30 } else { 0 },
        };
        let _ = http2::recognise(data);
        session.on_data(direction, &chunk, &mut out);
        told += out.len();
        out.clear();
        assert!(session.memory() < 6 << 20, "memory is bounded");
    }
    session.on_end(if first & 2 == 0 { End::Closed } else { End::Forgotten }, at_ns, &mut out);
    assert_eq!(session.open_requests(), 0);
    assert!(out.iter().all(|exchange| exchange.start_ns <= exchange.end_ns), "{told} before");
});
