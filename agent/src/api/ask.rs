//! The questions.

use std::{
    collections::{BTreeMap, HashSet},
    sync::Arc,
    time::{Duration, Instant},
};

use axum::http::StatusCode;

use super::{
    Answer, Api,
    answers::{
        Agent, Counted, Counts, DiskInfo, GraphAnswer, GraphEdge, GraphNode, Loss, MetricPoint, NodeKind, NodeName,
        OverTime, Peer, Process, Processes, Rates, Route, Service, ServiceDetail, Services, SpanDetail, SpanSummary,
        StoreInfo, Trace, TraceSummary, Traces, ms, round,
    },
    query::Query,
    unix_ns, wrong,
};
use crate::{
    model::{
        metric::{Metric, Points},
        span::Kind,
        trace_context::TraceId,
    },
    store::{Filter, Graph, Kept, Key, Name, Node, Red, STEP_S, Side, Window, text_of},
};

/// Length of sparklines.
const SPARKLINE: Duration = Duration::from_secs(300);
/// Spans of a list on a service's page.
const LISTED: usize = 10;
/// Spans that are looked at for each trace that is asked for.
const SPANS_PER_TRACE: usize = 20;
/// Most spans of a trace that are shown.
const SPANS_MAX: usize = 5000;
/// How long the list of processes is good for.
const PROCESSES_FOR: Duration = Duration::from_secs(5);

fn name_of(key: &Key) -> Name {
    Name { service: key.service.clone(), namespace: key.namespace.clone() }
}

fn of_service<'a>(name: &'a str, namespace: Option<&'a str>) -> impl Fn(&Key) -> bool + Copy + 'a {
    move |key| key.service == name && namespace.is_none_or(|namespace| key.namespace == namespace)
}

/// Below that, a slot that is not over says little: what was before counts too.
const LEAST_S: f64 = 2.0;

/// How many there were in a second, for each step of so many seconds.
fn per_second(counts: impl IntoIterator<Item = u64>, seconds: &[f64]) -> Vec<f64> {
    let mut before = (0, 0.0);
    let each = counts.into_iter().zip(seconds).map(|(count, &length)| {
        let (all, over_s) = if length < LEAST_S { (before.0 + count, before.1 + length) } else { (count, length) };
        before = (count, length);
        if over_s > 0.0 { round(all as f64 / over_s) } else { 0.0 }
    });
    each.collect()
}

/// The same for the steps of a sparkline.
fn sparkline(api: &Api, line: Window, is_wanted: impl Fn(&Key) -> bool) -> Vec<f64> {
    let steps = api.store.over_time(line, is_wanted);
    per_second(steps.iter().map(|red| red.count), &api.store.seconds(line))
}

/// `GET /api/v1/services`
pub(super) fn services(api: &Api, query: &Query) -> Answer<Services> {
    query.only(&["window"]).map_err(wrong)?;
    let length = query.window().map_err(wrong)?;
    api.collector.collect_for_answer();
    let window = api.store.last(length);
    let mut sums: BTreeMap<Name, (Red, Red)> = BTreeMap::new();
    for (key, red) in api.store.red(window, |_| true) {
        let (served, made) = sums.entry(name_of(&key)).or_default();
        match key.side {
            Side::Server => served.add(&red),
            Side::Client => made.add(&red),
        }
    }
    let whose = api.store.snapshot().whose();
    let services = sums.into_iter().map(|(name, (served, made))| summary(api, &whose, &name, &served, &made, window));
    let mut services: Vec<Service> = services.collect();
    services.sort_by(|a, b| b.served.rate.total_cmp(&a.served.rate).then(b.made.rate.total_cmp(&a.made.rate)));
    Ok(Services { window_s: round(window.covered_s), services })
}

fn summary(
    api: &Api,
    whose: &[Arc<crate::store::Whose>],
    name: &Name,
    served: &Red,
    made: &Red,
    window: Window,
) -> Service {
    let line = api.store.last(SPARKLINE);
    let side = if served.count > 0 { Side::Server } else { Side::Client };
    let is_its = of_service(&name.service, Some(&name.namespace));
    Service {
        name: name.service.to_string(),
        namespace: name.namespace.to_string(),
        language: language_of(whose, name),
        served: Rates::of(served, window),
        made: Rates::of(made, window),
        sparkline: sparkline(api, line, |key| is_its(key) && key.side == side),
    }
}

