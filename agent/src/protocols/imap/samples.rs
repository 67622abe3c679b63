//! Conversations that show what every protocol keeps.

use crate::protocols::conformance::{Sample, Sender};

const CLIENT: Sender = Sender::Client;
const SERVER: Sender = Sender::Server;

fn sample(name: &'static str, exchanges: usize, lines: &[(Sender, &str)]) -> Sample {
    let pieces = lines.iter().map(|(sender, text)| (*sender, text.as_bytes().to_vec())).collect();
    Sample { name, pieces, exchanges }
}

/// See [`crate::protocols::Entry::samples`].
pub(in crate::protocols) fn samples() -> Vec<Sample> {
    vec![
        sample(
            "one after the other",
            8,
            &[
                (SERVER, "* OK [CAPABILITY IMAP4rev1] mail.shop ready\r\n"),
                (CLIENT, "A1 CAPABILITY\r\n"),
                (SERVER, "* CAPABILITY IMAP4rev1 IDLE\r\nA1 OK done\r\n"),
                (CLIENT, "A2 LOGIN {5}\r\n"),
                (SERVER, "+ go on {9}\r\n"),
                (CLIENT, "alice {6}\r\n"),
                (SERVER, "+ \r\n"),
                (CLIENT, "secret\r\n"),
                (SERVER, "A2 NO [AUTHENTICATIONFAILED] who is that\r\n"),
                (CLIENT, "A3 AUTHENTICATE PLAIN\r\n"),
                (SERVER, "+ \r\n"),
                (CLIENT, "AGFsaWNlAHNlY3JldA==\r\n"),
                (SERVER, "A3 OK hello\r\n"),
                (CLIENT, "A4 APPEND secret {9}\r\n"),
                (SERVER, "A4 NO [TRYCREATE] none such {7}\r\n"),
                (CLIENT, "A5 UID FETCH 1:* (FLAGS BODY[])\r\n"),
                (
                    SERVER,
                    "* 1 FETCH (UID 7 BODY[] {23}\r\nA5 BAD no\r\nsecret {9}\r\n FLAGS (\\Seen))\r\nA5 OK fetched\r\n",
                ),
                (CLIENT, "A6 XYZZY\r\n"),
                (SERVER, "A6 BAD what\r\n"),
                (CLIENT, "A7 IDLE\r\n"),
                (SERVER, "+ idling\r\n* 2 EXISTS\r\n"),
                (SERVER, "* 1 RECENT\r\n"),
                (CLIENT, "DONE\r\n"),
                (SERVER, "A7 OK idled\r\n"),
                (CLIENT, "A8 COPY 1 none\r\n"),
                (SERVER, "A8 NO no\r\n"),
            ],
        ),
        sample(
            "several at a time",
            4,
            &[
                (SERVER, "* PREAUTH welcome\r\n"),
                (CLIENT, "b001 SELECT secret\r\nb002 uid store 1 +FLAGS ({3+}\r\na b)\r\n"),
                (CLIENT, "b003 CLOSE\r\nb004 SEARCH TEXT {6-}\r\nsecret\r\n"),
                (SERVER, "* FLAGS (\\Seen)\r\nb001 NO none such\r\n"),
                (SERVER, "b002 OK stored\r\nb003 BAD nothing to close\r\n* SEARCH 1 2 3\r\n"),
                (SERVER, "b004 OK found\r\n"),
            ],
        ),
    ]
}
