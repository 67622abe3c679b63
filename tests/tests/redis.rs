//! Redis: a real server, clients of two languages, its own benchmark. What the server counts is what is told, at both ends, and nothing
//! of keys and values.
#![allow(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::{process::Command, time::Duration};

use rustix::process::Signal;
use serde_json::{Value, json};
use tests::{
    agent::{Backend, Setup, Watch},
    client::Connection,
    need, on_both_backends,
    own_tls::certificate,
    program::{Program, folder, free_port},
    receiver::{ReceivedSpan, Receiver, State},
    seen::{assert_attributes, path},
    servers::redis::{Server, told},
    wait::poll,
};

on_both_backends!(
    clients_of_two_languages_and_what_the_server_counts,
    every_command_of_a_benchmark_is_counted,
    where_records_come_too_fast_spans_are_left_out_and_every_command_is_counted,
    commands_over_tls
);

const COUNT: &str = "db_server_operation_duration_seconds_count";

fn clients_of_two_languages_and_what_the_server_counts(backend: Backend) {
    let server = Server::start(&[]);
    let port = server.port.to_string();
    let mut python = Command::new(need::python());
    python.env("PYTHONPATH", need::made("python")).arg("-u").arg(need::source("python").join("redis_client.py"));
    let mut node = Command::new(need::program("node"));
    node.env("NODE_PATH", need::made("node").join("node_modules")).arg(need::source("node").join("redis_client.js"));
    let start = |mut client: Command| Program::start(client.arg(&port).env("OTEL_SERVICE_NAME", "shop"));
    let mut clients = [python, node].map(start);
    clients.iter().for_each(|client| drop(client.says("ready")));
    server.forget();
    let pids = [server.program.pid(), clients[0].pid(), clients[1].pid()];
    let watch = Watch::with_graph(backend, &pids);
    for client in &mut clients {
        client.tell("go");
        let _said = client.says("done");
    }
    let took = |name: &str| {
        let said = clients[0].says(&format!("took {name}"));
        Duration::from_nanos(said.rsplit(' ').next().unwrap().parse().unwrap())
    };
    let counted = server.calls();
    let all: u64 = counted.values().sum();
    let is_counted =
        |span: &&ReceivedSpan| counted.contains_key(span.attributes["db.operation.name"].as_str().unwrap());
    let are_told = |spans: &[ReceivedSpan]| {
        let is_question = |span: &ReceivedSpan| span.attributes["db.operation.name"] == "INFO";
        spans.iter().any(is_question) && spans.iter().filter(is_counted).count() as u64 >= 2 * all
    };
    let seen = watch.stop_when(|state| are_told(&state.spans));
    let [servers, callers] = ["SERVER", "CLIENT"].map(|kind| seen.of_kind(kind));
    seen.assert_edges("shop", "redis-server", "database", &callers);
    // What it does not count it has refused, but for the question.
    for spans in [&servers, &callers] {
        let refused: Vec<_> = spans.iter().filter(|span| !is_counted(span)).collect();
        assert!(refused.iter().any(|span| span.attributes["db.operation.name"] == "NOSUCHCOMMAND"), "{refused:#?}");
        let is_question = |span: &ReceivedSpan| span.attributes["db.operation.name"] == "INFO";
        assert!(refused.iter().all(|span| span.status == "ERROR" || is_question(span)), "{refused:#?}");
    }
    // Each connection's first, which is older than the agent, is told too, though not what became of it.
    let is_unseen = |span: &&&ReceivedSpan| span.attributes.contains_key("beyla.outcome");
    for spans in [&servers, &callers] {
        let unseen: Vec<_> = spans.iter().filter(is_unseen).collect();
        assert!(unseen.len() <= 3, "{unseen:#?}");
    }
    for spans in [&servers, &callers] {
        assert_eq!(told(spans.iter().copied().filter(is_counted)), counted, "{}", seen.summary());
    }
    assert!(!format!("{:?}", seen.spans).contains("secret"), "{}", seen.summary());

    let slow: Value = serde_json::from_str(&server.ask(&["--json", "SLOWLOG", "GET", "100"])).unwrap();
    let of_scripts = slow.as_array().unwrap().iter().filter(|entry| entry[3][0] == "EVAL");
    let executed = Duration::from_micros(of_scripts.map(|entry| entry[2].as_u64().unwrap()).max().unwrap());
    for spans in [&servers, &callers] {
        let one = |name: &str| {
            let mut found = spans.iter().filter(|span| span.attributes["db.operation.name"] == name);
            found.next_back().copied().unwrap_or_else(|| panic!("{name}: {}", seen.summary()))
        };
        assert_attributes(
            one("BLPOP"),
            &json!({
                "db.system.name": "redis",
                "db.operation.name": "BLPOP",
                "db.query.text": "BLPOP ? ?",
                "db.response.status_code": null,
                "error.type": null,
            }),
        );
        let blocked = Duration::from_nanos(one("BLPOP").duration_ns());
        assert!((Duration::from_millis(190)..=took("BLPOP")).contains(&blocked), "{blocked:?}, {:?}", took("BLPOP"));
        // As long as the server itself says that it took, at most what the client measured around it.
        let evaluated = spans.iter().filter(|span| span.attributes["db.operation.name"] == "EVAL");
        let evaluated = Duration::from_nanos(evaluated.map(|span| span.duration_ns()).max().unwrap());
        assert!((executed..=took("EVAL")).contains(&evaluated), "{executed:?}, {evaluated:?}, {:?}", took("EVAL"));
        assert_attributes(one("EXISTS"), &json!({"db.namespace": "5"}));
        for (name, code) in [("NOSUCHCOMMAND", "ERR"), ("EVAL", "SCRIPT")] {
            assert_attributes(one(name), &json!({"db.response.status_code": code, "error.type": code}));
            assert_eq!(one(name).status, "ERROR");
        }
        let wrong = spans.iter().filter(|span| span.attributes.get("error.type") == Some(&json!("WRONGTYPE"))).count();
        assert_eq!(wrong, 1);
    }
    let complete = callers.iter().filter(|span| !is_unseen(span)).count() as u64;
    assert_eq!(seen.count("db.client.operation.duration"), complete);
}

