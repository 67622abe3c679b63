//! Brings one request to the receiver, with retries; knows whether the receiver is well.

use std::{
    collections::hash_map::RandomState,
    hash::{BuildHasher, Hasher},
    os::unix::fs::MetadataExt as _,
    path::Path,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use bytes::Bytes;
use tokio::{
    sync::{OwnedSemaphorePermit, Semaphore, watch},
    time::{Instant, sleep, sleep_until, timeout_at},
};
use tracing::{info, warn};

use super::transport::{Accepted, Blame, Failure, Transport, TransportError};
use crate::{
    config::Signal,
    export::{
        config::{OtlpConfig, RetryConfig, TlsConfig},
        ledger::Fate,
    },
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
/// Longest pause after a request that has waited for the receiver to come back.
const LONGEST_PAUSE: Duration = Duration::from_secs(5);

/// A receiver, and how requests are brought to it.
pub(crate) struct Delivery {
    transport: Mutex<Arc<Transport>>,
    signal: Signal,
    to: Mutex<OtlpConfig>,
    /// What the certificate files were when they were read.
    certificates: Mutex<Vec<Option<Version>>>,
    endpoint: String,
    retry: RetryConfig,
    /// Longest time after which one request is tried again.
    limit: Option<Duration>,
    /// Longest time for one request, retries included.
    longest: Option<Duration>,
    stop_at: StopAt,
    /// Requests that were taken.
    successes: AtomicU64,
    /// While the receiver is away, one request asks whether it is back; what has waited for it then goes one by one, with
    /// pauses. All agents of a cluster do that at the same time, to a receiver that has just come up.
    lane: Arc<Semaphore>,
    health: Mutex<Health>,
}

#[derive(Default)]
struct Health {
    /// Requests have failed since, for whatever reason: it is told.
    failing_since: Option<Instant>,
    /// The receiver is not there, or has too much to do.
    is_away: bool,
    /// It came back then: what had to wait before that is sent in the lane.
    back_since: Option<Instant>,
    /// The receiver asked to be left alone until then.
    not_before: Option<Instant>,
    partial_success: Option<(Instant, String)>,
}

/// How requests go out from now on, made ready.
pub(crate) struct Redirected {
    transport: Transport,
    certificates: Vec<Option<Version>>,
    to: OtlpConfig,
}

/// A request that is to be brought to the receiver.
pub(super) struct Outgoing {
    pub(super) message: Bytes,
    /// Spans or points in it.
    pub(super) items: u64,
    /// Since when they wait; `None`: it was put aside when the receiver was away.
    pub(super) since: Option<Instant>,
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
        // First: what changes while it is read is read again.
        let certificates = Mutex::new(versions(&config.tls));
        Ok(Self {
            transport: Mutex::new(Arc::new(Transport::new(signal, config)?)),
            signal,
            to: Mutex::new(config.clone()),
            certificates,
            endpoint: config.endpoint.to_string(),
            retry,
            limit,
            longest,
            stop_at,
            successes: AtomicU64::new(0),
            lane: Arc::new(Semaphore::new(1)),
            health: Mutex::default(),
        })
    }

    /// How requests go out.
    pub(super) fn to(&self) -> OtlpConfig {
        self.to.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Makes ready that they go out otherwise. To be called with a runtime in reach.
    ///
    /// # Errors
    /// As [`Transport::new`].
    pub(super) fn prepare(&self, to: &OtlpConfig) -> Result<Redirected, TransportError> {
        let certificates = versions(&to.tls);
        Ok(Redirected { transport: Transport::new(self.signal, to)?, certificates, to: to.clone() })
    }

    /// They go out otherwise from now on, those that wait too.
    pub(super) fn redirect(&self, Redirected { transport, certificates, to }: Redirected) {
        *self.to.lock().unwrap_or_else(PoisonError::into_inner) = to;
        *self.certificates() = certificates;
        *self.transport.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(transport);
        // It asked who came otherwise to wait.
        self.health().not_before = None;
    }

    /// Sends until the receiver takes or refuses it, or time is up. Returns the outcome of the items, but for so many
    /// that the receiver rejected.
    pub(super) async fn deliver(&self, request: &Outgoing) -> (Fate, u64) {
        let mut stop_at = self.stop_at.clone();
        // What was put aside waits until the receiver takes it, or its room is needed.
        let end = |limit: Option<Duration>| Some(Instant::now() + limit.filter(|_| request.since.is_some())?);
        let (give_up_at, longest_at) = (end(self.limit), end(self.longest));
        let successes_before = self.successes.load(Ordering::Relaxed);
        let (mut tries, mut unanswered, mut failed_at, mut tries_stopping) = (0, 0, 0, 0);
        let mut lane = None;
        loop {
            if lane.is_none() && self.is_for_the_lane(request) {
                match self.enter_lane(&mut stop_at, give_up_at).await {
                    Ok(entered) => lane = entered,
                    Err(TimeIsUp) => return (self.out_of_time(&stop_at), 0),
                }
            }
            if let Some(retry_not_before) = self.asked_to_wait()
                && self.wait(retry_not_before, &mut stop_at, give_up_at, true).await.is_err()
            {
                return (self.out_of_time(&stop_at), 0);
            }
            let stopping = stop_at.borrow_and_update().is_some();
            let began = Instant::now();
            let transport = self.transport();
            let attempt = transport.send(request.message.clone());
            let answer = match longest_at {
                None => attempt.await,
                Some(at) => match timeout_at(at, attempt).await {
                    Ok(answer) => answer,
                    Err(_) => {
                        self.failed("no answer within the time that it may take", "the request is dropped");
                        self.went_away();
                        return (self.out_of_time(&stop_at), 0);
                    }
                },
            };
            let (after, blame, error) = match self.judged(answer, request) {
                Ok(ended) => {
                    rest(lane, began.elapsed());
                    return ended;
                }
                Err(failure) => failure,
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
            self.renew_certificates().await;
            // Whether it is this request's fault shows when another is tried meanwhile.
            lane = lane.filter(|_| blame == Blame::Receiver);
            let now = Instant::now();
            let asked = self.heed(after);
            let until = asked.unwrap_or(now).max(now + self.back_off(tries));
            if self.wait(until, &mut stop_at, give_up_at, stopping || asked.is_some()).await.is_err() {
                return (self.out_of_time(&stop_at), 0);
            }
        }
    }

    /// The same with one attempt and no waiting; `None`: it was not taken, and may be sent again.
    pub(super) async fn offer(&self, request: &Outgoing) -> Option<(Fate, u64)> {
        if self.is_away() || self.asked_to_wait().is_some() {
            return None;
        }
        match self.judged(self.transport().send(request.message.clone()).await, request) {
            Ok(ended) => Some(ended),
            Err((after, _, error)) => {
                self.failed(&error, "will try again");
                self.heed(after);
                None
            }
        }
    }

    fn transport(&self) -> Arc<Transport> {
        Arc::clone(&self.transport.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Reads certificates and keys anew where their files have changed: they expire, and are replaced while the agent runs.
    async fn renew_certificates(&self) {
        let to = self.to();
        let tls = &to.tls;
        if [&tls.certificate, &tls.client_certificate, &tls.client_key].iter().all(|file| file.is_none()) {
            return;
        }
        let (signal, known, asked) = (self.signal, self.certificates().clone(), to.clone());
        let renewed = tokio::task::spawn_blocking(move || {
            let found = versions(&to.tls);
            (found != known).then(|| (found, Transport::new(signal, &to)))
        });
        let Ok(Some((found, transport))) = renewed.await else { return };
        // Requests may have come to go out otherwise meanwhile.
        if self.to() != asked {
            return;
        }
        *self.certificates() = found;
        match transport {
            Ok(transport) => {
                *self.transport.lock().unwrap_or_else(PoisonError::into_inner) = Arc::new(transport);
                info!(endpoint = %self.endpoint, "the certificates have changed and were read anew");
            }
            Err(error) => warn!(endpoint = %self.endpoint, %error, "the certificates have changed and cannot be used"),
        }
    }

    fn certificates(&self) -> std::sync::MutexGuard<'_, Vec<Option<Version>>> {
        self.certificates.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Whether the receiver is not there, or has too much to do, as far as is known.
    pub(super) fn is_away(&self) -> bool {
        self.health().is_away
    }

    /// What became of a request by this answer, or why it may be tried again.
    fn judged(
        &self,
        answer: Result<Accepted, Failure>,
        request: &Outgoing,
    ) -> Result<(Fate, u64), (Option<Duration>, Blame, String)> {
        match answer {
            Ok(accepted) => {
                self.worked(&accepted, request.items);
                Ok((Fate::Sent, accepted.rejected.min(request.items)))
            }
            Err(Failure::Permanent { error }) => {
                self.failed(&error, "the request is dropped");
                // It is there: it has answered.
                self.came_back();
                Ok((Fate::DroppedFailed, 0))
            }
            Err(Failure::Retry { after, blame, error }) => {
                if blame != Blame::Request {
                    self.went_away();
                }
                Err((after, blame, error))
            }
        }
    }

    fn is_for_the_lane(&self, request: &Outgoing) -> bool {
        let health = self.health();
        let has_waited = match (request.since, health.back_since) {
            (None, _) => true,
            (Some(since), Some(back)) => since < back,
            (Some(_), None) => false,
        };
        has_waited || health.is_away
    }

    /// Waits for the lane; nobody does once the stage is asked to stop.
    async fn enter_lane(
        &self,
        stop_at: &mut StopAt,
        give_up_at: Option<Instant>,
    ) -> Result<Option<OwnedSemaphorePermit>, TimeIsUp> {
        if stop_at.borrow_and_update().is_some() {
            return Ok(None);
        }
        tokio::select! {
            entered = Arc::clone(&self.lane).acquire_owned() => Ok(entered.ok()),
            changed = stop_at.changed() => changed.map(|()| None).map_err(|_| TimeIsUp),
            () = sleep_until_some(give_up_at) => Err(TimeIsUp),
        }
    }

    /// For all requests, not for one alone: when the receiver asked to be left in peace until.
    fn heed(&self, after: Option<Duration>) -> Option<Instant> {
        let not_before = after.map(|after| Instant::now() + after.min(RetryConfig::MAX_ASKED))?;
        self.health().not_before = Some(not_before);
        Some(not_before)
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
    ) -> Result<(), TimeIsUp> {
        loop {
            let stop = *stop_at.borrow_and_update();
            if stop.into_iter().chain(give_up_at).any(|end| end <= until) {
                return Err(TimeIsUp);
            }
            tokio::select! {
                () = sleep_until(until) => return Ok(()),
                changed = stop_at.changed(), if stop.is_none() => {
                    // Without a sender nobody waits for us any more.
                    changed.map_err(|_| TimeIsUp)?;
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

    fn went_away(&self) {
        self.health().is_away = true;
    }

    fn came_back(&self) {
        let mut health = self.health();
        if health.is_away {
            (health.is_away, health.back_since) = (false, Some(Instant::now()));
        }
    }

    fn worked(&self, accepted: &Accepted, items: u64) {
        self.successes.fetch_add(1, Ordering::Relaxed);
        self.came_back();
        let mut health = self.health();
        let signal = self.signal.name();
        if let Some(since) = health.failing_since.take() {
            let seconds = since.elapsed().as_secs_f64();
            info!(endpoint = %self.endpoint, "exporting {signal} works again, after {seconds:.1} s");
        }
        let Accepted { rejected, message } = accepted;
        if *rejected == 0 && message.is_empty() {
            return;
        }
        // The same is said once, something else once a minute: the counters tell the rest.
        let is_known = health
            .partial_success
            .as_ref()
            .is_some_and(|(at, said)| said == message || at.elapsed() < PARTIAL_SUCCESS_LOG_INTERVAL);
        if !is_known {
            health.partial_success = Some((Instant::now(), message.clone()));
            warn!(endpoint = %self.endpoint, rejected, of = items, message = message.escape_debug().to_string(), "the receiver took {signal} only in part");
        }
    }

    fn health(&self) -> std::sync::MutexGuard<'_, Health> {
        self.health.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What tells a file from one that has replaced it: when it was written, its inode, its length.
pub(crate) type Version = (std::time::SystemTime, u64, u64);

/// That of a file now; `None`: it is not there.
pub(crate) fn version(file: &Path) -> Option<Version> {
    let metadata = std::fs::metadata(file).ok()?;
    Some((metadata.modified().ok()?, metadata.ino(), metadata.len()))
}

fn versions(tls: &TlsConfig) -> Vec<Option<Version>> {
    [&tls.certificate, &tls.client_certificate, &tls.client_key].map(|file| file.as_deref().and_then(version)).into()
}

/// There is none left for what was to be done.
#[derive(Debug)]
struct TimeIsUp;

/// Leaves the receiver as much time for others as this request has taken of it.
fn rest(lane: Option<OwnedSemaphorePermit>, took: Duration) {
    if let Some(lane) = lane {
        tokio::spawn(async move {
            sleep(took.min(LONGEST_PAUSE)).await;
            drop(lane);
        });
    }
}

async fn sleep_until_some(at: Option<Instant>) {
    match at {
        Some(at) => sleep_until(at).await,
        None => std::future::pending().await,
    }
}
