//! TLS: real programs with OpenSSL and GnuTLS, as shared libraries and linked in, that use the socket themselves or hand
//! cipher text over in memory. Requests sent = spans, each with its name, status and peer. As root, on a kernel with a
//! backend; what is not installed is skipped by name.

#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::{
    collections::BTreeMap,
    env,
    io::{BufRead, BufReader, Write},
    net::TcpStream,
    os::unix::fs::FileExt,
    path::PathBuf,
    process::{Child, Command, Stdio},
    sync::mpsc::{self, Receiver},
    thread,
    time::{Duration, Instant},
};

use serde_json::Value;
use tests::{program::free_port, wait::poll};

/// Far more than anything here takes on a busy machine.
const LONG: Duration = Duration::from_secs(60);
const BACKENDS: [&str; 2] = ["sock", "syscall"];

fn agent_binary() -> PathBuf {
    let beside = || env::current_exe().unwrap().ancestors().nth(2).unwrap().join("beyla-rs");
    env::var_os("BEYLA_RS_BIN").map_or_else(beside, PathBuf::from)
}

/// A program that ends with the test.
struct Running(Child);

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ended = self.0.kill();
        let _status = self.0.wait();
    }
}

fn lines(stream: impl std::io::Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        for line in BufReader::new(stream).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

struct Agent {
    running: Running,
    spans: Receiver<String>,
    log: Receiver<String>,
}

impl Agent {
    fn start(arguments: &[&str], backend: &str) -> Self {
        let mut command = Command::new(agent_binary());
        let (verb, rest) = arguments.split_first().expect("a verb");
        command
            .args([verb, "--backend", backend, "--print", "json", "--listen", "off", "--log-level", "debug"])
            .args(rest)
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        for (name, _) in env::vars().filter(|(name, _)| name.starts_with("OTEL_") || name.starts_with("BEYLA_")) {
            command.env_remove(name);
        }
        let mut child = command.spawn().expect("the agent starts; build it first, or set BEYLA_RS_BIN");
        let spans = lines(child.stdout.take().unwrap());
        let log = lines(child.stderr.take().unwrap());
        Self { running: Running(child), spans, log }
    }

    fn until_logged(&self, text: &str) {
        let mut said = Vec::new();
        let end = Instant::now() + LONG;
        while let Ok(line) = self.log.recv_timeout(end.saturating_duration_since(Instant::now())) {
            if line.contains(text) {
                return;
            }
            said.push(line);
        }
        panic!("the agent did not say {text:?} but {said:#?}");
    }

    /// Stops it when it has printed `count` spans, and gives all it has printed in the end.
    fn finish(mut self, count: usize) -> Vec<Value> {
        let mut spans = Vec::new();
        let end = Instant::now() + LONG;
        while spans.len() < count {
            match self.spans.recv_timeout(end.saturating_duration_since(Instant::now())) {
                Ok(line) => spans.push(line),
                Err(_) => break,
            }
        }
        let pid = self.running.0.id().to_string();
        assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
        self.running.0.wait().unwrap();
        spans.extend(self.spans.iter());
        spans.iter().map(|line| serde_json::from_str(line).expect("a JSON object per line")).collect()
    }
}

struct Place {
    dir: tempfile::TempDir,
}

impl Place {
    /// A directory with a certificate and its key. `None` where that cannot be made.
    fn new() -> Option<Self> {
        let dir = tempfile::tempdir().unwrap();
        let status = Command::new("openssl")
            .args(
                "req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key.pem -out cert.pem"
                    .split(' '),
            )
            .current_dir(&dir)
            .stderr(Stdio::null())
            .status();
        status.is_ok_and(|status| status.success()).then_some(Self { dir })
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.dir.path().join(name);
        std::fs::File::create(&path).unwrap().write_all(text.as_bytes()).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

fn has(program: &str) -> bool {
    let there = Command::new("sh").args(["-c", &format!("command -v {program}")]).stdout(Stdio::null()).status();
    let there = there.is_ok_and(|status| status.success());
    if !there {
        eprintln!("skipped: {program} is not installed");
    }
    there
}

/// Starts a server and waits until it listens.
fn serve(place: &Place, port: u16, program: &str, arguments: &[&str]) -> Running {
    let mut command = Command::new(program);
    command.args(arguments).current_dir(&place.dir).stdout(Stdio::null()).stderr(Stdio::null());
    let server = Running(command.spawn().unwrap());
    let end = Instant::now() + LONG;
    while TcpStream::connect(("127.0.0.1", port)).is_err() {
        assert!(Instant::now() < end, "{program} does not listen");
        thread::sleep(Duration::from_millis(20));
    }
    server
}

#[derive(Clone, Copy, Debug)]
enum Server {
    /// OpenSSL as a shared library, on the socket, not blocking.
    Nginx,
    /// The same, blocking, a thread per connection.
    PythonThreads,
    /// The same, through memory.
    PythonAsyncio,
    /// OpenSSL linked into the program, through memory.
    Node,
}

impl Server {
    fn start(self, place: &Place, port: u16) -> Option<Running> {
        let (program, arguments): (&str, Vec<String>) = match self {
            Self::Nginx => {
                let config = place.write("nginx.conf", &format!(
                    "daemon off; master_process off; pid nginx.pid; error_log error.log; events {{}} http {{ access_log off; ssl_protocols TLSv1.2;
                    server {{ listen 127.0.0.1:{port} ssl; ssl_certificate cert.pem; ssl_certificate_key key.pem;
                    location / {{ return 200 \"hello\"; }} location /big/ {{ alias {0}/; try_files /big =404; }}
                    location /no/ {{ return 404; }} }} }}",
                    place.dir.path().display()
                ));
                place.write("big", &"n".repeat(BIG));
                ("nginx", vec!["-p".to_owned(), place.dir.path().to_str().unwrap().to_owned(), "-c".to_owned(), config])
            }
            Self::PythonThreads => ("python3", vec![place.write("threads.py", THREADS), port.to_string()]),
            Self::PythonAsyncio => ("python3", vec![place.write("asyncio_.py", ASYNCIO), port.to_string()]),
            Self::Node => ("node", vec![place.write("server.js", NODE), port.to_string()]),
        };
        has(program).then(|| {
            let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
            serve(place, port, program, &arguments)
        })
    }
}

const BIG: usize = 300_000;

const THREADS: &str = "
import http.server, ssl, sys
class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    def do_GET(self):
        body = b'x' * (300000 if self.path.startswith('/big/') else 5)
        self.send_response(404 if self.path.startswith('/no/') else 200)
        self.send_header('Content-Length', str(len(body)))
        self.end_headers()
        self.wfile.write(body)
    def log_message(self, *words): pass
server = http.server.ThreadingHTTPServer(('127.0.0.1', int(sys.argv[1])), Handler)
context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
context.load_cert_chain('cert.pem', 'key.pem')
server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)
server.serve_forever()
";

const ASYNCIO: &str = "
import asyncio, ssl, sys
async def serve(reader, writer):
    try:
        while True:
            head = await reader.readuntil(b'\\r\\n\\r\\n')
            path = head.split()[1]
            body = b'y' * (300000 if path.startswith(b'/big/') else 5)
            status = b'404 Not Found' if path.startswith(b'/no/') else b'200 OK'
            writer.write(b'HTTP/1.1 %s\\r\\nContent-Length: %d\\r\\n\\r\\n' % (status, len(body)) + body)
            await writer.drain()
    except Exception:
        pass
    writer.close()
async def main():
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain('cert.pem', 'key.pem')
    await (await asyncio.start_server(serve, '127.0.0.1', int(sys.argv[1]), ssl=context)).serve_forever()
asyncio.run(main())
";

const NODE: &str = "
const fs = require('fs');
const options = { key: fs.readFileSync('key.pem'), cert: fs.readFileSync('cert.pem') };
require('https').createServer(options, (request, response) => {
  request.resume().on('end', () => {
    response.statusCode = request.url.startsWith('/no/') ? 404 : 200;
    response.end('z'.repeat(request.url.startsWith('/big/') ? 300000 : 5));
  });
}).listen(+process.argv[2], '127.0.0.1');
";

/// Keeps connections, and uploads now and then. Begins when told by a line.
const NODE_CLIENT: &str = "
const [port, count] = process.argv.slice(2).map(Number);
const https = require('https');
const agent = new https.Agent({ keepAlive: true, maxSockets: 4, rejectUnauthorized: false });
let done = 0;
function send(i) {
  const path = (i % 7 == 0 ? '/big/' : i % 5 == 0 ? '/no/' : '/ok/') + i;
  const method = i % 10 == 3 ? 'POST' : 'GET';
  const request = https.request({ agent, port, host: '127.0.0.1', path, method }, response => {
    response.resume().on('end', () => { if (++done == count) agent.destroy(); });
  });
  request.end(method == 'POST' ? Buffer.alloc(100000) : undefined);
}
process.stdin.once('data', () => { process.stdin.destroy(); for (let i = 0; i < count; i++) send(i); });
";

/// The path of each request, with what curl says of it: status, and its own port.
fn curl(port: u16, connections: usize, each: usize) -> BTreeMap<String, (u16, u16)> {
    let clients: Vec<_> = (0..connections)
        .map(|connection| {
            let mut command = Command::new("curl");
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
        })
        .collect();
    let mut said = BTreeMap::new();
    for client in clients {
        let output = client.wait_with_output().unwrap();
        assert!(output.status.success());
        for line in String::from_utf8(output.stderr).unwrap().lines() {
            let [url, status, local_port] = line.split(' ').collect::<Vec<_>>()[..] else { panic!("{line}") };
            let path = url.splitn(4, '/').nth(3).unwrap();
            said.insert(format!("/{path}"), (status.parse().unwrap(), local_port.parse().unwrap()));
        }
    }
    assert_eq!(said.len(), connections * each);
    said
}

fn number(span: &Value, name: &str) -> u64 {
    span["attributes"][name].as_u64().unwrap_or_else(|| panic!("no {name} in {span}"))
}

/// The code of a process's TLS library becomes what its file says: no probe is left in it. Other agents may be at the same
/// library for a while.
fn assert_untouched(pid: u32) {
    poll("the code of the TLS library is what its file says", || is_untouched(pid).then_some(()));
}

/// Whether it is at this moment.
fn is_untouched(pid: u32) -> bool {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap();
    let memory = std::fs::File::open(format!("/proc/{pid}/mem")).unwrap();
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
        let _len = std::fs::File::open(path).unwrap().read_at(&mut expected, number(offset)).unwrap();
        if there != expected {
            return false;
        }
        looked_at += 1;
    }
    assert_ne!(looked_at, 0, "{maps}");
    true
}

fn a_server_is_seen(server: Server) {
    let Some(place) = Place::new() else { return eprintln!("skipped: no openssl here") };
    if !has("curl") {
        return;
    }
    for backend in BACKENDS {
        let port = free_port();
        let Some(running) = server.start(&place, port) else { return };
        let agent = Agent::start(&["run", "--pid", &running.0.id().to_string()], backend);
        agent.until_logged("TLS library attached");
        let said = curl(port, 4, 30);
        let spans = agent.finish(said.len());
        assert_untouched(running.0.id());
        assert_eq!(spans.len(), said.len(), "{server:?}, {backend}");
        for span in &spans {
            let attributes = &span["attributes"];
            let path = attributes["url.path"].as_str().unwrap();
            let (status, client_port) = said[path];
            assert_eq!(span["kind"], "SERVER");
            assert_eq!(attributes["url.scheme"], "https");
            // nginx is told to.
            let version = if matches!(server, Server::Nginx) { "1.2" } else { "1.3" };
            assert_eq!(attributes["tls.protocol.version"], version, "{server:?}");
            assert_eq!(number(span, "http.response.status_code"), u64::from(status), "{path}");
            assert_eq!(attributes.get("beyla.connection.unbound"), None, "{span}");
            assert_eq!(
                (number(span, "server.port"), number(span, "client.port")),
                (u64::from(port), u64::from(client_port)),
                "{path}"
            );
            if path.starts_with("/big/") {
                assert_eq!(number(span, "http.response.body.size"), BIG as u64, "{path}");
            }
        }
        let paths: std::collections::BTreeSet<_> =
            spans.iter().map(|span| span["attributes"]["url.path"].as_str().unwrap()).collect();
        assert_eq!(paths.len(), said.len(), "each once");
    }
}

#[test]
fn nginx_is_seen_behind_tls() {
    a_server_is_seen(Server::Nginx);
}

#[test]
fn a_threaded_python_server_is_seen_behind_tls() {
    a_server_is_seen(Server::PythonThreads);
}

#[test]
fn an_asyncio_server_is_seen_behind_tls() {
    a_server_is_seen(Server::PythonAsyncio);
}

#[test]
fn a_node_server_is_seen_behind_tls() {
    a_server_is_seen(Server::Node);
}

#[test]
fn a_node_client_is_seen_behind_tls() {
    let Some(place) = Place::new() else { return eprintln!("skipped: no openssl here") };
    let script = place.write("client.js", NODE_CLIENT);
    for backend in BACKENDS {
        let port = free_port();
        let Some(_server) = Server::Node.start(&place, port) else { return };
        let mut client = Running(
            Command::new("node").args([&script, &port.to_string(), "100"]).stdin(Stdio::piped()).spawn().unwrap(),
        );
        let agent = Agent::start(&["run", "--pid", &client.0.id().to_string()], backend);
        agent.until_logged("TLS library attached");
        client.0.stdin.take().unwrap().write_all(b"go\n").unwrap();
        let spans = agent.finish(100);
        assert_eq!(spans.len(), 100, "{backend}");
        let mut urls = std::collections::BTreeSet::new();
        for span in &spans {
            let attributes = &span["attributes"];
            let url = attributes["url.full"].as_str().unwrap();
            assert!(urls.insert(url), "{url} twice");
            assert_eq!(span["kind"], "CLIENT");
            assert!(url.starts_with(&format!("https://127.0.0.1:{port}/")));
            let expected = if url.contains("/no/") { 404 } else { 200 };
            assert_eq!(number(span, "http.response.status_code"), expected, "{url}");
            assert_eq!(number(span, "network.peer.port"), u64::from(port), "{span}");
            if attributes["http.request.method"] == "POST" {
                assert_eq!(number(span, "http.request.body.size"), 100_000);
            }
        }
    }
}
