//! Environment variables as a layer of the configuration.

use std::collections::{BTreeMap, BTreeSet};

use thiserror::Error;

use super::{
    error::Problem,
    keys::nearest,
    node::{Node, Origin, Value},
    obi,
    otlp::OtlpEndpoint,
    period::Period,
    stability, theirs,
};

/// Environment variables, given and not read from the process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Environment(BTreeMap<String, String>);

impl Environment {
    /// From names and values.
    pub fn from_pairs<N: Into<String>, V: Into<String>>(pairs: impl IntoIterator<Item = (N, V)>) -> Self {
        Self(pairs.into_iter().map(|(name, value)| (name.into(), value.into())).collect())
    }

    /// Without some variables.
    pub(crate) fn without(&self, names: &BTreeSet<String>) -> Self {
        Self::from_pairs(self.0.clone().into_iter().filter(|(name, _)| !names.contains(name)))
    }

    /// The value of `name`.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// How a variable is written.
#[derive(Clone, Copy)]
enum Form {
    /// As the key would be in a file.
    Text,
    /// A whole number of milliseconds.
    Millis,
    /// `a,b`.
    List,
    /// `a=1,b=2`, values percent-encoded.
    Pairs,
    /// `true` in any case; anything else is false, by the specification, but a mistake is not taken for one.
    Bool,
}

/// A variable, the key it sets, how it is written. A later row wins over an earlier one.
const TABLE: &[(&str, &str, Form)] = &[
    ("OTEL_SERVICE_NAME", "service_name", Form::Text),
    ("OTEL_RESOURCE_ATTRIBUTES", "resource_attributes", Form::Pairs),
    ("OTEL_TRACES_SAMPLER", "otel_traces_export.sampler.name", Form::Text),
    ("OTEL_TRACES_SAMPLER_ARG", "otel_traces_export.sampler.arg", Form::Text),
    ("OTEL_TRACES_EXPORTER", "exporters.traces", Form::List),
    ("OTEL_METRICS_EXPORTER", "exporters.metrics", Form::List),
    ("OTEL_PROPAGATORS", "propagators", Form::List),
    ("OTEL_SDK_DISABLED", "sdk_disabled", Form::Bool),
    ("OTEL_METRIC_EXPORT_INTERVAL", "otel_metrics_export.interval", Form::Millis),
    ("OTEL_METRIC_EXPORT_TIMEOUT", "otel_metrics_export.export_timeout", Form::Millis),
    ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "otel_metrics_export.temporality", Form::Text),
    (
        "OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION",
        "otel_metrics_export.histogram_aggregation",
        Form::Text,
    ),
    ("OTEL_BSP_SCHEDULE_DELAY", "otel_traces_export.batch_timeout", Form::Millis),
    ("OTEL_BSP_EXPORT_TIMEOUT", "otel_traces_export.export_timeout", Form::Millis),
    ("OTEL_BSP_MAX_QUEUE_SIZE", "otel_traces_export.queue_size", Form::Text),
    ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "otel_traces_export.batch_max_size", Form::Text),
    ("KUBECONFIG", "attributes.kubernetes.kubeconfig_path", Form::Text),
    ("OTEL_GO_AUTO_TARGET_EXE", "auto_target_exe", Form::Text),
    ("OTEL_EBPF_AUTO_TARGET_EXE", "auto_target_exe", Form::Text),
    ("OTEL_EBPF_AUTO_TARGET_LANGUAGE", "auto_target_language", Form::Text),
    ("OTEL_EBPF_EXECUTABLE_NAME", "executable_name", Form::Text),
    ("OTEL_EBPF_EXECUTABLE_PATH", "executable_path", Form::Text),
    ("OTEL_EBPF_OPEN_PORT", "open_port", Form::Text),
    ("OTEL_EBPF_TARGET_PID", "target_pids", Form::Text),
    ("OTEL_EBPF_SERVICE_NAME", "service_name", Form::Text),
    ("OTEL_EBPF_SERVICE_NAMESPACE", "service_namespace", Form::Text),
    ("OTEL_EBPF_LOG_LEVEL", "log_level", Form::Text),
    ("OTEL_EBPF_LOG_FORMAT", "log_format", Form::Text),
    ("OTEL_EBPF_LOG_CONFIG", "log_config", Form::Text),
    ("GRAFANA_CLOUD_SUBMIT", "grafana.otlp.cloud_submit", Form::List),
    ("GRAFANA_CLOUD_ZONE", "grafana.otlp.cloud_zone", Form::Text),
    ("GRAFANA_CLOUD_INSTANCE_ID", "grafana.otlp.cloud_instance_id", Form::Text),
    ("GRAFANA_CLOUD_API_KEY", "grafana.otlp.cloud_api_key", Form::Text),
    ("OTEL_EBPF_NAME_RESOLVER_SOURCES", "name_resolver.sources", Form::List),
    ("OTEL_EBPF_NAME_RESOLVER_CACHE_LEN", "name_resolver.cache_len", Form::Text),
    ("OTEL_EBPF_NAME_RESOLVER_CACHE_TTL", "name_resolver.cache_expiry", Form::Text),
    ("OTEL_EBPF_RENAME_UNRESOLVED_HOSTS", "attributes.rename_unresolved_hosts", Form::Text),
    ("OTEL_EBPF_RENAME_UNRESOLVED_HOSTS_OUTGOING", "attributes.rename_unresolved_hosts_outgoing", Form::Text),
    ("OTEL_EBPF_RENAME_UNRESOLVED_HOSTS_INCOMING", "attributes.rename_unresolved_hosts_incoming", Form::Text),
    ("OTEL_EBPF_HEALTH_CHECK_PORT", "health_check.port", Form::Text),
    ("OTEL_EBPF_HEALTH_CHECK_LISTEN_ADDRESS", "health_check.listen_address", Form::Text),
    ("OTEL_EBPF_HEALTH_CHECK_UNIX_SOCKET_PATH", "health_check.unix_socket_path", Form::Text),
    // Of Beyla 1.x.
    ("OTEL_EBPF_PRINT_TRACES", "print_traces", Form::Text),
    ("OTEL_EBPF_SYSTEM_WIDE", "discovery.system_wide", Form::Text),
    ("OTEL_EBPF_OTLP_TRACES_MAX_QUEUE_SIZE", "otel_traces_export.max_queue_size", Form::Text),
    ("OTEL_EBPF_OTLP_TRACES_MAX_EXPORT_BATCH_SIZE", "otel_traces_export.max_export_batch_size", Form::Text),
    ("OTEL_EBPF_TRACE_PRINTER", "trace_printer", Form::Text),
    ("OTEL_EBPF_SHUTDOWN_TIMEOUT", "shutdown_timeout", Form::Text),
    ("OTEL_EBPF_LISTEN", "listen", Form::Text),
    ("OTEL_EBPF_LISTEN_TLS_CERTIFICATE", "listen_tls.certificate", Form::Text),
    ("OTEL_EBPF_LISTEN_TLS_KEY", "listen_tls.key", Form::Text),
    ("OTEL_EBPF_BACKEND", "backend", Form::Text),
    ("OTEL_EBPF_EXCLUDE_OTEL_INSTRUMENTED_SERVICES", "discovery.exclude_otel_instrumented_services", Form::Text),
    (
        "OTEL_EBPF_EXCLUDE_OTEL_INSTRUMENTED_SERVICES_SPAN_METRICS",
        "discovery.exclude_otel_instrumented_services_span_metrics",
        Form::Text,
    ),
    ("OTEL_EBPF_DISCOVERY_SDK", "discovery.sdk", Form::Text),
    ("OTEL_EBPF_KUBE_METADATA_ENABLE", "attributes.kubernetes.enable", Form::Text),
    ("OTEL_EBPF_KUBE_CLUSTER_NAME", "attributes.kubernetes.cluster_name", Form::Text),
    ("OTEL_EBPF_KUBE_META_RESTRICT_LOCAL_NODE", "attributes.kubernetes.meta_restrict_local_node", Form::Text),
    ("OTEL_EBPF_KUBE_INFORMERS_SYNC_TIMEOUT", "attributes.kubernetes.informers_sync_timeout", Form::Text),
    ("OTEL_EBPF_KUBE_RECONNECT_INITIAL_INTERVAL", "attributes.kubernetes.reconnect_initial_interval", Form::Text),
    ("OTEL_EBPF_QUERY_TEXT", "attributes.query_text", Form::Text),
    ("OTEL_EBPF_CLIENT_FROM_PROXY_PROTOCOL", "attributes.client_from_proxy_protocol", Form::Text),
    ("OTEL_EBPF_INSIDE_QUEUE_DURATION", "attributes.inside.queue_duration", Form::Text),
    ("OTEL_EBPF_INSIDE_CONNECT_DURATION", "attributes.inside.connect_duration", Form::Text),
    ("OTEL_EBPF_INSIDE_TLS_HANDSHAKE_DURATION", "attributes.inside.tls_handshake_duration", Form::Text),
    ("OTEL_EBPF_INSIDE_RETRANSMITS", "attributes.inside.retransmits", Form::Text),
    ("OTEL_EBPF_INSIDE_RTT", "attributes.inside.rtt", Form::Text),
    ("OTEL_EBPF_TRACES_PER_SECOND", "otel_traces_export.sampler.traces_per_second", Form::Text),
    ("OTEL_EBPF_HEALTH_CHECKS_IN_TRACES", "sampling.health_checks.in_traces", Form::Text),
    ("OTEL_EBPF_HEALTH_CHECKS_PATHS", "sampling.health_checks.paths", Form::List),
    ("OTEL_EBPF_HEALTH_CHECKS_USER_AGENTS", "sampling.health_checks.user_agents", Form::List),
    ("OTEL_EBPF_HEALTH_CHECKS_RPC_METHODS", "sampling.health_checks.rpc_methods", Form::List),
    ("OTEL_EBPF_TAIL_ERRORS", "sampling.tail.errors", Form::Text),
    ("OTEL_EBPF_TAIL_SLOWER_THAN", "sampling.tail.slower_than", Form::Text),
    ("OTEL_EBPF_TAIL_SLOW_QUANTILE", "sampling.tail.slow_quantile", Form::Text),
    ("OTEL_EBPF_TAIL_ROUTES", "sampling.tail.routes", Form::List),
    ("OTEL_EBPF_TAIL_SERVICES", "sampling.tail.services", Form::List),
    ("OTEL_EBPF_TAIL_SHARE_OF_REST", "sampling.tail.share_of_rest", Form::Text),
    ("OTEL_EBPF_TAIL_WAIT", "sampling.tail.wait", Form::Text),
    ("OTEL_EBPF_BAGGAGE_KEYS", "attributes.baggage_keys", Form::List),
    ("OTEL_EBPF_HOST_ID", "attributes.host_id.override", Form::Text),
    ("OTEL_EBPF_HOSTNAME", "attributes.instance_id.override_hostname", Form::Text),
    ("OTEL_EBPF_SENSITIVE_QUERY_PARAMS_ADD", "attributes.sensitive_query_params.add", Form::List),
    ("OTEL_EBPF_SENSITIVE_QUERY_PARAMS_REMOVE", "attributes.sensitive_query_params.remove", Form::List),
    ("OTEL_EBPF_REDACT_PERSONAL_DATA", "redaction.personal_data", Form::List),
    ("OTEL_EBPF_LIMITS_MEMORY", "limits.memory", Form::Text),
    ("OTEL_EBPF_LIMITS_CPU", "limits.cpu", Form::Text),
    ("OTEL_EBPF_HEADERS_REQUEST", "attributes.http_headers.request", Form::List),
    ("OTEL_EBPF_HEADERS_RESPONSE", "attributes.http_headers.response", Form::List),
    ("OTEL_EBPF_HTTP_ENRICHMENT_ENABLED", "ebpf.payload_extraction.http.enrichment.enabled", Form::Text),
    (
        "OTEL_EBPF_HTTP_ENRICHMENT_OBFUSCATION_STRING",
        "ebpf.payload_extraction.http.enrichment.policy.obfuscation_string",
        Form::Text,
    ),
    ("OTEL_EBPF_METRICS_INTERVAL", "otel_metrics_export.interval", Form::Text),
    ("OTEL_EBPF_METRICS_TTL", "otel_metrics_export.ttl", Form::Text),
    (
        "OTEL_EBPF_METRICS_EXPONENTIAL_HISTOGRAM_MAX_SCALE",
        "otel_metrics_export.exponential_histogram.max_scale",
        Form::Text,
    ),
    (
        "OTEL_EBPF_METRICS_EXPONENTIAL_HISTOGRAM_MAX_SIZE",
        "otel_metrics_export.exponential_histogram.max_size",
        Form::Text,
    ),
    ("OTEL_EBPF_PROCESSES_INTERVAL", "processes.interval", Form::Text),
    ("OTEL_EBPF_CARDINALITY_LIMIT", "telemetry.cardinality_limit", Form::Text),
    ("OTEL_EBPF_METRICS_FEATURES", "metrics.features", Form::List),
    ("OTEL_EBPF_METRICS_INSTRUMENTATIONS", "otel_metrics_export.instrumentations", Form::List),
    ("OTEL_EBPF_TRACES_INSTRUMENTATIONS", "otel_traces_export.instrumentations", Form::List),
    ("OTEL_EBPF_PROMETHEUS_INSTRUMENTATIONS", "prometheus_export.instrumentations", Form::List),
    ("OTEL_EBPF_METRIC_SPAN_NAMES_LIMIT", "attributes.metric_span_names_limit", Form::Text),
    (
        "OTEL_EBPF_ALLOW_SERVICE_GRAPH_SELF_REFERENCES",
        "otel_metrics_export.allow_service_graph_self_references",
        Form::Text,
    ),
    ("OTEL_EBPF_SERVICE_GRAPH_WATCHED_CLIENTS", "service_graph.watched_clients", Form::List),
    ("OTEL_EBPF_OTLP_TRACES_BATCH_MAX_SIZE", "otel_traces_export.batch_max_size", Form::Text),
    ("OTEL_EBPF_OTLP_TRACES_BATCH_TIMEOUT", "otel_traces_export.batch_timeout", Form::Text),
    ("OTEL_EBPF_OTLP_TRACES_QUEUE_SIZE", "otel_traces_export.queue_size", Form::Text),
    ("OTEL_EBPF_BACKOFF_INITIAL_INTERVAL", "otel_traces_export.backoff_initial_interval", Form::Text),
    ("OTEL_EBPF_BACKOFF_MAX_INTERVAL", "otel_traces_export.backoff_max_interval", Form::Text),
    ("OTEL_EBPF_BACKOFF_MAX_ELAPSED_TIME", "otel_traces_export.backoff_max_elapsed_time", Form::Text),
    ("OTEL_EBPF_INSECURE_SKIP_VERIFY", "otel_traces_export.insecure_skip_verify", Form::Text),
    ("OTEL_EBPF_INSECURE_SKIP_VERIFY", "otel_metrics_export.insecure_skip_verify", Form::Text),
    ("OTEL_EBPF_EXPORT_SPOOL_DIR", "export.spool.dir", Form::Text),
    ("OTEL_EBPF_EXPORT_SPOOL_MAX_BYTES", "export.spool.max_bytes", Form::Text),
    ("OTEL_EBPF_STORE_MEMORY", "store.memory", Form::Text),
    ("OTEL_EBPF_STORE_DIR", "store.dir", Form::Text),
    ("OTEL_EBPF_STORE_MAX_BYTES", "store.max_bytes", Form::Text),
    ("OTEL_EBPF_STORE_MAX_AGE", "store.max_age", Form::Text),
    ("OTEL_EBPF_API_TOKEN", "api.token", Form::Text),
    ("OTEL_EBPF_API_TOKEN_FILE", "api.token_file", Form::Text),
    ("BEYLA_RS_EXPORT_SPOOL_DIR", "export.spool.dir", Form::Text),
    ("BEYLA_RS_EXPORT_SPOOL_MAX_BYTES", "export.spool.max_bytes", Form::Text),
    ("OTEL_EBPF_INTERNAL_METRICS_PROMETHEUS_PORT", "internal_metrics.prometheus.port", Form::Text),
    ("OTEL_EBPF_INTERNAL_METRICS_PROMETHEUS_PATH", "internal_metrics.prometheus.path", Form::Text),
    ("OTEL_EBPF_PROMETHEUS_PORT", "prometheus_export.port", Form::Text),
    ("OTEL_EBPF_PROMETHEUS_PATH", "prometheus_export.path", Form::Text),
    ("OTEL_EBPF_PROMETHEUS_TTL", "prometheus_export.ttl", Form::Text),
    (
        "OTEL_EBPF_PROMETHEUS_NATIVE_HISTOGRAM_BUCKET_FACTOR",
        "prometheus_export.native_histogram.bucket_factor",
        Form::Text,
    ),
    (
        "OTEL_EBPF_PROMETHEUS_NATIVE_HISTOGRAM_MAX_BUCKET_NUMBER",
        "prometheus_export.native_histogram.max_bucket_number",
        Form::Text,
    ),
    (
        "OTEL_EBPF_PROMETHEUS_NATIVE_HISTOGRAM_MIN_RESET_DURATION",
        "prometheus_export.native_histogram.min_reset_duration",
        Form::Text,
    ),
    ("OTEL_EBPF_EXTRA_SPAN_RESOURCE_ATTRIBUTES", "otel_metrics_export.extra_span_resource_attributes", Form::List),
    ("OTEL_EBPF_PROMETHEUS_EXEMPLAR_FILTER", "prometheus_export.exemplar_filter", Form::Text),
    ("OTEL_EBPF_PROMETHEUS_EXTRA_RESOURCE_ATTRIBUTES", "prometheus_export.extra_resource_attributes", Form::List),
    (
        "OTEL_EBPF_PROMETHEUS_EXTRA_SPAN_RESOURCE_ATTRIBUTES",
        "prometheus_export.extra_span_resource_attributes",
        Form::List,
    ),
    ("OTEL_EBPF_PROMETHEUS_FEATURES", "prometheus_export.features", Form::List),
    (
        "OTEL_EBPF_PROMETHEUS_ALLOW_SERVICE_GRAPH_SELF_REFERENCES",
        "prometheus_export.allow_service_graph_self_references",
        Form::Text,
    ),
];

