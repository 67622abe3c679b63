//! The cluster, through kubectl.

use std::io::Write as _;
use std::path::Path;
use std::process::{Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail, ensure};

use xtask::shell;

/// Namespaces that the run makes.
const NAMESPACES: &[&str] = &["shop", "observability", "beyla-rs"];

/// A cluster of one node.
pub(super) struct Cluster {
    pub(super) node: String,
}

impl Cluster {
    /// # Errors
    /// When there is none, or when it has something of ours already.
    pub(super) fn connect() -> Result<Self> {
        ensure!(
            std::env::var_os("KUBECONFIG").is_some(),
            "KUBECONFIG is not set: name the cluster to use, not by chance"
        );
        let nodes = kubectl(&["get", "nodes", "-o", "jsonpath={.items[*].metadata.name}"])?;
        let mut names = nodes.split_whitespace();
        let (Some(node), None) = (names.next(), names.next()) else {
            bail!("a cluster of one node is needed, this one has: {nodes}");
        };
        let there = kubectl(&["get", "namespaces", "-o", "jsonpath={.items[*].metadata.name}"])?;
        if let Some(name) = there.split_whitespace().find(|name| NAMESPACES.contains(name)) {
            bail!("the cluster has a namespace {name}, which this would make and delete");
        }
        let version = kubectl(&["version", "-o", "yaml"])?;
        let version = version.lines().filter_map(|line| line.trim().strip_prefix("gitVersion: ")).next_back();
        shell::say(format_args!("kube: node {node}, Kubernetes {}", version.unwrap_or("?")));
        Ok(Self { node: node.to_owned() })
    }

    /// Deletes what the run has made.
    pub(super) fn clean_up(&self) {
        for kind in ["clusterrolebinding", "clusterrole"] {
            let _absent = kubectl(&["delete", kind, "beyla-rs", "--ignore-not-found"]);
        }
        let names: Vec<&str> =
            ["delete", "namespace", "--ignore-not-found"].iter().chain(NAMESPACES).copied().collect();
        if let Err(error) = kubectl(&names) {
            shell::say(format_args!("kube: {error:#}"));
        }
    }
}

/// Runs kubectl and gives what it printed.
pub(super) fn kubectl(args: &[&str]) -> Result<String> {
    shell::output(Command::new("kubectl").args(args))
}

/// `kubectl apply` of a file or, with `-k`, a folder.
pub(super) fn apply(flag: &str, path: &Path) -> Result<()> {
    shell::output(Command::new("kubectl").args(["apply", flag]).arg(path)).map(drop)
}

/// `kubectl apply` of a text.
pub(super) fn apply_text(text: &str) -> Result<()> {
    let mut child = Command::new("kubectl")
        .args(["apply", "-f", "-"])
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .context("cannot start kubectl")?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(text.as_bytes())?;
    }
    let status = child.wait()?;
    ensure!(status.success(), "kubectl apply failed: {status}\n{text}");
    Ok(())
}

/// Waits until everything of a kind with this name is rolled out.
pub(super) fn rolled_out(namespace: &str, what: &str) -> Result<()> {
    kubectl(&["-n", namespace, "rollout", "status", what, "--timeout=120s"]).map(drop)
}

/// Calls `ready` until it gives a value, some times a second.
pub(super) fn wait_for<T>(limit: Duration, mut ready: impl FnMut() -> Result<Option<T>>) -> Result<Option<T>> {
    let started = Instant::now();
    loop {
        if let Some(value) = ready()? {
            return Ok(Some(value));
        }
        if started.elapsed() > limit {
            return Ok(None);
        }
        sleep(Duration::from_millis(200));
    }
}
