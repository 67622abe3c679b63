//! What is told of single conversations.

use super::*;
use crate::{
    model::exchange::{Exchange, Outcome},
    protocols::{
        conformance::Sender::{self, Client, Server},
        testing::{assert_recognised, converse},
    },
};

fn told(lines: &[(Sender, &str)]) -> Vec<(String, Option<String>, Outcome)> {
    let pieces: Vec<_> = lines.iter().map(|(sender, text)| (*sender, text.as_bytes().to_vec())).collect();
    let of = |exchange: Exchange| {
        let Operation::Rpc(rpc) = exchange.operation else { panic!("no call") };
        (rpc.method.unwrap().to_string(), rpc.code.map(|code| code.to_string()), exchange.outcome)
    };
    let told = converse(open(Role::Client), &pieces);
    assert!(!format!("{told:?}").contains("secret"));
    told.into_iter().map(of).collect()
}

fn complete(name: &str, code: Option<&str>) -> (String, Option<String>, Outcome) {
    (name.to_owned(), code.map(str::to_owned), Outcome::Complete)
}

#[test]
fn bytes_that_are_counted_are_no_commands_whether_they_are_waited_for_or_not() {
    let told = told(&[
        (Server, "* OK ready\r\n"),
        (Client, "1 APPEND secret {13}\r\n"),
        (Server, "+ ok\r\n"),
        (Client, "x1 NOOP\r\nabcd"),
        (Client, "\r\n2 NOOP\r\n"),
        (Server, "1 OK done\r\n2 OK done\r\n"),
        (Client, "3 LOGIN {6+}\r\nsecret {6+}\r\n4 NOOP\r\n5 NOOP\r\n"),
        (Server, "3 NO\r\n5 OK done\r\n"),
    ]);
    let expected =
        [complete("APPEND", None), complete("NOOP", None), complete("LOGIN", Some("NO")), complete("NOOP", None)];
    assert_eq!(told, expected);
}

#[test]
fn what_the_server_does_not_let_pass_does_not_come() {
    let told = told(&[
        (Client, "A1 APPEND secret {9}\r\n"),
        (Server, "A1 NO no room\r\n"),
        (Client, "A2 AUTHENTICATE X\r\n"),
        (Server, "+ secret\r\n"),
        (Client, "*\r\n"),
        (Server, "A2 BAD gave up\r\n"),
        (Client, "A3 LOGOUT\r\n"),
        (Server, "* BYE\r\nA3 OK bye\r\n"),
    ]);
    let expected = [complete("APPEND", Some("NO")), complete("AUTHENTICATE", Some("BAD")), complete("LOGOUT", None)];
    assert_eq!(told, expected);
}

#[test]
fn behind_the_change_to_tls_nothing_is_read() {
    let told = told(&[(Client, "A1 STARTTLS\r\n"), (Server, "A1 OK begin\r\n"), (Client, "\u{16}\u{3}\u{1}")]);
    assert_eq!(told, [complete("STARTTLS", None)]);
}

#[test]
fn what_is_recognised() {
    let cases = [
        ("* OK mail ready\r\n", Recognition::Greeting),
        ("* PREAUTH hi\r\n", Recognition::Greeting),
        ("* 12 EXISTS\r\n", Recognition::Response),
        ("* CAPABILITY IMAP4rev1\r\n", Recognition::Response),
        ("a001 OK done\r\n", Recognition::Response),
        ("a001 login a b\r\n", Recognition::Request),
        ("7 NOOP\r\n", Recognition::Request),
        ("7 NOOP x\r\n", Recognition::No),
        ("a NOOP\r\n", Recognition::No),
        ("* OKAY\r\n", Recognition::No),
        ("*1\r\n$4\r\nPING\r\n", Recognition::No),
        ("250 DELETE command done\r\n", Recognition::No),
        ("a1 SEL", Recognition::Maybe),
    ];
    let cases = cases.map(|(text, expected)| (text.as_bytes().to_vec(), expected));
    assert_recognised(recognise, &cases);
}
