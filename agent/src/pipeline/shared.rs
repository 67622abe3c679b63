//! A value that one thread uses all the time and others now and then.

/// A mutex that is handed to who waits. A plain one is taken by who comes first, and that is who has just given it up:
/// under load, exporters would wait for seconds for the thread that drains the ring.
pub type Shared<T> = parking_lot::FairMutex<T>;

#[cfg(test)]
mod tests {
    use std::{
        sync::{
            Arc,
            atomic::{AtomicBool, Ordering},
        },
        thread,
        time::Duration,
    };

    use super::*;

    #[test]
    fn others_get_their_turn_while_one_thread_takes_it_all_the_time() {
        let shared = Arc::new(Shared::new(0_u64));
        let stop = Arc::new(AtomicBool::new(false));
        let busy = thread::spawn({
            let (shared, stop) = (Arc::clone(&shared), Arc::clone(&stop));
            move || {
                while !stop.load(Ordering::Relaxed) {
                    let mut value = shared.lock();
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
