//! PostgreSQL: a real server, drivers of two languages, its own benchmark, a pooler. What the server counts is what is told, at both
//! ends, and no values.
#![allow(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::chown,
    path::PathBuf,
    process::Command,
    time::{Duration, Instant},
};

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
    every_statement_of_a_benchmark_is_counted_in_its_three_modes,
    both_sides_of_a_pooler,
    statements_over_tls,
    a_large_result_takes_as_many_records_as_a_small_one,
);

/// How often statements with a first word were executed.
type Calls = BTreeMap<String, u64>;

/// Who a server runs as.
const USER: &str = "postgres";

/// A program of PostgreSQL's newest release here.
fn program(name: &str) -> PathBuf {
    let releases = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let newest = releases.map(|entry| entry.path().join("bin").join(name)).filter(|path| path.is_file()).max();
    newest.unwrap_or_else(|| panic!("{name} is not in /usr/lib/postgresql: install the Debian package postgresql"))
}

fn id(option: &str) -> u32 {
    let said = Command::new("id").args([option, USER]).output().unwrap();
    String::from_utf8(said.stdout).unwrap().trim().parse().unwrap()
}

/// A command that runs as that user.
fn as_user(program: PathBuf) -> Command {
    let mut command = Command::new(need::program("setpriv"));
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"]).arg(program);
    command
}

fn done(command: &mut Command) -> String {
    let said = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    assert!(said.status.success(), "{command:?}: {said:?}");
    String::from_utf8(said.stdout).unwrap()
}

/// A server of its own, with one database, `shop`.
struct Server {
    program: Program,
    port: u16,
    files: tempfile::TempDir,
}

impl Server {
    fn start(settings: &[&str]) -> Self {
        let (files, port) = (folder(), free_port());
        if settings.contains(&"ssl=on") {
            for file in certificate(files.path()) {
                chown(&file, Some(id("-u")), Some(id("-g"))).unwrap();
                fs::set_permissions(&file, std::os::unix::fs::PermissionsExt::from_mode(0o600)).unwrap();
            }
        }
        chown(files.path(), Some(id("-u")), Some(id("-g"))).unwrap();
        let data = files.path().join("data");
        let mut init = as_user(program("initdb"));
        init.args(["--no-sync", "--auth=trust", "--username=shop", "--locale=C", "--encoding=UTF8", "--pgdata"])
            .arg(&data);
        done(init.current_dir(files.path()));
        let mut command = as_user(program("postgres"));
        command.current_dir(files.path()).arg("-D").arg(&data).args(["-p", &port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "autovacuum=off",
            "shared_buffers=16MB",
            "shared_preload_libraries=pg_stat_statements",
            "max_parallel_workers=0",
            "ssl_cert_file=../cert.pem",
            "ssl_key_file=../key.pem",
        ]
        .iter()
        .chain(settings)
        {
            command.args(["-c", setting]);
        }
        let program = Program::start(&mut command);
        let is_ready = |lines: &[String]| lines.iter().any(|line| line.contains("ready to accept")).then_some(());
        let ready = program.stderr.until(tests::LONG, is_ready);
        assert!(ready.is_some(), "the server does not start: {:#?}", program.stderr.so_far());
        let server = Self { program, port, files };
        server.ask("CREATE EXTENSION pg_stat_statements");
        server.ask("CREATE DATABASE shop");
        server
    }

    /// What it answers to a statement in its own database.
    fn ask(&self, statement: &str) -> String {
        done(self.psql("postgres").args(["-c", statement]))
    }

    fn psql(&self, database: &str) -> Command {
        let mut command = Command::new(program("psql"));
        command.args(["-X", "-A", "-t", "-h", "127.0.0.1", "-p", &self.port.to_string(), "-U", "shop", "-d", database]);
        command
    }

    fn forget(&self) {
        self.ask("SELECT pg_stat_statements_reset()");
    }

    /// What it has counted since, in the database.
    fn calls(&self) -> Calls {
        let counted = self.ask(
            "SELECT upper(substring(query from '[A-Za-z]+')), sum(calls) FROM pg_stat_statements \
             WHERE dbid = (SELECT oid FROM pg_database WHERE datname = 'shop') AND toplevel GROUP BY 1",
        );
        let call = |line: &str| {
            let (word, calls) = line.split_once('|')?;
            Some((word.to_owned(), calls.parse().unwrap()))
        };
        counted.lines().filter_map(call).collect()
    }

    /// A program of a name of its own, that agents are told to watch.
    fn copy_of(&self, name: &str) -> PathBuf {
        let copy = self.files.path().join(format!("{name}-of-a-test"));
        need::copied(&program(name), &copy);
        copy
    }
}

/// Spans of statements in the database.
fn of_shop<'a>(spans: impl IntoIterator<Item = &'a ReceivedSpan>) -> Vec<&'a ReceivedSpan> {
    // On connections that are older than the agent it is not known.
    let is_elsewhere = |span: &ReceivedSpan| span.attributes.get("db.namespace").is_some_and(|it| it != "shop");
    spans.into_iter().filter(|span| !is_elsewhere(span)).collect()
}

