//! What is told of single conversations.

use super::{
    samples::{CLIENT, RESULT, SERVER, THROWN, binary, compact, log, problem},
    *,
};
use crate::{
    model::exchange::{Outcome, Pattern},
    protocols::{
        conformance::Sender,
        testing::{assert_recognised, converse},
    },
};

fn told(pieces: &[(Sender, Vec<u8>)]) -> Vec<(String, Option<String>)> {
    let told = converse(open(Role::Server), pieces);
    assert!(!format!("{told:?}").contains("secret"));
    told.into_iter()
        .map(|exchange| {
            assert_eq!(exchange.outcome, Outcome::Complete);
            let is_one_way = exchange.pattern == Pattern::OneWay;
            let Operation::Rpc(rpc) = exchange.operation else { panic!("no call") };
            assert!(is_one_way == (rpc.method.as_deref() == Some("log")));
            (rpc.method.unwrap().to_string(), rpc.code.map(|code| code.to_string()))
        })
        .collect()
}

#[test]
fn what_went_wrong_is_told_by_its_kind() {
    let answers = |kind, body: &[u8]| {
        let told =
            told(&[(CLIENT, binary(CALL, 5, "Orders:get", &[0])), (SERVER, binary(kind, 5, "Orders:get", body))]);
        assert_eq!(told[0].0, "Orders/get");
        told[0].1.clone()
    };
    assert_eq!(answers(REPLY, RESULT), None);
    assert_eq!(answers(REPLY, &[0]), None);
    assert_eq!(answers(REPLY, THROWN).as_deref(), Some("exception"));
    assert_eq!(answers(EXCEPTION, &problem(6)).as_deref(), Some("INTERNAL_ERROR"));
    assert_eq!(answers(EXCEPTION, &[0]).as_deref(), Some("_OTHER"));
}

#[test]
fn compact_answers_are_read_too() {
    let answers = |kind, body: &[u8]| {
        told(&[(CLIENT, compact(CALL, 5, "get", &[0])), (SERVER, compact(kind, 5, "get", body))])[0].1.clone()
    };
    assert_eq!(answers(REPLY, &[0]), None);
    assert_eq!(answers(REPLY, &[0x05, 0, 14, 0]), None, "the result, whose number stands behind its kind");
    assert_eq!(answers(REPLY, &[0x1c, 0x18, 1, b'x', 0, 0]).as_deref(), Some("exception"));
    assert_eq!(answers(EXCEPTION, &[0x18, 1, b'x', 0x15, 2, 0]).as_deref(), Some("UNKNOWN_METHOD"));
}

#[test]
fn what_nobody_answers_is_over_at_once() {
    assert_eq!(told(&[(CLIENT, log())]), [("log".to_owned(), None)]);
}

#[test]
fn what_is_recognised() {
    assert_recognised(
        recognise,
        &[
            (binary(CALL, 1, "a", &[0]), Recognition::Request),
            (log(), Recognition::Request),
            (compact(REPLY, 1, "a", &[0]), Recognition::Response),
            (binary(7, 1, "a", &[0]), Recognition::No),
            (binary(CALL, 1, "a b", &[0]), Recognition::No),
            (b"\x80\x01\x00\x01\x00\x00\x00\x01a\x00\x00\x00\x00\x00".to_vec(), Recognition::No),
        ],
    );
}
