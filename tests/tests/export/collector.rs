//! The OpenTelemetry Collector itself, made of its own modules: it takes what the agent sends by each protocol, and hands it
//! on as it has understood it.

use std::{path::Path, process::Command};

use tests::{
    need,
    program::{Program, free_port},
};

use super::*;

/// A running collector that hands on to `receiver`.
fn collector(folder: &Path, ports: Ports, receiver: &Receiver) -> Program {
    let Ports { grpc, http } = ports;
    let to = receiver.http_endpoint();
    let config = format!(
        "receivers:\n  otlp:\n    protocols:\n      grpc: {{endpoint: '127.0.0.1:{grpc}'}}\n      http: {{endpoint: \
         '127.0.0.1:{http}'}}\nexporters:\n  otlp_http: {{endpoint: '{to}', sending_queue: {{enabled: false}}}}\nservice:\n  \
         telemetry: {{metrics: {{level: none}}}}\n  pipelines:\n    traces: {{receivers: [otlp], exporters: [otlp_http]}}\n    \
         metrics: {{receivers: [otlp], exporters: [otlp_http]}}\n"
    );
    let path = folder.join("collector.yaml");
    std::fs::write(&path, config).unwrap();
    let binary = need::made("collector").join("collector");
    let collector = Program::start(Command::new(binary).arg("--config").arg(format!("file:{}", path.display())));
    let is_ready = collector
        .stderr
        .until(tests::LONG, |lines| lines.iter().any(|line| line.contains("Everything is ready")).then_some(()));
    assert!(is_ready.is_some(), "the collector does not start: {:#?}", collector.stderr.so_far());
    collector
}

#[test]
fn the_collector_takes_all_signals_by_all_protocols() {
    let (receiver, folder) = (Receiver::start(), tempfile::tempdir().unwrap());
    let ports = Ports { grpc: free_port(), http: free_port() };
    let collector = collector(folder.path(), ports, &receiver);
    for protocol in PROTOCOLS {
        for compression in ["none", "gzip", "zstd"] {
            let what = format!("{protocol}, {compression}");
            receiver.clear();
            let port = if protocol == "grpc" { ports.grpc } else { ports.http };
            let variables = [("OTEL_EXPORTER_OTLP_COMPRESSION", compression)];
            let config = config_to(&format!("http://127.0.0.1:{port}"), protocol, &variables);
            let stage = Stage::start(&config, vec![Everything::new()]);
            let (shop, cart) = (resource("shop", 1), resource("cart", 2));
            let mut pushed = spans(1..=150, &shop);
            pushed.extend(spans(151..=300, &cart));
            stage.exporters.push(pushed.clone());
            let report = stage.shutdown(LONG);
            let log = || collector.stderr.so_far();
            let ledger = report.spans.unwrap();
            assert_eq!((ledger.count(Fate::Sent), ledger.lost()), (300, 0), "{what}: {:#?}", log());

            // It hands on before it answers.
            let state = receiver.state();
            assert_eq!(state.violations, Vec::<String>::new(), "{what}");
            assert_eq!(state.spans.len(), 300, "{what}");
            for was in &pushed {
                let id = was.span_id.to_string();
                let is = state.spans.iter().find(|span| span.span_id == id).unwrap();
                assert_eq!(is.trace_id, was.trace_id.to_string());
                assert_eq!(is.parent_span_id, was.parent.map(|id| id.to_string()).unwrap_or_default());
                assert_eq!((is.name.as_str(), is.trace_state.as_str()), (was.name.as_str(), "vendor=1"));
                assert_eq!((is.start_unix_nano, is.end_unix_nano), (was.start_unix_ns, was.end_unix_ns));
                assert_eq!((is.service(), is.flags), (was.resource.service_name.as_str(), u32::from(was.flags)));
                assert_eq!((is.attributes.len(), &is.attributes["a.ratio"]), (was.attributes.len(), &json!(0.5)));
                assert_eq!(is.status, if was.status == Status::Error { "ERROR" } else { "UNSET" });
            }
            let points = state.metrics.iter().map(|metric| metric.points.len() as u64).sum::<u64>();
            assert_eq!(report.metric_points.unwrap().count(Fate::Sent), points, "{what}");
            let exponential = &find(&state.metrics, "an.exponential").points[0];
            assert_eq!((exponential.scale, exponential.offset, exponential.zero_count), (2, -10, 1), "{what}");
            let histogram = &find(&state.metrics, "http.server.request.duration").points[0];
            assert_eq!((histogram.count, &histogram.buckets[..]), (10, &[0, 10, 0][..]), "{what}");
            assert_eq!(histogram.exemplars[0].span_id, "0202020202020202", "{what}");
            assert_eq!(find(&state.metrics, "a.count").temporality, "cumulative", "{what}");
        }
    }
    let complaints: Vec<_> = collector
        .stderr
        .so_far()
        .into_iter()
        .filter(|line| line.contains("\terror\t") || line.contains("\twarn\t"))
        .collect();
    assert_eq!(complaints, [""; 0]);
}
