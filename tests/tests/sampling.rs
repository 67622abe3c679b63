//! Which requests' spans are sent: health checks are not, rates and tail rules hold, and each span says what it stands for. Metrics count
//! all of them.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::{fs, net::TcpStream, process::Command};

use tests::{
    agent::{Backend, Setup, Watch},
    client::Connection,
    need, on_both_backends,
    program::{Program, folder, free_port},
    receiver::{ReceivedSpan, Receiver},
    wait::poll,
};

on_both_backends!(health_checks_are_counted_and_in_no_trace, tail_rules_keep_what_they_say_and_a_share_of_the_rest);

fn server() -> (Program, u16) {
    let server = Program::python("server.py", [""; 0]);
    let port = server.port();
    (server, port)
}

/// An agent that watches processes by a configuration.
fn configured(backend: Backend, pid: u32, text: &str) -> Watch {
    let files = folder();
    let file = files.path().join("agent.yaml");
    fs::write(&file, text).unwrap();
    let receiver = Receiver::start();
    let agent = Setup::pid(pid).backend(backend).to(&receiver).args(["--config", file.to_str().unwrap()]).start();
    Watch { agent, receiver }
}

fn counted(watch: &Watch) -> f64 {
    watch.agent.metric("http_server_request_duration_seconds_count", &[])
}

/// How many requests a span says that it stands for.
fn stands_for(span: &ReceivedSpan) -> f64 {
    let digits = span.trace_state.strip_prefix("ot=th:").unwrap_or_else(|| panic!("{:?}", span.trace_state));
    let threshold = u64::from_str_radix(&format!("{digits:0<14}"), 16).unwrap();
    (1_u64 << 56) as f64 / ((1_u64 << 56) - threshold) as f64
}

fn health_checks_are_counted_and_in_no_trace(backend: Backend) {
    let (server, port) = server();
    let watch = configured(backend, server.pid(), "");
    let mut connection = Connection::to(port);
    let mut ask = |target: &str, headers: &[&str]| {
        assert_eq!(connection.request("GET", target, headers, b"").status, 200);
    };
    ask("/healthz", &[]);
    ask("/readyz?verbose=1", &["User-Agent: curl/8"]);
    ask("/of/kubelet", &["User-Agent: kube-probe/1.31"]);
    ask(
        "/metrics",
        &["User-Agent: Prometheus/3.0.1", "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"],
    );
    ask("/of/a/user", &["User-Agent: curl/8"]);
    ask("/healthz/not", &[]);
    poll("all are counted", || (counted(&watch) == 6.0).then_some(()));
    poll("those that are left out, too", || {
        (watch.agent.metric("beyla_rs_spans_unsampled_total", &[]) == 4.0).then_some(())
    });
    let seen = watch.finish(2);
    for path in ["/of/a/user", "/healthz/not"] {
        assert_eq!(seen.at(path).trace_state, "ot=th:0");
    }
    assert_eq!(seen.count("http.server.request.duration"), 6);
}

#[test]
fn others_may_be_named_and_all_be_kept() {
    let (server, port) = server();
    let text = "sampling: {health_checks: {paths: [/alive*]}}\n";
    let mut connection = Connection::to(port);
    let watch = configured(Backend::Sock, server.pid(), text);
    for target in ["/alive", "/alive/and/well", "/healthz"] {
        assert_eq!(connection.get(target).status, 200);
    }
    let seen = watch.finish(1);
    assert_eq!(seen.at("/healthz").name, "GET /healthz");
    let watch = configured(Backend::Sock, server.pid(), "sampling: {health_checks: {in_traces: true}}\n");
    assert_eq!(connection.get("/healthz").status, 200);
    assert_eq!(watch.finish(1).spans[0].name, "GET /healthz");
}

#[test]
fn a_health_check_of_grpc_is_left_out_by_its_method() {
    let (files, port) = (folder(), free_port());
    let method = files.path().join("grpc.health.v1.Health");
    fs::create_dir(&method).unwrap();
    for name in ["Check", "Other"] {
        fs::write(method.join(name), name).unwrap();
    }
    fs::create_dir(files.path().join("pay.Health")).unwrap();
    fs::write(files.path().join("pay.Health/Check"), "paid").unwrap();
    let mut command = Command::new(need::program("nghttpd"));
    command.args(["--no-tls", "-a", "127.0.0.1", "-d"]).arg(files.path()).arg(port.to_string());
    let mut server = Program::start(&mut command);
    poll("the server listens", || {
        assert!(server.is_running(), "it ended: {:#?}", server.stderr.so_far());
        TcpStream::connect(("127.0.0.1", port)).is_ok().then_some(())
    });
    let watch = configured(Backend::Sock, server.pid(), "");
    let client = Command::new(need::program("nghttp"))
        .args(["--no-dep", "-n"])
        .args(["grpc.health.v1.Health/Check", "pay.Health/Check"].map(|path| format!("http://127.0.0.1:{port}/{path}")))
        .output()
        .unwrap();
    assert!(client.status.success(), "{}", String::from_utf8_lossy(&client.stderr));
    poll("both are counted", || (counted(&watch) == 2.0).then_some(()));
    let seen = watch.finish(1);
    assert_eq!(seen.spans[0].attributes["url.path"], "/pay.Health/Check");
}

