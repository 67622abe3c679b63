//! The export stage against a real OTLP receiver: what is pushed arrives, exactly once, in every protocol; what does not
//! arrive is counted.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

mod certificates;
mod collector;
mod endpoints;
mod outages;
mod retries;
mod shutdown;
mod spool;

use std::{
    collections::HashSet,
    io::{Read, Write},
    net::{SocketAddr, TcpListener, TcpStream},
    path::PathBuf,
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use beyla_rs::{
    internals::{
        config::{Environment, FlagLayer, Loaded, Sources},
        export::{ExportConfig, Exporters, Fate, Ledger, MetricSource, OTLP, Print, Temporality},
        model::{
            Attribute, Bounds, Endpoint, Exemplar, ExponentialPoint, HistogramPoint, Kind, Metric, NumberPoint, Points,
            ProcessId, Resource, Span, SpanId, Status, TraceId, Value,
        },
    },
    run::export_settings,
};
use serde_json::json;
use tests::receiver::{FailNext, Failure, Ports, ReceivedMetric, Receiver, Tls};
use tokio::runtime::Runtime;

/// Far more than anything here takes.
const LONG: Duration = Duration::from_secs(20);
const PROTOCOLS: [&str; 3] = ["grpc", "http/protobuf", "http/json"];

/// The stage as the agent runs it.
struct Stage {
    runtime: Runtime,
    exporters: Exporters,
}

/// What became of what was sent over OTLP.
#[derive(Debug)]
struct Report {
    spans: Option<Ledger>,
    metric_points: Option<Ledger>,
}

impl Stage {
    fn start(config: &ExportConfig, sources: Vec<Arc<dyn MetricSource>>) -> Self {
        let runtime = Runtime::new().unwrap();
        let exporters = Exporters::start(config, runtime.handle(), sources, resource("beyla-rs", 1), None).unwrap();
        Self { runtime, exporters }
    }

    fn spans(&self) -> Ledger {
        self.exporters.counters().spans_of(OTLP).unwrap()
    }

    fn shutdown(self, deadline: Duration) -> Report {
        let report = self.runtime.block_on(self.exporters.shutdown(tokio::time::Instant::now() + deadline));
        let spans = report.spans.into_iter().find_map(|(consumer, ledger)| (consumer == OTLP).then_some(ledger));
        Report { spans, metric_points: report.metric_points }
    }
}

/// A configuration as the environment gives it, with waits that suit tests.
fn config(receiver: &Receiver, protocol: &str, variables: &[(&str, &str)]) -> ExportConfig {
    let endpoint = if protocol == "grpc" { receiver.grpc_endpoint() } else { receiver.http_endpoint() };
    config_to(&endpoint, protocol, variables)
}

/// What the agent makes of its environment and flags.
fn loaded(variables: &[(&str, &str)], flags: FlagLayer) -> ExportConfig {
    let environment = Environment::from_pairs(variables.iter().copied());
    let sources = Sources { flags, ..Sources::from_environment(environment) };
    export_settings(&Loaded::load(sources).unwrap()).unwrap()
}

fn config_to(endpoint: &str, protocol: &str, variables: &[(&str, &str)]) -> ExportConfig {
    let mut flags = FlagLayer::default();
    flags.set("--endpoint", "otlp.endpoint", Some(endpoint.to_owned()));
    flags.set("--protocol", "otlp.protocol", Some(protocol.to_owned()));
    let mut config = loaded(variables, flags);
    assert_eq!(config.print, Print::Off);
    config.listen = vec![];
    config.batch.schedule_delay = Duration::from_millis(20);
    config.retry.initial = Duration::from_millis(10);
    config.retry.max = Duration::from_millis(50);
    config
}

fn resource(service: &str, pid: u32) -> Arc<Resource> {
    Arc::new(Resource {
        attributes: vec![
            ("service.name".into(), Value::Str(service.into())),
            ("process.pid".into(), Value::Int(pid.into())),
        ],
        service_name: service.into(),
        pid: ProcessId(pid),
    })
}

fn span(number: u64, resource: &Arc<Resource>) -> Span {
    let attribute = |key, value| Attribute { key, value };
    Span {
        trace_id: TraceId([9; 16]),
        span_id: SpanId(number.to_be_bytes()),
        parent: (number.is_multiple_of(2)).then_some(SpanId([5; 8])),
        flags: 1,
        trace_state: "vendor=1".into(),
        kind: if number.is_multiple_of(3) { Kind::Client } else { Kind::Server },
        name: format!("GET /{number}").into(),
        start_unix_ns: 1_700_000_000_000_000_000 + number,
        end_unix_ns: 1_700_000_000_000_000_000 + 3 * number,
        status: if number.is_multiple_of(5) { Status::Error } else { Status::Unset },
        attributes: vec![
            attribute("http.request.method", Value::Static("GET")),
            attribute("http.response.status_code", Value::Int(200)),
            attribute("url.path", Value::Str(format!("/é/{number}").into())),
            attribute("server.address", Value::Shared("example.org".into())),
            attribute("a.ratio", Value::Double(0.5)),
            attribute("a.flag", Value::Bool(true)),
        ],
        resource: Arc::clone(resource),
        pid: resource.pid,
        links: Vec::new(),
        local: Endpoint::Unknown,
    }
}

fn spans(numbers: std::ops::RangeInclusive<u64>, resource: &Arc<Resource>) -> Vec<Span> {
    numbers.map(|number| span(number, resource)).collect()
}

/// `pushed = sent + rejected + dropped + queued`.
fn assert_balanced(ledger: &Ledger) {
    let ended: u64 = Fate::ALL.iter().map(|outcome| ledger.count(*outcome)).sum();
    assert_eq!(ledger.pushed, ended + ledger.queued, "{ledger:?}");
}

#[test]
fn spans_arrive_as_they_were_in_every_protocol_plain_and_compressed() {
    for protocol in PROTOCOLS {
        for compression in ["none", "gzip", "zstd"] {
            let receiver = Receiver::start();
            let variables = [
                ("OTEL_EXPORTER_OTLP_COMPRESSION", compression),
                ("OTEL_EXPORTER_OTLP_HEADERS", "x-tenant=a%20b,authorization=Bearer%20t"),
            ];
            let stage = Stage::start(&config(&receiver, protocol, &variables), vec![]);
            let (shop, cart) = (resource("shop", 1), resource("cart", 2));
            let mut pushed = spans(1..=30, &shop);
            pushed.extend(spans(31..=60, &cart));
            stage.exporters.push(pushed.clone());
            receiver.wait_for(|state| state.spans.len() >= 60, LONG).unwrap();

            let report = stage.shutdown(LONG).spans.unwrap();
            assert_eq!((report.pushed, report.count(Fate::Sent), report.queued_bytes), (60, 60, 0));
            let state = receiver.state();
            assert_eq!(state.violations, Vec::<String>::new());
            assert_eq!(state.spans.len(), 60);
            for (was, is) in pushed.iter().zip(&state.spans) {
                let number = u64::from_be_bytes(was.span_id.0);
                assert_eq!(is.span_id, was.span_id.to_string());
                assert_eq!(is.trace_id, was.trace_id.to_string());
                assert_eq!(is.parent_span_id, was.parent.map(|id| id.to_string()).unwrap_or_default());
                assert_eq!((is.name.as_str(), is.flags), (was.name.as_str(), 1));
                assert_eq!(is.kind, if was.kind == Kind::Client { "CLIENT" } else { "SERVER" });
                assert_eq!(is.status, if was.status == Status::Error { "ERROR" } else { "UNSET" });
                assert_eq!((is.start_unix_nano, is.end_unix_nano), (was.start_unix_ns, was.end_unix_ns));
                assert_eq!(is.service(), was.resource.service_name);
                assert_eq!(is.resource["process.pid"], was.resource.pid.0);
                assert_eq!(
                    (is.scope_name.as_str(), is.scope_version.as_str()),
                    ("beyla-rs", env!("CARGO_PKG_VERSION"))
                );
                let attributes = json!({
                    "http.request.method": "GET", "http.response.status_code": 200, "url.path": format!("/é/{number}"),
                    "server.address": "example.org", "a.ratio": 0.5, "a.flag": true,
                });
                assert_eq!(json!(is.attributes), attributes);
            }
            let request = &state.requests[0];
            assert_eq!((request.protocol, request.resources), (protocol, 2));
            assert_eq!(request.compression.as_deref(), (compression != "none").then_some(compression));
            assert_eq!(request.header("x-tenant"), Some("a b"));
            assert_eq!(request.header("authorization"), Some("Bearer t"));
            assert!(request.header("user-agent").unwrap().starts_with("beyla-rs/"), "{request:?}");
        }
    }
}

#[test]
fn a_signals_own_endpoint_is_used_as_it_is() {
    let receiver = Receiver::start();
    let own = format!("{}/other/v1/traces", receiver.http_endpoint());
    let base = format!("{}/base/", receiver.http_endpoint());
    let variables =
        [("OTEL_EXPORTER_OTLP_ENDPOINT", base.as_str()), ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", own.as_str())];
    let mut config = loaded(&variables, FlagLayer::default());
    config.listen = vec![];
    let stage = Stage::start(&config, vec![]);
    stage.exporters.push(spans(1..=1, &resource("a", 1)));
    stage.shutdown(LONG);
    let paths: HashSet<_> = receiver.state().requests.into_iter().map(|request| request.path).collect();
    assert_eq!(paths, HashSet::from(["/other/v1/traces".to_owned(), "/base/v1/metrics".to_owned()]));
}

#[test]
fn a_receiver_that_is_away_for_a_while_gets_everything_once() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start();
        receiver.respond_with(FailNext { requests: 3, failure: Failure::Unavailable { retry_after: None } });
        let mut config = config(&receiver, protocol, &[]);
        config.metrics.clear();
        let stage = Stage::start(&config, vec![]);
        stage.exporters.push(spans(1..=10, &resource("a", 1)));
        receiver.wait_for(|state| state.spans.len() >= 10, LONG).unwrap();
        assert_eq!(stage.shutdown(LONG).spans.unwrap().count(Fate::Sent), 10);
        let state = receiver.state();
        assert_eq!((state.spans.len(), state.requests.len()), (10, 4), "{protocol}");
    }
}

