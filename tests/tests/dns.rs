//! Look-ups of names, over UDP and TCP: by the C library and by a library of its own, from a real server. Each is told once, with its
//! answers or the word of what is wrong.
#![allow(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::{collections::BTreeMap, fs, process::Command};

use serde_json::json;
use tests::{
    agent::{Backend, Setup, Watch},
    need, on_both_backends,
    program::{Program, folder},
    receiver::{ReceivedSpan, Receiver},
    seen::assert_attributes,
};

on_both_backends!(each_lookup_is_told_with_its_answer);

/// Spans by what is looked up.
fn kinds<'a>(spans: impl IntoIterator<Item = &'a ReceivedSpan>, kind: &str) -> BTreeMap<String, u64> {
    let mut counts = BTreeMap::new();
    for span in spans.into_iter().filter(|span| span.kind == kind) {
        let (asked, _name) = span.name.split_once(' ').unwrap();
        *counts.entry(asked.to_owned()).or_default() += 1;
    }
    counts
}

fn each_lookup_is_told_with_its_answer(backend: Backend) {
    let files = folder();
    let of = |name: &str| files.path().join(name);
    fs::write(of("resolv.conf"), "nameserver 127.0.0.53\n").unwrap();
    // One that nobody else runs.
    need::copied(&need::program("dnsmasq"), &of("dnsmasq"));
    // A network of its own, in which the port is free.
    let prepare =
        format!("ip link set lo up && mount --bind {} /etc/resolv.conf && exec \"$@\"", of("resolv.conf").display());
    let mut command = Command::new("unshare");
    command.env("PYTHONPATH", need::made("stores/python")).args(["--net", "--mount", "sh", "-c", &prepare, "sh"]);
    command.arg(need::python()).arg("-u").arg(need::source("wire").join("lookups.py"));
    let mut client = Program::start(command.arg(of("dnsmasq")));
    let _ready = client.says("ready");
    let receiver = Receiver::start();
    let pid = client.pid().to_string();
    let setup = Setup::with(["--pid", &pid, "--exe", of("dnsmasq").to_str().unwrap()]);
    let agent = setup.env("OTEL_EBPF_TRACES_INSTRUMENTATIONS", "*,dns").backend(backend).to(&receiver).start();
    let watch = Watch { agent, receiver };
    client.tell("go");
    let counted = client.says("counted ");
    let mut counted: BTreeMap<String, u64> = counted
        .split_whitespace()
        .filter_map(|pair| pair.split_once('='))
        .map(|(name, count)| (name.to_owned(), count.parse().unwrap()))
        .collect();
    let over_tcp = BTreeMap::from([("A".to_owned(), counted.remove("TCP").unwrap())]);
    let is_all = |spans: &[ReceivedSpan]| kinds(spans, "CLIENT") == counted && kinds(spans, "SERVER") == over_tcp;
    let seen = watch.stop_when(|state| is_all(&state.spans));
    assert_eq!(kinds(&seen.spans, "CLIENT"), counted, "{}", seen.summary());
    assert_eq!(kinds(&seen.spans, "SERVER"), over_tcp, "{}", seen.summary());
    assert_eq!(seen.count("dns.lookup.duration"), counted.values().sum::<u64>());
    let named = |name: &'static str| seen.spans.iter().filter(move |span| span.name == name && span.kind == "CLIENT");
    assert_eq!(named("A shop3.test").count(), 3);
    for span in named("A shop3.test") {
        let expected = json!({
            "dns.question.name": "shop3.test", "dns.answers": ["10.0.0.4"], "error.type": null, "beyla.outcome": null,
        });
        assert_attributes(span, &expected);
    }
    let servers = named("A shop3.test").filter(|span| span.attributes.contains_key("server.address")).count();
    assert!(servers >= 2, "a connected socket tells its server: {}", seen.summary());
    for span in named("MX none.test") {
        assert_eq!(span.status, "ERROR");
        assert_attributes(span, &json!({"error.type": "NXDOMAIN", "dns.answers": null}));
    }
    let points = seen.histogram("dns.lookup.duration");
    let failed: u64 = points.iter().filter(|it| it.attributes.contains_key("error.type")).map(|it| it.count).sum();
    // dnsmasq has no addresses of IPv6 for these names, and says that there is no such name.
    assert_eq!(failed, 5 + counted["AAAA"]);
}