/// How often the first words of operations were told, of those that did not fail.
fn told(spans: &[&ReceivedSpan]) -> Calls {
    let mut calls = Calls::new();
    for span in spans.iter().filter(|span| !span.attributes.contains_key("error.type")) {
        let Some(operation) = span.attributes.get("db.operation.name").and_then(Value::as_str) else { continue };
        let text = span.attributes.get("db.query.text").and_then(Value::as_str).unwrap_or_default();
        // What the server does not count: more rows of the same execution, and what drops prepared statements.
        if operation == "FETCH" && !text.starts_with("FETCH") || operation == "DEALLOCATE" {
            continue;
        }
        *calls.entry(operation.split(' ').next().unwrap().to_owned()).or_default() += 1;
    }
    calls
}

fn sides(seen: &Seen) -> [Vec<&ReceivedSpan>; 2] {
    ["SERVER", "CLIENT"].map(|kind| of_shop(seen.of_kind(kind)))
}

fn drivers_of_two_languages_and_what_the_server_counts(backend: Backend) {
    let server = Server::start(&[]);
    let port = server.port.to_string();
    let mut python = Command::new(need::python());
    python.env("PYTHONPATH", need::made("sql")).arg("-u").arg(need::source("sql").join("postgresql_client.py"));
    let mut node = Command::new(need::program("node"));
    node.env("NODE_PATH", need::made("sql-node").join("node_modules"));
    node.arg(need::source("sql-node").join("postgresql_client.js"));
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
    let took = Duration::from_nanos(clients[0].says("took ").trim().parse().unwrap());
    let counted = server.calls();
    let slept = "SELECT round(max_exec_time * 1e6) FROM pg_stat_statements WHERE query LIKE 'SELECT pg_sleep(%'";
    let executed = Duration::from_nanos(server.ask(slept).trim().parse().unwrap());
    let all: u64 = counted.values().sum();
    let seen = watch.stop_when(|state| {
        let of = |kind: &str| told(&of_shop(state.spans.iter().filter(|span| span.kind == kind))).values().sum::<u64>();
        of("SERVER") >= all && of("CLIENT") >= all
    });
    assert!(!format!("{:?}", seen.spans).contains("s3cr3t"), "{}", seen.summary());
    seen.assert_edges("shop", "postgres", "database", &seen.of_kind("CLIENT"));
    let [servers, callers] = sides(&seen);
    for spans in [&servers, &callers] {
        assert_eq!(told(spans), counted, "{}", seen.summary());
        // The first of each of the three connections that are older than the agent.
        let unseen = spans.iter().filter(|span| span.attributes.contains_key("beyla.outcome")).count();
        assert!(unseen <= 3, "{unseen}: {}", seen.summary());
        let failed = |code: &str| {
            let of_code = |span: &&&ReceivedSpan| span.attributes.get("error.type").is_some_and(|it| it == code);
            let found: Vec<_> = spans.iter().filter(of_code).collect();
            assert_eq!(found.len(), 1, "{code}: {}", seen.summary());
            *found[0]
        };
        for code in ["23505", "42P01", "42601", "42703", "22012"] {
            assert_attributes(failed(code), &json!({"db.response.status_code": code}));
            assert_eq!(failed(code).status, "ERROR");
        }
        assert_eq!(failed("42P01").name, "SELECT nowhere");
        let texts = |text: &str| {
            let found = spans.iter().filter(|span| span.attributes.get("db.query.text").is_some_and(|it| it == text));
            found.copied().collect::<Vec<_>>()
        };
        let slept = texts("SELECT pg_sleep(?)")[0];
        let lasted = Duration::from_nanos(slept.duration_ns());
        // As long as the server itself says that it took, and what it takes to ask, at most what the client measured around it.
        assert!((executed..=took).contains(&lasted), "{executed:?}, {lasted:?}, {took:?}");
        assert!(executed >= Duration::from_millis(199), "{executed:?}");
        let large = texts("SELECT repeat(?, ?) FROM generate_series(?, ?)")[0];
        assert_attributes(large, &json!({"db.response.returned_rows": 25000, "beyla.outcome": null}));
        assert_attributes(
            texts("SELECT * FROM orders WHERE id < ? AND note <> ?")[0],
            &json!({
                "db.system.name": "postgresql",
                "db.namespace": "shop",
                "db.operation.name": "SELECT",
                "db.collection.name": "orders",
                "db.query.summary": "SELECT orders",
                "db.response.returned_rows": 5,
                "beyla.name.unknown": null,
            }),
        );
        assert_eq!(texts("ALTER USER shop PASSWORD ?").len(), 1);
        assert_eq!(texts("UPDATE stock SET what = ? WHERE id IN (?)").len(), 1);
        let named = texts("DELETE FROM orders WHERE id = ?")[0];
        assert_eq!(named.trace_id, "0af7651916cd43dd8448eb211c80319c", "{named:?}");
        // What was prepared before the agent came, and executed again.
        let unknown = spans.iter().filter(|span| span.attributes.contains_key("beyla.name.unknown")).count();
        assert!(unknown >= 4, "{unknown}: {}", seen.summary());
    }
    for (spans, name) in [(&callers, "db.client.operation.duration"), (&servers, "db.server.operation.duration")] {
        let kind = spans[0].kind;
        let complete = seen.of_kind(kind).iter().filter(|span| !span.attributes.contains_key("beyla.outcome")).count();
        assert_eq!(seen.count(name), complete as u64, "{name}");
    }
}

