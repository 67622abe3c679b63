//! HTTP/2 over TLS with bodies of any size: header blocks stand anywhere in what a program hands to its library or gets from
//! it. Every request's name and status is told, on both sides, and the histograms hold what the spans do.
#![allow(clippy::unwrap_used, reason = "a test fails by its panic")]

use std::{
    collections::{BTreeMap, BTreeSet},
    ffi::OsStr,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::{Value, json};
use tests::{
    agent::{Backend, Setup, Watch},
    need, on_both_backends,
    own_tls::certificate,
    program::{Program, folder, free_port},
    receiver::State,
    seen::{Seen, assert_attributes, path},
    wait::poll,
};

on_both_backends!(
    nginx,
    nghttpd,
    haproxy,
    node_at_both_ends,
    python_at_both_ends_with_frames_in_any_pieces,
    curl_with_requests_in_parallel,
    wget2_with_gnutls,
);

/// What servers have to give, by name: bodies of so many bytes.
const FILES: [usize; 6] = [5, 300, 1500, 5000, 30_000, 1_000_000];

/// A folder with those files, a certificate and its key.
struct Place {
    files: tempfile::TempDir,
    certificate: PathBuf,
    key: PathBuf,
}

impl Place {
    fn new() -> Self {
        let files = folder();
        for size in FILES {
            std::fs::write(files.path().join(size.to_string()), vec![b'x'; size]).unwrap();
        }
        let [certificate, key] = certificate(files.path());
        Self { files, certificate, key }
    }

    fn path(&self) -> &Path {
        self.files.path()
    }

    /// Starts a server that listens on a port.
    fn serve(command: &mut Command, port: u16) -> Program {
        let mut server = Program::start(command);
        poll("the server listens", || {
            assert!(server.is_running(), "it ended: {:#?}", server.stderr.so_far());
            std::net::TcpStream::connect(("127.0.0.1", port)).ok()
        });
        server
    }

    /// nginx, on one port over TLS and on another in the clear.
    fn nginx(&self, https: u16, http: u16) -> Program {
        let (root, certificate, key) = (self.path().display(), self.certificate.display(), self.key.display());
        let configuration = format!(
            "daemon off; master_process off; pid {root}/nginx.pid; error_log {root}/error.log; events {{}} http {{
             access_log off; root {root}; server {{ listen 127.0.0.1:{http}; listen 127.0.0.1:{https} ssl http2;
             ssl_certificate {certificate}; ssl_certificate_key {key}; }} }}"
        );
        let file = self.path().join("nginx.conf");
        std::fs::write(&file, configuration).unwrap();
        Self::serve(Command::new(need::program("nginx")).arg("-p").arg(self.path()).arg("-c").arg(&file), https)
    }

    fn nghttpd(&self, port: u16) -> Program {
        let mut command = Command::new(need::program("nghttpd"));
        command.args(["-a", "127.0.0.1", "-d"]).arg(self.path());
        Self::serve(command.arg(port.to_string()).arg(&self.key).arg(&self.certificate), port)
    }

    /// haproxy before a server on another port.
    fn haproxy(&self, port: u16, behind: u16) -> Program {
        let both = self.path().join("both.pem");
        let texts = [&self.certificate, &self.key].map(|file| std::fs::read_to_string(file).unwrap());
        std::fs::write(&both, texts.concat()).unwrap();
        let configuration = format!(
            "global\n tune.sndbuf.client 8192\ndefaults\n mode http\n timeout connect 5s\n timeout client 30s\n timeout server 30s\n\
             frontend in\n bind 127.0.0.1:{port} ssl crt {} alpn h2\n default_backend out\n\
             backend out\n server one 127.0.0.1:{behind}\n",
            both.display()
        );
        let file = self.path().join("haproxy.cfg");
        std::fs::write(&file, configuration).unwrap();
        Self::serve(Command::new(need::program("haproxy")).arg("-f").arg(&file), port)
    }
}

fn run(program: &str, arguments: &[&str]) {
    let output = Command::new(need::program(program)).args(arguments).output().unwrap();
    assert!(output.status.success(), "{program}: {}", String::from_utf8_lossy(&output.stderr));
}

