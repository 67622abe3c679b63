//! A small API server: lists in pages, watches with history, bookmarks, `410 Gone`; can be stopped and resumed.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex},
};

use ::kube::{Config, config::Kubeconfig};
use rustls::{ServerConfig, pki_types::PrivateKeyDer};
use serde_json::{Value, json};
use tokio::{
    io::{AsyncBufReadExt, AsyncRead, AsyncWrite, AsyncWriteExt, BufReader},
    net::TcpListener,
    sync::watch,
    task::{JoinHandle, JoinSet},
};
use tokio_rustls::TlsAcceptor;

/// A request as it came.
#[derive(Clone, Debug)]
pub(super) struct Request {
    pub(super) path: String,
    pub(super) version: String,
    pub(super) token: String,
    is_watch: bool,
    query: BTreeMap<String, String>,
}

#[derive(Default)]
struct State {
    /// By kind and name.
    objects: BTreeMap<(String, String), Value>,
    /// Kind, version and event.
    history: Vec<(String, u64, Value)>,
    version: u64,
    /// Older versions are gone.
    compacted: u64,
    requests: Vec<Request>,
}

pub(super) struct ApiServer {
    address: SocketAddr,
    state: Arc<Mutex<State>>,
    /// Changes so far, and how often connections were to end.
    changed: watch::Sender<(u64, u64)>,
    running: Mutex<Option<JoinHandle<()>>>,
    tls: Option<Tls>,
}

/// A certificate of the server's own, and the folder that has it.
struct Tls {
    acceptor: TlsAcceptor,
    dir: tempfile::TempDir,
}

impl ApiServer {
    pub(super) async fn start() -> Self {
        Self::start_with(None).await
    }

    pub(super) async fn start_with_tls() -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let config = ServerConfig::builder_with_provider(Arc::new(rustls::crypto::ring::default_provider()));
        let config = config.with_safe_default_protocol_versions().unwrap().with_no_client_auth();
        let config = config.with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("ca.pem"), made.cert.pem()).unwrap();
        Self::start_with(Some(Tls { acceptor: TlsAcceptor::from(Arc::new(config)), dir })).await
    }

    async fn start_with(tls: Option<Tls>) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let server = Self {
            address,
            state: Arc::default(),
            changed: watch::Sender::new((0, 0)),
            running: Mutex::new(None),
            tls,
        };
        server.serve(listener);
        server
    }

    pub(super) fn config(&self) -> Config {
        let server = match &self.tls {
            Some(tls) => format!(
                "server: 'https://{}', certificate-authority: '{}'",
                self.address,
                tls.dir.path().join("ca.pem").display()
            ),
            None => format!("server: 'http://{}'", self.address),
        };
        let yaml = format!(
            "clusters: [{{name: c, cluster: {{{server}}}}}]\nusers: [{{name: u, user: {{token: secret}}}}]\n\
             contexts: [{{name: x, context: {{cluster: c, user: u}}}}]\ncurrent-context: x\n"
        );
        let file = Kubeconfig::from_yaml(&yaml).unwrap();
        let options = ::kube::config::KubeConfigOptions::default();
        let config = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
            runtime.block_on(Config::from_custom_kubeconfig(file, &options)).unwrap()
        });
        config.join().unwrap()
    }

    fn serve(&self, listener: TcpListener) {
        let (state, changed) = (Arc::clone(&self.state), self.changed.clone());
        let tls = self.tls.as_ref().map(|tls| tls.acceptor.clone());
        let task = tokio::spawn(async move {
            let mut connections = JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                let (state, changed, tls) = (Arc::clone(&state), changed.subscribe(), tls.clone());
                connections.spawn(async move {
                    match tls {
                        Some(tls) => match tls.accept(stream).await {
                            Ok(stream) => connection(stream, state, changed).await,
                            Err(error) => println!("handshake: {error}"),
                        },
                        None => connection(stream, state, changed).await,
                    }
                });
            }
        });
        *self.running.lock().unwrap() = Some(task);
    }

    /// Ends all connections and refuses new ones.
    pub(super) async fn stop(&self) {
        let task = self.running.lock().unwrap().take();
        if let Some(task) = task {
            task.abort();
            let _ = task.await;
        }
    }

    pub(super) async fn resume(&self) {
        self.serve(TcpListener::bind(self.address).await.unwrap());
    }

    /// Ends all connections; new ones are served.
    pub(super) fn disconnect(&self) {
        self.changed.send_modify(|(_, ends)| *ends += 1);
    }

    pub(super) fn put(&self, kind: &str, mut object: Value) {
        let mut state = self.state.lock().unwrap();
        state.version += 1;
        let version = state.version;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let name = object["metadata"]["name"].as_str().unwrap().to_owned();
        let old = state.objects.insert((kind.to_owned(), name), object.clone());
        let event = json!({"type": if old.is_some() { "MODIFIED" } else { "ADDED" }, "object": object});
        state.history.push((kind.to_owned(), version, event));
        drop(state);
        self.changed.send_modify(|(changes, _)| *changes += 1);
    }

    pub(super) fn delete(&self, kind: &str, name: &str) {
        let mut state = self.state.lock().unwrap();
        state.version += 1;
        let version = state.version;
        let mut object = state.objects.remove(&(kind.to_owned(), name.to_owned())).unwrap();
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        state.history.push((kind.to_owned(), version, json!({"type": "DELETED", "object": object})));
        drop(state);
        self.changed.send_modify(|(changes, _)| *changes += 1);
    }

    /// Tells watchers of a kind that they have seen all up to a version, which is returned.
    pub(super) fn bookmark(&self, kind: &str) -> u64 {
        let mut state = self.state.lock().unwrap();
        state.version += 10;
        let version = state.version;
        let object = json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"resourceVersion": version.to_string(),
            "creationTimestamp": null}});
        state.history.push((kind.to_owned(), version, json!({"type": "BOOKMARK", "object": object})));
        drop(state);
        self.changed.send_modify(|(changes, _)| *changes += 1);
        version
    }

    /// Forgets the history.
    pub(super) fn compact(&self) {
        let mut state = self.state.lock().unwrap();
        state.compacted = state.version;
        state.history.clear();
    }

    pub(super) fn requests(&self) -> Vec<Request> {
        self.state.lock().unwrap().requests.clone()
    }

    pub(super) fn lists(&self, kind: &str) -> usize {
        self.requests().iter().filter(|request| request.path.ends_with(kind) && !request.is_watch).count()
    }

    pub(super) fn watches(&self, kind: &str) -> usize {
        self.requests().iter().filter(|request| request.path.ends_with(kind) && request.is_watch).count()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        if let Some(task) = self.running.lock().unwrap().take() {
            task.abort();
        }
    }
}

