//! `cargo xtask VERB`: what a person or CI does with this repository. One file per verb.

mod bench;
mod build;
mod demo;
mod fuzz;
mod kernels;
mod kube;
mod lint;
mod run;
mod setup;
mod shell;
mod test;
mod tidy;
mod torture;
mod validate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};

#[derive(Parser)]
#[command(
    name = "cargo xtask",
    bin_name = "cargo xtask",
    about = "Set-up, build, lint, tests and benchmarks of beyla-rs"
)]
struct Cli {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what the build needs and this machine lacks
    Setup(setup::Args),
    /// Build the release binary (set-up included)
    Build,
    /// Build and start the agent: `cargo xtask run -- --pid 1234`
    Run(run::Args),
    /// Lint, then run every test
    Test(test::Args),
    /// Formatting, clippy with warnings as errors on both sides, and the repository's own rules
    Lint,
    /// Watch a small shop of services under traffic
    Demo(demo::Args),
    /// Measure what the agent costs a server, and what it sees
    Bench(bench::Args),
    /// Random traffic under random conditions: nothing wrong, nothing missing but what was counted as lost
    Torture(torture::Args),
    /// Feed the parsers hostile bytes for a while
    Fuzz(fuzz::Args),
    /// Check what is in `deploy/` with the programs that it is for (needs Go)
    Validate,
    /// Try the manifests and the chart on a real cluster (needs KUBECONFIG, kubectl and Go)
    Kube(kube::Args),
    /// Run the agent on other kernels, emulated, and assert that all that was sent was seen
    Kernels(kernels::Args),
    /// Receive OTLP over HTTP and count what arrives (the other end of `bench`)
    #[command(hide = true)]
    OtlpSink(bench::sink::Args),
    /// Serve itself requests that make many series (what `bench scrape` watches)
    #[command(hide = true)]
    ManySeries,
}

fn main() -> ExitCode {
    let done = match Cli::parse().verb {
        Verb::Setup(args) => setup::main(&args),
        Verb::Build => build::main(),
        Verb::Run(args) => run::main(&args),
        Verb::Test(args) => test::main(&args),
        Verb::Lint => lint::main(),
        Verb::Demo(args) => demo::main(&args),
        Verb::Bench(args) => bench::main(&args),
        Verb::Torture(args) => torture::main(&args),
        Verb::Fuzz(args) => fuzz::main(&args),
        Verb::Validate => validate::main(),
        Verb::Kube(args) => kube::main(&args),
        Verb::Kernels(args) => kernels::main(&args),
        Verb::OtlpSink(args) => bench::sink::main(&args),
        Verb::ManySeries => bench::scrape::talk(),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("xtask: {error:#}");
            error.downcast_ref::<shell::NotPermitted>().map_or(ExitCode::FAILURE, |_| ExitCode::from(3))
        }
    }
}
