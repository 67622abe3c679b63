//! rustls: hyper and tonic over it, both ends at once; what was sent is what the agent tells, exactly.
#![allow(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::OnceLock,
    time::Duration,
};

use serde_json::{Value, json};
use tests::{
    agent::{self, Backend, Setup, Watch},
    need, on_both_backends,
    own_tls::certificate,
    program::{Program, folder},
    receiver::{ReceivedSpan, Receiver, State},
    seen::{Seen, assert_attributes, assert_lasted, path},
    wait::poll,
};

on_both_backends!(
    both_ends_of_hyper_and_tonic,
    both_ends_with_the_oldest_release,
    connections_that_are_older_than_the_agent,
    connections_that_are_older_with_the_oldest_release,
);

/// How long the server takes for what is called slow, and the size of what is called big: `tests/programs/rust-tls`.
const NAP: Duration = Duration::from_millis(60);
const BIG: u64 = 300_000;

/// The program, built once, with cargo's own choices for a release.
fn program() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    BUILT.get_or_init(|| need::built_by_cargo("rust-tls", "rust-tls", "")).clone()
}

/// The same with the oldest rustls that is said to be seen, aws-lc-rs in place of ring, and names of the newer kind.
fn oldest() -> PathBuf {
    static BUILT: OnceLock<PathBuf> = OnceLock::new();
    let build = || need::built_by_cargo("rust-tls-oldest", "rust-tls-oldest", "-Csymbol-mangling-version=v0");
    BUILT.get_or_init(build).clone()
}

/// A running server, with the files that it was started with.
struct Server {
    program: Program,
    https: u16,
    grpc: u16,
    certificate: PathBuf,
    files: tempfile::TempDir,
}

fn serve(binary: &Path) -> Server {
    let files = folder();
    let [certificate, key] = certificate(files.path());
    let program = Program::start(Command::new(binary).arg("serve").arg(&certificate).arg(key));
    let grpc = program.says("grpc ").trim().parse().unwrap();
    Server { https: program.port(), program, grpc, certificate, files }
}

/// What the client says of a request.
struct Said {
    status: u64,
    own_port: u64,
    took: Duration,
}

/// What the client says of its requests: those of HTTP by path, those of gRPC by method.
fn said(lines: &[String]) -> (BTreeMap<String, Said>, BTreeMap<String, Vec<Said>>) {
    let (mut http, mut grpc) = (BTreeMap::new(), BTreeMap::<_, Vec<_>>::new());
    for line in lines {
        let words: Vec<&str> = line.split(' ').collect();
        let [kind, name, status, own_port, took] = words[..] else { continue };
        let said = Said {
            status: status.parse().unwrap(),
            own_port: own_port.parse().unwrap(),
            took: Duration::from_micros(took.parse().unwrap()),
        };
        match kind {
            "http" => assert!(http.insert(name.to_owned(), said).is_none(), "{name} twice"),
            _ => grpc.entry(name.to_owned()).or_default().push(said),
        }
    }
    (http, grpc)
}

fn both_ends_of_hyper_and_tonic(backend: Backend) {
    both_ends_are_seen(backend, &program());
}

fn both_ends_with_the_oldest_release(backend: Backend) {
    both_ends_are_seen(backend, &oldest());
}

fn connections_that_are_older_than_the_agent(backend: Backend) {
    older_connections_are_seen(backend, &program());
}

fn connections_that_are_older_with_the_oldest_release(backend: Backend) {
    older_connections_are_seen(backend, &oldest());
}

/// Watches a client and its server from when the client says that it is ready until it is done.
fn watch(backend: Backend, binary: &Path, verb: &str) -> (Server, Program, Watch) {
    let server = serve(binary);
    let mut client = Program::start(
        Command::new(binary)
            .arg(verb)
            .arg(&server.certificate)
            .args([server.https.to_string(), server.grpc.to_string()]),
    );
    let _started = client.says("ready");
    let receiver = Receiver::start();
    let agent = Setup::pid(server.program.pid())
        .args(["--pid", &client.pid().to_string(), "--log-level", "debug"])
        .backend(backend)
        .to(&receiver)
        .start();
    poll("rustls is attached", || agent.log().iter().any(|line| line.contains("TLS library attached")).then_some(()));
    let watch = Watch { agent, receiver };
    client.tell("go");
    let _finished = client.says("done");
    (server, client, watch)
}