fn every_command_of_a_benchmark_is_counted(backend: Backend) {
    let server = Server::start(&[]);
    server.forget();
    let receiver = Receiver::start();
    // Its children are watched from their beginning on: none is to be found out about while it asks at full speed already.
    // With 16 commands of 1000 bytes and more the first turn of a connection is longer than what is captured of an older one.
    let script = "read -r _; all=ping_mbulk,set,get,lpush,mset; for how in \"1 -d 3 -n 1000 -t $all\" \"16 -d 3 -n 1000 -t $all\" \
                  '16 -d 1000 -n 160 -t set,get,lpush'; do $1 -p $0 -c 5 -q -P $how >/dev/null || exit 1; done";
    let mut client = Command::new("sh");
    client.args(["-c", script, &server.port.to_string()]).arg(need::program("redis-benchmark"));
    let mut client = Program::start(&mut client);
    let chosen = format!("{},{}", server.program.pid(), client.pid());
    let agent = Setup::with(["--pid", &chosen]).backend(backend).to(&receiver).start();
    let watch = Watch { agent, receiver };
    client.tell("go");
    assert!(client.wait().success());
    let counted = server.calls();
    let all: u64 = counted.values().sum();
    let seen = watch.finish_when(2 * all as usize + 1, |state| state.spans.len() as u64 > 2 * all);
    let [servers, callers] = ["SERVER", "CLIENT"].map(|kind| seen.of_kind(kind));
    let mut of_server = told(servers);
    assert_eq!(of_server.remove("INFO"), Some(1));
    assert_eq!(of_server, counted);
    assert_eq!(told(callers), counted);
    assert!(counted["SET"] >= 2000, "{counted:?}");
    let unseen = seen.spans.iter().filter(|span| span.attributes.contains_key("beyla.outcome")).count();
    assert_eq!(unseen, 0, "{}", seen.summary());
    assert_eq!(seen.count("db.client.operation.duration"), all);
}

