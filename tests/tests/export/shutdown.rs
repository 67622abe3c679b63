//! What becomes of spans and metrics that wait when the agent stops.

use super::*;

#[test]
fn shutdown_sends_what_waits_without_waiting_for_the_schedule() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start();
        let mut config = config(&receiver, protocol, &[]);
        config.batch.schedule_delay = Duration::from_secs(3600);
        config.batch.max_batch_spans = 10_000;
        let stage = Stage::start(&config, vec![]);
        stage.exporters.push(spans(1..=1, &resource("a", 1)));
        receiver.wait_for(|state| state.spans.len() == 1, LONG).unwrap();
        stage.exporters.push(spans(2..=500, &resource("a", 1)));
        let started = Instant::now();
        let report = stage.shutdown(LONG);
        assert!(started.elapsed() < Duration::from_secs(5), "{:?}", started.elapsed());
        assert_eq!(report.spans.unwrap().count(Fate::Sent), 500);
        assert_eq!(receiver.spans().len(), 500);
    }
}

#[test]
fn shutdown_ends_at_its_deadline_and_counts_what_was_not_delivered() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start();
        receiver.respond_with(FailNext { requests: usize::MAX, failure: Failure::Hang });
        let mut config = config(&receiver, protocol, &[]);
        config.batch.max_batch_spans = 10;
        let stage = Stage::start(&config, vec![]);
        stage.exporters.push(spans(1..=100, &resource("a", 1)));
        // Four requests are under way, and no more.
        receiver.wait_for(|state| state.requests.len() == 4, LONG).unwrap();
        let sink = stage.exporters.sink();
        let started = Instant::now();
        let ledger = stage.shutdown(Duration::from_millis(300)).spans.unwrap();
        let took = started.elapsed();
        assert!(took >= Duration::from_millis(290) && took < Duration::from_secs(3), "{took:?}");
        assert_eq!((ledger.count(Fate::DroppedShutdown), ledger.queued), (100, 0), "{ledger:?}");
        sink.push(spans(101..=101, &resource("a", 1)));
        assert_eq!(sink.counters().spans_of(OTLP).unwrap().count(Fate::DroppedShutdown), 101);
        receiver.recover();
    }
}

/// A request may take longer than the stop.
#[test]
fn shutdown_waits_no_longer_for_metrics_that_are_under_way() {
    for protocol in PROTOCOLS {
        let receiver = Receiver::start();
        receiver.respond_with(FailNext { requests: usize::MAX, failure: Failure::Hang });
        let variables = [("OTEL_METRIC_EXPORT_INTERVAL", "50"), ("OTEL_METRIC_EXPORT_TIMEOUT", "30000")];
        let stage = Stage::start(&config(&receiver, protocol, &variables), vec![Everything::new()]);
        receiver.wait_for(|state| !state.requests.is_empty(), LONG).unwrap();
        let started = Instant::now();
        let points = stage.shutdown(Duration::from_millis(300)).metric_points.unwrap();
        let took = started.elapsed();
        assert!(took < Duration::from_secs(3), "{protocol}: {took:?}");
        assert_eq!((points.count(Fate::DroppedShutdown), points.queued), (points.pushed, 0), "{points:?}");
        receiver.recover();
    }
}

#[test]
fn shutdown_does_not_wait_for_a_receiver_that_is_not_there() {
    let ports = free_ports();
    let config = config_to(&format!("http://127.0.0.1:{}", ports.grpc), "grpc", &[]);
    let stage = Stage::start(&config, vec![]);
    stage.exporters.push(spans(1..=100, &resource("a", 1)));
    let started = Instant::now();
    let report = stage.shutdown(Duration::from_secs(60));
    assert!(started.elapsed() < Duration::from_secs(10), "{:?}", started.elapsed());
    assert_eq!(report.spans.unwrap().count(Fate::DroppedShutdown), 100);
}
