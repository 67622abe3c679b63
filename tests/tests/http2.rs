//! HTTP/2 and gRPC against real programs, on plaintext: what was sent is what the agent tells, exactly.
#![allow(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::{collections::BTreeSet, process::Command, time::Duration};

use rustix::process::Signal;
use serde_json::json;
use tests::{
    agent::{Backend, Setup, Watch},
    need, on_both_backends,
    own_tls::certificate,
    program::{Program, folder, free_port},
    receiver::{ReceivedSpan, Receiver},
    seen::{assert_attributes, path},
    wait::poll,
};

on_both_backends!(
    frames_fall_over_calls_in_any_way,
    frames_of_an_older_connection_are_followed_once_they_were_found,
    frames_of_an_older_connection_over_tls_are_followed_too,
    long_answers_on_an_older_connection_wait_for_an_agent_that_is_late,
    long_answers_of_which_only_the_requests_are_followed_are_captured,
    many_streams_at_once,
    curl_and_nghttp
);

/// Both ends of connections whose frames fall over calls at random: every name, status and size is right.
fn frames_fall_over_calls_in_any_way(backend: Backend) {
    const CONNECTIONS: usize = 4;
    const REQUESTS: usize = 60;
    let server = Program::python("frames.py", ["serve", "7"]);
    let port = server.port().to_string();
    let arguments = ["call", &port, "500", &CONNECTIONS.to_string(), &REQUESTS.to_string()];
    let mut client = Program::python("frames.py", arguments);
    let _started = client.says("ready");
    let receiver = Receiver::start();
    let agent =
        Setup::pid(server.pid()).args(["--pid", &client.pid().to_string()]).backend(backend).to(&receiver).start();
    let watch = Watch { agent, receiver };
    client.tell("go");
    let _finished = client.says("done");
    let seen = watch.finish(2 * CONNECTIONS * REQUESTS);

    for kind in ["SERVER", "CLIENT"] {
        let spans = seen.of_kind(kind);
        assert_eq!(spans.len(), CONNECTIONS * REQUESTS, "{kind}");
        let mut paths: Vec<_> = spans.iter().filter_map(|span| path(span)).collect();
        paths.sort_unstable();
        paths.dedup();
        assert!(paths.len() > REQUESTS, "{kind}: {}", seen.summary());
        for span in spans {
            let words: Vec<_> = path(span).unwrap().split('-').collect();
            let ["/r", _, status, size, _, "end"] = words[..] else { panic!("a wrong name: {:?}", path(span)) };
            let number = |word: &str| json!(word.parse::<u64>().unwrap());
            assert_eq!(span.attributes.get("http.response.status_code"), Some(&number(status)), "{span:?}");
            // That of padded payloads is not known where they were left out.
            let told = span.attributes.get("http.response.body.size");
            assert!(told.is_none_or(|told| *told == number(size)), "{span:?}");
        }
    }
}

/// The end of a response stands behind a body, in the same call: the kernel side has to know that these are frames.
fn frames_of_an_older_connection_are_followed_once_they_were_found(backend: Backend) {
    let server = Program::python("frames.py", ["serve", "7"]);
    older_frames_are_followed(&server, &[], |pids| Watch::pids(backend, pids));
}

fn frames_of_an_older_connection_over_tls_are_followed_too(backend: Backend) {
    let files = folder();
    let [certificate, key] = certificate(files.path());
    let (certificate, key) = (certificate.to_str().unwrap(), key.to_str().unwrap());
    let server = Program::python("frames.py", ["serve", "7", certificate, key]);
    older_frames_are_followed(&server, &["tls"], |pids| Watch::tls(backend, pids));
}

fn older_frames_are_followed(server: &Program, over: &[&str], watch: impl Fn(&[u32]) -> Watch) {
    const BODY: usize = 40_000;
    const BATCH: usize = 10;
    const BATCHES_MAX: usize = 30;
    const REQUESTS: usize = 200;
    let are_told = |spans: &[ReceivedSpan]| {
        let is_told = |span: &ReceivedSpan| span.attributes.contains_key("http.response.status_code");
        ["SERVER", "CLIENT"].iter().all(|kind| spans.iter().any(|span| span.kind == *kind && is_told(span)))
    };
    let port = server.port().to_string();
    let mut client = Program::python("frames.py", ["keep", port.as_str()].into_iter().chain(over.iter().copied()));
    let _connected = client.says("ready");
    let watch = watch(&[server.pid(), client.pid()]);
    let mut batches = 0;
    let mut ask = |count: usize| {
        let from = client.stdout.so_far().len();
        client.tell(&format!("{count} {BODY}"));
        let paths = client.says_after(from, "done ");
        paths.split_once(' ').map(|(first, last)| (number(first), number(last))).unwrap()
    };
    while !are_told(&watch.receiver.spans()) {
        assert!(batches < BATCHES_MAX, "nothing of {} requests was told whole", batches * BATCH);
        batches += 1;
        let _early = ask(BATCH);
        // There may be none yet, and nothing tells.
        let _none_yet = watch.receiver.wait_for(|state| are_told(&state.spans), Duration::from_millis(300));
    }
    let (first, last) = ask(REQUESTS);
    let is_late = |span: &&ReceivedSpan| path(span).is_some_and(|path| number(path) >= first);
    let seen = watch.stop_when(|state| state.spans.iter().filter(is_late).count() >= 2 * REQUESTS);

    for kind in ["SERVER", "CLIENT"] {
        let late: Vec<_> = seen.of_kind(kind).into_iter().filter(is_late).collect();
        assert_eq!(late.len(), REQUESTS, "{kind}");
        let streams: BTreeSet<_> = late.iter().map(|span| number(path(span).unwrap())).collect();
        assert_eq!((streams.len(), streams.last()), (REQUESTS, Some(&last)), "{kind}");
        for span in late {
            let expected = json!({ "http.response.status_code": 200, "beyla.outcome": null });
            assert_attributes(span, &expected);
            // Where a payload is padded, its size is not known.
            let told = span.attributes.get("http.response.body.size");
            assert!(told.is_none_or(|told| *told == json!(BODY)), "{span:?}");
        }
    }
}

