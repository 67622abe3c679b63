//! Conversations that show what every protocol keeps.

use crate::protocols::conformance::{Sample, Sender};

/// A command with its payload: `PUB subject 5` and `hello`.
pub(super) fn with(line: &str, payload: &str) -> String {
    format!("{line} {}\r\n{payload}\r\n", payload.len())
}

/// The same with headers.
pub(super) fn with_headers(line: &str, headers: &str, payload: &str) -> String {
    let headers = format!("NATS/1.0{headers}\r\n\r\n");
    format!("{line} {} {}\r\n{headers}{payload}\r\n", headers.len(), headers.len() + payload.len())
}

pub(super) const INFO: &str =
    "INFO {\"server_id\":\"N\",\"version\":\"2.9.10\",\"headers\":true,\"max_payload\":1048576}\r\n";
pub(super) const CONNECT: &str = "CONNECT {\"verbose\":false,\"user\":\"u\",\"pass\":\"secret\"}\r\nPING\r\n";

/// See [`crate::protocols::Entry::samples`].
pub(in crate::protocols) fn samples() -> Vec<Sample> {
    const CLIENT: Sender = Sender::Client;
    const SERVER: Sender = Sender::Server;
    let sample = |name, exchanges, pieces: &[(Sender, String)]| {
        let pieces = pieces.iter().map(|(sender, text)| (*sender, text.as_bytes().to_vec())).collect();
        Sample { name, pieces, exchanges }
    };
    let large = "v".repeat(3000);
    let told =
        |code: u16| format!("{{\"error\":{{\"code\":{code},\"description\":\"no\"}},\"stream\":\"\",\"seq\":0}}");
    vec![
        sample(
            "answers",
            4,
            &[
                (SERVER, INFO.to_owned()),
                (CLIENT, CONNECT.to_owned()),
                (SERVER, "PONG\r\n".to_owned()),
                (CLIENT, "SUB _INBOX.a.* 1\r\n".to_owned() + &with("PUB time.now _INBOX.a.1", "secret")),
                (SERVER, with("MSG _INBOX.a.1 1", "secret")),
                (CLIENT, with("PUB orders.paid _INBOX.a.2", &large)),
                (SERVER, with("MSG _INBOX.a.2 1", &told(503))),
                (CLIENT, with_headers("HPUB nobody _INBOX.a.3", "\r\nx: y", "secret")),
                (CLIENT, with("PUB somebody _INBOX.a.4", "")),
                (SERVER, with("MSG _INBOX.a.4 1", &told(400)) + &with_headers("HMSG _INBOX.a.3 1", " 404", "")),
            ],
        ),
        sample(
            "acknowledgements",
            3,
            &[
                (SERVER, INFO.to_owned()),
                (CLIENT, CONNECT.to_owned() + "SUB letters pack 7\r\n"),
                (SERVER, "PONG\r\nPING\r\n".to_owned()),
                (CLIENT, "PONG\r\n".to_owned() + &with("PUB $JS.API.CONSUMER.MSG.NEXT.S.C _INBOX.b.1", "secret")),
                (SERVER, with("MSG bills 7 $JS.ACK.S.C.1.1.1.1.0", &large)),
                (SERVER, with("MSG letters 7 $JS.ACK.S.C.1.2.2.2.0", "secret")),
                (CLIENT, with("PUB $JS.ACK.S.C.1.2.2.2.0", "-NAK")),
                (SERVER, with_headers("HMSG parcels 7 $JS.ACK.S.C.1.3.3.3.0", "\r\nx: y", "secret")),
                (CLIENT, with("PUB $JS.ACK.S.C.1.1.1.1.0", "+WPI") + &with("PUB $JS.ACK.S.C.1.1.1.1.0", "+ACK")),
                (CLIENT, with("PUB $JS.ACK.S.C.1.3.3.3.0", "+TERM")),
            ],
        ),
    ]
}
