//! What is recorded gives the same spans when it is replayed, without a kernel.

use std::os::unix::fs::PermissionsExt as _;

use beyla_rs::internals::{model::Span, replay, telemetry::Config};
use tests::{
    agent::{Backend, Setup, Watch},
    client::Connection,
    on_both_backends,
    program::{Program, folder},
    receiver::{ReceivedSpan, Receiver},
};

on_both_backends!(a_recording_gives_the_spans_that_were_sent);

/// What is the same however often a span is made; ids are drawn.
type Shown = (u64, String, &'static str, u64, Vec<String>);

fn sent(span: &ReceivedSpan) -> Shown {
    let attributes = span.attributes.keys().cloned().collect();
    (span.start_unix_nano, span.name.clone(), span.kind, span.duration_ns(), attributes)
}

fn replayed(span: &Span) -> Shown {
    let mut attributes: Vec<String> = span.attributes.iter().map(|attribute| attribute.key.to_owned()).collect();
    attributes.sort();
    attributes.dedup();
    (span.start_unix_ns, span.name.to_string(), span.kind.name(), span.end_unix_ns - span.start_unix_ns, attributes)
}

fn a_recording_gives_the_spans_that_were_sent(backend: Backend) {
    let files = folder();
    let file = files.path().join("recording.jsonl");
    let server = Program::python("server.py", [""; 0]);
    let receiver = Receiver::start();
    let setup = Setup::pid(server.pid()).backend(backend).to(&receiver);
    let agent = setup.args(["--record".as_ref(), file.as_os_str()]).start();
    let watch = Watch { agent, receiver };
    let mut connection = Connection::to(server.port());
    for path in ["/first", "/status/404", "/chunked", "/big?bytes=300000", "/hints"] {
        let _response = connection.get(path);
    }
    let _response = connection.request("POST", "/echo", &[], &[b'p'; 70_000]);
    let _cut = Connection::to(server.port()).request("GET", "/until-close", &[], b"");
    let seen = watch.finish(7);
    assert!(seen.log.iter().any(|line| line.contains("secrets too")), "{:#?}", seen.log);

    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let recording = std::fs::read_to_string(&file).unwrap();
    let spans = replay(&recording, Config::default()).unwrap();
    let [mut sent, mut replayed] =
        [seen.spans.iter().map(sent).collect(), spans.iter().map(replayed).collect::<Vec<_>>()];
    sent.sort();
    replayed.sort();
    // The clock of the agent was set by another reading than the recording's.
    let without_start = |spans: Vec<Shown>| {
        spans.into_iter().map(|(_, name, kind, ns, keys)| (name, kind, ns, keys)).collect::<Vec<_>>()
    };
    assert_eq!(without_start(sent), without_start(replayed));
}
