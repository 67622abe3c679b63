//! Probes on TLS libraries: one set per file, for as long as a process uses it.

use std::{
    collections::{HashMap, HashSet, VecDeque},
    fmt,
    fs::File,
    time::{Duration, Instant},
};

use ebpf_common::policy::TLS_FILES_MAX;

use super::{
    finder::{Finding, Found},
    library::Site,
};
use crate::{model::ids::ProcessId, procs::fs::FileId};

/// How long a file keeps its probes after the last process has gone: short-lived programs come again.
const LINGER: Duration = Duration::from_secs(30);

/// What puts probes in place.
pub trait Probes {
    /// A probe in place.
    type Probe;
    /// Why one is not.
    type Error: fmt::Display;

    /// Says whether, from here on, the library in file number `number` has all of its probes. What begins while it has not is
    /// not looked at, as it would be seen in part.
    fn set_complete(&mut self, number: u32, is_complete: bool);

    /// Puts the programs of a site's function where it begins and where it returns, if the file still has its code there.
    ///
    /// # Errors
    /// What the kernel said.
    fn attach(&mut self, file: &File, number: u32, site: &Site) -> Result<Vec<Self::Probe>, Self::Error>;

    /// Takes a probe away.
    fn detach(&mut self, probe: Self::Probe);
}

struct Attached<T> {
    /// By which the kernel side knows it: from 1 to [`TLS_FILES_MAX`].
    number: u32,
    probes: Vec<T>,
    users: HashSet<ProcessId>,
    unused_since: Option<Instant>,
}

/// A file whose probes are being put in place.
struct Pending {
    found: Found,
    /// Sites that have theirs.
    done: usize,
}

/// The files that have probes, and those that are to have some.
pub struct Attachments<T> {
    files: HashMap<FileId, Attached<T>>,
    pending: VecDeque<Pending>,
    /// Given last.
    number: u32,
}

impl<T> Default for Attachments<T> {
    fn default() -> Self {
        Self { files: HashMap::new(), pending: VecDeque::new(), number: 0 }
    }
}

impl<T> Attachments<T> {
    /// Files that have probes.
    #[must_use]
    pub fn files(&self) -> usize {
        self.files.values().filter(|file| !file.probes.is_empty()).count()
    }

