//! Drops on threads of its own what the kernel takes its time for.

use std::{
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, Sender},
    },
    thread::{self, JoinHandle},
};

/// Most threads that drop at the same time.
const THREADS_MAX: usize = 64;

/// What is to be dropped. One thread does it while work goes on; at the end as many as help, as the kernel lets those that
/// wait at the same time wait together.
pub(super) struct DropQueue<T: Send + 'static> {
    /// `None` once nothing can come any more.
    sender: Option<Sender<T>>,
    waiting: Arc<Waiting<T>>,
    threads: Vec<JoinHandle<()>>,
}

struct Waiting<T> {
    queue: Mutex<Receiver<T>>,
    len: AtomicUsize,
}

impl<T> Waiting<T> {
    /// Drops what comes, until nothing can come any more.
    fn drop_all(&self) {
        loop {
            let next = self.queue.lock().unwrap_or_else(PoisonError::into_inner).recv();
            let Ok(it) = next else { return };
            self.len.fetch_sub(1, Ordering::Relaxed);
            drop(it);
        }
    }
}

impl<T: Send + 'static> Default for DropQueue<T> {
    fn default() -> Self {
        let (sender, queue) = mpsc::channel();
        let waiting = Arc::new(Waiting { queue: Mutex::new(queue), len: AtomicUsize::new(0) });
        Self { sender: Some(sender), waiting, threads: Vec::new() }
    }
}

impl<T: Send + 'static> DropQueue<T> {
    /// Drops it later.
    pub(super) fn push(&mut self, it: T) {
        if self.threads.is_empty() {
            self.start_thread();
        }
        self.waiting.len.fetch_add(1, Ordering::Relaxed);
        if let Some(sender) = &self.sender {
            // The other end lives as long as this; without a thread it is emptied at the end.
            let _never_fails = sender.send(it);
        }
    }

    /// Whether it could be.
    fn start_thread(&mut self) -> bool {
        let waiting = Arc::clone(&self.waiting);
        match thread::Builder::new().name("detach".to_owned()).spawn(move || waiting.drop_all()) {
            Ok(thread) => self.threads.push(thread),
            Err(error) => {
                tracing::debug!(%error, "no thread to take probes away");
                return false;
            }
        }
        true
    }
}

impl<T: Send + 'static> Drop for DropQueue<T> {
    /// Waits until all is dropped: a thread that is ended with the program in the midst of it leaves a probe behind.
    fn drop(&mut self) {
        let wanted = self.waiting.len.load(Ordering::Relaxed).min(THREADS_MAX);
        while self.threads.len() < wanted && self.start_thread() {}
        self.sender = None;
        self.waiting.drop_all();
        for thread in self.threads.drain(..) {
            if thread.join().is_err() {
                tracing::error!("probes were not taken away: the thread for it has panicked");
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::Condvar,
        time::{Duration, Instant},
    };

    use super::*;

    /// Is dropped when so many are at the same time.
    struct Together(Arc<(Mutex<usize>, Condvar)>, usize);

    impl Drop for Together {
        fn drop(&mut self) {
            let (dropping, more) = &*self.0;
            let mut dropping = dropping.lock().unwrap();
            *dropping += 1;
            more.notify_all();
            let wait = more.wait_timeout_while(dropping, Duration::from_secs(10), |dropping| *dropping < self.1);
            assert!(!wait.unwrap().1.timed_out(), "others are dropped only after this");
        }
    }

    #[test]
    fn at_the_end_they_are_dropped_at_the_same_time() {
        let dropping = Arc::default();
        let mut queue = DropQueue::default();
        (0..THREADS_MAX).for_each(|_| queue.push(Together(Arc::clone(&dropping), THREADS_MAX)));
        drop(queue);
        assert_eq!(*dropping.0.lock().unwrap(), THREADS_MAX);
    }

    #[test]
    fn one_is_dropped_while_work_goes_on() {
        let dropping: Arc<(Mutex<usize>, Condvar)> = Arc::default();
        let mut queue = DropQueue::default();
        queue.push(Together(Arc::clone(&dropping), 1));
        let began = Instant::now();
        while *dropping.0.lock().unwrap() == 0 {
            assert!(began.elapsed() < Duration::from_secs(10), "nothing drops it");
            thread::yield_now();
        }
    }
}