fn tail_rules_keep_what_they_say_and_a_share_of_the_rest(backend: Backend) {
    let (server, port) = server();
    let text = "sampling:\n  tail:\n    slower_than: 80ms\n    routes: [/status/404]\n    share_of_rest: 0.25\n";
    let watch = configured(backend, server.pid(), text);
    let mut connection = Connection::to(port);
    let mut ask = |target: &str, count: usize| (0..count).for_each(|_| drop(connection.get(target)));
    ask("/status/500", 7);
    ask("/status/404", 5);
    ask("/sleep?ms=100", 3);
    ask("/sleep?ms=1", 4);
    ask("/fast", 396);
    poll("all are counted", || (counted(&watch) == 415.0).then_some(()));
    let seen = watch.stop_when(|state| {
        let is_slow = |span: &&ReceivedSpan| span.duration_ns() > 80_000_000;
        state.spans.iter().filter(is_slow).count() >= 3
    });
    // Those that were asked for, exactly, and each stands for itself.
    let at = |path: &str| seen.all_at(path);
    assert_eq!((at("/status/500").len(), at("/status/404").len()), (7, 5), "{}", seen.summary());
    let slow: Vec<_> = at("/sleep").into_iter().filter(|span| span.duration_ns() > 80_000_000).collect();
    assert_eq!(slow.len(), 3, "{}", seen.summary());
    for span in at("/status/500").into_iter().chain(at("/status/404")).chain(slow) {
        assert_eq!(span.trace_state, "ot=th:0");
    }
    // Of the rest a quarter by the ids of their traces, each of which stands for four.
    let rest: Vec<&ReceivedSpan> = seen.spans.iter().filter(|span| span.trace_state == "ot=th:c").collect();
    assert_eq!(rest.len() + 15, seen.spans.len());
    assert!((60..145).contains(&rest.len()), "{} of 400", rest.len());
    assert!(rest.iter().all(|span| &span.trace_id[18..19] >= "c"), "by their randomness");
    assert_eq!(seen.count("http.server.request.duration"), 415);
}

#[test]
fn a_rate_is_kept_to_and_spans_say_what_they_stand_for() {
    let (server, port) = server();
    let text = "otel_traces_export: {sampler: {traces_per_second: 20}}\n";
    let watch = configured(Backend::Sock, server.pid(), text);
    let mut connection = Connection::to(port);
    let began = std::time::Instant::now();
    let mut asked = 0;
    // As fast as it goes: hundreds or thousands in a second.
    while began.elapsed().as_millis() < 4000 {
        assert_eq!(connection.get("/rate").status, 200);
        asked += 1;
    }
    poll("all are counted", || (counted(&watch) == f64::from(asked)).then_some(()));
    let seen = watch.stop_when(|_| true);
    // 20 in each second, and what a sudden beginning adds to that.
    let kept = seen.spans.len();
    assert!((30..350).contains(&kept) && kept < asked as usize / 2, "{kept} of {asked}");
    let told: f64 = seen.spans.iter().map(stands_for).sum();
    assert!((0.5..2.0).contains(&(told / f64::from(asked))), "{told} of {asked}");
    assert_eq!(seen.count("http.server.request.duration"), asked as u64);
}

#[test]
fn a_ratio_is_told_and_what_the_caller_says_is_kept() {
    let (server, port) = server();
    let text = "otel_traces_export: {sampler: {name: parentbased_traceidratio, arg: 0.5}}\n";
    let watch = configured(Backend::Sock, server.pid(), text);
    let mut connection = Connection::to(port);
    let mut ask = |target: &str, trace: &str, state: &str| {
        let parent = format!("traceparent: 00-{trace}-00f067aa0ba902b7-01");
        let state = format!("tracestate: {state}");
        assert_eq!(connection.request("GET", target, &[&parent, &state], b"").status, 200);
    };
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    ask("/told", trace, "a=1,ot=x:y;th:c;rv:d0000000000000,b=2");
    ask("/wrong", trace, "a=1,ot=th:d;rv:c0000000000000;x:y");
    ask("/untold", trace, "a=1");
    for _ in 0..100 {
        assert_eq!(connection.get("/root").status, 200);
    }
    poll("all are counted", || (counted(&watch) == 103.0).then_some(()));
    let seen = watch.stop_when(|state| state.spans.len() >= 3);
    assert_eq!(seen.at("/told").trace_state, "a=1,ot=x:y;th:c;rv:d0000000000000,b=2");
    assert_eq!(seen.at("/wrong").trace_state, "ot=rv:c0000000000000;x:y,a=1");
    assert_eq!(seen.at("/untold").trace_state, "a=1");
    let roots = seen.all_at("/root");
    assert!((20..80).contains(&roots.len()), "{}", roots.len());
    assert!(roots.iter().all(|span| span.trace_state == "ot=th:8"));
}
