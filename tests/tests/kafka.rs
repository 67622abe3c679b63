//! Kafka: a real broker, clients of three languages from old versions of requests to the newest. Messages as the clients count them
//! are messages as they are told, at both ends, and nothing of keys and values.
#![allow(clippy::unwrap_used, reason = "a test fails by its panic")]

use serde_json::json;
use tests::{
    agent::{Backend, Setup, Watch},
    on_both_backends,
    program::Program,
    queues::{self, messages, number, told},
    receiver::{ReceivedSpan, Receiver},
    seen::assert_attributes,
    servers::kafka::{Broker, java},
    wait::poll,
};

on_both_backends!(clients_of_three_languages_and_what_they_count);

/// The context that a message of each client carries.
const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const SPAN: &str = "00f067aa0ba902b7";

/// Those that were not refused.
fn taken<'a>(spans: &[&'a ReceivedSpan]) -> Vec<&'a ReceivedSpan> {
    spans.iter().filter(|span| span.status != "ERROR").copied().collect()
}

fn clients_of_three_languages_and_what_they_count(backend: Backend) {
    let broker = Broker::start();
    let port = broker.port.to_string();
    // What each calls itself, and whether it asks the broker to take too large a message.
    let clients = [("python", "shop", true), ("node", "bill", true), ("java", "mill", false)];
    let mut programs = clients.map(|(topic, ..)| match topic {
        "python" => queues::python("kafka_client.py", &[&port, topic]),
        "node" => queues::node("kafka_client.js", &[&port, topic]),
        _ => Program::start(java("KafkaClient").args([&port, topic])),
    });
    programs.iter().for_each(|client| drop(client.says("ready")));
    let pids = [broker.program.pid(), programs[0].pid(), programs[1].pid(), programs[2].pid()];
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
    let to_broker = ["server=\"broker\"", "connection_type=\"messaging_system\""];
    poll("edges to the broker", || {
        (watch.agent.metric("traces_service_graph_request_total", &to_broker) >= 3.0).then_some(())
    });
    let is_commit = |span: &ReceivedSpan, topic: &str| {
        span.name == format!("commit {topic}") && span.attributes["messaging.operation.type"] == "settle"
    };
    let seen = watch.stop_when(|state| {
        clients.iter().all(|(topic, ..)| state.spans.iter().filter(|span| is_commit(span, topic)).count() >= 2)
    });
    for ((topic, client, has_refused), (sent, received)) in clients.into_iter().zip(counts) {
        assert_eq!((sent, received), (41, 42));
        for is_broker in [false, true] {
            let (sends, polls) = (told(&seen, topic, is_broker, "send"), told(&seen, topic, is_broker, "receive"));
            let what = format!("{topic}, {is_broker}: {}", seen.summary());
            assert_eq!(messages(&sends), sent, "{what}");
            // What the broker gives out of its files it has never had in its memory (`sendfile`).
            assert!(is_broker || messages(&polls) == received, "{what}");
            assert!(!polls.is_empty(), "{what}");
            assert!(polls.iter().all(|span| span.status != "ERROR" && span.name == format!("poll {topic}")), "{what}");
            let refused: Vec<_> = sends.iter().filter(|span| span.status == "ERROR").collect();
            assert_eq!(refused.len(), usize::from(has_refused), "{what}");
            for span in refused {
                assert_attributes(span, &json!({"error.type": "MESSAGE_TOO_LARGE", "messaging.client.id": client}));
            }
            // Each of the first ten was sent by itself.
            let single = |span: &&ReceivedSpan| span.attributes["messaging.batch.message_count"] == 1;
            let alone: Vec<_> = taken(&sends).into_iter().filter(single).collect();
            assert!(alone.len() >= 11, "{what}");
            assert_attributes(
                alone[3],
                &json!({
                    "messaging.system": "kafka",
                    "messaging.operation.name": "send",
                    "messaging.destination.name": topic,
                    "messaging.destination.partition.id": "0",
                    "messaging.client.id": client,
                    "messaging.kafka.offset": 4,
                    "messaging.message.body.size": 8,
                    "error.type": null,
                    "beyla.name.unknown": null,
                }),
            );
            // What a message carries is the parent of sending it, and linked to where it is fetched.
            let carrying: Vec<_> = sends.iter().filter(|span| span.trace_id == TRACE).collect();
            assert_eq!(carrying.len(), 1, "{what}");
            let kind = if is_broker { "SERVER" } else { "CLIENT" };
            assert_eq!(carrying[0].kind, kind, "{what}");
            assert!(is_broker || carrying[0].parent_span_id == SPAN, "{what}");
            assert!(is_broker || taken(&sends).iter().filter(|span| span.kind == "PRODUCER").count() >= 11, "{what}");
            let link = (TRACE.to_owned(), SPAN.to_owned());
            let linked = polls.iter().filter(|span| span.links == [link.clone()]).count();
            assert!(is_broker || linked == 1, "{what}");
            let commits = told(&seen, topic, is_broker, "settle");
            assert!(!commits.is_empty(), "{what}");
            assert_attributes(commits[0], &json!({"messaging.consumer.group.name": format!("group-{topic}")}));
        }
        let of_topic = [("messaging.destination.name", topic)];
        let failed = u64::from(has_refused);
        assert_eq!(seen.counted("messaging.client.sent.messages", &of_topic), (sent + failed) as f64);
        assert_eq!(seen.counted("messaging.client.consumed.messages", &of_topic), received as f64);
    }
    let is_client = |span: &&ReceivedSpan| span.kind != "SERVER" && !span.attributes.contains_key("beyla.outcome");
    let operations = seen.spans.iter().filter(is_client).count() as u64;
    assert_eq!(seen.count("messaging.client.operation.duration"), operations, "{}", seen.summary());
    assert!(!format!("{:?}", seen.spans).contains("secret"), "{}", seen.summary());
    assert!(seen.spans.iter().all(|span| span.attributes.contains_key("messaging.system")), "{}", seen.summary());
}