async fn connection<S: AsyncRead + AsyncWrite>(
    stream: S,
    state: Arc<Mutex<State>>,
    mut changed: watch::Receiver<(u64, u64)>,
) {
    let (read, mut write) = tokio::io::split(stream);
    let mut read = BufReader::new(read);
    while let Some(request) = request(&mut read).await {
        state.lock().unwrap().requests.push(request.clone());
        if request.is_watch {
            let _ = stream_events(&request, &mut write, &state, &mut changed).await;
            return;
        }
        let (status, body) = answer(&request, &state.lock().unwrap());
        let body = body.to_string();
        let head =
            format!("HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {}\r\n\r\n", body.len());
        if write.write_all((head + &body).as_bytes()).await.is_err() {
            return;
        }
    }
}

async fn request<R: AsyncRead + Unpin>(read: &mut BufReader<R>) -> Option<Request> {
    let mut line = String::new();
    read.read_line(&mut line).await.ok().filter(|read| *read > 0)?;
    let target = line.split(' ').nth(1)?.to_owned();
    let mut token = String::new();
    loop {
        let mut header = String::new();
        read.read_line(&mut header).await.ok()?;
        if let Some(value) = header.to_ascii_lowercase().strip_prefix("authorization: bearer ") {
            token = value.trim().to_owned();
        }
        if header.trim().is_empty() {
            break;
        }
    }
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let query: BTreeMap<String, String> = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    let version = query.get("resourceVersion").cloned().unwrap_or_default();
    let is_watch = query.get("watch").is_some_and(|watch| watch == "true");
    Some(Request { path: path.trim_end_matches('/').to_owned(), version, token, is_watch, query })
}

fn answer(request: &Request, state: &State) -> (u16, Value) {
    let last = request.path.rsplit('/').next().unwrap();
    if request.path.contains("/namespaces/") {
        let kind = request.path.rsplit('/').nth(1).unwrap();
        return match state.objects.get(&(kind.to_owned(), last.to_owned())) {
            Some(object) => (200, object.clone()),
            None => (404, status(404, "NotFound")),
        };
    }
    let objects: Vec<&Value> = state
        .objects
        .iter()
        .filter(|((kind, _), object)| kind == last && selected(request, object))
        .map(|(_, object)| object)
        .collect();
    let number = |key: &str| request.query.get(key).and_then(|value| value.parse::<usize>().ok());
    let from = number("continue").unwrap_or(0);
    let until = number("limit").map_or(objects.len(), |limit| (from + limit).min(objects.len()));
    let next = if until < objects.len() { json!(until.to_string()) } else { json!("") };
    let metadata = json!({"resourceVersion": state.version.to_string(), "continue": next});
    (200, json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": objects[from..until]}))
}

fn selected(request: &Request, object: &Value) -> bool {
    let node = request.query.get("fieldSelector").and_then(|selector| selector.strip_prefix("spec.nodeName%3D"));
    node.is_none_or(|node| object["spec"]["nodeName"] == node || object["kind"] == "Pod" && object["spec"].is_null())
}

fn status(code: u16, reason: &str) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code, "message": reason})
}

async fn stream_events<W: AsyncWrite + Unpin>(
    request: &Request,
    write: &mut W,
    state: &Mutex<State>,
    changed: &mut watch::Receiver<(u64, u64)>,
) -> std::io::Result<()> {
    let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
    write.write_all(head.as_bytes()).await?;
    let kind = request.path.rsplit('/').next().unwrap().to_owned();
    let (ends, mut is_ending) = (changed.borrow_and_update().1, false);
    let mut seen: u64 = request.version.parse().unwrap();
    loop {
        let mut lines = String::new();
        {
            let state = state.lock().unwrap();
            if seen < state.compacted {
                lines = json!({"type": "ERROR", "object": status(410, "Expired")}).to_string() + "\n";
            } else {
                let from = seen;
                let news = state.history.iter().filter(|(of, version, _)| *of == kind && *version > from);
                for (_, version, event) in news {
                    if selected(request, &event["object"]) {
                        lines += &(event.to_string() + "\n");
                    }
                    seen = *version;
                }
            }
        }
        if !lines.is_empty() {
            // A line in two chunks, as it happens.
            let (first, second) = lines.split_at(lines.len() / 2);
            for part in [first, second] {
                write.write_all(format!("{:x}\r\n{part}\r\n", part.len()).as_bytes()).await?;
            }
        }
        // What was there before the end is sent before it.
        if is_ending || changed.changed().await.is_err() {
            return Ok(());
        }
        is_ending = changed.borrow_and_update().1 != ends;
    }
}
