//! Conversations that show what every protocol keeps.

use super::wire::{CALL, EXCEPTION, ONE_WAY, REPLY};
use crate::protocols::conformance::{Sample, Sender};

pub(super) const CLIENT: Sender = Sender::Client;
pub(super) const SERVER: Sender = Sender::Server;

fn framed(message: &[u8]) -> Vec<u8> {
    [&(message.len() as u32).to_be_bytes(), message].concat()
}

/// A message of the binary protocol.
pub(super) fn binary(kind: u8, number: u32, name: &str, body: &[u8]) -> Vec<u8> {
    let len = (name.len() as u32).to_be_bytes();
    framed(&[&[0x80, 1, 0, kind], &len[..], name.as_bytes(), &number.to_be_bytes(), body].concat())
}

/// One of the compact protocol; the number is below 128.
pub(super) fn compact(kind: u8, number: u8, name: &str, body: &[u8]) -> Vec<u8> {
    framed(&[&[0x82, kind << 5 | 1, number, name.len() as u8], name.as_bytes(), body].concat())
}

/// What the library says of itself: a text, a number.
pub(super) fn problem(code: u8) -> Vec<u8> {
    [&[11, 0, 1, 0, 0, 0, 6][..], b"secret", &[8, 0, 2, 0, 0, 0, code, 0]].concat()
}

/// A result, a declared exception.
pub(super) const RESULT: &[u8] = &[8, 0, 0, 0, 0, 0, 7, 0];
pub(super) const THROWN: &[u8] = &[12, 0, 1, 11, 0, 1, 0, 0, 0, 1, b'x', 0, 0];

/// See [`crate::protocols::Entry::samples`].
pub(in crate::protocols) fn samples() -> Vec<Sample> {
    vec![
        Sample {
            name: "one after the other",
            pieces: vec![
                (CLIENT, binary(CALL, 0, "ping", &[0])),
                (SERVER, binary(REPLY, 0, "ping", &[0])),
                (CLIENT, binary(CALL, 0, "divide", &[8, 0, 1, 0, 0, 0, 1, 0])),
                (SERVER, binary(REPLY, 0, "divide", THROWN)),
                (CLIENT, binary(CALL, 0, "total", &[0])),
                (SERVER, binary(REPLY, 0, "total", RESULT)),
                (CLIENT, binary(CALL, 0, "nothing", &[0])),
                (SERVER, binary(EXCEPTION, 0, "nothing", &problem(1))),
            ],
            exchanges: 4,
        },
        Sample {
            name: "several at a time",
            pieces: vec![
                (CLIENT, [binary(CALL, 1, "a", &[0]), binary(CALL, 2, "b", &[0])].concat()),
                (CLIENT, binary(CALL, 3, "c", &[0])),
                (SERVER, binary(REPLY, 3, "c", RESULT)),
                (SERVER, [binary(REPLY, 2, "b", THROWN), binary(EXCEPTION, 1, "a", &problem(6))].concat()),
            ],
            exchanges: 3,
        },
        Sample {
            name: "compact",
            pieces: vec![
                (CLIENT, compact(CALL, 1, "ping", &[0])),
                (SERVER, compact(REPLY, 1, "ping", &[0])),
                (CLIENT, compact(CALL, 2, "divide", &[0x15, 2, 0])),
                (SERVER, compact(EXCEPTION, 2, "divide", &[0x18, 1, b'x', 0x15, 12, 0])),
            ],
            exchanges: 2,
        },
    ]
}

/// What nobody answers.
pub(super) fn log() -> Vec<u8> {
    binary(ONE_WAY, 9, "log", &[0])
}
