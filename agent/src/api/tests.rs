//! Questions over the routes, as a client asks them. `docs/openapi.json` is written anew by
//! `WRITE_OPENAPI=1 cargo test -p beyla-rs --lib api::tests::the_description`.

use std::sync::Arc;

use axum::{
    Router,
    body::Body,
    http::{Request, StatusCode},
};
use futures_util::StreamExt as _;
use http_body_util::BodyExt as _;
use proptest::prelude::*;
use schemars::{JsonSchema, generate::SchemaSettings};
use serde_json::{Map, Value as Json, json};
use tower_service::Service as _;

use super::*;
use crate::{
    export::testing,
    model::{
        ids::ProcessId,
        metric::{Bounds, HistogramPoint, Metric, Points},
        span::{Attribute, Kind, Span, Status, Value},
        trace_context::SpanId,
    },
    telemetry::wanted::Reader,
};

/// Says that the shop's front was asked a hundred times, five times in vain, and asked its back each time.
struct Counted(Vec<Metric>);

impl MetricSource for Counted {
    fn collect(&self, _now_unix_ns: u64) -> Vec<Metric> {
        self.0.clone()
    }

    fn is_for(&self, reader: Reader) -> bool {
        reader == Reader::Store
    }
}

const EVIL: &str = "<script>alert(1)</script>\u{202e}\u{1b}[31m";

fn text(key: &'static str, value: &str) -> Attribute {
    Attribute { key, value: Value::Str(value.into()) }
}

fn counted(service: &str, name: &'static str, attributes: Vec<Attribute>, count: u64) -> Metric {
    let point = HistogramPoint {
        attributes,
        start_unix_ns: 1,
        updated_unix_ns: 1,
        count,
        sum: count as f64 * 0.02,
        min: 0.02,
        max: 0.02,
        bounds: Bounds::Static(&[0.01, 0.025, 0.05]),
        buckets: vec![0, count, 0, 0],
        native: None,
        exemplars: Vec::new(),
    };
    let resource = testing::resource(service, ProcessId(1));
    Metric { name, unit: "s", description: "", resource, points: Points::Histogram(vec![point]) }
}

fn parts(listen: &str, token: Option<&str>) -> Parts {
    let store = Arc::new(Store::new(8 << 20, None));
    let route = || vec![text("http.request.method", "GET"), text("http.route", "/items/{id}")];
    let called =
        vec![text("http.request.method", "GET"), text("server.address", "10.0.0.2"), text("server.port", "80")];
    let failed = [route(), vec![text("error.type", "500")]].concat();
    let metrics = vec![
        counted("front", "http.server.request.duration", route(), 95),
        counted("front", "http.server.request.duration", failed, 5),
        counted("front", "http.client.request.duration", called, 100),
        counted("back", "http.server.request.duration", route(), 100),
        counted(EVIL, "http.server.request.duration", route(), 1),
    ];
    let collector = Arc::new(Collector::new(Arc::clone(&store), Arc::new(Counted(metrics))));
    // As if it had run for a while.
    store.start_at(unix_ns() - 20_000_000_000);
    let (front, back) = (testing::resource("front", ProcessId(1)), testing::resource("back", ProcessId(2)));
    let now = unix_ns();
    let at = |number: u64, span: Span| Span {
        start_unix_ns: now - 9_000_000_000,
        end_unix_ns: now - 9_000_000_000 + number * 1_000_000,
        ..span
    };
    let asked = at(
        30,
        Span {
            parent: None,
            span_id: SpanId([1; 8]),
            resource: Arc::clone(&front),
            status: Status::Error,
            ..testing::span(7)
        },
    );
    let call = at(
        20,
        Span {
            parent: Some(SpanId([1; 8])),
            span_id: SpanId([2; 8]),
            kind: Kind::Client,
            name: "GET".into(),
            attributes: vec![
                text("server.address", "10.0.0.2"),
                Attribute { key: "server.port", value: Value::Int(80) },
                text("url.full", EVIL),
            ],
            resource: front,
            ..testing::span(7)
        },
    );
    let answered =
        at(10, Span { parent: Some(SpanId([2; 8])), span_id: SpanId([3; 8]), resource: back, ..testing::span(7) });
    let evil = Span { name: EVIL.into(), resource: testing::resource(EVIL, ProcessId(3)), ..testing::span(8) };
    store.push(&Arc::new(vec![answered, call, asked, at(1, evil)]));
    let process = answers::Process {
        pid: 1,
        service: "front".into(),
        namespace: None,
        language: Some("rust".into()),
        executable: "/bin/front".into(),
        ports: vec![80],
        tls: Vec::new(),
        unseen: vec!["nss: it is not probed".into()],
        instrumented_by: Vec::new(),
        matched_by: vec!["default".into()],
        has_spans: false,
    };
    Parts {
        store,
        collector,
        processes: Arc::new(move || vec![process.clone()]),
        token: token.map(str::to_owned),
        listen: vec![listen.parse().unwrap()],
    }
}

