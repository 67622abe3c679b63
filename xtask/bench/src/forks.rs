//! `cargo xtask bench forks`: what processes that come and go cost the agent: ten thousand a second, and many that stay.

use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::net::TcpListener;
use std::process::{ChildStdin, ChildStdout, Command, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};

use super::agent::{Agent, Launch, Selection};
use super::procfs;
use super::scenario::SERVER_CORE;
use xtask::child::{self, Running};
use xtask::shell;

/// Processes started per second.
const RATE: u32 = 10_000;
/// Of programs of their own, of which a core does not start as many.
const EXEC_RATE: u32 = 1_000;
/// How long the agent is given to work off what it was told.
const CATCHING_UP: Duration = Duration::from_secs(1);
/// Processes that stay.
const STAYING: u32 = 5_000;
/// The agent's share of a core at [`RATE`].
const CPU_BAR: f64 = 5.0;
/// Its memory per process that lives, in bytes.
const MEMORY_BAR: f64 = 1024.0;

/// How the agent comes to look at who forks.
struct Case {
    name: &'static str,
    /// It makes a request at its start, so that an agent without a selection watches it.
    makes_request: bool,
    /// It is chosen by pid; else nothing is.
    is_chosen: bool,
}

const CASES: &[Case] = &[
    Case { name: "no selection, no socket", makes_request: false, is_chosen: false },
    Case { name: "no selection, watched", makes_request: true, is_chosen: false },
    Case { name: "`--pid`", makes_request: true, is_chosen: true },
];

/// What was measured of one case.
struct Figures {
    storms: Vec<Storm>,
    staying_bytes: f64,
    lost: u64,
}

struct Storm {
    kind: &'static str,
    rate: f64,
    cpu_percent: f64,
    /// Agent CPU per process: what a machine that does not reach the rate says of it nonetheless.
    each_us: f64,
    rss_kib: u64,
}

pub(crate) fn main(launch: &Launch, length: Duration) -> Result<()> {
    let program = compiled()?;
    let mut columns = Vec::new();
    for case in CASES {
        shell::say(format_args!("forks: {}", case.name));
        columns.push((case, measure(case, launch, &program, length)?));
    }
    print!("{}", table(&columns)?);
    Ok(())
}

fn compiled() -> Result<std::path::PathBuf> {
    let folder = shell::target_dir().join("bench");
    fs::create_dir_all(&folder).with_context(|| format!("cannot make {}", folder.display()))?;
    let out = folder.join("forks");
    let source = shell::root().join("xtask/bench/forks.c");
    // Static: a fork copies less of it.
    shell::run(Command::new("cc").args(["-O2", "-Wall", "-static", "-D_GNU_SOURCE", "-o"]).arg(&out).arg(source))?;
    Ok(out)
}

fn measure(case: &Case, launch: &Launch, program: &std::path::Path, length: Duration) -> Result<Figures> {
    let port = answering()?;
    let mut forker = Forker::start(program)?;
    let selection = if case.is_chosen { Selection::Pid(forker.running.pid()) } else { Selection::Everything };
    let agent = Agent::start(launch, selection)?;
    if case.makes_request {
        forker.order(&format!("request {port}"))?;
        thread::sleep(CATCHING_UP);
    }
    // Before the storms, which leave room behind in the agent that these would take up.
    let (before, _, _) = agent.memory()?;
    forker.order(&format!("stay {STAYING}"))?;
    thread::sleep(CATCHING_UP);
    let (after, _, _) = agent.memory()?;
    let staying_bytes = (after as f64 - before as f64).max(0.0) * 1024.0 / f64::from(STAYING);
    forker.order("leave")?;
    thread::sleep(CATCHING_UP);
    let seconds = length.as_secs_f64();
    let mut storms = Vec::new();
    for (kind, rate) in [("fork", RATE), ("vfork", RATE), ("exec", EXEC_RATE)] {
        // What the agent does all the time is no part of it.
        let (idle, idle_cpu) = (Duration::from_secs(1), agent.cpu_ns()?);
        thread::sleep(idle);
        let (before, began) = (agent.cpu_ns()?, Instant::now());
        let at_rest = (before - idle_cpu) as f64 / idle.as_nanos() as f64;
        let (started, took) = forker.order(&format!("storm {kind} {rate} {seconds}"))?;
        thread::sleep(CATCHING_UP);
        let used = (agent.cpu_ns()? - before) as f64 - at_rest * began.elapsed().as_nanos() as f64;
        let (rss_kib, _, _) = agent.memory()?;
        let cpu_percent = (used / took.as_nanos() as f64).max(0.0) * 100.0;
        let each_us = used.max(0.0) / 1e3 / (started as f64).max(1.0);
        storms.push(Storm { kind, rate: started as f64 / took.as_secs_f64(), cpu_percent, each_us, rss_kib });
    }
    let counts = agent.counts()?;
    drop(forker);
    agent.stop()?;
    Ok(Figures { storms, staying_bytes, lost: counts.lost })
}

