//! `capture.instrumentation`: which protocols are told by which signal.

use super::{
    super::{
        error::Problem,
        node::{Node, Value},
    },
    trees::{take, text_of},
};

/// Lists of protocols per signal, where not all are on; and whether bodies are measured.
pub(super) fn enabled(obi: &mut Node, ours: &mut Node, warnings: &mut Vec<Problem>) {
    filters(obi, ours, warnings);
    if let Some(sizes) = take(obi, "capture.instrumentation.http.enabled.body_size_metrics")
        && text_of(&sizes).is_some_and(|text| text.eq_ignore_ascii_case("false"))
    {
        ours.set("metrics.features", Node::list(["application_red".to_owned()], sizes.origin));
    }
    let Some(Node { value: Value::Map(entries), .. }) = obi.get_mut("capture.instrumentation") else { return };
    for (signal, sections) in
        [("traces", &["otel_traces_export"][..]), ("metrics", &["otel_metrics_export", "prometheus_export"][..])]
    {
        // Look-ups have spans where that is asked for only, there and here.
        let mut off: Vec<String> = OFF.iter().filter(|_| signal == "traces").map(|name| (*name).to_owned()).collect();
        let mut place = None;
        for (key, protocol) in entries.iter_mut() {
            let Some(node) = take(protocol, &format!("enabled.{signal}")) else { continue };
            let is_off = text_of(&node).is_some_and(|text| text.eq_ignore_ascii_case("false"));
            if is_off != off.contains(&key.name) {
                if is_off {
                    off.push(key.name.clone());
                } else {
                    off.retain(|name| *name != key.name);
                }
                if HERE.contains(&key.name.as_str()) {
                    place.get_or_insert(node.origin);
                }
            }
        }
        let Some(place) = place else { continue };
        let on = PROTOCOLS.iter().filter(|name| !off.iter().any(|other| other == *name)).map(|name| (*name).to_owned());
        let list = Node::list(on, place);
        for section in sections {
            ours.set(&format!("{section}.instrumentations"), list.clone());
        }
    }
}

/// Those whose switch makes a difference here.
const HERE: &[&str] =
    &["http", "grpc", "sql", "redis", "kafka", "mqtt", "nats", "amqp", "mongo", "dns", "couchbase", "memcached"];
/// Those that have no spans unless they are asked for.
const OFF: &[&str] = &["dns"];

/// All that there are in OBI's second configuration.
const PROTOCOLS: &[&str] = &[
    "http",
    "grpc",
    "sql",
    "redis",
    "kafka",
    "mqtt",
    "nats",
    "amqp",
    "gpu",
    "mongo",
    "dns",
    "couchbase",
    "genai",
    "memcached",
    "sunrpc",
    "aerospike",
];

/// Filters are one for all protocols and signals, as OBI has them; each protocol repeats them.
fn filters(obi: &mut Node, ours: &mut Node, warnings: &mut Vec<Problem>) {
    let Some(Node { value: Value::Map(entries), .. }) = obi.get_mut("capture.instrumentation") else { return };
    let mut first: Option<Node> = None;
    for (key, protocol) in entries.iter_mut() {
        for signal in ["traces", "metrics"] {
            let Some(node) = take(protocol, &format!("filters.{signal}")).filter(|node| !node.is_empty()) else {
                continue;
            };
            match &first {
                None => first = Some(node),
                Some(first) if super::plain(first) == super::plain(&node) => {}
                Some(_) => {
                    let place = format!("extensions.obi.capture.instrumentation.{}.filters.{signal}", key.name);
                    let message = "differs from the filters before it, which hold for all protocols; it is ignored";
                    warnings.push(Problem::at(node.origin, place, message));
                }
            }
        }
    }
    if let Some(filters) = first {
        ours.set("filter.application", filters);
    }
}