/// Requests of a service beside it, each time.
const QUIET: usize = 20;

/// What comes while it has no processor waits in the ring. So much of it waits at last that it begins to leave out spans: before any record is lost, and
/// none of a service that has little to do with it.
fn where_records_come_too_fast_spans_are_left_out_and_every_command_is_counted(backend: Backend) {
    let server = Server::start(&[]);
    let quiet = Program::python("server.py", [""; 0]);
    let mut connection = Connection::to(quiet.port());
    let files = folder();
    let file = files.path().join("config.yaml");
    // So large that what is read before it first looks is a small part of it.
    std::fs::write(&file, "ebpf: {ring_buffer_bytes: 16777216}\n").unwrap();
    let receiver = Receiver::start();
    let chosen = format!("{},{}", server.program.pid(), quiet.pid());
    let agent =
        Setup::with(["--pid", &chosen, "--config", file.to_str().unwrap()]).backend(backend).to(&receiver).start();
    let mut watch = Watch { agent, receiver };
    let (mut sent, mut count, mut asked) = (0, 25_000, 0);
    let unsampled = loop {
        watch.agent.program().signal(Signal::STOP);
        let mut benchmark = Command::new(need::program("redis-benchmark"));
        benchmark.args(["-p", &server.port.to_string(), "-c", "4", "-q", "-t", "set", "-n", &count.to_string()]);
        // It asks for the server's configuration first, whatever it is told.
        let told = benchmark.output().unwrap();
        // What is read last, when spans are left out already.
        for _ in 0..QUIET {
            assert_eq!(connection.request("GET", "/quiet", &[], b"").status, 200);
        }
        asked += QUIET;
        watch.agent.program().signal(Signal::CONT);
        assert!(told.status.success(), "{told:?}");
        sent += count;
        poll("every command is counted", || {
            let counted = watch.agent.metric(COUNT, &["db_operation_name=\"SET\""]);
            let lost = watch.agent.metric("beyla_rs_capture_lost_total", &[]);
            assert!(lost == 0.0 && counted <= sent as f64, "{counted} of {sent} are counted; records lost: {lost}");
            (counted == sent as f64).then_some(())
        });
        let unsampled = watch.agent.metric("beyla_rs_spans_unsampled_total", &[]);
        if unsampled > 0.0 {
            break unsampled as usize;
        }
        count = count * 9 / 8;
    };
    watch.agent.until_logged("fewer traces are kept for now");
    let of_quiet = |state: &State| state.spans.iter().filter(|span| path(span) == Some("/quiet")).count();
    watch.receiver.wait_for(|state| of_quiet(state) == asked, tests::LONG).unwrap();
    println!("{unsampled} of {sent} commands have no span: {count} waited at once");
}

fn commands_over_tls(backend: Backend) {
    let files = folder();
    let [certificate, key] = certificate(files.path());
    let [certificate, key] = [certificate, key].map(|path| path.display().to_string());
    let port = free_port();
    let server = Server::start(&[
        "--tls-port",
        &port.to_string(),
        "--tls-cert-file",
        &certificate,
        "--tls-key-file",
        &key,
        "--tls-auth-clients",
        "no",
        "--tls-ca-cert-file",
        &certificate,
    ]);
    let watch = Watch::tls(backend, &[server.program.pid()]);
    let mut command = Command::new(need::program("redis-cli"));
    command.args(["--tls", "--insecure", "-p", &port.to_string()]);
    let said = command.args(["GET", "secret"]).output().unwrap();
    assert!(said.status.success(), "{said:?}");
    let seen = watch.finish(1);
    let span = &seen.spans[0];
    assert_eq!((span.kind, &*span.name), ("SERVER", "GET 0"));
    assert_attributes(
        span,
        &json!({"db.query.text": "GET ?", "db.namespace": "0", "network.peer.address": "127.0.0.1"}),
    );
    assert!(span.attributes.get("tls.protocol.version").is_some_and(Value::is_string), "{span:?}");
}
