//! Images: folders with a program and what it is linked to.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result};

use xtask::shell;

/// As the manifests name it.
pub(super) const AGENT: &str = "localhost/beyla-rs:test";
const SAMPLE: &str = "localhost/beyla-rs-sample:1";

/// The agent's image.
pub(super) fn agent(binary: &Path, import: &str) -> Result<()> {
    let root = empty("agent")?;
    let inside = root.join("usr/bin/beyla-rs");
    copy(binary, &inside)?;
    if let Some(strip) = shell::which("strip") {
        shell::run(Command::new(strip).arg(&inside))?;
    }
    for library in libraries(binary) {
        copy(&library, &root.join(library.strip_prefix("/").unwrap_or(&library)))?;
    }
    give(AGENT, &root, "/usr/bin/beyla-rs", import)
}

/// The sample's image.
pub(super) fn sample(import: &str) -> Result<()> {
    let root = empty("sample")?;
    let source = shell::root().join("xtask/kube/sample");
    let mut go = Command::new(shell::which("go").context("the sample needs Go to be built: https://go.dev/dl")?);
    go.current_dir(source).args(["build", "-trimpath", "-o"]).arg(root.join("sample")).arg(".");
    shell::run(go.env("CGO_ENABLED", "0").env("GOWORK", "off"))?;
    give(SAMPLE, &root, "/sample", import)
}

fn give(name: &str, root: &Path, entry: &str, import: &str) -> Result<()> {
    shell::output(Command::new("sh").args(["-c", &format!("{import} \"$@\""), "sh", name]).arg(root).arg(entry))?;
    shell::say(format_args!("kube: image {name}"));
    Ok(())
}

fn empty(name: &str) -> Result<PathBuf> {
    let root = shell::target_dir().join("kube").join(name);
    if root.exists() {
        fs::remove_dir_all(&root).with_context(|| format!("cannot empty {}", root.display()))?;
    }
    fs::create_dir_all(&root).with_context(|| format!("cannot make {}", root.display()))?;
    Ok(root)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    if let Some(folder) = to.parent() {
        fs::create_dir_all(folder)?;
    }
    fs::copy(from, to).with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))?;
    Ok(())
}

/// What a program is linked to at run time; nothing for a static one.
fn libraries(binary: &Path) -> Vec<PathBuf> {
    let said = shell::output(Command::new("ldd").arg(binary)).unwrap_or_default();
    said.split_whitespace().filter(|word| word.starts_with('/')).map(PathBuf::from).collect()
}
