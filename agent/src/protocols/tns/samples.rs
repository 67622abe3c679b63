//! Conversations that show what every protocol keeps. Packets are as the thin drivers write them, as far as anything is read of them.

use super::message::{ACCEPT, CONNECT, DATA, MARKER};
use crate::protocols::conformance::{
    Sample,
    Sender::{self, Client, Server},
};

/// A packet; of four bytes' length, or of two.
pub(super) fn packet(kind: u8, content: &[u8], is_large: bool) -> Vec<u8> {
    let len = content.len() as u32 + 8;
    let head = if is_large { len.to_be_bytes().to_vec() } else { [&(len as u16).to_be_bytes()[..], &[0, 0]].concat() };
    [&head[..], &[kind, 0, 0, 0], content].concat()
}

pub(super) fn data(content: &[u8]) -> Vec<u8> {
    packet(DATA, &[&[0, 0], content].concat(), true)
}

pub(super) fn connect() -> Vec<u8> {
    let text =
        b"(DESCRIPTION=(CONNECT_DATA=(SERVICE_NAME=shop.db)(CID=(PROGRAM=x)(USER=secret)))(ADDRESS=(PORT=1521)))";
    let head =
        [&319_u16.to_be_bytes()[..], &300_u16.to_be_bytes(), &[0x0c, 0x41, 0x20, 0, 0xff, 0xff], &[0; 40]].concat();
    packet(CONNECT, &[&head, &text[..]].concat(), false)
}

pub(super) fn accept(unit: u32) -> Vec<u8> {
    let head = [&319_u16.to_be_bytes()[..], &[0; 2], &[0x20, 0], &[0; 18], &unit.to_be_bytes(), &[0; 5]].concat();
    packet(ACCEPT, &head, false)
}

/// A statement that is executed.
pub(super) fn execute(sequence: u8, text: &str) -> Vec<u8> {
    let head = [3, 0x5e, sequence, 2, 0x80, 0x61, 0, 1, 2, 1, 42, 1, 1, 13];
    let parts = match text.len() {
        len @ 0..=252 => [&[len as u8], text.as_bytes()].concat(),
        len => [&[0xfe, 2, (len >> 8) as u8, len as u8], text.as_bytes(), &[0]].concat(),
    };
    data(&[&head[..], &parts, &[0, 0, 1, 7]].concat())
}

/// How it ended, with the words of an error.
pub(super) fn ended(words: &str) -> Vec<u8> {
    data(&[&[4, 1, 0, 2, 3, 0xae][..], &[words.len() as u8], words.as_bytes()].concat())
}

pub(super) fn beginning() -> Vec<(Sender, Vec<u8>)> {
    vec![
        (Client, connect()),
        (Server, accept(8192)),
        (Client, data(&[1, 6, 0, b's'])),
        (Server, data(&[1, 6, 0, b's'])),
        (Client, data(&[3, 0x76, 1, 1])),
        (Server, data(&[8, 1, 2, 3])),
    ]
}

/// See [`crate::protocols::Entry::samples`].
pub(in crate::protocols) fn samples() -> Vec<Sample> {
    let mut pieces = beginning();
    pieces.extend([
        (Client, execute(1, "SELECT name FROM orders WHERE name = 'secret'")),
        (Server, data(&[0x10, 0x17, 1, 2, 3])),
        (Client, data(&[3, 0x0e, 2])),
        (Server, ended("ORA-02091: transaction rolled back\n")),
        (Client, execute(3, "select secret from nothing")),
        (Server, packet(MARKER, &[1, 0, 1], true)),
        (Client, packet(MARKER, &[1, 0, 2], true)),
        (Server, packet(MARKER, &[1, 0, 2], true)),
        (Server, ended("ORA-00942: table or view does not exist\n")),
        (Client, data(&[3, 0x05, 4, 1, 2])),
        (Server, ended("ORA-01403: no data found\n")),
    ]);
    vec![Sample { name: "one after the other", pieces, exchanges: 4 }]
}
