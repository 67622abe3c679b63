//! What requests carry of their callers: contexts in each format that is asked for, and baggage.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::{
    fs,
    net::{Ipv4Addr, TcpStream},
    process::Command,
};

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::{
    agent::{Agent, Backend, Setup, Watch},
    client::Connection,
    need, on_both_backends,
    program::{Program, folder, free_port},
    receiver::{ReceivedSpan, Receiver},
    seen::assert_attributes,
    wait::poll,
};

on_both_backends!(
    contexts_of_each_format_are_read_as_they_are_asked_for,
    http2_carries_b3_and_baggage_too,
    what_is_read_changes_with_the_configuration,
    a_script_that_was_given_a_context_makes_its_calls_under_it,
    a_server_that_was_given_a_context_does_not_answer_under_it,
    what_others_have_said_is_handed_down,
);

const TRACE: &str = "80f198ee56343ba864fe8b2a57d3eff7";
const SPAN: &str = "e457b5a2e4d86bd1";

fn server() -> (Program, u16) {
    let server = Program::python("server.py", [""; 0]);
    let port = server.port();
    (server, port)
}

/// An agent that watches a process, with more set.
fn watch(backend: Backend, pid: u32, change: impl FnOnce(Setup) -> Setup) -> Watch {
    let receiver = Receiver::start();
    let agent = change(Setup::pid(pid).backend(backend).to(&receiver)).start();
    Watch { agent, receiver }
}

/// Trace and parent of a span.
fn parent(span: &ReceivedSpan) -> (&str, &str) {
    (&span.trace_id, &span.parent_span_id)
}

fn contexts_of_each_format_are_read_as_they_are_asked_for(backend: Backend) {
    let (server, port) = server();
    let watch =
        watch(backend, server.pid(), |setup| setup.env("OTEL_PROPAGATORS", "jaeger,b3multi,b3,tracecontext,baggage"));
    let mut connection = Connection::to(port);
    let mut ask = |target: &str, headers: &[&str]| {
        assert_eq!(connection.request("GET", target, headers, b"").status, 200);
    };
    let w3c = "traceparent: 00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";
    let single = format!("b3: {TRACE}-{SPAN}-1-05e3ac9a4f6e3b90");
    let [trace_id, span_id] = [format!("X-B3-TraceId: {}", &TRACE[16..]), format!("X-B3-SpanId: {SPAN}")];
    ask("/single", &[&single]);
    ask("/single/unsampled", &[&format!("b3: {TRACE}-{SPAN}-0")]);
    ask("/single/deferred", &[&format!("b3: {TRACE}-{SPAN}")]);
    ask("/single/malformed", &[&format!("b3: {TRACE}-{SPAN}-1-"), "tracestate: a=1"]);
    ask("/multi", &[&trace_id, &span_id, "X-B3-Sampled: 1"]);
    ask("/multi/partial", &[&trace_id, "X-B3-Sampled: 1", "X-B3-Flags: 1"]);
    ask("/multi/debug", &[&trace_id, &span_id, "X-B3-ParentSpanId: 05e3ac9a4f6e3b90", "X-B3-Flags: 1"]);
    ask("/jaeger", &["uber-trace-id: a3ce929d0e0e4736%3A2%3A0%3A1", "uberctx-tenant: blue"]);
    ask("/several", &[&single, w3c, "tracestate: a=1"]);
    ask("/baggage", &[w3c, "baggage: tenant=blue"]);
    ask("/none", &[]);

    let seen = watch.finish(10);
    let short = format!("{:0>32}", &TRACE[16..]);
    assert_eq!(parent(seen.at("/single")), (TRACE, SPAN));
    assert_eq!(parent(seen.at("/single/deferred")), (TRACE, SPAN));
    assert_eq!(parent(seen.at("/multi")), (short.as_str(), SPAN));
    assert_eq!(parent(seen.at("/multi/debug")), (short.as_str(), SPAN));
    assert_eq!(parent(seen.at("/jaeger")), ("0000000000000000a3ce929d0e0e4736", "0000000000000002"));
    assert_eq!(parent(seen.at("/several")), ("4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"));
    assert_eq!(seen.at("/several").trace_state, "a=1");
    for root in ["/single/malformed", "/multi/partial", "/none"] {
        assert_eq!(seen.at(root).parent_span_id, "", "{root}");
        assert_eq!(seen.at(root).trace_state, "ot=th:0", "{root}: nothing of the caller's");
        assert_attributes(seen.at(root), &json!({ "beyla.parent.evidence": "none" }));
    }
    assert_attributes(seen.at("/single"), &json!({ "beyla.parent.evidence": "header" }));
    // Nothing of it is exported unless it is asked for.
    assert!(seen.spans.iter().all(|span| !span.attributes.contains_key("tenant")));
    // What its caller does not keep is counted all the same.
    assert_eq!(seen.count("http.server.request.duration"), 11);
}

