//! nghttpd, HTTP/2 in the clear by prior knowledge.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::child::{self, Running};
use super::http;
use super::measure;
use super::scenario::{Bars, LOAD_CORE, Load, SERVER_CORE, Scenario, Server};
use crate::shell;

pub(crate) const SCENARIO: Scenario = Scenario {
    name: "h2c",
    title: "nghttpd, one thread, HTTP/2 in the clear, 8 connections with 10 streams, every request traced, OTLP on",
    start: |folder| Ok(Box::new(Nghttpd::start(folder)?)),
    uses_uprobes: false,
    bars: Bars::of(1.5, 6.0),
};

const CONNECTIONS: u32 = 8;
const STREAMS: u32 = 10;
/// Requests from whose time it is reckoned how many make a run of a given length.
const TRIAL: u32 = 20_000;

struct Nghttpd {
    running: Running,
    address: SocketAddr,
    /// Requests per second at full load.
    rate: f64,
}

impl Nghttpd {
    fn start(folder: &Path) -> Result<Self> {
        fs::write(folder.join("api"), "{\"items\":[{\"id\":1,\"name\":\"first\"}],\"total\":1}")
            .context("cannot write what nghttpd is to serve")?;
        let address = http::free_address()?;
        let program = shell::which("nghttpd").context("no nghttpd")?;
        let mut command = child::command(program, Some(SERVER_CORE));
        command.args(["--no-tls", "--workers=1", "-a", &address.ip().to_string(), "-d"]).arg(folder);
        command.arg(address.port().to_string());
        let mut running = Running::start("nghttpd", &mut command)?;
        running.wait_until(Duration::from_secs(10), || std::net::TcpStream::connect(address).ok())?;
        let mut this = Self { running, address, rate: 0.0 };
        let started = Instant::now();
        measure::run_load(this.requests(TRIAL, None))?;
        this.rate = f64::from(TRIAL) / started.elapsed().as_secs_f64();
        Ok(this)
    }

    fn requests(&self, count: u32, per_second: Option<u32>) -> Command {
        let mut command = child::command("h2load", Some(LOAD_CORE));
        command.args(["-t1", "-c", &CONNECTIONS.to_string(), "-m", &STREAMS.to_string(), "-n", &count.to_string()]);
        if let Some(rate) = per_second {
            command.args(["--rps", &(rate / CONNECTIONS).to_string()]);
        }
        command.arg(format!("http://{}/api", self.address));
        command
    }
}

impl Server for Nghttpd {
    fn watched(&self) -> u32 {
        self.running.pid()
    }

    fn worker(&self) -> u32 {
        self.running.pid()
    }

    /// So many requests as that takes: a load that ends by the clock leaves streams behind that were seen and not counted.
    fn load(&self, load: Load, length: Duration) -> Command {
        match load {
            Load::Full => self.requests((self.rate * length.as_secs_f64()) as u32, None),
            Load::PerSecond(rate) => self.requests((f64::from(rate) * length.as_secs_f64()) as u32, Some(rate)),
        }
    }

    fn served(&mut self) -> Result<Option<u64>> {
        Ok(None)
    }

    fn running(&mut self) -> &mut Running {
        &mut self.running
    }
}
