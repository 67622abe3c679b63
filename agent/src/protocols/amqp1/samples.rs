//! Conversations that show what every protocol keeps.

use super::{ATTACH, BEGIN, DISPOSITION, OPEN, TRANSFER};
use crate::protocols::conformance::{Sample, Sender};

pub(super) const CLIENT: Sender = Sender::Client;
pub(super) const SERVER: Sender = Sender::Server;

pub(super) const NULL: &[u8] = &[0x40];
pub(super) const YES: &[u8] = &[0x41];
pub(super) const NO: &[u8] = &[0x42];

pub(super) fn number(number: u8) -> Vec<u8> {
    vec![0x52, number]
}

pub(super) fn text(text: &str) -> Vec<u8> {
    [&[0xa1, text.len() as u8], text.as_bytes()].concat()
}

/// A described list.
pub(super) fn described(code: u8, members: &[&[u8]]) -> Vec<u8> {
    let content = members.concat();
    [&[0, 0x53, code, 0xc0, content.len() as u8 + 1, members.len() as u8], &content[..]].concat()
}

/// A frame with what it says, and what is behind it.
pub(super) fn frame(code: u8, members: &[&[u8]], payload: &[u8]) -> Vec<u8> {
    let body = [&described(code, members), payload].concat();
    [&(body.len() as u32 + 8).to_be_bytes()[..], &[2, 0, 0, 0], &body].concat()
}

pub(super) fn attach(name: &str, handle: u8, receives: bool, source: Option<&str>, target: Option<&str>) -> Vec<u8> {
    let end = |code, address: Option<&str>| match address {
        Some(address) => described(code, &[&text(address)]),
        None => described(code, &[NULL]),
    };
    let role = if receives { YES } else { NO };
    frame(ATTACH, &[&text(name), &number(handle), role, NULL, NULL, &end(0x28, source), &end(0x29, target)], &[])
}

/// A message, with a number and a body.
pub(super) fn transfer(handle: u8, id: u8, settled: bool, payload: &[u8]) -> Vec<u8> {
    let settled = if settled { YES } else { NO };
    frame(TRANSFER, &[&number(handle), &number(id), &[0xa0, 1, id], &number(0), settled], payload)
}

pub(super) fn body(id: &str) -> Vec<u8> {
    [described(0x73, &[&text(id)]), [&[0, 0x53, 0x75, 0xa0, 6][..], b"secret"].concat()].concat()
}

pub(super) fn settle(first: u8, last: u8, state: &[u8]) -> Vec<u8> {
    frame(DISPOSITION, &[YES, &number(first), &number(last), YES, state], &[])
}

pub(super) fn accepted() -> Vec<u8> {
    vec![0, 0x53, 0x24, 0x45]
}

pub(super) fn rejected(condition: &str) -> Vec<u8> {
    let condition = [&[0xa3, condition.len() as u8], condition.as_bytes()].concat();
    described(0x25, &[&described(0x1d, &[&condition])])
}

/// Both sides' beginning, and a link in either direction.
pub(super) fn beginning() -> Vec<(Sender, Vec<u8>)> {
    let product = [text("product"), text("RabbitMQ")].concat();
    let properties = [&[0xc1, product.len() as u8 + 1, 2], &product[..]].concat();
    let opened = frame(OPEN, &[&text("b"), NULL, NULL, NULL, NULL, NULL, NULL, NULL, NULL, &properties], &[]);
    vec![
        (CLIENT, b"AMQP\0\x01\0\0".to_vec()),
        (SERVER, b"AMQP\0\x01\0\0".to_vec()),
        (CLIENT, [frame(OPEN, &[&text("c")], &[]), frame(BEGIN, &[NULL, &number(0)], &[])].concat()),
        (SERVER, [opened, frame(BEGIN, &[&[0x60, 0, 0], &number(0)], &[])].concat()),
        (CLIENT, attach("out", 0, false, None, Some("orders"))),
        (CLIENT, attach("in", 1, true, Some("bills"), None)),
        (SERVER, attach("out", 0, true, None, Some("orders"))),
        (SERVER, attach("in", 1, false, Some("bills"), None)),
    ]
}

/// See [`crate::protocols::Entry::samples`].
pub(in crate::protocols) fn samples() -> Vec<Sample> {
    let mut pieces = beginning();
    pieces.extend([
        (CLIENT, transfer(0, 0, false, &body("a"))),
        (SERVER, settle(0, 0, &accepted())),
        (CLIENT, transfer(0, 1, false, &body("b"))),
        (SERVER, settle(1, 1, &rejected("amqp:not-allowed"))),
        (SERVER, transfer(1, 0, false, &body("c"))),
        (CLIENT, settle(0, 0, &accepted())),
        (CLIENT, [transfer(0, 2, false, &body("d")), transfer(0, 3, false, &body("e"))].concat()),
        (SERVER, settle(3, 3, &rejected("amqp:internal-error"))),
        (SERVER, settle(2, 2, &rejected("amqp:resource-limit-exceeded"))),
    ]);
    vec![Sample { name: "both ways", pieces, exchanges: 5 }]
}