#[test]
fn a_receiver_that_says_when_is_left_in_peace_until_then() {
    for protocol in ["grpc", "http/protobuf"] {
        let receiver = Receiver::start();
        let failure = Failure::Unavailable { retry_after: Some(Duration::from_secs(1)) };
        receiver.respond_with(FailNext { requests: 1, failure });
        let mut config = config(&receiver, protocol, &[]);
        config.metrics.clear();
        let stage = Stage::start(&config, vec![]);
        stage.exporters.push(spans(1..=1, &resource("a", 1)));
        receiver.wait_for(|state| state.spans.len() == 1, LONG).unwrap();
        let requests = receiver.state().requests;
        let waited = requests[1].at - requests[0].at;
        assert!(waited >= Duration::from_millis(990), "{protocol}: {waited:?}");
    }
}

/// All agents of a cluster find a receiver that has come back at the same time.
#[test]
fn what_has_waited_for_a_receiver_goes_one_by_one_with_pauses() {
    const SLOW: Duration = Duration::from_millis(40);
    for protocol in ["grpc", "http/protobuf"] {
        let receiver = Receiver::start();
        receiver.respond_with(FailNext { requests: usize::MAX, failure: Failure::Unavailable { retry_after: None } });
        let mut config = config(&receiver, protocol, &[]);
        config.metrics.clear();
        config.batch.max_batch_spans = 10;
        let stage = Stage::start(&config, vec![]);
        (0..10).for_each(|n| stage.exporters.push(spans(n * 10 + 1..=n * 10 + 10, &resource("a", 1))));
        receiver.wait_for(|state| state.requests.len() >= 10, LONG).unwrap();
        receiver.respond_with(FailNext { requests: usize::MAX, failure: Failure::Slow { by: SLOW } });
        receiver.wait_for(|state| state.spans.len() == 100, LONG).unwrap();
        assert_eq!(stage.shutdown(LONG).spans.unwrap().count(Fate::Sent), 100);
        let state = receiver.state();
        // Each begins when the one before has been answered, and it has been left in peace for as long again.
        let taken: Vec<_> = state.requests.iter().filter(|request| request.taken).map(|request| request.at).collect();
        let apart: Vec<_> = taken.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(apart.iter().all(|time| *time >= 2 * SLOW - Duration::from_millis(5)), "{protocol}: {apart:?}");
    }
}

