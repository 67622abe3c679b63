//! The programs that validate: ours in `deploy/validate`, made of the libraries of Helm, Kustomize and kubeconform, and
//! Prometheus' own promtool.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::setup::apt;
use crate::shell;

/// The release whose schemas are used.
pub(crate) const KUBERNETES: &str = "1.33.4";

/// Where the programs are.
pub(crate) struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// Builds our program; a second or so when nothing has changed.
    pub(crate) fn ensure() -> Result<Self> {
        if shell::which("go").is_none() {
            bail!("this needs Go 1.21 or newer, which fetches the Go that go.mod asks for: https://go.dev/dl");
        }
        let tools = Self { folder: shell::target_dir().join("tools") };
        fs::create_dir_all(&tools.folder).with_context(|| format!("cannot make {}", tools.folder.display()))?;
        if !shell::is_executable(&tools.validate_path()) {
            shell::say("building deploy/validate, once: a minute or two");
        }
        let mut build = go();
        build.args(["build", "-trimpath", "-ldflags=-s -w", "-o"]).arg(tools.validate_path()).arg(".");
        shell::output(build.env("CGO_ENABLED", "0"))?;
        Ok(tools)
    }

    fn validate_path(&self) -> PathBuf {
        self.folder.join("validate-deploy")
    }

    /// Our program with one of its verbs.
    pub(crate) fn validate(&self, verb: &str) -> Command {
        let mut command = Command::new(self.validate_path());
        command.arg(verb);
        command
    }

    /// Where Kubernetes' schemas are, once they are there.
    pub(crate) fn schemas(&self) -> Result<PathBuf> {
        let folder = self.folder.join(format!("kubernetes-schemas-{KUBERNETES}"));
        if !folder.join("_definitions.json").exists() {
            // Kubernetes publishes its schemas within its Go module.
            shell::say(format_args!("fetching the schemas of Kubernetes {KUBERNETES}, once"));
            let module = format!("k8s.io/kubernetes@v{KUBERNETES}");
            let said = shell::output(go().args(["mod", "download", "-json", &module]))?;
            let source = said
                .lines()
                .find_map(|line| line.trim().strip_prefix("\"Dir\": \"")?.strip_suffix("\","))
                .with_context(|| format!("go did not say where {module} is:\n{said}"))?;
            let swagger = Path::new(source).join("api/openapi-spec/swagger.json");
            shell::run(self.validate("schemas").arg(swagger).arg(&folder))?;
        }
        Ok(folder)
    }

    /// Prometheus' checker: the one on PATH, else Debian's, unpacked and not installed: nobody asked for a server.
    pub(crate) fn promtool(&self) -> Result<PathBuf> {
        let unpacked = self.folder.join("prometheus");
        let ours = unpacked.join("usr/bin/promtool");
        if let Some(path) = shell::which("promtool") {
            return Ok(path);
        }
        if !shell::is_executable(&ours) {
            shell::say("fetching promtool, once");
            apt::unpack("prometheus", &unpacked).context("promtool is not on PATH")?;
        }
        Ok(ours)
    }
}

fn go() -> Command {
    let mut command = Command::new("go");
    command.current_dir(shell::root().join("deploy/validate")).env("GOWORK", "off");
    command
}
