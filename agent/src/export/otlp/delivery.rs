//! Brings one request to the receiver, with retries; knows whether the receiver is well.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};
use tracing::{info, warn};

use super::transport::{Blame, Failure, Signal, Transport, TransportError};
use crate::export::{
    config::{OtlpConfig, RetryConfig},
    ledger::Fate,
};

/// When the stage must have stopped; `None` while it runs.
pub(crate) type StopAt = watch::Receiver<Option<Instant>>;

/// How often a request is tried that may itself be the cause of its failures: it must not hold a place for ever. Where
/// there was no answer at all, it is suspected only if other requests are taken meanwhile.
const TRIES_IF_SUSPECT: u32 = 5;
/// How often a request is tried after the stage was asked to stop.
const TRIES_WHEN_STOPPING: u32 = 2;
/// Time between two lines about partial success.
const PARTIAL_SUCCESS_LOG_INTERVAL: Duration = Duration::from_secs(60);

/// A receiver, and how requests are brought to it.
pub(crate) struct Delivery {
    transport: Transport,
    signal: Signal,
    endpoint: String,
    retry: RetryConfig,
    /// Longest time after which one request is tried again.
    limit: Option<Duration>,
    /// Longest time for one request, retries included.
    longest: Option<Duration>,
    stop_at: StopAt,
    /// Requests that were taken.
    successes: AtomicU64,
    health: Mutex<Health>,
}

#[derive(Default)]
struct Health {
    failing_since: Option<Instant>,
    /// The receiver asked to be left alone until then.
    not_before: Option<Instant>,
    partial_success_logged: Option<Instant>,
}

impl Delivery {
    /// # Errors
    /// As [`Transport::new`].
    pub(crate) fn new(
        signal: Signal,
        config: &OtlpConfig,
        retry: RetryConfig,
        [limit, longest]: [Option<Duration>; 2],
        stop_at: StopAt,
    ) -> Result<Self, TransportError> {
        Ok(Self {
            transport: Transport::new(signal, config)?,
            signal,
            endpoint: config.endpoint.to_string(),
            retry,
            limit,
            longest,
            stop_at,
            successes: AtomicU64::new(0),
            health: Mutex::default(),
        })
    }

    /// Sends until the receiver takes or refuses it, or time is up. Returns the outcome of the items, but for so many
    /// that the receiver rejected. `items` is their number.
    pub(crate) async fn deliver(&self, message: Bytes, items: u64) -> (Fate, u64) {
        let mut stop_at = self.stop_at.clone();
        let give_up_at = self.limit.map(|limit| Instant::now() + limit);
        let longest_at = self.longest.map(|longest| Instant::now() + longest);
        let successes_before = self.successes.load(Ordering::Relaxed);
        let (mut tries, mut unanswered, mut failed_at, mut tries_stopping) = (0, 0, 0, 0);
        loop {
            if let Some(retry_not_before) = self.asked_to_wait()
                && self.wait(retry_not_before, &mut stop_at, give_up_at, true).await.is_err()
            {
                return (self.out_of_time(&stop_at), 0);
            }
            let stopping = stop_at.borrow_and_update().is_some();
            let attempt = self.transport.send(message.clone());
            let answer = match longest_at {
                None => attempt.await,
                Some(at) => match timeout_at(at, attempt).await {
                    Ok(answer) => answer,
                    Err(_) => {
                        self.failed("no answer within the time that it may take", "the request is dropped");
                        return (self.out_of_time(&stop_at), 0);
                    }
                },
            };
            let (after, blame, error) = match answer {
                Ok(accepted) => {
                    self.worked(&accepted, items);
                    return (Fate::Sent, accepted.rejected.min(items));
                }
                Err(Failure::Permanent { error }) => {
                    self.failed(&error, "the request is dropped");
                    return (Fate::DroppedFailed, 0);
                }
                Err(Failure::Retry { after, blame, error }) => (after, blame, error),
            };
            tries += 1;
            unanswered += u32::from(blame == Blame::Unknown);
            failed_at += u32::from(blame == Blame::Request);
            tries_stopping += u32::from(stopping);
            self.failed(&error, "will try again");
            if tries_stopping >= TRIES_WHEN_STOPPING {
                return (Fate::DroppedShutdown, 0);
            }
            let others_are_taken = self.successes.load(Ordering::Relaxed) != successes_before;
            if failed_at >= TRIES_IF_SUSPECT || (unanswered >= TRIES_IF_SUSPECT && others_are_taken) {
                return (Fate::DroppedFailed, 0);
            }
            let now = Instant::now();
            let asked = after.map(|after| now + after.min(RetryConfig::MAX_ASKED));
            if let Some(retry_not_before) = asked {
                // For all requests, not for this one alone.
                self.health().not_before = Some(retry_not_before);
            }
            let until = asked.unwrap_or(now).max(now + self.back_off(tries));
            if self.wait(until, &mut stop_at, give_up_at, stopping || asked.is_some()).await.is_err() {
                return (self.out_of_time(&stop_at), 0);
            }
        }
    }