fn http2_carries_b3_and_baggage_too(backend: Backend) {
    let (files, port) = (folder(), free_port());
    fs::write(files.path().join("hello"), "hello").unwrap();
    let mut command = Command::new(need::program("nghttpd"));
    command.args(["--no-tls", "-a", "127.0.0.1", "-d"]).arg(files.path()).arg(port.to_string());
    let mut server = Program::start(&mut command);
    poll("the server listens", || {
        assert!(server.is_running(), "it ended: {:#?}", server.stderr.so_far());
        TcpStream::connect((Ipv4Addr::LOCALHOST, port)).is_ok().then_some(())
    });
    let watch = watch(backend, server.pid(), |setup| {
        setup.env("OTEL_PROPAGATORS", "b3multi,baggage").env("OTEL_EBPF_BAGGAGE_KEYS", "tenant,http.route")
    });
    // The second request of a connection has its fields in the dynamic table.
    let url = format!("http://127.0.0.1:{port}/hello");
    let client = Command::new(need::program("nghttp"))
        .args(["--no-dep", "-n"])
        .args(["-H", &format!("x-b3-traceid: {TRACE}"), "-H", &format!("x-b3-spanid: {SPAN}"), "-H", "x-b3-sampled: 1"])
        .args(["-H", "baggage: secret=1,tenant=deep%20blue;ttl=1,http.route=%2Ffalse"])
        .args([&format!("{url}?1"), &format!("{url}?2")])
        .output()
        .unwrap();
    assert!(client.status.success(), "{}", String::from_utf8_lossy(&client.stderr));
    let seen = watch.finish(2);
    for span in &seen.spans {
        assert_eq!(parent(span), (TRACE, SPAN));
        assert_attributes(span, &json!({ "tenant": "deep blue", "secret": null, "http.route": "/hello" }));
    }
}

fn what_is_read_changes_with_the_configuration(backend: Backend) {
    let files = folder();
    let file = files.path().join("agent.yaml");
    let write = |propagators: &str, keys: &str| {
        // In one step: a file that is half written is a configuration too.
        let next = files.path().join("next");
        fs::write(&next, format!("propagators: [{propagators}]\nattributes: {{baggage_keys: [{keys}]}}\n")).unwrap();
        fs::rename(&next, &file).unwrap();
    };
    write("none", "");
    let (server, port) = server();
    let watch = watch(backend, server.pid(), |setup| setup.args(["--config", file.to_str().unwrap()]));
    let b3 = format!("b3: {TRACE}-{SPAN}-1");
    let mut connection = Connection::to(port);
    let asked = std::cell::Cell::new(0);
    let mut ask = |target: &str| {
        asked.set(asked.get() + 1);
        let headers = [b3.as_str(), "baggage: tenant=blue,user.id=7"];
        assert_eq!(connection.request("GET", target, &headers, b"").status, 200);
    };
    let until = |agent: &Agent, count| {
        let what = "the configuration is read again";
        poll(what, || {
            let log = agent.log();
            (log.iter().filter(|line| line.contains("read again: propagation")).count() == count).then_some(())
        });
    };
    ask("/none");
    until(&watch.agent, 0);
    for (count, (keys, target)) in [("tenant", "/tenant"), ("user.id", "/user")].into_iter().enumerate() {
        // The spans of all that was asked before are there: so it was read before.
        watch.receiver.wait_for(|state| state.spans.len() >= asked.get(), tests::LONG).unwrap();
        write("b3, baggage", keys);
        rustix::process::kill_process(rustix::process::Pid::from_raw(watch.agent.pid() as i32).unwrap(), Signal::HUP)
            .unwrap();
        until(&watch.agent, count + 1);
        poll("it is taken up", || {
            ask(target);
            let has = |span: &ReceivedSpan| span.attributes.contains_key(keys);
            watch.receiver.spans().iter().any(has).then_some(())
        });
    }
    let seen = watch.stop_when(|_| true);
    assert_eq!((seen.at("/none").parent_span_id.as_str(), seen.at("/none").attributes.get("tenant")), ("", None));
    let last = |target: &str| seen.all_at(target).pop().unwrap();
    assert_attributes(last("/tenant"), &json!({ "tenant": "blue", "user.id": Value::Null }));
    assert_attributes(last("/user"), &json!({ "tenant": Value::Null, "user.id": "7" }));
    assert_eq!(parent(last("/user")), (TRACE, SPAN));
}

