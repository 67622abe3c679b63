//! A service of axum whose calls reqwest makes: `parents-rust RUNTIME HTTP` with `multi` (two workers) or `current` (one thread
//! for all), and calls over `http1` or `http2`, or by connections of its `own`; or, with `grpc` in place of them, one of tonic. How it is
//! told what to call: see `tests/src/parents/mod.rs`.

mod grpc;
mod own;

use std::{
    env,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use axum::{
    Router,
    extract::{Request, State},
};
use futures_util::future::join_all;
use reqwest::Client;
use tokio::{net::TcpListener, runtime::Builder, sync::Semaphore, task::JoinSet};

/// A variable, if it says anything.
fn setting(name: &str, otherwise: &str) -> String {
    env::var(name).ok().filter(|value| !value.is_empty()).unwrap_or_else(|| otherwise.to_owned())
}

enum Calls {
    Http(Client),
    Grpc(grpc::Client),
    Own(own::Client),
}

struct Service {
    backends: Vec<String>,
    calls: Calls,
    /// reqwest bounds the connections that it keeps, not those that it has.
    pool: Semaphore,
    delay_ms: f64,
    was_asked: AtomicBool,
}

impl Service {
    async fn call(&self, path: &str, at: usize, context: Option<&str>) {
        let _room = self.pool.acquire().await.unwrap();
        let (port, path) = (&self.backends[at % self.backends.len()], format!("{path}.{}", at + 1));
        let client = match &self.calls {
            Calls::Http(client) => client,
            Calls::Grpc(client) => return client.call(port, &path, context).await,
            Calls::Own(client) => return client.call(port, &path, context).await,
        };
        let mut request = client.get(format!("http://127.0.0.1:{port}{path}"));
        if let Some(context) = context {
            request = request.header("traceparent", context);
        }
        request.send().await.unwrap().bytes().await.unwrap();
    }
}

/// Some number below 1, other each time.
fn chance() -> f64 {
    use std::hash::{BuildHasher, RandomState};
    (RandomState::new().hash_one(0) >> 11) as f64 / (1_u64 << 53) as f64
}

async fn nap(least_ms: f64, most_ms: f64) {
    tokio::time::sleep(Duration::from_secs_f64((least_ms + (most_ms - least_ms) * chance()) / 1000.0)).await;
}

async fn answer(State(service): State<Arc<Service>>, request: Request) -> &'static str {
    let query = request.uri().query().unwrap_or_default();
    let asked = |name: &str| query.split('&').find_map(|part| part.strip_prefix(name)?.strip_prefix('='));
    let pattern = asked("p").map_or_else(|| setting("PATTERN", "sequential"), str::to_owned);
    let count = asked("n").map_or_else(|| setting("CALLS", "0"), str::to_owned).parse().unwrap();
    let context = request.headers().get("traceparent").map(|value| value.to_str().unwrap().to_owned());
    service.make_calls(request.uri().path(), &pattern, count, context).await;
    "ok"
}

impl Service {
    /// Answers a request but for the answer.
    async fn make_calls(self: &Arc<Self>, path: &str, pattern: &str, count: usize, context: Option<String>) {
        self.was_asked.store(true, Ordering::Relaxed);
        if pattern == "parallel" && matches!(self.calls, Calls::Own(_)) {
            // Within this task.
            join_all((0..count).map(|at| self.call(path, at, context.as_deref()))).await;
            return self.take_time().await;
        }
        let mut calls = JoinSet::new();
        for at in 0..count {
            match pattern {
                "parallel" | "forget" => {
                    let (service, path, context) = (Arc::clone(self), path.to_owned(), context.clone());
                    calls.spawn(async move { service.call(&path, at, context.as_deref()).await });
                }
                other => {
                    if other == "pause" {
                        nap(1.0, 5.0).await;
                    }
                    self.call(path, at, context.as_deref()).await;
                }
            }
        }
        if pattern == "forget" {
            calls.detach_all()
        } else {
            while calls.join_next().await.is_some() {}
        }
        self.take_time().await;
    }

    async fn take_time(&self) {
        if self.delay_ms > 0.0 {
            nap(0.0, self.delay_ms).await;
        }
    }
}

/// Work of the service's own, of no request, from the first on.
async fn in_the_background(service: Arc<Service>, milliseconds: u64) {
    for at in 0.. {
        tokio::time::sleep(Duration::from_millis(milliseconds)).await;
        if !service.was_asked.load(Ordering::Relaxed) {
            continue;
        }
        service.call(&format!("/background{}n{at}", std::process::id()), 0, None).await;
    }
}

async fn serve(http: &str) {
    let pool: usize = setting("POOL", "8").parse().unwrap();
    let client = Client::builder().pool_max_idle_per_host(pool).no_proxy();
    let client = if http == "http2" { client.http2_prior_knowledge() } else { client.http1_only() };
    let backends: Vec<String> =
        setting("BACKENDS", "").split(',').filter(|port| !port.is_empty()).map(str::to_owned).collect();
    let calls = match http {
        "grpc" => Calls::Grpc(grpc::Client::to(&backends)),
        "own" => Calls::Own(own::Client::to(&backends)),
        _ => Calls::Http(client.build().unwrap()),
    };
    let delay_ms = setting("DELAY", "0").parse().unwrap();
    let background = setting("BACKGROUND", "0").parse().unwrap();
    let service =
        Arc::new(Service { backends, calls, pool: Semaphore::new(pool), delay_ms, was_asked: AtomicBool::new(false) });
    if background > 0 {
        tokio::spawn(in_the_background(Arc::clone(&service), background));
    }
    let router = if http == "grpc" { Router::new().fallback(grpc::answer) } else { Router::new().fallback(answer) };
    let router = router.with_state(service);
    let listener = TcpListener::bind(format!("127.0.0.1:{}", setting("LISTEN", "0"))).await.unwrap();
    println!("listening {}", listener.local_addr().unwrap().port());
    axum::serve(listener, router).await.unwrap();
}

fn main() {
    let [runtime, http] = env::args().skip(1).collect::<Vec<_>>().try_into().unwrap();
    let mut builder = if runtime == "multi" { Builder::new_multi_thread() } else { Builder::new_current_thread() };
    builder.worker_threads(2).enable_all().build().unwrap().block_on(serve(&http));
}
