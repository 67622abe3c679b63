//! Programs in Go as Debian has them, which are asked over TLS: caddy, prometheus and Docker's registry over HTTP/1.1 and HTTP/2, etcd over gRPC. Each request is told once at either end, and nothing else is.
#![allow(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    net::TcpStream,
    path::Path,
    process::Command,
};

use serde_json::json;
use tempfile::TempDir;
use tests::{
    agent::{Backend, Setup, Watch},
    need, on_both_backends,
    own_tls::certificate,
    program::{Program, folder, free_port},
    receiver::Receiver,
    seen::{Seen, assert_attributes},
    wait::poll,
};

on_both_backends!(
    caddy,
    prometheus,
    registry,
    etcd,
    calls_of_services_that_are_chosen_by_their_ports,
    who_calls_nobody_is_not_asked_who_answers,
);

/// Requests of `tests/programs/go-tls`: half of them over either version of HTTP.
const REQUESTS: usize = 180;
/// Calls of `tests/programs/go-etcd`.
const CALLS: usize = 96;

struct Server {
    program: Program,
    port: u16,
    files: TempDir,
}

impl Server {
    /// Starts what this makes of a folder with `cert.pem` and `key.pem` in it and a port, and waits until it listens there.
    fn start(command: impl FnOnce(&Path, u16) -> Command) -> Self {
        let (files, port) = (folder(), free_port());
        let _paths = certificate(files.path());
        let mut command = command(files.path(), port);
        command.current_dir(&files).env("HOME", files.path()).env("XDG_DATA_HOME", files.path());
        let mut program = Program::start(&mut command);
        poll("the server listens", || {
            assert!(program.is_running(), "{:#?}", program.stderr.so_far());
            TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Self { program, port, files }
    }

    /// Watches it and a client from when that is ready until it is done.
    fn watch(&self, backend: Backend, client: &mut Command) -> (Program, Watch) {
        let mut client = Program::start(client);
        let _started = client.says("ready");
        let receiver = Receiver::start();
        let agent = Setup::pids(&[self.program.pid(), client.pid()])
            .args(["--log-level", "debug"])
            .backend(backend)
            .to(&receiver)
            .start();
        let attached = || agent.log().iter().filter(|line| line.contains("TLS library attached: crypto/tls")).count();
        poll("both are seen", || (attached() == 2).then_some(()));
        client.tell("go");
        let _finished = client.says("done");
        (client, Watch { agent, receiver })
    }
}

fn caddy(backend: Backend) {
    let server = Server::start(|files, port| {
        let config = "{\n admin off\n auto_https disable_redirects\n}\nhttps://localhost:PORT {\n tls cert.pem key.pem\n respond /missing/* 404\n respond hello\n}\n";
        fs::write(files.join("Caddyfile"), config.replace("PORT", &port.to_string())).unwrap();
        let mut command = Command::new(need::program("caddy"));
        command.args(["run", "--config", "Caddyfile"]);
        command
    });
    requests_are_told_once(backend, &server);
}

fn prometheus(backend: Backend) {
    let server = Server::start(|files, port| {
        fs::write(files.join("prometheus.yml"), "scrape_configs: []\n").unwrap();
        fs::write(files.join("web.yml"), "tls_server_config: {cert_file: cert.pem, key_file: key.pem}\n").unwrap();
        let mut command = Command::new(need::program("prometheus"));
        command.args(["--config.file=prometheus.yml", "--web.config.file=web.yml", "--storage.tsdb.path=data"]);
        command.arg(format!("--web.listen-address=127.0.0.1:{port}"));
        command
    });
    requests_are_told_once(backend, &server);
}

fn registry(backend: Backend) {
    let server = Server::start(|files, port| {
        let config = "version: 0.1\nstorage: {filesystem: {rootdirectory: data}}\nhttp:\n  addr: 127.0.0.1:PORT\n  tls: {certificate: cert.pem, key: key.pem}\n";
        fs::write(files.join("config.yml"), config.replace("PORT", &port.to_string())).unwrap();
        let mut command = Command::new(need::program("docker-registry"));
        command.args(["serve", "config.yml"]);
        command
    });
    requests_are_told_once(backend, &server);
}

fn requests_are_told_once(backend: Backend, server: &Server) {
    let mut client = Command::new(need::built_by_go("go-tls", "newest", "local", &[], &[]));
    client
        .arg("get")
        .args(["cert.pem", "key.pem"].map(|name| server.files.path().join(name)))
        .arg(server.port.to_string());
    let (client, watch) = server.watch(backend, &mut client);
    // Path, status and port of its own.
    let said: BTreeMap<String, [u64; 2]> = client
        .stdout
        .so_far()
        .iter()
        .filter_map(|line| {
            let words: Vec<&str> = line.split(' ').collect();
            let ["http", path, status, own_port, _took] = words[..] else { return None };
            Some((path.to_owned(), [status.parse().unwrap(), own_port.parse().unwrap()]))
        })
        .collect();
    assert_eq!(said.len(), REQUESTS);
    let seen = watch.finish(2 * REQUESTS);
    for (path, [status, own_port]) in &said {
        let version = if path.split('/').nth(2) == Some("1") { "1.1" } else { "2" };
        let is_first = path.rsplit('/').next().unwrap().starts_with("0-");
        let expected = json!({
            "http.request.method": "GET",
            "http.response.status_code": status,
            "network.protocol.version": version,
            "tls.protocol.version": if is_first { "1.2" } else { "1.3" },
            "beyla.connection.unbound": null,
        });
        let at = seen.all_at(path);
        assert_eq!(at.len(), 2, "{path}: {}", seen.summary());
        at.iter().for_each(|span| assert_attributes(span, &expected));
        let of = |kind: &str| at.iter().find(|span| span.kind == kind).copied();
        let (server_span, client_span) = (of("SERVER").unwrap(), of("CLIENT").unwrap());
        assert_attributes(
            server_span,
            &json!({ "url.scheme": "https", "client.port": own_port, "server.port": server.port }),
        );
        assert_attributes(client_span, &json!({ "network.peer.port": server.port }));
        assert_eq!(server_span.parent_span_id, client_span.span_id, "{path}");
    }
    counted(&seen, "http", "request", REQUESTS);
}

fn etcd(backend: Backend) {
    let server = Server::start(|_, port| {
        let (peers, address) = (format!("http://127.0.0.1:{}", free_port()), format!("https://127.0.0.1:{port}"));
        let mut command = Command::new(need::program("etcd"));
        command.args(["--data-dir=data", "--cert-file=cert.pem", "--key-file=key.pem", "--name=one"]);
        for (option, value) in [
            ("listen-client-urls", &address),
            ("advertise-client-urls", &address),
            ("listen-peer-urls", &peers),
            ("initial-advertise-peer-urls", &peers),
            ("initial-cluster", &format!("one={peers}")),
        ] {
            command.arg(format!("--{option}={value}"));
        }
        command
    });
    let mut client = Command::new(need::built_by_go("go-etcd", "newest", "local", &[], &[]));
    client.arg(server.files.path().join("cert.pem")).args([server.port.to_string(), CALLS.to_string()]);
    let (_client, watch) = server.watch(backend, &mut client);
    let seen = watch.finish(2 * CALLS);
    let [servers, clients] = ["SERVER", "CLIENT"].map(|kind| seen.of_kind(kind));
    assert_eq!([servers.len(), clients.len()], [CALLS; 2], "{}", seen.summary());
    for span in servers.iter().chain(&clients) {
        assert_attributes(
            span,
            &json!({
                "rpc.system.name": "grpc",
                "rpc.method": "etcdserverpb.KV/Put",
                "rpc.status_code": "OK",
                "tls.protocol.version": "1.3",
                "beyla.connection.unbound": null,
            }),
        );
    }
    let above: BTreeSet<_> = servers.iter().map(|span| &span.parent_span_id).collect();
    assert_eq!(above, clients.iter().map(|span| &span.span_id).collect(), "each below its own");
    counted(&seen, "rpc", "call", CALLS);
}

/// One that is idle when the agent starts is looked through by then; what is found out about one that is started later is so of a connection that is older than that, too.
fn calls_of_services_that_are_chosen_by_their_ports(backend: Backend) {
    const REQUESTS: usize = 120;
    let start = |port: u16, back_end: Option<u16>| started(port, back_end, "1");
    let files = folder();
    let message = files.path().join("message");
    fs::write(&message, [0; 5]).unwrap();
    let [last, first, second] = [(); 3].map(|()| free_port());
    let (_last, idle) = (start(last, None), start(first, Some(last)));
    let receiver = Receiver::start();
    let chosen = format!("{first},{second}");
    let agent = Setup::with(["--port", &chosen, "--log-level", "debug"]).backend(backend).to(&receiver).start();
    agent.until_logged("tasks are told apart");
    let later = start(second, Some(last));
    // The second at a pace at which it is found out about it meanwhile.
    for (port, pace) in [(first, &[][..]), (second, &["--rps", "40"])] {
        ask(port, &message, REQUESTS, pace);
    }
    let seen = Watch { agent, receiver }.finish(2 * 2 * REQUESTS);
    for (program, without) in [(&idle, 0), (&later, REQUESTS / 4 * 3)] {
        let mut calls: Vec<_> = seen.of_kind("CLIENT");
        calls.retain(|span| span.resource["process.pid"] == program.pid());
        assert_eq!(calls.len(), REQUESTS, "{}", seen.summary());
        calls.sort_by_key(|span| span.start_unix_nano);
        let roots = calls.iter().skip(without).filter(|span| span.parent_span_id.is_empty()).count();
        // Those of the first moments may have none (docs/limitations.md), and none is wrong.
        assert!(roots <= 2, "{roots} of {REQUESTS} have no parent, of which the first {without} need none");
        let servers: BTreeSet<_> = seen.of_kind("SERVER").into_iter().map(|span| span.span_id.clone()).collect();
        assert!(calls.iter().all(|span| span.parent_span_id.is_empty() || servers.contains(&span.parent_span_id)));
    }
}

/// A service over gRPC that makes so many calls for each request, if it is not asked for others.
fn started(port: u16, back_end: Option<u16>, calls: &str) -> Program {
    let mut command = Command::new(need::built_by_go("parents/go", "chosen", "local", &[], &[]));
    command.arg("grpc").env("LISTEN", port.to_string());
    if let Some(back_end) = back_end {
        command.env("BACKENDS", back_end.to_string()).env("CALLS", calls).env("PATTERN", "pause");
    }
    let program = Program::start(&mut command);
    assert_eq!(program.port(), port);
    program
}

/// Asks it over one connection, one request after the other.
fn ask(port: u16, message: &Path, count: usize, arguments: &[&str]) {
    let mut load = Command::new(need::program("h2load"));
    load.args(["-n", &count.to_string(), "-c", "1", "-m", "1", "-H", "content-type: application/grpc"]);
    load.args(["-H", "te: trailers", "-d"]).arg(message).args(arguments);
    let output = load.arg(format!("http://127.0.0.1:{port}/shop.Orders/Get")).output().unwrap();
    assert!(output.status.success(), "{output:?}");
}

/// A server that answers and calls nobody has no probe per request after a while, and has it again once it calls.
fn who_calls_nobody_is_not_asked_who_answers(backend: Backend) {
    const WITHOUT: usize = 1200;
    const CALLS: usize = 60;
    let files = folder();
    let message = files.path().join("message");
    fs::write(&message, [0; 5]).unwrap();
    let [last, first] = [(); 2].map(|()| free_port());
    let programs = [started(last, None, "0"), started(first, Some(last), "0")];
    let receiver = Receiver::start();
    let setup = Setup::pids(&programs.each_ref().map(Program::pid));
    let agent = setup.args(["--log-level", "debug"]).backend(backend).to(&receiver).start();
    agent.until_logged("tasks are told apart");
    ask(first, &message, WITHOUT, &[]);
    agent.until_logged("it is not asked any more who answers requests");
    ask(first, &message, CALLS, &["-H", "calls: 1", "--rps", "100"]);
    let seen = Watch { agent, receiver }.finish(WITHOUT + 3 * CALLS);
    let mut calls = seen.of_kind("CLIENT");
    assert_eq!(calls.len(), CALLS, "{}", seen.summary());
    calls.sort_by_key(|span| span.start_unix_nano);
    let servers: BTreeSet<_> = seen.of_kind("SERVER").into_iter().map(|span| span.span_id.clone()).collect();
    assert!(calls.iter().all(|span| span.parent_span_id.is_empty() || servers.contains(&span.parent_span_id)));
    // Those of the first moments may have none.
    let roots = calls.iter().skip(CALLS / 2).filter(|span| span.parent_span_id.is_empty()).count();
    assert!(roots <= 1, "{roots} of the last {} have no parent", CALLS / 2);
}

fn counted(seen: &Seen, of: &str, what: &str, expected: usize) {
    for side in ["server", "client"] {
        assert_eq!(seen.count(&format!("{of}.{side}.{what}.duration")), expected as u64, "{side}");
    }
}
