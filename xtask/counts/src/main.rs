//! `cargo xtask counts`: servers' own benchmarks under the agent. Operations as the benchmark, or its server, counts them are spans, and
//! values in histograms, at both ends; a table of where they are not.

mod bed;
mod queues;
mod report;
mod stores;

use std::panic;
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Result, bail};
use clap::Parser;
use tests::agent::{self, Backend};
use xtask::{
    exit_code,
    rows::{self, chosen, message},
    setup, shell,
};

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
    let benchmarks = chosen("benchmark", BENCHMARKS, |it| it.name, &args.name)?;
    let backends = chosen("backend", &[Backend::Sock, Backend::Syscall], |backend| backend.name(), &args.backend)?;
    agent::choose(rows::agent("counts", args.agent.as_deref(), setup::ensure_for_counts)?);
    println!("{HEAD}");
    let (mut rows, mut inexact, mut faulty) = (0, 0, 0);
    for it in benchmarks {
        if let Some(needed) = it.needs.filter(|needed| shell::which(needed).is_none()) {
            println!("| {} | | not run: no `{needed}` on PATH | | | | |", it.name);
            continue;
        }
        for &backend in &backends {
            let setting = Setting {
                backend: *backend,
                times: args.times,
                is_sampled: args.sampled,
                agent_args: args.agent_args.clone(),
                keep: args.keep.as_ref().map(|folder| folder.join(format!("{}-{}", it.name, backend.name()))),
            };
            match panic::catch_unwind(|| (it.run)(&setting)) {
                Ok(sides) => {
                    let is_covered = Side::are_covered(&sides);
                    for side in sides {
                        println!("| {} | {} | {}", it.name, backend.name(), side.row(args.sampled));
                        let differs = !side.is_right(args.sampled);
                        let is_counted = is_covered && !args.sampled;
                        rows += 1;
                        inexact += usize::from(differs && is_counted);
                        faulty += usize::from(differs && !is_counted);
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
        bail!("{faulty} of {rows} rows differ, and what is missing is not counted as lost");
    }
    match inexact {
        0 => println!("\nAll {rows} rows are as they should be."),
        _ => println!("\n{inexact} of {rows} rows differ, and what is missing is counted as lost."),
    }
    Ok(())
}
