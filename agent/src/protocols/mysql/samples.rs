//! Conversations that show what every protocol keeps.

use crate::protocols::conformance::{Sample, Sender};

/// A packet with its length and number.
pub(super) fn packet(sequence: u8, body: &[u8]) -> Vec<u8> {
    let [a, b, c, _] = (body.len() as u32).to_le_bytes();
    [&[a, b, c, sequence], body].concat()
}

/// What both can, in the samples: protocol 4.1, a database, several statements and results, no `EOF`.
const CAPS: u32 = 1 << 3 | 1 << 9 | 1 << 15 | 1 << 16 | 1 << 17 | 1 << 19 | 1 << 24;

/// A server's first packet.
pub(super) fn greeting(version: &str, caps: u32) -> Vec<u8> {
    let [a, b, c, d] = caps.to_le_bytes();
    let mut body = vec![10];
    body.extend(format!("{version}\0").into_bytes());
    body.extend([7, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 0, a, b, 45, 2, 0, c, d, 21]);
    body.extend([0; 10]);
    body.extend(b"123456789012\0mysql_native_password\0");
    packet(0, &body)
}

/// A client's.
pub(super) fn login(caps: u32, database: &str) -> Vec<u8> {
    let mut body = caps.to_le_bytes().to_vec();
    body.extend([0, 0, 0, 1, 45]);
    body.extend([0; 23]);
    body.extend(b"shop\0\x14s3cr3t-s3cr3t-s3cr3t");
    body.extend(format!("{database}\0mysql_native_password\0").into_bytes());
    packet(1, &body)
}

pub(super) fn begins(caps: u32) -> [(Sender, Vec<u8>); 3] {
    [(Sender::Server, greeting("8.0.36", caps)), (Sender::Client, login(caps, "shop")), (Sender::Server, ok(2, 0))]
}

pub(super) fn query(text: &str) -> Vec<u8> {
    packet(0, &[b"\x03", text.as_bytes()].concat())
}

pub(super) fn prepare(text: &str) -> Vec<u8> {
    packet(0, &[b"\x16", text.as_bytes()].concat())
}

pub(super) fn execute(id: u8) -> Vec<u8> {
    packet(0, &[0x17, id, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 8, 0, 5, 0, 0, 0, 0, 0, 0, 0])
}

pub(super) fn ok(sequence: u8, more: u8) -> Vec<u8> {
    packet(sequence, &[0, 1, 0, 2 | more, 0, 0, 0])
}

pub(super) fn error(sequence: u8, code: u16) -> Vec<u8> {
    packet(sequence, &[&[0xff][..], &code.to_le_bytes(), b"#42S02something s3cr3t"].concat())
}

pub(super) fn column(sequence: u8) -> Vec<u8> {
    packet(sequence, b"\x03def\x04shop\x06orders\x06orders\x02id\x02id\x0c\x3f\0\x0b\0\0\0\x03\0\0\0\0\0")
}

/// A result of one column and these rows, without an `EOF`.
pub(super) fn result(from: u8, rows: &[&str], more: u8) -> Vec<u8> {
    let mut bytes = [packet(from, &[1]), column(from + 1)].concat();
    let mut sequence = from + 2;
    for row in rows {
        bytes.extend(packet(sequence, &[&[row.len() as u8][..], row.as_bytes()].concat()));
        sequence += 1;
    }
    bytes.extend(packet(sequence, &[0xfe, 0, 0, 2 | more, 0, 0, 0]));
    bytes
}

/// A statement was prepared, with a parameter and a column.
pub(super) fn prepared(id: u8) -> Vec<u8> {
    [packet(1, &[0, id, 0, 0, 0, 1, 0, 1, 0, 0, 0, 0]), column(2), column(3)].concat()
}

/// Packets within a compressed one: by zlib, by zstd, or as they are.
pub(super) fn packed(bytes: &[u8], how: &str) -> Vec<u8> {
    let content = match how {
        "zlib" => {
            use std::io::Write as _;

            let mut zlib = flate2::write::ZlibEncoder::new(Vec::new(), flate2::Compression::fast());
            zlib.write_all(bytes).unwrap();
            zlib.finish().unwrap()
        }
        "zstd" => zstd::bulk::compress(bytes, 3).unwrap(),
        _ => bytes.to_vec(),
    };
    let [a, b, c, _] = (content.len() as u32).to_le_bytes();
    let len = if how.is_empty() { 0 } else { bytes.len() as u32 };
    let [d, e, f, _] = len.to_le_bytes();
    [&[a, b, c, 0, d, e, f][..], &content].concat()
}

/// See [`crate::protocols::Entry::samples`].
pub(in crate::protocols) fn samples() -> Vec<Sample> {
    const CLIENT: Sender = Sender::Client;
    const SERVER: Sender = Sender::Server;
    let sample = |name, exchanges, pieces: &[(Sender, Vec<u8>)]| {
        let pieces = [&begins(CAPS)[..], pieces].concat();
        Sample { name, pieces, exchanges }
    };
    let compressed = |how: &'static str| {
        let asked = |text| (CLIENT, packed(&query(text), how));
        let answered = |packets: &[u8]| (SERVER, packed(packets, how));
        let pieces = [
            asked("SELECT id FROM orders WHERE note = 's3cr3t'"),
            answered(&result(1, &["one", "two"], 0)),
            asked("UPDATE stock SET a = 5"),
            (SERVER, [packed(&error(1, 1146)[..5], how), packed(&error(1, 1146)[5..], "")].concat()),
            asked("DELETE FROM cart"),
            answered(&ok(1, 0)),
        ];
        let caps = CAPS | if how == "zlib" { 1 << 5 } else { 1 << 26 };
        Sample { name: how, pieces: [&begins(caps)[..], &pieces].concat(), exchanges: 3 }
    };
    vec![
        compressed("zlib"),
        compressed("zstd"),
        sample(
            "queries, of which one has several statements",
            4,
            &[
                (CLIENT, query("SELECT id FROM orders WHERE note = 's3cr3t'")),
                (SERVER, result(1, &["one", "two"], 0)),
                (CLIENT, query("UPDATE stock SET a = 5; SELECT id FROM cart; DELETE FROM nowhere; COMMIT")),
                (SERVER, [ok(1, 8), result(2, &["only"], 8), error(6, 1146)].concat()),
            ],
        ),
        sample(
            "statements that are prepared",
            3,
            &[
                (CLIENT, prepare("SELECT id FROM orders WHERE id = ?")),
                (SERVER, prepared(1)),
                (CLIENT, execute(1)),
                (SERVER, result(1, &["\0\0x"], 0)),
                (CLIENT, prepare("SELECT nothing FROM stock")),
                (SERVER, error(1, 1054)),
                (CLIENT, [packet(0, &[0x19, 1, 0, 0, 0]), query("INSERT INTO stock VALUES (1)")].concat()),
                (SERVER, ok(1, 0)),
                (CLIENT, packet(0, &[1])),
            ],
        ),
    ]
}
