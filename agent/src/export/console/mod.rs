//! Spans on standard output, written by a thread of its own: a reader that does not read stops nobody else.

mod columns;
mod json;
mod metrics;
mod text;

use std::{
    collections::VecDeque,
    io::{self, IsTerminal, Write},
    mem,
    sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError},
    thread,
};

use jiff::tz::TimeZone;
use tokio::{
    sync::Notify,
    time::{Instant, timeout_at},
};

pub(super) use metrics::Metrics;

use self::columns::Columns;
use super::{
    config::Print,
    consumer::{Pending, SpanConsumer},
    ledger::{Fate, Ledger},
};
use crate::{
    model::{
        self_metric::{self, SelfMetric},
        span::{Span, Value},
    },
    terminal::{self, Paint},
};

/// Most bytes of spans that wait to be printed; the newest beyond it are dropped and counted.
const MAX_WAITING_BYTES: u64 = 16 << 20;
/// Lines are written in pieces of about this many bytes, or when no more spans wait.
const WRITE_BYTES: usize = 64 << 10;

/// A span as `--print json` shows it.
#[cfg(test)]
pub(crate) fn json_line(span: &Span) -> String {
    let mut line = String::new();
    json::line(span, &mut line);
    line
}

/// See the module.
pub(super) struct Console {
    shared: Arc<Shared>,
}

struct Shared {
    state: Mutex<State>,
    ledger: Mutex<Ledger>,
    changed: Condvar,
    ended: Notify,
    /// Told when nobody reads any more.
    reader_gone: Notify,
}

#[derive(Default)]
struct State {
    waiting: VecDeque<(Arc<Vec<Span>>, u64)>,
    /// No more spans come.
    closing: bool,
    /// Why spans are not taken any more.
    ended: Option<Fate>,
}

impl Console {
    /// Starts the thread, unless nothing is to be printed.
    pub(super) fn start(print: Print) -> Option<Self> {
        let zone = TimeZone::system();
        let line: Line = match print {
            Print::Off => return None,
            Print::Text if io::stdout().is_terminal() => {
                let mut columns = Columns::new(zone, Paint::for_stdout());
                Box::new(move |span, out| columns.line(span, terminal::columns(), out))
            }
            Print::Text => Box::new(move |span, out| text::line(span, &zone, out)),
            Print::Json => Box::new(json::line),
        };
        Self::start_on(line, io::stdout())
    }

    fn start_on(mut line: Line, mut to: impl Write + Send + 'static) -> Option<Self> {
        let shared = Arc::new(Shared {
            state: Mutex::default(),
            ledger: Mutex::default(),
            changed: Condvar::new(),
            ended: Notify::new(),
            reader_gone: Notify::new(),
        });
        let its = Arc::clone(&shared);
        let run = move || its.run(&mut line, &mut to);
        if let Err(error) = thread::Builder::new().name("print".into()).spawn(run) {
            tracing::warn!(%error, "spans are not printed: cannot start a thread");
            return None;
        }
        Some(Self { shared })
    }
}

impl SpanConsumer for Console {
    fn name(&self) -> &'static str {
        super::CONSOLE
    }

    fn push(&self, spans: &Arc<Vec<Span>>) {
        let cost = spans.iter().map(span_bytes).sum();
        let count = spans.len() as u64;
        let mut state = lock(&self.shared.state);
        let mut ledger = lock(&self.shared.ledger);
        if let Some(outcome) = state.ended {
            ledger.refuse(count, outcome);
        } else if ledger.queued_bytes + cost > MAX_WAITING_BYTES {
            ledger.refuse(count, Fate::DroppedQueueFull);
        } else {
            ledger.enqueue(count, cost);
            state.waiting.push_back((Arc::clone(spans), cost));
            self.shared.changed.notify_one();
        }
    }

    fn max_bytes(&self) -> u64 {
        MAX_WAITING_BYTES
    }

    fn ledger(&self) -> Ledger {
        *lock(&self.shared.ledger)
    }

    fn counted_as(&self) -> &'static SelfMetric {
        &self_metric::PRINT_SPANS
    }

    fn waits_as(&self) -> &'static SelfMetric {
        &self_metric::PRINT_QUEUE_BYTES
    }

    fn unheard(&self) -> Pending<'_> {
        Box::pin(self.shared.reader_gone.notified())
    }

    /// Prints what waits.
    fn shutdown(&self, deadline: Instant) -> Pending<'_> {
        Box::pin(async move {
            let ended = self.shared.ended.notified();
            lock(&self.shared.state).closing = true;
            self.shared.changed.notify_one();
            let _in_time = timeout_at(deadline, ended).await.is_ok();
            self.shared.end(Fate::DroppedShutdown);
        })
    }
}

type Line = Box<dyn FnMut(&Span, &mut String) + Send>;

