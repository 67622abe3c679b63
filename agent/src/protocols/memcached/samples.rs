//! Conversations that show what every protocol keeps.

use crate::protocols::conformance::{Sample, Sender};

/// A message of the binary protocol: magic, command, status, opaque, extras, key, value.
pub(super) fn message(first: u8, code: u8, status: u16, opaque: u32, parts: [&[u8]; 3]) -> Vec<u8> {
    let [extras, key, value] = parts;
    let mut bytes = vec![first, code];
    bytes.extend((key.len() as u16).to_be_bytes());
    bytes.extend([extras.len() as u8, 0]);
    bytes.extend(status.to_be_bytes());
    bytes.extend(((extras.len() + key.len() + value.len()) as u32).to_be_bytes());
    bytes.extend(opaque.to_be_bytes());
    bytes.extend([0; 8]);
    [&bytes[..], extras, key, value].concat()
}

/// See [`crate::protocols::Entry::samples`].
pub(in crate::protocols) fn samples() -> Vec<Sample> {
    const CLIENT: Sender = Sender::Client;
    const SERVER: Sender = Sender::Server;
    let sample = |name, exchanges, pieces: &[(Sender, Vec<u8>)]| Sample { name, pieces: pieces.to_vec(), exchanges };
    let text = |text: &str| text.as_bytes().to_vec();
    let value = "v".repeat(3000);
    vec![
        sample(
            "text, one after the other",
            4,
            &[
                (CLIENT, text(&format!("set key 0 60 3000\r\n{value}\r\n"))),
                (SERVER, text("SERVER_ERROR out of memory storing object\r\n")),
                (CLIENT, text("get key other third\r\n")),
                (SERVER, text(&format!("VALUE key 0 3000\r\n{value}\r\nVALUE third 1 2\r\nEN\r\nEND\r\n"))),
                (CLIENT, text("incr number 1\r\n")),
                (SERVER, text("CLIENT_ERROR cannot increment or decrement non-numeric value\r\n")),
                (CLIENT, text("gets key\r\n")),
                (SERVER, text("VALUE key 0 1 77\r\nx\r\nEND\r\n")),
            ],
        ),
        sample(
            "text, a pipeline with meta commands",
            4,
            &[
                (CLIENT, text("mg key v t\r\nms key 2 T60\r\nok\r\ngat 10 a b\r\ntouch a 5\r\n")),
                (SERVER, text("VA 5 t-1\r\nhello\r\nSERVER_ERROR no\r\n")),
                (SERVER, text("VALUE a 0 0\r\n\r\nVALUE b 0 1\r\nx\r\nEND\r\nCLIENT_ERROR no\r\n")),
            ],
        ),
        sample(
            "binary",
            4,
            &[
                (CLIENT, message(0x80, 0x01, 0, 1, [&[0; 8], b"key", value.as_bytes()])),
                (SERVER, message(0x81, 0x01, 0x03, 1, [b"", b"", b"Too large."])),
                (
                    CLIENT,
                    [
                        message(0x80, 0x00, 0, 2, [b"", b"key", b""]),
                        message(0x80, 0x05, 0, 3, [&[1; 20], b"number", b""]),
                        message(0x80, 0x0c, 0, 4, [b"", b"other", b""]),
                    ]
                    .concat(),
                ),
                (SERVER, message(0x81, 0x00, 0, 2, [&[0; 4], b"", value.as_bytes()])),
                (
                    SERVER,
                    [
                        message(0x81, 0x05, 0x06, 3, [b"", b"", b"Non-numeric server-side value for incr or decr"]),
                        message(0x81, 0x0c, 0x82, 4, [b"", b"", b"Out of memory"]),
                    ]
                    .concat(),
                ),
            ],
        ),
    ]
}