#[test]
fn a_receiver_that_has_too_much_to_do_is_left_in_peace_and_loses_nothing() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start();
        let failure = Failure::Throttled { retry_after: Duration::from_secs(1) };
        receiver.respond_with(FailNext { requests: 1, failure });
        let mut config = config(&receiver, protocol, &[]);
        config.metrics.clear();
        let stage = Stage::start(&config, vec![]);
        stage.exporters.push(spans(1..=5, &resource("a", 1)));
        receiver.wait_for(|state| state.spans.len() == 5, LONG).unwrap();
        let requests = receiver.state().requests;
        let waited = requests[1].at - requests[0].at;
        assert!(waited >= Duration::from_millis(990), "{protocol}: {waited:?}");
    }
}

#[test]
fn what_the_receiver_refuses_for_good_is_dropped_and_counted_and_not_sent_again() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start();
        receiver.respond_with(FailNext { requests: 1, failure: Failure::Refused { http: 400, grpc: 3 } });
        let mut config = config(&receiver, protocol, &[]);
        config.metrics.clear();
        let stage = Stage::start(&config, vec![]);
        stage.exporters.push(spans(1..=7, &resource("a", 1)));
        receiver.wait_for(|state| state.requests.len() == 1, LONG).unwrap();
        stage.exporters.push(spans(8..=10, &resource("a", 1)));
        let ledger = stage.shutdown(LONG).spans.unwrap();
        assert_eq!((ledger.count(Fate::DroppedFailed), ledger.count(Fate::Sent)), (7, 3), "{protocol}");
        assert_eq!((receiver.spans().len(), receiver.state().requests.len()), (3, 2), "{protocol}");
    }
}

