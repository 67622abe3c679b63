//! Files of OBI's configuration 2.0: OpenTelemetry's declarative configuration (`file_format`, `tracer_provider` …) with OBI's
//! own section (`extensions.obi`). Each option is read as that of OBI's first configuration, which is what is known of it here.

mod protocols;
mod providers;
mod rules;
mod trees;

use self::trees::{is_nothing, left, take, text_of};
use super::{
    Config,
    de::from_node,
    error::Problem,
    keys,
    node::{Node, Value},
};

/// Keys that were read as others: as they are known here, as they are written there.
#[derive(Debug, Default)]
pub(crate) struct Renamed(Vec<(&'static str, String)>);

impl Renamed {
    /// Lets problems speak of keys as they are written.
    pub(crate) fn apply(&self, problems: &mut [Problem]) {
        for problem in problems {
            if let Some((_, written)) = self.0.iter().find(|(ours, _)| *ours == problem.key) {
                problem.key.clone_from(written);
            }
        }
    }
}

/// Whether a file is such a one.
fn is_one(file: &Node) -> bool {
    file.get("extensions.obi").is_some() || file.get("file_format").is_some()
}

/// Rewrites such a file as one of OBI's first configuration, and ours.
pub(crate) fn modernise(
    file: &mut Node,
    schema: &serde_json::Value,
    refused: &mut Vec<Problem>,
    warnings: &mut Vec<Problem>,
) -> Renamed {
    let mut renamed = Renamed::default();
    if !is_one(file) {
        return renamed;
    }
    let mut ours = Node::empty_map(file.origin.clone());
    // Said for tools that read the file.
    for (key, known) in [("file_format", &["1.", "0."]), ("extensions.obi.version", &["2.", "2"])] {
        if let Some(said) = take(file, key)
            && let Some(text) = text_of(&said)
            && !known.iter().any(|known| text.starts_with(known))
        {
            let message = format!("`{text}` is not known; the file is read as one of {}", known[0]);
            warnings.push(Problem::at(said.origin.clone(), key, message));
        }
    }
    providers::resource(file, &mut ours);
    providers::traces(file, &mut ours);
    providers::metrics(file, &mut ours);
    propagators(file, &mut ours);
    if let Some(disabled) = take(file, "disabled") {
        ours.set("sdk_disabled", disabled);
    }
    if let Some(mut obi) = take(file, "extensions.obi") {
        rules::selection(&mut obi, &mut ours, refused, warnings);
        one_direction(&mut obi, warnings);
        protocols::enabled(&mut obi, &mut ours, warnings);
        unused_sections(&mut obi);
        enrichment(&mut obi, &mut ours);
        for (theirs, key) in MOVED {
            let Some(node) = take(&mut obi, theirs) else { continue };
            if is_nothing(&node) || text_of(&node) == Some("") {
                continue;
            }
            renamed.0.push((key, format!("extensions.obi.{theirs}")));
            ours.set(key, node);
        }
        words(&mut obi, &mut ours);
        left(&obi, "extensions.obi", warnings);
    }
    for section in STANDARD {
        if let Some(rest) = take(file, section) {
            left(&rest, section, warnings);
        }
    }
    // What is wrong in a file of theirs does not stop the start.
    let mut known = ours.clone();
    let (mut problems, mut told) = (Vec::new(), Vec::new());
    let _told_later = keys::check(&mut known, schema, &mut problems, &mut told);
    if let Err(problems) = from_node::<Config>(&mut known) {
        for mut problem in problems {
            let path: Vec<String> = problem.key.replace('[', ".[").split('.').map(str::to_owned).collect();
            ours.clear(&path);
            problem.message.push_str("; it is ignored");
            warnings.push(problem);
        }
    }
    renamed.apply(warnings);
    file.overlay(ours);
    renamed
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
    "distribution",
    "instrumentation/development",
];

/// Keys of OBI's section, and what they were called in its first configuration, or are called here.
const MOVED: &[(&str, &str)] = &[
    ("capture.policy.poll_interval", "discovery.poll_interval"),
    ("capture.policy.min_process_age", "discovery.min_process_age"),
    ("capture.limits.metric_span_names", "attributes.metric_span_names_limit"),
    ("capture.instrumentation.http.track_request_headers", "ebpf.track_request_headers"),
    ("capture.instrumentation.http.request_timeout", "ebpf.http_request_timeout"),
    ("capture.instrumentation.http.go_http_client_buffer_timeout", "ebpf.go_http_client_buffer_timeout"),
    ("capture.instrumentation.http.buffer_size", "ebpf.buffer_sizes.http"),
    ("capture.instrumentation.http.routes.patterns", "routes.patterns"),
    ("capture.instrumentation.http.routes.ignored_patterns", "routes.ignored_patterns"),
    ("capture.instrumentation.http.routes.ignore_mode", "routes.ignore_mode"),
    ("capture.instrumentation.http.routes.wildcard_char", "routes.wildcard_char"),
    ("capture.instrumentation.http.routes.max_path_segment_cardinality", "routes.max_path_segment_cardinality"),
    ("capture.instrumentation.http.routes.discovery.timeout", "discovery.route_harvester_timeout"),
    ("capture.instrumentation.http.routes.discovery.disabled_languages", "discovery.disabled_route_harvesters"),
    (
        "capture.instrumentation.http.routes.discovery.java.delay",
        "discovery.route_harvester_advanced.java_harvest_delay",
    ),
    ("capture.instrumentation.sql.heuristic_detect", "ebpf.heuristic_sql_detect"),
    ("capture.instrumentation.sql.mysql.buffer_size", "ebpf.buffer_sizes.mysql"),
    ("capture.instrumentation.sql.mysql.prepared_statements_cache_size", "ebpf.mysql_prepared_statements_cache_size"),
    ("capture.instrumentation.sql.postgres.buffer_size", "ebpf.buffer_sizes.postgres"),
    (
        "capture.instrumentation.sql.postgres.prepared_statements_cache_size",
        "ebpf.postgres_prepared_statements_cache_size",
    ),
    ("capture.instrumentation.sql.mssql.buffer_size", "ebpf.buffer_sizes.mssql"),
    ("capture.instrumentation.sql.mssql.prepared_statements_cache_size", "ebpf.mssql_prepared_statements_cache_size"),
    ("capture.instrumentation.redis.db_cache.enabled", "ebpf.redis_db_cache.enabled"),
    ("capture.instrumentation.redis.db_cache.max_size", "ebpf.redis_db_cache.max_size"),
    ("capture.instrumentation.kafka.buffer_size", "ebpf.buffer_sizes.kafka"),
    ("capture.instrumentation.kafka.topic_uuid_cache_size", "ebpf.kafka_topic_uuid_cache_size"),
    ("capture.instrumentation.mongo.requests_cache_size", "ebpf.mongo_requests_cache_size"),
    ("capture.instrumentation.couchbase.db_cache_size", "ebpf.couchbase_db_cache_size"),
    ("capture.instrumentation.dns.request_timeout", "ebpf.dns_request_timeout"),
    ("capture.instrumentation.gpu.enabled_mode", "ebpf.instrument_cuda"),
    ("capture.runtimes.nodejs.enabled", "nodejs.enabled"),
    ("capture.runtimes.java.enabled", "javaagent.enabled"),
    ("capture.runtimes.java.debug.enabled", "javaagent.debug"),
    ("capture.runtimes.java.debug.bytecode_instrumentation", "javaagent.debug_instrumentation"),
    ("capture.runtimes.java.attach_timeout", "javaagent.attach_timeout"),
    ("capture.engine.debug.bpf", "ebpf.bpf_debug"),
    ("capture.engine.debug.protocol_print", "ebpf.protocol_debug_print"),
    ("capture.engine.pid_filter.disabled", "discovery.bpf_pid_filter_off"),
    ("capture.engine.batching.wakeup_len", "ebpf.wakeup_len"),
    ("capture.engine.batching.batch_length", "ebpf.batch_length"),
    ("capture.engine.batching.batch_timeout", "ebpf.batch_timeout"),
    ("capture.engine.propagation.context_propagation", "ebpf.context_propagation"),
    ("capture.engine.propagation.override_bpfloop_enabled", "ebpf.override_bpfloop_enabled"),
    ("capture.engine.propagation.disable_black_box_cp", "ebpf.disable_black_box_cp"),
    ("capture.engine.traffic.control_backend", "ebpf.traffic_control_backend"),
    ("capture.engine.traffic.high_request_volume", "ebpf.high_request_volume"),
    ("capture.engine.traffic.force_map_reader", "ebpf.force_bpf_map_reader"),
    ("capture.engine.transactions.max_duration", "ebpf.max_transaction_time"),
    ("capture.engine.maps.global_scale_factor", "ebpf.maps_config.global_scale_factor"),
    ("capture.engine.bpf_filesystem.path", "ebpf.bpf_fs_path"),
    ("capture.safety.enforce_system_capabilities", "enforce_sys_caps"),
    ("capture.channels.buffer_len", "channel_buffer_len"),
    ("capture.channels.send_timeout", "channel_send_timeout"),
    ("capture.channels.panic_on_send_timeout", "channel_send_timeout_panic"),
    ("capture.telemetry.traces.reporters_cache_len", "otel_traces_export.reporters_cache_len"),
    ("capture.telemetry.metrics.reporters_cache_len", "otel_metrics_export.reporters_cache_len"),
    ("capture.telemetry.metrics.ttl", "otel_metrics_export.ttl"),
    ("enrich.enrichers.kubernetes.cluster_name", "attributes.kubernetes.cluster_name"),
    ("enrich.enrichers.kubernetes.service_name_template", "attributes.kubernetes.service_name_template"),
    ("enrich.enrichers.kubernetes.auth.kubeconfig_path", "attributes.kubernetes.kubeconfig_path"),
    ("enrich.enrichers.kubernetes.informers.initial_sync_timeout", "attributes.kubernetes.informers_sync_timeout"),
    (
        "enrich.enrichers.kubernetes.informers.reconnect_initial_interval",
        "attributes.kubernetes.reconnect_initial_interval",
    ),
    ("enrich.enrichers.kubernetes.informers.resync_period", "attributes.kubernetes.informers_resync_period"),
    ("enrich.enrichers.kubernetes.informers.disabled", "attributes.kubernetes.disable_informers"),
    ("enrich.enrichers.kubernetes.drop_external", "attributes.kubernetes.drop_external"),
    ("enrich.enrichers.kubernetes.resource_labels", "attributes.kubernetes.resource_labels"),
    ("enrich.enrichers.kubernetes.metadata_cache.address", "attributes.kubernetes.meta_cache_address"),
    (
        "enrich.enrichers.kubernetes.metadata_cache.restrict_local_node",
        "attributes.kubernetes.meta_restrict_local_node",
    ),
    (
        "enrich.enrichers.kubernetes.metadata_cache.source_labels.service_name",
        "attributes.kubernetes.meta_source_labels.service_name",
    ),
    (
        "enrich.enrichers.kubernetes.metadata_cache.source_labels.service_namespace",
        "attributes.kubernetes.meta_source_labels.service_namespace",
    ),
    ("enrich.service_name.unresolved_hosts.names.default", "attributes.rename_unresolved_hosts"),
    ("enrich.service_name.unresolved_hosts.names.outgoing", "attributes.rename_unresolved_hosts_outgoing"),
    ("enrich.service_name.unresolved_hosts.names.incoming", "attributes.rename_unresolved_hosts_incoming"),
    ("enrich.service_name.sources", "name_resolver.sources"),
    ("enrich.service_name.cache.size", "name_resolver.cache_len"),
    ("enrich.service_name.cache.ttl", "name_resolver.cache_expiry"),
    ("enrich.attributes.select", "attributes.select"),
    ("enrich.attributes.extra_group_attributes", "attributes.extra_group_attributes"),
    ("enrich.attributes.metadata_retry.timeout", "attributes.metadata_retry.timeout"),
    ("enrich.attributes.metadata_retry.start_interval", "attributes.metadata_retry.start_interval"),
    ("enrich.attributes.metadata_retry.max_interval", "attributes.metadata_retry.max_interval"),
    ("daemon.logging.format", "log_format"),
    ("daemon.logging.config_format", "log_config"),
    ("daemon.profiling.port", "profile_port"),
    ("daemon.shutdown.timeout", "shutdown_timeout"),
    ("daemon.internal_metrics.exporter", "internal_metrics.exporter"),
    ("daemon.internal_metrics.prometheus.port", "internal_metrics.prometheus.port"),
    ("daemon.internal_metrics.prometheus.path", "internal_metrics.prometheus.path"),
    ("daemon.internal_metrics.bpf.scrape_interval", "internal_metrics.bpf_metric_scrape_interval"),
    (
        "daemon.telemetry.metrics.prometheus.allow_service_graph_self_references",
        "prometheus_export.allow_service_graph_self_references",
    ),
    ("daemon.telemetry.metrics.prometheus.span_metrics_service_cache_size", "prometheus_export.service_cache_size"),
    ("daemon.telemetry.metrics.prometheus.extra_resource_attributes", "prometheus_export.extra_resource_attributes"),
    (
        "daemon.telemetry.metrics.prometheus.extra_span_resource_attributes",
        "prometheus_export.extra_span_resource_attributes",
    ),
];

/// Options whose values are written otherwise here.
fn words(obi: &mut Node, ours: &mut Node) {
    type Word = fn(&str) -> String;
    let told: [(&str, &str, Word); 3] = [
        ("daemon.logging.debug_trace_output", "trace_printer", str::to_owned),
        ("enrich.enrichers.kubernetes.mode", "attributes.kubernetes.enable", |mode| match mode {
            "enabled" => "true".to_owned(),
            "disabled" => "false".to_owned(),
            other => other.to_owned(),
        }),
        ("capture.instrumentation.http.routes.unmatched", "routes.unmatched", |unmatched| match unmatched {
            "disabled" => "unset".to_owned(),
            other => other.replace('_', "-"),
        }),
    ];
    for (theirs, key, word) in told {
        if let Some(node) = take(obi, theirs) {
            ours.set(key, Node::text(word(text_of(&node).unwrap_or_default()), node.origin.clone()));
        }
    }
}

/// Routes of one direction are routes of both, if the other has the same or says nothing.
fn one_direction(obi: &mut Node, warnings: &mut Vec<Problem>) {
    const ROUTES: &str = "capture.instrumentation.http.routes";
    let Some(routes) = obi.get_mut(ROUTES) else { return };
    let (incoming, outgoing) = (take(routes, "incoming"), take(routes, "outgoing"));
    if let (Some(incoming), Some(outgoing)) = (&incoming, &outgoing)
        && plain(incoming) != plain(outgoing)
    {
        let message = "differs from `incoming`, whose routes are used for both; `refine` of a rule knows both";
        warnings.push(Problem::at(outgoing.origin.clone(), format!("extensions.obi.{ROUTES}.outgoing"), message));
    }
    if let Some(both) = incoming.or(outgoing) {
        routes.overlay(both);
    }
}

/// What a tree says, wherever it was written.
fn plain(node: &Node) -> String {
    match &node.value {
        Value::Null => String::new(),
        Value::Scalar { text, .. } => format!("{text:?}"),
        Value::Seq(items) => format!("[{}]", items.iter().map(plain).collect::<Vec<_>>().join(",")),
        Value::Map(entries) => {
            let mut shown: Vec<String> =
                entries.iter().map(|(key, node)| format!("{:?}:{}", key.name, plain(node))).collect();
            shown.sort_unstable();
            format!("{{{}}}", shown.join(","))
        }
    }
}

/// Sections that say at their top that they are off, or hold nothing that could be on.
fn unused_sections(obi: &mut Node) {
    for (section, switch) in [
        ("capture.network.capture", "enabled"),
        ("capture.network.stats", "enabled"),
        ("correlation.log_trace_annotation", "enabled"),
    ] {
        let Some(node) = obi.get(section) else { continue };
        let is_on = node.get(switch).and_then(text_of).map(str::to_ascii_lowercase);
        let rules = node.get("rules").is_some_and(|rules| !is_nothing(rules));
        if is_on.as_deref() != Some("true") && !rules {
            let _off = take(obi, section);
        } else if let Some(section) = obi.get_mut(section) {
            // One word for all of it.
            let origin = section.origin.clone();
            *section = Node::empty_map(origin.clone());
            section.set(switch, Node::text("true", origin));
        }
    }
    const NOTHING_WITHOUT: &[&str] = &[
        "capture.limits.network_packets",
        "capture.instrumentation.http.payload_extraction.sqlpp",
        "capture.engine.propagation.populate_trace_context",
        "enrich.enrichers.cloud.refresh_interval",
        "capture.runtimes.go.enabled",
    ];
    for key in NOTHING_WITHOUT {
        let _of_what_is_off = take(obi, key);
    }
}

/// Rules of header fields are in force where there are some.
fn enrichment(obi: &mut Node, ours: &mut Node) {
    const THEIRS: &str = "capture.instrumentation.http.payload_extraction.enrichment";
    let Some(mut node) = take(obi, THEIRS) else { return };
    let has_rules = node.get("rules").is_some_and(|rules| !rules.is_empty());
    let is_on = node.get("enabled").and_then(text_of).is_none_or(|text| text.eq_ignore_ascii_case("true"));
    if has_rules && is_on {
        node.set("enabled", Node::text("true", node.origin.clone()));
        // Bodies are not captured, which is how it is here.
        let _as_it_is = take(&mut node, "policy.default_action.body");
        ours.set("ebpf.payload_extraction.http.enrichment", node);
    }
}

/// `propagator.composite`: the names of a list of maps, or of `composite_list`.
fn propagators(file: &mut Node, ours: &mut Node) {
    let mut names = Vec::new();
    let mut origin = None;
    if let Some(Node { value: Value::Seq(items), origin: place }) = take(file, "propagator.composite") {
        let name = |item: &Node| match &item.value {
            Value::Map(entries) => entries.first().map(|(key, _)| key.name.clone()),
            Value::Scalar { text, .. } => Some(text.clone()),
            _ => None,
        };
        names.extend(items.iter().filter_map(name));
        origin = Some(place);
    }
    if let Some(list) = take(file, "propagator.composite_list")
        && let Some(text) = text_of(&list)
    {
        for name in text.split(',').map(str::trim).filter(|name| !name.is_empty()) {
            if !names.iter().any(|other| other == name) {
                names.push(name.to_owned());
            }
        }
        origin.get_or_insert(list.origin);
    }
    if let (Some(origin), false) = (origin, names.is_empty()) {
        ours.set("propagators", Node::list(names, origin));
    }
}
