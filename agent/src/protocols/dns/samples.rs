//! Conversations that show what every protocol keeps.

use crate::protocols::conformance::{Sample, Sender};

const CLIENT: Sender = Sender::Client;
const SERVER: Sender = Sender::Server;

/// A message, with its length before it: number, flags, name, type, and addresses.
pub(super) fn message(id: u16, flags: u16, name: &str, kind: u16, answers: &[[u8; 4]]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for word in [id, flags, 1, answers.len() as u16, 0, 0] {
        bytes.extend(word.to_be_bytes());
    }
    for label in name.split('.') {
        bytes.push(label.len() as u8);
        bytes.extend(label.bytes());
    }
    bytes.push(0);
    bytes.extend([kind.to_be_bytes(), [0, 1]].concat());
    for address in answers {
        bytes.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4]);
        bytes.extend(address);
    }
    [&(bytes.len() as u16).to_be_bytes(), &bytes[..]].concat()
}

/// See [`crate::protocols::Entry::samples`].
pub(in crate::protocols) fn samples() -> Vec<Sample> {
    const ASKED: u16 = 0x0100;
    const FOUND: u16 = 0x8180;
    vec![
        Sample {
            name: "one after the other",
            pieces: vec![
                (CLIENT, message(1, ASKED, "cart.shop", 1, &[])),
                (SERVER, message(1, FOUND, "cart.shop", 1, &[[10, 0, 0, 1], [10, 0, 0, 2]])),
                (CLIENT, message(2, ASKED, "none.shop", 28, &[])),
                (SERVER, message(2, FOUND | 3, "none.shop", 28, &[])),
            ],
            exchanges: 2,
        },
        Sample {
            name: "several at a time",
            pieces: vec![
                (CLIENT, [message(7, ASKED, "a.shop", 1, &[]), message(8, ASKED, "b.shop", 1, &[])].concat()),
                (SERVER, message(8, FOUND, "b.shop", 1, &[[10, 0, 0, 8]])),
                (SERVER, message(7, FOUND | 2, "a.shop", 1, &[])),
            ],
            exchanges: 2,
        },
    ]
}
