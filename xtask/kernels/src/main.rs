//! `cargo xtask kernels`: the agent on other kernels than this machine's, each emulated by QEMU with Debian's package of it.
//!
//! A guest has programs talk while the agent watches (`kernels/init.sh`) and tells what came of it; here that is held
//! against what was sent (`kernels/scenario.rs`). Nothing of a guest's traffic leaves it. Not part of `cargo xtask test`:
//! the kernels are large, and emulation takes its time.

mod debian;
mod guest;
mod machine;
mod report;
mod scenario;
mod storm;
mod transcript;
mod verdict;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use clap::Parser;

use debian::Offer;
use machine::Machine;
use transcript::Transcript;
use verdict::Release;
use xtask::{build, exit_code, setup, shell};

#[derive(Parser)]
#[command(name = "cargo xtask kernels", bin_name = "cargo xtask kernels")]
#[command(about = "Run the agent on other kernels, emulated, and assert that all that was sent was seen")]
struct Args {
    /// Kernels by the beginning of their version (5.10, 6.12.95); all that Debian has packages of if none is given
    versions: Vec<String>,
    /// The agent's binary; the release build if not given
    #[arg(long, value_name = "FILE")]
    agent: Option<PathBuf>,
    /// Only say which kernels there are
    #[arg(long)]
    list: bool,
    /// Longest that a guest may take, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    limit: u64,
    /// Instead, compare so many records of TLS with what threads have sent, where programs of uprobes are preempted
    #[arg(long, value_name = "RECORDS")]
    storm: Option<u64>,
}

fn main() -> ExitCode {
    exit_code(try_kernels(&Args::parse()))
}

fn try_kernels(args: &Args) -> Result<()> {
    let started = Instant::now();
    setup::ensure_programs(setup::packages::KERNELS)?;
    let debian = debian::Debian::ask()?;
    let offers = debian::chosen(debian.offers()?, &args.versions)?;
    if args.list {
        for offer in &offers {
            println!("{}  {}", offer.version, offer.package);
        }
        return Ok(());
    }
    if let Some(records) = args.storm {
        return storm_on(&debian, &offers, records, Duration::from_secs(args.limit));
    }
    let agent = match &args.agent {
        Some(file) => file.clone(),
        None => {
            setup::ensure()?;
            build::agent()?;
            shell::agent_binary()
        }
    };
    let initrd = guest::make(&agent)?;
    let mut rows = vec![report::head()];
    let mut wrong = Vec::new();
    for offer in &offers {
        let kernel = debian.kernel(offer)?;
        shell::say(format_args!("starting {} under QEMU", offer.package));
        let machine = Machine { kernel: &kernel, initrd: &initrd, told: "", limit: Duration::from_secs(args.limit) };
        match on(&machine, offer) {
            Ok(transcript) => {
                report::print_check(&transcript);
                rows.extend(report::rows(&transcript));
                wrong.extend(
                    verdict::complaints(&transcript).into_iter().map(|what| format!("{}: {what}", offer.package)),
                );
            }
            Err(error) => wrong.push(format!("{}: {error:#}", offer.package)),
        }
    }
    println!("{}", report::table(&rows));
    let seconds = started.elapsed().as_secs();
    if !wrong.is_empty() {
        bail!("{} wrong:\n    {}\n({seconds} s)", wrong.len(), wrong.join("\n    "));
    }
    shell::say(format_args!("everything was seen on {} kernels; {seconds} s", offers.len()));
    Ok(())
}

/// `--storm`.
fn storm_on(debian: &debian::Debian, offers: &[Offer], records: u64, limit: Duration) -> Result<()> {
    setup::ensure()?;
    let initrd = storm::make(records)?;
    for offer in offers {
        let kernel = debian.kernel(offer)?;
        shell::say(format_args!("starting {} under QEMU with {}", offer.package, storm::TOLD));
        let machine = Machine { kernel: &kernel, initrd: &initrd, told: storm::TOLD, limit };
        shell::say(format_args!("{}", storm::run(&machine).with_context(|| offer.package.clone())?));
    }
    Ok(())
}

/// Runs a guest to its end. One that does not reach it is started a second time: under emulation, kernels are known to
/// hang or to panic while they boot. One in which the agent was at work by then is not.
fn on(machine: &Machine<'_>, offer: &Offer) -> Result<Transcript> {
    let first = match machine.run().and_then(|ended| Transcript::read(&ended)) {
        Ok(transcript) => return Ok(transcript),
        Err(error) => error,
    };
    if first.downcast_ref::<transcript::Unfinished>().is_none_or(|unfinished| unfinished.agent_was_started) {
        return Err(first);
    }
    shell::say(format_args!("{}: {first:#}; once more", offer.package));
    Transcript::read(&machine.run()?)
}

/// A kernel's release as `major.minor`, of a version or of what `uname -r` says.
fn release(version: &str) -> Option<Release> {
    let mut parts = version.split(['.', '-', '+', '~']);
    Some((parts.next()?.parse().ok()?, parts.next()?.parse().ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_numbers() {
        assert_eq!(release("5.10.262-1"), Some((5, 10)));
        assert_eq!(release("6.12.107+deb13-amd64"), Some((6, 12)));
        assert_eq!(release("6.1-rc7"), Some((6, 1)));
        assert_eq!(release("7"), None);
        assert_eq!(release("next-20260101"), None);
    }
}