/// Whether a variable is one of OpenTelemetry's specification: a value that cannot be used is warned of and ignored
/// (<https://opentelemetry.io/docs/specs/otel/configuration/sdk-environment-variables/#parsing-empty-value>). Those of OBI and Beyla
/// are this program's own.
pub(crate) fn is_specified(name: &str) -> bool {
    name.starts_with("OTEL_") && !name.starts_with("OTEL_EBPF_") && !name.starts_with("OTEL_GO_")
}

/// The keys that a variable sets.
#[cfg(test)]
pub(crate) fn keys_of(variable: &str) -> Vec<String> {
    let mut keys: Vec<String> =
        TABLE.iter().filter(|(name, ..)| *name == variable).map(|(_, key, _)| (*key).to_owned()).collect();
    for (infix, section) in [("TRACES_", "otel_traces_export"), ("METRICS_", "otel_metrics_export")] {
        for (key, _) in OTLP_KEYS {
            if variable == format!("OTEL_EXPORTER_OTLP_{infix}{}", key.to_ascii_uppercase()) {
                keys.push(format!("{section}.{key}"));
            }
        }
    }
    keys
}

/// Names the configuration file.
pub(crate) const CONFIG_PATH: &str = "OTEL_EBPF_CONFIG_PATH";

/// Keys that `otlp` and both signals' sections have, and how their variables are written.
pub(crate) const OTLP_KEYS: &[(&str, OtlpForm)] = &[
    ("endpoint", OtlpForm(Form::Text)),
    ("protocol", OtlpForm(Form::Text)),
    ("headers", OtlpForm(Form::Pairs)),
    ("timeout", OtlpForm(Form::Millis)),
    ("compression", OtlpForm(Form::Text)),
    ("certificate", OtlpForm(Form::Text)),
    ("client_key", OtlpForm(Form::Text)),
    ("client_certificate", OtlpForm(Form::Text)),
];