fn router(listen: &str, token: Option<&str>) -> Router {
    pages(parts(listen, token), Vec::new()).remove(0)
}

async fn get_with(router: &Router, path: &str, headers: &[(&str, &str)]) -> (StatusCode, http::HeaderMap, Vec<u8>) {
    let mut request = Request::get(path).header("host", "localhost:9464");
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let response = router.clone().call(request.body(Body::empty()).unwrap()).await.unwrap();
    let (head, body) = response.into_parts();
    (head.status, head.headers, body.collect().await.unwrap().to_bytes().to_vec())
}

async fn asked(router: &Router, path: &str) -> Json {
    let (status, _, body) = get_with(router, path, &[]).await;
    assert_eq!(status, StatusCode::OK, "{path}: {}", String::from_utf8_lossy(&body));
    serde_json::from_slice(&body).unwrap()
}

fn id() -> String {
    testing::span(7).trace_id.to_string()
}

#[tokio::test]
async fn services_have_the_rates_that_were_counted() {
    let router = router("127.0.0.1:0", None);
    let answer = asked(&router, "/api/v1/services?window=60s").await;
    let front = answer["services"].as_array().unwrap().iter().find(|it| it["name"] == "front").unwrap();
    assert_eq!((front["served"]["requests"].as_u64(), front["served"]["errors"].as_u64()), (Some(100), Some(5)));
    assert_eq!(front["made"]["requests"], 100);
    let window_s = answer["window_s"].as_f64().unwrap();
    assert!((19.0..60.0).contains(&window_s), "{window_s}");
    assert!((front["served"]["rate"].as_f64().unwrap() - 100.0 / window_s).abs() < 0.01);
    let p50 = front["served"]["p50_ms"].as_f64().unwrap();
    assert!((10.0..25.5).contains(&p50), "{p50}");
    let one = asked(&router, "/api/v1/services/front").await;
    assert_eq!(one["routes"][0]["name"], "GET /items/{id}");
    assert_eq!((one["callers"][0]["kind"].as_str(), one["calls"][0]["name"].as_str()), (Some("users"), Some("back")));
    assert_eq!(one["failing"][0]["trace_id"], id());
    let (status, ..) = get_with(&router, "/api/v1/services/nobody", &[]).await;
    assert_eq!(status, StatusCode::NOT_FOUND);
}

#[tokio::test]
async fn the_graph_has_who_asks_whom() {
    let answer = asked(&router("127.0.0.1:0", None), "/api/v1/graph").await;
    let edges: Vec<String> = answer["edges"]
        .as_array()
        .unwrap()
        .iter()
        .map(|edge| {
            format!("{} {} {}", edge["from"].as_str().unwrap(), edge["to"].as_str().unwrap(), edge["rates"]["requests"])
        })
        .collect();
    assert!(edges.contains(&"service:shop/front service:shop/back 100".to_owned()), "{edges:?}");
    assert!(edges.contains(&"users service:shop/front 100".to_owned()), "{edges:?}");
    assert!(!edges.iter().any(|edge| edge.starts_with("users service:shop/back")), "{edges:?}");
}

