//! What a guest wrote of itself. Lines that begin with `@` say what follows; the agent's spans are JSON, a line each.

use std::fmt;

use anyhow::{Context as _, Result, bail};
use serde_json::Value;

use super::machine::Ended;

/// A guest's report, whole.
#[derive(Debug, Default)]
pub(super) struct Transcript {
    /// `uname -r`.
    pub(super) kernel: String,
    /// What `beyla-rs check --json` says.
    pub(super) check: Value,
    /// One for each backend that was tried.
    pub(super) runs: Vec<Run>,
    /// What the kernel logged since the first start of the agent.
    pub(super) kernel_log: Vec<String>,
}

/// A run of the agent.
#[derive(Debug, Default)]
pub(super) struct Run {
    pub(super) backend: String,
    /// What clients say that they were answered.
    pub(super) sent: Vec<Sent>,
    pub(super) spans: Vec<Value>,
    /// The agent's metrics of itself, by name and labels as they were printed.
    pub(super) metrics: Vec<(String, f64)>,
    /// Its log after it was ready.
    pub(super) log: Vec<String>,
    /// How often the kernel left its programs out; `None` if that was not asked.
    pub(super) missed: Option<u64>,
    /// Its exit status.
    pub(super) status: Option<i32>,
}

/// Requests that were answered in the same way.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Sent {
    pub(super) scenario: String,
    pub(super) status: u64,
    pub(super) count: usize,
}

/// A guest that did not come to its end.
#[derive(Debug)]
pub(super) struct Unfinished {
    /// It was ended at the limit, not by itself.
    was_stopped: bool,
    /// It had come far enough to start the agent.
    pub(super) agent_was_started: bool,
    /// The last lines of its console.
    console: String,
}

impl fmt::Display for Unfinished {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(if self.was_stopped { "did not end in time" } else { "ended early" })?;
        f.write_str(if self.agent_was_started { ", the agent at work" } else { ", before the agent was started" })?;
        if !self.console.is_empty() {
            write!(f, "; its console ends with\n{}", self.console)?;
        }
        Ok(())
    }
}

impl std::error::Error for Unfinished {}

/// Lines of the console to show.
const CONSOLE_LINES: usize = 20;

impl Transcript {
    /// Reads what a guest wrote.
    ///
    /// # Errors
    /// [`Unfinished`] if it did not come to its end.
    pub(super) fn read(ended: &Ended) -> Result<Self> {
        if !ended.results.lines().any(|line| line == "@done") {
            let lines: Vec<&str> = ended.console.lines().collect();
            let console =
                lines.iter().skip(lines.len().saturating_sub(CONSOLE_LINES)).map(|line| format!("      {line}"));
            return Err(Unfinished {
                was_stopped: ended.was_stopped,
                agent_was_started: ended.results.contains("@check\n"),
                console: console.collect::<Vec<_>>().join("\n"),
            }
            .into());
        }
        let mut transcript = Self::default();
        let mut lines = ended.results.lines();
        while let Some(line) = lines.next() {
            transcript.line(line, &mut lines).with_context(|| format!("the guest wrote `{}`", shortened(line)))?;
        }
        Ok(transcript)
    }

    fn line<'a>(&mut self, line: &str, rest: &mut impl Iterator<Item = &'a str>) -> Result<()> {
        let Some(mark) = line.strip_prefix('@') else { return self.output(line) };
        let (what, value) = mark.split_once(' ').unwrap_or((mark, ""));
        let until_end = rest.by_ref().take_while(|line| *line != "@end");
        match what {
            "kernel" => self.kernel = value.to_owned(),
            "check" => self.check = serde_json::from_str(&until_end.collect::<Vec<_>>().join("\n"))?,
            "dmesg" => self.kernel_log = until_end.map(str::to_owned).collect(),
            "run" => self.runs.push(Run { backend: value.to_owned(), ..Run::default() }),
            "sent" => self.run()?.sent.push(sent(value).context("no requests")?),
            "log" => self.run()?.log.push(value.to_owned()),
            "missed" => self.run()?.missed = Some(value.parse()?),
            "ended" => self.run()?.status = Some(value.parse()?),
            "done" => {}
            _ => bail!("nothing that is known"),
        }
        Ok(())
    }

    /// A line of the agent's own.
    fn output(&mut self, line: &str) -> Result<()> {
        if line.starts_with('{') {
            let span = serde_json::from_str(line)?;
            self.run()?.spans.push(span);
        } else if let Some((name, value)) = line.rsplit_once(' ').filter(|(name, _)| name.starts_with("beyla_rs_")) {
            let value = value.parse()?;
            self.run()?.metrics.push((name.to_owned(), value));
        } else if !line.is_empty() {
            bail!("nothing that is known");
        }
        Ok(())
    }

    fn run(&mut self) -> Result<&mut Run> {
        self.runs.last_mut().context("no agent was started before")
    }

    /// What `check` found of the item `name`, and whether it is there.
    pub(super) fn checked(&self, name: &str) -> Option<(bool, &str)> {
        let item = self.check["items"].as_array()?.iter().find(|item| item["name"] == name)?;
        Some((item["ok"].as_bool()?, item["found"].as_str()?))
    }
}