#[test]
fn a_request_that_the_receiver_keeps_failing_at_does_not_hold_its_place_for_ever() {
    let receiver = Receiver::start();
    // OUT_OF_RANGE may be retried by the specification, and some receivers answer so to what is too long for them.
    receiver.respond_with(FailNext { requests: usize::MAX, failure: Failure::Refused { http: 400, grpc: 11 } });
    let mut config = config(&receiver, "grpc", &[]);
    config.metrics.clear();
    let stage = Stage::start(&config, vec![]);
    stage.exporters.push(spans(1..=7, &resource("a", 1)));
    receiver.wait_for(|state| state.requests.len() == 5, LONG).unwrap();
    receiver.recover();
    stage.exporters.push(spans(8..=10, &resource("a", 1)));
    let ledger = stage.shutdown(LONG).spans.unwrap();
    assert_eq!((ledger.count(Fate::DroppedFailed), ledger.count(Fate::Sent)), (7, 3));
}

#[test]
fn what_the_receiver_rejects_of_a_request_is_counted() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start();
        let failure = Failure::Partial { rejected: 4, message: "too old".to_owned() };
        receiver.respond_with(FailNext { requests: 1, failure });
        let mut config = config(&receiver, protocol, &[]);
        config.metrics.clear();
        let stage = Stage::start(&config, vec![]);
        stage.exporters.push(spans(1..=10, &resource("a", 1)));
        let ledger = stage.shutdown(LONG).spans.unwrap();
        assert_eq!((ledger.count(Fate::Sent), ledger.count(Fate::Rejected)), (6, 4), "{protocol}");
        assert_eq!(receiver.spans().len(), 6);
    }
}

/// Ports that nobody listens on.
fn free_ports() -> Ports {
    Receiver::start().stop()
}

#[test]
fn an_outage_bounds_memory_loses_only_what_it_counts_and_never_holds_the_producer_up() {
    for protocol in ["grpc", "http/protobuf"] {
        const QUEUE: u64 = 256 << 10;
        let ports = free_ports();
        let port = if protocol == "grpc" { ports.grpc } else { ports.http };
        let mut config = config_to(&format!("http://127.0.0.1:{port}"), protocol, &[]);
        config.metrics.clear();
        config.batch.max_queue_bytes = QUEUE as usize;
        config.batch.max_batch_spans = 100;
        let stage = Stage::start(&config, vec![]);

        let (sink, service) = (stage.exporters.sink(), resource("a", 1));
        let producer = std::thread::spawn(move || {
            for batch in 0..200 {
                sink.push(spans(batch * 50 + 1..=batch * 50 + 50, &service));
            }
        });
        // With nobody to take anything, a push that waited would wait for ever.
        let started = Instant::now();
        while !producer.is_finished() {
            assert!(started.elapsed() < LONG, "the producer is held up");
            let ledger = stage.spans();
            assert!(ledger.queued_bytes <= QUEUE, "{ledger:?}");
            assert_balanced(&ledger);
        }
        producer.join().unwrap();
        let during = stage.spans();
        assert_eq!(during.pushed, 10_000);
        assert!(during.count(Fate::DroppedQueueFull) > 0 && during.queued > 0, "{during:?}");
        assert_eq!(during.count(Fate::Sent), 0);

        let receiver = Receiver::start_on(ports, None);
        receiver.wait_for(|state| state.spans.len() as u64 >= during.queued, LONG).unwrap();
        let ledger = stage.shutdown(LONG).spans.unwrap();
        assert_balanced(&ledger);
        assert_eq!((ledger.queued, ledger.count(Fate::Sent)), (0, during.queued), "{ledger:?}");
        let ids: HashSet<_> = receiver.spans().into_iter().map(|span| span.span_id).collect();
        assert_eq!(ids.len() as u64, during.queued, "each once");
        assert_eq!(receiver.spans().len() as u64, during.queued, "each once");
    }
}

