//! Programs of Go that were looked into, by their files: what the table of functions says is the same for each process, and of a large program it takes
//! most of the time to read it.

use std::{
    collections::HashMap,
    fs::File,
    io,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::Instant,
};

use super::{
    NAMES, Unseen,
    layout::{Grpc, Layout, StatisticsLayout},
    pclntab::Function,
};
use crate::procs::{effort::Effort, executable::build_info, fs::FileId};

/// Most files remembered: some 50 bytes each, of those of Go 800.
const FILES_MAX: usize = 4096;

/// What is known of a program, whichever process runs it.
#[derive(Clone, Debug)]
pub(super) struct Account {
    pub(super) layout: Layout,
    pub(super) grpc: Option<Grpc>,
    pub(super) statistics: Option<StatisticsLayout>,
    /// Those of [`NAMES`], at the addresses of the file.
    pub(super) functions: [Option<Function>; NAMES.len()],
}

/// What is said of a file: nothing where it is none of Go.
pub(super) type Said = Option<Result<Arc<Account>, Unseen>>;

/// See the module.
#[derive(Default)]
pub(crate) struct Programs {
    accounts: Mutex<HashMap<FileId, Said>>,
    /// Whether a file is of Go.
    of_go: Mutex<HashMap<FileId, bool>>,
    effort: Mutex<Effort>,
}

impl Programs {
    /// Whether a process's program is one of Go, by the identity of its file.
    pub(crate) fn is_of_go(&self, id: FileId, open: impl FnOnce() -> io::Result<File>) -> bool {
        if let Some(known) = lock(&self.of_go).get(&id) {
            return *known;
        }
        let Some(is_of_go) = self.spend(id, || open().is_ok_and(|file| build_info(&file).is_some())) else {
            return false;
        };
        keep(&self.of_go, id, is_of_go);
        is_of_go
    }

    /// What is said of a file: once, unless that may become otherwise.
    pub(super) fn account(&self, id: FileId, look: impl FnOnce() -> Said) -> Said {
        if let Some(known) = lock(&self.accounts).get(&id) {
            return known.clone();
        }
        let said = self.spend(id, look).unwrap_or(Some(Err(Unseen::Changes)));
        // Its process may not be so far yet.
        if !matches!(said, Some(Err(Unseen::Incomplete | Unseen::Changes))) {
            keep(&self.accounts, id, said.clone());
        }
        said
    }

    /// Looks into a file, if not too much time went into it already.
    fn spend<T>(&self, id: FileId, look: impl FnOnce() -> T) -> Option<T> {
        let began = Instant::now();
        if !lock(&self.effort).is_left(id, began) {
            return None;
        }
        let found = look();
        lock(&self.effort).spend(id, began, Instant::now());
        Some(found)
    }
}

fn keep<T>(files: &Mutex<HashMap<FileId, T>>, id: FileId, what: T) {
    let mut files = lock(files);
    if files.len() >= FILES_MAX {
        // Looking into files again is the worst that can follow.
        files.clear();
    }
    files.insert(id, what);
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use std::{cell::Cell, time::Duration};

    use super::*;

    #[test]
    fn a_file_is_looked_into_once_unless_its_process_was_not_so_far() {
        let (programs, looks) = (Programs::default(), Cell::new(0));
        let look = |inode, said: Said| {
            programs.account(FileId { dev: 1, inode, mtime_ns: 0 }, || {
                looks.set(looks.get() + 1);
                said
            })
        };
        for _ in 0..3 {
            assert_eq!(look(1, Some(Err(Unseen::Incomplete))).unwrap().unwrap_err(), Unseen::Incomplete);
        }
        assert_eq!(looks.replace(0), 3);
        for _ in 0..3 {
            assert!(look(2, None).is_none());
            assert_eq!(look(3, Some(Err(Unseen::Garbled))).unwrap().unwrap_err(), Unseen::Garbled);
        }
        assert_eq!(looks.get(), 2);
        for inode in 10..10 + 2 * FILES_MAX as u64 {
            assert!(look(inode, None).is_none());
        }
        assert!(lock(&programs.accounts).len() <= FILES_MAX);
    }

    #[test]
    fn one_that_changes_all_the_time_is_given_up() {
        let programs = Programs::default();
        let look = |mtime_ns| {
            let id = FileId { dev: 1, inode: 1, mtime_ns };
            programs.account(id, || {
                // As if that had taken so long.
                let began = Instant::now();
                lock(&programs.effort).spend(id, began, began + Duration::from_millis(600));
                None
            })
        };
        assert!(look(1).is_none() && look(2).is_none());
        assert_eq!(look(3).unwrap().unwrap_err(), Unseen::Changes);
    }

    #[test]
    fn what_is_no_program_of_go_is_told_by_its_file() {
        let programs = Programs::default();
        let id = |inode| FileId { dev: 1, inode, mtime_ns: 0 };
        assert!(!programs.is_of_go(id(1), || File::open("/proc/self/exe")));
        assert!(!programs.is_of_go(id(2), || Err(io::ErrorKind::NotFound.into())));
        assert!(!programs.is_of_go(id(1), || panic!("it is known")));
    }
}
