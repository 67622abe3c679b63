//! AMQP 0-9-1: RabbitMQ and clients of two languages. Messages as the clients count them are messages as they are told, at both ends, and
//! nothing of bodies and headers.
#![allow(clippy::unwrap_used, reason = "a test fails by its panic")]

use serde_json::json;
use tests::{
    agent::{Backend, Setup, Watch},
    on_both_backends,
    program::Program,
    queues::{self, messages, number, told},
    receiver::{ReceivedSpan, Receiver},
    seen::assert_attributes,
    servers::rabbitmq::Broker,
    wait::poll,
};

on_both_backends!(
    clients_of_two_languages_and_what_they_count,
    what_a_consumer_asks_is_below_the_message_that_it_deals_with,
);

/// The context that a message carries.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

fn clients_of_two_languages_and_what_they_count(backend: Backend) {
    let broker = Broker::start();
    let [port, tls_port] = [broker.port, broker.tls_port].map(|port| port.to_string());
    let mut programs = [
        queues::python("amqp_client.py", &[&port, "python"]),
        queues::node("amqp_client.js", &[&port, "node"]),
        queues::python("amqp_client.py", &[&tls_port, "tls", broker.certificate.to_str().unwrap()]),
    ];
    programs.iter().for_each(|client| drop(client.says("ready")));
    let pids = [broker.program.pid(), programs[0].pid(), programs[1].pid(), programs[2].pid()];
    let receiver = Receiver::start();
    let features = "application,application_service_graph";
    let setup = Setup::pids(&pids).backend(backend).env("OTEL_EBPF_METRICS_FEATURES", features);
    let agent = setup.to(&receiver).args(["--log-level", "debug"]).start();
    agent.until_seen_into(&pids[3..]);
    let watch = Watch { agent, receiver };
    let counts = programs.each_mut().map(|client| {
        client.tell("go");
        let counts = (number(client, "sent"), number(client, "received"));
        let _done = client.says("done");
        counts
    });
    assert_eq!(counts, [(26, 27), (40, 40), (26, 27)]);
    let to_broker = ["server=\"broker\"", "connection_type=\"messaging_system\""];
    poll("edges to the broker", || {
        (watch.agent.metric("traces_service_graph_request_total", &to_broker) >= 2.0).then_some(())
    });
    let seen = watch.stop_when(|state| {
        let of = |name: &str| state.spans.iter().filter(|span| span.name == name).count();
        of("deliver python") >= 52
            && of("deliver node:paid.here") >= 80
            && of("publish node:paid.here") >= 80
            && of("deliver tls") >= 26
    });
    for is_broker in [false, true] {
        let what = format!("{is_broker}: {}", seen.summary());
        let of = |destination: &str, step: &str| told(&seen, destination, is_broker, step);
        let (sends, delivered, got) = (of("python", "send"), of("python", "process"), of("python", "receive"));
        assert_eq!((messages(&sends), delivered.len(), messages(&got)), (26, 26, 1), "{what}");
        assert_eq!(of("python", "settle").len(), 1, "{what}");
        // What Erlang itself encrypts is not seen at its end.
        let over_tls = ["send", "process", "receive"].map(|step| of("tls", step).len());
        assert_eq!(over_tls, if is_broker { [0; 3] } else { [26, 26, 1] }, "{what}");
        // It was not seen on which connection each queue is consumed that is older than the agent.
        assert_eq!(messages(&of("node:paid.here", "send")), 40, "{what}");
        assert_eq!(messages(&of("node:paid.here", "receive")), 40, "{what}");
        assert_attributes(
            sends[6],
            &json!({
                "messaging.system": "rabbitmq",
                "messaging.operation.name": "publish",
                "messaging.rabbitmq.destination.routing_key": "python",
                "messaging.message.body.size": 6,
                "messaging.message.id": "message-1",
                "error.type": null,
                "beyla.outcome": null,
            }),
        );
        assert!(sends.iter().any(|span| span.attributes["messaging.message.body.size"] == 60_000), "{what}");
        let refused = of("nowhere:python", "send");
        assert_eq!(refused.len(), 1, "{what}");
        assert_attributes(refused[0], &json!({"error.type": "404"}));
        let nacked: Vec<_> = delivered.iter().filter(|span| span.attributes.contains_key("error.type")).collect();
        assert_eq!(nacked.len(), 1, "{what}");
        assert_attributes(nacked[0], &json!({"error.type": "nack", "messaging.operation.name": "deliver"}));
        let carrying: Vec<_> = sends.iter().filter(|span| span.trace_id == TRACE).collect();
        assert_eq!(carrying.len(), 1, "{what}");
        let kinds = if is_broker { ("SERVER", "SERVER", "SERVER") } else { ("CLIENT", "PRODUCER", "CONSUMER") };
        assert_eq!((carrying[0].kind, sends[6].kind, delivered[0].kind), kinds, "{what}");
        assert!(is_broker || carrying[0].parent_span_id == SPAN, "{what}");
        let link = (TRACE.to_owned(), SPAN.to_owned());
        assert_eq!(delivered.iter().filter(|span| span.links == [link.clone()]).count(), 1, "{what}");
    }
    let unseen = |span: &&ReceivedSpan| span.attributes.contains_key("beyla.outcome");
    assert_eq!(seen.spans.iter().filter(unseen).count(), 0, "{}", seen.summary());
    for (destination, sent, received) in [("python", 26.0, 27.0), ("tls", 26.0, 27.0), ("node:paid.here", 40.0, 40.0)] {
        let of_it = [("messaging.destination.name", destination)];
        assert_eq!(seen.counted("messaging.client.sent.messages", &of_it), sent);
        assert_eq!(seen.counted("messaging.client.consumed.messages", &of_it), received);
    }
    assert_eq!(seen.count("messaging.process.duration"), 2 * 26);
    // What was sent, refused, fetched, settled, and received without acknowledgements.
    assert_eq!(seen.count("messaging.client.operation.duration"), 2 * (26 + 1 + 1 + 1) + 80);
    assert!(!format!("{:?}", seen.spans).contains("secret"), "{}", seen.summary());
}

