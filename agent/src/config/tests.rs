//! The layers together: precedence, origins, messages, whole files.

use std::path::{Path, PathBuf};

use super::*;

fn fixture(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src/config/fixtures").join(name)
}

/// A file of its own, removed at the end.
struct File(PathBuf);

impl File {
    fn new(text: &str) -> Self {
        use std::sync::atomic::{AtomicU32, Ordering};
        static NEXT: AtomicU32 = AtomicU32::new(0);
        let name = format!("beyla-rs-config-{}-{}.yaml", std::process::id(), NEXT.fetch_add(1, Ordering::Relaxed));
        let path = std::env::temp_dir().join(name);
        std::fs::write(&path, text).unwrap();
        Self(path)
    }
}

impl Drop for File {
    fn drop(&mut self) {
        drop(std::fs::remove_file(&self.0));
    }
}

pub(super) fn load(
    file: &str,
    env: &[(&str, &str)],
    flags: &[(&'static str, &str, &str)],
) -> Result<Loaded, Vec<String>> {
    let file = File::new(file);
    let mut layer = FlagLayer::default();
    for (flag, key, value) in flags {
        layer.set(flag, key, Some((*value).to_owned()));
    }
    let sources = Sources {
        file: Some(file.0.clone()),
        environment: Environment::from_pairs(env.iter().copied()),
        flags: layer,
        is_strict: false,
        is_check: false,
    };
    let shown = file.0.display().to_string();
    Loaded::load(sources)
        .map_err(|error| error.problems.iter().map(|problem| problem.to_string().replace(&shown, "a.yaml")).collect())
}

fn problems(file: &str) -> Vec<String> {
    load(file, &[], &[]).expect_err("it was accepted")
}

#[test]
fn flag_wins_over_environment_over_file_over_default() {
    let file = "log_level: warn\n";
    let env = [("OTEL_EBPF_LOG_LEVEL", "ERROR")];
    let flag = [("--log-level", "log_level", "trace")];
    let level = |file, env: &[_], flags: &[_]| {
        let loaded = load(file, env, flags).unwrap();
        (loaded.log_level, loaded.origin("log_level").unwrap().to_string())
    };
    assert_eq!(level("", &[], &[]), (LogLevel::Info, "default".into()));
    let (found, origin) = level(file, &[], &[]);
    assert!(found == LogLevel::Warn && origin.starts_with("file ") && origin.ends_with(":1"), "{origin}");
    assert_eq!(level(file, &env, &[]), (LogLevel::Error, "env OTEL_EBPF_LOG_LEVEL".into()));
    assert_eq!(level(file, &env, &flag), (LogLevel::Trace, "flag --log-level".into()));
}

#[test]
fn every_variable_of_the_specification_reaches_its_value() {
    let loaded = load(
        "",
        &[
            ("OTEL_EXPORTER_OTLP_ENDPOINT", "https://c:4318"),
            ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json"),
            ("OTEL_EXPORTER_OTLP_HEADERS", "a=b%20c"),
            ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
            ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
            ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca"),
            ("OTEL_EXPORTER_OTLP_CLIENT_KEY", "/key"),
            ("OTEL_EXPORTER_OTLP_CLIENT_CERTIFICATE", "/cert"),
            ("OTEL_EXPORTER_OTLP_METRICS_ENDPOINT", "https://m:4317"),
            ("OTEL_EXPORTER_OTLP_METRICS_PROTOCOL", "grpc"),
            ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "x=y"),
            ("OTEL_SERVICE_NAME", "shop"),
            ("OTEL_RESOURCE_ATTRIBUTES", "service.namespace=prod,team=a%2Cb"),
            ("OTEL_TRACES_SAMPLER", "traceidratio"),
            ("OTEL_TRACES_SAMPLER_ARG", "0.25"),
            ("OTEL_TRACES_EXPORTER", "otlp,console"),
            ("OTEL_METRICS_EXPORTER", "otlp"),
            ("OTEL_METRIC_EXPORT_INTERVAL", "15000"),
            ("OTEL_EXPORTER_OTLP_METRICS_TEMPORALITY_PREFERENCE", "LowMemory"),
            ("OTEL_EXPORTER_OTLP_METRICS_DEFAULT_HISTOGRAM_AGGREGATION", "base2_exponential_bucket_histogram"),
            ("OTEL_PROPAGATORS", "tracecontext,b3multi"),
            ("OTEL_BSP_SCHEDULE_DELAY", "100"),
            ("OTEL_BSP_EXPORT_TIMEOUT", "200"),
            ("OTEL_BSP_MAX_QUEUE_SIZE", "300"),
            ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "50"),
            ("OTEL_SDK_DISABLED", "False"),
        ],
        &[],
    )
    .unwrap();
    let warned: Vec<&str> = loaded.warnings.iter().map(|warning| warning.key.as_str()).collect();
    assert!(warned.is_empty(), "{warned:?}");
    let millis = |millis| Period(std::time::Duration::from_millis(millis));
    let traces = loaded.otlp_traces().remove(0);
    assert_eq!(traces.endpoint.as_str(), "https://c:4318/v1/traces");
    assert_eq!(
        (traces.protocol, traces.compression, traces.timeout),
        (Protocol::HttpJson, Compression::Gzip, millis(2500))
    );
    assert_eq!(traces.headers.0.into_iter().collect::<Vec<_>>(), [("x".to_owned(), "y".to_owned())]);
    assert_eq!(traces.certificate.as_deref(), Some(Path::new("/ca")));
    let metrics = loaded.otlp_metrics().remove(0);
    assert_eq!((metrics.endpoint.as_str(), metrics.protocol), ("https://m:4317", Protocol::Grpc));
    assert_eq!(metrics.headers.0.get("a").map(String::as_str), Some("b c"));
    assert_eq!(metrics.client_key.as_deref(), Some(Path::new("/key")));
    assert_eq!(metrics.client_certificate.as_deref(), Some(Path::new("/cert")));
    assert_eq!(loaded.default_service_name(), Some("shop"));
    assert_eq!(loaded.resource_attributes.get("team").map(String::as_str), Some("a,b"));
    assert_eq!(
        loaded.otel_traces_export.sampler,
        Sampler { name: SamplerName::TraceIdRatio, arg: Some(0.25), ..Sampler::default() }
    );
    assert_eq!(loaded.exporters.traces, [Exporter::Otlp, Exporter::Console]);
    assert_eq!(loaded.exporters.metrics, [Exporter::Otlp]);
    assert_eq!(loaded.otel_metrics_export.interval, millis(15_000));
    assert_eq!(loaded.otel_metrics_export.temporality, Temporality::LowMemory);
    assert_eq!(loaded.otel_metrics_export.histogram_aggregation, HistogramAggregation::Base2ExponentialBucketHistogram);
    assert_eq!(loaded.propagators, [Propagator::TraceContext, Propagator::B3Multi]);
    let export = &loaded.otel_traces_export;
    assert_eq!((export.batch_timeout, export.export_timeout), (millis(100), Some(millis(200))));
    assert_eq!((export.queue_size, export.batch_max_size), (Some(300), Some(50)));
    assert!(!loaded.sdk_disabled);
    assert_eq!(loaded.print_mode(), Print::Text);
}

