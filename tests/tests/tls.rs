//! HTTP/1 over TLS: real programs with OpenSSL, as a shared library and linked in, that use the socket themselves or hand
//! cipher text over in memory. Requests sent = spans, each with its name, status and peer.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::{
    collections::{BTreeMap, BTreeSet},
    fs::File,
    os::unix::fs::FileExt,
    process::{Command, Stdio},
};

use serde_json::json;
use tests::{
    agent::{Backend, Watch},
    need, on_both_backends,
    own_tls::{OwnTls, certificate},
    program::{Program, folder, free_port},
    seen::{assert_attributes, path},
    wait::poll,
};

on_both_backends!(
    nginx_is_seen_behind_tls,
    a_threaded_python_server_is_seen_behind_tls,
    an_asyncio_server_is_seen_behind_tls,
    a_node_server_is_seen_behind_tls,
    a_node_client_is_seen_behind_tls,
    a_server_that_looks_before_it_reads_has_its_peers,
);

/// The body behind `/big/`.
const BIG: usize = 300_000;

/// A server that runs in a folder with its certificate.
struct Server {
    program: Program,
    port: u16,
    /// Of TLS.
    version: &'static str,
    _files: tempfile::TempDir,
}

impl Server {
    /// A program of `tests/programs` that says where it listens.
    fn start(interpreter: &std::path::Path, name: &str) -> Self {
        let files = folder();
        certificate(files.path());
        let program = Program::start(Command::new(interpreter).arg(need::source(name)).current_dir(&files));
        Self { port: program.port(), program, version: "1.3", _files: files }
    }

    fn node() -> Self {
        Self::start(&need::program("node"), "tls_server.js")
    }

