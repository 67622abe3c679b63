//! What it costs the agent to encode spans and metrics and to send them to a receiver on this machine (`cargo xtask bench export`):
//!
//! ```text
//! cargo bench -p beyla-rs --bench export -- [--seconds 5] [--rate 100000]
//! ```
//!
//! Processor time is that of all threads of this process; what the pushing thread would take by itself is measured first and left out. The
//! receiver is a process of its own, which reads, counts bytes and says that all is well.

use std::{
    env,
    error::Error,
    hint::black_box,
    io::{BufRead as _, BufReader, Write as _},
    process::{Command, ExitCode, Stdio},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering::Relaxed},
    },
    time::{Duration, Instant, SystemTime},
};

use beyla_rs::{
    internals::{
        config::{Environment, FlagLayer, Loaded, Sources},
        export::{ExportConfig, Exporters, Fate, Ledger, MetricSource, OTLP},
        model::{
            Attribute, Bounds, Endpoint, HistogramPoint, Kind, Metric, Points, ProcessId, Resource, Span, SpanId,
            Status, TraceId, Value,
        },
    },
    run::export_settings,
};
use bytes::Bytes;
use rustix::time::{ClockId, clock_gettime};
use tokio::{net::TcpListener, runtime::Runtime};

mod counted {
    //! Counts what is allocated.
    #![allow(
        unsafe_code,
        reason = "an allocator is given out by a trait that is unsafe; each call goes on to the system's"
    )]

    use std::{
        alloc::{GlobalAlloc, Layout, System},
        sync::atomic::{AtomicU64, Ordering::Relaxed},
    };

    pub(super) static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

    struct Counted;

    // SAFETY: the system's allocator is asked with what was asked of this one.
    unsafe impl GlobalAlloc for Counted {
        unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
            ALLOCATIONS.fetch_add(1, Relaxed);
            // SAFETY: as above.
            unsafe { System.alloc(layout) }
        }

        unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
            // SAFETY: as above.
            unsafe { System.dealloc(at, layout) }
        }

        unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
            ALLOCATIONS.fetch_add(1, Relaxed);
            // SAFETY: as above.
            unsafe { System.realloc(at, layout, size) }
        }
    }

    #[global_allocator]
    static COUNTED: Counted = Counted;
}

/// Spans that are pushed at a time: what the pipeline has of a round, at this rate.
const BATCH: usize = 100;
/// Before it is measured.
const WARM_UP: Duration = Duration::from_secs(1);
/// Series of the metrics.
const SERIES: usize = 10_000;

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let number = |name: &str, default: u64| {
        let at = arguments.iter().position(|argument| argument == name);
        at.and_then(|at| arguments.get(at + 1)?.parse().ok()).unwrap_or(default)
    };
    let ended = if arguments.iter().any(|argument| argument == "--receive") {
        receive()
    } else {
        measure(Duration::from_secs(number("--seconds", 5)), number("--rate", 100_000))
    };
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error}");
            ExitCode::FAILURE
        }
    }
}

/// What was measured of a way to send.
struct Row {
    cpu_us: f64,
    allocations: f64,
    longest_push: Duration,
    pushed: u64,
    sent: u64,
}

fn measure(length: Duration, rate: u64) -> Result<(), Box<dyn Error>> {
    let mut receiver =
        Command::new(env::current_exe()?).arg("--receive").stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    let mut said = BufReader::new(receiver.stdout.take().ok_or("a pipe")?);
    let mut line = String::new();
    said.read_line(&mut line)?;
    let port: u16 = line.trim().parse()?;
    let mut received = || -> Result<u64, Box<dyn Error>> {
        let stdin = receiver.stdin.as_mut().ok_or("a pipe")?;
        stdin.write_all(b"\n")?;
        stdin.flush()?;
        let mut line = String::new();
        said.read_line(&mut line)?;
        Ok(line.trim().parse()?)
    };
    let alone = paced(length, rate, |_| {});
    println!(
        "{rate} spans/s of 16 attributes for {} s, in batches of {BATCH}; the pushing thread alone: {:.2} us",
        length.as_secs(),
        alone.0
    );
    println!("| | CPU per span | allocations per span | bytes per span | longest push | sent / pushed |");
    println!("| --- | --- | --- | --- | --- | --- |");
    for (name, protocol, compression) in [
        ("grpc", "grpc", "none"),
        ("grpc, zstd", "grpc", "zstd"),
        ("grpc, gzip", "grpc", "gzip"),
        ("http/protobuf", "http/protobuf", "none"),
    ] {
        let config = config(port, protocol, compression)?;
        let before = received()?;
        let row = spans(&config, length, rate, alone)?;
        let bytes = (received()? - before) as f64 / row.sent.max(1) as f64;
        let Row { cpu_us, allocations, longest_push, pushed, sent } = row;
        println!(
            "| {name} | {cpu_us:.2} us | {allocations:.2} | {bytes:.0} | {:.2} ms | {sent} / {pushed} |",
            longest_push.as_secs_f64() * 1e3
        );
    }
    println!("| --- |");
    series(&config(port, "grpc", "none")?, length)?;
    drop(receiver.stdin.take());
    let _ended = receiver.wait()?;
    Ok(())
}