fn language_of(whose: &[Arc<crate::store::Whose>], name: &Name) -> Option<String> {
    let of = whose.iter().filter(|whose| whose.service == name.service && whose.namespace == name.namespace);
    of.flat_map(|whose| &whose.attributes)
        .find(|(key, _)| key == "telemetry.sdk.language")
        .map(|(_, value)| text_of(value).into())
}

/// `GET /api/v1/services/{name}`
pub(super) fn service(api: &Api, name: &str, query: &Query) -> Answer<ServiceDetail> {
    query.only(&["window", "namespace"]).map_err(wrong)?;
    let length = query.window().map_err(wrong)?;
    let filter = query.filter().map_err(wrong)?;
    api.collector.collect_for_answer();
    let (window, namespace) = (api.store.last(length), filter.namespace.as_deref());
    let is_its = of_service(name, namespace);
    let sums = api.store.red(window, is_its);
    let spans = api.store.snapshot();
    let whose = spans.whose();
    let of = whose.iter().filter(|whose| whose.service == name && namespace.is_none_or(|it| whose.namespace == it));
    let of: Vec<_> = of.collect();
    let known = sums.first().map(|(key, _)| name_of(key));
    let known =
        known.or_else(|| of.first().map(|it| Name { service: it.service.clone(), namespace: it.namespace.clone() }));
    let Some(known) = known else {
        let error = format!("there is no service `{name}`, or it has done nothing in this time");
        return Err((StatusCode::NOT_FOUND, error));
    };
    let (mut served, mut made) = (Red::default(), Red::default());
    for (key, red) in &sums {
        match key.side {
            Side::Server => served.add(red),
            Side::Client => made.add(red),
        }
    }
    let side = if served.count == 0 && made.count > 0 { Side::Client } else { Side::Server };
    let mut by_name: BTreeMap<&str, Red> = BTreeMap::new();
    for (key, red) in sums.iter().filter(|(key, _)| key.side == side) {
        by_name.entry(&key.name).or_default().add(red);
    }
    let line = api.store.last(SPARKLINE);
    let mut routes: Vec<Route> = by_name
        .iter()
        .map(|(route, red)| {
            let sparkline = sparkline(api, line, |key| is_its(key) && key.side == side && key.name == *route);
            Route { name: (*route).to_owned(), rates: Rates::of(red, window), sparkline }
        })
        .collect();
    routes.sort_by_key(|route| std::cmp::Reverse(route.rates.requests));
    let graph = api.store.graph(window);
    let own = Node::Service(known.clone());
    let peer = |node: &Node, red: &Red| Peer { node: node_name(node), rates: Rates::of(red, window) };
    let callers = graph.edges.iter().filter(|edge| edge.to == own).map(|edge| peer(&edge.from, &edge.red)).collect();
    let calls = graph.edges.iter().filter(|edge| edge.from == own).map(|edge| peer(&edge.to, &edge.red)).collect();
    let kind = if side == Side::Server { Kind::Server } else { Kind::Client };
    let its = Filter {
        service: Some(name.to_owned()),
        namespace: filter.namespace.clone(),
        kind: Some(kind),
        ..Filter::default()
    };
    let (failing, _) = spans.find(&Filter { is_error: Some(true), ..its.clone() }, LISTED);
    let text = |whose: &Arc<crate::store::Whose>| {
        whose.attributes.iter().map(|(key, value)| (key.to_string(), text_of(value).into())).collect::<BTreeMap<_, _>>()
    };
    Ok(ServiceDetail {
        service: summary(api, &whose, &known, &served, &made, window),
        window_s: round(window.covered_s),
        is_client: side == Side::Client,
        over_time: {
            let steps = api.store.over_time(window, |key| is_its(key) && key.side == side);
            over_time(&steps, &api.store.seconds(window), window)
        },
        routes,
        callers,
        calls,
        instances: of.into_iter().map(text).take(100).collect(),
        slowest: spans.slowest(&its, LISTED).iter().map(SpanSummary::of).collect(),
        failing: failing.iter().map(SpanSummary::of).collect(),
    })
}

/// Points of a chart.
const POINTS_MAX: usize = 180;

