//! Takes batches off the queue and has them delivered, a few at a time. What the receiver does not take goes into the
//! spool, where there is one, and from there to the receiver once it is back.

use std::{
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore},
    task::JoinSet,
    time::{Instant, sleep_until, timeout_at},
};

use super::{
    delivery::{Delivery, Outgoing, StopAt},
    queue::{Batch, SpanQueue},
    spool::Spool,
};
use crate::export::{
    config::{BatchConfig, OtlpConfig, SpoolConfig},
    ledger::Fate,
};

/// After a quiet time, how long the first span waits for others.
const LINGER: Duration = Duration::from_millis(100);
/// Of the time that stopping may take, this is left for the spool.
const FOR_THE_SPOOL: Duration = Duration::from_secs(1);

/// What [`run`] works with.
pub(super) struct Work {
    pub(super) queue: Arc<SpanQueue>,
    pub(super) delivery: Arc<Delivery>,
    pub(super) config: BatchConfig,
    /// Where the spool is, and whose; where it is to be seen once it is open.
    pub(super) spool: Option<(SpoolConfig, OtlpConfig, Arc<OnceLock<Spool>>)>,
    pub(super) stop_at: StopAt,
}

/// Runs until asked to stop, then flushes until the deadline. Afterwards the queue is closed and everything that was
/// ever pushed is accounted for.
pub(super) async fn run(work: Work) {
    let Work { queue, delivery, config, spool, mut stop_at } = work;
    let mut requests = JoinSet::new();
    let spool = match spool {
        None => None,
        Some((at, to, opened)) => match Spool::open(at.clone(), &to, Arc::clone(&queue)).await {
            Ok(spool) => {
                let _is_the_first = opened.set(spool).is_ok();
                for _ in 0..config.max_in_flight.max(1) {
                    requests.spawn(drain(Arc::clone(&opened), Arc::clone(&delivery), stop_at.clone()));
                }
                Some(opened)
            }
            Err(error) => {
                tracing::warn!(
                    %error, folder = %at.dir.display(),
                    "the spool (export.spool.dir) cannot be used; what the receiver does not take stays in memory"
                );
                None
            }
        },
    };
    let slots = Arc::new(Semaphore::new(config.max_in_flight.max(1)));
    let sender = Sender { delivery, spool, stop_at: stop_at.clone(), last_call: None };
    let mut last_export: Option<Instant> = None;
    'batches: while due(&queue, &config, last_export, &mut stop_at).await {
        // What waits for a slot waits in the queue, where it is bounded and batches grow; or in the spool, when it is high time.
        let slot = loop {
            if sender.has_to_put_aside(&queue, &slots) {
                break None;
            }
            tokio::select! {
                slot = Arc::clone(&slots).acquire_owned() => break slot.ok(),
                () = queue.changed.notified(), if sender.spool.is_some() => {}
                _ = stop_at.changed() => break 'batches,
            }
        };
        let Some(mut batch) = queue.take() else { continue };
        last_export = Some(Instant::now());
        let request = batch.request();
        let (batch, slot, sender) = match slot {
            Some(slot) => (batch, Some(slot), sender.clone()),
            None => {
                let given_back = tokio::select! {
                    given_back = sender.put_aside(batch, &request) => given_back,
                    // A disk that does not answer holds the stop up no longer than a receiver may.
                    () = nearly_over(&mut stop_at, None) => break,
                };
                let Some(batch) = given_back else { continue };
                let slot = tokio::select! {
                    slot = Arc::clone(&slots).acquire_owned() => slot.ok(),
                    _ = stop_at.changed() => None,
                };
                (batch, slot, sender.without_spool())
            }
        };
        requests.spawn(sender.send(batch, request, slot));
        while requests.try_join_next().is_some() {}
    }
    let deadline = stop_at.borrow().unwrap_or_else(Instant::now);
    let last_call = last_call(deadline, Instant::now());
    let sender = Sender { last_call: Some(last_call), ..sender };
    let flush = async {
        while let Ok(slot) = Arc::clone(&slots).acquire_owned().await {
            let Some(mut batch) = queue.take() else { break };
            let request = batch.request();
            requests.spawn(sender.clone().send(batch, request, Some(slot)));
        }
        while requests.join_next().await.is_some() {}
    };
    // Time being up is no error here: what is left is counted below.
    let _in_time = timeout_at(deadline, flush).await.is_ok();
    requests.shutdown().await;
    queue.close();
}