fn what_a_consumer_asks_is_below_the_message_that_it_deals_with(backend: Backend) {
    let broker = Broker::start();
    let service = Program::python("server.py", ["0"]);
    let [port, asked] = [broker.port, service.port()].map(|port| port.to_string());
    let mut worker = queues::python("amqp_worker.py", &[&port, &asked]);
    let _ready = worker.says("ready");
    let watch = Watch::pids(backend, &[broker.program.pid(), worker.pid(), service.pid()]);
    worker.tell("go");
    let _done = worker.says("done");
    let of = |spans: &[ReceivedSpan], kind: &str, name: &str| {
        spans.iter().filter(|span| span.kind == kind && span.name.starts_with(name)).count()
    };
    let seen = watch
        .stop_when(|state| of(&state.spans, "CONSUMER", "deliver") >= 20 && of(&state.spans, "SERVER", "GET") >= 20);
    let messages: Vec<_> = seen.of_kind("CONSUMER").into_iter().filter(|span| span.name == "deliver work").collect();
    assert_eq!(messages.len(), 20, "{}", seen.summary());
    for message in messages {
        // The broker's own end of the delivery is below it, too.
        let is_below = |span: &&ReceivedSpan| span.parent_span_id == message.span_id && span.kind == "CLIENT";
        let below: Vec<_> = seen.spans.iter().filter(is_below).collect();
        let [call] = below[..] else { panic!("{message:?}: {below:#?}") };
        assert_eq!((call.kind, &*call.name, &call.trace_id), ("CLIENT", "GET", &message.trace_id));
        assert_attributes(call, &json!({"beyla.parent.evidence": "thread"}));
        assert!(message.start_unix_nano <= call.start_unix_nano && call.end_unix_nano <= message.end_unix_nano);
        // And what the service does for it.
        let served: Vec<_> = seen.spans.iter().filter(|span| span.parent_span_id == call.span_id).collect();
        assert!(matches!(served[..], [served] if served.kind == "SERVER" && served.trace_id == call.trace_id));
    }
}