fn a_script_that_was_given_a_context_makes_its_calls_under_it(backend: Backend) {
    let (server, port) = server();
    let files = folder();
    let script = files.path().join("job.sh");
    let curl = need::program("curl");
    // The script waits until it is watched; each of its calls is a process of its own, which is still there when its
    // environment is read: it tries in vain for a second to reach somebody else.
    let text = format!(
        "echo listening 1\nread go\nfor name in first second; do\n\
         {} -sS --retry 1 --retry-connrefused --retry-delay 1 http://127.0.0.1:{port}/$name http://127.0.0.1:1/\n\
         done\necho done\nread end\n",
        curl.display()
    );
    fs::write(&script, text).unwrap();
    let mut job = Program::start_with_input(
        Command::new("sh")
            .arg(&script)
            .env("TRACEPARENT", format!("00-{TRACE}-{SPAN}-01"))
            .env("TRACESTATE", "a=1")
            .env("BAGGAGE", "tenant=blue,secret=1"),
        std::process::Stdio::piped(),
    );
    assert_eq!(job.port(), 1);
    let receiver = Receiver::start();
    let setup = Setup::pids(&[job.pid(), server.pid()]).backend(backend).to(&receiver);
    let agent = setup.env("OTEL_EBPF_BAGGAGE_KEYS", "tenant").start();
    job.tell("go");
    let _done = job.says_after(1, "hellohellodone");
    let seen = Watch { agent, receiver }.finish(4);
    for name in ["first", "second"] {
        let of_kind = |kind: &str| {
            let is_it = |span: &&ReceivedSpan| {
                let url = if kind == "CLIENT" { "url.full" } else { "url.path" };
                span.kind == kind && span.attributes[url].as_str().is_some_and(|url| url.ends_with(name))
            };
            seen.spans.iter().find(is_it).unwrap()
        };
        let (client, server) = (of_kind("CLIENT"), of_kind("SERVER"));
        assert_eq!((parent(client), client.service()), ((TRACE, SPAN), "curl"));
        assert_eq!(client.trace_state, "a=1");
        assert_attributes(client, &json!({ "beyla.parent.evidence": "header", "tenant": "blue", "secret": null }));
        assert_eq!(parent(server), (TRACE, client.span_id.as_str()));
    }
}

/// What answers requests does not do all of it for who started it.
fn a_server_that_was_given_a_context_does_not_answer_under_it(backend: Backend) {
    let mut command = Command::new(need::python());
    command.arg(need::source("server.py")).env("TRACEPARENT", format!("00-{TRACE}-{SPAN}-01"));
    let server = Program::start(&mut command);
    let port = server.port();
    let watch = Watch::pid(backend, server.pid());
    let mut connection = Connection::to(port);
    for target in ["/a", "/b"] {
        assert_eq!(connection.get(target).status, 200);
    }
    let seen = watch.finish(2);
    assert!(
        seen.spans.iter().all(|span| span.trace_id != TRACE && span.parent_span_id.is_empty()),
        "{}",
        seen.summary()
    );
}

/// A relay hands on a context, and not the list of states beside it.
fn what_others_have_said_is_handed_down(backend: Backend) {
    let start = |next: Option<u16>| {
        let mut command = Command::new(need::python());
        command.arg("-u").arg(need::source("sdk").join("relay.py")).args(next.map(|port| port.to_string()));
        Program::start(&mut command)
    };
    let store = start(None);
    let relay = start(Some(store.port()));
    let receiver = Receiver::start();
    let agent = Setup::pids(&[relay.pid(), store.pid()]).backend(backend).to(&receiver).start();
    let watch = Watch { agent, receiver };
    let mut connection = Connection::to(relay.port());
    let w3c = format!("traceparent: 00-{TRACE}-{SPAN}-01");
    assert_eq!(connection.request("GET", "/x", &[&w3c, "tracestate: b=2,a=1"], b"").status, 200);
    assert_eq!(connection.request("GET", "/y", &[], b"").status, 200);
    let seen = watch.finish(6);
    let states = |trace: bool| {
        let of = seen.spans.iter().filter(|span| (span.trace_id == TRACE) == trace);
        of.map(|span| span.trace_state.as_str()).collect::<Vec<_>>()
    };
    assert_eq!((states(true), states(false)), (vec!["b=2,a=1"; 3], vec!["ot=th:0"; 3]), "{}", seen.summary());
}