#[test]
fn a_stronger_common_endpoint_wins_over_a_weaker_own_one() {
    let file = "otel_traces_export: {endpoint: 'http://file:4318/x'}\n";
    let endpoint =
        |env: &[_], flags: &[_]| load(file, env, flags).unwrap().otlp_traces().remove(0).endpoint.to_string();
    assert_eq!(endpoint(&[], &[]), "http://file:4318/x");
    let env = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://env:4318");
    assert_eq!(endpoint(&[env], &[]), "http://env:4318/v1/traces");
    let own = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://own:4318");
    // The specification's variable is used as it is; OBI's key gets the signal's path where it has none.
    assert_eq!(endpoint(&[env, own], &[]), "http://own:4318/");
    let file = "otel_traces_export: {endpoint: 'http://file:4318'}\n";
    assert_eq!(load(file, &[], &[]).unwrap().otlp_traces().remove(0).endpoint.as_str(), "http://file:4318/v1/traces");
    let grpc = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://own:4317");
    assert_eq!(endpoint(&[grpc], &[]), "http://own:4317");
    assert_eq!(endpoint(&[env, own], &[("--endpoint", "otlp.endpoint", "http://flag:4317")]), "http://flag:4317");
}

#[test]
fn a_stronger_resource_attribute_wins_over_a_weaker_key_of_its_own() {
    let file = "service_name: file\nservice_namespace: file\n";
    let names = |file: &str, env: &[_]| {
        let loaded = load(file, env, &[]).unwrap();
        let own = |name: Option<&str>| name.unwrap_or("none").to_owned();
        [own(loaded.default_service_name()), own(loaded.default_service_namespace())]
    };
    let attributes = ("OTEL_RESOURCE_ATTRIBUTES", "service.name=env,service.namespace=env");
    assert_eq!(names(file, &[]), ["file", "file"]);
    assert_eq!(names(file, &[attributes]), ["env", "env"]);
    // In one layer the name of its own wins, as the specification says of `OTEL_SERVICE_NAME`.
    let own = [("OTEL_SERVICE_NAME", "own"), ("OTEL_EBPF_SERVICE_NAMESPACE", "own")];
    assert_eq!(names(file, &[attributes, own[0], own[1]]), ["own", "own"]);
    let listed = "resource_attributes: {service.name: list, service.namespace: list}\n";
    assert_eq!(names(&format!("{file}{listed}"), &[]), ["file", "file"]);
    assert_eq!(names(listed, &[own[0], own[1]]), ["own", "own"]);
    assert_eq!(names(listed, &[attributes]), ["env", "env"]);
    let origin = load(file, &[attributes], &[]).unwrap().origin("service_name").unwrap().to_string();
    assert_eq!(origin, "env OTEL_RESOURCE_ATTRIBUTES");
}

#[test]
fn beyla_names_of_variables_are_read_and_obi_names_win() {
    let loaded = load("", &[("BEYLA_OPEN_PORT", "80")], &[]).unwrap();
    assert!(loaded.open_port.contains(80));
    assert_eq!(loaded.origin("open_port").unwrap().to_string(), "env BEYLA_OPEN_PORT");
    let loaded = load("", &[("BEYLA_OPEN_PORT", "80"), ("OTEL_EBPF_OPEN_PORT", "90")], &[]).unwrap();
    assert!(loaded.open_port.contains(90) && !loaded.open_port.contains(80));
    assert_eq!(load("", &[("BEYLA_TRACE_PRINTER", "json_indent")], &[]).unwrap().print_mode(), Print::Json);
}

