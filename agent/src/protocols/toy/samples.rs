//! Conversations that show what every protocol keeps.

use crate::protocols::conformance::{Sample, Sender};

/// See [`crate::protocols::Entry::samples`].
pub(in crate::protocols) fn samples() -> Vec<Sample> {
    const CLIENT: Sender = Sender::Client;
    const SERVER: Sender = Sender::Server;
    let sample = |name, exchanges, pieces: &[(Sender, &str)]| {
        let pieces = pieces.iter().map(|(sender, text)| (*sender, text.as_bytes().to_vec())).collect();
        Sample { name, pieces, exchanges }
    };
    vec![
        sample(
            "one after the other",
            2,
            &[
                (CLIENT, "TOY GET colour 0\n"),
                (SERVER, "+OK 4\nblue"),
                (CLIENT, "TOY SET shape 5\nround"),
                (SERVER, "-ERR 17 0\n"),
            ],
        ),
        sample(
            "pipelined",
            3,
            &[
                (CLIENT, "TOY GET a 0\nTOY SET b 2\nxyTOY GET c 0\n"),
                (SERVER, "-ERR 4 9\nno such a"),
                (SERVER, "+OK 0\n-ERR 5 2\nno"),
            ],
        ),
    ]
}
