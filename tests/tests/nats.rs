//! NATS: a real server with JetStream, and clients of two languages. Messages as the clients count them are messages as they are told, at
//! both ends, and nothing of payloads and of how a client connects.
#![allow(clippy::unwrap_used, reason = "a test fails by its panic")]

use serde_json::json;
use tests::{
    agent::{Backend, Setup, Watch},
    on_both_backends,
    queues::{self, messages, number, told},
    receiver::{ReceivedSpan, Receiver},
    seen::assert_attributes,
    servers::nats::Server,
    wait::poll,
};

on_both_backends!(
    clients_of_two_languages_and_what_they_count,
    #[ignore = "what nats-py publishes first over TLS is not told at its end, which is not explained: docs/half-done.md"]
    messages_over_tls_at_both_ends,
);

/// The context that a message carries.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn clients_of_two_languages_and_what_they_count(backend: Backend) {
    let server = Server::start(false);
    let port = server.port.to_string();
    let mut programs =
        [queues::python("nats_client.py", &[&port, "python"]), queues::node("nats_client.js", &[&port, "node"])];
    programs.iter().for_each(|client| drop(client.says("ready")));
    let pids = [server.program.pid(), programs[0].pid(), programs[1].pid()];
    let receiver = Receiver::start();
    let features = "application,application_service_graph";
    let setup = Setup::pids(&pids).backend(backend).env("OTEL_EBPF_METRICS_FEATURES", features);
    let agent = setup.to(&receiver).start();
    let watch = Watch { agent, receiver };
    programs.iter_mut().for_each(|client| client.tell("go"));
    let [python, node] = &programs;
    let counts = ["sent", "asked", "stored", "received", "fetched"].map(|word| number(python, word));
    assert_eq!(counts, [31, 5, 10, 31, 10]);
    assert_eq!((number(node, "sent"), number(node, "received")), (40, 40));
    programs.iter().for_each(|client| drop(client.says("done")));
    let to_broker = ["server=\"broker\"", "connection_type=\"messaging_system\""];
    poll("edges to the broker", || {
        (watch.agent.metric("traces_service_graph_request_total", &to_broker) >= 2.0).then_some(())
    });
    let seen = watch.stop_when(|state| {
        let of = |name: &str| state.spans.iter().filter(|span| span.name == name).count();
        of("deliver python.bills") >= 20
            && of("deliver python.news") >= 62
            && of("deliver") >= 80
            && of("publish python.late") >= 4000
    });
    for is_broker in [false, true] {
        let what = format!("{is_broker}: {}", seen.summary());
        let of = |subject: &str, step: &str| told(&seen, subject, is_broker, step);
        let (sends, heard) = (of("python.news", "send"), of("python.news", "receive"));
        assert_eq!((messages(&sends), messages(&heard)), (31, 31), "{what}");
        let (carrying, plain): (Vec<_>, Vec<_>) = sends.iter().partition(|span| span.trace_id == TRACE);
        assert_attributes(
            plain[0],
            &json!({
                "messaging.system": "nats",
                "messaging.operation.name": "publish",
                "messaging.message.body.size": 6,
                "error.type": null,
            }),
        );
        assert_attributes(heard[0], &json!({"messaging.consumer.group.name": "readers"}));
        assert_eq!((messages(&of("python.time", "send")), messages(&of("python.time", "receive"))), (5, 5), "{what}");
        // Most of them in one turn, before it was known what the connection carries.
        assert_eq!(messages(&of("python.late", "send")), 2000, "{what}");
        let (stored, taken) = (of("python.bills", "send"), of("python.bills", "process"));
        assert_eq!((messages(&stored), taken.len()), (10, 10), "{what}");
        let refused: Vec<_> = taken.iter().filter(|span| span.attributes.contains_key("error.type")).collect();
        assert_eq!(refused.len(), 1, "{what}");
        assert_attributes(refused[0], &json!({"error.type": "term"}));
        for subject in ["python.nobody", "python.lost"] {
            let nobody = of(subject, "send");
            assert_eq!(nobody.len(), 1, "{what}");
            assert_attributes(nobody[0], &json!({"error.type": "503"}));
        }
        // A subject with a number in it is one of many.
        let many = of("node.4711.paid", "send");
        assert_eq!((messages(&many), messages(&of("node.4711.paid", "receive"))), (40, 40), "{what}");
        assert!(many.iter().all(|span| span.name == "publish"), "{what}");
        assert_eq!(many.iter().filter(|it| it.attributes["messaging.message.body.size"] == 60_000).count(), 1);
        assert_eq!(carrying.len(), 1, "{what}");
        let kinds = if is_broker { ("SERVER", "SERVER", "SERVER") } else { ("CLIENT", "PRODUCER", "CONSUMER") };
        assert_eq!((carrying[0].kind, plain[0].kind, taken[0].kind), kinds, "{what}");
        assert!(is_broker || carrying[0].parent_span_id == SPAN, "{what}");
        let link = (TRACE.to_owned(), SPAN.to_owned());
        assert_eq!(heard.iter().filter(|span| span.links == [link.clone()]).count(), 1, "{what}");
    }
    for (subject, sent, received) in [("python.news", 31.0, 31.0), ("python.bills", 10.0, 10.0)] {
        let of_it = [("messaging.destination.name", subject)];
        assert_eq!(seen.counted("messaging.client.sent.messages", &of_it), sent);
        assert_eq!(seen.counted("messaging.client.consumed.messages", &of_it), received);
    }
    let all_received: u64 = 31 + 5 + 10 + 40;
    assert_eq!(seen.counted("messaging.client.consumed.messages", &[]), all_received as f64);
    assert_eq!(seen.count("messaging.process.duration"), 10);
    let unseen = |span: &&ReceivedSpan| span.attributes.contains_key("beyla.outcome");
    assert_eq!(seen.spans.iter().filter(unseen).count(), 0, "{}", seen.summary());
    assert!(!format!("{:?}", seen.spans).contains("secret"), "{}", seen.summary());
}

