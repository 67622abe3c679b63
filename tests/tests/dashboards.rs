//! What `deploy/` shows of services, and what Beyla's public dashboard asks for: each query finds its series in a real Prometheus.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::{collections::BTreeSet, ffi::OsStr, fs, path::PathBuf, process::Command};

use regex::Regex;
use serde_json::Value;
use tests::{
    agent::{Agent, Backend, Setup},
    client::Connection,
    need,
    program::{Program, folder},
    prometheus::Prometheus,
    receiver::Receiver,
    servers::redis,
    wait::poll,
};

fn deployed(name: &str) -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(name).canonicalize().unwrap()
}

/// Requests to the server each time.
const REQUESTS: f64 = 27.0;

/// Services that call each other over HTTP and gRPC, with failures, and an agent that watches them.
struct Services {
    agent: Agent,
    server: u16,
    callers: [Program; 2],
    _served: [Program; 2],
    _receiver: Receiver,
}

impl Services {
    fn start(settings: &str, others: &[u32]) -> Self {
        let orders = |source: &str, arguments: &[String]| {
            let mut command = Command::new(need::python());
            command.arg("-u").arg(need::source("python").join(source)).args(arguments);
            Program::start(command.env("PYTHONPATH", need::made("python")))
        };
        let server = Program::python("server.py", [""; 0]);
        let grpc = orders("orders_server.py", &[]);
        let client = Program::start(Command::new(need::program("node")).arg(need::source("client.js")));
        let _ready = client.says("ready");
        let caller = orders("orders_client.py", &[grpc.port().to_string()]);
        let port = server.port();
        let receiver = Receiver::start();
        let mut pids = [&server, &grpc, &client, &caller].map(Program::pid).to_vec();
        pids.extend(others);
        let setup = Setup::pids(&pids).backend(Backend::Sock).to(&receiver).env("OTEL_METRIC_EXPORT_INTERVAL", "500");
        let files = folder();
        let config = files.path().join("config.yaml");
        fs::write(&config, settings).unwrap();
        let agent = setup.args([OsStr::new("--config"), config.as_os_str()]).start();
        Self { agent, server: port, callers: [client, caller], _served: [server, grpc], _receiver: receiver }
    }

    /// Requests over HTTP, of which some fail.
    fn ask(&mut self) {
        let mut connection = Connection::to(self.server);
        for number in 0..20 {
            let expected = if number % 4 == 0 { 503 } else { 200 };
            assert_eq!(connection.get(&format!("/status/{expected}")).status, expected);
        }
        let [client, _] = &mut self.callers;
        let before = client.stdout.so_far().len();
        client.tell(&format!("5 http://127.0.0.1:{}/status/200", self.server));
        client.tell(&format!("2 http://127.0.0.1:{}/status/503", self.server));
        let _done = client.says_after(before, "done 503");
    }

    /// gRPC of all kinds, once.
    fn call(&mut self) {
        let [_, caller] = &mut self.callers;
        caller.tell("go");
        let _done = caller.says("done");
    }
}

/// A database, and two processes of a service that ask it.
struct Cache {
    server: redis::Server,
    clients: [Program; 2],
    port: String,
}

impl Cache {
    fn start() -> Self {
        let server = redis::Server::start(&[]);
        let port = server.port.to_string();
        let clients = [(); 2].map(|()| {
            let mut command = Command::new(need::python());
            command.env("PYTHONPATH", need::made("python")).env("OTEL_SERVICE_NAME", "shop").arg("-u");
            let client = Program::start(command.arg(need::source("python").join("redis_client.py")).arg(&port));
            let _ready = client.says("ready");
            client
        });
        Self { server, clients, port }
    }

    fn pids(&self) -> [u32; 3] {
        [self.server.program.pid(), self.clients[0].pid(), self.clients[1].pid()]
    }