fn over_time(steps: &[Red], seconds: &[f64], window: Window) -> OverTime {
    let together = steps.len().div_ceil(POINTS_MAX).max(1);
    let step_s = STEP_S * together as u64;
    let merged: Vec<Red> = steps
        .chunks(together)
        .map(|chunk| {
            let mut sum = Red::default();
            chunk.iter().for_each(|red| sum.add(red));
            sum
        })
        .collect();
    let seconds: Vec<f64> = seconds.chunks(together).map(|chunk| chunk.iter().sum()).collect();
    let each = |of: &dyn Fn(&Red) -> u64| per_second(merged.iter().map(of), &seconds);
    let quantile = |share: f64| merged.iter().map(|red| red.quantile(share).map(|s| round(s * 1000.0))).collect();
    OverTime {
        start_unix_s: window.from * STEP_S,
        step_s,
        rate: each(&|red| red.count),
        errors: each(&|red| red.errors),
        p50_ms: quantile(0.5),
        p95_ms: quantile(0.95),
        p99_ms: quantile(0.99),
    }
}

fn node_name(node: &Node) -> NodeName {
    let (kind, name, namespace) = match node {
        Node::Service(name) => (NodeKind::Service, name.service.as_str(), name.namespace.as_str()),
        Node::Users => (NodeKind::Users, "users", ""),
        Node::Outside(address, "db") => (NodeKind::Database, address.as_str(), ""),
        Node::Outside(address, "messaging") => (NodeKind::Messaging, address.as_str(), ""),
        Node::Outside(address, _) => (NodeKind::Outside, address.as_str(), ""),
    };
    let id = match node {
        Node::Service(_) => format!("service:{namespace}/{name}"),
        Node::Users => "users".to_owned(),
        Node::Outside(..) => format!("outside:{name}"),
    };
    NodeName { id, kind, name: name.to_owned(), namespace: namespace.to_owned() }
}

/// `GET /api/v1/graph`
pub(super) fn graph(api: &Api, query: &Query) -> Answer<GraphAnswer> {
    query.only(&["window"]).map_err(wrong)?;
    let length = query.window().map_err(wrong)?;
    api.collector.collect_for_answer();
    let window = api.store.last(length);
    let Graph { nodes, edges } = api.store.graph(window);
    let rates = |red: &Red| Rates::of(red, window);
    Ok(GraphAnswer {
        window_s: round(window.covered_s),
        nodes: nodes.iter().map(|(node, red)| GraphNode { node: node_name(node), rates: rates(red) }).collect(),
        edges: edges
            .iter()
            .map(|edge| GraphEdge {
                from: node_name(&edge.from).id,
                to: node_name(&edge.to).id,
                rates: rates(&edge.red),
            })
            .collect(),
    })
}

/// `GET /api/v1/counts`
pub(super) fn counts(api: &Api, query: &Query) -> Answer<Counts> {
    query.only(&["service", "namespace", "since"]).map_err(wrong)?;
    let filter = query.filter().map_err(wrong)?;
    let since = filter.since_unix_ns.unwrap_or_else(|| unix_ns().saturating_sub(60_000_000_000)) / 1_000_000_000;
    api.collector.collect_for_count();
    let window = api.store.since(since);
    let is_asked = |key: &Key| {
        filter.service.as_ref().is_none_or(|service| key.service == *service)
            && filter.namespace.as_ref().is_none_or(|namespace| key.namespace == *namespace)
    };
    let counted = api.store.red(window, is_asked).into_iter().map(|(key, red)| Counted {
        service: key.service.into(),
        namespace: key.namespace.into(),
        is_client: key.side == Side::Client,
        name: key.name.into(),
        target: key.target.into(),
        requests: red.count,
        errors: red.errors,
        sum_s: red.sum_s,
        buckets: red.buckets(),
    });
    Ok(Counts { since_unix_s: window.from * STEP_S, counted: counted.collect() })
}

/// `GET /api/v1/spans`: single spans, the latest or (`sort=slowest`) the slowest first.
pub(super) fn spans(api: &Api, query: &Query) -> Answer<Vec<SpanSummary>> {
    query.only_spans(&["limit", "sort"]).map_err(wrong)?;
    let (filter, limit) = (query.filter().map_err(wrong)?, query.limit(50).map_err(wrong)?);
    let spans = api.store.everything();
    let is_slowest = query.is_slowest_first().map_err(wrong)?;
    let found = if is_slowest { spans.slowest(&filter, limit) } else { spans.find(&filter, limit).0 };
    if spans.searched_since_unix_ns().is_some() {
        // A list cannot say that it is not all.
        return Err((StatusCode::SERVICE_UNAVAILABLE, format!("{TOO_LONG}; /api/v1/traces says how far it came")));
    }
    Ok(found.iter().map(SpanSummary::of).collect())
}

