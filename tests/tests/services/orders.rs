//! What a client of the gRPC service `shop.Orders` must be seen to ask, and the service to answer, whoever made them.
//!
//! The clients in `tests/programs/` all make the calls of [`EXPECTED`], and say of each how it ended for them and how long
//! it took.

use std::{collections::BTreeMap, fs, time::Duration};

use serde_json::json;
use tests::{
    agent::{Backend, Watch},
    program::Program,
    receiver::ReceivedSpan,
    seen::{Seen, assert_attributes, assert_lasted},
};

/// How a call ends, and what of that can be seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// With this status, which is an error to the client.
    Status { code: &'static str, servers: bool },
    /// By the client's deadline, of which the service may tell, or the client by a reset: who comes first is a matter of
    /// luck.
    Deadline,
    /// By the client's reset.
    Cancelled,
}

const OK: End = End::Status { code: "OK", servers: false };

/// Calls of a method.
struct Calls {
    method: &'static str,
    count: usize,
    /// What the client says.
    said: &'static str,
    end: End,
    /// Less than it sleeps on purpose, by what a busy machine may take to begin with it.
    at_least_ms: u64,
    /// The first message comes long before the last.
    is_told_early: bool,
}

const fn calls(method: &'static str, count: usize, said: &'static str, end: End) -> Calls {
    Calls { method, count, said, end, at_least_ms: 0, is_told_early: false }
}

const EXPECTED: [Calls; 10] = [
    calls("Get", 50, "OK", OK),
    // The service sleeps for as long, between the last byte it reads and the first it writes.
    Calls { at_least_ms: 60, ..calls("Sleep", 1, "OK", OK) },
    calls("Missing", 1, "NOT_FOUND", End::Status { code: "NOT_FOUND", servers: false }),
    calls("Nowhere", 1, "UNIMPLEMENTED", End::Status { code: "UNIMPLEMENTED", servers: true }),
    Calls { at_least_ms: 80, is_told_early: true, ..calls("List", 1, "OK", OK) },
    calls("Broken", 1, "DATA_LOSS", End::Status { code: "DATA_LOSS", servers: true }),
    Calls { at_least_ms: 40, ..calls("Upload", 1, "OK", OK) },
    Calls { at_least_ms: 40, is_told_early: true, ..calls("Chat", 1, "OK", OK) },
    Calls { at_least_ms: 75, ..calls("Hang", 1, "DEADLINE_EXCEEDED", End::Deadline) },
    calls("Watch", 1, "CANCELLED", End::Cancelled),
];

/// Calls that a client makes.
pub(super) fn count() -> usize {
    EXPECTED.iter().map(|calls| calls.count).sum()
}

/// Starts a service, then its client with the service's port, watches both, and lets the client make its calls.
pub(super) fn are_seen(backend: Backend, service: &Program, client: impl FnOnce(u16) -> Program) -> Seen {
    are_seen_called(backend, service, None, client)
}

/// The same where the client calls the service by this name, without a port.
pub(super) fn are_seen_called(
    backend: Backend,
    service: &Program,
    called: Option<&str>,
    client: impl FnOnce(u16) -> Program,
) -> Seen {
    let port = service.port();
    let mut client = client(port);
    let watch = Watch::pids(backend, &[service.pid(), client.pid()]);
    client.tell("go");
    assert_eq!(client.says("done"), "");
    let said = said(&client);
    let client_ports = client_ports(client.pid(), port);
    let seen = watch.finish(2 * count());

    for calls in &EXPECTED {
        let said = said.get(calls.method).map(Vec::as_slice).unwrap_or_default();
        assert_eq!(said.len(), calls.count, "{}: {said:?}", calls.method);
        assert!(said.iter().all(|(status, _)| status == calls.said), "{}: {said:?}", calls.method);
        let longest = said.iter().map(|(_, took)| *took).max().expect("it was called");
        for kind in ["SERVER", "CLIENT"] {
            let name = format!("shop.Orders/{}", calls.method);
            let spans: Vec<_> = seen.of_kind(kind).into_iter().filter(|span| span.name == name).collect();
            assert_eq!(spans.len(), calls.count, "{kind} {name}: {}", seen.summary());
            for span in spans {
                is_as_expected(span, calls, (called, port), &client_ports);
                // The service reads of a reset when it gets round to it.
                let is_reset = kind == "SERVER" && matches!(calls.end, End::Deadline | End::Cancelled);
                let outside = if is_reset { longest + Duration::from_secs(2) } else { longest };
                assert_lasted(span, Duration::from_millis(calls.at_least_ms), outside);
            }
        }
    }
    seen.assert_histograms_agree();
    seen
}