#[tokio::test]
async fn traces_are_found_and_read() {
    let router = router("127.0.0.1:0", None);
    for (query, found) in [
        ("", 2),
        ("service=front", 1),
        ("status=error", 1),
        ("status=ok&service=front", 1),
        ("service=back&min_duration=5ms&max_duration=15ms", 1),
        ("min_duration=31ms", 0),
        ("attribute=server.address%3D10.0.0.2", 1),
        ("name=GET%20%2Fapi%2Fitems%2F%7Bid%7D", 1),
        ("q=script", 2),
        ("since=1&until=2", 0),
        ("sort=slowest&limit=1", 1),
    ] {
        let answer = asked(&router, &format!("/api/v1/traces?{query}")).await;
        assert_eq!(answer["traces"].as_array().unwrap().len(), found, "{query}");
    }
    let trace = asked(&router, &format!("/api/v1/traces/{}", id())).await;
    let spans: Vec<_> =
        trace["spans"].as_array().unwrap().iter().map(|span| span["span_id"].as_str().unwrap()).collect();
    assert_eq!(spans.len(), 3);
    assert_eq!(trace["duration_ms"], 30.0);
    for (path, status) in [("zz", 400), ("1", 404), (&*"1".repeat(33), 400)] {
        let (answered, ..) = get_with(&router, &format!("/api/v1/traces/{path}"), &[]).await;
        assert_eq!(answered.as_u16(), status, "{path}");
    }
    let (status, _, body) = get_with(&router, "/api/v1/traces?min_duration=x", &[]).await;
    assert_eq!(status, StatusCode::BAD_REQUEST);
    assert!(String::from_utf8_lossy(&body).contains("min_duration"));
    for (asked, why) in [
        ("services?bogus=1", "`bogus` is no parameter of this question; it has: window"),
        ("agent?window=60s", "`window`: this question has no parameters"),
        ("traces?sort=foo", "sort: `foo` is neither `latest` nor `slowest`"),
        ("spans?limit=0", "limit: it is from 1 to 200"),
        ("live?limit=5", "`limit` is no parameter of this question"),
        ("graph?window=60s&window=5s", "`window` is given more than once"),
        ("services/%ff", "the path is no UTF-8"),
        ("traces/%ff", "the path is no UTF-8"),
    ] {
        let (status, _, body) = get_with(&router, &format!("/api/v1/{asked}"), &[]).await;
        let body = String::from_utf8_lossy(&body).into_owned();
        assert!(status == StatusCode::BAD_REQUEST && body.contains(why), "{asked}: {status} {body}");
    }
    let (status, _, body) = get_with(&router, "/api/v1/nope", &[]).await;
    let problem: Problem = serde_json::from_slice(&body).unwrap();
    assert!(status == StatusCode::NOT_FOUND && problem.error.contains("/api/v1/openapi.json"), "{}", problem.error);
}

#[tokio::test]
async fn live_spans_come_and_go_on_where_they_ended() {
    let parts = parts("127.0.0.1:0", None);
    let store = Arc::clone(&parts.store);
    let router = pages(parts, Vec::new()).remove(0);
    let stream = async |after: &str| {
        let request =
            Request::get(format!("/api/v1/live{after}")).header("host", "localhost").body(Body::empty()).unwrap();
        let response = router.clone().call(request).await.unwrap();
        assert_eq!(response.headers()["content-type"], "text/event-stream");
        response.into_body().into_data_stream()
    };
    let next = store.next();
    let mut body = stream("?service=front").await;
    assert_eq!(body.next().await.unwrap().unwrap(), ": live\n\n");
    let front = || testing::resource("front", ProcessId(1));
    store.push(&Arc::new(vec![testing::span(20), Span { resource: front(), ..testing::span(21) }]));
    let event = String::from_utf8(body.next().await.unwrap().unwrap().to_vec()).unwrap();
    let data: Json = serde_json::from_str(event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap()).unwrap();
    assert_eq!(data["spans"].as_array().unwrap().len(), 1, "of the service that is asked for: {event}");
    assert!(event.contains(&format!("id: {}\n", next + 2)), "{event}");
    let mut again = stream(&format!("?after={next}")).await;
    again.next().await.unwrap().unwrap();
    let event = String::from_utf8(again.next().await.unwrap().unwrap().to_vec()).unwrap();
    let data: Json = serde_json::from_str(event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap()).unwrap();
    assert_eq!(data["spans"].as_array().unwrap().len(), 2);
}

