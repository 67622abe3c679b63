//! What is told of single conversations.

use super::*;
use crate::{
    model::exchange::{Exchange, Outcome},
    protocols::{conformance::Sender, testing::converse},
};

fn told(pieces: &[(Sender, &str)]) -> Vec<(String, Option<String>, Outcome)> {
    let pieces: Vec<_> = pieces.iter().map(|(sender, text)| (*sender, text.as_bytes().to_vec())).collect();
    let of = |exchange: Exchange| {
        let Operation::Rpc(rpc) = exchange.operation else { panic!("no call") };
        (rpc.method.unwrap().to_string(), rpc.code.map(|code| code.to_string()), exchange.outcome)
    };
    converse(open(Role::Client), &pieces).into_iter().map(of).collect()
}

const CLIENT: Sender = Sender::Client;
const SERVER: Sender = Sender::Server;

#[test]
fn a_message_is_told_with_its_command_and_read_by_nobody() {
    let told = told(&[
        (SERVER, "220 x ESMTP\r\n"),
        (CLIENT, "DATA\r\n"),
        (SERVER, "354 \r\n"),
        (CLIENT, "QUIT\r\nMAIL FROM:<secret>\r\n.\r\n"),
        (SERVER, "554 spam\r\n"),
        (CLIENT, "BDAT 5 LAST\r\nRSET\r\n"),
        (SERVER, "250 ok\r\n"),
        (CLIENT, "quit\r\n"),
        (SERVER, "221 bye\r\n"),
    ]);
    let complete = |name: &str, code: Option<&str>| (name.to_owned(), code.map(str::to_owned), Outcome::Complete);
    assert_eq!(told, [complete("DATA", Some("554")), complete("BDAT", None), complete("QUIT", None)]);
}

#[test]
fn behind_the_change_to_tls_nothing_is_read() {
    let told = told(&[
        (CLIENT, "EHLO x.y\r\n"),
        (SERVER, "250 hi\r\n"),
        (CLIENT, "STARTTLS\r\n"),
        (SERVER, "220 go on\r\n"),
        (CLIENT, "\u{16}\u{3}\u{1}"),
    ]);
    assert_eq!(told.len(), 2);
}

#[test]
fn what_is_recognised() {
    for (text, expected) in [
        ("EHLO shop\r\n", Recognition::Request),
        ("helo shop\r\n", Recognition::Request),
        ("EHLO sh", Recognition::Maybe),
        ("220 shop ESMTP Postfix\r\n", Recognition::Greeting),
        ("220 (vsFTPd 3.0.5)\r\n", Recognition::Maybe),
        ("HELLO\r\n", Recognition::No),
        ("250 ok\r\n", Recognition::No),
        ("220x", Recognition::No),
        ("EHLO \u{1}\r\n", Recognition::No),
    ] {
        assert_eq!(recognise(text.as_bytes()), expected, "{text:?}");
    }
}
