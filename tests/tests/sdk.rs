//! Services with an SDK of OpenTelemetry beside services without: what the SDK describes is not told a second time, and nothing
//! that it does not describe is left out.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::{
    collections::{BTreeMap, BTreeSet},
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};
use tests::{
    agent::{self, Backend, Setup, Watch},
    client::Connection,
    need, on_both_backends,
    program::Program,
    receiver::{ReceivedSpan, Receiver},
};

on_both_backends!(
    a_chain_of_which_every_second_has_an_sdk_is_one_tree,
    what_an_sdk_does_not_describe_is_told,
    what_is_to_be_ignored_or_excluded_is,
);

/// An SDK waits for so long before it exports, in ms.
const EXPORT_MS: &str = "1000";

/// A program in Python that is instrumented automatically.
fn instrumented(name: &str, source: &str, next: Option<u16>, exports_to: &Receiver) -> Program {
    let made = need::made("sdk");
    let mut command = Command::new(need::python());
    command.arg(made.join("bin/opentelemetry-instrument")).arg(need::python()).arg("-u");
    command.arg(need::source("sdk").join(source)).args(next.map(|port| port.to_string()));
    command.env("PYTHONPATH", &made).env("OTEL_SERVICE_NAME", name);
    command.env("OTEL_TRACES_EXPORTER", "otlp").env("OTEL_METRICS_EXPORTER", "none").env("OTEL_LOGS_EXPORTER", "none");
    command.env("OTEL_EXPORTER_OTLP_PROTOCOL", "http/protobuf").env("OTEL_BSP_SCHEDULE_DELAY", EXPORT_MS);
    command.env("OTEL_EXPORTER_OTLP_ENDPOINT", exports_to.http_endpoint());
    Program::start(&mut command)
}

/// One without an SDK.
fn plain(next: Option<u16>) -> Program {
    let mut command = Command::new(need::python());
    command.arg("-u").arg(need::source("sdk").join("relay.py")).args(next.map(|port| port.to_string()));
    Program::start(&mut command)
}

fn watch(backend: Backend, programs: &[&Program], change: impl FnOnce(Setup) -> Setup) -> Watch {
    let receiver = Receiver::start();
    let pids: Vec<u32> = programs.iter().map(|program| program.pid()).collect();
    let agent = change(Setup::pids(&pids).backend(backend).to(&receiver)).start();
    Watch { agent, receiver }
}

/// Who told of a span, its service, its kind.
type Told<'a> = (&'a str, &'a str, &'a str);

/// The spans of a trace, each by what it is, with its parent.
fn tree<'a>(spans: &'a [(&'a str, &'a ReceivedSpan)]) -> BTreeMap<Told<'a>, BTreeSet<Option<Told<'a>>>> {
    let told = |(by, span): &(&'a str, &'a ReceivedSpan)| (*by, span.service(), span.kind);
    let mut tree = BTreeMap::<_, BTreeSet<_>>::new();
    for each in spans {
        let parent = spans.iter().find(|(_, span)| span.span_id == each.1.parent_span_id);
        assert!(parent.is_some() || each.1.parent_span_id.is_empty(), "an orphan: {:?} in {spans:#?}", told(each));
        tree.entry(told(each)).or_default().insert(parent.map(told));
    }
    tree
}

