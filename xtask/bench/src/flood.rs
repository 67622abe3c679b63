//! `cargo xtask bench flood`: the agent's memory at more HTTP/2 requests than it can tell of: a server of our own on core 0, who asks it on
//! core 1, 50 requests in a write, beside the agent and a receiver of spans that stalls.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};

use super::agent::{self, Agent, Launch, Selection};
use super::procfs;
use super::scenario::{LOAD_CORE, SERVER_CORE};
use xtask::child::{self, Running};
use xtask::http;
use xtask::shell;

/// Requests per second that are asked for.
const RATE: u32 = 300_000;
/// Most memory that the agent may take at its peak.
const MEMORY_BAR_MIB: f64 = 80.0;
/// Requests in a write.
const BATCH: u32 = 50;
const CONNECTIONS: usize = 8;
/// Batches that a connection carries before another takes its place: numbers of streams are used once.
const LIFE: u32 = 2000;

const PREFACE: &[u8] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
const SETTINGS: &[u8] = b"\0\0\0\x04\0\0\0\0\0";
/// `GET http://h/`, by HPACK's static table.
const REQUEST: &[u8] = b"\x82\x84\x86\x01\x01h";
/// Status 200.
const RESPONSE: &[u8] = b"\x88";

#[derive(clap::Args)]
pub(crate) struct ServerArgs {
    #[arg(long)]
    listen: SocketAddr,
}

#[derive(clap::Args)]
pub(crate) struct ClientArgs {
    #[arg(long)]
    to: SocketAddr,
    #[arg(long)]
    seconds: u64,
}

pub(crate) fn main(launch: &Launch, length: Duration) -> Result<()> {
    let ourselves = std::env::current_exe().context("cannot find our own program")?;
    let address = http::free_address()?;
    let mut command = child::command(&ourselves, Some(SERVER_CORE));
    let mut server = Running::start("the server", command.args(["flood-server", "--listen", &address.to_string()]))?;
    server.wait_until(Duration::from_secs(5), || TcpStream::connect(address).ok())?;
    let launch = Launch { binary: launch.binary.clone(), backend: launch.backend.clone(), stall: true };
    let mut agent = Agent::start(&launch, Selection::Pid(server.pid()))?;
    let mut command = child::command(&ourselves, Some(LOAD_CORE));
    let seconds = length.as_secs().max(1);
    command.args(["flood-client", "--to", &address.to_string(), "--seconds", &seconds.to_string()]);
    let asked: u64 = shell::output(&mut command)?.trim().parse().context("who asks does not say how often")?;
    let (_, peak_kib, _) = agent.memory()?;
    let counts = agent.settled(asked)?;
    let page = agent.page()?;
    server.check()?;
    let sum = |name| agent::values(&page, name).sum::<f64>() as u64;
    let lost = sum("beyla_rs_requests_lost_total");
    let spans = sum("beyla_rs_export_spans_total") + sum("beyla_rs_spans_unsampled_total");
    let stats = agent.stop()?;
    server.stop()?;
    println!("The agent's memory at many HTTP/2 requests. {}; `cargo xtask bench flood`\n", procfs::machine());
    println!("| | | bar |\n| --- | --- | --- |");
    println!("| requests per second, of {RATE} | {} |  |", asked / seconds);
    println!("| **agent memory at its peak** | {:.1} MiB | ≤ {MEMORY_BAR_MIB} MiB |", peak_kib as f64 / 1024.0);
    println!("| requests asked, told, counted as lost at most | {asked}, {}, {lost} |  |", counts.seen);
    println!("| spans that were kept, dropped or left out; delivered | {spans}; {} |  |", stats.spans);
    Ok(())
}

/// A header block for each stream of a batch; they are the same but for the number.
struct Frames {
    bytes: Vec<u8>,
    /// Of a frame.
    len: usize,
    first: u32,
}

impl Frames {
    fn of(block: &[u8]) -> Self {
        let mut frame = vec![0, 0, block.len() as u8, 1, 5, 0, 0, 0, 0];
        frame.extend_from_slice(block);
        Self { bytes: frame.repeat(BATCH as usize), len: frame.len(), first: 1 }
    }

    /// The next batch of a connection.
    fn next(&mut self) -> &[u8] {
        for (frame, nth) in self.bytes.chunks_exact_mut(self.len).zip(0_u32..) {
            frame[5..9].copy_from_slice(&(self.first + 2 * nth).to_be_bytes());
        }
        self.first += 2 * BATCH;
        &self.bytes
    }
}

/// `xtask flood-server`: answers each batch with a batch, for ever.
pub(crate) fn serve(args: &ServerArgs) -> Result<()> {
    let listener = TcpListener::bind(args.listen)?;
    for stream in listener.incoming().flatten() {
        // Whoever has gone away wants no answer.
        thread::spawn(move || drop(answer(&stream)));
    }
    Ok(())
}

fn answer(mut stream: &TcpStream) -> Result<()> {
    stream.set_nodelay(true)?;
    stream.read_exact(&mut [0; PREFACE.len()])?;
    stream.write_all(SETTINGS)?;
    let (mut requests, mut responses) = (Frames::of(REQUEST).bytes, Frames::of(RESPONSE));
    loop {
        stream.read_exact(&mut requests)?;
        stream.write_all(responses.next())?;
    }
}

/// `xtask flood-client`: asks, and says how often it was answered.
pub(crate) fn ask(args: &ClientArgs) -> Result<()> {
    let connect = || -> Result<(TcpStream, Frames)> {
        let mut stream = TcpStream::connect(args.to)?;
        stream.set_nodelay(true)?;
        stream.write_all(PREFACE)?;
        stream.read_exact(&mut [0; SETTINGS.len()])?;
        Ok((stream, Frames::of(REQUEST)))
    };
    let mut connections = (0..CONNECTIONS).map(|_| connect()).collect::<Result<Vec<_>>>()?;
    let mut responses = Frames::of(RESPONSE).bytes;
    let (started, length, mut asked) = (Instant::now(), Duration::from_secs(args.seconds), 0_u64);
    while started.elapsed() < length {
        if asked as f64 > f64::from(RATE) * started.elapsed().as_secs_f64() {
            thread::sleep(Duration::from_micros(500));
            continue;
        }
        for (stream, requests) in &mut connections {
            stream.write_all(requests.next())?;
        }
        for (stream, requests) in &mut connections {
            stream.read_exact(&mut responses)?;
            asked += u64::from(BATCH);
            if requests.first > 2 * BATCH * LIFE {
                (*stream, *requests) = connect()?;
            }
        }
    }
    println!("{asked}");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_of_a_connection_are_numbered_on() {
        let mut frames = Frames::of(REQUEST);
        let number =
            |bytes: &[u8], nth: usize| u32::from_be_bytes(bytes[nth * 15 + 5..nth * 15 + 9].try_into().unwrap());
        let first = frames.next().to_vec();
        assert_eq!((first.len(), number(&first, 0), number(&first, 49)), (50 * 15, 1, 99));
        assert_eq!(number(frames.next(), 0), 101);
    }
}
