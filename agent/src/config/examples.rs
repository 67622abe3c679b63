//! What the documentation of OBI and Beyla shows, rebuilt by hand: each file loads and does what is said of it there. Beside each stands what
//! must be in effect, and what must be told to do nothing.

use super::{tests::load, *};

/// Name, file, dotted keys with their values as JSON, what is told.
type Example = (&'static str, &'static str, &'static [(&'static str, &'static str)], &'static [&'static str]);

const EXAMPLES: &[Example] = &[
    (
        "what is watched by port, where it goes and where it is shown",
        "discovery: {instrument: [{open_ports: 443}]}\nlog_level: DEBUG\nebpf: {wakeup_len: 100, context_propagation: all}\n\
         otel_traces_export: {endpoint: 'http://localhost:4318'}\nprometheus_export: {port: 8999, path: /metrics}\n",
        &[
            ("discovery.instrument.0.open_ports", "443"),
            ("log_level", r#""debug""#),
            ("otel_traces_export.endpoint", r#""http://localhost:4318""#),
            ("prometheus_export.port", "8999"),
        ],
        &["ebpf.context_propagation"],
    ),
    (
        "Grafana Cloud by zone",
        "grafana: {otlp: {cloud_submit: [metrics, traces], cloud_zone: eu-west-23, cloud_instance_id: '12345', cloud_api_key: abcde}}\n",
        &[("grafana.otlp.cloud_submit", r#"["metrics","traces"]"#), ("grafana.otlp.cloud_zone", r#""eu-west-23""#)],
        &[],
    ),
    (
        "metrics over OTLP",
        "otel_metrics_export:\n  ttl: 5m\n  endpoint: http://otelcol:4318\n  protocol: grpc\n  features: [network, network_inter_zone]\n  \
         buckets: {duration_histogram: [0, 1, 2]}\n  histogram_aggregation: base2_exponential_bucket_histogram\n",
        &[
            ("otel_metrics_export.ttl", r#""5m""#),
            ("otel_metrics_export.protocol", r#""grpc""#),
            ("otel_metrics_export.buckets.duration_histogram", "[0.0,1.0,2.0]"),
            ("otel_metrics_export.histogram_aggregation", r#""base2_exponential_bucket_histogram""#),
        ],
        &["`network` is an option", "`network_inter_zone` is an option"],
    ),
    (
        "spans of some protocols",
        "otel_traces_export: {endpoint: 'http://jaeger:4317', protocol: grpc, instrumentations: [http, sql]}\n",
        &[("otel_traces_export.instrumentations", r#"["http","sql"]"#)],
        &[],
    ),
    (
        "filters",
        "filter:\n  application:\n    db.system.name: {match: '{postgresql,mongodb}'}\n    http.response.status_code: {greater_equals: 400}\n  \
         network: {transport: {not_match: UDP}}\n",
        &[
            ("filter.application.db.system.name.match", r#""{postgresql,mongodb}""#),
            ("filter.application.http.response.status_code.greater_equals", "400.0"),
        ],
        &["filter.network"],
    ),
    (
        "the agent's own metrics",
        "internal_metrics: {exporter: prometheus, prometheus: {port: 6060, path: /internal/metrics}}\n",
        &[("internal_metrics.prometheus.port", "6060"), ("internal_metrics.prometheus.path", r#""/internal/metrics""#)],
        &[],
    ),
    (
        "attributes of metrics and spans",
        "attributes:\n  select:\n    http_*: {include: ['*'], exclude: [http_path, http_route]}\n    http_client_*: {include: [http_path]}\n    \
         traces: {include: [db.query.text], exclude: [url.query]}\n  instance_id: {dns: false}\n  kubernetes: {enable: true, \
         meta_source_labels: {service_name: app}, resource_labels: {service.name: [name]}}\n",
        &[
            ("attributes.select.http_*.exclude", r#"["http_path","http_route"]"#),
            ("attributes.select.traces.exclude", r#"["url.query"]"#),
            ("attributes.kubernetes.enable", "true"),
            ("attributes.kubernetes.resource_labels.service.name", r#"["app","name"]"#),
        ],
        &[],
    ),
    (
        "global options",
        "trace_printer: json_indent\nshutdown_timeout: 30s\nchannel_buffer_len: 33\nlog_format: json\nlog_config: yaml\n\
         profile_port: 6060\nenforce_sys_caps: true\nexecutable_path: server\n",
        &[
            ("print", r#""json""#),
            ("shutdown_timeout", r#""30s""#),
            ("log_format", r#""json""#),
            ("log_config", r#""yaml""#),
            ("auto_target_exe", r#""re:server""#),
        ],
        &["profile_port: is an option of OBI that does nothing here: there is no profiler"],
    ),
    (
        "routes",
        "routes:\n  patterns: ['/basic/:rnd', '/user/{id}', '/user/*']\n  unmatched: path\n  ignored_patterns: [/metrics, /v1/*]\n  \
         ignore_mode: traces\n",
        &[("routes.unmatched", r#""path""#), ("routes.ignore_mode", r#""traces""#)],
        &[],
    ),
    (
        "what is set for some services",
        "metrics: {features: [application_service_graph]}\ndiscovery:\n  instrument:\n    - open_ports: 3030,3040\n      \
         metrics: {features: [application, application_span]}\n    - {k8s_deployment_name: backend, exports: [traces], \
         sampler: {name: traceidratio, arg: '0.1'}, routes: {incoming: ['/api/users/{user_id}'], outgoing: ['/*']}}\n    \
         - {k8s_namespace: frontend, k8s_pod_labels: {instrument: beyla}}\n    - {container_name: 'my-app-*', exports: []}\n  \
         exclude_instrument: [{k8s_namespace: monitoring, k8s_pod_name: 'prometheus-*'}]\n  min_process_age: 1s\n  \
         skip_go_specific_tracers: true\n",
        &[
            ("discovery.instrument.0.metrics.features", r#"["application","application_span"]"#),
            ("discovery.instrument.1.sampler.arg", "0.1"),
            ("discovery.instrument.2.k8s_pod_labels.instrument", r#""beyla""#),
            ("discovery.instrument.3.exports", "[]"),
            ("discovery.exclude_instrument.0.k8s_pod_name", r#""prometheus-*""#),
        ],
        &["discovery.skip_go_specific_tracers: is an option of OBI that does nothing here: requests of Go programs"],
    ),
    (
        "the chart's defaults",
        "attributes: {kubernetes: {enable: true}}\nprometheus_export: {port: 9090, path: /metrics}\ninternal_metrics: {prometheus: {port: 0}}\n\
         profile_port: 0\n",
        &[("prometheus_export.port", "9090")],
        &[],
    ),
];

/// The value at a dotted path; keys of the file may have dots themselves.
fn at<'a>(json: &'a serde_json::Value, path: &str) -> Option<&'a serde_json::Value> {
    if path.is_empty() {
        return Some(json);
    }
    let ends = path.match_indices('.').map(|(at, _)| at).chain([path.len()]);
    ends.into_iter().find_map(|end| {
        let (name, rest) = (&path[..end], path[end..].trim_start_matches('.'));
        let inner = match json {
            serde_json::Value::Array(items) => items.get(name.parse::<usize>().ok()?),
            _ => json.get(name),
        };
        at(inner?, rest)
    })
}

#[test]
fn what_their_documentation_shows_does_what_it_says() {
    for (name, file, values, told) in EXAMPLES {
        let loaded = load(file, &[], &[]).unwrap_or_else(|problems| panic!("{name}: {problems:?}"));
        let json = serde_json::to_value(&loaded.config).unwrap();
        for (key, expected) in *values {
            let expected: serde_json::Value = serde_json::from_str(expected).unwrap();
            let found = at(&json, key).unwrap_or(&serde_json::Value::Null);
            let is_same = *found == expected || found.as_str() == Some(expected.to_string().as_str());
            assert!(is_same, "{name}: {key} is {found}");
        }
        let warnings: Vec<String> = loaded.warnings.iter().map(Problem::to_string).collect();
        for told in *told {
            assert!(warnings.iter().any(|warning| warning.contains(told)), "{name}: {told} is not in {warnings:#?}");
        }
        assert_eq!(warnings.len(), told.len(), "{name}: {warnings:#?}");
    }
}

#[test]
fn the_same_files_mean_the_same_once_they_are_migrated() {
    for (name, file, ..) in EXAMPLES {
        let meant = load(file, &[], &[]).unwrap();
        let migrated = migrate::rewritten("a.yaml", file, &Environment::default())
            .unwrap_or_else(|error| panic!("{name}: {error}"));
        let again = load(&migrated, &[], &[]).unwrap_or_else(|problems| panic!("{name}: {problems:?}\n{migrated}"));
        assert_eq!(again.config, meant.config, "{name}\n{migrated}");
        assert!(
            again.warnings.is_empty() || meant.warnings.iter().any(|w| w.key == again.warnings[0].key),
            "{:?}",
            again.warnings
        );
    }
}
