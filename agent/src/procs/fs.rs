//! Bounded reads of `/proc`. Every file there is another program's to fill: nothing is trusted, everything has a limit,
//! and a file of a process's own file system is opened in a way that can neither block nor leave that file system.

use std::{
    fs::{self, File},
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::fs::MetadataExt,
    },
    path::{Path, PathBuf},
};

use crate::model::ids::ProcessId;
use rustix::fs::{Mode, OFlags, ResolveFlags};

/// Longest command line that is read: a Java class path can be long, and the main class comes after it.
const CMDLINE_MAX: u64 = 128 << 10;
/// Longest environment that is read, in search of two variables.
const ENVIRON_MAX: u64 = 256 << 10;
/// Longest of the small files (`stat`, `status`, `cgroup`).
const SMALL_MAX: u64 = 16 << 10;
/// Most bytes of `maps` that are read: some 100,000 mappings.
const MAPS_MAX: u64 = 8 << 20;
/// Most mappings that are looked at.
const MAPPED_MAX: usize = 4096;

/// `PF_FORKNOEXEC`, in the flags of `stat`.
const FORKED: u32 = 0x40;

/// A `/proc` of the host's PID namespace, wherever it is mounted.
#[derive(Clone, Debug)]
pub struct ProcFs {
    root: PathBuf,
}

/// What `/proc/PID/stat` says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Stat {
    /// The thread's name; at most 15 bytes.
    pub comm: String,
    /// Parent process.
    pub parent: ProcessId,
    /// It was forked and has not started a program of its own since (`PF_FORKNOEXEC`).
    pub is_forked: bool,
    /// Start, in clock ticks since boot: with the pid, a process's identity.
    pub start_ticks: u64,
}

/// What `/proc/PID/status` says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Status {
    /// Effective user.
    pub uid: u32,
    /// Pid in the process's own (innermost) PID namespace.
    pub namespace_pid: Option<ProcessId>,
}

/// Identity of a file as long as its contents stay the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct FileId {
    /// Device.
    pub dev: u64,
    /// Inode.
    pub inode: u64,
    /// Modification time, in ns.
    pub mtime_ns: i128,
}

impl FileId {
    /// The identity of what `metadata` was asked of.
    #[must_use]
    pub fn of(metadata: &fs::Metadata) -> Self {
        Self {
            dev: metadata.dev(),
            inode: metadata.ino(),
            mtime_ns: i128::from(metadata.mtime()) * 1_000_000_000 + i128::from(metadata.mtime_nsec()),
        }
    }
}

impl ProcFs {
    /// The `/proc` mounted at `root`.
    #[must_use]
    pub fn new(root: impl Into<PathBuf>) -> Self {
        Self { root: root.into() }
    }

    /// Path of a file of a process.
    #[must_use]
    pub fn path(&self, pid: ProcessId, name: &str) -> PathBuf {
        self.root.join(pid.to_string()).join(name)
    }

    /// A file directly under `/proc`, at most 64 KiB of it.
    ///
    /// # Errors
    /// As reading a file.
    pub fn read_global(&self, name: &str) -> io::Result<String> {
        read_path(&self.root.join(name), 64 << 10).map(lossy)
    }

    /// This process's pid, as this `/proc` has it.
    #[must_use]
    pub fn own_pid(&self) -> Option<ProcessId> {
        fs::read_link(self.root.join("self")).ok()?.to_str()?.parse().ok()
    }

    /// All processes there are.
    #[must_use]
    pub fn pids(&self) -> Vec<ProcessId> {
        let Ok(entries) = fs::read_dir(&self.root) else { return Vec::new() };
        entries.flatten().filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect()
    }

    /// A process's threads' parent, name and start time; `None` if there is no such process.
    #[must_use]
    pub fn stat(&self, pid: ProcessId) -> Option<Stat> {
        parse_stat(&read_path(&self.path(pid, "stat"), SMALL_MAX).ok()?)
    }

    /// A process's user and pid in its own namespace.
    #[must_use]
    pub fn status(&self, pid: ProcessId) -> Option<Status> {
        let text = lossy(read_path(&self.path(pid, "status"), SMALL_MAX).ok()?);
        let mut status = Status::default();
        for line in text.lines() {
            if let Some(ids) = line.strip_prefix("Uid:") {
                status.uid = ids.split_whitespace().nth(1)?.parse().ok()?;
            } else if let Some(pids) = line.strip_prefix("NSpid:") {
                status.namespace_pid = pids.split_whitespace().last().and_then(|pid| pid.parse().ok());
            }
        }
        Some(status)
    }

    /// The arguments, the program's name first. What a process wrote over them (`setproctitle`) comes as it is.
    #[must_use]
    pub fn cmdline(&self, pid: ProcessId) -> Vec<String> {
        let Ok(bytes) = read_path(&self.path(pid, "cmdline"), CMDLINE_MAX) else { return Vec::new() };
        let mut args: Vec<String> =
            bytes.split(|&byte| byte == 0).map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
        while args.last().is_some_and(String::is_empty) {
            args.pop();
        }
        args
    }

