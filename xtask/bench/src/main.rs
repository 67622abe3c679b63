//! `cargo xtask bench NAME`: a server on core 0; the load, the agent and the receiver of its spans on core 1; without and
//! with the agent in turn. What is compared was measured in the same minute on the same machine.

mod agent;
mod export;
mod flood;
mod forks;
mod go;
mod http2;
mod measure;
mod nginx;
mod pages;
mod parents;
mod pgbench;
mod procfs;
mod redis;
mod report;
mod scenario;
mod scrape;
mod sink;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Result, bail};
use clap::{Parser, Subcommand};

use xtask::exit_code;
use xtask::setup::packages;
use xtask::{build, setup, shell};

#[derive(clap::Args)]
struct Args {
    /// What to measure: nginx, tls, h2c, grpc, grpc-tls, go, go-tls, redis, redis-pipelined, pgbench, or parents, forks, flood, pages and scrape (which take of the options only seconds, agent and backend), or export (only seconds)
    #[arg(default_value = "nginx")]
    scenario: String,
    /// Pairs of a run without and a run with the agent, per load
    #[arg(long, default_value_t = 7, value_parser = clap::value_parser!(u32).range(1..))]
    pairs: u32,
    /// Seconds of load per run; default: 5, and as many as it needs for scrape
    #[arg(long, value_parser = clap::value_parser!(u32).range(1..))]
    seconds: Option<u32>,
    /// Only this load: `full` or requests per second; default: full, and 10000 where the load's program knows rates
    #[arg(long)]
    load: Vec<scenario::Load>,
    /// No agent in either run of a pair: how far the machine's noise goes
    #[arg(long)]
    noise: bool,
    /// The receiver of spans takes them for 0.4 s of each 1.3 s only: what waits, and is dropped where it is too much, shows
    #[arg(long)]
    stall: bool,
    /// An agent that is built already
    #[arg(long)]
    agent: Option<PathBuf>,
    /// The agent's backend
    #[arg(long, default_value = "auto")]
    backend: String,
}

/// What is measured, and how.
type Measure = fn(&agent::Launch, Duration) -> Result<()>;

