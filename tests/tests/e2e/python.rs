//! Python's servers: a thread per connection.

use std::{process::Command, time::Duration};

use serde_json::{Value, json};
use tests::{
    agent::{Backend, Watch},
    client::Connection,
    need, on_both_backends,
    program::{Program, folder},
    seen::{assert_attributes, assert_lasted},
};

on_both_backends!(
    http_server_of_the_standard_library,
    every_attribute_of_a_request,
    a_handler_that_sleeps,
    bodies_of_every_framing,
    bodies_of_megabytes,
    status_decides_about_errors,
    a_traceparent_is_honoured,
    curl_waits_for_100_continue,
);

fn server() -> (Program, u16) {
    let server = Program::python("server.py", [""; 0]);
    let port = server.port();
    (server, port)
}

fn http_server_of_the_standard_library(backend: Backend) {
    let files = folder();
    std::fs::write(files.path().join("file.txt"), "a file").unwrap();
    let mut command = Command::new(need::python());
    command.args(["-u", "-m", "http.server", "0", "--bind", "127.0.0.1", "--directory"]).arg(files.path());
    let server = Program::start(&mut command);
    let line = server.says("Serving HTTP on 127.0.0.1 port ");
    let port: u16 = line.split(' ').next().and_then(|port| port.parse().ok()).expect("a port");

    let watch = Watch::pid(backend, server.pid());
    for (method, target, status) in [("GET", "/file.txt", 200), ("GET", "/none", 404), ("HEAD", "/file.txt", 200)] {
        assert_eq!(Connection::to(port).request(method, target, &[], b"").status, status);
    }
    let seen = watch.finish(3);

    let expect = |method: &str, path: &str, status: u16, body: Value| {
        let all = seen.all_at(path);
        let span = all.iter().find(|span| span.attributes["http.request.method"] == method).expect("a span of it");
        assert_eq!((span.kind, span.status), ("SERVER", "UNSET"));
        assert_eq!(span.resource["process.pid"], server.pid());
        // The server answers with HTTP/1.0; the request was 1.1.
        assert_attributes(
            span,
            &json!({ "http.response.status_code": status, "http.response.body.size": body, "server.port": port }),
        );
    };
    expect("GET", "/file.txt", 200, json!(6));
    expect("HEAD", "/file.txt", 200, json!(0));
    let body_of_404 = seen.at("/none").attributes["http.response.body.size"].clone();
    assert!(body_of_404.as_u64().is_some_and(|size| size > 100), "the page of a 404 has a body: {body_of_404}");
    expect("GET", "/none", 404, body_of_404);
    seen.assert_histograms_agree();
}

fn every_attribute_of_a_request(backend: Backend) {
    let (server, port) = server();
    let watch = Watch::pid(backend, server.pid());
    let mut connection = Connection::to(port);
    let from = connection.port();
    let target = "/shop/items?id=7&token=hunter2&q=a%20b";
    let response = connection.request("POST", target, &["User-Agent: tests/1.0", "X-Other: 1"], b"twelve bytes");
    assert_eq!((response.status, response.text()), (201, "12"));
    let seen = watch.finish(1);

    let span = &seen.spans[0];
    assert_eq!((span.kind, span.status, span.parent_span_id.as_str()), ("SERVER", "UNSET", ""));
    assert!(span.name.starts_with("POST"), "{}", span.name);
    assert_attributes(
        span,
        &json!({
            "http.request.method": "POST",
            "http.response.status_code": 201,
            "url.path": "/shop/items",
            "url.query": "id=7&token=REDACTED&q=a%20b",
            "url.scheme": "http",
            "server.address": "test.example",
            "server.port": port,
            "client.address": "127.0.0.1",
            "client.port": from,
            "network.peer.address": "127.0.0.1",
            "network.peer.port": from,
            "network.protocol.version": "1.1",
            "user_agent.original": "tests/1.0",
            "http.request.body.size": 12,
            "http.response.body.size": 2,
            "error.type": null,
            "beyla.outcome": null,
            "url.full": null,
        }),
    );
    assert_eq!(span.scope_name, "beyla-rs");
    // A script whose name says nothing is called by its folder.
    assert_eq!(span.service(), "programs");
    for (key, value) in [
        ("process.pid", json!(server.pid())),
        ("telemetry.sdk.name", json!("beyla-rs")),
        ("telemetry.sdk.language", json!("python")),
        ("os.type", json!("linux")),
    ] {
        assert_eq!(span.resource.get(key), Some(&value), "{key}: {:#?}", span.resource);
    }
    assert!(!span.resource.contains_key("process.command_line"), "it can hold secrets");
    seen.assert_histograms_agree();
    let [point] = seen.histogram("http.server.request.duration").try_into().expect("one series");
    let expected = json!({
        "http.request.method": "POST",
        "http.response.status_code": 201,
        "url.scheme": "http",
        "network.protocol.version": "1.1",
    });
    for (key, value) in expected.as_object().expect("an object") {
        assert_eq!(point.attributes.get(key), Some(value), "{key}");
    }
    assert_eq!(point.bounds, [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0]);
    for (name, sum) in [("http.server.request.body.size", 12.0), ("http.server.response.body.size", 2.0)] {
        assert_eq!((seen.count(name), seen.sum(name)), (1, sum), "{name}");
    }
}

