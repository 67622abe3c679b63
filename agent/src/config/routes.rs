//! How a path becomes a low-cardinality route.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// What the route is when no pattern matches.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "kebab-case")]
pub enum Unmatched {
    /// Segments that look like ids become wildcards, and those that are found to be values by what else comes at their place.
    #[default]
    Heuristic,
    /// No route.
    Unset,
    /// The path itself; can be of high cardinality.
    Path,
    /// `/**`.
    Wildcard,
    /// Segments with too many different values become wildcards.
    LowCardinality,
}

/// For which signals ignored routes are ignored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum IgnoreMode {
    /// Spans and metrics.
    #[default]
    All,
    /// Spans only; metrics still count them.
    Traces,
    /// Metrics only.
    Metrics,
}

/// `routes`.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Routes {
    /// Patterns such as `/users/{id}`, `/users/:id`, `/static/*`; first match wins.
    pub patterns: Vec<String>,
    /// Patterns whose requests are not reported.
    pub ignored_patterns: Vec<String>,
    /// For which signals `ignored_patterns` hold.
    pub ignore_mode: IgnoreMode,
    /// What the route is when no pattern matches.
    pub unmatched: Unmatched,
    /// What replaces a segment; one character.
    pub wildcard_char: String,
    /// Different values of one segment before `low-cardinality` makes it a wildcard.
    pub max_path_segment_cardinality: u32,
    /// Routes of a service instance that are found by its paths; what is new beyond that is `/**`.
    pub limit: u32,
}

impl Default for Routes {
    fn default() -> Self {
        Self {
            patterns: Vec::new(),
            ignored_patterns: Vec::new(),
            ignore_mode: IgnoreMode::default(),
            unmatched: Unmatched::default(),
            wildcard_char: "*".to_owned(),
            max_path_segment_cardinality: 10,
            limit: 100,
        }
    }
}

/// Routes of one service (`discovery.instrument[].routes`), tried after the common ones.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ServiceRoutes {
    /// Patterns of requests it serves.
    pub incoming: Vec<String>,
    /// Patterns of requests it makes.
    pub outgoing: Vec<String>,
}