/// Processor time of this process.
fn processor_time() -> Duration {
    let time = clock_gettime(ClockId::ProcessCPUTime);
    Duration::new(u64::try_from(time.tv_sec).unwrap_or(0), u32::try_from(time.tv_nsec).unwrap_or(0))
}

/// Does something with batches of numbers at a rate; processor time and allocations for each number, and the longest time that it took.
fn paced(length: Duration, rate: u64, mut each: impl FnMut(u64)) -> (f64, f64, Duration) {
    let batches = rate * length.as_millis() as u64 / 1000 / BATCH as u64;
    let apart = Duration::from_secs(1).mul_f64(BATCH as f64 / rate as f64);
    let (began, cpu, allocations) = (Instant::now(), processor_time(), counted::ALLOCATIONS.load(Relaxed));
    let mut longest = Duration::ZERO;
    for number in 0..batches {
        let due = began + apart.mul_f64(number as f64);
        std::thread::sleep(due.saturating_duration_since(Instant::now()));
        let before = Instant::now();
        each(number);
        longest = longest.max(before.elapsed());
    }
    let all = (batches * BATCH as u64) as f64;
    let cpu = (processor_time() - cpu).as_secs_f64() * 1e6 / all;
    (cpu, (counted::ALLOCATIONS.load(Relaxed) - allocations) as f64 / all, longest)
}

fn config(port: u16, protocol: &str, compression: &str) -> Result<ExportConfig, Box<dyn Error>> {
    let mut flags = FlagLayer::default();
    flags.set("--endpoint", "otlp.endpoint", Some(format!("http://127.0.0.1:{port}")));
    flags.set("--protocol", "otlp.protocol", Some(protocol.to_owned()));
    let environment = Environment::from_pairs([("OTEL_EXPORTER_OTLP_COMPRESSION", compression)]);
    let loaded = Loaded::load(Sources { flags, ..Sources::from_environment(environment) })?;
    let mut config = export_settings(&loaded)?;
    config.listen = vec![];
    Ok(config)
}

fn resource(service: &str) -> Arc<Resource> {
    let text = |text: &str| Value::Str(text.into());
    Arc::new(Resource {
        attributes: vec![
            ("service.name".into(), text(service)),
            ("service.namespace".into(), text("shop")),
            ("service.instance.id".into(), text("2639d1c1-422f-52b8-8d74-d5f7a86aaf2b")),
            ("process.pid".into(), Value::Int(4711)),
        ],
        service_name: service.into(),
        pid: ProcessId(4711),
    })
}

/// As HTTP makes it.
fn span(resource: &Arc<Resource>) -> Span {
    let text = |text: &str| Value::Str(text.into());
    let address: Value = Value::Shared("127.0.0.1".into());
    let attributes = [
        ("http.request.method", Value::Static("GET")),
        ("http.response.status_code", Value::Int(200)),
        ("url.path", text("/api/items/4711")),
        ("url.query", text("page=2&sort=price")),
        ("url.scheme", Value::Static("http")),
        ("server.address", address.clone()),
        ("server.port", Value::Int(8080)),
        ("client.address", address.clone()),
        ("client.port", Value::Int(51234)),
        ("network.peer.address", address),
        ("network.peer.port", Value::Int(51234)),
        ("network.protocol.version", Value::Static("1.1")),
        ("http.route", text("/api/items/{id}")),
        ("user_agent.original", text("curl/8.14.1")),
        ("http.request.body.size", Value::Int(0)),
        ("http.response.body.size", Value::Int(12345)),
    ];
    Span {
        trace_id: TraceId([1; 16]),
        span_id: SpanId([2; 8]),
        parent: Some(SpanId([3; 8])),
        flags: 1,
        trace_state: "ot=th:0".into(),
        kind: Kind::Server,
        name: "GET /api/items/{id}".into(),
        start_unix_ns: 1_700_000_000_000_000_000,
        end_unix_ns: 1_700_000_000_001_234_567,
        status: Status::Unset,
        links: Vec::new(),
        attributes: attributes.into_iter().map(|(key, value)| Attribute { key, value }).collect(),
        resource: Arc::clone(resource),
        pid: ProcessId(4711),
        local: Endpoint::Unknown,
    }
}