/// The program that forks.
struct Forker {
    running: Running,
    orders: ChildStdin,
    answers: BufReader<ChildStdout>,
}

impl Forker {
    fn start(program: &std::path::Path) -> Result<Self> {
        let mut command = child::command(program, Some(SERVER_CORE));
        command.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut running = Running::start("the forking program", &mut command)?;
        let (orders, answers) = running.pipes().context("the forking program has no pipes")?;
        Ok(Self { running, orders, answers: BufReader::new(answers) })
    }

    /// Gives an order, and the number of processes started and how long it took.
    fn order(&mut self, order: &str) -> Result<(u64, Duration)> {
        writeln!(self.orders, "{order}")?;
        let mut line = String::new();
        self.answers.read_line(&mut line)?;
        let words: Vec<&str> = line.split_whitespace().collect();
        ensure!(words.len() == 5, "the forking program says {line:?} to {order:?}");
        Ok((words[1].parse()?, Duration::from_millis(words[3].parse()?)))
    }
}

/// A server of ours that answers each request with nothing: its port.
fn answering() -> Result<u16> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let port = listener.local_addr()?.port();
    thread::spawn(move || {
        for mut stream in listener.incoming().flatten() {
            let mut reader = BufReader::new(&stream);
            let mut line = String::new();
            while reader.read_line(&mut line).is_ok_and(|read| read > 2) {
                line.clear();
            }
            // Whoever has gone away wants no answer.
            let _gone = stream.write_all(b"HTTP/1.1 204 No Content\r\nConnection: close\r\n\r\n");
        }
    });
    Ok(port)
}

fn table(columns: &[(&Case, Figures)]) -> Result<String> {
    let date = shell::output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    let mut text =
        format!("Processes that come and go. {}; {}; `cargo xtask bench forks`\n\n| |", date.trim(), procfs::machine());
    for (case, _) in columns {
        write!(text, " {} |", case.name)?;
    }
    text.push_str(" bar |\n| --- |");
    text.push_str(&" --- |".repeat(columns.len() + 1));
    text.push('\n');
    let mut row = |name: &str, bar: &str, cell: &dyn Fn(&Figures) -> String| {
        let cells: Vec<String> = columns.iter().map(|(_, figures)| cell(figures)).collect();
        writeln!(text, "| {name} | {} | {bar} |", cells.join(" | "))
    };
    for (at, storm) in columns.first().map_or(&[][..], |(_, figures)| &figures.storms).iter().enumerate() {
        let kind = storm.kind;
        row(&format!("{kind}s per second"), "", &|figures| format!("{:.0}", figures.storms[at].rate))?;
        let bar = if kind == "exec" { String::new() } else { format!("≤ {CPU_BAR} % at {RATE}") };
        row(&format!("agent CPU for {kind}s"), &bar, &|figures| format!("{:.1} %", figures.storms[at].cpu_percent))?;
        let bar = if kind == "exec" { String::new() } else { format!("≤ {} us", CPU_BAR * 1e4 / f64::from(RATE)) };
        row(&format!("the same per {kind}"), &bar, &|figures| format!("{:.1} us", figures.storms[at].each_us))?;
        row(&format!("agent memory after {kind}s"), "", &|figures| {
            format!("{:.1} MiB", figures.storms[at].rss_kib as f64 / 1024.0)
        })?;
    }
    row(&format!("agent memory per process, of {STAYING} that stay"), &format!("≤ {MEMORY_BAR} B"), &|figures| {
        format!("{:.0} B", figures.staying_bytes)
    })?;
    row("events lost", "0", &|figures| figures.lost.to_string())?;
    Ok(text)
}
