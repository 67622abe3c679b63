//! Connections: older than the agent, with answers that come early or requests that come in heaps, over MPTCP, and that end.

use std::{
    net::TcpStream,
    process::Command,
    sync::atomic::{AtomicBool, Ordering},
    thread,
};

use tests::{
    LONG,
    agent::{Backend, Setup, Watch},
    client::{Connection, request},
    need, on_both_backends,
    program::{Program, folder, free_port},
    receiver::{ReceivedSpan, Receiver},
    seen::path,
    wait::poll,
};

on_both_backends!(
    older_ones_of_a_process_that_is_found_by_its_port,
    a_request_behind_the_body_of_one_that_was_answered_early,
    early_answers_through_a_busy_proxy,
    more_pipelined_requests_with_bodies_than_a_turn_is_captured_of,
    more_pipelined_requests_than_a_turn_is_captured_of,
    mptcp_is_told_once_at_each_end,
    those_that_are_not_http_are_forgotten_when_they_end,
    those_over_unix_sockets_are_forgotten_when_they_end,
);

fn eager(where_: &str, more: &[&str]) -> Program {
    Program::python("eager.py", [where_].iter().chain(more))
}

/// The status that the path asks for.
fn asked_for(span: &ReceivedSpan) -> Option<u16> {
    path(span)?.rsplit('/').next()?.parse().ok()
}

fn is_answered(span: &ReceivedSpan) -> bool {
    !span.attributes.contains_key("beyla.outcome")
}

fn assert_right(spans: &[ReceivedSpan]) {
    let status = |span: &ReceivedSpan| span.attributes.get("http.response.status_code")?.as_u64();
    let is_wrong = |span: &&ReceivedSpan| status(span) != asked_for(span).map(u64::from);
    let wrong: Vec<_> = spans.iter().filter(is_wrong).map(|span| &span.attributes).collect();
    assert!(wrong.is_empty(), "{} of {}: {:#?}", wrong.len(), spans.len(), wrong.first());
}

/// Says that it is over when the test is, in whatever way.
struct Over<'a>(&'a AtomicBool);

impl Drop for Over<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn older_ones_of_a_process_that_is_found_by_its_port(backend: Backend) {
    const STATUSES: [u16; 9] = [200, 201, 404, 500, 503, 400, 302, 418, 409];
    let server = Program::python("server.py", [""; 0]);
    let port = server.port();
    let is_over = AtomicBool::new(false);
    let seen = thread::scope(|scope| {
        let over = Over(&is_over);
        for client in 0..6 {
            let is_over = &is_over;
            let mut connection = Connection::to(port);
            scope.spawn(move || {
                for status in STATUSES.iter().cycle().skip(client) {
                    if is_over.load(Ordering::Relaxed) {
                        return;
                    }
                    assert_eq!(connection.get(&format!("/status/{status}")).status, *status);
                }
            });
        }
        let receiver = Receiver::start();
        let agent = Setup::with(["--port", &port.to_string()]).backend(backend).to(&receiver).start();
        // On a busy machine the ring overflows while probes are put in place, so that the first may be unseen.
        let is_seen =
            receiver.wait_for(|state| state.spans.iter().filter(|span| is_answered(span)).count() > 1000, LONG);
        drop(over);
        is_seen.unwrap();
        Watch { agent, receiver }.stop_when(|_| true)
    });
    let answered: Vec<_> = seen.spans.into_iter().filter(is_answered).collect();
    assert_right(&answered);
}

fn a_request_behind_the_body_of_one_that_was_answered_early(backend: Backend) {
    // The half of it is more than is captured of any turn.
    const BODY: usize = 3 << 20;
    let server = eager("tcp", &[]);
    let watch = Watch::pid(backend, server.pid());
    let mut connection = Connection::to(server.port());
    let post = |status: u16| {
        let head = format!("POST /early/{status} HTTP/1.1\r\nHost: h\r\nContent-Length: {BODY}\r\n\r\n");
        let mut bytes = head.into_bytes();
        bytes.resize(bytes.len() + BODY / 2, b'b');
        bytes
    };
    connection.send(post(404));
    for status in [403, 409, 410, 413, 200] {
        let _answer = connection.response(false);
        // The rest of the body, and the next request with the half of its own.
        connection.send([vec![b'b'; BODY / 2], post(status)].concat());
    }
    assert_eq!(connection.response(false).status, 200);
    let seen = watch.finish(6);
    assert_right(&seen.spans);
    seen.assert_histograms_agree();
}