#[derive(Clone, Copy)]
pub(crate) struct OtlpForm(Form);

/// The value of a variable under its own or its Beyla name, and the name it was found by.
fn find<'a>(environment: &'a Environment, name: &str) -> Option<(&'a str, &'a str)> {
    let set = |wanted: &str| {
        let (name, value) = environment.0.get_key_value(wanted)?;
        (!value.trim().is_empty()).then_some((name.as_str(), value.as_str()))
    };
    set(name).or_else(|| {
        let rest = name.strip_prefix("OTEL_EBPF_")?;
        set(&format!("BEYLA_{rest}")).or_else(|| set(&format!("BEYLA_OTEL_{rest}")))
    })
}

/// The configuration file that the environment names.
pub(crate) fn config_path(environment: &Environment) -> Option<(&str, &str)> {
    find(environment, CONFIG_PATH)
}

/// Reads the environment into a layer. A set variable without a value counts as not set.
pub(crate) fn layer(environment: &Environment, problems: &mut Vec<Problem>, warnings: &mut Vec<Problem>) -> Node {
    let mut tree = Node::empty_map(Origin::Default);
    for (infix, section) in [("", "otlp"), ("TRACES_", "otel_traces_export"), ("METRICS_", "otel_metrics_export")] {
        for (key, OtlpForm(form)) in OTLP_KEYS {
            let name = format!("OTEL_EXPORTER_OTLP_{infix}{}", key.to_ascii_uppercase());
            let path = format!("{section}.{key}");
            read(environment, &name, &path, *form, &mut tree, (problems, warnings));
            // The specification's variable of one signal is used as it is, OBI's key gets that signal's path where it has
            // none: here, a path that says nothing stands for none.
            if *key == "endpoint"
                && !infix.is_empty()
                && let Some(Node { value: Value::Scalar { text, .. }, .. }) = tree.get_mut(&path)
                && text.parse::<OtlpEndpoint>().is_ok_and(|endpoint| endpoint.is_bare())
            {
                text.push('/');
            }
        }
    }
    stability::read(environment.get(stability::NAME).unwrap_or_default(), &mut tree, warnings);
    for (name, path, form) in TABLE {
        read(environment, name, path, *form, &mut tree, (problems, warnings));
    }
    add_scheme(environment, &mut tree, (problems, warnings));
    for (name, value) in &environment.0 {
        unknown(name, value, warnings);
    }
    tree
}

