//! Several receivers at once.

use super::*;

/// What the agent makes of a file.
fn of_file(text: &str) -> ExportConfig {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("config.yaml");
    std::fs::write(&path, text).unwrap();
    let sources = Sources { file: Some(path), ..Sources::from_environment(Environment::default()) };
    let mut config = export_settings(&Loaded::load(sources).unwrap()).unwrap();
    config.listen = vec![];
    config.batch.schedule_delay = Duration::from_millis(20);
    config
}

#[test]
fn each_receiver_has_all_and_none_is_slowed_by_one_that_hangs() {
    let (grpc, http, hanging) = (Receiver::start(), Receiver::start(), Receiver::start());
    hanging.respond_with(FailNext { requests: usize::MAX, failure: Failure::Hang });
    let mut config = of_file(&format!(
        "otlp: {{endpoint: '{}', protocol: http/protobuf, headers: {{authorization: hidden}}}}\nexport:\n  endpoints:\n  - \
         {{endpoint: '{}', protocol: grpc, headers: {{x-tenant: a}}, compression: zstd}}\n  - {{endpoint: '{}', \
         protocol: http/json, signals: [traces]}}\n",
        hanging.http_endpoint(),
        grpc.grpc_endpoint(),
        http.http_endpoint(),
    ));
    assert_eq!(config.print, Print::Off);
    config.metric_interval = Duration::from_millis(50);
    config.batch.max_batch_spans = 100;
    config.batch.max_queue_bytes = 64 << 10;
    let stage = Stage::start(&config, vec![Everything::new()]);
    let service = resource("a", 1);
    let mut pushed = 0;
    while stage.spans().count(Fate::DroppedQueueFull) == 0 {
        stage.exporters.push(spans(pushed + 1..=pushed + 100, &service));
        pushed += 100;
        // The two that are well have each before the next: what fills up is the other's queue.
        for receiver in [&grpc, &http] {
            receiver.wait_for(|state| state.spans.len() as u64 == pushed, LONG).unwrap();
        }
    }
    // Metrics go where they are asked for, also those of the agent itself, which tell the receivers apart.
    let sent = |state: &tests::receiver::State, endpoint: String| {
        let last = state.metrics.iter().rfind(|metric| metric.name == "beyla_rs.export.spans")?;
        let is_it = |point: &&tests::receiver::ReceivedPoint| {
            point.attributes["outcome"] == "sent"
                && point.attributes["endpoint"].as_str().is_some_and(|at| at.starts_with(&endpoint))
        };
        last.points.iter().find(is_it).map(|point| point.value)
    };
    let by_receiver = |state: &_| {
        [hanging.http_endpoint(), grpc.grpc_endpoint(), http.http_endpoint()].map(|endpoint| sent(state, endpoint))
    };
    let all = Some(pushed as f64);
    grpc.wait_for(|state| by_receiver(state) == [Some(0.0), all, all], LONG).unwrap();
    find(&grpc.metrics(), "a.count");
    assert_eq!(http.metrics(), vec![]);

    let sink = stage.exporters.sink();
    stage.shutdown(Duration::from_millis(500));
    let ledgers: Vec<Ledger> = sink.counters().spans().map(|(_, ledger)| ledger).collect();
    let [first, second, third] = ledgers.as_slice() else { panic!("{ledgers:?}") };
    ledgers.iter().for_each(assert_balanced);
    assert_eq!((first.pushed, first.count(Fate::Sent)), (pushed, 0), "{first:?}");
    assert_eq!((second.count(Fate::Sent), third.count(Fate::Sent)), (pushed, pushed));
    assert_eq!((grpc.spans().len() as u64, http.spans().len() as u64), (pushed, pushed));

    // Credentials are for one receiver.
    let request = |receiver: &Receiver| receiver.state().requests.remove(0);
    assert_eq!(request(&hanging).header("authorization"), Some("hidden"));
    assert_eq!(request(&grpc).header("authorization"), None);
    assert_eq!((request(&grpc).header("x-tenant"), request(&grpc).compression.as_deref()), (Some("a"), Some("zstd")));
    assert_eq!(request(&http).path, "/v1/traces");
    assert_eq!(grpc.state().violations, Vec::<String>::new());
    hanging.recover();
}

#[test]
fn a_receiver_that_is_named_twice_or_takes_nothing_is_refused() {
    let problem = |text: &str| {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("config.yaml");
        std::fs::write(&path, text).unwrap();
        let sources = Sources { file: Some(path), ..Sources::from_environment(Environment::default()) };
        Loaded::load(sources).err().map(|error| error.to_string()).unwrap_or_default()
    };
    for (entry, reason) in [
        ("{endpoint: 'http://c:4318'}", "is there twice"),
        ("{endpoint: 'http://d:4318', signals: []}", "has no signals"),
        ("{endpoint: 'http://d:4317/x'}", "has a path, which grpc has no use for"),
        ("{endpoint: 'd:4317'}", "no scheme"),
        ("{protocol: grpc}", "endpoint"),
        ("{endpoint: 'https://d', client_key: /k}", "needs `client_certificate`"),
    ] {
        let text = format!("otlp: {{endpoint: 'http://c:4318'}}\nexport: {{endpoints: [{entry}]}}\n");
        let problem = problem(&text);
        assert!(problem.contains(reason), "{entry}: {problem}");
    }
}
