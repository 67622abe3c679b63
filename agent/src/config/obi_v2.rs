//! Files of OBI's configuration 2.0: OpenTelemetry's declarative configuration (`file_format`, `tracer_provider` …) with OBI's
//! own section (`extensions.obi`). What has an equal here is read as that; what is left is named in a warning.

use super::{
    Config,
    de::from_node,
    error::Problem,
    node::{Key, Node, Value},
    pattern::REGEX_PREFIX,
};

/// Matches no path.
const NOTHING: &str = "^$";

/// Whether a file is such a one.
fn is_one(file: &Node) -> bool {
    file.get("extensions.obi").is_some() || file.get("file_format").is_some()
}

/// Rewrites such a file as one of ours.
pub(crate) fn modernise(file: &mut Node, warnings: &mut Vec<Problem>) {
    if !is_one(file) {
        return;
    }
    let mut ours = Node::empty_map(file.origin.clone());
    // Said for tools that read the file; what they say is known.
    for key in ["file_format", "extensions.obi.version"] {
        let _said = take(file, key);
    }
    resource(file, &mut ours);
    traces(file, &mut ours);
    metrics(file, &mut ours);
    if let Some(mut obi) = take(file, "extensions.obi") {
        selection(&mut obi, &mut ours, warnings);
        for (theirs, key) in MOVED {
            if let Some(node) = take(&mut obi, theirs) {
                ours.set(key, node);
            }
        }
        if let Some(printer) = take(&mut obi, "daemon.logging.debug_trace_output") {
            let text = match text_of(&printer).unwrap_or_default() {
                "disabled" => "off",
                "json_indent" => "json",
                other => other,
            };
            ours.set("print", Node::text(text, printer.origin.clone()));
        }
        if let Some(mode) = take(&mut obi, "enrich.enrichers.kubernetes.mode") {
            let text = match text_of(&mode).unwrap_or_default() {
                "enabled" => "true",
                "disabled" => "false",
                other => other,
            };
            ours.set("attributes.kubernetes.enable", Node::text(text, mode.origin.clone()));
        }
        if let Some(unmatched) = take(&mut obi, "capture.instrumentation.http.routes.unmatched") {
            let text = text_of(&unmatched).unwrap_or_default().replace('_', "-");
            let text = if text == "disabled" { "unset".to_owned() } else { text };
            ours.set("routes.unmatched", Node::text(text, unmatched.origin.clone()));
        }
        if let Some(signals) = obi.get_mut("capture.instrumentation") {
            leave_out_defaults(signals);
        }
        left(&obi, "extensions.obi", warnings);
    }
    for section in STANDARD {
        if let Some(rest) = take(file, section) {
            left(&rest, section, warnings);
        }
    }
    // What is wrong in a file of theirs does not stop the start.
    if let Err(problems) = from_node::<Config>(&mut ours) {
        let ignored = |problem: Problem| Problem { message: format!("{}; it is ignored", problem.message), ..problem };
        warnings.extend(problems.into_iter().map(ignored));
    }
    file.overlay(ours);
}

/// Sections of the declarative configuration that have no meaning here beyond what was read of them.
const STANDARD: &[&str] = &[
    "extensions",
    "resource",
    "tracer_provider",
    "meter_provider",
    "logger_provider",
    "propagator",
    "attribute_limits",
    "disabled",
    "distribution",
    "instrumentation/development",
];

/// Keys of OBI's section that have another name here.
const MOVED: &[(&str, &str)] = &[
    ("daemon.shutdown.timeout", "shutdown_timeout"),
    ("enrich.enrichers.kubernetes.cluster_name", "attributes.kubernetes.cluster_name"),
    ("enrich.enrichers.kubernetes.auth.kubeconfig_path", "attributes.kubernetes.kubeconfig_path"),
    ("capture.instrumentation.http.routes.patterns", "routes.patterns"),
    ("capture.instrumentation.http.routes.ignored_patterns", "routes.ignored_patterns"),
    ("capture.instrumentation.http.routes.ignore_mode", "routes.ignore_mode"),
    ("capture.instrumentation.http.routes.wildcard_char", "routes.wildcard_char"),
    ("capture.instrumentation.http.routes.max_path_segment_cardinality", "routes.max_path_segment_cardinality"),
];

// ---- which processes