#[test]
fn a_receiver_that_crashes_and_comes_back_gets_the_rest() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start();
        let mut config = config(&receiver, protocol, &[]);
        config.metrics.clear();
        let stage = Stage::start(&config, vec![]);
        let service = resource("a", 1);
        stage.exporters.push(spans(1..=5, &service));
        receiver.wait_for(|state| state.spans.len() == 5, LONG).unwrap();
        let ports = receiver.stop();
        stage.exporters.push(spans(6..=10, &service));
        let receiver = Receiver::start_on(ports, None);
        receiver.wait_for(|state| state.spans.len() == 5, LONG).unwrap();
        assert_eq!(stage.shutdown(LONG).spans.unwrap().count(Fate::Sent), 10, "{protocol}");
    }
}

#[test]
fn many_spans_from_many_threads_arrive_exactly() {
    const THREADS: u64 = 4;
    const EACH: u64 = 25_000;
    let receiver = Receiver::start();
    let mut config = config(&receiver, "grpc", &[]);
    config.batch.max_queue_bytes = 256 << 20;
    config.batch.max_batch_spans = 4096;
    let stage = Stage::start(&config, vec![]);
    let services: Vec<_> = (0..THREADS).map(|n| resource(&format!("s{n}"), n as u32)).collect();
    std::thread::scope(|scope| {
        for (thread, service) in services.iter().enumerate() {
            let sink = stage.exporters.sink();
            scope.spawn(move || {
                let first = thread as u64 * EACH + 1;
                for from in (first..first + EACH).step_by(50) {
                    sink.push(spans(from..=from + 49, service));
                }
            });
        }
    });
    let ledger = stage.shutdown(6 * LONG).spans.unwrap();
    assert_eq!((ledger.pushed, ledger.count(Fate::Sent)), (THREADS * EACH, THREADS * EACH), "{ledger:?}");
    let state = receiver.state();
    assert_eq!(state.spans.len() as u64, THREADS * EACH);
    assert_eq!(state.spans.iter().map(|span| &span.span_id).collect::<HashSet<_>>().len() as u64, THREADS * EACH);
    assert_eq!(state.violations, Vec::<String>::new());
    let largest = state.requests.iter().map(|request| request.items).max();
    assert!(largest > Some(1000), "batches grow under load: {largest:?}");
}

/// A source with one metric of each kind; its counters grow by 10 at each look.
struct Everything {
    resource: Arc<Resource>,
    looks: Mutex<u64>,
}

impl Everything {
    fn new() -> Arc<Self> {
        Arc::new(Self { resource: resource("shop", 7), looks: Mutex::new(0) })
    }
}

const START: u64 = 1_700_000_000_000_000_000;