/// The server's TLS is Go's, which begins behind what it says of itself, and the client's OpenSSL, to which it hands the cipher text itself.
fn messages_over_tls_at_both_ends(backend: Backend) {
    let server = Server::start(true);
    let certificate = server.files.path().join("cert.pem");
    let arguments = [&server.port.to_string(), "tls", certificate.to_str().unwrap()];
    let mut client = queues::python("nats_client.py", &arguments);
    let _ready = client.says("ready");
    let watch = Watch::tls(backend, &[server.program.pid(), client.pid()]);
    watch.agent.until_logged("TLS library attached: crypto/tls");
    client.tell("go");
    let counts = ["sent", "asked", "stored", "received", "fetched"].map(|word| number(&client, word));
    assert_eq!(counts, [31, 5, 10, 31, 10]);
    let _done = client.says("done");
    let seen = watch.stop_when(|state| {
        let of = |name: &str| state.spans.iter().filter(|span| span.name == name).count();
        of("deliver tls.bills") >= 20 && of("deliver tls.news") >= 62 && of("publish tls.late") >= 6
    });
    for is_broker in [false, true] {
        let what = format!("{is_broker}: {}", seen.summary());
        let of = |subject: &str, step: &str| told(&seen, subject, is_broker, step);
        assert_eq!((messages(&of("tls.news", "send")), messages(&of("tls.news", "receive"))), (31, 31), "{what}");
        assert_eq!(messages(&of("tls.late", "send")), 3, "{what}");
        assert_eq!((messages(&of("tls.time", "send")), messages(&of("tls.time", "receive"))), (5, 5), "{what}");
        assert_eq!((messages(&of("tls.bills", "send")), of("tls.bills", "process").len()), (10, 10), "{what}");
    }
    assert_eq!(seen.counted("messaging.client.consumed.messages", &[]), f64::from(31 + 5 + 10));
    assert!(!format!("{:?}", seen.spans).contains("secret"), "{}", seen.summary());
}