/// What says whether the connection to an endpoint that was given without a scheme is in the clear. A later row wins.
const INSECURE: &[(&str, &[&str])] = &[
    ("otlp", &["OTEL_EXPORTER_OTLP_INSECURE"]),
    (
        "otel_traces_export",
        &["OTEL_EXPORTER_OTLP_INSECURE", "OTEL_EXPORTER_OTLP_SPAN_INSECURE", "OTEL_EXPORTER_OTLP_TRACES_INSECURE"],
    ),
    (
        "otel_metrics_export",
        &["OTEL_EXPORTER_OTLP_INSECURE", "OTEL_EXPORTER_OTLP_METRIC_INSECURE", "OTEL_EXPORTER_OTLP_METRICS_INSECURE"],
    ),
];

/// Of gRPC the specification takes `host:port` too.
fn add_scheme(
    environment: &Environment,
    tree: &mut Node,
    (problems, warnings): (&mut Vec<Problem>, &mut Vec<Problem>),
) {
    for (section, names) in INSECURE {
        let text_at = |tree: &Node, path: &str| match tree.get(path).map(|node| &node.value) {
            Some(Value::Scalar { text, .. }) => Some(text.trim().to_owned()),
            _ => None,
        };
        let path = format!("{section}.endpoint");
        let Some(endpoint) = text_at(tree, &path).map(|text| text.trim_end_matches('/').to_owned()) else { continue };
        let protocol = text_at(tree, &format!("{section}.protocol")).or_else(|| text_at(tree, "otlp.protocol"));
        let is_grpc = protocol.map_or_else(|| endpoint.ends_with(":4317"), |protocol| protocol == "grpc");
        if endpoint.contains("://") || !is_grpc {
            continue;
        }
        let mut insecure = Node::empty_map(Origin::Default);
        for name in *names {
            read(environment, name, "insecure", Form::Bool, &mut insecure, (problems, warnings));
        }
        let scheme = if text_at(&insecure, "insecure").as_deref() == Some("true") { "http" } else { "https" };
        if let Some(Node { value: Value::Scalar { text, .. }, .. }) = tree.get_mut(&path) {
            *text = format!("{scheme}://{endpoint}");
        }
    }
}

