//! `store` and `api`: what the agent remembers itself, and who may ask it.

use std::{fmt, path::PathBuf, time::Duration};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::period::Period;

/// `store`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Store {
    /// Most bytes of memory for the spans of the last minutes and the rates of the last hours; 0: neither is kept, and there is no web page.
    #[serde(deserialize_with = "super::size::read")]
    #[schemars(schema_with = "super::size::schema")]
    pub memory: u64,
    /// Folder for the same on disk, where it outlasts the agent and what memory has room for. Not given: memory only.
    pub dir: Option<PathBuf>,
    /// Most bytes on disk; the oldest makes room.
    #[serde(deserialize_with = "super::size::read")]
    #[schemars(schema_with = "super::size::schema")]
    pub max_bytes: u64,
    /// How long it is there.
    pub max_age: Period,
}

impl Default for Store {
    fn default() -> Self {
        Self { memory: 64 << 20, dir: None, max_bytes: 256 << 20, max_age: Period(Duration::from_secs(24 * 3600)) }
    }
}

/// `api`.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct Api {
    /// What who asks has to say, where `listen` is no loopback address (better in the environment, or in a file).
    pub token: Option<Token>,
    /// A file that holds it.
    pub token_file: Option<PathBuf>,
}

/// `listen_tls`: what is served at `listen` is served over TLS.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct ListenTls {
    /// File with the certificate chain (PEM).
    pub certificate: Option<PathBuf>,
    /// File with its private key (PEM).
    pub key: Option<PathBuf>,
}

/// A secret: it is not shown.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(transparent)]
pub struct Token(pub String);

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "<{} bytes>", self.0.len())
    }
}
