//! Debian and Ubuntu packages.

use std::fs;
use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::shell::{self, NotPermitted};

/// Another that installs at this moment (unattended upgrades, a second of us) is waited for.
pub const WAITING: [&str; 2] = ["-o", "DPkg::Lock::Timeout=600"];

/// A package that is missing.
pub(super) struct Package {
    pub(super) name: String,
    /// What we need of it.
    pub(super) reason: String,
}

impl Package {
    pub(super) fn new(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { name: name.into(), reason: reason.into() }
    }
}

/// Installs packages; asks the mirrors for their lists only when a package is not in the lists that are here.
///
/// # Errors
/// [`NotPermitted`] with the command to run when we are not root.
pub(super) fn install(packages: &[Package]) -> Result<()> {
    if packages.is_empty() {
        return Ok(());
    }
    let names: Vec<&str> = packages.iter().map(|package| package.name.as_str()).collect();
    if shell::which("apt-get").is_none() {
        bail!("missing, and this system has no apt-get to install it with: {} (Debian's names)", names.join(" "));
    }
    if !shell::is_root() {
        let what = format!("installing {}", names.join(" "));
        let command =
            format!("sudo apt-get update && sudo apt-get install -y --no-install-recommends {}", names.join(" "));
        return Err(NotPermitted { what, command }.into());
    }
    for package in packages {
        shell::say(format_args!("installing {} ({})", package.name, package.reason));
    }
    let mut lists_are_new = false;
    if !names.iter().all(|name| is_offered(name)) {
        update()?;
        lists_are_new = true;
    }
    for name in &names {
        if !is_offered(name) {
            bail!("{}", no_such_package(name));
        }
    }
    let _quiet = NoNewServices::new();
    let installed = apt_get().args(["install", "-y", "--no-install-recommends"]).args(&names).status()?;
    if installed.success() {
        return Ok(());
    }
    if lists_are_new {
        bail!("`apt-get install {}` failed", names.join(" "));
    }
    // Old lists name files that the mirrors no longer have.
    update()?;
    shell::run(apt_get().args(["install", "-y", "--no-install-recommends"]).args(&names))
}

/// Unpacks a package into a folder. Nothing is installed, so this needs no root.
///
/// # Errors
/// When the mirrors cannot be reached or have no such package.
pub fn unpack(package: &str, to: &Path) -> Result<()> {
    let parts = to.with_extension("part");
    fs::create_dir_all(&parts).with_context(|| format!("cannot make {}", parts.display()))?;
    let download = || shell::output(apt_get().args(["download", package]).current_dir(&parts));
    if download().is_err() {
        // Old lists name files that the mirrors no longer have.
        if shell::is_root() {
            update()?;
        }
        download().with_context(|| format!("install the Debian package {package}, or run `sudo apt-get update`"))?;
    }
    let files: Vec<_> = fs::read_dir(&parts)?.filter_map(Result::ok).map(|entry| entry.path()).collect();
    let [file] = files.as_slice() else {
        bail!("{} should hold the package {package} and nothing else", parts.display());
    };
    shell::output(Command::new("dpkg-deb").arg("-x").arg(file).arg(to))?;
    fs::remove_dir_all(&parts).with_context(|| format!("cannot remove {}", parts.display()))
}

fn apt_get() -> Command {
    let mut command = Command::new("apt-get");
    command.env("DEBIAN_FRONTEND", "noninteractive").args(["-q", "-o", "Dpkg::Use-Pty=0"]).args(WAITING);
    command
}

fn update() -> Result<()> {
    shell::say("asking for the current package lists (apt-get update)");
    shell::run(apt_get().arg("update"))
}

/// Whether the package lists on this machine have a version of the package to install.
fn is_offered(package: &str) -> bool {
    let policy = shell::output(Command::new("apt-cache").args(["policy", package])).unwrap_or_default();
    policy.lines().filter_map(|line| line.trim().strip_prefix("Candidate:")).any(|version| version.trim() != "(none)")
}

fn no_such_package(name: &str) -> String {
    let Some(major) = name.strip_prefix("llvm-").and_then(|rest| rest.strip_suffix("-dev")) else {
        return format!("apt offers no package {name} here");
    };
    format!(
        "apt offers no {name} here: bpf-linker needs LLVM {major}, the one inside the pinned rustc. Either add the \
         packages of https://apt.llvm.org for LLVM {major} and start again, or set LLVM_PREFIX to where an LLVM {major} is \
         installed, or put a bpf-linker built with LLVM {major} on PATH"
    )
}

/// Keeps packages from starting their services when installed: nobody who runs tests asked for a web server. Debian's
/// packages ask the program `policy-rc.d`; ours says no for as long as we run, and is gone when this value is dropped or,
/// should we be killed before, when it is next asked.
struct NoNewServices(Option<&'static Path>);

impl NoNewServices {
    fn new() -> Self {
        let policy = Path::new("/usr/sbin/policy-rc.d");
        let file = fs::OpenOptions::new().write(true).create_new(true).mode(0o755).open(policy);
        let script = format!("#!/bin/sh\n[ -d /proc/{} ] && exit 101\nrm -f \"$0\"\n", std::process::id());
        let written = file.and_then(|mut file| file.write_all(script.as_bytes()));
        Self(written.is_ok().then_some(policy))
    }
}

impl Drop for NoNewServices {
    fn drop(&mut self) {
        if let Some(policy) = self.0
            && let Err(error) = fs::remove_file(policy)
        {
            shell::say(format_args!(
                "cannot remove {}: {error}; remove it so that packages may start services",
                policy.display()
            ));
        }
    }
}