#[test]
fn spans_are_printed_only_where_nothing_else_takes_them() {
    let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317");
    let mode = |file, env: &[_]| load(file, env, &[]).unwrap().print_mode();
    assert_eq!(mode("", &[]), Print::Text);
    assert_eq!(mode("", &[endpoint]), Print::Off);
    assert_eq!(mode("print: json", &[endpoint]), Print::Json);
    assert_eq!(mode("print: off", &[]), Print::Off);
    assert_eq!(mode("", &[("OTEL_SDK_DISABLED", "true")]), Print::Off);
    assert_eq!(mode("", &[("OTEL_TRACES_EXPORTER", "none")]), Print::Off);
}

#[test]
fn an_unknown_key_is_named_with_line_and_nearest_key() {
    let file = "routes:\n  unmatched: heuristic\n  paterns: [/x]\nlog_lvel: info\ninterval: 5s\n\
                \ndiscovery:\n  instrument:\n    - exe_pth: x\n      open_ports: 80\nnetwork:\n  enabled: true\n";
    assert_eq!(
        problems(file),
        [
            "a.yaml:3:3: routes.paterns: is no known key; did you mean `patterns`?",
            "a.yaml:4:1: log_lvel: is no known key; did you mean `log_level`?",
            "a.yaml:5:1: interval: is no known key; did you mean `otel_metrics_export.interval`?",
            "a.yaml:9:7: discovery.instrument[0].exe_pth: is no known key; did you mean `exe_path`?",
        ]
    );
}

#[test]
fn a_key_that_is_near_to_nothing_stops_no_start_but_is_no_right_one() {
    let file = File::new("zzzzzz: 1\nopen_port: ${PORT}\n");
    let environment = Environment::from_pairs([("PORT", "80"), ("OTEL_EBPF_LOG_LEVEL", "no such level")]);
    let error = check_file(&file.0, environment, false).unwrap_err().to_string();
    assert!(error.ends_with(":1:1: zzzzzz: is no known key") && !error.contains('\n'), "{error}");
    let loaded = load("zzzzzz: 1\nnetwork: {enabled: true}\n", &[], &[]).unwrap();
    let warnings: Vec<String> = loaded.warnings.iter().map(Problem::to_string).collect();
    assert!(warnings[0].contains("zzzzzz: is no known key; it is ignored"), "{warnings:?}");
    assert!(warnings[1].contains("network.enabled: is no known key; did you mean `enable`?"), "{warnings:?}");
}

/// Written after the files that OBI and Beyla come with, their tests' among them: the same options, in such combinations.
#[test]
fn files_like_those_of_obi_and_beyla_start_and_what_is_ignored_is_named() {
    for (name, ignored) in [
        ("obi_globs.yaml", &["`*server*` is no regular expression"][..]),
        ("obi_options.yaml", &["ebpf.buffer_sizes.http", "network.enable"]),
        ("beyla_options.yaml", &["grafana.otlp.submit"]),
        ("obi_2_0.yaml", &["extensions.obi.capture.network.capture.enabled", "rules: is left out", "routes.unmatched"]),
    ] {
        let sources = Sources { file: Some(fixture(name)), ..Sources::from_environment(Environment::default()) };
        let loaded = Loaded::load(sources).unwrap_or_else(|error| panic!("{name}: {error}"));
        let warnings: Vec<String> = loaded.warnings.iter().map(Problem::to_string).collect();
        for key in ignored {
            assert!(warnings.iter().any(|warning| warning.contains(key)), "{name}: {key} is not among {warnings:#?}");
        }
    }
    let sources =
        Sources { file: Some(fixture("obi_globs.yaml")), ..Sources::from_environment(Environment::default()) };
    let loaded = Loaded::load(sources).unwrap();
    let [first, second, third] = loaded.discovery.instrument.as_slice() else { panic!() };
    assert!(first.exe_path.as_ref().unwrap().is_match("/opt/testserver-1"));
    assert!(
        second.exe_path.as_ref().unwrap().is_match("/srv/rename1")
            && !second.exe_path.as_ref().unwrap().is_match("/srv/x")
    );
    assert!(third.exe_path.as_ref().unwrap().is_match("/usr/bin/worker"), "a regular expression stays one");
}

#[test]
fn an_entry_of_headers_in_the_environment_that_is_wrong_is_left_out_alone() {
    let headers = |text: &str| {
        let environment = Environment::from_pairs([("OTEL_EXPORTER_OTLP_HEADERS", text)]);
        let loaded = Loaded::load(Sources::from_environment(environment)).unwrap();
        (loaded.otlp.headers.0.keys().cloned().collect::<Vec<_>>(), loaded.warnings.len())
    };
    assert_eq!(headers("authorization=a,bad,x=%zz"), (vec!["authorization".to_owned()], 2));
    assert_eq!(headers("bad"), (vec![], 1));
}