fn read(
    environment: &Environment,
    name: &str,
    path: &str,
    form: Form,
    tree: &mut Node,
    (problems, warnings): (&mut Vec<Problem>, &mut Vec<Problem>),
) {
    let Some((name, value)) = find(environment, name) else { return };
    let origin = Origin::env(name);
    let value = value.trim();
    let node = match form {
        Form::Text => Ok(Node::text(value, origin.clone())),
        Form::Millis => match value.parse::<u64>() {
            Ok(millis) => Ok(Node::text(Period(std::time::Duration::from_millis(millis)).to_string(), origin.clone())),
            Err(_) => Err(ValueError::Millis(value.to_owned())),
        },
        Form::List => {
            let items = value.split(',').map(str::trim).filter(|item| !item.is_empty());
            Ok(Node::list(items.map(str::to_owned), origin.clone()))
        }
        Form::Pairs => {
            let (pairs, wrong) = pairs(value);
            // The others hold all the same.
            let told = if pairs.is_empty() { &mut *problems } else { warnings };
            let left = if pairs.is_empty() { "" } else { "; the entry is left out" };
            let is_wrong = !wrong.is_empty();
            told.extend(wrong.iter().map(|error| Problem::at(origin.clone(), path, format!("{error}{left}"))));
            if pairs.is_empty() && is_wrong {
                return;
            }
            Ok(Node::pairs(pairs, origin.clone()))
        }
        Form::Bool => match value.to_ascii_lowercase().as_str() {
            "true" | "false" => Ok(Node::text(value.to_ascii_lowercase(), origin.clone())),
            _ => Err(ValueError::Bool(value.to_owned())),
        },
    };
    match node {
        Ok(node) => tree.set(path, node),
        Err(error) => problems.push(Problem::at(origin, path, error.to_string())),
    }
}

