//! Files at whose functions there are probes: one time each, however many processes run them, and as long as one does.
//!
//! By whom a request is answered that others have read costs a server a probe per request, and is asked for its calls only. So these
//! probes stand while it is not known yet whether a program makes calls, and from when it does; one that was asked often and has called nobody goes without.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    sync::Arc,
    time::{Duration, Instant},
};

use rustc_hash::FxHashMap;

use crate::{
    capture::{Capture, OfRuntime, Uprobe},
    model::ids::ProcessId,
    procs::fs::FileId,
    tls::Probes,
};

/// So many requests a program's processes have answered without a call when it is taken to make none.
const ANSWERED: u32 = 1024;

/// How long a file keeps its probes after the last process has gone: one that is started again is seen from its first moment on.
const LINGER: Duration = Duration::from_secs(30);

/// Where probes of each kind are put.
pub(super) type Places = Vec<(OfRuntime, Vec<u64>)>;

/// Whether it is asked by whom requests of a program are answered.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Asks {
    /// It may make calls: so many were answered so far.
    Perhaps(u32),
    /// It makes calls.
    Always,
    /// It makes none, as far as was seen.
    No,
}

impl Asks {
    /// A request was answered.
    const fn on_handled(self) -> Self {
        match self {
            Self::Perhaps(ANSWERED..) => Self::No,
            Self::Perhaps(answered) => Self::Perhaps(answered + 1),
            other => other,
        }
    }

    /// Another process runs it.
    const fn on_user(self) -> Self {
        match self {
            Self::Always => self,
            _ => Self::Perhaps(0),
        }
    }

    const fn has_probes(self) -> bool {
        !matches!(self, Self::No)
    }
}

/// A file with its probes.
struct Probed {
    probes: Vec<Uprobe>,
    /// Of these kinds, those that are asked for calls only among them.
    tells: Vec<OfRuntime>,
    /// Those of TLS are among them.
    sees_tls: bool,
    users: HashSet<ProcessId>,
    /// Since when nobody runs it.
    unused_since: Option<Instant>,
    file: Arc<File>,
    /// Those that are asked for calls only.
    answers: Places,
    of_answers: Vec<Uprobe>,
    asks: Asks,
}

impl Probed {
    fn new(file: Arc<File>) -> Self {
        Self {
            probes: Vec::new(),
            tells: Vec::new(),
            sees_tls: false,
            users: HashSet::new(),
            unused_since: None,
            file,
            answers: Vec::new(),
            of_answers: Vec::new(),
            asks: Asks::No,
        }
    }

    /// Puts probes in place of kinds that are not there yet: a library may be looked through for one thing first, and for another later.
    fn add(&mut self, capture: &mut Capture, places: Places) {
        let mut of_tls = 0;
        for (what, offsets) in places {
            if self.tells.contains(&what) {
                continue;
            }
            self.tells.push(what);
            if what.is_of_answers() {
                self.answers.extend((!offsets.is_empty()).then_some((what, offsets)));
                continue;
            }
            match capture.probe_runtime(what, &self.file, &offsets) {
                Ok(new) => {
                    of_tls += if what.is_of_tls() { offsets.len() } else { 0 };
                    self.probes.extend(new);
                }
                Err(error) if what.is_of_tls() => {
                    tracing::warn!(%error, "TLS traffic of this program of Go is not seen");
                }
                Err(error) => not_probed(&error),
            }
        }
        self.sees_tls |= of_tls == 2
            && capture
                .begin_tls()
                .inspect_err(|error| tracing::warn!(%error, "TLS traffic of programs of Go is not seen"))
                .is_ok();
    }

    /// Puts probes in place where what is asked has changed, or takes them away.
    fn ask(&mut self, capture: &mut Capture, asks: Asks) {
        let before = std::mem::replace(&mut self.asks, asks);
        if before.has_probes() == asks.has_probes() {
            return;
        }
        if !asks.has_probes() {
            tracing::debug!("calls of nobody: it is not asked any more who answers requests");
            self.of_answers.drain(..).for_each(|probe| Probes::detach(capture, probe));
            return;
        }
        for (what, offsets) in &self.answers {
            match capture.probe_runtime(*what, &self.file, offsets) {
                Ok(new) => self.of_answers.extend(new),
                Err(error) => not_probed(&error),
            }
        }
    }
}

