//! A value that one thread uses all the time and others now and then.

use std::{
    sync::{
        Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

/// How long the one thread stays away from the value when others want it.
const GIVEN_WAY: Duration = Duration::from_micros(50);
/// How often at a time: others get a few milliseconds, and then it is the one thread's turn.
const GIVEN_WAY_MAX: usize = 40;

/// A mutex whose busiest user gives way: the standard one is taken by who comes first, and that is who has just given it
/// up. Under load, exporters would wait for seconds.
#[derive(Debug)]
pub struct Shared<T> {
    value: Mutex<T>,
    waiting: AtomicUsize,
}

impl<T> Shared<T> {
    /// Shares a value.
    pub const fn new(value: T) -> Self {
        Self { value: Mutex::new(value), waiting: AtomicUsize::new(0) }
    }

    /// For all but the busiest user.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        self.waiting.fetch_add(1, Ordering::Relaxed);
        let guard = self.value.lock().unwrap_or_else(PoisonError::into_inner);
        self.waiting.fetch_sub(1, Ordering::Relaxed);
        guard
    }

    /// For the busiest user: after those who wait.
    pub(super) fn lock_after_others(&self) -> MutexGuard<'_, T> {
        for _ in 0..GIVEN_WAY_MAX {
            if self.waiting.load(Ordering::Relaxed) == 0 {
                break;
            }
            thread::sleep(GIVEN_WAY);
        }
        self.value.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::{Arc, atomic::AtomicBool};

    use super::*;

    #[test]
    fn others_get_their_turn_while_one_thread_takes_it_all_the_time() {
        let shared = Arc::new(Shared::new(0_u64));
        let stop = Arc::new(AtomicBool::new(false));
        let busy = thread::spawn({
            let (shared, stop) = (Arc::clone(&shared), Arc::clone(&stop));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    let mut value = shared.lock_after_others();
                    thread::sleep(Duration::from_millis(1));
                    *value += 1;
                }
            }
        });
        for _ in 0..20 {
            let before = *shared.lock();
            assert!(*shared.lock() <= before + 2, "the busy thread went on meanwhile");
        }
        stop.store(true, Ordering::Relaxed);
        busy.join().unwrap();
    }
}