/// Requests for each file, and for one that is not there, one and many at a time.
fn are_asked_and_told(backend: Backend, server: &Program, port: u16) {
    const EACH: usize = 20;
    const STREAMS: [&str; 2] = ["1", "20"];
    let watch = Watch::tls(backend, &[server.pid()]);
    let names: Vec<_> = FILES.iter().map(usize::to_string).chain(["absent".to_owned()]).collect();
    let urls: Vec<_> = names.iter().map(|name| format!("https://127.0.0.1:{port}/{name}")).collect();
    let count = EACH * urls.len();
    for streams in STREAMS {
        let mut arguments = vec!["-n".to_owned(), count.to_string()];
        arguments.extend(["-c", "2", "-m", streams].map(str::to_owned));
        arguments.extend(urls.clone());
        run("h2load", &arguments.iter().map(String::as_str).collect::<Vec<_>>());
    }
    // A proxy's own requests are told as well.
    let is_told = |state: &State| state.spans.iter().filter(|span| span.kind == "SERVER").count();
    let seen = watch.stop_when(|state| is_told(state) >= STREAMS.len() * count);
    let spans = seen.of_kind("SERVER");
    assert_eq!(spans.len(), STREAMS.len() * count, "{}", seen.summary());
    for name in &names {
        let of_it: Vec<_> = spans.iter().filter(|span| path(span) == Some(&format!("/{name}"))).collect();
        assert_eq!(of_it.len(), STREAMS.len() * EACH, "{name}: {}", seen.summary());
        for span in of_it {
            let status = if name == "absent" { 404 } else { 200 };
            let mut expected = json!({
                "http.request.method": "GET", "http.response.status_code": status, "network.protocol.version": "2",
                "url.scheme": "https", "beyla.outcome": null,
            });
            if let Ok(size) = name.parse::<usize>() {
                expected["http.response.body.size"] = json!(size);
            }
            assert_attributes(span, &expected);
        }
    }
    seen.assert_histograms_agree();
}

fn nginx(backend: Backend) {
    let (place, port) = (Place::new(), free_port());
    let server = place.nginx(port, free_port());
    are_asked_and_told(backend, &server, port);
}

fn nghttpd(backend: Backend) {
    let (place, port) = (Place::new(), free_port());
    let server = place.nghttpd(port);
    are_asked_and_told(backend, &server, port);
}

/// It stops by itself where the socket is full, and repeats the write: its socket is made to hold little.
fn haproxy(backend: Backend) {
    let (place, port, behind) = (Place::new(), free_port(), free_port());
    let _server = place.nginx(free_port(), behind);
    let proxy = place.haproxy(port, behind);
    are_asked_and_told(backend, &proxy, port);
}

/// Spans of a kind whose paths are `/STATUS/SIZE/…`, each another one: all of them, with that status and size.
fn are_told_by_their_paths(seen: &Seen, kind: &str, count: usize) {
    let spans = seen.of_kind(kind);
    let paths: BTreeSet<_> = spans.iter().filter_map(|span| path(span)).collect();
    assert_eq!((spans.len(), paths.len()), (count, count), "{kind}: {}", seen.summary());
    for span in spans {
        let words: Vec<_> = path(span).unwrap().split('/').collect();
        let ["", status, size, _] = words[..] else { panic!("a wrong name: {:?}", path(span)) };
        let [status, size] = [status, size].map(|word| json!(word.parse::<u64>().unwrap()));
        let expected = json!({
            "http.response.status_code": status, "http.response.body.size": size, "beyla.outcome": null,
        });
        assert_attributes(span, &expected);
    }
}

/// Node has an OpenSSL of its own, and moves the cipher text itself.
fn node_at_both_ends(backend: Backend) {
    const LOTS: [(usize, usize); 3] = [(60, 1), (120, 12), (120, 40)];
    let place = Place::new();
    let server = Program::node("h2.js", [Path::new("serve"), &place.certificate, &place.key]);
    let mut client = Program::node("h2.js", ["call", &server.port().to_string()]);
    let _ready = client.says("ready");
    let watch = Watch::tls(backend, &[server.pid(), client.pid()]);
    for (count, streams) in LOTS {
        let from = client.stdout.so_far().len();
        client.tell(&format!("{count} {streams}"));
        let _done = client.says_after(from, "done");
    }
    let count = LOTS.iter().map(|(count, _)| count).sum();
    let seen = watch.finish(2 * count);
    for kind in ["SERVER", "CLIENT"] {
        are_told_by_their_paths(&seen, kind, count);
    }
    seen.assert_histograms_agree();
}