/// Makes the spans of a batch others than those before, as ids and times are.
fn renew(spans: &mut [Span], batch: u64) {
    for (span, number) in spans.iter_mut().zip(batch * BATCH as u64..) {
        let id = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        span.span_id = SpanId(id.to_be_bytes());
        let mut trace = [0; 16];
        trace[..8].copy_from_slice(&id.rotate_left(17).to_le_bytes());
        trace[8..].copy_from_slice(&id.to_le_bytes());
        span.trace_id = TraceId(trace);
        span.start_unix_ns += 1_000_003;
        span.end_unix_ns = span.start_unix_ns + (id >> 44);
    }
}

fn ledger(exporters: &Exporters) -> Ledger {
    exporters.counters().spans_of(OTLP).unwrap_or_default()
}

fn spans(
    config: &ExportConfig,
    length: Duration,
    rate: u64,
    alone: (f64, f64, Duration),
) -> Result<Row, Box<dyn Error>> {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let service = resource("shop-api");
    let mut batch: Vec<Span> = (0..BATCH).map(|_| span(&service)).collect();
    // What making them others costs is no cost of sending them.
    let making = paced(length / 4, rate, |number| renew(black_box(&mut batch), number));
    let exporters = Exporters::start(config, runtime.handle(), vec![], resource("beyla-rs"), None)?;
    let sink = exporters.sink();
    let mut longest = Duration::ZERO;
    let mut push = |number: u64| {
        renew(&mut batch, number);
        let before = Instant::now();
        // Given back where they were encoded at once; else they are made again, which costs this figure.
        let back = sink.push(std::mem::take(&mut batch));
        longest = longest.max(before.elapsed());
        batch = back;
        if batch.len() != BATCH {
            batch = (0..BATCH).map(|_| span(&service)).collect();
        }
    };
    let _warm = paced(WARM_UP, rate, &mut push);
    let (cpu, allocations, _) = paced(length, rate, &mut push);
    let until = Instant::now() + Duration::from_secs(20);
    while ledger(&exporters).queued > 0 && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(10));
    }
    let ledger = ledger(&exporters);
    drop(runtime.block_on(exporters.shutdown(tokio::time::Instant::now() + Duration::from_secs(5))));
    Ok(Row {
        cpu_us: cpu - making.0.max(alone.0),
        allocations: allocations - making.1,
        longest_push: longest,
        pushed: ledger.pushed,
        sent: ledger.count(Fate::Sent),
    })
}

/// Histograms of requests, as many series as an agent keeps.
struct Many {
    metrics: Vec<Metric>,
    /// When they were collected last, in ns since this began.
    collected: AtomicU64,
    began: Instant,
}

impl MetricSource for Many {
    fn collect(&self, _now_unix_ns: u64) -> Vec<Metric> {
        self.collected.store(u64::try_from(self.began.elapsed().as_nanos()).unwrap_or(u64::MAX), Relaxed);
        self.metrics.clone()
    }
}