#[test]
fn protocols_and_exports_in_files_of_obi_s_configuration_2_0_are_not_taken_for_nothing() {
    let load = |capture: &str, version: &str| {
        let extensions = format!("extensions: {{obi: {{version: '{version}', capture: {capture}}}}}");
        let file = File::new(&format!("file_format: '1.0'\n{extensions}\n"));
        Loaded::load(Sources { file: Some(file.0.clone()), ..Sources::from_environment(Environment::default()) })
    };
    let has = |capture: &str, one: Instrumentation| {
        load(capture, "2.0").unwrap().otel_traces_export.instrumentations.contains(&one)
    };
    let without_sql = "{instrumentation: {sql: {enabled: {traces: false, metrics: false}}}}";
    assert_eq!(
        [Instrumentation::Sql, Instrumentation::Redis, Instrumentation::Dns].map(|one| has(without_sql, one)),
        [false, true, false]
    );
    assert!(has("{instrumentation: {dns: {enabled: {traces: true}}}}", Instrumentation::Dns));
    let rule = |action: &str| {
        let process = "{open_ports: '8080', exports_otlp: {port: 4317, protocol: protobuf}}";
        format!("{{rules: [{{action: {action}, match: {{process: {process}}}}}]}}")
    };
    let excluded = load(&rule("exclude"), "2.0").unwrap();
    assert!(
        excluded.discovery.exclude_instrument.is_empty() && excluded.warnings.len() == 1,
        "{:?}",
        excluded.warnings
    );
    assert!(load(&rule("include"), "2.0").unwrap_err().to_string().contains("chooses no processes here"));
    let later = load("{}", "3.0").unwrap().warnings;
    assert!(matches!(&later[..], [one] if one.to_string().contains("`3.0` is not known")), "{later:?}");
}

#[test]
fn files_of_obi_s_configuration_2_0_mean_what_they_say() {
    let sources =
        Sources { file: Some(fixture("obi_v2_defaults.yaml")), ..Sources::from_environment(Environment::default()) };
    assert_eq!(Loaded::load(sources).unwrap().warnings, []);

    let environment = Environment::from_pairs([("COLLECTOR", "collector:4317")]);
    let sources = Sources { file: Some(fixture("obi_2_0.yaml")), ..Sources::from_environment(environment) };
    let loaded = Loaded::load(sources).unwrap();
    // The first one that matches counts there, the last one here.
    let [ports, demo] = loaded.discovery.instrument.as_slice() else { panic!("{:?}", loaded.discovery) };
    let exe = demo.exe_path.as_ref().unwrap();
    assert!(exe.is_match("/opt/demo/a") && exe.is_match("/srv/b,c/d") && !exe.is_match("/usr/bin/a"));
    assert_eq!(demo.exports, Some(vec![Signal::Traces]));
    assert_eq!(demo.routes.as_ref().unwrap().incoming, ["/items/{id}"]);
    assert_eq!(ports.exports, Some(vec![Signal::Traces, Signal::Metrics]), "nothing is inherited");
    assert_eq!(ports.routes, Some(ServiceRoutes::default()));
    assert!(ports.open_ports.contains(8080) && ports.open_ports.contains(9090) && !ports.open_ports.contains(8081));
    assert!(ports.k8s_namespace.as_ref().unwrap().is_match("shop-a"));
    assert!(ports.k8s_deployment_name.as_ref().unwrap().is_match("checkout"));
    let [excluded] = loaded.discovery.exclude_instrument.as_slice() else { panic!("{:?}", loaded.discovery) };
    assert!(excluded.exe_path.as_ref().unwrap().is_match("/usr/sbin/x"));
    assert_eq!(loaded.print_mode(), Print::Text);
    assert_eq!(loaded.resource_attributes["service.namespace"], "cloud");
    assert_eq!(
        loaded.otel_traces_export.sampler,
        Sampler { name: SamplerName::ParentBasedTraceIdRatio, arg: Some(0.5), ..Sampler::default() }
    );
    let traces = loaded.otlp_traces().remove(0);
    assert_eq!((traces.endpoint.as_str(), traces.protocol), ("https://collector:4317", Protocol::Grpc));
    assert_eq!(traces.headers.0["tenant"], "a");
    let metrics = loaded.otlp_metrics().remove(0);
    assert_eq!(metrics.endpoint.as_str(), "http://collector:4318/v1/metrics");
    assert_eq!(metrics.protocol, Protocol::HttpProtobuf);
    assert_eq!(loaded.prometheus_export.port, 9400);
    assert_eq!(loaded.routes.patterns, ["/a/*"]);

    let load_text = |text: &str| load(text, &[], &[]).unwrap();
    let nothing = load_text("file_format: '1.0'\nextensions: {obi: {capture: {policy: {default_action: exclude}}}}\n");
    assert!(nothing.discovery.instrument.iter().all(|entry| !entry.exe_path.as_ref().unwrap().is_match("/bin/a")));
    assert_eq!(nothing.discovery.instrument.len(), 1);
    let size = load_text("limits: {memory: 256MiB}\nstore: {memory: '32 MB'}\n");
    assert_eq!((size.limits.memory, size.store.memory), (Some(256 << 20), 32_000_000));
    // What asks for what is not known is refused by its name, as in the first configuration.
    for action in ["include", "exclude"] {
        let rule = format!("{{action: {action}, match: {{process: {{signed_by: someone, exe_path_glob: [/a]}}}}}}");
        let text = format!("file_format: '1.0'\nextensions: {{obi: {{capture: {{rules: [{rule}]}}}}}}\n");
        let problems = load(&text, &[], &[]).unwrap_err();
        assert!(problems[0].contains("capture.rules[].match.process.signed_by: is not known"), "{problems:?}");
    }
    let rest = load_text(
        "file_format: '1.0'\nextensions: {obi: {capture: {rules: [\
         {action: include, match: {process: {exe_path_glob: [/a]}}, refine: {exports: {metrics: false}}}]}}}\n",
    );
    let [all, first] = rest.discovery.instrument.as_slice() else { panic!("{:?}", rest.discovery) };
    assert!(first.exports.is_some() && all.exports.is_none() && all.exe_path.as_ref().unwrap().is_match("/b"));
}