/// Where an encrypter's records go is learned from two of them, and what was asked or answered by these is left out; so is the
/// status of HTTP/1's next request, since others may have been open. What is told after that is right.
fn older_connections_are_seen(backend: Backend, binary: &Path) {
    const LEARNED_FROM: u64 = 2;
    // As on any HTTP/2 connection met in its midst: frames are believed once two requests were answered.
    const BELIEVED_FROM: u64 = LEARNED_FROM + 2;
    let (server, client, watch) = watch(backend, binary, "continue");
    let (http, grpc) = said(&client.stdout.so_far());
    assert_eq!((http.len(), grpc.values().map(Vec::len).sum::<usize>()), (180, 60));
    let last = |state: &State, kind: &str, version: u32| {
        let ends = |span: &ReceivedSpan| {
            path(span).is_some_and(|path| path.contains(&format!("/{version}/")) && path.ends_with("-29"))
        };
        state.spans.iter().filter(|span| span.kind == kind && ends(span)).count() == 3
    };
    let done = |state: &State| {
        [("SERVER", 1), ("SERVER", 2), ("CLIENT", 1), ("CLIENT", 2)].iter().all(|&(kind, version)| last(state, kind, version))
            // The last call, on either side.
            && state.spans.iter().filter(|span| path(span) == Some("/shop.Stock/Watch")).count() >= 2 * 28
    };
    let seen = watch.stop_when(done);
    for (at, said) in &http {
        let (place, number) = at.rsplit_once('-').unwrap();
        let (version, number) = (place.split('/').nth(2).unwrap(), number.parse::<u64>().unwrap());
        for kind in ["SERVER", "CLIENT"] {
            let told = seen.all_at(at).into_iter().filter(|span| span.kind == kind).count();
            let first = if version == "1" { LEARNED_FROM } else { BELIEVED_FROM };
            if told == 1 && (LEARNED_FROM..first).contains(&number) {
                // The client was held up for so long that the connection was quiet.
                continue;
            }
            assert_eq!(told, usize::from(number >= first), "{kind} {at}: {}", seen.summary());
            if told == 1 {
                // The name of the server stands in HPACK's table since before.
                let host = if version == "1" { "localhost" } else { "127.0.0.1" };
                let span = one(&seen, kind, at);
                if version == "2" && number == BELIEVED_FROM {
                    // It was believed only in hindsight.
                    assert_attributes(span, &json!({ "http.response.status_code": said.status }));
                    continue;
                }
                // Unless the client was held up for so long that the connection was quiet.
                if version == "1" && number == LEARNED_FROM && span.attributes.contains_key("beyla.outcome") {
                    assert_attributes(span, &json!({ "http.response.status_code": null, "beyla.outcome": "unseen" }));
                    continue;
                }
                check_http(span, kind, at, said, &server, host);
            }
        }
    }
    // All the others are the calls, which stand in the table of what was sent before, as far as they were.
    let others: Vec<_> =
        seen.spans.iter().filter(|span| path(span).is_none_or(|path| !http.contains_key(path))).collect();
    assert!((2 * 50..=2 * 60).contains(&others.len()), "{}: {}", others.len(), seen.summary());
    for span in others {
        let port = if span.kind == "SERVER" { "server.port" } else { "network.peer.port" };
        assert_eq!(span.attributes[port], server.grpc, "{span:?}");
        let name = path(span).filter(|path| path.starts_with("/shop.Stock/"));
        let unknown = span.attributes.contains_key("beyla.name.unknown");
        assert!(name.is_some() || unknown, "{span:?}");
        assert_attributes(span, &json!({ "network.peer.address": "127.0.0.1", "beyla.connection.unbound": null }));
    }
    drop(server.files);
}

fn both_ends_are_seen(backend: Backend, binary: &Path) {
    let (server, client, watch) = watch(backend, binary, "call");
    let (http, grpc) = said(&client.stdout.so_far());
    assert_eq!((http.len(), grpc.values().map(Vec::len).sum::<usize>()), (180, 60));
    let seen = watch.finish(2 * (180 + 60));

    for (path, said) in &http {
        for kind in ["SERVER", "CLIENT"] {
            check_http(one(&seen, kind, path), kind, path, said, &server, "localhost");
        }
    }
    for (method, calls) in &grpc {
        check_grpc(&seen, method, calls, &server);
    }
    for side in ["server", "client"] {
        assert_eq!(seen.count(&format!("http.{side}.request.duration")), 180);
        assert_eq!(seen.count(&format!("rpc.{side}.call.duration")), 60);
    }
    drop(server.files);
}

