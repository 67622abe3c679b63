//! Waiting for what a program says or does, never for a while.

use std::{
    io::{BufRead, BufReader, Read},
    sync::{Arc, Condvar, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

/// Lines that a program prints, collected as they come.
#[derive(Clone, Default)]
pub struct Lines {
    shared: Arc<(Mutex<Text>, Condvar)>,
}

#[derive(Default)]
struct Text {
    lines: Vec<String>,
    is_over: bool,
}

impl Lines {
    /// Reads until the end, on a thread that ends with the stream.
    pub fn collect(stream: impl Read + Send + 'static) -> Self {
        let lines = Self::default();
        let shared = Arc::clone(&lines.shared);
        thread::spawn(move || {
            let mut stream = BufReader::new(stream);
            let mut line = Vec::new();
            while matches!(stream.read_until(b'\n', &mut line), Ok(1..)) {
                let text = String::from_utf8_lossy(&line).trim_end_matches('\n').to_owned();
                line.clear();
                shared.0.lock().unwrap_or_else(PoisonError::into_inner).lines.push(text);
                shared.1.notify_all();
            }
            shared.0.lock().unwrap_or_else(PoisonError::into_inner).is_over = true;
            shared.1.notify_all();
        });
        lines
    }

    /// The part after `prefix` of the first line, from number `from` on, that has it; `None` if it does not come.
    #[must_use]
    pub fn after(&self, from: usize, prefix: &str, timeout: Duration) -> Option<String> {
        let find = |line: &String| line.find(prefix).map(|at| line[at + prefix.len()..].to_owned());
        self.until(timeout, |lines| lines.iter().skip(from).find_map(find))
    }

    /// What `look` makes of the lines, once it makes something of them.
    #[must_use]
    pub fn until<T>(&self, timeout: Duration, look: impl Fn(&[String]) -> Option<T>) -> Option<T> {
        let until = Instant::now() + timeout;
        let mut text = self.shared.0.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            let found = look(&text.lines);
            let left = until.saturating_duration_since(Instant::now());
            if found.is_some() || left.is_zero() || text.is_over {
                return found;
            }
            text = self.shared.1.wait_timeout(text, left).unwrap_or_else(PoisonError::into_inner).0;
        }
    }

    /// All lines, once the stream has ended.
    ///
    /// # Panics
    /// If it does not end.
    #[must_use]
    pub fn all(&self) -> Vec<String> {
        let (until, mut text) = (Instant::now() + crate::LONG, self.shared.0.lock().expect("no reader panics"));
        while !text.is_over {
            let left = until.saturating_duration_since(Instant::now());
            assert!(!left.is_zero(), "a program's output does not end; so far: {:#?}", text.lines);
            text = self.shared.1.wait_timeout(text, left).expect("no reader panics").0;
        }
        text.lines.clone()
    }

    /// The lines so far.
    #[must_use]
    pub fn so_far(&self) -> Vec<String> {
        self.shared.0.lock().unwrap_or_else(PoisonError::into_inner).lines.clone()
    }
}

/// Asks again and again until there is an answer: for what nobody reports.
///
/// # Panics
/// If there is none in time; the message says what was waited for.
pub fn poll<T>(what: &str, ask: impl FnMut() -> Option<T>) -> T {
    poll_every(Duration::from_millis(5), what, ask)
}

/// The same at longer intervals, where to answer takes of what is waited for.
///
/// # Panics
/// As [`poll`].
pub fn poll_every<T>(interval: Duration, what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let until = Instant::now() + crate::LONG;
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(Instant::now() < until, "waited in vain: {what}");
        thread::sleep(interval);
    }
}
