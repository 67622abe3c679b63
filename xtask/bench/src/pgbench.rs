//! PostgreSQL, asked by its own benchmark what `pgbench -S` asks: one row by its key, a process of the server for each connection.

use std::fs;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};

use super::procfs;
use super::scenario::{Bars, LOAD_CORE, Load, SERVER_CORE, Scenario, Server};
use xtask::child::{self, Running};
use xtask::http;

pub(crate) const SELECT: Scenario = Scenario {
    name: "pgbench",
    title: "PostgreSQL, pgbench -S, 8 connections, every statement traced, OTLP on",
    start: |folder| Ok(Box::new(Postgres::start(folder)?)),
    uses_uprobes: false,
    bars: Bars::of(1.0, 3.0),
};

/// Who the server runs as: it refuses to as root.
const USER: &str = "postgres";
/// The statement of `pgbench -S`, given as a script: the built-in one asks the server about its tables first.
const SCRIPT: &str = "\\set aid random(1, 100000)\nSELECT abalance FROM pgbench_accounts WHERE aid = :aid;\n";

struct Postgres {
    running: Running,
    port: u16,
    script: PathBuf,
    /// Processes that it has without connections.
    idle: usize,
}

impl Postgres {
    fn start(folder: &Path) -> Result<Self> {
        let address = http::free_address()?;
        let port = address.port();
        let files = folder.join("postgresql");
        fs::create_dir(&files)?;
        chown(&files, Some(id("-u")?), Some(id("-g")?))?;
        let script = folder.join("select.sql");
        fs::write(&script, SCRIPT)?;
        let data = files.join("data");
        let mut init = as_user(None, "initdb")?;
        init.args(["--no-sync", "--auth=trust", "--locale=C", "--pgdata"]).arg(&data);
        run(init.current_dir(&files))?;
        let mut command = as_user(Some(SERVER_CORE), "postgres")?;
        command.current_dir(&files).arg("-D").arg(&data).args(["-p", &port.to_string()]);
        for setting in [
            "listen_addresses=127.0.0.1",
            "unix_socket_directories=",
            "fsync=off",
            "autovacuum=off",
            "jit=off",
            "max_parallel_workers=0",
        ] {
            command.args(["-c", setting]);
        }
        let mut running = Running::start("postgres", command.stdout(Stdio::null()).stderr(Stdio::null()))?;
        let is_ready =
            || Command::new(program("pg_isready").ok()?).args(of(port)).output().ok()?.status.success().then_some(());
        running.wait_until(Duration::from_secs(20), is_ready)?;
        run(Command::new(program("pgbench")?).args(of(port)).args(["-i", "-q", "-s", "1"]))?;
        let mut server = Self { running, port, script, idle: 0 };
        server.idle = server.settled()?;
        Ok(server)
    }

    /// How many processes it has, once that does not change any more: those of connections end by themselves.
    fn settled(&mut self) -> Result<usize> {
        let pid = self.running.pid();
        let (mut before, mut same) = (usize::MAX, 0);
        self.running.wait_until(Duration::from_secs(10), || {
            let now = children(pid).ok()?;
            same = if now == before { same + 1 } else { 0 };
            before = now;
            (same >= 3).then_some(())
        })?;
        Ok(before)
    }
}

impl Server for Postgres {
    fn watched(&self) -> u32 {
        self.running.pid()
    }

    fn worker(&self) -> u32 {
        self.running.pid()
    }

    /// That of the processes of connections counts as their parent's once they have ended.
    fn cpu_ns(&mut self) -> Result<u64> {
        let pid = self.running.pid();
        let idle = self.idle;
        self.running.wait_until(Duration::from_secs(10), || (children(pid).ok()? <= idle).then_some(()))?;
        procfs::cpu_ns_with_ended_children(pid)
    }

    fn load(&self, load: Load, length: Duration) -> Command {
        let mut command = child::command(program("pgbench").unwrap_or_else(|_| "pgbench".into()), Some(LOAD_CORE));
        command.args(of(self.port)).args(["-n", "-c", "8", "-j", "1", "-T", &length.as_secs().to_string(), "-f"]);
        command.arg(&self.script);
        if let Load::PerSecond(rate) = load {
            command.args(["-R", &rate.to_string()]);
        }
        command
    }

    /// The benchmark counts its statements exactly; asking the server would be one more.
    fn served(&mut self) -> Result<Option<u64>> {
        Ok(None)
    }

    fn running(&mut self) -> &mut Running {
        &mut self.running
    }
}

/// Processes that a process has started, and that have not ended.
fn children(pid: u32) -> Result<usize> {
    Ok(fs::read_to_string(format!("/proc/{pid}/task/{pid}/children"))?.split_whitespace().count())
}

/// How clients find it.
fn of(port: u16) -> [String; 8] {
    ["-h", "127.0.0.1", "-p", &port.to_string(), "-U", USER, "-d", "postgres"].map(str::to_owned)
}

/// A program of the newest release here.
fn program(name: &str) -> Result<PathBuf> {
    let releases = fs::read_dir("/usr/lib/postgresql").context("no /usr/lib/postgresql")?.flatten();
    let newest = releases.map(|entry| entry.path().join("bin").join(name)).filter(|path| path.is_file()).max();
    newest.with_context(|| format!("no {name} in /usr/lib/postgresql"))
}

fn id(option: &str) -> Result<u32> {
    let said = Command::new("id").args([option, USER]).output()?;
    String::from_utf8_lossy(&said.stdout).trim().parse().with_context(|| format!("no user {USER}"))
}

/// A command that runs as that user, and ends with this one.
fn as_user(core: Option<u32>, name: &str) -> Result<Command> {
    let mut command = child::command("setpriv", core);
    command.args(["--reuid", USER, "--regid", USER, "--clear-groups", "--"]);
    // Another user has the signal to be set again.
    command.args(["setpriv", "--pdeathsig", "TERM", "--"]).arg(program(name)?);
    Ok(command)
}

fn run(command: &mut Command) -> Result<()> {
    let said = command.output().with_context(|| format!("cannot run {command:?}"))?;
    if !said.status.success() {
        bail!("{command:?}: {}\n{}", said.status, String::from_utf8_lossy(&said.stderr));
    }
    Ok(())
}
