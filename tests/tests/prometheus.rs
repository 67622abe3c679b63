//! A real Prometheus scrapes the agent and answers in PromQL: how many requests, how many failed, how slow, from classic histograms and
//! from native ones; `promtool` finds nothing to say.

use std::{
    collections::HashSet,
    fs,
    process::{Command, Stdio},
    time::Duration,
};

use tests::{
    agent::{Backend, Watch},
    client::Connection,
    need,
    program::{Program, folder},
    prometheus::Prometheus,
    wait::poll,
};

const REQUESTS: &str = "http_server_request_duration_seconds";

/// 100 requests: ten fail, five of them take a while. The longest time that one of these took.
fn ask_a_hundred(port: u16) -> Duration {
    let mut connection = Connection::to(port);
    let mut longest = Duration::ZERO;
    for number in 0..100 {
        match number % 20 {
            0 => longest = longest.max(connection.get("/sleep?ms=300").took),
            1 | 2 => assert_eq!(connection.get("/status/503").status, 503),
            _ => assert_eq!(connection.get("/status/200").status, 200),
        }
    }
    longest
}

#[test]
fn a_real_prometheus_answers_for_rate_error_share_and_p99_from_classic_and_native_histograms() {
    let server = Program::python("server.py", [""; 0]);
    let port = server.port();
    let watch = Watch::pid(Backend::Sock, server.pid());
    let classic = Prometheus::of(&watch.agent, "exemplar-storage", "");
    let native = Prometheus::of(&watch.agent, "native-histograms,exemplar-storage", "");

    // Native histograms are kept from its first look on.
    native.until("up", 1.0);
    // What a rate is the difference to.
    ask_a_hundred(port);
    classic.until(&format!("sum({REQUESTS}_count)"), 100.0);
    native.until(&format!("histogram_count(sum({REQUESTS}))"), 100.0);
    let longest = ask_a_hundred(port).as_secs_f64();
    classic.until(&format!("sum({REQUESTS}_count)"), 200.0);
    native.until(&format!("histogram_count(sum({REQUESTS}))"), 200.0);

    let rate = classic.number(&format!("sum(rate({REQUESTS}_count[5m]))")).unwrap();
    assert!(rate > 0.1, "{rate}");
    let share = classic
        .number(&format!("sum(rate({REQUESTS}_count{{error_type=\"503\"}}[5m])) / sum(rate({REQUESTS}_count[5m]))"));
    assert!((share.unwrap() - 0.1).abs() < 0.01, "{share:?}");
    let quantile =
        classic.number(&format!("histogram_quantile(0.99, sum by (le) (rate({REQUESTS}_bucket[5m])))")).unwrap();
    assert!((0.25..=longest.max(0.5)).contains(&quantile), "{quantile}, at most {longest}");

    let rate = native.number(&format!("histogram_count(sum(rate({REQUESTS}[5m])))")).unwrap();
    assert!(rate > 0.1, "{rate}");
    let share = native.number(&format!(
        "histogram_count(sum(rate({REQUESTS}{{error_type=\"503\"}}[5m]))) / histogram_count(sum(rate({REQUESTS}[5m])))"
    ));
    assert!((share.unwrap() - 0.1).abs() < 0.01, "{share:?}");
    // A tenth at most from one bucket to the next.
    let quantile = native.number(&format!("histogram_quantile(0.99, sum(rate({REQUESTS}[5m])))")).unwrap();
    assert!((0.3 / 1.1..=longest * 1.1).contains(&quantile), "{quantile}, at most {longest}");
    assert_eq!(native.number(&format!("count({REQUESTS}_bucket)")), None, "no classic buckets beside native ones");

    for prometheus in [&classic, &native] {
        assert_eq!(prometheus.number("count(target_info{telemetry_sdk_language=\"python\"})"), Some(1.0));
        assert_eq!(prometheus.number("min_over_time(up[5m])"), Some(1.0), "every scrape was understood");
    }

    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let (start, end) = ((now - 300).to_string(), (now + 10).to_string());
    let exemplars =
        classic.ask("query_exemplars", &[("query", &format!("{REQUESTS}_bucket")), ("start", &start), ("end", &end)]);
    let exemplars: Vec<(String, f64)> = exemplars
        .as_array()
        .unwrap()
        .iter()
        .flat_map(|series| series["exemplars"].as_array().unwrap())
        .map(|it| {
            (it["labels"]["trace_id"].as_str().unwrap().to_owned(), it["value"].as_str().unwrap().parse().unwrap())
        })
        .collect();
    let sent: HashSet<String> = watch.finish(200).spans.into_iter().map(|span| span.trace_id).collect();
    assert!(exemplars.iter().all(|(trace, _)| sent.contains(trace)), "{exemplars:?}");
    assert!(exemplars.iter().any(|(_, value)| *value >= 0.3), "the slowest are among them: {exemplars:?}");
}

#[test]
fn promtool_has_nothing_to_say_of_the_page() {
    let server = Program::python("server.py", [""; 0]);
    let port = server.port();
    let watch = Watch::pid(Backend::Sock, server.pid());
    assert_eq!(Connection::to(port).get("/status/503").status, 503);
    poll("it is counted", || (watch.agent.metric(&format!("{REQUESTS}_count"), &[]) == 1.0).then_some(()));
    let (status, page) = watch.agent.page("/metrics");
    assert_eq!(status, 200);
    let files = folder();
    let file = files.path().join("page");
    fs::write(&file, &page).unwrap();
    let checked = Command::new(need::program("promtool"))
        .args(["check", "metrics"])
        .stdin(Stdio::from(fs::File::open(&file).unwrap()))
        .output()
        .unwrap();
    let said = [checked.stdout, checked.stderr].map(|text| String::from_utf8(text).unwrap()).concat();
    assert!(checked.status.success() && said.is_empty(), "{said}\n{page}");
}
