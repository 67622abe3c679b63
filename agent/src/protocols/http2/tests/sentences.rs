//! What is told of each kind of exchange.

use super::{super::*, wire::*};
use crate::{
    model::{
        exchange::{Exchange, Http, Inside, Opened, Operation, Outcome, Pattern, Place},
        headers::{self, Headers},
        ids::ThreadId,
        net::Thread,
        propagation::{Format, Propagation},
    },
    protocols::Anomalies,
};

const OK: [(&str, &str); 2] = [(":status", "200"), ("content-type", "text/plain")];
const GRPC_OK: [(&str, &str); 2] = [(":status", "200"), ("content-type", "application/grpc")];
const GRPC_END: [(&str, &str); 2] = [("grpc-status", "0"), ("grpc-message", "")];

fn only(exchanges: &[Exchange]) -> &Exchange {
    let [exchange] = exchanges else { panic!("one exchange expected: {exchanges:?}") };
    exchange
}

/// Feeds a connection and tells what was yielded before it closed, and what was not made sense of.
fn open_connection(wire: &Wire, role: Role) -> (Vec<Exchange>, usize, Anomalies) {
    let mut reader = Reader::new(role);
    reader.feed_all(&wire.pieces);
    (reader.out.clone(), reader.session.open_requests(), reader.session.take_anomalies())
}

#[test]
fn a_get_is_told_with_times_sizes_and_names() {
    let mut wire = Wire::new();
    let start = wire.ask(
        1,
        END_STREAM,
        &[
            (":method", "GET"),
            (":scheme", "https"),
            (":authority", "shop"),
            (":path", "/a?b=c"),
            ("user-agent", "curl/8"),
            ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ("tracestate", "a=1"),
            ("tracestate", "b=2"),
        ],
    );
    let first_byte = wire.answer(1, 0, &OK);
    wire.response(data(0, 1, &[0; 10]));
    let end = wire.response(data(END_STREAM, 1, &[0; 5]));
    let (exchanges, open, anomalies) = open_connection(&wire, Role::Client);
    let exchange = only(&exchanges);
    assert_eq!((exchange.role, exchange.thread, exchange.outcome), (Role::Client, THREAD, Outcome::Complete));
    assert_eq!((exchange.start_ns, exchange.first_byte_ns, exchange.end_ns), (start, Some(first_byte), end));
    assert_eq!(exchange.parent.unwrap().span_id.to_string(), "00f067aa0ba902b7");
    let http = http(exchange);
    assert_eq!((http.version, http.method.as_deref(), http.target.as_deref()), ("2", Some("GET"), Some("/a?b=c")));
    assert_eq!((http.host.as_deref(), http.scheme.as_deref()), (Some("shop"), Some("https")));
    assert_eq!((http.user_agent.as_deref(), http.status), (Some("curl/8"), Some(200)));
    assert_eq!(http.trace_state.as_deref(), Some("a=1,b=2"));
    assert_eq!((http.request_body_bytes, http.response_body_bytes), (Some(0), Some(15)));
    assert_eq!((http.unknown_name, http.headers_truncated, http.target_truncated), (None, false, false));
    assert_eq!((open, anomalies), (0, Anomalies::default()));
}

#[test]
fn a_context_in_b3_is_read_in_http2_too_and_what_is_missing_of_it_makes_none() {
    let b3 = [("x-b3-traceid", "a3ce929d0e0e4736"), ("x-b3-spanid", "00f067aa0ba902b7"), ("x-b3-sampled", "1")];
    let mut wire = Wire::new();
    for (at, stream) in [1, 3, 5].into_iter().enumerate() {
        // The second time all of it is in the dynamic table; the third time one id is missing.
        let fields = [&get("/")[..], if at < 2 { &b3 } else { &b3[..1] }, &[("baggage", "tenant=blue")]].concat();
        wire.ask(stream, END_STREAM, &fields);
        wire.answer(stream, END_STREAM, &OK);
    }
    let mut reader = Reader::new(Role::Server);
    reader.out.of(|out| {
        out.set_propagation(Propagation {
            formats: vec![Format::B3Multi],
            baggage: vec!["tenant"],
            ..Propagation::default()
        });
    });
    reader.feed_all(&wire.pieces);
    let parents: Vec<_> = reader.out.iter().map(|exchange| exchange.parent.map(|parent| parent.is_sampled())).collect();
    assert_eq!(parents, [Some(true), Some(true), None]);
    assert!(reader.out.iter().all(|exchange| http(exchange).baggage.entries().count() == 1));
}

#[test]
fn fields_that_are_asked_for_are_known_by_the_dynamic_table_too() {
    let asked = headers::tests::asked("x-probe-two");
    let mut wire = Wire::new();
    for stream in [1, 3] {
        wire.ask(stream, END_STREAM, &[&get("/")[..], &[("x-probe-two", "blue"), ("authorization", "s")]].concat());
        wire.answer(stream, END_STREAM, &[&OK[..], &[("x-probe-two", "red")]].concat());
    }
    let exchanges = wire.exchanges();
    drop(asked);
    for exchange in &exchanges {
        let Headers { request, response } = &**http(exchange).headers.as_ref().unwrap();
        let values = |values: &headers::Values| values.iter().map(|(_, value)| value.to_string()).collect::<Vec<_>>();
        assert_eq!((values(request), values(response)), (vec!["blue".to_owned()], vec!["red".to_owned()]));
    }
    assert_eq!(exchanges.len(), 2);
}

