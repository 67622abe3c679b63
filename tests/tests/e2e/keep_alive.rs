//! Many requests on a connection, and an agent that comes in the middle of one.

use serde_json::json;
use tests::{
    agent::{Backend, Setup, Watch},
    client::{Connection, request},
    on_both_backends,
    program::{Program, folder},
    receiver::Receiver,
    seen::assert_attributes,
    wait::poll,
};

on_both_backends!(
    a_thousand_requests_on_a_connection,
    programs_that_stand_by_tell_nothing_twice,
    a_hundred_requests_in_one_write,
    attached_between_two_requests,
    attached_between_a_request_and_its_response,
    attached_in_the_middle_of_a_body,
    every_protocol_of_otlp,
);

fn server() -> (Program, u16) {
    let server = Program::python("server.py", [""; 0]);
    let port = server.port();
    (server, port)
}

fn a_thousand_requests_on_a_connection(backend: Backend) {
    let (server, port) = server();
    let watch = Watch::pid(backend, server.pid());
    let mut connection = Connection::to(port);
    for i in 0..1000 {
        assert_eq!(connection.get(&format!("/item?number={i}")).status, 200);
    }
    let seen = watch.finish(1000);
    let mut numbers: Vec<_> = seen.spans.iter().map(|span| span.attributes["url.query"].to_string()).collect();
    numbers.sort();
    numbers.dedup();
    assert_eq!(numbers.len(), 1000, "each request once");
    assert!(seen.spans.iter().all(|span| span.attributes["client.port"] == connection.port()));
    seen.assert_histograms_agree();
}

/// Copies of the programs, as from Linux 7.0 on: where none is preempted, the first alone tells.
fn programs_that_stand_by_tell_nothing_twice(backend: Backend) {
    const SENT: usize = 500;
    let (server, port) = server();
    let files = folder();
    let config = files.path().join("config.yaml");
    std::fs::write(&config, "ebpf: {standby_programs: 2}\n").unwrap();
    let receiver = Receiver::start();
    let agent =
        Setup::pid(server.pid()).args(["--config", config.to_str().unwrap()]).backend(backend).to(&receiver).start();
    let mut connection = Connection::to(port);
    for i in 0..SENT {
        assert_eq!(connection.get(&format!("/item?number={i}")).status, 200);
    }
    poll("all are seen", || {
        let complete = agent.metric("beyla_rs_exchanges_total", &["outcome=\"complete\""]) as usize;
        (complete == SENT).then_some(())
    });
    let events = agent.metric("beyla_rs_capture_events_total", &[]) as usize;
    // The request, the response's header block, its body.
    assert!((3 * SENT..3 * SENT + 100).contains(&events), "{events} records for {SENT} requests");
    let seen = Watch { agent, receiver }.finish(SENT);
    seen.assert_histograms_agree();
}

fn a_hundred_requests_in_one_write(backend: Backend) {
    let (server, port) = server();
    let watch = Watch::pid(backend, server.pid());
    let mut connection = Connection::to(port);
    let all: Vec<u8> = (0..100).flat_map(|i| request("GET", &format!("/piped/{i:02}"), &[], b"")).collect();
    connection.send(all);
    for _ in 0..100 {
        assert_eq!(connection.response(false).text(), "hello");
    }
    let seen = watch.finish(100);
    for i in 0..100 {
        let span = seen.at(&format!("/piped/{i:02}"));
        assert_attributes(span, &json!({ "http.response.status_code": 200, "http.response.body.size": 5 }));
    }
    seen.assert_histograms_agree();
}

fn attached_between_two_requests(backend: Backend) {
    let (server, port) = server();
    let mut connection = Connection::to(port);
    for _ in 0..5 {
        assert_eq!(connection.get("/before").status, 200);
    }
    let watch = Watch::pid(backend, server.pid());
    for _ in 0..50 {
        assert_eq!(connection.get("/after").status, 200);
    }
    let seen = watch.finish(50);
    for span in seen.all_at("/after") {
        assert_eq!(span.kind, "SERVER", "by the bytes, without having seen accept");
        assert_attributes(
            span,
            &json!({ "client.port": connection.port(), "server.port": port, "http.response.body.size": 5 }),
        );
    }
    assert_eq!(seen.all_at("/after").len(), 50);
    seen.assert_histograms_agree();
}

fn attached_between_a_request_and_its_response(backend: Backend) {
    let (mut server, port) = server();
    let mut connection = Connection::to(port);
    // Its response comes when the server is told to go on.
    connection.send(request("GET", "/hold", &[], b""));
    let _held = server.says("holding");
    let watch = Watch::pid(backend, server.pid());
    server.tell("go on");
    assert_eq!(connection.response(false).text(), "held");
    for _ in 0..3 {
        assert_eq!(connection.get("/after").status, 200);
    }
    let seen = watch.finish(3);
    assert_eq!(seen.all_at("/after").len(), 3, "nothing is said of a request that was not seen: {}", seen.summary());
    seen.assert_histograms_agree();
}

fn attached_in_the_middle_of_a_body(backend: Backend) {
    let (server, port) = server();
    let mut connection = Connection::to(port);
    connection.send("POST /upload HTTP/1.1\r\nHost: h\r\nContent-Length: 200000\r\n\r\n");
    connection.send([b'u'; 100_000]);
    let watch = Watch::pid(backend, server.pid());
    connection.send([b'u'; 100_000]);
    assert_eq!(connection.response(false).text(), "200000");
    for _ in 0..3 {
        assert_eq!(connection.request("POST", "/echo", &[], b"after").text(), "after");
    }
    let seen = watch.finish(3);
    for span in seen.all_at("/echo") {
        assert_attributes(span, &json!({ "http.request.body.size": 5, "http.response.body.size": 5 }));
    }
    assert_eq!(seen.all_at("/echo").len(), 3);
    seen.assert_histograms_agree();
}

fn every_protocol_of_otlp(backend: Backend) {
    for protocol in ["grpc", "http/protobuf", "http/json"] {
        let (server, port) = server();
        let receiver = Receiver::start();
        let endpoint = if protocol == "grpc" { receiver.grpc_endpoint() } else { receiver.http_endpoint() };
        let agent = Setup::pid(server.pid()).backend(backend).args(["--endpoint", &endpoint, "--protocol", protocol]);
        let watch = Watch { agent: agent.start(), receiver };
        let mut connection = Connection::to(port);
        for _ in 0..10 {
            assert_eq!(connection.get("/").status, 200);
        }
        let requests = |watch: &Watch| watch.receiver.state().requests;
        watch.receiver.wait_for(|state| state.spans.len() == 10, tests::LONG).unwrap();
        assert!(requests(&watch).iter().all(|request| request.protocol == protocol && request.taken));
        let seen = watch.finish(10);
        seen.assert_histograms_agree();
        assert!(seen.metrics.iter().any(|metric| metric.name == "beyla_rs.build_info"), "the agent tells of itself");
    }
}
