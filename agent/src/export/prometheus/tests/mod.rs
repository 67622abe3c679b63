//! The server's answers; what stands in them is tested by format.

mod protobuf;
mod text;

use std::{
    net::SocketAddr,
    sync::{Mutex, mpsc},
};

use axum::routing::get as get_page;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::TcpStream,
    runtime::Runtime,
};

use super::*;
use crate::{
    export::testing,
    model::{
        ids::ProcessId,
        metric::{Metric, NumberPoint, Points},
    },
    server::Server,
};

/// Counts how often it is asked; answers only when it may.
struct Source {
    asked: Mutex<u64>,
    may: Mutex<mpsc::Receiver<()>>,
    series: usize,
}

impl MetricSource for Source {
    fn collect(&self, now_unix_ns: u64) -> Vec<Metric> {
        let value = {
            let mut asked = self.asked.lock().unwrap();
            *asked += 1;
            *asked as f64
        };
        // Those who may always have dropped the sender.
        let _always = self.may.lock().unwrap().recv();
        let point = NumberPoint { attributes: Vec::new(), start_unix_ns: now_unix_ns, value };
        let points = Points::Counter(vec![point; self.series]);
        vec![Metric {
            name: "asked",
            unit: "",
            description: "",
            resource: testing::resource("shop", ProcessId(1)),
            points,
        }]
    }
}

fn start(series: usize) -> (Runtime, Server, Arc<Source>, mpsc::Sender<()>) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let (allow, may) = mpsc::channel();
    let source = Arc::new(Source { asked: Mutex::new(0), may: Mutex::new(may), series });
    let sources: Vec<Arc<dyn MetricSource>> = vec![Arc::clone(&source) as _];
    let listen = "127.0.0.1:0".parse().unwrap();
    let routes = routes("/metrics", sources, Duration::from_secs(300)).route("/healthz", get_page("ok\n"));
    let server = Server::start(listen, runtime.handle(), routes).unwrap();
    (runtime, server, source, allow)
}

async fn get(addr: SocketAddr, path: &str) -> String {
    get_as(addr, path, "*/*").await
}

async fn get_as(addr: SocketAddr, path: &str, accept: &str) -> String {
    let mut stream = TcpStream::connect(addr).await.unwrap();
    stream.write_all(format!("GET {path} HTTP/1.1\r\nHost: h\r\nAccept: {accept}\r\n\r\n").as_bytes()).await.unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).await.unwrap();
    answer
}

#[test]
fn health_does_not_wait_for_metrics() {
    let (runtime, server, _source, allow) = start(1);
    runtime.block_on(async {
        let pages: Vec<_> = (0..8).map(|_| tokio::spawn(get(server.addr(), "/metrics"))).collect();
        assert!(get(server.addr(), "/healthz").await.starts_with("HTTP/1.1 200"));
        drop(allow);
        for page in pages {
            assert!(page.await.unwrap().starts_with("HTTP/1.1 200"));
        }
    });
}

#[test]
fn who_waits_together_gets_one_page_and_who_comes_later_a_new_one() {
    let (runtime, server, source, allow) = start(1);
    runtime.block_on(async {
        let pages: Vec<_> = (0..8).map(|_| tokio::spawn(get(server.addr(), "/metrics"))).collect();
        drop(allow);
        for page in pages {
            page.await.unwrap();
        }
        let asked = *source.asked.lock().unwrap();
        assert!(get(server.addr(), "/metrics").await.contains(&format!(" {}\n", asked + 1)));
    });
}

#[test]
fn slow_readers_of_a_large_page_share_it() {
    let (runtime, server, source, allow) = start(200_000);
    drop(allow);
    runtime.block_on(async {
        let mut slow = Vec::new();
        for _ in 0..16 {
            let mut stream = TcpStream::connect(server.addr()).await.unwrap();
            stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
            // The answer has begun: its page is held until all is read.
            stream.read_exact(&mut [0; 12]).await.unwrap();
            slow.push(stream);
        }
        let made = *source.asked.lock().unwrap();
        assert!(made < 8, "{made} pages of 10 MB and more are held at once");
    });
}

#[test]
fn each_scraper_gets_its_own_format() {
    let (runtime, server, _source, allow) = start(1);
    drop(allow);
    runtime.block_on(async {
        // One is still read while the next asks.
        let mut slow = TcpStream::connect(server.addr()).await.unwrap();
        slow.write_all(b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        for (accept, kind, end) in [
            ("application/openmetrics-text;version=1.0.0", "application/openmetrics-text; version=1.0.0", "# EOF\n"),
            ("text/plain", "text/plain; version=0.0.4", "\n"),
        ] {
            let answer = get_as(server.addr(), "/metrics", accept).await;
            assert!(answer.to_ascii_lowercase().contains(&format!("content-type: {kind}")), "{answer}");
            assert!(answer.ends_with(end) && answer.contains("\nasked_total{"), "{answer}");
        }
    });
}
