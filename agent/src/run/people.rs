//! What people at a terminal are told besides the spans: what is watched and what to try where nothing is seen, and a summary at the
//! end. What is piped has neither.

use std::{
    fmt::Write as _,
    io::{IsTerminal, Write as _},
    sync::{Arc, mpsc},
    thread,
    time::{Duration, Instant},
};

use super::announce;
use crate::{
    api,
    config::{Loaded, Print},
    export::{CONSOLE, MetricSource, SpanSink},
    procs::{ProcessTable, Watched},
    store::{Red, Side, Store, Summed},
    telemetry::clock::unix_ns,
    terminal::{self, Colour, Paint, cut, fit, harmless, short_ms},
};

/// How long nothing is seen before it is said what to try.
const NOTHING_FOR: Duration = Duration::from_secs(5);
/// Rows of the summary.
const ROWS: usize = 20;
/// Memory that the summary's figures are put together in.
const ROOM: usize = 4 << 20;

/// Whether spans are shown to somebody at a terminal.
pub(super) fn are_watching(config: &Loaded) -> bool {
    config.print_mode() == Print::Text && std::io::stdout().is_terminal()
}

/// Where the figures come from.
pub(super) struct Figures {
    /// Of requests.
    pub(super) requests: Arc<dyn MetricSource>,
    /// Of the agent itself.
    pub(super) itself: Arc<dyn MetricSource>,
    pub(super) sink: SpanSink,
    pub(super) processes: Arc<ProcessTable>,
}

/// See the module. The hint's thread ends with it.
pub(super) struct People {
    figures: Arc<Figures>,
    started: Instant,
    _stop: mpsc::Sender<()>,
}

impl People {
    /// From now on it is looked whether there is something to see.
    pub(super) fn at_terminal(figures: Figures) -> Self {
        let figures = Arc::new(figures);
        // Percentiles are as exact as they can be from the beginning on.
        figures.requests.keep_native_histograms(unix_ns());
        let (stop, stopped) = mpsc::channel();
        let its = Arc::clone(&figures);
        let hint = move || {
            if stopped.recv_timeout(NOTHING_FOR) == Err(mpsc::RecvTimeoutError::Timeout) && its.nothing_printed() {
                its.hint();
            }
        };
        // Without it nothing is missing but the hint.
        let _no_thread = thread::Builder::new().name("hint".to_owned()).spawn(hint);
        Self { figures, started: Instant::now(), _stop: stop }
    }

    /// Says what was seen in all.
    pub(super) fn say_goodbye(&self) {
        say(&self.figures.summary(self.started.elapsed()));
    }
}

impl Figures {
    fn nothing_printed(&self) -> bool {
        self.sink.counters().spans_of(CONSOLE).is_some_and(|ledger| ledger.pushed == 0)
    }

    fn sums(&self) -> Vec<Summed> {
        let now = unix_ns();
        let store = Store::new(ROOM, None);
        store.start_at(now);
        store.take(&self.requests.collect(now), now);
        store.red(store.last(Duration::from_secs(1)), |_| true)
    }

    fn hint(&self) {
        let table = Arc::clone(&self.processes);
        let watched = announce::in_time(move || table.watched()).unwrap_or_default();
        let counted = self.sums().iter().map(|(_, red)| red.count).sum();
        say(&hint(&watched, counted));
    }

    fn summary(&self, ran: Duration) -> String {
        let now = unix_ns();
        let mut of_itself = self.itself.collect(now);
        of_itself.extend(self.sink.counters().collect(now));
        let losses = api::losses_of(&of_itself);
        summary(&self.sums(), &losses, ran, terminal::columns(), Paint::for_stdout())
    }
}

fn say(text: &str) {
    // Where nobody reads it there is nobody to tell.
    let _unread = std::io::stdout().lock().write_all(text.as_bytes());
}

/// What is watched, and what to try.
fn hint(watched: &[Watched], counted: u64) -> String {
    let mut text = String::from("\nNothing to show for five seconds.\n");
    match announce::services(watched) {
        Some(services) => text.push_str(&format!("  watched: {services}\n")),
        None => text.push_str("  watched: no process that uses a connection yet\n"),
    }
    if counted > 0 {
        text.push_str(&format!(
            "  {counted} requests were counted that no span is shown of: health checks, or their callers do not sample\n"
        ));
    }
    let served = watched.iter().find_map(|process| process.ports.first());
    match served {
        Some(port) => text.push_str(&format!("  try: curl -s http://127.0.0.1:{port}/\n")),
        None => text.push_str("  try: send a request to a service on this host\n"),
    }
    text.push_str("  or: `beyla-rs survey` says what is watched and what of it cannot be seen, `beyla-rs check` what this kernel lacks\n\n");
    text
}