impl Shared {
    fn run(&self, line: &mut Line, to: &mut impl Write) {
        let mut lines = String::new();
        let mut warned = false;
        while let Some(batches) = self.next() {
            let mut batches = batches.into_iter().peekable();
            let (mut spans, mut cost) = (0, 0);
            while let Some((batch, batch_cost)) = batches.next() {
                batch.iter().for_each(|span| line(span, &mut lines));
                spans += batch.len() as u64;
                cost += batch_cost;
                if lines.len() < WRITE_BYTES && batches.peek().is_some() {
                    continue;
                }
                let written = to.write_all(lines.as_bytes()).and_then(|()| to.flush());
                lines.clear();
                let outcome = if written.is_ok() { Fate::Sent } else { Fate::DroppedFailed };
                self.settle(mem::take(&mut spans), mem::take(&mut cost), outcome);
                match written {
                    Ok(()) => {}
                    // Nobody reads any more (`| head`): what remains is counted, and that is all.
                    Err(error) if error.kind() == io::ErrorKind::BrokenPipe => {
                        self.end(Fate::DroppedFailed);
                        return self.reader_gone.notify_one();
                    }
                    Err(error) if !warned => {
                        warned = true;
                        tracing::warn!(%error, "cannot print spans");
                    }
                    Err(_) => {}
                }
            }
        }
        self.end(Fate::DroppedShutdown);
    }

    /// What waits; `None` when no more comes.
    fn next(&self) -> Option<VecDeque<(Arc<Vec<Span>>, u64)>> {
        let mut state = lock(&self.state);
        loop {
            if state.ended.is_some() {
                return None;
            }
            if !state.waiting.is_empty() {
                return Some(mem::take(&mut state.waiting));
            }
            if state.closing {
                return None;
            }
            state = self.changed.wait(state).unwrap_or_else(PoisonError::into_inner);
        }
    }

    fn settle(&self, spans: u64, cost: u64, outcome: Fate) {
        let state = lock(&self.state);
        // Once ended, all that was under way has been accounted for.
        if state.ended.is_none() {
            lock(&self.ledger).settle(spans, cost, outcome);
        }
    }

    /// Accounts for all that was not printed and takes no more.
    fn end(&self, outcome: Fate) {
        let mut state = lock(&self.state);
        if state.ended.is_none() {
            state.ended = Some(outcome);
            state.waiting.clear();
            let mut ledger = lock(&self.ledger);
            let (spans, bytes) = (ledger.queued, ledger.queued_bytes);
            ledger.settle(spans, bytes, outcome);
        }
        drop(state);
        self.ended.notify_one();
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// About what a span takes in memory.
fn span_bytes(span: &Span) -> u64 {
    let heap = |value: &Value| if let Value::Str(text) = value { text.len() } else { 0 };
    let attributes: usize = span.attributes.iter().map(|a| size_of_val(a) + heap(&a.value)).sum();
    (size_of::<Span>() + span.name.len() + attributes) as u64
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::export::testing;

    /// Tells what was written; fails, or waits, as it is told to.
    struct Pipe {
        written: mpsc::Sender<String>,
        before: Box<dyn FnMut() -> io::Result<()> + Send>,
    }

    impl Write for Pipe {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            (self.before)()?;
            self.written.send(String::from_utf8(bytes.to_vec()).unwrap()).unwrap();
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn console(before: impl FnMut() -> io::Result<()> + Send + 'static) -> (Console, mpsc::Receiver<String>) {
        let (written, read) = mpsc::channel();
        let line: Line = Box::new(|span, out| *out += &format!("{}\n", span.span_id));
        (Console::start_on(line, Pipe { written, before: Box::new(before) }).unwrap(), read)
    }

    fn counts(console: &Console) -> Ledger {
        console.ledger()
    }

    async fn shutdown(console: &Console, ms: u64) {
        console.shutdown(Instant::now() + std::time::Duration::from_millis(ms)).await;
    }

    #[tokio::test]
    async fn everything_pushed_is_printed_before_the_end() {
        let (console, read) = console(|| Ok(()));
        (0..10).for_each(|n| console.push(&Arc::new(vec![testing::span(n + 1); 100])));
        shutdown(&console, 10_000).await;
        assert_eq!(read.try_iter().map(|text| text.lines().count()).sum::<usize>(), 1000);
        let ledger = counts(&console);
        assert_eq!((ledger.pushed, ledger.count(Fate::Sent), ledger.queued_bytes), (1000, 1000, 0));
    }

    #[tokio::test]
    async fn a_broken_pipe_ends_printing_and_the_rest_is_counted() {
        let (console, read) = console(|| Err(io::ErrorKind::BrokenPipe.into()));
        console.push(&Arc::new(vec![testing::span(1)]));
        console.unheard().await;
        console.push(&Arc::new(vec![testing::span(2)]));
        assert_eq!((counts(&console).count(Fate::DroppedFailed), read.try_iter().count()), (2, 0));
    }

    #[tokio::test]
    async fn a_reader_that_does_not_read_bounds_memory_and_does_not_hold_the_end_up() {
        let (release, held) = mpsc::channel::<()>();
        let (console, _read) = console(move || {
            // Ends when the test does.
            held.recv().map_err(|_| io::ErrorKind::BrokenPipe.into())
        });
        for n in 0..200 {
            console.push(&Arc::new(vec![testing::span(n + 1); 100]));
            assert!(counts(&console).queued_bytes <= MAX_WAITING_BYTES);
        }
        assert!(counts(&console).count(Fate::DroppedQueueFull) > 0);
        shutdown(&console, 10).await;
        let ledger = counts(&console);
        assert_eq!((ledger.pushed, ledger.lost(), ledger.queued), (20_000, 20_000, 0));
        drop(release);
    }
}
