//! What is told of single conversations.

use super::{
    samples::{CLIENT, NO, NULL, SERVER, accepted, beginning, body, described, frame, number, settle, text, transfer},
    *,
};
use crate::{
    model::exchange::{Messaging, MessagingStep, Operation, Outcome, Pattern},
    protocols::{
        conformance::Sender,
        testing::{assert_recognised, converse},
    },
};

fn told(more: Vec<(Sender, Vec<u8>)>) -> Vec<(Messaging, Outcome, Pattern, bool)> {
    let mut pieces = beginning();
    pieces.extend(more);
    let told = converse(open(Role::Client), &pieces);
    assert!(!format!("{told:?}").contains("secret"));
    told.into_iter()
        .map(|exchange| {
            let Operation::Messaging(messaging) = exchange.operation else { panic!("no message") };
            (*messaging, exchange.outcome, exchange.pattern, exchange.parent.is_some())
        })
        .collect()
}

#[test]
fn messages_are_told_with_their_address_and_the_context_that_they_carry() {
    let context = [text("traceparent"), text("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")].concat();
    let map = [&[0, 0x53, 0x74, 0xc1, context.len() as u8 + 1, 2], &context[..]].concat();
    let said = [described(0x73, &[&text("7")]), map, vec![0, 0x53, 0x75, 0xa0, 1, 0]].concat();
    let told = told(vec![
        (CLIENT, transfer(0, 5, false, &said)),
        (SERVER, transfer(1, 9, false, &said)),
        (SERVER, settle(5, 5, &accepted())),
        (CLIENT, settle(9, 9, &accepted())),
    ]);
    let [(sent, Outcome::Complete, _, true), (delivered, Outcome::Complete, _, false)] = &told[..] else {
        panic!("{told:#?}")
    };
    assert_eq!(
        (sent.system, sent.step, sent.destination.as_deref()),
        ("rabbitmq", MessagingStep::Send, Some("orders"))
    );
    assert_eq!((sent.links.len(), sent.message_id.as_deref(), sent.error.as_deref()), (0, Some("7"), None));
    assert_eq!(delivered.links.len(), 1);
    assert_eq!((delivered.step, delivered.destination.as_deref()), (MessagingStep::Process, Some("bills")));
}

#[test]
fn what_is_settled_before_is_over_at_once_and_frames_of_one_message_are_one() {
    let part = |more: &[u8], id: &[u8]| frame(TRANSFER, &[&number(0), id, NULL, NULL, NO, more], &body("a"));
    let told = told(vec![
        (CLIENT, transfer(0, 1, true, &body("a"))),
        (CLIENT, part(&[0x41], &number(2))),
        (CLIENT, part(&[0x41], NULL)),
        (CLIENT, part(NO, NULL)),
        (SERVER, settle(0, 7, &accepted())),
        (CLIENT, transfer(0, 3, false, &body("b"))),
    ]);
    let ended: Vec<_> = told.iter().map(|(_, outcome, pattern, _)| (*outcome, *pattern)).collect();
    let answered = Pattern::RequestResponse;
    let expected =
        [(Outcome::Complete, Pattern::OneWay), (Outcome::Complete, answered), (Outcome::NoResponse, answered)];
    assert_eq!(ended, expected);
}

#[test]
fn what_is_recognised() {
    assert_recognised(
        recognise,
        &[
            (b"AMQP\0\x01\0\0".to_vec(), Recognition::Request),
            (b"AMQP\x03\x01\0\0".to_vec(), Recognition::Request),
            (b"AMQP\0\0\x09\x01".to_vec(), Recognition::No),
            (transfer(0, 1, true, b""), Recognition::Either),
            (b"\0\0\0\x10\x02\0\0\0\0\x53\x19\xc0\x02\x01\x40\0".to_vec(), Recognition::No),
        ],
    );
}