fn summary(sums: &[Summed], losses: &[api::Loss], ran: Duration, columns: usize, paint: Paint) -> String {
    let mut text = String::from("\n");
    let mut rows: Vec<&Summed> = sums.iter().collect();
    rows.sort_by_key(|(_, red)| std::cmp::Reverse(red.count));
    let left = rows.len().saturating_sub(ROWS);
    rows.truncate(ROWS);
    let line = |service: &str, name: &str, figures: [String; 4], is_failing: bool, out: &mut String| {
        let services = (columns / 5).clamp(12, 32);
        let names = columns.saturating_sub(services + 2 + 10 + 8 + 9 + 9).max(12);
        let [requests, errors, p50, p99] = figures;
        out.push_str(&format!("{} {} ", fit(service, services), fit(name, names)));
        out.push_str(&format!("{requests:>9} "));
        let errors = format!("{errors:>7}");
        if is_failing {
            paint.add(Colour::Red, &errors, out)
        } else {
            out.push_str(&errors)
        }
        out.push_str(&format!(" {p50:>8} {p99:>8}\n"));
    };
    if !rows.is_empty() {
        let mut header = String::new();
        let words = ["requests", "errors", "p50", "p99"].map(str::to_owned);
        line("SERVICE", "ROUTE", words, false, &mut header);
        paint.add(Colour::Faint, header.trim_end(), &mut text);
        text.push('\n');
    }
    for (key, red) in rows {
        let name = match key.side {
            Side::Server => key.name.to_string(),
            Side::Client => format!("→ {} {}", key.name, key.target),
        };
        let quantile = |share| red.quantile(share).map_or_else(|| "-".to_owned(), |s| short_ms(s * 1000.0));
        let figures = [red.count.to_string(), red.errors.to_string(), quantile(0.5), quantile(0.99)];
        line(&harmless(&key.service), &harmless(&name), figures, red.errors > 0, &mut text);
    }
    if left > 0 {
        text.push_str(&format!("and {left} more\n"));
    }
    let of = |side| {
        let its = sums.iter().filter(|(key, _)| key.side == side);
        its.fold(Red::default(), |mut all, (_, red)| {
            all.add(red);
            all
        })
    };
    let (served, made) = (of(Side::Server), of(Side::Client));
    let _ = write!(text, "{} requests answered, {} failed", served.count, served.errors);
    if made.count > 0 {
        let _ = write!(text, "; {} made, {} failed", made.count, made.errors);
    }
    let _ = write!(text, "; in {:.0} s; ", ran.as_secs_f64());
    if losses.is_empty() {
        text.push_str("lost: 0\n");
        return text;
    }
    text.push_str("lost:\n");
    for loss in losses {
        let line = format!("  {} {} ({})", loss.count, loss.what, loss.advice);
        paint.add(Colour::Yellow, &cut(&line, columns.max(40)), &mut text);
        text.push('\n');
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{model::ids::ProcessId, store::Key};

    fn summed(name: &str, side: Side, count: u64, errors: u64) -> Summed {
        let key = Key {
            service: "shop".into(),
            namespace: "".into(),
            side,
            name: name.into(),
            target: if side == Side::Client { "127.0.0.1:90".into() } else { "".into() },
            group: "http",
        };
        (key, Red::of_counts(count, errors, 0.0, &[]))
    }

    #[test]
    fn the_summary_has_what_was_counted_and_what_was_lost() {
        let plain = Paint { has_colour: false };
        let sums = [summed("GET /a", Side::Server, 10, 0), summed("GET /b\x1b[31m", Side::Server, 90, 3)];
        let sums = [&sums[..], &[summed("GET", Side::Client, 5, 1)]].concat();
        let text = summary(&sums, &[], Duration::from_secs(3), 80, plain);
        let lines: Vec<&str> = text.trim().lines().collect();
        assert!(lines[1].contains("GET /b\\u{1b}[31m") && lines[1].contains("       90       3 "), "{text}");
        assert!(lines[3].contains("→ GET 127.0.0.1:90"), "{text}");
        assert_eq!(lines[4], "100 requests answered, 3 failed; 5 made, 1 failed; in 3 s; lost: 0");
        assert!(lines.iter().all(|line| terminal::width(line) <= 80), "{text}");
        let loss = api::Loss { what: "records lost".to_owned(), count: 7.0, advice: "watch less".to_owned() };
        let text = summary(&[], &[loss], Duration::from_secs(3), 80, plain);
        assert_eq!(text, "\n0 requests answered, 0 failed; in 3 s; lost:\n  7 records lost (watch less)\n");
    }

    #[test]
    fn where_nothing_is_seen_it_is_said_what_is_watched_and_what_to_try() {
        let watched = [Watched { pid: ProcessId(7), service_name: "shop".into(), ports: vec![8080] }];
        let text = hint(&watched, 0);
        assert!(text.contains("watched: shop (process 7, :8080)"), "{text}");
        assert!(text.contains("curl -s http://127.0.0.1:8080/") && !text.contains("counted"), "{text}");
        assert!(hint(&[], 3).contains("3 requests were counted that no span is shown of"));
    }
}