/// Frames, their headers too, fall over writes and reads at random.
fn python_at_both_ends_with_frames_in_any_pieces(backend: Backend) {
    const CONNECTIONS: usize = 4;
    const REQUESTS: usize = 60;
    let place = Place::new();
    let files = [&place.certificate, &place.key].map(|file| file.to_str().unwrap());
    let server = Program::python("frames.py", ["serve", "7"].into_iter().chain(files));
    let port = server.port().to_string();
    let arguments = ["call", &port, "500", &CONNECTIONS.to_string(), &REQUESTS.to_string(), "tls"];
    let mut client = Program::python("frames.py", arguments);
    let _started = client.says("ready");
    let watch = Watch::tls(backend, &[server.pid(), client.pid()]);
    client.tell("go");
    let _finished = client.says("done");
    let seen = watch.finish(2 * CONNECTIONS * REQUESTS);

    for kind in ["SERVER", "CLIENT"] {
        let spans = seen.of_kind(kind);
        assert_eq!(spans.len(), CONNECTIONS * REQUESTS, "{kind}");
        for span in spans {
            let words: Vec<_> = path(span).unwrap().split('-').collect();
            let ["/r", _, status, size, _, "end"] = words[..] else { panic!("a wrong name: {:?}", path(span)) };
            let [status, size] = [status, size].map(|word| json!(word.parse::<u64>().unwrap()));
            assert_attributes(span, &json!({ "http.response.status_code": status, "beyla.outcome": null }));
            // That of padded payloads is not known where they were left out.
            let told = span.attributes.get("http.response.body.size");
            assert!(told.is_none_or(|told| *told == size), "{span:?}");
        }
    }
    seen.assert_histograms_agree();
}

/// Starts a client as the program that the agent watches, which asks nghttpd for each file several times.
fn a_client_asks(backend: Backend, client: &str, arguments: &[&str], of_each: &[&str]) {
    const EACH: usize = 12;
    let (place, port) = (Place::new(), free_port());
    let _server = place.nghttpd(port);
    let mut setup = Setup::with(["exec", "--print", "json"]).backend(backend);
    setup = setup.args([OsStr::new("--"), need::program(client).as_os_str()]).args(arguments);
    let names: Vec<_> = FILES.iter().map(usize::to_string).chain(["absent".to_owned()]).collect();
    for at in 0..EACH * names.len() {
        // Each another URL, so that nothing is asked once for all.
        setup = setup.args(of_each).args([format!("https://127.0.0.1:{port}/{}?{at}", names[at % names.len()])]);
    }
    let ended = setup.launch().ended();
    let objects = ended.stdout.iter().filter_map(|line| line.find("{\"").map(|at| &line[at..]));
    let spans: Vec<Value> = objects.filter_map(|line| serde_json::from_str(line).ok()).collect();
    assert_eq!(spans.len(), EACH * names.len(), "{spans:#?} {:#?}", ended.log);
    let mut told = BTreeMap::new();
    for span in &spans {
        let attributes = &span["attributes"];
        let url = attributes["url.full"].as_str().unwrap_or_else(|| panic!("no name: {span}"));
        let name = url.rsplit('/').next().and_then(|name| name.split('?').next()).unwrap();
        assert_eq!((&span["kind"], &attributes["beyla.outcome"]), (&json!("CLIENT"), &Value::Null), "{span}");
        *told.entry((name.to_owned(), attributes["http.response.status_code"].as_u64())).or_insert(0) += 1;
    }
    let status = |name: &String| if name == "absent" { 404 } else { 200 };
    let expected: BTreeMap<_, _> = names.iter().map(|name| ((name.clone(), Some(status(name))), EACH)).collect();
    assert_eq!(told, expected);
}

fn curl_with_requests_in_parallel(backend: Backend) {
    let arguments = ["-sk", "--http2", "-Z", "--parallel-max", "20"];
    a_client_asks(backend, "curl", &arguments, &["-o", "/dev/null"]);
}

fn wget2_with_gnutls(backend: Backend) {
    a_client_asks(backend, "wget2", &["-q", "-O", "/dev/null", "--no-check-certificate"], &[]);
}