fn a_handler_that_sleeps(backend: Backend) {
    let (server, port) = server();
    let watch = Watch::pid(backend, server.pid());
    let mut connection = Connection::to(port);
    let mut measured = Vec::new();
    for ms in [20, 50, 100] {
        let response = connection.get(&format!("/sleep?ms={ms}"));
        let own: Value = serde_json::from_slice(&response.body).expect("the server's own measure");
        measured.push((ms, Duration::from_nanos(own["ns"].as_u64().expect("nanoseconds")), response.took));
    }
    let seen = watch.finish(3);
    for (ms, own, outside) in measured {
        let query = format!("ms={ms}");
        let span = seen.spans.iter().find(|span| span.attributes["url.query"] == *query).expect("a span of it");
        assert!(own >= Duration::from_millis(ms));
        assert_lasted(span, own, outside);
    }
    seen.assert_histograms_agree();
}

fn bodies_of_every_framing(backend: Backend) {
    let (server, port) = server();
    let watch = Watch::pid(backend, server.pid());
    let mut connection = Connection::to(port);
    assert_eq!(connection.get("/chunked").body.len(), 101_011);
    assert_eq!(connection.request("HEAD", "/head", &[], b"").status, 200);
    assert_eq!(connection.get("/status/204").status, 204);
    assert_eq!(connection.get("/status/304").status, 304);
    assert_eq!(connection.request("POST", "/echo", &[], b"").body, b"");
    connection.send("POST /chunks HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n");
    connection.send("5;a=b\r\nfirst\r\n");
    connection.send("10\r\nsixteen bytes !!\r\n0\r\nTrailer: x\r\n\r\n");
    assert_eq!(connection.response(false).body, b"21");
    assert_eq!(connection.get("/hints").status, 103);
    assert_eq!(connection.response(false).body, b"hinted");
    assert_eq!(connection.get("/until-close").body.len(), 3000);
    assert!(connection.is_closed());
    let mut old = Connection::to(port);
    old.send("GET /old HTTP/1.0\r\n\r\n");
    assert_eq!(old.response(false).body, b"hello");
    let seen = watch.finish(9);

    for (path, status, version, request, response) in [
        ("/chunked", 200, "1.1", json!(0), 101_011),
        ("/head", 200, "1.1", json!(0), 0),
        ("/status/204", 204, "1.1", json!(0), 0),
        ("/status/304", 304, "1.1", json!(0), 0),
        ("/echo", 200, "1.1", json!(0), 0),
        ("/chunks", 201, "1.1", json!(21), 2),
        ("/hints", 200, "1.1", json!(0), 6),
        ("/until-close", 200, "1.1", json!(0), 3000),
        ("/old", 200, "1.0", json!(0), 5),
    ] {
        let span = seen.at(path);
        assert_attributes(
            span,
            &json!({
                "http.response.status_code": status,
                "network.protocol.version": version,
                "http.request.body.size": request,
                "http.response.body.size": response,
                "beyla.outcome": null,
            }),
        );
    }
    // Without a Host header it is the connection's address.
    assert_attributes(seen.at("/old"), &json!({ "server.address": "127.0.0.1", "server.port": port }));
    seen.assert_histograms_agree();
}

