//! `limits`: what the agent itself may use.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `limits`. Near one of them less is captured of new connections first, then fewer spans are kept; requests are counted all the same.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Resident memory in bytes. Not given: only what waits is bounded.
    #[serde(deserialize_with = "super::size::read_optional")]
    #[schemars(schema_with = "super::size::schema_optional")]
    pub memory: Option<u64>,
    /// Processors, as 0.5 for half of one. Not given: no bound.
    pub cpu: Option<f64>,
}

impl Limits {
    /// With less nothing would be left for what is seen, whatever is shed.
    pub(crate) const LEAST_MEMORY: u64 = 32 << 20;
    /// With less the agent sheds as soon as it runs: some 50 MiB are resident at rest, and it sheds from 90 % of the bound on.
    pub(crate) const COMFORTABLE_MEMORY: u64 = 64 << 20;
}
