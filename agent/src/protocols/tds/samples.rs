//! Conversations that show what every protocol keeps.

use super::{BATCH, LOGIN, PRELOGIN, RESPONSE, RPC};
use crate::protocols::conformance::{Sample, Sender};

pub(super) const CLIENT: Sender = Sender::Client;
pub(super) const SERVER: Sender = Sender::Server;

/// A packet: its kind, whether it is the last of its message, its content.
pub(super) fn packet(kind: u8, is_last: bool, content: &[u8]) -> Vec<u8> {
    let len = (content.len() as u16 + 8).to_be_bytes();
    let process = if kind == RESPONSE { 51 } else { 0 };
    [&[kind, is_last.into(), len[0], len[1], 0, process, 1, 0], content].concat()
}

pub(super) fn wide(text: &str) -> Vec<u8> {
    text.encode_utf16().flat_map(u16::to_le_bytes).collect()
}

/// The headers that messages begin with.
const HEADERS: [u8; 22] = [22, 0, 0, 0, 18, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0];

pub(super) fn batch(text: &str) -> Vec<u8> {
    packet(BATCH, true, &[&HEADERS[..], &wide(text)].concat())
}

pub(super) fn text_parameter(text: &str) -> Vec<u8> {
    let wide = wide(text);
    let len = (wide.len() as u16).to_le_bytes();
    [&[0, 0, 0xe7, 0x40, 0x1f, 9, 4, 0xd0, 0, 52], &len[..], &wide].concat()
}

pub(super) const HANDLE: [u8; 5] = [0, 1, 0x26, 4, 0];

/// A procedure by its number.
pub(super) fn procedure(number: u8, parameters: &[Vec<u8>]) -> Vec<u8> {
    packet(RPC, true, &[&HEADERS[..], &[0xff, 0xff, number, 0, 0, 0], &parameters.concat()].concat())
}

pub(super) fn done(status: u16, rows: u64) -> Vec<u8> {
    [&[0xfd][..], &status.to_le_bytes(), &0xc1_u16.to_le_bytes(), &rows.to_le_bytes()].concat()
}

pub(super) fn error(number: i32) -> Vec<u8> {
    let content = [&number.to_le_bytes()[..], &[1, 16, 1, 0], &wide("x"), &[0, 0, 1, 0, 0, 0]].concat();
    [&[0xaa][..], &(content.len() as u16).to_le_bytes(), &content].concat()
}

pub(super) fn answer(tokens: &[Vec<u8>]) -> Vec<u8> {
    packet(RESPONSE, true, &tokens.concat())
}

pub(super) fn prelogin(kind: u8) -> Vec<u8> {
    packet(kind, true, &[0, 0, 11, 0, 6, 1, 0, 17, 0, 1, 0xff, 16, 0, 0, 0, 0, 0, 2])
}

/// A database was chosen, and the login taken.
pub(super) fn logged_in(database: &str) -> Vec<u8> {
    let content = [&[1, database.len() as u8], &wide(database)[..], &[0]].concat();
    let chosen = [&[0xe3][..], &(content.len() as u16).to_le_bytes(), &content].concat();
    answer(&[chosen, done(0, 0)])
}

/// See [`crate::protocols::Entry::samples`].
pub(in crate::protocols) fn samples() -> Vec<Sample> {
    let columns = [0x81_u8, 1, 0, 0, 0, 0, 0, 0, 0, 0x38, 0, 0xd1, 7, 0, 0, 0].to_vec();
    vec![Sample {
        name: "a session",
        pieces: vec![
            (CLIENT, prelogin(PRELOGIN)),
            (SERVER, prelogin(RESPONSE)),
            (CLIENT, packet(LOGIN, true, &[7; 90])),
            (SERVER, logged_in("shop")),
            (CLIENT, batch("SELECT [id] FROM orders WHERE name = 'secret'")),
            (SERVER, packet(RESPONSE, false, &columns)),
            (SERVER, packet(RESPONSE, true, &done(0x10, 3))),
            (CLIENT, batch("DELETE FROM nothing")),
            (SERVER, answer(&[error(208), done(2, 0)])),
            (
                CLIENT,
                procedure(10, &[text_parameter("SELECT name FROM people WHERE id = @p1"), text_parameter("@p1 int")]),
            ),
            (SERVER, answer(&[columns, done(0x10, 1)])),
        ],
        exchanges: 3,
    }]
}
