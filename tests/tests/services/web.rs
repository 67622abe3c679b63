//! Requests over HTTP of any version, and what must be seen of them.

use std::{
    collections::BTreeSet,
    path::Path,
    process::{Command, Stdio},
    time::Duration,
};

use serde_json::{Value, json};
use tests::{
    agent::{Backend, Watch},
    need,
    program::Program,
    receiver::ReceivedSpan,
    seen::{Seen, assert_attributes, path},
};

/// Requests to a path, of which a client says what came of them.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) method: &'static str,
    pub(super) path: &'static str,
    pub(super) status: u16,
    pub(super) count: usize,
    /// Bytes of the response's body, where the test chose it.
    pub(super) body: Option<u64>,
    /// The server sleeps for so long.
    pub(super) sleep: Duration,
}

/// One GET of a path that is there.
pub(super) const GET: Asked =
    Asked { method: "GET", path: "/", status: 200, count: 1, body: Some(5), sleep: Duration::ZERO };

/// What requests to a server have in common.
#[derive(Clone, Copy, Debug)]
pub(super) struct To {
    pub(super) port: u16,
    /// `http` or `https`.
    pub(super) scheme: &'static str,
    pub(super) version: &'static str,
}

impl To {
    pub(super) const fn new(port: u16, scheme: &'static str, version: &'static str) -> Self {
        Self { port, scheme, version }
    }
}

/// Asserts that the spans of `kind` to this server are those of these requests and no others.
#[track_caller]
pub(super) fn are_seen(seen: &Seen, kind: &str, to: To, asked: &[Asked]) {
    let at_server: Vec<_> =
        seen.of_kind(kind).into_iter().filter(|span| span.attributes["server.port"] == to.port).collect();
    let count: usize = asked.iter().map(|asked| asked.count).sum();
    assert_eq!(at_server.len(), count, "{kind} {to:?}: {}", seen.summary());
    let mut peers = BTreeSet::new();
    for asked in asked {
        let is_it = |span: &&&ReceivedSpan| {
            path(span) == Some(asked.path) && span.attributes["http.request.method"] == asked.method
        };
        let spans: Vec<_> = at_server.iter().filter(is_it).collect();
        assert_eq!(spans.len(), asked.count, "{kind} {asked:?}: {}", seen.summary());
        for span in spans {
            let is_server = kind == "SERVER";
            let fails = asked.status >= if is_server { 500 } else { 400 };
            assert_attributes(
                span,
                &json!({
                    "http.response.status_code": asked.status,
                    "network.protocol.version": to.version,
                    "error.type": fails.then(|| asked.status.to_string()),
                    "url.scheme": is_server.then_some(to.scheme),
                    "beyla.outcome": null,
                    "beyla.name.unknown": null,
                }),
            );
            if to.scheme == "https" {
                let version = span.attributes.get("tls.protocol.version").and_then(Value::as_str);
                assert!(matches!(version, Some("1.2" | "1.3")), "{kind} {asked:?}: {version:?}");
            }
            if let Some(body) = asked.body {
                assert_attributes(span, &json!({ "http.response.body.size": body }));
            }
            if !is_server {
                let url = span.attributes["url.full"].as_str().expect("a URL");
                assert!(url.starts_with(&format!("{}://", to.scheme)), "{url}");
            }
            assert_eq!(span.status, if fails { "ERROR" } else { "UNSET" }, "{kind} {asked:?}");
            let lasted = Duration::from_nanos(span.duration_ns());
            assert!(lasted >= asked.sleep && lasted < asked.sleep + Duration::from_secs(2), "{asked:?}: {lasted:?}");
            let bound = json!({ "network.peer.address": "127.0.0.1", "beyla.connection.unbound": null });
            assert_attributes(span, &bound);
            peers.insert(span.attributes.get("network.peer.port").and_then(Value::as_u64).expect("a port"));
        }
    }
    if kind == "CLIENT" {
        assert_eq!(peers, BTreeSet::from([to.port.into()]));
    } else {
        assert!(!peers.contains(&to.port.into()), "the peer is the client: {peers:?}");
    }
}

/// A shell that starts a program for each line it is told: what it starts is watched with it from the first moment.
pub(super) struct Shell(pub(super) Program);

