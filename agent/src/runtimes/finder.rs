//! Looks for language runtimes in processes, on a thread of its own.

use std::{
    fs::File,
    io,
    sync::{
        Arc,
        mpsc::{self, Receiver, SyncSender},
    },
    thread,
    time::{Duration, Instant},
};

use rustix::fs::fstatfs;

use super::{
    contexts::{self, Variable},
    go::{self, Go, Programs, Tls, Unseen},
    java::{self, Java},
    memory::Memory,
    puma,
    python::{self, Asyncio, EventLoop},
    tokio::{self, Tokio},
};
use crate::{
    model::ids::ProcessId,
    procs::{
        blocking::{BlockingPool, Place},
        fs::{FileId, ProcFs},
    },
};

/// Requests and answers that wait at most.
const WAITING_MAX: usize = 4096;
/// How long it is waited for one process; programs of some 100 MB take a while when they are not in memory.
const PATIENCE: Duration = Duration::from_secs(5);
/// `f_type` of file systems that are another program (FUSE): whoever puts a probe on a file there may hang with it.
const FUSE: i64 = 0x6573_5546;

/// What was found in a process.
#[derive(Clone, Debug)]
pub(crate) enum Found {
    /// No runtime that is known.
    Nothing,
    /// One that may come to have tasks.
    NotYet,
    /// Python with an event loop that runs; and where in which files tasks begin, and contexts are copied, if probes can be put there.
    Asyncio(Asyncio, Option<(FileId, Arc<File>, u64)>, Option<(FileId, Arc<File>, Vec<u64>)>),
    /// tokio; and its program's file, if probes can be put there.
    Tokio(Tokio, Option<(FileId, Arc<File>)>),
    /// Go; likewise.
    Go(Box<Go>, Option<(FileId, Arc<File>)>),
    /// Java with virtual threads.
    Java(Java),
    /// Nothing that is known so far: Ruby that may come to be Puma, Java.
    Later,
    /// Puma.
    Puma,
    /// An SDK that says which span is active on each thread, and where.
    Contexts(Variable),
}

/// What is looked for in a process.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Look {
    /// Any runtime.
    Any,
    /// Any, in one that was not asked anything so far: what cannot be seen is said when it is.
    Listening,
    /// That of Go, in one that has just been started.
    Started,
}

/// What was found.
pub(crate) struct Answer {
    /// In which process.
    pub(crate) pid: ProcessId,
    /// What was looked for.
    pub(crate) look: Look,
    /// See [`Found`].
    pub(crate) found: Found,
}

/// Looks for language runtimes in processes.
pub(crate) struct Finder {
    requests: SyncSender<(ProcessId, Look)>,
    answers: Receiver<Answer>,
}

impl Finder {
    /// Starts its thread, which ends when the finder is dropped.
    ///
    /// # Errors
    /// When no thread can be started.
    pub(crate) fn start(proc: ProcFs) -> io::Result<Self> {
        let (requests, incoming) = mpsc::sync_channel(WAITING_MAX);
        let (outgoing, answers) = mpsc::sync_channel(WAITING_MAX);
        thread::Builder::new().name("runtime-finder".to_owned()).spawn(move || {
            let (pool, programs) = (BlockingPool::default(), Arc::new(Programs::default()));
            while let Ok((pid, what)) = incoming.recv() {
                let (of, known, began) = (proc.clone(), Arc::clone(&programs), Instant::now());
                let found = pool.call(Place::of(&proc, pid), PATIENCE, move || look(&of, pid, what, &known));
                let found = found.unwrap_or(Found::NotYet);
                // Of most that are started there is nothing to be said.
                if what != Look::Started || !matches!(found, Found::Nothing) {
                    tracing::debug!(%pid, ?what, took = ?began.elapsed(), "looked for language runtimes");
                }
                if outgoing.send(Answer { pid, look: what, found }).is_err() {
                    return;
                }
            }
        })?;
        Ok(Self { requests, answers })
    }