#[test]
fn padding_and_priority_do_not_count() {
    let mut wire = Wire::new();
    let block = encode(&mut wire.client, &get("/padded"));
    let payload = [&[3, 0, 0, 0, 0, 16][..], &block, &[0; 3]].concat();
    wire.request(frame(1, END_HEADERS | PADDED | PRIORITY, 1, &payload));
    wire.request(frame(0, PADDED | END_STREAM, 1, &[2, 1, 2, 3, 4, 0, 0]));
    wire.request(frame(2, 0, 3, &[0; 5]));
    wire.answer(1, END_STREAM, &[(":status", "204")]);
    let exchanges = wire.exchanges();
    let http = http(only(&exchanges));
    assert_eq!((http.target.as_deref(), http.status), (Some("/padded"), Some(204)));
    assert_eq!((http.request_body_bytes, http.response_body_bytes), (Some(4), Some(0)));
}

#[test]
fn a_header_block_goes_on_in_continuations() {
    let mut wire = Wire::new();
    let block = encode(&mut wire.client, &get("/long"));
    let (begin, rest) = block.split_at(4);
    let (middle, end) = rest.split_at(3);
    let start = wire.request(frame(1, END_STREAM, 1, begin));
    wire.request(frame(9, 0, 1, middle));
    wire.request(frame(9, 0, 1, &[]));
    wire.request(frame(9, END_HEADERS, 1, end));
    let block = encode(&mut wire.server, &OK);
    let first_byte = wire.response(frame(1, END_STREAM, 1, &block[..1]));
    let last = wire.response(frame(9, END_HEADERS, 1, &block[1..]));
    let exchanges = wire.exchanges();
    let exchange = only(&exchanges);
    assert_eq!(http(exchange).target.as_deref(), Some("/long"));
    assert_eq!((exchange.start_ns, exchange.first_byte_ns, exchange.end_ns), (start, Some(first_byte), last));
    assert_eq!(exchange.outcome, Outcome::Complete);
}

#[test]
fn a_frame_between_the_pieces_of_a_block_means_that_the_place_was_lost() {
    let mut wire = Wire::new();
    wire.request(frame(1, END_STREAM, 1, &[0x82, 0x86, 0x84]));
    wire.request(frame(6, 0, 0, &[0; 8]));
    wire.get(3, "/next");
    wire.answer(3, END_STREAM, &OK);
    let mut reader = Reader::new(Role::Server);
    let next = wire.pieces.len() - 2;
    reader.feed_all(&wire.pieces[..next]);
    reader.feed(Side::Requests, &after_rest(90_000, &wire.pieces[next].bytes));
    reader.feed(Side::Responses, &whole(91_000, &wire.pieces[next + 1].bytes));
    assert_eq!(reader.session.take_anomalies().resyncs, 1);
    let exchanges = reader.close();
    assert_eq!(exchanges.len(), 2);
    assert_eq!(http(&exchanges[0]).target.as_deref(), Some("/next"));
    assert_eq!((http(&exchanges[1]).target.as_deref(), exchanges[1].outcome), (Some("/"), Outcome::Unseen));
}

#[test]
fn interim_responses_are_not_the_response() {
    let mut wire = Wire::new();
    wire.get(1, "/early");
    wire.answer(1, 0, &[(":status", "103"), ("link", "x")]);
    wire.answer(1, 0, &[(":status", "100")]);
    let first_byte = wire.answer(1, END_STREAM, &[(":status", "404"), ("content-length", "7")]);
    let exchanges = wire.exchanges();
    assert_eq!(only(&exchanges).first_byte_ns, Some(first_byte));
    assert_eq!(http(only(&exchanges)).status, Some(404));
}

#[test]
fn a_second_block_shows_that_the_first_was_an_interim_response_even_if_its_status_is_unknown() {
    let mut wire = Wire::new();
    wire.get(1, "/before");
    wire.answer(1, 0, &[(":status", "103")]);
    wire.answer(1, END_STREAM, &OK);
    let attached = wire.pieces.len();
    wire.get(3, "/early");
    wire.answer(3, 0, &[(":status", "103")]);
    let first_byte = wire.answer(3, 0, &OK);
    wire.response(data(END_STREAM, 3, &[1]));
    let mut reader = Reader::at_rest(Role::Server);
    reader.feed_all(&wire.pieces[attached..]);
    let exchanges = reader.close();
    assert_eq!(only(&exchanges).first_byte_ns, Some(first_byte));
    assert_eq!(http(only(&exchanges)).status, Some(200));
}

#[test]
fn trailers_end_requests_and_responses() {
    let mut wire = Wire::new();
    wire.ask(1, 0, &[(":method", "POST"), (":scheme", "http"), (":path", "/up")]);
    wire.request(data(0, 1, &[0; 100]));
    wire.ask(1, END_STREAM, &[("checksum", "1")]);
    wire.answer(1, 0, &OK);
    wire.response(data(0, 1, &[0; 3]));
    let end = wire.answer(1, END_STREAM, &[("checksum", "2")]);
    let exchanges = wire.exchanges();
    let http = http(only(&exchanges));
    assert_eq!((http.request_body_bytes, http.response_body_bytes), (Some(100), Some(3)));
    assert_eq!((only(&exchanges).end_ns, http.status), (end, Some(200)));
}

