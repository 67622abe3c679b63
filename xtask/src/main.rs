//! `cargo xtask VERB`: what a person or CI does with this repository. One file per verb.

mod demo;
mod deny;
mod fuzz;
mod go_offsets;
mod lint;
mod program;
mod run;
mod test;
mod tidy;
mod torture;
mod validate;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::{build, exit_code, setup};

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
    /// Formatting, clippy with warnings as errors on both sides, the repository's own rules, and what is depended upon
    Lint,
    /// Watch a small shop of services under traffic
    Demo(demo::Args),
    /// Measure what the agent costs a server, and what it sees
    #[command(disable_help_flag = true)]
    Bench(program::Args),
    /// Whether spans hang where they belong, in services of each runtime, whose true trees are known
    #[command(disable_help_flag = true)]
    Parents(program::Args),
    /// Whether what servers' own benchmarks count is what is told, in spans and metrics, at both ends
    #[command(disable_help_flag = true)]
    Counts(program::Args),
    /// Random traffic under random conditions: nothing wrong, nothing missing but what was counted as lost
    Torture(torture::Args),
    /// Feed the parsers hostile bytes for a while
    Fuzz(fuzz::Args),
    /// Write the table of where structures of Go's releases have their members (needs Go)
    GoOffsets(go_offsets::Args),
    /// Check what is in `deploy/` with the programs that it is for (needs Go)
    Validate,
    /// Try the manifests and the chart on a real cluster (needs KUBECONFIG, kubectl and Go)
    #[command(disable_help_flag = true)]
    Kube(program::Args),
    /// Run the agent on other kernels, emulated, and assert that all that was sent was seen
    #[command(disable_help_flag = true)]
    Kernels(program::Args),
}

fn main() -> ExitCode {
    exit_code(match Cli::parse().verb {
        Verb::Setup(args) => setup::main(&args),
        Verb::Build => build::main(),
        Verb::Run(args) => run::main(&args),
        Verb::Test(args) => test::main(&args),
        Verb::Lint => lint::main(),
        Verb::Demo(args) => demo::main(&args),
        Verb::Bench(args) => program::main("bench", &args),
        Verb::Parents(args) => program::main("parents", &args),
        Verb::Counts(args) => program::main("counts", &args),
        Verb::Torture(args) => torture::main(&args),
        Verb::Fuzz(args) => fuzz::main(&args),
        Verb::GoOffsets(args) => go_offsets::main(&args),
        Verb::Validate => validate::main(),
        Verb::Kube(args) => program::main("kube", &args),
        Verb::Kernels(args) => program::main("kernels", &args),
    })
}
