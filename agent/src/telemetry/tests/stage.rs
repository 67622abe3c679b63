use std::num::{NonZeroU32, NonZeroU64};

use super::*;
use crate::{
    config::{Sdk, Unmatched},
    model::{
        exchange::{Opened, Place},
        trace_context::TraceParent,
    },
    telemetry::route,
    trace::sdks::Facts,
};

fn parent(flags: &str) -> Option<TraceParent> {
    TraceParent::parse(format!("00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-{flags}").as_bytes())
}

#[test]
fn a_request_with_traceparent_continues_its_trace_on_either_side() {
    for exchange in [served(get("/")), called(get("/")), rpc(Role::Server, Some(0)), rpc(Role::Client, Some(0))] {
        let span = span(Exchange { parent: parent("03"), ..exchange });
        assert_eq!(span.trace_id.to_string(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(span.parent.unwrap().to_string(), "00f067aa0ba902b7");
        assert_ne!(Some(span.span_id), span.parent);
        assert_eq!(span.flags, 3);
        assert_eq!(attribute(&span, "beyla.parent.evidence").as_deref(), Some("header"));
    }
}

#[test]
fn a_trace_state_goes_with_the_parent_and_with_nothing_else() {
    let state = || Some("vendor=1".into());
    let exchange = || served(Http { trace_state: state(), ..get("/") });
    assert_eq!(span(Exchange { parent: parent("01"), ..exchange() }).trace_state, "vendor=1");
    assert_eq!(span(exchange()).trace_state, "ot=th:0", "a root: each of them is kept");
    let Operation::Rpc(mut rpc) = rpc(Role::Server, Some(0)).operation else { panic!() };
    rpc.trace_state = state();
    let call = Exchange { parent: parent("01"), ..super::exchange(Role::Server, Operation::Rpc(rpc)) };
    assert_eq!(span(call).trace_state, "vendor=1");
}

#[test]
fn other_requests_are_roots_of_traces_of_their_own() {
    let mut stage = stage(Config::default());
    let mut next = || stage.on_exchange(served(get("/")), &connection(), &resource(), None).unwrap();
    let (a, b) = (next(), next());
    assert_ne!(a.trace_id, b.trace_id);
    assert_ne!(a.span_id, b.span_id);
    assert_eq!((a.parent, a.flags, attribute(&a, "beyla.parent.evidence")), (None, 1, Some("none".into())));
}

#[test]
fn a_trace_that_the_caller_does_not_record_is_counted_but_not_exported() {
    let mut stage = stage(Config::default());
    let exchange = Exchange { parent: parent("00"), ..served(get("/")) };
    assert_eq!(stage.on_exchange(exchange, &connection(), &resource(), None), None);
    assert_eq!(stage.counts().unsampled, 1);
    let metrics = stage.collect(9);
    let points = points(&metrics, "http.server.request.duration");
    assert_eq!((points[0].count, points[0].exemplars.len()), (1, 0));
}

#[test]
fn a_sampler_that_does_not_ask_the_caller_sets_the_flag() {
    let mut stage = Stage::sampled_by(Sampler::AlwaysOn, Config::default());
    let exchange = Exchange { parent: parent("00"), ..served(get("/")) };
    assert_eq!(stage.on_exchange(exchange, &connection(), &resource(), None).unwrap().flags, 1);
}

#[test]
fn times_are_the_exchanges_in_unix_time() {
    let span = span(served(get("/")));
    assert_eq!((span.start_unix_ns, span.end_unix_ns), (6_000, 2_000_005_000));
}

#[test]
fn a_span_never_ends_before_it_starts() {
    let span = span(Exchange { start_ns: 3_000_000_000, ..served(get("/")) });
    assert_eq!(span.start_unix_ns, span.end_unix_ns);
}

#[test]
fn the_time_to_the_first_byte_is_told_where_it_is_not_the_end() {
    let waited = |first_byte_ns| {
        let exchange = Exchange { start_ns: 0, first_byte_ns, ..served(get("/")) };
        attribute(&span(exchange), "beyla.time_to_first_byte")
    };
    assert_eq!(waited(Some(500_000_000)).as_deref(), Some("0.5"));
    assert_eq!(waited(Some(2_000_000_000)), None);
    assert_eq!(waited(None), None);
}

#[test]
fn what_happened_below_a_request_is_told_of_the_first_of_a_connection_that_is_known_from_its_beginning() {
    let connection = |is_beginning| ConnectionInfo {
        tls: true,
        met_ns: 1_000_000_000,
        requests: 0,
        connect_ns: Some(250_000_000),
        origin: Origin { is_beginning, sequence: None },
        ..connection()
    };
    let inside = |first_sent_ns| Inside { first_sent_ns: NonZeroU64::new(first_sent_ns), ..Inside::default() };
    let told = |is_beginning, first_sent_ns| {
        let exchange = Exchange { inside: inside(first_sent_ns), ..called(get("/")) };
        let span = span_over(exchange, &connection(is_beginning));
        ["beyla.connect.duration", "beyla.tls.handshake.duration"].map(|key| attribute(&span, key))
    };
    assert_eq!(told(true, 1_500_000_000), [Some("0.25".to_owned()), Some("0.5".to_owned())]);
    assert_eq!(told(true, 0), [None, None]);
    assert_eq!(told(false, 1_500_000_000), [None, None]);
    let below =
        Inside { queued_us: Some(1500), rtt_us: NonZeroU32::new(2000), retransmits: Some(3), first_sent_ns: None };
    let span = span(Exchange { inside: below, ..served(get("/")) });
    let told = ["beyla.queue.duration", "beyla.tcp.rtt", "beyla.tcp.retransmits"].map(|key| attribute(&span, key));
    assert_eq!(told, ["0.0015", "0.002", "3"].map(|value| Some(value.to_owned())));
}

#[test]
fn routes_can_be_switched_off() {
    let routes = route::Config { unmatched: Unmatched::Unset, ..route::Config::default() };
    let mut stage = stage(Config { routes, ..Config::default() });
    let span = stage.on_exchange(served(get("/a")), &connection(), &resource(), None).unwrap();
    assert_eq!((span.name.as_str(), attribute(&span, "http.route")), ("GET", None));
}

#[test]
fn exchanges_are_counted_by_protocol_and_outcome() {
    let mut stage = stage(Config::default());
    for exchange in [
        served(get("/")),
        called(get("/")),
        served(Http { version: "2", ..get("/") }),
        ended(Outcome::Unseen, served(get("/"))),
        ended(Outcome::Cancelled(Role::Client, 1), rpc(Role::Server, None)),
        ended(Outcome::Cancelled(Role::Client, 2), rpc(Role::Client, None)),
    ] {
        stage.on_exchange(exchange, &connection(), &resource(), None);
    }
    assert_eq!(
        stage.counts().exchanges,
        [("http1", "complete", 2), ("http2", "complete", 1), ("http1", "unseen", 1), ("grpc", "cancelled", 2)]
    );
}

#[test]
fn what_a_service_sends_itself_is_left_to_it() {
    let export = |signal: &str| called(Http { method: Some("POST".into()), ..get(signal) });
    let mut stage = stage(Config::default());
    let (sender, other) = (resource(), resource());
    let mut spans = |exchange, resource| stage.on_exchange(exchange, &connection(), resource, None).is_some();
    assert!(!spans(ended(Outcome::NoResponse, export("/v1/traces")), &sender), "its own export is no span");
    assert!(spans(served(get("/before")), &sender));
    assert!(!spans(export("/v1/traces"), &sender));
    assert!(spans(served(get("/after")), &sender), "what it tells of is not known by that");
    assert!(!spans(export("/v1/metrics"), &sender));
    assert!(spans(served(get("/last")), &sender) && spans(served(get("/last")), &other));
    let metrics = stage.collect(9);
    let counted: usize = metrics
        .chunks(1)
        .flat_map(|metric| points(metric, "http.server.request.duration"))
        .map(|point| usize::try_from(point.count).unwrap())
        .sum();
    assert_eq!(counted, 3, "it sends metrics from some moment on");
    assert!(stage.telemetry.set_sdk(Sdk::Ignore) && !stage.telemetry.set_sdk(Sdk::Ignore));
    assert!(stage.on_exchange(export("/v1/traces"), &connection(), &sender, None).is_some());
}

#[test]
fn what_an_sdk_describes_is_counted_and_has_no_span_of_the_agents() {
    let mut stage = stage(Config::default());
    let tgid = ProcessId(0);
    let facts = Facts { has_sdk: true, is_automatic: true, describes_all: true, policy: Sdk::Pair };
    stage.tracer.sdks.set(tgid, 1, 0, facts);
    let key = stage.key;
    let opened = |role| Opened {
        key,
        role,
        thread: Thread::default(),
        start_ns: 1_000,
        parent: parent("01"),
        is_health_check: false,
        is_message: false,
        place: Place::Position(0),
    };
    for exchange in [served(get("/")), called(get("/"))] {
        stage.tracer.on_opened(&connection(), &opened(exchange.role), || None);
        let exchange = Exchange { parent: parent("01"), ..exchange };
        assert!(stage.on_exchange(exchange, &connection(), &resource(), None).is_none());
    }
    let metrics = stage.collect(9);
    let exemplars = |name| points(&metrics, name).iter().map(|point| point.exemplars.clone()).collect::<Vec<_>>();
    assert!(exemplars("http.server.request.duration").iter().all(Vec::is_empty));
    let of_calls = exemplars("http.client.request.duration").concat();
    assert_eq!(of_calls.first().map(|it| it.span_id), parent("01").map(|it| it.span_id));
}

#[test]
fn spans_are_counted_by_what_says_whose_child_they_are_and_by_runtime() {
    let mut stage = stage(Config::default());
    let python = Resource {
        attributes: vec![("telemetry.sdk.language".into(), Value::Static("python"))],
        ..Resource::clone(&resource())
    };
    for resource in [&Arc::new(python), &resource()] {
        stage.on_exchange(Exchange { parent: parent("01"), ..served(get("/")) }, &connection(), resource, None);
        stage.on_exchange(served(get("/")), &connection(), resource, None);
        // One that is not exported counts as none.
        stage.on_exchange(Exchange { parent: parent("00"), ..served(get("/")) }, &connection(), resource, None);
    }
    let by_evidence = [1, 0, 0, 0, 0, 0, 1];
    assert_eq!(stage.telemetry.parents(), [("".into(), by_evidence), ("python".into(), by_evidence)]);
}
