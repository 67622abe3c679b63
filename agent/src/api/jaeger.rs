//! Jaeger's query API, as far as Grafana's data source asks it: version 3 (traces as OTLP's JSON), and the older one that most
//! versions of it still ask.

use std::collections::{BTreeMap, HashMap, HashSet};

use axum::http::StatusCode;
use serde_json::{Value as Json, json};

use super::{
    Answer, Api,
    ask::trace_id,
    query::{Query, TRACES_MAX, duration},
    wrong,
};
use crate::{
    model::{
        span::{Kind, Value},
        trace_context::TraceId,
    },
    store::{Filter, Kept, Node, text_of},
};

/// Traces where no number is asked for.
const TRACES: usize = 20;
/// Spans looked at for each.
const SPANS_PER_TRACE: usize = 20;

fn names(api: &Api) -> Vec<String> {
    let mut names: Vec<String> = api.store.everything().whose().iter().map(|whose| whose.service.to_string()).collect();
    names.sort();
    names.dedup();
    names
}

/// `GET /api/v3/services`
pub(super) fn services(api: &Api, _query: &Query) -> Answer<Json> {
    Ok(json!({ "services": names(api) }))
}

/// `GET /api/v3/operations?service=…`
pub(super) fn operations(api: &Api, query: &Query) -> Answer<Json> {
    let service = query.get("service").ok_or_else(|| wrong("service: is missing".to_owned()))?;
    let names = api.store.snapshot().names(service);
    let operations = names.iter().map(|(name, kind)| json!({ "name": name, "spanKind": kind.name().to_lowercase() }));
    Ok(json!({ "operations": operations.collect::<Vec<_>>() }))
}

fn time(text: &str) -> Option<u64> {
    // Grafana does not escape the sign of an offset, which then reads as a blank.
    let text = text.replace(' ', "+");
    u64::try_from(text.parse::<jiff::Timestamp>().ok()?.as_nanosecond()).ok()
}

fn attributes(json: &str) -> Answer<Vec<(String, String)>> {
    let parsed: BTreeMap<String, Json> =
        serde_json::from_str(json).map_err(|_| wrong(format!("`{json}` is no object of attributes")))?;
    let text = |value: Json| match value {
        Json::String(text) => text,
        other => other.to_string(),
    };
    Ok(parsed.into_iter().map(|(key, value)| (key, text(value))).collect())
}

fn micros(query: &Query, key: &str) -> Answer<Option<u64>> {
    let parse = |text: &str| {
        let length = duration(text).ok_or_else(|| wrong(format!("{key}: `{text}` is no length of time")))?;
        Ok(u64::try_from(length.as_micros()).unwrap_or(u64::MAX))
    };
    query.get(key).map(parse).transpose()
}

fn found(api: &Api, mut filter: Filter, tags: Vec<(String, String)>, limit: usize) -> HashMap<TraceId, Vec<Kept>> {
    for (key, value) in tags {
        match key.as_str() {
            "error" => filter.is_error = Some(value == "true"),
            _ => filter.attributes.push((key, value)),
        }
    }
    let spans = api.store.everything();
    let limit = limit.clamp(1, TRACES_MAX);
    let mut ids = HashSet::new();
    let mut between: Option<(u64, u64)> = None;
    for span in spans.find(&filter, limit * SPANS_PER_TRACE).0 {
        if ids.len() < limit {
            ids.insert(span.trace_id);
            let (from, until) = between.unwrap_or((span.start_unix_ns, span.end_unix_ns));
            between = Some((from.min(span.start_unix_ns), until.max(span.end_unix_ns)));
        }
    }
    spans.traces(&ids, between)
}

/// `GET /api/v3/traces`
pub(super) fn find(api: &Api, query: &Query) -> Answer<Json> {
    let get = |key: &str| query.get(key);
    let at = |key: &str| {
        let parse = |text: &str| time(text).ok_or_else(|| wrong(format!("{key}: `{text}` is no time (RFC 3339)")));
        get(key).map(parse).transpose()
    };
    let filter = Filter {
        service: get("query.service_name").map(str::to_owned),
        name: get("query.operation_name").map(str::to_owned),
        min_us: micros(query, "query.duration_min")?,
        max_us: micros(query, "query.duration_max")?,
        since_unix_ns: at("query.start_time_min")?,
        until_unix_ns: at("query.start_time_max")?,
        ..Filter::default()
    };
    let tags = get("query.attributes").map(attributes).transpose()?.unwrap_or_default();
    let limit = get("query.search_depth").or(get("query.num_traces")).and_then(|it| it.parse().ok()).unwrap_or(TRACES);
    let traces = found(api, filter, tags, limit);
    if traces.is_empty() {
        return Err((StatusCode::NOT_FOUND, "No traces found".to_owned()));
    }
    Ok(json!({ "result": { "resourceSpans": traces.values().flat_map(|spans| otlp(spans)).collect::<Vec<_>>() } }))
}

