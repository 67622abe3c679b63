//! One run without and one with the agent.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::agent::{Agent, Launch, Selection};
use super::procfs;
use super::scenario::{Load, Scenario, Server};
use xtask::child::{self, Running};

/// What a run without an agent, or the server's part of one with it, gave.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Run {
    /// CPU time of the worker per request, in microseconds.
    pub(crate) server_us: f64,
    /// Requests per second.
    pub(crate) rate: f64,
    /// Requests that reached the server.
    pub(crate) sent: u64,
}

/// What the agent did during a run.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Watched {
    /// Its CPU time per request, in microseconds, until it had caught up.
    pub(crate) agent_us: f64,
    /// Requests it counted.
    pub(crate) seen: u64,
    /// Events it lost.
    pub(crate) lost: u64,
    /// Spans that arrived.
    pub(crate) spans: u64,
    pub(crate) rss_kib: u64,
    pub(crate) peak_kib: u64,
    pub(crate) map_bytes: u64,
}

/// Two runs on the same server.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Pair {
    pub(crate) without: Run,
    pub(crate) with: Run,
    /// With an agent whose programs do nothing.
    pub(crate) hooks_only: Option<Run>,
    /// `None` when no agent was asked for.
    pub(crate) watched: Option<Watched>,
}

impl Pair {
    pub(crate) fn added_us(&self) -> f64 {
        self.with.server_us - self.without.server_us
    }

    /// Of the throughput with, to that without.
    pub(crate) fn ratio(&self) -> f64 {
        self.with.rate / self.without.rate
    }

    /// Of the throughput with, to that with programs that do nothing.
    pub(crate) fn of_hooks_only(&self) -> Option<f64> {
        Some(self.with.rate / self.hooks_only?.rate)
    }

    pub(crate) fn in_short(&self) -> String {
        let server =
            format!("server {:.2} us, {:+.2} us, rate x{:.3}", self.without.server_us, self.added_us(), self.ratio());
        match self.watched {
            Some(w) => {
                format!("{server}; agent {:.2} us, seen {} of {}, lost {}", w.agent_us, w.seen, self.with.sent, w.lost)
            }
            None => server,
        }
    }
}

/// Runs a pair on a fresh server; which run comes first is the caller's to vary.
pub(crate) fn pair(
    scenario: &Scenario,
    load: Load,
    length: Duration,
    agent: Option<&Launch>,
    with_first: bool,
) -> Result<Pair> {
    let folder = Folder::new()?;
    let mut server = (scenario.start)(&folder.0)?;
    // The first connections and the first pages of memory are nobody's cost.
    run_load(server.load(load, Duration::from_secs(1)))?;
    let with_agent = |server: &mut dyn Server| with(server, load, length, agent);
    if with_first {
        let (with, watched) = with_agent(server.as_mut())?;
        let hooks_only = agent.map(|launch| hooks_only(server.as_mut(), load, length, launch)).transpose()?;
        Ok(Pair { without: without(server.as_mut(), load, length)?, with, hooks_only, watched })
    } else {
        let without = without(server.as_mut(), load, length)?;
        let hooks_only = agent.map(|launch| hooks_only(server.as_mut(), load, length, launch)).transpose()?;
        let (with, watched) = with_agent(server.as_mut())?;
        Ok(Pair { without, with, hooks_only, watched })
    }
}

/// What probes on a library that is shared cost a server that is not watched, in microseconds per request: median of `pairs` runs
/// without any agent and with one that watches another process with the same library. And how often its functions were hit. `None`
/// where the server has no such library.
pub(crate) fn unwatched(
    scenario: &Scenario,
    launch: &Launch,
    length: Duration,
    pairs: u32,
) -> Result<Option<(f64, f64)>> {
    let folder = Folder::new()?;
    let mut server = (scenario.start)(&folder.0)?;
    run_load(server.load(Load::Full, Duration::from_secs(1)))?;
    let is_library = |path: &PathBuf| path.file_name().is_some_and(|name| name.to_string_lossy().starts_with("libssl"));
    let Some(library) = fs::read_dir(&folder.0)?.filter_map(|entry| Some(entry.ok()?.path())).find(is_library) else {
        return Ok(None);
    };
    let mut added = Vec::new();
    let mut hits = 0.0;
    for _ in 0..pairs {
        let before = without(server.as_mut(), Load::Full, length)?;
        let holder =
            Running::start("sleep", child::command("sleep", None).arg("infinity").env("LD_PRELOAD", &library))?;
        let counting = procfs::Counting::start()?;
        let served = server.served()?;
        let agent = Agent::start(launch, Selection::Pid(holder.pid()))?;
        let used = under_load(server.as_mut(), Load::Full, Duration::from_secs(1))?;
        let counted = procfs::uprobe_hits(agent.pid())?;
        agent.stop()?;
        drop(counting);
        hits = counted as f64 / used.sent(served, server.served()?).max(1) as f64;
        let served = server.served()?;
        let agent = Agent::start(launch, Selection::Pid(holder.pid()))?;
        let used = under_load(server.as_mut(), Load::Full, length)?;
        agent.stop()?;
        let with = used.run(used.sent(served, server.served()?))?;
        added.push(with.server_us - before.server_us);
    }
    added.sort_by(f64::total_cmp);
    let median = added.get(added.len() / 2).copied().context("no pairs")?;
    Ok(Some((median, hits)))
}

