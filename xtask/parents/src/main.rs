//! `cargo xtask parents`: services of each runtime, whose true trees are known, under load; the agent's spans, judged; a table of
//! how many parents are right, missing and wrong. The bed itself is `tests/src/parents/`.

mod report;

use std::fs;
use std::panic::{self, AssertUnwindSafe};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context as _, Result, bail};
use clap::Parser;
use tests::agent::{self, Backend};
use tests::parents::{Bed, Cell, Pattern, RUNTIMES, Runtime};
use xtask::{
    exit_code,
    rows::{self, chosen, message},
    setup,
};

use report::Row;

#[derive(Parser)]
#[command(name = "cargo xtask parents", bin_name = "cargo xtask parents")]
#[command(about = "Whether spans hang where they belong, in services of each runtime whose true trees are known")]
struct Args {
    /// Only this runtime; may be given again. A name that ends with `*` stands for all that begin like it
    #[arg(long)]
    runtime: Vec<String>,
    /// Only this pattern of calls: sequential, parallel, pause, forget; may be given again
    #[arg(long)]
    pattern: Vec<String>,
    /// Only so many requests at a time; may be given again. Default: 1, 16 and 256
    #[arg(long)]
    concurrency: Vec<usize>,
    /// Only this backend: sock or syscall
    #[arg(long)]
    backend: Vec<String>,
    /// Requests of a cell. Default: 400; of `whole` 10,000 where there are several at a time
    #[arg(long)]
    requests: Option<usize>,
    /// Requests carry a `traceparent`, which each service passes on
    #[arg(long)]
    headers: bool,
    /// Services also make calls of their own, of no request, those that can
    #[arg(long)]
    background: bool,
    /// An agent that is built already
    #[arg(long)]
    agent: Option<PathBuf>,
    /// Write the spans of each cell into this folder
    #[arg(long)]
    keep: Option<PathBuf>,
    /// Say which runtimes there are
    #[arg(long)]
    list: bool,
}

/// Requests of a cell that makes one at a time, which takes long.
const AT_ONE_AT_A_TIME: usize = 400;

fn main() -> ExitCode {
    exit_code(run(&Args::parse()))
}

fn run(args: &Args) -> Result<()> {
    if args.list {
        RUNTIMES.iter().for_each(|runtime| println!("{}", runtime.name));
        return Ok(());
    }
    let runtimes = chosen("runtime", RUNTIMES, |runtime| runtime.name, &args.runtime)?;
    let patterns = chosen("pattern", Pattern::ALL, |pattern| pattern.name(), &args.pattern)?;
    let backends = chosen("backend", &[Backend::Sock, Backend::Syscall], |backend| backend.name(), &args.backend)?;
    agent::choose(rows::agent("parents", args.agent.as_deref(), setup::ensure_for_parents)?);
    if let Some(folder) = &args.keep {
        fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))?;
    }
    // What panics is told in its row.
    panic::set_hook(Box::new(|_| {}));
    let levels = if args.concurrency.is_empty() { &[1, 16, 256][..] } else { &args.concurrency };
    let mut rows = Vec::new();
    println!("{}", report::HEAD);
    for runtime in runtimes {
        for &backend in &backends {
            let of_runtime = patterns.iter().filter(|pattern| runtime.patterns.contains(pattern));
            let cells = of_runtime.flat_map(|pattern| {
                let cell = |concurrency: &usize| Cell {
                    pattern: **pattern,
                    concurrency: *concurrency,
                    requests: args.requests.unwrap_or(if *concurrency > 1 {
                        runtime.requests
                    } else {
                        AT_ONE_AT_A_TIME
                    }),
                    headers: args.headers,
                };
                levels.iter().map(cell).collect::<Vec<_>>()
            });
            rows.extend(ask(runtime, *backend, args.background, &cells.collect::<Vec<_>>(), args.keep.as_deref())?);
        }
    }
    report::print_cases(&rows);
    let faulty = rows.iter().filter(|row| !row.faults.is_empty()).count();
    if rows.is_empty() {
        bail!("no runtime that was asked for does what was asked for");
    }
    if faulty > 0 {
        bail!("{faulty} of {} rows are under their bars", rows.len());
    }
    println!("\nAll {} rows are as they should be.", rows.len());
    Ok(())
}

/// All cells of a runtime on a backend, with one agent. What panics is told in its row, and the others go on.
fn ask(
    runtime: &'static Runtime,
    backend: Backend,
    background: bool,
    cells: &[Cell],
    keep: Option<&Path>,
) -> Result<Vec<Row>> {
    let mut rows = Vec::new();
    let mut bed = match panic::catch_unwind(|| Bed::start(runtime, backend, background)) {
        Ok(bed) => bed,
        Err(panic) => {
            let row = Row::broken(runtime, backend, format!("does not start: {}", message(panic.as_ref())));
            println!("{row}");
            return Ok(vec![row]);
        }
    };
    for cell in cells {
        let outcome = panic::catch_unwind(AssertUnwindSafe(|| bed.ask(cell)));
        let row = match outcome {
            Ok(outcome) => {
                if let Some(folder) = keep {
                    let name = format!(
                        "{}-{}-{}-{}.json",
                        runtime.name,
                        backend.name(),
                        cell.pattern.name(),
                        cell.concurrency
                    );
                    fs::write(folder.join(&name), outcome.lines.join("\n") + "\n")
                        .with_context(|| format!("cannot write {name}"))?;
                }
                Row::of(runtime, backend, cell, outcome.verdict)
            }
            Err(panic) => Row::broken(runtime, backend, message(panic.as_ref())),
        };
        println!("{row}");
        rows.push(row);
    }
    if let Err(panic) = panic::catch_unwind(AssertUnwindSafe(|| bed.stop())) {
        rows.push(Row::broken(runtime, backend, message(panic.as_ref())));
    }
    Ok(rows)
}
