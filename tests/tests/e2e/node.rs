//! Node: one event loop, kept connections, `writev`.

use std::time::Duration;

use serde_json::{Value, json};
use tests::{
    agent::{Backend, Watch},
    client::Connection,
    on_both_backends,
    program::Program,
    seen::{assert_attributes, assert_lasted},
};

on_both_backends!(a_server_on_kept_connections, a_response_in_many_buffers, requests_that_overlap_on_one_event_loop);

fn a_server_on_kept_connections(backend: Backend) {
    let server = Program::node("server.js", [""; 0]);
    let port = server.port();
    let watch = Watch::pid(backend, server.pid());
    let mut connection = Connection::to(port);
    for _ in 0..20 {
        assert_eq!(connection.request("POST", "/json", &[], &[b'j'; 2000]).text(), r#"{"received":2000}"#);
    }
    let seen = watch.finish(20);
    assert_eq!(seen.all_at("/json").len(), 20);
    for span in seen.all_at("/json") {
        assert_eq!((span.kind, span.status), ("SERVER", "UNSET"));
        assert_attributes(
            span,
            &json!({
                "http.request.method": "POST",
                "http.response.status_code": 200,
                "http.request.body.size": 2000,
                "http.response.body.size": 17,
                "network.protocol.version": "1.1",
            }),
        );
        assert_eq!(span.resource["telemetry.sdk.language"], "nodejs");
    }
    seen.assert_histograms_agree();
}

/// Node hands all chunks that were written in one turn of its loop to one `writev`: 21 buffers here, the last of which
/// is the last chunk.
fn a_response_in_many_buffers(backend: Backend) {
    let server = Program::node("server.js", [""; 0]);
    let port = server.port();
    let watch = Watch::pid(backend, server.pid());
    let mut connection = Connection::to(port);
    assert_eq!(connection.get("/pieces").body.len(), 5000);
    assert_eq!(connection.get("/after").status, 200);
    let seen = watch.finish(2);
    assert_attributes(seen.at("/pieces"), &json!({ "http.response.status_code": 200, "beyla.outcome": null }));
    seen.assert_histograms_agree();
}

fn requests_that_overlap_on_one_event_loop(backend: Backend) {
    let server = Program::node("server.js", [""; 0]);
    let port = server.port();
    let watch = Watch::pid(backend, server.pid());
    let asked: Vec<_> = [120, 80, 40]
        .map(|ms| std::thread::spawn(move || (ms, Connection::to(port).get(&format!("/later?ms={ms}")))))
        .into_iter()
        .map(|thread| thread.join().expect("a request"))
        .collect();
    let seen = watch.finish(3);
    for (ms, response) in asked {
        let own: Value = serde_json::from_slice(&response.body).expect("the server's own measure");
        let own = Duration::from_nanos(own["ns"].as_u64().expect("nanoseconds"));
        let query = format!("ms={ms}");
        let span = seen.spans.iter().find(|span| span.attributes["url.query"] == *query).expect("a span of it");
        assert_lasted(span, own, response.took);
        assert_eq!(span.parent_span_id, "", "requests that overlap are not each other's parents");
    }
    seen.assert_histograms_agree();
}
