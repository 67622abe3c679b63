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
            "one after the other",
            4,
            &[
                (CLIENT, "GET /first HTTP/1.1\r\nHost: shop\r\nUser-Agent: curl/8\r\n\r\n"),
                (SERVER, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello"),
                (CLIENT, "POST /second?a=b HTTP/1.1\r\nHost: shop\r\nContent-Length: 4\r\n\r\n"),
                (CLIENT, "body"),
                (SERVER, "HTTP/1.1 201 Created\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n"),
                (SERVER, "6\r\n again\r\n0\r\n\r\n"),
                (CLIENT, "HEAD /third HTTP/1.1\r\nHost: shop\r\n\r\n"),
                (SERVER, "HTTP/1.1 404 Not Found\r\nContent-Length: 900\r\n\r\n"),
                (CLIENT, "PUT /fourth HTTP/1.1\r\nHost: shop\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n"),
                (SERVER, "HTTP/1.1 100 Continue\r\n\r\n"),
                (CLIENT, "abc"),
                (SERVER, "HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n"),
            ],
        ),
        sample(
            "pipelined",
            3,
            &[
                (CLIENT, "GET /a HTTP/1.1\r\nHost: h\r\n\r\nGET /b HTTP/1.1\r\nHost: h\r\n\r\n"),
                (CLIENT, "DELETE /c HTTP/1.1\r\nHost: h\r\n\r\n"),
                (SERVER, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\n\r\naHTTP/1.1 404 No\r\nContent-Length: 1\r\n\r\nb"),
                (SERVER, "HTTP/1.1 204 No Content\r\n\r\n"),
            ],
        ),
        sample(
            "calls of Connect and of gRPC-Web",
            2,
            &[
                (CLIENT, "POST /p.S/Do HTTP/1.1\r\nConnect-Protocol-Version: 1\r\nContent-Length: 2\r\n\r\n{}"),
                (SERVER, "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 2\r\n\r\n{}"),
                (
                    CLIENT,
                    "POST /p.S/More HTTP/1.1\r\nContent-Type: application/grpc-web\r\nContent-Length: 5\r\n\r\n\0\0\0\0\0",
                ),
                (SERVER, "HTTP/1.1 200 OK\r\nGrpc-Status: 5\r\nContent-Length: 0\r\n\r\n"),
            ],
        ),
    ]
}
