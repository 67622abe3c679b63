//! Programs that end when we do: stopped when the value is dropped, and by the kernel (`PR_SET_PDEATHSIG`) should we be
//! killed before.

use std::ffi::OsStr;
use std::process::{Child, ChildStdin, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// How long a program may take to end when asked to.
const GRACE: Duration = Duration::from_secs(10);

/// A running program of ours.
pub struct Running {
    child: Child,
    name: String,
}

/// A command that dies with us, tied to a core if one is given. The process is the program itself: what stands before it
/// on the command line replaces itself.
pub fn command(program: impl AsRef<OsStr>, core: Option<u32>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]);
    if let Some(core) = core {
        command.args(["taskset", "-c", &core.to_string()]);
    }
    command.arg(program).stdin(Stdio::null());
    command
}

impl Running {
    /// Starts a program.
    pub fn start(name: &str, command: &mut Command) -> Result<Self> {
        let child = command.spawn().with_context(|| format!("cannot start {name}"))?;
        Ok(Self { child, name: name.to_owned() })
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Its standard input and output, where they are pipes that nobody has taken.
    pub fn pipes(&mut self) -> Option<(ChildStdin, ChildStdout)> {
        Some((self.child.stdin.take()?, self.child.stdout.take()?))
    }

    /// Fails when the program has ended by itself.
    pub fn check(&mut self) -> Result<()> {
        if let Some(status) = self.child.try_wait()? {
            bail!("{} ended by itself: {status}", self.name);
        }
        Ok(())
    }

    /// Calls `ready` until it gives a value.
    ///
    /// # Errors
    /// When the program ends before that or `limit` is over.
    pub fn wait_until<T>(&mut self, limit: Duration, mut ready: impl FnMut() -> Option<T>) -> Result<T> {
        let started = Instant::now();
        loop {
            if let Some(value) = ready() {
                return Ok(value);
            }
            self.check()?;
            if started.elapsed() > limit {
                bail!("{} was not ready within {} s", self.name, limit.as_secs());
            }
            sleep(Duration::from_millis(10));
        }
    }

    /// Waits for the program to end by itself; `None`, and it is ended, if it does not within `limit`.
    pub fn ended_within(mut self, limit: Duration) -> Result<Option<ExitStatus>> {
        let started = Instant::now();
        loop {
            if let Some(status) = self.child.try_wait()? {
                return Ok(Some(status));
            }
            if started.elapsed() > limit {
                return self.end().map(|()| None);
            }
            sleep(Duration::from_millis(50));
        }
    }

    /// Asks the program to end and waits for it.
    pub fn stop(mut self) -> Result<()> {
        self.end()
    }

    fn end(&mut self) -> Result<()> {
        if self.child.try_wait()?.is_some() {
            return Ok(());
        }
        // The shell's own `kill`: signals need no library and no other package.
        Command::new("sh").args(["-c", &format!("kill -TERM {}", self.child.id())]).status()?;
        let asked = Instant::now();
        while self.child.try_wait()?.is_none() {
            if asked.elapsed() > GRACE {
                self.child.kill()?;
                self.child.wait()?;
                bail!("{} did not end within {} s of SIGTERM: killed", self.name, GRACE.as_secs());
            }
            sleep(Duration::from_millis(5));
        }
        Ok(())
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        if let Err(error) = self.end() {
            eprintln!("xtask: {error:#}");
        }
    }
}