fn every_statement_of_a_benchmark_is_counted_in_its_three_modes(backend: Backend) {
    let server = Server::start(&[]);
    let port = server.port.to_string();
    let client = server.copy_of("pgbench");
    let pgbench = |arguments: &[&str]| {
        let mut command = Command::new(&client);
        command.args(["-h", "127.0.0.1", "-p", &port, "-U", "shop"]).args(arguments).arg("shop");
        done(&mut command)
    };
    pgbench(&["-i", "-q"]);
    server.forget();
    let receiver = Receiver::start();
    let pid = server.program.pid().to_string();
    let agent = Setup::with(["--pid", &pid, "--exe", client.to_str().unwrap()]).backend(backend).to(&receiver).start();
    let watch = Watch { agent, receiver };
    let (mut transactions, mut statements) = (0, 0);
    for mode in ["simple", "extended", "prepared"] {
        for (script, of_each) in [("tpcb-like", 7), ("select-only", 1)] {
            let said = pgbench(&["-M", mode, "-b", script, "-n", "-c", "4", "-j", "2", "-t", "50"]);
            assert!(said.contains("actually processed: 200/200"), "{said}");
            transactions += 200;
            statements += 200 * of_each;
        }
    }
    let mut counted = server.calls();
    // Release 15 counts a prepared BEGIN or END once.
    assert!(counted["BEGIN"] <= 600 && counted["END"] <= 600);
    counted.extend(["BEGIN", "END"].map(|word| (word.to_owned(), 600)));
    let all: u64 = counted.values().sum();
    assert!(all >= statements && transactions == 1200, "{counted:?}");
    let seen = watch.stop_when(|state| {
        let of = |kind: &str| of_shop(state.spans.iter().filter(|span| span.kind == kind)).len() as u64;
        of("SERVER") >= all && of("CLIENT") >= all
    });
    let [servers, callers] = sides(&seen);
    for spans in [&servers, &callers] {
        assert_eq!(told(spans), counted, "{}", seen.summary());
        assert_eq!(spans.len() as u64, all, "{}", seen.summary());
        let odd = |span: &&&ReceivedSpan| {
            ["beyla.outcome", "beyla.name.unknown"].iter().any(|it| span.attributes.contains_key(*it))
        };
        assert_eq!(spans.iter().filter(odd).count(), 0, "{}", seen.summary());
        let text = "SELECT abalance FROM pgbench_accounts WHERE aid = ";
        let is_it = |span: &&&ReceivedSpan| {
            span.attributes["db.query.text"].as_str().is_some_and(|it| it.starts_with(text))
                && span.name == "SELECT pgbench_accounts"
        };
        assert_eq!(spans.iter().filter(is_it).count(), 1200);
    }
    assert_eq!(seen.count("db.client.operation.duration"), all);
    assert_eq!(seen.count("db.server.operation.duration"), seen.of_kind("SERVER").len() as u64);
}

