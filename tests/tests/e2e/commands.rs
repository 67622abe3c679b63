//! What the commands print, byte by byte where scripts may rely on it.

use regex::Regex;
use serde_json::Value;
use tests::{
    agent::{Agent, Backend, Setup},
    client::Connection,
    need, on_both_backends,
    program::Program,
};

on_both_backends!(printed_json_is_an_object_per_span, printed_text_is_a_line_per_span);

/// Lines printed for two requests: one that names its parent, one that fails.
fn printed(backend: Backend, format: &str) -> (Program, u16, Vec<String>) {
    let server = Program::python("server.py", [""; 0]);
    let port = server.port();
    let mut agent = Setup::pid(server.pid()).backend(backend).args(["--print", format]).start();
    let parent = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    assert_eq!(Connection::to(port).request("GET", "/api/items?password=x", &[parent], b"").status, 200);
    assert_eq!(Connection::to(port).get("/status/500").status, 500);
    let printed = agent.program().stdout.until(tests::LONG, |lines| (lines.len() >= 2).then_some(()));
    assert!(printed.is_some(), "two lines: {:?}; log: {:#?}", agent.program().stdout.so_far(), agent.log());
    let ended = agent.stop();
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.log);
    assert_eq!(ended.stdout.len(), 2, "standard output holds nothing else: {:#?}", ended.stdout);
    (server, port, ended.stdout)
}

fn printed_json_is_an_object_per_span(backend: Backend) {
    let (server, port, lines) = printed(backend, "json");
    let spans: Vec<Value> = lines.iter().map(|line| serde_json::from_str(line).expect("JSON")).collect();
    let keys: Vec<&str> = spans[0].as_object().expect("an object").keys().map(String::as_str).collect();
    let expected = [
        "trace_id",
        "span_id",
        "parent_span_id",
        "kind",
        "name",
        "start_unix_nano",
        "end_unix_nano",
        "status",
        "attributes",
        "resource",
    ];
    assert_eq!(keys, expected);
    let at = |path: &str| spans.iter().find(|span| span["attributes"]["url.path"] == path).expect("a span of it");
    let (fine, failed) = (at("/api/items"), at("/status/500"));
    assert_eq!(fine["trace_id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(fine["parent_span_id"], "00f067aa0ba902b7");
    assert_eq!((&fine["kind"], &fine["status"]), (&"SERVER".into(), &"UNSET".into()));
    assert_eq!(fine["attributes"]["url.query"], "password=REDACTED");
    assert_eq!(fine["attributes"]["server.port"], port);
    assert_eq!(fine["resource"]["process.pid"], server.pid());
    assert!(fine["start_unix_nano"].as_u64() < fine["end_unix_nano"].as_u64());
    assert_eq!((&failed["parent_span_id"], &failed["status"]), (&Value::Null, &"ERROR".into()));
    assert!(Regex::new("^[0-9a-f]{16}$").unwrap().is_match(failed["span_id"].as_str().expect("an id")));
}

fn printed_text_is_a_line_per_span(backend: Backend) {
    let (server, port, lines) = printed(backend, "text");
    let form = |name: &str, status: u16, trace: &str| {
        Regex::new(&format!(
            r"^\d\d:\d\d:\d\d\.\d{{6}} SERVER HTTP  {name} {status}  \d+\.\d{{3}}ms  \[programs/{}\] 127\.0\.0\.1:\d+ → \S+:{port} trace={trace}$",
            server.pid()
        ))
        .unwrap()
    };
    let fine = form("GET /api/items", 200, "4bf92f3577b34da6a3ce929d0e0e4736");
    let failed = form(r"GET /status/\S+", 500, "[0-9a-f]{32}");
    assert!(lines.iter().any(|line| fine.is_match(line)), "{fine} in {lines:#?}");
    assert!(lines.iter().any(|line| failed.is_match(line)), "{failed} in {lines:#?}");
}

#[test]
fn a_clients_line_has_the_path_that_it_asked_for() {
    let server = Program::python("server.py", [""; 0]);
    let url = format!("http://127.0.0.1:{}/api/deep/path?password=x", server.port());
    let setup = Setup::with(["exec", "--print", "text", "--"]).args([need::program("curl")]).args(["-s", &url]);
    let ended = setup.launch().ended();
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.log);
    let printed = ended.stdout.concat();
    assert!(printed.contains(" CLIENT HTTP  GET /api/deep/path 200  "), "{printed}");
}

#[test]
fn the_first_line_says_what_is_watched_and_where_the_metrics_are() {
    let server = Program::python("server.py", [""; 0]);
    let (pid, port) = (server.pid(), server.port());
    let said = |agent: Agent| {
        let ended = agent.stop();
        let line = ended.log.iter().find(|line| line.contains("watching ")).cloned();
        line.unwrap_or_else(|| panic!("{:#?}", ended.log))
    };
    let line = said(Setup::with(["--port", &port.to_string()]).start());
    assert!(line.contains(&format!("watching programs (process {pid}, :{port}) (backend ")), "{line}");
    assert!(Regex::new(r"; metrics http://127\.0\.0\.1:\d+/metrics;").unwrap().is_match(&line), "{line}");
    let line = said(Setup::pid(pid).start());
    assert!(line.contains(&format!("watching programs (process {pid}) and children (backend ")), "{line}");
    // Nothing listens there, and what does is named.
    let line = said(Setup::with(["--port", "1"]).start());
    assert!(line.contains("watching for processes that match port 1: none does yet; what listens is "), "{line}");
    let ended = Setup::with(["--pid", "4194305"]).launch().ended();
    assert_eq!(ended.status.code(), Some(2));
    let log = ended.log.concat();
    assert!(log.contains("--pid 4194305: there is no such process; what listens is "), "{log}");
}

#[test]
fn the_number_of_a_thread_is_not_taken_for_that_of_a_process() {
    let own = std::process::id();
    // This runs on one that is not the first.
    let thread = rustix::thread::gettid().as_raw_nonzero();
    let ended = Setup::with(["--pid", &thread.to_string()]).launch().ended();
    assert_eq!(ended.status.code(), Some(2), "{:#?}", ended.log);
    let log = ended.log.concat();
    assert!(log.contains(&format!("--pid {thread}: that is a thread of process {own}; give --pid {own}")), "{log}");
}

#[test]
fn check_says_that_this_host_will_do() {
    let ended = Setup::with(["check", "--json"]).launch().ended();
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.log);
    let report: Value = serde_json::from_str(&ended.stdout.join("\n")).expect("JSON");
    assert_eq!(report["ok"], true, "{report:#}");
    for name in ["backend sock", "backend syscall", "BTF", "CAP_BPF"] {
        let items = report["items"].as_array().expect("items");
        let item = items.iter().find(|item| item["name"] == name).unwrap_or_else(|| panic!("no {name}: {report:#}"));
        assert_eq!(item["ok"], true, "{item:#}");
        assert!(item["enables"].as_str().is_some_and(|text| !text.is_empty()), "{item:#}");
    }
    let text = Setup::with(["check"]).launch().ended();
    assert_eq!(text.status.code(), Some(0));
    let last = text.stdout.last().expect("a verdict");
    assert!(last.starts_with("beyla-rs can run here, with backend "), "{:#?}", text.stdout);
    assert_eq!(report["verdict"], last.as_str());
}

