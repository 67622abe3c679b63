//! Options that are right by themselves and wrong together, or out of their range.

use super::{
    Config, Criterion, Exporter, Feature, Features, Limits, Listen, ListenTls, Node, OtlpTarget, Period, Print,
    Problem, Propagator, Protocol, Sampler, Signal, Spool, Tail, node::Origin,
};

use crate::model::baggage;

/// Smallest ring that the kernel side uses.
const MIN_RING_BYTES: u32 = 1 << 16;
/// Spans that wait take up memory.
const LONGEST_WAIT: Period = Period(std::time::Duration::from_secs(60));
const MIN_CAPTURE_BYTES: u32 = ebpf_common::limits::SMALL_PIECE;

/// Checks `config`, whose values' origins are in `tree`.
pub(crate) fn validate(config: &Config, tree: &Node, problems: &mut Vec<Problem>, warnings: &mut Vec<Problem>) {
    let mut check = Check { tree, problems };
    check.selection(config);
    check.sampler("otel_traces_export.sampler", &config.otel_traces_export.sampler);
    check.tail(config);
    check.exporters(config);
    check.batches(config);
    check.histograms(config);
    check.outputs(config);
    check.features(config);
    check.routes(config);
    check.target("otel_traces_export", config.otel_traces_export.target(&config.otlp).as_ref());
    check.target("otel_metrics_export", config.otel_metrics_export.target(&config.otlp).as_ref());
    check.endpoints(config);
    doubts(config, tree, warnings);
}

struct Check<'a> {
    tree: &'a Node,
    problems: &'a mut Vec<Problem>,
}