fn both_sides_of_a_pooler(backend: Backend) {
    let server = Server::start(&[]);
    let client = server.copy_of("pgbench");
    let pgbench = |port: u16, arguments: &[&str]| {
        let mut command = Command::new(&client);
        command.args(["-h", "127.0.0.1", "-p", &port.to_string(), "-U", "shop"]).args(arguments).arg("shop");
        done(&mut command)
    };
    pgbench(server.port, &["-i", "-q"]);
    for (mode, protocols) in [
        ("session", &["simple", "extended", "prepared"][..]),
        ("transaction", &["simple", "extended"]),
        ("statement", &["simple"]),
    ] {
        let port = free_port();
        let settings = server.files.path().join("pgbouncer.ini");
        let text = format!(
            "[databases]\nshop = host=127.0.0.1 port={} dbname=shop\n[pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\n\
             unix_socket_dir =\nauth_type = any\npool_mode = {mode}\ndefault_pool_size = 5\nlogfile =\npidfile =\n",
            server.port
        );
        fs::write(&settings, text.replace("shop = host", "shop = user=shop host")).unwrap();
        let pooler = Program::start(as_user(need::program("pgbouncer")).arg(&settings));
        let is_ready = |lines: &[String]| lines.iter().any(|line| line.contains("process up")).then_some(());
        assert!(pooler.stderr.until(tests::LONG, is_ready).is_some(), "{:#?}", pooler.stderr.so_far());
        server.forget();
        let receiver = Receiver::start();
        let [of_server, of_pooler] = [server.program.pid(), pooler.pid()].map(|pid| pid.to_string());
        let arguments = ["--pid", &of_server, "--pid", &of_pooler, "--exe", client.to_str().unwrap()];
        let agent = Setup::with(arguments).backend(backend).to(&receiver).start();
        let watch = Watch { agent, receiver };
        for protocol in protocols {
            pgbench(port, &["-M", protocol, "-S", "-n", "-c", "5", "-t", "40"]);
        }
        let counted = server.calls();
        let all = 200 * protocols.len();
        let is_select = |span: &ReceivedSpan| span.name == "SELECT pgbench_accounts";
        let seen = watch.stop_when(|state| state.spans.iter().filter(|span| is_select(span)).count() >= 4 * all);
        for (kind, port) in [("SERVER", port), ("CLIENT", port), ("SERVER", server.port), ("CLIENT", server.port)] {
            let is_it = |span: &&&ReceivedSpan| span.attributes["server.port"] == port && is_select(span);
            let found = seen.of_kind(kind);
            let found: Vec<_> = found.iter().filter(is_it).collect();
            assert_eq!(found.len(), all, "{mode} {kind}: {}", seen.summary());
            assert!(found.iter().all(|span| !span.attributes.contains_key("beyla.outcome")), "{}", seen.summary());
        }
        // What the pooler asks by itself is counted too.
        let at_server: Vec<_> = seen.of_kind("SERVER");
        let at_server: Vec<_> =
            at_server.into_iter().filter(|span| span.attributes["server.port"] == server.port).collect();
        assert_eq!(told(&of_shop(at_server)), counted, "{mode}: {}", seen.summary());
    }
}

