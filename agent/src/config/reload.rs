//! What changed between two configurations, and whether it can be applied while running.

use serde_json::Value as Json;

use super::{Config, show};

/// What a new configuration asks to be changed.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Reload {
    /// What is watched, and what is set for it.
    pub discovery: bool,
    /// How paths become routes.
    pub routes: bool,
    /// What is taken out of spans.
    pub redaction: bool,
    /// What is read of the context that requests carry.
    pub propagation: bool,
    /// Which spans are kept.
    pub sampling: bool,
    /// Which metrics there are, and how the service graph is drawn.
    pub metrics: bool,
    /// Which header fields are captured.
    pub headers: bool,
    /// Which attributes metrics and spans have.
    pub select: bool,
    /// Where what is sent goes to.
    pub receivers: bool,
    /// What is told of what happens below a request, and who its client is.
    pub below: bool,
    /// How much is logged.
    pub log: bool,
    /// What the agent itself may use.
    pub limits: bool,
    /// Dotted keys that changed and take effect only at the next start.
    pub needs_restart: Vec<String>,
    /// All that changed.
    pub changed: Vec<Changed>,
}

/// A key whose value is another one now.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    /// Dotted.
    pub key: String,
    /// What it was, as JSON; `***` in place of secrets.
    pub old: String,
    /// What it is.
    pub new: String,
}

impl std::fmt::Display for Changed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { key, old, new } = self;
        if old == new { write!(f, "{key}: {old} → another {new}") } else { write!(f, "{key}: {old} → {new}") }
    }
}

