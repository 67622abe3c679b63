//! MariaDB, as one that speaks MySQL's protocol: a real server, drivers of two languages, its own benchmark. What the server counts is
//! what is told, at both ends, and no values.
#![allow(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::{path::PathBuf, process::Command, time::Duration};

use serde_json::json;
use tests::{
    agent::{Backend, Setup, Watch},
    need, on_both_backends,
    program::Program,
    receiver::{ReceivedSpan, Receiver, State},
    seen::assert_attributes,
    servers::{
        done,
        mariadb::{Server, is_over_tcp, sides, told},
    },
    wait::poll,
};

on_both_backends!(
    drivers_of_two_languages_and_what_the_server_counts,
    every_statement_of_a_benchmark_is_counted,
    statements_over_tls,
    statements_over_tls_at_their_client,
    a_large_result_takes_as_many_records_as_a_small_one,
);

fn clients(port: &str) -> [Program; 2] {
    let mut python = Command::new(need::python());
    python.env("PYTHONPATH", need::made("sql")).arg("-u").arg(need::source("sql").join("mysql_client.py"));
    let mut node = Command::new(need::program("node"));
    node.env("NODE_PATH", need::made("sql-node").join("node_modules"));
    node.arg(need::source("sql-node").join("mysql_client.js"));
    [python, node].map(|mut client| Program::start(client.arg(port)))
}

fn drivers_of_two_languages_and_what_the_server_counts(backend: Backend) {
    let server = Server::start(false);
    let mut clients = clients(&server.port.to_string());
    clients.iter().for_each(|client| drop(client.says("ready")));
    server.forget();
    let pids = [server.program.pid(), clients[0].pid(), clients[1].pid()];
    let watch = Watch::pids(backend, &pids);
    for client in &mut clients {
        client.tell("go");
        let _said = client.says("done");
    }
    let took = Duration::from_nanos(clients[0].says("took ").trim().parse().unwrap());
    let mut counted = server.calls();
    // Of several statements in one query it has logged the first word only.
    for (word, more) in [("SELECT", 2), ("COMMIT", 1), ("DELETE", 1)] {
        *counted.entry(word.to_owned()).or_default() += more;
    }
    let all: u64 = counted.values().sum();
    let seen = watch.stop_when(|state| {
        let of = |kind: &str| state.spans.iter().filter(|span| span.kind == kind && is_over_tcp(span)).count() as u64;
        of("SERVER") > all && of("CLIENT") > all
    });
    assert!(!format!("{:?}", seen.spans).contains("s3cr3t"), "{}", seen.summary());
    let [servers, callers] = sides(&seen);
    for spans in [&servers, &callers] {
        // What failed to be prepared was not executed.
        assert_eq!(spans.len() as u64, all + 1, "{counted:?} {:?} {}", told(spans), seen.summary());
        // Of what was prepared before the agent came it is not known what it was.
        let is_known = |span: &&ReceivedSpan| {
            !span.attributes.contains_key("beyla.name.unknown")
                && span.attributes.get("error.type").is_none_or(|code| !["1054", "1064"].iter().any(|it| code == it))
        };
        let known: Vec<_> = spans.iter().copied().filter(is_known).collect();
        let [known, mut expected] = [told(&known), counted.clone()];
        let unknown = spans.iter().filter(|span| span.attributes.contains_key("beyla.name.unknown")).count() as u64;
        assert!((4..=6).contains(&unknown), "{unknown}: {}", seen.summary());
        *expected.get_mut("SELECT").unwrap() -= unknown;
        expected.remove("SELEC");
        assert_eq!(known, expected, "{}", seen.summary());
        let unseen = spans.iter().filter(|span| span.attributes.contains_key("beyla.outcome")).count();
        assert!(unseen <= 2, "{unseen}: {}", seen.summary());
        for code in ["1062", "1146", "1064", "1054"] {
            let of_code = |span: &&&ReceivedSpan| span.attributes.get("error.type").is_some_and(|it| it == code);
            let found: Vec<_> = spans.iter().filter(of_code).collect();
            assert_eq!(found.len(), 1, "{code}: {}", seen.summary());
            assert_attributes(found[0], &json!({"db.response.status_code": code}));
        }
        let texts = |text: &str| {
            let found = spans.iter().filter(|span| span.attributes.get("db.query.text").is_some_and(|it| it == text));
            found.copied().collect::<Vec<_>>()
        };
        let lasted = Duration::from_nanos(texts("SELECT sleep(?)")[0].duration_ns());
        assert!((Duration::from_millis(199)..=took).contains(&lasted), "{lasted:?}, {took:?}");
        assert_attributes(texts("SELECT repeat(?, ?) FROM orders")[0], &json!({"beyla.outcome": null}));
        assert_attributes(
            texts("SELECT * FROM orders WHERE id < ? AND note <> ?")[0],
            &json!({
                "db.system.name": "mariadb",
                "db.namespace": "shop",
                "db.operation.name": "SELECT",
                "db.collection.name": "orders",
                "db.query.summary": "SELECT orders",
                "db.response.returned_rows": 5,
            }),
        );
        assert_attributes(texts("SELECT count(*) FROM shop.orders")[0], &json!({"db.namespace": "other"}));
        assert_eq!(texts("INSERT INTO stock VALUES (?)").len(), 10);
        assert_eq!(texts("DELETE FROM orders WHERE id = ?")[0].trace_id, "0af7651916cd43dd8448eb211c80319c");
    }
    let complete = callers.iter().filter(|span| !span.attributes.contains_key("beyla.outcome")).count();
    assert_eq!(seen.count("db.client.operation.duration"), complete as u64);
}

