//! Conversations that show what every protocol keeps.

use super::{frame, message};
use crate::protocols::conformance::{Sample, Sender};

/// A message: version, with its highest bit for answers, stream, code, body.
pub(super) fn message(version: u8, stream: i16, code: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![version, 0];
    bytes.extend(stream.to_be_bytes());
    bytes.push(code);
    bytes.extend((body.len() as u32).to_be_bytes());
    [&bytes, body].concat()
}

/// Bytes within frames of version 5.
pub(super) fn framed(within: &[u8]) -> Vec<u8> {
    let parts: Vec<_> = within.chunks((1 << 17) - 1).collect();
    let is_self_contained = u32::from(parts.len() == 1);
    let frame = |part: &&[u8]| {
        let lengths = &(part.len() as u32 | is_self_contained << 17).to_le_bytes()[..3];
        let checksum = &frame::checksum(lengths).to_le_bytes()[..3];
        [lengths, checksum, part, &[0; 4]].concat()
    };
    parts.iter().flat_map(frame).collect()
}

pub(super) fn string(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// A statement, with what stands behind it.
pub(super) fn query(text: &str, is_five: bool) -> Vec<u8> {
    let flags: &[u8] = if is_five { &[0; 4] } else { &[0] };
    [&(text.len() as u32).to_be_bytes()[..], text.as_bytes(), &[0, 1], flags].concat()
}

pub(super) fn startup(options: &[(&str, &str)]) -> Vec<u8> {
    let count = (options.len() as u16).to_be_bytes().to_vec();
    options.iter().fold(count, |body, (key, value)| [body, string(key), string(value)].concat())
}

pub(super) fn error(code: i32) -> Vec<u8> {
    [&code.to_be_bytes()[..], &string("no")].concat()
}

/// Rows of one column.
pub(super) fn rows(count: i32, value: &[u8]) -> Vec<u8> {
    let mut body = [2_i32, 1, 1].map(i32::to_be_bytes).concat();
    body.extend([string("shop"), string("orders"), string("id"), vec![0, 0x20, 0, 0x0d]].concat());
    body.extend(count.to_be_bytes());
    for _ in 0..count {
        body.extend((value.len() as i32).to_be_bytes());
        body.extend(value);
    }
    body
}

/// See [`crate::protocols::Entry::samples`].
pub(in crate::protocols) fn samples() -> Vec<Sample> {
    const CLIENT: Sender = Sender::Client;
    const SERVER: Sender = Sender::Server;
    let sample = |name, exchanges, pieces: &[(Sender, Vec<u8>)]| Sample { name, pieces: pieces.to_vec(), exchanges };
    let begin = startup(&[("CQL_VERSION", "3.4.5")]);
    let asks = |version, stream, text| message(version, stream, message::QUERY, &query(text, version == 5));
    let value = [b'v'; 900];
    let of_four = |with: u8| message(0x84, 0, with, b"");
    vec![
        sample(
            "version 4",
            4,
            &[
                (CLIENT, message(4, 0, message::STARTUP, &begin)),
                (SERVER, of_four(message::READY)),
                (
                    CLIENT,
                    [
                        asks(4, 1, "SELECT * FROM orders WHERE id = 5"),
                        asks(4, 2, "INSERT INTO orders (id) VALUES (7)"),
                        asks(4, 3, "UPDATE shop.people SET name = 'x'"),
                    ]
                    .concat(),
                ),
                (SERVER, message(0x84, 2, 0, &error(0x1100))),
                (SERVER, [message(0x84, 3, 0, &error(0x2200)), message(0x84, 1, 8, &rows(5, &value))].concat()),
            ],
        ),
        sample(
            "version 5",
            4,
            &[
                (CLIENT, message(5, 0, message::STARTUP, &begin)),
                (SERVER, message(0x85, 0, message::READY, b"")),
                (
                    CLIENT,
                    framed(&[asks(5, 1, "SELECT a FROM one"), asks(5, 2, "DELETE FROM two WHERE a = 1")].concat()),
                ),
                (
                    SERVER,
                    framed(&[message(0x85, 2, 0, &error(0x1000)), message(0x85, 1, 8, &rows(3, &value))].concat()),
                ),
                (CLIENT, framed(&asks(5, 3, "TRUNCATE three"))),
                (SERVER, framed(&message(0x85, 3, 0, &error(0x2300)))),
            ],
        ),
    ]
}
