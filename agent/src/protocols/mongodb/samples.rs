//! Conversations that show what every protocol keeps.

use crate::protocols::conformance::{Sample, Sender};

/// A value of a document.
pub(super) enum Bson {
    Text(&'static str),
    Int(i32),
    Long(i64),
    Double(f64),
    Document(Vec<(&'static str, Bson)>),
    Array(Vec<Bson>),
    Binary(usize),
}
use Bson::{Array, Double, Int, Text};

pub(super) fn document(elements: Vec<(&str, Bson)>) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (name, value) in elements {
        let (kind, value) = match value {
            Text(text) => (2, [&(text.len() as i32 + 1).to_le_bytes()[..], text.as_bytes(), &[0]].concat()),
            Int(number) => (0x10, number.to_le_bytes().to_vec()),
            Bson::Long(number) => (0x12, number.to_le_bytes().to_vec()),
            Double(number) => (1, number.to_le_bytes().to_vec()),
            Bson::Document(elements) => (3, document(elements)),
            Array(values) => {
                let names: Vec<String> = (0..values.len()).map(|at| at.to_string()).collect();
                (4, document(names.iter().map(String::as_str).zip(values).collect()))
            }
            Bson::Binary(len) => (5, [&(len as i32).to_le_bytes()[..], &[0], &vec![0x62; len]].concat()),
        };
        bytes.push(kind);
        bytes.extend(name.as_bytes());
        bytes.push(0);
        bytes.extend(value);
    }
    [&(bytes.len() as i32 + 5).to_le_bytes()[..], &bytes, &[0]].concat()
}

pub(super) fn message(id: i32, answers: i32, code: i32, body: &[u8]) -> Vec<u8> {
    let header = [body.len() as i32 + 16, id, answers, code].map(i32::to_le_bytes).concat();
    [&header, body].concat()
}

/// `OP_MSG` with a document.
pub(super) fn msg(id: i32, answers: i32, flags: u32, elements: Vec<(&str, Bson)>) -> Vec<u8> {
    message(id, answers, 2013, &[&flags.to_le_bytes()[..], &[0], &document(elements)].concat())
}

/// A list of documents, as a section.
pub(super) fn section(name: &str, documents: &[Vec<u8>]) -> Vec<u8> {
    let list = [name.as_bytes(), &[0], &documents.concat()].concat();
    [&[1][..], &(list.len() as i32 + 4).to_le_bytes(), &list].concat()
}

/// `OP_QUERY` to `admin.$cmd`.
pub(super) fn query(id: i32, elements: Vec<(&str, Bson)>) -> Vec<u8> {
    let body = [&[0; 4][..], b"admin.$cmd\0", &[0; 4], &(-1_i32).to_le_bytes(), &document(elements)].concat();
    message(id, 0, 2004, &body)
}

/// `OP_REPLY` with a document.
pub(super) fn reply(id: i32, answers: i32, flags: u8, elements: Vec<(&str, Bson)>) -> Vec<u8> {
    let body = [&[flags, 0, 0, 0][..], &[0; 12], &1_i32.to_le_bytes(), &document(elements)].concat();
    message(id, answers, 1, &body)
}

/// See [`crate::protocols::Entry::samples`].
pub(in crate::protocols) fn samples() -> Vec<Sample> {
    const CLIENT: Sender = Sender::Client;
    const SERVER: Sender = Sender::Server;
    let sample = |name, exchanges, pieces: &[(Sender, Vec<u8>)]| Sample { name, pieces: pieces.to_vec(), exchanges };
    let failed = |code| vec![("ok", Double(0.0)), ("errmsg", Text("no")), ("code", Int(code))];
    let found = |count: i32| {
        let batch = (0..count).map(|number| Bson::Document(vec![("_id", Int(number)), ("value", Bson::Binary(900))]));
        let cursor = vec![("firstBatch", Array(batch.collect())), ("id", Bson::Long(0)), ("ns", Text("shop.orders"))];
        vec![("cursor", Bson::Document(cursor)), ("ok", Double(1.0))]
    };
    let find = |collection| vec![("find", Text(collection)), ("filter", Bson::Document(vec![])), ("$db", Text("shop"))];
    let documents: Vec<_> = (0..3).map(|number| document(vec![("_id", Int(number))])).collect();
    let insert = [
        &0_u32.to_le_bytes()[..],
        &[0],
        &document(vec![("insert", Text("orders")), ("ordered", Int(1)), ("$db", Text("shop"))]),
        &section("documents", &documents),
    ]
    .concat();
    vec![
        sample(
            "one after the other",
            4,
            &[
                (CLIENT, query(1, vec![("ismaster", Int(1)), ("helloOk", Int(1))])),
                (SERVER, reply(9, 1, 0, failed(1))),
                (CLIENT, message(2, 0, 2013, &insert)),
                (SERVER, msg(10, 2, 0, failed(2))),
                (CLIENT, msg(3, 0, 0, find("orders"))),
                (SERVER, msg(11, 3, 0, found(7))),
                (CLIENT, msg(4, 0, 0, find("customers"))),
                (SERVER, msg(12, 4, 0, failed(59))),
            ],
        ),
        sample(
            "several at a time",
            3,
            &[
                (CLIENT, [msg(1, 0, 0, find("a")), msg(2, 0, 0, find("b"))].concat()),
                (SERVER, msg(9, 2, 0, found(2))),
                (CLIENT, msg(3, 0, 1 << 16, vec![("getMore", Bson::Long(5)), ("collection", Text("c"))])),
                (SERVER, [msg(10, 1, 0, found(1)), msg(11, 3, 0, found(3))].concat()),
            ],
        ),
    ]
}
