//! `bpf-linker`: it reads the bitcode that rustc wrote, so it must hold the same major version of LLVM.

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Result, bail};

use super::toolchain::Toolchain;
use crate::shell;

/// The release that is installed. Newer ones of the same minor version do as well.
pub(super) const VERSION: &str = "0.13.0";
/// LLVM versions that this release can be built against (its features `llvm-N`).
const LLVM_VERSIONS: &[u32] = &[21, 22, 23];

/// Whether a bpf-linker that fits rustc is here.
pub(super) enum State {
    Found(#[expect(dead_code, reason = "for debugging")] PathBuf),
    Missing {
        /// In a few words.
        why: String,
        /// Whether the LLVM to build it against is here.
        llvm_installed: bool,
    },
}

impl State {
    /// Looks where the agent's build script looks: our own tools, PATH, cargo's programs.
    pub(super) fn find(toolchain: &Toolchain) -> Self {
        let mut why = "there is none".to_owned();
        for path in shell::tool("bpf-linker") {
            match reason_against(&path, toolchain.llvm_major) {
                None => return Self::Found(path),
                Some(reason) => why = format!("{} {reason}", path.display()),
            }
        }
        Self::Missing { why, llvm_installed: llvm_prefix(toolchain.llvm_major).is_some() }
    }
}

/// Builds it into the target folder.
pub(super) fn install(toolchain: &Toolchain, why: &str) -> Result<()> {
    let major = toolchain.llvm_major;
    if !LLVM_VERSIONS.contains(&major) {
        bail!("bpf-linker {VERSION} cannot be built against LLVM {major}, which is in the pinned rustc");
    }
    let Some(prefix) = llvm_prefix(major) else {
        bail!("no LLVM {major} in /usr/lib/llvm-{major} nor in LLVM_PREFIX to build bpf-linker against");
    };
    let root = shell::tools();
    shell::say(format_args!(
        "building bpf-linker {VERSION} with LLVM {major} into {} ({why}); this takes a minute, once",
        root.display()
    ));
    let mut command = shell::cargo();
    command
        .args(["install", "bpf-linker", "--version", &format!("={VERSION}"), "--locked", "--force"])
        // Not optimised: what takes its time is LLVM, which is there already.
        .arg("--debug")
        .env("CARGO_PROFILE_DEV_DEBUG", "0")
        .args(["--no-default-features", "--features", &format!("llvm-{major}"), "--root"])
        .arg(root)
        .env("LLVM_PREFIX", prefix);
    shell::run(&mut command)
}

/// Where an LLVM of this major version is installed with what a program is linked against.
fn llvm_prefix(major: u32) -> Option<PathBuf> {
    let asked_for = env::var_os("LLVM_PREFIX").map(PathBuf::from);
    let debians = PathBuf::from(format!("/usr/lib/llvm-{major}"));
    asked_for.into_iter().chain([debians]).find(|prefix| has_llvm(&prefix.join("lib"), major))
}

fn has_llvm(lib: &Path, major: u32) -> bool {
    let Ok(entries) = fs::read_dir(lib) else { return false };
    entries.flatten().any(|entry| {
        let name = entry.file_name();
        // The path that the linker takes, which only the development package has.
        name.to_str().is_some_and(|name| name == format!("libLLVM-{major}.so"))
    })
}

/// Why this bpf-linker does not do, if so.
fn reason_against(path: &Path, llvm_major: u32) -> Option<String> {
    let said = match shell::output(Command::new(path).arg("--version")) {
        Ok(said) => said,
        Err(_) => return Some("does not run".into()),
    };
    let version = said.trim().rsplit(' ').next().unwrap_or_default();
    if minor(version) != minor(VERSION) {
        return Some(format!("is version {version}"));
    }
    // One that has LLVM linked in shows none here; the build will tell.
    let libraries = shell::output(Command::new("ldd").arg(path)).unwrap_or_default();
    let llvm = libraries.lines().find_map(llvm_of_library)?;
    (llvm != llvm_major).then(|| format!("holds LLVM {llvm}, rustc LLVM {llvm_major}"))
}

/// `0.13` of `0.13.2`.
fn minor(version: &str) -> &str {
    version.rsplit_once('.').map_or(version, |(minor, _)| minor)
}

/// The major version in a line of `ldd` that names LLVM: `libLLVM.so.22.1` or, until 18, `libLLVM-17.so.1`.
fn llvm_of_library(line: &str) -> Option<u32> {
    let rest = line.trim().strip_prefix("libLLVM")?;
    let rest = rest.strip_prefix(".so.").or_else(|| rest.strip_prefix('-'))?;
    rest.split(|c: char| !c.is_ascii_digit()).next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_llvm_of_a_linker_is_read_off_its_libraries() {
        assert_eq!(llvm_of_library("\tlibLLVM.so.22.1 => /usr/lib/llvm-22/lib/libLLVM.so.22.1 (0x00007f)"), Some(22));
        assert_eq!(llvm_of_library("\tlibLLVM-17.so.1 => /usr/lib/libLLVM-17.so.1"), Some(17));
        assert_eq!(llvm_of_library("\tlibc.so.6 => /lib/libc.so.6"), None);
    }

    #[test]
    fn patch_releases_of_the_linker_are_equal() {
        assert_eq!(minor("0.13.4"), minor(VERSION));
        assert_ne!(minor("0.14.0"), minor(VERSION));
    }
}