fn one<'a>(seen: &'a Seen, kind: &str, path: &str) -> &'a ReceivedSpan {
    match seen.all_at(path).into_iter().filter(|span| span.kind == kind).collect::<Vec<_>>()[..] {
        [one] => one,
        ref several => panic!("{} {kind} spans have the path {path}: {}", several.len(), seen.summary()),
    }
}

fn check_http(span: &ReceivedSpan, kind: &str, path: &str, said: &Said, server: &Server, host: &str) {
    let words: Vec<&str> = path.split('/').collect();
    let ["", what, version, number] = words[..] else { panic!("a wrong name: {path}") };
    let number: u64 = number.rsplit('-').next().unwrap().parse().unwrap();
    let post = number % 5 == 2;
    let mut expected = json!({
        "http.request.method": if post { "POST" } else { "GET" },
        "http.response.status_code": said.status,
        "http.response.body.size": if what == "big" { BIG } else { 5 },
        "network.protocol.version": if version == "1" { "1.1" } else { "2" },
        "server.port": server.https,
        "beyla.connection.unbound": null,
    });
    if post {
        expected["http.request.body.size"] = json!(BIG);
    }
    if kind == "SERVER" {
        expected["url.scheme"] = json!("https");
        expected["client.port"] = json!(said.own_port);
        expected["client.address"] = json!("127.0.0.1");
    } else {
        expected["network.peer.port"] = json!(server.https);
        expected["network.peer.address"] = json!("127.0.0.1");
        let url = span.attributes["url.full"].as_str().unwrap();
        assert!(url.starts_with(&format!("https://{host}:{}/", server.https)), "{url}");
    }
    assert_attributes(span, &expected);
    assert_lasted(span, if what == "slow" { NAP } else { Duration::ZERO }, said.took);
}

fn check_grpc(seen: &Seen, method: &str, calls: &[Said], server: &Server) {
    let code = match calls[0].status {
        0 => "OK",
        5 => "NOT_FOUND",
        other => panic!("{method} ended with {other}"),
    };
    assert!(calls.iter().all(|call| call.status == calls[0].status), "{method}");
    let longest = calls.iter().map(|call| call.took).max().unwrap();
    for kind in ["SERVER", "CLIENT"] {
        let is_it = |span: &&&ReceivedSpan| span.attributes.get("rpc.method") == Some(&Value::from(method));
        let spans = seen.of_kind(kind);
        let spans: Vec<_> = spans.iter().filter(is_it).collect();
        assert_eq!(spans.len(), calls.len(), "{kind} {method}: {}", seen.summary());
        for span in &spans {
            assert_eq!(span.name, method);
            let mut expected = json!({
                "rpc.system.name": "grpc",
                "rpc.status_code": code,
                "server.port": server.grpc,
                "beyla.connection.unbound": null,
            });
            expected["network.peer.address"] = json!("127.0.0.1");
            // The client makes one connection, and tonic does not say from which port.
            let first = &spans[0].attributes["network.peer.port"];
            let port = if kind == "CLIENT" { json!(server.grpc) } else { first.clone() };
            assert!(port.is_u64(), "{span:?}");
            expected["network.peer.port"] = port;
            assert_attributes(span, &expected);
            assert_lasted(span, if method.ends_with("/Slow") { NAP } else { Duration::ZERO }, longest);
        }
    }
}

/// The TLS library of a process, as `survey` says it.
fn surveyed(pid: u32) -> Value {
    need::root();
    let output = agent::command(["survey", "--json"]).stderr(Stdio::null()).output().unwrap();
    let rows: Value = serde_json::from_slice(&output.stdout).unwrap();
    let row = rows.as_array().unwrap().iter().find(|row| row["pid"] == pid).expect("a row of the process");
    row["tls"].clone()
}

#[test]
fn survey_says_whether_rustls_is_seen() {
    let binary = program();
    let files = folder();
    let stripped = files.path().join("stripped");
    let strip = Command::new(need::program("strip")).arg("-o").arg(&stripped).arg(&binary).status().unwrap();
    assert!(strip.success());
    let tls = surveyed(serve(&binary).program.pid());
    assert_eq!((&tls["library"], &tls["unseen"]), (&json!("rustls"), &Value::Null));
    let tls = surveyed(serve(&stripped).program.pid());
    assert_eq!((&tls["library"], &tls["unseen"]), (&json!("rustls"), &json!("the program is stripped of its symbols")));
}
