//! Conversations that show what every protocol keeps.

use crate::protocols::conformance::{Sample, Sender};

/// A record.
pub(super) fn record(kind: u8, id: u16, content: &[u8]) -> Vec<u8> {
    let padding = (8 - content.len() % 8) % 8;
    let mut bytes = vec![1, kind];
    bytes.extend(id.to_be_bytes());
    bytes.extend((content.len() as u16).to_be_bytes());
    bytes.extend([padding as u8, 0]);
    [&bytes[..], content, &vec![0; padding]].concat()
}

/// A request with these parameters and this body.
pub(super) fn request(id: u16, parameters: &[(&str, &str)], body: &[u8]) -> Vec<u8> {
    let length = |text: &str| match u8::try_from(text.len()) {
        Ok(len @ 0..128) => vec![len],
        _ => (text.len() as u32 | 1 << 31).to_be_bytes().to_vec(),
    };
    let pair = |(name, value): &(&str, &str)| [length(name), length(value), (*name).into(), (*value).into()].concat();
    let parameters: Vec<u8> = parameters.iter().flat_map(pair).collect();
    let mut bytes = [record(1, id, &[0, 1, 1, 0, 0, 0, 0, 0]), record(4, id, &parameters), record(4, id, b"")].concat();
    if !body.is_empty() {
        bytes.extend(record(5, id, body));
    }
    bytes.extend(record(5, id, b""));
    bytes
}

/// What ends a request.
pub(super) fn end(id: u16, status: u8) -> Vec<u8> {
    record(3, id, &[0, 0, 0, 0, status, 0, 0, 0])
}

/// See [`crate::protocols::Entry::samples`].
pub(in crate::protocols) fn samples() -> Vec<Sample> {
    const CLIENT: Sender = Sender::Client;
    const SERVER: Sender = Sender::Server;
    let sample = |name, exchanges, pieces: &[(Sender, Vec<u8>)]| Sample { name, pieces: pieces.to_vec(), exchanges };
    let asks = |target| [("REQUEST_METHOD", "GET"), ("REQUEST_URI", target), ("HTTP_HOST", "shop")];
    let body = "x".repeat(3000);
    vec![
        sample(
            "one after the other",
            3,
            &[
                (CLIENT, request(1, &asks("/a?b=1"), b"")),
                (SERVER, record(6, 1, format!("Content-Type: text/html\r\n\r\n{body}").as_bytes())),
                (SERVER, [record(6, 1, body.as_bytes()), record(6, 1, b""), end(1, 0)].concat()),
                (
                    CLIENT,
                    request(
                        1,
                        &[("REQUEST_METHOD", "POST"), ("REQUEST_URI", "/b"), ("CONTENT_LENGTH", "3000")],
                        body.as_bytes(),
                    ),
                ),
                (
                    SERVER,
                    [record(7, 1, b"PHP message"), record(6, 1, b"Status: 404 Not Found\r\nX: y\r\n\r\nno"), end(1, 0)]
                        .concat(),
                ),
                (CLIENT, request(1, &asks("/c"), b"")),
                (SERVER, [record(6, 1, b"Location: /d\r\n\r\n"), end(1, 0)].concat()),
            ],
        ),
        sample(
            "several at a time",
            2,
            &[
                (CLIENT, [request(1, &asks("/one"), b""), request(2, &asks("/two"), b"")].concat()),
                (SERVER, [record(6, 2, b"Status: 500 no\r\n"), record(6, 1, b"Status: 201 yes\r\n\r\nbody")].concat()),
                (SERVER, [end(1, 0), record(6, 2, b"\r\n"), end(2, 0)].concat()),
            ],
        ),
    ]
}