impl Check<'_> {
    fn origin(&self, key: &str) -> Origin {
        self.tree.get(key).map_or(Origin::Default, |node| node.origin.clone())
    }

    fn require(&mut self, is_right: bool, key: &str, message: impl Into<String>) {
        if !is_right {
            let problem = Problem::at(self.origin(key), key, message);
            if !self.problems.contains(&problem) {
                self.problems.push(problem);
            }
        }
    }

    fn selection(&mut self, config: &Config) {
        let discovery = &config.discovery;
        for (key, list) in [
            ("discovery.instrument", &discovery.instrument),
            ("discovery.exclude_instrument", &discovery.exclude_instrument),
            ("discovery.default_exclude_instrument", &discovery.default_exclude_instrument),
        ] {
            for (index, entry) in list.iter().enumerate() {
                self.entry(key, index, entry);
            }
        }
    }

    fn entry(&mut self, list: &str, index: usize, entry: &Criterion) {
        let origin = match self.tree.get(list).map(|node| &node.value) {
            Some(super::node::Value::Seq(items)) => items.get(index).map(|node| node.origin.clone()),
            _ => None,
        };
        let shown = format!("{list}[{index}]");
        let mut refuse = |key: String, message: String| {
            self.problems.push(Problem::at(origin.clone().unwrap_or(Origin::Default), key, message));
        };
        if !entry.chooses() {
            let message = "chooses nothing; give it at least one criterion, such as open_ports or exe_path";
            refuse(shown.clone(), message.to_owned());
        }
        if let Some(message) = entry.sampler.as_ref().and_then(sampler_fault) {
            refuse(format!("{shown}.sampler.arg"), message);
        }
        for pattern in entry.routes.iter().flat_map(|routes| routes.incoming.iter().chain(&routes.outgoing)) {
            if let Some(message) = route_fault(pattern) {
                refuse(format!("{shown}.routes"), message);
            }
        }
    }

    fn sampler(&mut self, key: &str, sampler: &Sampler) {
        if let Some(message) = sampler_fault(sampler) {
            self.require(false, &format!("{key}.arg"), message);
        }
    }

    fn tail(&mut self, config: &Config) {
        let Tail { slow_quantile, share_of_rest, wait, .. } = &config.sampling.tail;
        let is_share = (0.0..=1.0).contains(share_of_rest);
        self.require(is_share, "sampling.tail.share_of_rest", format!("`{share_of_rest}` is no share from 0 to 1"));
        let is_quantile = slow_quantile.is_none_or(|quantile| 0.0 < quantile && quantile < 1.0);
        self.require(is_quantile, "sampling.tail.slow_quantile", "is not between 0 and 1, as 0.99");
        self.require(*wait <= LONGEST_WAIT, "sampling.tail.wait", format!("is longer than {LONGEST_WAIT}"));
    }

    fn exporters(&mut self, config: &Config) {
        let exporters = &config.exporters;
        for (key, list) in [("exporters.traces", &exporters.traces), ("exporters.metrics", &exporters.metrics)] {
            let is_right = list.len() < 2 || !list.contains(&Exporter::None);
            self.require(is_right, key, "`none` contradicts the other exporters");
        }
        let is_right = !exporters.traces.contains(&Exporter::Prometheus);
        self.require(is_right, "exporters.traces", "`prometheus` takes no spans; use `otlp`, `console` or `none`");
        let is_right = !exporters.metrics.contains(&Exporter::Console) || config.print != Some(Print::Json);
        let message = "`console` contradicts `print: json`, which prints one span per line and nothing else";
        self.require(is_right, "exporters.metrics", message);
        let is_chosen = exporters.metrics == [Exporter::Prometheus];
        let is_served = config.listen != Listen::Off || config.prometheus_export.port != 0;
        self.require(!is_chosen || is_served, "exporters.metrics", "`prometheus` contradicts `listen: off`");
        let ListenTls { certificate, key } = &config.listen_tls;
        let is_right = certificate.is_some() == key.is_some();
        self.require(is_right, "listen_tls", "`certificate` and `key` go together");
        let is_right = config.propagators.len() < 2 || !config.propagators.contains(&Propagator::None);
        self.require(is_right, "propagators", "`none` contradicts the other propagators");
        for key in &config.attributes.baggage_keys {
            let is_right = baggage::is_key(key);
            self.require(is_right, "attributes.baggage_keys", format!("`{key}` can be no key of baggage"));
        }
    }

    fn histograms(&mut self, config: &Config) {
        let (otlp, shown) = (&config.otel_metrics_export, &config.prometheus_export);
        for ((key, its), (_, others)) in otlp.buckets.all().into_iter().zip(shown.buckets.all()) {
            for (section, bounds) in [("otel_metrics_export", its), ("prometheus_export", others)] {
                let key = format!("{section}.buckets.{key}");
                let bounds = bounds.unwrap_or(&[0.0]);
                self.require(!bounds.is_empty() && bounds.len() <= 200, &key, "must have 1 to 200 bounds");
                let is_right = bounds.iter().all(|bound| bound.is_finite()) && bounds.is_sorted_by(|a, b| a < b);
                self.require(is_right, &key, "must have numbers that ascend");
            }
            let is_one = its.is_none() || others.is_none() || its == others;
            let message = format!("differs from `otel_metrics_export.buckets.{key}`: values are put into buckets once");
            self.require(is_one, &format!("prometheus_export.buckets.{key}"), message);
        }
        let size = otlp.exponential_histogram;
        let key = "otel_metrics_export.exponential_histogram";
        self.require((-10..=20).contains(&size.max_scale), &format!("{key}.max_scale"), "must be -10 to 20");
        self.require((2..=2048).contains(&size.max_size), &format!("{key}.max_size"), "must be 2 to 2048");
        let native = shown.native_histogram;
        let key = "prometheus_export.native_histogram";
        self.require(native.bucket_factor.is_finite(), &format!("{key}.bucket_factor"), "must be a number, as 1.1");
        let is_right = (4..=2048).contains(&native.max_bucket_number);
        self.require(is_right, &format!("{key}.max_bucket_number"), "must be 4 to 2048");
        self.require(config.telemetry.cardinality_limit > 0, "telemetry.cardinality_limit", "must be at least 1");
    }

    fn batches(&mut self, config: &Config) {
        let traces = &config.otel_traces_export;
        let metrics = &config.otel_metrics_export;
        self.require(traces.queue_size != Some(0), "otel_traces_export.queue_size", "must be at least 1");
        if let Some(batch) = traces.batch_max_size {
            let key = "otel_traces_export.batch_max_size";
            self.require(batch > 0, key, "must be at least 1");
            if let Some(queue) = traces.queue_size.filter(|queue| *queue > 0 && *queue < batch) {
                let message = format!("a batch of {batch} spans does not fit a queue of {queue} (queue_size)");
                self.require(false, key, message);
            }
        }
        for (key, period) in [
            ("otlp.timeout", Some(config.otlp.timeout)),
            ("otel_traces_export.timeout", traces.timeout),
            ("otel_traces_export.batch_timeout", Some(traces.batch_timeout)),
            ("otel_traces_export.export_timeout", traces.export_timeout),
            ("otel_traces_export.backoff_max_elapsed_time", traces.backoff_max_elapsed_time),
            ("otel_metrics_export.ttl", Some(metrics.ttl)),
            ("prometheus_export.ttl", Some(config.prometheus_export.ttl)),
            ("otel_metrics_export.timeout", metrics.timeout),
            ("otel_metrics_export.interval", Some(metrics.interval)),
            ("otel_metrics_export.export_timeout", Some(metrics.export_timeout)),
            ("processes.interval", Some(config.processes.interval)),
            ("duration", config.duration),
        ] {
            self.require(period != Some(Period::default()), key, "must be longer than zero");
        }
        let is_right = traces.backoff_initial_interval <= traces.backoff_max_interval;
        self.require(
            is_right,
            "otel_traces_export.backoff_initial_interval",
            "is longer than `otel_traces_export.backoff_max_interval`",
        );
    }

    fn outputs(&mut self, config: &Config) {
        let path = &config.prometheus_export.path;
        self.require(path.starts_with('/'), "prometheus_export.path", format!("`{path}` must begin with `/`"));
        let is_free = !matches!(path.as_str(), "/healthz" | "/readyz");
        self.require(is_free, "prometheus_export.path", format!("`{path}` is taken by the agent's own health check"));
        if let Some(path) = config.health_check.socket() {
            let is_right =
                path.is_absolute() || path.to_str().is_some_and(|path| path.len() > 1 && path.starts_with('@'));
            self.require(
                is_right,
                "health_check.unix_socket_path",
                "must begin with `/`, or with `@` if it is abstract",
            );
        }
        self.require(config.name_resolver.cache_len > 0, "name_resolver.cache_len", "must be at least 1");
        let path = &config.internal_metrics.prometheus.path;
        let is_path = path.starts_with('/');
        self.require(is_path, "internal_metrics.prometheus.path", format!("`{path}` must begin with `/`"));
        let ring = config.ebpf.ring_buffer_bytes;
        self.require(
            ring.is_power_of_two() && ring >= MIN_RING_BYTES,
            "ebpf.ring_buffer_bytes",
            format!("{ring} is no power of two of at least {MIN_RING_BYTES}"),
        );
        let (capture, most) = (config.ebpf.capture_bytes, ebpf_common::limits::HEAD_MAX);
        self.require(
            capture >= MIN_CAPTURE_BYTES && capture <= most,
            "ebpf.capture_bytes",
            format!("{capture} is not from {MIN_CAPTURE_BYTES} to {most}"),
        );
        let (memory, least) = (config.limits.memory, Limits::LEAST_MEMORY);
        let is_right = memory.is_none_or(|memory| memory >= least);
        self.require(is_right, "limits.memory", format!("is less than {least}, which the agent needs"));
        let is_right = config.limits.cpu.is_none_or(|cpu| cpu.is_finite() && cpu > 0.0);
        self.require(is_right, "limits.cpu", "must be a number of processors above 0, as 0.5");
        let (spool, least) = (&config.export.spool, Spool::LEAST_BYTES);
        self.require(
            spool.max_bytes >= least,
            "export.spool.max_bytes",
            format!("{} is less than {least}, which holds a few requests", spool.max_bytes),
        );
        let store = &config.store;
        self.require(
            store.max_bytes >= least,
            "store.max_bytes",
            format!("{} is less than {least}, which holds a few blocks", store.max_bytes),
        );
        let is_right = store.dir.as_ref().is_none_or(|dir| dir.is_absolute());
        self.require(is_right, "store.dir", "must begin with `/`");
        let is_right = spool.dir.as_ref().is_none_or(|dir| dir.is_absolute());
        self.require(is_right, "export.spool.dir", "must begin with `/`");
        let (copies, most) = (config.ebpf.standby_programs.unwrap_or(0), ebpf_common::policy::STANDBY_MAX);
        self.require(copies <= most, "ebpf.standby_programs", format!("{copies} is not from 0 to {most}"));
    }

    fn features(&mut self, config: &Config) {
        for (key, list) in feature_lists(config) {
            let features = Features::of(list);
            let is_right = !(features.has(Features::SPAN) && features.has(Features::SPAN_OTEL));
            let message = "has spans under two names; keep one of `application_span` and `application_span_otel`";
            self.require(is_right, &key, message);
        }
    }

    fn routes(&mut self, config: &Config) {
        let wildcard = &config.routes.wildcard_char;
        let is_right = wildcard.chars().count() == 1;
        self.require(is_right, "routes.wildcard_char", format!("`{wildcard}` is not one character"));
        for (key, list) in
            [("routes.patterns", &config.routes.patterns), ("routes.ignored_patterns", &config.routes.ignored_patterns)]
        {
            for message in list.iter().filter_map(|pattern| route_fault(pattern)) {
                self.require(false, key, message);
            }
        }
    }

    fn target(&mut self, section: &str, target: Option<&OtlpTarget>) {
        let Some(target) = target else { return };
        // The key that was set: the signal's own, or the common one.
        self.receiver(target, |tree, name| {
            let own = format!("{section}.{name}");
            let is_own = tree.get(&own).is_some_and(|node| !node.is_empty());
            if is_own { own } else { format!("otlp.{name}") }
        });
    }

    fn endpoints(&mut self, config: &Config) {
        const KEY: &str = "export.endpoints";
        for entry in &config.export.endpoints {
            self.require(!entry.signals.is_empty(), KEY, format!("`{}` has no signals", entry.endpoint));
            self.require(
                entry.timeout != Some(Period::default()),
                KEY,
                format!("the timeout of `{}` must be longer than zero", entry.endpoint),
            );
            for target in [Signal::Traces, Signal::Metrics].into_iter().filter_map(|signal| entry.target(signal)) {
                self.receiver(&target, |_, _| KEY.to_owned());
            }
        }
        for targets in [config.otlp_traces(), config.otlp_metrics()] {
            let mut urls: Vec<&str> = targets.iter().map(|target| target.endpoint.as_str()).collect();
            urls.sort_unstable();
            for url in urls.windows(2).filter(|pair| pair.first() == pair.last()).flat_map(<[_]>::first) {
                // It would have everything twice.
                self.require(false, KEY, format!("`{url}` is there twice"));
            }
        }
    }

    fn receiver(&mut self, target: &OtlpTarget, key_of: impl Fn(&Node, &str) -> String) {
        if target.protocol == Protocol::Grpc && target.endpoint.has_path() {
            let key = key_of(self.tree, "endpoint");
            self.require(false, &key, "has a path, which grpc has no use for; leave it out or choose http/protobuf");
        }
        if target.client_key.is_some() != target.client_certificate.is_some() {
            let (set, missing) = match target.client_key {
                Some(_) => ("client_key", "client_certificate"),
                None => ("client_certificate", "client_key"),
            };
            let key = key_of(self.tree, set);
            self.require(false, &key, format!("needs `{missing}` as well"));
        }
        for (name, value) in &target.headers.0 {
            let is_right = http::HeaderName::try_from(name.as_str()).is_ok();
            let key = key_of(self.tree, "headers");
            self.require(is_right, &key, format!("`{name}` is no name of a header"));
            let is_right = http::HeaderValue::try_from(value.as_str()).is_ok();
            self.require(is_right, &key, format!("the value of `{name}` cannot be sent in a header"));
        }
    }
}

