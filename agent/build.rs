//! Builds the kernel side, so that `cargo build` alone makes a single file with the BPF programs inside.
//!
//! Not by `aya-build`: it does not let one choose the instruction set. Its first version, the default, has no 32-bit
//! arithmetic, for which the compiler makes up with shifts that both the processor and the verifier pay for.

use std::{
    env,
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context, bail};

/// Known to every kernel that has what the programs need (`v3` is from 5.1).
const INSTRUCTION_SET: &str = "v3";
const TARGET: &str = "bpfel-unknown-none";

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    for source in ["ebpf-probes", "ebpf-common"] {
        println!("cargo:rerun-if-changed={}", root.join(source).display());
    }
    println!("cargo:rerun-if-env-changed=PATH");
    let out = PathBuf::from(env::var_os("OUT_DIR").context("OUT_DIR is not set; this is cargo's build script")?);
    let arch = env::var("CARGO_CFG_TARGET_ARCH").context("CARGO_CFG_TARGET_ARCH is not set")?;
    if arch != "x86_64" {
        bail!("the kernel side reads registers as x86-64 has them; {arch} is not supported yet");
    }

    // bpf-linker may have been installed into the target folder.
    let tools = root.join("target/tools/bin");
    let path =
        env::join_paths(std::iter::once(tools).chain(env::split_paths(&env::var_os("PATH").unwrap_or_default())))?;
    // A target folder of its own: cargo holds the lock of the usual one while it runs this.
    let target_dir = out.join("kernel-side");
    let flags = [
        format!("--cfg=bpf_target_arch=\"{arch}\""),
        format!("-Ctarget-cpu={INSTRUCTION_SET}"),
        "-Cdebuginfo=2".to_owned(),
        "-Clink-arg=--btf".to_owned(),
    ];
    let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| OsString::from("cargo")));
    cargo
        .current_dir(root.join("ebpf-probes"))
        .args(["build", "--release", "--package", "ebpf-probes", "--bin", "probes", "--target", TARGET])
        // On the pinned toolchain: no second one is needed.
        .args(["-Z", "build-std=core"])
        .env("RUSTC_BOOTSTRAP", "1")
        .env("CARGO_ENCODED_RUSTFLAGS", flags.join("\u{1f}"))
        .env("PATH", path)
        .arg("--target-dir")
        .arg(&target_dir);
    // Cargo sets these for the host's build; the kernel side has its own. Compiled in parts, it would take the verifier eight times the
    // steps.
    for name in [
        "RUSTC",
        "RUSTC_WRAPPER",
        "RUSTC_WORKSPACE_WRAPPER",
        "CARGO_BUILD_TARGET",
        "CARGO_INCREMENTAL",
        "CARGO_TARGET_DIR",
        "RUSTFLAGS",
    ] {
        cargo.env_remove(name);
    }
    let output = cargo.output().context("cannot run cargo for the kernel side")?;
    if !output.status.success() {
        bail!(
            "the kernel side does not build; `cargo xtask setup` installs what it needs (rust-src, bpf-linker)\n{}",
            String::from_utf8_lossy(&output.stderr)
        );
    }
    std::fs::copy(target_dir.join(TARGET).join("release/probes"), out.join("probes"))
        .context("cannot find the built kernel side")?;
    Ok(())
}
