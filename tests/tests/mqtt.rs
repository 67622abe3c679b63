//! MQTT: Mosquitto, a client of version 5 and one of 3.1.1. Messages as the clients count them are messages as they are told, at both
//! ends, in each quality of service, and nothing of payloads and of how a client connects.
#![allow(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::process::Command;

use serde_json::json;
use tests::{
    agent::{Backend, Setup, Watch},
    need, on_both_backends,
    program::Program,
    queues::{self, messages, number, told},
    receiver::{ReceivedSpan, Receiver},
    seen::assert_attributes,
    servers::mosquitto::Broker,
    wait::poll,
};

on_both_backends!(clients_of_two_versions_and_what_they_count, messages_over_tls_at_both_ends);

/// The context that a message carries.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn clients_of_two_versions_and_what_they_count(backend: Backend) {
    let broker = Broker::start(Some("pattern readwrite python/#\npattern readwrite node/#\n"), false);
    let port = broker.port.to_string();
    let mut programs =
        [queues::python("mqtt_client.py", &[&port, "python"]), queues::node("mqtt_client.js", &[&port, "node"])];
    programs.iter().for_each(|client| drop(client.says("ready")));
    let pids = [broker.program.pid(), programs[0].pid(), programs[1].pid()];
    let receiver = Receiver::start();
    let features = "application,application_service_graph";
    let setup = Setup::pids(&pids).backend(backend).env("OTEL_EBPF_METRICS_FEATURES", features);
    let agent = setup.to(&receiver).start();
    let watch = Watch { agent, receiver };
    let counts = programs.each_mut().map(|client| {
        client.tell("go");
        let counts = (number(client, "sent"), number(client, "received"));
        let _done = client.says("done");
        counts
    });
    assert_eq!(counts, [(31, 31), (40, 40)]);
    let to_broker = ["server=\"broker\"", "connection_type=\"messaging_system\""];
    poll("edges to the broker", || {
        (watch.agent.metric("traces_service_graph_request_total", &to_broker) >= 2.0).then_some(())
    });
    let seen = watch.stop_when(|state| {
        let of = |name: &str| state.spans.iter().filter(|span| span.name == name).count();
        of("deliver python/news") >= 62 && of("deliver") >= 80
    });
    for is_broker in [false, true] {
        let what = format!("{is_broker}: {}", seen.summary());
        let of = |topic: &str, step: &str| told(&seen, topic, is_broker, step);
        let (sends, dealt, heard) =
            (of("python/news", "send"), of("python/news", "process"), of("python/news", "receive"));
        assert_eq!((messages(&sends), messages(&dealt), messages(&heard)), (31, 21, 10), "{what}");
        assert_attributes(
            sends[15],
            &json!({
                "messaging.system": "mqtt",
                "messaging.operation.name": "publish",
                "messaging.client.id": "python-1",
                "messaging.message.body.size": 6,
                "error.type": null,
            }),
        );
        let refused = of("forbidden", "send");
        assert_eq!(refused.len(), 1, "{what}");
        assert_attributes(refused[0], &json!({"error.type": "0x87"}));
        // A topic with a number in it is one of many.
        let many = of("node/17/heat", "send");
        assert_eq!((messages(&many), messages(&of("node/17/heat", "process"))), (40, 40), "{what}");
        assert!(many.iter().all(|span| span.name == "publish"), "{what}");
        let carrying: Vec<_> = sends.iter().filter(|span| span.trace_id == TRACE).collect();
        assert_eq!(carrying.len(), 1, "{what}");
        let kinds = if is_broker { ("SERVER", "SERVER", "SERVER") } else { ("CLIENT", "PRODUCER", "CONSUMER") };
        assert_eq!((carrying[0].kind, sends[0].kind, dealt[0].kind), kinds, "{what}");
        assert!(is_broker || carrying[0].parent_span_id == SPAN, "{what}");
        let link = (TRACE.to_owned(), SPAN.to_owned());
        assert_eq!(dealt.iter().filter(|span| span.links == [link.clone()]).count(), 1, "{what}");
    }
    let of_it = [("messaging.destination.name", "python/news")];
    assert_eq!(seen.counted("messaging.client.sent.messages", &of_it), 31.0);
    assert_eq!(seen.counted("messaging.client.consumed.messages", &of_it), 31.0);
    assert_eq!(seen.counted("messaging.client.consumed.messages", &[]), 71.0);
    assert_eq!(seen.count("messaging.process.duration"), 61);
    let unseen = |span: &&ReceivedSpan| span.attributes.contains_key("beyla.outcome");
    assert_eq!(seen.spans.iter().filter(unseen).count(), 0, "{}", seen.summary());
    assert!(!format!("{:?}", seen.spans).contains("secret"), "{}", seen.summary());
}

/// Mosquitto's own clients, whose TLS is OpenSSL, as the broker's.
fn messages_over_tls_at_both_ends(backend: Backend) {
    let broker = Broker::start(None, true);
    // Children of who is watched are so from their first byte on.
    let script = "tool() { name=$1; shift; stdbuf -oL \"$name\" -d -h 127.0.0.1 -p $port --cafile \"$file\" --insecure -t news \"$@\"; }; \
                  port=$1 file=$2 sub=$3 pub=$4; read -r _; tool \"$sub\" -q 1 -C 30 & read -r _; \
                  seq 10 | tool \"$pub\" -q 0 -l; seq 10 | tool \"$pub\" -q 1 -l; seq 10 | tool \"$pub\" -q 2 -l; wait; echo done";
    let file = broker.files.path().join("cert.pem");
    let mut shell = Command::new("sh");
    shell.args(["-c", script, "sh", &broker.port.to_string()]).arg(file);
    let mut clients = Program::start(shell.args(["mosquitto_sub", "mosquitto_pub"].map(need::program)));
    let watch = Watch::tls(backend, &[broker.program.pid(), clients.pid()]);
    clients.tell("subscribe");
    let _subscribed = clients.says("Subscribed");
    clients.tell("publish");
    let _done = clients.says("done");
    let seen = watch.stop_when(|state| state.spans.iter().filter(|span| span.name == "deliver news").count() >= 60);
    for is_broker in [false, true] {
        let what = format!("{is_broker}: {}", seen.summary());
        let of = |step: &str| told(&seen, "news", is_broker, step);
        let (sends, dealt, heard) = (of("send"), of("process"), of("receive"));
        assert_eq!((messages(&sends), messages(&dealt), messages(&heard)), (30, 20, 10), "{what}");
        assert!(sends.iter().all(|span| !span.attributes.contains_key("beyla.outcome")), "{what}");
        let is_known = |span: &&ReceivedSpan| span.attributes.contains_key("network.peer.address");
        assert!(sends.iter().copied().all(|span| is_known(&span)), "{what}");
    }
    assert_eq!(seen.counted("messaging.client.sent.messages", &[]), 30.0);
    assert_eq!(seen.counted("messaging.client.consumed.messages", &[]), 30.0);
}
