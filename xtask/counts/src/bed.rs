//! Where a benchmark runs: a shell whose children the agent watches from their first byte on, beside the server.

use std::fs;
use std::path::PathBuf;
use std::process::Command;
use std::time::Duration;

use tests::agent::{Backend, Setup, Watch};
use tests::program::{Program, folder};
use tests::receiver::{ReceivedSpan, Receiver};
use tests::seen::Seen;

use crate::report::Losses;

/// How all are run.
pub(crate) struct Setting {
    pub(crate) backend: Backend,
    pub(crate) times: u64,
    pub(crate) is_sampled: bool,
    pub(crate) agent_args: Vec<String>,
    pub(crate) keep: Option<PathBuf>,
}

/// A benchmark takes a while on a busy machine.
const LONG: Duration = Duration::from_secs(300);
/// When nothing has come for so long, nothing comes any more.
const QUIET: Duration = Duration::from_secs(4);

/// See the module.
pub(crate) struct Bed {
    shell: Program,
    watch: Watch,
    files: tempfile::TempDir,
    commands: usize,
    keep: Option<PathBuf>,
}

impl Bed {
    /// Watches these servers, and what it will run.
    pub(crate) fn start(setting: &Setting, servers: &[u32]) -> Self {
        let files = folder();
        // What a command prints is in a file, so that no pipe is ever full.
        let script = "while read -r line; do eval \"$line\" >out 2>&1 </dev/null; echo \"done $?\"; done";
        let shell = Program::start(Command::new("sh").args(["-c", script]).current_dir(files.path()));
        let pids: Vec<u32> = servers.iter().copied().chain([shell.pid()]).collect();
        let receiver = Receiver::start();
        let mut agent = Setup::pids(&pids).backend(setting.backend).args(&setting.agent_args);
        if setting.is_sampled {
            agent = agent.env("OTEL_TRACES_SAMPLER", "traceidratio").env("OTEL_TRACES_SAMPLER_ARG", "0.01");
        }
        let agent = agent.to(&receiver).start();
        Self { shell, watch: Watch { agent, receiver }, files, commands: 0, keep: setting.keep.clone() }
    }

    /// Runs a line of the shell to its end, and gives what it has printed.
    pub(crate) fn run(&mut self, line: &str) -> String {
        self.shell.tell(line);
        self.commands += 1;
        let nth = self.commands;
        let status = self.shell.stdout.until(LONG, |lines| lines.get(nth - 1).cloned());
        let said = fs::read_to_string(self.files.path().join("out")).unwrap_or_default();
        assert!(status.as_deref() == Some("done 0"), "{line}: {status:?}: {said}");
        said
    }

    /// Stops the agent once there is enough, or nothing comes any more. Gives what it has told, and what it says of its losses.
    pub(crate) fn stop(self, is_enough: impl Fn(&[ReceivedSpan]) -> bool) -> (Seen, Losses) {
        let Self { watch, keep, .. } = self;
        let mut came = usize::MAX;
        loop {
            let enough = watch.receiver.wait_for(|state| is_enough(&state.spans), QUIET).is_ok();
            let now = watch.receiver.state().spans.len();
            if enough || now == came {
                break;
            }
            came = now;
        }
        let page = watch.agent.page("/metrics").1;
        let is_loss = |line: &&str| {
            [
                "beyla_rs_capture_lost",
                "beyla_rs_requests_lost",
                "beyla_rs_anomalies",
                "beyla_rs_spans_unsampled",
                "beyla_rs_spans_dropped",
            ]
            .iter()
            .any(|name| line.starts_with(name))
                && !line.ends_with(" 0")
        };
        let losses: Vec<&str> = page.lines().filter(is_loss).collect();
        let text = if losses.is_empty() { String::new() } else { format!("({})", losses.join("; ")) };
        let requests = watch.agent.metric("beyla_rs_requests_lost_total", &[]) as u64;
        let losses = Losses { text, requests };
        let seen = watch.stop_when(|_| true);
        if let Some(file) = keep {
            let spans: Vec<String> = seen.spans.iter().map(|span| format!("{span:?}")).collect();
            let _kept = file.parent().map(fs::create_dir_all);
            fs::write(&file, spans.join("\n")).unwrap_or_else(|error| panic!("{}: {error}", file.display()));
        }
        (seen, losses)
    }
}
