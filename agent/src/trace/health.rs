//! Requests of those who look whether a service is well, and of those who collect its metrics: they say nothing of what a service
//! does, and are many.

use std::collections::HashSet;

use crate::{
    config::{Glob, HealthChecks},
    model::exchange::{Http, IsHealthCheck},
};

/// Tells them.
#[derive(Debug, Default)]
pub(crate) struct HealthRules {
    paths: Patterns,
    user_agents: Patterns,
    rpc_methods: Patterns,
}

impl HealthRules {
    /// By the configuration; `None`: they are in traces as any other request.
    #[must_use]
    pub(crate) fn new(checks: &HealthChecks) -> Option<Self> {
        let HealthChecks { in_traces, paths, user_agents, rpc_methods } = checks;
        (!in_traces).then(|| Self {
            paths: Patterns::of(paths),
            user_agents: Patterns::of(user_agents),
            rpc_methods: Patterns::of(rpc_methods),
        })
    }

    fn is_agent(&self, http: &Http) -> bool {
        http.user_agent.as_deref().is_some_and(|agent| self.user_agents.is_match(agent))
    }
}

impl IsHealthCheck for HealthRules {
    fn is_health_check(&self, http: &Http) -> bool {
        let target = http.target.as_deref().filter(|_| !http.target_truncated).unwrap_or_default();
        let path = target.split_once('?').map_or(target, |(path, _)| path);
        let Some(method) = path.strip_prefix('/') else { return self.is_agent(http) };
        self.paths.is_match(path) || self.rpc_methods.is_match(method) || self.is_agent(http)
    }
}

/// Globs, of which most are plain text or end with the one star they have: each request is held against all of them.
#[derive(Debug, Default)]
struct Patterns {
    whole: HashSet<Box<str>>,
    beginnings: Vec<Box<str>>,
    globs: Vec<Glob>,
}

impl Patterns {
    fn of(globs: &[Glob]) -> Self {
        let mut patterns = Self::default();
        for glob in globs {
            let is_plain =
                |text: &str| !text.starts_with("re:") && !text.contains(['*', '?', '[', ']', '{', '}', '\\']);
            match glob.as_str() {
                text if is_plain(text) => {
                    patterns.whole.insert(text.into());
                }
                text => match text.strip_suffix('*').filter(|beginning| is_plain(beginning)) {
                    Some(beginning) => patterns.beginnings.push(beginning.into()),
                    None => patterns.globs.push(glob.clone()),
                },
            }
        }
        patterns
    }

    fn is_match(&self, text: &str) -> bool {
        self.whole.contains(text)
            || self.beginnings.iter().any(|beginning| text.starts_with(&**beginning))
            || self.globs.iter().any(|glob| glob.is_match(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn http(target: &str, user_agent: &str) -> Http {
        let text = |text: &str| (!text.is_empty()).then(|| text.into());
        Http { target: text(target), user_agent: text(user_agent), ..Http::default() }
    }

    fn rules(change: impl FnOnce(&mut HealthChecks)) -> Option<HealthRules> {
        let mut checks = HealthChecks::default();
        change(&mut checks);
        HealthRules::new(&checks)
    }

    #[test]
    fn health_checks_and_scrapers_are_told_from_requests() {
        let rules = rules(|_| {}).unwrap();
        for (target, user_agent) in [
            ("/healthz", ""),
            ("/healthz?verbose=1", "curl/8"),
            ("/ping", ""),
            ("/", "kube-probe/1.31"),
            ("/anything", "GoogleHC/1.0"),
            ("", "ELB-HealthChecker/2.0"),
            ("/metrics", "Prometheus/3.0.1"),
            ("/metrics", "vm_promscrape"),
            ("/grpc.health.v1.Health/Check", "grpc-go/1.70"),
        ] {
            assert!(rules.is_health_check(&http(target, user_agent)), "{target} {user_agent}");
        }
        for (target, user_agent) in [
            ("/", "curl/8"),
            ("", ""),
            ("/healthzz", ""),
            ("/api/healthz", ""),
            ("/metrics", "curl/8"),
            ("/x?p=/healthz", "Mozilla/5.0 (Prometheus/1)"),
            ("/pkg.Health/Check", ""),
        ] {
            assert!(!rules.is_health_check(&http(target, user_agent)), "{target} {user_agent}");
        }
        let cut = Http { target_truncated: true, ..http("/healthz", "") };
        assert!(!rules.is_health_check(&cut));
    }

    #[test]
    fn others_may_be_named_and_none_be_left_out() {
        let others =
            rules(|checks| checks.paths = ["/a/*/alive", "re:^/probe/[0-9]+$"].map(|it| it.parse().unwrap()).into());
        let others = others.unwrap();
        assert!(others.is_health_check(&http("/a/b/alive", "")) && others.is_health_check(&http("/probe/7", "")));
        assert!(!others.is_health_check(&http("/healthz", "")) && !others.is_health_check(&http("/probe/x", "")));
        assert!(rules(|checks| checks.in_traces = true).is_none());
    }
}
