//! MariaDB, as one that speaks MySQL's protocol: a real server, drivers of two languages, its own benchmark. What the server counts is
//! what is told, at both ends, and no values.
#![allow(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::{collections::BTreeMap, os::unix::fs::chown, path::PathBuf, process::Command, time::Duration};

use serde_json::{Value, json};
use tests::{
    agent::{Backend, Setup, Watch},
    need, on_both_backends,
    own_tls::certificate,
    program::{Program, folder, free_port},
    receiver::{ReceivedSpan, Receiver, State},
    seen::{Seen, assert_attributes},
    wait::poll,
};

on_both_backends!(
    drivers_of_two_languages_and_what_the_server_counts,
    every_statement_of_a_benchmark_is_counted,
    statements_over_tls,
    a_large_result_takes_as_many_records_as_a_small_one,
);

/// How often statements were executed, by their first word.
type Calls = BTreeMap<String, u64>;

/// Who a server runs as.
const USER: &str = "mysql";

fn id(option: &str) -> u32 {
    let said = Command::new("id").args([option, USER]).output().unwrap();
    String::from_utf8(said.stdout).unwrap().trim().parse().unwrap()
}

fn done(command: &mut Command) -> String {
    let said = command.output().unwrap();
    assert!(said.status.success(), "{command:?}: {said:?}");
    String::from_utf8(said.stdout).unwrap()
}

/// A server of its own, with the databases `shop` and `other`.
struct Server {
    program: Program,
    port: u16,
    files: tempfile::TempDir,
}

impl Server {
    fn start(with_tls: bool) -> Self {
        let (files, port) = (folder(), free_port());
        let own = files.path().display().to_string();
        if with_tls {
            for file in certificate(files.path()) {
                chown(&file, Some(id("-u")), Some(id("-g"))).unwrap();
            }
        }
        chown(files.path(), Some(id("-u")), Some(id("-g"))).unwrap();
        let data = format!("--datadir={own}/data");
        let mut init = Command::new(need::program("mariadb-install-db"));
        init.args(["--no-defaults", "--auth-root-authentication-method=normal", "--skip-test-db"]);
        init.args([&data, &format!("--user={USER}")]);
        done(init.current_dir(files.path()).env("TMPDIR", files.path()));
        let mut command = Command::new(need::program("setpriv"));
        command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"]).arg(need::program("mariadbd"));
        command.args([
            "--no-defaults",
            &data,
            "--bind-address=127.0.0.1",
            &format!("--port={port}"),
            "--local-infile=1",
        ]);
        command.args([
            &format!("--socket={own}/socket"),
            "--innodb-buffer-pool-size=16M",
            "--innodb-flush-log-at-trx-commit=0",
        ]);
        command.args(["--skip-log-bin", "--log-output=TABLE"]);
        if with_tls {
            command.args([&format!("--ssl-cert={own}/cert.pem"), &format!("--ssl-key={own}/key.pem")]);
        }
        let program = Program::start(&mut command);
        let is_ready = |lines: &[String]| lines.iter().any(|line| line.contains("ready for connections")).then_some(());
        let ready = program.stderr.until(tests::LONG, is_ready);
        assert!(ready.is_some(), "the server does not start: {:#?}", program.stderr.so_far());
        let server = Self { program, port, files };
        server.ask(
            "CREATE DATABASE shop; CREATE DATABASE other; CREATE USER shop@'%' IDENTIFIED BY 's3cr3t-0'; \
             GRANT ALL ON *.* TO shop@'%'",
        );
        server
    }

    /// What it answers, over its socket.
    fn ask(&self, statements: &str) -> String {
        let mut command = Command::new(need::program("mariadb"));
        command.args([
            "--no-defaults",
            "-uroot",
            "-N",
            "-B",
            &format!("--socket={}/socket", self.files.path().display()),
        ]);
        done(command.args(["-e", statements]))
    }

    /// What comes from now on is logged.
    fn forget(&self) {
        self.ask("SET GLOBAL general_log = 1; TRUNCATE mysql.general_log");
    }

    /// What it has logged since of the user's: statements that were executed, and other commands that are told.
    fn calls(&self) -> Calls {
        let logged = self.ask(
            "SELECT command_type, argument FROM mysql.general_log WHERE user_host LIKE '%shop%' AND command_type IN \
             ('Query', 'Execute', 'Init DB', 'Change user')",
        );
        let mut calls = Calls::new();
        for line in logged.lines() {
            let (kind, argument) = line.split_once('\t').unwrap();
            let word: String = argument.chars().take_while(char::is_ascii_alphabetic).collect();
            let word = match kind {
                "Init DB" => "USE".to_owned(),
                "Change user" => "CHANGE".to_owned(),
                _ => word.to_uppercase(),
            };
            *calls.entry(word).or_default() += 1;
        }
        calls
    }
}

/// How often the first words of operations were told, of those that are known.
fn told(spans: &[&ReceivedSpan]) -> Calls {
    let mut calls = Calls::new();
    for span in spans {
        let operation = span.attributes.get("db.operation.name").and_then(Value::as_str);
        let word = operation.map_or("", |operation| operation.split(' ').next().unwrap());
        *calls.entry(word.to_owned()).or_default() += 1;
    }
    calls
}

/// Spans over TCP: this test asks over a socket of the server's.
fn sides(seen: &Seen) -> [Vec<&ReceivedSpan>; 2] {
    ["SERVER", "CLIENT"].map(|kind| seen.of_kind(kind).into_iter().filter(|span| is_over_tcp(span)).collect())
}

fn is_over_tcp(span: &ReceivedSpan) -> bool {
    span.attributes.get("network.peer.address").is_some_and(|address| address == "127.0.0.1")
}

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
