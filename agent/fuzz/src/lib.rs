//! What is fuzzed: the stages that parse, compiled from the agent's own sources and without all that stands around them, so
//! that they are instrumented within a minute.

#![allow(dead_code, unused_imports, reason = "other stages use the rest")]

#[path = "../../src/model/mod.rs"]
pub mod model;
#[path = "../../src/protocols/mod.rs"]
pub mod protocols;

pub mod dns;
pub mod go;
pub mod prologue;

use std::collections::HashSet;

use model::{
    exchange::{Event, Key},
    net::{Direction, Role, Thread},
    propagation::{Format, Propagation},
};
use protocols::{Chunk, End, Entry, Frames, Interest, Output, REGISTRY, Session};

/// A protocol of the registry.
pub struct Protocol(&'static Entry);

impl Protocol {
    /// By its name there.
    #[must_use]
    pub fn named(name: &str) -> Option<Self> {
        REGISTRY.iter().find(|entry| entry.name == name).map(Self)
    }

    /// Feeds a session of it, see [`converse`].
    pub fn converse(&self, input: &[u8]) {
        converse(input, self.0.open, self.0.memory_max);
    }
}

/// What takes a connection's first bytes.
///
/// # Panics
/// If a header before the protocol ends behind what was read.
pub fn recognise(input: &[u8]) {
    for entry in REGISTRY {
        let _ = (entry.recognise)(input);
    }
    if let Some(header) = prologue::header(input) {
        assert!(header <= input.len(), "a header ends within what was read: {header}");
    }
}

/// Feeds a session with the pieces of a hostile connection. Each is `control, length, bytes`; `control` is
///
/// | bits | mean |
/// | ---- | ---- |
/// | 0 | the direction |
/// | 1 | bytes were lost after it |
/// | 3 | 300 bytes were skipped |
/// | 4 | the last byte is the tail of what was skipped; where nothing was: the first says where frames begin |
/// | 5 | the length counts 16 bytes |
/// | 6 | nothing had moved for long |
/// | 7 | how far the other direction has come is not true |
///
/// # Panics
/// If the session keeps more than `memory_max` bytes, forgets a request, ends one before it began, twice, or never.
fn converse(input: &[u8], open: fn(Role) -> Box<dyn Session>, memory_max: usize) {
    let Some((&first, mut input)) = input.split_first() else { return };
    let role = if first & 1 == 0 { Role::Server } else { Role::Client };
    let mut session = open(role);
    let (mut out, mut open, mut at_ns, mut positions) = (Output::default(), HashSet::new(), 0, [0; 2]);
    out.set_propagation(Propagation {
        formats: vec![Format::TraceContext, Format::B3, Format::B3Multi, Format::Jaeger],
        baggage: vec!["tenant"],
        ..Propagation::default()
    });
    let mut speaks_on = true;
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
            // Right or not.
            frames: (control & 24 == 16).then(|| Frames { first: data.first().map(|&at| at.into()), found: control & 1 }),
            lost: control & 2 != 0,
            quiet_ns: if control & 64 != 0 { 1 << 30 } else { 0 },
            position: positions[direction.index()],
            other_position: if control & 128 != 0 { at_ns } else { positions[direction.other().index()] },
        };
        positions[direction.index()] += chunk.len();
        // Where another protocol takes over, this session is asked no more.
        speaks_on &= matches!(
            session.on_data(direction, &chunk, &mut out),
            Interest::Parse | Interest::Follow | Interest::Content(_)
        );
        check(&mut out, &mut open);
        assert!(session.memory() <= memory_max, "memory is bounded: {}", session.memory());
    }
    session.on_end(if first & 2 == 0 { End::Closed } else { End::Forgotten }, at_ns, &mut out);
    assert_eq!(session.open_requests(), 0);
    check(&mut out, &mut open);
    assert!(open.is_empty() || !speaks_on, "opened, and never finished: {open:?}");
}

/// Takes what was told: each request is opened, then finished, once.
fn check(out: &mut Output, open: &mut HashSet<Key>) {
    for event in out.drain() {
        match event {
            Event::Carried(..) => {}
            Event::Opened(opened) => assert!(open.insert(opened.key), "opened twice: {opened:?}"),
            Event::Answered(key, _) => assert!(open.contains(&key), "answered, but not open: {key:?}"),
            Event::Polled(polled) => {
                assert!(polled.brought.is_none_or(|key| open.contains(&key)), "not open: {polled:?}")
            }
            Event::Finished(key, exchange) => {
                assert!(open.remove(&key), "never opened, or over already: {exchange:?}");
                assert!(exchange.start_ns <= exchange.end_ns, "an end before its beginning: {exchange:?}");
            }
        }
    }
}
