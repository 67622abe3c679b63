//! Conversations of which bytes are missing.

use super::*;

#[test]
fn bodies_of_megabytes_are_skipped_by_count() {
    let mut wire = Wire::server();
    let (requests, responses) = (wire.requests(), wire.responses());
    wire.ask("PUT /big HTTP/1.1\r\nContent-Length: 5000000\r\n\r\n");
    wire.piece(requests, b"GET / HTTP/1.1\r\n\r\n", 4_999_982, b"GET / HTTP/1.1\r\n\r\n", false);
    wire.answer("HTTP/1.1 200 OK\r\nContent-Length: 3000000000\r\n\r\n");
    wire.piece(responses, b"HTTP/1.1 200 OK\r\n\r\n", 2_999_999_980, b"", true);
    assert!(wire.out.is_empty());
    wire.answer("1");
    assert_eq!(wire.told(), ["PUT /big 200 5000000→3000000000"]);
    assert_eq!(wire.anomalies(), Anomalies::default());
    assert!(wire.session.memory() < 2048);
}

#[test]
fn a_connection_met_in_mid_body_is_followed_from_the_next_head() {
    let mut wire = Wire::server();
    wire.answer(b"\x00\x01\x02rest of a body").answer("more\r\n").ask(b"tail of an upload\n\n").answer("H");
    assert!(wire.out.is_empty());
    wire.ask(GET).answer(OK);
    assert_eq!(wire.told(), ["GET /a 200 0→5"]);
    // The same, where only the response to the upload is seen as a head, split over pieces.
    let mut wire = Wire::server();
    wire.ask("tail of an upload").answer("HTT").answer("P/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello");
    wire.ask("PO").ask("ST /b HTTP/1.1\r\nContent-Length: 0\r\n\r\n").answer(OK);
    assert_eq!(wire.told(), ["POST /b 200 0→5"]);
    assert_eq!(wire.out[0].start_ns, 4000);
    assert_eq!(wire.anomalies().unmatched_responses, 1);
}

#[test]
fn a_piece_that_only_seemed_to_begin_a_head_does_not_spoil_the_next() {
    let mut wire = Wire::server();
    wire.ask("(body").ask("GE").ask(GET).answer("(body").answer("HTTP/1").answer(OK);
    assert_eq!(wire.told(), ["GET /a 200 0→5"]);
}

#[test]
fn a_head_longer_than_the_capture_counts_with_what_was_seen() {
    let cookies = "x".repeat(9000);
    for role in [Role::Server, Role::Client] {
        let mut wire = Wire::new(role);
        let (requests, responses) = (wire.requests(), wire.responses());
        for _ in 0..2 {
            let head = format!("GET /long HTTP/1.1\r\nHost: h\r\nCookie: {cookies}\r\nUser-Agent: u\r\n\r\n");
            wire.limited(requests, head.as_bytes(), 4096);
            wire.limited(responses, OK.as_bytes(), 64);
        }
        assert_eq!(wire.told(), ["GET /long 200 ?→5", "GET /long 200 ?→5"]);
        let http = http(&wire.out[0]);
        assert!(http.headers_truncated && !http.target_truncated);
        assert_eq!((http.host.as_deref(), http.user_agent.as_deref()), (Some("h"), None));
    }
}

#[test]
fn a_request_line_longer_than_the_capture_is_marked() {
    for captured in [64, 1500, 4096] {
        let mut wire = Wire::server();
        let head = format!("GET /{} HTTP/1.1\r\nHost: h\r\n\r\n", "p".repeat(6000));
        wire.limited(wire.requests(), head.as_bytes(), captured);
        wire.answer(OK);
        let http = http(&wire.out[0]);
        assert!(http.headers_truncated && http.target_truncated);
        assert_eq!(http.target.as_ref().unwrap().len(), (captured - 4).min(2048));
        assert_eq!(http.status, Some(200));
    }
}

#[test]
fn a_request_body_behind_a_cut_head_is_passed_over() {
    let mut wire = Wire::server();
    let head = format!("POST /p HTTP/1.1\r\nContent-Length: 70\r\nCookie: {}\r\n\r\n", "x".repeat(9000));
    wire.limited(wire.requests(), head.as_bytes(), 4096);
    wire.ask("y".repeat(70)).answer(OK).ask(GET).answer(OK);
    assert_eq!(wire.told(), ["POST /p 200 70→5", "GET /a 200 0→5"]);
}