#[tokio::test]
async fn what_a_stream_leaves_out_and_what_was_thinned_out_is_said() {
    let parts = parts("127.0.0.1:0", None);
    let store = Arc::clone(&parts.store);
    let router = pages(parts, Vec::new()).remove(0);
    let request = Request::get("/api/v1/live").header("host", "localhost").body(Body::empty()).unwrap();
    let mut body = router.clone().call(request).await.unwrap().into_body().into_data_stream();
    body.next().await.unwrap().unwrap();
    let many =
        (100..650).map(|number| Span { resource: testing::resource("many", ProcessId(1)), ..testing::span(number) });
    store.push(&Arc::new(many.collect()));
    let event = String::from_utf8(body.next().await.unwrap().unwrap().to_vec()).unwrap();
    let data: Json = serde_json::from_str(event.lines().find_map(|line| line.strip_prefix("data: ")).unwrap()).unwrap();
    assert_eq!((data["spans"].as_array().unwrap().len(), data["left_out"].as_u64()), (200, Some(350)));
    assert_eq!(data["thinned"], 0);
    let counts = asked(&router, "/api/v1/counts?service=front&since=0").await;
    let requests: u64 = counts["counted"].as_array().unwrap().iter().map(|it| it["requests"].as_u64().unwrap()).sum();
    assert_eq!(requests, 200, "answered and made: {counts}");
}

#[tokio::test]
async fn a_trace_whose_parents_are_not_kept_says_so() {
    let parts = parts("127.0.0.1:0", None);
    let orphan = |number, evidence| Span {
        parent: Some(SpanId([9; 8])),
        attributes: vec![text("beyla.parent.evidence", evidence)],
        ..testing::span(number)
    };
    parts.store.push(&Arc::new(vec![orphan(31, "thread"), orphan(32, "header")]));
    let router = pages(parts, Vec::new()).remove(0);
    let of = |number| format!("/api/v1/traces/{}", testing::span(number).trace_id);
    let missing = asked(&router, &of(31)).await["missing"].clone();
    assert!(missing.as_str().is_some_and(|text| text.contains("parents of 1 of its spans")), "{missing}");
    assert!(asked(&router, &of(32)).await["missing"].is_null(), "its parent was elsewhere");
}

#[tokio::test]
async fn beyond_loopback_nothing_is_told_without_the_token() {
    let (open, shut) = (router("0.0.0.0:9464", Some("secret")), router("0.0.0.0:9464", None));
    for path in ["/api/v1/services", "/api/v1/live", "/api/v3/services", "/api/traces", "/api/v1/agent"] {
        assert_eq!(get_with(&open, path, &[]).await.0, StatusCode::UNAUTHORIZED, "{path}");
        assert_eq!(get_with(&shut, path, &[]).await.0, StatusCode::FORBIDDEN, "{path}");
    }
    assert_eq!(get_with(&open, "/api/v1/services", &[("authorization", "Bearer secret")]).await.0, StatusCode::OK);
    // The page itself tells nothing, and asks for the token.
    assert_eq!(get_with(&open, "/", &[]).await.0, StatusCode::OK);
}