impl Reload {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Keys that say which metrics there are.
const METRICS: [&str; 15] = [
    "metrics",
    "filter",
    "otel_traces_export.instrumentations",
    "otel_metrics_export.instrumentations",
    "prometheus_export.instrumentations",
    "service_graph",
    "attributes.metric_span_names_limit",
    "attributes.rename_unresolved_hosts",
    "attributes.rename_unresolved_hosts_incoming",
    "attributes.rename_unresolved_hosts_outgoing",
    "discovery.exclude_otel_instrumented_services_span_metrics",
    "otel_metrics_export.features",
    "otel_metrics_export.allow_service_graph_self_references",
    "prometheus_export.features",
    "prometheus_export.allow_service_graph_self_references",
];

/// Keys that say where what is sent goes to, and how.
const RECEIVERS: [&str; 3] = ["otlp", "grafana", "export.endpoints"];

/// The same of one signal, below its section.
const OF_RECEIVERS: [&str; 9] = [
    "endpoint",
    "protocol",
    "headers",
    "timeout",
    "compression",
    "certificate",
    "client_key",
    "client_certificate",
    "insecure_skip_verify",
];

impl Config {
    /// Compares this configuration with one to be used instead.
    pub fn diff_reloadable(&self, new: &Self) -> Reload {
        let mut reload = Reload { changed: changed(self, new), ..Reload::default() };
        for key in changed_keys(self, new) {
            let is_in =
                |section: &str| key.strip_prefix(section).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'));
            if is_in("discovery.instrument") {
                // Entries carry routes and samplers of their own.
                reload.discovery = true;
                reload.routes = true;
                reload.sampling = true;
            } else if METRICS.iter().any(|key| is_in(key)) {
                reload.metrics = true;
            } else if is_in("discovery.disabled_route_harvesters") {
                reload.needs_restart.push(key);
            } else if ["discovery", "target_pids", "open_port", "auto_target_exe", "auto_target_language"]
                .iter()
                .any(|s| is_in(s))
            {
                reload.discovery = true;
            } else if is_in("routes") {
                reload.routes = true;
            } else if is_in("redaction") || is_in("attributes.sensitive_query_params") {
                reload.redaction = true;
            } else if is_in("attributes.http_headers") || is_in("ebpf.payload_extraction") {
                reload.headers = true;
            } else if ["propagators", "attributes.baggage_keys", "attributes.query_text"].iter().any(|s| is_in(s)) {
                reload.propagation = true;
            } else if is_in("attributes.inside") || is_in("attributes.client_from_proxy_protocol") {
                reload.below = true;
            } else if is_in("log_level") {
                reload.log = true;
            } else if is_in("limits") {
                reload.limits = true;
            } else if is_in("attributes.select") {
                reload.select = true;
            } else if RECEIVERS.iter().any(|section| is_in(section))
                || ["otel_traces_export", "otel_metrics_export"]
                    .iter()
                    .any(|section| OF_RECEIVERS.iter().any(|name| is_in(&format!("{section}.{name}"))))
            {
                reload.receivers = true;
            } else if is_in("otel_traces_export.sampler") || is_in("sampling") {
                reload.sampling = true;
            } else {
                reload.needs_restart.push(key);
            }
        }
        reload
    }
}

/// The dotted keys of values that differ.
pub(super) fn changed_keys(old: &Config, new: &Config) -> Vec<String> {
    let mut changed = Vec::new();
    if let (Ok(old), Ok(new)) = (serde_json::to_value(old), serde_json::to_value(new)) {
        compare(&old, &new, "", &mut changed);
    }
    changed
}

/// Longest value that is told.
const SHOWN_MAX: usize = 200;

/// What changed, without secrets.
fn changed(old: &Config, new: &Config) -> Vec<Changed> {
    let [Ok(mut old_json), Ok(mut new_json)] = [serde_json::to_value(old), serde_json::to_value(new)] else {
        return Vec::new();
    };
    let mut keys = Vec::new();
    compare(&old_json, &new_json, "", &mut keys);
    show::hide(&mut old_json);
    show::hide(&mut new_json);
    let shown = |json: &Json, key: &str| {
        let mut text = at(json, key).unwrap_or(&Json::Null).to_string();
        if text.len() > SHOWN_MAX {
            let end = (0..=SHOWN_MAX).rev().find(|end| text.is_char_boundary(*end)).unwrap_or_default();
            text.truncate(end);
            text.push('…');
        }
        text
    };
    let of = |key: String| Changed { old: shown(&old_json, &key), new: shown(&new_json, &key), key };
    keys.into_iter().map(of).collect()
}

/// The value at a dotted path; keys may have dots themselves.
fn at<'a>(json: &'a Json, path: &str) -> Option<&'a Json> {
    let ends = path.match_indices('.').map(|(at, _)| at).chain([path.len()]);
    ends.into_iter().find_map(|end| {
        let (name, rest) = path.split_at_checked(end)?;
        let inner = json.get(name)?;
        match rest.strip_prefix('.') {
            Some(rest) => at(inner, rest),
            None => Some(inner),
        }
    })
}

