//! No option is without effect: each key of the schema changes what some stage is given.

use serde_json::{Map, Value, json};

use super::*;

const EXCLUDED: &str = "config::validate warns of it: what it would set is not watched";

/// Rules become a function, which nothing shows: `config`'s and `protocols`' tests ask it.
const HEADERS: &str = "what is captured of header fields, asked by name";
/// One alone says nothing: `config`'s tests give all.
const TOGETHER: &str = "a receiver only where zone, instance and key are given";

/// Keys that are read where this module's functions do not see it, and where that is.
const READ_ELSEWHERE: &[(&str, &str)] = &[
    ("discovery.exclude_instrument.0.name", EXCLUDED),
    ("discovery.exclude_instrument.0.namespace", EXCLUDED),
    ("discovery.exclude_instrument.0.exports", EXCLUDED),
    ("discovery.exclude_instrument.0.metrics", EXCLUDED),
    ("discovery.exclude_instrument.0.sampler", EXCLUDED),
    ("discovery.exclude_instrument.0.routes", EXCLUDED),
    ("discovery.exclude_instrument.0.sdk", EXCLUDED),
    ("discovery.default_exclude_instrument.0.name", EXCLUDED),
    ("discovery.default_exclude_instrument.0.namespace", EXCLUDED),
    ("discovery.default_exclude_instrument.0.exports", EXCLUDED),
    ("discovery.default_exclude_instrument.0.metrics", EXCLUDED),
    ("discovery.default_exclude_instrument.0.sampler", EXCLUDED),
    ("discovery.default_exclude_instrument.0.routes", EXCLUDED),
    ("discovery.default_exclude_instrument.0.sdk", EXCLUDED),
    ("log_level", "run: the log is set up before all else"),
    ("attributes.http_headers.request", HEADERS),
    ("attributes.http_headers.response", HEADERS),
    ("attributes.http_headers.hide", HEADERS),
    ("attributes.http_headers.force", HEADERS),
    ("ebpf.payload_extraction.http.enrichment.enabled", HEADERS),
    ("ebpf.payload_extraction.http.enrichment.policy.default_action.headers", HEADERS),
    ("ebpf.payload_extraction.http.enrichment.policy.match_order", HEADERS),
    ("ebpf.payload_extraction.http.enrichment.policy.obfuscation_string", HEADERS),
    ("ebpf.payload_extraction.http.enrichment.rules.0.action", HEADERS),
    ("ebpf.payload_extraction.http.enrichment.rules.0.type", HEADERS),
    ("ebpf.payload_extraction.http.enrichment.rules.0.scope", HEADERS),
    ("ebpf.payload_extraction.http.enrichment.rules.0.match.patterns", HEADERS),
    ("ebpf.payload_extraction.http.enrichment.rules.0.match.case_sensitive", HEADERS),
    ("ebpf.payload_extraction.http.enrichment.rules.0.match.obfuscation_json_paths", HEADERS),
    ("grafana.otlp.cloud_submit", TOGETHER),
    ("grafana.otlp.cloud_zone", TOGETHER),
    ("grafana.otlp.cloud_instance_id", TOGETHER),
    ("grafana.otlp.cloud_api_key", TOGETHER),
    ("log_format", "run: the log is set up before all else"),
    ("log_config", "run: the log is set up before all else"),
    ("target_pids", "run::watch, and the selector"),
];

/// What the stages are given.
fn given(config: &Config) -> Option<String> {
    let Settings {
        capture,
        propagation,
        sampler,
        has_several_samplers,
        health_checks,
        tail,
        telemetry,
        disabled_harvesters,
        naming,
        processes,
        export,
        metadata,
        process_interval,
        store,
        duration,
        shutdown_timeout,
        of_shown_resource,
        limits,
    } = Settings::of(config).ok()?;
    let ProcessConfig { selector, env, command_line, host, cluster, pod_attributes, .. } = processes;
    let processes = (disabled_harvesters, selector, env, command_line, host, cluster, pod_attributes);
    let sampling = (sampler, has_several_samplers, health_checks, tail);
    let stages = (capture, propagation, sampling, telemetry, naming, processes);
    let rest = (export, metadata, process_interval, store, duration, shutdown_timeout, of_shown_resource, limits);
    let text = format!("{stages:?} {rest:?}");
    // Hash sets are shown in another order each time.
    let mut words: Vec<&str> = text.split([',', '{', '}', '[', ']', '(', ')']).map(str::trim).collect();
    words.sort_unstable();
    Some(words.join(" "))
}

