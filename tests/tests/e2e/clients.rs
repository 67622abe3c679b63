//! Processes that make requests, and those that do both.

use std::{
    io::{self, Read, Write},
    net::{Shutdown, TcpListener, TcpStream},
    thread,
};

use serde_json::json;
use tests::{
    agent::{Agent, Backend, Ended, Setup, Watch},
    client::Connection,
    need, on_both_backends,
    program::Program,
    receiver::Receiver,
    seen::{Seen, assert_attributes},
};

on_both_backends!(
    curl_started_by_exec,
    a_status_of_400_is_an_error_to_the_client,
    a_client_that_lives_long,
    a_process_that_is_server_and_client,
    a_proxy_and_the_server_behind_it,
    requests_within_a_tunnel,
    a_job_that_holds_a_request_is_none,
);

fn server() -> (Program, u16) {
    let server = Program::python("server.py", [""; 0]);
    let port = server.port();
    (server, port)
}

fn exec(backend: Backend, receiver: &Receiver, command: &[&str]) -> Agent {
    Setup::with(["exec"]).backend(backend).to(receiver).args(["--"]).args(command).launch()
}

fn seen(receiver: &Receiver, ended: Ended) -> Seen {
    let state = receiver.state();
    assert!(state.violations.is_empty(), "{:#?}", state.violations);
    Seen { spans: state.spans, metrics: state.metrics, log: ended.log }
}