#[test]
fn a_response_with_a_cut_head_ends_once() {
    let cookies = "x".repeat(9000);
    let head = |rest: &str| format!("HTTP/1.1 {rest}Set-Cookie: {cookies}\r\n\r\n");
    let cases = [
        // Seen to end with the piece, or with the body by the length that stood before the cut.
        ("GET", head("204 No\r\n"), "", 204, "0", 2000),
        ("HEAD", head("200 OK\r\nContent-Length: 7\r\n"), "", 200, "0", 2000),
        ("GET", head("302 Found\r\nContent-Length: 0\r\n"), "", 302, "0", 2000),
        ("GET", head("200 OK\r\nContent-Length: 7\r\n"), "1234567", 200, "7", 3000),
        ("GET", head("200 OK\r\nTransfer-Encoding: chunked\r\n"), "1\r\na\r\n0\r\n\r\n", 200, "?", 3000),
        // Seen to be over when the client asks again.
        ("GET", head("200 OK\r\n"), "body", 200, "?", 3000),
        ("GET", head("200 OK\r\nContent-Length: 7\r\n") + "1234567", "", 200, "7", 2000),
    ];
    for (method, head, body, status, bytes, end_ns) in cases {
        let mut wire = Wire::server();
        wire.ask(format!("{method} /r HTTP/1.1\r\n\r\n"));
        wire.limited(wire.responses(), head.as_bytes(), 4096);
        if !body.is_empty() {
            wire.answer(body);
        }
        wire.ask(GET).answer(OK);
        assert_eq!(wire.told(), [format!("{method} /r {status} 0→{bytes}"), "GET /a 200 0→5".to_owned()]);
        assert_eq!(wire.out[0].end_ns, end_ns);
        assert!(http(&wire.out[0]).headers_truncated);
    }
}

#[test]
fn a_body_may_end_with_bytes_that_were_not_captured() {
    let mut wire = Wire::server();
    for _ in 0..2 {
        wire.ask("PUT /p HTTP/1.1\r\nContent-Length: 100\r\n\r\n");
        wire.piece(wire.requests(), b"", 100, b"", false);
        wire.answer("HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n0");
        wire.piece(wire.responses(), b"", 99, b"", false);
    }
    assert_eq!(wire.told(), ["PUT /p 200 100→100", "PUT /p 200 100→100"]);
    assert_eq!(wire.anomalies(), Anomalies::default());
}

#[test]
fn a_head_is_sought_at_the_beginnings_of_pieces_only() {
    let mut wire = Wire::server();
    wire.ask(GET).answer(CHUNKED);
    wire.piece(wire.responses(), b"100\r\n", 10_000, b"HTTP/1.1 500 No\r\n\r\n", false);
    wire.answer("bodyHTTP/1.1 500 No\r\n\r\n");
    assert!(wire.out.is_empty());
    wire.answer("\r\n0\r\n\r\n");
    assert_eq!(wire.told(), ["GET /a 200 0→?"]);
}

#[test]
fn a_head_at_the_beginning_of_a_piece_is_found_behind_one_that_broke_off() {
    let mut wire = Wire::server();
    wire.ask(GET).answer(OK).ask(GET).answer("HTT").answer(OK);
    assert_eq!(wire.told(), ["GET /a 200 0→5", "GET /a 200 0→5"]);
    assert_eq!((wire.out[1].first_byte_ns, wire.anomalies().resyncs), (Some(5000), 1));
}

const CHUNKED: &str = "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n";

#[test]
fn chunks_are_followed_over_bytes_that_were_not_captured() {
    let mut wire = Wire::server();
    let responses = wire.responses();
    wire.ask(GET).answer(CHUNKED);
    for _ in 0..100 {
        let chunk = [b"10000\r\n".as_slice(), &vec![b'x'; 0x10000], b"\r\n"].concat();
        wire.limited(responses, &chunk, 64);
    }
    // Chunk headers in the tail, and a line end that was not captured.
    wire.piece(responses, b"100\r\n", 0x100 + 7, b"\r\n10\r\n0", false);
    wire.piece(responses, b"", 0xf + 2, b"", false);
    wire.answer("0\r\nX: y\r\n\r\n");
    assert_eq!(wire.told(), [format!("GET /a 200 0→{}", 100 * 0x10000 + 0x110)]);
    assert_eq!(wire.anomalies(), Anomalies::default());
}