fn sent(text: &str) -> Option<Sent> {
    let mut words = text.split(' ');
    let sent = Sent {
        scenario: words.next()?.to_owned(),
        status: words.next()?.parse().ok()?,
        count: words.next()?.parse().ok()?,
    };
    words.next().is_none().then_some(sent)
}

fn shortened(line: &str) -> String {
    line.chars().take(120).collect()
}

#[cfg(test)]
pub(super) mod tests {
    use super::*;

    pub(in super::super) const CHECK: &str = r#"@check
{"ok": true, "items": [
  {"name": "backend sock", "ok": true, "found": "works"},
  {"name": "backend syscall", "ok": true, "found": "works"},
  {"name": "uprobes", "ok": true, "found": "works, by links of kind uprobe_multi"}]}
@end
"#;

    pub(in super::super) fn read(results: &str) -> Result<Transcript> {
        let console = "one\ntwo\n".to_owned();
        Transcript::read(&Ended { console, results: results.to_owned(), was_stopped: false })
    }

    #[test]
    fn everything_is_taken_to_where_it_belongs() {
        let run = "@run sock\n@sent tls 200 40\n{\"kind\":\"SERVER\"}\nbeyla_rs_x{a=\"b c\"} 3\n@log x WARN y\n@missed 2\n@ended 0\n";
        let rest = "@run syscall\n@ended 1\n@dmesg\n[ 1.0] odd\n@end\n@done\n";
        let transcript = read(&format!("@kernel 6.12.1\n{CHECK}{run}{rest}")).unwrap();
        assert_eq!(transcript.kernel, "6.12.1");
        assert_eq!(transcript.checked("uprobes"), Some((true, "works, by links of kind uprobe_multi")));
        assert_eq!(transcript.checked("else"), None);
        let [sock, syscall] = &transcript.runs[..] else { panic!("{transcript:?}") };
        assert_eq!(sock.sent, [Sent { scenario: "tls".into(), status: 200, count: 40 }]);
        assert_eq!((sock.spans.len(), sock.status, sock.missed), (1, Some(0), Some(2)));
        assert_eq!(sock.metrics, [("beyla_rs_x{a=\"b c\"}".to_owned(), 3.0)]);
        assert_eq!(sock.log, ["x WARN y"]);
        assert_eq!((syscall.backend.as_str(), syscall.status), ("syscall", Some(1)));
        assert_eq!(transcript.kernel_log, ["[ 1.0] odd"]);
    }

    #[test]
    fn a_guest_without_an_end_is_told_apart_by_how_far_it_came() {
        let early = read("@kernel 6.12.1\n").unwrap_err();
        let unfinished = early.downcast_ref::<Unfinished>().unwrap();
        assert!(!unfinished.agent_was_started && early.to_string().ends_with("one\n      two"), "{early}");
        let late = read("@kernel 6.12.1\n@check\n").unwrap_err();
        assert!(late.downcast_ref::<Unfinished>().unwrap().agent_was_started);
    }

    #[test]
    fn what_is_not_understood_is_an_error() {
        for line in ["{\"kind\":", "loose words", "@novelty", "@sent tls 200", "@ended x"] {
            assert!(read(&format!("@kernel 6\n@run sock\n{line}\n@done\n")).is_err(), "{line}");
        }
        assert!(read("@ended 0\n@done\n").is_err());
    }
}
