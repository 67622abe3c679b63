//! The Go programs that validate, each in a folder named after its version.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::shell;

/// The release whose schemas are used.
pub(crate) const KUBERNETES: &str = "1.33.4";

/// A program of a Go module.
struct Program {
    name: &'static str,
    /// Import path of its main package.
    package: &'static str,
    version: &'static str,
    /// Build tags.
    tags: &'static str,
}

const PROGRAMS: [Program; 4] = [
    Program {
        name: "kubeconform",
        package: "github.com/yannh/kubeconform/cmd/kubeconform",
        version: "v0.8.0",
        tags: "",
    },
    Program { name: "kustomize", package: "sigs.k8s.io/kustomize/kustomize/v5", version: "v5.7.1", tags: "" },
    Program { name: "helm", package: "helm.sh/helm/v3/cmd/helm", version: "v3.22.0", tags: "" },
    // Without the clouds' service discoveries, which are most of it.
    Program {
        name: "promtool",
        package: "github.com/prometheus/prometheus/cmd/promtool",
        version: "v0.308.1",
        tags: "remove_all_sd",
    },
];

/// Where the programs are.
pub(crate) struct Tools {
    folder: PathBuf,
}

impl Tools {
    /// Whether none has to be built.
    pub(crate) fn are_built() -> bool {
        let tools = Self { folder: shell::target_dir().join("tools") };
        PROGRAMS.iter().all(|program| shell::is_executable(&tools.path(program.name)))
    }

    /// All of them, and the schemas.
    pub(crate) fn ensure() -> Result<Self> {
        let tools = Self::ensure_only(&PROGRAMS.map(|program| program.name))?;
        if !tools.schemas().join("_definitions.json").exists() {
            tools.write_schemas()?;
        }
        Ok(tools)
    }

    /// Some of the programs; builds what is not there yet.
    pub(crate) fn ensure_only(names: &[&str]) -> Result<Self> {
        if shell::which("go").is_none() {
            bail!("this needs Go 1.24 or newer: https://go.dev/dl");
        }
        let tools = Self { folder: shell::target_dir().join("tools") };
        for program in PROGRAMS.iter().filter(|program| names.contains(&program.name)) {
            if !shell::is_executable(&tools.path(program.name)) {
                tools.build(program)?;
            }
        }
        Ok(tools)
    }

    fn path(&self, name: &str) -> PathBuf {
        let version = PROGRAMS.iter().find(|program| program.name == name).map_or("", |program| program.version);
        self.folder.join(format!("{name}-{version}")).join(name)
    }

    /// As the main module's dependency: `go install` refuses modules that exclude or replace others.
    fn build(&self, program: &Program) -> Result<()> {
        let Program { name, package, version, tags } = program;
        shell::say(format_args!("building {name} {version}, once: a minute or some"));
        let folder = self.folder.join(format!("{name}-{version}"));
        fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
        fs::write(folder.join("go.mod"), "module tools\n\ngo 1.24\n")?;
        let go = || go(&folder);
        shell::output(go().args(["get", &format!("{package}@{version}")]))?;
        let flags = ["build", "-trimpath", "-ldflags=-s -w", "-tags", tags, "-o", name];
        shell::output(go().args(flags).arg(package).env("CGO_ENABLED", "0"))?;
        Ok(())
    }

    fn schemas(&self) -> PathBuf {
        self.folder.join(format!("kubernetes-schemas-{KUBERNETES}"))
    }

    /// Kubernetes publishes its schemas within its Go module.
    fn write_schemas(&self) -> Result<()> {
        shell::say(format_args!("fetching the schemas of Kubernetes {KUBERNETES}, once"));
        let ours = shell::root().join("deploy/validate");
        let module = format!("k8s.io/kubernetes@v{KUBERNETES}");
        let said = shell::output(go(&ours).args(["mod", "download", "-json", &module]))?;
        let folder = said
            .lines()
            .find_map(|line| line.trim().strip_prefix("\"Dir\": \"")?.strip_suffix("\","))
            .with_context(|| format!("go did not say where {module} is:\n{said}"))?;
        let swagger = Path::new(folder).join("api/openapi-spec/swagger.json");
        shell::run(go(&ours).args(["run", "./schemas"]).arg(swagger).arg(self.schemas()))
    }

    pub(crate) fn kustomize(&self) -> Command {
        Command::new(self.path("kustomize"))
    }

    pub(crate) fn helm(&self) -> Command {
        let mut command = Command::new(self.path("helm"));
        // Nothing of the user's own: neither plugins nor repositories nor a cluster.
        for (variable, folder) in
            [("HELM_CONFIG_HOME", "config"), ("HELM_CACHE_HOME", "cache"), ("HELM_DATA_HOME", "data")]
        {
            command.env(variable, self.folder.join("helm").join(folder));
        }
        command.env("KUBECONFIG", "/dev/null");
        command
    }

    pub(crate) fn kubeconform(&self) -> Command {
        let schemas = self.schemas().join("{{.ResourceKind}}{{.KindSuffix}}.json");
        let mut command = Command::new(self.path("kubeconform"));
        command.arg("-schema-location").arg(schemas);
        command
    }

    pub(crate) fn promtool(&self) -> Command {
        Command::new(self.path("promtool"))
    }

    /// Checks the other files, and writes the dashboard's queries as rules.
    pub(crate) fn syntax(&self, deploy: &Path, queries: &Path) -> Result<()> {
        shell::run(go(&shell::root().join("deploy/validate")).args(["run", "./syntax"]).arg(deploy).arg(queries))
    }
}

fn go(folder: &Path) -> Command {
    let mut command = Command::new("go");
    command.current_dir(folder).env("GOWORK", "off");
    command
}