#[test]
fn a_last_chunk_in_a_buffer_of_its_own_ends_the_body() {
    for (tail, ends) in [
        ("0\r\n\r\n", true),
        ("0\r\nGrpc-Status: 0\r\n\r\n", true),
        ("10\r\n\r\n", false),
        ("0\r\nnot a trailer\r\n\r\n", false),
        // Cut out of the middle of something longer.
        ("0\r\nGrpc-Status: 0, and more.\r\n\r\n", false),
    ] {
        let mut wire = Wire::server();
        let responses = wire.responses();
        wire.ask(GET).answer(CHUNKED);
        wire.piece(responses, b"100\r\n", 10_000, tail.as_bytes(), false);
        assert_eq!(wire.out.len(), usize::from(ends), "{tail:?}");
    }
}

#[test]
fn a_chunked_body_whose_framing_is_lost_ends_with_the_last_chunk() {
    let pieces: [&[&[u8]]; 4] = [
        &[b"...\r\n0\r\n\r\n"],
        &[b"...\r\n", b"0\r\n\r\n"],
        &[b"...\r\n0\r\nGrpc-Status: 0\r\n\r\n"],
        &[b"...\r", b"\n0\r", b"\n\r", b"\n"],
    ];
    for last in pieces {
        let mut wire = Wire::server();
        let responses = wire.responses();
        wire.ask(GET).answer(CHUNKED);
        wire.piece(responses, b"100\r\n", 10_000, b"0123456789", false);
        wire.answer("body 0\r\n\r\n").answer("x\r\n10\r\n\r\n");
        assert!(wire.out.is_empty());
        for piece in last {
            assert!(wire.out.is_empty());
            wire.limited(responses, piece, 2);
        }
        assert_eq!(wire.told(), ["GET /a 200 0→?"]);
        assert_eq!(wire.out[0].end_ns, wire.now);
        wire.ask(GET).answer(OK);
        assert_eq!(wire.told()[1], "GET /a 200 0→5");
    }
}

#[test]
fn a_body_whose_framing_is_lost_ends_where_the_next_message_begins() {
    let lose = |wire: &mut Wire| {
        wire.ask(GET).answer(CHUNKED);
        wire.piece(wire.responses(), b"100\r\n", 10_000, b"0123456789", false);
    };
    let mut wire = Wire::server();
    lose(&mut wire);
    wire.ask("GET /b HTTP/1.1\r\n\r\n");
    assert_eq!(wire.told(), ["GET /a 200 0→?"]);
    assert_eq!(wire.out[0].end_ns, 3000);
    wire.answer("rest").answer(OK);
    assert_eq!(wire.told(), ["GET /a 200 0→?", "GET /b 200 0→5"]);

    let mut wire = Wire::server();
    wire.ask(GET);
    lose(&mut wire);
    wire.answer("HT").answer(OK).answer("HT").answer("TP/1.1 404 No\r\nContent-Length: 0\r\n\r\n");
    assert_eq!(wire.told(), ["GET /a 200 0→?", "GET /a 200 0→5"]);
    assert_eq!(wire.out[0].end_ns, 5000);

    let mut wire = Wire::server();
    lose(&mut wire);
    wire.end(End::Closed);
    assert_eq!(wire.told(), ["GET /a 200 0→?"]);
    let mut wire = Wire::server();
    lose(&mut wire);
    wire.end(End::Reset);
    assert_eq!(wire.told(), ["GET /a 200 0→? Unseen"]);
}

#[test]
fn a_body_whose_end_was_not_seen_may_have_held_another_response() {
    let asked = |nth| format!("GET /{nth} HTTP/1.1\r\n\r\n");
    for (open, last) in [(2, "GET /2 200 0→5"), (3, "GET /2 - 0→? Unseen")] {
        let mut wire = Wire::server();
        for nth in 1..=open {
            wire.ask(asked(nth));
        }
        wire.answer(CHUNKED);
        // The rest, and the response to the next, were written together with it.
        wire.piece(wire.responses(), b"100\r\n", 10_000, b"0123456789", false);
        wire.answer(OK).end(End::Forgotten);
        assert_eq!(wire.told()[..2], ["GET /1 200 0→?", last], "{open}");
        assert!(wire.out.iter().skip(2).all(|exchange| exchange.outcome == Outcome::Unseen));
    }
}

#[test]
fn a_request_body_whose_framing_is_lost_costs_its_size_only() {
    let mut wire = Wire::server();
    wire.ask("POST /u HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n");
    wire.piece(wire.requests(), b"100\r\n", 10_000, b"...\r\n0\r\n\r\n", false);
    wire.answer(OK).ask(GET).answer(OK);
    assert_eq!(wire.told(), ["POST /u 200 ?→5", "GET /a 200 0→5"]);
}

