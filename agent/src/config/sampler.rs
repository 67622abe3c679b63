//! Which spans are kept.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

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
}

impl Sampler {
    /// The share kept by a ratio sampler: `arg`, by the specification 1 if it is not given.
    pub fn ratio(&self) -> f64 {
        self.arg.unwrap_or(1.0)
    }
}