fn one(api: &Api, id: &str) -> Answer<Vec<Kept>> {
    let everything = api.store.everything();
    let spans = everything.trace(trace_id(id)?);
    if spans.is_empty() && everything.searched_since_unix_ns().is_some() {
        Err((StatusCode::SERVICE_UNAVAILABLE, "what is on disk could not be read in time: ask again".to_owned()))
    } else if spans.is_empty() {
        Err((StatusCode::NOT_FOUND, "trace not found".to_owned()))
    } else {
        Ok(spans)
    }
}

/// `GET /api/v3/traces/{trace_id}`
pub(super) fn trace(api: &Api, id: &str, _query: &Query) -> Answer<Json> {
    Ok(json!({ "result": { "resourceSpans": otlp(&one(api, id)?) } }))
}

fn by_whose(spans: &[Kept]) -> Vec<Vec<&Kept>> {
    let mut groups: BTreeMap<usize, Vec<&Kept>> = BTreeMap::new();
    for span in spans {
        groups.entry(std::sync::Arc::as_ptr(&span.whose).addr()).or_default().push(span);
    }
    groups.into_values().collect()
}

fn otlp(spans: &[Kept]) -> Vec<Json> {
    let value = |value: &Value| match value {
        Value::Int(value) => json!({ "intValue": value.to_string() }),
        Value::Double(value) => json!({ "doubleValue": value }),
        Value::Bool(value) => json!({ "boolValue": value }),
        text => json!({ "stringValue": text_of(text) }),
    };
    let one = |span: &Kept| {
        let attributes: Vec<Json> =
            span.attributes.iter().map(|it| json!({ "key": it.key, "value": value(&it.value) })).collect();
        let kind = match span.kind {
            Kind::Internal => 1,
            Kind::Server => 2,
            Kind::Client => 3,
            Kind::Producer => 4,
            Kind::Consumer => 5,
        };
        let mut json = json!({
            "traceId": span.trace_id.to_string(),
            "spanId": span.span_id.to_string(),
            "parentSpanId": span.parent.map(|parent| parent.to_string()).unwrap_or_default(),
            "name": span.name,
            "kind": kind,
            "startTimeUnixNano": span.start_unix_ns.to_string(),
            "endTimeUnixNano": span.end_unix_ns.to_string(),
            "attributes": attributes,
            "status": {},
        });
        if span.is_error {
            json["status"] = json!({ "code": 2 });
        }
        json
    };
    let group = |spans: Vec<&Kept>| {
        let attributes: Vec<Json> = spans
            .first()
            .map(|span| {
                span.whose.attributes.iter().map(|(key, its)| json!({ "key": key, "value": value(its) })).collect()
            })
            .unwrap_or_default();
        json!({
            "resource": { "attributes": attributes },
            "scopeSpans": [{
                "scope": { "name": "beyla-rs", "version": env!("CARGO_PKG_VERSION") },
                "spans": spans.into_iter().map(one).collect::<Vec<_>>(),
            }],
        })
    };
    by_whose(spans).into_iter().map(group).collect()
}

/// What the older API answers with.
fn data(data: Json) -> Json {
    let total = data.as_array().map_or(0, Vec::len);
    json!({ "data": data, "total": total, "limit": 0, "offset": 0, "errors": null })
}

/// `GET /api/services`
pub(super) fn old_services(api: &Api, _query: &Query) -> Answer<Json> {
    Ok(data(json!(names(api))))
}

/// `GET /api/services/{name}/operations`
pub(super) fn old_operations(api: &Api, service: &str, _query: &Query) -> Answer<Json> {
    let mut names: Vec<String> = api.store.snapshot().names(service).into_iter().map(|(name, _)| name.into()).collect();
    names.dedup();
    Ok(data(json!(names)))
}

