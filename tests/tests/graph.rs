//! The service graph: each request is one edge, counted once, by one agent or by two that know nothing of each other.
#![expect(clippy::unwrap_used, reason = "a test that cannot be set up has failed")]

use std::{fs::File, os::fd::AsFd, process::Command, thread};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};
use tests::{
    agent::{Agent, Backend, Setup},
    client::Connection,
    need, on_both_backends,
    program::{Program, folder},
    wait::poll,
};

on_both_backends!(
    a_request_that_is_seen_at_both_ends_is_one_edge,
    two_agents_on_two_hosts_count_each_request_once,
    both_ends_in_networks_of_their_own_are_one_edge,
    each_service_has_the_metrics_that_its_rule_asks_for,
    the_graph_of_a_servers_rule_alone_counts_its_requests
);

const TOTAL: &str = "traces_service_graph_request_total";
const FEATURES: &str = "OTEL_EBPF_METRICS_FEATURES";

/// A host, as far as the network is concerned: a network namespace, which lives as long as this.
struct Host(Program);

impl Host {
    fn new() -> Self {
        need::root();
        let mut command = Command::new(need::program("unshare"));
        command.args(["--net", "sh", "-c", "ip link set lo up && echo up && exec cat"]);
        let host = Self(Program::start(&mut command));
        let _up = host.0.says("up");
        host
    }

    /// Does something there; processes that are started are there too.
    fn within<T: Send>(&self, act: impl FnOnce() -> T + Send) -> T {
        let namespace = File::open(format!("/proc/{}/ns/net", self.0.pid())).unwrap();
        thread::scope(|scope| {
            let there = scope.spawn(|| {
                move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network)).unwrap();
                act()
            });
            there.join().unwrap()
        })
    }

    fn run(&self, command: &str) {
        let status = self.within(|| Command::new("sh").args(["-c", command]).status().unwrap());
        assert!(status.success(), "{command}");
    }

    fn metric(&self, agent: &Agent, name: &str, labels: &[&str]) -> f64 {
        self.within(|| agent.metric(name, labels))
    }
}

/// Two hosts with a wire between them: 10.99.0.1 and, as if from outside, 198.51.100.1; and 10.99.0.2.
fn two_hosts() -> (Host, Host) {
    let (one, other) = (Host::new(), Host::new());
    one.run(&format!("ip link add wire type veth peer name wire netns {}", other.0.pid()));
    one.run("ip addr add 10.99.0.1/24 dev wire && ip addr add 198.51.100.1/32 dev wire && ip link set wire up");
    other.run("ip addr add 10.99.0.2/24 dev wire && ip link set wire up && ip route add 198.51.100.1 dev wire");
    (one, other)
}

/// A client that is told what to ask.
fn client(name: &str) -> Program {
    let mut command = Command::new(need::program("node"));
    let client = Program::start(command.arg(need::source("client.js")).env("OTEL_SERVICE_NAME", name));
    let _ready = client.says("ready");
    client
}

fn ask(client: &mut Program, count: usize, url: &str) {
    let before = client.stdout.so_far().len();
    client.tell(&format!("{count} {url}"));
    let _done = client.says_after(before, "done 200");
}

