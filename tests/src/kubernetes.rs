//! A Kubernetes API server of the tests' own, on loopback: lists and watches, asks for a token, and can be away.

use std::{
    collections::{BTreeMap, BTreeSet},
    io::{self, BufRead, BufReader, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use serde_json::{Value, json};

use crate::program::free_port;

const TOKEN: &str = "token-of-the-agent";

/// The server. It is away until it is told to come.
pub struct ApiServer {
    port: u16,
    shared: Arc<Shared>,
}

#[derive(Default)]
struct Shared {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    /// By resource and name.
    objects: BTreeMap<(String, String), Value>,
    /// What has changed, with its resource: the version is its number, from 1 on.
    history: Vec<(String, Value)>,
    /// Grows each time the server goes: connections of before end.
    life: u64,
    connections: Vec<TcpStream>,
    listener: Option<thread::JoinHandle<()>>,
    /// Verbs and resources that were asked for with the token, and requests without it.
    used: BTreeSet<(&'static str, String)>,
    refused: usize,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Default for ApiServer {
    fn default() -> Self {
        Self { port: free_port(), shared: Arc::default() }
    }
}

impl ApiServer {
    /// Writes a kubeconfig that leads to it.
    ///
    /// # Panics
    /// If it cannot be written.
    #[must_use]
    pub fn kubeconfig(&self, folder: &Path) -> PathBuf {
        let path = folder.join("kubeconfig");
        let text = json!({
            "clusters": [{"name": "here", "cluster": {"server": format!("http://127.0.0.1:{}", self.port)}}],
            "users": [{"name": "agent", "user": {"token": TOKEN}}],
            "contexts": [{"name": "it", "context": {"cluster": "here", "user": "agent"}}],
            "current-context": "it",
        });
        std::fs::write(&path, text.to_string()).expect("a file can be written");
        path
    }

    /// Answers from now on.
    ///
    /// # Panics
    /// If its port is taken.
    pub fn come(&self) {
        let address = SocketAddr::from((Ipv4Addr::LOCALHOST, self.port));
        let listener = TcpListener::bind(address).expect("the port is free");
        let mut state = self.shared.lock();
        let (shared, life) = (Arc::clone(&self.shared), state.life);
        state.listener = Some(thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let mut state = shared.lock();
                if state.life != life {
                    return;
                }
                state.connections.extend(stream.try_clone());
                let shared = Arc::clone(&shared);
                // How a connection ends is the agent's business.
                thread::spawn(move || drop(serve(&stream, &shared, life)));
            }
        }));
    }

    /// Ends all connections and refuses new ones.
    ///
    /// # Panics
    /// If its thread has.
    pub fn go(&self) {
        let listener = {
            let mut state = self.shared.lock();
            state.life += 1;
            for stream in state.connections.drain(..) {
                let _gone_already = stream.shutdown(std::net::Shutdown::Both);
            }
            state.listener.take()
        };
        self.shared.changed.notify_all();
        if let Some(listener) = listener {
            // Its last connection: the listener looks around.
            drop(TcpStream::connect((Ipv4Addr::LOCALHOST, self.port)));
            listener.join().expect("the server has not failed");
        }
    }

    /// Adds an object or replaces the one of its name.
    ///
    /// # Panics
    /// If it has no name.
    pub fn put(&self, resource: &str, mut object: Value) {
        let mut state = self.shared.lock();
        let version = state.history.len() + 1;
        object["metadata"]["resourceVersion"] = json!(version.to_string());
        let name = object["metadata"]["name"].as_str().expect("a name").to_owned();
        let old = state.objects.insert((resource.to_owned(), name), object.clone());
        let event = json!({"type": if old.is_some() { "MODIFIED" } else { "ADDED" }, "object": object});
        state.history.push((resource.to_owned(), event));
        drop(state);
        self.shared.changed.notify_all();
    }

    /// Verbs and resources that were asked for, as `watch pods`; nothing without the token.
    ///
    /// # Panics
    /// If something was asked for without the token.
    #[must_use]
    pub fn used(&self) -> BTreeSet<String> {
        let state = self.shared.lock();
        assert_eq!(state.refused, 0, "each request shows the token");
        state.used.iter().map(|(verb, resource)| format!("{verb} {resource}")).collect()
    }
}

impl Drop for ApiServer {
    fn drop(&mut self) {
        self.go();
    }
}

struct Request {
    path: String,
    query: BTreeMap<String, String>,
    has_token: bool,
}

fn read(reader: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let target = line.split(' ').nth(1).unwrap_or_default().to_owned();
    let mut has_token = false;
    loop {
        line.clear();
        reader.read_line(&mut line)?;
        has_token |= line.trim().strip_prefix("authorization: Bearer ") == Some(TOKEN);
        if line.trim().is_empty() {
            break;
        }
    }
    let (path, query) = target.split_once('?').unwrap_or((&target, ""));
    let pairs = query.split('&').filter_map(|pair| pair.split_once('='));
    let query = pairs.map(|(key, value)| (key.to_owned(), value.to_owned())).collect();
    Ok(Some(Request { path: path.trim_end_matches('/').to_owned(), query, has_token }))
}

fn serve(mut stream: &TcpStream, shared: &Shared, life: u64) -> io::Result<()> {
    let mut reader = BufReader::new(stream);
    while let Some(request) = read(&mut reader)? {
        if !request.has_token {
            shared.lock().refused += 1;
            answer(stream, 401, &failure(401))?;
            continue;
        }
        let (before, last) = request.path.rsplit_once('/').unwrap_or_default();
        if before.contains("/namespaces/") {
            let resource = before.rsplit('/').next().unwrap_or_default().to_owned();
            let mut state = shared.lock();
            let object = state.objects.get(&(resource.clone(), last.to_owned())).cloned();
            state.used.insert(("get", resource));
            drop(state);
            match object {
                Some(object) => answer(stream, 200, &object)?,
                None => answer(stream, 404, &failure(404))?,
            }
        } else if request.query.get("watch").is_some_and(|watch| watch == "true") {
            shared.lock().used.insert(("watch", last.to_owned()));
            let head = "HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ntransfer-encoding: chunked\r\n\r\n";
            stream.write_all(head.as_bytes())?;
            return watch(stream, shared, life, &request, last);
        } else {
            let mut state = shared.lock();
            state.used.insert(("list", last.to_owned()));
            let objects = state.objects.iter().filter(|((of, _), object)| of == last && is_asked_for(&request, object));
            let items: Vec<Value> = objects.map(|(_, object)| object.clone()).collect();
            let metadata = json!({"resourceVersion": state.history.len().to_string()});
            drop(state);
            answer(stream, 200, &json!({"kind": "List", "apiVersion": "v1", "metadata": metadata, "items": items}))?;
        }
    }
    Ok(())
}

/// Only a node's pods, if it names one.
fn is_asked_for(request: &Request, object: &Value) -> bool {
    let node = request.query.get("fieldSelector").and_then(|selector| selector.strip_prefix("spec.nodeName%3D"));
    node.is_none_or(|node| object["spec"]["nodeName"] == node)
}

fn failure(code: u16) -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "status": "Failure", "code": code, "reason": "", "message": ""})
}

fn answer(mut stream: &TcpStream, status: u16, body: &Value) -> io::Result<()> {
    let body = body.to_string();
    let length = body.len();
    let head = format!("HTTP/1.1 {status} x\r\ncontent-type: application/json\r\ncontent-length: {length}\r\n\r\n");
    stream.write_all((head + &body).as_bytes())
}

fn watch(mut stream: &TcpStream, shared: &Shared, life: u64, request: &Request, resource: &str) -> io::Result<()> {
    let version = request.query.get("resourceVersion").and_then(|version| version.parse().ok());
    let mut seen: usize = version.unwrap_or_default();
    loop {
        let lines: String = {
            let mut state = shared.lock();
            while state.life == life && state.history.len() <= seen {
                state = shared.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
            }
            if state.life != life {
                return Ok(());
            }
            let news = state.history.iter().skip(seen);
            let ours = news.filter(|(of, event)| of == resource && is_asked_for(request, &event["object"]));
            let lines = ours.map(|(_, event)| format!("{event}\n")).collect();
            seen = state.history.len();
            lines
        };
        if !lines.is_empty() {
            stream.write_all(format!("{:x}\r\n{lines}\r\n", lines.len()).as_bytes())?;
        }
    }
}