/// `GET /api/v1/traces`
pub(super) fn traces(api: &Api, query: &Query) -> Answer<Traces> {
    query.only_spans(&["limit", "sort"]).map_err(wrong)?;
    let (filter, limit) = (query.filter().map_err(wrong)?, query.limit(20).map_err(wrong)?);
    let spans = api.store.everything();
    let is_slowest = query.is_slowest_first().map_err(wrong)?;
    let (found, mut has_more) = if is_slowest {
        (spans.slowest(&filter, limit * SPANS_PER_TRACE), false)
    } else {
        spans.find(&filter, limit * SPANS_PER_TRACE)
    };
    let mut seen = HashSet::new();
    let mut first: Vec<Kept> = found.into_iter().filter(|span| seen.insert(span.trace_id)).collect();
    has_more |= first.len() > limit;
    first.truncate(limit);
    let ids: HashSet<TraceId> = first.iter().map(|span| span.trace_id).collect();
    let between =
        first.iter().map(|span| span.start_unix_ns).min().zip(first.iter().map(|span| span.end_unix_ns).max());
    let mut all = spans.traces(&ids, between);
    let traces = first.iter().filter_map(|found| trace_summary(found, all.remove(&found.trace_id)?)).collect();
    Ok(Traces {
        traces,
        has_more,
        kept_share: round(api.store.stats().share),
        since_unix_ms: spans.since_unix_ns().map(ms),
        searched_since_unix_ms: spans.searched_since_unix_ns().map(ms),
    })
}

/// What is said where a question would have read the disk for too long.
const TOO_LONG: &str = "reading what is on disk for it takes too long: ask for a shorter time (since, until), a service, or failed requests";

fn trace_summary(found: &Kept, mut spans: Vec<Kept>) -> Option<TraceSummary> {
    spans.sort_by_key(|span| (span.start_unix_ns, span.number));
    let root = spans.iter().find(|span| span.parent.is_none()).or_else(|| spans.first())?;
    let start = spans.iter().map(|span| span.start_unix_ns).min()?;
    let end = spans.iter().map(|span| span.end_unix_ns).max()?;
    let mut services: Vec<String> = Vec::new();
    for span in &spans {
        if !services.iter().any(|service| *service == span.whose.service.as_str()) {
            services.push(span.whose.service.to_string());
        }
    }
    Some(TraceSummary {
        trace_id: found.trace_id.to_string(),
        root: SpanSummary::of(root),
        found: SpanSummary::of(found),
        spans: spans.len() as u32,
        errors: spans.iter().filter(|span| span.is_error).count() as u32,
        services,
        start_unix_ms: ms(start),
        duration_ms: ms(end.saturating_sub(start)),
    })
}

pub(super) fn trace_id(text: &str) -> Answer<TraceId> {
    let bad = || wrong(format!("`{text}` is no trace id: 32 hexadecimal digits"));
    if text.is_empty() || text.len() > 32 {
        return Err(bad());
    }
    // Some leave zeros at the front out.
    let number = u128::from_str_radix(text, 16).map_err(|_| bad())?;
    Ok(TraceId(number.to_be_bytes()))
}

/// `GET /api/v1/traces/{trace_id}`
pub(super) fn trace(api: &Api, id: &str, query: &Query) -> Answer<Trace> {
    query.only(&[]).map_err(wrong)?;
    let id = trace_id(id)?;
    let everything = api.store.everything();
    let mut spans = everything.trace(id);
    let is_all_read = everything.searched_since_unix_ns().is_none();
    let is_cut = spans.len() > SPANS_MAX;
    spans.truncate(SPANS_MAX);
    let start = spans.iter().map(|span| span.start_unix_ns).min();
    let end = spans.iter().map(|span| span.end_unix_ns).max();
    let (Some(start), Some(end)) = (start, end) else {
        if !is_all_read {
            let error =
                format!("trace {id} was not found in the time that there is to read what is on disk: ask again");
            return Err((StatusCode::SERVICE_UNAVAILABLE, error));
        }
        let error = format!("of trace {id} nothing is kept (any more)");
        return Err((StatusCode::NOT_FOUND, error));
    };
    Ok(Trace {
        trace_id: id.to_string(),
        start_unix_ms: ms(start),
        duration_ms: ms(end.saturating_sub(start)),
        missing: missing(&spans, is_cut, is_all_read, api.store.thinned_at(id, start, end)),
        spans: spans.iter().map(|span| SpanDetail::of(span, start)).collect(),
    })
}