/// What is wrong with a variable's value.
#[derive(Clone, Debug, PartialEq, Eq, Error)]
enum ValueError {
    #[error("`{0}` is no whole number of milliseconds")]
    Millis(String),
    #[error("`{0}` is neither true nor false")]
    Bool(String),
    // The entry is not repeated in the message: it may hold a credential.
    #[error("an entry without `=`; write it as `name=value,name=value`")]
    NoValue,
    #[error("an entry without a name; write it as `name=value,name=value`")]
    NoName,
    #[error("the value of `{0}` is badly percent-encoded")]
    Encoding(String),
}

/// `a=1,b=2` with percent-encoded values, as W3C baggage writes it (its properties after `;` are not used by OTLP); and what is wrong with
/// entries that are left out.
fn pairs(text: &str) -> (Vec<(String, String)>, Vec<ValueError>) {
    let (mut found, mut wrong) = (Vec::new(), Vec::new());
    for entry in text.split(',').map(str::trim).filter(|entry| !entry.is_empty()) {
        match pair(entry) {
            Ok(pair) => found.push(pair),
            Err(error) => wrong.push(error),
        }
    }
    (found, wrong)
}

fn pair(entry: &str) -> Result<(String, String), ValueError> {
    let (name, value) = entry.split_once('=').ok_or(ValueError::NoValue)?;
    if name.trim().is_empty() {
        return Err(ValueError::NoName);
    }
    let value = percent_decoded(value.trim()).ok_or_else(|| ValueError::Encoding(name.trim().to_owned()))?;
    Ok((name.trim().to_owned(), value))
}