fn not_probed(error: &dyn std::fmt::Display) {
    tracing::warn!(%error, "calls of tasks that a request begins, or is given to, have no parent");
}

/// All of them.
#[derive(Default)]
pub(super) struct Files {
    by_id: HashMap<FileId, Probed>,
    /// Processes of which it is looked whether they make calls.
    looked_at: FxHashMap<ProcessId, FileId>,
    /// What is to be asked of files from now on.
    turned: Vec<(FileId, Asks)>,
    /// There may be files that nobody runs.
    has_unused: bool,
}

impl Files {
    /// Puts probes in place for a process. Gives whether its plaintext is seen.
    pub(super) fn probe(
        &mut self,
        tgid: ProcessId,
        capture: &mut Capture,
        id: FileId,
        file: Arc<File>,
        places: Places,
    ) -> bool {
        let probed = self.by_id.entry(id).or_insert_with(|| Probed::new(file));
        probed.add(capture, places);
        let is_new = probed.users.insert(tgid);
        probed.unused_since = None;
        if is_new && !probed.answers.is_empty() {
            probed.ask(capture, probed.asks.on_user());
            if probed.asks != Asks::Always {
                self.looked_at.insert(tgid, id);
            }
        }
        probed.sees_tls
    }

    /// A process has ended, or carries out another program.
    pub(super) fn on_gone(&mut self, tgid: ProcessId) {
        self.looked_at.remove(&tgid);
        for probed in self.by_id.values_mut() {
            if probed.users.remove(&tgid) && probed.users.is_empty() {
                probed.unused_since = Some(Instant::now());
                self.has_unused = true;
            }
        }
    }

    /// A process makes a call.
    pub(super) fn on_calls(&mut self, tgid: ProcessId) {
        if !self.looked_at.is_empty()
            && let Some(id) = self.looked_at.remove(&tgid)
        {
            self.turned.push((id, Asks::Always));
        }
    }

    /// It was told by whom a request of a process is answered.
    pub(super) fn on_handled(&mut self, tgid: ProcessId) {
        if !self.looked_at.is_empty()
            && let Some(id) = self.looked_at.get(&tgid)
            && let Some(probed) = self.by_id.get_mut(id)
        {
            match probed.asks.on_handled() {
                Asks::No => self.turned.push((*id, Asks::No)),
                asks => probed.asks = asks,
            }
        }
    }

    /// Puts probes in place, and takes others away, as was told since.
    pub(super) fn settle(&mut self, capture: &mut Capture) {
        for (id, asks) in self.turned.drain(..) {
            let Some(probed) = self.by_id.get_mut(&id) else { continue };
            // That it makes calls may have been told meanwhile.
            if probed.asks != Asks::Always {
                probed.ask(capture, asks);
            }
            if asks == Asks::Always {
                self.looked_at.retain(|_, of| *of != id);
            }
        }
        if self.has_unused {
            let is_over = |since: Instant| since.elapsed() >= LINGER;
            let gone = |_: &FileId, probed: &mut Probed| probed.unused_since.is_some_and(is_over);
            let probes = |(_, probed): (FileId, Probed)| probed.probes.into_iter().chain(probed.of_answers);
            self.by_id.extract_if(gone).flat_map(probes).for_each(|probe| Probes::detach(capture, probe));
            self.has_unused = self.by_id.values().any(|probed| probed.unused_since.is_some());
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_is_asked_often_and_calls_nobody_goes_without() {
        let mut asks = Asks::No.on_user();
        for _ in 0..ANSWERED {
            asks = asks.on_handled();
            assert!(asks.has_probes());
        }
        assert_eq!(asks.on_handled(), Asks::No);
        assert_eq!(Asks::No.on_handled(), Asks::No);
        // Another process of the same program may do otherwise.
        assert_eq!(Asks::No.on_user(), Asks::Perhaps(0));
        assert_eq!(asks.on_user(), Asks::Perhaps(0));
        assert_eq!((Asks::Always.on_user(), Asks::Always.on_handled()), (Asks::Always, Asks::Always));
    }
}
