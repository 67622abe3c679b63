//! Reads programs' files on a thread of its own: nobody waits for it.

use std::{
    io,
    sync::mpsc::{self, Receiver, SyncSender},
    thread,
    time::Duration,
};

use super::{Harvest, Start, each_once, files::OfProcess, go, harvest, harvester};
use crate::{
    config::RouteHarvester,
    model::ids::ProcessId,
    procs::{
        blocking::{BlockingPool, Place},
        fs::ProcFs,
    },
};

/// Requests and answers that wait at most.
const WAITING_MAX: usize = 1024;
/// How long it is waited for one process.
const PATIENCE: Duration = Duration::from_secs(5);

/// A process with its executable's name, and whether its routes are wanted.
type Asked = (ProcessId, String, bool);
/// What was found of a process.
type Found = (ProcessId, Harvest);

/// See the module.
pub(crate) struct RouteFinder {
    proc: ProcFs,
    disabled: Vec<RouteHarvester>,
    requests: SyncSender<Asked>,
    answers: Receiver<Found>,
}

impl RouteFinder {
    /// Starts its thread, which ends when the finder is dropped.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn start(proc: ProcFs, disabled: Vec<RouteHarvester>) -> io::Result<Self> {
        let (requests, incoming) = mpsc::sync_channel::<Asked>(WAITING_MAX);
        let (outgoing, answers) = mpsc::sync_channel(WAITING_MAX);
        let of = proc.clone();
        thread::Builder::new().name("route-finder".to_owned()).spawn(move || {
            let pool = BlockingPool::default();
            while let Ok((pid, exe, wants_routes)) = incoming.recv() {
                let proc = of.clone();
                let found = pool.call(Place::of(&of, pid), PATIENCE, move || {
                    if harvester(&exe).is_none() {
                        return Harvest::of(each_once(go::routes(&proc, pid)));
                    }
                    let start = Start { exe, args: proc.cmdline(pid), cwd: proc.cwd(pid).unwrap_or_default() };
                    harvest(&OfProcess::new(proc, pid), &start)
                });
                let found = found.map(|found| if wants_routes { found } else { found.without_routes() });
                let Some(found) = found.filter(|found| !found.is_empty()) else { continue };
                if outgoing.send((pid, found)).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { proc, disabled, requests, answers })
    }

    /// Looks at a process, if it may have routes. Nothing of its files is opened here.
    pub(crate) fn look(&self, pid: ProcessId) {
        let path = self.proc.exe(pid).unwrap_or_default();
        let exe = path.rsplit('/').next().unwrap_or_default();
        let harvester = harvester(exe);
        // Programs in Go are called anything.
        let wants_routes = !self.disabled.contains(&harvester.unwrap_or(RouteHarvester::Go));
        let is_read = wants_routes || harvester.is_some();
        if is_read && self.requests.try_send((pid, exe.to_owned(), wants_routes)).is_err() {
            tracing::debug!(pid = pid.0, "too many programs at once to read the files of all of them");
        }
    }

    /// What was found since, if anything; one process at a time.
    pub(crate) fn next(&self) -> Option<Found> {
        self.answers.try_recv().ok()
    }
}
