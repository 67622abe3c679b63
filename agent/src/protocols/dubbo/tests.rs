//! What is told of single conversations.

use super::{
    message::{EVENT, REQUEST, TWO_WAY},
    samples::{answer, call, called, message, text},
    *,
};
use crate::{
    model::{
        exchange::{Exchange, Outcome, Pattern},
        trace_context::TraceParent,
    },
    protocols::{
        conformance::Sender::{self, Client, Server},
        testing::{assert_recognised, converse},
    },
};

const CONTEXT: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn told(pieces: &[(Sender, Vec<u8>)]) -> Vec<Exchange> {
    let told = converse(open(Role::Server), pieces);
    assert!(!format!("{told:?}").contains("secret"));
    told
}

fn rpc(exchange: &Exchange) -> &Rpc {
    let Operation::Rpc(rpc) = &exchange.operation else { panic!("no call") };
    rpc
}

#[test]
fn calls_are_told_by_service_and_method_with_the_context_that_they_carry() {
    let body = called("shop.Orders", "get", &[("H", "HZ"), ("traceparent", CONTEXT)]);
    let told = told(&[(Client, message(REQUEST | TWO_WAY, 0, 1, &body)), (Server, answer(1, 20, b"\x91\x90"))]);
    assert_eq!(rpc(&told[0]).method.as_deref(), Some("shop.Orders/get"));
    assert!(told[0].parent.is_some() && told[0].parent == TraceParent::parse(CONTEXT.as_bytes()));
    assert_eq!(rpc(&told[0]).code, None);
}

#[test]
fn what_looks_like_a_context_among_arguments_is_none() {
    let argument = [text("traceparent"), text(CONTEXT)].concat();
    let parts = ["2.0.2", "shop.Orders", "", "get", "Ljava/util/Map;"].map(text).concat();
    let body = [&parts, &b"H"[..], &argument, b"ZH", &text("path"), &text("x"), b"Z"].concat();
    let told = told(&[(Client, message(REQUEST | TWO_WAY, 0, 1, &body)), (Server, answer(1, 20, b"\x92"))]);
    assert_eq!(told[0].parent, None);
}

#[test]
fn what_nobody_answers_is_over_at_once_and_what_is_not_read_has_no_name() {
    let one_way = message(REQUEST, 0, 1, &called("shop.Orders", "log", &[]));
    let mut other = message(REQUEST | TWO_WAY, 0, 2, b"\"2.0.2\"\n\"secret\"\n");
    let mut answered = answer(2, 30, b"\"secret\"");
    // As JSON.
    (other[2], answered[2]) = (other[2] & !0x1f | 6, 6);
    let told = told(&[(Client, one_way), (Client, other), (Server, answered)]);
    let in_short = |it: &Exchange| (rpc(it).method.clone().unwrap_or_default(), it.pattern, rpc(it).code.clone());
    let expected = [
        ("shop.Orders/log".into(), Pattern::OneWay, None),
        ("".into(), Pattern::RequestResponse, Some("CLIENT_TIMEOUT".into())),
    ];
    assert_eq!(told.iter().map(in_short).collect::<Vec<_>>(), expected);
    assert!(told.iter().all(|it| it.outcome == Outcome::Complete));
}

#[test]
fn what_is_recognised() {
    assert_recognised(
        recognise,
        &[
            (call(1, "a"), Recognition::Request),
            (answer(1, 20, b""), Recognition::Response),
            (message(REQUEST | EVENT, 0, 1, b"N"), Recognition::Either),
            (answer(1, 21, b""), Recognition::No),
            (message(REQUEST, 20, 1, b""), Recognition::No),
            (b"\xda\xbb\xc0\x00".to_vec(), Recognition::No),
            (b"\xda\xbb\xc2\x00\x00".to_vec(), Recognition::Maybe),
        ],
    );
}