fn every_statement_of_a_benchmark_is_counted(backend: Backend) {
    let server = Server::start(false);
    server.forget();
    let client: PathBuf = server.files.path().join("slap-of-a-test");
    need::copied(&need::program("mariadb-slap"), &client);
    let receiver = Receiver::start();
    let pid = server.program.pid().to_string();
    let agent = Setup::with(["--pid", &pid, "--exe", client.to_str().unwrap()]).backend(backend).to(&receiver).start();
    let watch = Watch { agent, receiver };
    let mut command = Command::new(&client);
    command.args(["--no-defaults", "-h127.0.0.1", &format!("-P{}", server.port), "-ushop", "-ps3cr3t-0", "--skip-ssl"]);
    done(command.args(["--auto-generate-sql", "--concurrency=4", "--number-of-queries=1000"]));
    let counted = server.calls();
    let all: u64 = counted.values().sum();
    let seen = watch.stop_when(|state| {
        let of = |kind: &str| state.spans.iter().filter(|span| span.kind == kind && is_over_tcp(span)).count() as u64;
        of("SERVER") >= all && of("CLIENT") >= all
    });
    let [servers, callers] = sides(&seen);
    assert!(counted["SELECT"] + counted["INSERT"] >= 1000, "{counted:?}");
    for spans in [&servers, &callers] {
        assert_eq!(told(spans), counted, "{}", seen.summary());
        let odd = |span: &&&ReceivedSpan| {
            ["beyla.outcome", "beyla.name.unknown"].iter().any(|it| span.attributes.contains_key(*it))
        };
        assert_eq!(spans.iter().filter(odd).count(), 0, "{}", seen.summary());
    }
    assert_eq!(seen.count("db.client.operation.duration"), all);
}

fn statements_over_tls(backend: Backend) {
    let server = Server::start(true);
    let watch = Watch::tls(backend, &[server.program.pid()]);
    let mut command = Command::new(need::program("mariadb"));
    command.args(["--no-defaults", "-h127.0.0.1", &format!("-P{}", server.port), "-ushop", "-ps3cr3t-0", "--ssl"]);
    let said = done(command.args(["-N", "-B", "shop", "-e", "SELECT 's3cr3t', 5"]));
    assert_eq!(said.lines().count(), 1);
    let is_it = |span: &ReceivedSpan| span.attributes.get("db.query.text").is_some_and(|text| text == "SELECT ?, ?");
    let seen = watch.stop_when(|state| state.spans.iter().any(is_it));
    let span = seen.spans.iter().find(|span| is_it(span)).unwrap();
    assert_eq!((span.kind, &*span.name), ("SERVER", "SELECT"));
    assert_attributes(
        span,
        &json!({"db.namespace": "shop", "db.response.returned_rows": 1, "network.peer.address": "127.0.0.1"}),
    );
    assert!(!format!("{:?}", seen.spans).contains("s3cr3t"), "{}", seen.summary());
}