    /// The values of the environment variables `names`, as they were when the program was started.
    #[must_use]
    pub fn environ<const N: usize>(&self, pid: ProcessId, names: [&str; N]) -> [Option<String>; N] {
        let mut found = [const { None }; N];
        let Ok(bytes) = read_path(&self.path(pid, "environ"), ENVIRON_MAX) else { return found };
        for entry in bytes.split(|&byte| byte == 0) {
            for (name, value) in names.iter().zip(&mut found) {
                let rest = entry.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b"="));
                if let (Some(rest), None) = (rest, &value) {
                    *value = Some(String::from_utf8_lossy(rest).into_owned());
                }
            }
        }
        found
    }

    /// The executable's path in the process's own file system, without the kernel's ` (deleted)`.
    #[must_use]
    pub fn exe(&self, pid: ProcessId) -> Option<String> {
        let link = fs::read_link(self.path(pid, "exe")).ok()?;
        let link = link.to_string_lossy();
        Some(link.strip_suffix(" (deleted)").unwrap_or(&link).to_owned())
    }

    /// The executable's identity; works across mount namespaces and for a deleted file.
    #[must_use]
    pub fn exe_id(&self, pid: ProcessId) -> Option<FileId> {
        fs::metadata(self.path(pid, "exe")).ok().map(|metadata| FileId::of(&metadata))
    }

    /// Opens the executable.
    ///
    /// # Errors
    /// As opening a file.
    pub fn open_exe(&self, pid: ProcessId) -> io::Result<File> {
        open_regular(&self.path(pid, "exe"))
    }

    /// The working directory.
    #[must_use]
    pub fn cwd(&self, pid: ProcessId) -> Option<String> {
        Some(fs::read_link(self.path(pid, "cwd")).ok()?.to_string_lossy().into_owned())
    }

    /// The process's cgroups, one line per hierarchy.
    #[must_use]
    pub fn cgroup(&self, pid: ProcessId) -> Option<String> {
        read_path(&self.path(pid, "cgroup"), SMALL_MAX).ok().map(lossy)
    }

    /// A namespace's inode number; `kind` is `mnt`, `net` or `pid`.
    #[must_use]
    pub fn namespace(&self, pid: ProcessId, kind: &str) -> Option<u64> {
        let link = fs::read_link(self.path(pid, "ns").join(kind)).ok()?;
        let (_, number) = link.to_str()?.split_once('[')?;
        number.strip_suffix(']')?.parse().ok()
    }

    /// Paths of the files mapped for execution, each once, in order of address, as the process sees them.
    #[must_use]
    pub fn mapped_files(&self, pid: ProcessId) -> Vec<String> {
        let Ok(bytes) = read_path(&self.path(pid, "maps"), MAPS_MAX) else { return Vec::new() };
        let mut files: Vec<String> = Vec::new();
        for line in lossy(bytes).lines() {
            // address perms offset dev inode path
            let Some(permissions) = line.split(' ').nth(1) else { continue };
            let Some(path) = line.find('/').and_then(|at| line.get(at..)) else { continue };
            if permissions.contains('x') && files.last().map(String::as_str) != Some(path) && files.len() < MAPPED_MAX {
                files.push(path.to_owned());
            }
        }
        files
    }

    /// The names of what is mapped, of files and of memory that has one, each once.
    #[must_use]
    pub fn mapped_names(&self, pid: ProcessId) -> Vec<String> {
        let Ok(bytes) = read_path(&self.path(pid, "maps"), MAPS_MAX) else { return Vec::new() };
        let text = lossy(bytes);
        // address perms offset dev inode path
        let names = text.lines().filter_map(|line| {
            let at = line.find(['/', '['])?;
            line.get(at..)
        });
        let mut names: Vec<String> = names.take(MAPPED_MAX).map(str::to_owned).collect();
        names.dedup();
        names
    }

    /// At most `max` bytes of a file of a process's folder.
    #[must_use]
    pub fn read(&self, pid: ProcessId, name: &str, max: u64) -> Option<String> {
        read_path(&self.path(pid, name), max).ok().map(lossy)
    }

    /// Reads at most `max` bytes of a regular file of the process's own file system. Links are followed within it only
    /// (openat2(2), `RESOLVE_IN_ROOT`); a FIFO or device that pretends to be the file is refused.
    ///
    /// # Errors
    /// As opening and reading a file; `ENOSYS` on kernels before 5.6.
    pub fn read_in_root(&self, pid: ProcessId, path: &str, max: u64) -> io::Result<Vec<u8>> {
        read_file(self.open_in_root(pid, path)?, max)
    }

    /// Opens a regular file as [`Self::read_in_root`] does.
    ///
    /// # Errors
    /// As opening a file; `ENOSYS` on kernels before 5.6.
    pub fn open_in_root(&self, pid: ProcessId, path: &str) -> io::Result<File> {
        let root = rustix::fs::open(
            self.path(pid, "root"),
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        let file = rustix::fs::openat2(
            root.as_fd(),
            path.trim_start_matches('/'),
            OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY,
            Mode::empty(),
            ResolveFlags::IN_ROOT | ResolveFlags::NO_MAGICLINKS,
        )?;
        regular(file)
    }
}