fn is_as_expected(span: &ReceivedSpan, calls: &Calls, (called, port): (Option<&str>, u16), client_ports: &[u16]) {
    // A service's own socket does not say what it is called by: of a name without a port there is none.
    let named_port = (span.kind == "CLIENT" || called.is_none()).then_some(port);
    assert_attributes(
        span,
        &json!({
            "rpc.system.name": "grpc",
            "rpc.method": format!("shop.Orders/{}", calls.method),
            "server.address": called.unwrap_or("127.0.0.1"),
            "server.port": named_port,
            "network.peer.address": "127.0.0.1",
            "network.protocol.name": null,
            "network.protocol.version": null,
            "client.address": null,
            "url.scheme": null,
            "http.request.method": null,
            "beyla.name.unknown": null,
        }),
    );
    let peer = span.attributes["network.peer.port"].as_u64().expect("a port");
    let is_server = span.kind == "SERVER";
    let peers = if is_server { client_ports } else { &[port] };
    assert!(peers.iter().any(|port| u64::from(*port) == peer), "peer {peer}, not of {peers:?}");

    // A server is not to blame for what its client takes back. Where a deadline has passed it may be the first to give up, by its own clock.
    let gives_up = matches!(calls.end, End::Deadline) && span.attributes.contains_key("error.type");
    let is_failed = !is_server || gives_up;
    let error = is_failed.then_some("cancelled");
    let cancelled = json!({ "rpc.status_code": null, "error.type": error, "beyla.outcome": "cancelled" });
    let ended = |code: &str, is_error: bool| {
        let error = is_error.then_some(code);
        json!({ "rpc.status_code": code, "error.type": error, "beyla.outcome": null })
    };
    let (attributes, is_error) = match calls.end {
        End::Status { code, servers } => {
            let is_error = if is_server { servers } else { code != "OK" };
            (ended(code, is_error), is_error)
        }
        End::Deadline if span.attributes.contains_key("rpc.status_code") => (ended("DEADLINE_EXCEEDED", true), true),
        End::Deadline | End::Cancelled => (cancelled, is_failed),
    };
    assert_attributes(span, &attributes);
    assert_eq!(span.status, if is_error { "ERROR" } else { "UNSET" }, "{} {}", span.kind, span.name);
    if calls.is_told_early {
        let first = span.attributes["beyla.time_to_first_byte"].as_f64().expect("seconds");
        assert!(first * 2e9 < span.duration_ns() as f64, "{} {}: first byte after {first} s", span.kind, span.name);
    }
}

/// By method: the status that the client saw, and how long the call took it.
fn said(client: &Program) -> BTreeMap<String, Vec<(String, Duration)>> {
    let mut said: BTreeMap<String, Vec<_>> = BTreeMap::new();
    for line in client.stdout.so_far() {
        if let ["called", method, status, nanoseconds] = line.split(' ').collect::<Vec<_>>()[..] {
            let took = Duration::from_nanos(nanoseconds.parse().expect("nanoseconds"));
            said.entry(method.to_owned()).or_default().push((status.to_owned(), took));
        }
    }
    said
}

/// Ports of this process's namespace that are connected to `port`.
fn client_ports(pid: u32, port: u16) -> Vec<u16> {
    let ends = |name: &str| fs::read_to_string(format!("/proc/{pid}/net/{name}")).unwrap_or_default();
    let tables = ends("tcp") + &ends("tcp6");
    let port_of = |end: &str| u16::from_str_radix(end.rsplit(':').next()?, 16).ok();
    let connections = tables.lines().filter_map(|line| {
        let mut words = line.split_whitespace().skip(1);
        Some((port_of(words.next()?)?, port_of(words.next()?)?))
    });
    connections.filter(|(_, remote)| *remote == port).map(|(local, _)| local).collect()
}