fn sampler_fault(sampler: &Sampler) -> Option<String> {
    if sampler.traces_per_second.is_some_and(|rate| !(0.0..=1e9).contains(&rate)) {
        return Some("has traces_per_second, which is no number of traces".to_owned());
    }
    let arg = sampler.arg?;
    if !sampler.name.takes_ratio() {
        return Some("is a share, but the sampler takes none; set traceidratio or parentbased_traceidratio".to_owned());
    }
    (!(0.0..=1.0).contains(&arg)).then(|| format!("`{arg}` is no share from 0 to 1"))
}

fn route_fault(pattern: &str) -> Option<String> {
    (!pattern.starts_with('/')).then(|| format!("the pattern `{pattern}` must begin with `/`"))
}

/// The lists of metrics' features that are given, and where.
fn feature_lists(config: &Config) -> Vec<(String, &[Feature])> {
    let own = [
        ("otel_metrics_export.features", &config.otel_metrics_export.features),
        ("prometheus_export.features", &config.prometheus_export.features),
    ];
    let mut lists = vec![("metrics.features".to_owned(), config.metrics.features.as_slice())];
    lists.extend(own.iter().filter_map(|(key, list)| Some(((*key).to_owned(), list.as_deref()?))));
    for (index, entry) in config.discovery.instrument.iter().enumerate() {
        let list = entry.metrics.as_ref().and_then(|metrics| metrics.features.as_deref());
        lists.extend(list.map(|list| (format!("discovery.instrument[{index}].metrics.features"), list)));
    }
    lists
}

