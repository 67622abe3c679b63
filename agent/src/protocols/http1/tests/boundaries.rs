//! Lengths around what is captured and around powers of two.

use super::*;

fn lengths() -> impl Iterator<Item = usize> {
    (6..=16).flat_map(|power| (1 << power) - 1..=(1 << power) + 1)
}

/// A request whose head has `len` bytes.
fn request_head(path: usize, len: usize) -> String {
    let rest = " HTTP/1.1\r\nHost: h\r\nX: ";
    let target = format!("/{}", "p".repeat(path));
    let filled = 4 + target.len() + rest.len() + 4;
    format!("GET {target}{rest}{}\r\n\r\n", "y".repeat(len - filled))
}

fn response_head(len: usize, body: usize) -> String {
    let head = format!("HTTP/1.1 200 OK\r\nContent-Length: {body}\r\nX: ");
    let fill = len - head.len() - 4;
    format!("{head}{}\r\n\r\n", "y".repeat(fill))
}

#[test]
fn heads_of_every_length_are_read() {
    for len in lengths() {
        let mut wire = Wire::server();
        wire.ask(request_head(5, len)).answer(response_head(len, 3) + "abc");
        assert_eq!(wire.told(), ["GET /ppppp 200 0→3"], "{len}");
        assert!(!http(&wire.out[0]).headers_truncated);
        for piece in [1, 63, 4096, len - 1] {
            let mut wire = Wire::server();
            for part in request_head(5, len).as_bytes().chunks(piece) {
                wire.ask(part);
            }
            for part in response_head(len, 0).as_bytes().chunks(piece) {
                wire.answer(part);
            }
            assert_eq!(wire.told(), ["GET /ppppp 200 0→0"], "{len} by {piece}");
            assert!(!http(&wire.out[0]).headers_truncated);
        }
    }
}

#[test]
fn heads_of_every_length_are_read_under_every_capture_limit() {
    for len in lengths() {
        for limit in lengths().take_while(|&limit| limit <= 8193) {
            let mut wire = Wire::server();
            for _ in 0..2 {
                wire.limited(wire.requests(), request_head(5, len).as_bytes(), limit);
                wire.limited(wire.responses(), response_head(len, 0).as_bytes(), limit);
            }
            wire.end(End::Closed);
            let told = wire.told();
            assert_eq!(told.len(), 2, "{len} {limit}");
            for (exchange, told) in wire.out.iter().zip(told) {
                // A tail that reaches back to the captured bytes leaves nothing out.
                let cut = len > limit + 32;
                assert!(told.starts_with("GET /ppppp 200"), "{len} {limit} {told}");
                assert_eq!(http(exchange).headers_truncated, cut, "{len} {limit}");
                assert_eq!(exchange.outcome, Outcome::Complete);
            }
        }
    }
}

#[test]
fn targets_of_every_length_are_read() {
    for path in lengths() {
        let mut wire = Wire::server();
        wire.ask(request_head(path - 1, path + 40)).answer(OK);
        let whole = http(&wire.out[0]);
        assert_eq!(whole.target.as_ref().unwrap().len(), path.min(2048), "{path}");
        assert_eq!((whole.target_truncated, whole.headers_truncated), (path > 2048, false));
        let mut wire = Wire::server();
        for part in request_head(path - 1, path + 40).as_bytes().chunks(1000) {
            wire.ask(part);
        }
        wire.answer(OK);
        assert_eq!(http(&wire.out[0]).target, whole_target(path));
    }
}

fn whole_target(path: usize) -> Option<compact_str::CompactString> {
    Some(format!("/{}", "p".repeat(path.min(2048) - 1)).into())
}

#[test]
fn bodies_of_every_length_are_counted_under_every_capture_limit() {
    for len in lengths() {
        let body = "GET / HTTP/1.1\r\n\r\n".repeat(len / 18 + 1);
        let body = &body[..len];
        let counted = format!("Content-Length: {len}\r\n\r\n{body}");
        let chunked = format!("Transfer-Encoding: chunked\r\n\r\n{len:x}\r\n{body}\r\n0\r\n\r\n");
        for (up, down) in [(&counted, &chunked), (&chunked, &counted)] {
            for limit in lengths().take_while(|&limit| limit <= 8193) {
                let mut wire = Wire::server();
                for _ in 0..2 {
                    wire.limited(wire.requests(), format!("POST /p HTTP/1.1\r\n{up}").as_bytes(), limit);
                    wire.limited(wire.responses(), format!("HTTP/1.1 200 OK\r\n{down}").as_bytes(), limit);
                }
                // A head that ends a byte or two behind the captured ones hides the length.
                let told = wire.told();
                let expected = format!("POST /p 200 {len}→{len}");
                assert!(told.iter().all(|told| *told == expected || limit < 70), "{len} {limit} {told:?}");
                wire.end(End::Closed);
                assert_eq!(wire.out.len(), 2, "{len} {limit}");
            }
        }
    }
}