#[test]
fn frames_found_in_the_midst_of_a_connection_are_told_once() {
    let mut wire = Wire::new();
    wire.get(1, "/before");
    wire.answer(1, END_STREAM, &OK);
    let attached = wire.pieces.len();
    for stream in [3, 5, 7] {
        wire.get(stream, "/after");
        wire.answer(stream, END_STREAM, &OK);
    }
    for (pieces, found) in [(&wire.pieces[..], 0), (&wire.pieces[attached..], 1)] {
        let mut reader = Reader::at_rest(Role::Server);
        reader.feed_all(pieces);
        assert_eq!(reader.frames_found, found);
    }
}

#[test]
fn hundreds_of_streams_end_in_any_order() {
    let mut wire = Wire::new();
    for nth in 0..1000 {
        wire.get(2 * nth + 1, &format!("/{nth}"));
    }
    for nth in (0..1000).rev() {
        wire.answer(2 * nth + 1, END_STREAM, &[(":status", &(200 + nth % 100).to_string())]);
    }
    let exchanges = wire.exchanges();
    assert_eq!(exchanges.len(), 1000);
    for (nth, exchange) in (0..1000).rev().zip(&exchanges) {
        assert_eq!(http(exchange).target.as_deref(), Some(format!("/{nth}").as_str()));
        assert_eq!(http(exchange).status, Some(200 + nth as u16 % 100));
    }
}

#[test]
fn more_open_streams_than_the_limit_are_counted_and_the_table_stays_right() {
    let mut wire = Wire::new();
    for nth in 0..5000 {
        wire.get(2 * nth + 1, "/many");
    }
    wire.answer(1, END_STREAM, &OK);
    wire.answer(2 * 4999 + 1, END_STREAM, &OK);
    wire.get(2 * 5000 + 1, "/after");
    wire.answer(2 * 5000 + 1, END_STREAM, &OK);
    let (exchanges, open, anomalies) = open_connection(&wire, Role::Server);
    assert_eq!((open, anomalies.over_limit, anomalies.unmatched_responses), (4095, 904, 0));
    assert_eq!(http(&exchanges[1]).target.as_deref(), Some("/after"));
}

#[test]
fn open_requests_are_bounded_in_bytes() {
    let mut wire = Wire::new();
    let path = format!("/{}", "x".repeat(7000));
    for nth in 0..1000 {
        wire.get(2 * nth + 1, &format!("{path}{nth}"));
    }
    let mut reader = Reader::new(Role::Server);
    reader.feed_all(&wire.pieces);
    assert!(reader.session.memory() < 5 * 1024 * 1024, "{}", reader.session.memory());
    assert!(reader.session.open_requests() > 100);
    assert_eq!(reader.session.take_anomalies().over_limit, 1000 - reader.session.open_requests() as u64);
}

#[test]
fn a_reset_ends_with_its_code_unless_the_response_was_complete() {
    let mut wire = Wire::new();
    wire.get(1, "/cancelled");
    let cancelled = wire.request(rst(1, 8));
    wire.get(3, "/refused");
    wire.answer(3, 0, &OK);
    wire.response(rst(3, 7));
    wire.ask(5, 0, &get("/early-answer"));
    let complete = wire.response([frame(1, END_HEADERS | END_STREAM, 5, &[0x88]), rst(5, 0)].concat());
    wire.response(data(END_STREAM, 1, &[0])); // was under way
    let (exchanges, open, anomalies) = open_connection(&wire, Role::Server);
    let outcomes: Vec<_> = exchanges.iter().map(|exchange| exchange.outcome).collect();
    assert_eq!(outcomes, [Outcome::Cancelled(Role::Client, 8), Outcome::Reset(Role::Server, 7), Outcome::Complete]);
    assert_eq!((exchanges[0].end_ns, exchanges[2].end_ns), (cancelled, complete));
    assert_eq!((open, anomalies), (0, Anomalies::default()));
    assert_eq!(http(&exchanges[2]).request_body_bytes, None, "the request had not ended");
}

#[test]
fn who_gives_up_with_an_error_is_told_with_its_code() {
    let mut wire = Wire::new();
    for stream in [1, 3, 5] {
        wire.get(stream, &format!("/{stream}"));
    }
    wire.answer(1, 0, &OK);
    wire.response([rst(1, 2), rst(3, 8)].concat());
    wire.request(rst(5, 3));
    let outcomes: Vec<_> = wire.exchanges().iter().map(|exchange| exchange.outcome).collect();
    let expected =
        [Outcome::Reset(Role::Server, 2), Outcome::Cancelled(Role::Server, 8), Outcome::Reset(Role::Client, 3)];
    assert_eq!(outcomes, expected);
}

