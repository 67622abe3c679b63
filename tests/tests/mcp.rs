//! The Model Context Protocol, asked by its own Python library over HTTP and over standard input: what it is told is what was sent.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::process::Command;

use serde_json::{Value, json};
use tests::{
    agent::{self, Agent, Setup},
    client::Connection,
    need,
    program::{Program, folder},
    wait::poll,
};

fn service(name: &str, backend: Option<u16>) -> (Program, u16) {
    let mut command = Command::new(need::python());
    command.arg("-u").arg(need::source("shop.py")).arg("serve").args(backend.map(|port| port.to_string()));
    let program = Program::start(command.env("OTEL_SERVICE_NAME", name));
    let port = program.port();
    (program, port)
}

fn ask(port: u16, path: &str) {
    let _answer = Connection::to(port).request("GET", path, &["Connection: close"], b"");
}

/// A client of the library that has begun, and what it was told.
struct Client {
    program: Program,
    said: usize,
}

impl Client {
    fn start(arguments: &[&str]) -> Self {
        let mut command = Command::new(need::python());
        command.env("PYTHONPATH", need::made("mcp")).arg("-u").arg(need::source("mcp/ask.py")).args(arguments);
        Self { program: Program::start(&mut command), said: 0 }
    }

    fn says(&mut self) -> Value {
        let line = self.program.stdout.until(tests::LONG, |lines| lines.get(self.said).cloned());
        let line = line.unwrap_or_else(|| panic!("the client: {:#?}", self.program.stderr.so_far()));
        self.said += 1;
        serde_json::from_str(&line).unwrap()
    }

    fn call(&mut self, tool: &str, arguments: &Value) -> (bool, String) {
        self.program.tell(&json!([tool, arguments]).to_string());
        let said = self.says();
        (said[0].as_bool().unwrap(), said[1].as_str().unwrap().to_owned())
    }

    fn told(&mut self, tool: &str, arguments: &Value) -> Value {
        let (is_error, text) = self.call(tool, arguments);
        assert!(!is_error && text.len() <= 24 << 10, "{tool}: {text}");
        serde_json::from_str(&text).unwrap()
    }

    fn end(mut self) {
        self.program.tell_no_more();
        assert!(self.program.wait().success(), "{:#?}", self.program.stderr.so_far());
    }
}

