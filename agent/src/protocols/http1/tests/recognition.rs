//! What is and what is not taken for HTTP/1.

use crate::protocols::{
    Recognition::{self, Maybe, No, Request, Response},
    http1::recognise,
};

fn check(bytes: impl AsRef<[u8]>, expected: Recognition) {
    let bytes = bytes.as_ref();
    assert_eq!(recognise(bytes), expected, "{}", bytes.escape_ascii());
}

#[test]
fn requests_are_recognised_by_their_whole_first_line() {
    for line in [
        "GET / HTTP/1.1\r\n",
        "GET / HTTP/1.0\n",
        "get /x?y=%20 HTTP/1.1\r\nHost: a",
        "\r\nPOST /form HTTP/1.1\r\n",
        "OPTIONS * HTTP/1.1\r\n",
        "CONNECT example.org:443 HTTP/1.1\r\n",
        "CONNECT [::1]:443 HTTP/1.1\r\n",
        "GET http://example.org/ HTTP/1.1\r\n",
        "M-SEARCH-WITH-LONG-NAME1 / HTTP/1.1\r\n",
        "GET /ä HTTP/1.1\r\n",
    ] {
        check(line, Request);
        let end = line.find('\n').filter(|&at| at > 1).or_else(|| line.rfind('\n')).unwrap();
        for at in 0..end {
            check(&line.as_bytes()[..at], Maybe);
        }
    }
}

#[test]
fn requests_are_recognised_that_servers_take_or_refuse() {
    for line in [
        "GET /v HTTP/1.2\r\n",
        "GET /v HTTP/2.0\r\n",
        "GET  /two   HTTP/1.1\r\n",
        "GET /behind HTTP/1.1  \r\n",
        "GET /a b HTTP/1.1\r\n",
        "GET ?x=1 HTTP/1.1\r\n",
        "GET /nul\0l HTTP/1.1\r\n",
        "GET\t/tab HTTP/1.1\r\n",
        "GET HTTP/1.1\r\n",
        "GET /old\r\n",
    ] {
        check(line, Request);
        for at in 0..line.find('\n').unwrap() {
            check(&line.as_bytes()[..at], Maybe);
        }
    }
}

#[test]
fn responses_are_recognised_by_their_status() {
    for line in ["HTTP/1.1 200 OK\r\n", "HTTP/1.0 404 Not Found\r\n", "HTTP/1.1 204\r\n", "HTTP/1.1 999 \n"] {
        check(line, Response);
        for at in 0..12 {
            check(&line.as_bytes()[..at], Maybe);
        }
        check(&line.as_bytes()[..12], Response);
    }
}

#[test]
fn other_protocols_are_not_recognised() {
    let others: [&[u8]; 22] = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        b"PRI * HTTP/1.1\r\n",
        b"PRI ",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x16",
        b"\x17\x03\x03\x00\x20",
        b"*1\r\n$4\r\nPING\r\n",
        b"+OK\r\n",
        b"PING\r\n",
        b"SET key value\r\n",
        b"get key\r\n",
        b"SSH-2.0-OpenSSH_9.2p1 Debian-2\r\n",
        b"HELO mail\r\n",
        b"OPTIONS rtsp://a/ RTSP/1.0\r\n",
        b"INVITE sip:a@b SIP/2.0\r\n",
        b"HTTP/2 200\r\n",
        b"HTTP/1.1 20x",
        b"HTTP/1.1 2000",
        b"HTTP/1.1 000 ",
        b"HTTP/1.1\t200 ",
        b"GET a\r\n",
        b"ATWENTYFIVELETTERMETHODXX / HTTP/1.1\r\n",
    ];
    for other in others {
        check(other, No);
    }
}

#[test]
fn a_long_target_of_a_well_known_method_is_enough() {
    check(format!("GET /{}", "a".repeat(1022)), Maybe);
    check(format!("GET /{}", "a".repeat(1023)), Request);
    check(format!("GOT /{}", "a".repeat(1023)), Maybe);
    check(format!("GOT /{}", "a".repeat(70_000)), No);
}

#[test]
fn line_ends_without_end_are_no_request() {
    check("\r\n\r\n", Maybe);
    check("\r\n".repeat(100), No);
}
