//! A server of Go's `net/http` with one processor, HTTP/1.1 with keep-alive, plain and behind TLS.

use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::nginx;
use super::scenario::{Bars, Load, SERVER_CORE, Scenario, Server};
use xtask::child::{self, Running};
use xtask::http;
use xtask::shell;

pub(crate) const PLAIN: Scenario = Scenario {
    name: "go",
    title: "net/http of Go, one processor, HTTP/1.1 keep-alive, 32 connections, every request traced, OTLP on",
    start: |folder| Ok(Box::new(Web::start(folder, false)?)),
    uses_uprobes: true,
    bars: Bars { of_hooks_only: Some(0.90), ..Bars::of(1.5, 6.0) },
};

pub(crate) const TLS: Scenario = Scenario {
    name: "go-tls",
    title: "net/http of Go behind TLS (crypto/tls), one processor, HTTP/1.1 keep-alive, 32 connections, every request traced, OTLP on",
    start: |folder| Ok(Box::new(Web::start(folder, true)?)),
    uses_uprobes: true,
    bars: Bars { server_us: None, of_hooks_only: Some(0.95), ..Bars::of(0.0, 6.0) },
};

struct Web {
    running: Running,
    status: SocketAddr,
    url: String,
}

impl Web {
    fn start(folder: &Path, tls: bool) -> Result<Self> {
        let (address, status) = (http::free_address()?, http::free_address()?);
        let mut command = child::command(shell::target_dir().join("programs/go/web"), Some(SERVER_CORE));
        command.args([address.to_string(), status.to_string()]).env("GOMAXPROCS", "1").stdout(Stdio::null());
        if tls {
            nginx::certify(folder)?;
            command.arg(folder.join("cert.pem")).arg(folder.join("key.pem"));
        }
        let mut running = Running::start("the server in Go", &mut command)?;
        let is_up = || std::net::TcpStream::connect(address).ok().and_then(|_| http::get(status, "/status").ok());
        running.wait_until(Duration::from_secs(10), is_up)?;
        let scheme = if tls { "https" } else { "http" };
        Ok(Self { running, status, url: format!("{scheme}://{address}/api") })
    }
}

impl Server for Web {
    fn watched(&self) -> u32 {
        self.running.pid()
    }

    fn worker(&self) -> u32 {
        self.running.pid()
    }

    fn load(&self, load: Load, length: Duration) -> Command {
        nginx::load(&self.url, load, length)
    }

    fn served(&mut self) -> Result<Option<u64>> {
        let page = http::get(self.status, "/status").context("cannot ask the server how many it has served")?;
        page.trim().parse().map(Some).with_context(|| format!("odd status of the server: {page}"))
    }

    fn running(&mut self) -> &mut Running {
        &mut self.running
    }
}