fn two_agents_on_two_hosts_count_each_request_once(backend: Backend) {
    const WATCHED: usize = 20;
    const OUTSIDE: usize = 7;
    const NEAR: usize = 3;
    let files = folder();
    let (one, other) = two_hosts();
    let program = need::compiled("serve.c", &[], files.path());
    let (mut client, server) = (
        one.within(|| client("front")),
        other.within(|| Program::start(Command::new(program).arg("8080").env("OTEL_SERVICE_NAME", "back"))),
    );
    let start = |pid, variables: &[(&str, &str)]| {
        let setup = Setup::pid(pid).backend(backend).env(FEATURES, "application_service_graph");
        variables.iter().fold(setup, |setup, (name, value)| setup.env(name, value)).start()
    };
    let of_client = one.within(|| start(client.pid(), &[]));
    let of_server = other.within(|| start(server.pid(), &[]));
    let url = "http://10.99.0.2:8080/";
    ask(&mut client, WATCHED, url);
    // These are watched by nobody.
    let curl = |from: &str, count: usize| {
        one.run(&format!(
            "for i in $(seq {count}); do curl -sS -o {} --interface {from} {url} || exit 1; done",
            "/dev/null"
        ));
    };
    curl("198.51.100.1", OUTSIDE);
    let outside = ["client=\"user\"", "server=\"back\"", "connection_type=\"virtual_node\""];
    poll("the edge from outside", || (other.metric(&of_server, TOTAL, &outside) >= OUTSIDE as f64).then_some(()));
    let left = "beyla_rs_service_graph_left_total";
    poll("the requests that are left to the client's agent", || {
        (other.metric(&of_server, left, &[]) >= WATCHED as f64).then_some(())
    });
    poll("the client's edge", || (one.metric(&of_client, TOTAL, &[]) >= WATCHED as f64).then_some(()));
    let counted = |labels: &[&str]| one.metric(&of_client, TOTAL, labels) + other.metric(&of_server, TOTAL, labels);
    assert_eq!(counted(&[]), (WATCHED + OUTSIDE) as f64, "each request is counted once");
    assert_eq!(counted(&["client=\"front\"", "server=\"10.99.0.2\""]), WATCHED as f64);
    assert_eq!(counted(&outside), OUTSIDE as f64);
    assert_eq!(other.metric(&of_server, left, &[]), WATCHED as f64);
    assert_eq!(one.metric(&of_client, left, &[]), 0.0);

    // Who knows that no other host has an agent says so.
    let _ended = of_server.stop();
    let nobody = ("OTEL_EBPF_SERVICE_GRAPH_WATCHED_CLIENTS", "192.0.2.0/24");
    let of_server = other.within(|| start(server.pid(), &[nobody]));
    curl("10.99.0.1", NEAR);
    let near = ["client=\"10.99.0.1\"", "server=\"back\""];
    poll("the edge from near", || (other.metric(&of_server, TOTAL, &near) >= NEAR as f64).then_some(()));
    assert_eq!(other.metric(&of_server, TOTAL, &[]), NEAR as f64);
    assert_eq!(other.metric(&of_server, left, &[]), 0.0);
}

/// As of two containers: neither end's address says that the other is on this host.
fn both_ends_in_networks_of_their_own_are_one_edge(backend: Backend) {
    const REQUESTS: usize = 20;
    let files = folder();
    let (one, other) = two_hosts();
    let program = need::compiled("serve.c", &[], files.path());
    let (mut client, server) = (
        one.within(|| client("front")),
        other.within(|| Program::start(Command::new(program).arg("8080").env("OTEL_SERVICE_NAME", "back"))),
    );
    let pids = [client.pid(), server.pid()];
    let agent = Setup::pids(&pids).backend(backend).env(FEATURES, "application_service_graph").start();
    ask(&mut client, REQUESTS, "http://10.99.0.2:8080/");
    let edge = ["client=\"front\"", "server=\"back\""];
    for side in ["client", "server"] {
        let name = format!("traces_service_graph_request_{side}_seconds_count");
        poll("its time at both ends", || (agent.metric(&name, &edge) >= REQUESTS as f64).then_some(()));
    }
    assert_eq!(agent.metric(TOTAL, &edge), REQUESTS as f64);
    assert_eq!(agent.metric(TOTAL, &[]), REQUESTS as f64, "there is no other edge: {}", agent.page("/metrics").1);
    assert_eq!(agent.metric("beyla_rs_service_graph_left_total", &[]), 0.0);
}

/// `proxy.py` before `server.py`, as services `front` and `back`.
fn two_services() -> (Program, Program) {
    let python = |name: &str, service: &str, arguments: &[String]| {
        let mut command = Command::new(need::python());
        Program::start(command.arg("-u").arg(need::source(name)).args(arguments).env("OTEL_SERVICE_NAME", service))
    };
    let back = python("server.py", "back", &[]);
    let front = python("proxy.py", "front", &[format!("http://127.0.0.1:{}", back.port())]);
    (front, back)
}

