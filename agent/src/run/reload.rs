//! Another configuration for the running agent: on SIGHUP, and when the file's content has changed.

use std::sync::{Arc, mpsc};

use tokio::{
    signal::unix::{Signal, SignalKind, signal},
    sync::Notify,
};

use super::{
    settings::Settings,
    terminal::{PARTING, Terminal},
};
use crate::{
    config::{self, Changes, Config, Loaded},
    export::Receivers,
    model::headers,
    pipeline::Change,
    telemetry::select::SharedSelect,
};

/// What takes up changes.
pub(super) struct Reloader {
    current: Loaded,
    telemetry: mpsc::Sender<Change>,
    terminal: Terminal,
    /// Told when the terminal is gone.
    hung_up: Arc<Notify>,
    receivers: Receivers,
    /// What readers of metrics are shown.
    select: SharedSelect,
}

impl Reloader {
    pub(super) const fn new(
        current: Loaded,
        telemetry: mpsc::Sender<Change>,
        terminal: Terminal,
        hung_up: Arc<Notify>,
        receivers: Receivers,
        select: SharedSelect,
    ) -> Self {
        Self { current, telemetry, terminal, hung_up, receivers, select }
    }

    /// Takes up changes as they come. `hangups` is made before the agent says that it is ready: until then the signal
    /// would end it.
    pub(super) async fn run(mut self, mut hangups: Signal) {
        let mut changes = self.current.file().and_then(|path| match config::watch(&path) {
            Ok(changes) => Some(changes),
            Err(error) => {
                tracing::warn!(%error, "changes of {} are taken up on SIGHUP only", path.display());
                None
            }
        });
        loop {
            tokio::select! {
                Some(()) = hangups.recv() => self.on_hangup().await,
                goes_on = changed(&mut changes) => {
                    if goes_on {
                        self.reload();
                    } else {
                        changes = None;
                    }
                }
            }
        }
    }

    /// SIGHUP asks for the configuration to be read again, unless it says that the terminal was closed.
    async fn on_hangup(&mut self) {
        if self.terminal.is_tied() && !self.terminal.is_gone() {
            tokio::time::sleep(PARTING).await;
        }
        if self.terminal.is_gone() {
            self.hung_up.notify_one();
        } else {
            self.reload();
        }
    }

    fn reload(&mut self) {
        let new = match self.current.reload() {
            Ok(new) => new,
            Err(error) => {
                tracing::error!("the changed configuration is not used: {error}");
                return;
            }
        };
        for warning in &new.warnings {
            tracing::warn!("{warning}");
        }
        let changes = self.current.diff_reloadable(&new);
        let settings = match Settings::of(&new) {
            Ok(settings) => settings,
            Err(error) => {
                tracing::error!("the changed configuration is not used: {error}");
                return;
            }
        };
        if changes.receivers
            && let Err(error) = self.receivers.take_up(&settings.export)
        {
            tracing::error!("the changed configuration is not used: {error}");
            return;
        }
        let mut taken_up = vec![Change::Sdk(settings.telemetry.sdk)];
        if changes.routes {
            taken_up.push(Change::Routes(settings.telemetry.routes));
        }
        if changes.propagation {
            taken_up.push(Change::Propagation(settings.propagation));
        }
        if changes.sampling {
            taken_up.push(Change::Sampler(settings.sampler, settings.has_several_samplers));
            taken_up.push(Change::HealthChecks(settings.health_checks));
            if self.current.sampling.tail != new.sampling.tail {
                taken_up.push(Change::Tail(settings.tail));
            }
        }
        if changes.redaction {
            taken_up.push(Change::Redactor(settings.telemetry.redactor));
        }
        if changes.select {
            let select = settings.telemetry.red.select;
            for doubt in select.doubts() {
                tracing::warn!("{doubt}");
            }
            self.select.set(select.clone());
            taken_up.push(Change::Select(select));
        }
        if changes.below {
            let (inside, ignores_proxies) = (settings.telemetry.inside, settings.telemetry.ignores_proxied_clients);
            taken_up.push(Change::Below(inside, ignores_proxies));
        }
        if changes.limits {
            taken_up.push(Change::Limits(settings.limits));
        }
        if changes.log {
            super::set_log_level(new.log_level);
        }
        if changes.headers {
            headers::set(new.header_rules());
        }
        if changes.metrics {
            taken_up.push(Change::Metrics(settings.telemetry.metrics));
        }
        // Last: what is named anew has the rest as it is from now on.
        // Who receives what is sent is not watched.
        if changes.discovery || changes.receivers {
            if let Some(key) = needs_another_kernel_side(&self.current, &new) {
                tracing::warn!("{key}: takes effect at the next start");
            }
            taken_up.push(Change::Selector(settings.processes.selector));
        }
        for change in taken_up {
            // Nobody listens any more when the agent stops.
            let _unheard = self.telemetry.send(change);
        }
        for changed in &changes.changed {
            if changes.needs_restart.contains(&changed.key) {
                tracing::warn!("configuration: {changed}; takes effect at the next start");
            } else {
                tracing::info!("configuration: {changed}");
            }
        }
        let parts = [
            (changes.discovery, "discovery"),
            (changes.routes, "routes"),
            (changes.redaction, "redaction"),
            (changes.propagation, "propagation"),
            (changes.sampling, "sampling"),
            (changes.metrics, "metrics"),
            (changes.headers, "headers"),
            (changes.select, "attributes of metrics"),
            (changes.receivers, "receivers"),
            (changes.below, "what is told of what happens below a request"),
            (changes.log, "log"),
            (changes.limits, "limits"),
        ];
        let changed: Vec<&str> = parts.iter().filter(|(is, _)| *is).map(|(_, name)| *name).collect();
        let changed = if changed.is_empty() { "nothing to take up".to_owned() } else { changed.join(", ") };
        tracing::info!("configuration read again: {changed}");
        self.current = new;
    }
}

/// Made early: see [`Reloader::run`].
pub(super) fn hangups() -> std::io::Result<Signal> {
    signal(SignalKind::hangup())
}

/// Waits for another content of the file. `false` if no more can be seen.
async fn changed(changes: &mut Option<Changes>) -> bool {
    match changes {
        None => std::future::pending().await,
        Some(changes) => match changes.changed().await {
            Ok(()) => true,
            Err(error) => {
                tracing::warn!(%error, "the configuration file is not watched any more; SIGHUP still works");
                false
            }
        },
    }
}

/// The key by which processes were chosen by pid alone before, or are now: those are set up at the start.
fn needs_another_kernel_side(old: &Config, new: &Config) -> Option<&'static str> {
    let by_pid_alone = |config: &Config| {
        let selection = config.selection();
        (!selection.pids.is_empty() && selection.criteria.is_empty()).then_some(selection.pids)
    };
    (by_pid_alone(old) != by_pid_alone(new)).then_some("target_pids")
}