    /// One of them asks, which it does once, and finds nothing there before.
    fn ask(&mut self, client: usize) {
        let mut flush = Command::new(need::program("redis-cli"));
        assert!(flush.args(["-p", &self.port, "FLUSHALL"]).status().expect("redis-cli").success());
        self.clients[client].tell("go");
        let _done = self.clients[client].says("done");
    }
}

/// Waits until each query gives series.
fn have_series<'a>(prometheus: &Prometheus, queries: impl IntoIterator<Item = (&'a str, String)>) {
    for (what, query) in queries {
        poll(&format!("{what}: {query}"), || (!prometheus.series(&query).is_empty()).then_some(()));
    }
}

/// All metrics that a query names, with what it asks of their labels.
fn selectors(query: &str) -> BTreeSet<String> {
    let selector = Regex::new(r"\b(?:http|rpc|beyla_rs|traces|process)_[a-z_]+(?:\{[^}]*\})?").unwrap();
    let labels = Regex::new(r"(?:by|on|ignoring|group_left) ?\([^)]*\)").unwrap();
    selector.find_iter(&labels.replace_all(query, "")).map(|found| found.as_str().to_owned()).collect()
}

#[test]
fn each_query_of_the_dashboard_and_each_alert_finds_its_series() {
    let mut cache = Cache::start();
    let mut services =
        Services::start("metrics: {features: [application, application_service_graph]}\n", &cache.pids());
    cache.ask(0);
    let alerts = deployed("prometheus/alerts.yaml");
    let rules = format!("global: {{evaluation_interval: 200ms}}\nrule_files: ['{}']", alerts.display());
    let prometheus = Prometheus::of(&services.agent, "exemplar-storage", &rules);
    services.call();
    // What there is more of is told by two looks.
    services.ask();
    prometheus.until("sum(http_server_request_duration_seconds_count)", REQUESTS);
    services.ask();
    let edge =
        "traces_service_graph_request_total{client=\"shop\",server=\"redis-server\",connection_type=\"database\"}";
    poll("the edge to the database is counted", || (!prometheus.series(edge).is_empty()).then_some(()));
    cache.ask(1);

    let dashboard: Value =
        serde_json::from_str(&fs::read_to_string(deployed("grafana/dashboard.json")).unwrap()).unwrap();
    let panels = dashboard["panels"].as_array().unwrap();
    let mut queries = Vec::new();
    for panel in panels {
        for target in panel["targets"].as_array().into_iter().flatten() {
            let query = target["expr"].as_str().unwrap();
            let query = query.replace("$service", ".*").replace("$__rate_interval", "1m").replace("$__range", "1m");
            queries.push((panel["title"].as_str().unwrap(), query));
        }
    }
    assert!(queries.len() > 30, "{}", queries.len());
    have_series(&prometheus, queries);

    // The node graph's two tables have what it needs, and belong to each other.
    let table = |name: &str| {
        let graph = panels.iter().find(|panel| panel["type"] == "nodeGraph").unwrap();
        let target = graph["targets"].as_array().unwrap().iter().find(|target| target["refId"] == name).unwrap();
        prometheus.series(&target["expr"].as_str().unwrap().replace("$__range", "1m"))
    };
    let label = |series: &Value, name: &str| series["metric"][name].as_str().unwrap_or_default().to_owned();
    let nodes: BTreeSet<String> = table("nodes").iter().map(|node| label(node, "id")).collect();
    assert!(nodes.iter().all(|id| !id.is_empty()), "{nodes:?}");
    let edges = table("edges");
    for edge in &edges {
        assert!(!label(edge, "id").is_empty(), "{edge}");
        assert!(["source", "target"].iter().all(|end| nodes.contains(&label(edge, end))), "{edge}: {nodes:?}");
    }

    // A database is one of them, with the edge that leads there.
    poll("the edge to the database", || {
        let edges = table("edges");
        let mut ends = edges.iter().map(|edge| (label(edge, "source"), label(edge, "target")));
        ends.any(|(source, target)| source == "shop" && target == "redis-server").then_some(())
    });
    assert!(table("nodes").iter().any(|node| label(node, "id") == "redis-server"));

    // Exemplars name traces.
    let now = std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_secs();
    let (start, end) = ((now - 300).to_string(), (now + 10).to_string());
    let durations = panels.iter().flat_map(|panel| panel["targets"].as_array().into_iter().flatten());
    let with_exemplars: Vec<&str> =
        durations.filter(|target| target["exemplar"] == true).map(|target| target["expr"].as_str().unwrap()).collect();
    assert!(with_exemplars.len() >= 4, "{with_exemplars:?}");
    for query in with_exemplars {
        for selector in selectors(&query.replace("$service", ".*")) {
            let parameters = [("query", selector.as_str()), ("start", &start), ("end", &end)];
            let found = prometheus.ask("query_exemplars", &parameters);
            let traces = found.as_array().unwrap().iter().flat_map(|series| series["exemplars"].as_array().unwrap());
            let traces: Vec<_> = traces.map(|exemplar| exemplar["labels"]["trace_id"].as_str().unwrap()).collect();
            assert!(traces.iter().any(|trace| trace.len() == 32), "{selector}: {found}");
        }
    }

    // Each rule is evaluated, and what it looks at is there.
    let groups = poll("all rules were evaluated", || {
        let groups = prometheus.ask("rules", &[])["groups"].as_array().unwrap().clone();
        let mut rules = groups.iter().flat_map(|group| group["rules"].as_array().unwrap());
        rules.all(|rule| rule["health"] != "unknown").then_some(groups)
    });
    let rules: Vec<&Value> = groups.iter().flat_map(|group| group["rules"].as_array().unwrap()).collect();
    assert!(rules.len() >= 8, "{rules:?}");
    for rule in rules {
        assert_eq!(rule["health"], "ok", "{rule}");
        let selectors = selectors(rule["query"].as_str().unwrap());
        assert!(!selectors.is_empty(), "{rule}");
        have_series(&prometheus, selectors.into_iter().map(|selector| (rule["name"].as_str().unwrap(), selector)));
    }
}

