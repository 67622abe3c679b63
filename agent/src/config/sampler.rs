//! Which spans are kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::{pattern::Glob, period::Period};

/// A sampler of the OpenTelemetry specification (`OTEL_TRACES_SAMPLER`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum SamplerName {
    /// Keep all.
    AlwaysOn,
    /// Keep none.
    AlwaysOff,
    /// Keep a share of all traces, chosen by trace id.
    #[serde(rename = "traceidratio")]
    TraceIdRatio,
    /// As the parent was; roots: all.
    #[default]
    #[serde(rename = "parentbased_always_on")]
    ParentBasedAlwaysOn,
    /// As the parent was; roots: none.
    #[serde(rename = "parentbased_always_off")]
    ParentBasedAlwaysOff,
    /// As the parent was; roots: a share.
    #[serde(rename = "parentbased_traceidratio")]
    ParentBasedTraceIdRatio,
}

impl SamplerName {
    /// Whether `arg` (the share) means something to it.
    pub fn takes_ratio(self) -> bool {
        matches!(self, Self::TraceIdRatio | Self::ParentBasedTraceIdRatio)
    }
}

/// A sampler and its argument.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sampler {
    /// Which.
    pub name: SamplerName,
    /// The share kept by the ratio samplers, 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub arg: Option<f64>,
    /// Of the traces that begin at a service (and of those it would keep of others' if the sampler is not `parentbased`) it keeps about so
    /// many in a second.
    #[schemars(range(min = 0))]
    pub traces_per_second: Option<f64>,
}

impl Sampler {
    /// The share kept by a ratio sampler: `arg`, by the specification 1 if it is not given.
    pub fn ratio(&self) -> f64 {
        self.arg.unwrap_or(1.0)
    }
}

/// `sampling`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Sampling {
    /// Requests of those who look whether a service is well, and of those who collect its metrics.
    pub health_checks: HealthChecks,
    /// What is kept once a trace is over.
    pub tail: Tail,
}

/// `sampling.health_checks`. A request is one that matches any of these; it is in no trace, and neither is what is done for it.
/// Metrics count it all the same.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthChecks {
    /// Whether they are in traces, as any other request.
    pub in_traces: bool,
    /// By the path they ask for, without its query; globs.
    pub paths: Vec<Glob>,
    /// By `User-Agent`; globs.
    pub user_agents: Vec<Glob>,
    /// By the method that is called, `package.Service/Method`; globs.
    pub rpc_methods: Vec<Glob>,
}

impl Default for HealthChecks {
    fn default() -> Self {
        // These are our own words; a test reads each of them.
        let globs = |list: &[&str]| list.iter().filter_map(|text| text.parse().ok()).collect();
        Self {
            in_traces: false,
            paths: globs(HEALTH_PATHS),
            user_agents: globs(HEALTH_AGENTS),
            rpc_methods: globs(HEALTH_METHODS),
        }
    }
}

const HEALTH_PATHS: &[&str] = &[
    "/health",
    "/healthz",
    "/healthcheck",
    "/health-check",
    "/health/live",
    "/health/ready",
    "/health/liveness",
    "/health/readiness",
    "/_health",
    "/livez",
    "/readyz",
    "/ping",
    "/-/healthy",
    "/-/ready",
    "/actuator/health",
    "/actuator/health/liveness",
    "/actuator/health/readiness",
];
const HEALTH_AGENTS: &[&str] = &[
    "kube-probe/*",
    "GoogleHC/*",
    "ELB-HealthChecker/*",
    "Amazon-Route53-Health-Check-Service*",
    "Prometheus/*",
    "vm_promscrape*",
];
const HEALTH_METHODS: &[&str] = &["grpc.health.v1.Health/*"];

/// `sampling.tail`: which traces are kept, decided once what of them happens on this host is over. In force where `share_of_rest` is less
/// than 1.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Tail {
    /// Whether those with a span that failed are kept.
    pub errors: bool,
    /// Those with a span that took longer are kept.
    pub slower_than: Option<Period>,
    /// Those with a request that took longer than this quantile of its route at its service are kept, as `0.99`.
    #[schemars(range(min = 0, max = 1))]
    pub slow_quantile: Option<f64>,
    /// Those with a span whose route or path matches one of these globs are kept.
    pub routes: Vec<Glob>,
    /// Those with a span of a service whose name matches one of these globs are kept.
    pub services: Vec<Glob>,
    /// The share of all others that is kept, 0 to 1.
    #[schemars(range(min = 0, max = 1))]
    pub share_of_rest: f64,
    /// Longest time that spans are held back for what else belongs to their trace.
    pub wait: Period,
}

impl Default for Tail {
    fn default() -> Self {
        Self {
            errors: true,
            slower_than: None,
            slow_quantile: None,
            routes: Vec::new(),
            services: Vec::new(),
            share_of_rest: 1.0,
            wait: Period::seconds(5),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_of_the_words_for_health_checks_is_one() {
        let HealthChecks { paths, user_agents, rpc_methods, .. } = HealthChecks::default();
        assert_eq!(paths.len(), HEALTH_PATHS.len());
        assert_eq!(user_agents.len(), HEALTH_AGENTS.len());
        assert_eq!(rpc_methods.len(), HEALTH_METHODS.len());
    }
}
