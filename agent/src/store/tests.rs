use std::{
    collections::{HashMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use super::{spans::Counts, *};
use crate::{
    export::testing,
    model::{
        ids::ProcessId,
        metric::{Bounds, HistogramPoint, NativeHistogram, Points},
        net::Endpoint,
        span::{Attribute, Kind, Link, Resource, Status, Value},
        trace_context::{SpanId, TraceId},
    },
};

const MIB: usize = 1 << 20;

fn batch(spans: Vec<Span>) -> Arc<Vec<Span>> {
    Arc::new(spans)
}

fn all(store: &Store) -> Vec<Kept> {
    store.snapshot().find(&Filter::default(), usize::MAX - 1).0
}

#[test]
fn a_span_is_read_as_it_was_written() {
    let store = Store::new(8 * MIB, None);
    let mut other = testing::span(2);
    other.parent = None;
    other.status = Status::Error;
    other.kind = Kind::Consumer;
    other.local = Endpoint::Unix("/run/x.sock".into());
    other.links = vec![Link { trace_id: TraceId([9; 16]), span_id: SpanId([8; 8]) }];
    other.attributes = vec![
        Attribute { key: "double", value: Value::Double(-0.25) },
        Attribute { key: "bool", value: Value::Bool(true) },
        Attribute { key: "not", value: Value::Bool(false) },
        Attribute { key: "int", value: Value::Int(i64::MIN) },
        Attribute { key: "text", value: Value::Str("\u{1b}[2J<script>\u{202e}".into()) },
        Attribute { key: "empty", value: Value::Static("") },
    ];
    let spans = [testing::span(1), other];
    store.push(&batch(spans.to_vec()));
    for (kept, span) in all(&store).iter().rev().zip(&spans) {
        assert_eq!((kept.trace_id, kept.span_id, kept.parent), (span.trace_id, span.span_id, span.parent));
        assert_eq!((kept.start_unix_ns, kept.end_unix_ns), (span.start_unix_ns, span.end_unix_ns));
        assert_eq!((kept.kind, kept.is_error), (span.kind, span.status == Status::Error));
        assert_eq!((&kept.name, &kept.trace_state, kept.pid), (&span.name, &span.trace_state, span.pid));
        assert_eq!(kept.attributes, span.attributes);
        assert_eq!(kept.links, span.links);
        assert_eq!(kept.local.as_deref(), Some(span.local.to_string().as_str()));
        assert_eq!(kept.whose.attributes, span.resource.attributes);
        assert_eq!((kept.whose.service.as_str(), kept.whose.namespace.as_str()), ("shop-api", "shop"));
    }
}

#[test]
fn what_is_asked_for_is_found_and_nothing_else() {
    let store = Store::new(8 * MIB, None);
    let spans = (1..=1000).map(|number| {
        let mut span = testing::span(number);
        span.end_unix_ns = span.start_unix_ns + number * 1_000_000;
        if number % 10 == 0 {
            span.status = Status::Error;
        }
        if number == 3 {
            span.attributes.push(Attribute { key: "only.one", value: Value::Static("yes") });
        }
        span
    });
    store.push(&batch(spans.collect()));
    let spans = store.snapshot();
    let count = |filter: Filter| spans.find(&filter, 10_000).0.len();
    assert_eq!(count(Filter { is_error: Some(true), ..Filter::default() }), 100);
    assert_eq!(count(Filter { min_us: Some(500_000), max_us: Some(599_999), ..Filter::default() }), 100);
    assert_eq!(
        count(Filter { service: Some("shop-api".into()), namespace: Some("shop".into()), ..Filter::default() }),
        1000
    );
    assert_eq!(count(Filter { service: Some("other".into()), ..Filter::default() }), 0);
    assert_eq!(
        count(Filter { name: Some("GET /api/items/{id}".into()), kind: Some(Kind::Server), ..Filter::default() }),
        1000
    );
    assert_eq!(count(Filter { kind: Some(Kind::Client), ..Filter::default() }), 0);
    let attribute =
        |key: &str, value: &str| Filter { attributes: vec![(key.into(), value.into())], ..Filter::default() };
    assert_eq!(count(attribute("http.response.status_code", "200")), 1000);
    assert_eq!(count(attribute("service.instance.id", "i-1")), 1000, "of the resource");
    assert_eq!(count(attribute("http.response.status_code", "500")), 0);
    assert_eq!(count(Filter { text: Some("ITEMS/4711".into()), ..Filter::default() }), 1000);
    let (latest, has_more) = spans.find(&Filter::default(), 3);
    assert_eq!((latest.iter().map(|span| span.number).collect::<Vec<_>>(), has_more), (vec![1000, 999, 998], true));
    let slowest = spans.slowest(&Filter::default(), 2);
    assert_eq!(slowest.iter().map(Kept::duration_ns).collect::<Vec<_>>(), [1_000_000_000, 999_000_000]);
    // One of the fastest, by what only its attributes tell.
    let port = Filter { attributes: vec![("only.one".to_owned(), "yes".to_owned())], ..Filter::default() };
    for found in [spans.slowest(&port, 2), spans.find(&port, 2).0] {
        assert_eq!(found.iter().map(|span| span.number).collect::<Vec<_>>(), [3]);
    }
    assert_eq!(spans.trace(testing::span(7).trace_id).len(), 1);
    assert_eq!(spans.traces(&HashSet::from([testing::span(7).trace_id, TraceId([1; 16])]), None).len(), 1);
    assert_eq!(spans.names("shop-api").len(), 1);
}

#[test]
fn who_follows_gets_each_span_once() {
    let store = Store::new(1 << 30, None);
    let mut next = store.next();
    let mut seen = Vec::new();
    for round in 0..50 {
        store.push(&batch((0..97).map(|number| testing::span(1 + round * 97 + number)).collect()));
        loop {
            let found = store.between(next, u64::MAX, &Filter::default(), 100);
            next = found.next;
            assert_eq!(found.left_out, 0);
            if found.spans.is_empty() {
                break;
            }
            seen.extend(found.spans.iter().map(|span| span.number));
        }
    }
    assert_eq!(seen, (1..=50 * 97).collect::<Vec<u64>>());
    let found = store.between(1, u64::MAX, &Filter::default(), 40);
    assert_eq!((found.spans.len(), found.left_out, found.next), (40, 50 * 97 - 40, next), "and the rest is counted");
}

/// An id as random as ids are.
fn trace_id(number: u64) -> TraceId {
    TraceId(u128::from(number).wrapping_mul(0x9e37_79b9_7f4a_7c15_f39c_c060_5ced_c835).to_be_bytes())
}

/// Rounds of 300 spans in two seconds each, a trace each: fewer than are thinned out, in all more than there is room for.
fn rounds(spans: &mut Spans, rounds: u64, mut change: impl FnMut(u64, u64, &mut Span)) {
    let now = Instant::now();
    for round in 0..rounds {
        let batch: Vec<Span> = (0..300)
            .map(|number| {
                let mut span = testing::span(round * 300 + number + 1);
                span.trace_id = trace_id(round * 300 + number + 1);
                change(round, number, &mut span);
                span
            })
            .collect();
        spans.insert(&batch, now + Duration::from_secs(2 * round));
    }
}

#[test]
fn memory_is_bounded_and_what_failed_outlives_the_rest() {
    let mut spans = Spans::new(2 * MIB, None);
    rounds(&mut spans, 100, |_, number, span| {
        if number == 0 {
            span.status = Status::Error;
        }
    });
    // Blocks that are not full may be beyond.
    assert!(spans.bytes() <= 2 * MIB + MIB / 4, "{}", spans.bytes());
    assert_eq!((spans.counts.kept, spans.counts.thinned), (30_000, 0));
    let errors = spans.blocks().find(&Filter { is_error: Some(true), ..Filter::default() }, 1000).0;
    assert_eq!(errors.len(), 100, "one a round");
    let left = spans.blocks().find(&Filter::default(), 100_000).0.len();
    assert!((1000..20_000).contains(&left), "{left}");
    println!("{:.0} bytes per span of 16 attributes", spans.bytes_per_span());
    assert!(spans.bytes_per_span() < 260.0, "{}", spans.bytes_per_span());
}

#[test]
fn a_trace_that_may_lack_what_was_thinned_out_is_told_from_one_that_does_not() {
    let mut spans = Spans::new(2 * MIB, None);
    let now = Instant::now();
    let second = |number: u64| number * 1_000_000_000;
    // Few, then far too many, then few again.
    for round in 0..30_u64 {
        let count = if (10..20).contains(&round) { 5000 } else { 10 };
        let span = |number: u64| Span {
            trace_id: trace_id(round * 5000 + number + 1),
            start_unix_ns: second(round),
            end_unix_ns: second(round) + 1,
            ..testing::span(1)
        };
        spans.insert(&(0..count).map(span).collect::<Vec<_>>(), now + Duration::from_secs(round));
    }
    let all = (1..1000).map(trace_id);
    let lacking = |from: u64, until: u64| {
        all.clone().filter(|id| spans.thinned_at(*id, second(from), second(until)).is_some()).count()
    };
    assert_eq!(lacking(0, 5), 0, "all were kept");
    let many = lacking(12, 13);
    assert!(
        (500..1000).contains(&many),
        "{many} of 999 at a share of {:?}",
        spans.thinned_at(trace_id(1), second(12), second(13))
    );
    assert!(lacking(0, 29) >= many, "one that lasted so long met the least share");
    for id in all.clone().filter(|id| spans.thinned_at(*id, second(12), second(13)).is_none()) {
        assert!(spans.thinned_at(id, second(3), second(4)).is_none());
    }
}

#[test]
fn counts_of_two_times_tell_what_came_between() {
    let red = Red::of_counts(10, 2, 1.0, &[(100, 4), (110, 6)]);
    let later = Red::of_counts(15, 3, 2.0, &[(100, 4), (110, 6), (120, 5)]);
    let between = later.without(&red);
    assert_eq!((between.count, between.errors, between.buckets()), (5, 1, vec![(120, 5)]));
    let p50 = between.quantile(0.5).unwrap();
    assert!((1.0..=1.19).contains(&p50), "bucket 120 begins at a second: {p50}");
}

#[test]
fn more_than_there_is_room_for_is_thinned_out_by_whole_traces() {
    let mut spans = Spans::new(2 * MIB, None);
    let now = Instant::now();
    for second in 0..30_u64 {
        // Three spans of each of 2000 traces a second, in other batches.
        for part in 0..3_u64 {
            let span = |number: u64| Span {
                trace_id: trace_id(second * 2000 + number + 1),
                span_id: SpanId((part + 1).to_be_bytes()),
                ..testing::span(1)
            };
            spans.insert(&(0..2000).map(span).collect::<Vec<_>>(), now + Duration::from_millis(1000 * second + part));
        }
    }
    let Counts { kept, thinned } = spans.counts;
    assert_eq!(kept + thinned, 30 * 2000 * 3, "each is accounted for");
    assert!((30 * 100..30 * 1000).contains(&kept), "{kept}: some hundred a second");
    let mut whole = HashMap::new();
    for span in spans.blocks().find(&Filter::default(), 100_000).0 {
        *whole.entry(span.trace_id).or_insert(0) += 1;
    }
    let parts = whole.values().filter(|spans| **spans != 3).count();
    assert!(
        parts * 4 < whole.len(),
        "{parts} of {} traces are not whole: those around a change of the share",
        whole.len()
    );
}

#[test]
fn writers_never_wait_for_readers_and_nothing_is_lost() {
    let store = Arc::new(Store::new(8 * MIB, None));
    let held = store.spans.lock();
    let its = Arc::clone(&store);
    // It would wait for ever here.
    std::thread::spawn(move || its.push(&batch(vec![testing::span(1)]))).join().unwrap();
    drop(held);
    store.push(&batch(vec![testing::span(2)]));
    assert_eq!(
        all(&store).iter().map(|span| span.span_id).collect::<Vec<_>>(),
        [SpanId([0, 0, 0, 0, 0, 0, 0, 2]), SpanId([0, 0, 0, 0, 0, 0, 0, 1])]
    );
    assert_eq!(store.stats().dropped, 0);
}

#[test]
fn a_resource_is_not_held() {
    let store = Store::new(8 * MIB, None);
    let resource = testing::resource("gone", ProcessId(1));
    let span = Span { resource: Arc::clone(&resource), ..testing::span(1) };
    store.push(&batch(vec![span]));
    assert_eq!(Arc::strong_count(&resource), 1, "or its instance would seem to be in use");
    assert_eq!(all(&store)[0].whose.service, "gone");
}

#[test]
fn what_takes_longer_than_nearly_all_is_kept_longer() {
    let mut spans = Spans::new(2 * MIB, None);
    rounds(&mut spans, 100, |round, number, span| {
        let us = if (round, number) == (3, 200) { 900_000 } else { 1000 + number };
        span.end_unix_ns = span.start_unix_ns + us * 1000;
    });
    let slow = spans.blocks().slowest(&Filter::default(), 1);
    assert_eq!(slow[0].duration_ns(), 900_000_000);
}

#[test]
fn what_was_before_native_buckets_were_kept_has_its_durations() {
    let mut series = Series::new(1 << 20);
    let resource = testing::span(1).resource;
    let mut of = metric(&resource, "http.server.request.duration", &[], [5, 1, 0]);
    let Points::Histogram(points) = &mut of.points else { panic!() };
    let native = |before: &[u64], buckets: &[u64]| {
        let buckets = buckets.to_vec();
        let count = buckets.iter().sum();
        let before = before.to_vec();
        Some(Box::new(NativeHistogram {
            start_unix_ns: 1,
            count,
            sum: 0.0,
            schema: 0,
            zero_count: 0,
            offset: -7,
            buckets,
            before,
        }))
    };
    points[0].native = native(&[5, 0, 0], &[1]);
    series.take(std::slice::from_ref(&of), 1_000_000_000);
    let all = |series: &Series| series.sums(series.last(Duration::from_secs(60)), |_| true)[0].1.clone();
    assert_eq!(all(&series).buckets().iter().map(|(_, count)| count).sum::<u32>(), 6);
    // They begin anew: what was told is not told again.
    let Points::Histogram(points) = &mut of.points else { panic!() };
    (points[0].count, points[0].native) = (7, native(&[6, 0, 0], &[0, 1]));
    series.take(&[of], 2_000_000_000);
    assert_eq!(all(&series).buckets().iter().map(|(_, count)| count).sum::<u32>(), 7);
}

fn metric(
    resource: &Arc<Resource>,
    name: &'static str,
    attributes: &[(&'static str, &'static str)],
    counts: [u64; 3],
) -> Metric {
    let attributes = attributes.iter().map(|&(key, value)| Attribute { key, value: Value::Static(value) }).collect();
    let point = HistogramPoint {
        attributes,
        start_unix_ns: 1,
        updated_unix_ns: 1,
        count: counts.iter().sum(),
        sum: counts.iter().sum::<u64>() as f64 * 0.05,
        min: 0.0,
        max: 1.0,
        bounds: Bounds::Static(&[0.01, 0.1]),
        buckets: counts.to_vec(),
        native: None,
        exemplars: Vec::new(),
    };
    Metric { name, unit: "s", description: "", resource: Arc::clone(resource), points: Points::Histogram(vec![point]) }
}

const S: u64 = 1_000_000_000;
const HTTP: &str = "http.server.request.duration";

#[test]
fn a_database_that_is_watched_answers_as_other_servers_do() {
    let store = Store::new(8 * MIB, None);
    let resource = testing::resource("redis-server", ProcessId(1));
    store.start_at(1000 * S);
    let of = [("db.system.name", "redis"), ("db.operation.name", "GET")];
    store.take(&[metric(&resource, "db.server.operation.duration", &of, [7, 0, 0])], 1005 * S);
    let sums = store.red(store.last(Duration::from_secs(60)), |_| true);
    let [(key, red)] = sums.as_slice() else { panic!("{sums:?}") };
    assert_eq!((key.name.as_str(), key.side, key.group, red.count), ("GET", Side::Server, "db", 7));
}

#[test]
fn rates_are_what_the_metrics_say_since_they_said_it_last() {
    let store = Store::new(8 * MIB, None);
    let resource = testing::resource("shop", ProcessId(1));
    store.start_at(1000 * S);
    let ok = [("http.request.method", "GET"), ("http.route", "/a")];
    let failed = [("http.request.method", "GET"), ("http.route", "/a"), ("error.type", "500")];
    let say = |at, ok_counts, failed_counts| {
        let metrics = [metric(&resource, HTTP, &ok, ok_counts), metric(&resource, HTTP, &failed, failed_counts)];
        store.take(&metrics, at * S);
    };
    say(1005, [10, 0, 0], [0, 0, 0]);
    say(1008, [30, 0, 0], [0, 0, 1]);
    // The same once more says nothing new.
    say(1015, [30, 0, 0], [0, 0, 1]);
    say(1025, [30, 70, 0], [0, 0, 4]);
    let window = store.last(Duration::from_secs(60));
    assert_eq!(window.covered_s, 25.0, "since requests are counted");
    let sums = store.red(window, |_| true);
    let [(key, red)] = sums.as_slice() else { panic!("{sums:?}") };
    assert_eq!((key.name.as_str(), key.side, red.count, red.errors), ("GET /a", Side::Server, 104, 4));
    assert!((window.per_second(red.count) - 104.0 / 25.0).abs() < 1e-9);
    let median = red.quantile(0.5).unwrap();
    assert!((0.01..0.1).contains(&median), "{median}");
    let steps = store.over_time(window, |_| true);
    let counts: Vec<u64> = steps.iter().map(|red| red.count).filter(|count| *count > 0).collect();
    assert_eq!(counts, [31, 73]);
    assert_eq!(
        store.over_time(store.last(Duration::from_secs(10)), |_| true).iter().map(|red| red.count).sum::<u64>(),
        73
    );
    // A process that starts anew counts from zero.
    say(1035, [5, 0, 0], [0, 0, 0]);
    assert_eq!(store.red(store.last(Duration::from_secs(10)), |_| true)[0].1.count, 5);
}

#[test]
fn rates_are_of_the_time_that_their_counts_are_of() {
    let store = Store::new(8 * MIB, None);
    let resource = testing::resource("shop", ProcessId(1));
    // Ten requests a second; taken each ten seconds while nobody asks, and then by who asks at the beginning of a slot.
    store.start_at(1000 * S);
    for at in [1008, 1018, 1028, 1038, 1041] {
        let of = [("http.request.method", "GET"), ("http.route", "/a")];
        store.take(&[metric(&resource, HTTP, &of, [(at - 1000) * 10, 0, 0])], at * S);
        for length in [10, 20, 60] {
            let window = store.last(Duration::from_secs(length));
            let count = store.red(window, |_| true)[0].1.count;
            assert_eq!(window.per_second(count), 10.0, "{length} at {at}: {count} in {window:?}");
            let steps = store.over_time(window, |_| true);
            let seconds = store.seconds(window);
            for (red, length) in steps.iter().zip(&seconds).filter(|(red, _)| red.count > 0) {
                assert_eq!(red.count as f64 / length, 10.0, "{at}: {seconds:?}");
            }
        }
    }
    assert_eq!(store.seconds(store.last(Duration::from_secs(20))), [10.0, 3.0]);
}

#[test]
fn series_are_bounded_in_bytes_and_the_latest_stay() {
    let store = Store::new(MIB, None);
    let resource = testing::resource("shop", ProcessId(1));
    store.start_at(S);
    let names: Vec<String> = (0..60).map(|number| format!("/{number}")).collect();
    for slot in 1..=2000_u64 {
        let metrics: Vec<Metric> = names
            .iter()
            .map(|route| {
                let mut metric = metric(&resource, HTTP, &[("http.request.method", "GET")], [slot, slot, slot]);
                if let Points::Histogram(points) = &mut metric.points {
                    points[0]
                        .attributes
                        .push(Attribute { key: "http.route", value: Value::Str(route.as_str().into()) });
                }
                metric
            })
            .collect();
        store.take(&metrics, slot * STEP_S * S);
    }
    let bytes = store.series.lock().bytes();
    assert!(bytes <= MIB / 4 + MIB / 8, "{bytes}");
    let latest = store.red(store.last(Duration::from_secs(600)), |_| true);
    assert_eq!((latest.len(), latest[0].1.count), (60, 180));
    let steps = store.over_time(store.last(Duration::from_secs(20_000)), |_| true);
    assert!(steps.iter().filter(|red| red.count > 0).count() < 2000);
}

#[test]
fn quantiles_are_at_most_a_tenth_off_with_exponential_buckets() {
    use crate::model::metric::ExponentialPoint;
    let store = Store::new(8 * MIB, None);
    let resource = testing::resource("shop", ProcessId(1));
    store.start_at(S);
    for (scale, value) in [(8, 0.0123_f64), (4, 1.7), (2, 0.000_3), (3, 40.0)] {
        let index = (value.log2() * f64::from(1 << scale)).ceil() as i32 - 1;
        let point = ExponentialPoint {
            attributes: vec![Attribute { key: "http.route", value: Value::Str(format!("/{scale}").into()) }],
            start_unix_ns: 1,
            updated_unix_ns: 1,
            count: 10,
            sum: 1.0,
            min: 0.0,
            max: 1.0,
            scale,
            zero_count: 0,
            offset: index,
            buckets: vec![10],
            exemplars: Vec::new(),
        };
        let points = Points::ExponentialHistogram(vec![point]);
        store.take(
            &[Metric { name: HTTP, unit: "s", description: "", resource: Arc::clone(&resource), points }],
            20 * S,
        );
        let sums = store.red(store.last(Duration::from_secs(60)), |key| key.name == format!("/{scale}").as_str());
        let median = sums[0].1.quantile(0.5).unwrap();
        assert!((median / value - 1.0).abs() < 0.1, "{value}: {median}");
    }
}

#[test]
fn the_graph_joins_calls_with_who_answers_them_and_tells_what_comes_from_outside() {
    let store = Store::new(8 * MIB, None);
    let (front, back) = (testing::resource("front", ProcessId(1)), testing::resource("back", ProcessId(2)));
    let text = |key, value: &str| Attribute { key, value: Value::Str(value.into()) };
    let client = Span {
        kind: Kind::Client,
        span_id: SpanId([1; 8]),
        attributes: vec![text("server.address", "127.0.0.1"), Attribute { key: "server.port", value: Value::Int(80) }],
        resource: Arc::clone(&front),
        ..testing::span(1)
    };
    let server =
        Span { parent: Some(SpanId([1; 8])), span_id: SpanId([2; 8]), resource: Arc::clone(&back), ..testing::span(1) };
    store.push(&batch(vec![client, server]));
    store.start_at(S);
    let calls = [("http.request.method", "GET"), ("server.address", "127.0.0.1"), ("server.port", "80")];
    let to_db = [("db.system.name", "postgresql"), ("server.address", "db"), ("server.port", "5432")];
    store.take(
        &[
            metric(&front, HTTP, &[("http.request.method", "GET")], [100, 0, 0]),
            metric(&front, "http.client.request.duration", &calls, [90, 0, 0]),
            metric(&front, "db.client.operation.duration", &to_db, [7, 0, 0]),
            metric(&back, HTTP, &[("http.request.method", "GET")], [90, 0, 0]),
        ],
        5 * S,
    );
    let graph = store.graph(store.last(Duration::from_secs(60)));
    let edges: Vec<String> = graph
        .edges
        .iter()
        .map(|edge| format!("{} > {} {}", shown(&edge.from), shown(&edge.to), edge.red.count))
        .collect();
    assert_eq!(edges, ["front > back 90", "front > db:5432 7", "users > front 100"]);
    assert_eq!(graph.nodes.len(), 4);
}

#[test]
fn at_an_address_is_who_answered_there_last() {
    let store = Store::new(8 * MIB, None);
    let front = testing::resource("front", ProcessId(1));
    for (number, service) in [(1, "before"), (2, "after")] {
        let port = Attribute { key: "server.port", value: Value::Int(80) };
        let address = Attribute { key: "server.address", value: Value::Static("127.0.0.1") };
        let client = Span {
            kind: Kind::Client,
            span_id: SpanId([number; 8]),
            attributes: vec![address, port],
            resource: Arc::clone(&front),
            ..testing::span(1)
        };
        let resource = testing::resource(service, ProcessId(2));
        let server = Span { parent: Some(SpanId([number; 8])), span_id: SpanId([9; 8]), resource, ..testing::span(1) };
        store.push(&batch(vec![client, server]));
    }
    store.start_at(S);
    let calls = [("server.address", "127.0.0.1"), ("server.port", "80")];
    store.take(&[metric(&front, "http.client.request.duration", &calls, [5, 0, 0])], 5 * S);
    let graph = store.graph(store.last(Duration::from_secs(60)));
    let edges: Vec<String> = graph.edges.iter().map(|edge| shown(&edge.to)).collect();
    assert_eq!(edges, ["after"]);
}

#[test]
fn who_is_at_an_address_is_learnt_from_what_came_since_it_was_asked_last() {
    // With room for all of it.
    let store = Store::new(1 << 30, None);
    let front = testing::resource("front", ProcessId(1));
    let text = |key, value: &str| Attribute { key, value: Value::Str(value.into()) };
    let client = |number: u8, attributes| Span {
        kind: Kind::Client,
        span_id: SpanId([number; 8]),
        attributes,
        resource: Arc::clone(&front),
        ..testing::span(1)
    };
    let many = |count| store.push(&batch((0..count).map(testing::span).collect()));
    store.start_at(S);
    let called = |port| [("server.address", "127.0.0.1"), ("server.port", port)];
    let called =
        ["80", "81", "82"].map(|port| metric(&front, "http.client.request.duration", &called(port), [5, 0, 0]));
    store.take(&called, 5 * S);
    let whom = || {
        let graph = store.graph(store.last(Duration::from_secs(60)));
        graph.edges.iter().map(|edge| shown(&edge.to)).collect::<Vec<_>>().join(" ")
    };
    let unknown = "127.0.0.1:80 127.0.0.1:81 127.0.0.1:82";
    assert_eq!(whom(), unknown);
    // More than a block, so that what follows begins in the midst of one.
    many(1500);
    assert_eq!(whom(), unknown);
    store.push(&batch(vec![client(1, vec![text("server.address", "127.0.0.1"), text("server.port", "80")])]));
    many(400);
    assert_eq!(whom(), unknown, "its other end is not told yet");
    let resource = testing::resource("back", ProcessId(2));
    let server = Span { parent: Some(SpanId([1; 8])), span_id: SpanId([2; 8]), resource, ..testing::span(1) };
    store.push(&batch(vec![server]));
    assert_eq!(whom(), "back 127.0.0.1:81 127.0.0.1:82");
    many(3000);
    let told = [text("server.address", "127.0.0.1"), text("server.port", "81"), text("service.peer.name", "told")];
    store.push(&batch(vec![client(3, told.to_vec())]));
    assert_eq!(whom(), "back told 127.0.0.1:82");
    assert_eq!(whom(), "back told 127.0.0.1:82", "nothing is forgotten");
}

fn shown(node: &Node) -> String {
    match node {
        Node::Service(name) => name.service.to_string(),
        Node::Users => "users".to_owned(),
        Node::Outside(address, _) => address.to_string(),
    }
}
