//! The agent under test: the binary itself, started as a user would.

use std::{
    env,
    ffi::OsStr,
    io::{self, Read as _, Write as _},
    net::{Ipv4Addr, TcpStream},
    path::PathBuf,
    process::{Command, ExitStatus},
    sync::OnceLock,
    time::Duration,
};

use rustix::process::Signal;

use crate::{
    LONG,
    client::Connection,
    need,
    program::{Program, free_port},
    receiver::{Receiver, State},
    seen::Seen,
    wait::poll,
};

/// How the kernel is asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Backend {
    /// Tracepoints of sockets.
    Sock,
    /// The exit of system calls.
    Syscall,
}

impl Backend {
    /// Value of `--backend`.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Sock => "sock",
            Self::Syscall => "syscall",
        }
    }
}

/// Makes a test per backend of each of these functions.
#[macro_export]
macro_rules! on_both_backends {
    ($($(#[$attribute:meta])* $test:ident),+ $(,)?) => {$(
        mod $test {
            #[test]
            $(#[$attribute])*
            fn sock() {
                super::$test($crate::agent::Backend::Sock);
            }
            #[test]
            $(#[$attribute])*
            fn syscall() {
                super::$test($crate::agent::Backend::Syscall);
            }
        }
    )+};
}

/// The one that was chosen by a program.
static CHOSEN: OnceLock<PathBuf> = OnceLock::new();

/// Chooses the binary from here on.
///
/// # Panics
/// If that was done before.
pub fn choose(binary: PathBuf) {
    assert!(CHOSEN.set(binary).is_ok(), "the binary is chosen once");
}

/// The binary: that which was [chosen](choose), that of `BEYLA_RS_BIN`, else the one of the same profile as the tests.
///
/// # Panics
/// If it was not built.
#[must_use]
pub fn binary() -> PathBuf {
    let beside = || need::profile_folder().join("beyla-rs");
    let path = CHOSEN.get().cloned().or_else(|| env::var_os("BEYLA_RS_BIN").map(PathBuf::from)).unwrap_or_else(beside);
    assert!(
        path.is_file(),
        "{} was not built: run `cargo build -p beyla-rs` first, or `cargo xtask test`",
        path.display()
    );
    path
}

/// A command of the binary, with nothing of the environment that would change what it does.
#[must_use]
pub fn command(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Command {
    let mut command = Command::new(binary());
    for (name, _) in env::vars_os() {
        let name = name.to_string_lossy().into_owned();
        if ["OTEL_", "BEYLA_"].iter().any(|prefix| name.starts_with(prefix)) {
            command.env_remove(name);
        }
    }
    command.args(arguments);
    command
}

/// An agent to be started.
pub struct Setup {
    command: Command,
    listen: Option<u16>,
}

/// A running agent.
pub struct Agent {
    program: Program,
    listen: u16,
}

/// How an agent ended.
pub struct Ended {
    /// Its exit status.
    pub status: ExitStatus,
    /// Lines of standard output.
    pub stdout: Vec<String>,
    /// Lines of its log.
    pub log: Vec<String>,
}

impl Setup {
    /// Watches a process.
    #[must_use]
    pub fn pid(pid: u32) -> Self {
        Self::pids(&[pid])
    }

    /// Watches several.
    #[must_use]
    pub fn pids(pids: &[u32]) -> Self {
        Self::with(pids.iter().flat_map(|pid| ["--pid".to_owned(), pid.to_string()]))
    }

    /// With these arguments; `--listen` is added.
    #[must_use]
    pub fn with(arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        Self::listening(free_port(), arguments)
    }

    /// The same, at a port of the test's own.
    #[must_use]
    pub fn listening(port: u16, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        need::root();
        let mut command = command(["--listen".to_owned(), format!("127.0.0.1:{port}")]);
        command.args(arguments);
        // Spans go as soon as they are there.
        command.env("OTEL_BSP_SCHEDULE_DELAY", "20");
        Self { command, listen: Some(port) }
    }

    /// Adds arguments.
    #[must_use]
    pub fn args(mut self, arguments: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        self.command.args(arguments);
        self
    }

    /// Forces a backend.
    #[must_use]
    pub fn backend(self, backend: Backend) -> Self {
        self.args(["--backend", backend.name()])
    }

    /// Sends to a receiver over gRPC.
    #[must_use]
    pub fn to(self, receiver: &Receiver) -> Self {
        self.args(["--endpoint", &receiver.grpc_endpoint(), "--protocol", "grpc"])
    }

    /// Sets a variable of its environment.
    #[must_use]
    pub fn env(mut self, name: &str, value: &str) -> Self {
        self.command.env(name, value);
        self
    }

    /// Starts it by a program that replaces itself with it, such as `setpriv` with its options.
    #[must_use]
    pub fn through(mut self, wrapper: impl IntoIterator<Item = impl AsRef<OsStr>>) -> Self {
        let mut words = wrapper.into_iter();
        let Some(program) = words.next() else { return self };
        let mut wrapped = Command::new(program);
        wrapped.args(words).arg(self.command.get_program()).args(self.command.get_args());
        for (name, value) in self.command.get_envs() {
            match value {
                Some(value) => wrapped.env(name, value),
                None => wrapped.env_remove(name),
            };
        }
        self.command = wrapped;
        self
    }

    /// Starts it, and waits until it watches.
    ///
    /// # Panics
    /// If it does not get that far; the message has its log.
    #[must_use]
    pub fn start(self) -> Agent {
        let mut agent = self.launch();
        let watching =
            agent.program.stderr.until(LONG, |lines| lines.iter().any(|line| line.contains("watching ")).then_some(()));
        if watching.is_none() {
            let is_running = agent.program.is_running();
            panic!("the agent does not start (running: {is_running}): {:#?}", agent.log());
        }
        // On a busy machine TLS libraries of what runs already may still be looked for when it says so.
        poll("/readyz after the agent said that it watches", || agent.is_ready().then_some(()));
        agent
    }

    /// Starts it, and waits for nothing.
    ///
    /// # Panics
    /// If it cannot be started.
    #[must_use]
    pub fn launch(mut self) -> Agent {
        Agent { program: Program::start(&mut self.command), listen: self.listen.take().expect("a port was chosen") }
    }
}

impl Agent {
    /// Its process id.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.program.pid()
    }

    /// The port of its pages.
    #[must_use]
    pub const fn listen(&self) -> u16 {
        self.listen
    }

    /// The process itself.
    pub fn program(&mut self) -> &mut Program {
        &mut self.program
    }

    /// Its log so far.
    #[must_use]
    pub fn log(&self) -> Vec<String> {
        self.program.stderr.so_far()
    }

    /// Waits until its log says this.
    ///
    /// # Panics
    /// If it does not.
    pub fn until_logged(&self, text: &str) {
        self.until_logged_within(LONG, text);
    }

    /// The same, where it may take longer than what tests wait for otherwise.
    ///
    /// # Panics
    /// If it does not log it in time.
    pub fn until_logged_within(&self, timeout: Duration, text: &str) {
        let line = self.program.stderr.after(0, text, timeout);
        assert!(line.is_some(), "the agent does not say {text:?} but {:#?}", self.log());
    }

    /// Waits until the TLS libraries that these processes have loaded by now are seen. It has to log at level debug.
    pub fn until_seen_into(&self, pids: &[u32]) {
        for library in pids.iter().flat_map(|pid| tls_libraries(*pid)) {
            self.until_logged(&format!("TLS library attached path={library:?}"));
        }
    }

    /// Whether `/readyz` says so; not where there is no answer.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        let ask = || {
            let mut stream = TcpStream::connect((Ipv4Addr::LOCALHOST, self.listen))?;
            stream.write_all(b"GET /readyz HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")?;
            let mut answer = Vec::new();
            stream.read_to_end(&mut answer)?;
            io::Result::Ok(answer.starts_with(b"HTTP/1.1 200 "))
        };
        ask().unwrap_or(false)
    }

    /// Status and text of one of its pages.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    pub fn page(&self, path: &str) -> (u16, String) {
        let mut connection = Connection::to(self.listen);
        // Its API answers who asks for this machine by name only.
        connection.send(format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"));
        let response = connection.response(false);
        (response.status, response.text().to_owned())
    }

    /// A figure of its `/metrics`: the sum of all lines that begin with `name` and hold all of `labels`.
    ///
    /// # Panics
    /// If it does not answer.
    #[must_use]
    pub fn metric(&self, name: &str, labels: &[&str]) -> f64 {
        let (status, page) = self.page("/metrics");
        assert_eq!(status, 200, "{page}");
        let is_it = |line: &&str| {
            line.strip_prefix(name).is_some_and(|rest| rest.starts_with(['{', ' ']))
                && labels.iter().all(|label| line.contains(label))
        };
        page.lines().filter(is_it).filter_map(|line| line.rsplit(' ').next()?.parse::<f64>().ok()).sum()
    }

    /// How many records it has taken from the ring, once there are no more.
    ///
    /// # Panics
    /// If there always are.
    #[must_use]
    pub fn records(&self) -> u64 {
        let mut records = None;
        poll("the agent has emptied the ring", || {
            let now = self.metric("beyla_rs_capture_events_total", &[]) as u64;
            (records.replace(now) == Some(now)).then_some(now)
        })
    }

    /// Stops it as a service manager does.
    ///
    /// # Panics
    /// If it does not end.
    #[must_use]
    pub fn stop(mut self) -> Ended {
        self.program.signal(Signal::TERM);
        self.ended()
    }

    /// Waits until it ends by itself.
    ///
    /// # Panics
    /// If it does not.
    #[must_use]
    pub fn ended(&mut self) -> Ended {
        let status = self.program.wait();
        Ended { status, stdout: self.program.stdout.all(), log: self.program.stderr.all() }
    }
}

/// An agent with its receiver: the usual set-up.
pub struct Watch {
    /// The agent.
    pub agent: Agent,
    /// Where it sends to.
    pub receiver: Receiver,
}

impl Watch {
    /// Watches a process and its children.
    #[must_use]
    pub fn pid(backend: Backend, pid: u32) -> Self {
        Self::pids(backend, &[pid])
    }

    /// Watches several.
    #[must_use]
    pub fn pids(backend: Backend, pids: &[u32]) -> Self {
        let receiver = Receiver::start();
        let agent = Setup::pids(pids).backend(backend).to(&receiver).start();
        Self { agent, receiver }
    }

    /// Watches several, and draws the service graph too.
    #[must_use]
    pub fn with_graph(backend: Backend, pids: &[u32]) -> Self {
        let receiver = Receiver::start();
        let features = "application,application_service_graph";
        let setup = Setup::pids(pids).backend(backend).env("OTEL_EBPF_METRICS_FEATURES", features);
        Self { agent: setup.to(&receiver).start(), receiver }
    }

    /// Watches several that use TLS, and waits until the libraries for it that they have loaded by now are seen.
    #[must_use]
    pub fn tls(backend: Backend, pids: &[u32]) -> Self {
        let receiver = Receiver::start();
        let agent = Setup::pids(pids).backend(backend).to(&receiver).args(["--log-level", "debug"]).start();
        agent.until_seen_into(pids);
        Self { agent, receiver }
    }

    /// Waits for `count` spans, stops the agent, and gives all that it had to say: exactly so many spans.
    ///
    /// # Panics
    /// If there are fewer or more, or the agent ended badly.
    #[must_use]
    pub fn finish(self, count: usize) -> Seen {
        self.finish_when(count, |state| state.spans.len() >= count)
    }

    /// The same, with a condition of its own for when it is time to stop.
    ///
    /// # Panics
    /// As [`Self::finish`].
    #[must_use]
    pub fn finish_when(self, count: usize, condition: impl Fn(&State) -> bool) -> Seen {
        let seen = self.stop_when(condition);
        assert_eq!(seen.spans.len(), count, "spans: {}", seen.summary());
        seen
    }

    /// The same, however many spans there are in the end: what is watched goes on meanwhile.
    ///
    /// # Panics
    /// If the condition is not met, or the agent ended badly.
    #[must_use]
    pub fn stop_when(self, condition: impl Fn(&State) -> bool) -> Seen {
        let waited = self.receiver.wait_for(condition, LONG);
        let page = self.agent.page("/metrics").1;
        let ended = self.agent.stop();
        let state = self.receiver.state();
        let mut spans = state.spans;
        // They come as soon as their place in a trace is certain.
        spans.sort_by_key(|span| span.start_unix_nano);
        let seen = Seen { spans, metrics: state.metrics, log: ended.log };
        let figures: Vec<&str> = page.lines().filter(|line| line.starts_with("beyla_rs_")).collect();
        if let Err(error) = waited {
            panic!("{error}\n{}\nfigures: {figures:#?}", seen.summary());
        }
        assert!(ended.status.success(), "the agent ended with {}: {}", ended.status, seen.summary());
        assert!(state.violations.is_empty(), "what no exporter should send: {:#?}", state.violations);
        seen
    }
}

/// TLS libraries that a process has loaded, or the program itself where that has one linked in.
#[must_use]
pub fn tls_libraries(pid: u32) -> Vec<String> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps")).unwrap_or_default();
    let files = maps.lines().filter_map(|line| line.split_whitespace().nth(5));
    let mut libraries: Vec<String> = files
        .filter(|path| ["/libssl", "/libgnutls", "/node", "/curl_cffi/_wrapper"].iter().any(|name| path.contains(name)))
        .map(str::to_owned)
        .collect();
    libraries.sort();
    libraries.dedup();
    libraries
}