#[tokio::test]
async fn answers_say_what_browsers_may_do_with_them_and_nothing_can_be_changed() {
    let router = router("127.0.0.1:0", None);
    for path in ["/", "/ui/main.js", "/api/v1/services"] {
        let (_, headers, _) = get_with(&router, path, &[]).await;
        let policy = headers["content-security-policy"].to_str().unwrap();
        assert!(policy.contains("default-src 'none'") && !policy.contains("unsafe"), "{policy}");
        assert_eq!(headers["x-content-type-options"], "nosniff");
        assert!(!headers.contains_key("access-control-allow-origin"));
    }
    for method in ["POST", "PUT", "DELETE", "PATCH", "OPTIONS"] {
        let request = Request::builder().method(method).uri("/api/v1/services").header("host", "localhost");
        let response = router.clone().call(request.body(Body::empty()).unwrap()).await.unwrap();
        assert_eq!(response.status(), StatusCode::METHOD_NOT_ALLOWED, "{method}");
    }
}

/// The requests that Grafana's data source makes.
#[tokio::test]
async fn grafana_finds_what_it_asks_jaeger_for() {
    let router = router("127.0.0.1:0", None);
    let services = asked(&router, "/api/v3/services").await;
    assert!(services["services"].as_array().unwrap().contains(&json!("front")));
    assert_eq!(asked(&router, "/api/services").await["data"].as_array().unwrap().len(), 3);
    let operations = asked(&router, "/api/v3/operations?service=back").await;
    assert_eq!(operations["operations"], json!([{ "name": "GET /api/items/{id}", "spanKind": "server" }]));
    assert_eq!(asked(&router, "/api/services/back/operations").await["data"], json!(["GET /api/items/{id}"]));
    let found = asked(
        &router,
        "/api/v3/traces?query.service_name=front&query.start_time_min=2020-01-01T00:00:00Z&query.start_time_max=2100-01-01T00:00:00Z\
         &query.duration_min=1ms&query.search_depth=20",
    )
    .await;
    let spans = found["result"]["resourceSpans"].as_array().unwrap();
    assert_eq!(spans.iter().map(|it| it["scopeSpans"][0]["spans"].as_array().unwrap().len()).sum::<usize>(), 3);
    let one = asked(&router, &format!("/api/v3/traces/{}", id())).await;
    let span = &one["result"]["resourceSpans"][0]["scopeSpans"][0]["spans"][0];
    assert_eq!(span["traceId"], id());
    assert!(span["startTimeUnixNano"].is_string() && span["kind"].is_number());
    let old = asked(
        &router,
        "/api/traces?service=front&limit=20&lookback=1h&tags=%7B%22error%22%3A%22true%22%7D&minDuration=1ms",
    )
    .await;
    let (trace, processes) = (&old["data"][0], &old["data"][0]["processes"]);
    assert_eq!((trace["traceID"].as_str(), trace["spans"].as_array().unwrap().len()), (Some(&*id()), 3));
    for span in trace["spans"].as_array().unwrap() {
        assert!(processes[span["processID"].as_str().unwrap()]["serviceName"].is_string());
    }
    assert_eq!(asked(&router, &format!("/api/traces/{}", id())).await["data"].as_array().unwrap().len(), 1);
    asked(&router, "/api/v1/graph").await;
    for (between, expected) in [
        ("", json!([{ "parent": "front", "child": "back", "callCount": 100 }])),
        (
            "?endTs=4102444800000&lookback=4102444800000",
            json!([{ "parent": "front", "child": "back", "callCount": 100 }]),
        ),
        ("?endTs=3600000&lookback=3600000", json!([])),
    ] {
        assert_eq!(asked(&router, &format!("/api/dependencies{between}")).await["data"], expected, "{between}");
    }
    // With the time of what is shown, as an option of the data source has it.
    for path in [
        format!("/api/traces/{}?start=1577836800000&end=4102444800000", id()),
        format!("/api/v3/traces/{}?start_time=2020-01-01T00:00:00.5+01:00&end_time=2100-01-01T00:00:00Z", id()),
        "/api/v3/traces?query.service_name=front&query.start_time_min=2020-01-01T00:00:00.5+01:00&query.start_time_max=2100-01-01T00:00:00Z"
            .to_owned(),
        "/api/traces?service=front&operation=&limit=20&start=1577836800000000&end=4102444800000000&maxDuration=1.5h".to_owned(),
    ] {
        let _answer = asked(&router, &path).await;
    }
    assert_eq!(get_with(&router, &format!("/api/traces/{}", "1".repeat(32)), &[]).await.0, StatusCode::NOT_FOUND);
}

