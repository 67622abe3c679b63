//! `cargo xtask validate`: what stands in `deploy/` is what Kubernetes, Helm, Prometheus, Compose and systemd take. The
//! programs that say so are Go modules, built once into the target folder.

mod grants;
pub(crate) mod tools;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, ensure};

use crate::shell;
use tools::{KUBERNETES, Tools};

/// A way to install the chart, and whether it is the one that grants as little as possible.
const CHART_VALUES: &[(&str, &[&str])] = &[
    ("default", &[]),
    (
        "privileged",
        &[
            "privileged=true",
            "endpoint=http://collector:4317",
            "protocol=grpc",
            "clusterName=prod",
            "serviceMonitor.enabled=true",
            "priorityClassName=system-node-critical",
            "imagePullSecrets[0].name=pull",
            "podAnnotations.a=b",
            "podLabels.c=d",
            "env[0].name=OTEL_EXPORTER_OTLP_HEADERS",
            "env[0].value=a=b",
            "config.discovery.instrument[0].k8s_namespace=shop",
        ],
    ),
    ("no-account", &["serviceAccount.create=false", "rbac.create=false"]),
];

/// Whether all that `main` needs is built.
pub(crate) fn is_set_up() -> bool {
    Tools::are_built()
}

pub(crate) fn main() -> Result<()> {
    let deploy = shell::root().join("deploy");
    let out = shell::target_dir().join("validate");
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    grants::check(&deploy)?;
    let tools = Tools::ensure()?;

    shell::say("validate: manifests against Kubernetes' schemas");
    let mut manifests = Vec::new();
    for variant in ["base", "privileged"] {
        let text = shell::output(tools.kustomize().arg("build").arg(deploy.join("kubernetes").join(variant)))?;
        manifests.push(write(&out, &format!("kubernetes-{variant}.yaml"), &text)?);
    }
    let chart = deploy.join("helm/beyla-rs");
    let mut configurations = vec![deploy.join("kubernetes/base/config.yaml"), deploy.join("compose/beyla-rs.yaml")];
    for (name, values) in CHART_VALUES {
        let set: Vec<String> =
            values.iter().map(|value| format!("--set={}", value.replace("=a=b", "=a\\=b"))).collect();
        let common = ["--kube-version", KUBERNETES, "--namespace", "observability"];
        shell::output(tools.helm().args(["lint", "--strict"]).arg(&chart).args(common).args(&set))?;
        let text = shell::output(tools.helm().args(["template", "release"]).arg(&chart).args(common).args(&set))?;
        configurations.push(write(&out, &format!("helm-{name}-config.yaml"), &configuration(&text)?)?);
        manifests.push(write(&out, &format!("helm-{name}.yaml"), &text)?);
    }
    shell::run(tools.kubeconform().args(["-strict", "-summary", "-skip", "ServiceMonitor"]).args(&manifests))?;
    refuses_a_mistake(&tools, &manifests[0], &out)?;

    shell::say("validate: alerts, dashboard, collector, compose file");
    let prometheus = deploy.join("prometheus");
    let queries = out.join("dashboard-queries.yaml");
    tools.syntax(&deploy, &queries)?;
    shell::run(tools.promtool().arg("check").arg("rules").arg(prometheus.join("alerts.yaml")).arg(&queries))?;
    shell::run(tools.promtool().arg("check").arg("config").arg(prometheus.join("prometheus.yaml")))?;
    shell::run(tools.promtool().arg("test").arg("rules").arg(prometheus.join("alerts_test.yaml")))?;

    unit(&deploy.join("systemd/beyla-rs.service"), &out)?;
    agent_configurations(&configurations)
}

/// A check that cannot fail is none: a field that Kubernetes does not have must be refused.
fn refuses_a_mistake(tools: &Tools, manifest: &Path, out: &Path) -> Result<()> {
    let text = fs::read_to_string(manifest)?;
    let wrong = text.replace("hostPID:", "hostPid:");
    ensure!(wrong != text, "{} does not set hostPID", manifest.display());
    let wrong = write(out, "mistake.yaml", &wrong)?;
    let refused = shell::output(tools.kubeconform().arg("-strict").arg(wrong)).is_err();
    ensure!(refused, "kubeconform took a field that Kubernetes does not have");
    Ok(())
}

/// The agent's configuration within the chart's output.
fn configuration(manifests: &str) -> Result<String> {
    let mut lines = manifests.lines().skip_while(|line| line.trim_end() != "  config.yaml: |").skip(1).peekable();
    ensure!(lines.peek().is_some(), "the chart has no config.yaml");
    let text: Vec<&str> = lines.map_while(|line| line.strip_prefix("    ")).collect();
    Ok(text.join("\n") + "\n")
}

fn write(out: &Path, name: &str, text: &str) -> Result<PathBuf> {
    let path = out.join(name);
    fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))?;
    Ok(path)
}

/// The unit, with a program that is there in place of the one that may not be installed here.
fn unit(path: &Path, out: &Path) -> Result<()> {
    let Some(analyze) = shell::which("systemd-analyze") else {
        shell::say("validate: systemd unit left out, there is no systemd-analyze");
        return Ok(());
    };
    shell::say("validate: systemd unit");
    let text = fs::read_to_string(path)?.replace("/usr/local/bin/beyla-rs", "/bin/true");
    let copy = write(out, "beyla-rs.service", &text)?;
    let said = Command::new(analyze).arg("verify").arg(&copy).output().context("cannot start systemd-analyze")?;
    // It says what it does not know on stderr and succeeds all the same.
    let complaints = String::from_utf8_lossy(&said.stderr);
    let ours: Vec<&str> = complaints.lines().filter(|line| line.contains("beyla-rs.service")).collect();
    ensure!(said.status.success() && ours.is_empty(), "systemd-analyze verify: {}", complaints.trim_end());
    Ok(())
}

/// The agent itself says whether it takes the configurations.
fn agent_configurations(files: &[PathBuf]) -> Result<()> {
    let agent = shell::agent_binary();
    if !shell::is_executable(&agent) {
        shell::say("validate: the agent's configurations left out, it is not built (cargo xtask build)");
        return Ok(());
    }
    shell::say("validate: the agent's configurations");
    for file in files {
        shell::output(Command::new(&agent).args(["--strict", "config", "check"]).arg(file))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_configuration_is_cut_out_of_the_charts_output() {
        let text = "kind: ConfigMap\ndata:\n  config.yaml: |\n    a:\n      b: 1\n---\nkind: Service\n";
        assert_eq!(configuration(text).unwrap(), "a:\n  b: 1\n");
        assert!(configuration("kind: Service\n").is_err());
    }
}
