//! Bad answers on demand.

use std::{
    sync::{Mutex, PoisonError},
    time::Duration,
};

use tokio::sync::Notify;

/// How the next requests are answered.
#[derive(Clone, Debug)]
pub struct FailNext {
    /// So many requests; `usize::MAX`: until [`recover`](super::Receiver::recover).
    pub requests: usize,
    /// What they get.
    pub failure: Failure,
}

/// A bad answer.
#[derive(Clone, Debug)]
pub enum Failure {
    /// HTTP 503 (with `Retry-After`, in whole seconds) or gRPC `UNAVAILABLE` (with `RetryInfo`). Nothing is taken.
    Unavailable {
        /// When to come again.
        retry_after: Option<Duration>,
    },
    /// This HTTP status and gRPC code. Nothing is taken.
    Refused {
        /// HTTP status.
        http: u16,
        /// gRPC status code.
        grpc: i32,
    },
    /// All are taken but the last so many.
    Partial {
        /// Rejected spans or points.
        rejected: usize,
        /// Why.
        message: String,
    },
    /// HTTP 429 (with `Retry-After`, in whole seconds) or gRPC `RESOURCE_EXHAUSTED` (with `RetryInfo`). Nothing is taken.
    Throttled {
        /// When to come again.
        retry_after: Duration,
    },
    /// It is taken and answered well, after this time.
    Slow {
        /// How long it takes.
        by: Duration,
    },
    /// No answer until [`recover`](super::Receiver::recover); then it is taken and answered well.
    Hang,
}

#[derive(Default)]
pub(crate) struct Answers {
    next: Mutex<Option<FailNext>>,
    recovered: Notify,
}

impl Answers {
    pub(crate) fn set(&self, fail: FailNext) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = Some(fail);
    }

    pub(crate) fn clear(&self) {
        *self.next.lock().unwrap_or_else(PoisonError::into_inner) = None;
        self.recovered.notify_waiters();
    }

    /// What is wrong with the answer to this request.
    pub(crate) fn next(&self) -> Option<Failure> {
        let mut next = self.next.lock().unwrap_or_else(PoisonError::into_inner);
        let fail = next.as_mut().filter(|fail| fail.requests > 0)?;
        if fail.requests != usize::MAX {
            fail.requests -= 1;
        }
        Some(fail.failure.clone())
    }

    /// Ends at the next recovery after this call.
    pub(crate) fn recovered(&self) -> impl Future<Output = ()> {
        self.recovered.notified()
    }
}
