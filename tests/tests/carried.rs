//! What is carried over HTTP: a search engine's own client and requests by hand, from two languages, to a server that answers as the
//! services do. Each request is told once at either end, by the names of what it carries, and nothing of its values.
#![allow(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::{collections::BTreeMap, process::Command};

use serde_json::json;
use tests::{
    agent::{Backend, Watch},
    need, on_both_backends,
    program::{Program, free_port},
    receiver::ReceivedSpan,
    seen::{Seen, assert_attributes},
};

on_both_backends!(requests_are_told_by_the_names_of_what_they_carry);

/// Rounds of each client.
const ROUNDS: usize = 5;

/// What both clients ask in a round: span name at the client, and at the server.
const BY_HAND: [(&str, &str); 10] = [
    ("CLIENT", "SELECT orders"),
    ("CLIENT", "POST"),
    ("CLIENT", "orders.list"),
    ("CLIENT", "orders.fail"),
    ("CLIENT", "AddOrder"),
    ("CLIENT", "SELECT shop"),
    ("CLIENT", "GetItem Orders"),
    ("PRODUCER", "SendMessage orders"),
    ("CLIENT", "KMS.Encrypt"),
    ("CLIENT", "POST"),
];
/// What Elasticsearch's asks besides.
const SEARCHES: [&str; 3] = ["search orders", "index orders", "search none"];

fn count<'a>(spans: impl Iterator<Item = &'a ReceivedSpan>) -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for span in spans {
        let name = if span.name.starts_with("POST") { "POST" } else { &span.name };
        *counts.entry(name.to_owned()).or_default() += 1;
    }
    counts
}

fn expected() -> BTreeMap<String, usize> {
    let mut counts = BTreeMap::new();
    for (_, name) in BY_HAND {
        *counts.entry(name.to_owned()).or_default() += 2 * ROUNDS;
    }
    for name in SEARCHES {
        *counts.entry(name.to_owned()).or_default() += ROUNDS;
    }
    counts
}

fn requests_are_told_by_the_names_of_what_they_carry(backend: Backend) {
    let port = free_port().to_string();
    let mut server = Command::new(need::python());
    let server = Program::start(server.arg(need::source("wire").join("carried_server.py")).arg(&port));
    let _ready = server.says("ready");
    let mut python = Command::new(need::python());
    python.env("PYTHONPATH", need::made("wire/python")).arg("-u").arg(need::source("wire").join("carried_client.py"));
    let mut node = Command::new(need::program("node"));
    node.arg(need::source("wire").join("carried_client.js"));
    let mut clients = [python, node].map(|mut client| Program::start(client.arg(&port)));
    clients.iter().for_each(|client| drop(client.says("ready")));
    let watch = Watch::pids(backend, &[server.pid(), clients[0].pid(), clients[1].pid()]);
    for client in &mut clients {
        client.tell("go");
        let _said = client.says("done");
    }
    let is_server = |span: &&ReceivedSpan| span.kind == "SERVER";
    let seen = watch.stop_when(|state| {
        count(state.spans.iter().filter(is_server)) == expected()
            && count(state.spans.iter().filter(|span| !is_server(span))) == expected()
    });
    for (end, told) in [("server", true), ("clients", false)] {
        let spans = seen.spans.iter().filter(|span| is_server(span) == told);
        assert_eq!(count(spans), expected(), "{end}: {}", seen.summary());
    }
    let of = |kind: &str, name: &str| -> &ReceivedSpan { find(&seen, kind, name) };
    for kind in ["CLIENT", "SERVER"] {
        let search = json!({
            "db.system.name": "elasticsearch", "db.operation.name": "search", "db.collection.name": "orders",
            "http.request.method": "POST", "error.type": null,
        });
        assert_attributes(of(kind, "search orders"), &search);
        assert_attributes(of(kind, "search none"), &json!({"db.response.status_code": "404", "error.type": "404"}));
        let clickhouse = json!({
            "db.system.name": "clickhouse", "db.namespace": "shop", "db.query.text": "SELECT id FROM orders WHERE name = ?",
        });
        assert_attributes(of(kind, "SELECT orders"), &clickhouse);
        let couchbase = json!({"db.system.name": "couchbase", "db.query.text": "SELECT ? FROM `shop` WHERE a = ?"});
        assert_attributes(of(kind, "SELECT shop"), &couchbase);
        let failed = json!({
            "rpc.system.name": "jsonrpc", "rpc.method": "orders.fail", "rpc.status_code": "-32602", "error.type": "-32602",
        });
        assert_attributes(of(kind, "orders.fail"), &failed);
        assert_attributes(of(kind, "orders.list"), &json!({"rpc.system.name": "jsonrpc", "error.type": null}));
        assert_attributes(of(kind, "AddOrder"), &json!({"rpc.system.name": "soap"}));
        assert_attributes(of(kind, "KMS.Encrypt"), &json!({"rpc.system.name": "aws-api", "rpc.method": "KMS/Encrypt"}));
        let item = json!({
            "db.system.name": "aws.dynamodb", "db.collection.name": "Orders", "error.type": "ResourceNotFoundException",
        });
        assert_attributes(of(kind, "GetItem Orders"), &item);
        let graphql = json!({"graphql.operation.name": "Orders", "graphql.operation.type": "query"});
        let named = |span: &&ReceivedSpan| span.kind == kind && span.attributes.contains_key("graphql.operation.name");
        let named: Vec<_> = seen.spans.iter().filter(named).collect();
        assert_eq!(named.len(), 2 * ROUNDS);
        assert_attributes(named[0], &graphql);
    }
    let sent = json!({"messaging.system": "aws_sqs", "messaging.operation.type": "send", "messaging.destination.name": "orders"});
    assert_attributes(of("PRODUCER", "SendMessage orders"), &sent);
    assert_eq!(seen.counted("messaging.client.sent.messages", &[]), 2.0 * ROUNDS as f64);
    // Each is in one histogram.
    let (queries, calls, plain) = (3 * 2 + 3, 4 * 2, 2 * 2);
    assert_eq!(seen.count("db.client.operation.duration"), (queries * ROUNDS) as u64);
    assert_eq!(seen.count("rpc.client.call.duration"), (calls * ROUNDS) as u64);
    assert_eq!(seen.count("rpc.server.call.duration"), (calls * ROUNDS) as u64);
    assert_eq!(seen.count("http.client.request.duration"), (plain * ROUNDS) as u64);
    assert_eq!(seen.count("http.server.request.duration"), (plain * ROUNDS) as u64);
    let all = format!("{:?}", seen.spans).to_lowercase();
    assert!(!all.contains("secret"), "{}", seen.summary());
}

fn find<'a>(seen: &'a Seen, kind: &str, name: &str) -> &'a ReceivedSpan {
    let found = seen.spans.iter().find(|span| span.kind == kind && span.name == name);
    found.unwrap_or_else(|| panic!("no {kind} {name}: {}", seen.summary()))
}
