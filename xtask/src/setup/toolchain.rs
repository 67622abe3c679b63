//! The pinned Rust toolchain and the components that both sides need.

use std::env;
use std::fs;
use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::shell;

/// Components and the file that shows each is there, relative to the sysroot.
const COMPONENTS: &[(&str, &str)] = &[
    ("rust-src", "lib/rustlib/src/rust/library/core/Cargo.toml"),
    ("rustfmt", "bin/rustfmt"),
    ("clippy", "bin/cargo-clippy"),
];

/// The toolchain that `rustc` is here.
pub(super) struct Toolchain {
    /// What rustup calls it.
    pub(super) name: String,
    /// The major version of the LLVM inside rustc.
    pub(super) llvm_major: u32,
    sysroot: PathBuf,
}

impl Toolchain {
    /// Asks rustc.
    ///
    /// # Errors
    /// When rustc is not the one that `rust-toolchain.toml` pins.
    pub(super) fn active() -> Result<Self> {
        let version = shell::output(Command::new("rustc").arg("-vV").current_dir(shell::root()))?;
        let field = |key: &str| version.lines().find_map(|line| line.strip_prefix(key)).map(str::trim);
        let release = field("release:").context("`rustc -vV` names no release")?;
        let pinned = pinned()?;
        if release != pinned {
            let hint = if env::var_os("RUSTUP_TOOLCHAIN").is_some() { "; unset RUSTUP_TOOLCHAIN" } else { "" };
            bail!(
                "rustc here is {release}, both sides are built with {pinned} (rust-toolchain.toml, taken up by rustup){hint}"
            );
        }
        let llvm = field("LLVM version:").context("`rustc -vV` names no LLVM")?;
        let llvm_major = llvm.split('.').next().and_then(|major| major.parse().ok());
        let sysroot = shell::output(Command::new("rustc").args(["--print", "sysroot"]).current_dir(shell::root()))?;
        Ok(Self {
            name: env::var("RUSTUP_TOOLCHAIN").unwrap_or(pinned),
            llvm_major: llvm_major.with_context(|| format!("odd LLVM version {llvm:?}"))?,
            sysroot: PathBuf::from(sysroot.trim_end()),
        })
    }

    pub(super) fn missing_components(&self) -> Vec<&'static str> {
        COMPONENTS.iter().filter(|(_, file)| !self.sysroot.join(file).exists()).map(|(name, _)| *name).collect()
    }

    pub(super) fn add_components(&self, components: &[&str]) -> Result<()> {
        if components.is_empty() {
            return Ok(());
        }
        if shell::which("rustup").is_none() {
            bail!("{} of Rust {} is missing and there is no rustup to add it", components.join(", "), self.name);
        }
        shell::say(format_args!("adding {} to Rust {}", components.join(", "), self.name));
        shell::run(Command::new("rustup").args(["component", "add", "--toolchain", &self.name]).args(components))
    }
}

/// The release that `rust-toolchain.toml` names.
fn pinned() -> Result<String> {
    let file = shell::root().join("rust-toolchain.toml");
    let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
    let channel = text.lines().find_map(|line| line.trim().strip_prefix("channel")?.trim().strip_prefix('='));
    Ok(channel.with_context(|| format!("no channel in {}", file.display()))?.trim().trim_matches('"').to_owned())
}
