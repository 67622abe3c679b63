//! HTTP/2: nghttpd in the clear by prior knowledge, and a gRPC service in Go, plain and behind TLS.

use std::fs;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::scenario::{Bars, LOAD_CORE, Load, SERVER_CORE, Scenario, Server};
use super::{measure, nginx};
use xtask::child::{self, Running};
use xtask::http;
use xtask::shell;

pub(crate) const NGHTTPD: Scenario = Scenario {
    name: "h2c",
    title: "nghttpd, one thread, HTTP/2 in the clear, 8 connections with 10 streams, every request traced, OTLP on",
    start: |folder| Ok(Box::new(nghttpd(folder)?)),
    uses_uprobes: false,
    bars: Bars::of(1.5, 6.0),
};

pub(crate) const GRPC: Scenario = Scenario {
    name: "grpc",
    title: "grpc-go, unary calls, one processor, 8 connections with 10 streams, every call traced, OTLP on",
    start: |folder| Ok(Box::new(orders(folder, false)?)),
    uses_uprobes: false,
    bars: Bars::of(1.5, 6.0),
};

pub(crate) const GRPC_TLS: Scenario = Scenario {
    name: "grpc-tls",
    title: "grpc-go behind TLS (crypto/tls), unary calls, one processor, 8 connections with 10 streams, every call traced, OTLP on",
    start: |folder| Ok(Box::new(orders(folder, true)?)),
    uses_uprobes: true,
    bars: Bars { server_us: None, of_hooks_only: Some(0.95), ..Bars::of(0.0, 6.0) },
};

const CONNECTIONS: u32 = 8;
const STREAMS: u32 = 10;
/// Requests from whose time it is reckoned how many make a run of a given length.
const TRIAL: u32 = 20_000;

/// A server, and what is asked of it.
struct Http2 {
    running: Running,
    url: String,
    /// Of h2load, besides those that say how much.
    arguments: Vec<String>,
    /// Requests per second at full load.
    rate: f64,
}

fn nghttpd(folder: &Path) -> Result<Http2> {
    fs::write(folder.join("api"), "{\"items\":[{\"id\":1,\"name\":\"first\"}],\"total\":1}")
        .context("cannot write what nghttpd is to serve")?;
    let address = http::free_address()?;
    let program = shell::which("nghttpd").context("no nghttpd")?;
    let mut command = child::command(program, Some(SERVER_CORE));
    command.args(["--no-tls", "--workers=1", "-a", &address.ip().to_string(), "-d"]).arg(folder);
    command.arg(address.port().to_string());
    Http2::of(Running::start("nghttpd", &mut command)?, address, "http", "/api", Vec::new())
}

/// The service `shop.Orders` of the end-to-end tests.
fn orders(folder: &Path, tls: bool) -> Result<Http2> {
    let program = shell::target_dir().join("programs/go/orders");
    let address = http::free_address()?;
    let mut command = child::command(program, Some(SERVER_CORE));
    command.args(["server", &address.to_string()]).env("GOMAXPROCS", "1").stdout(Stdio::null());
    if tls {
        nginx::certify(folder)?;
        command.arg(folder.join("cert.pem")).arg(folder.join("key.pem"));
    }
    let running = Running::start("the service in Go", &mut command)?;
    // No compression, five bytes.
    let message = folder.join("message");
    fs::write(&message, b"\0\0\0\0\x05order").context("cannot write a message")?;
    let arguments = ["-H", "content-type: application/grpc", "-H", "te: trailers", "-d"].map(str::to_owned);
    let arguments = arguments.into_iter().chain([message.display().to_string()]).collect();
    Http2::of(running, address, if tls { "https" } else { "http" }, "/shop.Orders/Get", arguments)
}

impl Http2 {
    fn of(mut running: Running, address: SocketAddr, scheme: &str, path: &str, arguments: Vec<String>) -> Result<Self> {
        running.wait_until(Duration::from_secs(10), || std::net::TcpStream::connect(address).ok())?;
        let mut this = Self { running, url: format!("{scheme}://{address}{path}"), arguments, rate: 0.0 };
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
        command.args(&self.arguments).arg(&self.url);
        command
    }
}

impl Server for Http2 {
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