fn a_request_that_is_seen_at_both_ends_is_one_edge(backend: Backend) {
    let (front, back) = two_services();
    let features = "application_service_graph,application_span";
    let agent = Setup::pids(&[front.pid(), back.pid()]).backend(backend).env(FEATURES, features).start();
    let mut connection = Connection::to(front.port());
    const REQUESTS: usize = 10;
    for _ in 0..REQUESTS {
        assert_eq!(connection.get("/items/1").status, 200);
    }
    let edge = ["client=\"front\"", "server=\"back\"", "source=\"beyla-rs\""];
    let from_outside = ["client=\"user\"", "server=\"front\""];
    poll("both edges", || {
        let is_there = |labels| agent.metric(TOTAL, labels) >= REQUESTS as f64;
        (is_there(&edge) && is_there(&from_outside)).then_some(())
    });
    for side in ["client", "server"] {
        let name = format!("traces_service_graph_request_{side}_seconds_count");
        poll("its time at both ends", || (agent.metric(&name, &edge) >= REQUESTS as f64).then_some(()));
        assert_eq!(agent.metric(&name, &edge), REQUESTS as f64, "{side}");
    }
    assert_eq!(agent.metric(TOTAL, &edge), REQUESTS as f64);
    assert_eq!(agent.metric(TOTAL, &from_outside), REQUESTS as f64);
    assert_eq!(agent.metric(TOTAL, &[]), 2.0 * REQUESTS as f64, "there is no other edge: {}", agent.page("/metrics").1);
    assert_eq!(agent.metric("traces_service_graph_request_failed_total", &[]), 0.0);
    // Spans: one at `back`, two at `front`.
    let calls = |labels: &[&str]| agent.metric("traces_spanmetrics_calls_total", labels);
    assert_eq!(calls(&["service_name=\"front\"", "span_kind=\"SPAN_KIND_SERVER\""]), REQUESTS as f64);
    assert_eq!(calls(&["service_name=\"front\"", "span_kind=\"SPAN_KIND_CLIENT\""]), REQUESTS as f64);
    assert_eq!(calls(&["service_name=\"back\"", "status_code=\"STATUS_CODE_UNSET\""]), REQUESTS as f64);
    assert_eq!(agent.metric("traces_target_info", &["service_name=\"back\""]), 1.0);
    assert_eq!(agent.metric("http_server_request_duration_seconds_count", &[]), 0.0);
}

fn the_graph_of_a_servers_rule_alone_counts_its_requests(backend: Backend) {
    let (front, back) = two_services();
    let files = folder();
    let file = files.path().join("beyla-rs.yaml");
    let rules = format!(
        "discovery:\n  instrument:\n    - {{target_pids: {}}}\n    - {{target_pids: {}, metrics: {{features: \
         [application_service_graph]}}}}\n",
        front.pid(),
        back.pid()
    );
    std::fs::write(&file, rules).unwrap();
    let agent = Setup::with(["--config", file.to_str().unwrap()]).backend(backend).start();
    for _ in 0..3 {
        assert_eq!(Connection::to(front.port()).get("/items/1").status, 200);
    }
    let edge = ["client=\"front\"", "server=\"back\""];
    poll("the edge", || (agent.metric(TOTAL, &edge) >= 3.0).then_some(()));
    assert_eq!(agent.metric(TOTAL, &[]), 3.0, "once each");
    assert_eq!(agent.metric("traces_service_graph_request_server_seconds_count", &edge), 3.0);
}

fn each_service_has_the_metrics_that_its_rule_asks_for(backend: Backend) {
    let (front, back) = two_services();
    let files = folder();
    let file = files.path().join("beyla-rs.yaml");
    let rules = format!(
        "discovery:\n  instrument:\n    - {{target_pids: {}, metrics: {{features: [application_service_graph]}}}}\n    - \
         {{target_pids: {}}}\n",
        front.pid(),
        back.pid()
    );
    std::fs::write(&file, rules).unwrap();
    let agent = Setup::with(["--config", file.to_str().unwrap()]).backend(backend).start();
    assert_eq!(Connection::to(front.port()).get("/items/1").status, 200);
    let edge = ["client=\"front\"", "server=\"back\""];
    poll("the edge", || (agent.metric(TOTAL, &edge) >= 1.0).then_some(()));
    let red = |job: &str| agent.metric("http_server_request_duration_seconds_count", &[job]);
    poll("the other's duration", || (red("job=\"back\"") >= 1.0).then_some(()));
    assert_eq!(red("job=\"front\""), 0.0);
    assert_eq!(agent.metric(TOTAL, &["server=\"back\""]), 1.0);
    assert_eq!(agent.metric("traces_service_graph_request_server_seconds_count", &edge), 0.0);
}
