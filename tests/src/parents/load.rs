//! The load: so many connections, each with one request at a time.

use std::{
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use super::Request;
use crate::client::Connection;

/// A thread of it holds a connection and a head.
const STACK: usize = 256 << 10;

/// Makes each request once, over connections to the ports in turn, and waits for the answers. Connections serve for one
/// request only where they are not `kept`.
///
/// # Panics
/// If a request is not answered with 200.
pub fn run(ports: &[u16], concurrency: usize, kept: bool, requests: &[Request]) {
    let next = AtomicUsize::new(0);
    thread::scope(|scope| {
        let workers: Vec<_> = (0..concurrency.min(requests.len()))
            .map(|worker| {
                let (next, port) = (&next, ports[worker % ports.len()]);
                let work = move || {
                    let mut connection = None;
                    while let Some(request) = requests.get(next.fetch_add(1, Ordering::Relaxed)) {
                        let open = connection.take().unwrap_or_else(|| Connection::to(port));
                        connection = ask(open, request, kept);
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

/// Makes a request; gives the connection back where it serves for another.
fn ask(mut connection: Connection, request: &Request, kept: bool) -> Option<Connection> {
    let context = request.context.as_ref().map(super::Context::header);
    let mut headers: Vec<&str> = context.as_deref().into_iter().collect();
    if !kept {
        headers.push("Connection: close");
    }
    let response = connection.request("GET", &request.target, &headers, b"");
    assert_eq!(response.status, 200, "{}: {:?}", request.target, response.headers);
    let closes = response.headers.iter().any(|line| line.to_ascii_lowercase().starts_with("connection: close"));
    (kept && !closes).then_some(connection)
}