/// Each tool, whose answers are known: the front was asked 12 times, of which 3 failed at its back.
fn each_tool_tells_what_was_sent(client: &mut Client) {
    let begun = client.says();
    assert_eq!((&begun[0], &begun[1]), (&json!("2025-11-25"), &json!("beyla-rs")));
    let tools: Vec<&str> = begun[2].as_array().unwrap().iter().filter_map(Value::as_str).collect();
    assert_eq!(
        tools,
        [
            "list_services",
            "get_service",
            "get_service_map",
            "find_traces",
            "get_trace",
            "find_requests",
            "list_processes",
            "get_agent"
        ]
    );
    let services = client.told("list_services", &json!({ "window": "15m" }));
    let of =
        |name: &str| services["services"].as_array().unwrap().iter().find(|it| it["name"] == name).unwrap().clone();
    assert_eq!(
        (&of("front-of-mcp")["served"]["requests"], &of("front-of-mcp")["served"]["errors"]),
        (&json!(12), &json!(3))
    );
    assert_eq!(of("back-of-mcp")["served"]["requests"], 12);
    let front = client.told("get_service", &json!({ "name": "front-of-mcp", "window": "15m" }));
    let routes: Vec<(&str, u64)> = front["routes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|it| (it["name"].as_str().unwrap(), it["requests"].as_u64().unwrap()))
        .collect();
    assert_eq!(routes, [("GET /ok", 8), ("GET /fail", 3), ("GET /slow", 1)]);
    assert_eq!((&front["calls"][0]["name"], front["failing"].as_array().unwrap().len()), (&json!("back-of-mcp"), 3));
    let map = client.told("get_service_map", &json!({ "window": "15m" }));
    let edge = map["edges"].as_array().unwrap().iter().find(|it| it["to"] == "service:/back-of-mcp").unwrap().clone();
    assert_eq!((&edge["from"], &edge["rates"]["requests"]), (&json!("service:/front-of-mcp"), &json!(12)));
    let slow =
        client.told("find_traces", &json!({ "min_duration": "250ms", "kind": "server", "service": "front-of-mcp" }));
    assert_eq!(slow["traces"].as_array().unwrap().len(), 1, "{slow}");
    let trace = client.told("get_trace", &json!({ "trace_id": slow["traces"][0]["trace_id"] }));
    assert_eq!(trace["spans"].as_array().unwrap().len(), 3);
    assert_eq!(trace["spans"][2]["attributes"]["url.path"], "/slow");
    let failed = client.told("find_requests", &json!({ "status": "error", "service": "back-of-mcp", "limit": 2 }));
    assert!(failed["found"].as_array().unwrap().iter().all(|it| it["status"] == "500"), "{failed}");
    assert_eq!(failed["found"].as_array().unwrap().len(), 2);
    let processes = client.told("list_processes", &json!({}));
    assert!(processes["processes"].as_array().unwrap().iter().all(|it| it["has_spans"] == true), "{processes}");
    let agent = client.told("get_agent", &json!({}));
    assert!(agent["losses"].is_array() && agent["store"]["kept"].as_u64().unwrap() >= 36, "{agent}");
    // What is wrong is said in a sentence, and asked better afterwards.
    let (is_error, text) = client.call("get_service", &json!({ "name": "nobody" }));
    assert!(is_error && text.contains("there is no service `nobody`"), "{text}");
    let (is_error, text) = client.call("find_traces", &json!({ "min_duration": "long" }));
    assert!(is_error && text.contains("min_duration"), "{text}");
}

#[test]
fn a_client_of_the_protocol_is_told_what_was_sent() {
    let (back, to) = service("back-of-mcp", None);
    let (front, port) = service("front-of-mcp", Some(to));
    let agent = Setup::pids(&[back.pid(), front.pid()]).args(["--print", "off"]).start();
    let url = format!("http://127.0.0.1:{}", agent.listen());
    (0..8).for_each(|_| ask(port, "/ok"));
    (0..3).for_each(|_| ask(port, "/fail"));
    ask(port, "/slow");
    poll("all are counted and remembered", || {
        let (_, counts) = agent.page("/api/v1/services?window=15m");
        let (_, traces) = agent.page("/api/v1/traces?min_duration=250ms&kind=server&service=front-of-mcp");
        (counts.matches("\"requests\":12").count() >= 3 && traces.contains("\"spans\":3")).then_some(())
    });
    let mut over_http = Client::start(&["http", &format!("{url}/mcp")]);
    let binary = agent::binary();
    let mut over_stdio = Client::start(&["stdio", &binary.to_string_lossy(), "mcp", "--agent", &url]);
    each_tool_tells_what_was_sent(&mut over_http);
    each_tool_tells_what_was_sent(&mut over_stdio);
    over_http.end();
    // The agent's command ends with its input.
    over_stdio.end();
}

/// Its status for an `initialize` with these lines in its head.
fn initialized(agent: &Agent, host: &str, lines: &[&str]) -> u16 {
    let body = r#"{"jsonrpc":"2.0","id":1,"method":"initialize","params":{"protocolVersion":"2025-06-18"}}"#;
    let mut connection = Connection::to(agent.listen());
    let lines: String = lines.iter().map(|line| format!("{line}\r\n")).collect();
    connection
        .send(format!("POST /mcp HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n{lines}\r\n{body}", body.len()));
    connection.response(false).status
}

#[test]
fn who_may_ask_is_who_may_see_the_page() {
    let (shop, _) = service("shop-of-mcp", None);
    let files = folder();
    let token = files.path().join("token");
    std::fs::write(&token, "secret-of-mcp\n").unwrap();
    let config = files.path().join("config.yaml");
    std::fs::write(&config, format!("api:\n  token_file: {}\n", token.display())).unwrap();
    let json = "Content-Type: application/json";
    let open = Setup::pid(shop.pid()).args(["--print", "off"]).start();
    assert_eq!(initialized(&open, "localhost", &[json]), 200);
    assert_eq!(initialized(&open, "localhost", &[json, "Origin: http://localhost"]), 200);
    assert_eq!(initialized(&open, "localhost", &[json, "MCP-Protocol-Version: 1999-01-01"]), 400);
    assert_eq!(initialized(&open, "localhost", &["Content-Type: text/plain"]), 415);
    assert_eq!(initialized(&open, "localhost", &[json, "Origin: http://evil.example"]), 403);
    assert_eq!(initialized(&open, "localhost", &[json, "Sec-Fetch-Site: cross-site"]), 403);
    assert_eq!(initialized(&open, "rebound.example", &[json]), 403);
    assert_eq!(open.page("/mcp").0, 405, "there is no stream to read");
    drop(open.stop());
    let guarded = Setup::pid(shop.pid()).args(["--print", "off", "--config", &config.to_string_lossy()]).start();
    assert_eq!(initialized(&guarded, "localhost", &[json]), 401);
    assert_eq!(initialized(&guarded, "localhost", &[json, "Authorization: Bearer wrong"]), 401);
    let url = format!("http://127.0.0.1:{}", guarded.listen());
    let mut client = Client::start(&["http", &format!("{url}/mcp"), "secret-of-mcp"]);
    assert_eq!(client.says()[1], "beyla-rs");
    client.end();
    drop(guarded.stop());
}