fn curl_started_by_exec(backend: Backend) {
    let ((_server, port), receiver) = (server(), Receiver::start());
    let curl = need::program("curl");
    let url = format!("http://127.0.0.1:{port}/by-curl?id=1&api_key=hunter2");
    let trace = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let curl = [curl.to_str().unwrap(), "-sS", "-A", "curl-of-tests", "-H", trace, "-d", "body", &url];
    let ended = exec(backend, &receiver, &curl).ended();
    assert_eq!((ended.status.code(), ended.stdout.concat()), (Some(0), "4".to_owned()), "{:#?}", ended.log);

    let seen = seen(&receiver, ended);
    assert_eq!(seen.spans.len(), 1, "{}", seen.summary());
    let span = &seen.spans[0];
    assert_eq!((span.kind, span.status), ("CLIENT", "UNSET"));
    assert!(span.name.starts_with("POST"), "{}", span.name);
    assert_eq!(span.service(), "curl");
    assert_eq!(span.trace_id, "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(span.parent_span_id, "00f067aa0ba902b7");
    assert_attributes(
        span,
        &json!({
            "http.request.method": "POST",
            "http.response.status_code": 201,
            "url.full": format!("http://127.0.0.1:{port}/by-curl?id=1&api_key=REDACTED"),
            "url.path": null,
            "server.address": "127.0.0.1",
            "server.port": port,
            "network.peer.address": "127.0.0.1",
            "network.peer.port": port,
            "network.protocol.version": "1.1",
            "user_agent.original": "curl-of-tests",
            "http.request.body.size": 4,
            "http.response.body.size": 1,
            "client.address": null,
            "error.type": null,
        }),
    );
    seen.assert_histograms_agree();
    let [point] = seen.histogram("http.client.request.duration").try_into().expect("one series");
    assert_eq!(point.attributes["server.port"], port);
}

fn a_status_of_400_is_an_error_to_the_client(backend: Backend) {
    let ((_server, port), receiver) = (server(), Receiver::start());
    let url = |status: u16| format!("http://127.0.0.1:{port}/status/{status}");
    let curl = need::program("curl");
    // With -f it fails by 22 for the last.
    let curl = [curl.to_str().unwrap(), "-sSf", &url(200), &url(404), &url(500)];
    let ended = exec(backend, &receiver, &curl).ended();
    assert_eq!(ended.status.code(), Some(22), "the program's exit status is passed on: {:#?}", ended.log);
    let seen = seen(&receiver, ended);
    assert_eq!(seen.spans.len(), 3, "{}", seen.summary());
    for (code, status, error) in
        [(200, "UNSET", json!(null)), (404, "ERROR", json!("404")), (500, "ERROR", json!("500"))]
    {
        let span = seen.at(&format!("/status/{code}"));
        assert_eq!((span.kind, span.status), ("CLIENT", status), "{code}");
        assert_attributes(span, &json!({ "http.response.status_code": code, "error.type": error }));
    }
    seen.assert_histograms_agree();
}

fn a_client_that_lives_long(backend: Backend) {
    let (_server, port) = server();
    let mut client = Program::node("client.js", [""; 0]);
    let _ready = client.says("ready");
    // Its connection exists before the agent does.
    client.tell(&format!("3 http://localhost:{port}/early"));
    let _done = client.says_after(1, "done 200");
    let watch = Watch::pid(backend, client.pid());
    client.tell(&format!("100 http://localhost:{port}/late"));
    let _done = client.says_after(2, "done 200");
    let seen = watch.finish(100);
    for span in seen.all_at("/late") {
        assert_eq!((span.kind, span.status), ("CLIENT", "UNSET"));
        assert_attributes(
            span,
            &json!({
                "url.full": format!("http://localhost:{port}/late"),
                "server.address": "localhost",
                "server.port": port,
                "network.peer.port": port,
                "user_agent.original": "long-lived/1",
                "http.response.status_code": 200,
                "http.response.body.size": 5,
            }),
        );
    }
    assert_eq!(seen.all_at("/late").len(), 100);
    seen.assert_histograms_agree();
}

fn a_process_that_is_server_and_client(backend: Backend) {
    let (_server, behind) = server();
    let proxy = Program::python("proxy.py", [format!("http://127.0.0.1:{behind}")]);
    let port = proxy.port();
    let watch = Watch::pid(backend, proxy.pid());
    let mut connection = Connection::to(port);
    let trace = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert_eq!(connection.request("GET", "/traced", &[trace], b"").status, 200);
    assert_eq!(connection.get("/status/404").status, 404);
    let seen = watch.finish(4);

    let of = |kind: &str, path: &str| {
        let span = seen.all_at(path).into_iter().find(|span| span.kind == kind);
        span.unwrap_or_else(|| panic!("no {kind} span of {path}: {}", seen.summary())).clone()
    };
    let (served, made) = (of("SERVER", "/traced"), of("CLIENT", "/traced"));
    assert_attributes(&served, &json!({ "server.port": port, "url.full": null, "http.response.status_code": 200 }));
    assert_attributes(
        &made,
        &json!({
            "url.full": format!("http://127.0.0.1:{behind}/traced?token=REDACTED&page=2"),
            "server.port": behind,
            "http.response.status_code": 200,
        }),
    );
    assert_eq!(
        (served.parent_span_id.as_str(), made.parent_span_id.as_str()),
        ("00f067aa0ba902b7", "1111111111111111")
    );
    assert_eq!(served.trace_id, made.trace_id);
    assert!(served.start_unix_nano <= made.start_unix_nano && made.end_unix_nano <= served.end_unix_nano);
    assert_eq!((of("SERVER", "/status/404").status, of("CLIENT", "/status/404").status), ("UNSET", "ERROR"));
    seen.assert_histograms_agree();
}

/// Two watched processes, one agent.
fn a_proxy_and_the_server_behind_it(backend: Backend) {
    let (server, behind) = server();
    let proxy = Program::python("proxy.py", [format!("http://127.0.0.1:{behind}")]);
    let port = proxy.port();
    let receiver = Receiver::start();
    let agent =
        Setup::pid(server.pid()).args(["--pid", &proxy.pid().to_string()]).backend(backend).to(&receiver).start();
    let watch = Watch { agent, receiver };
    for _ in 0..10 {
        assert_eq!(Connection::to(port).get("/through").status, 200);
    }
    let seen = watch.finish(30);
    for (pid, kind) in [(server.pid(), "SERVER"), (proxy.pid(), "SERVER"), (proxy.pid(), "CLIENT")] {
        let count = seen.of_kind(kind).iter().filter(|span| span.resource["process.pid"] == pid).count();
        assert_eq!(count, 10, "{kind} of process {pid}: {}", seen.summary());
    }
    seen.assert_histograms_agree();
}

#[test]
fn exec_passes_the_status_on() {
    for (script, status) in [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", 128 + 15)] {
        let ended = Setup::with(["exec", "--print", "json", "--", "sh", "-c", script]).launch().ended();
        assert_eq!(ended.status.code(), Some(status), "{script}: {:#?}", ended.log);
        assert!(ended.stdout.is_empty(), "{script}: {:?}", ended.stdout);
    }
}

#[test]
fn exec_of_what_does_not_exist_fails_and_names_it() {
    let ended = Setup::with(["exec", "--", "/does/not/exist"]).launch().ended();
    assert_eq!(ended.status.code(), Some(127), "{:#?}", ended.log);
    assert!(ended.log.concat().contains("/does/not/exist"), "{:#?}", ended.log);
}

/// A proxy for `CONNECT`, which serves one connection and passes on what comes.
fn tunnel(to: u16) -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    let port = listener.local_addr().unwrap().port();
    thread::spawn(move || {
        let (mut client, _) = listener.accept().unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            let mut byte = [0];
            client.read_exact(&mut byte).unwrap();
            head.extend(byte);
        }
        let mut server = TcpStream::connect(("127.0.0.1", to)).unwrap();
        client.write_all(b"HTTP/1.1 200 Connection established\r\n\r\n").unwrap();
        let (mut from_server, mut to_client) = (server.try_clone().unwrap(), client.try_clone().unwrap());
        thread::spawn(move || io::copy(&mut from_server, &mut to_client));
        let _ended = io::copy(&mut client, &mut server);
        let _gone_already = server.shutdown(Shutdown::Both);
    });
    port
}