fn series(config: &ExportConfig, length: Duration) -> Result<(), Box<dyn Error>> {
    let now = u64::try_from(SystemTime::now().duration_since(SystemTime::UNIX_EPOCH)?.as_nanos())?;
    let point = |number: usize| HistogramPoint {
        attributes: vec![
            Attribute { key: "http.request.method", value: Value::Static("GET") },
            Attribute { key: "http.response.status_code", value: Value::Int(200) },
            Attribute { key: "http.route", value: Value::Str(format!("/api/{number}/{{id}}").into()) },
            Attribute { key: "url.scheme", value: Value::Static("http") },
            Attribute { key: "network.protocol.version", value: Value::Static("1.1") },
        ],
        start_unix_ns: now,
        updated_unix_ns: u64::MAX,
        count: 1000,
        sum: 12.5,
        min: 0.001,
        max: 1.5,
        bounds: Bounds::Static(&[0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0]),
        buckets: vec![100; 15],
        native: None,
        exemplars: Vec::new(),
    };
    let per_service = 2000;
    let metrics = (0..SERIES / per_service).map(|service| Metric {
        name: "http.server.request.duration",
        unit: "s",
        description: "",
        resource: resource(&format!("service-{service}")),
        points: Points::Histogram((0..per_service).map(point).collect()),
    });
    let many = Arc::new(Many { metrics: metrics.collect(), collected: AtomicU64::new(0), began: Instant::now() });
    let mut config = config.clone();
    config.metric_interval = Duration::from_millis(500);
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build()?;
    let sources = vec![Arc::clone(&many) as Arc<dyn MetricSource>];
    let exporters = Exporters::start(&config, runtime.handle(), sources, resource("beyla-rs"), None)?;
    let sent = || exporters.counters().metric_points().map_or(0, |ledger| ledger.count(Fate::Sent));
    let (mut took, mut before) = (Vec::new(), sent());
    let (began, cpu) = (Instant::now(), processor_time());
    while began.elapsed() < length {
        std::thread::sleep(Duration::from_micros(200));
        let now = sent();
        if now >= before + SERIES as u64 {
            before = now;
            let at = Duration::from_nanos(many.collected.load(Relaxed));
            took.push(many.began.elapsed().saturating_sub(at));
        }
    }
    let cpu = (processor_time() - cpu).as_secs_f64() * 1e3 / took.len().max(1) as f64;
    took.sort();
    let [least, median, most] = [0, took.len() / 2, took.len().saturating_sub(1)]
        .map(|at| took.get(at).map_or(0.0, |time| time.as_secs_f64() * 1e3));
    println!(
        "{SERIES} series, collected to acknowledged, {} times: median {median:.1} ms ({least:.1} – {most:.1}); {cpu:.1} ms of a processor each, with looking whether it is over",
        took.len()
    );
    drop(runtime.block_on(exporters.shutdown(tokio::time::Instant::now() + Duration::from_secs(5))));
    Ok(())
}

/// Takes whatever comes over HTTP/1 and HTTP/2, and says for each line of its input how many bytes that was.
fn receive() -> Result<(), Box<dyn Error>> {
    static BYTES: AtomicU64 = AtomicU64::new(0);
    let runtime = Runtime::new()?;
    let listener = runtime.block_on(TcpListener::bind("127.0.0.1:0"))?;
    println!("{}", listener.local_addr()?.port());
    runtime.spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            tokio::spawn(async move {
                let mut first = [0; 3];
                let is_http2 = stream.peek(&mut first).await.is_ok_and(|_| first == *b"PRI");
                // Who goes away is gone.
                let _ended = if is_http2 { grpc(stream, &BYTES).await } else { http1(stream, &BYTES).await };
            });
        }
    });
    for line in std::io::stdin().lock().lines() {
        line?;
        println!("{}", BYTES.load(Relaxed));
    }
    Ok(())
}

async fn grpc(stream: tokio::net::TcpStream, bytes: &'static AtomicU64) -> Result<(), Box<dyn Error + Send + Sync>> {
    stream.set_nodelay(true)?;
    let mut builder = h2::server::Builder::new();
    builder.initial_window_size(1 << 20).initial_connection_window_size(8 << 20);
    let mut connection = builder.handshake::<_, Bytes>(stream).await?;
    while let Some(accepted) = connection.accept().await {
        let (request, mut respond) = accepted?;
        tokio::spawn(async move {
            let mut body = request.into_body();
            while let Some(Ok(data)) = body.data().await {
                bytes.fetch_add(data.len() as u64, Relaxed);
                let _is_open = body.flow_control().release_capacity(data.len()).is_ok();
            }
            let head = http::Response::builder().header("content-type", "application/grpc").body(());
            let Ok(head) = head else { return };
            let Ok(mut stream) = respond.send_response(head, false) else { return };
            let mut trailers = http::HeaderMap::new();
            trailers.insert("grpc-status", http::HeaderValue::from_static("0"));
            let _is_sent =
                stream.send_data(Bytes::from_static(&[0; 5]), false).is_ok() && stream.send_trailers(trailers).is_ok();
        });
    }
    Ok(())
}

async fn http1(stream: tokio::net::TcpStream, bytes: &'static AtomicU64) -> Result<(), Box<dyn Error + Send + Sync>> {
    use http_body_util::{BodyExt as _, Empty};
    stream.set_nodelay(true)?;
    let answer = hyper::service::service_fn(move |request: http::Request<hyper::body::Incoming>| async move {
        let mut body = request.into_body();
        while let Some(Ok(frame)) = body.frame().await {
            bytes.fetch_add(frame.data_ref().map_or(0, Bytes::len) as u64, Relaxed);
        }
        http::Response::builder().header("content-type", "application/x-protobuf").body(Empty::<Bytes>::new())
    });
    hyper::server::conn::http1::Builder::new().serve_connection(hyper_util::rt::TokioIo::new(stream), answer).await?;
    Ok(())
}