/// What the kernel counts of the agent's programs, per request.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Programs {
    /// For how long they run, in microseconds.
    pub(crate) us: f64,
    /// Hits of uprobes.
    pub(crate) uprobe_hits: f64,
}

/// The same of a short run, in which it counts. The server's own time says more of what it takes to come to the programs, but also of
/// who else is busy: where the load shares its processor with an agent, waking it takes the server longer.
pub(crate) fn programs(scenario: &Scenario, launch: &Launch) -> Result<Programs> {
    let folder = Folder::new()?;
    let mut server = (scenario.start)(&folder.0)?;
    let _counting = procfs::Counting::start()?;
    let before = server.served()?;
    let agent = Agent::start(launch, Selection::Pid(server.watched()))?;
    let idle_ns = procfs::programs_ns(agent.pid())?;
    let used = under_load(server.as_mut(), Load::Full, Duration::from_secs(1))?;
    let (hits, ns) = (procfs::uprobe_hits(agent.pid())?, procfs::programs_ns(agent.pid())?);
    agent.stop()?;
    let sent = used.sent(before, server.served()?).max(1) as f64;
    Ok(Programs { us: ns.saturating_sub(idle_ns) as f64 / 1e3 / sent, uprobe_hits: hits as f64 / sent })
}

fn without(server: &mut dyn Server, load: Load, length: Duration) -> Result<Run> {
    let before = server.served()?;
    let used = under_load(server, load, length)?;
    used.run(used.sent(before, server.served()?))
}

fn hooks_only(server: &mut dyn Server, load: Load, length: Duration, launch: &Launch) -> Result<Run> {
    let before = server.served()?;
    let agent = Agent::start_hooks_only(launch, Selection::Pid(server.watched()))?;
    let used = under_load(server, load, length)?;
    agent.stop()?;
    used.run(used.sent(before, server.served()?))
}

fn with(
    server: &mut dyn Server,
    load: Load,
    length: Duration,
    agent: Option<&Launch>,
) -> Result<(Run, Option<Watched>)> {
    let Some(launch) = agent else {
        return Ok((without(server, load, length)?, None));
    };
    let before = server.served()?;
    let mut agent = Agent::start(launch, Selection::Pid(server.watched()))?;
    let counts_before = agent.counts()?;
    let cpu_before = agent.cpu_ns()?;
    let used = under_load(server, load, length)?;
    let (rss_kib, peak_kib, map_bytes) = agent.memory()?;
    // How many it should have seen is known only once it is gone, since asking the server is a request of its own.
    let counts = agent.settled(counts_before.seen + used.requests_guess)?;
    let cpu_ns =
        agent.cpu_ns()?.checked_sub(cpu_before).context("a thread of the agent ended, its CPU time is lost")?;
    let stats = agent.stop()?;
    let sent = used.sent(before, server.served()?);
    let watched = Watched {
        agent_us: cpu_ns as f64 / 1e3 / sent.max(1) as f64,
        seen: counts.seen - counts_before.seen,
        lost: counts.lost - counts_before.lost,
        spans: stats.spans,
        rss_kib,
        peak_kib,
        map_bytes,
    };
    Ok((used.run(sent)?, Some(watched)))
}

/// What the server's worker used while the load ran.
struct Used {
    cpu_ns: u64,
    elapsed: Duration,
    requests_guess: u64,
}

