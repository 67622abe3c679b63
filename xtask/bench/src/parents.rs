//! `cargo xtask bench parents`: what it costs servers that it is read, and probed, whose their calls are. Each request makes one call;
//! the server has a core of its own, and what asks it, what it asks and the agent share the other.

use std::fmt::Write as _;
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result};
use tests::parents::{RUNTIMES, runtimes::At, runtimes::Service};

use super::agent::{Agent, HOOKS_ONLY, Launch, NO_RUNTIMES, Selection, values};
use super::measure::{self, Folder, requests_said};
use super::procfs::{self, Counting};
use super::report::spread;
use super::scenario::{LOAD_CORE, SERVER_CORE};
use xtask::{child, shell};

/// Its name on the command line.
pub(crate) const NAME: &str = "parents";

/// The servers: rows of the bed of parents.
const SERVERS: [&str; 3] = ["node-22", "asyncio", "axum-current-thread"];
/// What is called.
const BACK_END: &str = "c-threads";
/// Rounds: in each, all ways in turn.
const ROUNDS: usize = 5;
/// Connections of the load, and to the back end.
const CONNECTIONS: usize = 16;
/// Until an agent knows a runtime, and what was met is warm.
const WARM: Duration = Duration::from_secs(1);

/// How a server runs.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Way {
    Alone,
    HooksOnly,
    WithoutRuntimes,
    WithRuntimes,
}

const WAYS: [Way; 4] = [Way::Alone, Way::HooksOnly, Way::WithoutRuntimes, Way::WithRuntimes];

/// What came of a run, per request.
#[derive(Clone, Copy, Default)]
struct Run {
    server_us: f64,
    agent_us: f64,
}

/// Of a server, by way.
struct Column {
    name: &'static str,
    runs: Vec<[Run; WAYS.len()]>,
    /// Hits of probes per request.
    probes: f64,
    /// Of the calls, those whose request was found.
    found: f64,
}

pub(crate) fn main(launch: &Launch, length: Duration) -> Result<()> {
    let mut columns = Vec::new();
    for name in SERVERS {
        columns.push(measured(name, launch, length)?);
    }
    print!("{}", table(&columns)?);
    Ok(())
}

fn measured(name: &'static str, launch: &Launch, length: Duration) -> Result<Column> {
    let folder = Folder::new()?;
    // What is started inherits where this thread may run.
    bind(LOAD_CORE)?;
    let back_end = start(BACK_END, &At { folder: &folder.0, back_ends: &[], pool: 1, background: false })?;
    bind(SERVER_CORE)?;
    let at = At { folder: &folder.0, back_ends: &back_end.ports, pool: CONNECTIONS, background: false };
    let server = start(name, &at)?;
    bind(LOAD_CORE)?;
    load(&server, WARM)?;
    let mut runs = Vec::new();
    for round in 0..ROUNDS {
        let mut of_round = [Run::default(); WAYS.len()];
        for turn in 0..WAYS.len() {
            let way = (round + turn) % WAYS.len();
            if let (Some(place), Some(way)) = (of_round.get_mut(way), WAYS.get(way)) {
                *place = run(&server, launch, *way, length)?;
            }
        }
        let [alone, nothing, without, with] = of_round.map(|run| run.server_us);
        shell::say(format_args!(
            "{name}, round {} of {ROUNDS}: {alone:.2} us, {nothing:.2}, {without:.2}, {with:.2}",
            round + 1
        ));
        runs.push(of_round);
    }
    let counting = Counting::start()?;
    let agent = Agent::start(launch, Selection::Pid(pid(&server)?))?;
    load(&server, WARM)?;
    let before = (procfs::uprobe_hits(agent.pid())?, of_calls(&agent)?);
    let requests = load(&server, length)?;
    let after = (procfs::uprobe_hits(agent.pid())?, of_calls(&agent)?);
    agent.stop()?;
    drop(counting);
    let probes = (after.0 - before.0) as f64 / requests.max(1) as f64;
    let found = (after.1 - before.1) / requests.max(1) as f64;
    Ok(Column { name, runs, probes, found })
}

fn bind(core: u32) -> Result<()> {
    shell::output(Command::new("taskset").args(["-cp", &core.to_string(), &std::process::id().to_string()])).map(drop)
}

fn start(name: &str, at: &At<'_>) -> Result<Service> {
    let row = RUNTIMES.iter().find(|row| row.name == name).with_context(|| format!("no runtime {name}"))?;
    Ok((row.start)(at))
}