impl MetricSource for Everything {
    fn collect(&self, now_unix_ns: u64) -> Vec<Metric> {
        let mut looks = self.looks.lock().unwrap();
        *looks += 1;
        let count = 10 * *looks;
        let attributes = || vec![Attribute { key: "http.route", value: Value::Static("/a") }];
        let exemplar =
            Exemplar { at_unix_ns: now_unix_ns, value: 0.2, trace_id: TraceId([1; 16]), span_id: SpanId([2; 8]) };
        let number = |value| vec![NumberPoint { attributes: attributes(), start_unix_ns: START, value }];
        let metric = |name, unit, points| Metric {
            name,
            unit,
            description: "About it",
            resource: Arc::clone(&self.resource),
            points,
        };
        vec![
            metric("a.count", "{thing}", Points::Counter(number(count as f64))),
            metric("a.level", "1", Points::UpDownCounter(number(3.0))),
            metric("a.ratio", "1", Points::Gauge(number(0.25))),
            metric(
                "http.server.request.duration",
                "s",
                Points::Histogram(vec![HistogramPoint {
                    attributes: attributes(),
                    start_unix_ns: START,
                    updated_unix_ns: now_unix_ns,
                    count,
                    sum: count as f64 * 0.2,
                    min: 0.1,
                    max: 0.9,
                    bounds: Bounds::Static(&[0.1, 0.5]),
                    buckets: vec![0, count, 0],
                    native: None,
                    exemplars: vec![exemplar.clone()],
                }]),
            ),
            metric(
                "an.exponential",
                "s",
                Points::ExponentialHistogram(vec![ExponentialPoint {
                    attributes: attributes(),
                    start_unix_ns: START,
                    updated_unix_ns: now_unix_ns,
                    count: count + 1,
                    sum: count as f64,
                    min: 0.0,
                    max: 0.9,
                    scale: 2,
                    zero_count: 1,
                    offset: -10,
                    buckets: vec![count],
                    exemplars: vec![exemplar],
                }]),
            ),
        ]
    }
}

fn find<'a>(metrics: &'a [ReceivedMetric], name: &str) -> &'a ReceivedMetric {
    metrics.iter().find(|metric| metric.name == name).unwrap_or_else(|| panic!("no {name}"))
}

#[test]
fn metrics_arrive_as_they_were_in_every_protocol() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start();
        let stage = Stage::start(&config(&receiver, protocol, &[]), vec![Everything::new()]);
        let report = stage.shutdown(LONG);
        let state = receiver.state();
        assert_eq!(state.violations, Vec::<String>::new(), "{protocol}");
        let points = state.metrics.iter().map(|metric| metric.points.len() as u64).sum::<u64>();
        assert_eq!(report.metric_points.unwrap().count(Fate::Sent), points);

        let count = find(&state.metrics, "a.count");
        assert_eq!((count.kind, count.temporality, count.monotonic), ("sum", "cumulative", true));
        assert_eq!((count.unit.as_str(), count.description.as_str()), ("{thing}", "About it"));
        assert_eq!((count.points[0].value, count.points[0].start_unix_nano), (10.0, START));
        assert_eq!(count.points[0].attributes["http.route"], "/a");
        assert_eq!((&count.resource["service.name"], count.scope_name.as_str()), (&json!("shop"), "beyla-rs"));
        let level = find(&state.metrics, "a.level");
        assert_eq!((level.kind, level.monotonic, level.points[0].value), ("sum", false, 3.0));
        let ratio = find(&state.metrics, "a.ratio");
        assert_eq!((ratio.kind, ratio.points[0].value), ("gauge", 0.25));
        let histogram = find(&state.metrics, "http.server.request.duration");
        let point = &histogram.points[0];
        assert_eq!((histogram.kind, point.count, point.sum), ("histogram", 10, Some(2.0)));
        assert_eq!((point.min, point.max), (Some(0.1), Some(0.9)));
        assert_eq!((&point.bounds[..], &point.buckets[..]), (&[0.1, 0.5][..], &[0, 10, 0][..]));
        assert_eq!((point.exemplars[0].span_id.as_str(), point.exemplars[0].value), ("0202020202020202", 0.2));
        let exponential = &find(&state.metrics, "an.exponential").points[0];
        assert_eq!((exponential.scale, exponential.offset, exponential.zero_count), (2, -10, 1));
        assert_eq!((exponential.count, &exponential.buckets[..]), (11, &[10][..]));
        assert_eq!(state.requests.len(), 1, "one request of both resources");
        assert_eq!(state.requests[0].resources, 2);
    }
}

#[test]
fn metrics_go_at_the_interval() {
    let receiver = Receiver::start();
    let variables = [("OTEL_METRIC_EXPORT_INTERVAL", "50")];
    let stage = Stage::start(&config(&receiver, "http/protobuf", &variables), vec![Everything::new()]);
    receiver.wait_for(|state| state.requests.len() >= 3, LONG).unwrap();
    stage.shutdown(LONG);
}