    /// OpenSSL as a shared library, on a socket that does not block, and an older TLS.
    fn nginx() -> Self {
        let (files, port) = (folder(), free_port());
        certificate(files.path());
        let at = files.path().display();
        let configuration = format!(
            "daemon off; master_process off; pid {at}/nginx.pid; error_log stderr; events {{}} http {{
             access_log off; ssl_protocols TLSv1.2; server {{ listen 127.0.0.1:{port} ssl;
             ssl_certificate {at}/cert.pem; ssl_certificate_key {at}/key.pem;
             location / {{ return 200 \"hello\"; }} location /big/ {{ alias {at}/; try_files /big =404; }}
             location /no/ {{ return 404; }} }} }}"
        );
        std::fs::write(files.path().join("nginx.conf"), configuration).unwrap();
        std::fs::write(files.path().join("big"), "n".repeat(BIG)).unwrap();
        let mut command = Command::new(need::program("nginx"));
        command.arg("-p").arg(files.path()).arg("-c").arg(files.path().join("nginx.conf")).args(["-e", "stderr"]);
        let mut program = Program::start(&mut command);
        poll("nginx listens", || {
            assert!(program.is_running(), "it ended: {:#?}", program.stderr.so_far());
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        Self { program, port, version: "1.2", _files: files }
    }
}

/// The path of each request, with what curl says of it: status, and its own port.
fn curl(port: u16, connections: usize, each: usize) -> BTreeMap<String, (u16, u16)> {
    let start = |connection| {
        let mut command = Command::new(need::program("curl"));
        command.args(["-sk", "-w", "%{stderr}%{url_effective} %{http_code} %{local_port}\n"]);
        for i in 0..each {
            let kind = if i % 6 == 1 {
                "big"
            } else if i % 4 == 3 {
                "no"
            } else {
                "ok"
            };
            command.args([&format!("https://127.0.0.1:{port}/{kind}/{connection}-{i}"), "-o", "/dev/null"]);
        }
        command.stderr(Stdio::piped()).spawn().unwrap()
    };
    let clients: Vec<_> = (0..connections).map(start).collect();
    let mut said = BTreeMap::new();
    for client in clients {
        let output = client.wait_with_output().unwrap();
        let text = String::from_utf8(output.stderr).unwrap();
        assert!(output.status.success(), "{text}");
        for line in text.lines() {
            let [url, status, local_port] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let path = url.splitn(4, '/').nth(3).unwrap();
            said.insert(format!("/{path}"), (status.parse().unwrap(), local_port.parse().unwrap()));
        }
    }
    assert_eq!(said.len(), connections * each);
    said
}

/// The code of a process's TLS library becomes what its file says: no probe is left in it. Other agents may be at the same
/// library for a while.
fn assert_untouched(pid: u32) {
    poll("the code of the TLS library is what its file says", || is_untouched(pid).then_some(()));
}

/// Whether it is at this moment.
fn is_untouched(pid: u32) -> bool {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = File::open(format!("/proc/{pid}/mem")).unwrap();
    let mut looked_at = 0;
    for line in maps.lines() {
        let words: Vec<_> = line.split_whitespace().collect();
        let &[range, "r-xp", offset, _, _, path] = &words[..] else { continue };
        if !path.contains("/libssl") && !path.ends_with("/node") {
            continue;
        }
        let number = |text: &str| u64::from_str_radix(text, 16).unwrap();
        let (begin, end) = range.split_once('-').map(|(begin, end)| (number(begin), number(end))).unwrap();
        let size = usize::try_from(end - begin).unwrap();
        let (mut there, mut expected) = (vec![0; size], vec![0; size]);
        memory.read_exact_at(&mut there, begin).unwrap();
        // The last page of a file may be a part of one.
        let _len = File::open(path).unwrap().read_at(&mut expected, number(offset)).unwrap();
        if there != expected {
            return false;
        }
        looked_at += 1;
    }
    assert_ne!(looked_at, 0, "{maps}");
    true
}

fn a_server_is_seen(backend: Backend, server: &Server) {
    let pid = server.program.pid();
    let watch = Watch::tls(backend, &[pid]);
    let said = curl(server.port, 4, 30);
    let seen = watch.finish(said.len());
    assert_untouched(pid);
    for (path, &(status, client_port)) in &said {
        let span = seen.at(path);
        assert_eq!(span.kind, "SERVER");
        let mut expected = json!({
            "url.scheme": "https", "tls.protocol.version": server.version, "http.response.status_code": status,
            "server.port": server.port, "client.port": client_port,
            "beyla.connection.unbound": null, "beyla.outcome": null,
        });
        if path.starts_with("/big/") {
            expected["http.response.body.size"] = json!(BIG);
        }
        assert_attributes(span, &expected);
    }
    seen.assert_histograms_agree();
}

fn nginx_is_seen_behind_tls(backend: Backend) {
    a_server_is_seen(backend, &Server::nginx());
}

/// OpenSSL as a shared library, on sockets that block.
fn a_threaded_python_server_is_seen_behind_tls(backend: Backend) {
    a_server_is_seen(backend, &Server::start(&need::python(), "tls_threads.py"));
}

/// OpenSSL as a shared library, through memory.
fn an_asyncio_server_is_seen_behind_tls(backend: Backend) {
    a_server_is_seen(backend, &Server::start(&need::python(), "tls_asyncio.py"));
}

/// OpenSSL linked into the program, through memory.
fn a_node_server_is_seen_behind_tls(backend: Backend) {
    a_server_is_seen(backend, &Server::node());
}

fn a_node_client_is_seen_behind_tls(backend: Backend) {
    const REQUESTS: usize = 100;
    let server = Server::node();
    let port = server.port;
    let mut client = Program::node("tls_client.js", [port.to_string(), REQUESTS.to_string()]);
    let _ready = client.says("ready");
    let watch = Watch::tls(backend, &[client.pid()]);
    client.tell("go");
    let _done = client.says("done");
    let seen = watch.finish(REQUESTS);
    let paths: BTreeSet<_> = seen.spans.iter().filter_map(path).collect();
    assert_eq!(paths.len(), REQUESTS, "each once: {}", seen.summary());
    for span in &seen.spans {
        let path = path(span).unwrap();
        let status = if path.starts_with("/no/") { 404 } else { 200 };
        assert_eq!(span.kind, "CLIENT");
        let mut expected = json!({
            "url.full": format!("https://127.0.0.1:{port}{path}"), "http.response.status_code": status,
            "network.peer.port": port, "beyla.outcome": null,
        });
        if span.attributes["http.request.method"] == "POST" {
            expected["http.request.body.size"] = json!(100_000);
        }
        assert_attributes(span, &expected);
    }
    seen.assert_histograms_agree();
}

/// What `SSL_peek` has received `SSL_read` gives without a call of the socket.
fn a_server_that_looks_before_it_reads_has_its_peers(backend: Backend) {
    let place = OwnTls::new("peek.c", &["-lssl", "-lcrypto"]);
    let server = place.start(&["cert.pem", "key.pem"]);
    let port = server.port();
    let watch = Watch::tls(backend, &[server.pid()]);
    let said = curl(port, 3, 10);
    let seen = watch.finish(said.len());
    for (path, &(status, client_port)) in &said {
        let expected = json!({
            "http.response.status_code": status, "client.port": client_port, "beyla.connection.unbound": null,
            "beyla.outcome": null,
        });
        assert_attributes(seen.at(path), &expected);
    }
}
