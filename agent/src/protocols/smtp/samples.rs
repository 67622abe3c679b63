//! Conversations that show what every protocol keeps.

use crate::protocols::conformance::{Sample, Sender};

const CLIENT: Sender = Sender::Client;
const SERVER: Sender = Sender::Server;

fn sample(name: &'static str, exchanges: usize, pieces: &[(Sender, &str)]) -> Sample {
    let pieces = pieces.iter().map(|(sender, text)| (*sender, text.as_bytes().to_vec())).collect();
    Sample { name, pieces, exchanges }
}

/// See [`crate::protocols::Entry::samples`].
pub(in crate::protocols) fn samples() -> Vec<Sample> {
    vec![
        sample(
            "a message",
            6,
            &[
                (SERVER, "220 mail.shop ESMTP ready\r\n"),
                (CLIENT, "EHLO client.shop\r\n"),
                (SERVER, "250-mail.shop\r\n250-PIPELINING\r\n250 AUTH PLAIN\r\n"),
                (CLIENT, "VRFY alice\r\n"),
                (SERVER, "502 not here\r\n"),
                (CLIENT, "MAIL FROM:<a@shop>\r\n"),
                (SERVER, "250 fine\r\n"),
                (CLIENT, "RCPT TO:<nobody@shop>\r\n"),
                (SERVER, "550 who is that\r\n"),
                (CLIENT, "DATA\r\n"),
                (SERVER, "354 go on\r\n"),
                (CLIENT, "Subject: x\r\n\r\nQUIT\r\nRSET\r\n"),
                (CLIENT, "more\r\n.\r\n"),
                (SERVER, "250 queued\r\n"),
                (CLIENT, "NOPE\r\n"),
                (SERVER, "500 no such command\r\n"),
            ],
        ),
        sample(
            "pipelined, and logging in",
            5,
            &[
                (SERVER, "220-mail SMTP\r\n220 hello\r\n"),
                (CLIENT, "HELO x.y\r\n"),
                (SERVER, "250 hi\r\n"),
                (CLIENT, "AUTH LOGIN\r\n"),
                (SERVER, "334 VXNlcm5hbWU6\r\n"),
                (CLIENT, "c2VjcmV0\r\n"),
                (SERVER, "535-5.7.8 no\r\n535 5.7.8 never\r\n"),
                (CLIENT, "MAIL FROM:<a@b>\r\nRCPT TO:<c@d>\r\nRSET\r\n"),
                (SERVER, "250 ok\r\n551 no\r\n"),
                (SERVER, "250 ok\r\n"),
            ],
        ),
    ]
}