#[test]
fn deltas_of_a_request_that_was_lost_are_in_the_next() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start();
        let mut config = config(&receiver, protocol, &[("OTEL_METRIC_EXPORT_INTERVAL", "50")]);
        config.temporality = Temporality::Delta;
        config.traces.clear();
        let source = Everything::new();
        let stage = Stage::start(&config, vec![Arc::clone(&source) as _]);
        receiver
            .wait_for(|state| state.metrics.iter().filter(|metric| metric.name == "a.count").count() >= 2, LONG)
            .unwrap();
        receiver.respond_with(FailNext { requests: 2, failure: Failure::Refused { http: 400, grpc: 3 } });
        receiver.wait_for(|state| state.requests.iter().filter(|r| !r.taken).count() >= 2, LONG).unwrap();
        let report = stage.shutdown(LONG).metric_points.unwrap();
        assert!(report.count(Fate::DroppedFailed) > 0, "{report:?}");

        let state = receiver.state();
        assert_eq!(state.violations, Vec::<String>::new());
        let total = 10 * *source.looks.lock().unwrap();
        let of = |name: &str| -> Vec<_> {
            state.metrics.iter().filter(|m| m.name == name).flat_map(|m| m.points.clone()).collect()
        };
        assert_eq!(of("a.count").iter().map(|point| point.value).sum::<f64>(), total as f64);
        assert_eq!(of("http.server.request.duration").iter().map(|point| point.count).sum::<u64>(), total);
        assert_eq!(of("an.exponential").iter().map(|point| point.count).sum::<u64>(), total + 1);
        // Each begins where the one before ended.
        let counts = of("a.count");
        assert!(counts.windows(2).all(|pair| pair[1].start_unix_nano == pair[0].time_unix_nano), "{counts:?}");
        assert_eq!(find(&state.metrics, "a.count").temporality, "delta");
        assert_eq!(find(&state.metrics, "a.level").temporality, "cumulative");
    }
}

#[test]
fn the_stage_tells_what_became_of_its_spans() {
    let receiver = Receiver::start();
    let stage = Stage::start(&config(&receiver, "grpc", &[]), vec![]);
    receiver.respond_with(FailNext { requests: 1, failure: Failure::Partial { rejected: 2, message: String::new() } });
    stage.exporters.push(spans(1..=12, &resource("a", 1)));
    // The last metrics are of after the last span.
    stage.shutdown(LONG);
    let metrics = receiver.metrics();
    let by_outcome = |outcome: &str| {
        let points = &find(&metrics, "beyla_rs.export.spans").points;
        points.iter().find(|point| point.attributes["outcome"] == outcome).map(|point| point.value)
    };
    assert_eq!((by_outcome("sent"), by_outcome("rejected")), (Some(10.0), Some(2.0)));
    assert_eq!((by_outcome("dropped_failed"), by_outcome("dropped_queue_full")), (Some(0.0), Some(0.0)));
    assert_eq!(find(&metrics, "beyla_rs.export.queue.bytes").points[0].value, 0.0);
    assert_eq!(find(&metrics, "beyla_rs.export.spans").resource["service.name"], "beyla-rs");
}

/// Certificates of an authority of the test's own.
struct Authority {
    certificate: rcgen::Certificate,
    issuer: rcgen::Issuer<'static, rcgen::KeyPair>,
}

impl Authority {
    fn new() -> Self {
        let mut params = rcgen::CertificateParams::new(vec![]).unwrap();
        params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
        let key = rcgen::KeyPair::generate().unwrap();
        let certificate = params.self_signed(&key).unwrap();
        Self { certificate, issuer: rcgen::Issuer::new(params, key) }
    }

    fn issue(&self) -> (rcgen::Certificate, rcgen::KeyPair) {
        self.issue_until(None)
    }

    /// One that ends on a day.
    fn issue_until(&self, end: Option<(i32, u8, u8)>) -> (rcgen::Certificate, rcgen::KeyPair) {
        let key = rcgen::KeyPair::generate().unwrap();
        let mut params = rcgen::CertificateParams::new(vec!["127.0.0.1".to_owned()]).unwrap();
        if let Some((year, month, day)) = end {
            params.not_after = rcgen::date_time_ymd(year, month, day);
        }
        (params.signed_by(&key, &self.issuer).unwrap(), key)
    }

