//! Whole messages, captured as a whole.

use super::*;
use crate::model::{
    headers,
    ids::{ProcessId, ThreadId},
    propagation::{Format, Propagation},
};

const PARENT: &str = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n";

#[test]
fn an_exchange_tells_what_was_on_the_wire_and_when() {
    let mut wire = Wire::server();
    wire.ask(
        "POST /items?x=1 HTTP/1.1\r\nhost: shop:8080\r\nUSER-AGENT: curl/8\r\nContent-Length: 3\r\n\
         traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01\r\n\r\na",
    )
    .ask("bc")
    .answer("HTTP/1.1 201 Created\r\nContent-Length: 4\r\n\r\nab")
    .answer("cd");
    assert_eq!(wire.told(), ["POST /items?x=1 201 3→4"]);
    let exchange = &wire.out[0];
    assert_eq!((exchange.start_ns, exchange.first_byte_ns, exchange.end_ns), (1000, Some(3000), 4000));
    assert_eq!(
        (exchange.thread, exchange.role),
        (Thread { tgid: ProcessId(7), tid: ThreadId(1), work: 0, begun_ns: 0 }, Role::Server)
    );
    assert_eq!(exchange.parent.unwrap().trace_id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
    let http = http(exchange);
    assert_eq!(http.version, "1.1");
    assert_eq!(http.host.as_deref(), Some("shop:8080"));
    assert_eq!(http.user_agent.as_deref(), Some("curl/8"));
    assert!(!http.headers_truncated && !http.target_truncated);
    assert_eq!(wire.session.open_requests(), 0);
    assert_eq!(wire.anomalies(), Anomalies::default());
}

#[test]
fn a_client_reads_responses_and_writes_requests() {
    let mut wire = Wire::new(Role::Client);
    wire.piece(Direction::Sent, GET.as_bytes(), 0, &[], false);
    wire.piece(Direction::Received, OK.as_bytes(), 0, &[], false);
    assert_eq!(wire.told(), ["GET /a 200 0→5"]);
    assert_eq!(wire.out[0].role, Role::Client);
}

#[test]
fn a_kept_alive_connection_yields_one_exchange_a_request() {
    let mut wire = Wire::server();
    for number in 0..1000 {
        wire.ask(format!("GET /{number} HTTP/1.1\r\n\r\n")).answer(OK);
    }
    let expected: Vec<_> = (0..1000).map(|number| format!("GET /{number} 200 0→5")).collect();
    assert_eq!(wire.told(), expected);
}

#[test]
fn pipelined_requests_are_answered_in_order() {
    let mut wire = Wire::server();
    wire.ask("GET /1 HTTP/1.1\r\n\r\nPOST /2 HTTP/1.1\r\nContent-Length: 2\r\n\r\nhiHEAD /3 HTTP/1.1\r\n\r\n");
    assert_eq!(wire.session.open_requests(), 3);
    wire.answer("HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\n1HTTP/1.1 404 No\r\nContent-Length: 2\r\n\r\n22HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n");
    assert_eq!(wire.told(), ["GET /1 200 0→1", "POST /2 404 2→2", "HEAD /3 200 0→0"]);
}

#[test]
fn chunked_bodies_may_have_extensions_and_trailers() {
    let mut wire = Wire::server();
    wire.ask("PUT /c HTTP/1.1\r\nTransfer-Encoding: gzip, Chunked\r\n\r\n3;a=\"b\"\r\nabc\r\n0A \r\n0123456789\r\n0\r\nX: y\r\nZ: \r\n\r\n");
    wire.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n\r\n0\r\n\r\n2\r\nHT\r\n0\r\n\r\n");
    assert_eq!(wire.told(), ["PUT /c 200 13→7"]);
    wire.ask(GET).answer(OK);
    assert_eq!(wire.told().len(), 2);
}

#[test]
fn responses_to_head_and_204_and_304_have_no_body() {
    let mut wire = Wire::server();
    wire.ask("HEAD /h HTTP/1.1\r\n\r\n").answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    wire.ask("GET /n HTTP/1.1\r\n\r\n").answer("HTTP/1.1 204 No Content\r\n\r\n");
    wire.ask("GET /m HTTP/1.1\r\n\r\n").answer("HTTP/1.1 304 Not Modified\r\nContent-Length: 100\r\n\r\n");
    assert_eq!(wire.told(), ["HEAD /h 200 0→0", "GET /n 204 0→0", "GET /m 304 0→0"]);
}

#[test]
fn interim_responses_are_not_the_final_one() {
    let mut wire = Wire::server();
    wire.ask("POST /u HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        .answer("HTTP/1.1 100 Continue\r\n\r\n")
        .ask("hi")
        .answer("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\n")
        .answer(OK);
    assert_eq!(wire.told(), ["POST /u 200 2→5"]);
    assert_eq!(wire.out[0].first_byte_ns, Some(5000));
}

#[test]
fn a_body_that_was_expected_to_be_refused_may_be_left_out() {
    let refused = "POST /u HTTP/1.1\r\nExpect: 100-continue\r\nContent-Length: 50\r\n\r\n";
    let mut wire = Wire::server();
    wire.ask(refused).answer("HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n").ask(GET).answer(OK);
    assert_eq!(wire.told(), ["POST /u 401 ?→0", "GET /a 200 0→5"]);
    // Sent nonetheless, it is a body, even where it looks like a head further on.
    let mut wire = Wire::server();
    wire.ask(refused)
        .answer("HTTP/1.1 401 No\r\nContent-Length: 0\r\n\r\n")
        .ask("x")
        .ask(GET)
        .ask("y".repeat(49 - GET.len()));
    wire.ask("GET /b HTTP/1.1\r\n\r\n").answer(OK);
    assert_eq!(wire.told(), ["POST /u 401 ?→0", "GET /b 200 0→5"]);
}

#[test]
fn an_upgrade_ends_http_on_the_connection() {
    let mut wire = Wire::server();
    wire.ask("GET /ws HTTP/1.1\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
    assert_eq!(wire.interest, Interest::Parse);
    wire.answer("HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\n\r\n\x01\x02HTTP/1.1 200 OK\r\n\r\n");
    assert_eq!(wire.interest, Interest::Nothing);
    wire.ask(GET).answer(OK).end(End::Closed);
    assert_eq!(wire.told(), ["GET /ws 101 0→0"]);
    assert_eq!(wire.interest, Interest::Nothing);
}

#[test]
fn a_refused_upgrade_goes_on_as_http() {
    let mut wire = Wire::server();
    wire.ask("GET /ws HTTP/1.1\r\nUpgrade: websocket\r\n\r\n").answer(OK).ask(GET).answer(OK);
    assert_eq!(wire.told(), ["GET /ws 200 0→5", "GET /a 200 0→5"]);
}

#[test]
fn an_upgrade_to_h2c_leaves_the_exchange_to_http2() {
    for (asked, answered) in [("h2c", "Upgrade: h2c\r\n"), ("h2c", ""), ("websocket, h2c", "Upgrade: h2c\r\n")] {
        let mut wire = Wire::server();
        wire.ask(format!("GET / HTTP/1.1\r\nUpgrade: {asked}\r\nHTTP2-Settings: AAM\r\n\r\n"));
        wire.answer(format!("HTTP/1.1 101 Switching Protocols\r\n{answered}\r\nframes"));
        assert_eq!(wire.interest, Interest::Switch("http2"));
        let left = wire.session.hand_over();
        let request = left.request.expect("http2 answers it");
        let Operation::Http(http) = request.1.operation else { panic!("{:?}", request.1.operation) };
        assert_eq!((left.rest, http.method.as_deref(), http.target.as_deref()), (6, Some("GET"), Some("/")));
        wire.end(End::Closed);
        assert!(wire.out.is_empty());
    }
}

#[test]
fn a_tunnel_begins_with_the_success_of_connect() {
    let mut wire = Wire::server();
    wire.ask("CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n").ask(b"\x16\x03\x01\x00");
    wire.answer("HTTP/1.1 407 Auth\r\nContent-Length: 2\r\n\r\nno");
    assert_eq!(wire.interest, Interest::Parse);
    wire.ask("CONNECT example.org:443 HTTP/1.1\r\nHost: example.org:443\r\n\r\n");
    wire.answer("HTTP/1.1 200 Connection established\r\nContent-Length: 7\r\n\r\n");
    assert_eq!(wire.interest, Interest::Nothing);
    assert_eq!(wire.told(), ["CONNECT example.org:443 407 0→2", "CONNECT example.org:443 200 0→0"]);
}

#[test]
fn targets_of_every_form_are_kept_as_they_are() {
    let mut wire = Wire::server();
    for target in ["*", "http://example.org:80/p?q", "/%41;x?y#z", "/ä"] {
        wire.ask(format!("OPTIONS {target} HTTP/1.0\r\n\r\n")).answer("HTTP/1.1 204 \r\n\r\n");
        assert_eq!(http(wire.out.last().unwrap()).target.as_deref(), Some(target));
        assert_eq!(http(wire.out.last().unwrap()).version, "1.0");
    }
}

#[test]
fn any_token_is_a_method() {
    let mut wire = Wire::server();
    for method in ["get", "BREW", "M-SEARCH", "ABCDEFGHIJKLMNOPQRSTUVWX"] {
        wire.ask(format!("{method} / HTTP/1.1\r\n\r\n")).answer(OK);
        assert_eq!(http(wire.out.last().unwrap()).method.as_deref(), Some(method));
    }
    wire.ask("ABCDEFGHIJKLMNOPQRSTUVWXY / HTTP/1.1\r\n\r\n").ask("GET /simple\r\n\r\n").ask("G{T / HTTP/1.1\r\n\r\n");
    assert_eq!(wire.session.open_requests(), 0);
}

#[test]
fn a_response_may_end_with_the_connection() {
    for half_close in [true, false] {
        let mut wire = Wire::server();
        wire.ask(GET).answer("HTTP/1.0 200 OK\r\n\r\nab").answer("cde");
        assert!(wire.out.is_empty());
        if half_close {
            wire.end_of_responses();
        }
        wire.end(End::Closed);
        assert_eq!(wire.told(), ["GET /a 200 0→5"]);
        assert_eq!(wire.out[0].end_ns, 3000);
    }
    let mut wire = Wire::server();
    wire.ask(GET).answer("HTTP/1.0 200 OK\r\n\r\nab").end(End::Reset);
    assert_eq!(wire.told(), ["GET /a 200 0→? Cut"]);
}

#[test]
fn a_client_that_has_said_all_still_gets_its_answer() {
    let mut wire = Wire::server();
    wire.ask(GET);
    wire.out.of(|out| wire.session.on_end_of_stream(Direction::Received, 1500, out));
    wire.answer(OK).end(End::Closed);
    assert_eq!(wire.told(), ["GET /a 200 0→5"]);
}

#[test]
fn a_connection_that_ends_before_the_response_says_so() {
    for end in [End::Reset, End::Closed] {
        let mut wire = Wire::server();
        wire.ask(GET).ask("POST /b HTTP/1.1\r\nContent-Length: 9\r\n\r\nabc").end(end);
        assert_eq!(wire.told(), ["GET /a - 0→? NoResponse", "POST /b - ?→? NoResponse"]);
        assert_eq!((wire.out[0].end_ns, wire.out[0].first_byte_ns), (3000, None));
    }
    let mut wire = Wire::server();
    wire.ask(GET).end_of_responses();
    assert_eq!(wire.told(), ["GET /a - 0→? NoResponse"]);
}

#[test]
fn a_connection_that_ends_within_the_response_says_so() {
    for end in [End::Reset, End::Closed] {
        for (part, told) in [
            (&OK[..OK.len() - 1], "GET /a 200 0→? Cut"),
            ("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n", "GET /a 200 0→? Cut"),
            ("HTTP/1.1 200 OK\r\nConte", "GET /a 200 0→? Cut"),
            ("HTTP/1.1 2", "GET /a - 0→? Cut"),
        ] {
            let mut wire = Wire::server();
            wire.ask(GET).answer(part).end(end);
            assert_eq!(wire.told(), [told], "{part}");
            assert_eq!((wire.out[0].first_byte_ns, wire.out[0].end_ns), (Some(2000), 3000));
        }
    }
}

#[test]
fn what_is_open_when_the_agent_gives_up_is_unseen() {
    let mut wire = Wire::server();
    wire.ask(GET).ask(GET).answer(&OK[..OK.len() - 1]).end(End::Forgotten);
    assert_eq!(wire.told(), ["GET /a 200 0→? Unseen", "GET /a - 0→? Unseen"]);
}

#[test]
fn a_response_without_a_request_is_counted() {
    let mut wire = Wire::server();
    wire.answer(OK).ask(GET).answer(OK).answer(OK);
    assert_eq!(wire.told(), ["GET /a 200 0→5"]);
    assert_eq!(wire.anomalies().unmatched_responses, 2);
    assert_eq!(wire.anomalies().unmatched_responses, 0);
}

#[test]
fn a_response_may_come_before_the_request_has_ended() {
    let upload = "POST /u HTTP/1.1\r\nContent-Length: 40\r\n\r\n";
    let mut wire = Wire::server();
    wire.ask(upload).answer("HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(wire.told(), ["POST /u 413 ?→0"]);
    // The rest of the body is still one, though it looks like a head.
    wire.ask(GET).ask("x".repeat(40 - GET.len())).ask("GET /b HTTP/1.1\r\n\r\n").answer(OK);
    assert_eq!(wire.told(), ["POST /u 413 ?→0", "GET /b 200 0→5"]);
    // An echo: both bodies at the same time.
    let mut wire = Wire::server();
    wire.ask("POST /e HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
    wire.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n");
    wire.ask("0\r\n\r\n").answer("0\r\n\r\n");
    assert_eq!(wire.told(), ["POST /e 200 1→1"]);
}

#[test]
fn a_head_that_is_answered_before_its_end_counts() {
    let mut wire = Wire::server();
    wire.ask("GET /slow HTTP/1.1\r\nHost: h\r\nX: ").answer("HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(wire.told(), ["GET /slow 408 ?→0"]);
    assert!(http(&wire.out[0]).headers_truncated);
    let mut wire = Wire::server();
    wire.ask("GET /slow HTTP/1.1\r\nHost: h\r\nX: ").end(End::Closed);
    assert_eq!(wire.told(), ["GET /slow - ?→? NoResponse"]);
}

#[test]
fn transfer_encoding_wins_over_content_length() {
    let mut wire = Wire::server();
    wire.ask("POST / HTTP/1.1\r\nContent-Length: 3\r\nTransfer-Encoding: chunked\r\n\r\n1\r\na\r\n0\r\n\r\nGET /a HTTP/1.1\r\n\r\n");
    wire.answer("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nContent-Length: 100\r\n\r\n0\r\n\r\n").answer(OK);
    assert_eq!(wire.told(), ["POST / 200 1→0", "GET /a 200 0→5"]);
}

#[test]
fn equal_content_lengths_are_one() {
    let mut wire = Wire::server();
    wire.ask("POST /1 HTTP/1.1\r\nContent-Length: 2, 2\r\nContent-Length: 2\r\n\r\nabGET /2 HTTP/1.1\r\n\r\n")
        .answer(OK)
        .answer(OK);
    assert_eq!(wire.told(), ["POST /1 200 2→5", "GET /2 200 0→5"]);
}

#[test]
fn content_lengths_that_make_no_sense_leave_the_size_unknown() {
    for length in ["2\r\nContent-Length: 3", "-1", "0x5", "99999999999999999999", "5 5"] {
        let mut wire = Wire::server();
        wire.ask(GET).answer(format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\n\r\nhello"));
        wire.ask("GET /b HTTP/1.1\r\n\r\n").answer(OK);
        assert_eq!(wire.told(), ["GET /a 200 0→?", "GET /b 200 0→5"], "{length}");
        assert_eq!(wire.out[0].end_ns, 2000);
    }
}

#[test]
fn folded_lines_and_bare_line_feeds_and_empty_lines_are_read() {
    let mut wire = Wire::server();
    wire.ask(
        "\r\n\n\r\nPOST /f HTTP/1.1\nTransfer-Encoding:\n chunked\nUser-Agent: a\r\n\t b\nHost:\r\n h\n\n1\na\n0\n\n",
    );
    wire.answer("HTTP/1.1 200 OK\ncontent-length:\n 5\n\nhello");
    assert_eq!(wire.told(), ["POST /f 200 1→5"]);
    assert_eq!(http(&wire.out[0]).user_agent.as_deref(), Some("a b"));
    assert_eq!(http(&wire.out[0]).host.as_deref(), Some("h"));
}

#[test]
fn several_trace_contexts_are_none() {
    for (headers, found) in
        [(PARENT.to_owned(), true), (PARENT.repeat(2), false), (PARENT.replace("00-", "zz-"), false)]
    {
        let mut wire = Wire::server();
        wire.ask(format!("GET / HTTP/1.1\r\n{headers}\r\n")).answer(OK);
        assert_eq!(wire.out[0].parent.is_some(), found);
    }
}

#[test]
fn contexts_are_read_in_the_formats_that_are_wanted() {
    let head = "GET / HTTP/1.1\r\nX-B3-TraceId: a3ce929d0e0e4736\r\nX-B3-SpanId: 00f067aa0ba902b7\r\nx-b3-sampled: 1\r\n\
                tracestate: a=1\r\nBaggage: tenant=blue,secret=1\r\nuber-trace-id: 1:2:0:1\r\n\
                b3: a3ce929d0e0e4736-\r\n -00f067aa0ba902b7\r\n\r\n";
    let read = |formats: &[Format]| {
        let mut wire = Wire::server();
        let propagation = Propagation { formats: formats.to_vec(), baggage: vec!["tenant"], ..Propagation::default() };
        wire.out.of(|out| out.set_propagation(propagation));
        wire.ask(head).answer(OK);
        let exchange = &wire.out[0];
        let baggage: Vec<_> = http(exchange).baggage.entries().map(|(key, value)| format!("{key}={value}")).collect();
        assert_eq!((baggage, http(exchange).trace_state.as_deref()), (vec!["tenant=blue".to_owned()], None));
        exchange.parent.map(|parent| (parent.trace_id.to_string(), parent.is_sampled()))
    };
    let b3 = Some(("0000000000000000a3ce929d0e0e4736".to_owned(), true));
    assert_eq!(read(&[Format::TraceContext]), None);
    assert_eq!(read(&[Format::B3Multi]), b3);
    assert_eq!(read(&[Format::Jaeger, Format::B3Multi, Format::B3]), b3, "`b3` goes on in the next line");
    assert_eq!(read(&[Format::Jaeger]).map(|(trace, _)| trace), Some(format!("{:032x}", 1)));
}

#[test]
fn fields_that_are_asked_for_are_kept_of_either_message_and_bounded() {
    let asked = headers::tests::asked("x-probe-one");
    let mut wire = Wire::server();
    wire.ask(format!(
        "GET / HTTP/1.1\r\nX-Probe-One:  a\r\nAuthorization: s\r\nx-probe-one: {}\r\n\r\n",
        "b".repeat(600)
    ))
    .answer("HTTP/1.1 200 OK\r\nX-Probe-ONE: c\r\nContent-Length: 0\r\n\r\n");
    wire.ask(format!("GET /2 HTTP/1.1\r\n{}\r\n", "x-probe-one: d\r\n".repeat(100))).answer(OK);
    drop(asked);
    wire.ask("GET /3 HTTP/1.1\r\nX-Probe-One: e\r\n\r\n").answer(OK);
    let headers: Vec<_> = wire.out.iter().map(|exchange| http(exchange).headers.clone()).collect();
    let first = headers[0].as_ref().unwrap();
    let lengths = |values: &headers::Values| values.iter().map(|(_, value)| value.len()).collect::<Vec<_>>();
    assert_eq!((lengths(&first.request), lengths(&first.response)), (vec![1, headers::VALUE_MAX], vec![1]));
    assert_eq!(headers[1].as_ref().unwrap().request.len(), headers::VALUES_MAX);
    assert_eq!(headers[2], None);
}

#[test]
fn strings_are_bounded() {
    let mut wire = Wire::server();
    for (target, kept) in [(2047, 2048), (2048, 2048), (9000, 2048)] {
        let target_bytes = target + 1;
        wire.ask(format!(
            "GET /{} HTTP/1.1\r\nHost: {}\r\nUser-Agent: {}\r\n\r\n",
            "a".repeat(target),
            "h".repeat(300),
            "u".repeat(600)
        ))
        .answer(OK);
        let http = http(wire.out.last().unwrap());
        assert_eq!(http.target.as_ref().unwrap().len(), kept);
        assert_eq!(http.target_truncated, target_bytes > 2048);
        assert_eq!((http.host.as_ref().unwrap().len(), http.user_agent.as_ref().unwrap().len()), (255, 512));
        assert!(!http.headers_truncated);
    }
}

#[test]
fn heads_may_be_split_at_every_byte() {
    let request = "\r\nPOST /items HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi";
    for at in 1..request.len() {
        for cut in 1..OK.len() {
            let mut wire = Wire::server();
            wire.ask(&request[..at]).ask(&request[at..]).answer(&OK[..cut]).answer(&OK[cut..]);
            assert_eq!(wire.told(), ["POST /items 200 2→5"], "{at} {cut}");
            assert_eq!(wire.out[0].start_ns, if at <= 2 { 2000 } else { 1000 });
            assert_eq!(wire.out[0].first_byte_ns, Some(3000));
        }
    }
}

#[test]
fn requests_beyond_the_limit_are_counted_and_their_responses_recognised() {
    let mut wire = Wire::server();
    for number in 0..1030 {
        wire.ask(format!("GET /{number} HTTP/1.1\r\n\r\n"));
    }
    assert_eq!(wire.session.open_requests(), 1024);
    assert_eq!(wire.anomalies().over_limit, 6);
    // There is room again, but order goes on behind those that were not kept.
    wire.answer(OK.repeat(10)).ask("GET /1030 HTTP/1.1\r\n\r\n");
    assert_eq!((wire.session.open_requests(), wire.anomalies().over_limit), (1014, 1));
    for _ in 10..1031 {
        wire.answer(OK);
    }
    wire.ask("GET /last HTTP/1.1\r\n\r\n").answer("HTTP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(wire.out.len(), 1025);
    assert_eq!(wire.told()[1023], "GET /1023 200 0→5");
    assert_eq!(wire.told()[1024], "GET /last 404 0→0");
    assert_eq!(wire.anomalies(), Anomalies::default());
}

#[test]
fn a_head_without_end_is_cut() {
    let mut wire = Wire::server();
    wire.ask("GET /long HTTP/1.1\r\n");
    for _ in 0..300 {
        wire.ask(format!("X: {}\r\n", "y".repeat(4090)));
    }
    assert!(wire.session.memory() < 8192);
    wire.answer(OK);
    assert_eq!(wire.told(), ["GET /long 200 ?→5"]);
    assert!(http(&wire.out[0]).headers_truncated);
    assert_eq!(wire.anomalies().over_limit, 1);
}

#[test]
fn a_trace_state_is_taken_over_in_whatever_spelling_and_number() {
    let state = |head: &str| {
        let mut wire = Wire::server();
        wire.ask(format!("GET / HTTP/1.1\r\n{PARENT}{head}\r\n")).answer(OK);
        http(&wire.out[0]).trace_state.clone()
    };
    assert_eq!(state("tracestate: a=1\r\nTraceState: b=2\r\n").as_deref(), Some("a=1,b=2"));
    assert_eq!(state("tracestate: a=1,\r\n b=2\r\n"), None, "a list that goes on in another line");
    assert_eq!(state("Tracestatus: a=1\r\n"), None);
}

/// System, method, status and HTTP status of a call.
type Call<'a> = (&'static str, Option<&'a str>, Option<u32>, Option<u16>);

fn calls(wire: &Wire) -> Vec<Call<'_>> {
    let rpc = |exchange| match exchange {
        &Exchange { operation: Operation::Rpc(ref rpc), .. } => {
            (rpc.system, rpc.method.as_deref(), rpc.status, rpc.http_status)
        }
        other => panic!("no call: {}", tell(other)),
    };
    wire.out.iter().map(rpc).collect()
}

#[test]
fn connect_calls_are_told_from_http_by_their_headers() {
    let mut wire = Wire::server();
    wire.ask(
        "POST /api/shop.Orders/Get HTTP/1.1\r\nContent-Type: application/json\r\nConnect-Protocol-Version: 1\r\n\
         Connect-Timeout-Ms: 1500\r\nContent-Length: 2\r\n\r\n{}",
    )
    .answer("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}");
    wire.ask("GET /shop.Orders/Get?connect=v1&message=e30 HTTP/1.1\r\n\r\n")
        .answer("HTTP/1.1 404 Not Found\r\ncontent-type: application/json\r\nContent-Length: 2\r\n\r\n{}");
    wire.ask(
        "POST /shop.Orders/List HTTP/1.1\r\ncontent-type: application/connect+proto\r\n\
         Transfer-Encoding: chunked\r\n\r\n5\r\n\0\0\0\0\0\r\n0\r\n\r\n",
    )
    .answer("HTTP/1.1 200 OK\r\nContent-Type: application/connect+proto\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(
        calls(&wire),
        [
            ("connectrpc", Some("shop.Orders/Get"), Some(0), None),
            ("connectrpc", Some("shop.Orders/Get"), Some(5), Some(404)),
            // Its status stands in the last message.
            ("connectrpc", Some("shop.Orders/List"), None, None),
        ]
    );
    let Operation::Rpc(first) = &wire.out[0].operation else { unreachable!("asserted above") };
    assert_eq!(first.timeout_ns, Some(1_500_000_000));
}

#[test]
fn grpc_web_is_a_call_with_a_status_where_its_head_has_one() {
    let mut wire = Wire::server();
    let ask = "POST /api/shop.Orders/Get HTTP/1.1\r\nContent-Type: application/grpc-web+proto\r\nGrpc-Timeout: 20m\r\nContent-Length: 0\r\n\r\n";
    for status in ["", "grpc-status: 5\r\n", "grpc-status: x\r\n", "grpc-status: 99999999999999999999\r\n"] {
        let type_is = "Content-Type: application/grpc-web+proto\r\nContent-Length: 0";
        wire.ask(ask).answer(format!("HTTP/1.1 200 OK\r\n{status}{type_is}\r\n\r\n"));
    }
    let calls: Vec<_> = wire
        .out
        .iter()
        .map(|exchange| match &exchange.operation {
            Operation::Rpc(rpc) => (rpc.system, rpc.method.as_deref(), rpc.status, rpc.timeout_ns),
            _ => unreachable!("{exchange:?}"),
        })
        .collect();
    let call = |status| ("grpc_web", Some("shop.Orders/Get"), status, Some(20_000_000));
    assert_eq!(calls, [call(None), call(Some(5)), call(None), call(None)]);
}

#[test]
fn request_lines_that_servers_take_or_refuse_are_told_with_what_is_known() {
    for (line, told, version) in [
        ("GET /v HTTP/1.2", "GET /v", "1.2"),
        ("GET /v HTTP/2.0", "GET /v", ""),
        ("GET  /two   HTTP/1.1", "GET /two", "1.1"),
        ("GET /behind HTTP/1.0 ", "GET /behind", "1.0"),
        ("GET /a b HTTP/1.1", "GET /a b", "1.1"),
        ("GET ?x=1 HTTP/1.1", "GET ?x=1", "1.1"),
        ("GET /nul\0l HTTP/1.1", "GET ?", "1.1"),
    ] {
        // Another stands behind it in its piece, and the pieces may be of any size.
        let asked = format!("{line}\r\nHost: h\r\n\r\n{GET}");
        for split in 1..asked.len() {
            let mut wire = Wire::server();
            wire.ask(&asked[..split]).ask(&asked[split..]);
            wire.answer("HTTP/1.1 400 No\r\nContent-Length: 0\r\n\r\n").answer(OK);
            assert_eq!(wire.told(), [format!("{told} 400 0→0"), "GET /a 200 0→5".to_owned()], "{split}");
            assert_eq!(http(&wire.out[0]).version, version);
            assert_eq!(wire.anomalies(), Anomalies::default());
        }
    }
}

#[test]
fn a_response_of_http_0_9_is_a_body_without_a_status() {
    for split in 1.."GET /old\r\n".len() {
        let mut wire = Wire::server();
        wire.ask(&"GET /old\r\n"[..split]).ask(&"GET /old\r\n"[split..]);
        wire.answer("hello").answer(" you").end(End::Closed);
        assert_eq!(wire.told(), ["GET /old - 0→9"]);
        assert_eq!((http(&wire.out[0]).version, wire.anomalies()), ("0.9", Anomalies::default()));
    }
    let mut wire = Wire::server();
    wire.ask("GET /old\r\n").answer(OK);
    assert_eq!(wire.told(), ["GET /old 200 0→5"]);
}

#[test]
fn behind_a_connect_the_client_speaks_to_somebody_else() {
    let asked = "CONNECT h:80 HTTP/1.1\r\nHost: h:80\r\n\r\n";
    let opened = "HTTP/1.1 200 Connection established\r\n\r\n";
    for (role, interest) in [(Role::Client, Interest::Anew), (Role::Server, Interest::Nothing)] {
        let mut wire = Wire::new(role);
        wire.ask(asked).answer(opened);
        assert_eq!((wire.told(), wire.interest), (vec!["CONNECT h:80 200 0→0".to_owned()], interest));
    }
    let mut wire = Wire::new(Role::Client);
    wire.ask(asked).answer(format!("{opened}SSH-2.0"));
    assert_eq!(wire.session.hand_over().rest, 7);
    let mut wire = Wire::new(Role::Client);
    wire.ask(asked).answer("HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n").ask(asked).answer(opened);
    assert_eq!(wire.told(), ["CONNECT h:80 403 0→0", "CONNECT h:80 200 0→0"]);
}
