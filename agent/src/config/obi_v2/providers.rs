//! What is sent where: the declarative configuration's own sections.

use super::{
    super::node::{Node, Value},
    trees::{item_with, take, text_of},
};

pub(super) fn resource(file: &mut Node, ours: &mut Node) {
    let Some(Node { value: Value::Seq(items), origin }) = take(file, "resource.attributes") else { return };
    let pairs = items
        .iter()
        .filter_map(|item| Some((text_of(item.get("name")?)?.to_owned(), text_of(item.get("value")?)?.to_owned())));
    ours.set("resource_attributes", Node::pairs(pairs, origin));
}

pub(super) fn traces(file: &mut Node, ours: &mut Node) {
    sampler(file, ours);
    let Some(mut processors) = take(file, "tracer_provider.processors") else { return };
    if let Some(batch) = item_with(&mut processors, "batch") {
        for (theirs, key) in [("schedule_delay", "batch_timeout"), ("export_timeout", "export_timeout")] {
            if let Some(node) = take(batch, theirs) {
                ours.set(&format!("otel_traces_export.{key}"), milliseconds(node));
            }
        }
        for (theirs, key) in [("max_queue_size", "queue_size"), ("max_export_batch_size", "batch_max_size")] {
            if let Some(node) = take(batch, theirs) {
                ours.set(&format!("otel_traces_export.{key}"), node);
            }
        }
        exporter(batch, "otel_traces_export", ours);
    }
    file.set("tracer_provider.processors", processors);
}

pub(super) fn metrics(file: &mut Node, ours: &mut Node) {
    let Some(mut readers) = take(file, "meter_provider.readers") else { return };
    if let Some(periodic) = item_with(&mut readers, "periodic") {
        for (theirs, key) in [("interval", "interval"), ("timeout", "export_timeout")] {
            if let Some(node) = take(periodic, theirs) {
                ours.set(&format!("otel_metrics_export.{key}"), milliseconds(node));
            }
        }
        exporter(periodic, "otel_metrics_export", ours);
    }
    if let Some(pull) = item_with(&mut readers, "pull")
        && let Some(port) = take(pull, "exporter.prometheus/development.port")
    {
        ours.set("prometheus_export.port", port);
    }
    file.set("meter_provider.readers", readers);
}

fn sampler(file: &mut Node, ours: &mut Node) {
    let mut path = "tracer_provider.sampler".to_owned();
    let is_parent_based = file.get(&format!("{path}.parent_based")).is_some();
    if is_parent_based {
        path.push_str(".parent_based.root");
    }
    let Some(root) = file.get(&path) else { return };
    let parent = if is_parent_based { "parentbased_" } else { "" };
    let (name, ratio) = match &root.value {
        Value::Map(entries) => match entries.first().map(|(key, node)| (key.name.as_str(), node)) {
            Some(("always_on", _)) => ("always_on", None),
            Some(("always_off", _)) => ("always_off", None),
            Some(("trace_id_ratio_based", node)) => ("traceidratio", node.get("ratio").cloned()),
            _ => return,
        },
        _ => return,
    };
    let origin = root.origin.clone();
    ours.set("otel_traces_export.sampler.name", Node::text(format!("{parent}{name}"), origin));
    if let Some(ratio) = ratio {
        ours.set("otel_traces_export.sampler.arg", ratio);
    }
    let _read = take(file, "tracer_provider.sampler");
}

/// The OTLP exporter of a processor or reader.
fn exporter(of: &mut Node, section: &str, ours: &mut Node) {
    for kind in ["otlp_grpc", "otlp_http"] {
        let Some(mut otlp) = take(of, &format!("exporter.{kind}")) else { continue };
        let is_grpc = kind == "otlp_grpc";
        let is_json = take(&mut otlp, "encoding").is_some_and(|node| text_of(&node) == Some("json"));
        let protocol = match (is_grpc, is_json) {
            (true, _) => "grpc",
            (_, true) => "http/json",
            _ => "http/protobuf",
        };
        let insecure = take(&mut otlp, "tls.insecure").is_some_and(|node| text_of(&node) == Some("true"));
        let endpoint = take(&mut otlp, "endpoint").filter(|node| text_of(node).is_some_and(|text| !text.is_empty()));
        if let Some(endpoint) = endpoint {
            let text = text_of(&endpoint).unwrap_or_default();
            let scheme = if insecure { "http" } else { "https" };
            let text = if text.contains("://") { text.to_owned() } else { format!("{scheme}://{text}") };
            ours.set(&format!("{section}.protocol"), Node::text(protocol, endpoint.origin.clone()));
            ours.set(
                &format!("{section}.endpoint"),
                Node { value: Value::Scalar { text, is_plain: false }, ..endpoint },
            );
        }
        for (theirs, key) in [
            ("compression", "compression"),
            ("tls.ca_file", "certificate"),
            ("tls.key_file", "client_key"),
            ("tls.cert_file", "client_certificate"),
            ("temporality_preference", "temporality"),
            ("default_histogram_aggregation", "histogram_aggregation"),
        ] {
            if let Some(node) = take(&mut otlp, theirs) {
                ours.set(&format!("{section}.{key}"), node);
            }
        }
        if let Some(timeout) = take(&mut otlp, "timeout") {
            ours.set(&format!("{section}.timeout"), milliseconds(timeout));
        }
        if let Some(Node { value: Value::Seq(items), origin }) = take(&mut otlp, "headers") {
            let pair =
                |item: &Node| Some((text_of(item.get("name")?)?.to_owned(), text_of(item.get("value")?)?.to_owned()));
            ours.set(&format!("{section}.headers"), Node::pairs(items.iter().filter_map(pair), origin));
        }
        of.set(&format!("exporter.{kind}"), otlp);
    }
}

fn milliseconds(node: Node) -> Node {
    match text_of(&node) {
        Some(text) if text.bytes().all(|byte| byte.is_ascii_digit()) => Node::text(format!("{text}ms"), node.origin),
        _ => node,
    }
}
