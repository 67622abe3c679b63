//! Builds the kernel side, so that `cargo build` alone makes a single file with the BPF programs inside.

use std::{env, path::Path};

fn main() -> anyhow::Result<()> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    println!("cargo:rerun-if-changed=../ebpf-common/src");
    println!("cargo:rerun-if-env-changed=PATH");

    // bpf-linker may have been installed into the target folder.
    let tools = root.join("target/tools/bin");
    let path = env::var_os("PATH").unwrap_or_default();
    let path = env::join_paths(std::iter::once(tools).chain(env::split_paths(&path)))?;
    // SAFETY: a build script's main thread is its only one here.
    #[expect(unsafe_code, reason = "aya-build reads these from the environment and offers no other way")]
    unsafe {
        env::set_var("PATH", path);
        // `-Z build-std` on the pinned toolchain, for the BPF target only; no second toolchain is needed.
        env::set_var("RUSTC_BOOTSTRAP", "1");
    }
    let toolchain = env::var("RUSTUP_TOOLCHAIN").unwrap_or_else(|_| "1.95.0".to_owned());
    let root_dir = root.join("ebpf-probes");
    let root_dir = root_dir.to_str().ok_or_else(|| anyhow::anyhow!("{} is not UTF-8", root_dir.display()))?;
    aya_build::build_ebpf(
        [aya_build::Package { name: "ebpf-probes", root_dir, ..Default::default() }],
        aya_build::Toolchain::Custom(&toolchain),
    )
}
