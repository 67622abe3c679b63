//! The programs that validate: ours in `deploy/validate`, made of the libraries of Helm, Kustomize and kubeconform, and
//! Prometheus' own promtool.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context as _, Result, bail};

use crate::setup::apt;
use crate::shell;

/// The release whose schemas are used.
pub const KUBERNETES: &str = "1.33.4";

/// The Go that `deploy/validate/go.mod` asks for, as Go's own modules offer it.
const TOOLCHAIN: &str = "golang.org/toolchain@v0.0.1-go1.26.0.linux-amd64";
/// The first Go that fetches another one by itself: 1.21.
const SELF_HELPING: u32 = 21;

/// Where the programs are.
pub struct Tools {
    folder: PathBuf,
    go: PathBuf,
}

impl Tools {
    /// Builds our program; a second or so when nothing has changed.
    pub fn ensure() -> Result<Self> {
        let tools = Self { folder: shell::target_dir().join("tools"), go: go()? };
        fs::create_dir_all(&tools.folder).with_context(|| format!("cannot make {}", tools.folder.display()))?;
        if !shell::is_executable(&tools.validate_path()) {
            shell::say("building deploy/validate, once: a minute or two");
        }
        let mut build = tools.go();
        build.args(["build", "-trimpath", "-ldflags=-s -w", "-o"]).arg(tools.validate_path()).arg(".");
        shell::output(build.env("CGO_ENABLED", "0"))?;
        Ok(tools)
    }

    fn go(&self) -> Command {
        let mut command = Command::new(&self.go);
        command.current_dir(shell::root().join("deploy/validate")).env("GOWORK", "off");
        command
    }

    fn validate_path(&self) -> PathBuf {
        self.folder.join("validate-deploy")
    }

    /// Our program with one of its verbs.
    pub fn validate(&self, verb: &str) -> Command {
        let mut command = Command::new(self.validate_path());
        command.arg(verb);
        command
    }

    /// Where Kubernetes' schemas are, once they are there.
    pub fn schemas(&self) -> Result<PathBuf> {
        let folder = self.folder.join(format!("kubernetes-schemas-{KUBERNETES}"));
        if !folder.join("_definitions.json").exists() {
            // Kubernetes publishes its schemas within its Go module.
            shell::say(format_args!("fetching the schemas of Kubernetes {KUBERNETES}, once"));
            let module = format!("k8s.io/kubernetes@v{KUBERNETES}");
            let source = download(&self.go, &module)?;
            let swagger = source.join("api/openapi-spec/swagger.json");
            shell::run(self.validate("schemas").arg(swagger).arg(&folder))?;
        }
        Ok(folder)
    }

    /// Prometheus' checker: the one on PATH, else Debian's, unpacked and not installed: nobody asked for a server.
    pub fn promtool(&self) -> Result<PathBuf> {
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

/// A Go that can build ours. An older one, as Debian 12 has, fetches a newer one when it is told to.
fn go() -> Result<PathBuf> {
    let Some(found) = shell::which("go") else {
        bail!("this needs Go: the Debian package golang-go, or https://go.dev/dl")
    };
    let version = shell::output(Command::new(&found).arg("version"))?;
    let minor = version.split("go1.").nth(1).and_then(|rest| rest.split(['.', ' ']).next()?.parse::<u32>().ok());
    if minor.is_none_or(|minor| minor >= SELF_HELPING) {
        return Ok(found);
    }
    let folder = download(&found, TOOLCHAIN)?;
    // A module's files are never executable.
    for programs in ["bin", "pkg/tool/linux_amd64"] {
        for program in fs::read_dir(folder.join(programs)).with_context(|| format!("{TOOLCHAIN} has no {programs}"))? {
            let program = program?.path();
            fs::set_permissions(&program, fs::Permissions::from_mode(0o755))
                .with_context(|| format!("cannot make {} executable", program.display()))?;
        }
    }
    Ok(folder.join("bin/go"))
}

/// Fetches a module; gives the folder that it is in.
fn download(go: &Path, module: &str) -> Result<PathBuf> {
    let said = shell::output(Command::new(go).args(["mod", "download", "-json", module]).current_dir("/"))?;
    let folder = said.lines().find_map(|line| line.trim().strip_prefix("\"Dir\": \"")?.strip_suffix("\","));
    Ok(folder.with_context(|| format!("go did not say where {module} is:\n{said}"))?.into())
}