/// Keeps two processors busy until the test is over.
fn with_load<T>(run: impl FnOnce() -> T) -> T {
    let is_over = AtomicBool::new(false);
    thread::scope(|scope| {
        let _over = Over(&is_over);
        for _ in 0..2 {
            scope.spawn(|| {
                while !is_over.load(Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
        }
        run()
    })
}

fn early_answers_through_a_busy_proxy(backend: Backend) {
    const SENT: usize = 200;
    const BODY: usize = 300_000;
    let files = folder();
    let (front, behind) = (free_port(), free_port());
    let configure = |name: &str, text: String| {
        std::fs::write(files.path().join(name), text).unwrap();
        files.path().join(name)
    };
    let root = files.path().display();
    let nginx = configure(
        "nginx.conf",
        format!(
            "daemon off; master_process off; pid {root}/nginx.pid; error_log stderr; events {{}} http {{ access_log off;
             client_body_temp_path {root}/body; keepalive_requests 10000;
             server {{ listen 127.0.0.1:{behind}; location / {{ return 404; }} }} }}"
        ),
    );
    let haproxy = configure(
        "haproxy.cfg",
        format!(
            "defaults\n mode http\n timeout connect 5s\n timeout client 60s\n timeout server 60s\n\
             frontend in\n bind 127.0.0.1:{front}\n default_backend out\nbackend out\n server one 127.0.0.1:{behind}\n"
        ),
    );
    let serve = |command: &mut Command, port| {
        let server = Program::start(command);
        poll("the server listens", || TcpStream::connect(("127.0.0.1", port)).ok());
        server
    };
    let _server = serve(Command::new(need::program("nginx")).arg("-p").arg(files.path()).arg("-c").arg(nginx), behind);
    let proxy = serve(Command::new(need::program("haproxy")).arg("-f").arg(haproxy), front);
    let watch = Watch::pid(backend, proxy.pid());
    with_load(|| {
        let mut connection = Connection::to(front);
        let body = vec![b'b'; BODY];
        for i in 0..SENT {
            assert_eq!(connection.request("POST", &format!("/{i}/404"), &[], &body).status, 404);
        }
        let seen = watch.finish(2 * SENT);
        assert_right(&seen.spans);
        assert_eq!(seen.of_kind("SERVER").len(), SENT);
        seen.assert_histograms_agree();
    });
}

fn more_pipelined_requests_with_bodies_than_a_turn_is_captured_of(backend: Backend) {
    // Around what is captured of a piece: none, of a small piece, of a turn; and more than the server reads at once.
    const BODIES: [usize; 8] = [0, 1, 600, 8_000, 8_192, 16_000, 40_000, 100_000];
    const SENT: usize = 40 * BODIES.len();
    let server = eager("tcp", &[]);
    let watch = Watch::pid(backend, server.pid());
    let mut connection = Connection::to(server.port());
    let statuses = || [200u16, 404, 500, 418, 201, 302, 503].into_iter().cycle();
    let asked = || statuses().zip(BODIES.into_iter().cycle()).take(SENT);
    let bodies: Vec<_> = asked().map(|(status, len)| (status, len, vec![b'b'; len])).collect();
    // A request behind what looks like one within a body.
    let requests = bodies.iter().flat_map(|(status, len, body)| {
        let mut body = body.clone();
        let decoy = b"POST /decoy HTTP/1.1\r\nContent-Length: 7\r\n\r\n";
        if let Some(place) = body.get_mut(..decoy.len()) {
            place.copy_from_slice(decoy);
        }
        request("POST", &format!("/piped/{len}/{status}"), &["Expires: never", "Cookie: content-length: 5"], &body)
    });
    connection.send(requests.collect::<Vec<_>>());
    for (status, ..) in &bodies {
        assert_eq!(connection.response(false).status, *status);
    }
    let seen = watch.finish(SENT);
    assert_right(&seen.spans);
    for span in &seen.spans {
        // Of one that was answered before its body had come the size is not told.
        if let Some(told) = span.attributes.get("http.request.body.size") {
            let len = path(span).and_then(|path| path.split('/').nth(2)?.parse::<u64>().ok());
            assert_eq!(told.as_u64(), len, "{span:?}");
        }
    }
    seen.assert_histograms_agree();
}

fn more_pipelined_requests_than_a_turn_is_captured_of(backend: Backend) {
    const SENT: usize = 600;
    let server = eager("tcp", &[]);
    let watch = Watch::pid(backend, server.pid());
    let mut connection = Connection::to(server.port());
    let statuses = || [200u16, 404, 500, 418, 201, 302, 503].into_iter().cycle().take(SENT);
    let padding = format!("X: {}", "y".repeat(60));
    connection.send(
        statuses().flat_map(|status| request("GET", &format!("/piped/{status}"), &[&padding], b"")).collect::<Vec<_>>(),
    );
    for status in statuses() {
        assert_eq!(connection.response(false).status, status);
    }
    let seen = watch.finish(SENT);
    assert_right(&seen.spans);
    seen.assert_histograms_agree();
}

fn mptcp_is_told_once_at_each_end(backend: Backend) {
    const CALLS: usize = 20;
    let mut program = eager("mptcp", &[]);
    let port = program.port();
    let watch = Watch::pid(backend, program.pid());
    program.tell(&CALLS.to_string());
    let _done = program.says("called");
    let seen = watch.finish(2 * CALLS);
    assert_right(&seen.spans);
    assert_eq!((seen.of_kind("SERVER").len(), seen.of_kind("CLIENT").len()), (CALLS, CALLS));
    assert!(seen.of_kind("SERVER").iter().all(|span| span.attributes.get("server.port").is_some_and(|it| *it == port)));
    assert!(seen.of_kind("SERVER").iter().all(|span| span.attributes.contains_key("client.port")));
    seen.assert_histograms_agree();
}

/// Echoes bytes until it is known that they are no HTTP, and closes.
fn is_not_http(mut connection: Connection) {
    for _ in 0..200 {
        connection.send(b"\x01\x02");
        assert_eq!(connection.receive(2), b"\x01\x02");
    }
}

fn those_that_are_not_http_are_forgotten_when_they_end(backend: Backend) {
    let server = eager("tcp", &["echo"]);
    let port = server.port();
    let watch = Watch::pid(backend, server.pid());
    let open: Vec<_> = (0..20).map(|_| Connection::to(port)).collect();
    let followed = || watch.agent.metric("beyla_rs_connections", &[]) as usize;
    let mut last = Connection::to(port);
    last.send(b"\x01\x02");
    assert_eq!(last.receive(2), b"\x01\x02");
    open.into_iter().for_each(is_not_http);
    poll("all that have ended are forgotten", || (followed() == 1).then_some(()));
}

fn those_over_unix_sockets_are_forgotten_when_they_end(backend: Backend) {
    let files = folder();
    let socket = files.path().join("socket");
    let server = eager(socket.to_str().unwrap(), &["echo"]);
    let _listens = server.port();
    let watch = Watch::pid(backend, server.pid());
    let mut stays = Connection::to_unix(&socket);
    stays.send(b"\x01\x02");
    assert_eq!(stays.receive(2), b"\x01\x02");
    (0..20).for_each(|_| is_not_http(Connection::to_unix(&socket)));
    let followed = || watch.agent.metric("beyla_rs_connections", &[]) as usize;
    poll("they are followed", || (followed() > 1).then_some(()));
    poll("all that have ended are forgotten", || (followed() == 1).then_some(()));
    stays.send(b"\x01\x02");
    assert_eq!(stays.receive(2), b"\x01\x02");
}
