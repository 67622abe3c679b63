//! Conversations that show what every protocol keeps.

use crate::protocols::conformance::{Sample, Sender};

pub(super) const CLIENT: Sender = Sender::Client;
pub(super) const SERVER: Sender = Sender::Server;

/// An element.
pub(super) fn of(tag: u8, content: &[u8]) -> Vec<u8> {
    let len = content.len();
    let head = match len {
        0..0x80 => vec![tag, len as u8],
        0x80..0x1_0000 => vec![tag, 0x82, (len >> 8) as u8, len as u8],
        _ => vec![tag, 0x84, (len >> 24) as u8, (len >> 16) as u8, (len >> 8) as u8, len as u8],
    };
    [&head, content].concat()
}

pub(super) fn text(content: &str) -> Vec<u8> {
    of(0x04, content.as_bytes())
}

fn number(tag: u8, number: u8) -> Vec<u8> {
    of(tag, &[number])
}

/// A message.
pub(super) fn message(id: u8, tag: u8, parts: &[Vec<u8>]) -> Vec<u8> {
    of(0x30, &[number(0x02, id), of(tag, &parts.concat())].concat())
}

pub(super) fn bind(id: u8, password: &str) -> Vec<u8> {
    message(id, 0x60, &[number(0x02, 3), text("cn=admin,dc=shop"), of(0x80, password.as_bytes())])
}

/// `(attribute=value)`.
pub(super) fn equals(attribute: &str, value: &str) -> Vec<u8> {
    of(0xa3, &[text(attribute), text(value)].concat())
}

pub(super) fn search(id: u8, filter: &[u8]) -> Vec<u8> {
    let (zero, no) = (number(0x02, 0), of(0x01, &[0]));
    let parts = [
        text("ou=people,dc=shop"),
        number(0x0a, 2),
        number(0x0a, 0),
        zero.clone(),
        zero,
        no,
        filter.to_vec(),
        of(0x30, &[]),
    ];
    message(id, 0x63, &parts)
}

pub(super) fn entry(id: u8, name: &str) -> Vec<u8> {
    message(id, 0x64, &[text(name), of(0x30, &[])])
}

pub(super) fn result(id: u8, tag: u8, code: u8) -> Vec<u8> {
    message(id, tag, &[number(0x0a, code), text(""), text("")])
}

/// See [`crate::protocols::Entry::samples`].
pub(in crate::protocols) fn samples() -> Vec<Sample> {
    let both = of(0xa0, &[equals("objectClass", "person"), equals("uid", "alice")].concat());
    vec![
        Sample {
            name: "one after the other",
            pieces: vec![
                (CLIENT, bind(1, "secret")),
                (SERVER, result(1, 0x61, 0)),
                (CLIENT, search(2, &both)),
                (SERVER, [entry(2, "uid=alice,dc=shop"), entry(2, "uid=bob,dc=shop")].concat()),
                (SERVER, result(2, 0x65, 0)),
                (CLIENT, message(3, 0x66, &[text("uid=alice,dc=shop"), of(0x30, &[])])),
                (SERVER, result(3, 0x67, 50)),
                (CLIENT, message(4, 0x4a, &[])),
                (SERVER, result(4, 0x6b, 34)),
            ],
            exchanges: 4,
        },
        Sample {
            name: "several at a time",
            pieces: vec![
                (CLIENT, [search(1, &equals("mail", "a@shop")), search(2, &equals("cn", "b"))].concat()),
                (CLIENT, message(3, 0x6e, &[text("uid=alice,dc=shop"), of(0x30, &[text("a"), text("b")].concat())])),
                (SERVER, entry(2, "uid=b")),
                (SERVER, [result(3, 0x6f, 16), entry(1, "uid=a"), entry(1, "uid=c"), result(2, 0x65, 0)].concat()),
                (SERVER, result(1, 0x65, 4)),
            ],
            exchanges: 3,
        },
    ]
}