    /// Looks at a process. Gives whether it will: of too many at once not all are.
    pub(crate) fn look(&self, pid: ProcessId, what: Look) -> bool {
        self.requests.try_send((pid, what)).is_ok()
    }

    /// What was found since, if anything; one process at a time.
    #[must_use]
    pub(crate) fn next(&self) -> Option<Answer> {
        self.answers.try_recv().ok()
    }
}

fn look(proc: &ProcFs, pid: ProcessId, what: Look, programs: &Programs) -> Found {
    if what == Look::Started {
        return started(proc, pid, programs);
    }
    if puma::is_ruby(proc, pid) {
        return if puma::is_puma(proc, pid) { Found::Puma } else { Found::Later };
    }
    let Some(memory) = Memory::open(proc, pid) else { return Found::NotYet };
    match java::look(&memory) {
        java::VirtualThreads::No => {}
        java::VirtualThreads::NotYet => return Found::NotYet,
        java::VirtualThreads::Unclear => return Found::Later,
        java::VirtualThreads::Runs(java) => return Found::Java(java),
    }
    match python::look(&memory) {
        EventLoop::No => match compiled(&memory, pid, what, programs) {
            Found::Nothing => contexts::look(&memory, proc.mapped_names(pid)).map_or(Found::Nothing, Found::Contexts),
            found => found,
        },
        EventLoop::NotYet => Found::NotYet,
        EventLoop::Runs(asyncio) => {
            let begins = python::function(&memory, asyncio.init).and_then(|(file, offset)| {
                let (id, file) = probed(file)?;
                Some((id, file, offset))
            });
            let copies = python::returns(&memory, asyncio.copies).filter(|_| asyncio.contexts.is_some());
            let copies = copies.and_then(|(file, offsets)| {
                let (id, file) = probed(file)?;
                Some((id, file, offsets))
            });
            Found::Asyncio(asyncio, begins, copies)
        }
    }
}

/// A program of Go that has just been started, once its runtime is up.
fn started(proc: &ProcFs, pid: ProcessId, programs: &Programs) -> Found {
    let is_of_go = |id| programs.is_of_go(id, || proc.open_exe(pid));
    if !proc.exe_id(pid).is_some_and(is_of_go) {
        return Found::Nothing;
    }
    Memory::open(proc, pid).map_or(Found::NotYet, |memory| compiled(&memory, pid, Look::Started, programs))
}

/// What is compiled into a program.
fn compiled(memory: &Memory, pid: ProcessId, what: Look, programs: &Programs) -> Found {
    let is_early = what != Look::Any;
    match go::look(memory, programs) {
        Some(Ok((go, _))) if is_early && !go.is_up() => Found::NotYet,
        Some(Err(Unseen::Incomplete)) if is_early => Found::NotYet,
        Some(Err(_)) if is_early => Found::Nothing,
        Some(Ok((go, file))) => {
            if go.tls == Tls::Unexpected && !is_early {
                tracing::warn!(%pid, "TLS traffic of this program of Go is not seen: its code is not as expected");
            }
            Found::Go(Box::new(go), probed(file))
        }
        Some(Err(unseen)) => {
            let why = unseen.why();
            tracing::info!(%pid, "calls of its goroutines have no parents, and what it encrypts is not seen: {why}");
            Found::Nothing
        }
        None if what == Look::Started => Found::Nothing,
        None => tokio::look(memory).map_or(Found::Nothing, |(tokio, file)| Found::Tokio(tokio, probed(file))),
    }
}

/// A file, if probes can be put there.
fn probed(file: File) -> Option<(FileId, Arc<File>)> {
    let is_fuse = fstatfs(&file).is_ok_and(|of| of.f_type == FUSE);
    let id = FileId::of(&file.metadata().ok()?);
    (!is_fuse).then(|| (id, Arc::new(file)))
}
