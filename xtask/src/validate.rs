//! `cargo xtask validate`: what stands in `deploy/` is what Kubernetes, Helm, Prometheus, Compose and systemd take.

mod grants;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail, ensure};

use xtask::deploy_tools::{KUBERNETES, Tools};
use xtask::shell;

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
    (
        "own",
        &[
            "image.digest=sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef",
            "envFrom[0].secretRef.name=otlp",
            "volumes[0].name=certificates",
            "volumes[0].secret.secretName=certificates",
            "volumeMounts[0].name=certificates",
            "volumeMounts[0].mountPath=/certificates",
            "config.print=json",
            "config.listen_tls.certificate=/certificates/tls.crt",
            "config.listen_tls.key=/certificates/tls.key",
            "service.enabled=true",
            "extraObjects[0].apiVersion=v1",
            "extraObjects[0].kind=ConfigMap",
            "extraObjects[0].metadata.name=of-{{ .Release.Name }}",
        ],
    ),
];

/// What the chart must refuse.
const WRONG_VALUES: &[&str] = &["replicas=3", "port=http", "endpoint=collector:4317", "image.digest=latest"];

pub(crate) fn main() -> Result<()> {
    let deploy = shell::root().join("deploy");
    let out = shell::target_dir().join("validate");
    fs::create_dir_all(&out).with_context(|| format!("cannot make {}", out.display()))?;
    grants::check(&deploy)?;
    let tools = Tools::ensure()?;

    shell::say("validate: manifests against Kubernetes' schemas");
    let mut manifests = Vec::new();
    for variant in ["base", "privileged"] {
        let text = shell::output(tools.validate("kustomize").arg(deploy.join("kubernetes").join(variant)))?;
        manifests.push(write(&out, &format!("kubernetes-{variant}.yaml"), &text)?);
    }
    let chart = deploy.join("helm/beyla-rs");
    let mut sums = Vec::new();
    let mut configurations = vec![deploy.join("kubernetes/base/config.yaml"), deploy.join("compose/beyla-rs.yaml")];
    for (name, values) in CHART_VALUES {
        let of_chart = |verb| {
            shell::output(tools.validate(verb).arg(&chart).args([KUBERNETES, "release", "observability"]).args(*values))
        };
        of_chart("lint")?;
        let text = of_chart("template")?;
        sums.push(checksum(&text)?);
        configurations.push(write(&out, &format!("helm-{name}-config.yaml"), &configuration(&text)?)?);
        manifests.push(write(&out, &format!("helm-{name}.yaml"), &text)?);
    }
    for wrong in WRONG_VALUES {
        let mut command = tools.validate("template");
        command.arg(&chart).args([KUBERNETES, "release", "observability"]).arg(wrong);
        ensure!(shell::output(&mut command).is_err(), "the chart took `{wrong}`");
    }
    // The first and the last two have different configurations, so pods of one are no pods of another.
    let [default, privileged, no_account, own] = sums.as_slice() else { bail!("a sum for each way to install") };
    let are_right = default == no_account && default != privileged && default != own && privileged != own;
    ensure!(are_right, "checksum/config does not follow the configuration: {sums:?}");
    let schemas = tools.schemas()?;
    shell::run(tools.validate("manifests").arg(&schemas).args(&manifests))?;
    refuses_a_mistake(&tools, &schemas, &manifests[0], &out)?;

    shell::say("validate: alerts, dashboard, collector, compose file");
    let queries = out.join("dashboard-queries.yaml");
    shell::run(tools.validate("syntax").arg(&deploy).arg(&queries))?;
    prometheus(&tools.promtool()?, &deploy.join("prometheus"), &queries, &out)?;

    unit(&deploy.join("systemd/beyla-rs.service"), &out)?;
    agent_configurations(&configurations)
}

/// A check that cannot fail is none: a field that Kubernetes does not have must be refused.
fn refuses_a_mistake(tools: &Tools, schemas: &Path, manifest: &Path, out: &Path) -> Result<()> {
    let text = fs::read_to_string(manifest)?;
    let wrong = text.replace("hostPID:", "hostPid:");
    ensure!(wrong != text, "{} does not set hostPID", manifest.display());
    let wrong = write(out, "mistake.yaml", &wrong)?;
    let refused = shell::output(tools.validate("manifests").arg(schemas).arg(wrong)).is_err();
    ensure!(refused, "a field was taken that Kubernetes does not have");
    Ok(())
}

/// promtool on everything that is Prometheus'.
fn prometheus(promtool: &Path, folder: &Path, queries: &Path, out: &Path) -> Result<()> {
    let promtool = || Command::new(promtool);
    shell::run(promtool().args(["check", "rules"]).arg(folder.join("alerts.yaml")).arg(queries))?;
    shell::run(promtool().args(["test", "rules"]).arg(folder.join("alerts_test.yaml")))?;
    // Its file of rules is looked for beside it.
    fs::copy(folder.join("alerts.yaml"), out.join("alerts.yaml"))?;
    let config = fs::read_to_string(folder.join("prometheus.yaml"))?;
    let config = write(out, "prometheus.yaml", &without_section(&config, "otlp"))?;
    shell::run(promtool().args(["check", "config"]).arg(config))
}

/// A YAML text without one of its outermost keys: a promtool of before 2.54, as Debian has, does not know `otlp`.
fn without_section(text: &str, key: &str) -> String {
    let mut inside = false;
    let kept = text.lines().filter(|line| {
        inside = line.strip_prefix(key).map_or(inside && line.starts_with([' ', '#']), |rest| rest.starts_with(':'));
        !inside
    });
    kept.map(|line| format!("{line}\n")).collect()
}

/// The agent's configuration within the chart's output.
fn configuration(manifests: &str) -> Result<String> {
    let mut lines = manifests.lines().skip_while(|line| line.trim_end() != "  config.yaml: |").skip(1).peekable();
    ensure!(lines.peek().is_some(), "the chart has no config.yaml");
    let text: Vec<&str> = lines.map_while(|line| line.strip_prefix("    ")).collect();
    Ok(text.join("\n") + "\n")
}

/// What the pods are told of their configuration, so that they are made anew when it changes.
fn checksum(manifests: &str) -> Result<String> {
    let sum = manifests.lines().find_map(|line| line.trim().strip_prefix("checksum/config: "));
    sum.map(str::to_owned).context("the chart's pods have no checksum/config")
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

    #[test]
    fn one_section_is_left_out_and_nothing_else() {
        let text = "a: 1\notlp:\n  x: [1]\n  # of it\n  y: 2\notlp_other: 3\nb:\n  otlp: 4\n";
        assert_eq!(without_section(text, "otlp"), "a: 1\notlp_other: 3\nb:\n  otlp: 4\n");
    }
}
