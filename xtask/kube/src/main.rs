//! `cargo xtask kube`: the manifests and the chart on a real cluster, under a sample of every kind of workload.
//!
//! Any cluster of one node that `KUBECONFIG` leads to will do, with a command that gives it an image made of a folder.

mod cluster;
mod expected;
mod image;
mod scenario;
mod spans;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Result, bail};
use clap::Parser;

use cluster::Cluster;
use xtask::{build, exit_code, setup, shell};

#[derive(Parser)]
#[command(name = "cargo xtask kube", bin_name = "cargo xtask kube")]
#[command(about = "Try the manifests and the chart on a real cluster (needs KUBECONFIG, kubectl and Go)")]
struct Args {
    /// Command that makes an image and gives it to the cluster: it is called with NAME, FOLDER and the entry point
    #[arg(long, env = "KUBE_IMAGE_IMPORT", value_name = "COMMAND")]
    image_import: String,
    /// Command that stops the API server; without it the agent is not tried without one
    #[arg(long, env = "KUBE_API_STOP", value_name = "COMMAND", requires = "api_start")]
    api_stop: Option<String>,
    /// Command that starts the API server again
    #[arg(long, env = "KUBE_API_START", value_name = "COMMAND")]
    api_start: Option<String>,
    /// The agent's binary, static or not; the release build if not given
    #[arg(long, value_name = "FILE")]
    agent: Option<std::path::PathBuf>,
    /// Only these ways to install the agent
    #[arg(long, value_enum, value_delimiter = ',', default_values_t = Variant::ALL)]
    only: Vec<Variant>,
    /// Leave everything in the cluster at the end
    #[arg(long)]
    keep: bool,
}

/// A way to install the agent.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Variant {
    /// `deploy/kubernetes/base`: four capabilities
    Base,
    /// `deploy/kubernetes/privileged`
    Privileged,
    /// `deploy/helm/beyla-rs`, as it comes
    Chart,
}

impl Variant {
    const ALL: [Self; 3] = [Self::Base, Self::Privileged, Self::Chart];
}

fn main() -> ExitCode {
    exit_code(try_cluster(&Args::parse()))
}

fn try_cluster(args: &Args) -> Result<()> {
    let started = Instant::now();
    let agent = match &args.agent {
        Some(file) => file.clone(),
        None => {
            setup::ensure()?;
            build::agent()?;
            shell::agent_binary()
        }
    };
    let cluster = Cluster::connect()?;
    image::agent(&agent, &args.image_import)?;
    image::sample(&args.image_import)?;
    let done = scenario::run_all(&cluster, args);
    if !args.keep {
        cluster.clean_up();
    }
    let failures = done?;
    let seconds = started.elapsed().as_secs();
    if !failures.is_empty() {
        bail!("{} wrong:\n    {}\n({seconds} s)", failures.len(), failures.join("\n    "));
    }
    shell::say(format_args!("everything is as it should be; {seconds} s"));
    Ok(())
}
