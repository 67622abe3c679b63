//! Metrics on standard output, as `/metrics` shows them: once each interval, and once at the end.

use std::{
    io::{self, Write},
    sync::Arc,
    time::Duration,
};

use tokio::{
    runtime::Handle,
    task::{AbortHandle, spawn_blocking},
    time::{Instant, MissedTickBehavior, interval_at, timeout_at},
};

use crate::export::{MetricSource, collect, prometheus};

/// Prints metrics until it is shut down.
pub(crate) struct Metrics {
    sources: Vec<Arc<dyn MetricSource>>,
    task: AbortHandle,
}

impl Metrics {
    pub(crate) fn start(interval: Duration, runtime: &Handle, sources: Vec<Arc<dyn MetricSource>>) -> Self {
        let its = sources.clone();
        let task = runtime.spawn(async move {
            let mut ticks = interval_at(Instant::now() + interval, interval);
            // A reader that does not read is not given the same twice.
            ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                print(its.clone()).await;
            }
        });
        Self { sources, task: task.abort_handle() }
    }

    /// Prints a last time, unless that takes longer than until the deadline.
    pub(crate) async fn shutdown(self, deadline: Instant) {
        self.task.abort();
        if timeout_at(deadline, print(self.sources)).await.is_err() {
            tracing::warn!("standard output takes no metrics: the last ones are not printed");
        }
    }
}

async fn print(sources: Vec<Arc<dyn MetricSource>>) {
    let written = spawn_blocking(move || write(&sources, &mut io::stdout().lock())).await;
    // A closed standard output is the reader's wish.
    let _is_open = written.is_ok_and(|written| written.is_ok());
}

fn write(sources: &[Arc<dyn MetricSource>], to: &mut impl Write) -> io::Result<()> {
    let (_, metrics) = collect(sources);
    to.write_all(prometheus::text(&metrics).as_bytes())?;
    to.flush()
}