/// How a batch goes.
#[derive(Clone)]
struct Sender {
    delivery: Arc<Delivery>,
    /// Set, if there is one.
    spool: Option<Arc<OnceLock<Spool>>>,
    stop_at: StopAt,
    /// When what is under way has to be put aside, once that is known.
    last_call: Option<Instant>,
}

impl Sender {
    fn spool(&self) -> Option<&Spool> {
        self.spool.as_ref().and_then(|spool| spool.get())
    }

    fn without_spool(&self) -> Self {
        Self { spool: None, ..self.clone() }
    }

    /// Whether the next batch goes into the spool at once.
    fn has_to_put_aside(&self, queue: &SpanQueue, slots: &Semaphore) -> bool {
        let is_held_up = || slots.available_permits() == 0 && queue.is_half_full();
        self.spool.is_some() && (self.delivery.is_away() || is_held_up())
    }

    /// Gives the batch back where that does not work.
    async fn put_aside(&self, batch: Batch, request: &Outgoing) -> Option<Batch> {
        let Some(spool) = self.spool() else { return Some(batch) };
        spool.put_aside(batch, request).await.err().flatten()
    }

    async fn send(self, mut batch: Batch, request: Outgoing, _slot: Option<OwnedSemaphorePermit>) {
        if self.spool.is_some() {
            let mut stop_at = self.stop_at.clone();
            let offered = tokio::select! {
                biased;
                () = nearly_over(&mut stop_at, self.last_call) => None,
                offered = self.delivery.offer(&request) => offered,
            };
            if let Some((outcome, rejected)) = offered {
                return batch.settle(outcome, rejected);
            }
            match self.put_aside(batch, &request).await {
                Some(given_back) => batch = given_back,
                None => return,
            }
        }
        let (outcome, rejected) = self.delivery.deliver(&request).await;
        batch.settle(outcome, rejected);
    }
}

/// Brings what was put aside to the receiver, until the stage is asked to stop.
async fn drain(spool: Arc<OnceLock<Spool>>, delivery: Arc<Delivery>, mut stop_at: StopAt) {
    let Some(spool) = spool.get() else { return };
    let mut stopped = stop_at.clone();
    loop {
        let put_aside = tokio::select! {
            biased;
            // Also when nobody is left to ask it.
            _ = stopped.wait_for(Option::is_some) => return,
            put_aside = spool.next() => put_aside,
        };
        let (outcome, rejected) = tokio::select! {
            biased;
            ended = delivery.deliver(&put_aside.request) => ended,
            () = nearly_over(&mut stop_at, None) => return,
        };
        if outcome == Fate::DroppedShutdown {
            // It stays where it is.
            return;
        }
        spool.settle(put_aside, outcome, rejected).await;
    }
}

/// Waits until the stage has been asked to stop and hardly any time is left: until `last_call`, if that is known already.
async fn nearly_over(stop_at: &mut StopAt, known: Option<Instant>) {
    let at = match known {
        Some(at) => at,
        None => match stop_at.wait_for(Option::is_some).await.map(|deadline| *deadline) {
            Ok(Some(deadline)) => last_call(deadline, Instant::now()),
            // Nobody waits for it any more.
            _ => return,
        },
    };
    sleep_until(at).await;
}

/// When the rest of the time until the deadline is for the spool.
fn last_call(deadline: Instant, asked: Instant) -> Instant {
    deadline - (deadline.saturating_duration_since(asked) / 4).min(FOR_THE_SPOOL)
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
