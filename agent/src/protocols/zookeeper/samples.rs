//! Conversations that show what every protocol keeps.

use crate::protocols::conformance::{Sample, Sender};

pub(super) const CLIENT: Sender = Sender::Client;
pub(super) const SERVER: Sender = Sender::Server;

fn framed(content: &[u8]) -> Vec<u8> {
    [&(content.len() as u32).to_be_bytes(), content].concat()
}

/// The beginning of a session.
pub(super) fn connect() -> Vec<u8> {
    framed(&[&[0; 12][..], &30_000_u32.to_be_bytes(), &[0; 8], &[0, 0, 0, 16], b"secretsecretsecr", &[0]].concat())
}

pub(super) fn connected(timeout: u32) -> Vec<u8> {
    framed(&[&[0; 4][..], &timeout.to_be_bytes(), &[1; 8], &[0, 0, 0, 16], b"secretsecretsecr", &[0]].concat())
}

/// A request about a path.
pub(super) fn ask(xid: i32, operation: i32, path: &str) -> Vec<u8> {
    let len = (path.len() as u32).to_be_bytes();
    framed(&[&xid.to_be_bytes()[..], &operation.to_be_bytes(), &len, path.as_bytes(), &[0]].concat())
}

pub(super) fn answer(xid: i32, error: i32, rest: &[u8]) -> Vec<u8> {
    framed(&[&xid.to_be_bytes()[..], &77_u64.to_be_bytes(), &error.to_be_bytes(), rest].concat())
}

/// See [`crate::protocols::Entry::samples`].
pub(in crate::protocols) fn samples() -> Vec<Sample> {
    let ping = framed(&[&(-2_i32).to_be_bytes()[..], &11_i32.to_be_bytes()].concat());
    vec![
        Sample {
            name: "a session",
            pieces: vec![
                (CLIENT, connect()),
                (SERVER, connected(30_000)),
                (CLIENT, ask(1, 4, "/secret/none")),
                (SERVER, answer(1, -101, &[])),
                (CLIENT, ping),
                (SERVER, answer(-2, 0, &[])),
                (CLIENT, ask(2, 1, "/a/b")),
                (SERVER, [answer(-1, 0, &[1, 2, 3]), answer(2, 0, b"\0\0\0\x04/a/b")].concat()),
            ],
            exchanges: 3,
        },
        Sample {
            name: "several at a time",
            pieces: vec![
                (CLIENT, connect()),
                (SERVER, connected(4000)),
                (CLIENT, [ask(1, 5, "/a"), ask(2, 8, "/b")].concat()),
                (CLIENT, ask(3, 2, "/c")),
                (SERVER, answer(1, -103, &[])),
                (SERVER, [answer(2, 0, &[0; 4]), answer(3, -111, &[])].concat()),
            ],
            exchanges: 4,
        },
    ]
}
