//! `export`: what is not of one signal.

use std::path::PathBuf;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `export`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Export {
    /// Spans on disk while a receiver does not take them.
    pub spool: Spool,
}

/// `export.spool`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Spool {
    /// Folder for spans that an OTLP receiver does not take; they outlast the agent. Not given: they wait in memory only.
    pub dir: Option<PathBuf>,
    /// Most bytes on disk for one receiver; the oldest spans make room.
    pub max_bytes: u64,
}

impl Spool {
    /// Less would not hold a few requests.
    pub(crate) const LEAST_BYTES: u64 = 16 << 20;
}

impl Default for Spool {
    fn default() -> Self {
        Self { dir: None, max_bytes: 512 << 20 }
    }
}
