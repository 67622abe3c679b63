//! The load: so many requests at a time.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use bytes::Bytes;
use futures_util::future::join_all;
use http_body_util::{BodyExt, Full};
use hyper_util::{client::legacy::Client, rt::TokioExecutor};

use super::Request;
use crate::client::Connection;

/// How requests are made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Load {
    /// Over connections that are kept, one at a time over each.
    Kept,
    /// Each over a connection of its own.
    Closed,
    /// All over one connection of HTTP/2 in the clear.
    Http2,
    /// Calls of gRPC, over one connection in the clear: the method `r17` of `parents.Bed` for the path `/r17`.
    Grpc,
}

/// A thread of it holds a connection and a head.
const STACK: usize = 256 << 10;

impl Load {
    /// Makes each request once, to the ports in turn, and waits for the answers.
    ///
    /// # Panics
    /// If a request is not answered with 200.
    pub fn run(self, ports: &[u16], concurrency: usize, requests: &[Request]) {
        match self {
            Self::Kept | Self::Closed => self.over_http1(ports, concurrency, requests),
            Self::Http2 | Self::Grpc => self.over_http2(ports[0], concurrency, requests),
        }
    }

    fn over_http1(self, ports: &[u16], concurrency: usize, requests: &[Request]) {
        let next = AtomicUsize::new(0);
        thread::scope(|scope| {
            let workers: Vec<_> = (0..concurrency.min(requests.len()))
                .map(|worker| {
                    let (next, port) = (&next, ports[worker % ports.len()]);
                    let work = move || {
                        let mut connection = None;
                        while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                            let open = connection.take().unwrap_or_else(|| Connection::to(port));
                            connection = ask(open, request, self == Self::Kept);
                        }
                    };
                    thread::Builder::new().stack_size(STACK).spawn_scoped(scope, work).expect("a thread")
                })
                .collect();
            for worker in workers {
                if let Err(panic) = worker.join() {
                    std::panic::resume_unwind(panic);
                }
            }
        });
    }

    fn over_http2(self, port: u16, concurrency: usize, requests: &[Request]) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().expect("a runtime");
        let client = || Client::builder(TokioExecutor::new()).http2_only(true).build_http::<Full<Bytes>>();
        runtime.block_on(async {
            let (client, next) = (client(), AtomicUsize::new(0));
            let worker = async || {
                while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                    let made = if self == Self::Grpc { as_call(port, request) } else { as_get(port, request) };
                    let response = client.request(made).await;
                    let response = response.unwrap_or_else(|error| panic!("{}: {error}", request.target));
                    assert_eq!(response.status(), 200, "{}", request.target);
                    let body = response.into_body().collect().await.expect("a body");
                    let status = body.trailers().and_then(|trailers| trailers.get("grpc-status"));
                    assert!(self != Self::Grpc || status.is_some_and(|status| status == "0"), "{}", request.target);
                }
            };
            join_all((0..concurrency.min(requests.len())).map(|_| worker())).await;
        });
    }
}

fn as_get(port: u16, request: &Request) -> http::Request<Full<Bytes>> {
    let mut made = http::Request::get(format!("http://127.0.0.1:{port}{}", request.target));
    if let Some(context) = &request.context {
        made = made.header("traceparent", context.header());
    }
    made.body(Full::default()).expect("a request")
}

/// The same as a call of gRPC with an empty message: what the query says is metadata.
fn as_call(port: u16, request: &Request) -> http::Request<Full<Bytes>> {
    let (path, query) = request.target.split_once('?').unwrap_or((&request.target, ""));
    let mut made = http::Request::post(format!("http://127.0.0.1:{port}/parents.Bed{path}"));
    made = made.header("content-type", "application/grpc").header("te", "trailers");
    for (name, value) in query.split('&').filter_map(|part| part.split_once('=')) {
        made = made.header(if name == "p" { "pattern" } else { "calls" }, value);
    }
    if let Some(context) = &request.context {
        made = made.header("traceparent", context.header());
    }
    made.body(Full::from(&[0; 5][..])).expect("a request")
}

/// Makes a request; gives the connection back where it serves for another.
fn ask(mut connection: Connection, request: &Request, kept: bool) -> Option<Connection> {
    let context = request.context.as_ref().map(|context| format!("traceparent: {}", context.header()));
    let mut headers: Vec<&str> = context.as_deref().into_iter().collect();
    if !kept {
        headers.push("Connection: close");
    }
    let response = connection.request("GET", &request.target, &headers, b"");
    assert_eq!(response.status, 200, "{}: {:?}", request.target, response.headers);
    let closes = response.headers.iter().any(|line| line.to_ascii_lowercase().starts_with("connection: close"));
    (kept && !closes).then_some(connection)
}