#[test]
fn go_away_ends_the_streams_that_will_not_be_answered() {
    let mut wire = Wire::new();
    wire.get(1, "/one");
    wire.get(3, "/two");
    wire.get(5, "/three");
    let away = wire.response(frame(7, 0, 0, &[0, 0, 0, 3, 0, 0, 0, 0, b'b', b'y', b'e']));
    wire.answer(3, END_STREAM, &OK);
    let (exchanges, open, _) = open_connection(&wire, Role::Client);
    assert_eq!((exchanges[0].outcome, exchanges[0].end_ns), (Outcome::NoResponse, away));
    assert_eq!(http(&exchanges[0]).target.as_deref(), Some("/three"));
    assert_eq!((exchanges[1].outcome, open), (Outcome::Complete, 1));
}

#[test]
fn the_end_of_the_connection_is_told_as_it_was_seen() {
    let mut wire = Wire::new();
    wire.get(1, "/none");
    wire.get(3, "/cut");
    wire.answer(3, 0, &OK);
    let outcomes = |exchanges: &[Exchange]| exchanges.iter().map(|exchange| exchange.outcome).collect::<Vec<_>>();
    assert_eq!(outcomes(&wire.exchanges()), [Outcome::NoResponse, Outcome::Cut]);

    let mut reader = Reader::new(Role::Server);
    reader.feed_all(&wire.pieces);
    reader.out.of(|out| reader.session.on_end(End::Forgotten, 99_000, out));
    assert_eq!(outcomes(&reader.out), [Outcome::Unseen, Outcome::Unseen]);

    let mut reader = Reader::new(Role::Server);
    reader.feed_all(&wire.pieces);
    reader.out.of(|out| reader.session.on_end_of_stream(Direction::Received, 99_000, out));
    assert!(reader.out.is_empty(), "the client sends no more, but may be answered");
    reader.out.of(|out| reader.session.on_end_of_stream(Direction::Sent, 99_001, out));
    assert_eq!(outcomes(&reader.out), [Outcome::NoResponse, Outcome::Cut]);
    assert_eq!(reader.out[0].end_ns, 99_001);
}

/// libcurl closes once it has as many bytes as were announced, whether or not the stream has ended.
#[test]
fn a_body_of_the_announced_length_is_whole_though_nothing_ended_its_stream() {
    const OF_FIVE: [(&str, &str); 2] = [(":status", "200"), ("content-length", "5")];
    let mut wire = Wire::new();
    for (stream, path) in [(1, "/whole"), (3, "/reset"), (5, "/cut"), (7, "/ended")] {
        wire.get(stream, path);
        wire.answer(stream, 0, &OF_FIVE);
    }
    let whole = wire.response(data(0, 1, &[0; 5]));
    let before_reset = wire.response(data(0, 3, &[0; 5]));
    wire.request(rst(3, 8));
    wire.response(data(0, 5, &[0; 4]));
    wire.response(data(0, 7, &[0; 5]));
    let ended = wire.response(data(END_STREAM, 7, &[]));
    let told: Vec<_> = wire.exchanges().iter().map(|it| (http(it).target.clone().unwrap(), it.outcome)).collect();
    let expected = [
        ("/reset", Outcome::Complete),
        ("/ended", Outcome::Complete),
        ("/whole", Outcome::Complete),
        ("/cut", Outcome::Cut),
    ];
    assert_eq!(told, expected.map(|(path, outcome)| (path.into(), outcome)));
    let ends: Vec<_> = wire.exchanges().iter().map(|exchange| exchange.end_ns).take(3).collect();
    assert_eq!(ends, [before_reset, ended, whole]);
    // The end of the connection is not seen either.
    let mut reader = Reader::new(Role::Server);
    reader.feed_all(&wire.pieces);
    reader.out.of(|out| reader.session.on_end(End::Forgotten, 99_000, out));
    let outcomes: Vec<_> = reader.out.iter().map(|it| it.outcome).collect();
    assert_eq!(outcomes, [Outcome::Complete, Outcome::Complete, Outcome::Complete, Outcome::Unseen]);
}

/// What began before the stream's first frame that was seen may have said how long the body is.
#[test]
fn a_reset_of_a_response_whose_head_was_not_seen_is_unseen() {
    let mut wire = Wire::new();
    for (stream, path) in [(1, "/no-head"), (3, "/no-answer")] {
        wire.get(stream, path);
    }
    wire.response(data(0, 1, &[0; 5]));
    wire.request([rst(1, 8), rst(3, 8)].concat());
    let outcomes: Vec<_> = wire.exchanges().iter().map(|exchange| exchange.outcome).collect();
    assert_eq!(outcomes, [Outcome::Unseen, Outcome::Cancelled(Role::Client, 8)]);
}

/// The answer is there, though what came of it does not show yet where its frames begin.
#[test]
fn a_reset_while_responses_are_not_in_step_is_unseen() {
    let mut wire = Wire::new();
    wire.get(1, "/a");
    wire.answer(1, END_STREAM, &OK);
    let mut reader = Reader::new(Role::Server);
    reader.feed_all(&wire.pieces);
    // What was lost ends within a frame.
    reader.feed(Side::Responses, &Chunk { skipped: 100, lost: true, ..whole(90_000, &[]) });
    wire.pieces.clear();
    wire.get(3, "/b");
    let answer = encode(&mut wire.server, &OK);
    wire.response(frame(1, END_HEADERS, 3, &answer)[..5].to_vec());
    wire.request(rst(3, 8));
    reader.feed_all(&wire.pieces);
    let outcomes: Vec<_> = reader.close().iter().map(|exchange| exchange.outcome).collect();
    assert_eq!(outcomes, [Outcome::Complete, Outcome::Unseen]);
}