/// The attribute that tells instances of a service apart.
const INSTANCE: &str = "service.instance.id";

/// What can be meant, but hardly is.
fn doubts(config: &Config, tree: &Node, warnings: &mut Vec<Problem>) {
    let mut doubt = |key: &str, message: &str| {
        if let Some(node) = tree.get(key) {
            warnings.push(Problem::at(node.origin.clone(), key, message));
        }
    };
    let is_set = |key: &str| tree.get(key).is_some_and(|node| node.origin != Origin::Default && !node.is_empty());
    for (key, exporters, target) in [
        ("exporters.traces", &config.exporters.traces, config.otlp_traces()),
        ("exporters.metrics", &config.exporters.metrics, config.otlp_metrics()),
    ] {
        let is_asked = is_set(key) && exporters.contains(&Exporter::Otlp);
        if is_asked && target.is_empty() && !config.sdk_disabled {
            doubt(key, "`otlp` is asked for, but no endpoint is set: nothing is sent");
        }
    }
    for (section, target) in [
        ("otel_traces_export", config.otel_traces_export.target(&config.otlp)),
        ("otel_metrics_export", config.otel_metrics_export.target(&config.otlp)),
    ] {
        let Some(target) = target.filter(|target| target.endpoint.as_str().starts_with("http://")) else { continue };
        if target.certificate.is_some() || target.client_key.is_some() {
            let own = format!("{section}.endpoint");
            let key = if is_set(&own) { own } else { "otlp.endpoint".to_owned() };
            doubt(&key, "is http://, so the certificates are not used");
        }
    }
    if config.limits.memory.is_some_and(|memory| (Limits::LEAST_MEMORY..Limits::COMFORTABLE_MEMORY).contains(&memory)) {
        let message = "is less than 64 MiB: the agent has about 50 MiB at rest, so that it sheds spans from the start (requests are counted all \
                       the same)";
        doubt("limits.memory", message);
    }
    for (list, entries) in [
        ("discovery.exclude_instrument", &config.discovery.exclude_instrument),
        ("discovery.default_exclude_instrument", &config.discovery.default_exclude_instrument),
    ] {
        for (index, entry) in entries.iter().enumerate() {
            let Criterion { name, namespace, exports, metrics, sampler, routes, sdk, .. } = entry;
            for (key, is_set) in [
                ("name", name.is_some()),
                ("namespace", namespace.is_some()),
                ("exports", exports.is_some()),
                ("metrics", metrics.is_some()),
                ("sampler", sampler.is_some()),
                ("routes", routes.is_some()),
                ("sdk", sdk.is_some()),
            ] {
                if is_set {
                    doubt(list, &format!("[{index}].{key} is not used: what it matches is not watched"));
                }
            }
        }
    }
    for (key, list) in feature_lists(config) {
        for feature in list.iter().filter(|feature| feature.is_missing()) {
            let name = serde_json::to_value(feature).unwrap_or_default();
            let node = tree.get(&key).or_else(|| tree.get("discovery.instrument"));
            let origin = node.map_or(Origin::Default, |node| node.origin.clone());
            let name = name.as_str().unwrap_or_default();
            let message = format!("`{name}` is an option of OBI that is not supported yet; it is ignored");
            warnings.push(Problem::at(origin, key.clone(), message));
        }
    }
    let mut doubt = |key: &str, message: &str| {
        if let Some(node) = tree.get(key) {
            warnings.push(Problem::at(node.origin.clone(), key, message));
        }
    };
    for name in config.refused_headers() {
        let message = format!(
            "`{name}` carries credentials and is left out; `attributes.http_headers.force` tells it all the same"
        );
        let key = if is_set("attributes.http_headers") { "attributes.http_headers" } else { "ebpf.payload_extraction" };
        doubt(key, &message);
    }
    if !config.attributes.baggage_keys.is_empty() && !config.propagators.contains(&Propagator::Baggage) {
        doubt("attributes.baggage_keys", "is not used, because `baggage` is none of the propagators");
    }
    let port = config.prometheus_export.port;
    let narrower = match config.listen {
        Listen::Off => Some("off".to_owned()),
        Listen::On(address) => (!address.ip().is_unspecified()).then(|| address.to_string()),
    };
    if let Some(listen) = narrower.filter(|_| port != 0 && is_set("listen")) {
        let message = format!("listens on every address, as OBI's does, whatever `listen: {listen}` says");
        doubt("prometheus_export.port", &message);
    }
    if !config.target_pids.0.is_empty() && is_set("discovery.instrument") {
        doubt("discovery.instrument", "is not used, because target_pids chooses what is watched");
    }
    if let Some(node) = tree.get("resource_attributes").and_then(|attributes| attributes.entry(INSTANCE)) {
        let message = format!("`{INSTANCE}` is not used for what is watched: each instance has one of its own");
        warnings.push(Problem::at(node.origin.clone(), "resource_attributes", message));
    }
}
