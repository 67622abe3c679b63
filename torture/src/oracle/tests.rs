use serde_json::json;

use super::*;
use crate::{
    ask::{Answer, Send},
    plan::Wire,
};

fn span(port: u16, more: (&str, Value)) -> ReceivedSpan {
    let text = String::new;
    let attributes = [
        ("url.path", json!("/s/200/0/0/w/7")),
        ("http.request.method", json!("GET")),
        ("network.peer.port", json!(port)),
        more,
    ];
    let named = |attributes: &[(&str, Value)]| {
        attributes.iter().map(|(key, value)| ((*key).to_owned(), value.clone())).collect::<BTreeMap<_, _>>()
    };
    ReceivedSpan {
        resource: named(&[("service.name", json!("server"))]),
        scope_name: text(),
        scope_version: text(),
        trace_id: text(),
        span_id: text(),
        parent_span_id: text(),
        flags: 0,
        trace_state: text(),
        name: "GET".to_owned(),
        kind: "SERVER",
        start_unix_nano: 10,
        end_unix_nano: 20,
        status: "UNSET",
        attributes: named(&attributes),
        links: Vec::new(),
    }
}

#[test]
fn a_request_that_was_made_again_may_have_had_no_response_at_first() {
    let round = (0..).map(|number| Round::draw(1, number)).find(|round| !round.wire.is_pipelined()).expect("one");
    let without = |port| span(port, ("beyla.outcome", json!("no_response")));
    let answered = || span(2, ("http.response.status_code", json!(200)));
    let version = |span: &mut ReceivedSpan| {
        let version = if round.wire.is_http2() { "2" } else { "1.1" };
        span.attributes.insert("network.protocol.version".to_owned(), json!(version));
    };
    for (again, mut spans, is_right) in [
        (true, vec![without(1), answered()], true),
        (false, vec![without(1), answered()], false),
        (true, vec![answered(), answered()], false),
        (true, vec![span(1, ("http.response.status_code", json!(200)))], false),
    ] {
        spans.iter_mut().for_each(version);
        let answer = Answer { status: 200, bytes: 0, delay_ms: 0, shape: Shape::Whole };
        let (method, send) = ("GET".to_owned(), Send::Nothing);
        let ask = Ask { number: 7, is_call: false, method, answer, send, by_query: false };
        let (status, error) = (Some(200), None);
        let told = Told { number: 7, start: 0, end: 30, status, bytes: 0, port: 2, place: 0, again, error };
        let state = State { spans, ..State::default() };
        let life = Life { ready: 0, stopped: 40, state, log: Vec::new(), is_well: true };
        let happened = Happened {
            asks: vec![ask],
            told: vec![told],
            lives: vec![life],
            port: 9,
            behind: None,
            client_service: "client".to_owned(),
            server_service: "server".to_owned(),
            server_pids: Vec::new(),
            client_pids: Vec::new(),
            complaints: Vec::new(),
        };
        let wrong = judge(&round, &happened).wrong;
        assert_eq!(wrong.is_empty(), is_right, "{again} {wrong:?}");
    }
}

#[test]
fn what_a_proxy_answers_by_itself_is_what_the_client_was_told() {
    let answer = Answer { status: 404, bytes: 0, delay_ms: 0, shape: Shape::Whole };
    let (method, send) = ("GET".to_owned(), Send::Nothing);
    let ask = Ask { number: 7, is_call: false, method, answer, send, by_query: false };
    let wrong = |server, part, told, seen: u64| {
        let round = Round { server, wire: Wire::Http1, trouble: Trouble::Quiet, ..Round::draw(1, 0) };
        let (status, error, again) = (Some(told), None, false);
        let told = Told { number: 7, start: 0, end: 30, status, bytes: 157, port: 2, place: 0, again, error };
        let span = span(2, ("http.response.status_code", json!(seen)));
        !compare(&round, false, (part, None), &span, &ask, Some(&told)).is_empty()
    };
    let server = (Party::Server, "SERVER");
    for (kind, part, told, seen, is_wrong) in [
        (ServerKind::Proxy, server, 502, 502, false),
        (ServerKind::Proxy, server, 502, 404, true),
        (ServerKind::Proxy, PROXYS_CALL, 502, 404, false),
        (ServerKind::Proxy, server, 404, 502, true),
        (ServerKind::Proxy, server, 503, 503, true),
        (ServerKind::Nginx, server, 502, 502, true),
    ] {
        assert_eq!(wrong(kind, part, told, seen), is_wrong, "{told} {seen}");
    }
}

#[test]
fn responses_are_hidden_from_where_a_full_socket_may_have_held_up_one_of_unknown_length() {
    let drawn = |wire, server| Round { wire, server, streams: 3, ..Round::draw(1, 0) };
    let ask = |bytes, shape| {
        let (answer, send) = (Answer { status: 200, bytes, delay_ms: 0, shape }, Send::Nothing);
        Ask { number: 7, is_call: false, method: "GET".to_owned(), answer, send, by_query: false }
    };
    let (small, chunked) = (ask(100, Shape::Whole), ask(300, Shape::Pieces));
    let (large, pieces) = (ask(70_000, Shape::Whole), ask(70_000, Shape::Pieces));
    let node = drawn(Wire::Pipelined, ServerKind::Node);
    for (asked, from) in [
        (vec![&small, &chunked, &small, &chunked], None),
        (vec![&small, &large, &small, &large], None),
        (vec![&small, &small, &small, &pieces, &small], Some(1)),
        (vec![&chunked, &small, &small, &large, &small], None),
        (vec![&chunked, &small, &large, &small], Some(0)),
        (vec![&pieces], Some(0)),
        (vec![], None),
    ] {
        assert_eq!(first_hidden(&node, &asked), from);
        assert_eq!(first_hidden(&drawn(Wire::Http1, ServerKind::Node), &asked), None);
        assert_eq!(first_hidden(&drawn(Wire::Pipelined, ServerKind::Go), &asked), None);
    }
}

#[test]
fn bytes_that_libcurl_drops_are_no_complaint_and_all_others_are() {
    let drawn = |client, wire, streams| Round { client, wire, streams, ..Round::draw(1, 0) };
    let is_dropped = |round: &Round, bytes, shape, said| {
        let answer = Answer { status: 200, bytes, delay_ms: 0, shape };
        let (method, send) = ("GET".to_owned(), Send::Nothing);
        let ask = Ask { number: 7, is_call: false, method, answer, send, by_query: false };
        let (status, error) = (Some(200), None);
        let told = Told { number: 7, start: 0, end: 30, status, bytes: said, port: 2, place: 0, again: false, error };
        drops_bytes(round, &ask, &told)
    };
    let curl = drawn(ClientKind::CurlGnuTls, Wire::Http2Tls, 30);
    assert!(is_dropped(&curl, 39_099, Shape::Streamed, 30_907));
    assert!(!is_dropped(&curl, 39_099, Shape::Streamed, 39_100));
    assert!(!is_dropped(&curl, 39_099, Shape::Whole, 30_907));
    assert!(!is_dropped(&curl, 16_000, Shape::Streamed, 8_000));
    for other in [
        drawn(ClientKind::CurlGnuTls, Wire::Http2Tls, 1),
        drawn(ClientKind::CurlGnuTls, Wire::Http1Tls, 30),
        drawn(ClientKind::Rust, Wire::Http2Tls, 30),
    ] {
        assert!(!is_dropped(&other, 39_099, Shape::Streamed, 30_907));
    }
}
