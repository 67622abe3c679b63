//! What a request costs the agent in user space, stage by stage, by recordings (`beyla-rs --record FILE`): no kernel, no network.
//!
//! ```text
//! cargo bench -p beyla-rs --bench replay -- FILE...
//! ```
//!
//! The least of many runs is printed: what else happens on the machine only adds to it.

use std::{env, fs, process::ExitCode};

use beyla_rs::internals::{Bed, Cost, Stage};

/// How often each stage is run; stages take turns.
const TIMES: usize = 15;

fn main() -> ExitCode {
    // Cargo says `--bench` to each benchmark.
    let files: Vec<String> = env::args().skip(1).filter(|argument| !argument.starts_with("--")).collect();
    if files.is_empty() {
        println!("no recording is given: cargo bench -p beyla-rs --bench replay -- FILE...");
    }
    for file in files {
        if let Err(error) = measure(&file) {
            eprintln!("{file}: {error}");
            return ExitCode::FAILURE;
        }
    }
    ExitCode::SUCCESS
}

fn measure(file: &str) -> Result<(), Box<dyn std::error::Error>> {
    let recording = fs::read_to_string(file)?;
    let bed = Bed::new(&recording)?;
    let mut least = Stage::ALL.map(|stage| bed.run(stage));
    for _ in 1..TIMES {
        for (stage, least) in Stage::ALL.into_iter().zip(&mut least) {
            let cost = bed.run(stage);
            if cost.cpu < least.cpu {
                *least = cost;
            }
        }
    }
    println!("{file}: {} requests", least[0].requests);
    let mut before = Cost::default();
    for (stage, cost) in Stage::ALL.into_iter().zip(least) {
        let (all, own) = (cost.per_request_us(), cost.per_request_us() - before.per_request_us());
        println!("  {:<10} {own:6.3} us, with those before {all:6.3} us", format!("{stage:?}"));
        before = cost;
    }
    Ok(())
}