#[test]
fn promises_are_decoded_in_order_and_their_responses_counted() {
    let mut wire = Wire::new();
    wire.get(1, "/page");
    let promised = encode(&mut wire.server, &[(":method", "GET"), (":path", "/pushed.css"), ("x-new", "1")]);
    wire.response(frame(5, END_HEADERS | PADDED, 1, &[&[1, 0, 0, 0, 2][..], &promised, &[0]].concat()));
    wire.answer(1, 0, &[(":status", "418")]);
    wire.answer(2, 0, &[(":status", "418")]);
    wire.response(data(END_STREAM, 2, &[0; 9]));
    wire.response(data(END_STREAM, 1, &[0; 9]));
    let (exchanges, _, anomalies) = open_connection(&wire, Role::Client);
    assert_eq!(http(only(&exchanges)).status, Some(418));
    assert_eq!(anomalies, Anomalies { unmatched_responses: 1, ..Anomalies::default() });
}

#[test]
fn stream_1_after_an_upgrade_belongs_to_the_request_that_http1_saw() {
    let mut wire = Wire::bare();
    wire.response(settings());
    wire.request([PREFACE, &settings()].concat());
    wire.answer(1, 0, &[(":status", "207")]);
    let first_ended = wire.response(data(END_STREAM, 1, &[0; 9]));
    wire.get(3, "/next");
    wire.answer(3, END_STREAM, &[(":status", "207")]);
    let read = Http {
        method: Some("POST".into()),
        target: Some("/first".into()),
        host: Some("example.com".into()),
        request_body_bytes: Some(5),
        ..Http::default()
    };
    for role in [Role::Server, Role::Client] {
        let mut reader = Reader::new(role);
        let request = Exchange {
            role,
            thread: Thread::default(),
            start_ns: 1,
            first_byte_ns: None,
            response_tid: ThreadId::NONE,
            end_ns: 2,
            outcome: Outcome::Unseen,
            parent: None,
            protocol: "http1",
            pattern: Pattern::RequestResponse,
            operation: Operation::Http(Box::new(read.clone())),
            inside: Inside::default(),
        };
        let (thread, start_ns) = (request.thread, request.start_ns);
        reader.out.of(|out| {
            let opened = |key| Opened {
                key,
                role,
                thread,
                start_ns,
                parent: None,
                is_health_check: false,
                is_message: false,
                place: Place::Id(1),
            };
            let key = out.open(opened);
            reader.session.take_over(key, request, out);
        });
        assert_eq!(reader.session.open_requests(), 1);
        reader.feed_all(&wire.pieces);
        let [first, next] = &reader.out[..] else { panic!("two exchanges expected: {:?}", reader.out) };
        assert_eq!((first.start_ns, first.end_ns, first.outcome), (1, first_ended, Outcome::Complete));
        let expected = Http { version: "2", status: Some(207), response_body_bytes: Some(9), ..read.clone() };
        assert_eq!(http(first), &expected);
        assert_eq!((http(next).target.as_deref(), http(next).status), (Some("/next"), Some(207)));
        assert_eq!(reader.session.open_requests(), 0);
        assert_eq!(reader.session.take_anomalies(), Anomalies::default());
    }
}

#[test]
fn a_connect_tunnel_is_told_by_its_authority() {
    let mut wire = Wire::new();
    wire.ask(1, 0, &[(":method", "CONNECT"), (":authority", "db:5432")]);
    wire.answer(1, 0, &[(":status", "200")]);
    wire.request(data(0, 1, b"hello"));
    wire.response(data(END_STREAM, 1, b"hello"));
    let exchanges = wire.exchanges();
    let http = http(only(&exchanges));
    assert_eq!((http.method.as_deref(), http.target.as_deref()), (Some("CONNECT"), Some("db:5432")));
    assert_eq!(http.unknown_name, None);
}

#[test]
fn a_unary_call_ends_with_its_trailers() {
    let mut wire = Wire::new();
    let mut fields = call("/pkg.Svc/Do").to_vec();
    fields.push(("grpc-timeout", "250m"));
    let start = wire.ask(1, 0, &fields);
    wire.request(data(END_STREAM, 1, &[0, 0, 0, 0, 1, 7]));
    let first_byte = wire.answer(1, 0, &GRPC_OK);
    wire.response(data(0, 1, &[0, 0, 0, 0, 1, 7]));
    let end = wire.answer(1, END_STREAM, &[("grpc-status", "5"), ("grpc-message", "no%20such")]);
    let exchanges = wire.exchanges();
    let exchange = only(&exchanges);
    assert_eq!((exchange.start_ns, exchange.first_byte_ns, exchange.end_ns), (start, Some(first_byte), end));
    assert_eq!(exchange.outcome, Outcome::Complete);
    let rpc = rpc(exchange);
    assert_eq!((rpc.system, rpc.version, rpc.method.as_deref()), ("grpc", "2", Some("pkg.Svc/Do")));
    assert_eq!((rpc.status, rpc.http_status, rpc.timeout_ns), (Some(5), None, Some(250_000_000)));
    assert_eq!((rpc.host.as_deref(), rpc.user_agent.as_deref()), (Some("example.com"), Some("grpc-go/1.70.0")));
    assert_eq!(rpc.unknown_name, None);
}

