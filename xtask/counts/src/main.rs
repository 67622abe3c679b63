//! `cargo xtask counts`: servers' own benchmarks under the agent. Operations as the benchmark, or its server, counts them are spans, and
//! values in histograms, at both ends; a table of where they are not.

mod bed;
mod queues;
mod report;
mod stores;

use std::any::Any;
use std::fs;
use std::panic;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use tests::agent::{self, Backend};
use xtask::{build, exit_code, setup, shell};

use bed::Setting;
use report::{HEAD, Side};

#[derive(Parser)]
#[command(name = "cargo xtask counts", bin_name = "cargo xtask counts")]
#[command(
    about = "Whether operations as servers' own benchmarks count them are spans and values in histograms, at both ends"
)]
struct Args {
    /// Only these; a name that ends with `*` stands for all that begin like it
    name: Vec<String>,
    /// Only this backend: sock or syscall
    #[arg(long)]
    backend: Vec<String>,
    /// As many operations as usual, times this
    #[arg(long, default_value_t = 1)]
    times: u64,
    /// One span of a hundred is kept: what is counted is held against histograms alone
    #[arg(long)]
    sampled: bool,
    /// An agent that is built already
    #[arg(long)]
    agent: Option<PathBuf>,
    /// Further arguments of the agent, `--record FILE` perhaps
    #[arg(long, allow_hyphen_values = true)]
    agent_args: Vec<String>,
    /// Write what was told into this folder
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Say which there are
    #[arg(long)]
    list: bool,
}

/// A benchmark.
struct Benchmark {
    name: &'static str,
    /// A program that nothing here installs, if it needs one.
    needs: Option<&'static str>,
    run: fn(&Setting) -> Vec<Side>,
}

const fn benchmark(name: &'static str, run: fn(&Setting) -> Vec<Side>) -> Benchmark {
    Benchmark { name, needs: None, run }
}

const BENCHMARKS: &[Benchmark] = &[
    benchmark("redis-benchmark", |setting| stores::redis(setting, "-P 1")),
    benchmark("redis-benchmark-16", |setting| stores::redis(setting, "-P 16")),
    benchmark("redis-benchmark-1000", |setting| stores::redis(setting, "-P 16 -d 1000 -t set,get,lpush --threads 2")),
    Benchmark { name: "memtier", needs: Some("memtier_benchmark"), run: stores::memtier_redis },
    Benchmark { name: "memtier-memcached", needs: Some("memtier_benchmark"), run: stores::memtier_memcached },
    Benchmark { name: "mc-crusher", needs: Some("mc-crusher"), run: stores::crusher },
    benchmark("sysbench", |setting| stores::sysbench(setting, "oltp_read_write", "auto")),
    benchmark("sysbench-text", |setting| stores::sysbench(setting, "oltp_read_write", "disable")),
    benchmark("sysbench-point", |setting| stores::sysbench(setting, "oltp_point_select", "auto")),
    benchmark("kafka", |setting| queues::kafka(setting, 100, Some(2000))),
    benchmark("kafka-full", |setting| queues::kafka(setting, 100, None)),
    benchmark("kafka-large", |setting| queues::kafka(setting, 1000, None)),
    benchmark("franz-go", queues::franz),
    benchmark("perf-test", |setting| queues::rabbitmq(setting, "--rate 500", "process")),
    benchmark("perf-test-full", |setting| queues::rabbitmq(setting, "", "process")),
    benchmark("perf-test-confirms", |setting| {
        queues::rabbitmq(setting, "--confirm 20 --multi-ack-every 10", "process")
    }),
    benchmark("perf-test-autoack", |setting| queues::rabbitmq(setting, "--autoack --rate 500", "receive")),
    benchmark("mosquitto", queues::mosquitto),
    benchmark("mosquitto-rr", queues::mosquitto_requests),
    benchmark("nats-bench", |setting| queues::nats(setting, "--sleep 1ms")),
    benchmark("nats-bench-full", |setting| queues::nats(setting, "")),
    benchmark("nats-bench-requests", queues::nats_requests),
    benchmark("nats-bench-js", queues::nats_jetstream),
];

fn main() -> ExitCode {
    exit_code(run(&Args::parse()))
}

fn run(args: &Args) -> Result<()> {
    if args.list {
        BENCHMARKS.iter().for_each(|it| println!("{}", it.name));
        return Ok(());
    }
    let is = |name: &str, asked: &str| match asked.strip_suffix('*') {
        Some(beginning) => name.starts_with(beginning),
        None => name == asked,
    };
    if let Some(unknown) = args.name.iter().find(|asked| !BENCHMARKS.iter().any(|it| is(it.name, asked))) {
        bail!("no benchmark {unknown:?}; `--list` says which there are");
    }
    let chosen =
        BENCHMARKS.iter().filter(|it| args.name.is_empty() || args.name.iter().any(|asked| is(it.name, asked)));
    let backends: Vec<Backend> = [Backend::Sock, Backend::Syscall]
        .into_iter()
        .filter(|backend| args.backend.is_empty() || args.backend.iter().any(|asked| asked == backend.name()))
        .collect();
    if !shell::is_root() {
        let command = "sudo env \"PATH=$PATH\" \"HOME=$HOME\" cargo xtask counts".to_owned();
        return Err(shell::NotPermitted { what: "the agent".into(), command }.into());
    }
    setup::ensure_for_counts()?;
    match &args.agent {
        Some(path) => agent::choose(fs::canonicalize(path).with_context(|| format!("no agent {}", path.display()))?),
        None => {
            setup::ensure()?;
            build::agent()?;
            agent::choose(shell::agent_binary());
        }
    }
    println!("{HEAD}");
    let (mut rows, mut faulty) = (0, 0);
    for it in chosen {
        if let Some(needed) = it.needs.filter(|needed| shell::which(needed).is_none()) {
            println!("| {} | | not run: no `{needed}` on PATH | | | | |", it.name);
            continue;
        }
        for &backend in &backends {
            let setting = Setting {
                backend,
                times: args.times,
                is_sampled: args.sampled,
                agent_args: args.agent_args.clone(),
                keep: args.keep.as_ref().map(|folder| folder.join(format!("{}-{}", it.name, backend.name()))),
            };
            match panic::catch_unwind(|| (it.run)(&setting)) {
                Ok(sides) => {
                    for side in sides {
                        println!("| {} | {} | {}", it.name, backend.name(), side.row(args.sampled));
                        (rows, faulty) = (rows + 1, faulty + usize::from(!side.is_right(args.sampled)));
                    }
                }
                Err(panic) => {
                    println!("| {} | {} | **{}** | | | | |", it.name, backend.name(), message(panic.as_ref()));
                    (rows, faulty) = (rows + 1, faulty + 1);
                }
            }
        }
    }
    if faulty > 0 {
        bail!("{faulty} of {rows} rows differ");
    }
    println!("\nAll {rows} rows are as they should be.");
    Ok(())
}

/// What a panic says.
fn message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<String>().map(String::as_str).or_else(|| panic.downcast_ref::<&str>().copied());
    text.unwrap_or("a panic").chars().take(400).collect::<String>().replace(['\n', '|'], " ")
}