#[test]
fn every_wrong_value_is_named_not_only_the_first() {
    let file = "log_level: lound\nopen_port: 80-x\nebpf: {ring_buffer_bytes: many}\notlp: {endpoint: 'collector:4317'}\n\
                discovery:\n  instrument:\n    - exports: [trace]\n      open_ports: 80\nroutes: {patterns: /x}\n\
                sdk_disabled: perhaps\nprint: [text]\nprometheus_export: {port: 70000}\nshutdown_timeout: 10\n";
    assert_eq!(
        problems(file),
        [
            "a.yaml:2:12: open_port: `80-x` is no port; write a list such as `80,8000-8999` (ports are 1 to 65535)",
            "a.yaml:7:17: discovery.instrument[0].exports[0]: `trace` is none of traces, metrics; did you mean `traces`?",
            "a.yaml:9:20: routes.patterns: expected a list, as `[a, b]`",
            "a.yaml:4:18: otlp.endpoint: `collector:4317` is no URL of a collector (it has no scheme); write it as \
             `http://collector:4317` or `https://collector:4318`",
            "a.yaml:12:27: prometheus_export.port: `70000` is not a whole number from 0 to 65535",
            "a.yaml:11:8: print: is a list; expected one of off, text, json",
            "a.yaml:10:15: sdk_disabled: `perhaps` is neither true nor false",
            "a.yaml:3:27: ebpf.ring_buffer_bytes: `many` is not a whole number from 0 to 4294967295",
            "a.yaml:1:12: log_level: `lound` is none of off, error, warn, info, debug, trace",
            "a.yaml:13:19: shutdown_timeout: `10` needs a unit, as in `10s` or `10ms`",
        ]
    );
}

#[test]
fn a_wrong_value_of_a_variable_or_flag_names_it() {
    for (name, value) in [
        ("BEYLA_OPEN_PORT", "http"),
        ("OTEL_EBPF_KUBE_METADATA_ENABLE", "perhaps"),
        ("OTEL_EBPF_METRICS_INTERVAL", "60"),
    ] {
        let found = load("", &[(name, value)], &[]).unwrap_err();
        assert!(found.len() == 1 && found[0].starts_with(&format!("{name}: `{value}`")), "{found:?}");
    }
    let found = load("", &[], &[("--duration", "duration", "soon")]).unwrap_err();
    assert!(found[0].starts_with("--duration: `soon`"), "{found:?}");
}

/// As OpenTelemetry's specification asks; those of OBI and Beyla, and of a check that is strict, are errors.
#[test]
fn a_wrong_value_of_a_variable_of_the_specification_is_warned_of_and_ignored() {
    let all = [
        ("OTEL_TRACES_SAMPLER", "sometimes"),
        ("OTEL_TRACES_EXPORTER", "jaeger"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "thrift"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "nowhere"),
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://secret@collector:4318"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "secret"),
        ("OTEL_BSP_MAX_QUEUE_SIZE", "lots"),
        ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "0"),
        ("OTEL_METRIC_EXPORT_INTERVAL", "0"),
        ("OTEL_PROPAGATORS", "none,b3"),
        ("OTEL_SDK_DISABLED", "maybe"),
        ("OTEL_RESOURCE_ATTRIBUTES", "a=%zz"),
    ];
    let shown = |loaded: &Loaded| -> Vec<String> { loaded.warnings.iter().map(ToString::to_string).collect() };
    for variable in all {
        let loaded = load("", &[variable], &[]).unwrap();
        let [warning] = &shown(&loaded)[..] else { panic!("{variable:?}: {:?}", loaded.warnings) };
        assert!(warning.starts_with(&format!("{}: ", variable.0)), "{warning}");
        assert!(warning.ends_with("; it is ignored") && !warning.contains("secret"), "{warning}");
        assert_eq!(loaded.config, Config::default(), "{variable:?}");
    }
    let loaded = load("", &[&all[..], &[("OTEL_SERVICE_NAME", "shop")]].concat(), &[]).unwrap();
    assert_eq!(
        (loaded.default_service_name(), shown(&loaded).len()),
        (Some("shop"), all.len()),
        "{:?}",
        loaded.warnings
    );
    // What else is wrong still is an error.
    let found = load("log_level: lound", &all, &[]).unwrap_err();
    assert!(found.len() == 1 && found[0].contains("log_level"), "{found:?}");
    let environment = Environment::from_pairs(all);
    let strict = Sources { is_strict: true, ..Sources::from_environment(environment) };
    assert!(Loaded::load(strict).is_err());
}

#[test]
fn an_instance_id_for_all_that_is_watched_is_warned_of() {
    let env = [("OTEL_RESOURCE_ATTRIBUTES", "service.instance.id=one,team=a")];
    let loaded = load("", &env, &[]).unwrap();
    let [warning] = &loaded.warnings[..] else { panic!("{:?}", loaded.warnings) };
    let warning = warning.to_string();
    assert!(warning.starts_with("OTEL_RESOURCE_ATTRIBUTES: `service.instance.id` is not used"), "{warning}");
}

