//! What is told because it was asked for, and what is not: header fields, personal data, filters, and the agent's own bounds, near which spans
//! are shed and requests are counted.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::{
    fs,
    io::{Read as _, Write as _},
    os::unix::net::UnixStream,
    path::PathBuf,
    process::Command,
    time::Duration,
};

use serde_json::{Value, json};
use tests::{
    LONG,
    agent::{self, Backend, Setup, Watch},
    client::Connection,
    need, on_both_backends,
    program::{Program, folder, free_port},
    receiver::{ReceivedSpan, Receiver},
    wait::{poll, poll_every},
};

on_both_backends!(headers_are_told_by_list_and_what_is_personal_is_not);

/// An agent that watches processes by a configuration.
fn configured(backend: Backend, pids: &[u32], text: &str) -> Watch {
    configured_in(&folder(), backend, pids, text)
}

/// The same with a file that may change.
fn configured_in(files: &tempfile::TempDir, backend: Backend, pids: &[u32], text: &str) -> Watch {
    let file = file_in(files);
    fs::write(&file, text).unwrap();
    let receiver = Receiver::start();
    let agent = Setup::pids(pids).backend(backend).to(&receiver).args(["--config", file.to_str().unwrap()]).start();
    Watch { agent, receiver }
}

fn file_in(files: &tempfile::TempDir) -> PathBuf {
    files.path().join("agent.yaml")
}

fn http1() -> (Program, u16) {
    let server = Program::python("server.py", [""; 0]);
    let port = server.port();
    (server, port)
}

fn http2(files: &tempfile::TempDir) -> (Program, u16) {
    let port = free_port();
    fs::write(files.path().join("small.txt"), "hello").unwrap();
    let mut command = Command::new(need::program("nghttpd"));
    command.arg("--no-tls").arg("-a").arg("127.0.0.1").arg("-d").arg(files.path()).arg(port.to_string());
    let mut server = Program::start(&mut command);
    poll("nghttpd listens", || {
        assert!(server.is_running(), "nghttpd ended: {:#?}", server.stderr.so_far());
        std::net::TcpStream::connect(("127.0.0.1", port)).ok()
    });
    (server, port)
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(need::program(program)).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

fn of_protocol<'a>(spans: &'a [ReceivedSpan], version: &str) -> &'a ReceivedSpan {
    spans.iter().find(|span| span.attributes["network.protocol.version"] == version).unwrap()
}

fn headers_are_told_by_list_and_what_is_personal_is_not(backend: Backend) {
    let files = folder();
    let ((old, port), (new, port_of_new)) = (http1(), http2(&files));
    let watch = configured(
        backend,
        &[old.pid(), new.pid()],
        "attributes:\n  http_headers: {request: [X-Tenant-ID, x-forwarded-*, x-session-id, authorization], response: [server], hide: [x-session-id]}\n\
         redaction: {personal_data: [all]}\n",
    );
    let path = "/users/anna%40example.org/cards/4111111111111111?phone=%2B4915112345678&page=2";
    let headers = [
        "x-tenant-id: blue",
        "x-forwarded-for: 10.1.2.3",
        "x-forwarded-user: anna@example.org",
        "authorization: Bearer s3cret-one",
        "x-session-id: s3cret-two",
        "x-other: not-asked-for",
    ];
    assert_eq!(Connection::to(port).request("GET", path, &headers, b"").status, 200);
    let url = format!("http://127.0.0.1:{port_of_new}{path}");
    let mut arguments = vec!["-s", "-o", "/dev/null", "--http2-prior-knowledge", &url];
    headers.iter().for_each(|header| arguments.extend(["-H", header]));
    run("curl", &arguments);
    let seen = watch.finish(2);
    for version in ["1.1", "2"] {
        let span = of_protocol(&seen.spans, version);
        let told: Vec<(&str, &Value)> = span
            .attributes
            .iter()
            .filter_map(|(key, value)| Some((key.strip_prefix("http.request.header.")?, value)))
            .collect();
        assert_eq!(
            told,
            [
                ("x-forwarded-for", &json!(["10.1.2.3"])),
                ("x-forwarded-user", &json!(["REDACTED"])),
                ("x-session-id", &json!(["***"])),
                ("x-tenant-id", &json!(["blue"])),
            ],
            "{version}"
        );
        let server = span.attributes["http.response.header.server"].to_string();
        assert!(server.contains(if version == "2" { "nghttpd" } else { "BaseHTTP" }), "{server}");
        assert_eq!(span.attributes["url.path"], "/users/REDACTED/cards/REDACTED");
        let all = format!("{span:?}");
        for secret in ["anna", "4111", "49151", "s3cret", "not-asked-for"] {
            assert!(!all.contains(secret), "{secret} is in {all}");
        }
        assert!(span.attributes["url.query"].as_str().unwrap().contains("page=2"), "{all}");
    }
}

