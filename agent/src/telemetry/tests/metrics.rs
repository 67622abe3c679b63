use super::*;
use crate::telemetry::{Scheme, red, select::Select};

fn collected(exchanges: impl IntoIterator<Item = Exchange>) -> (Stage, Vec<Metric>) {
    let mut stage = stage(Config::default());
    let resource = resource();
    for exchange in exchanges {
        stage.on_exchange(exchange, &connection(), &resource, None);
    }
    let metrics = stage.collect(3_000_000_000);
    (stage, metrics)
}

#[test]
fn an_http_servers_attributes_are_the_interfaces() {
    let (_, metrics) = collected([served(Http { status: Some(500), ..get("/items/42?a=b") })]);
    let points = points(&metrics, "http.server.request.duration");
    assert_eq!(
        shown(&points[0].attributes),
        [
            "http.request.method=GET",
            "http.response.status_code=500",
            "http.route=/items/{id}",
            "url.scheme=http",
            "network.protocol.version=1.1",
            "error.type=500",
        ]
    );
    assert_eq!((points[0].count, points[0].sum), (1, 1.999_999));
    assert_eq!(points[0].bounds[..], [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1.0, 2.5, 5.0, 7.5, 10.0]);
    assert_eq!(points[0].buckets, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0]);
    assert_eq!(points[0].attributes[1].value, Value::Int(500));
}

#[test]
fn an_http_clients_attributes_name_the_server() {
    let (_, metrics) = collected([ended(Outcome::NoResponse, called(Http { status: None, ..get("/items/42") }))]);
    let points = points(&metrics, "http.client.request.duration");
    assert_eq!(
        shown(&points[0].attributes),
        [
            "http.request.method=GET",
            "url.scheme=http",
            "network.protocol.version=1.1",
            "server.address=shop.example",
            "server.port=81",
            "error.type=no_response",
        ]
    );
}

#[test]
fn a_calls_attributes_are_the_interfaces() {
    let (_, metrics) = collected([rpc(Role::Server, Some(13)), rpc(Role::Client, Some(0))]);
    assert_eq!(
        shown(&points(&metrics, "rpc.server.call.duration")[0].attributes),
        ["rpc.system.name=grpc", "rpc.method=shop.Cart/Add", "rpc.status_code=INTERNAL", "error.type=INTERNAL"]
    );
    assert_eq!(
        shown(&points(&metrics, "rpc.client.call.duration")[0].attributes),
        [
            "rpc.system.name=grpc",
            "rpc.method=shop.Cart/Add",
            "rpc.status_code=OK",
            "server.address=cart",
            "server.port=50051"
        ]
    );
}

#[test]
fn an_exchange_whose_end_was_not_seen_is_in_no_histogram() {
    let (_, metrics) = collected([
        ended(Outcome::Unseen, served(get("/"))),
        ended(Outcome::Unseen, called(get("/"))),
        ended(Outcome::Unseen, rpc(Role::Server, None)),
    ]);
    assert_eq!(metrics, []);
}

#[test]
fn every_other_end_is() {
    let outcomes = [Outcome::Complete, Outcome::NoResponse, Outcome::Cut, Outcome::Cancelled(Role::Client, 8)];
    let (_, metrics) = collected(outcomes.map(|outcome| ended(outcome, served(get("/")))));
    let counts = points(&metrics, "http.server.request.duration").iter().map(|point| point.count).sum::<u64>();
    assert_eq!(counts, 4);
}

#[test]
fn bodies_whose_size_is_known_are_in_the_size_histograms() {
    let (_, metrics) = collected([
        served(Http { request_body_bytes: Some(0), response_body_bytes: Some(5_000), ..get("/") }),
        served(get("/")),
    ]);
    let requests = points(&metrics, "http.server.request.body.size");
    let responses = points(&metrics, "http.server.response.body.size");
    assert_eq!((requests[0].count, requests[0].sum, requests[0].buckets[0]), (1, 0.0, 1));
    assert_eq!((responses[0].count, responses[0].sum, responses[0].buckets[5]), (1, 5_000.0, 1));
    assert_eq!(points(&metrics, "http.server.request.duration")[0].count, 2);
}

#[test]
fn older_names_are_given_where_asked_for() {
    use crate::{config::Naming, telemetry::naming::named};
    let (_, metrics) = collected([rpc(Role::Server, Some(13)), rpc(Role::Client, Some(99)), served(get("/"))]);
    let names = |naming| -> Vec<&str> {
        let all = named(metrics.clone(), naming, &Select::default());
        let mut names: Vec<&str> =
            all.iter().map(|metric| metric.name).filter(|name| name.ends_with("duration")).collect();
        names.sort_unstable();
        names
    };
    let http = "http.server.request.duration";
    assert_eq!(names(Naming::Semconv), [http, "rpc.client.call.duration", "rpc.server.call.duration"]);
    assert_eq!(names(Naming::Beyla), [http, "rpc.client.duration", "rpc.server.duration"]);
    assert_eq!(names(Naming::Both).len(), 5);
    let older = named(metrics.clone(), Naming::Both, &Select::default());
    let server = &points(&older, "rpc.server.duration")[0].attributes;
    assert_eq!(shown(server)[..3], ["rpc.system=grpc", "rpc.method=shop.Cart/Add", "rpc.grpc.status_code=13"]);
    assert_eq!(server[2].value, Value::Int(13));
    assert!(
        shown(&points(&older, "rpc.client.duration")[0].attributes).contains(&"rpc.grpc.status_code=99".to_owned())
    );
    assert_eq!(points(&older, "rpc.server.call.duration"), points(&metrics, "rpc.server.call.duration"));
}

