//! A receiver of OTLP over HTTP that takes what comes, answers 200, and counts: requests, bytes and spans. It costs little,
//! since it shares a core with what is measured.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};

/// Where the counts are.
pub(crate) const STATS_PATH: &str = "/stats";
/// Bytes of a body that are taken.
const MAX_BODY: usize = 64 << 20;
/// Bytes of a request's head that are read.
const MAX_HEAD: usize = 16 << 10;

#[derive(clap::Args)]
pub(crate) struct Args {
    /// Address to listen on
    #[arg(long, default_value = "127.0.0.1:4318")]
    listen: SocketAddr,
    /// Take spans for 0.4 s of each 1.3 s only
    #[arg(long)]
    stall: bool,
}

/// How long spans are not taken, and how often that is, with `--stall`.
const STALL: Duration = Duration::from_millis(900);
const STALL_EVERY: Duration = Duration::from_millis(1300);

/// What has arrived.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stats {
    pub(crate) requests: u64,
    pub(crate) bytes: u64,
    pub(crate) spans: u64,
}

impl Stats {
    /// Reads what [`STATS_PATH`] answers.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let mut numbers = text.split_whitespace().map(str::parse);
        let mut next = || numbers.next()?.ok();
        Some(Self { requests: next()?, bytes: next()?, spans: next()? })
    }
}

static REQUESTS: AtomicU64 = AtomicU64::new(0);
static BYTES: AtomicU64 = AtomicU64::new(0);
static SPANS: AtomicU64 = AtomicU64::new(0);

pub(crate) fn main(args: &Args) -> Result<()> {
    let listener = TcpListener::bind(args.listen).with_context(|| format!("cannot listen on {}", args.listen))?;
    let stalls_since = args.stall.then(Instant::now);
    for stream in listener.incoming() {
        let stream = stream?;
        thread::spawn(move || {
            if let Err(error) = serve(stream, stalls_since) {
                eprintln!("otlp-sink: {error:#}");
            }
        });
    }
    Ok(())
}

fn serve(stream: TcpStream, stalls_since: Option<Instant>) -> Result<()> {
    stream.set_nodelay(true)?;
    let mut writer = stream.try_clone()?;
    let mut reader = BufReader::with_capacity(64 << 10, stream);
    let mut body = Vec::new();
    loop {
        let Some(head) = read_head(&mut reader)? else { return Ok(()) };
        body.resize(head.body_len, 0);
        reader.read_exact(&mut body)?;
        let answer = if head.path == STATS_PATH {
            let count = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
            format!("{} {} {}", count(&REQUESTS), count(&BYTES), count(&SPANS))
        } else {
            REQUESTS.fetch_add(1, Ordering::Relaxed);
            BYTES.fetch_add(head.body_len as u64, Ordering::Relaxed);
            if head.path == "/v1/traces" {
                if let Some(since) = stalls_since {
                    let into = since.elapsed().as_millis() % STALL_EVERY.as_millis();
                    thread::sleep(STALL.saturating_sub(Duration::from_millis(into as u64)));
                }
                let spans = spans_in(&body).context("a body that is not OTLP in plain protobuf")?;
                SPANS.fetch_add(spans, Ordering::Relaxed);
            }
            String::new()
        };
        let kind = if answer.is_empty() { "application/x-protobuf" } else { "text/plain" };
        let head_out = format!("HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {}\r\n\r\n", answer.len());
        writer.write_all((head_out + &answer).as_bytes())?;
        if !head.keep_alive {
            return Ok(());
        }
    }
}

struct Head {
    path: String,
    body_len: usize,
    keep_alive: bool,
}

/// The head of the next request; `None` when the client has gone.
fn read_head(reader: &mut BufReader<TcpStream>) -> Result<Option<Head>> {
    let mut line = String::new();
    if reader.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut head = Head {
        path: line.split_whitespace().nth(1).unwrap_or_default().to_owned(),
        body_len: 0,
        keep_alive: !line.trim_end().ends_with("HTTP/1.0"),
    };
    let mut read = line.len();
    loop {
        line.clear();
        read += reader.read_line(&mut line)?;
        if line.trim_end().is_empty() {
            return Ok(Some(head));
        }
        let (name, value) = line.split_once(':').context("odd header")?;
        match (name.to_ascii_lowercase().as_str(), value.trim()) {
            ("content-length", value) => head.body_len = value.parse().context("odd content-length")?,
            ("transfer-encoding", value) => bail!("transfer-encoding {value} is not taken here"),
            ("connection", value) if value.eq_ignore_ascii_case("close") => head.keep_alive = false,
            _ => {}
        }
        if read > MAX_HEAD || head.body_len > MAX_BODY {
            bail!("a request of {} bytes is too large", head.body_len);
        }
    }
}

/// Spans in an `ExportTraceServiceRequest`: field 1 `ResourceSpans`, in it field 2 `ScopeSpans`, in it field 2 `Span`.
/// Nothing inside of a span is looked at.
fn spans_in(body: &[u8]) -> Option<u64> {
    let mut spans = 0;
    each_message(body, 1, &mut |resource| {
        each_message(resource, 2, &mut |scope| {
            each_message(scope, 2, &mut |_span| {
                spans += 1;
                Some(())
            })
        })
    })?;
    Some(spans)
}

/// Calls `found` with every length-delimited field of that number; `None` when the bytes are no protobuf message.
fn each_message<'a>(mut rest: &'a [u8], number: u64, found: &mut dyn FnMut(&'a [u8]) -> Option<()>) -> Option<()> {
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let len = match tag & 7 {
            0 => {
                varint(&mut rest)?;
                continue;
            }
            1 => 8,
            2 => usize::try_from(varint(&mut rest)?).ok()?,
            5 => 4,
            _ => return None,
        };
        let (value, after) = rest.split_at_checked(len)?;
        rest = after;
        if tag == number << 3 | 2 {
            found(value)?;
        }
    }
    Some(())
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let (&byte, after) = rest.split_first()?;
        *rest = after;
        value |= u64::from(byte & 0x7f) << shift;
        if byte < 0x80 {
            return Some(value);
        }
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn field(number: u8, value: &[u8]) -> Vec<u8> {
        let mut bytes = vec![number << 3 | 2, value.len() as u8];
        bytes.extend(value);
        bytes
    }

    #[test]
    fn spans_are_counted_over_all_resources_and_scopes() {
        let span = field(2, &field(1, b"trace id"));
        let scope = field(2, &[field(1, b"scope"), span.clone(), span.clone()].concat());
        let resource = field(1, &[field(1, b"resource"), scope.clone(), scope].concat());
        assert_eq!(spans_in(&[resource.clone(), resource].concat()), Some(8));
        assert_eq!(spans_in(&[]), Some(0));
    }

    #[test]
    fn what_is_no_protobuf_is_refused() {
        assert_eq!(spans_in(&[0x0a, 200]), None);
        assert_eq!(spans_in(b"\x1f\x8b\x08"), None);
        assert_eq!(spans_in(&[0xff; 16]), None);
    }

    #[test]
    fn counts_are_read_back() {
        assert_eq!(Stats::parse("1 2 3"), Some(Stats { requests: 1, bytes: 2, spans: 3 }));
        assert_eq!(Stats::parse("1 2"), None);
    }
}