#[test]
fn what_a_filter_leaves_out_is_in_no_metric_and_is_counted() {
    let (server, port) = http1();
    let watch = configured(
        Backend::Sock,
        &[server.pid()],
        "filter:\n  application:\n    url.path: {not_match: /internal/*}\n    http.response.status_code: {greater_equals: 400}\n",
    );
    let mut connection = Connection::to(port);
    for path in ["/internal/a", "/status/404", "/hello", "/status/500", "/internal/b"] {
        assert!(connection.get(path).status >= 200);
    }
    poll("all have been seen", || {
        (watch.agent.metric("beyla_rs_exchanges_total", &["protocol=\"http1\""]) == 5.0).then_some(())
    });
    let seen = watch.finish(2);
    assert!(!seen.all_at("/status/404").is_empty() && !seen.all_at("/status/500").is_empty());
    assert_eq!(seen.count("http.server.request.duration"), 2);
}

/// What became of requests: spans that came, spans that were left out, and requests that the metrics count.
fn accounts(watch: &Watch) -> (f64, f64, f64) {
    let spans = watch.receiver.state().spans.len() as f64;
    let unsampled = watch.agent.metric("beyla_rs_spans_unsampled_total", &[]);
    (spans, unsampled, watch.agent.metric("http_server_request_duration_seconds_count", &[]))
}

#[test]
fn near_its_processors_it_sheds_spans_and_counts_every_request_and_comes_back() {
    let files = folder();
    let (server, port) = http2(&files);
    // One that is not optimised takes more, also where there is nothing to do.
    let is_debug = agent::binary().components().any(|part| part.as_os_str() == "debug");
    let limit = if is_debug { 0.15 } else { 0.05 };
    let watch = configured(Backend::Sock, &[server.pid()], &format!("limits: {{cpu: {limit}}}\n"));
    let url = format!("http://127.0.0.1:{port}/small.txt");
    // For a second; all of them have an answer.
    let ask = |per_second: usize| {
        let (all, each) = (per_second.to_string(), (per_second / 4).to_string());
        run("h2load", &["-n", &all, "-c", "4", "-m", "10", "--rps", &each, &url]);
        per_second
    };
    let (mut sent, mut per_second) = (0, 400);
    // So much more each time that it sheds before it loses anything, however fast the machine is.
    while !watch.agent.log().iter().any(|line| line.contains("of limits.cpu): less is captured")) {
        assert!(per_second < 100_000, "it does not shed: {:#?}", watch.agent.log());
        sent += ask(per_second);
        per_second = per_second * 3 / 2 / 4 * 4;
    }
    // Spans are kept by halves from the second step on.
    poll("it sheds spans", || {
        sent += ask(per_second);
        (watch.agent.metric("beyla_rs_spans_unsampled_total", &[]) > 0.0).then_some(())
    });
    // Each that was answered is counted, and has a span or is counted as left out: once the spans are here that are on their way.
    // Each page takes of what is bounded here.
    poll_every(Duration::from_millis(250), "all are counted", || {
        let (_, unsampled, counted) = accounts(&watch);
        let lost = watch.agent.metric("beyla_rs_capture_lost_total", &[]);
        assert!(counted <= sent as f64 && lost == 0.0, "{counted} of {sent} are counted; records lost: {lost}");
        (counted == sent as f64).then_some(unsampled)
    });
    let unsampled = watch.agent.metric("beyla_rs_spans_unsampled_total", &[]);
    let kept = sent - unsampled as usize;
    let come = watch.receiver.wait_for(|state| state.spans.len() == kept, LONG);
    assert!(come.is_ok(), "{:?} (spans, left out, counted) of {sent}", accounts(&watch));
    // A step back each five calm seconds, and there may be nine of them. It is not asked meanwhile: to answer takes of what is measured.
    watch.agent.until_logged_within(6 * LONG, "well below its bounds again");
    assert_eq!(watch.agent.metric("beyla_rs_limits_level", &[]), 0.0);
    let before = watch.receiver.state().spans.len();
    run("h2load", &["-n", "50", "-c", "1", "-m", "1", &url]);
    sent += 50;
    // Each has its span again.
    let seen = watch.stop_when(|state| state.spans.len() == before + 50);
    assert_eq!(seen.count("http.server.request.duration"), sent as u64);
    let told = |text: &str| seen.log.iter().filter(|line| line.contains(text)).count();
    assert_eq!((told("near its bounds"), told("well below its bounds again")), (1, 1), "each is told once");
}

