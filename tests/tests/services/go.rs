//! Go: grpc-go, and connect-go with the three protocols that it speaks.

use std::{ffi::OsStr, process::Command, time::Duration};

use serde_json::{Value, json};
use tests::{
    agent::{Backend, Watch},
    need, on_both_backends,
    own_tls::certificate,
    program::{Program, folder},
    receiver::ReceivedSpan,
    seen::{Seen, assert_attributes, assert_lasted},
};

use super::orders;

on_both_backends!(a_grpc_service_and_its_client, a_grpc_service_and_its_client_over_tls, connect_grpc_web_and_grpc,);

fn orders_of_go(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Program {
    Program::start(Command::new(need::made("go").join("orders")).args(arguments))
}

fn a_grpc_service_and_its_client(backend: Backend) {
    let seen = orders::are_seen(backend, &orders_of_go(["server"]), |port| orders_of_go(["client", &port.to_string()]));
    assert!(seen.spans.iter().all(|span| span.resource["telemetry.sdk.language"] == "go"), "{}", seen.summary());
}

fn a_grpc_service_and_its_client_over_tls(backend: Backend) {
    let files = folder();
    let [certificate, key] = certificate(files.path()).map(|path| path.to_str().unwrap().to_owned());
    let service = orders_of_go(["server", "127.0.0.1:0", &certificate, &key]);
    let client = |port: u16| orders_of_go(["client", &port.to_string(), &certificate]);
    // grpc-go calls it by the name that the certificate is checked for.
    let seen = orders::are_seen_called(backend, &service, Some("localhost"), client);
    let unbound = seen.spans.iter().filter(|span| span.attributes.contains_key("beyla.connection.unbound"));
    assert_eq!(unbound.count(), 0, "{}", seen.summary());
}

/// What connect-go's client asks of its service, in this order, and how each call ends.
const CALLS: [(&str, &str); 9] = [
    ("Get", "ok"),
    ("Get", "ok"),
    ("Get", "ok"),
    ("Read", "ok"),
    ("Slow", "ok"),
    ("Missing", "not_found"),
    ("Broken", "unavailable"),
    ("List", "ok"),
    ("ListBroken", "unavailable"),
];

/// Each protocol over each version of HTTP that it can be spoken over, with the word for it.
const PROTOCOLS: [(&str, &str, &str); 5] = [
    ("connect", "1.1", "connectrpc"),
    ("connect", "2", "connectrpc"),
    ("grpc-web", "1.1", "grpc_web"),
    ("grpc-web", "2", "grpc_web"),
    ("grpc", "2", "grpc"),
];

fn connect_grpc_web_and_grpc(backend: Backend) {
    let connect = || Command::new(need::made("go").join("connect"));
    let server = Program::start(connect().arg("server"));
    let port = server.port();
    let mut client = Program::start(connect().arg("client").arg(port.to_string()));
    assert_eq!(client.says("ready"), "");
    let watch = Watch::pids(backend, &[server.pid(), client.pid()]);
    let mut slow = Vec::new();
    for (protocol, version, _) in PROTOCOLS {
        let from = client.stdout.so_far().len();
        client.tell(&format!("{protocol} {version}"));
        assert_eq!(client.says_after(from, "done"), "");
        let said = client.stdout.so_far().split_off(from);
        let said: Vec<Vec<&str>> = said.iter().map(|line| line.split(' ').collect()).collect();
        let called: Vec<_> = said.iter().filter(|words| words[0] == "called").collect();
        assert_eq!(called.iter().map(|words| (words[1], words[2])).collect::<Vec<_>>(), CALLS, "{protocol} {version}");
        slow.push(Duration::from_nanos(called[4][3].parse().unwrap()));
    }
    let seen = watch.finish(2 * PROTOCOLS.len() * CALLS.len());
    for (told, slow) in PROTOCOLS.into_iter().zip(slow) {
        for kind in ["SERVER", "CLIENT"] {
            calls_are_seen(&seen, kind, told, port, slow);
        }
    }
    seen.assert_histograms_agree();
}

fn calls_are_seen(seen: &Seen, kind: &str, protocol: (&str, &str, &str), port: u16, slow: Duration) {
    let (_, version, system) = protocol;
    // The conventions leave the version out of calls' spans: which of a system they are follows from their order.
    let is_it = |span: &&ReceivedSpan| span.attributes.get("rpc.system.name").is_some_and(|name| name == system);
    let is_before = |other: &&(&str, &str, &str)| **other != protocol;
    let before = PROTOCOLS.iter().take_while(is_before).filter(|other| other.2 == system).count() * CALLS.len();
    let mut spans: Vec<_> = seen.of_kind(kind).into_iter().filter(is_it).collect();
    // The calls of a client follow each other; their spans come as soon as their place in a trace is certain.
    spans.sort_by_key(|span| span.start_unix_nano);
    let spans: Vec<_> = spans.into_iter().skip(before).take(CALLS.len()).collect();
    let names: Vec<_> = spans.iter().map(|span| span.name.as_str()).collect();
    let expected: Vec<_> = CALLS.iter().map(|(method, _)| format!("shop.Stock/{method}")).collect();
    assert_eq!(names, expected, "{kind} {system} {version}: {}", seen.summary());
    for (span, (method, code)) in spans.into_iter().zip(CALLS) {
        let streams = method.starts_with("List");
        // Where it stands in the body nobody reads it.
        let told = match (system, code) {
            ("grpc", code) => json!(code.to_uppercase()),
            _ if streams => Value::Null,
            (_, "ok") => Value::Null,
            ("grpc_web", code) => json!(code.to_uppercase()),
            (_, code) => json!(code),
        };
        let fails = !told.is_null() && code != "ok" && (kind == "CLIENT" || code == "unavailable");
        assert_attributes(
            span,
            &json!({
                "rpc.method": span.name,
                "rpc.status_code": told,
                "error.type": if fails { told.clone() } else { Value::Null },
                "server.port": port,
                "network.peer.address": "127.0.0.1",
                "http.request.method": null,
                "beyla.outcome": null,
            }),
        );
        assert_eq!(span.status, if fails { "ERROR" } else { "UNSET" }, "{kind} {system} {method}");
        let (at_least, outside) =
            if method == "Slow" { (Duration::from_millis(60), slow) } else { (Duration::ZERO, Duration::from_secs(2)) };
        assert_lasted(span, at_least, outside);
    }
}