fn requests_within_a_tunnel(backend: Backend) {
    let ((_server, port), receiver) = (server(), Receiver::start());
    let curl = need::program("curl");
    let proxy = format!("http://127.0.0.1:{}", tunnel(port));
    let [first, second] = ["first", "second"].map(|name| format!("http://127.0.0.1:{port}/{name}"));
    let curl = [curl.to_str().unwrap(), "-sS", "-p", "-x", &proxy, &first, &second];
    let ended = exec(backend, &receiver, &curl).ended();
    assert_eq!((ended.status.code(), ended.stdout.concat()), (Some(0), "hellohello".to_owned()), "{:#?}", ended.log);
    let seen = seen(&receiver, ended);
    assert_eq!(seen.spans.len(), 3, "{}", seen.summary());
    let methods: Vec<_> = seen.spans.iter().map(|span| span.attributes["http.request.method"].clone()).collect();
    assert_eq!(methods, ["CONNECT", "GET", "GET"]);
    for path in ["/first", "/second"] {
        assert_attributes(seen.at(path), &json!({ "http.response.status_code": 200, "server.port": port }));
    }
    seen.assert_histograms_agree();
}

fn a_job_that_holds_a_request_is_none(backend: Backend) {
    let queue = Program::python("job_queue.py", [""; 0]);
    let watch = Watch::pid(backend, queue.pid());
    let job = "GET /never HTTP/1.1\r\nHost: h\r\n\r\n";
    for _ in 0..20 {
        // In pieces of their own, each read before the next is sent.
        let mut connection = Connection::to(queue.port());
        for (said, answered) in [(format!("put {}\r\n", job.len()), "GO ON\r\n"), (job.to_owned(), "INSERTED\r\n")] {
            connection.send(said);
            assert_eq!(connection.receive(answered.len()), answered.as_bytes());
        }
        connection.send("reserve\r\n");
        assert_eq!(connection.receive(job.len()), job.as_bytes());
    }
    let seen = watch.stop_when(|_| true);
    assert!(seen.spans.is_empty(), "{}", seen.summary());
}
