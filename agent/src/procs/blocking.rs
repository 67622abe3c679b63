//! Threads for calls that may never return: a file system in a container (FUSE, NFS) that does not answer holds whoever
//! opens a file there, for ever, and so can a process hold whoever reads its memory (`/proc/PID/environ`). Such calls are
//! made here: waited for a bounded time, bounded in number, and not repeated where one still hangs.

use std::{
    collections::{HashSet, VecDeque},
    sync::{
        Arc, Condvar, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
        mpsc,
    },
    thread,
    time::Duration,
};

use super::fs::ProcFs;
use crate::model::ids::ProcessId;

/// Most threads; where all of them hang, nothing is read any more until one returns.
const THREADS_MAX: usize = 16;
/// How long a call is waited for where all is well: a large program on a slow disk takes a while.
pub(crate) const PATIENCE: Duration = Duration::from_millis(500);
/// The part of it that a call gets while another hangs.
const IN_TROUBLE: u32 = 10;
/// How long a thread waits for work before it ends, unless it is the last.
const IDLE: Duration = Duration::from_secs(10);

/// Whose file system a call goes to: where one hangs, another would.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Place {
    /// A container's, by its mount namespace.
    Namespace(u64),
    /// A process's that shares the agent's mount namespace, or whose namespace is not known.
    Process(ProcessId),
}

impl Place {
    /// Where a process's files are.
    #[must_use]
    pub(crate) fn of(proc: &ProcFs, pid: ProcessId) -> Self {
        let own = proc.own_pid().and_then(|own| proc.namespace(own, "mnt"));
        match proc.namespace(pid, "mnt") {
            Some(namespace) if own != Some(namespace) => Self::Namespace(namespace),
            _ => Self::Process(pid),
        }
    }
}

/// See the module. Its threads are started when they are needed.
#[derive(Default)]
pub(crate) struct BlockingPool(Arc<Inner>);

#[derive(Default)]
struct Inner {
    state: Mutex<State>,
    changed: Condvar,
    unanswered: AtomicU64,
}

#[derive(Default)]
struct State {
    jobs: VecDeque<Job>,
    threads: usize,
    idle: usize,
    /// Where a call was given up and has not returned since.
    hanging: HashSet<Place>,
}

type Job = Box<dyn FnOnce() + Send>;

impl BlockingPool {
    /// The result of `call`, which is made on another thread; `None` where it takes longer than `patience`, or would have to
    /// wait for one that hangs.
    pub(crate) fn call<T: Send + 'static>(
        &self,
        place: Place,
        patience: Duration,
        call: impl FnOnce() -> T + Send + 'static,
    ) -> Option<T> {
        let (give, take) = mpsc::sync_channel(1);
        let patience = {
            let mut state = self.0.lock();
            let is_well = !state.hanging.contains(&place) && self.0.has_thread(&mut state);
            if !is_well {
                drop(state);
                self.0.unanswered.fetch_add(1, Ordering::Relaxed);
                return None;
            }
            let inner = Arc::clone(&self.0);
            state.jobs.push_back(Box::new(move || {
                // What a file makes panic is that file's affair: the thread goes on.
                let result = std::panic::catch_unwind(std::panic::AssertUnwindSafe(call));
                // Together: either the result is taken, or the place is known to hang until here.
                let mut state = inner.lock();
                let untaken = result.map(|result| give.try_send(result));
                if !matches!(untaken, Ok(Ok(()))) {
                    state.hanging.remove(&place);
                }
                // A file may take its time to be closed, too.
                drop(state);
                drop(untaken);
            }));
            self.0.changed.notify_one();
            if state.hanging.is_empty() { patience } else { patience / IN_TROUBLE }
        };
        if let Ok(result) = take.recv_timeout(patience) {
            return Some(result);
        }
        let mut state = self.0.lock();
        if let Ok(result) = take.try_recv() {
            return Some(result);
        }
        // A call that panicked does not hang.
        if matches!(take.try_recv(), Err(mpsc::TryRecvError::Empty)) && state.hanging.insert(place) {
            tracing::warn!(?place, "reading files of a process takes too long; what they say of it is left out");
        }
        drop(take);
        drop(state);
        self.0.unanswered.fetch_add(1, Ordering::Relaxed);
        None
    }

    /// Calls that were given up, or not made since another hangs.
    #[must_use]
    pub(crate) fn unanswered(&self) -> u64 {
        self.0.unanswered.load(Ordering::Relaxed)
    }
}

impl Inner {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Makes sure that a thread can take one job more.
    fn has_thread(self: &Arc<Self>, state: &mut State) -> bool {
        if state.idle > state.jobs.len() {
            return true;
        }
        if state.threads >= THREADS_MAX {
            return false;
        }
        let inner = Arc::clone(self);
        let started = thread::Builder::new().name("files".to_owned()).spawn(move || inner.work());
        state.threads += usize::from(started.is_ok());
        started.is_ok()
    }

    fn work(&self) {
        let mut state = self.lock();
        loop {
            if let Some(job) = state.jobs.pop_front() {
                drop(state);
                job();
                state = self.lock();
                continue;
            }
            state.idle += 1;
            let (locked, waited) = self.changed.wait_timeout(state, IDLE).unwrap_or_else(PoisonError::into_inner);
            state = locked;
            state.idle -= 1;
            if waited.timed_out() && state.jobs.is_empty() && state.threads > 1 {
                state.threads -= 1;
                return;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(20);
    const LONG: Duration = Duration::from_secs(20);

    /// A call that returns once the sender is dropped.
    fn hanging(pool: &BlockingPool, place: Place) -> (mpsc::Sender<()>, Option<u32>) {
        let (release, held) = mpsc::channel::<()>();
        let result = pool.call(place, SHORT, move || {
            let _released = held.recv();
            1
        });
        (release, result)
    }

    #[test]
    fn a_call_that_hangs_is_given_up_and_its_place_left_alone_until_it_returns() {
        let pool = BlockingPool::default();
        let (release, result) = hanging(&pool, Place::Namespace(1));
        assert_eq!(result, None);
        assert_eq!(pool.call(Place::Namespace(1), LONG, || 2), None, "not even tried");
        assert_eq!(pool.call(Place::Namespace(2), LONG, || 2), Some(2));
        assert_eq!(pool.unanswered(), 2);
        drop(release);
        while pool.call(Place::Namespace(1), LONG, || 2).is_none() {
            thread::yield_now();
        }
    }

    #[test]
    fn threads_are_bounded_and_reused() {
        let pool = BlockingPool::default();
        let held: Vec<_> = (0..THREADS_MAX as u64 + 4).map(|at| hanging(&pool, Place::Namespace(at)).0).collect();
        assert_eq!(pool.0.lock().threads, THREADS_MAX);
        assert_eq!(pool.call(Place::Process(ProcessId(1)), LONG, || 2), None, "none is left");
        drop(held);
        while pool.call(Place::Process(ProcessId(1)), LONG, || 2).is_none() {
            thread::yield_now();
        }
        for pid in 0..100 {
            while pool.call(Place::Process(ProcessId(pid)), LONG, || 2).is_none() {}
        }
        assert!(pool.0.lock().threads <= THREADS_MAX);
    }

    #[test]
    fn a_call_that_panics_costs_no_thread() {
        let pool = BlockingPool::default();
        for _ in 0..2 * THREADS_MAX {
            assert_eq!(pool.call(Place::Process(ProcessId(1)), LONG, || -> u32 { panic!("a file of no form") }), None);
        }
        assert_eq!(pool.call(Place::Process(ProcessId(1)), LONG, || 2), Some(2));
    }
}