    fn asked_to_wait(&self) -> Option<Instant> {
        self.health().not_before.filter(|retry_not_before| *retry_not_before > Instant::now())
    }

    /// Waits until `until`; shorter if the stage is asked to stop meanwhile, unless the wait is `owed`. Fails, at once,
    /// if time is up before.
    async fn wait(
        &self,
        until: Instant,
        stop_at: &mut StopAt,
        give_up_at: Option<Instant>,
        owed: bool,
    ) -> Result<(), ()> {
        loop {
            let stop = *stop_at.borrow_and_update();
            if stop.into_iter().chain(give_up_at).any(|end| end <= until) {
                return Err(());
            }
            tokio::select! {
                () = tokio::time::sleep_until(until) => return Ok(()),
                changed = stop_at.changed(), if stop.is_none() => {
                    // Without a sender nobody waits for us any more.
                    changed.map_err(|_| ())?;
                    if !owed {
                        return Ok(());
                    }
                }
            }
        }
    }

    fn out_of_time(&self, stop_at: &StopAt) -> Fate {
        if stop_at.borrow().is_some() { Fate::DroppedShutdown } else { Fate::DroppedFailed }
    }

    fn back_off(&self, tries: u32) -> Duration {
        let doubled = self.retry.initial.saturating_mul(1 << tries.saturating_sub(1).min(16));
        // A hasher's keys are random; better numbers are not needed to keep agents from marching in step.
        let random = RandomState::new().build_hasher().finish() % 1024;
        doubled.min(self.retry.max).mul_f64(1.0 - random as f64 / 2048.0)
    }

    fn failed(&self, error: &str, consequence: &str) {
        let mut health = self.health();
        if health.failing_since.is_none() {
            health.failing_since = Some(Instant::now());
            let signal = self.signal.name();
            // Once per outage: the counters tell the rest.
            warn!(endpoint = %self.endpoint, error, "cannot export {signal}; {consequence}");
        }
    }

    fn worked(&self, accepted: &super::transport::Accepted, items: u64) {
        self.successes.fetch_add(1, Ordering::Relaxed);
        let mut health = self.health();
        let signal = self.signal.name();
        if let Some(since) = health.failing_since.take() {
            let seconds = since.elapsed().as_secs_f64();
            info!(endpoint = %self.endpoint, "exporting {signal} works again, after {seconds:.1} s");
        }
        let quiet = health.partial_success_logged.is_some_and(|at| at.elapsed() < PARTIAL_SUCCESS_LOG_INTERVAL);
        if !quiet && (accepted.rejected > 0 || !accepted.message.is_empty()) {
            health.partial_success_logged = Some(Instant::now());
            let (rejected, message) = (accepted.rejected, &accepted.message);
            warn!(endpoint = %self.endpoint, rejected, of = items, message, "the receiver took {signal} only in part");
        }
    }

    fn health(&self) -> std::sync::MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
