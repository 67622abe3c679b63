//! What is told of single conversations.

use super::{
    samples::{CLIENT, SERVER, bind, entry, equals, message, of, result, search, text},
    *,
};
use crate::{
    model::exchange::{Exchange, Outcome},
    protocols::{
        conformance::Sender,
        testing::{assert_recognised, converse},
    },
};

fn db(exchange: &Exchange) -> &Db {
    let Operation::Db(db) = &exchange.operation else { panic!("not a database") };
    db
}

fn told(pieces: &[(Sender, Vec<u8>)]) -> Vec<Exchange> {
    converse(open(Role::Client), pieces)
}

#[test]
fn searches_are_told_by_their_filter_without_values_and_with_what_they_found() {
    let not = of(0xa2, &equals("uid", "secret"));
    let inner = [of(0x87, b"mail"), not, of(0xa5, &[text("age"), text("17")].concat())].concat();
    let filter = of(0xa0, &inner);
    let pieces = [
        (CLIENT, search(7, &filter)),
        (SERVER, [entry(7, "uid=secret"), entry(7, "uid=b"), result(7, 0x65, 0)].concat()),
    ];
    let told = told(&pieces);
    let db = db(&told[0]);
    assert_eq!((db.operation.as_deref(), db.returned_rows, db.failed), (Some("search"), Some(2), false));
    assert_eq!(db.text.as_deref(), Some("(&(mail=*)(!(uid=?))(age>=?))"));
    assert!(!format!("{told:?}").contains("secret"));
}

#[test]
fn who_binds_with_what_is_not_told_and_that_it_is_refused_is() {
    let told = told(&[(CLIENT, bind(1, "secret")), (SERVER, result(1, 0x61, 49))]);
    assert_eq!((db(&told[0]).failed, db(&told[0]).status.as_deref()), (true, Some("49")));
    let said = format!("{told:?}");
    assert!(!said.contains("secret") && !said.contains("admin"), "{said}");
}

#[test]
fn what_nobody_answers_is_over_at_once_and_a_comparison_does_not_fail() {
    let told = told(&[
        (CLIENT, message(1, 0x6e, &[text("uid=a"), of(0x30, &[])])),
        (SERVER, result(1, 0x6f, 5)),
        (CLIENT, of(0x30, &[0x02, 1, 2, 0x42, 0])),
    ]);
    assert_eq!(told.iter().map(|it| db(it).operation.as_deref().unwrap()).collect::<Vec<_>>(), ["compare", "unbind"]);
    assert!(told.iter().all(|it| it.outcome == Outcome::Complete && !db(it).failed));
}

#[test]
fn behind_the_change_to_tls_nothing_is_read() {
    let told = told(&[
        (CLIENT, message(1, 0x77, &[of(0x80, START_TLS)])),
        (SERVER, result(1, 0x78, 0)),
        (CLIENT, b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03".to_vec()),
        (SERVER, b"\x16\x03\x03\x00\x7a\x02\x00\x00\x76\x03".to_vec()),
    ]);
    assert_eq!(told.len(), 1);
}

#[test]
fn what_is_recognised() {
    assert_recognised(
        recognise,
        &[
            (search(1, &equals("a", "b")), Recognition::Request),
            (result(9, 0x65, 0), Recognition::Response),
            (entry(9, "uid=a"), Recognition::Response),
            (b"0\x0c\x02\x01\x01`\x07\x02\x01\x09\x04\x00\x80\x00".to_vec(), Recognition::No),
            (b"0123456789".to_vec(), Recognition::No),
        ],
    );
}