#[test]
fn contradictions_are_errors() {
    for (file, expected) in [
        ("otel_traces_export: {sampler: {name: always_on, arg: 0.5}}", "otel_traces_export.sampler.arg: is a share"),
        ("otel_traces_export: {sampler: {arg: 0.5}}", "otel_traces_export.sampler.arg: is a share"),
        (
            "otel_traces_export: {sampler: {name: traceidratio, arg: 1.5}}",
            "otel_traces_export.sampler.arg: `1.5` is no share",
        ),
        (
            "discovery: {instrument: [{open_ports: 80, sampler: {arg: 0.5}}]}",
            "discovery.instrument[0].sampler.arg: is a share",
        ),
        ("discovery: {instrument: [{name: x}]}", "discovery.instrument[0]: chooses nothing"),
        ("exporters: {traces: [none, otlp]}", "exporters.traces: `none` contradicts"),
        ("exporters: {traces: [prometheus]}", "exporters.traces: `prometheus` takes no spans"),
        ("{print: json, exporters: {metrics: [console]}}", "exporters.metrics: `console` contradicts `print: json`"),
        (
            "{listen: off, exporters: {metrics: [prometheus]}}",
            "exporters.metrics: `prometheus` contradicts `listen: off`",
        ),
        ("propagators: [none, b3]", "propagators: `none` contradicts"),
        (
            "otel_metrics_export: {buckets: {duration_histogram: [1, 0.5]}}",
            "otel_metrics_export.buckets.duration_histogram: must have numbers that ascend",
        ),
        (
            "{otel_metrics_export: {buckets: {request_size_histogram: [1]}}, \
             prometheus_export: {buckets: {request_size_histogram: [2]}}}",
            "prometheus_export.buckets.request_size_histogram: differs from",
        ),
        (
            "prometheus_export: {native_histogram: {max_bucket_number: 1}}",
            "prometheus_export.native_histogram.max_bucket_number: must be 4 to 2048",
        ),
        ("telemetry: {cardinality_limit: 0}", "telemetry.cardinality_limit: must be at least 1"),
        (
            "otel_traces_export: {queue_size: 10, batch_max_size: 20}",
            "otel_traces_export.batch_max_size: a batch of 20",
        ),
        ("otel_traces_export: {batch_max_size: 0}", "otel_traces_export.batch_max_size: must be at least 1"),
        (
            "otel_traces_export: {backoff_initial_interval: 1m}",
            "otel_traces_export.backoff_initial_interval: is longer",
        ),
        ("duration: 0s", "duration: must be longer than zero"),
        ("otlp: {endpoint: 'http://c:4317/v1/traces'}", "otlp.endpoint: has a path, which grpc has no use for"),
        ("otlp: {endpoint: 'https://c', client_key: /k}", "otlp.client_key: needs `client_certificate`"),
        ("otlp: {endpoint: 'https://c', headers: {'a b': c}}", "otlp.headers: `a b` is no name of a header"),
        ("{print: json, trace_printer: text}", "trace_printer: contradicts `print`"),
        ("{executable_name: x, auto_target_exe: y}", "executable_name: contradicts `auto_target_exe`"),
        ("discovery: {services: [{exe_path: a, exe_path_regexp: b}]}", "exe_path_regexp: contradicts `exe_path`"),
        ("prometheus_export: {path: /healthz}", "prometheus_export.path: `/healthz` is taken"),
        ("ebpf: {ring_buffer_bytes: 100000}", "ebpf.ring_buffer_bytes: 100000 is no power of two"),
        ("ebpf: {capture_bytes: 50000}", "ebpf.capture_bytes: 50000 is not from 512 to 8192"),
        ("ebpf: {standby_programs: 4}", "ebpf.standby_programs: 4 is not from 0 to 3"),
        ("routes: {patterns: [users]}", "routes.patterns: the pattern `users` must begin with `/`"),
        ("routes: {wildcard_char: '**'}", "routes.wildcard_char: `**` is not one character"),
    ] {
        let found = problems(file);
        let [problem] = found.as_slice() else { panic!("{file}: {found:?}") };
        assert!(problem.starts_with("a.yaml:1:") && problem.contains(&format!(": {expected}")), "{file}: {problem}");
    }
}

#[test]
fn a_small_queue_makes_the_default_batch_smaller_and_no_other() {
    let batch = |variables: &[(&str, &str)]| {
        let batch = crate::run::export_settings(&load("", variables, &[]).unwrap()).unwrap().batch;
        (batch.max_queue_spans, batch.max_batch_spans)
    };
    let queue = |size| ("OTEL_BSP_MAX_QUEUE_SIZE", size);
    assert_eq!(batch(&[]), (None, 4096));
    assert_eq!(batch(&[queue("2048")]), (Some(2048), 512));
    assert_eq!(batch(&[queue("65536")]), (Some(65536), 4096));
    assert_eq!(batch(&[queue("2")]), (Some(2), 1));
    assert_eq!(batch(&[queue("2048"), ("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2000")]), (Some(2048), 2000));
}

#[test]
fn a_selecting_flag_replaces_what_file_and_environment_choose() {
    let file = "open_port: 80\ndiscovery:\n  instrument:\n    - {open_ports: 90, name: x}\n";
    let loaded = load(file, &[("BEYLA_AUTO_TARGET_EXE", "*/x")], &[]).unwrap();
    let selection = loaded.selection();
    assert_eq!(selection.criteria.len(), 2);
    assert_eq!(selection.criteria[1].name.as_deref(), Some("x"));
    let shortcut = &selection.criteria[0];
    assert!(shortcut.open_ports.contains(80) && shortcut.exe_path.as_ref().is_some_and(|exe| exe.is_match("/x")));

    let loaded = load(file, &[("BEYLA_AUTO_TARGET_EXE", "*/x")], &[("--pid", "target_pids", "7")]).unwrap();
    assert_eq!(loaded.selection(), Selection { pids: vec![7], criteria: vec![] });
    let [warning] = loaded.warnings.as_slice() else { panic!("{:?}", loaded.warnings) };
    assert!(warning.to_string().ends_with("discovery.instrument: is not used, because --pid chooses what is watched"));
    assert!(load("", &[], &[]).unwrap().selection().is_everything());
}