#[test]
fn trailers_alone_carry_the_status() {
    let mut wire = Wire::new();
    wire.call(1, "/pkg.Svc/Do");
    let both = wire.answer(1, END_STREAM, &[(":status", "200"), GRPC_OK[1], ("grpc-status", "12")]);
    let exchanges = wire.exchanges();
    assert_eq!(rpc(only(&exchanges)).status, Some(12));
    assert_eq!((only(&exchanges).first_byte_ns, only(&exchanges).end_ns), (Some(both), both));
}

/// What answers a call.
type Answers = fn(&mut Wire);

/// Clients take a call that is answered without a status for one that failed.
#[test]
fn a_call_that_ends_without_its_status_is_of_unknown_status() {
    let ends: [(&str, Answers); 5] = [
        ("trailers without it", |wire| {
            wire.answer(1, 0, &GRPC_OK);
            wire.answer(1, END_STREAM, &[("grpc-message", "")]);
        }),
        ("one that is no number", |wire| {
            wire.answer(1, 0, &GRPC_OK);
            wire.answer(1, END_STREAM, &[("grpc-status", "fine")]);
        }),
        ("no trailers", |wire| {
            wire.answer(1, 0, &GRPC_OK);
            wire.response(data(END_STREAM, 1, &[0, 0, 0, 0, 0]));
        }),
        ("a head alone", |wire| {
            wire.answer(1, END_STREAM, &GRPC_OK);
        }),
        ("an answer of another kind", |wire| {
            wire.answer(1, 0, &OK);
            wire.response(data(END_STREAM, 1, b"hello"));
        }),
    ];
    for (what, end) in ends {
        let mut wire = Wire::new();
        wire.call(1, "/pkg.Svc/Do");
        end(&mut wire);
        for role in [Role::Server, Role::Client] {
            let (exchanges, ..) = open_connection(&wire, role);
            let rpc = rpc(only(&exchanges));
            assert_eq!((rpc.status, rpc.http_status), (Some(2), None), "{what}");
        }
    }
    let mut wire = Wire::new();
    wire.call(1, "/pkg.Svc/Do");
    wire.answer(1, END_STREAM, &[(":status", "502"), ("content-type", "text/html")]);
    wire.call(3, "/pkg.Svc/Do");
    wire.answer(3, 0, &GRPC_OK);
    let exchanges = wire.exchanges();
    let found: Vec<_> = exchanges.iter().map(|exchange| (rpc(exchange).status, rpc(exchange).http_status)).collect();
    assert_eq!(found, [(None, Some(502)), (None, None)], "a proxy's answer, and one that is not over");
}

#[test]
fn a_stream_of_messages_ends_at_end_stream_not_at_its_headers() {
    let mut wire = Wire::new();
    wire.call(1, "/pkg.Svc/Watch");
    let first_byte = wire.answer(1, 0, &GRPC_OK);
    for _ in 0..10 {
        wire.request(data(0, 1, &[0; 8]));
        wire.response(data(0, 1, &[0; 8]));
        let (exchanges, open, _) = open_connection(&wire, Role::Client);
        assert_eq!((exchanges.len(), open), (0, 1));
    }
    let end = wire.answer(1, END_STREAM, &GRPC_END); // though the client has not ended its half
    let (exchanges, ..) = open_connection(&wire, Role::Client);
    assert_eq!((only(&exchanges).first_byte_ns, only(&exchanges).end_ns), (Some(first_byte), end));
    assert_eq!((rpc(only(&exchanges)).status, only(&exchanges).outcome), (Some(0), Outcome::Complete));
}

#[test]
fn a_cancelled_call_has_no_status() {
    let mut wire = Wire::new();
    wire.call(1, "/pkg.Svc/Watch");
    wire.answer(1, 0, &GRPC_OK);
    wire.response(data(0, 1, &[0; 8]));
    wire.request(rst(1, 8));
    let exchanges = wire.exchanges();
    assert_eq!((only(&exchanges).outcome, rpc(only(&exchanges)).status), (Outcome::Cancelled(Role::Client, 8), None));
}

#[test]
fn a_proxy_that_answers_a_call_is_told_by_its_http_status() {
    let mut wire = Wire::new();
    wire.call(1, "/pkg.Svc/Do");
    wire.answer(1, END_STREAM, &[(":status", "502"), ("content-type", "text/html")]);
    let exchanges = wire.exchanges();
    assert_eq!((rpc(only(&exchanges)).status, rpc(only(&exchanges)).http_status), (None, Some(502)));
}

#[test]
fn cut_trailers_leave_the_status_out() {
    let mut wire = Wire::new();
    wire.call(1, "/pkg.Svc/Do");
    wire.answer(1, 0, &GRPC_OK);
    let trailers = frame(1, END_HEADERS | END_STREAM, 1, &encode(&mut wire.server, &GRPC_END));
    let mut reader = Reader::new(Role::Server);
    reader.feed_all(&wire.pieces);
    let chunk = Chunk { skipped: trailers.len() as u64 - 12, ..whole(50_000, &trailers[..12]) };
    reader.feed(Side::Responses, &chunk);
    let exchanges = reader.close();
    assert_eq!((only(&exchanges).outcome, only(&exchanges).end_ns), (Outcome::Complete, 50_000));
    assert_eq!(rpc(only(&exchanges)).status, None);
}

