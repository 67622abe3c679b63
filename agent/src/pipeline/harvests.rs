//! Has the files of watched programs read: their routes, which are handed on to where requests get theirs, and whether they use an SDK.

use std::collections::HashSet;

use super::stages::Stages;
use crate::{config::RouteHarvester, frameworks::RouteFinder, model::ids::ProcessId, procs::fs::ProcFs};

/// Processes whose programs were looked at.
pub(super) struct Harvests {
    finder: Option<RouteFinder>,
    looked: HashSet<ProcessId>,
}

impl Harvests {
    /// Of all languages but these.
    pub(super) fn new(proc: ProcFs, disabled: Vec<RouteHarvester>) -> Self {
        let finder = RouteFinder::start(proc, disabled);
        if let Err(error) = &finder {
            tracing::warn!(%error, "routes are learnt from paths alone: no thread to read programs' files");
        }
        Self { finder: finder.ok(), looked: HashSet::new() }
    }

    /// A process is watched from now on.
    pub(super) fn on_watched(&mut self, tgid: ProcessId) {
        if let Some(finder) = &self.finder
            && self.looked.insert(tgid)
        {
            finder.look(tgid);
        }
    }

    /// A process carries out another program, or has ended.
    pub(super) fn on_gone(&mut self, tgid: ProcessId) {
        self.looked.remove(&tgid);
    }

    /// To be called now and then: forgets processes whose end was not told, as they were never met.
    pub(super) fn sweep(&mut self, is_alive: impl Fn(ProcessId) -> bool) {
        self.looked.retain(|tgid| is_alive(*tgid));
    }

    /// Hands on what was found.
    pub(super) fn tell(&self, stages: &mut Stages) {
        while let Some((tgid, found)) = self.finder.as_ref().and_then(RouteFinder::next) {
            // It may have ended meanwhile.
            if !self.looked.contains(&tgid) {
                continue;
            }
            if !found.routes.is_empty() {
                stages.set_program_routes(tgid, &found.routes);
            }
            if found.uses_sdk {
                stages.set_uses_sdk(tgid);
            }
        }
    }
}
