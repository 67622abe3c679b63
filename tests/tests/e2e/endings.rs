//! Exchanges that do not end as they should, and connections that cease to speak HTTP.

use serde_json::json;
use tests::{
    agent::{Backend, Watch},
    client::{Connection, request},
    on_both_backends,
    program::Program,
    seen::assert_attributes,
};

on_both_backends!(
    reset_before_the_response,
    closed_before_the_response,
    cut_within_the_response,
    half_closed_by_the_client,
    a_websocket_ends_http,
    connect_ends_http,
);

fn server() -> (Program, u16) {
    let server = Program::python("server.py", [""; 0]);
    let port = server.port();
    (server, port)
}

fn reset_before_the_response(backend: Backend) {
    let (mut server, port) = server();
    let watch = Watch::pid(backend, server.pid());
    let mut connection = Connection::to(port);
    connection.send(request("GET", "/hold", &[], b""));
    let _held = server.says("holding");
    connection.reset();
    let seen = {
        // What is certain is said at once, not when the server comes to notice.
        watch.receiver.wait_for(|state| state.spans.len() == 1, tests::LONG).unwrap();
        server.tell("go on");
        assert_eq!(Connection::to(port).get("/after").status, 200);
        watch.finish(2)
    };
    let span = seen.at("/hold");
    assert_attributes(
        span,
        &json!({
            "beyla.outcome": "no_response",
            "error.type": null,
            "http.response.status_code": null,
            "http.response.body.size": null,
        }),
    );
    assert_eq!(span.status, "UNSET", "it was the client that gave up");
    assert_attributes(seen.at("/after"), &json!({ "beyla.outcome": null, "http.response.status_code": 200 }));
    seen.assert_histograms_agree();
}

fn closed_before_the_response(backend: Backend) {
    let (server, port) = server();
    let watch = Watch::pid(backend, server.pid());
    let mut connection = Connection::to(port);
    connection.send(request("GET", "/drop", &[], b""));
    assert!(connection.is_closed());
    drop(connection);
    let seen = watch.finish(1);
    assert_attributes(
        seen.at("/drop"),
        &json!({ "beyla.outcome": "no_response", "error.type": "no_response", "http.response.status_code": null }),
    );
    assert_eq!(seen.at("/drop").status, "ERROR", "it was the server that broke off");
}

fn cut_within_the_response(backend: Backend) {
    let (server, port) = server();
    let watch = Watch::pid(backend, server.pid());
    let mut connection = Connection::to(port);
    connection.send(request("GET", "/cut", &[], b""));
    while !connection.is_closed() {
        let _byte = connection.receive(1);
    }
    drop(connection);
    let seen = watch.finish(1);
    assert_attributes(
        seen.at("/cut"),
        &json!({ "beyla.outcome": "cut", "error.type": "cut", "http.response.status_code": 200 }),
    );
    assert_eq!(seen.at("/cut").status, "ERROR", "it was the server that broke off");
}

fn half_closed_by_the_client(backend: Backend) {
    let (server, port) = server();
    let watch = Watch::pid(backend, server.pid());
    let mut connection = Connection::to(port);
    connection.send(request("GET", "/sleep?ms=30", &[], b""));
    connection.finish();
    assert_eq!(connection.response(false).status, 200);
    assert!(connection.is_closed());
    let seen = watch.finish(1);
    assert_attributes(seen.at("/sleep"), &json!({ "beyla.outcome": null, "http.response.status_code": 200 }));
    seen.assert_histograms_agree();
}

/// What goes over the connection after that may look like anything.
fn tunnelled(connection: &mut Connection) {
    for _ in 0..3 {
        for bytes in ["\x01\x05hello", "GET /within HTTP/1.1\r\nHost: within\r\n\r\n", "HTTP/1.1 200 OK\r\n\r\n"] {
            connection.send(bytes);
            assert_eq!(connection.receive(bytes.len()), bytes.as_bytes());
        }
    }
}

fn a_websocket_ends_http(backend: Backend) {
    let (server, port) = server();
    let watch = Watch::pid(backend, server.pid());
    let mut connection = Connection::to(port);
    let upgrade = ["Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13", "Sec-WebSocket-Key: AAAA"];
    assert_eq!(connection.request("GET", "/websocket", &upgrade, b"").status, 101);
    tunnelled(&mut connection);
    assert_eq!(Connection::to(port).get("/other").status, 200);
    let seen = watch.finish(2);
    let span = seen.at("/websocket");
    assert_attributes(span, &json!({ "http.response.status_code": 101, "beyla.outcome": null, "error.type": null }));
    let other = seen.at("/other");
    assert!(span.end_unix_nano < other.start_unix_nano, "the exchange ends with its response's head");
    seen.assert_histograms_agree();
}

fn connect_ends_http(backend: Backend) {
    let (server, port) = server();
    let watch = Watch::pid(backend, server.pid());
    let mut connection = Connection::to(port);
    connection.send("CONNECT behind.example:8443 HTTP/1.1\r\nHost: behind.example:8443\r\n\r\n");
    let head = "HTTP/1.1 200 OK\r\n";
    assert_eq!(connection.receive(head.len()), head.as_bytes());
    while connection.receive(1) != b"\r" || connection.receive(3) != b"\n\r\n" {}
    tunnelled(&mut connection);
    assert_eq!(Connection::to(port).get("/other").status, 200);
    let seen = watch.finish(2);
    let span = seen.spans.iter().find(|span| span.attributes["http.request.method"] == "CONNECT").expect("its span");
    assert_attributes(
        span,
        &json!({
            "http.response.status_code": 200,
            "server.address": "behind.example",
            "server.port": 8443,
            "url.path": null,
            "beyla.outcome": null,
        }),
    );
    seen.assert_histograms_agree();
}