/// Collects the paths of values that differ; lists are compared whole.
fn compare(old: &Json, new: &Json, path: &str, changed: &mut Vec<String>) {
    match (old, new) {
        (Json::Object(old), Json::Object(new)) => {
            let only_new = new.keys().filter(|key| !old.contains_key(*key));
            for key in old.keys().chain(only_new) {
                let path = if path.is_empty() { key.clone() } else { format!("{path}.{key}") };
                compare(old.get(key).unwrap_or(&Json::Null), new.get(key).unwrap_or(&Json::Null), &path, changed);
            }
        }
        (old, new) if old == new => {}
        _ => changed.push(path.to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without what is told.
    fn diff(old: &Config, new: &Config) -> Reload {
        Reload { changed: Vec::new(), ..old.diff_reloadable(new) }
    }

    #[test]
    fn what_changed_is_told_without_secrets() {
        let old = Config::default();
        let mut new = old.clone();
        new.routes.limit = 50;
        new.otlp.headers.0.insert("x.y".into(), "secret".into());
        new.api.token = Some(super::super::Token("secret".into()));
        new.export.endpoints =
            serde_json::from_str(r#"[{"endpoint": "http://c:4317", "headers": {"a": "secret"}}]"#).unwrap();
        let told: Vec<String> = old.diff_reloadable(&new).changed.iter().map(ToString::to_string).collect();
        assert!(!told.concat().contains("secret"), "{told:?}");
        let has = |line: &str| assert!(told.iter().any(|told| told == line), "{line} is not in {told:?}");
        has("routes.limit: 100 → 50");
        has(r#"otlp.headers.x.y: null → "***""#);
        has(r#"api.token: null → "***""#);
        let mut other = new.clone();
        other.api.token = Some(super::super::Token("another".into()));
        let told: Vec<String> = new.diff_reloadable(&other).changed.iter().map(ToString::to_string).collect();
        assert_eq!(told, [r#"api.token: "***" → another "***""#]);
    }

    #[test]
    fn nothing_changed_is_nothing_to_do() {
        assert!(Config::default().diff_reloadable(&Config::default()).is_empty());
    }

    #[test]
    fn each_reloadable_part_is_told_from_what_needs_a_restart() {
        let old = Config::default();
        let mut new = old.clone();
        new.routes.patterns.push("/x".into());
        assert_eq!(diff(&old, &new), Reload { routes: true, ..Reload::default() });

        let mut new = old.clone();
        new.redaction.query_keys.clear();
        assert_eq!(diff(&old, &new), Reload { redaction: true, ..Reload::default() });

        let mut new = old.clone();
        new.otel_traces_export.sampler.arg = Some(0.5);
        assert_eq!(diff(&old, &new), Reload { sampling: true, ..Reload::default() });

        let mut new = old.clone();
        new.sampling.tail.share_of_rest = 0.5;
        new.sampling.health_checks.in_traces = true;
        assert_eq!(diff(&old, &new), Reload { sampling: true, ..Reload::default() });

        let mut new = old.clone();
        new.propagators.push(super::super::Propagator::B3);
        new.attributes.baggage_keys.push("tenant".into());
        assert_eq!(diff(&old, &new), Reload { propagation: true, ..Reload::default() });

        let mut new = old.clone();
        new.metrics.features.push(super::super::Feature::ApplicationServiceGraph);
        new.prometheus_export.features = Some(Vec::new());
        new.service_graph.watched_clients.clear();
        assert_eq!(diff(&old, &new), Reload { metrics: true, ..Reload::default() });

        let mut new = old.clone();
        new.open_port = "80".parse().unwrap();
        assert_eq!(diff(&old, &new), Reload { discovery: true, ..Reload::default() });

        let mut new = old.clone();
        new.limits.cpu = Some(0.5);
        new.attributes.inside.rtt = false;
        assert_eq!(diff(&old, &new), Reload { limits: true, below: true, ..Reload::default() });

        let mut new = old.clone();
        new.attributes.select.insert("http.*".into(), super::super::InclusionLists::default());
        assert_eq!(diff(&old, &new), Reload { select: true, ..Reload::default() });

        let mut new = old.clone();
        new.otel_traces_export.timeout = Some(super::super::Period::seconds(3));
        new.otel_metrics_export.endpoint = Some("http://c:4318".parse().unwrap());
        new.export.endpoints = serde_json::from_str(r#"[{"endpoint": "http://d:4317"}]"#).unwrap();
        assert_eq!(diff(&old, &new), Reload { receivers: true, ..Reload::default() });
        // How what is sent waits is set up at the start.
        let mut new = old.clone();
        new.otel_traces_export.batch_timeout = super::super::Period::seconds(3);
        new.export.spool.dir = Some("/spool".into());
        let needs_restart = vec!["otel_traces_export.batch_timeout".into(), "export.spool.dir".into()];
        assert_eq!(diff(&old, &new), Reload { needs_restart, ..Reload::default() });

        let mut new = old.clone();
        new.otlp.endpoint = Some("http://c:4317".parse().unwrap());
        new.otlp.headers.0.insert("a".into(), "secret".into());
        new.log_level = super::super::LogLevel::Debug;
        new.log_format = super::super::LogFormat::Json;
        let reload = old.diff_reloadable(&new);
        assert_eq!(reload.needs_restart, ["log_format"]);
        assert!(
            reload.receivers
                && reload.log
                && !reload.discovery
                && !reload.routes
                && !reload.redaction
                && !reload.sampling
        );
    }
}