#[test]
fn exemplars_lead_to_the_span() {
    let mut stage = stage(Config::default());
    let resource = resource();
    let span = stage.on_exchange(served(get("/")), &connection(), &resource, None).unwrap();
    let metrics = stage.collect(9);
    let exemplar = &points(&metrics, "http.server.request.duration")[0].exemplars[0];
    assert_eq!((exemplar.trace_id, exemplar.span_id), (span.trace_id, span.span_id));
    assert_eq!((exemplar.at_unix_ns, exemplar.value), (span.end_unix_ns, 1.999_999));
}

#[test]
fn hostile_methods_make_no_series() {
    let hostile = (0..100).map(|n| served(Http { method: Some(format!("M{n}").into()), ..get("/") }));
    let (_, metrics) = collected(hostile);
    assert_eq!(points(&metrics, "http.server.request.duration").len(), 1);
}

#[test]
fn hosts_beyond_the_bound_overflow_and_are_counted() {
    let red = red::Config { max_series: 10, ..red::Config::default() };
    let mut stage = stage(Config { red, ..Config::default() });
    let resource = resource();
    for n in 0..100 {
        let http = Http { host: Some(format!("h{n}.example").into()), ..get("/") };
        stage.on_exchange(called(http), &connection(), &resource, None);
    }
    let metrics = stage.collect(9);
    let points = points(&metrics, "http.client.request.duration");
    assert_eq!((points.len(), points.iter().map(|point| point.count).sum::<u64>()), (10, 100));
    assert_eq!(stage.counts().overflowed, 91);
}

#[test]
fn instances_have_series_and_routes_of_their_own() {
    let mut stage = stage(Config::default());
    let (a, b) = (resource(), resource());
    stage.on_exchange(served(get("/")), &connection(), &a, None);
    stage.on_exchange(served(get("/")), &connection(), &b, None);
    let metrics = stage.collect(9);
    assert_eq!(metrics.iter().filter(|metric| metric.name == "http.server.request.duration").count(), 2);
    assert!([&a, &b].iter().all(|r| metrics.iter().any(|metric| Arc::ptr_eq(&metric.resource, r))));
}

#[test]
fn an_instance_nobody_refers_to_is_collected_until_it_has_been_idle_for_long() {
    let mut stage = stage(Config::default());
    stage.on_exchange(served(get("/")), &connection(), &resource(), None);
    let idle_ns = red::Config::default().idle.as_nanos() as u64;
    for at_unix_ns in [9, 9 + idle_ns / 2] {
        assert_eq!(stage.collect(at_unix_ns).len(), 1, "{at_unix_ns}");
    }
    let _last = stage.collect(9 + idle_ns);
    assert_eq!(stage.collect(9 + idle_ns), []);
}

#[test]
fn active_requests_are_there_from_the_first_request_on() {
    let mut stage = stage(Config::default());
    let resource = resource();
    stage.on_exchange(served(get("/")), &connection(), &resource, None);
    let active = |metrics: &[Metric]| {
        let found = metrics.iter().find(|metric| metric.name == "http.server.active_requests");
        let Some(Points::UpDownCounter(points)) = found.map(|metric| &metric.points) else { panic!("{metrics:?}") };
        points.iter().map(|point| (shown(&point.attributes), point.value)).collect::<Vec<_>>()
    };
    let labels = || vec!["http.request.method=GET".to_owned(), "url.scheme=http".to_owned()];
    assert_eq!(active(&stage.collect(9)), [(labels(), 0.0)]);
    let method = stage.telemetry.method(Some("GET"));
    stage.telemetry.begin_round();
    stage.telemetry.set_active_requests(&resource, Scheme::Http, method, 2);
    stage.telemetry.end_round();
    assert_eq!(active(&stage.collect(9)), [(labels(), 2.0)]);
}

#[test]
fn active_requests_are_as_last_reported() {
    let mut stage = stage(Config::default());
    let resource = resource();
    let [get, made_up, unknown] = [Some("GET"), Some("MADE-UP"), None].map(|method| stage.telemetry.method(method));
    stage.telemetry.begin_round();
    stage.telemetry.set_active_requests(&resource, Scheme::Http, get, 3);
    stage.telemetry.set_active_requests(&resource, Scheme::Https, made_up, 1);
    stage.telemetry.set_active_requests(&resource, Scheme::Https, unknown, 2);
    stage.telemetry.set_active_requests(&resource, Scheme::Http, get, 0);
    stage.telemetry.end_round();
    let metrics = stage.collect(9);
    assert_eq!((metrics.len(), metrics[0].name, metrics[0].unit), (1, "http.server.active_requests", "{request}"));
    let Points::UpDownCounter(points) = &metrics[0].points else { panic!("{:?}", metrics[0].points) };
    let shown: Vec<_> = points.iter().map(|point| (shown(&point.attributes), point.value)).collect();
    let point =
        |attributes: &[&str], value| (attributes.iter().map(|text| (*text).to_owned()).collect::<Vec<_>>(), value);
    assert_eq!(
        shown,
        [
            point(&["http.request.method=GET", "url.scheme=http"], 0.0),
            point(&["http.request.method=_OTHER", "url.scheme=https"], 1.0),
            point(&["url.scheme=https"], 2.0),
        ]
    );
}