/// The agent does not get to read anything meanwhile, so that it cannot say that frames are to be followed.
fn long_answers_on_an_older_connection_wait_for_an_agent_that_is_late(backend: Backend) {
    const BODY: usize = 20_000;
    const REQUESTS: usize = 10;
    let server = Program::python("frames.py", ["serve", "7"]);
    let mut client = Program::python("frames.py", ["keep", &server.port().to_string()]);
    let _connected = client.says("ready");
    let mut watch = Watch::pids(backend, &[client.pid()]);
    watch.agent.program().signal(Signal::STOP);
    client.tell(&format!("{REQUESTS} {BODY}"));
    let _answered = client.says("done ");
    watch.agent.program().signal(Signal::CONT);
    let seen = watch.finish(REQUESTS);
    for span in &seen.spans {
        assert_attributes(span, &json!({ "http.response.status_code": 200, "beyla.outcome": null }));
    }
    assert_eq!(seen.count("http.client.request.duration"), REQUESTS as u64);
}

/// Frames of requests are followed from the next one on, those of answers from the next that begins with a whole header block: until then what
/// is captured of each answer is bounded by itself, and not together with those before.
fn long_answers_of_which_only_the_requests_are_followed_are_captured(backend: Backend) {
    const BODY: usize = 40_000;
    // So the answer behind the first 512 KiB is one whose header block has a second frame.
    const EARLY: usize = 7;
    const LATE: usize = 20;
    let server = Program::python("frames.py", ["serve", "7"]);
    let mut client = Program::python("frames.py", ["keep", &server.port().to_string()]);
    let _connected = client.says("ready");
    let mut watch = Watch::pids(backend, &[client.pid()]);
    watch.agent.program().signal(Signal::STOP);
    client.tell(&format!("{EARLY} {BODY}"));
    let _answered = client.says("done ");
    watch.agent.program().signal(Signal::CONT);
    watch.receiver.wait_for(|state| state.spans.len() >= EARLY, Duration::from_secs(30)).unwrap();
    let from = client.stdout.so_far().len();
    client.tell(&format!("{LATE} {BODY}"));
    let _answered_too = client.says_after(from, "done ");
    let seen = watch.finish(EARLY + LATE);
    for span in &seen.spans {
        assert_attributes(span, &json!({ "http.response.status_code": 200, "beyla.outcome": null }));
    }
}

/// The stream that a path of `frames.py` names.
fn number(path: &str) -> u64 {
    path.split('-').nth(1).and_then(|stream| stream.parse().ok()).unwrap_or_else(|| panic!("a wrong name: {path}"))
}

struct Nghttpd {
    server: Program,
    port: u16,
    files: tempfile::TempDir,
}

fn nghttpd() -> Nghttpd {
    let (files, port) = (folder(), free_port());
    std::fs::write(files.path().join("large.bin"), vec![b'l'; 3 << 20]).unwrap();
    std::fs::write(files.path().join("small.txt"), "hello").unwrap();
    let mut command = Command::new(need::program("nghttpd"));
    command.arg("--no-tls").arg("-a").arg("127.0.0.1").arg("-d").arg(files.path()).arg(port.to_string());
    let mut server = Program::start(&mut command);
    poll("nghttpd listens", || {
        assert!(server.is_running(), "nghttpd ended: {:#?}", server.stderr.so_far());
        std::net::TcpStream::connect(("127.0.0.1", port)).ok()
    });
    Nghttpd { server, port, files }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(need::program(program)).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

fn many_streams_at_once(backend: Backend) {
    const REQUESTS: usize = 5000;
    let it = nghttpd();
    let watch = Watch::pid(backend, it.server.pid());
    let url = format!("http://127.0.0.1:{}/small.txt", it.port);
    run("h2load", &["-n", &REQUESTS.to_string(), "-c", "4", "-m", "50", &url]);
    let seen = watch.finish(REQUESTS);
    for span in &seen.spans {
        assert_attributes(
            span,
            &json!({
                "url.path": "/small.txt", "http.response.status_code": 200, "http.response.body.size": 5,
                "network.protocol.version": "2", "server.port": it.port,
            }),
        );
    }
    seen.assert_histograms_agree();
    drop(it.files);
}

fn curl_and_nghttp(backend: Backend) {
    let it = nghttpd();
    let watch = Watch::pid(backend, it.server.pid());
    let url = |path: &str| format!("http://127.0.0.1:{}{path}", it.port);
    run("nghttp", &["--null-out", &url("/small.txt"), &url("/large.bin"), &url("/none")]);
    run("curl", &["-s", "-o", "/dev/null", "--http2-prior-knowledge", &url("/small.txt")]);
    run("curl", &["-s", "-o", "/dev/null", "--http2-prior-knowledge", &url("/large.bin")]);
    let seen = watch.finish(5);
    for (path, count, status, size) in
        [("/small.txt", 2, 200, Some(5)), ("/large.bin", 2, 200, Some(3 << 20)), ("/none", 1, 404, None)]
    {
        let spans = seen.all_at(path);
        assert_eq!(spans.len(), count, "{path}: {}", seen.summary());
        for span in spans {
            let mut expected = json!({ "http.request.method": "GET", "http.response.status_code": status });
            if let Some(size) = size {
                expected["http.response.body.size"] = json!(size);
            }
            assert_attributes(span, &expected);
        }
    }
}
