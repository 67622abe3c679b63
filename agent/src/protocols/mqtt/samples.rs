//! Conversations that show what every protocol keeps.

use crate::protocols::conformance::{Sample, Sender};

/// A packet.
pub(super) fn packet(first: u8, parts: &[&[u8]]) -> Vec<u8> {
    let body = parts.concat();
    let (mut bytes, mut left) = (vec![first], body.len());
    loop {
        let more = if left >= 0x80 { 0x80 } else { 0 };
        bytes.push((left & 0x7f) as u8 | more);
        left >>= 7;
        if left == 0 {
            break;
        }
    }
    bytes.extend(body);
    bytes
}

pub(super) fn text(text: &str) -> Vec<u8> {
    [&(text.len() as u16).to_be_bytes()[..], text.as_bytes()].concat()
}

/// What a client begins with, with a user and a password.
pub(super) fn connect(version: u8) -> Vec<u8> {
    let properties: &[u8] = if version == 5 { &[5, 0x11, 0, 0, 0, 9] } else { &[] };
    let names = [text("sensor"), text("user"), text("secret")].concat();
    packet(0x10, &[&text("MQTT"), &[version, 0xc2, 0, 60], properties, &names])
}

pub(super) fn connack(version: u8) -> Vec<u8> {
    if version == 5 { packet(0x20, &[&[0, 0, 3, 0x22, 0, 10]]) } else { packet(0x20, &[&[0, 0]]) }
}

/// A message with a number, of a version without properties.
pub(super) fn publish(quality: u8, topic: &str, number: u16, payload: &[u8]) -> Vec<u8> {
    let number = if quality > 0 { number.to_be_bytes().to_vec() } else { Vec::new() };
    packet(0x30 | quality << 1, &[&text(topic), &number, payload])
}

/// The same with properties.
pub(super) fn publish5(quality: u8, topic: &str, number: u16, properties: &[u8], payload: &[u8]) -> Vec<u8> {
    let number = if quality > 0 { number.to_be_bytes().to_vec() } else { Vec::new() };
    packet(0x30 | quality << 1, &[&text(topic), &number, &[properties.len() as u8], properties, payload])
}

/// An acknowledgement, with a code or without.
pub(super) fn ack(first: u8, number: u16, code: &[u8]) -> Vec<u8> {
    packet(first, &[&number.to_be_bytes(), code])
}

pub(super) fn subscribe(version: u8, filters: &[&str]) -> Vec<u8> {
    let properties: &[u8] = if version == 5 { &[0] } else { &[] };
    let filters: Vec<u8> = filters.iter().flat_map(|filter| [text(filter), vec![1]].concat()).collect();
    packet(0x82, &[&[0, 9], properties, &filters])
}

pub(super) const PINGREQ: &[u8] = &[0xc0, 0];
pub(super) const PINGRESP: &[u8] = &[0xd0, 0];

/// See [`crate::protocols::Entry::samples`].
pub(in crate::protocols) fn samples() -> Vec<Sample> {
    const CLIENT: Sender = Sender::Client;
    const SERVER: Sender = Sender::Server;
    let sample = |name, exchanges, pieces: &[(Sender, Vec<u8>)]| Sample { name, pieces: pieces.to_vec(), exchanges };
    let large = vec![b'v'; 3000];
    vec![
        sample(
            "version 5",
            4,
            &[
                (CLIENT, connect(5)),
                (SERVER, connack(5)),
                (CLIENT, publish5(1, "orders/paid", 1, &[1, 1], b"secret")),
                (SERVER, ack(0x40, 1, &[0x87])),
                (CLIENT, [publish5(2, "bills", 2, &[], &large), publish5(1, "letters", 3, &[], b"")].concat()),
                (SERVER, [ack(0x50, 2, &[]), ack(0x40, 3, &[0x97, 0])].concat()),
                (CLIENT, [ack(0x62, 2, &[]), PINGREQ.to_vec()].concat()),
                (SERVER, [ack(0x70, 2, &[]), PINGRESP.to_vec()].concat()),
                (CLIENT, publish5(2, "parcels", 4, &[], b"secret")),
                (SERVER, ack(0x50, 4, &[0x90])),
            ],
        ),
        sample(
            "version 3",
            1,
            &[
                (CLIENT, connect(4)),
                (SERVER, connack(4)),
                (CLIENT, subscribe(4, &["orders/+", "bills"])),
                (SERVER, packet(0x90, &[&[0, 9, 1, 1]])),
                (SERVER, publish(1, "bills", 1, &large)),
                (CLIENT, ack(0x40, 1, &[])),
                (CLIENT, PINGREQ.to_vec()),
                (SERVER, PINGRESP.to_vec()),
            ],
        ),
    ]
}
