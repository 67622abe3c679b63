//! The agent's own log: lines go to standard error, written by a thread of its own. Who logs neither waits for whoever reads
//! them nor fails with him: a reader that goes away (`2>&1 | head -1`) or stops ends nothing.

use std::{
    io::{self, Write},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
        mpsc::{self, Receiver, SyncSender, TrySendError},
    },
    thread,
    time::Duration,
};

/// Most lines that wait to be written; what comes beyond is lost, and counted in the log.
const WAITING_MAX: usize = 1024;
/// Longest line, in bytes: names and paths in it are other programs' to choose.
const LINE_MAX: usize = 16 << 10;

/// Where log lines are written to; cheap to clone.
#[derive(Clone)]
pub(super) struct Log {
    lines: SyncSender<Message>,
    lost: Arc<AtomicU64>,
}

enum Message {
    Line(Box<[u8]>),
    /// To be told when all before it is written.
    Flush(SyncSender<()>),
}

impl Log {
    /// Starts the thread, which ends when the last clone is dropped. Where there can be no thread, nothing is logged.
    pub(super) fn start(to: impl Write + Send + 'static) -> Self {
        let (lines, waiting) = mpsc::sync_channel(WAITING_MAX);
        let lost = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&lost);
        // The next attempt to log finds the channel closed.
        let _no_thread = thread::Builder::new().name("log".to_owned()).spawn(move || write(&waiting, to, &counted));
        Self { lines, lost }
    }

    /// Waits until what was logged so far is written, but not for long.
    pub(super) fn flush(&self, at_most: Duration) {
        let (written, wait) = mpsc::sync_channel(1);
        if self.lines.try_send(Message::Flush(written)).is_ok() {
            let _in_time = wait.recv_timeout(at_most);
        }
    }
}

fn write(lines: &Receiver<Message>, mut to: impl Write, lost: &AtomicU64) {
    while let Ok(message) = lines.recv() {
        // Failures are not told: there is nobody to tell.
        match message {
            Message::Line(line) => {
                let count = lost.swap(0, Ordering::Relaxed);
                if count > 0 {
                    let _unread = writeln!(to, "{count} lines of this log were lost: standard error was not read");
                }
                let _unread = to.write_all(&line);
            }
            Message::Flush(written) => {
                let _unread = to.flush();
                let _gone = written.send(());
            }
        }
    }
}

/// Takes one line at a time, as the logger hands them over.
impl Write for Log {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let mut kept = line.get(..LINE_MAX).unwrap_or(line).to_vec();
        if kept.len() < line.len() {
            kept.extend_from_slice("…\n".as_bytes());
        }
        if let Err(TrySendError::Full(_)) = self.lines.try_send(Message::Line(kept.into())) {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    /// Writes when it is allowed to; fails if it is told to.
    struct Reader {
        allowed: Receiver<io::Result<()>>,
        written: Arc<Mutex<String>>,
    }

    impl Write for Reader {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.allowed.recv().unwrap_or(Ok(()))?;
            self.written.lock().unwrap().push_str(std::str::from_utf8(bytes).unwrap());
            Ok(bytes.len())
        }

        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    fn log() -> (Log, mpsc::Sender<io::Result<()>>, Arc<Mutex<String>>) {
        let (allow, allowed) = mpsc::channel();
        let written = Arc::default();
        (Log::start(Reader { allowed, written: Arc::clone(&written) }), allow, written)
    }

    #[test]
    fn a_reader_that_went_away_is_no_error_and_one_that_is_back_is_written_to() {
        let (mut log, allow, written) = log();
        log.write_all(b"one\n").unwrap();
        allow.send(Err(io::ErrorKind::BrokenPipe.into())).unwrap();
        log.write_all(b"two\n").unwrap();
        drop(allow);
        log.flush(Duration::from_secs(10));
        assert_eq!(*written.lock().unwrap(), "two\n");
    }

    #[test]
    fn a_reader_that_does_not_read_holds_nobody_up_and_what_is_lost_is_counted() {
        let (mut log, allow, written) = log();
        for _ in 0..3 * WAITING_MAX {
            log.write_all(b"line\n").unwrap();
        }
        drop(allow);
        // Some may be told as lost early, where the writer comes to the first line late; and the queue may be full as yet.
        let (kept, lost) = loop {
            log.flush(Duration::from_secs(10));
            let written = written.lock().unwrap().clone();
            let (told, kept): (Vec<_>, Vec<_>) = written.lines().partition(|line| line.contains("lost"));
            let lost: usize = told.iter().filter_map(|line| line.split(' ').next()?.parse::<usize>().ok()).sum();
            if kept.len() + lost >= 3 * WAITING_MAX {
                break (kept.len(), lost);
            }
            thread::yield_now();
        };
        assert_eq!(kept + lost, 3 * WAITING_MAX);
        assert!(lost >= WAITING_MAX, "{lost}");
    }

    #[test]
    fn a_line_without_end_is_cut() {
        let (mut log, allow, written) = log();
        drop(allow);
        log.write_all(&[b'x'; 2 * LINE_MAX]).unwrap();
        log.flush(Duration::from_secs(10));
        assert_eq!(written.lock().unwrap().chars().count(), LINE_MAX + 2);
    }
}