/// Values that a key of this schema may have; some may be refused.
fn candidates(schema: &Value, definitions: &Value) -> Vec<Value> {
    let schema = resolved(schema, definitions);
    for variants in ["anyOf", "oneOf"] {
        if let Some(variants) = schema[variants].as_array() {
            return variants.iter().flat_map(|variant| candidates(variant, definitions)).collect();
        }
    }
    if let Some(value) = schema.get("const") {
        return vec![value.clone()];
    }
    if let Some(values) = schema["enum"].as_array() {
        return values.clone();
    }
    let is =
        |name: &str| schema["type"] == name || schema["type"].as_array().is_some_and(|of| of.contains(&json!(name)));
    let mut found = Vec::new();
    if is("boolean") {
        found.extend([json!(true), json!(false)]);
    }
    if is("integer") || is("number") {
        found.extend([json!(1), json!(0.5), json!(2), json!(1024), json!(65_536), json!(131_072)]);
    }
    if is("string") {
        let texts = ["7s", "http://collector:4317", "10.0.0.1:9999", "off", "8081", "/other", "x", "1", "*a*", "sig"];
        found.extend(texts.map(|text| json!(text)));
        found.extend(schema["examples"].as_array().into_iter().flatten().cloned());
    }
    if is("array") {
        found.push(json!([]));
        found.extend(candidates(&schema["items"], definitions).into_iter().map(|item| json!([item])));
    }
    if is("object") {
        if let Some(properties) = schema["properties"].as_object() {
            let fields = properties.iter().flat_map(|(key, schema)| {
                candidates(schema, definitions).into_iter().map(move |value| (key.clone(), value))
            });
            found.extend(fields.map(|(key, value)| Value::Object(Map::from_iter([(key, value)]))));
        } else {
            found.extend(
                candidates(&schema["additionalProperties"], definitions).into_iter().map(|it| json!({"k": it})),
            );
        }
    }
    found
}

fn resolved<'a>(schema: &'a Value, definitions: &'a Value) -> &'a Value {
    match schema["$ref"].as_str().and_then(|path| path.strip_prefix("#/$defs/")) {
        Some(name) => &definitions[name],
        None => schema,
    }
}

/// Keys of sections and, with a number for their place, of entries of lists.
fn keys(schema: &Value, definitions: &Value, path: &str, found: &mut Vec<(String, Value)>) {
    for (key, schema) in resolved(schema, definitions)["properties"].as_object().into_iter().flatten() {
        let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
        let inner = resolved(schema, definitions);
        let item = resolved(&inner["items"], definitions);
        if inner["properties"].is_object() {
            keys(inner, definitions, &path, found);
        } else if item["properties"].is_object() {
            keys(item, definitions, &format!("{path}.0"), found);
        } else {
            found.push((path, schema.clone()));
        }
    }
}

fn with(path: &str, value: &Value) -> Value {
    let mut tree = json!({
        "otlp": { "endpoint": "http://localhost:4318" },
        "export": { "spool": { "dir": "/spool" }, "endpoints": [{ "endpoint": "https://c:4318" }] },
        "otel_traces_export": { "sampler": { "name": "traceidratio" } },
        "store": { "dir": "/store" },
        "internal_metrics": { "prometheus": { "port": 6060 } },
        "health_check": { "port": 8081 },
        // Served, since there are native histograms where somebody can ask for them.
        "prometheus_export": { "port": 9090 },
        "routes": { "unmatched": "low-cardinality" },
        "discovery": {
            "instrument": [{ "open_ports": "8080" }],
            "exclude_instrument": [{ "open_ports": "8080" }],
            "default_exclude_instrument": [{ "open_ports": "8080" }],
        },
    });
    let mut place = &mut tree;
    for segment in path.split('.') {
        place = match segment.parse::<usize>() {
            Ok(index) => {
                if place.is_null() {
                    *place = json!([null]);
                }
                &mut place[index]
            }
            Err(_) => &mut place[segment],
        };
    }
    *place = value.clone();
    tree
}

#[test]
fn each_key_changes_what_some_stage_is_given() {
    let schema = config::schema();
    let mut all = Vec::new();
    keys(&schema, &schema["$defs"], "", &mut all);
    assert!(all.len() > 60, "{all:?}");
    let read = |path: &str, value: &Value| serde_json::from_value::<Config>(with(path, value)).ok();
    let base = given(&serde_json::from_value(with("listen", &json!("off"))).unwrap());
    assert!(base.is_some());
    assert_eq!(base, given(&serde_json::from_value(with("listen", &json!("off"))).unwrap()), "else all has an effect");
    let mut without_effect = Vec::new();
    for (path, schema_of_key) in &all {
        let listen = json!("off");
        let mut tried = 0;
        let has_effect = candidates(schema_of_key, &schema["$defs"]).iter().any(|value| {
            let Some(mut config) = read(path, value) else { return false };
            if path != "listen" {
                config.listen = serde_json::from_value(listen.clone()).unwrap();
            }
            tried += 1;
            given(&config).is_some_and(|given| Some(given) != base)
        });
        if !has_effect {
            without_effect.push(format!("{path} ({tried} values tried)"));
        }
    }
    without_effect.retain(|key| !READ_ELSEWHERE.iter().any(|(path, _)| key.starts_with(&format!("{path} "))));
    assert_eq!(without_effect, Vec::<String>::new());
    for (path, _) in READ_ELSEWHERE {
        assert!(all.iter().any(|(key, _)| key == path), "{path} is no key any more");
    }
}

#[test]
fn resource_attributes_are_taken_as_they_are() {
    let mut config = Config { service_namespace: Some("shop=1,2".into()), ..Config::default() };
    config.resource_attributes = [("team", "a,b"), ("share", "50%")].map(|(k, v)| (k.into(), v.into())).into();
    let env = Settings::of(&config).unwrap().processes.env;
    let found = ["team", "share", "service.namespace"].map(|key| env.get(key).map(CompactString::as_str));
    assert_eq!(found, [Some("a,b"), Some("50%"), Some("shop=1,2")]);
}
