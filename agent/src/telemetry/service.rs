//! What the configuration sets for some services only.

use std::sync::Arc;

use super::route::Pattern;
use crate::{
    config::{Features, Sdk},
    procs::selector::Rule,
    trace::sampling::Sampler,
};

/// Settings of the services that a rule matches.
#[derive(Debug, Default)]
pub(crate) struct Settings {
    /// Its requests have no spans.
    pub(super) hides_spans: bool,
    /// Its requests are in no metric.
    pub(super) hides_metrics: bool,
    /// Groups of metrics, if not as for all.
    pub(super) features: Option<Features>,
    /// What is done about its SDK, if not as for all.
    pub sdk: Option<Sdk>,
    /// Its own sampler.
    pub sampler: Option<Sampler>,
    /// Routes it serves.
    pub(super) incoming: Vec<Pattern>,
    /// Routes it asks for.
    pub(super) outgoing: Vec<Pattern>,
}

impl Settings {
    fn of(rule: &Rule) -> Self {
        let routes = rule.routes.clone().unwrap_or_default();
        let patterns = |list: &[compact_str::CompactString]| list.iter().map(|text| Pattern::new(text)).collect();
        Self {
            hides_spans: rule.exports.is_some_and(|exports| !exports.traces),
            hides_metrics: rule.exports.is_some_and(|exports| !exports.metrics),
            features: rule.features,
            sdk: rule.sdk,
            sampler: rule.sampler.as_ref().map(Sampler::from),
            incoming: patterns(&routes.incoming),
            outgoing: patterns(&routes.outgoing),
        }
    }
}

/// Settings by rule. Rules are few; those of earlier configurations go when the settings are asked for next.
#[derive(Debug, Default)]
pub(super) struct ByRule {
    none: Arc<Settings>,
    known: Vec<(Arc<Rule>, Arc<Settings>)>,
}

impl ByRule {
    /// Whether a rule asks for any of these metrics.
    pub(super) fn has(&self, features: Features) -> bool {
        self.known.iter().any(|(_, settings)| settings.features.is_some_and(|its| its.has(features)))
    }

    pub(super) fn get(&mut self, rule: Option<&Arc<Rule>>) -> Arc<Settings> {
        let Some(rule) = rule else { return Arc::clone(&self.none) };
        if let Some((_, settings)) = self.known.iter().find(|(known, _)| Arc::ptr_eq(known, rule)) {
            return Arc::clone(settings);
        }
        self.known.retain(|(known, _)| Arc::strong_count(known) > 1);
        let settings = Arc::new(Settings::of(rule));
        self.known.push((Arc::clone(rule), Arc::clone(&settings)));
        settings
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_rules_settings_are_made_once_and_go_with_it() {
        let mut by_rule = ByRule::default();
        let first = Arc::new(Rule { sampler: Some(crate::config::Sampler::default()), ..Rule::default() });
        let settings = by_rule.get(Some(&first));
        assert!(Arc::ptr_eq(&settings, &by_rule.get(Some(&first))));
        assert_eq!(settings.sampler, Some(Sampler::default()));
        assert!(by_rule.get(None).sampler.is_none());
        drop(first);
        let _second = by_rule.get(Some(&Arc::new(Rule::default())));
        assert_eq!(by_rule.known.len(), 1);
    }
}
