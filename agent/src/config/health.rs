//! `health_check`: whether the agent works, where nothing else is served.

use std::{
    net::{IpAddr, Ipv4Addr},
    path::{Path, PathBuf},
};

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

/// `health_check`. `/healthz` and `/readyz` are at `listen` too.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub struct HealthCheck {
    /// A port for `/healthz` and `/readyz` alone; 0: none.
    pub port: u16,
    /// Its address.
    #[schemars(example = "0.0.0.0")]
    pub listen_address: IpAddr,
    /// A Unix socket instead of the port: its path, or `@` and the name of an abstract one.
    pub unix_socket_path: Option<PathBuf>,
}

impl HealthCheck {
    /// The Unix socket, where one is named.
    pub(crate) fn socket(&self) -> Option<&Path> {
        self.unix_socket_path.as_deref().filter(|path| !path.as_os_str().is_empty())
    }
}

impl Default for HealthCheck {
    fn default() -> Self {
        Self { port: 0, listen_address: Ipv4Addr::LOCALHOST.into(), unix_socket_path: None }
    }
}