fn selection(obi: &mut Node, ours: &mut Node, warnings: &mut Vec<Problem>) {
    let excludes_rest =
        take(obi, "capture.policy.default_action").is_some_and(|node| text_of(&node) == Some("exclude"));
    let order = take(obi, "capture.policy.match_order");
    let Some(Node { value: Value::Seq(mut rules), origin }) = take(obi, "capture.rules") else {
        if excludes_rest {
            ours.set("discovery.instrument", nothing(obi));
        }
        return;
    };
    if order.is_some_and(|node| text_of(&node) == Some("last_match_wins")) {
        rules.reverse();
    }
    let (mut included, mut excluded) = (Vec::new(), Vec::new());
    for mut rule in rules {
        let place = rule.origin.clone();
        let action = take(&mut rule, "action");
        let includes = action.as_ref().and_then(text_of) == Some("include");
        for said in ["name", "description"] {
            let _for_readers = take(&mut rule, said);
        }
        // Services that are seen to export are left to themselves in any case.
        let exports_otlp = take(&mut rule, "match.process.exports_otlp").is_some();
        let mut criterion = criterion(&mut rule);
        let chooses = !criterion.is_empty();
        if includes {
            refine(&mut rule, &mut criterion);
        } else if chooses && !included.is_empty() {
            let message = "excludes also what a rule before it includes";
            warnings.push(Problem::at(place.clone(), "extensions.obi.capture.rules", message));
        }
        if let Some(unknown) = rule.get("match").filter(|rest| !is_nothing(rest)) {
            // Without one of its conditions it would match too much.
            let message = "is left out: not all that it asks for is known";
            warnings.push(Problem::at(unknown.origin.clone(), "extensions.obi.capture.rules", message));
            left(&rule, "extensions.obi.capture.rules[]", warnings);
            continue;
        }
        left(&rule, "extensions.obi.capture.rules[]", warnings);
        match (chooses, includes) {
            (true, true) => included.push(criterion),
            (true, false) => excluded.push(criterion),
            (false, _) if exports_otlp => {}
            (false, _) => {
                let message = "is left out: it asks for nothing";
                warnings.push(Problem::at(place, "extensions.obi.capture.rules", message));
            }
        }
    }
    let list = |items| Node { value: Value::Seq(items), origin: origin.clone() };
    if included.is_empty() && excludes_rest {
        ours.set("discovery.instrument", nothing(obi));
    } else if !included.is_empty() {
        if !excludes_rest {
            let mut all = Node::empty_map(origin.clone());
            all.set("exe_path", Node::text("*", origin.clone()));
            included.push(all);
        }
        ours.set("discovery.instrument", list(included));
    }
    if !excluded.is_empty() {
        ours.set("discovery.exclude_instrument", list(excluded));
    }
}

/// A list of one entry that chooses no process.
fn nothing(place: &Node) -> Node {
    let mut entry = Node::empty_map(place.origin.clone());
    entry.set("exe_path", Node::text(format!("{REGEX_PREFIX}{NOTHING}"), place.origin.clone()));
    Node { value: Value::Seq(vec![entry]), origin: place.origin.clone() }
}

/// An entry of `discovery.instrument` out of what a rule matches.
fn criterion(rule: &mut Node) -> Node {
    let mut ours = Node::empty_map(rule.origin.clone());
    for key in ["open_ports", "target_pids", "containers_only"] {
        if let Some(node) = take(rule, &format!("match.process.{key}")) {
            ours.set(key, joined(node));
        }
    }
    for (theirs, key) in [
        ("match.process.exe_path_glob", "exe_path"),
        ("match.process.cmd_args_glob", "cmd_args"),
        ("match.process.language_glob", "languages"),
        ("match.kubernetes.namespace_glob", "k8s_namespace"),
    ] {
        if let Some(node) = take(rule, theirs) {
            ours.set(key, any_of(node));
        }
    }
    for (theirs, key) in [
        ("match.kubernetes.metadata_glob", None),
        ("match.kubernetes.pod_labels_glob", Some("k8s_pod_labels")),
        ("match.kubernetes.pod_labels", Some("k8s_pod_labels")),
        ("match.kubernetes.pod_annotations_glob", Some("k8s_pod_annotations")),
        ("match.kubernetes.pod_annotations", Some("k8s_pod_annotations")),
    ] {
        let Some(Node { value: Value::Map(entries), origin }) = take(rule, theirs) else { continue };
        let entries: Vec<(Key, Node)> = entries.into_iter().map(|(name, globs)| (name, any_of(globs))).collect();
        match key {
            Some(key) => ours.set(key, Node { value: Value::Map(entries), origin }),
            None => entries.into_iter().for_each(|(name, glob)| ours.set(&name.name, glob)),
        }
    }
    ours
}