fn bodies_of_megabytes(backend: Backend) {
    const SIZE: usize = 5 << 20;
    let (server, port) = server();
    let watch = Watch::pid(backend, server.pid());
    let mut connection = Connection::to(port);
    assert_eq!(connection.get(&format!("/big?bytes={SIZE}")).body.len(), SIZE);
    assert_eq!(connection.request("PUT", "/up", &[], &vec![b'u'; SIZE]).text(), SIZE.to_string());
    assert_eq!(connection.request("POST", "/echo", &[], &vec![b'e'; SIZE]).body.len(), SIZE);
    assert_eq!(connection.get("/after").status, 200);
    let seen = watch.finish(4);
    for (path, up, down) in [("/big", 0, SIZE), ("/up", SIZE, 7), ("/echo", SIZE, SIZE), ("/after", 0, 5)] {
        let sizes = json!({ "http.request.body.size": up, "http.response.body.size": down });
        assert_attributes(seen.at(path), &sizes);
    }
    seen.assert_histograms_agree();
}

fn status_decides_about_errors(backend: Backend) {
    let (server, port) = server();
    let watch = Watch::pid(backend, server.pid());
    let mut connection = Connection::to(port);
    for status in [200, 302, 404, 500, 503] {
        assert_eq!(connection.get(&format!("/status/{status}")).status, status);
    }
    let seen = watch.finish(5);
    for (code, status, error) in [
        (200, "UNSET", Value::Null),
        (302, "UNSET", Value::Null),
        (404, "UNSET", Value::Null),
        (500, "ERROR", json!("500")),
        (503, "ERROR", json!("503")),
    ] {
        let span = seen.at(&format!("/status/{code}"));
        assert_eq!(span.status, status, "{code}");
        assert_attributes(span, &json!({ "http.response.status_code": code, "error.type": error }));
    }
    seen.assert_histograms_agree();
}

fn a_traceparent_is_honoured(backend: Backend) {
    let (server, port) = server();
    let watch = Watch::pid(backend, server.pid());
    let mut connection = Connection::to(port);
    let trace = "4bf92f3577b34da6a3ce929d0e0e4736";
    for (target, header) in [
        ("/sampled", format!("traceparent: 00-{trace}-00f067aa0ba902b7-01")),
        ("/malformed", format!("traceparent: 00-{trace}-0000000000000000-01")),
        ("/none", "X-Other: 1".to_owned()),
    ] {
        assert_eq!(connection.request("GET", target, &[&header], b"").status, 200);
    }
    let seen = watch.finish(3);
    let parent = |path: &str| (seen.at(path).trace_id.as_str() == trace, seen.at(path).parent_span_id.as_str());
    assert_eq!(parent("/sampled"), (true, "00f067aa0ba902b7"));
    assert_eq!(parent("/malformed"), (false, ""));
    assert_eq!(parent("/none"), (false, ""));
    assert_ne!(seen.at("/malformed").trace_id, seen.at("/none").trace_id);
    seen.assert_histograms_agree();
}

fn curl_waits_for_100_continue(backend: Backend) {
    let (server, port) = server();
    let watch = Watch::pid(backend, server.pid());
    let curl = Command::new(need::program("curl"))
        .args(["-sS", "-H", "Expect: 100-continue", "--data-binary", &"x".repeat(3000)])
        .arg(format!("http://localhost:{port}/expecting"))
        .output()
        .unwrap();
    assert_eq!(String::from_utf8_lossy(&curl.stdout), "3000", "{}", String::from_utf8_lossy(&curl.stderr));
    let seen = watch.finish(1);
    let span = seen.at("/expecting");
    assert_attributes(
        span,
        &json!({
            "http.response.status_code": 201,
            "http.request.body.size": 3000,
            "http.response.body.size": 4,
            "server.address": "localhost",
        }),
    );
    assert!(span.attributes["user_agent.original"].as_str().is_some_and(|agent| agent.starts_with("curl/")));
    seen.assert_histograms_agree();
}
