//! Memcached: a real server, clients of two languages in all of its protocols, a benchmark of its own. What the server counts is what
//! is told, at both ends, and nothing of keys and values.
#![allow(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::process::Command;

use serde_json::json;
use tests::{
    agent::{Backend, Watch},
    need, on_both_backends,
    program::Program,
    receiver::ReceivedSpan,
    seen::assert_attributes,
    servers::memcached::{Server, operation, told},
};

on_both_backends!(clients_of_two_languages_and_what_the_server_counts, every_command_of_a_benchmark_is_counted,);

fn clients_of_two_languages_and_what_the_server_counts(backend: Backend) {
    let server = Server::start();
    let port = server.port.to_string();
    let mut python = Command::new(need::python());
    python.env("PYTHONPATH", need::made("stores/python")).arg("-u");
    python.arg(need::source("stores/python").join("memcached_client.py"));
    let mut node = Command::new(need::program("node"));
    node.env("NODE_PATH", need::made("stores/node").join("node_modules"));
    node.arg(need::source("stores/node").join("memcached_client.js"));
    let mut clients = [python, node].map(|mut client| Program::start(client.arg(&port)));
    clients.iter().for_each(|client| drop(client.says("ready")));
    let before = server.counts();
    let watch = Watch::pids(backend, &[server.program.pid(), clients[0].pid(), clients[1].pid()]);
    for client in &mut clients {
        client.tell("go");
        let _said = client.says("done");
    }
    let counted = server.counts() - before;
    // The last of each, and the question.
    let is_last = |span: &ReceivedSpan| span.attributes.get("db.response.status_code") == Some(&json!("ERROR"));
    let are_told = |spans: &[ReceivedSpan]| {
        let of = |kind: &str| told(spans.iter().filter(|span| span.kind == kind));
        of("SERVER") == counted && of("CLIENT") == counted && spans.iter().filter(|span| is_last(span)).count() == 2
    };
    let seen = watch.stop_when(|state| are_told(&state.spans));
    for kind in ["SERVER", "CLIENT"] {
        let spans = seen.of_kind(kind);
        assert_eq!(told(spans.iter().copied()), counted, "{kind}: {}", seen.summary());
        // Each connection's first, which is older than the agent, is told, though not what became of it.
        let unseen: Vec<_> = spans.iter().filter(|span| span.attributes.contains_key("beyla.outcome")).collect();
        assert!(unseen.len() <= 4, "{unseen:#?}");
        let many =
            spans.iter().find(|span| span.attributes.get("db.operation.batch.size") == Some(&json!(30))).unwrap();
        assert_eq!(many.name, "get");
        assert_attributes(
            many,
            &json!({
                "db.system.name": "memcached",
                "db.query.text": format!("get{} ...", " ?".repeat(16)),
                "db.response.returned_rows": 20,
                "error.type": null,
            }),
        );
        let failures: Vec<_> = spans.iter().filter(|span| span.status == "ERROR").collect();
        let mut codes: Vec<_> =
            failures.iter().map(|span| (operation(span), span.attributes["error.type"].as_str().unwrap())).collect();
        codes.sort_unstable();
        assert_eq!(codes, [("", "ERROR"), ("incr", "0x0006"), ("incr", "CLIENT_ERROR")]);
        let rows = |name: &str| -> u64 {
            let rows = |span: &&ReceivedSpan| span.attributes.get("db.response.returned_rows")?.as_u64();
            spans.iter().copied().filter(|span| operation(span) == name).filter_map(|span| rows(&span)).sum()
        };
        assert_eq!((rows("getkq"), rows("mg")), (15, 3), "{}", seen.summary());
        let quiet = spans.iter().filter(|span| operation(span) == "ms").count();
        assert_eq!(quiet, 13);
    }
    let all = format!("{:?}", seen.spans);
    assert!(!all.contains("secret") && !all.contains("node-"), "{}", seen.summary());
}

fn every_command_of_a_benchmark_is_counted(backend: Backend) {
    let server = Server::start();
    let before = server.counts();
    // Children of who is watched are so from their first byte on.
    let memcslap = need::program("memcslap");
    let servers = format!("--servers=127.0.0.1:{}", server.port);
    let script = "while read -r options; do \"$0\" $options >/dev/null || exit 1; echo done $options; done";
    let mut shell = Command::new("sh");
    let mut client = Program::start(shell.args(["-c", script]).arg(memcslap));
    let watch = Watch::pids(backend, &[server.program.pid(), client.pid()]);
    // Of values that come back for many keys at once there are 260 kB.
    for test in ["--test=get", "--test=set", "--test=mget", "--test=get --binary", "--test=mget --binary"] {
        let options = format!("{servers} {test} --execute-number=100 --initial-load=100 --concurrency=2");
        client.tell(&options);
        let _said = client.says(&format!("done {options}"));
    }
    let counted = server.counts() - before;
    assert!(counted.get > 300 && counted.set > 300, "{counted:?}");
    let is_counted = |spans: &[ReceivedSpan]| {
        ["SERVER", "CLIENT"].iter().all(|kind| told(spans.iter().filter(|span| span.kind == *kind)) == counted)
    };
    let seen = watch.stop_when(|state| is_counted(&state.spans));
    for kind in ["SERVER", "CLIENT"] {
        assert_eq!(told(seen.of_kind(kind)), counted, "{kind}");
    }
    // The last that a client asks is not waited for; and what comes back for many keys at once is more than is captured of a
    // connection as long as it is not known what it carries.
    let is_left = |span: &&ReceivedSpan| {
        span.attributes.contains_key("beyla.outcome") && !["get", "getkq", "noop", "quit"].contains(&operation(span))
    };
    assert_eq!(seen.spans.iter().filter(is_left).count(), 0, "{}", seen.summary());
    // Those that were not waited for are counted, too, as not answered.
    let is_seen =
        |span: &&ReceivedSpan| span.attributes.get("beyla.outcome").is_none_or(|outcome| outcome == "no_response");
    let over = seen.of_kind("CLIENT").into_iter().filter(is_seen).count();
    assert_eq!(seen.count("db.client.operation.duration"), over as u64);
}
