//! The agent under measurement, and the receiver of its spans.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::Stdio;
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::scenario::LOAD_CORE;
use super::{procfs, sink};
use xtask::child::{self, Running};
use xtask::http;

/// An agent whose programs look at nothing.
pub(crate) const HOOKS_ONLY: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/hooks_only.yaml");
/// One that reads nothing of runtimes.
pub(crate) const NO_RUNTIMES: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/no_runtimes.yaml");

/// How an agent is started.
pub(crate) struct Launch {
    pub(crate) binary: PathBuf,
    pub(crate) backend: String,
    /// Whether the receiver of its spans takes none most of the time.
    pub(crate) stall: bool,
}

/// What an agent is to watch.
#[derive(Clone, Copy)]
pub(crate) enum Selection {
    /// This process and its children.
    Pid(u32),
    /// Whatever it finds.
    Everything,
}

/// An agent that is ready.
pub(crate) struct Agent {
    // Dropped first: the agent flushes into the sink when it ends.
    running: Running,
    sink: Running,
    listen: SocketAddr,
    sink_address: SocketAddr,
}

/// What the agent says of itself.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub(crate) struct Counts {
    /// Exchanges, of every protocol and outcome.
    pub(crate) seen: u64,
    /// Events lost, for every reason.
    pub(crate) lost: u64,
}

impl Agent {
    /// Starts the receiver and the agent, and waits until it watches.
    pub(crate) fn start(launch: &Launch, selection: Selection) -> Result<Self> {
        Self::start_with(launch, selection, None)
    }

    /// The same with programs that look at nothing.
    pub(crate) fn start_hooks_only(launch: &Launch, selection: Selection) -> Result<Self> {
        Self::start_with(launch, selection, Some(HOOKS_ONLY))
    }

    /// The same with a configuration.
    pub(crate) fn start_with(launch: &Launch, selection: Selection, config: Option<&str>) -> Result<Self> {
        let (listen, sink_address) = (http::free_address()?, http::free_address()?);
        let ourselves = std::env::current_exe().context("cannot find our own program")?;
        let mut command = child::command(ourselves, Some(LOAD_CORE));
        command.args(["otlp-sink", "--listen", &sink_address.to_string()]).args(launch.stall.then_some("--stall"));
        let mut sink = Running::start("the OTLP receiver", &mut command)?;
        sink.wait_until(Duration::from_secs(5), || http::get(sink_address, sink::STATS_PATH).ok())?;

        let mut command = child::command(&launch.binary, Some(LOAD_CORE));
        command.args(["run", "--backend", &launch.backend]);
        if let Selection::Pid(pid) = selection {
            command.args(["--pid", &pid.to_string()]);
        }
        command.args(["--endpoint", &format!("http://{sink_address}"), "--protocol", "http/protobuf"]);
        command.args(["--print", "off", "--log-level", "warn", "--listen", &listen.to_string()]).stdout(Stdio::null());
        if let Some(config) = config {
            command.args(["--config", config]);
        }
        let mut running = Running::start("the agent", &mut command)?;
        running.wait_until(Duration::from_secs(20), || http::get(listen, "/readyz").ok())?;
        Ok(Self { running, sink, listen, sink_address })
    }

    /// Where its pages are.
    pub(crate) const fn listen(&self) -> SocketAddr {
        self.listen
    }

    /// Its process id.
    pub(crate) fn pid(&self) -> u32 {
        self.running.pid()
    }

    /// CPU time so far, in nanoseconds.
    pub(crate) fn cpu_ns(&self) -> Result<u64> {
        procfs::cpu_ns(self.running.pid())
    }

    /// Resident memory now and at its peak, in KiB, and that of its maps in bytes.
    pub(crate) fn memory(&self) -> Result<(u64, u64, u64)> {
        let (now, peak) = procfs::rss_kib(self.running.pid())?;
        Ok((now, peak, procfs::map_bytes(self.running.pid())?))
    }

    /// What `/metrics` shows now.
    pub(crate) fn page(&self) -> Result<String> {
        http::get(self.listen, "/metrics").context("cannot ask the agent for its metrics")
    }

    /// Its own counters now.
    pub(crate) fn counts(&self) -> Result<Counts> {
        let page = self.page()?;
        Ok(Counts { seen: sum(&page, "beyla_rs_exchanges_total"), lost: sum(&page, "beyla_rs_capture_lost_total") })
    }

    /// Waits until what the agent has seen no longer changes, and reached `at_least` if it ever will.
    pub(crate) fn settled(&mut self, at_least: u64) -> Result<Counts> {
        let started = Instant::now();
        let mut last = self.counts()?;
        let mut still = 0;
        loop {
            sleep(Duration::from_millis(100));
            self.running.check()?;
            let now = self.counts()?;
            still = if now == last { still + 1 } else { 0 };
            last = now;
            let wanted = if now.seen >= at_least { 5 } else { 20 };
            if still >= wanted || started.elapsed() > Duration::from_secs(20) {
                return Ok(now);
            }
        }
    }

    /// Ends the agent, which flushes, and returns how many spans arrived in all.
    pub(crate) fn stop(self) -> Result<sink::Stats> {
        self.running.stop()?;
        let stats = http::get(self.sink_address, sink::STATS_PATH).context("the OTLP receiver is gone")?;
        self.sink.stop()?;
        sink::Stats::parse(&stats).with_context(|| format!("odd answer of the OTLP receiver: {stats}"))
    }
}

/// The values of a metric, whatever its labels, in the text format of Prometheus.
pub(super) fn values<'a>(page: &'a str, name: &'a str) -> impl Iterator<Item = f64> + 'a {
    page.lines()
        .filter_map(move |line| line.strip_prefix(name).filter(|rest| rest.starts_with(['{', ' '])))
        .filter_map(|rest| rest.rsplit_once([' ', '}'])?.1.trim().parse().ok())
}

/// The sum of a counter over all its labels.
fn sum(page: &str, name: &str) -> u64 {
    values(page, name).sum::<f64>() as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_counter_is_summed_over_its_labels() {
        let page = "# TYPE a counter\na{x=\"1 2\"} 3\na{x=\"}\"} 4\na 5\nab 6\na_total 7\n";
        assert_eq!(sum(page, "a"), 12);
        assert_eq!(sum(page, "none"), 0);
    }
}
