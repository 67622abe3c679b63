//! Programs that tests start. Each ends with its guard, also when the test panics.

use std::{
    ffi::OsStr,
    io::Write,
    iter,
    net::{Ipv4Addr, TcpListener},
    ops::Range,
    os::unix::process::CommandExt,
    path::Path,
    process::{Child, ChildStdin, Command, ExitStatus, Stdio},
    sync::atomic::{AtomicU32, Ordering},
    time::Instant,
};

use rustix::process::{Pid, Signal, kill_process, kill_process_group};

use crate::{LONG, need, wait::Lines};

/// A running program, in a process group of its own.
pub struct Program {
    name: String,
    child: Child,
    stdin: Option<ChildStdin>,
    /// What it prints.
    pub stdout: Lines,
    /// What it complains of.
    pub stderr: Lines,
}

impl Program {
    /// Starts it.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start(command: &mut Command) -> Self {
        Self::start_with_input(command, Stdio::piped())
    }

    /// Starts it with a standard input of the test's own.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn start_with_input(command: &mut Command, input: impl Into<Stdio>) -> Self {
        let name = command.get_program().to_string_lossy().into_owned();
        command.stdin(input).stdout(Stdio::piped()).stderr(Stdio::piped()).process_group(0);
        let mut child = command.spawn().unwrap_or_else(|error| panic!("cannot start {name}: {error}"));
        let stdout = Lines::collect(child.stdout.take().expect("a pipe"));
        let stderr = Lines::collect(child.stderr.take().expect("a pipe"));
        Self { name, stdin: child.stdin.take(), child, stdout, stderr }
    }

    /// Starts `tests/programs/NAME` with Python.
    #[must_use]
    pub fn python(name: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        Self::start(Command::new(need::python()).arg("-u").arg(need::source(name)).args(arguments))
    }

    /// Starts `tests/programs/NAME` with Node.
    #[must_use]
    pub fn node(name: &str, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        Self::start(Command::new(need::program("node")).arg(need::source(name)).args(arguments))
    }

    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What follows `prefix` in a line it prints to standard output.
    ///
    /// # Panics
    /// If it prints no such line.
    #[must_use]
    pub fn says(&self, prefix: &str) -> String {
        self.says_after(0, prefix)
    }

    /// The same, of its lines from number `from` on.
    ///
    /// # Panics
    /// If it prints no such line.
    #[must_use]
    pub fn says_after(&self, from: usize, prefix: &str) -> String {
        self.stdout.after(from, prefix, LONG).unwrap_or_else(|| {
            let (out, err) = (self.stdout.so_far(), self.stderr.so_far());
            panic!("{} does not print {prefix:?}; stdout: {out:#?}, stderr: {err:#?}", self.name)
        })
    }

    /// The port that it prints after `listening `.
    ///
    /// # Panics
    /// If it prints none.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.says("listening ").trim().parse().expect("a port")
    }

    /// Writes a line to its standard input.
    ///
    /// # Panics
    /// If it does not read any more.
    pub fn tell(&mut self, line: &str) {
        let stdin = self.stdin.as_mut().expect("standard input is open");
        writeln!(stdin, "{line}").and_then(|()| stdin.flush()).unwrap_or_else(|error| panic!("{}: {error}", self.name));
    }

    /// Tells it that no more lines come.
    pub fn tell_no_more(&mut self) {
        self.stdin = None;
    }

    /// Sends it a signal.
    ///
    /// # Panics
    /// If that is not possible.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.raw_pid(), signal).unwrap_or_else(|error| panic!("cannot signal {}: {error}", self.name));
    }

    /// Whether it still runs.
    ///
    /// # Panics
    /// If that cannot be told.
    #[must_use]
    pub fn is_running(&mut self) -> bool {
        self.child.try_wait().expect("a child can be waited for").is_none()
    }

    /// Waits for its end.
    ///
    /// # Panics
    /// If it does not end.
    pub fn wait(&mut self) -> ExitStatus {
        let until = Instant::now() + LONG;
        loop {
            if let Some(status) = self.child.try_wait().expect("a child can be waited for") {
                return status;
            }
            assert!(Instant::now() < until, "{} does not end; stderr: {:#?}", self.name, self.stderr.so_far());
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }

    fn raw_pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        // Its children too: a server's workers. What has ended already is no failure.
        let _gone = kill_process_group(self.raw_pid(), Signal::KILL);
        let _gone = self.child.kill();
        let _gone = self.child.wait();
    }
}

/// A port that is free now, for programs that cannot choose one by themselves. Each is given once, and none is of those
/// that the kernel hands out: it might, before the program has it.
///
/// # Panics
/// If there is none.
#[must_use]
pub fn free_port() -> u16 {
    const PORTS: Range<u32> = 10_000..32_000;
    const PROGRAMS_APART: u32 = 101;
    static GIVEN: AtomicU32 = AtomicU32::new(0);
    let first = std::process::id().wrapping_mul(PROGRAMS_APART);
    let ports = || {
        let at = first.wrapping_add(GIVEN.fetch_add(1, Ordering::Relaxed)) % PORTS.len() as u32;
        u16::try_from(PORTS.start + at).ok()
    };
    iter::from_fn(ports)
        .take(PORTS.len())
        .find(|&port| TcpListener::bind((Ipv4Addr::LOCALHOST, port)).is_ok())
        .expect("a free port")
}

/// A folder for a test's files, readable for everybody: servers drop their privileges.
///
/// # Panics
/// If it cannot be made.
#[must_use]
pub fn folder() -> tempfile::TempDir {
    use std::os::unix::fs::PermissionsExt;
    let folder = tempfile::Builder::new().prefix("beyla-rs-test-").tempdir().expect("a temporary folder");
    let open = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(folder.path(), open).expect("the folder can be opened to all");
    folder
}

/// The processes whose parent is `pid`.
#[must_use]
pub fn children(pid: u32) -> Vec<u32> {
    let list = Path::new("/proc").join(pid.to_string()).join("task").join(pid.to_string()).join("children");
    let text = std::fs::read_to_string(list).unwrap_or_default();
    text.split_whitespace().filter_map(|pid| pid.parse().ok()).collect()
}
