//! What is told of single conversations.

use super::{
    samples::{
        CLIENT, HANDLE, SERVER, answer, batch, done, error, logged_in, packet, prelogin, procedure, text_parameter,
        wide,
    },
    *,
};
use crate::protocols::{
    conformance::Sender,
    testing::{assert_recognised, converse},
};

fn told(pieces: &[(Sender, Vec<u8>)]) -> Vec<Db> {
    let told = converse(open(Role::Client), pieces);
    assert!(!format!("{told:?}").contains("secret"));
    told.into_iter()
        .map(|exchange| {
            let Operation::Db(db) = exchange.operation else { panic!("no database") };
            *db
        })
        .collect()
}

fn ok() -> (Sender, Vec<u8>) {
    (SERVER, answer(&[done(0, 0)]))
}

#[test]
fn statements_are_told_without_values_in_whatever_way_they_are_asked() {
    let text = "SELECT name FROM people WHERE city = N'secret'";
    for asked in [
        batch(text),
        procedure(10, &[text_parameter(text), text_parameter("@p int")]),
        procedure(13, &[HANDLE.to_vec(), text_parameter("@p int"), text_parameter(text)]),
    ] {
        let db = &told(&[(CLIENT, asked), (SERVER, answer(&[done(0x10, 7)]))])[0];
        assert_eq!((db.operation.as_deref(), db.collection.as_deref()), (Some("SELECT"), Some("people")));
        assert_eq!(db.text.as_deref().map(|text| text.contains("secret")), Some(false));
        assert_eq!((db.returned_rows, db.text_unknown), (Some(7), false));
    }
    let prepared = &told(&[(CLIENT, procedure(12, &[HANDLE.to_vec()])), ok()])[0];
    assert_eq!((prepared.operation.as_deref(), prepared.text_unknown), (Some("EXECUTE"), true));
}

#[test]
fn procedures_are_told_by_their_names() {
    let mut content = vec![22, 0, 0, 0, 18, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 9, 0];
    content.extend(wide("dbo.total"));
    content.extend([0, 0]);
    let db = &told(&[(CLIENT, packet(RPC, true, &content)), (SERVER, answer(&[error(50_000), done(2, 0)]))])[0];
    assert_eq!((db.operation.as_deref(), db.procedure.as_deref()), (Some("EXECUTE"), Some("dbo.total")));
    assert_eq!((db.failed, db.status.as_deref()), (true, Some("50000")));
}

#[test]
fn logins_are_not_told_and_the_database_that_they_choose_is() {
    let told = told(&[
        (CLIENT, prelogin(PRELOGIN)),
        (SERVER, prelogin(RESPONSE)),
        (CLIENT, packet(LOGIN, true, &wide("secret"))),
        (SERVER, logged_in("shop")),
        (CLIENT, batch("SELECT 1")),
        ok(),
    ]);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].namespace.as_deref(), Some("shop"));
}

#[test]
fn what_is_broken_off_is_told_so() {
    let told = told(&[
        (CLIENT, batch("WAITFOR DELAY '00:01'")),
        (CLIENT, packet(ATTENTION, true, &[])),
        (SERVER, answer(&[done(0x20, 0)])),
        (CLIENT, batch("SELECT 1")),
        ok(),
    ]);
    assert_eq!(told.len(), 2);
    assert_eq!((told[0].failed, told[0].status.as_deref()), (true, Some("attention")));
    assert!(!told[1].failed);
}

#[test]
fn what_is_recognised() {
    assert_recognised(
        recognise,
        &[
            (prelogin(PRELOGIN), Recognition::Request),
            (prelogin(RESPONSE), Recognition::Response),
            (batch("SELECT 1"), Recognition::Request),
            (answer(&[done(0, 0)]), Recognition::Response),
            (packet(LOGIN, true, &[1; 90]), Recognition::Maybe),
            (packet(9, true, &[1; 90]), Recognition::No),
            (b"\x04\x01\x00\x25\x00\x33\x01\x00\x41".to_vec(), Recognition::No),
        ],
    );
}