fn pid(server: &Service) -> Result<u32> {
    Ok(server.programs.first().context("no program")?.pid())
}

/// Asks for that long. Gives how often.
fn load(server: &Service, length: Duration) -> Result<u64> {
    let port = server.ports.first().context("no port")?;
    let mut command = child::command("wrk", Some(LOAD_CORE));
    command.args(["-t1", "-c", &CONNECTIONS.to_string(), "-d", &length.as_secs().max(1).to_string()]);
    command.arg(format!("http://127.0.0.1:{port}/r1?p=sequential&n=1"));
    Ok(requests_said(&measure::run_load(command)?))
}

fn run(server: &Service, launch: &Launch, way: Way, length: Duration) -> Result<Run> {
    let pid = pid(server)?;
    let config = match way {
        Way::HooksOnly => Some(HOOKS_ONLY),
        Way::WithoutRuntimes => Some(NO_RUNTIMES),
        Way::Alone | Way::WithRuntimes => None,
    };
    let agent = if way == Way::Alone { None } else { Some(Agent::start_with(launch, Selection::Pid(pid), config)?) };
    load(server, WARM)?;
    let of_agent = |agent: &Option<Agent>| agent.as_ref().map_or(Ok(0), Agent::cpu_ns);
    let before = (procfs::cpu_ns(pid)?, of_agent(&agent)?);
    let requests = load(server, length)?.max(1) as f64;
    let after = (procfs::cpu_ns(pid)?, of_agent(&agent)?);
    if let Some(agent) = agent {
        agent.stop()?;
    }
    let us = |before: u64, after: u64| after.saturating_sub(before) as f64 / 1e3 / requests;
    Ok(Run { server_us: us(before.0, after.0), agent_us: us(before.1, after.1) })
}

/// Calls whose request the agent has found so far.
fn of_calls(agent: &Agent) -> Result<f64> {
    let page = agent.page()?;
    Ok(["task", "thread", "sole_request"]
        .iter()
        .flat_map(|evidence| {
            let name = format!("beyla_rs_spans_parents_total{{evidence=\"{evidence}\"");
            page.lines().filter(|line| line.starts_with(&name)).map(str::to_owned).collect::<Vec<_>>()
        })
        .flat_map(|line| values(&line, "beyla_rs_spans_parents_total").collect::<Vec<_>>())
        .sum())
}

fn table(columns: &[Column]) -> Result<String> {
    let date = shell::output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let mut text = String::new();
    writeln!(
        text,
        "Servers with a call per request, HTTP/1.1 keep-alive, {CONNECTIONS} connections, full load. Median (lowest – highest) of {ROUNDS} rounds."
    )?;
    writeln!(text, "{}; {}; `cargo xtask {}`", date.trim(), procfs::machine(), arguments.join(" "))?;
    let names: Vec<&str> = columns.iter().map(|column| column.name).collect();
    writeln!(text, "\n| | {} | bar |\n| --- |{}", names.join(" | "), " --- |".repeat(columns.len() + 1))?;
    let mut row = |name: &str, bar: &str, cell: &dyn Fn(&Column) -> String| -> Result<()> {
        let cells: Vec<String> = columns.iter().map(cell).collect();
        writeln!(text, "| {name} | {} | {bar} |", cells.join(" | "))?;
        Ok(())
    };
    let us = |column: &Column, of: fn(&[Run; WAYS.len()]) -> f64| spread(column.runs.iter().map(of), 2, " us");
    row("server CPU per request, without the agent", "", &|c| us(c, |[alone, ..]| alone.server_us))?;
    row("with programs that do nothing on the same sites", "", &|c| us(c, |[_, nothing, ..]| nothing.server_us))?;
    row("with the agent, runtimes not read", "", &|c| us(c, |[.., without, _]| without.server_us))?;
    row("with the agent, runtimes read", "", &|c| us(c, |[.., with]| with.server_us))?;
    row("**added by that it is read**", "≤ 1.0 us where memory is read", &|c| {
        us(c, |[.., without, with]| with.server_us - without.server_us)
    })?;
    row("hits of probes per request", "", &|c| format!("{:.2}", c.probes))?;
    row("calls whose request is found", "", &|c| format!("{:.1} %", 100.0 * c.found))?;
    row("agent CPU per request, runtimes not read", "", &|c| us(c, |[.., without, _]| without.agent_us))?;
    row("agent CPU per request, runtimes read", "≤ 1 us more", &|c| us(c, |[.., with]| with.agent_us))?;
    Ok(text)
}
