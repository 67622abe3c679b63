//! Conversations that show what every protocol keeps.

use crate::protocols::conformance::{Sample, Sender};

/// A command as an array of strings.
pub(super) fn command(words: &[&str]) -> Vec<u8> {
    let mut bytes = format!("*{}\r\n", words.len()).into_bytes();
    for word in words {
        bytes.extend(format!("${}\r\n{word}\r\n", word.len()).into_bytes());
    }
    bytes
}

/// See [`crate::protocols::Entry::samples`].
pub(in crate::protocols) fn samples() -> Vec<Sample> {
    const CLIENT: Sender = Sender::Client;
    const SERVER: Sender = Sender::Server;
    let sample = |name, exchanges, pieces: &[(Sender, Vec<u8>)]| Sample { name, pieces: pieces.to_vec(), exchanges };
    let value = "v".repeat(3000);
    let large = format!("${}\r\n{value}\r\n", value.len());
    vec![
        sample(
            "one after the other",
            4,
            &[
                (CLIENT, command(&["HELLO", "3"])),
                (SERVER, b"%2\r\n$6\r\nserver\r\n$5\r\nredis\r\n+version\r\n:7\r\n".to_vec()),
                (CLIENT, command(&["SET", "key", &value])),
                (SERVER, b"-READONLY You can't write against a read only replica.\r\n".to_vec()),
                (CLIENT, command(&["GET", "key"])),
                (SERVER, b"-WRONGTYPE Operation against a key holding the wrong kind of value\r\n".to_vec()),
                (CLIENT, command(&["FCALL", "f", "0"])),
                (SERVER, b"!14\r\nBLOB no such f\r\n".to_vec()),
            ],
        ),
        sample(
            "a pipeline",
            5,
            &[
                (
                    CLIENT,
                    [
                        command(&["MULTI"]),
                        command(&["INCR", "n"]),
                        command(&["LRANGE", "l", "0", "-1"]),
                        command(&["EXEC"]),
                        command(&["MGET", "a", "b", "c"]),
                    ]
                    .concat(),
                ),
                (SERVER, b"-ONE no\r\n-TWO no\r\n".to_vec()),
                (SERVER, format!("-THREE no\r\n*2\r\n:1\r\n*3\r\n{large}$-1\r\n*-1\r\n").into_bytes()),
                (SERVER, b"-FIVE no\r\n".to_vec()),
            ],
        ),
    ]
}
