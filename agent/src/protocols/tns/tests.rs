//! What is told of single conversations.

use super::{
    message::MARKER,
    samples::{accept, beginning, connect, data, ended, execute, packet},
    *,
};
use crate::{
    model::exchange::Exchange,
    protocols::{
        conformance::Sender::{self, Client, Server},
        testing::{assert_recognised, converse},
    },
};

fn told(more: Vec<(Sender, Vec<u8>)>) -> Vec<Exchange> {
    let mut pieces = beginning();
    pieces.extend(more);
    let told = converse(open(Role::Server), &pieces);
    assert!(!format!("{told:?}").contains("secret"), "{told:#?}");
    told
}

fn db(exchange: &Exchange) -> &Db {
    let Operation::Db(db) = &exchange.operation else { panic!("no database") };
    db
}

#[test]
fn statements_are_told_where_their_text_is_found_without_values() {
    let long = format!("INSERT INTO orders (a) VALUES ('{}')", "secret".repeat(60));
    let told = told(vec![
        (Client, execute(1, "UPDATE bills SET paid = 'secret' WHERE id = 17")),
        (Server, ended("")),
        (Client, execute(2, &long)),
        (Server, ended("ORA-00001: unique constraint (secret) violated\n")),
        (Client, execute(3, "SELECT q'[it's secret]' FROM dual")),
        (Server, data(&[6, 1])),
        (Client, data(&[3, 0x5e, 4, 2, 0x80, 0x60])),
        (Server, data(&[6, 1])),
        (Client, execute(5, "BEGIN pay(:1); END;")),
        (Server, data(&[6, 1])),
    ]);
    let texts: Vec<_> = told.iter().map(|it| (db(it).operation.as_deref(), db(it).text.as_deref())).collect();
    assert_eq!(texts[0], (Some("UPDATE"), Some("UPDATE bills SET paid = ? WHERE id = ?")));
    assert_eq!(texts[1], (Some("INSERT"), Some("INSERT INTO orders (a) VALUES (?)")));
    assert_eq!((texts[2], texts[3]), ((Some("SELECT"), None), (Some("EXECUTE"), None)));
    assert!(db(&told[2]).text_unknown && db(&told[3]).text_unknown && !db(&told[4]).text_unknown);
    assert_eq!((db(&told[0]).namespace.as_deref(), db(&told[0]).status.as_deref()), (Some("shop.db"), None));
    assert_eq!((db(&told[1]).failed, db(&told[1]).status.as_deref()), (true, Some("ORA-00001")));
}

#[test]
fn an_answer_is_over_with_the_first_packet_that_is_not_full() {
    let full = packet(DATA, &[6; 8184], true);
    let told = told(vec![
        (Client, execute(1, "SELECT a FROM orders")),
        (Server, full.clone()),
        (Server, full),
        (Server, data(&[6, 1])),
        // What comes behind it belongs to nothing.
        (Server, data(&[6, 1])),
        (Client, execute(2, "SELECT a FROM bills")),
        (Server, packet(MARKER, &[1, 0, 1], true)),
        (Server, ended("ORA-01013: user requested cancel of current operation\n")),
    ]);
    assert_eq!(told.len(), 2);
    assert_eq!(told[0].end_ns, 10_000);
    assert_eq!(db(&told[1]).status.as_deref(), Some("ORA-01013"));
}

#[test]
fn what_is_encrypted_is_not_told() {
    let told =
        told(vec![(Client, data(&[0xde, 0xad, 0xbe, 0xef, 1, 2])), (Server, data(&[0xde, 0xad, 0xbe, 0xef, 1, 2]))]);
    assert!(told.is_empty());
}

#[test]
fn what_is_recognised() {
    let mut old = connect();
    (old[8], old[9]) = (1, 0);
    assert_recognised(
        recognise,
        &[
            (connect(), Recognition::Request),
            (accept(8192), Recognition::Response),
            (execute(1, "SELECT 1 FROM dual"), Recognition::Request),
            (data(&[3, 0x0e, 2]), Recognition::Request),
            (data(&[3, 0xff, 2]), Recognition::No),
            (old, Recognition::No),
            (data(&[4, 1]), Recognition::Maybe),
        ],
    );
}