    /// Every file that was found has its probes, or was refused them.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        self.pending.is_empty()
    }

    /// Takes up what was found in a process. New files get their probes by [`Self::proceed`].
    pub fn on_finding(&mut self, finding: &Finding) {
        for found in &finding.found {
            if let Some(attached) = self.files.get_mut(&found.id) {
                attached.users.insert(finding.tgid);
                attached.unused_since = None;
                continue;
            }
            let Some(number) = self.free_number() else {
                tracing::warn!(
                    path = found.path,
                    "TLS traffic of this library is not seen: too many others are in use"
                );
                continue;
            };
            self.number = number;
            let users = HashSet::from([finding.tgid]);
            self.files.insert(found.id, Attached { number, probes: Vec::new(), users, unused_since: None });
            self.pending.push_back(Pending { found: found.clone(), done: 0 });
        }
    }

    /// The number that is free for the longest, as the probes of the one that had it may still be on their way out.
    fn free_number(&self) -> Option<u32> {
        let used: HashSet<u32> = self.files.values().map(|file| file.number).collect();
        (self.number + 1..=TLS_FILES_MAX).chain(1..=self.number).find(|number| !used.contains(number))
    }

    /// Puts probes in place until that is done or `limit` is over: the kernel takes its time for each, a second and more
    /// where others are being taken away. Gives whether the last probe of a file came into its place.
    pub fn proceed(&mut self, probes: &mut impl Probes<Probe = T>, limit: Duration) -> bool {
        let began = Instant::now();
        let mut completed = false;
        while let Some(Pending { found, done }) = self.pending.front_mut() {
            let (Some(attached), Some(site)) = (self.files.get_mut(&found.id), found.library.sites.get(*done)) else {
                // All its sites have theirs, or one was refused.
                tracing::debug!(path = found.path, "TLS library attached");
                if let Some(attached) = self.files.get(&found.id) {
                    probes.set_complete(attached.number, true);
                    completed = true;
                }
                self.pending.pop_front();
                continue;
            };
            if began.elapsed() >= limit {
                break;
            }
            if *done == 0 {
                probes.set_complete(attached.number, false);
            }
            *done += 1;
            match probes.attach(&found.file, attached.number, site) {
                Ok(new) => attached.probes.extend(new),
                Err(error) => {
                    // In part it would tell half the truth. It stays known, so that this is said once.
                    for probe in attached.probes.drain(..) {
                        probes.detach(probe);
                    }
                    *done = found.library.sites.len();
                    let (path, function) = (&found.path, site.name);
                    tracing::warn!(path, function, %error, "TLS traffic of this library is not seen");
                }
            }
        }
        completed
    }

    /// A process has ended, or carries out another program now.
    pub fn on_gone(&mut self, tgid: ProcessId, now: Instant) {
        for attached in self.files.values_mut() {
            if attached.users.remove(&tgid) && attached.users.is_empty() {
                attached.unused_since = Some(now);
            }
        }
    }

    /// `child` was forked and uses what `parent` uses.
    pub fn on_fork(&mut self, parent: ProcessId, child: ProcessId) {
        for attached in self.files.values_mut() {
            if attached.users.contains(&parent) {
                attached.users.insert(child);
            }
        }
    }

    /// Takes all probes away.
    pub fn detach(self, probes: &mut impl Probes<Probe = T>) {
        self.files.into_values().flat_map(|file| file.probes).for_each(|probe| probes.detach(probe));
    }

    /// Takes the probes off files that nobody has used for a while. `lives` says whether a process still exists: the
    /// event that says so may have been lost.
    pub fn sweep(&mut self, now: Instant, lives: impl Fn(ProcessId) -> bool, probes: &mut impl Probes<Probe = T>) {
        let Self { files, pending, .. } = self;
        files.retain(|id, attached| {
            attached.users.retain(|&tgid| lives(tgid));
            if !attached.users.is_empty() || pending.iter().any(|pending| pending.found.id == *id) {
                return true;
            }
            let since = *attached.unused_since.get_or_insert(now);
            if now.saturating_duration_since(since) < LINGER {
                return true;
            }
            for probe in attached.probes.drain(..) {
                probes.detach(probe);
            }
            false
        });
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::tls::{
        function::Function,
        library::{Library, Place, Probed},
    };

    const LONG: Duration = Duration::from_secs(60);

    #[derive(Default)]
    struct Counting {
        attached: usize,
        detached: usize,
        complete: HashSet<u32>,
        refuse: Option<&'static str>,
    }

    impl Probes for Counting {
        type Probe = ();
        type Error = &'static str;

        fn set_complete(&mut self, number: u32, is_complete: bool) {
            if is_complete {
                self.complete.insert(number);
            } else {
                self.complete.remove(&number);
            }
        }

        fn attach(&mut self, _: &File, number: u32, site: &Site) -> Result<Vec<()>, Self::Error> {
            if self.refuse == Some(site.name) {
                return Err("no");
            }
            assert!(!self.complete.contains(&number), "half a library must not be looked at");
            self.attached += 1;
            Ok(vec![()])
        }

        fn detach(&mut self, (): ()) {
            self.detached += 1;
        }
    }

    fn finding(tgid: ProcessId, inode: u64) -> Finding {
        let plain = Probed { offset: 16, depth: 0, from: 16, code: vec![0x90] };
        let entry = Place { plain, cheap: None };
        let site = |function, name| Site { function, name, entry: entry.clone(), returns: Vec::new() };
        let sites = vec![site(Function::Read, "SSL_read"), site(Function::Write, "SSL_write")];
        let found = Found {
            id: FileId { dev: 1, inode, mtime_ns: 0 },
            path: "/lib/libssl.so".to_owned(),
            file: Arc::new(tempfile::tempfile().unwrap()),
            library: Arc::new(Library { sites, refused: Vec::new() }),
        };
        Finding { tgid, found: vec![found] }
    }

    #[test]
    fn a_file_is_attached_once_however_many_use_it() {
        let (mut attachments, mut probes) = (Attachments::default(), Counting::default());
        for tgid in 1..100 {
            attachments.on_finding(&finding(ProcessId(tgid), 7));
            attachments.proceed(&mut probes, LONG);
        }
        attachments.on_finding(&finding(ProcessId(1), 8));
        attachments.proceed(&mut probes, LONG);
        assert_eq!((probes.attached, attachments.files(), probes.complete), (4, 2, HashSet::from([1, 2])));
    }

    #[test]
    fn probes_go_some_time_after_the_last_user_has() {
        let (mut attachments, mut probes) = (Attachments::default(), Counting::default());
        let start = Instant::now();
        attachments.on_finding(&finding(ProcessId(1), 7));
        attachments.proceed(&mut probes, LONG);
        attachments.on_fork(ProcessId(1), ProcessId(2));
        attachments.on_gone(ProcessId(1), start);
        attachments.sweep(start + LINGER * 2, |tgid| tgid == ProcessId(2), &mut probes);
        assert_eq!(probes.detached, 0, "the child still uses it");
        attachments.on_gone(ProcessId(2), start);
        attachments.sweep(start + LINGER / 2, |_| true, &mut probes);
        assert_eq!(probes.detached, 0, "it lingers");
        attachments.sweep(start + LINGER, |_| true, &mut probes);
        assert_eq!((probes.detached, attachments.files()), (2, 0));
    }

    #[test]
    fn a_user_that_ended_unseen_is_noticed() {
        let (mut attachments, mut probes) = (Attachments::default(), Counting::default());
        attachments.on_finding(&finding(ProcessId(1), 7));
        attachments.proceed(&mut probes, LONG);
        let now = Instant::now();
        attachments.sweep(now, |_| false, &mut probes);
        attachments.sweep(now + LINGER, |_| false, &mut probes);
        assert_eq!(probes.detached, 2);
    }

    #[test]
    fn a_library_is_attached_wholly_or_not_at_all() {
        let (mut attachments, mut probes) =
            (Attachments::default(), Counting { refuse: Some("SSL_write"), ..Counting::default() });
        attachments.on_finding(&finding(ProcessId(1), 7));
        attachments.proceed(&mut probes, LONG);
        attachments.on_finding(&finding(ProcessId(2), 7));
        attachments.proceed(&mut probes, LONG);
        assert_eq!((probes.attached, probes.detached, attachments.files()), (1, 1, 0));
    }

    #[test]
    fn probes_are_put_in_place_bit_by_bit_and_what_is_not_whole_is_not_looked_at() {
        let (mut attachments, mut probes) = (Attachments::default(), Counting::default());
        attachments.on_finding(&finding(ProcessId(1), 7));
        attachments.proceed(&mut probes, Duration::ZERO);
        assert_eq!((probes.attached, attachments.is_settled()), (0, false));
        attachments.proceed(&mut probes, LONG);
        assert_eq!((probes.attached, probes.complete, attachments.is_settled()), (2, HashSet::from([1]), true));
    }

    #[test]
    fn at_the_end_all_are_taken_away() {
        let (mut attachments, mut probes) = (Attachments::default(), Counting::default());
        attachments.on_finding(&finding(ProcessId(1), 7));
        attachments.on_finding(&finding(ProcessId(2), 8));
        attachments.proceed(&mut probes, LONG);
        attachments.detach(&mut probes);
        assert_eq!((probes.attached, probes.detached), (4, 4));
    }

    #[test]
    fn a_library_that_has_its_probes_is_looked_at_while_another_gets_its_own() {
        let (mut attachments, mut probes) = (Attachments::default(), Counting::default());
        attachments.on_finding(&finding(ProcessId(1), 7));
        attachments.proceed(&mut probes, LONG);
        attachments.on_finding(&finding(ProcessId(2), 8));
        attachments.proceed(&mut probes, Duration::ZERO);
        assert_eq!((probes.complete, attachments.is_settled()), (HashSet::from([1]), false));
    }

    #[test]
    fn a_number_is_not_given_again_before_all_others_were() {
        let (mut attachments, mut probes) = (Attachments::default(), Counting::default());
        let now = Instant::now();
        for file in 0..u64::from(TLS_FILES_MAX) * 2 {
            attachments.on_finding(&finding(ProcessId(1), file));
            attachments.proceed(&mut probes, LONG);
            attachments.on_gone(ProcessId(1), now);
            attachments.sweep(now + LINGER, |_| true, &mut probes);
            assert_eq!(probes.complete.len(), probes.attached.div_ceil(2).min(TLS_FILES_MAX as usize));
        }
        for file in 0..=u64::from(TLS_FILES_MAX) {
            attachments.on_finding(&finding(ProcessId(1), file));
        }
        attachments.proceed(&mut probes, LONG);
        assert_eq!(attachments.files(), TLS_FILES_MAX as usize, "one more than there are numbers for");
    }
}
