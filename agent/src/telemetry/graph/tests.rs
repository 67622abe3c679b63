use std::sync::Arc;

use super::*;
use crate::{
    config::Features,
    model::{
        exchange::{Db, Exchange, Http, Messaging, Operation, Outcome},
        ids::ProcessId,
        metric::{Metric, Points},
    },
    procs::selector::Rule,
    telemetry::{
        Config, Metrics,
        tests::{Stage, attribute, called, connection, get, points, served, shown, stage},
        wanted::{Reader, Readers, Wanted},
    },
};

const GRAPH: Features = Features::SERVICE_GRAPH;
const TOTAL: &str = "traces_service_graph_request_total";
const FAILED: &str = "traces_service_graph_request_failed_total";
const CLIENT: &str = "traces_service_graph_request_client";
const SERVER: &str = "traces_service_graph_request_server";

fn config(common: Features) -> Config {
    let metrics = Metrics {
        readers: Readers { common, ..Readers::default() },
        span_names: 2,
        leaves_spans: false,
        watched_clients: vec![Network::Private],
        ..Metrics::default()
    };
    Config { metrics, ..Config::default() }
}

fn resource(name: &str, attributes: &[(&'static str, &str)]) -> Arc<Resource> {
    let attributes = attributes.iter().map(|(key, value)| ((*key).into(), Value::Str((*value).into()))).collect();
    Arc::new(Resource { attributes, service_name: name.into(), pid: ProcessId(1) })
}

fn shop() -> Arc<Resource> {
    resource("shop", &[("service.namespace", "prod"), ("k8s.namespace.name", "web"), ("k8s.cluster.name", "eu")])
}

fn from(remote: &str) -> ConnectionInfo {
    ConnectionInfo { remote: Endpoint::Inet(remote.parse().unwrap()), ..connection() }
}

/// Counters as (labels, value).
fn counts(metrics: &[Metric], name: &str) -> Vec<(Vec<String>, f64)> {
    let named = metrics.iter().filter(|metric| metric.name == name);
    let points = named.flat_map(|metric| match &metric.points {
        Points::Counter(points) | Points::Gauge(points) => points.clone(),
        other => panic!("{other:?}"),
    });
    points.map(|point| (shown(&point.attributes), point.value)).collect()
}

fn failed(exchange: Exchange) -> Exchange {
    match exchange.operation {
        Operation::Http(http) => {
            let http = Http { status: Some(500), ..*http };
            Exchange { operation: Operation::Http(Box::new(http)), ..exchange }
        }
        _ => exchange,
    }
}

#[test]
fn a_calls_edge_is_counted_at_its_client_and_timed_at_its_server() {
    let mut stage = stage(config(GRAPH));
    let (shop, pay) = (shop(), resource("pay", &[("service.namespace", "bank")]));
    stage.on_seen(called(get("/pay")), &connection(), &shop, &pay);
    stage.on_seen(failed(called(get("/pay"))), &connection(), &shop, &pay);
    stage.on_seen(served(get("/pay")), &connection(), &pay, &shop);
    stage.on_seen(failed(served(get("/pay"))), &connection(), &pay, &shop);
    let metrics = stage.collect(9);
    let own =
        ["client=shop", "client_service_namespace=prod", "client_k8s_namespace_name=web", "client_k8s_cluster_name=eu"];
    let edge: Vec<_> = own
        .into_iter()
        .chain(["source=beyla-rs", "server=pay", "server_service_namespace=bank"])
        .map(String::from)
        .collect();
    assert_eq!(counts(&metrics, TOTAL), [(edge.clone(), 2.0)]);
    assert_eq!(counts(&metrics, FAILED), [(edge.clone(), 1.0)]);
    let timed = points(&metrics, CLIENT);
    assert_eq!((timed[0].count, shown(&timed[0].attributes)), (2, edge));
    let timed = points(&metrics, SERVER);
    assert_eq!(timed[0].count, 2);
    assert_eq!(
        shown(&timed[0].attributes),
        [
            "server=pay",
            "server_service_namespace=bank",
            "source=beyla-rs",
            "client=shop",
            "client_service_namespace=prod",
            "client_k8s_namespace_name=web",
            "client_k8s_cluster_name=eu",
        ]
    );
    let names: Vec<_> = metrics.iter().map(|metric| (metric.name, metric.unit)).collect();
    assert!(names.contains(&(SERVER, "s")) && names.contains(&(TOTAL, "")), "{names:?}");
}

#[test]
fn a_server_counts_whom_nobody_else_watches() {
    let watched = [Network::Private, "203.0.113.0/24".parse().unwrap()];
    let served = |connection: &ConnectionInfo, is_seen| share(Role::Server, is_seen, connection, &watched, |_| false);
    for (remote, expected) in [
        ("198.51.100.7:1", Share::Counted),
        ("203.0.113.7:1", Share::Left),
        ("10.0.0.2:1", Share::Left),
        ("[::ffff:10.0.0.2]:1", Share::Left),
        // The server's own address, and loopback: on this host.
        ("10.0.0.1:1", Share::Counted),
        ("127.0.0.1:1", Share::Counted),
    ] {
        assert_eq!(served(&from(remote), false), expected, "{remote}");
        assert_eq!(served(&from(remote), true), Share::Timed);
        assert_eq!(share(Role::Client, false, &from(remote), &watched, |_| false), Share::Counted);
    }
    // It is on this host and watched, and its requests are not seen there.
    assert_eq!(served(&ConnectionInfo { is_paired: true, ..from("10.0.0.2:1") }, false), Share::Counted);
    assert_eq!(share(Role::Server, false, &from("10.0.0.2:1"), &[], |_| false), Share::Counted);
    // Plaintext of TLS whose connection is not known.
    let unbound = ConnectionInfo { remote: Endpoint::Unknown, local: Endpoint::Unknown, ..connection() };
    assert_eq!(served(&unbound, false), Share::Left);
    assert_eq!(share(Role::Server, false, &unbound, &[], |_| false), Share::Counted);
    // A pod of this node that is not watched.
    let is_here = |ip: IpAddr| ip == IpAddr::from([10, 0, 0, 2]);
    assert_eq!(share(Role::Server, false, &from("10.0.0.2:1"), &watched, is_here), Share::Counted);
    assert_eq!(share(Role::Server, false, &from("10.0.0.3:1"), &watched, is_here), Share::Left);
}

#[test]
fn what_is_left_to_another_agent_is_counted_as_that_and_nowhere_else() {
    let mut stage = stage(config(GRAPH));
    stage.on_exchange(served(get("/")), &from("10.0.0.2:1"), &shop(), None);
    assert_eq!(stage.counts().left_edges, 1);
    assert_eq!(stage.collect(9), []);
}

#[test]
fn other_ends_without_a_name_are_called_as_is_asked_for() {
    let own = shop();
    let words = Unresolved { outgoing: Some("outgoing".into()), incoming: Some("incoming".into()) };
    let server = |host: &str, remote: &str| {
        let server = Server::of(Some(host), Role::Client, &from(remote));
        Node::of(Role::Client, None, &server, Remote::default(), &from(remote), &own, &words)
    };
    let named = |name: &str| (name.to_owned(), Some("prod".to_owned()));
    let shown = |node: Node| (node.name.to_string(), node.namespace.map(Into::into));
    assert_eq!(shown(server("10.0.0.3:1", "10.0.0.3:1")), named("outgoing"));
    assert_eq!(shown(server("198.51.100.7", "198.51.100.7:443")), named("outgoing"));
    assert_eq!(shown(server("db.intern", "10.0.0.3:1")), ("db.intern".to_owned(), None));
    // Whose name this is has one.
    assert_eq!(shown(server("user", "10.0.0.3:1")), ("user".to_owned(), None));
    let client = |remote: &str, name| {
        let remote_end = Remote { name, ..Remote::default() };
        Node::of(Role::Server, None, &Server::default(), remote_end, &from(remote), &own, &words)
    };
    assert_eq!(shown(client("198.51.100.7:1", None)), named("incoming"));
    assert_eq!(shown(client("10.0.0.2:1", None)), named("incoming"));
    assert_eq!(shown(client("10.0.0.2:1", Some(&"worker".into()))), ("worker".to_owned(), None));
    // What was seen there has its name, whatever that is.
    let user = resource("user", &[]);
    let seen =
        Node::of(Role::Server, Some(&user), &Server::default(), Remote::default(), &from("10.0.0.2:1"), &own, &words);
    assert_eq!(shown(seen), ("user".to_owned(), None));
}

#[test]
fn other_ends_are_named_by_cluster_name_and_address() {
    let own = shop();
    let server = |host: &str, remote: &str| {
        let connection = from(remote);
        let server = Server::of(Some(host), Role::Client, &connection);
        Node::of(Role::Client, None, &server, Remote::default(), &connection, &own, &Unresolved::default())
    };
    let outside = |name: &str| Node { is_outside: true, ..Node::named(name) };
    assert_eq!(server("Api.Example", "198.51.100.7:443"), outside("api.example"));
    assert_eq!(server("198.51.100.7", "198.51.100.7:443"), outside("198.51.100.7"));
    assert_eq!(server("db.intern:1", "10.0.0.3:1"), Node::named("db.intern"));
    assert_eq!(server("10.0.0.3:1", "10.0.0.3:1"), Node::named("10.0.0.3"));
    for host in ["cart.web.svc.cluster.local", "cart.web.svc:80"] {
        assert_eq!(server(host, "10.0.0.3:1"), Node::of_cluster("cart", "web", &own));
    }
    assert_eq!(server("svc.web.example", "10.0.0.3:1"), Node::named("svc.web.example"));

    let name = CompactString::from("worker-3");
    let client = |remote: &str, name, client: Option<&str>| {
        let remote_end = Remote { name, client: client.map(|it| it.parse().unwrap()), ..Remote::default() };
        Node::of(Role::Server, None, &Server::default(), remote_end, &from(remote), &own, &Unresolved::default())
    };
    assert_eq!(client("198.51.100.7:1", Some(&name), None), outside("user"));
    assert_eq!(client("127.0.0.1:1", Some(&name), None), outside("user"));
    assert_eq!(client("10.0.0.2:1", None, None), Node::named("10.0.0.2"));
    assert_eq!(client("10.0.0.2:1", Some(&name), None), Node::named("worker-3"));
    assert_eq!(client("10.0.0.2:1", Some(&name), Some("198.51.100.7:1")), outside("user"));

    let peer = crate::kube::Peer { name: "cart".into(), namespace: "web".into() };
    let remote = Remote { peer: Some(&peer), ..Remote::default() };
    let node =
        Node::of(Role::Server, None, &Server::default(), remote, &from("10.0.0.2:1"), &own, &Unresolved::default());
    let labels: Vec<_> = node.labels(Role::Client, Group::Http).into_iter().flatten().collect();
    assert_eq!(
        labels,
        [
            ("client", Label::Str("cart")),
            ("client_service_namespace", Label::Str("web")),
            ("client_k8s_namespace_name", Label::Str("web")),
            ("client_k8s_cluster_name", Label::Str("eu")),
        ]
    );
}

#[test]
fn edges_say_what_kind_of_node_is_at_the_other_end() {
    fn kind(node: &Node, group: Group) -> Option<Label<'_>> {
        let labels = node.labels(Role::Server, group);
        labels.into_iter().flatten().find(|(key, _)| *key == "connection_type").map(|(_, label)| label)
    }
    let (inside, outside) = (Node::named("a"), Node { is_outside: true, ..Node::named("a") });
    assert_eq!(kind(&inside, Group::Http), None);
    assert_eq!(kind(&outside, Group::Rpc), Some(Label::Str("virtual_node")));
    assert_eq!(kind(&outside, Group::Db), Some(Label::Str("database")));
    assert_eq!(kind(&inside, Group::Messaging), Some(Label::Str("messaging_system")));

    let db = Operation::Db(Box::new(Db { system: "postgresql", operation: Some("SELECT".into()), ..Db::default() }));
    let messaging =
        Operation::Messaging(Box::new(Messaging { system: "kafka", operation: "send".into(), ..Messaging::default() }));
    for (operation, kind) in [(db, "database"), (messaging, "messaging_system")] {
        let mut stage = stage(config(GRAPH));
        stage.on_exchange(Exchange { operation, ..called(get("/")) }, &from("10.0.0.3:5432"), &shop(), None);
        let [(labels, 1.0)] = &counts(&stage.collect(9), TOTAL)[..] else { panic!() };
        let expected = ["server=10.0.0.3".to_owned(), format!("connection_type={kind}")];
        assert_eq!(labels[labels.len() - 2..], expected);
    }
}

#[test]
fn services_that_ask_themselves_are_shown_to_who_wants_that() {
    let mut config = config(GRAPH);
    config.metrics.readers.each[1] = Wanted { self_references: true, ..config.metrics.readers.each[1] };
    let mut stage = stage(config);
    let shop = shop();
    stage.on_seen(called(get("/")), &connection(), &shop, &shop);
    stage.on_seen(called(get("/")), &connection(), &shop, &resource("shop", &[("service.namespace", "test")]));
    let total = |reader| counts(&stage.telemetry.metrics().collect(reader, 9), TOTAL).len();
    assert_eq!((total(Reader::Otlp), total(Reader::Prometheus)), (1, 2));
}

#[test]
fn spans_are_counted_by_name_kind_and_status() {
    let mut stage = stage(config(Features::SPAN.with(Features::SPAN_SIZES)));
    let with_bodies = Http { request_body_bytes: Some(10), response_body_bytes: Some(200), ..get("/items/1") };
    let shop = resource("shop", &[("telemetry.sdk.language", "go"), ("host.id", "h1")]);
    for exchange in [served(with_bodies.clone()), served(with_bodies), failed(served(get("/items/2")))] {
        stage.on_exchange(exchange, &connection(), &shop, None);
    }
    for exchange in [called(get("/")), called(Http { method: Some("PUT".into()), ..get("/") })] {
        stage.on_exchange(exchange, &connection(), &shop, None);
    }
    let metrics = stage.collect(9);
    let calls = counts(&metrics, "traces_spanmetrics_calls_total");
    let common = ["service.name=shop", "source=beyla-rs", "telemetry.sdk.language=go"];
    let labels = |name: &str, kind: &str, status: &str| {
        let own = [
            format!("span.name={name}"),
            format!("span.kind=SPAN_KIND_{kind}"),
            format!("status.code=STATUS_CODE_{status}"),
        ];
        common.map(String::from).into_iter().chain(own).collect::<Vec<_>>()
    };
    let find = |labels: &[String]| calls.iter().find(|(its, _)| its == labels).map(|(_, value)| *value);
    let served = labels("GET /items/{id}", "SERVER", "UNSET");
    assert_eq!(find(&served), Some(2.0), "{calls:?}");
    assert_eq!(find(&labels("GET /items/{id}", "SERVER", "ERROR")), Some(1.0));
    assert_eq!(find(&labels("GET", "CLIENT", "UNSET")), Some(1.0));
    // The limit is two names.
    assert_eq!(find(&labels("AGGREGATED", "CLIENT", "UNSET")), Some(1.0));
    let bytes = |name| counts(&metrics, name).into_iter().find(|(labels, _)| *labels == served).unwrap().1;
    assert_eq!(bytes("traces_spanmetrics_size_total"), 20.0);
    assert_eq!(bytes("traces_spanmetrics_response_size_total"), 400.0);
    let latency = points(&metrics, "traces_spanmetrics_latency");
    assert_eq!(latency.iter().map(|point| point.count).sum::<u64>(), 5);
    // Tempo's names have no unit, which Prometheus would add to them.
    assert!(metrics.iter().all(|metric| metric.unit.is_empty()));
    let [(info, 1.0)] = &counts(&metrics, "traces_target_info")[..] else { panic!() };
    assert!(info.contains(&"host.id=h1".to_owned()) && info.contains(&"service.name=shop".to_owned()), "{info:?}");
}

#[test]
fn spans_have_the_collectors_names_where_those_are_asked_for() {
    let mut stage = stage(config(Features::SPAN_OTEL));
    stage.on_exchange(served(get("/")), &connection(), &shop(), None);
    let metrics = stage.collect(9);
    let names: Vec<_> = metrics.iter().map(|metric| (metric.name, metric.unit)).collect();
    assert_eq!(
        names,
        [("traces.span.metrics.duration", "s"), ("traces.span.metrics.calls", ""), ("traces_target_info", "")]
    );
}

#[test]
fn a_span_says_that_it_is_counted_as_one() {
    let says = |features| {
        let span = stage(config(features)).on_exchange(served(get("/")), &connection(), &shop(), None);
        attribute(&span.unwrap(), "span.metrics.skip")
    };
    assert_eq!(says(Features::SPAN), Some("true".to_owned()));
    assert_eq!(says(Features::RED.with(GRAPH)), None);
}

#[test]
fn spans_of_services_that_send_their_own_are_left_to_them_where_that_is_asked_for() {
    for leaves_spans in [false, true] {
        let mut config = config(Features::SPAN.with(GRAPH));
        config.metrics.leaves_spans = leaves_spans;
        let mut stage = stage(config);
        let (export, shop) = (Http { method: Some("POST".into()), ..get("/v1/traces") }, shop());
        for exchange in [called(export), called(get("/"))] {
            stage.on_exchange(exchange, &connection(), &shop, None);
        }
        let metrics = stage.collect(9);
        // An export itself has no span.
        let spans: f64 = counts(&metrics, "traces_spanmetrics_calls_total").iter().map(|(_, value)| value).sum();
        assert_eq!(spans, if leaves_spans { 0.0 } else { 1.0 });
        assert_eq!(counts(&metrics, TOTAL).iter().map(|(_, value)| value).sum::<f64>(), 2.0);
    }
}

#[test]
fn each_group_is_there_only_where_it_is_asked_for() {
    let names = |common: Features, rule: Option<Features>| {
        let mut stage = stage(config(common));
        let rule = rule.map(|features| Arc::new(Rule { features: Some(features), ..Rule::default() }));
        let http = Http { request_body_bytes: Some(1), ..get("/") };
        let host = resource("shop", &[("host.id", "h")]);
        stage.on_exchange(served(http), &from("198.51.100.7:1"), &host, rule.as_ref());
        stage.collect(9).iter().map(|metric| metric.name).collect::<Vec<_>>()
    };
    let (red, sizes) = ("http.server.request.duration", "http.server.request.body.size");
    let active = "http.server.active_requests";
    assert_eq!(names(Features::RED, None), [red, active]);
    assert_eq!(names(Features::SIZES, None), [sizes]);
    assert_eq!(names(Features::RED.with(Features::SIZES), None), [red, sizes, active]);
    assert_eq!(names(Features::default(), None), [""; 0]);
    assert_eq!(names(GRAPH, None), [SERVER, TOTAL, FAILED, "traces_target_info"]);
    assert_eq!(names(Features::RED.with(Features::HOST), None), [red, active, "traces_host_info"]);
    assert_eq!(names(Features::RED, Some(Features::SIZES)), [sizes]);
    assert_eq!(names(Features::RED, Some(Features::default())), [""; 0]);
}

#[test]
fn what_is_not_certain_to_be_over_is_no_edge() {
    let mut stage = stage(config(GRAPH.with(Features::SPAN)));
    let unseen = Exchange { outcome: Outcome::Unseen, ..called(get("/")) };
    stage.on_exchange(unseen, &connection(), &shop(), None);
    assert_eq!(stage.collect(9), []);
}

impl Stage {
    /// An exchange of which the other end was seen on this host.
    fn on_seen(&mut self, exchange: Exchange, connection: &ConnectionInfo, own: &Arc<Resource>, seen: &Arc<Resource>) {
        self.seen = Some(Arc::clone(seen));
        self.on_exchange(exchange, connection, own, None);
        self.seen = None;
    }
}
