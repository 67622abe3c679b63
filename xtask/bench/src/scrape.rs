//! `cargo xtask bench scrape`: for how long the agent leaves its ring alone while a `/metrics` page of many series is read
//! over and over again. The agent measures that itself (`beyla_rs.reader.pause`).

use std::fmt::Write as _;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

use super::agent::{self, Agent, Launch, Selection};
use super::procfs;
use super::scenario::SERVER_CORE;
use xtask::child::{self, Running};
use xtask::shell;

/// Series that the page has at least: as many as the agent keeps.
const SERIES: usize = 10_000;
/// How long it may take until they are there.
const FILLING: Duration = Duration::from_secs(60);
/// The time of which the agent tells its longest pause, and a bit.
const WINDOW: Duration = Duration::from_secs(62);
/// How long it takes at least to read pages over and over, and why.
pub(crate) const LEAST: (Duration, &str) =
    (WINDOW, "the agent tells its longest pause of a minute, and what was before has to be out of it");
/// Methods of the requests. With [`STATUSES`] they make more series of each metric than the agent keeps.
const METHODS: [&str; 6] = ["GET", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"];
/// Statuses of the responses, but for those that have no body.
const STATUSES: std::ops::Range<u16> = 200..600;
const BODILESS: [u16; 3] = [204, 205, 304];

/// Time for the requests of one status: some 10,000 a second, each seen at both its ends.
const PACE: Duration = Duration::from_micros(600);

pub(crate) fn main(launch: &Launch, length: Duration) -> Result<()> {
    let mut command =
        child::command(std::env::current_exe().context("cannot find our own program")?, Some(SERVER_CORE));
    let mut talker = Running::start("the program of many series", command.arg("many-series"))?;
    let agent = Agent::start(launch, Selection::Pid(talker.pid()))?;
    let started = Instant::now();
    loop {
        let series = series(&agent.page()?);
        if series >= SERIES {
            break;
        }
        talker.check()?;
        if started.elapsed() > FILLING {
            bail!("there are {series} series after {} s, and not {SERIES}", FILLING.as_secs());
        }
        thread::sleep(Duration::from_millis(500));
    }
    shell::say(format_args!("scrape: {SERIES} series; {} s without reading them", WINDOW.as_secs()));
    thread::sleep(WINDOW);
    let alone = pause_ms(&agent.page()?)?;
    shell::say(format_args!("scrape: {} s of reading them", length.as_secs()));
    let (before, started) = (agent.counts()?, Instant::now());
    let (mut pages, mut bytes) = (0_u32, 0);
    while started.elapsed() < length {
        bytes = agent.page()?.len();
        pages += 1;
    }
    let took = started.elapsed();
    let page = agent.page()?;
    let (scraped, after) = (pause_ms(&page)?, agent.counts()?);
    talker.check()?;
    agent.stop()?;
    talker.stop()?;
    let date = shell::output(Command::new("date").args(["-u", "+%Y-%m-%d"]))?;
    let mut text = format!(
        "The longest pause of the agent's reader while `/metrics` is read. {}; {}; `cargo xtask bench scrape`\n\n",
        date.trim(),
        procfs::machine()
    );
    let rate = (after.seen - before.seen) as f64 / took.as_secs_f64();
    writeln!(text, "| | |\n| --- | --- |")?;
    writeln!(
        text,
        "| series on the page, its size | {}, {:.1} MiB |",
        series(&page),
        bytes as f64 / f64::from(1 << 20)
    )?;
    writeln!(text, "| requests per second meanwhile | {rate:.0} |")?;
    writeln!(text, "| pages read, time for each | {pages}, {:.0} ms |", took.as_secs_f64() * 1e3 / f64::from(pages))?;
    writeln!(text, "| longest pause of the reader, nobody reads | {alone:.1} ms |")?;
    writeln!(text, "| **longest pause of the reader, read in a loop** | {scraped:.1} ms |")?;
    writeln!(text, "| events lost | {} |", after.lost)?;
    print!("{text}");
    Ok(())
}

/// Series of requests: each histogram has one sum.
fn series(page: &str) -> usize {
    page.lines().filter(|line| line.starts_with("http_") && line.contains("_sum{")).count()
}

fn pause_ms(page: &str) -> Result<f64> {
    agent::values(page, "beyla_rs_reader_pause_seconds")
        .next()
        .map(|s| s * 1e3)
        .context("the agent does not tell its pauses")
}

/// `xtask many-series`: serves itself requests whose methods and statuses differ, for ever.
pub(crate) fn talk() -> Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            // Whoever has gone away wants no answer.
            thread::spawn(|| drop(serve(stream)));
        }
    });
    loop {
        // A connection that the agent knows from its beginning, whenever it is started.
        ask(address)?;
    }
}

fn ask(address: SocketAddr) -> Result<()> {
    let stream = TcpStream::connect(address)?;
    stream.set_nodelay(true)?;
    let mut answers = BufReader::new(&stream);
    let mut line = String::new();
    let began = Instant::now();
    for (status, due) in STATUSES.filter(|status| !BODILESS.contains(status)).zip(1_u32..) {
        for method in METHODS {
            let request = format!("{method} /{status} HTTP/1.1\r\nHost: {address}\r\nContent-Length: 1\r\n\r\nx");
            (&stream).write_all(request.as_bytes())?;
            line.clear();
            while answers.read_line(&mut line)? > 2 {
                line.clear();
            }
            answers.read_exact(&mut [0; 2])?;
        }
        thread::sleep((PACE * due).saturating_sub(began.elapsed()));
    }
    Ok(())
}

/// Answers each request with the status that its path names.
fn serve(stream: TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut requests = BufReader::new(&stream);
    let mut line = String::new();
    while requests.read_line(&mut line)? > 0 {
        let status = line.split([' ', '/']).nth(2).unwrap_or("200").to_owned();
        while line.len() > 2 {
            line.clear();
            requests.read_line(&mut line)?;
        }
        requests.read_exact(&mut [0])?;
        (&stream).write_all(format!("HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok").as_bytes())?;
        line.clear();
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn series_and_the_pause_are_read_off_the_page() {
        let page = "http_a_sum{x=\"1\"} 3\nhttp_a_sum{x=\"2\"} 3\nhttp_a_count{x=\"2\"} 3\nbeyla_rs_reader_pause_seconds{instance=\"a\"} 0.0125\n";
        assert_eq!(series(page), 2);
        assert!((pause_ms(page).unwrap() - 12.5).abs() < 1e-9);
    }
}