fn a_chain_of_which_every_second_has_an_sdk_is_one_tree(backend: Backend) {
    const REQUESTS: usize = 5;
    let collector = Receiver::start();
    let store = plain(None);
    let back = instrumented("back", "shop.py", Some(store.port()), &collector);
    let relay = plain(Some(back.port()));
    let front = instrumented("front", "shop.py", Some(relay.port()), &collector);
    let watch = watch(backend, &[&front, &relay, &back, &store], |setup| setup);
    for request in 0..REQUESTS {
        // Flask's server ends each connection.
        let answer = Connection::to(front.port()).request("GET", &format!("/{request}"), &["Connection: close"], b"");
        assert_eq!(answer.status, 200);
    }
    // Of each request: front is asked, asks twice; back is asked twice, asks four times.
    collector.wait_for(|state| state.spans.len() >= 9 * REQUESTS, Duration::from_secs(20)).unwrap();
    let seen = watch.stop_when(|state| state.spans.len() >= 8 * REQUESTS);
    let described = collector.spans();
    let all: Vec<(&str, &ReceivedSpan)> =
        described.iter().map(|span| ("sdk", span)).chain(seen.spans.iter().map(|span| ("agent", span))).collect();
    let mut traces = BTreeMap::<&str, Vec<(&str, &ReceivedSpan)>>::new();
    for (by, span) in all {
        traces.entry(&span.trace_id).or_default().push((by, span));
    }
    assert_eq!(traces.len(), REQUESTS, "{traces:#?}");
    let (asked, asks) = (("sdk", "front", "SERVER"), ("sdk", "front", "CLIENT"));
    let (relayed, relays) = (("agent", "relay", "SERVER"), ("agent", "relay", "CLIENT"));
    let (served, fetches) = (("sdk", "back", "SERVER"), ("sdk", "back", "CLIENT"));
    let stored = ("agent", "relay", "SERVER");
    for spans in traces.values() {
        assert_eq!(spans.len(), 17, "{spans:#?}");
        let tree = tree(spans);
        assert_eq!(tree[&asked], BTreeSet::from([None]));
        assert_eq!(tree[&asks], BTreeSet::from([Some(asked)]));
        // That of the relay and that of the store, which is the same program.
        assert_eq!((relayed, &tree[&relayed]), (stored, &BTreeSet::from([Some(asks), Some(fetches)])));
        assert_eq!(tree[&relays], BTreeSet::from([Some(relayed)]));
        assert_eq!(tree[&served], BTreeSet::from([Some(asks)]), "what came is handed on as it came");
        assert_eq!(tree[&fetches], BTreeSet::from([Some(served)]));
    }
    // What the SDK does not count, the agent does; its exports too.
    assert!(seen.count("http.client.request.duration") > 8 * REQUESTS as u64);
    assert_eq!(seen.count("http.server.request.duration"), 9 * REQUESTS as u64);
}

fn what_an_sdk_does_not_describe_is_told(backend: Backend) {
    let collector = Receiver::start();
    let store = plain(None);
    // `http.server` and `http.client` are instrumented by nobody.
    let relay = instrumented("relay", "relay.py", Some(store.port()), &collector);
    let watch = watch(backend, &[&relay], |setup| setup);
    let mut client = Connection::to(relay.port());
    let context = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert_eq!(client.request("GET", "/x", &[context], b"").status, 200);
    let seen = watch.stop_when(|state| state.spans.iter().any(|span| span.kind == "CLIENT"));
    let mut kinds: Vec<&str> = seen.spans.iter().map(|span| span.kind).collect();
    kinds.sort_unstable();
    assert_eq!(kinds, ["CLIENT", "SERVER"], "{}", seen.summary());
    assert!(seen.spans.iter().all(|span| span.trace_id == "4bf92f3577b34da6a3ce929d0e0e4736"));
}

fn what_is_to_be_ignored_or_excluded_is(backend: Backend) {
    for (sdk, expected) in [("ignore", 2), ("exclude", 0)] {
        let collector = Receiver::start();
        let store = plain(None);
        let shop = instrumented("shop", "shop.py", Some(store.port()), &collector);
        let watch = watch(backend, &[&shop, &store], |setup| setup.env("OTEL_EBPF_DISCOVERY_SDK", sdk));
        assert_eq!(Connection::to(shop.port()).get("/x").status, 200);
        collector.wait_for(|state| state.spans.len() >= 3, Duration::from_secs(20)).unwrap();
        let seen = watch.stop_when(|state| state.spans.iter().filter(|span| span.kind == "SERVER").count() >= 2);
        let of_shop = seen.spans.iter().filter(|span| {
            span.service() == "shop"
                && span
                    .attributes
                    .get("url.full")
                    .and_then(Value::as_str)
                    .is_none_or(|url| !url.ends_with("/v1/traces"))
        });
        assert_eq!(of_shop.filter(|span| span.kind == "CLIENT").count(), expected, "{sdk}");
    }
}

#[test]
fn who_else_instruments_a_process_is_named() {
    let collector = Receiver::start();
    let shop = instrumented("shop", "shop.py", None, &collector);
    let port = shop.port();
    let output = agent::command(["survey", "--json", "--port", &port.to_string()]).output().unwrap();
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(rows[0]["instrumented_by"], json!(["opentelemetry"]), "{rows:#}");
}