#[test]
fn pipelined_responses_that_were_not_captured_are_unseen() {
    let mut wire = Wire::server();
    wire.ask("GET /1 HTTP/1.1\r\n\r\nGET /2 HTTP/1.1\r\n\r\nGET /3 HTTP/1.1\r\n\r\n");
    wire.piece(wire.responses(), OK.as_bytes(), 80, b"hello", false);
    assert_eq!(wire.told(), ["GET /1 200 0→5", "GET /2 - 0→? Unseen", "GET /3 - 0→? Unseen"]);
}

#[test]
fn bytes_that_are_no_response_leave_the_end_unseen() {
    let mut wire = Wire::server();
    wire.ask(GET).answer("what is this?").end(End::Closed);
    assert_eq!(wire.told(), ["GET /a - 0→? Unseen"]);
    assert_eq!(wire.anomalies().resyncs, 1);
}

#[test]
fn a_long_body_that_is_not_captured_as_a_whole_is_no_anomaly() {
    let chunk = format!("400\r\n{}\r\n", "a".repeat(0x400));
    let ask = format!("POST /up HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(100));
    let answer = format!("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n", chunk.repeat(100));
    for role in [Role::Server, Role::Client] {
        let mut wire = Wire::new(role);
        let (requests, responses) = (wire.requests(), wire.responses());
        for _ in 0..3 {
            wire.limited(requests, ask.as_bytes(), 8192);
            wire.limited(responses, answer.as_bytes(), 2048);
        }
        assert_eq!(wire.told().len(), 3);
        assert_eq!(wire.anomalies(), Anomalies::default());
    }
}

#[test]
fn an_answer_that_cannot_be_read_is_nobody_elses() {
    for answer in [
        "HTTP/1.1 000 X\r\nContent-Length: 2\r\n\r\nok",
        "HTTP/1.1 2OO OK\r\nContent-Length: 2\r\n\r\nok",
        "ICY 200 OK\r\n\r\n",
        "hello world\r\n",
        "<html>no head</html>",
    ] {
        for role in [Role::Server, Role::Client] {
            let mut wire = Wire::new(role);
            let respond = |status: u16| format!("HTTP/1.1 {status} Why\r\nContent-Length: 2\r\n\r\nok");
            for (path, response) in [
                ("/first", respond(200)),
                ("/odd", answer.to_owned()),
                ("/failed", respond(500)),
                ("/found", respond(201)),
                ("/odd", answer.to_owned()),
                ("/last", respond(202)),
            ] {
                wire.quiet_ns = 1_000_000_000;
                wire.ask(format!("GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")).answer(response);
            }
            wire.end(End::Closed);
            let told: Vec<_> = wire.out.iter().map(|it| (http(it).target.clone().unwrap(), http(it).status)).collect();
            let expected = [
                ("/first", Some(200)),
                ("/odd", None),
                ("/failed", Some(500)),
                ("/found", Some(201)),
                ("/odd", None),
                ("/last", Some(202)),
            ];
            assert_eq!(told, expected.map(|(path, status)| (path.into(), status)), "{answer:?} {role:?}");
            let odd = wire.out.iter().filter(|it| it.outcome != Outcome::Complete).map(|it| it.outcome);
            assert!(odd.eq([Outcome::Unseen; 2]), "{answer:?} {role:?}");
        }
    }
}

/// A server may answer before it has read the body, and read its rest with what is asked next.
#[test]
fn a_request_behind_a_body_in_what_is_not_captured_is_counted_and_the_next_is_told() {
    let mut wire = Wire::server();
    let requests = wire.requests();
    wire.ask(GET).answer(OK).ask("POST /b HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n800\r\nbody").answer(OK);
    wire.limited(requests, &[b'q'; 4096], 64);
    let last =
        [&[b'q'; 700], b"\r\n0\r\n\r\nGET /hidden HTTP/1.1\r\nHost: 127.0.0.1:8080\r\nAccept: */*\r\n\r\n".as_slice()]
            .concat();
    wire.limited(requests, &last, 64);
    wire.answer(OK).ask(GET).answer(OK).ask(GET).answer(OK);
    let told = wire.told();
    assert_eq!(told[..1], ["GET /a 200 0→5"]);
    assert!(told[1].starts_with("POST /b 200 "), "{told:?}");
    assert_eq!(told[2..], ["GET /a 200 0→5", "GET /a 200 0→5"]);
    let anomalies = wire.anomalies();
    assert_eq!((anomalies.unmatched_responses, anomalies.requests_lost), (1, 1));
}
