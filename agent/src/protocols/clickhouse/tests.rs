//! What is told of single conversations.

use super::{
    samples::{beginning, block, data, end, exception, hello, number, profile, progress, query, rows, text, welcome},
    *,
};
use crate::{
    model::exchange::{Db, Exchange, Operation, Outcome},
    protocols::{
        End,
        conformance::Sender::{self, Client, Server},
        testing::{Wire, assert_recognised, converse},
    },
};

fn told(more: Vec<(Sender, Vec<u8>)>) -> Vec<Exchange> {
    let mut pieces = beginning();
    pieces.extend(more);
    let told = converse(open(Role::Client), &pieces);
    assert!(!format!("{told:?}").contains("secret"));
    told
}

fn db(exchange: &Exchange) -> &Db {
    let Operation::Db(db) = &exchange.operation else { panic!("no database") };
    db
}

/// What the revision asks for behind the login, and a statement.
fn first(statement: Vec<u8>) -> Vec<u8> {
    [text(""), statement].concat()
}

#[test]
fn statements_are_told_without_values_with_rows_and_the_context_that_they_carry() {
    let (mut trace, mut span) = ([0; 16], [0; 8]);
    (trace[0], trace[8], span[0]) = (1, 2, 3);
    let asked = first(query("SELECT a FROM orders WHERE b = 'secret' AND c = 17", Some((trace, span)), 0));
    let told = told(vec![(Client, asked), (Server, [rows(7), end()].concat())]);
    let it = db(&told[0]);
    assert_eq!((it.system, it.namespace.as_deref(), it.returned_rows), ("clickhouse", Some("shop"), Some(7)));
    assert_eq!(it.text.as_deref(), Some("SELECT a FROM orders WHERE b = ? AND c = ?"));
    assert_eq!(it.summary.as_deref(), Some("SELECT orders"));
    let parent = told[0].parent.unwrap();
    assert_eq!((parent.trace_id.0[7], parent.trace_id.0[15], parent.span_id.0[7]), (1, 2, 3));
}

#[test]
fn exceptions_are_told_by_their_code_also_behind_rows() {
    let told = told(vec![
        (Client, first(query("SELECT a FROM orders", None, 0))),
        (Server, [rows(3), exception(241)].concat()),
        (Client, query("SELECT a FROM bills", None, 0)),
        (Server, exception(60)),
    ]);
    let codes: Vec<_> = told.iter().map(|it| (db(it).status.as_deref(), db(it).returned_rows)).collect();
    assert_eq!(codes, [(Some("241"), None), (Some("60"), None)]);
}

#[test]
fn what_is_compressed_is_passed_over_by_its_length() {
    let part = |len: usize| {
        let head = [&[7; 16][..], &[0x82], &(len as u32 + 9).to_le_bytes(), &[0, 9, 0, 0]].concat();
        [head, vec![5; len]].concat()
    };
    let answer = [&[1, 0][..], &part(30), &part(200), &profile(), &progress(), &[5]].concat();
    let told = told(vec![(Client, first(query("SELECT a FROM orders", None, 1))), (Server, answer)]);
    assert_eq!((told[0].outcome, db(&told[0]).returned_rows), (Outcome::Complete, None));
}

#[test]
fn behind_what_cannot_be_read_the_end_is_found_and_else_not_made_up() {
    let strange = data(&[("a", "LowCardinality(String)", vec![5; 90])], 3);
    let told = told(vec![
        (Client, first(query("SELECT a FROM one", None, 0))),
        (Server, strange.clone()),
        // A piece of nothing but what an answer ends with.
        (Server, end()),
        (Client, query("SELECT a FROM two", None, 0)),
        // At the end of a piece it is believed when the client goes on.
        (Server, [strange.clone(), end()].concat()),
        (Client, query("SELECT a FROM three", None, 0)),
        (Server, [strange, vec![5, 5]].concat()),
        (Client, query("SELECT a FROM four", None, 0)),
        (Server, [rows(1), end()].concat()),
    ]);
    let in_short: Vec<_> = told.iter().map(|it| (it.outcome, db(it).returned_rows)).collect();
    let complete = (Outcome::Complete, None);
    assert_eq!(in_short, [complete, complete, (Outcome::Unseen, None), (Outcome::Complete, Some(1))]);
    assert!(told[1].end_ns < told[2].start_ns);
}

#[test]
fn a_long_statement_is_told_though_its_end_is_not_there() {
    let mut wire = Wire::new(open(Role::Client));
    let long = query(&format!("SELECT a FROM orders WHERE b IN ({})", "'secret', ".repeat(3000)), None, 0);
    for (sender, data, skipped) in [
        (Client, hello(54_468), 0),
        (Server, welcome(54_468), 0),
        (Client, first(long[..9000].to_vec()), 21_100),
        (Server, end(), 0),
    ] {
        wire.piece(sender, &data, skipped, &[], false);
    }
    let told = wire.end(End::Closed);
    assert_eq!((db(&told[0]).summary.as_deref(), told[0].outcome), (Some("SELECT orders"), Outcome::Complete));
    assert!(!format!("{told:?}").contains("secret"));
}

#[test]
fn columns_are_followed_by_their_types() {
    let of = |kind: &str, rows: u64, values: Vec<u8>| {
        let bytes = block(&[("a", kind, values)], rows);
        let mut at = Reader::new(&bytes);
        block::plain(&mut at, samples::REVISION).map(|rows| (rows, at.rest().len()))
    };
    for (kind, rows, len) in [
        ("UInt8", 5, 5),
        ("DateTime64(3, 'UTC')", 2, 16),
        ("Decimal(18, 4)", 2, 16),
        ("FixedString(7)", 3, 21),
        ("Nullable(UUID)", 2, 34),
        ("Enum8('a' = 1)", 4, 4),
    ] {
        assert_eq!(of(kind, rows, vec![1; len]), Ok((rows, 0)), "{kind}");
        assert_eq!(of(kind, rows, vec![1; len - 1]), Err(Stop::More), "{kind}");
    }
    let arrays = [&2_u64.to_le_bytes()[..], &3_u64.to_le_bytes(), &text("a"), &text("bc"), &text("")].concat();
    assert_eq!(of("Array(String)", 2, arrays), Ok((2, 0)));
    assert_eq!(of("Map(String, String)", 1, vec![]), Err(Stop::No));
    assert_eq!(of("UInt256", u64::MAX, vec![]), Err(Stop::No));
}

#[test]
fn what_is_recognised() {
    let other = [vec![0], text("ClickHouse client"), number(24), number(3), number(7)].concat();
    assert_recognised(
        recognise,
        &[
            (hello(54_468), Recognition::Request),
            (welcome(54_468), Recognition::Response),
            (query("SELECT 1", None, 0), Recognition::Request),
            (rows(1), Recognition::Response),
            (exception(60), Recognition::Response),
            (other, Recognition::No),
            (vec![4], Recognition::No),
            (b"\x01\x24secret".to_vec(), Recognition::Maybe),
        ],
    );
}
