//! Conversations that show what every protocol keeps.

use super::message::{EVENT, MAGIC, REQUEST, TWO_WAY};
use crate::protocols::conformance::{
    Sample,
    Sender::{Client, Server},
};

/// A text of fewer than a thousand bytes.
pub(super) fn text(text: &str) -> Vec<u8> {
    let len = text.len();
    let head = if len < 0x20 { vec![len as u8] } else { vec![0x30 + (len >> 8) as u8, len as u8] };
    [&head, text.as_bytes()].concat()
}

pub(super) fn message(flags: u8, status: u8, id: u64, body: &[u8]) -> Vec<u8> {
    let len = (body.len() as u32).to_be_bytes();
    [&MAGIC[..], &[flags | 2, status], &id.to_be_bytes(), &len, body].concat()
}

/// What a call says, with what it carries.
pub(super) fn called(service: &str, method: &str, carried: &[(&str, &str)]) -> Vec<u8> {
    let pairs = carried.iter().flat_map(|(key, value)| [text(key), text(value)]).collect::<Vec<_>>().concat();
    let parts = ["2.0.2", service, "0.0.0", method, "Ljava/lang/String;", "secret H"].map(text).concat();
    [&parts, &b"H"[..], &pairs, b"Z"].concat()
}

pub(super) fn call(id: u64, method: &str) -> Vec<u8> {
    message(REQUEST | TWO_WAY, 0, id, &called("shop.Orders", method, &[("path", "shop.Orders"), ("timeout", "1000")]))
}

pub(super) fn answer(id: u64, status: u8, body: &[u8]) -> Vec<u8> {
    message(0, status, id, body)
}

/// See [`crate::protocols::Entry::samples`].
pub(in crate::protocols) fn samples() -> Vec<Sample> {
    const VALUE: &[u8] = b"\x94\x06secretH\x05dubbo\x052.0.2Z";
    vec![
        Sample {
            name: "one after the other",
            pieces: vec![
                (Client, call(1, "get")),
                (Server, answer(1, 20, VALUE)),
                (Client, message(REQUEST | TWO_WAY | EVENT, 0, 2, b"N")),
                (Server, message(EVENT, 20, 2, b"N")),
                (Server, message(REQUEST | TWO_WAY | EVENT, 0, 9, b"N")),
                (Client, message(EVENT, 20, 9, b"N")),
                (Client, call(3, "pay")),
                (Server, answer(3, 20, b"\x90\x06secret")),
                (Client, call(4, "list")),
                (Server, answer(4, 20, b"\x92")),
                (Client, call(5, "none")),
                (Server, answer(5, 70, b"\x06secret")),
            ],
            exchanges: 4,
        },
        Sample {
            name: "several at a time",
            pieces: vec![
                (Client, [call(11, "a"), call(12, "b")].concat()),
                (Client, call(13, "c")),
                (Server, answer(13, 60, b"\x06secret")),
                (Server, [answer(12, 20, VALUE), answer(11, 100, b"\x06secret")].concat()),
            ],
            exchanges: 3,
        },
    ]
}