impl Shell {
    pub(super) fn start() -> Self {
        let mut command = Command::new(need::program("sh"));
        let shell = Program::start(command.args(["-c", "while read -r line; do $line 2>&1; echo ended $?; done"]));
        Self(shell)
    }

    /// Runs a command to its end, and gives what it says.
    pub(super) fn run(&mut self, command: &str) -> Vec<String> {
        let from = self.0.stdout.so_far().len();
        self.0.tell(command);
        let status = self.0.says_after(from, "ended ");
        let mut said = self.0.stdout.so_far().split_off(from);
        said.pop();
        assert_eq!(status, "0", "{command}: {said:#?}");
        said
    }

    /// Runs curl, and asserts the version and status of each response.
    pub(super) fn curl(&mut self, words: &str, urls: &[String], version: &str, statuses: &[u16]) {
        // curl 7.88 (Debian 12) cannot make a second request on a connection that was HTTP/2 without asking.
        if words == "--http2-prior-knowledge" && urls.len() > 1 {
            for (url, status) in urls.iter().zip(statuses) {
                self.curl(words, std::slice::from_ref(url), version, &[*status]);
            }
            return;
        }
        let format = "-w %{http_version}:%{http_code}\\n";
        let urls: String = urls.iter().map(|url| format!(" -o /dev/null {url}")).collect();
        let said = self.run(&format!("curl -sSk {format} {words}{urls}"));
        let expected: Vec<String> = statuses.iter().map(|status| format!("{version}:{status}")).collect();
        assert_eq!(said, expected, "curl {words}{urls}");
    }

    /// Runs h2load, and asserts that all requests were answered.
    pub(super) fn h2load(&mut self, words: &str, requests: usize) {
        let said = self.run(&format!("h2load -n {requests} {words}"));
        let all = format!("{requests} done, {requests} succeeded, 0 failed");
        assert!(said.iter().any(|line| line.contains(&all)), "{said:#?}");
    }
}

/// A certificate of `localhost`, as `cert.pem` and `key.pem` in a folder.
pub(super) fn certificate(folder: &Path) {
    let made = Command::new(need::program("openssl"))
        .args("req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -keyout key.pem -out cert.pem".split(' '))
        .args(["-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"])
        .current_dir(folder)
        .stdin(Stdio::null())
        .output()
        .expect("openssl can be started");
    assert!(made.status.success(), "openssl: {}", String::from_utf8_lossy(&made.stderr));
}

/// What [`ask`] asks: of all kinds, some at once.
pub(super) const ALL: [Asked; 6] = [
    Asked { path: "/hello", ..GET },
    Asked { path: "/many", count: 20, ..GET },
    Asked { method: "POST", path: "/upload", ..GET },
    Asked { path: "/status/404", status: 404, ..GET },
    Asked { path: "/status/503", status: 503, count: 2, ..GET },
    Asked { path: "/sleep", sleep: Duration::from_millis(60), count: 2, ..GET },
];

/// Lets a client ask all of [`ALL`]: one that takes lines `COUNT METHOD URL` and then says `done STATUS`.
fn ask(client: &mut Program, To { port, scheme, .. }: To) {
    for Asked { method, path, status, count, .. } in ALL {
        let from = client.stdout.so_far().len();
        client.tell(&format!("{count} {method} {scheme}://127.0.0.1:{port}{path}"));
        assert_eq!(client.says_after(from, "done "), status.to_string(), "{method} {path}");
    }
}

/// Watches a server and such a client of it, and asserts that each sees all of [`ALL`].
pub(super) fn both_are_seen(backend: Backend, server: &Program, client: &mut Program, to: To) -> Seen {
    assert_eq!(client.says("ready"), "");
    let pids = [server.pid(), client.pid()];
    let watch = if to.scheme == "https" { Watch::tls(backend, &pids) } else { Watch::pids(backend, &pids) };
    ask(client, to);
    let seen = watch.finish(2 * ALL.iter().map(|asked| asked.count).sum::<usize>());
    for kind in ["SERVER", "CLIENT"] {
        are_seen(&seen, kind, to, &ALL);
    }
    seen.assert_histograms_agree();
    seen
}
