//! `cargo xtask demo`: a small shop of three services, a visitor, and the agent that watches them.

use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

use anyhow::{Context as _, Result};

use xtask::child::{self, Running};
use xtask::http;
use xtask::setup::packages;
use xtask::shell::{self, NotPermitted};
use xtask::{build, setup};

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Seconds of traffic; not given: until Ctrl-C
    #[arg(long)]
    seconds: Option<u32>,
    /// Print each request as well
    #[arg(long)]
    print: bool,
    /// More arguments for the agent, as `--endpoint http://127.0.0.1:4317`
    #[arg(last = true)]
    agent: Vec<String>,
}

pub(crate) fn main(args: &Args) -> Result<()> {
    let sudo = if shell::is_root() { Vec::new() } else { ask_for_root()? };
    setup::ensure_with(packages::DEMO)?;
    build::agent()?;

    let catalog = Service::start("catalog", &[])?;
    let payment = Service::start("payment", &[])?;
    let storefront = Service::start("storefront", &[catalog.address, payment.address])?;
    let visitor = start("visitor", &[storefront.address])?;
    let listen = http::free_address()?;
    shell::say(format_args!("a visitor shops at {}; who asks whom is at http://{listen}/", storefront.address));

    let binary = shell::agent_binary();
    let mut command = match sudo.split_first() {
        Some((program, words)) => {
            let mut command = std::process::Command::new(program);
            command.args(words).arg(binary);
            command
        }
        None => child::command(binary, None),
    };
    command.args([
        "run",
        "--print",
        if args.print { "text" } else { "off" },
        "--log-level",
        "warn",
        "--listen",
        &listen.to_string(),
    ]);
    if let Some(seconds) = args.seconds {
        command.args(["--duration", &format!("{seconds}s")]);
    }
    for service in [&catalog, &payment, &storefront] {
        command.args(["--pid", &service.running.pid().to_string()]);
    }
    let watched = shell::run(command.args(&args.agent));
    for running in [visitor, storefront.running, payment.running, catalog.running] {
        running.stop()?;
    }
    watched
}

fn ask_for_root() -> Result<Vec<String>> {
    let command = "sudo env \"PATH=$PATH\" \"HOME=$HOME\" cargo xtask demo".to_owned();
    shell::sudo().ok_or_else(|| NotPermitted { what: "watching other programs".into(), command }.into())
}

/// One of the shop's services.
struct Service {
    running: Running,
    address: SocketAddr,
}

impl Service {
    fn start(name: &str, backends: &[SocketAddr]) -> Result<Self> {
        let address = http::free_address()?;
        let mut running = start(name, &[&[address], backends].concat())?;
        running
            .wait_until(Duration::from_secs(10), || TcpStream::connect(address).ok())
            .with_context(|| format!("the shop's {name} does not listen"))?;
        Ok(Self { running, address })
    }
}

fn start(role: &str, addresses: &[SocketAddr]) -> Result<Running> {
    // Each has a file of its own name, as services of a real shop would.
    let script = shell::target_dir().join("demo").join(role).with_extension("py");
    std::fs::create_dir_all(script.with_file_name("")).context("cannot make a folder for the shop")?;
    std::fs::copy(shell::root().join("xtask/demo/shop.py"), &script)
        .with_context(|| format!("cannot write {}", script.display()))?;
    let python = shell::which("python3").context("no python3")?;
    let mut command = child::command(python, None);
    command.arg(script).arg(role).args(addresses.iter().map(|address| address.port().to_string()));
    Running::start(role, &mut command)
}
