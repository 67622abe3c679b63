//! Names of addresses as processes have them: `/etc/hosts` of their own file systems.

use std::{
    collections::HashMap,
    net::IpAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use compact_str::CompactString;

use super::{
    blocking::{BlockingPool, PATIENCE, Place},
    fs::{FileId, ProcFs, read_file},
};
use crate::model::{
    ids::ProcessId,
    net::{ConnectionInfo, Role},
};

/// Where the other side of a process's connections is named. Lookups do not wait for anybody.
pub(crate) trait NameSource: Send + Sync {
    /// What the process, which has this role, calls the address of the other side.
    fn name(&self, pid: ProcessId, role: Role, connection: &ConnectionInfo) -> Option<CompactString>;
}

/// Most bytes read of one file; lists of blocked sites are larger, and of no use here.
const FILE_MAX: u64 = 64 << 10;
/// Most processes and files remembered; then all are read again.
const REMEMBERED_MAX: usize = 4096;
/// How long a process's file is believed to be the same.
const BELIEVED: Duration = Duration::from_secs(10);

/// The files of all processes. Most share one.
pub(crate) struct HostsFiles {
    proc: ProcFs,
    pool: Arc<BlockingPool>,
    by_file: Arc<Mutex<ByFile>>,
    by_process: Mutex<HashMap<ProcessId, Read>>,
}

/// When a process's file was read, and what it says if it could be.
type Read = (Instant, Option<Arc<Names>>);

type ByFile = HashMap<FileId, Arc<Names>>;

type Names = HashMap<IpAddr, CompactString>;

impl HostsFiles {
    /// Of the processes in this `/proc`; their files are read by the pool.
    #[must_use]
    pub(crate) fn new(proc: ProcFs, pool: Arc<BlockingPool>) -> Self {
        Self { proc, pool, by_file: Arc::default(), by_process: Mutex::default() }
    }

    /// The clock is read where it matters only: this is asked for each request.
    fn look_up(&self, pid: ProcessId, ip: IpAddr, now: impl FnOnce() -> Instant) -> Option<CompactString> {
        let ip = ip.to_canonical();
        if !is_worth_a_name(ip) {
            return None;
        }
        let now = now();
        if let Some((read_at, names)) = lock(&self.by_process).get(&pid)
            && now.saturating_duration_since(*read_at) < BELIEVED
        {
            return names.as_ref()?.get(&ip).cloned();
        }
        let (proc, by_file) = (self.proc.clone(), Arc::clone(&self.by_file));
        let names = self.pool.call(Place::of(&self.proc, pid), PATIENCE, move || read(&proc, pid, &by_file)).flatten();
        let name = names.as_ref().and_then(|names| names.get(&ip).cloned());
        let mut by_process = lock(&self.by_process);
        if by_process.len() >= REMEMBERED_MAX {
            by_process.clear();
        }
        by_process.insert(pid, (now, names));
        name
    }
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// `localhost` says less than the address.
pub(super) fn is_worth_a_name(ip: IpAddr) -> bool {
    !ip.is_loopback() && !ip.is_unspecified()
}

impl NameSource for HostsFiles {
    fn name(&self, pid: ProcessId, _role: Role, connection: &ConnectionInfo) -> Option<CompactString> {
        self.look_up(pid, connection.remote.ip()?, Instant::now)
    }
}

fn read(proc: &ProcFs, pid: ProcessId, by_file: &Mutex<ByFile>) -> Option<Arc<Names>> {
    let file = proc.open_in_root(pid, "/etc/hosts").ok()?;
    let id = FileId::of(&file.metadata().ok()?);
    if let Some(names) = lock(by_file).get(&id) {
        return Some(Arc::clone(names));
    }
    let names = Arc::new(parse(&String::from_utf8_lossy(&read_file(file, FILE_MAX).ok()?)));
    let mut by_file = lock(by_file);
    if by_file.len() >= REMEMBERED_MAX {
        by_file.clear();
    }
    by_file.insert(id, Arc::clone(&names));
    Some(names)
}

/// The first name of each address.
fn parse(text: &str) -> Names {
    let mut names = Names::new();
    for line in text.lines() {
        let mut words = line.split('#').next().unwrap_or_default().split_whitespace();
        if let (Some(Ok(ip)), Some(name)) = (words.next().map(str::parse::<IpAddr>), words.next()) {
            names.entry(ip.to_canonical()).or_insert_with(|| name.into());
        }
    }
    names
}

#[cfg(test)]
mod tests {
    use std::{fs, path::Path};

    use super::*;

    const DB: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));

    fn with_hosts(proc: &Path, pid: ProcessId, text: &str) {
        let etc = proc.join(pid.to_string()).join("root/etc");
        fs::create_dir_all(&etc).unwrap();
        fs::write(etc.join("hosts"), text).unwrap();
    }

    #[test]
    fn the_first_name_of_an_address_counts_and_comments_do_not() {
        let text = "127.0.0.1 localhost\n# 10.0.0.1 no\n10.0.0.7\tdb.shop db # the database\n10.0.0.7 other\n\
                    ::ffff:10.0.0.8 mapped\n2001:db8::1 six\nnonsense here\n10.0.0.9\n10.0.0.10 #x\n";
        let names = parse(text);
        let name = |ip: &str| names.get(&ip.parse::<IpAddr>().unwrap()).map(CompactString::as_str);
        assert_eq!(name("10.0.0.7"), Some("db.shop"));
        assert_eq!((name("10.0.0.8"), name("2001:db8::1")), (Some("mapped"), Some("six")));
        assert_eq!((name("10.0.0.1"), name("10.0.0.9"), name("10.0.0.10")), (None, None, None));
    }

    #[test]
    fn each_process_has_the_names_of_its_own_file_system() {
        let dir = tempfile::tempdir().unwrap();
        with_hosts(dir.path(), ProcessId(1), "10.0.0.7 one\n127.0.0.1 localhost\n");
        with_hosts(dir.path(), ProcessId(2), "10.0.0.7 two\n");
        let files = HostsFiles::new(ProcFs::new(dir.path()), Arc::default());
        let now = Instant::now();
        let name = |pid, at| files.look_up(pid, DB, || at);
        assert_eq!(
            (name(ProcessId(1), now).as_deref(), name(ProcessId(2), now).as_deref(), name(ProcessId(3), now)),
            (Some("one"), Some("two"), None)
        );
        assert_eq!(files.look_up(ProcessId(1), "127.0.0.1".parse().unwrap(), || now), None);
        assert_eq!(files.look_up(ProcessId(1), "::ffff:10.0.0.7".parse().unwrap(), || now).as_deref(), Some("one"));
        // A changed file is taken up after a while, and not looked for at each request.
        with_hosts(dir.path(), ProcessId(1), "10.0.0.7 renamed\n");
        with_hosts(dir.path(), ProcessId(3), "10.0.0.7 three\n");
        let soon = now + BELIEVED / 2;
        assert_eq!((name(ProcessId(1), soon).as_deref(), name(ProcessId(3), soon)), (Some("one"), None));
        let later = now + BELIEVED;
        assert_eq!(
            (name(ProcessId(1), later).as_deref(), name(ProcessId(3), later).as_deref()),
            (Some("renamed"), Some("three"))
        );
    }

    #[test]
    fn what_is_remembered_is_bounded() {
        let dir = tempfile::tempdir().unwrap();
        let files = HostsFiles::new(ProcFs::new(dir.path()), Arc::default());
        for pid in 0..3 * REMEMBERED_MAX as u32 {
            files.look_up(ProcessId(pid), DB, Instant::now);
        }
        assert!(lock(&files.by_process).len() <= REMEMBERED_MAX);
    }
}
