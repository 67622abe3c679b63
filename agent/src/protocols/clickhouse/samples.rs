//! Conversations that show what every protocol keeps.

use crate::protocols::conformance::{
    Sample,
    Sender::{self, Client, Server},
};

/// What both sides speak.
pub(super) const REVISION: u64 = 54_468;

pub(super) fn number(mut number: u64) -> Vec<u8> {
    let mut bytes = Vec::new();
    while number >= 0x80 {
        bytes.push(number as u8 | 0x80);
        number >>= 7;
    }
    bytes.push(number as u8);
    bytes
}

pub(super) fn text(text: &str) -> Vec<u8> {
    [&number(text.len() as u64), text.as_bytes()].concat()
}

fn numbers(all: &[u64]) -> Vec<u8> {
    all.iter().flat_map(|one| number(*one)).collect()
}

/// Who the client is.
pub(super) fn hello(revision: u64) -> Vec<u8> {
    [vec![0], text("ClickHouse client"), numbers(&[24, 3, revision]), text("shop"), text("alice"), text("secret")]
        .concat()
}

pub(super) fn welcome(revision: u64) -> Vec<u8> {
    let more = [text("Etc/UTC"), text("db.shop"), number(7)].concat();
    [vec![0], text("ClickHouse"), numbers(&[24, 3, revision]), more].concat()
}

/// A statement, with the empty block that follows it. `context`: what it carries.
pub(super) fn query(statement: &str, context: Option<([u8; 16], [u8; 8])>, compression: u64) -> Vec<u8> {
    let client = [
        vec![1],
        text(""),
        text("0b1c9d3e-7a55-4f6e-9f0a-1c2d3e4f5a6b"),
        text("0.0.0.0:0"),
        vec![0; 8],
        vec![1],
        text("alice"),
        text("host.shop"),
        text("ClickHouse client"),
        numbers(&[24, 3, REVISION]),
        text(""),
        numbers(&[0, 7]),
        context.map_or(vec![0], |(trace, span)| [&[1], &trace[..], &span, &text(""), &[1]].concat()),
        numbers(&[0, 0, 0]),
    ];
    let settings = [text("max_threads"), number(0), text("4"), text("")].concat();
    let parts = [
        vec![1],
        text("0b1c9d3e-7a55-4f6e-9f0a-1c2d3e4f5a6b"),
        client.concat(),
        settings,
        text(""),
        numbers(&[2, compression]),
        text(statement),
        text(""),
    ];
    [parts.concat(), [&[2, 0][..], &block(&[], 0)].concat()].concat()
}

/// A block of columns: name, type, values.
pub(super) fn block(columns: &[(&str, &str, Vec<u8>)], rows: u64) -> Vec<u8> {
    let columns_of = columns.iter().flat_map(|(name, kind, values)| [text(name), text(kind), vec![0], values.clone()]);
    let head = [&[1, 0, 2][..], &[0xff; 4], &[0]].concat();
    [head, numbers(&[columns.len() as u64, rows]), columns_of.collect::<Vec<_>>().concat()].concat()
}

pub(super) fn data(columns: &[(&str, &str, Vec<u8>)], rows: u64) -> Vec<u8> {
    [vec![1, 0], block(columns, rows)].concat()
}

/// How far it is, how it went, and the end.
pub(super) fn end() -> Vec<u8> {
    [profile(), progress(), vec![5]].concat()
}

pub(super) fn profile() -> Vec<u8> {
    vec![6, 2, 1, 100, 0, 2, 1]
}

pub(super) fn progress() -> Vec<u8> {
    [vec![3], numbers(&[2, 300, 0, 0, 0, 0, 123_456])].concat()
}

pub(super) fn exception(code: i32) -> Vec<u8> {
    [&[2][..], &code.to_le_bytes(), &text("DB::Exception"), &text("secret"), &text("0. secret"), &[0]].concat()
}

/// Two columns of so many rows.
pub(super) fn rows(count: u64) -> Vec<u8> {
    let ids: Vec<u8> = (0..count).flat_map(u64::to_le_bytes).collect();
    data(
        &[
            ("id", "UInt64", ids),
            ("name", "Nullable(String)", [vec![0; count as usize], text("secret").repeat(count as usize)].concat()),
        ],
        count,
    )
}

pub(super) fn beginning() -> Vec<(Sender, Vec<u8>)> {
    vec![(Client, hello(REVISION)), (Server, welcome(REVISION))]
}

/// See [`crate::protocols::Entry::samples`].
pub(in crate::protocols) fn samples() -> Vec<Sample> {
    let header = data(&[("id", "UInt64", vec![]), ("name", "Nullable(String)", vec![])], 0);
    let mut pieces = beginning();
    pieces.extend([
        // What the revision asks for, and the first statement.
        (Client, [text(""), query("SELECT id, name FROM orders WHERE name = 'secret'", None, 0)].concat()),
        (Server, [header.clone(), rows(3), progress()].concat()),
        (Server, [data(&[], 0), end()].concat()),
        (Client, vec![4]),
        (Server, vec![4]),
        (Client, query("SELECT nothing FROM bills", None, 0)),
        (Server, exception(47)),
        (Client, query("INSERT INTO orders (id, name) VALUES", None, 0)),
        (Server, [[vec![11], text("orders"), text("columns")].concat(), header].concat()),
        (Client, [vec![2, 0], rows(2)[2..].to_vec()].concat()),
        (Client, [vec![2, 0], block(&[], 0)].concat()),
        (Server, end()),
        (Client, query("SELECT count() FROM carts", None, 0)),
        (Server, [rows(1), rows(4), end()].concat()),
    ]);
    vec![Sample { name: "one after the other", pieces, exchanges: 4 }]
}