#[test]
fn grpc_web_and_connect_are_not_grpc() {
    let mut wire = Wire::new();
    let ask = |wire: &mut Wire, id, path, content_type, more: &[(&str, &str)]| {
        let mut fields =
            vec![(":method", "POST"), (":scheme", "http"), (":path", path), ("content-type", content_type)];
        fields.extend(more);
        wire.ask(id, END_STREAM, &fields);
    };
    ask(&mut wire, 1, "/pkg.Svc/Web", "application/grpc-web+proto", &[]);
    wire.answer(1, END_STREAM, &[(":status", "200"), ("grpc-status", "0")]);
    ask(&mut wire, 3, "/pkg.Svc/Stream", "application/connect+proto", &[]);
    wire.answer(3, END_STREAM, &[(":status", "200")]);
    let unary = [("connect-protocol-version", "1"), ("connect-timeout-ms", "20")];
    ask(&mut wire, 5, "/prefix/pkg.Svc/Unary", "application/json", &unary);
    wire.answer(5, END_STREAM, &[(":status", "404"), ("content-type", "application/json")]);
    ask(&mut wire, 7, "/plain", "application/json", &[]);
    wire.answer(7, END_STREAM, &[(":status", "200"), ("content-type", "application/json")]);
    let exchanges = wire.exchanges();
    let web = rpc(&exchanges[0]);
    assert_eq!((web.system, web.method.as_deref(), web.status), ("grpc_web", Some("pkg.Svc/Web"), Some(0)));
    let (stream, unary) = (rpc(&exchanges[1]), rpc(&exchanges[2]));
    assert_eq!((stream.system, stream.method.as_deref()), ("connectrpc", Some("pkg.Svc/Stream")));
    assert_eq!((stream.status, stream.http_status), (None, None), "the status is in the last message");
    assert_eq!((unary.system, unary.method.as_deref()), ("connectrpc", Some("pkg.Svc/Unary")));
    assert_eq!((unary.status, unary.http_status, unary.timeout_ns), (Some(5), Some(404), Some(20_000_000)));
    assert_eq!(http(&exchanges[3]).target.as_deref(), Some("/plain"));
}

#[test]
fn a_call_met_in_mid_life_is_a_call_only_if_that_is_certain() {
    let mut wire = Wire::new();
    wire.call(1, "/pkg.Svc/Do");
    wire.answer(1, 0, &GRPC_OK);
    wire.answer(1, END_STREAM, &GRPC_END);
    let attached = wire.pieces.len();
    // All is in the table: nothing tells what it is.
    wire.call(3, "/pkg.Svc/Do");
    wire.answer(3, 0, &GRPC_OK);
    wire.answer(3, END_STREAM, &GRPC_END);
    // A user agent shows that it is gRPC, and so that this name is a gRPC method. A status shows nothing: the name
    // `grpc-status` is in the table too.
    for (id, agent, status) in [(5, "grpc-java-netty/1.60", "14"), (7, "grpc-go/1.70.0", "0")] {
        let mut fields = call("/pkg.Svc/Do");
        fields[5].1 = agent;
        wire.ask(id, 0, &fields);
        wire.answer(id, 0, &GRPC_OK);
        wire.answer(id, END_STREAM, &[("grpc-status", status), ("grpc-message", "")]);
    }
    let mut reader = Reader::at_rest(Role::Client);
    reader.feed_all(&wire.pieces[attached..]);
    let exchanges = reader.close();
    let (first, second, third) = (http(&exchanges[0]), rpc(&exchanges[1]), rpc(&exchanges[2]));
    assert_eq!((first.method.as_deref(), first.target.as_deref(), first.status), (None, None, None));
    assert_eq!((second.method.as_deref(), second.status), (None, None));
    assert_eq!((third.method.as_deref(), third.status), (None, None));
    assert!(first.unknown_name.is_some());
    assert_eq!((first.unknown_name, first.unknown_name), (second.unknown_name, third.unknown_name));
}

#[test]
fn responses_to_requests_from_before_our_time_are_counted() {
    let mut wire = Wire::new();
    wire.get(1, "/before");
    wire.get(3, "/before-too");
    let attached = wire.pieces.len();
    wire.answer(1, END_STREAM, &OK);
    wire.get(5, "/after");
    wire.answer(3, 0, &OK);
    wire.response(data(END_STREAM, 3, &[0]));
    wire.answer(5, END_STREAM, &OK);
    let mut reader = Reader::at_rest(Role::Server);
    reader.feed_all(&wire.pieces[attached..]);
    assert_eq!(reader.session.take_anomalies().unmatched_responses, 2);
    assert_eq!(http(only(&reader.close())).target.as_deref(), Some("/after"));
}