/// `GET /api/traces`
pub(super) fn old_find(api: &Api, query: &Query) -> Answer<Json> {
    let get = |key: &str| query.get(key);
    let at = |key: &str| {
        let parse = |text: &str| match text.parse::<u64>() {
            Ok(us) => Ok(us.saturating_mul(1000)),
            Err(_) => Err(wrong(format!("{key}: `{text}` is no number of µs"))),
        };
        get(key).map(parse).transpose()
    };
    let filter = Filter {
        service: get("service").map(str::to_owned),
        name: get("operation").map(str::to_owned),
        min_us: micros(query, "minDuration")?,
        max_us: micros(query, "maxDuration")?,
        since_unix_ns: at("start")?,
        until_unix_ns: at("end")?,
        ..Filter::default()
    };
    let tags = get("tags").map(attributes).transpose()?.unwrap_or_default();
    let limit = get("limit").and_then(|limit| limit.parse().ok()).unwrap_or(TRACES);
    let traces = found(api, filter, tags, limit);
    Ok(data(traces.values().map(|spans| old(spans)).collect()))
}

/// `GET /api/traces/{trace_id}`
pub(super) fn old_trace(api: &Api, id: &str, _query: &Query) -> Answer<Json> {
    Ok(data(json!([old(&one(api, id)?)])))
}

/// `GET /api/dependencies`
pub(super) fn old_dependencies(api: &Api, query: &Query) -> Answer<Json> {
    let seconds = |key: &str| query.get(key).and_then(|ms| ms.parse::<u64>().ok()).map(|ms| ms / 1000);
    let length_s = seconds("lookback").unwrap_or(3600);
    let window = match seconds("endTs") {
        Some(end_s) => api.store.since(end_s.saturating_sub(length_s)).before(end_s),
        None => api.store.last(std::time::Duration::from_secs(length_s.min(86_400))),
    };
    let name = |node: &Node| match node {
        Node::Service(name) => Some(name.service.to_string()),
        Node::Users | Node::Outside(..) => None,
    };
    let graph = api.store.graph(window);
    let edges = graph.edges.iter().filter_map(|edge| {
        Some(json!({ "parent": name(&edge.from)?, "child": name(&edge.to)?, "callCount": edge.red.count }))
    });
    Ok(data(edges.collect()))
}

fn old(spans: &[Kept]) -> Json {
    let tag = |key: &str, value: &Value| match value {
        Value::Int(value) => json!({ "key": key, "type": "int64", "value": value }),
        Value::Double(value) => json!({ "key": key, "type": "float64", "value": value }),
        Value::Bool(value) => json!({ "key": key, "type": "bool", "value": value }),
        text => json!({ "key": key, "type": "string", "value": text_of(text) }),
    };
    let mut processes = serde_json::Map::new();
    let mut all = Vec::new();
    for (number, group) in by_whose(spans).into_iter().enumerate() {
        let process = format!("p{}", number + 1);
        for span in group {
            if !processes.contains_key(&process) {
                let tags: Vec<Json> = span.whose.attributes.iter().map(|(key, value)| tag(key, value)).collect();
                processes.insert(process.clone(), json!({ "serviceName": span.whose.service, "tags": tags }));
            }
            let mut tags: Vec<Json> = span.attributes.iter().map(|it| tag(it.key, &it.value)).collect();
            tags.push(tag("span.kind", &Value::Str(span.kind.name().to_lowercase().into())));
            if span.is_error {
                tags.push(tag("error", &Value::Bool(true)));
            }
            let parent = span.parent.map(|parent| {
                json!({ "refType": "CHILD_OF", "traceID": span.trace_id.to_string(), "spanID": parent.to_string() })
            });
            all.push(json!({
                "traceID": span.trace_id.to_string(),
                "spanID": span.span_id.to_string(),
                "operationName": span.name,
                "references": parent.into_iter().collect::<Vec<_>>(),
                "startTime": span.start_unix_ns / 1000,
                "duration": span.duration_ns() / 1000,
                "tags": tags,
                "logs": [],
                "processID": process,
                "warnings": null,
            }));
        }
    }
    let id = spans.first().map(|span| span.trace_id.to_string()).unwrap_or_default();
    json!({ "traceID": id, "spans": all, "processes": processes, "warnings": null })
}
