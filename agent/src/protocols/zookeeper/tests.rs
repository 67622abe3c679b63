//! What is told of single conversations.

use super::{
    samples::{CLIENT, SERVER, answer, ask, connect, connected},
    *,
};
use crate::protocols::{
    conformance::Sender,
    testing::{assert_recognised, converse},
};

fn told(pieces: &[(Sender, Vec<u8>)]) -> Vec<(String, Option<String>)> {
    let told = converse(open(Role::Client), pieces);
    assert!(!format!("{told:?}").contains("secret"));
    told.into_iter()
        .map(|exchange| {
            let Operation::Db(db) = exchange.operation else { panic!("no database") };
            (db.operation.unwrap().to_string(), db.status.map(|code| code.to_string()))
        })
        .collect()
}

#[test]
fn operations_are_told_with_the_code_of_what_went_wrong() {
    let told = told(&[
        (CLIENT, connect()),
        (SERVER, connected(0)),
        (CLIENT, [ask(1, 3, "/secret"), ask(2, 2, "/secret")].concat()),
        (SERVER, [answer(1, -101, &[]), answer(2, -101, &[])].concat()),
    ]);
    let of = |name: &str, code: Option<&str>| (name.to_owned(), code.map(str::to_owned));
    assert_eq!(told, [of("connect", Some("-112")), of("exists", None), of("delete", Some("-101"))]);
}

#[test]
fn what_is_recognised() {
    assert_recognised(
        recognise,
        &[
            (connect(), Recognition::Request),
            (connected(9), Recognition::Response),
            (ask(9, 4, "/a"), Recognition::Request),
            (ask(9, 4, "a"), Recognition::No),
            (ask(9, 99, "/a"), Recognition::No),
            // Shorter than what stands before a path.
            (b"\0\0\0\x08\x01\x97\0\0\0\0\0\x02\x84\0\x02\0/a".to_vec(), Recognition::No),
            (answer(9, 0, &[0; 4]), Recognition::Maybe),
            (answer(9, 5, &[0; 4]), Recognition::No),
        ],
    );
}
