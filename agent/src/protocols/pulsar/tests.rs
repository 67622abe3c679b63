//! What is told of single conversations.

use super::{
    samples::{ack, beginning, bytes, frame, id, in_batch, message, number, property, receipt, send},
    *,
};
use crate::{
    model::exchange::{Messaging, MessagingStep, Operation, Outcome},
    protocols::{
        conformance::Sender::{self, Client, Server},
        testing::{assert_recognised, converse},
    },
};

const CONTEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn told(more: Vec<(Sender, Vec<u8>)>) -> Vec<(Messaging, Outcome, bool)> {
    let mut pieces = beginning();
    pieces.extend(more);
    let told = converse(open(Role::Client), &pieces);
    assert!(!format!("{told:?}").contains("secret"));
    told.into_iter()
        .map(|exchange| {
            let Operation::Messaging(messaging) = exchange.operation else { panic!("no message") };
            (*messaging, exchange.outcome, exchange.parent.is_some())
        })
        .collect()
}

#[test]
fn messages_are_told_with_topic_subscription_and_the_context_that_they_carry() {
    let carried = [property(4, "traceparent", CONTEXT)];
    let told = told(vec![
        (Client, send(1, 9, &carried, b"secret")),
        (Server, message(2, 4, &carried, b"secret")),
        (Server, receipt(1, 9)),
        (Client, ack(2, 0, &[id(7, 4)])),
    ]);
    let [(sent, Outcome::Complete, true), (delivered, Outcome::Complete, false)] = &told[..] else {
        panic!("{told:#?}")
    };
    assert_eq!(
        (sent.step, sent.destination.as_deref()),
        (MessagingStep::Send, Some("persistent://public/default/orders"))
    );
    assert_eq!(
        (sent.partition.as_deref(), sent.message_id.as_deref(), sent.body_bytes),
        (Some("3"), Some("7:9"), Some(6))
    );
    assert!(sent.links.is_empty() && delivered.links.len() == 1);
    assert_eq!(delivered.destination.as_deref(), Some("persistent://public/default/bills"));
    assert_eq!((delivered.step, delivered.consumer_group.as_deref()), (MessagingStep::Process, Some("shop")));
    assert_eq!((delivered.messages, delivered.message_id.as_deref()), (Some(1), Some("7:4")));
}

#[test]
fn of_a_batch_each_message_counts_and_each_context_is_linked() {
    let other = CONTEXT.replace("4bf9", "aaaa");
    let carried = |context: &str| in_batch(&[property(1, "traceparent", context)]);
    let batch = [carried(CONTEXT), in_batch(&[]), carried(&other)].concat();
    let packed = vec![number(11, 3), number(8, 1)];
    let told = told(vec![
        (Client, send(1, 0, &[number(11, 3)], &batch)),
        (Client, send(1, 1, &packed, &batch)),
        (Server, [receipt(1, 0), receipt(1, 1)].concat()),
    ]);
    let of = |nth: usize| (told[nth].0.messages, told[nth].0.links.len(), told[nth].0.body_bytes, told[nth].2);
    assert_eq!((of(0), of(1)), ((Some(3), 2, None, false), (Some(3), 0, None, false)));
}

#[test]
fn a_batch_is_over_when_all_of_it_is_acknowledged_and_what_is_to_come_again_is_told() {
    let batch = |entry| message(2, entry, &[number(11, 2)], &in_batch(&[]).repeat(2));
    let part = |bits| [id(7, 1), number(5, bits)].concat();
    let redeliver = |entry| frame(20, &[number(1, 2), bytes(2, &id(7, entry))], &[]);
    let told = told(vec![
        (Server, [batch(1), batch(2), batch(3), batch(4)].concat()),
        (Client, ack(2, 0, &[part(1)])),
        (Client, redeliver(3)),
        (Client, ack(2, 0, &[part(0)])),
        (Client, frame(16, &[number(1, 2), number(2, 9)], &[])),
    ]);
    let in_short: Vec<_> = told.iter().map(|(it, outcome, _)| (it.error.as_deref(), *outcome)).collect();
    let expected = [
        (Some("redeliver"), Outcome::Complete),
        (None, Outcome::Complete),
        (None, Outcome::NoResponse),
        (None, Outcome::NoResponse),
    ];
    assert_eq!(in_short, expected);
}

#[test]
fn what_is_recognised() {
    assert_recognised(
        recognise,
        &[
            (send(1, 1, &[], b"x"), Recognition::Request),
            (receipt(1, 1), Recognition::Response),
            (frame(18, &[], &[]), Recognition::Either),
            (frame(36, &[bytes(1, b"x")], &[]), Recognition::Response),
            (frame(11, &[number(1, 1)], b"more"), Recognition::No),
            (frame(49, &[], &[]), Recognition::No),
            (b"\0\0\0\x09\0\0\0\x05\x08\x12\x92\x01\x01".to_vec(), Recognition::No),
        ],
    );
}