/// The histograms that the public dashboard `Beyla RED Metrics` asks for, and by which labels it takes them apart.
const OF_BEYLA: [(&str, &[&str]); 4] = [
    ("http_server_request_duration_seconds", &["service_name", "http_route", "http_response_status_code"]),
    ("http_client_request_duration_seconds", &["service_name", "http_response_status_code"]),
    ("rpc_server_duration_seconds", &["service_name", "rpc_method", "rpc_grpc_status_code"]),
    ("rpc_client_duration_seconds", &["service_name", "rpc_grpc_status_code"]),
];

#[test]
fn beylas_public_dashboard_finds_its_series_under_its_naming() {
    let mut services = Services::start("telemetry: {naming: beyla}\n", &[]);
    let prometheus = Prometheus::of(&services.agent, "exemplar-storage", "");
    services.call();
    services.ask();
    let mut queries = Vec::new();
    for (name, labels) in OF_BEYLA {
        // As it joins them with what else is known of a service.
        let of_a_service = |end: &str, with: &str| {
            format!(
                "rate({name}_{end}{{service_name=~\".+\"{with}}}[1m]) + on (instance) group_left (job) \
                 (0 * target_info{{instance=~\".+\",job=~\".+\"}})"
            )
        };
        queries.push((
            name,
            format!("histogram_quantile(0.95, sum by (service_name, le) ({}))", of_a_service("bucket", "")),
        ));
        queries.push((name, format!("sum({}) / sum({})", of_a_service("sum", ""), of_a_service("count", ""))));
        for label in labels {
            let with = format!(",{label}!=\"\"");
            queries.push((name, format!("sum by (service_name, {label}) ({})", of_a_service("count", &with))));
        }
        let failed = if name.starts_with("http") {
            ",http_response_status_code=~\"5.*\""
        } else {
            ",rpc_grpc_status_code!=\"0\",rpc_grpc_status_code!=\"\""
        };
        queries.push((name, format!("sum({})", of_a_service("count", failed))));
    }
    have_series(&prometheus, queries);
}
