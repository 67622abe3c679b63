//! Running other programs: where they are, what they said, and who we are.

use std::env;
use std::ffi::OsStr;
use std::fmt;
use std::fs;
use std::io::{IsTerminal as _, stdin};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

use anyhow::{Context as _, Result, bail};

/// Something here needs root. The message holds the command that the user can give instead; xtask exits with 3.
#[derive(Debug)]
pub struct NotPermitted {
    /// What needs root.
    pub what: String,
    /// What to type instead.
    pub command: String,
}

impl fmt::Display for NotPermitted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} needs root; run\n\n    {}\n", self.what, self.command)
    }
}

impl std::error::Error for NotPermitted {}

/// The root of this workspace: where cargo found it when it started us, else where we were built.
pub fn root() -> &'static Path {
    static ROOT: LazyLock<PathBuf> = LazyLock::new(|| {
        let ours = env::var_os("CARGO_MANIFEST_DIR").map_or_else(|| env!("CARGO_MANIFEST_DIR").into(), PathBuf::from);
        let root = ours.ancestors().find(|folder| folder.join("rust-toolchain.toml").is_file());
        root.map_or_else(|| ".".into(), Path::to_path_buf)
    });
    &ROOT
}

/// The folder that cargo builds into.
pub fn target_dir() -> PathBuf {
    env::var_os("CARGO_TARGET_DIR").map_or_else(|| root().join("target"), |dir| root().join(dir))
}

/// The release binary of the agent.
pub fn agent_binary() -> PathBuf {
    target_dir().join("release/beyla-rs")
}

/// What this machine's programs are built for, as cargo names it.
pub fn host_triple() -> String {
    let libc = if cfg!(target_env = "musl") { "musl" } else { "gnu" };
    format!("{}-unknown-linux-{libc}", env::consts::ARCH)
}

/// The cargo that started us, or the one on PATH.
pub fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    // What cargo says of us: build scripts that look at these (ring's) would run again in turns with a plain `cargo build`.
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(|name| name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")) {
            command.env_remove(name);
        }
    }
    command.current_dir(root());
    command
}

/// Tells the user what happens next, in one line.
pub fn say(line: impl fmt::Display) {
    eprintln!("xtask: {line}");
}

/// The command as one could type it.
pub fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program()).file_name().unwrap_or(command.get_program());
    std::iter::once(program).chain(command.get_args()).map(OsStr::to_string_lossy).collect::<Vec<_>>().join(" ")
}

/// Runs a command to its end and fails when it does.
///
/// # Errors
/// When the program cannot be started or does not end with status 0.
pub fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !status.success() {
        bail!("`{}` failed: {status}", shown(command));
    }
    Ok(())
}

/// Runs a command and returns what it wrote to stdout; its stderr is part of the error.
///
/// # Errors
/// When the program cannot be started or does not end with status 0.
pub fn output(command: &mut Command) -> Result<String> {
    let out = command.stdin(Stdio::null()).output().with_context(|| format!("cannot start `{}`", shown(command)))?;
    if !out.status.success() {
        bail!("`{}` failed: {}\n{}", shown(command), out.status, String::from_utf8_lossy(&out.stderr).trim_end());
    }
    Ok(String::from_utf8_lossy(&out.stdout).into_owned())
}

/// Finds a program on PATH or among the system's own (which an ordinary user's PATH may leave out).
pub fn which(program: &str) -> Option<PathBuf> {
    if program.starts_with('/') {
        return Some(PathBuf::from(program)).filter(|file| file.is_file());
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|file| is_executable(file))
}

/// Where tools are installed that the build needs. The agent's build script looks there as well, whatever CARGO_TARGET_DIR says.
pub fn tools() -> PathBuf {
    root().join("target/tools")
}

/// All that there is of such a tool: what was installed there, on PATH, and by cargo.
pub fn tool(name: &str) -> impl Iterator<Item = PathBuf> {
    let cargo_home = env::var_os("CARGO_HOME").map(PathBuf::from);
    let cargo_home = cargo_home.or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let cargos = cargo_home.map(|home| home.join("bin").join(name));
    let found = [Some(tools().join("bin").join(name)), which(name), cargos];
    found.into_iter().flatten().filter(|file| is_executable(file))
}

/// Whether the path is a file that may be executed.
pub fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Whether we are root.
pub fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

/// A `sudo` that keeps our settings, if one is there and could be answered: no password needed, or a terminal to ask on.
pub fn sudo() -> Option<Vec<String>> {
    let sudo = which("sudo")?;
    let asks_nobody =
        || Command::new(&sudo).args(["-n", "true"]).stderr(Stdio::null()).status().is_ok_and(|s| s.success());
    if !stdin().is_terminal() && !asks_nobody() {
        return None;
    }
    let kept: Vec<String> = env::vars_os()
        .filter_map(|(name, _)| name.into_string().ok())
        .filter(|name| {
            ["OTEL_", "BEYLA_", "RUST_"].iter().any(|prefix| name.starts_with(prefix))
                || ["KUBECONFIG", "CI", "PATH"].contains(&name.as_str())
        })
        .collect();
    let mut words = vec![sudo.to_string_lossy().into_owned()];
    if !kept.is_empty() {
        words.push(format!("--preserve-env={}", kept.join(",")));
    }
    Some(words)
}