/// A driver whose TLS is Python's: OpenSSL.
fn statements_over_tls_at_their_client(backend: Backend) {
    let server = Server::start(true);
    let mut python = Command::new(need::python());
    python.env("PYTHONPATH", need::made("sql")).arg("-u").arg(need::source("sql").join("mysql_tls.py"));
    let mut client = Program::start(python.arg(server.port.to_string()));
    let _ready = client.says("ready");
    server.forget();
    let watch = Watch::tls(backend, &[server.program.pid(), client.pid()]);
    client.tell("go");
    let _done = client.says("done");
    let counted = server.calls();
    let all: u64 = counted.values().sum();
    assert!(counted["INSERT"] == 20 && counted["SELECT"] == 2, "{counted:?}");
    let seen = watch.stop_when(|state| {
        let of = |kind: &str| state.spans.iter().filter(|span| span.kind == kind && is_over_tcp(span)).count() as u64;
        of("SERVER") >= all && of("CLIENT") >= all
    });
    assert!(!format!("{:?}", seen.spans).contains("s3cr3t"), "{}", seen.summary());
    for spans in sides(&seen) {
        assert_eq!(told(&spans), counted, "{}", seen.summary());
        let named = |name: &str| *spans.iter().find(|span| span.name == name).unwrap();
        assert_attributes(named("SELECT orders"), &json!({"db.response.returned_rows": 19, "db.namespace": "shop"}));
        assert_attributes(named("SELECT nowhere"), &json!({"error.type": "1146"}));
        let odd = |span: &&&ReceivedSpan| {
            ["beyla.outcome", "beyla.name.unknown"].iter().any(|it| span.attributes.contains_key(*it))
        };
        assert_eq!(spans.iter().filter(odd).count(), 0, "{}", seen.summary());
    }
    assert_eq!(seen.count("db.client.operation.duration"), all);
}

fn a_large_result_takes_as_many_records_as_a_small_one(backend: Backend) {
    let server = Server::start(false);
    let mut command = Command::new("sh");
    command.args(["-c", "exec \"$0\" \"$@\" > /dev/null"]).arg(need::program("mariadb"));
    command.args(["--no-defaults", "-h127.0.0.1", &format!("-P{}", server.port), "-ushop", "-ps3cr3t-0"]);
    let mut client = Program::start(command.args(["--skip-ssl", "-N", "-B", "-q", "--unbuffered", "shop"]));
    client.tell("SELECT 1;");
    let connected = "SELECT count(*) FROM information_schema.processlist WHERE user = 'shop'";
    poll("the client is connected", || (server.ask(connected).trim() == "1").then_some(()));
    let watch = Watch::pids(backend, &[server.program.pid(), client.pid()]);
    let asks = |client: &mut Program, column: &str, rows: u32| {
        // A collection of its own for each, to know it by.
        client.tell(&format!("SELECT {column} FROM seq_1_to_{rows};"));
        let is_it = |span: &&ReceivedSpan| {
            span.attributes.get("db.collection.name").is_some_and(|it| *it == format!("seq_1_to_{rows}").as_str())
        };
        let both = |state: &State| state.spans.iter().filter(is_it).count() == 2;
        watch.receiver.wait_for(both, tests::LONG).unwrap();
        let spans: Vec<_> = watch.receiver.state().spans.into_iter().filter(|span| is_it(&span)).collect();
        spans
    };
    let mut records = Vec::new();
    // The first on a connection that is older than the agent, from the second on its ends are known: 20 KB, 2 MB, 64 MB.
    for rows in [10, 20, 2_000, 64_000] {
        let before = watch.agent.records();
        let spans = asks(&mut client, "repeat('s', 1000)", rows);
        records.push(watch.agent.records() - before);
        if rows > 20 {
            assert!(spans.iter().all(|span| !span.attributes.contains_key("beyla.outcome")), "{spans:?}");
        }
    }
    let [.., small, large] = records[..] else { panic!("{records:?}") };
    println!("records of 2 MB and of 64 MB, at both ends: {small} and {large}");
    // At one for each piece there would be 8,000 more. One a second tells that there is more to come.
    assert!(small < 150 && large < small + 100, "{records:?}");
    let spans = asks(&mut client, "repeat('s', 1000), IF(seq = 4000, sleep(0.3), 0)", 4001);
    for span in spans {
        let lasted = Duration::from_nanos(span.duration_ns());
        assert!(lasted >= Duration::from_millis(299), "{lasted:?}");
    }
    let _seen = watch.stop_when(|_| true);
}