#[test]
fn survey_lists_a_server_with_its_port() {
    let server = Program::python("server.py", [""; 0]);
    let port = server.port();
    let ended = Setup::with(["survey", "--json"]).launch().ended();
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.log);
    let rows: Vec<Value> = serde_json::from_str(&ended.stdout.join("\n")).expect("an array");
    let row = rows.iter().find(|row| row["pid"] == server.pid()).unwrap_or_else(|| panic!("not listed: {rows:#?}"));
    assert_eq!((&row["service_name"], &row["language"]), (&"programs".into(), &"python".into()));
    let ports = row["ports"].as_array().expect("ports");
    assert!(ports.iter().any(|listed| *listed == port), "{row:#}");
    for key in ["service_namespace", "executable", "tls", "matched_by"] {
        assert!(row.get(key).is_some(), "{key}: {row:#}");
    }
}

#[test]
fn metrics_are_printed_where_asked_for() {
    let server = Program::python("server.py", [""; 0]);
    let setup = Setup::pid(server.pid()).args(["--print", "off"]);
    let mut agent = setup.env("OTEL_METRICS_EXPORTER", "console").env("OTEL_METRIC_EXPORT_INTERVAL", "100").start();
    assert_eq!(Connection::to(server.port()).get("/printed/metrics").status, 200);
    let is_counted = |lines: &[String]| {
        lines.iter().any(|line| line.starts_with("http_server_request_duration_seconds_count{") && line.ends_with(" 1"))
    };
    let printed = agent.program().stdout.until(tests::LONG, |lines| is_counted(lines).then_some(()));
    assert!(printed.is_some(), "{:#?}", agent.program().stdout.so_far());
    assert_eq!(Connection::to(server.port()).get("/printed/last").status, 200);
    let ended = agent.stop();
    assert_eq!(ended.status.code(), Some(0), "{:#?}", ended.log);
    // The last time is at the end.
    let pages = ended.stdout.iter().filter(|line| line.starts_with("beyla_rs_build_info{")).count();
    assert!(pages >= 2, "{:#?}", ended.stdout);
}
