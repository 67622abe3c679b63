//! Redis, asked by its own benchmark: a question at a time on each connection, and sixteen.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};

use super::scenario::{Bars, LOAD_CORE, Load, SERVER_CORE, Scenario, Server};
use xtask::child::{self, Running};
use xtask::http;
use xtask::shell;

pub(crate) const PLAIN: Scenario = Scenario {
    name: "redis",
    title: "Redis, GET and SET by redis-benchmark, 50 connections, every command traced, OTLP on",
    start: |folder| Ok(Box::new(Redis::start(folder, 1)?)),
    uses_uprobes: false,
    bars: Bars::of(1.0, 3.0),
};

pub(crate) const PIPELINED: Scenario = Scenario {
    name: "redis-pipelined",
    title: "Redis, GET and SET by redis-benchmark, 50 connections, 16 commands at a time, every command traced, OTLP on",
    start: |folder| Ok(Box::new(Redis::start(folder, 16)?)),
    uses_uprobes: false,
    bars: Bars::of(1.0, 3.0),
};

struct Redis {
    running: Running,
    address: SocketAddr,
    /// Commands at a time.
    pipeline: u32,
}

impl Redis {
    fn start(folder: &Path, pipeline: u32) -> Result<Self> {
        let address = http::free_address()?;
        let program = shell::which("redis-server").context("no redis-server")?;
        let mut command = child::command(program, Some(SERVER_CORE));
        command.args(["--bind", &address.ip().to_string(), "--port", &address.port().to_string()]);
        command.args(["--save", "", "--appendonly", "no", "--dir"]).arg(folder).stdout(Stdio::null());
        let mut running = Running::start("redis-server", &mut command)?;
        running.wait_until(Duration::from_secs(10), || statistics(address).ok())?;
        Ok(Self { running, address, pipeline })
    }
}

impl Server for Redis {
    fn watched(&self) -> u32 {
        self.running.pid()
    }

    fn worker(&self) -> u32 {
        self.running.pid()
    }

    /// The benchmark knows no rate, and no time: it is asked to go on for ever.
    fn load(&self, _load: Load, length: Duration) -> Command {
        let (ip, port) = (self.address.ip(), self.address.port());
        let benchmark = format!("redis-benchmark -h {ip} -p {port} -t set,get -r 100000 -l -q -P {}", self.pipeline);
        let mut command = child::command("sh", Some(LOAD_CORE));
        command.arg("-c").arg(format!("timeout {} {benchmark} >/dev/null; test $? = 124", length.as_secs()));
        command
    }

    fn served(&mut self) -> Result<Option<u64>> {
        statistics(self.address).map(Some)
    }

    fn running(&mut self) -> &mut Running {
        &mut self.running
    }
}

/// Whether the load of a benchmark can be a rate.
pub(crate) fn has_rates(name: &str) -> bool {
    ![PLAIN.name, PIPELINED.name].contains(&name)
}

/// How many commands it was sent, without such questions.
fn statistics(address: SocketAddr) -> Result<u64> {
    let mut connection = TcpStream::connect(address).context("cannot connect to redis-server")?;
    connection.write_all(b"INFO commandstats\r\nQUIT\r\n").context("cannot ask redis-server")?;
    let mut said = String::new();
    connection.read_to_string(&mut said).context("cannot read what redis-server says")?;
    calls(&said).with_context(|| format!("odd statistics of redis-server: {said}"))
}

/// The sum over all commands but those that ask for it.
fn calls(said: &str) -> Option<u64> {
    said.starts_with('$').then_some(())?;
    said.lines()
        .filter_map(|line| line.strip_prefix("cmdstat_")?.split_once(":calls="))
        .filter(|(name, _)| !matches!(*name, "info" | "quit"))
        .map(|(_, rest)| rest.split(',').next()?.parse::<u64>().ok())
        .sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn commands_are_counted_but_for_the_question() {
        let said = "$150\r\n# Commandstats\r\ncmdstat_get:calls=12,usec=3\r\ncmdstat_info:calls=2,usec=1\r\n\
                    cmdstat_config|get:calls=2,usec=9\r\n\r\n+OK\r\n";
        assert_eq!(calls(said), Some(14));
        assert_eq!(calls("-ERR\r\n"), None);
    }
}
