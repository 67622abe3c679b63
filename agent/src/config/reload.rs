//! What changed between two configurations, and whether it can be applied while running.

use serde_json::Value as Json;

use super::Config;

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
    /// Dotted keys that changed and take effect only at the next start.
    pub needs_restart: Vec<String>,
}

impl Reload {
    /// Whether nothing changed.
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

/// Keys that say which metrics there are.
const METRICS: [&str; 8] = [
    "metrics",
    "service_graph",
    "attributes.metric_span_names_limit",
    "discovery.exclude_otel_instrumented_services_span_metrics",
    "otel_metrics_export.features",
    "otel_metrics_export.allow_service_graph_self_references",
    "prometheus_export.features",
    "prometheus_export.allow_service_graph_self_references",
];

impl Config {
    /// Compares this configuration with one to be used instead.
    pub fn diff_reloadable(&self, new: &Self) -> Reload {
        let mut changed = Vec::new();
        if let (Ok(old), Ok(new)) = (serde_json::to_value(self), serde_json::to_value(new)) {
            compare(&old, &new, "", &mut changed);
        }
        let mut reload = Reload::default();
        for key in changed {
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
            } else if ["propagators", "attributes.baggage_keys", "attributes.query_text"].iter().any(|s| is_in(s)) {
                reload.propagation = true;
            } else if is_in("otel_traces_export.sampler") || is_in("sampling") {
                reload.sampling = true;
            } else {
                reload.needs_restart.push(key);
            }
        }
        reload
    }
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

    #[test]
    fn nothing_changed_is_nothing_to_do() {
        assert!(Config::default().diff_reloadable(&Config::default()).is_empty());
    }

    #[test]
    fn each_reloadable_part_is_told_from_what_needs_a_restart() {
        let old = Config::default();
        let mut new = old.clone();
        new.routes.patterns.push("/x".into());
        assert_eq!(old.diff_reloadable(&new), Reload { routes: true, ..Reload::default() });

        let mut new = old.clone();
        new.redaction.query_keys.clear();
        assert_eq!(old.diff_reloadable(&new), Reload { redaction: true, ..Reload::default() });

        let mut new = old.clone();
        new.otel_traces_export.sampler.arg = Some(0.5);
        assert_eq!(old.diff_reloadable(&new), Reload { sampling: true, ..Reload::default() });

        let mut new = old.clone();
        new.sampling.tail.share_of_rest = 0.5;
        new.sampling.health_checks.in_traces = true;
        assert_eq!(old.diff_reloadable(&new), Reload { sampling: true, ..Reload::default() });

        let mut new = old.clone();
        new.propagators.push(super::super::Propagator::B3);
        new.attributes.baggage_keys.push("tenant".into());
        assert_eq!(old.diff_reloadable(&new), Reload { propagation: true, ..Reload::default() });

        let mut new = old.clone();
        new.metrics.features.push(super::super::Feature::ApplicationServiceGraph);
        new.prometheus_export.features = Some(Vec::new());
        new.service_graph.watched_clients.clear();
        assert_eq!(old.diff_reloadable(&new), Reload { metrics: true, ..Reload::default() });

        let mut new = old.clone();
        new.open_port = "80".parse().unwrap();
        assert_eq!(old.diff_reloadable(&new), Reload { discovery: true, ..Reload::default() });

        let mut new = old.clone();
        new.otlp.endpoint = Some("http://c:4317".parse().unwrap());
        new.otlp.headers.0.insert("a".into(), "secret".into());
        new.log_level = super::super::LogLevel::Debug;
        let reload = old.diff_reloadable(&new);
        assert_eq!(reload.needs_restart, ["otlp.endpoint", "otlp.headers.a", "log_level"]);
        assert!(!reload.discovery && !reload.routes && !reload.redaction && !reload.sampling);
    }
}