    /// A receiver's side that demands a certificate of the same authority.
    fn tls(&self) -> Tls {
        let mut roots = rustls::RootCertStore::empty();
        roots.add(self.certificate.der().clone()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let verifier =
            rustls::server::WebPkiClientVerifier::builder_with_provider(Arc::new(roots), Arc::clone(&provider))
                .build()
                .unwrap();
        let (certificate, key) = self.issue();
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_client_cert_verifier(verifier)
            .with_single_cert(vec![certificate.der().clone()], key.serialize_der().try_into().unwrap())
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        Tls(Arc::new(config))
    }
}

/// A folder that goes when the test ends.
struct Folder(PathBuf);

impl Folder {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("beyla-rs-{name}-{}", std::process::id()));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    fn write(&self, name: &str, text: &str) -> String {
        let path = self.0.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_owned()
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let _removed = std::fs::remove_dir_all(&self.0);
    }
}

fn get(addr: SocketAddr, path: &str) -> String {
    let mut stream = TcpStream::connect(addr).unwrap();
    stream.set_read_timeout(Some(LONG)).unwrap();
    write!(stream, "GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n").unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    answer
}

#[test]
fn prometheus_can_scrape_and_probes_are_answered() {
    let config = ExportConfig {
        print: Print::Off,
        listen: vec![SocketAddr::from(([127, 0, 0, 1], 0))],
        ..ExportConfig::default()
    };
    let stage = Stage::start(&config, vec![Everything::new()]);
    let addr = stage.exporters.listen_addr().unwrap();
    assert!(get(addr, "/healthz").starts_with("HTTP/1.1 200 "));
    assert!(get(addr, "/readyz").starts_with("HTTP/1.1 503 "));
    stage.exporters.set_ready(true);
    assert!(get(addr, "/readyz").starts_with("HTTP/1.1 200 "));
    assert!(get(addr, "/other").starts_with("HTTP/1.1 404 "));

    let page = get(addr, "/metrics");
    assert!(page.starts_with("HTTP/1.1 200 ") && page.contains("text/plain; version=0.0.4"), "{page}");
    let series = r#"job="shop",instance="7",http_route="/a""#;
    for line in [
        "# TYPE http_server_request_duration_seconds histogram".to_owned(),
        format!("http_server_request_duration_seconds_bucket{{{series},le=\"0.5\"}} 10"),
        format!("http_server_request_duration_seconds_count{{{series}}} 10"),
        format!("a_count_total{{{series}}} 10"),
        format!("a_level{{{series}}} 3"),
        format!("a_ratio{{{series}}} 0.25"),
        r#"target_info{job="shop",instance="7",process_pid="7"} 1"#.to_owned(),
    ] {
        assert!(page.lines().any(|have| have == line), "{line} is not in {page}");
    }
    stage.shutdown(LONG);
    assert!(TcpStream::connect(addr).is_err(), "no longer served");
}

#[test]
fn a_batch_that_is_never_answered_is_given_up_when_it_may_take_no_longer() {
    // Takes connections, and says nothing.
    let silent = TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", silent.local_addr().unwrap());
    for (protocol, key) in
        [("grpc", "OTEL_BSP_EXPORT_TIMEOUT"), ("http/protobuf", "OTEL_EBPF_BACKOFF_MAX_ELAPSED_TIME")]
    {
        let value = if key.starts_with("OTEL_BSP") { "300" } else { "300ms" };
        let stage = Stage::start(&config_to(&endpoint, protocol, &[(key, value)]), vec![]);
        let began = Instant::now();
        stage.exporters.push(spans(1..=3, &resource("a", 1)));
        tests::wait::poll("the batch is given up", || (stage.spans().count(Fate::DroppedFailed) == 3).then_some(()));
        assert!(
            began.elapsed() < Duration::from_secs(5),
            "a request may take 10 s, the batch 0.3 s: {:?}",
            began.elapsed()
        );
    }
}

#[test]
fn a_port_that_is_in_use_does_not_stop_the_agent() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let receiver = Receiver::start();
    let mut config = config(&receiver, "grpc", &[]);
    config.listen = vec![taken.local_addr().unwrap()];
    let stage = Stage::start(&config, vec![]);
    assert_eq!(stage.exporters.listen_addr(), None);
    stage.exporters.push(spans(1..=1, &resource("a", 1)));
    assert_eq!(stage.shutdown(LONG).spans.unwrap().count(Fate::Sent), 1);
}
