//! `cargo xtask setup`: what the build needs and this machine lacks. Looking costs a few program starts (< 0.3 s); only
//! what is missing is installed, each with a line that says so, and without root the command is named instead.

pub mod apt;
pub mod deny;
mod linker;
pub mod packages;
mod runtimes;
mod toolchain;

use std::path::Path;

use anyhow::{Result, bail};

use crate::shell;

#[derive(clap::Args)]
pub struct Args {
    /// Only say what is missing; exit with 1 if anything is
    #[arg(long)]
    check: bool,
    /// What `cargo xtask lint` needs, too (it installs that by itself as well)
    #[arg(long)]
    lint: bool,
    /// The programs that the tests watch, too
    #[arg(long)]
    tests: bool,
}

/// What is missing on this machine.
struct Plan {
    toolchain: toolchain::Toolchain,
    components: Vec<&'static str>,
    linker: linker::State,
    packages: Vec<apt::Package>,
}

impl Plan {
    /// Looks at the machine. `programs` are wanted besides what the build needs.
    fn of_this_machine(programs: &[packages::Program]) -> Result<Self> {
        let toolchain = toolchain::Toolchain::active()?;
        let components = toolchain.missing_components();
        let linker = linker::State::find(&toolchain);
        let mut packages = Vec::new();
        if shell::which("cc").is_none() {
            packages.push(apt::Package::new("build-essential", "a C compiler and linker"));
        }
        if let linker::State::Missing { llvm_installed: false, .. } = linker {
            let name = format!("llvm-{}-dev", toolchain.llvm_major);
            packages.push(apt::Package::new(name, "rustc's LLVM, to build bpf-linker against"));
        }
        packages.extend(missing(programs));
        Ok(Self { toolchain, components, linker, packages })
    }

    fn missing(&self) -> Vec<String> {
        let components =
            self.components.iter().map(|name| format!("{name}: component of Rust {}", self.toolchain.name));
        let packages = self.packages.iter().map(|package| format!("{}: {}", package.name, package.reason));
        let linker = match &self.linker {
            linker::State::Found(_) => None,
            linker::State::Missing { why, .. } => Some(format!("bpf-linker {}: {why}", linker::VERSION)),
        };
        components.chain(packages).chain(linker).collect()
    }

    fn carry_out(&self) -> Result<()> {
        self.toolchain.add_components(&self.components)?;
        apt::install(&self.packages)?;
        if let linker::State::Missing { why, .. } = &self.linker {
            linker::install(&self.toolchain, why)?;
        }
        Ok(())
    }
}

/// The packages of those programs that are not here.
fn missing(programs: &[packages::Program]) -> Vec<apt::Package> {
    let mut packages: Vec<apt::Package> = Vec::new();
    let is_here =
        |name: &str| if name.starts_with('/') { Path::new(name).exists() } else { shell::which(name).is_some() };
    for program in programs.iter().filter(|program| !is_here(program.name)) {
        if !packages.iter().any(|package| package.name == program.package) {
            packages.push(apt::Package::new(program.package, format!("`{}`, for the tests", program.name)));
        }
    }
    packages
}

pub fn main(args: &Args) -> Result<()> {
    let programs = if args.tests { packages::TESTS } else { &[] };
    let plan = Plan::of_this_machine(programs)?;
    let mut missing = plan.missing();
    if args.lint && deny::find().is_none() {
        missing.push("cargo-deny: for `cargo xtask lint`".to_owned());
    }
    if args.tests {
        missing
            .extend(runtimes::missing().map(|name| format!("target/programs/{name}, made from tests/programs/{name}")));
    }
    if missing.is_empty() {
        shell::say("nothing is missing");
    } else if args.check {
        bail!("missing:\n  {}", missing.join("\n  "));
    } else {
        plan.carry_out()?;
        if args.lint {
            deny::ensure()?;
        }
        if args.tests {
            runtimes::make()?;
        }
        shell::say("set up");
    }
    Ok(())
}

/// Makes this machine able to run the end-to-end tests.
pub fn ensure_for_tests() -> Result<()> {
    ensure_with(packages::TESTS)?;
    runtimes::make()
}

/// Makes this machine able to run all services of `cargo xtask parents`; what builds is not looked at.
pub fn ensure_for_parents() -> Result<()> {
    apt::install(&missing(packages::TESTS).into_iter().chain(missing(packages::PARENTS)).collect::<Vec<_>>())?;
    runtimes::make_all()
}

/// Makes this machine able to run all benchmarks of `cargo xtask counts`; what builds is not looked at.
pub fn ensure_for_counts() -> Result<()> {
    apt::install(&missing(packages::TESTS).into_iter().chain(missing(packages::COUNTS)).collect::<Vec<_>>())?;
    runtimes::make_one("queues/java")?;
    runtimes::make_benchmarks()
}

/// Makes the programs in Go that the tests watch.
pub fn ensure_go() -> Result<()> {
    ensure_with(packages::GO)?;
    runtimes::make_one("go")
}

/// Makes this machine able to lint.
pub fn ensure_for_lint() -> Result<()> {
    ensure()?;
    deny::ensure()
}

/// Makes this machine able to build both sides.
pub fn ensure() -> Result<()> {
    Plan::of_this_machine(&[])?.carry_out()
}

/// Makes this machine able to build both sides and to run what watches `programs`.
pub fn ensure_with(programs: &[packages::Program]) -> Result<()> {
    Plan::of_this_machine(programs)?.carry_out()
}

/// Makes this machine able to start `programs`; what builds is not looked at.
pub fn ensure_programs(programs: &[packages::Program]) -> Result<()> {
    apt::install(&missing(programs))
}