#[test]
fn a_kubernetes_file_of_beyla_loads_and_each_option_we_lack_is_named() {
    let sources =
        Sources { file: Some(fixture("beyla_kubernetes.yaml")), ..Sources::from_environment(Environment::default()) };
    let loaded = Loaded::load(sources.clone()).unwrap();
    let warned: Vec<&str> = loaded.warnings.iter().map(|warning| warning.key.as_str()).collect();
    assert_eq!(warned, ["network.enable", "network.cidrs", "ebpf.context_propagation",]);
    let [cart, labelled] = loaded.discovery.instrument.as_slice() else { panic!("{:?}", loaded.discovery) };
    assert!(cart.k8s_deployment_name.as_ref().unwrap().is_match("checkout"));
    assert_eq!(
        cart.sampler,
        Some(Sampler { name: SamplerName::ParentBasedTraceIdRatio, arg: Some(0.1), ..Sampler::default() })
    );
    assert!(cart.exports(Signal::Traces) && !cart.exports(Signal::Metrics));
    assert!(labelled.containers_only && labelled.needs_kubernetes());
    assert!(labelled.k8s_pod_labels.get("app.kubernetes.io/part-of").unwrap().is_match("shop-eu"));
    assert_eq!(loaded.attributes.kubernetes.enable, Enable::True);
    assert_eq!(loaded.attributes.kubernetes.cluster_name.as_deref(), Some("test"));
    assert_eq!(loaded.routes.unmatched, Unmatched::LowCardinality);
    assert_eq!(loaded.routes.ignore_mode, IgnoreMode::Traces);
    assert_eq!(loaded.prometheus_export.port, 9090);
    assert_eq!((loaded.print_mode(), loaded.log_level), (Print::Text, LogLevel::Info));

    let error = Loaded::load(Sources { is_strict: true, ..sources }).unwrap_err();
    assert_eq!(error.problems.len(), warned.len());
}

#[test]
fn a_host_file_with_older_spellings_loads() {
    let sources = Sources { file: Some(fixture("obi_host.yaml")), ..Sources::from_environment(Environment::default()) };
    let loaded = Loaded::load(sources).unwrap();
    // The short way counts as the first.
    let [shortcut, front] = &loaded.selection().criteria[..] else { panic!("{:?}", loaded.selection()) };
    assert_eq!(front.name.as_deref(), Some("front"));
    assert!(front.exe_path.as_ref().unwrap().is_match("/usr/sbin/nginx"));
    assert!(!front.exe_path.as_ref().unwrap().is_match("/usr/sbin/nginx-debug"));
    assert!(shortcut.exe_path.as_ref().unwrap().is_match("/usr/bin/python3"));
    assert!(shortcut.open_ports.contains(8500));
    let [excluded] = loaded.discovery.exclude_instrument.as_slice() else { panic!() };
    assert!(excluded.cmd_args.as_ref().unwrap().is_match("serve --maintenance now"));
    assert_eq!(loaded.otlp_metrics().remove(0).protocol, Protocol::Grpc);
    assert_eq!(loaded.otlp_traces(), []);
    let keys = loaded.redacted_query_keys();
    assert!(keys.contains(&"ticket".to_owned()) && !keys.contains(&"code".to_owned()));
    assert_eq!(loaded.warnings.len(), 1, "{:?}", loaded.warnings);
}

#[test]
fn the_schema_takes_a_full_file_and_refuses_an_unknown_key() {
    let schema = schema();
    assert!(jsonschema::meta::is_valid(&schema));
    let validator = jsonschema::validator_for(&schema).unwrap();

    let text = std::fs::read_to_string(fixture("full.yaml")).unwrap();
    let tree = yaml::parse("full.yaml", &text, &Environment::default(), &mut Vec::new()).unwrap();
    let mut json = as_json(&tree);
    let errors: Vec<String> =
        validator.iter_errors(&json).map(|error| format!("{}: {error}", error.instance_path())).collect();
    assert_eq!(errors, [""; 0]);
    json["routes"]["paterns"] = "x".into();
    assert!(!validator.is_valid(&json));
    assert!(validator.is_valid(&serde_json::to_value(Config::default()).unwrap()));
}

#[test]
fn the_full_file_sets_every_key() {
    let sources = Sources { file: Some(fixture("full.yaml")), ..Sources::from_environment(Environment::default()) };
    let loaded = Loaded::load(sources).unwrap();
    let shown = loaded.show();
    let defaults: Vec<&str> = shown.lines().filter(|line| line.ends_with("# default")).collect();
    assert_eq!(defaults, [""; 0]);
}