/// A benchmark that is no pairs of runs.
struct Other {
    name: &'static str,
    measure: Measure,
    /// How long it takes at least, and why.
    least: Option<(Duration, &'static str)>,
}

const OTHERS: &[Other] = &[
    Other { name: parents::NAME, measure: parents::main, least: None },
    Other { name: "forks", measure: forks::main, least: None },
    Other { name: "flood", measure: flood::main, least: None },
    Other { name: pages::NAME, measure: pages::main, least: None },
    Other { name: "scrape", measure: scrape::main, least: Some(scrape::LEAST) },
];

/// Seconds of load unless the user says otherwise.
const SECONDS: u32 = 5;

/// For how long there is load.
fn length(seconds: Option<u32>, other: Option<&Other>) -> Result<Duration> {
    let said = seconds.map(|seconds| Duration::from_secs(seconds.into()));
    match (said, other.and_then(|other| other.least)) {
        (Some(said), Some((least, why))) if said < least => {
            bail!("--seconds {}: {} are needed at least: {why}", said.as_secs(), least.as_secs())
        }
        (None, Some((least, _))) => Ok(least),
        (said, _) => Ok(said.unwrap_or(Duration::from_secs(SECONDS.into()))),
    }
}

/// Programs that a measurement starts: this one again.
#[derive(Subcommand)]
enum Part {
    /// Receive OTLP over HTTP and count what arrives
    #[command(hide = true)]
    OtlpSink(sink::Args),
    /// Serve itself requests that make many series
    #[command(hide = true)]
    ManySeries,
    /// Answer many HTTP/2 requests in a write
    #[command(hide = true)]
    FloodServer(flood::ServerArgs),
    /// Ask them
    #[command(hide = true)]
    FloodClient(flood::ClientArgs),
}

#[derive(Parser)]
#[command(name = "cargo xtask bench", bin_name = "cargo xtask bench", args_conflicts_with_subcommands = true)]
#[command(disable_help_subcommand = true, about = "Measure what the agent costs a server, and what it sees")]
struct Cli {
    #[command(subcommand)]
    part: Option<Part>,
    #[command(flatten)]
    args: Args,
}

fn main() -> ExitCode {
    let Cli { part, args } = Cli::parse();
    exit_code(match part {
        None => measure(&args),
        Some(Part::OtlpSink(args)) => sink::main(&args),
        Some(Part::ManySeries) => scrape::talk(),
        Some(Part::FloodServer(args)) => flood::serve(&args),
        Some(Part::FloodClient(args)) => flood::ask(&args),
    })
}

fn measure(args: &Args) -> Result<()> {
    if args.scenario == export::NAME {
        return export::main(length(args.seconds, None)?);
    }
    let other = OTHERS.iter().find(|other| other.name == args.scenario);
    let scenario = scenario::ALL.iter().find(|scenario| scenario.name == args.scenario);
    if scenario.is_none() && other.is_none() {
        let names: Vec<&str> = scenario::ALL
            .iter()
            .map(|scenario| scenario.name)
            .chain(OTHERS.iter().map(|other| other.name))
            .chain([export::NAME])
            .collect();
        bail!("no benchmark {:?}; there are: {}", args.scenario, names.join(", "));
    }
    let length = length(args.seconds, other)?;
    if std::thread::available_parallelism()?.get() < 2 {
        bail!("the server and the load need a core each, this machine has one");
    }
    if !shell::is_root() && !args.noise {
        let command = format!("sudo env \"PATH=$PATH\" \"HOME=$HOME\" cargo xtask bench {}", args.scenario);
        return Err(shell::NotPermitted { what: "the agent".into(), command }.into());
    }
    setup::ensure_with(packages::BENCH)?;
    if [http2::GRPC, http2::GRPC_TLS, go::PLAIN, go::TLS].iter().any(|scenario| scenario.name == args.scenario) {
        setup::ensure_go()?;
    }
    if args.scenario == parents::NAME {
        setup::ensure_for_parents()?;
    }
    let agent = match &args.agent {
        Some(path) => path.clone(),
        None if args.noise => PathBuf::new(),
        None => {
            build::agent()?;
            shell::agent_binary()
        }
    };
    let launch = agent::Launch { binary: agent, backend: args.backend.clone(), stall: args.stall };
    if let Some(other) = other {
        return (other.measure)(&launch, length);
    }
    let Some(scenario) = scenario else { return Ok(()) };
    let agent = (!args.noise).then_some(launch);
    let has_rates = redis::has_rates(scenario.name);
    let loads = match &args.load[..] {
        [] if has_rates => vec![scenario::Load::Full, scenario::Load::PerSecond(10_000)],
        [] => vec![scenario::Load::Full],
        loads => loads.to_vec(),
    };
    if !has_rates && loads.iter().any(|load| *load != scenario::Load::Full) {
        bail!("--load: redis-benchmark knows no rate, only `full`");
    }
    let mut columns = Vec::new();
    for load in loads {
        let mut pairs = Vec::new();
        for at in 0..args.pairs {
            let pair = measure::pair(scenario, load, length, agent.as_ref(), at % 2 == 1)?;
            shell::say(format_args!(
                "{}, {load}, pair {} of {}: {}",
                scenario.name,
                at + 1,
                args.pairs,
                pair.in_short()
            ));
            pairs.push(pair);
        }
        columns.push(report::Column { load, pairs });
    }
    print!("{}", report::table(scenario, &columns, args.noise)?);
    let Some(launch) = &agent else { return Ok(()) };
    let programs = measure::programs(scenario, launch)?;
    println!("\nThe agent's programs run for {:.2} us per request (kernel.bpf_stats_enabled).", programs.us);
    if !scenario.uses_uprobes {
        return Ok(());
    }
    println!("Hits of uprobes per request: {:.2}.", programs.uprobe_hits);
    if let Some((added_us, hits)) = measure::unwatched(scenario, launch, length, args.pairs)? {
        println!(
            "A server with the same library that is not watched: {added_us:+.2} us per request with {hits:.2} hits, {:.2} us per hit.",
            added_us / hits.max(1.0)
        );
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_measurement_that_needs_its_time_says_so_and_takes_it() {
        let other = |name| OTHERS.iter().find(|other| other.name == name);
        let seconds =
            |said, name| length(said, other(name)).map(|length| length.as_secs()).map_err(|error| error.to_string());
        assert_eq!(seconds(None, "nginx"), Ok(5));
        assert_eq!(seconds(Some(1), "forks"), Ok(1));
        assert_eq!(seconds(None, "scrape"), Ok(62));
        assert_eq!(seconds(Some(90), "scrape"), Ok(90));
        let refused = seconds(Some(61), "scrape").unwrap_err();
        assert!(refused.starts_with("--seconds 61: 62 are needed at least: "), "{refused}");
    }
}
