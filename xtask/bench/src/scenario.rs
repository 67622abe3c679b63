//! What is measured: a server, the load on it, and how it counts what it was sent.

use std::fmt;
use std::path::Path;
use std::process::Command;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::{go, http2, nginx, pgbench, procfs, redis};
use xtask::child::Running;

/// The core of the server.
pub(crate) const SERVER_CORE: u32 = 0;
/// The core of the load, the agent and the receiver of its spans.
pub(crate) const LOAD_CORE: u32 = 1;

/// A server and its load.
pub(crate) struct Scenario {
    pub(crate) name: &'static str,
    /// For the report.
    pub(crate) title: &'static str,
    /// Starts the server in an empty folder of its own.
    pub(crate) start: fn(&Path) -> Result<Box<dyn Server>>,
    /// Functions of the server are probed.
    pub(crate) uses_uprobes: bool,
    /// What it may cost.
    pub(crate) bars: Bars,
}

/// Bars per request, in microseconds, and for the agent as a whole.
pub(crate) struct Bars {
    pub(crate) server_us: Option<f64>,
    pub(crate) agent_us: f64,
    pub(crate) rss_mib: f64,
    /// At its peak.
    pub(crate) peak_mib: f64,
    pub(crate) maps_mib: f64,
    /// Throughput with the agent, as a share of that with programs that do nothing on the same hooks.
    pub(crate) of_hooks_only: Option<f64>,
}

impl Bars {
    /// What holds of all: microseconds per request of the server and of the agent.
    pub(crate) const fn of(server_us: f64, agent_us: f64) -> Self {
        Self {
            server_us: Some(server_us),
            agent_us,
            rss_mib: 64.0,
            peak_mib: 80.0,
            maps_mib: 32.0,
            of_hooks_only: None,
        }
    }
}

/// A server that is up.
pub(crate) trait Server {
    /// The process that the agent is told to watch.
    fn watched(&self) -> u32;

    /// The process whose CPU time counts, tied to [`SERVER_CORE`].
    fn worker(&self) -> u32;

    /// What it has used so far, in nanoseconds. Asked only while there is no load.
    fn cpu_ns(&mut self) -> Result<u64> {
        procfs::cpu_ns(self.worker())
    }

    /// The program that makes the load for that long; it is started on [`LOAD_CORE`] as `command` does.
    fn load(&self, load: Load, length: Duration) -> Command;

    /// Requests served since it was started, without those of this question and of earlier ones. Asked only while no
    /// agent runs: the question is a request too. `None` from a server that does not count: then what the load says it
    /// sent is taken, which has to be exact.
    fn served(&mut self) -> Result<Option<u64>>;

    /// The program itself.
    fn running(&mut self) -> &mut Running;
}

/// All of them.
pub(crate) const ALL: &[Scenario] = &[
    nginx::PLAIN,
    nginx::TLS,
    http2::NGHTTPD,
    http2::GRPC,
    http2::GRPC_TLS,
    go::PLAIN,
    go::TLS,
    redis::PLAIN,
    redis::PIPELINED,
    pgbench::SELECT,
];

/// How much is asked of the server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Load {
    /// As much as it can.
    Full,
    /// So many requests per second.
    PerSecond(u32),
}

impl fmt::Display for Load {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Full => f.write_str("full load"),
            Self::PerSecond(rate) => write!(f, "{rate} req/s"),
        }
    }
}

impl FromStr for Load {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> Result<Self> {
        if text == "full" {
            return Ok(Self::Full);
        }
        text.parse().ok().filter(|rate| *rate > 0).map(Self::PerSecond).context("`full` or requests per second")
    }
}
