//! TLS libraries of the system, before any process has them mapped: a program that lives a moment would be over before
//! its library was found.

use std::{collections::BTreeMap, fs, path::Path, sync::Arc};

use rustix::fs::fstatfs;

use super::{
    finder::{Finding, Found},
    library::Library,
    mapped,
};
use crate::{
    model::ids::ProcessId,
    procs::fs::{FileId, ProcFs},
};

/// Where distributions put libraries.
const FOLDERS: [&str; 7] =
    ["usr/lib/x86_64-linux-gnu", "usr/lib64", "usr/lib", "usr/local/lib", "lib/x86_64-linux-gnu", "lib64", "lib"];
/// What their files are called.
const NAMES: [&str; 2] = ["libssl.so", "libgnutls.so"];
/// `f_type` of overlayfs, which containers are made of.
const OVERLAYFS: i64 = 0x794c_7630;
/// Most that are taken.
const MAX: usize = 16;

/// The libraries installed where a process looks for them, as if it used them.
#[must_use]
pub(crate) fn installed(proc: &ProcFs, tgid: ProcessId) -> Finding {
    let root = proc.path(tgid, "root");
    let mut found = BTreeMap::new();
    for folder in FOLDERS {
        let Ok(entries) = fs::read_dir(root.join(folder)) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let is_one = name.to_str().is_some_and(|name| NAMES.iter().any(|known| name.starts_with(known)));
            if is_one && found.len() < MAX {
                // One file often has several names.
                found.extend(library(&entry.path(), &Path::new("/").join(folder).join(name)));
            }
        }
    }
    Finding { tgid, found: found.into_values().collect() }
}

fn library(at: &Path, path: &Path) -> Option<((u64, u64), Found)> {
    let file = mapped::read_only(at)?;
    // There a mapped file may go by another identity than the one at its path, and would get its probes twice.
    if fstatfs(&file).ok()?.f_type == OVERLAYFS {
        return None;
    }
    let id = FileId::of(&file.metadata().ok()?);
    let library = Library::read(&file).ok().flatten().filter(|library| !library.sites.is_empty())?;
    let path = path.display().to_string();
    Some(((id.dev, id.inode), Found { id, path, file: Arc::new(file), library: Arc::new(library) }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_installed_is_found_once_however_many_names_it_has() {
        let finding = installed(&ProcFs::new("/proc"), ProcessId(std::process::id()));
        let mut inodes: Vec<u64> = finding.found.iter().map(|found| found.id.inode).collect();
        inodes.sort_unstable();
        inodes.dedup();
        assert_eq!(inodes.len(), finding.found.len());
        assert!(finding.found.iter().all(|found| found.library.sites.len() >= 2), "{finding:#?}");
    }

    #[test]
    fn a_process_that_is_gone_has_none() {
        assert!(installed(&ProcFs::new("/proc"), ProcessId(u32::MAX)).found.is_empty());
    }
}
