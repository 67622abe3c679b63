//! Puma, the server of most programs in Ruby: its workers are known by their names, once it is up.

use std::fs;

use crate::{model::ids::ProcessId, procs::fs::ProcFs};

/// What the names of its workers begin with, from its release 5 on, and before; as in `ebpf-probes/src/handlers/threads.rs`.
const NAMES: [&str; 2] = ["puma srv tp ", "puma threadpool"];
/// Most threads that are looked at.
const THREADS_MAX: usize = 4096;

/// Whether a process runs Ruby.
pub(super) fn is_ruby(proc: &ProcFs, pid: ProcessId) -> bool {
    let path = proc.exe(pid).unwrap_or_default();
    path.rsplit('/').next().is_some_and(|name| name.starts_with("ruby"))
}

/// Whether one that does is Puma.
pub(super) fn is_puma(proc: &ProcFs, pid: ProcessId) -> bool {
    let threads = fs::read_dir(proc.path(pid, "task")).into_iter().flatten().flatten();
    threads.take(THREADS_MAX).any(|thread| {
        let comm = format!("task/{}/comm", thread.file_name().to_string_lossy());
        let name = proc.read(pid, &comm, 64).unwrap_or_default();
        NAMES.iter().any(|begins| name.starts_with(begins))
    })
}