#[test]
fn what_is_shown_names_each_origin_and_reads_back_the_same() {
    let file = "routes:\n  patterns: ['/a/{id}', '/b/$x']\ndiscovery:\n  instrument:\n    - open_ports: 80\n      name: 'on'\n\
                \x20     k8s_pod_labels: {a.b/c: '*'}\nservice_name: '12'\notlp:\n  headers: {authorization: Bearer x}\n";
    let env = [("OTEL_EXPORTER_OTLP_ENDPOINT", "http://c:4317")];
    let loaded = load(file, &env, &[("--listen", "listen", "off")]).unwrap();
    let shown = loaded.show();
    for line in [
        "  endpoint: \"http://c:4317\"  # env OTEL_EXPORTER_OTLP_ENDPOINT",
        "listen: \"off\"  # flag --listen",
        "  timeout: 10s  # default",
        "print: \"off\"  # default",
        "backend: auto  # default",
        "    authorization: \"***\"  # file a.yaml:10",
        "service_name: \"12\"  # file a.yaml:8",
        "      name: \"on\"  # file a.yaml:6",
    ] {
        let shown = shown.replace(&loaded.file().unwrap().display().to_string(), "a.yaml");
        assert!(shown.lines().any(|found| found == line), "{line} is not in\n{shown}");
    }
    assert!(!shown.contains("Bearer"));
    let again = load(&shown, &[], &[]).unwrap();
    let mut expected = loaded.config.clone();
    expected.print = Some(Print::Off);
    expected.otlp.headers.0.insert("authorization".into(), "***".into());
    assert_eq!(again.config, expected);
}

#[test]
fn a_reload_reads_the_file_again_under_the_same_flags() {
    let file = File::new("routes: {patterns: [/a]}\nlog_level: warn\n");
    let mut flags = FlagLayer::default();
    flags.set("--log-level", "log_level", Some("debug".to_owned()));
    let sources = Sources { file: Some(file.0.clone()), flags, ..Sources::from_environment(Environment::default()) };
    let old = Loaded::load(sources).unwrap();
    std::fs::write(&file.0, "routes: {patterns: [/b]}\nlog_level: error\nbackend: kprobe\n").unwrap();
    let new = old.reload().unwrap();
    let reload = old.config.diff_reloadable(&new.config);
    assert!(reload.routes && !reload.discovery && !reload.sampling && !reload.redaction);
    assert_eq!(reload.needs_restart, ["backend"]);
    std::fs::write(&file.0, "routes: [").unwrap();
    assert!(old.reload().is_err());
    std::fs::write(&file.0, "limits: {}\n").unwrap();
    assert!(old.reload().is_ok(), "a key that is known says something");
    // As it is while somebody writes it anew: with the defaults everything would be watched.
    for cut in ["", "# soon\n", "nonsense: 1\n"] {
        std::fs::write(&file.0, cut).unwrap();
        let error = old.reload().unwrap_err().to_string();
        assert!(error.contains("says nothing that is known"), "{error}");
    }
}

#[test]
fn a_file_that_cannot_be_read_is_named() {
    let missing = std::env::temp_dir().join("beyla-rs-no-such-file.yaml");
    let sources = Sources { file: Some(missing.clone()), ..Sources::from_environment(Environment::default()) };
    let message = Loaded::load(sources).unwrap_err().to_string();
    assert!(message.starts_with(&format!("cannot read {}: ", missing.display())), "{message}");
    let environment = Environment::from_pairs([("BEYLA_CONFIG_PATH", missing.display().to_string())]);
    assert!(Loaded::load(Sources::from_environment(environment)).is_err());
}

/// As any YAML reader would give it.
fn as_json(node: &Node) -> serde_json::Value {
    use node::Value;
    match &node.value {
        Value::Null => serde_json::Value::Null,
        Value::Scalar { text, is_plain: true } => {
            serde_json::from_str(text).unwrap_or_else(|_| serde_json::Value::from(text.as_str()))
        }
        Value::Scalar { text, .. } => text.as_str().into(),
        Value::Seq(items) => items.iter().map(as_json).collect(),
        Value::Map(entries) => {
            serde_json::Value::Object(entries.iter().map(|(key, node)| (key.name.clone(), as_json(node))).collect())
        }
    }
}

#[test]
fn a_bound_on_memory_that_the_agent_is_beyond_at_rest_is_told() {
    let told = |memory: &str| {
        let loaded = load(&format!("limits: {{memory: {memory}}}\n"), &[], &[]).unwrap();
        loaded.warnings.iter().map(ToString::to_string).collect::<Vec<_>>()
    };
    for memory in ["32MiB", "63MiB"] {
        let warned = told(memory);
        assert!(warned.len() == 1 && warned[0].contains("limits.memory: is less than 64 MiB"), "{memory}: {warned:?}");
    }
    assert_eq!(told("64MiB"), [""; 0]);
    assert!(problems("limits: {memory: 31MiB}\n")[0].contains("limits.memory"));
}

#[test]
fn what_has_no_effect_is_named() {
    let file = "discovery:\n  exclude_instrument:\n    - open_ports: 8080\n      name: shop\n      exports: [traces]\npropagators: [b3]\nattributes: {baggage_keys: [tenant]}\n";
    let loaded = load(file, &[], &[]).unwrap();
    let warned: Vec<String> = loaded.warnings.iter().map(ToString::to_string).collect();
    for expected in ["[0].name is not used", "[0].exports is not used", "attributes.baggage_keys: is not used"] {
        assert!(warned.iter().any(|warning| warning.contains(expected)), "{expected}: {warned:?}");
    }
    assert_eq!(
        loaded.propagation(),
        Propagation { formats: vec![Format::B3], baggage: vec![], ..Propagation::default() }
    );
}