/// What of a trace is not there. `share`: of the traces that are kept, where it was not among these.
fn missing(spans: &[Kept], is_cut: bool, is_all_read: bool, share: Option<f64>) -> Option<String> {
    // What was made by a request of a service that is watched; what another header or SDK says was elsewhere.
    const HERE: [&str; 4] = ["connection", "task", "thread", "sole_request"];
    let ids: HashSet<_> = spans.iter().map(|span| span.span_id).collect();
    let is_left = |span: &&Kept| {
        let evidence = span.text("beyla.parent.evidence");
        span.parent.is_some_and(|parent| !ids.contains(&parent))
            && evidence.is_some_and(|evidence| HERE.contains(&evidence.as_str()))
    };
    let left = spans.iter().filter(is_left).count();
    let mut reasons = Vec::new();
    if is_cut {
        reasons.push(format!("only the first {SPANS_MAX} spans are shown"));
    }
    if !is_all_read {
        reasons.push("not all of what is on disk was read in the time that there is for it".to_owned());
    }
    if left > 0 {
        reasons.push(format!("the parents of {left} of its spans are not kept, or not over yet"));
    }
    if let Some(share) = share {
        let percent = round(share * 100.0);
        reasons.push(format!(
            "it is not among the {percent} % of traces that were kept then: what came of it before a span failed or was slow is not there"
        ));
    }
    (!reasons.is_empty()).then(|| reasons.join("; "))
}

/// `GET /api/v1/processes`
pub(super) fn processes(api: &Api, query: &Query) -> Answer<Processes> {
    query.only(&[]).map_err(wrong)?;
    let mut then = api.processes_then.lock();
    let is_fresh = |(at, _): &&(Instant, Vec<Process>)| at.elapsed() < PROCESSES_FOR;
    if let Some((_, processes)) = then.as_ref().filter(is_fresh) {
        return Ok(Processes { processes: processes.clone() });
    }
    let whose = api.store.snapshot().whose();
    let mut processes = (api.processes)();
    for process in &mut processes {
        process.has_spans = whose.iter().any(|whose| whose.service == process.service.as_str());
    }
    *then = Some((Instant::now(), processes.clone()));
    Ok(Processes { processes })
}

/// `GET /api/v1/agent`
pub(super) fn agent(api: &Api, query: &Query) -> Answer<Agent> {
    query.only(&[]).map_err(wrong)?;
    let now = unix_ns();
    let metrics: Vec<Metric> = api.of_itself.iter().flat_map(|source| source.collect(now)).collect();
    let points: Vec<MetricPoint> =
        metrics.iter().filter(|metric| metric.name.starts_with("beyla_rs.")).flat_map(points_of).collect();
    let stats = api.store.stats();
    let backend = points.iter().find(|point| point.name == "beyla_rs.build_info");
    let (cpu_s, memory_bytes) = usage();
    Ok(Agent {
        version: env!("CARGO_PKG_VERSION").to_owned(),
        backend: backend.and_then(|point| point.attributes.get("backend").cloned()).unwrap_or_default(),
        pid: std::process::id(),
        uptime_s: round(api.store.age().as_secs_f64()),
        cpu_s,
        memory_bytes,
        store: StoreInfo {
            bytes: stats.bytes,
            max_bytes: api.store.limit() as u64,
            offered: stats.offered,
            kept: stats.kept,
            thinned: stats.thinned,
            bytes_per_span: round(stats.bytes_per_span),
            kept_share: round(stats.share),
            since_unix_ms: api.store.everything().since_unix_ns().map(ms),
            disk: api.store.disk_stats().as_ref().map(DiskInfo::of),
        },
        losses: losses(&points),
        metrics: points,
    })
}

fn points_of(metric: &Metric) -> Vec<MetricPoint> {
    let (Points::Counter(points) | Points::UpDownCounter(points) | Points::Gauge(points)) = &metric.points else {
        return Vec::new();
    };
    let point = |point: &crate::model::metric::NumberPoint| MetricPoint {
        name: metric.name.to_owned(),
        attributes: point.attributes.iter().map(|it| (it.key.to_owned(), text_of(&it.value).into())).collect(),
        value: point.value,
    };
    points.iter().map(point).collect()
}