/// A question: its path, what it asks, parameters of the query, and the type of what is answered.
struct Question {
    path: &'static str,
    summary: &'static str,
    parameters: &'static [&'static str],
    schema: Json,
}

const PARAMETERS: &[(&str, &str)] = &[
    ("window", "The time that rates are of, such as `60s`, `15m`, `6h`; at most a day."),
    ("service", "`service.name`."),
    ("namespace", "`service.namespace`; empty: services without one."),
    ("name", "The span's name."),
    ("kind", "`server`, `client`, `producer`, `consumer` or `internal`."),
    ("status", "`error`: those that failed; `ok`: those that did not."),
    ("min_duration", "Spans that took as long, such as `10ms`."),
    ("max_duration", "Spans that took no longer."),
    ("since", "Spans that began at this time or later, in seconds since the Unix epoch."),
    ("until", "Spans that began before this time."),
    ("attribute", "An attribute of the span or its resource, as `key=value`; may be given again."),
    ("q", "A text in name, service, path, status or address."),
    ("limit", "Most that are answered; at most 200."),
    ("sort", "`slowest`: the slowest first, not the latest."),
    ("after", "The number to go on with (`next` of the last event)."),
];

fn questions(schemas: &mut schemars::SchemaGenerator) -> Vec<Question> {
    fn of<T: JsonSchema>(schemas: &mut schemars::SchemaGenerator) -> Json {
        schemas.subschema_for::<T>().to_value()
    }
    let found = [&query::SPANS[..], &["limit", "sort"]].concat().leak();
    let followed = [&query::SPANS[..], &["after"]].concat().leak();
    let question = |path, summary, parameters, schema| Question { path, summary, parameters, schema };
    vec![
        question("/api/v1/services", "All services with their rates.", &["window"], of::<answers::Services>(schemas)),
        question(
            "/api/v1/services/{name}",
            "One service: over time, its routes, who asks it, whom it asks.",
            &["window", "namespace"],
            of::<answers::ServiceDetail>(schemas),
        ),
        question(
            "/api/v1/counts",
            "Requests, counted since a time: what came between two answers is what the later one has more.",
            &["service", "namespace", "since"],
            of::<answers::Counts>(schemas),
        ),
        question("/api/v1/graph", "Who asks whom.", &["window"], of::<answers::GraphAnswer>(schemas)),
        question("/api/v1/traces", "Traces with a span that is asked for.", found, of::<answers::Traces>(schemas)),
        question("/api/v1/traces/{trace_id}", "One trace.", &[], of::<answers::Trace>(schemas)),
        question("/api/v1/spans", "Single spans.", found, of::<Vec<answers::SpanSummary>>(schemas)),
        question(
            "/api/v1/live",
            "Spans as they come: server-sent events. A stream ends after a while; the next goes on with `after`, or the header `Last-Event-ID`.",
            followed,
            of::<answers::LiveSpans>(schemas),
        ),
        question(
            "/api/v1/processes",
            "Processes that are watched, and what of them cannot be seen.",
            &[],
            of::<answers::Processes>(schemas),
        ),
        question(
            "/api/v1/agent",
            "The agent itself: what it lost, what it costs, what it remembers.",
            &[],
            of::<answers::Agent>(schemas),
        ),
    ]
}

