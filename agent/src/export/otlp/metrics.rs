//! Collects metrics at an interval, and a last time at the end, and has them delivered.

use std::{
    pin::pin,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Duration,
};

use tokio::time::{Instant, MissedTickBehavior, interval_at, sleep_until};

use super::{
    delivery::{Delivery, Outgoing, StopAt},
    delta::Deltas,
    metric_encode,
};
use crate::export::{
    MetricSource, collect_updated,
    config::{ExportConfig, Temporality},
    ledger::{Fate, Ledger},
};

pub(super) struct Exporter {
    sources: Vec<Arc<dyn MetricSource>>,
    delivery: Arc<Delivery>,
    points: Arc<Mutex<Ledger>>,
    deltas: Deltas,
    interval: Duration,
    ttl: Duration,
    temporality: Temporality,
}

impl Exporter {
    pub(super) fn new(
        sources: Vec<Arc<dyn MetricSource>>,
        delivery: Arc<Delivery>,
        points: Arc<Mutex<Ledger>>,
        config: &ExportConfig,
    ) -> Self {
        let (interval, ttl, temporality) = (config.metric_interval, config.metric_ttl, config.temporality);
        Self { sources, delivery, points, deltas: Deltas::default(), interval, ttl, temporality }
    }

    /// Runs until asked to stop; then exports a last time, until the deadline.
    pub(super) async fn run(mut self, mut stop_at: StopAt) {
        let mut ticks = interval_at(Instant::now() + self.interval, self.interval);
        ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        while stop_at.borrow().is_none() {
            tokio::select! {
                _ = ticks.tick() => until_stopped(&mut stop_at, self.export()).await,
                changed = stop_at.changed() => if changed.is_err() { return },
            }
        }
        until_stopped(&mut stop_at, self.export()).await;
    }

    async fn export(&mut self) {
        let (now_unix_ns, mut metrics) = collect_updated(&self.sources, self.ttl);
        let mut pending = self.deltas.apply(&mut metrics, now_unix_ns, self.temporality);
        let requests = metric_encode::requests(&metrics, now_unix_ns, self.temporality);
        drop(metrics);
        let under_way: Vec<_> = requests.into_iter().map(|request| UnderWay::new(&self.points, request)).collect();
        for request in under_way {
            let message = request.request.message.clone();
            let outgoing = Outgoing { message, items: request.request.points, since: Some(Instant::now()) };
            let (outcome, rejected) = self.delivery.deliver(&outgoing).await;
            if outcome == Fate::Sent {
                self.deltas.commit(&mut pending, &request.request.pieces);
            }
            request.settle(outcome, rejected);
        }
    }
}

/// Does this until it is done or, once the stage is asked to stop, until the deadline. What is under way then is accounted for
/// by the guard within.
async fn until_stopped(stop_at: &mut StopAt, work: impl Future<Output = ()>) {
    let work = pin!(work);
    let deadline = async {
        // Otherwise nobody waits for it any more.
        if let Ok(Some(deadline)) = stop_at.wait_for(Option::is_some).await.map(|deadline| *deadline) {
            sleep_until(deadline).await;
        }
    };
    tokio::select! {
        () = work => {}
        () = deadline => {}
    }
}

/// A request whose points are accounted for whatever happens to it.
struct UnderWay {
    request: metric_encode::Request,
    ledger: Arc<Mutex<Ledger>>,
    outcome: (Fate, u64),
}

impl UnderWay {
    fn new(ledger: &Arc<Mutex<Ledger>>, request: metric_encode::Request) -> Self {
        lock(ledger).enqueue(request.points, request.message.len() as u64);
        Self { request, ledger: Arc::clone(ledger), outcome: (Fate::DroppedShutdown, 0) }
    }

    fn settle(mut self, outcome: Fate, rejected: u64) {
        self.outcome = (outcome, rejected.min(self.request.points));
    }
}

impl Drop for UnderWay {
    fn drop(&mut self) {
        let (outcome, rejected) = self.outcome;
        let mut ledger = lock(&self.ledger);
        ledger.settle(rejected, 0, Fate::Rejected);
        ledger.settle(self.request.points - rejected, self.request.message.len() as u64, outcome);
    }
}

fn lock(ledger: &Mutex<Ledger>) -> MutexGuard<'_, Ledger> {
    ledger.lock().unwrap_or_else(PoisonError::into_inner)
}