/// What is a loss, and what can be done about it: metric, value of its attribute, what it is called, advice.
const LOSSES: &[(&str, &str, &str, &str)] = &[
    (
        "beyla_rs.capture.lost",
        "ring_full",
        "records lost: the ring was full",
        "make ebpf.ring_buffer_bytes larger, or watch less",
    ),
    (
        "beyla_rs.capture.lost",
        "share",
        "records shed of services that take too much of the ring",
        "make ebpf.ring_buffer_bytes larger",
    ),
    (
        "beyla_rs.capture.lost",
        "map_full",
        "connections not followed: too many at once",
        "watch less with --pid, --port or --exe",
    ),
    (
        "beyla_rs.capture.lost",
        "read_fault",
        "pieces that could not be read",
        "nothing: their memory was not there just then",
    ),
    ("beyla_rs.capture.lost", "tls_record", "records of TLS that were lost", "nothing: their requests are unseen"),
    (
        "beyla_rs.requests.lost",
        "",
        "requests that are not told since their bytes were lost",
        "make ebpf.ring_buffer_bytes larger",
    ),
    (
        "beyla_rs.capture.lost_bytes",
        "",
        "bytes that moved unseen over known connections",
        "see docs/limitations.md: sendfile, splice, io_uring",
    ),
    (
        "beyla_rs.export.spans",
        "dropped_queue_full",
        "spans not sent: the queue was full",
        "the receiver is too slow or away; set export.spool.dir",
    ),
    (
        "beyla_rs.export.spans",
        "dropped_failed",
        "spans not sent: the receiver refused them",
        "see the agent's log for its answer",
    ),
    ("beyla_rs.export.spans", "rejected", "spans that the receiver rejected", "see the agent's log for its answer"),
    (
        "beyla_rs.print.spans",
        "dropped_queue_full",
        "spans not printed: the terminal is too slow",
        "--print off, or write to a file",
    ),
    (
        "beyla_rs.store.disk.spans",
        "dropped",
        "spans that are not kept on disk",
        "the disk of store.dir is full, fails or is too slow: see the agent's log",
    ),
    ("beyla_rs.store.disk.spans", "torn", "spans of earlier runs that cannot be read", "nothing: the agent was killed"),
    ("beyla_rs.store.spans", "dropped_queue_full", "spans that the store lost", "report it: that does not happen"),
    (
        "beyla_rs.metrics.overflowed",
        "",
        "requests counted in an overflow series",
        "raise telemetry.cardinality_limit, or give routes.patterns",
    ),
    (
        "beyla_rs.processes.unjudged",
        "",
        "processes that ended before they could be looked at",
        "nothing: they lived a moment only",
    ),
    ("beyla_rs.processes.unanswered", "", "files of processes that were not read", "a file system does not answer"),
    ("beyla_rs.anomalies", "evicted_connection", "connections given up for room", "watch less"),
];

/// What is lost as the agent's metrics of itself tell it.
pub(crate) fn losses_of(metrics: &[Metric]) -> Vec<Loss> {
    losses(&metrics.iter().flat_map(points_of).collect::<Vec<_>>())
}

fn losses(points: &[MetricPoint]) -> Vec<Loss> {
    let sum = |name: &str, word: &str| -> f64 {
        let has = |point: &&MetricPoint| {
            point.name == name && (word.is_empty() || point.attributes.values().any(|value| value == word))
        };
        points.iter().filter(has).map(|point| point.value).sum()
    };
    let rows = LOSSES.iter().map(|&(name, word, what, advice)| (sum(name, word), what, advice));
    rows.filter(|(count, ..)| *count > 0.0)
        .map(|(count, what, advice)| Loss { what: what.to_owned(), count, advice: advice.to_owned() })
        .collect()
}

/// CPU seconds and bytes of memory that this process takes.
fn usage() -> (f64, u64) {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // Behind the name, which may hold anything.
    let fields: Vec<&str> = stat.rsplit(')').next().unwrap_or_default().split_whitespace().collect();
    let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok()).unwrap_or(0.0);
    let per_second = rustix::param::clock_ticks_per_second() as f64;
    let pages = fields.get(21).and_then(|field| field.parse::<u64>().ok()).unwrap_or(0);
    (round((ticks(11) + ticks(12)) / per_second), pages * rustix::param::page_size() as u64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_just_begun_is_told_with_what_was_before() {
        assert_eq!(per_second([50, 30, 10], &[10.0, 3.0, 1.0]), [5.0, 10.0, 10.0]);
        assert_eq!(per_second([50, 9], &[10.0, 0.5]), [5.0, 5.619]);
        assert_eq!(per_second([7, 0, 3], &[0.0, 0.0, 10.0]), [0.0, 0.0, 0.3]);
    }
}
