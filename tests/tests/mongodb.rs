//! MongoDB's protocol: a server that speaks it, drivers of two languages. What drivers count is what is told, at both ends, and nothing of
//! values and of what is stored.
#![allow(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::{collections::BTreeMap, process::Command};

use serde_json::json;
use tests::{
    agent::{Backend, Watch},
    need, on_both_backends,
    program::{Program, free_port},
    receiver::ReceivedSpan,
    seen::assert_attributes,
};

on_both_backends!(drivers_of_two_languages_and_what_they_count);

/// How often each command was sent.
type Counts = BTreeMap<String, u64>;

/// By what was told: commands that a driver counts.
fn told<'a>(spans: impl IntoIterator<Item = &'a ReceivedSpan>) -> Counts {
    let mut counts = Counts::new();
    for span in spans {
        let name = span.attributes["db.operation.name"].as_str().unwrap();
        // What drivers ask of their own accord.
        if !matches!(name, "hello" | "isMaster" | "ismaster" | "endSessions" | "ping") {
            *counts.entry(name.to_owned()).or_default() += 1;
        }
    }
    counts
}

fn drivers_of_two_languages_and_what_they_count(backend: Backend) {
    let port = free_port().to_string();
    let made = need::made("stores/java");
    let mut java = Command::new(need::program("java"));
    let classes = format!("{}:{}/*", made.join("classes").display(), made.join("lib").display());
    let server = Program::start(java.args(["-Xmx128m", "-cp", &classes, "Documents", &port]));
    let _ready = server.says("ready");
    let mut python = Command::new(need::python());
    python.env("PYTHONPATH", need::made("stores/python")).arg("-u");
    python.arg(need::source("stores/python").join("mongodb_client.py"));
    let mut node = Command::new(need::program("node"));
    node.env("NODE_PATH", need::made("stores/node").join("node_modules"));
    node.arg(need::source("stores/node").join("mongodb_client.js"));
    let mut clients = [python, node].map(|mut client| Program::start(client.arg(&port)));
    clients.iter().for_each(|client| drop(client.says("ready")));
    let watch = Watch::pids(backend, &[server.pid(), clients[0].pid(), clients[1].pid()]);
    let mut counted = Counts::new();
    for client in &mut clients {
        client.tell("go");
        let said = client.says("done");
        let counts: Counts = serde_json::from_str(said.trim()).unwrap();
        counts.into_iter().for_each(|(name, count)| *counted.entry(name).or_default() += count);
    }
    assert!(counted["find"] >= 44 && counted["insert"] >= 7, "{counted:?}");
    let kinds = ["SERVER", "CLIENT"];
    // One of the requests the driver hangs up on, perhaps before the server has read it.
    let is_told = |kind: &str, spans: &[&ReceivedSpan]| {
        let mut told = told(spans.iter().copied());
        let is_unread = kind == "SERVER" && told.get("aggregate").copied().unwrap_or(0) + 1 == counted["aggregate"];
        *told.entry("aggregate".to_owned()).or_default() += u64::from(is_unread);
        told == counted
    };
    let are_told = |spans: &[ReceivedSpan]| {
        kinds.iter().all(|kind| is_told(kind, &spans.iter().filter(|span| span.kind == *kind).collect::<Vec<_>>()))
    };
    let seen = watch.stop_when(|state| are_told(&state.spans));
    for kind in kinds {
        let spans = seen.of_kind(kind);
        assert!(is_told(kind, &spans), "{kind}: {counted:?} {}", seen.summary());
        let of = |name: &str, collection: &str| -> Vec<&ReceivedSpan> {
            let is_it = |span: &&&ReceivedSpan| span.name == format!("{name} {collection}");
            spans.iter().filter(is_it).copied().collect()
        };
        let found = of("find", "orders");
        assert_attributes(
            found[0],
            &json!({
                "db.system.name": "mongodb",
                "db.namespace": "shop",
                "db.collection.name": "orders",
                "db.operation.name": "find",
                "db.query.text": "{\"find\": \"orders\", \"filter\": {\"name\": ?, \"total\": {\"$gt\": ?}}, \"limit\": ?}",
                "db.response.returned_rows": 1,
                "error.type": null,
            }),
        );
        let rows = |spans: &[&ReceivedSpan]| -> u64 {
            spans.iter().filter_map(|span| span.attributes.get("db.response.returned_rows")?.as_u64()).sum()
        };
        // One, the first of 25, and one whose answer is longer than what is captured.
        assert_eq!((rows(&found), rows(&of("getMore", "orders"))), (11, 15), "{}", seen.summary());
        // Twenty of forty that were asked for one by one, and seven at a time of the same twenty.
        assert_eq!((rows(&of("find", "people")), rows(&of("getMore", "people"))), (27, 13), "{}", seen.summary());
        let mut failed: Vec<(&str, &str)> = spans
            .iter()
            .filter(|span| span.status == "ERROR")
            .map(|span| {
                let code = span.attributes.get("db.response.status_code").and_then(|code| code.as_str());
                (&*span.name, code.unwrap_or("none"))
            })
            .collect();
        failed.sort_unstable();
        // This server answers what is not to be answered: the driver, which asks for something else meanwhile, hangs up and asks again. The
        // server may be the first to hang up (both were seen), and is at fault then.
        let hung_up = ("aggregate orders", "none");
        let is_at_fault = kind == "CLIENT" || failed.contains(&hung_up);
        let asked_again = is_at_fault.then_some(hung_up);
        let refused = [
            ("insert orders", "11000"),
            ("insert orders", "11000"),
            ("insert people", "11000"),
            ("nosuchcommand shop", "59"),
        ];
        assert_eq!(failed, asked_again.into_iter().chain(refused).collect::<Vec<_>>(), "{}", seen.summary());
        let batch = |collection: &str| -> Vec<u64> {
            of("insert", collection)
                .iter()
                .filter_map(|span| span.attributes.get("db.operation.batch.size")?.as_u64())
                .collect()
        };
        assert_eq!((batch("orders"), batch("people")), (vec![30, 2], vec![20]), "{}", seen.summary());
    }
    assert!(!format!("{:?}", seen.spans).contains("secret"), "{}", seen.summary());
    // A `hello` that waits for news may be open at the end, too.
    let without_answer: Vec<_> = seen
        .spans
        .iter()
        .filter(|span| span.attributes.contains_key("beyla.outcome") && !span.name.contains("aster"))
        .collect();
    let is_hung_up_on =
        |span: &&ReceivedSpan| span.name == "aggregate orders" && span.attributes["beyla.outcome"] == "no_response";
    assert!(without_answer.len() <= 2 && without_answer.iter().all(is_hung_up_on), "{}", seen.summary());
}
