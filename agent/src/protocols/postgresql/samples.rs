//! Conversations that show what every protocol keeps.

use crate::protocols::conformance::{Sample, Sender};

/// A message with its type and length.
pub(super) fn message(kind: u8, body: &[u8]) -> Vec<u8> {
    let mut bytes = vec![kind];
    bytes.extend((body.len() as u32 + 4).to_be_bytes());
    bytes.extend(body);
    bytes
}

/// A connection's first message.
pub(super) fn startup(user: &str, database: Option<&str>) -> Vec<u8> {
    let mut body = 0x0003_0000_u32.to_be_bytes().to_vec();
    body.extend(format!("user\0{user}\0").into_bytes());
    if let Some(database) = database {
        body.extend(format!("database\0{database}\0").into_bytes());
    }
    body.push(0);
    let mut bytes = (body.len() as u32 + 4).to_be_bytes().to_vec();
    bytes.extend(body);
    bytes
}

pub(super) fn query(text: &str) -> Vec<u8> {
    message(b'Q', format!("{text}\0").as_bytes())
}

pub(super) fn parse(name: &str, text: &str) -> Vec<u8> {
    message(b'P', format!("{name}\0{text}\0\0\0").as_bytes())
}

pub(super) fn bind(portal: &str, name: &str, values: &[&str]) -> Vec<u8> {
    let mut body = format!("{portal}\0{name}\0\0\0").into_bytes();
    body.extend((values.len() as u16).to_be_bytes());
    for value in values {
        body.extend((value.len() as u32).to_be_bytes());
        body.extend(value.as_bytes());
    }
    body.extend([0, 0]);
    message(b'B', &body)
}

pub(super) fn describe(what: &str) -> Vec<u8> {
    message(b'D', format!("{what}\0").as_bytes())
}

pub(super) fn execute(portal: &str, most: u32) -> Vec<u8> {
    message(b'E', &[format!("{portal}\0").as_bytes(), &most.to_be_bytes()].concat())
}

pub(super) fn sync() -> Vec<u8> {
    message(b'S', &[])
}

pub(super) fn ready() -> Vec<u8> {
    message(b'Z', b"I")
}

/// What a row has: one column.
pub(super) fn columns() -> Vec<u8> {
    message(b'T', b"\0\x01name\0\0\0\x40\x01\0\x01\0\0\0\x19\xff\xff\xff\xff\xff\xff\0\0")
}

pub(super) fn row(value: &str) -> Vec<u8> {
    message(b'D', &[b"\0\x01", &(value.len() as u32).to_be_bytes()[..], value.as_bytes()].concat())
}

pub(super) fn tag(tag: &str) -> Vec<u8> {
    message(b'C', format!("{tag}\0").as_bytes())
}

pub(super) fn error(code: &str) -> Vec<u8> {
    message(b'E', format!("SERROR\0VERROR\0C{code}\0Msomething secret\0\0").as_bytes())
}

/// What a server says at the beginning of a connection.
pub(super) fn welcome() -> Vec<u8> {
    [message(b'R', &[0; 4]), message(b'S', b"standard_conforming_strings\0on\0"), message(b'K', &[7; 8]), ready()]
        .concat()
}

/// See [`crate::protocols::Entry::samples`].
pub(in crate::protocols) fn samples() -> Vec<Sample> {
    const CLIENT: Sender = Sender::Client;
    const SERVER: Sender = Sender::Server;
    let sample = |name, exchanges, pieces: &[(Sender, Vec<u8>)]| Sample { name, pieces: pieces.to_vec(), exchanges };
    let begins = [(CLIENT, startup("shop", Some("orders"))), (SERVER, welcome())];
    vec![
        sample(
            "queries, of which one has several statements",
            4,
            &[
                begins[0].clone(),
                begins[1].clone(),
                (CLIENT, query("SELECT name FROM orders WHERE id = 5")),
                (SERVER, [columns(), row("one"), row("two"), tag("SELECT 2"), ready()].concat()),
                (CLIENT, query("INSERT INTO cart VALUES (5) RETURNING id; DELETE FROM cart; COMMIT")),
                (SERVER, [columns(), row("8"), tag("INSERT 0 1"), error("23503"), ready()].concat()),
                (CLIENT, query("SELECT pg_sleep(1)")),
                (SERVER, [columns(), row(&"x".repeat(3000)), row("z"), row("y"), tag("SELECT 3"), ready()].concat()),
            ],
        ),
        sample(
            "statements that are prepared, several at a time",
            4,
            &[
                begins[0].clone(),
                begins[1].clone(),
                (
                    CLIENT,
                    [
                        parse("s1", "SELECT name FROM orders WHERE id = $1"),
                        describe("Ss1"),
                        bind("", "s1", &["5"]),
                        execute("", 0),
                        sync(),
                        parse("s2", "TABLE stock"),
                        bind("", "s2", &[]),
                        execute("", 0),
                        parse("", "INSERT INTO cart VALUES ($1, $2)"),
                        bind("", "", &["a", "b"]),
                        execute("", 0),
                        sync(),
                    ]
                    .concat(),
                ),
                (
                    SERVER,
                    [
                        message(b'1', &[]),
                        message(b't', b"\0\x01\0\0\0\x17"),
                        columns(),
                        message(b'2', &[]),
                        row("one"),
                        tag("SELECT 1"),
                        ready(),
                        message(b'1', &[]),
                        message(b'2', &[]),
                    ]
                    .concat(),
                ),
                (SERVER, [tag("SELECT 0"), message(b'1', &[]), message(b'2', &[]), error("23505"), ready()].concat()),
                (CLIENT, [parse("bad", "DELETE FROM nowhere"), sync()].concat()),
                (SERVER, [error("42P01"), ready()].concat()),
            ],
        ),
    ]
}
