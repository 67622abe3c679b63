//! Takes batches off the queue and has them delivered, a few at a time.

use std::{sync::Arc, time::Duration};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    delivery::{Delivery, StopAt},
    queue::{Batch, SpanQueue},
};
use crate::export::config::BatchConfig;

/// After a quiet time, how long the first span waits for others.
const LINGER: Duration = Duration::from_millis(100);

/// Runs until asked to stop, then flushes until the deadline. Afterwards the queue is closed and everything that was
/// ever pushed is accounted for.
pub(super) async fn run(queue: Arc<SpanQueue>, delivery: Arc<Delivery>, config: BatchConfig, mut stop_at: StopAt) {
    let slots = Arc::new(Semaphore::new(config.max_in_flight.max(1)));
    let mut requests = JoinSet::new();
    let mut last_export: Option<Instant> = None;
    while due(&queue, &config, last_export, &mut stop_at).await {
        // What waits for a slot waits in the queue, where it is bounded and batches grow.
        let slot = tokio::select! {
            slot = Arc::clone(&slots).acquire_owned() => slot,
            _ = stop_at.changed() => break,
        };
        let (Ok(slot), Some(batch)) = (slot, queue.take()) else { continue };
        last_export = Some(Instant::now());
        requests.spawn(send(batch, Arc::clone(&delivery), slot));
        while requests.try_join_next().is_some() {}
    }
    let deadline = stop_at.borrow().unwrap_or_else(Instant::now);
    let flush = async {
        while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
            let Some(batch) = queue.take() else { break };
            requests.spawn(send(batch, Arc::clone(&delivery), slot));
        }
        while requests.join_next().await.is_some() {}
    };
    // Time being up is no error here: what is left is counted below.
    let _in_time = timeout_at(deadline, flush).await.is_ok();
    requests.shutdown().await;
    queue.close();
}

async fn send(mut batch: Batch, delivery: Arc<Delivery>, _slot: OwnedSemaphorePermit) {
    let request = batch.request();
    let (outcome, rejected) = delivery.deliver(&request).await;
    batch.settle(outcome, rejected);
}

/// Waits until a request should be made; false when asked to stop.
async fn due(queue: &SpanQueue, config: &BatchConfig, last_export: Option<Instant>, stop_at: &mut StopAt) -> bool {
    loop {
        if stop_at.borrow_and_update().is_some() {
            return false;
        }
        let waiting = queue.waiting();
        if waiting.full_batch {
            return true;
        }
        let due = waiting.oldest.map(|oldest| {
            let lingered = Instant::from_std(oldest) + LINGER.min(config.schedule_delay);
            last_export.map_or(lingered, |last| lingered.max(last + config.schedule_delay))
        });
        let timer = async {
            match due {
                Some(due) => sleep_until(due).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = timer => return true,
            () = queue.changed.notified() => {}
            changed = stop_at.changed() => if changed.is_err() { return false },
        }
    }
}
