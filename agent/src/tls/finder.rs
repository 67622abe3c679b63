//! Looks for TLS libraries in processes, on a thread of its own: reading big programs takes a while.

use std::{
    collections::{BTreeSet, HashMap},
    fs::File,
    io,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
        mpsc::{self, Receiver, RecvTimeoutError, SyncSender, TrySendError},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::fs::fstatfs;

use super::{library::Library, mapped};
use crate::{
    model::ids::ProcessId,
    procs::{
        blocking::{BlockingPool, Place},
        effort::Effort,
        fs::{FileId, ProcFs},
    },
};

/// A process that has just been exec'd loads its libraries within this time, or later at a moment of its own choice.
const LOOK_AGAIN: [Duration; 2] = [Duration::from_millis(30), Duration::from_millis(400)];
/// Such looks are taken together: where a thousand programs a second begin, waking up for each costs more than looking.
const TOGETHER_MS: u64 = 20;
/// How long it is waited for one process; programs of some 100 MB take a while when they are not in memory.
const PATIENCE: Duration = Duration::from_secs(5);
/// `f_type` of file systems that are another program (FUSE): it can stop answering, and whoever puts a probe on a file there
/// hangs with it.
const FUSE: i64 = 0x6573_5546;
/// Requests and findings that wait at most.
const WAITING_MAX: usize = 4096;
/// Most files remembered, some 100 bytes each but for TLS libraries.
const FILES_MAX: usize = 16384;

/// A TLS library that a process uses.
#[derive(Clone, Debug)]
pub struct Found {
    /// The file's identity.
    pub id: FileId,
    /// Its path, as the process sees it.
    pub path: String,
    /// The file.
    pub file: Arc<File>,
    /// Where its functions lie.
    pub library: Arc<Library>,
}

/// What was found in a process.
#[derive(Clone, Debug)]
pub struct Finding {
    /// The process.
    pub tgid: ProcessId,
    /// Its TLS libraries.
    pub found: Vec<Found>,
}

enum Request {
    /// The process's program is as it is.
    Look(ProcessId),
    /// The process was exec'd.
    Executed(ProcessId),
}

/// Looks for TLS libraries in processes.
pub struct Finder {
    requests: SyncSender<Request>,
    findings: Receiver<Finding>,
    /// Requests that were not answered yet.
    open: Arc<AtomicUsize>,
}

impl Finder {
    /// Starts its thread, which ends when the finder is dropped.
    ///
    /// # Errors
    /// When no thread can be started.
    pub fn start(proc: ProcFs) -> io::Result<Self> {
        let (requests, incoming) = mpsc::sync_channel(WAITING_MAX);
        let (outgoing, findings) = mpsc::sync_channel(WAITING_MAX);
        let open = Arc::new(AtomicUsize::new(0));
        let answered = Arc::clone(&open);
        thread::Builder::new()
            .name("tls-finder".to_owned())
            .spawn(move || work(&proc, &incoming, &outgoing, &answered))?;
        Ok(Self { requests, findings, open })
    }

    /// Looks at a process that runs already, or has loaded something.
    pub fn look(&self, tgid: ProcessId) {
        self.request(Request::Look(tgid));
    }

    /// Looks at a process that has just been started, now and a little later.
    pub fn executed(&self, tgid: ProcessId) {
        self.request(Request::Executed(tgid));
    }

    /// What was found since, if anything; one process at a time.
    #[must_use]
    pub fn next(&self) -> Option<Finding> {
        self.findings.try_recv().ok()
    }

    /// All that was asked for was looked at; what was found can be had from [`Self::next`].
    #[must_use]
    pub fn is_idle(&self) -> bool {
        self.open.load(Ordering::Acquire) == 0
    }

    fn request(&self, request: Request) {
        self.open.fetch_add(1, Ordering::Relaxed);
        if let Err(TrySendError::Full(_)) = self.requests.try_send(request) {
            self.open.fetch_sub(1, Ordering::Relaxed);
            tracing::debug!("too many processes at once to look for TLS libraries in all of them");
        }
    }
}

fn work(proc: &ProcFs, requests: &Receiver<Request>, findings: &SyncSender<Finding>, open: &AtomicUsize) {
    let files = Arc::new(Files::default());
    let pool = BlockingPool::default();
    let mut later: BTreeSet<(Instant, ProcessId)> = BTreeSet::new();
    let began = Instant::now();
    let slot = |after: Duration| {
        let at_ms = u64::try_from((began.elapsed() + after).as_millis()).unwrap_or_default();
        began + Duration::from_millis(at_ms.next_multiple_of(TOGETHER_MS))
    };
    loop {
        let due = later.first().map(|&(at, _)| at.saturating_duration_since(Instant::now()));
        let (tgid, is_answer) = match requests.recv_timeout(due.unwrap_or(Duration::from_secs(3600))) {
            Ok(Request::Look(tgid)) => (tgid, true),
            Ok(Request::Executed(tgid)) => {
                later.extend(LOOK_AGAIN.iter().map(|&after| (slot(after), tgid)));
                while later.len() > WAITING_MAX {
                    later.pop_last();
                }
                (tgid, true)
            }
            Err(RecvTimeoutError::Timeout) => match later.first() {
                Some(&(at, _)) if at <= Instant::now() => match later.pop_first() {
                    Some((_, tgid)) => (tgid, false),
                    None => continue,
                },
                _ => continue,
            },
            Err(RecvTimeoutError::Disconnected) => return,
        };
        let (its_files, its_proc) = (Arc::clone(&files), proc.clone());
        let look = move || its_files.look(&its_proc, tgid);
        let found = pool.call(Place::of(proc, tgid), PATIENCE, look).unwrap_or_default();
        if !found.is_empty() && findings.send(Finding { tgid, found }).is_err() {
            return;
        }
        if is_answer {
            open.fetch_sub(1, Ordering::Release);
        }
    }
}

/// Files that were looked at, by identity.
#[derive(Default)]
struct Files {
    known: Mutex<HashMap<FileId, Option<Arc<Library>>>>,
    effort: Mutex<Effort>,
}

impl Files {
    /// May take for ever where a file system does not answer.
    fn look(&self, proc: &ProcFs, tgid: ProcessId) -> Vec<Found> {
        let mut found = Vec::new();
        for mapped in mapped::of_process(proc, tgid) {
            let Some(file) = mapped::open(proc, tgid, &mapped) else { continue };
            let Ok(metadata) = file.metadata() else { continue };
            let id = FileId::of(&metadata);
            if let Some(library) = self.library(id, &file, &mapped.path)
                && !library.sites.is_empty()
            {
                if fstatfs(&file).is_ok_and(|of| of.f_type == FUSE) {
                    tracing::warn!(path = mapped.path, "TLS traffic of this library is not seen: it lies on FUSE");
                    continue;
                }
                found.push(Found { id, path: mapped.path, file: Arc::new(file), library });
            }
        }
        found
    }

    fn library(&self, id: FileId, file: &File, path: &str) -> Option<Arc<Library>> {
        if let Some(known) = lock(&self.known).get(&id) {
            return known.clone();
        }
        let began = Instant::now();
        let library = if lock(&self.effort).is_left(id, began) {
            let read = Library::read(file);
            lock(&self.effort).spend(id, began, Instant::now());
            read.unwrap_or_else(|error| {
                tracing::debug!(path, %error, "a mapped file was not looked through for TLS functions");
                None
            })
        } else {
            tracing::debug!(path, "a mapped file that changes too often was not looked through for TLS functions");
            None
        };
        if let Some(library) = &library
            && let Some(reason) = library.refused.first()
        {
            tracing::warn!(path, reason, "TLS traffic of this library is not seen: its code is not as expected");
        }
        let library = library.map(Arc::new);
        let mut known = lock(&self.known);
        if known.len() >= FILES_MAX {
            known.clear();
        }
        known.insert(id, library.clone());
        library
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_library_is_found_in_a_process_that_has_it_mapped() {
        let Ok(path) = std::fs::canonicalize("/usr/lib/x86_64-linux-gnu/libssl.so.3") else {
            eprintln!("skipped: no libssl.so.3 here");
            return;
        };
        // The dynamic linker loads it before the program begins; `sleep` itself has no need of it.
        let mut child = std::process::Command::new("sleep").arg("60").env("LD_PRELOAD", &path).spawn().unwrap();
        let finder = Finder::start(ProcFs::new("/proc")).unwrap();
        finder.executed(ProcessId(child.id()));
        let finding = finder.findings.recv_timeout(Duration::from_secs(10));
        child.kill().unwrap();
        child.wait().unwrap();
        let finding = finding.expect("found in time");
        assert_eq!(finding.tgid, ProcessId(child.id()));
        assert_eq!(finding.found.len(), 1);
        assert_eq!(finding.found[0].path, path.to_str().unwrap());
        assert!(finding.found[0].library.sites.len() >= 5);
    }

    #[test]
    fn a_process_that_is_gone_is_no_error() {
        assert!(Files::default().look(&ProcFs::new("/proc"), ProcessId(u32::MAX)).is_empty());
    }
}