fn percent_decoded(text: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let digit = |byte: u8| char::from(byte).to_digit(16);
            let high = digit(rest.next()?)?;
            let low = digit(rest.next()?)?;
            bytes.push(u8::try_from(high * 16 + low).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Warns of a variable of OBI's or Beyla's name space that does nothing here.
fn unknown(name: &str, value: &str, warnings: &mut Vec<Problem>) {
    let canonical = match obi::canonical_variable(name) {
        Some(canonical) => canonical,
        None if name.starts_with("OTEL_EBPF_") => name.to_owned(),
        None => return,
    };
    let ours = || TABLE.iter().map(|(name, ..)| *name).chain([CONFIG_PATH]);
    if ours().any(|known| known == canonical || known == name) || is_service_link(name, value) {
        return;
    }
    let message = match theirs::variables().find(|(env, _)| *env == canonical) {
        Some((_, row)) if value.trim().is_empty() || row.is_same(value.trim()) => return,
        Some((_, row)) => match row.reason {
            Some(reason) => format!("is an option of OBI (`{}`) that does nothing here: {reason}", row.key),
            None => format!("is an option of OBI (`{}`) that is not supported yet; it is ignored", row.key),
        },
        None => match nearest(&canonical, ours().chain(theirs::variables().map(|(env, _)| env))) {
            Some(near) => format!("is no known variable; did you mean {near}?"),
            None => "is no known variable".to_owned(),
        },
    };
    warnings.push(Problem::at(Origin::env(name), "", message));
}

/// Kubernetes puts such variables into every pod for a Service called `beyla`; they are no options.
fn is_service_link(name: &str, value: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || ((name.ends_with("_PORT") || name.contains("_PORT_"))
            && (value.contains("://") || name.contains("_TCP") || name.contains("_UDP")))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read_all(pairs: &[(&str, &str)]) -> (Node, Vec<String>, Vec<String>) {
        let (mut problems, mut warnings) = (vec![], vec![]);
        let tree = layer(&Environment::from_pairs(pairs.iter().copied()), &mut problems, &mut warnings);
        let shown = |list: Vec<Problem>| list.iter().map(ToString::to_string).collect();
        (tree, shown(problems), shown(warnings))
    }

    #[test]
    fn a_set_variable_that_cannot_be_read_is_named() {
        for (name, value, reason) in [
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "milliseconds"),
            ("OTEL_BSP_SCHEDULE_DELAY", "-1", "milliseconds"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "secret", "without `=`"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a=%zz", "percent-encoded"),
            ("OTEL_RESOURCE_ATTRIBUTES", "=x", "without a name"),
            ("OTEL_SDK_DISABLED", "maybe", "neither true nor false"),
        ] {
            let (_, problems, _) = read_all(&[(name, value)]);
            let [problem] = problems.as_slice() else { panic!("{name}: {problems:?}") };
            assert!(problem.starts_with(&format!("{name}: ")) && problem.contains(reason), "{problem}");
        }
        assert!(!read_all(&[("OTEL_EXPORTER_OTLP_HEADERS", "secret")]).1.concat().contains("secret"));
    }

    #[test]
    fn an_empty_variable_counts_as_not_set() {
        let (tree, problems, _) = read_all(&[("OTEL_EXPORTER_OTLP_TIMEOUT", ""), ("OTEL_SERVICE_NAME", " ")]);
        assert!(tree.is_empty());
        assert!(problems.is_empty());
    }

    #[test]
    fn each_variable_of_a_receiver_is_there_for_all_and_for_each_signal() {
        for (key, value) in [
            ("ENDPOINT", "http://c:4318/x"),
            ("PROTOCOL", "http/json"),
            ("HEADERS", "a=b"),
            ("TIMEOUT", "1000"),
            ("COMPRESSION", "zstd"),
            ("CERTIFICATE", "/ca"),
            ("CLIENT_KEY", "/key"),
            ("CLIENT_CERTIFICATE", "/cert"),
        ] {
            for (infix, section) in
                [("", "otlp"), ("TRACES_", "otel_traces_export"), ("METRICS_", "otel_metrics_export")]
            {
                let name = format!("OTEL_EXPORTER_OTLP_{infix}{key}");
                let (tree, problems, warnings) = read_all(&[(&name, value)]);
                let path = format!("{section}.{}", key.to_ascii_lowercase());
                assert!(tree.get(&path).is_some(), "{name}");
                assert_eq!((problems, warnings), (Vec::<String>::new(), Vec::<String>::new()), "{name}");
            }
        }
        assert_eq!(OTLP_KEYS.len(), 8);
    }

    #[test]
    fn an_endpoint_of_grpc_without_a_scheme_is_secure_unless_it_is_said_to_be_in_the_clear() {
        let endpoint = |section: &str, pairs: &[(&str, &str)]| {
            let (tree, problems, _) = read_all(pairs);
            assert_eq!(problems, [""; 0]);
            match &tree.get(&format!("{section}.endpoint")).unwrap().value {
                Value::Scalar { text, .. } => text.clone(),
                other => panic!("{other:?}"),
            }
        };
        let all = ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317");
        let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "traces:9999");
        let grpc = ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc");
        let clear = ("OTEL_EXPORTER_OTLP_INSECURE", "True");
        assert_eq!(endpoint("otlp", &[all]), "https://collector:4317");
        assert_eq!(endpoint("otlp", &[all, clear]), "http://collector:4317");
        assert_eq!(endpoint("otel_traces_export", &[own, grpc]), "https://traces:9999");
        assert_eq!(endpoint("otel_traces_export", &[own, grpc, clear]), "http://traces:9999");
        let not_these = ("OTEL_EXPORTER_OTLP_TRACES_INSECURE", "false");
        assert_eq!(endpoint("otel_traces_export", &[own, grpc, clear, not_these]), "https://traces:9999");
        // HTTP needs one, and what has one keeps it.
        assert_eq!(endpoint("otel_traces_export", &[own, clear]), "traces:9999");
        assert_eq!(endpoint("otlp", &[("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c:4317"), clear]), "https://c:4317");
    }

    #[test]
    fn headers_are_percent_decoded() {
        assert_eq!(
            pairs("authorization=Basic%20eA==, x = 1"),
            (vec![("authorization".into(), "Basic eA==".into()), ("x".into(), "1".into())], vec![])
        );
        let encoding = ValueError::Encoding("c".into());
        assert_eq!(
            pairs("a=1,b,c=%zz,=d"),
            (vec![("a".into(), "1".into())], vec![ValueError::NoValue, encoding, ValueError::NoName]),
            "and what is wrong with one is no harm to another"
        );
    }

    #[test]
    fn unknown_variables_are_warned_of_with_the_nearest_name() {
        let (_, _, warnings) = read_all(&[
            ("BEYLA_OPEN_PRT", "80"),
            ("OTEL_EBPF_NETWORK_METRICS", "true"),
            ("OTEL_EBPF_ZZZ", "1"),
            ("BEYLA_SERVICE_HOST", "10.0.0.1"),
            ("BEYLA_PORT", "tcp://10.0.0.1:80"),
            ("BEYLA_PORT_80_TCP_ADDR", "10.0.0.1"),
            ("BEYLA_CONFIG_PATH", "/x"),
            ("HOME", "/root"),
        ]);
        assert_eq!(
            warnings,
            [
                "BEYLA_OPEN_PRT: is no known variable; did you mean OTEL_EBPF_OPEN_PORT?",
                "OTEL_EBPF_NETWORK_METRICS: is an option of OBI (`network.enable`) that is not supported yet; it is ignored",
                "OTEL_EBPF_ZZZ: is no known variable",
            ]
        );
    }

    #[test]
    fn no_variable_is_both_ours_and_unsupported() {
        for (name, ..) in TABLE {
            assert!(!theirs::variables().any(|(other, _)| other == *name), "{name}");
        }
    }
}