/// On one backend: what is captured is the same as above.
#[test]
fn what_a_consumer_calls_follows_from_what_it_has_fetched() {
    let broker = Broker::start();
    let service = Program::python("server.py", ["0"]);
    let [port, asked] = [broker.port, service.port()].map(|port| port.to_string());
    let mut worker = Program::start(java("KafkaWorker").args([&port, &asked]));
    let _ready = worker.says("ready");
    let watch = Watch::pids(Backend::Sock, &[worker.pid(), service.pid()]);
    worker.tell("go");
    let _done = worker.says("done");
    let is_call = |span: &&ReceivedSpan| span.kind == "CLIENT" && span.name == "GET";
    let seen = watch.stop_when(|state| state.spans.iter().filter(is_call).count() >= 13);
    let polls = told(&seen, "work", false, "receive");
    assert_eq!(messages(&polls), 13, "{}", seen.summary());
    let calls: Vec<_> = seen.spans.iter().filter(is_call).collect();
    for (nth, call) in calls.iter().enumerate() {
        let [(trace, span)] = &call.links[..] else { panic!("{call:?}: {}", seen.summary()) };
        let poll = polls.iter().find(|poll| poll.span_id == *span).unwrap();
        assert!(&poll.trace_id == trace && poll.end_unix_nano <= call.start_unix_nano, "{poll:?}: {call:?}");
        // One of several is of no trace that the others are of.
        let is_single = poll.attributes["messaging.batch.message_count"] == 1;
        assert_eq!(call.trace_id == poll.trace_id, is_single, "{poll:?}: {call:?}");
        assert!(is_single || nth >= 10, "{poll:?}: {call:?}");
        assert!(call.parent_span_id.is_empty(), "{call:?}");
    }
    let of_singles = calls.iter().filter(|call| call.links[0].0 == call.trace_id).count();
    assert!((10..=13).contains(&of_singles), "{}", seen.summary());
}