fn description() -> Json {
    let mut settings = SchemaSettings::draft2020_12();
    settings.definitions_path = "/components/schemas".into();
    let mut schemas = settings.into_generator();
    let mut paths = Map::new();
    let problem = schemas.subschema_for::<Problem>().to_value();
    for Question { path, summary, parameters, schema } in questions(&mut schemas) {
        let in_path = path.split('{').nth(1).and_then(|rest| rest.split('}').next());
        let in_path =
            in_path.map(|name| json!({ "name": name, "in": "path", "required": true, "schema": { "type": "string" } }));
        let in_query = parameters.iter().map(|name| {
            let about = PARAMETERS.iter().find(|(its, _)| its == name).unwrap().1;
            json!({ "name": name, "in": "query", "description": about, "schema": { "type": "string" } })
        });
        let kind = if path.ends_with("/live") { "text/event-stream" } else { "application/json" };
        let refused = json!({ "description": "Why there is no answer.", "content": { "application/json": { "schema": problem } } });
        paths.insert(
            path.to_owned(),
            json!({ "get": {
                "summary": summary,
                "parameters": in_path.into_iter().chain(in_query).collect::<Vec<_>>(),
                "responses": {
                    "200": { "description": "The answer.", "content": { kind: { "schema": schema } } },
                    "default": refused,
                },
            }}),
        );
    }
    let definitions: Map<String, Json> = schemas.take_definitions(true).into_iter().collect();
    json!({
        "openapi": "3.1.0",
        "info": {
            "title": "beyla-rs",
            "version": "1",
            "description": "What the agent remembers. It changes nothing. Jaeger's query API is answered besides, as far as Grafana asks it: /api/v3/{services,operations,traces} and /api/{services,traces,dependencies}.",
        },
        "security": [{}, { "token": [] }],
        "paths": paths,
        "components": {
            "schemas": definitions,
            "securitySchemes": { "token": { "type": "http", "scheme": "bearer" } },
        },
    })
}

#[test]
fn the_description_is_that_of_the_answers() {
    let now = format!("{:#}\n", description());
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../docs/openapi.json");
    if std::env::var_os("WRITE_OPENAPI").is_some() {
        std::fs::write(path, &now).unwrap();
    }
    assert!(std::fs::read_to_string(path).unwrap() == now, "docs/openapi.json is old: see the head of this file");
}

#[tokio::test]
async fn each_answer_is_as_the_description_says() {
    let description = description();
    let router = router("127.0.0.1:0", None);
    for (path, of) in description["paths"].as_object().unwrap() {
        if path.ends_with("/live") {
            continue;
        }
        let asked_path = path.replace("{name}", "front").replace("{trace_id}", &id());
        let answer = asked(&router, &asked_path).await;
        let mut schema = of["get"]["responses"]["200"]["content"]["application/json"]["schema"].clone();
        schema["components"] = description["components"].clone();
        let validator = jsonschema::validator_for(&schema).unwrap();
        let errors: Vec<String> =
            validator.iter_errors(&answer).map(|error| format!("{}: {error}", error.instance_path())).collect();
        assert_eq!(errors, [""; 0], "{path}");
        assert!(!validator.is_valid(&json!({ "spans": 1 })), "{path}: it would take anything");
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]
    #[test]
    fn whatever_is_asked_is_answered(path in 0_usize..20, key in 0_usize..15, value in "[ -~]{0,40}|\\PC{0,20}", last in "\\PC{1,40}") {
        let description = description();
        let paths: Vec<&String> = description["paths"].as_object().unwrap().keys().filter(|path| !path.ends_with("/live")).collect();
        let encode = |text: &str| text.bytes().map(|byte| format!("%{byte:02X}")).collect::<String>();
        let more = ["/api/v3/traces", "/api/traces", "/api/v3/operations", "/api/v3/traces/{name}", "/api/traces/{name}", "/api/dependencies", "/api/services/{name}/operations"];
        let all: Vec<&str> = paths.iter().map(|path| path.as_str()).chain(more).collect();
        let path = all[path % all.len()].replace("{name}", &encode(&last)).replace("{trace_id}", &encode(&last));
        let keys = ["window", "service", "namespace", "status", "min_duration", "since", "attribute", "q", "limit", "sort", "tags", "query.attributes", "query.start_time_min", "start", "lookback"];
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        let status = runtime.block_on(async {
            get_with(&router("127.0.0.1:0", None), &format!("{path}?{}={}", keys[key], encode(&value)), &[]).await.0
        });
        prop_assert!(matches!(status.as_u16(), 200 | 400 | 404), "{path} {status}");
    }
}