fn statements_over_tls(backend: Backend) {
    let server = Server::start(&["ssl=on"]);
    let watch = Watch::tls(backend, &[server.program.pid()]);
    let mut command = server.psql("sslmode=require dbname=shop");
    let said = done(command.args(["-c", "SELECT 's3cr3t', 5 FROM pg_class LIMIT 2"]));
    assert_eq!(said.lines().count(), 2);
    let seen = watch.finish(1);
    let span = &seen.spans[0];
    assert_eq!((span.kind, &*span.name), ("SERVER", "SELECT pg_class"));
    assert_attributes(
        span,
        &json!({
            "db.query.text": "SELECT ?, ? FROM pg_class LIMIT ?",
            "db.namespace": "shop",
            "db.response.returned_rows": 2,
            "network.peer.address": "127.0.0.1",
        }),
    );
}

fn a_large_result_takes_as_many_records_as_a_small_one(backend: Backend) {
    let server = Server::start(&[]);
    let mut client = Program::start(&mut server.psql("postgres"));
    client.tell("\\o /dev/null");
    client.tell("SELECT 1;");
    let connected = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'psql' AND pid <> pg_backend_pid()";
    poll("the client is connected", || (server.ask(connected).trim() == "1").then_some(()));
    let watch = Watch::pids(backend, &[server.program.pid(), client.pid()]);
    let rows_of = |span: &ReceivedSpan| span.attributes.get("db.response.returned_rows").and_then(Value::as_u64);
    let mut records = Vec::new();
    // The first on a connection that is older than the agent, from the second on its ends are known: 20 KB, 2 MB, 64 MB.
    for rows in [10, 20, 2_000, 64_000] {
        let before = watch.agent.records();
        client.tell(&format!("SELECT repeat('s', 1000) FROM generate_series(1, {rows});"));
        let is_it = |span: &&ReceivedSpan| rows_of(span) == Some(rows);
        let both = |state: &State| state.spans.iter().filter(is_it).count() == 2;
        watch.receiver.wait_for(both, tests::LONG).unwrap();
        records.push(watch.agent.records() - before);
    }
    let [.., small, large] = records[..] else { panic!("{records:?}") };
    println!("records of 2 MB and of 64 MB, at both ends: {small} and {large}");
    // At one for each piece there would be 16,000 more. One a second tells that there is more to come.
    assert!(small < 150 && large < small + 100, "{records:?}");
    let began = Instant::now();
    client.tell(
        "SELECT repeat('s', 1000), pg_sleep(CASE i WHEN 4000 THEN 0.3 ELSE 0 END) FROM generate_series(1, 4001) i;",
    );
    let is_it = |span: &ReceivedSpan| rows_of(span) == Some(4001);
    let seen = watch.stop_when(|state| state.spans.iter().filter(|span| is_it(span)).count() == 2);
    for span in seen.spans.iter().filter(|span| is_it(span)) {
        let lasted = Duration::from_nanos(span.duration_ns());
        assert!((Duration::from_millis(299)..began.elapsed()).contains(&lasted), "{lasted:?}: {}", seen.summary());
    }
    assert!(seen.spans.iter().all(|span| !span.attributes.contains_key("error.type")), "{}", seen.summary());
}
