//! `cargo xtask bench pages`: what fifty open web pages cost the agent while a server is asked 20,000 times a second: half of them show the map,
//! half the live stream. Runs without and with them take turns.

use std::fmt::Write as _;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::process::Command;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Result, ensure};

use super::agent::{Agent, Launch, Selection};
use super::measure::{Folder, requests_said, run_load};
use super::scenario::{Load, Server};
use super::{nginx, procfs};
use xtask::http;
use xtask::shell;

pub(crate) const NAME: &str = "pages";
/// Pages that are open.
const PAGES: u64 = 50;
/// Requests a second.
const RATE: u32 = 20_000;
/// How often the map asks, as `agent/src/api/page/map.js` does.
const MAP_EVERY: Duration = Duration::from_secs(2);
/// Runs of each kind.
const ROUNDS: usize = 3;
/// What they may cost, in percent of what the agent takes without them.
const BAR: f64 = 10.0;

/// What the agent took for a request, what it saw and what it lost, and how much the pages were answered.
struct Figures {
    agent_us: f64,
    sent: u64,
    seen: u64,
    lost: u64,
    answers: u64,
    bytes: u64,
}

pub(crate) fn main(launch: &Launch, length: Duration) -> Result<()> {
    let folder = Folder::new()?;
    let mut server = (nginx::PLAIN.start)(&folder.0)?;
    run_load(server.load(Load::PerSecond(RATE), Duration::from_secs(1)))?;
    let mut agent = Agent::start(launch, Selection::Pid(server.watched()))?;
    // The first question of all makes durations exact, which goes on.
    let _first = http::get(agent.listen(), "/api/v1/graph?window=60s")?;
    let (mut without, mut with) = (Vec::new(), Vec::new());
    for round in 0..ROUNDS {
        without.push(run(server.as_mut(), &mut agent, length, 0)?);
        with.push(run(server.as_mut(), &mut agent, length, PAGES)?);
        shell::say(format_args!("pages, round {} of {ROUNDS}", round + 1));
    }
    let (rss_kib, peak_kib, _) = agent.memory()?;
    agent.stop()?;
    let date = shell::output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    let mut text = format!(
        "What {PAGES} open pages cost the agent, nginx at {RATE} requests a second. {}; {}; `cargo xtask bench pages`\n\n",
        date.trim(),
        procfs::machine()
    );
    let median = |figures: &[Figures]| {
        let mut all: Vec<f64> = figures.iter().map(|one| one.agent_us).collect();
        all.sort_by(f64::total_cmp);
        all.get(all.len() / 2).copied().unwrap_or(0.0)
    };
    let sum = |of: fn(&Figures) -> u64| [&without, &with].map(|figures| figures.iter().map(of).sum::<u64>());
    let (alone, watched) = (median(&without), median(&with));
    writeln!(text, "| | no page | {PAGES} pages | bar |\n| --- | --- | --- | --- |")?;
    writeln!(text, "| agent CPU per request (median of {ROUNDS}) | {alone:.2} us | {watched:.2} us |  |")?;
    writeln!(text, "| **more** |  | {:+.1} % | ≤ {BAR} % |", (watched / alone - 1.0) * 100.0)?;
    let ([sent, sent_with], [seen, seen_with], [lost, lost_with]) =
        (sum(|it| it.sent), sum(|it| it.seen), sum(|it| it.lost));
    writeln!(text, "| requests seen / sent | {seen}/{sent} | {seen_with}/{sent_with} | all |")?;
    writeln!(text, "| events lost | {lost} | {lost_with} | 0 |")?;
    let ([_, answers], [_, bytes]) = (sum(|it| it.answers), sum(|it| it.bytes));
    writeln!(text, "| answers to pages, their size |  | {answers}, {:.1} MiB |  |", bytes as f64 / f64::from(1 << 20))?;
    writeln!(
        text,
        "| agent memory, its peak | {:.1} MiB | {:.1} MiB |  |",
        rss_kib as f64 / 1024.0,
        peak_kib as f64 / 1024.0
    )?;
    print!("{text}");
    ensure!(answers > 0, "no page was answered");
    Ok(())
}

fn run(server: &mut dyn Server, agent: &mut Agent, length: Duration, pages: u64) -> Result<Figures> {
    let (is_over, answers, bytes) = (AtomicBool::new(false), AtomicU64::new(0), AtomicU64::new(0));
    let listen = agent.listen();
    thread::scope(|scope| {
        for page in 0..pages {
            let (is_over, answers, bytes) = (&is_over, &answers, &bytes);
            scope.spawn(move || {
                // They were not opened at the same moment.
                thread::sleep(MAP_EVERY.mul_f64(page as f64 / PAGES as f64));
                while !is_over.load(Ordering::Relaxed) {
                    let is_map = page % 2 == 0;
                    let path = if is_map { "/api/v1/graph?window=60s" } else { "/api/v1/live" };
                    // One that ends is opened anew, as the page does.
                    let read = read_to_end(listen, path, is_over).unwrap_or(0);
                    answers.fetch_add(u64::from(read > 0), Ordering::Relaxed);
                    bytes.fetch_add(read, Ordering::Relaxed);
                    if is_map {
                        thread::sleep(MAP_EVERY);
                    }
                }
            });
        }
        let measured = (|| {
            let before = agent.counts()?;
            let cpu = agent.cpu_ns()?;
            let sent = requests_said(&run_load(server.load(Load::PerSecond(RATE), length))?);
            let after = agent.settled(before.seen + sent)?;
            let agent_us = (agent.cpu_ns()?.saturating_sub(cpu)) as f64 / 1e3 / sent.max(1) as f64;
            Ok((agent_us, sent, after.seen - before.seen, after.lost - before.lost))
        })();
        is_over.store(true, Ordering::Relaxed);
        measured
    })
    .map(|(agent_us, sent, seen, lost)| Figures {
        agent_us,
        sent,
        seen,
        lost,
        answers: answers.load(Ordering::Relaxed),
        bytes: bytes.load(Ordering::Relaxed),
    })
}

/// Reads an answer until it ends, or nobody wants it any more: its bytes.
fn read_to_end(address: SocketAddr, path: &str, is_over: &AtomicBool) -> Result<u64> {
    let mut stream = TcpStream::connect(address)?;
    stream.set_read_timeout(Some(Duration::from_millis(500)))?;
    write!(stream, "GET {path} HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n")?;
    let (mut buffer, mut all) = ([0; 16 << 10], 0);
    while !is_over.load(Ordering::Relaxed) {
        match stream.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => all += read as u64,
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(all)
}
