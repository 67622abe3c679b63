//! Conversations that show what every protocol keeps.

use super::{BODY, FRAME_END, HEADER, METHOD, PREAMBLE};
use crate::protocols::conformance::{Sample, Sender};

/// A frame on channel 1.
pub(super) fn frame(kind: u8, channel: u16, payload: &[u8]) -> Vec<u8> {
    let size = (payload.len() as u32).to_be_bytes();
    [&[kind][..], &channel.to_be_bytes(), &size, payload, &[FRAME_END]].concat()
}

/// A method on channel 1.
pub(super) fn method(class: u16, number: u16, arguments: &[&[u8]]) -> Vec<u8> {
    frame(METHOD, 1, &[&class.to_be_bytes()[..], &number.to_be_bytes(), &arguments.concat()].concat())
}

pub(super) fn text(text: &str) -> Vec<u8> {
    [&[text.len() as u8][..], text.as_bytes()].concat()
}

/// Header and body of a message, with headers.
pub(super) fn content(body: &[u8], headers: &[(&str, &str)]) -> Vec<u8> {
    let mut table = Vec::new();
    for (name, value) in headers {
        table.extend([&text(name)[..], b"S", &(value.len() as u32).to_be_bytes(), value.as_bytes()].concat());
    }
    let mut header = [&60_u16.to_be_bytes()[..], &[0, 0], &(body.len() as u64).to_be_bytes()].concat();
    if headers.is_empty() {
        header.extend([0x10, 0, 2]);
    } else {
        header
            .extend([&[0xb0, 0][..], &text("text/plain"), &(table.len() as u32).to_be_bytes(), &table, &[2]].concat());
    }
    let mut bytes = frame(HEADER, 1, &header);
    if !body.is_empty() {
        bytes.extend(frame(BODY, 1, body));
    }
    bytes
}

pub(super) fn publish(exchange: &str, key: &str, body: &[u8], headers: &[(&str, &str)]) -> Vec<u8> {
    [method(60, 40, &[&[0, 0], &text(exchange), &text(key), &[0]]), content(body, headers)].concat()
}

pub(super) fn consume(queue: &str, consumer: &str, no_ack: bool) -> Vec<u8> {
    method(60, 20, &[&[0, 0], &text(queue), &text(consumer), &[u8::from(no_ack) << 1], &[0; 4]])
}

pub(super) fn deliver(consumer: &str, tag: u64, key: &str, body: &[u8], headers: &[(&str, &str)]) -> Vec<u8> {
    let arguments: [&[u8]; 5] = [&text(consumer), &tag.to_be_bytes(), &[0], &text(""), &text(key)];
    [method(60, 60, &arguments), content(body, headers)].concat()
}

pub(super) fn get(queue: &str) -> Vec<u8> {
    method(60, 70, &[&[0, 0], &text(queue), &[0]])
}

pub(super) fn get_ok(tag: u64, key: &str, body: &[u8]) -> Vec<u8> {
    [method(60, 71, &[&tag.to_be_bytes(), &[0], &text(""), &text(key), &[0; 4]]), content(body, &[])].concat()
}

/// An acknowledgement, or a refusal, of one or of all up to it.
pub(super) fn ack(method_number: u16, tag: u64, multiple: bool) -> Vec<u8> {
    method(60, method_number, &[&tag.to_be_bytes(), &[u8::from(multiple)]])
}

pub(super) fn channel_open() -> Vec<u8> {
    method(20, 10, &[&[0]])
}

pub(super) fn channel_open_ok() -> Vec<u8> {
    method(20, 11, &[&[0; 4]])
}

/// What the client begins with, and what the broker says to it.
pub(super) fn greeting() -> [Vec<u8>; 2] {
    let properties = [&[0, 9][..], &[0, 0, 0, 0], &[0, 0, 0, 5], b"PLAIN", &[0, 0, 0, 5], b"en_US"];
    [PREAMBLE.to_vec(), frame(METHOD, 0, &[&[0, 10, 0, 10][..], &properties.concat()].concat())]
}

/// See [`crate::protocols::Entry::samples`].
pub(in crate::protocols) fn samples() -> Vec<Sample> {
    const CLIENT: Sender = Sender::Client;
    const SERVER: Sender = Sender::Server;
    let sample = |name, exchanges, pieces: &[(Sender, Vec<u8>)]| Sample { name, pieces: pieces.to_vec(), exchanges };
    let large = vec![b'v'; 3000];
    let [preamble, start] = greeting();
    let confirms = [method(85, 10, &[&[0]]), method(85, 11, &[])];
    vec![
        sample(
            "confirms",
            4,
            &[
                (CLIENT, preamble.clone()),
                (SERVER, start.clone()),
                (CLIENT, channel_open()),
                (SERVER, channel_open_ok()),
                (CLIENT, confirms[0].clone()),
                (SERVER, confirms[1].clone()),
                (CLIENT, publish("", "orders", b"secret", &[("a", "b")])),
                (SERVER, ack(80, 1, false)),
                (CLIENT, [publish("shop", "bills", &large, &[]), publish("shop", "parcels", b"", &[])].concat()),
                (SERVER, ack(120, 2, false)),
                (CLIENT, publish("shop", "letters", b"secret", &[])),
                (SERVER, ack(80, 3, false)),
                (SERVER, method(20, 40, &[&404_u16.to_be_bytes(), &text("no"), &[0; 4]])),
            ],
        ),
        sample(
            "consumers",
            4,
            &[
                (CLIENT, preamble),
                (SERVER, start),
                (CLIENT, channel_open()),
                (SERVER, channel_open_ok()),
                (CLIENT, get("orders")),
                (SERVER, get_ok(1, "orders", &large)),
                (CLIENT, [get("bills"), consume("a", "one", false)].concat()),
                (SERVER, [method(60, 72, &[&text("")]), method(60, 21, &[&text("one")])].concat()),
                (CLIENT, [consume("b", "two", false), consume("c", "three", false)].concat()),
                (SERVER, [method(60, 21, &[&text("two")]), method(60, 21, &[&text("three")])].concat()),
                (SERVER, deliver("one", 2, "a", b"secret", &[])),
                (SERVER, [deliver("two", 3, "b", &large, &[]), deliver("three", 4, "c", b"", &[])].concat()),
                (CLIENT, ack(120, 3, false)),
                (CLIENT, ack(80, 2, false)),
                (CLIENT, ack(90, 4, false)),
            ],
        ),
    ]
}
