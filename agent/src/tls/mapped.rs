//! Files that a process has mapped for execution.

use std::{
    fs::{self, File, OpenOptions},
    os::unix::fs::OpenOptionsExt,
};

use crate::{model::ids::ProcessId, procs::fs::ProcFs};

/// Most of `/proc/PID/maps` that is read.
const MAPS_MAX: u64 = 8 << 20;
/// Most files of a process that are looked at.
const FILES_MAX: usize = 1024;

/// A mapped file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mapped {
    /// Its range of addresses, which is its name in `/proc/PID/map_files`.
    pub(super) range: String,
    /// Device and inode, as the kernel prints them here.
    pub(super) id: (String, String),
    /// Path as the process sees it.
    pub(crate) path: String,
}

impl Mapped {
    /// Of the words of a line of `maps`.
    pub(crate) fn new(range: &str, device: &str, inode: &str, path: &str) -> Self {
        Self { range: plain(range), id: (device.to_owned(), inode.to_owned()), path: path.to_owned() }
    }

    /// See [`open`].
    pub(crate) fn open(&self, proc: &ProcFs, tgid: ProcessId) -> Option<File> {
        open(proc, tgid, self)
    }
}

/// Files that a process has mapped for execution, each once.
pub(super) fn of_process(proc: &ProcFs, tgid: ProcessId) -> Vec<Mapped> {
    proc.read(tgid, "maps", MAPS_MAX).map(|maps| parse(&maps)).unwrap_or_default()
}

fn parse(maps: &str) -> Vec<Mapped> {
    let mut files: Vec<Mapped> = Vec::new();
    for line in maps.lines() {
        // address perms offset dev inode path
        let mut words = line.splitn(6, ' ');
        let (Some(range), Some(permissions), Some(_), Some(device), Some(inode)) =
            (words.next(), words.next(), words.next(), words.next(), words.next())
        else {
            continue;
        };
        let path = words.next().unwrap_or_default().trim_start();
        if !permissions.contains('x') || inode == "0" || !path.starts_with('/') || path.starts_with("/dev/") {
            continue;
        }
        let file = Mapped::new(range, device, inode, path);
        if files.len() < FILES_MAX && !files.iter().any(|other| other.id == file.id) {
            files.push(file);
        }
    }
    files
}

/// Addresses have leading zeroes in `maps`, but not in `map_files`.
fn plain(range: &str) -> String {
    let short = |address: &str| {
        let address = address.trim_start_matches('0');
        if address.is_empty() { "0".to_owned() } else { address.to_owned() }
    };
    range.split_once('-').map_or_else(String::new, |(from, to)| format!("{}-{}", short(from), short(to)))
}

/// Opens exactly the file that is mapped, whatever has become of its path; where that is not permitted, what lies at
/// its path now, if it is the same file.
pub(super) fn open(proc: &ProcFs, tgid: ProcessId, mapped: &Mapped) -> Option<File> {
    let same = proc.path(tgid, "map_files").join(&mapped.range);
    let file = read_only(&same).or_else(|| {
        let at_path = proc.path(tgid, "root").join(mapped.path.trim_start_matches('/'));
        read_only(&at_path).filter(|file| inode(file).is_some_and(|inode| inode == mapped.id.1))
    })?;
    file.metadata().ok()?.is_file().then_some(file)
}

/// Opens a file if it is one.
pub(super) fn read_only(path: &std::path::Path) -> Option<File> {
    // A FIFO or a device must not hold the agent up.
    if !fs::metadata(path).ok()?.is_file() {
        return None;
    }
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY).open(path).ok()
}

fn inode(file: &File) -> Option<String> {
    use std::os::unix::fs::MetadataExt;
    Some(file.metadata().ok()?.ino().to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAPS: &str = "\
00400000-00452000 r-xp 00000000 08:02 173521      /usr/bin/dbus daemon
00651000-00652000 r--p 00051000 08:02 173521      /usr/bin/dbus daemon
7f00b000-7f00c000 r-xp 00000000 08:02 135522      /usr/lib/libssl.so.3 (deleted)
7f10b000-7f10c000 r-xp 00001000 08:02 135522      /usr/lib/libssl.so.3 (deleted)
7f20b000-7f20c000 r-xp 00000000 00:00 0
7f30b000-7f30c000 rw-p 00000000 08:02 9 /usr/lib/data
7ffd0000-7ffd1000 r-xp 00000000 00:00 0           [vdso]
nonsense
";

    #[test]
    fn executable_files_are_found_once_with_their_place() {
        let found = parse(MAPS);
        let paths: Vec<_> = found.iter().map(|file| (file.range.as_str(), file.path.as_str())).collect();
        assert_eq!(
            paths,
            [("400000-452000", "/usr/bin/dbus daemon"), ("7f00b000-7f00c000", "/usr/lib/libssl.so.3 (deleted)")]
        );
    }

    #[test]
    fn the_files_of_this_process_can_be_opened() {
        let proc = ProcFs::new("/proc");
        let own = of_process(&proc, ProcessId(std::process::id()));
        let executable = own.first().expect("the test program is mapped");
        assert!(open(&proc, ProcessId(std::process::id()), executable).is_some());
    }
}