#[test]
fn a_gap_within_data_loses_nothing_and_a_gap_over_headers_is_made_good() {
    let mut wire = Wire::new();
    wire.get(1, "/one");
    let mut reader = Reader::new(Role::Server);
    reader.feed_all(&wire.pieces);
    let block = encode(&mut wire.server, &[(":status", "201")]);
    let response = [frame(1, END_HEADERS, 1, &block), data(0, 1, &[7; 5000]), data(END_STREAM, 1, &[8; 10])].concat();
    // The first bytes and the last ones were captured.
    let (head, tail) = (&response[..100], &response[response.len() - 40..]);
    let skipped = (response.len() - 100) as u64;
    reader.feed(Side::Responses, &Chunk { skipped, tail, lost: true, ..whole(10_000, head) });
    assert_eq!(reader.session.take_anomalies(), Anomalies::default());
    assert_eq!((reader.out[0].outcome, reader.out[0].end_ns), (Outcome::Complete, 10_000));
    assert_eq!(http(&reader.out[0]).response_body_bytes, Some(5010));
    reader.out.clear();

    // A gap that may hold anything: the table is forgotten, the place is found again.
    let pieces = wire.pieces.len();
    wire.get(3, "/two");
    wire.get(5, "/three");
    wire.answer(5, END_STREAM, &[(":status", "201")]);
    wire.answer(3, END_STREAM, &[(":status", "200")]);
    reader.feed(Side::Requests, &whole(20_000, &wire.pieces[pieces].bytes));
    reader.feed(Side::Requests, &whole(20_001, &wire.pieces[pieces + 1].bytes));
    reader.feed(Side::Responses, &Chunk { skipped: 500, lost: true, ..whole(20_002, &[]) });
    reader.feed(Side::Responses, &after_rest(20_003, &wire.pieces[pieces + 2].bytes));
    reader.feed(Side::Responses, &whole(20_004, &wire.pieces[pieces + 3].bytes));
    assert_eq!(reader.session.take_anomalies().resyncs, 1);
    let told: Vec<_> = reader.out.iter().map(|exchange| (exchange.outcome, http(exchange).status)).collect();
    // Once the first block after the gap has an unknown status, it may be trailers for all one knows.
    assert_eq!(told, [(Outcome::Unseen, None), (Outcome::Complete, Some(200))]);
}

#[test]
fn a_stream_whose_end_may_have_been_lost_ends_unseen_unless_it_is_seen_to_live() {
    let mut wire = Wire::new();
    for id in [1, 3, 5] {
        wire.get(id, "/x");
        wire.answer(id, 0, &OK);
    }
    let mut reader = Reader::new(Role::Server);
    reader.feed_all(&wire.pieces);
    reader.feed(Side::Responses, &Chunk { skipped: 500, lost: true, ..whole(20_000, &[]) });
    reader.feed(Side::Responses, &after_rest(20_001, &data(0, 3, &[1])));
    reader.feed(Side::Responses, &whole(20_002, &data(END_STREAM, 5, &[1])));
    let exchanges = reader.close();
    let outcomes: Vec<_> = exchanges.iter().map(|exchange| exchange.outcome).collect();
    assert_eq!(outcomes, [Outcome::Complete, Outcome::Unseen, Outcome::Cut]);
    assert!(exchanges.iter().all(|exchange| http(exchange).response_body_bytes.is_none()));
}

#[test]
fn requests_lost_in_a_gap_leave_responses_without_request() {
    let mut wire = Wire::new();
    wire.get(1, "/one");
    let lost = wire.pieces.len();
    wire.get(3, "/lost");
    wire.get(5, "/three");
    wire.answer(1, END_STREAM, &OK);
    wire.answer(3, END_STREAM, &OK);
    wire.answer(5, END_STREAM, &OK);
    let mut reader = Reader::new(Role::Server);
    for (at, piece) in wire.pieces.iter().enumerate() {
        let chunk = after_rest(piece.at_ns, &piece.bytes);
        let len = chunk.len();
        reader
            .feed(piece.side, &if at == lost { Chunk { data: &[], skipped: len, lost: true, ..chunk } } else { chunk });
    }
    let anomalies = reader.session.take_anomalies();
    assert_eq!((anomalies.resyncs, anomalies.unmatched_responses), (1, 1));
    let exchanges = reader.close();
    assert_eq!(exchanges.len(), 2);
    assert!(exchanges.iter().all(|exchange| exchange.outcome == Outcome::Complete));
    assert_eq!(http(&exchanges[1]).target.as_deref(), Some("/three"));
}

#[test]
fn a_flood_of_headers_is_cut_and_counted() {
    let mut wire = Wire::new();
    wire.request(frame(1, END_STREAM, 1, &[0x82, 0x86, 0x84]));
    for _ in 0..100 {
        wire.request(frame(9, 0, 1, &[0x82; 10_000]));
    }
    wire.request(frame(9, END_HEADERS, 1, &[0x82; 10]));
    wire.answer(1, END_STREAM, &OK);
    let mut reader = Reader::new(Role::Server);
    for piece in &wire.pieces {
        reader.feed(piece.side, &whole(piece.at_ns, &piece.bytes));
        assert!(reader.session.memory() < 256 * 1024, "{}", reader.session.memory());
    }
    assert!(reader.session.take_anomalies().over_limit > 0);
    let exchanges = reader.close();
    assert_eq!(http(only(&exchanges)).target.as_deref(), Some("/"));
    assert!(http(only(&exchanges)).headers_truncated);
}
