//! The server's answers; what stands in them is tested by format.

mod protobuf;
mod text;

use std::{
    net::SocketAddr,
    sync::{Mutex, mpsc},
    time::{Duration, Instant},
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
        metric::{Bounds, HistogramPoint, Metric, NativeHistogram, NumberPoint, Points},
        span::{Attribute, Resource, Value},
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
    let routes = routes(&PrometheusConfig::default(), sources).route("/healthz", get_page("ok\n"));
    let server = Server::start(listen, runtime.handle(), routes, None).unwrap();
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
        let pages: Vec<_> = (0..8).map(|_| tokio::spawn(get(server.addr().unwrap(), "/metrics"))).collect();
        assert!(get(server.addr().unwrap(), "/healthz").await.starts_with("HTTP/1.1 200"));
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
        let pages: Vec<_> = (0..8).map(|_| tokio::spawn(get(server.addr().unwrap(), "/metrics"))).collect();
        drop(allow);
        for page in pages {
            page.await.unwrap();
        }
        let asked = *source.asked.lock().unwrap();
        assert!(get(server.addr().unwrap(), "/metrics").await.contains(&format!(" {}\n", asked + 1)));
    });
}

#[test]
fn slow_readers_of_a_large_page_share_it() {
    let (runtime, server, source, allow) = start(200_000);
    drop(allow);
    runtime.block_on(async {
        let mut slow = Vec::new();
        for _ in 0..16 {
            let mut stream = TcpStream::connect(server.addr().unwrap()).await.unwrap();
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
        let mut slow = TcpStream::connect(server.addr().unwrap()).await.unwrap();
        slow.write_all(b"GET /metrics HTTP/1.1\r\nHost: h\r\n\r\n").await.unwrap();
        for (accept, kind, end) in [
            ("application/openmetrics-text;version=1.0.0", "application/openmetrics-text; version=1.0.0", "# EOF\n"),
            ("text/plain", "text/plain; version=0.0.4", "\n"),
        ] {
            let answer = get_as(server.addr().unwrap(), "/metrics", accept).await;
            assert!(answer.to_ascii_lowercase().contains(&format!("content-type: {kind}")), "{answer}");
            assert!(answer.ends_with(end) && answer.contains("\nasked_total{"), "{answer}");
        }
    });
}

/// 200 services of 50 routes each.
struct Many(Vec<Arc<Resource>>);

impl MetricSource for Many {
    fn collect(&self, now_unix_ns: u64) -> Vec<Metric> {
        const BOUNDS: &[f64] = &[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0];
        let attribute = |key, value| Attribute { key, value };
        let point = |route: usize| HistogramPoint {
            attributes: vec![
                attribute("http.request.method", Value::Static("GET")),
                attribute("http.response.status_code", Value::Int(200)),
                attribute("http.route", Value::Str(format!("/api/v1/of/{route}/{{id}}").into())),
                attribute("url.scheme", Value::Static("http")),
                attribute("network.protocol.version", Value::Static("1.1")),
            ],
            start_unix_ns: now_unix_ns,
            updated_unix_ns: now_unix_ns,
            count: 1_000_000,
            sum: 12_345.678_901,
            min: 0.001,
            max: 1.0,
            bounds: Bounds::Static(BOUNDS),
            buckets: vec![70_000; BOUNDS.len() + 1],
            native: Some(Box::new(NativeHistogram {
                start_unix_ns: now_unix_ns,
                count: 1_000_000,
                sum: 12_345.678_901,
                schema: 3,
                zero_count: 0,
                offset: -60,
                buckets: vec![40_000; 25],
                before: Vec::new(),
            })),
            exemplars: Vec::new(),
        };
        let metric = |resource: &Arc<Resource>| Metric {
            name: "http.server.request.duration",
            unit: "s",
            description: "Duration of HTTP server requests.",
            resource: Arc::clone(resource),
            points: Points::Histogram((0..50).map(point).collect()),
        };
        self.0.iter().map(metric).collect()
    }
}

/// `cargo test --release -p beyla-rs --lib -- --nocapture ten_thousand_series` says how long it takes as it is shipped.
#[test]
fn ten_thousand_series_are_scraped_within_a_tenth_of_a_second() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    let resources = (0..200).map(|number| testing::resource(&format!("service-{number}"), ProcessId(number)));
    let sources: Vec<Arc<dyn MetricSource>> = vec![Arc::new(Many(resources.collect()))];
    let listen = "127.0.0.1:0".parse().unwrap();
    let routes = routes(&PrometheusConfig::default(), sources);
    let server = Server::start(listen, runtime.handle(), routes, None).unwrap();
    runtime.block_on(async {
        for format in [Format::Text, Format::OpenMetrics, Format::Protobuf] {
            let mut stream = TcpStream::connect(server.addr().unwrap()).await.unwrap();
            let began = Instant::now();
            let accept = format.content_type();
            let request = format!("GET /metrics HTTP/1.0\r\nAccept: {accept}\r\n\r\n");
            stream.write_all(request.as_bytes()).await.unwrap();
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer).await.unwrap();
            let took = began.elapsed();
            println!("200 services of 50 routes as {format:?}: {} bytes in {took:?}", answer.len());
            assert!(answer.len() > 1_000_000);
            assert!(cfg!(debug_assertions) || took < Duration::from_millis(100), "{format:?}: {took:?}");
        }
    });
}