#[test]
fn beyond_its_memory_no_span_is_kept_and_every_request_is_counted() {
    let (server, port) = http1();
    let files = folder();
    // It takes more as soon as it runs.
    let watch = configured_in(&files, Backend::Sock, &[server.pid()], "limits: {memory: 33554432}\n");
    watch.agent.until_logged("of limits.memory): less is captured");
    poll("the last step", || (watch.agent.metric("beyla_rs_limits_level", &[]) == 9.0).then_some(()));
    let before = accounts(&watch);
    let mut connection = Connection::to(port);
    (0..100).for_each(|number| assert_eq!(connection.get(&format!("/number/{number}")).status, 200));
    poll("all are counted", || {
        let (spans, unsampled, counted) = accounts(&watch);
        (spans == before.0 && unsampled == before.1 + 100.0 && counted == before.2 + 100.0).then_some(())
    });
    // What waits has less room too: the queue of what is sent, and the spans that are remembered.
    let room = |consumer: &str| {
        watch.agent.metric("beyla_rs_export_queue_limit_bytes", &[&format!("consumer=\"{consumer}\"")])
    };
    let mib = f64::from(1 << 20);
    poll("it is made smaller", || (room("otlp") == mib && room("store") == 19.0 * mib).then_some(()));
    // Other bounds are taken up while it runs; without any all is as before.
    fs::write(file_in(&files), "limits: {}\n").unwrap();
    poll("the room is back", || (room("otlp") == 16.0 * mib && room("store") == 64.0 * mib).then_some(()));
    let before = watch.receiver.state().spans.len();
    (0..20).for_each(|number| assert_eq!(connection.get(&format!("/again/{number}")).status, 200));
    let seen = watch.stop_when(|state| state.spans.len() == before + 20);
    assert!(seen.log.iter().any(|line| line.contains("limits.memory: 33554432 → null")), "{:#?}", seen.log);
}

#[test]
fn the_agents_own_metrics_have_a_port_of_their_own_where_it_is_asked_for() {
    let (server, port) = http1();
    let (own, health) = (free_port(), free_port());
    let text = format!(
        "internal_metrics: {{prometheus: {{port: {own}, path: /own/figures}}}}\nhealth_check: {{port: {health}}}\n"
    );
    let watch = configured(Backend::Sock, &[server.pid()], &text);
    assert_eq!(Connection::to(port).get("/hello").status, 200);
    let ask = |path: &str| Connection::to(own).request("GET", path, &["Connection: close"], b"");
    let page = ask("/own/figures");
    assert_eq!(page.status, 200);
    assert!(page.text().contains("beyla_rs_build_info{") && !page.text().contains("http_server_"), "{}", page.text());
    assert_eq!(ask("/metrics").status, 404);
    let health = |path: &str| Connection::to(health).request("GET", path, &["Connection: close"], b"");
    let alive: Value = serde_json::from_str(health("/healthz").text()).unwrap();
    assert!(alive["unix_time"].as_u64() > Some(1_700_000_000) && alive["uptime_seconds"].is_u64(), "{alive}");
    assert_eq!([health("/readyz").status, health("/metrics").status], [200, 404]);
    poll("where they always are", || {
        (watch.agent.metric("http_server_request_duration_seconds_count", &[]) == 1.0).then_some(())
    });
    assert_eq!(watch.agent.metric("beyla_rs_build_info", &[]), 1.0);
    drop(watch.agent.stop());
}