impl Used {
    /// Requests sent meanwhile: as the server counts them, or as the load says.
    fn sent(&self, before: Option<u64>, after: Option<u64>) -> u64 {
        after.zip(before).map_or(self.requests_guess, |(after, before)| after - before)
    }

    fn run(&self, sent: u64) -> Result<Run> {
        if sent == 0 {
            bail!("the server got no request");
        }
        let rate = sent as f64 / self.elapsed.as_secs_f64();
        Ok(Run { server_us: self.cpu_ns as f64 / 1e3 / sent as f64, rate, sent })
    }
}

fn under_load(server: &mut dyn Server, load: Load, length: Duration) -> Result<Used> {
    let cpu_before = server.cpu_ns()?;
    let started = Instant::now();
    let said = run_load(server.load(load, length))?;
    let elapsed = started.elapsed();
    server.running().check()?;
    let cpu_ns = server.cpu_ns()?.saturating_sub(cpu_before);
    Ok(Used { cpu_ns, elapsed, requests_guess: requests_said(&said) })
}

/// Runs a load to its end, and gives what it says.
///
/// # Errors
/// When it failed, or requests of it did.
pub(crate) fn run_load(mut command: Command) -> Result<String> {
    let output = command.stdout(Stdio::piped()).stderr(Stdio::piped()).output().context("cannot start the load")?;
    if !output.status.success() {
        bail!("the load failed: {}\n{}", output.status, String::from_utf8_lossy(&output.stderr));
    }
    let said = String::from_utf8_lossy(&output.stdout).into_owned();
    if let Some(trouble) = trouble(&said) {
        bail!("the load had errors, so its figures mean nothing: {trouble}");
    }
    Ok(said)
}

/// A line of wrk or h2load that tells of failed requests.
fn trouble(said: &str) -> Option<&str> {
    said.lines().map(str::trim).find(|line| {
        line.starts_with("Socket errors:")
            || line.starts_with("Non-2xx")
            || (line.starts_with("requests:") && !line.contains(" 0 failed, 0 errored, 0 timeout"))
    })
}

/// About how many requests the load says it made: wrk's `140501 requests in 3.04s`, h2load's `requests: 49856 total`, pgbench's
/// `number of transactions actually processed: 65536`.
pub(crate) fn requests_said(said: &str) -> u64 {
    let number = |line: &str| {
        let line = line.trim();
        let said = ["requests:", "number of transactions actually processed:"];
        let said = said.iter().find_map(|said| line.strip_prefix(said));
        let text = said.or_else(|| line.contains(" requests in ").then_some(line))?;
        text.split_whitespace().next()?.parse().ok()
    };
    said.lines().find_map(number).unwrap_or(0)
}

/// A folder for the server's files, gone when dropped.
pub(crate) struct Folder(pub(crate) PathBuf);

impl Folder {
    pub(crate) fn new() -> Result<Self> {
        let path = std::env::temp_dir().join(format!("beyla-rs-bench-{}", std::process::id()));
        let _was_there = fs::remove_dir_all(&path);
        fs::create_dir(&path).with_context(|| format!("cannot make {}", path.display()))?;
        Ok(Self(path))
    }
}

impl Drop for Folder {
    fn drop(&mut self) {
        let path: &Path = &self.0;
        if let Err(error) = fs::remove_dir_all(path) {
            eprintln!("xtask: cannot remove {}: {error}", path.display());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_loads_own_figures_are_read() {
        assert_eq!(requests_said("  140501 requests in 3.04s, 22.11MB read\nRequests/sec:  46274.21\n"), 140_501);
        assert_eq!(requests_said("requests: 49856 total, 49888 started, 49856 done\n"), 49_856);
        let pgbench =
            "scaling factor: 1\nnumber of transactions actually processed: 65536\nnumber of failed transactions: 0";
        assert_eq!(requests_said(pgbench), 65_536);
    }

    #[test]
    fn failed_requests_are_noticed() {
        assert_eq!(
            trouble("requests: 5 total, 5 started, 5 done, 5 succeeded, 0 failed, 0 errored, 0 timeout\n"),
            None
        );
        assert!(
            trouble("requests: 5 total, 5 started, 5 done, 4 succeeded, 1 failed, 1 errored, 0 timeout\n").is_some()
        );
        assert!(trouble("  Non-2xx or 3xx responses: 7\n").is_some());
    }
}