/// What is set for what a rule includes.
fn refine(rule: &mut Node, criterion: &mut Node) {
    let given = ["traces", "metrics"].map(|signal| (signal, take(rule, &format!("refine.exports.{signal}"))));
    if let Some(origin) = given.iter().find_map(|(_, node)| Some(node.as_ref()?.origin.clone())) {
        let is_off = |node: &Option<Node>| node.as_ref().and_then(text_of) == Some("false");
        let on = given.iter().filter(|(_, node)| !is_off(node)).map(|(signal, _)| (*signal).to_owned());
        criterion.set("exports", Node::list(on, origin));
    }
    if let Some(patterns) = take(rule, "refine.http.routes.patterns") {
        criterion.set("routes.incoming", patterns);
    }
}

/// Several globs as one.
fn any_of(node: Node) -> Node {
    let Value::Seq(items) = &node.value else { return node };
    let globs: Vec<String> = items
        .iter()
        .filter_map(text_of)
        // A comma would part alternatives.
        .map(|glob| if glob.contains('{') { glob.to_owned() } else { glob.replace(',', "[,]") })
        .collect();
    let text = match items.as_slice() {
        [one] => text_of(one).unwrap_or_default().to_owned(),
        _ => format!("{{{}}}", globs.join(",")),
    };
    Node { value: Value::Scalar { text, is_plain: false }, origin: node.origin }
}

/// A list of numbers as one text.
fn joined(node: Node) -> Node {
    let Value::Seq(items) = &node.value else { return node };
    let text = items.iter().filter_map(text_of).collect::<Vec<_>>().join(",");
    Node::text(text, node.origin)
}

// ---- what is sent where

fn resource(file: &mut Node, ours: &mut Node) {
    let Some(Node { value: Value::Seq(items), origin }) = take(file, "resource.attributes") else { return };
    let pairs = items
        .iter()
        .filter_map(|item| Some((text_of(item.get("name")?)?.to_owned(), text_of(item.get("value")?)?.to_owned())));
    ours.set("resource_attributes", Node::pairs(pairs, origin));
}

fn traces(file: &mut Node, ours: &mut Node) {
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

fn metrics(file: &mut Node, ours: &mut Node) {
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

// ---- trees

fn text_of(node: &Node) -> Option<&str> {
    match &node.value {
        Value::Scalar { text, .. } => Some(text),
        _ => None,
    }
}

/// Takes out what stands at a dotted path; nothing where that says nothing.
fn take(tree: &mut Node, path: &str) -> Option<Node> {
    let (parent, name) = match path.rsplit_once('.') {
        Some((parent, name)) => (tree.get_mut(parent)?, name),
        None => (tree, path),
    };
    let Value::Map(entries) = &mut parent.value else { return None };
    let index = entries.iter().position(|(key, _)| key.name == name)?;
    let (_, node) = entries.remove(index);
    (node.value != Value::Null).then_some(node)
}

/// Within a list, what stands below `name` in the first item that has it.
fn item_with<'a>(list: &'a mut Node, name: &str) -> Option<&'a mut Node> {
    let Value::Seq(items) = &mut list.value else { return None };
    items.iter_mut().find_map(|item| item.get_mut(name))
}

/// Takes out `enabled: true`, which is how it is here.
fn leave_out_defaults(protocols: &mut Node) {
    let Value::Map(entries) = &mut protocols.value else { return };
    for (_, protocol) in entries {
        for signal in ["enabled.traces", "enabled.metrics"] {
            if protocol.get(signal).and_then(text_of) == Some("true") {
                let _as_it_is = take(protocol, signal);
            }
        }
    }
}

/// Whether there is no value in a tree.
fn is_nothing(node: &Node) -> bool {
    match &node.value {
        Value::Null => true,
        Value::Scalar { .. } => false,
        Value::Seq(items) => items.iter().all(is_nothing),
        Value::Map(entries) => entries.iter().all(|(_, node)| is_nothing(node)),
    }
}

/// Names the values that were not read.
fn left(node: &Node, path: &str, warnings: &mut Vec<Problem>) {
    match &node.value {
        Value::Null => {}
        Value::Scalar { .. } => {
            let message = "is an option of OBI's configuration 2.0 that is not supported; it is ignored";
            warnings.push(Problem::at(node.origin.clone(), path, message));
        }
        Value::Seq(items) => items.iter().for_each(|item| left(item, &format!("{path}[]"), warnings)),
        Value::Map(entries) => {
            entries.iter().for_each(|(key, node)| left(node, &format!("{path}.{}", key.name), warnings));
        }
    }
}