/// Reads at most `max` bytes of a regular file.
///
/// # Errors
/// As opening and reading a file; `InvalidInput` for what is no regular file.
pub(crate) fn read_path(path: &Path, max: u64) -> io::Result<Vec<u8>> {
    read_file(open_regular(path)?, max)
}

fn open_regular(path: &Path) -> io::Result<File> {
    let flags = OFlags::RDONLY | OFlags::NONBLOCK | OFlags::CLOEXEC | OFlags::NOCTTY;
    regular(rustix::fs::open(path, flags, Mode::empty())?)
}

fn regular(file: OwnedFd) -> io::Result<File> {
    let file = File::from(file);
    if file.metadata()?.is_file() { Ok(file) } else { Err(io::ErrorKind::InvalidInput.into()) }
}

/// Reads at most `max` bytes.
///
/// # Errors
/// As reading a file.
pub(crate) fn read_file(file: File, max: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    file.take(max).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// Bytes of a file as text; what is not UTF-8 is replaced.
pub(crate) fn lossy(bytes: Vec<u8>) -> String {
    String::from_utf8(bytes).unwrap_or_else(|error| String::from_utf8_lossy(error.as_bytes()).into_owned())
}

fn parse_stat(bytes: &[u8]) -> Option<Stat> {
    // The name may itself hold parentheses and spaces: it ends at the last parenthesis.
    let open = bytes.iter().position(|&byte| byte == b'(')?;
    let close = bytes.iter().rposition(|&byte| byte == b')')?;
    let comm = String::from_utf8_lossy(bytes.get(open + 1..close)?).into_owned();
    let rest = std::str::from_utf8(bytes.get(close + 1..)?).ok()?;
    let mut fields = rest.split_ascii_whitespace();
    let parent = fields.nth(1)?.parse().ok()?;
    let flags: u32 = fields.nth(4)?.parse().ok()?;
    let start_ticks = fields.nth(12)?.parse().ok()?;
    Some(Stat { comm, parent, is_forked: flags & FORKED != 0, start_ticks })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_does_not_shift_the_fields() {
        let stat = b"42 (a) (b 9 9) S 7 42 42 0 -1 4194304 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 1 1\n";
        let expected = Stat { comm: "a) (b 9 9".into(), parent: ProcessId(7), is_forked: false, start_ticks: 98765 };
        assert_eq!(parse_stat(stat), Some(expected.clone()));
        let forked = b"42 (a) (b 9 9) S 7 42 42 0 -1 4194368 1 2 3 4 5 6 7 8 20 0 1 0 98765 1 1 1\n";
        assert_eq!(parse_stat(forked), Some(Stat { is_forked: true, ..expected }));
        assert_eq!(parse_stat(b"42 (a"), None);
        assert_eq!(parse_stat(b")("), None);
    }

    #[test]
    fn this_process_is_read() {
        let proc = ProcFs::new("/proc");
        let pid = std::process::id();
        assert_eq!(proc.stat(ProcessId(pid)).unwrap().parent, ProcessId(std::os::unix::process::parent_id()));
        assert_eq!(proc.exe(ProcessId(pid)).unwrap(), std::env::current_exe().unwrap().to_str().unwrap());
        assert!(proc.pids().contains(&ProcessId(pid)));
        assert!(proc.mapped_files(ProcessId(pid)).iter().any(|file| file.contains("libc.so")));
        assert_eq!(proc.environ(ProcessId(pid), ["PATH", "NO_SUCH_VARIABLE"]), [std::env::var("PATH").ok(), None]);
    }

    #[test]
    fn a_file_of_the_root_cannot_lead_out_of_it_nor_block() {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path().join("7/root");
        fs::create_dir_all(root.join("etc")).unwrap();
        fs::write(root.join("etc/inside"), "inside").unwrap();
        fs::write(dir.path().join("outside"), "outside").unwrap();
        std::os::unix::fs::symlink("/etc/inside", root.join("absolute")).unwrap();
        std::os::unix::fs::symlink("../../outside", root.join("escape")).unwrap();
        let mode = Mode::from_raw_mode(0o600);
        rustix::fs::mknodat(rustix::fs::CWD, root.join("fifo"), rustix::fs::FileType::Fifo, mode, 0).unwrap();
        let proc = ProcFs::new(dir.path());
        assert_eq!(proc.read_in_root(ProcessId(7), "/absolute", 100).unwrap(), b"inside");
        assert_eq!(proc.read_in_root(ProcessId(7), "/absolute", 3).unwrap(), b"ins");
        assert!(proc.read_in_root(ProcessId(7), "/escape", 100).is_err());
        assert_eq!(proc.read_in_root(ProcessId(7), "/fifo", 100).unwrap_err().kind(), io::ErrorKind::InvalidInput);
    }
}