#[test]
fn a_unix_socket_tells_whether_it_works_and_goes_with_it() {
    let (server, _) = http1();
    let files = folder();
    let socket = files.path().join("health.sock");
    let text = format!("health_check: {{unix_socket_path: {}}}\n", socket.display());
    let watch = configured(Backend::Sock, &[server.pid()], &text);
    let mut stream = UnixStream::connect(&socket).unwrap();
    stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: h\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    drop(watch.agent.stop());
    assert!(!socket.exists());
}

#[test]
fn receivers_headers_and_attributes_of_metrics_change_while_it_runs() {
    let (server, port) = http1();
    let files = folder();
    let (first, second) = (Receiver::start(), Receiver::start());
    let file = file_in(&files);
    let write = |receiver: &Receiver, tenant: &str, rest: &str| {
        let endpoint = receiver.grpc_endpoint();
        let text = format!("otlp: {{endpoint: '{endpoint}', protocol: grpc, headers: {{x-tenant: {tenant}}}}}\n{rest}");
        fs::write(&file, text).unwrap();
    };
    write(&first, "blue", "");
    let agent = Setup::pid(server.pid()).args(["--config", file.to_str().unwrap()]).start();
    let mut connection = Connection::to(port);
    let mut get = |path: &str| assert_eq!(connection.get(path).status, 200);
    let tenants = |receiver: &Receiver| -> Vec<String> {
        let of_spans = |path: &str| path.contains("Trace") || path.contains("trace");
        let requests = receiver.state().requests;
        let of_spans = requests.iter().filter(|request| of_spans(&request.path));
        of_spans.map(|request| request.header("x-tenant").unwrap_or_default().to_owned()).collect()
    };
    get("/one/1");
    first.wait_for(|state| state.spans.len() == 1, LONG).unwrap();
    write(&first, "green", "");
    agent.until_logged("otlp.headers.x-tenant: \"***\" → another \"***\"");
    agent.until_logged("configuration read again: receivers");
    get("/two/1");
    first.wait_for(|state| state.spans.len() == 2, LONG).unwrap();
    assert_eq!(tenants(&first), ["blue", "green"]);
    write(&second, "red", "attributes: {select: {http.server.*: {exclude: [http.route]}}}\n");
    agent.until_logged("configuration read again: attributes of metrics, receivers");
    assert_eq!(agent.metric("http_server_request_duration_seconds_count", &["http_route="]), 2.0);
    get("/three/1");
    second.wait_for(|state| state.spans.len() == 1, LONG).unwrap();
    assert_eq!((tenants(&second), first.state().spans.len()), (vec!["red".to_owned()], 2));
    // Each request is counted, the last one without its route; and each span, by its receiver.
    poll("all are counted", || {
        let counted = agent.metric("http_server_request_duration_seconds_count", &[]);
        (counted == 3.0).then_some(())
    });
    assert_eq!(agent.metric("http_server_request_duration_seconds_count", &["http_route="]), 2.0);
    let sent = |receiver: &Receiver| {
        let endpoint = format!("endpoint=\"{}", receiver.grpc_endpoint());
        agent.metric("beyla_rs_export_spans_total", &["outcome=\"sent\"", &endpoint])
    };
    poll("what was sent is counted", || ((sent(&first), sent(&second)) == (2.0, 1.0)).then_some(()));
    // A file of certificates that there is not: nothing changes.
    fs::write(&file, "otlp: {endpoint: 'https://127.0.0.1:1', certificate: /no/such/file}\n").unwrap();
    agent.until_logged("the changed configuration is not used");
    get("/four/1");
    second.wait_for(|state| state.spans.len() == 2, LONG).unwrap();
    drop(agent.stop());
}
