//! Which TCP ports a process listens on, in its own network namespace.

use std::{
    collections::HashMap,
    fs,
    io::{self, BufRead, BufReader, Read},
    path::Path,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::fs::ProcFs;
use crate::model::ids::ProcessId;

/// Longest `/proc/PID/net/tcp` that is read: some 100,000 sockets.
const TABLE_MAX: u64 = 16 << 20;
/// Most descriptors of one process that are looked at.
const DESCRIPTORS_MAX: usize = 1 << 16;
/// How long a namespace's table of sockets is used: a scan asks for each process in turn.
const TABLE_LIFE: Duration = Duration::from_secs(1);
/// Most namespaces whose table is kept at a time.
const TABLES_MAX: usize = 256;
/// Less than a line of a table.
const LINE: usize = 128;
/// `TCP_LISTEN` and `TCP_ESTABLISHED` in the table.
const LISTEN: &str = "0A";
const ESTABLISHED: &str = "01";

/// A process's TCP sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Sockets {
    /// Ports it listens on, ascending, each once.
    pub listening: Vec<u16>,
    /// It has a connection.
    pub is_connected: bool,
}

/// Looks up sockets; keeps each namespace's table for a moment.
#[derive(Debug, Default)]
pub(crate) struct Ports {
    tables: Mutex<HashMap<u64, (Instant, Arc<Table>)>>,
}

/// Sockets of a namespace by inode: the port of one that listens, `None` for a connection.
type Table = HashMap<u64, Option<u16>>;

impl Ports {
    /// The sockets of a process. One that was opened within the last second may be missing.
    #[must_use]
    pub(crate) fn of(&self, proc: &ProcFs, pid: ProcessId, now: Instant) -> Sockets {
        let mut found = Sockets::default();
        let mut table = None;
        for inode in sockets(proc, pid) {
            // Most processes have no socket at all: then no table is read.
            match table.get_or_insert_with(|| self.table(proc, pid, now)).get(&inode) {
                Some(&Some(port)) => found.listening.push(port),
                Some(None) => found.is_connected = true,
                None => {}
            }
        }
        found.listening.sort_unstable();
        found.listening.dedup();
        found
    }

    /// The ports a process listens on at this moment. Cheap however many connections the host has.
    #[must_use]
    pub(crate) fn listening_now(proc: &ProcFs, pid: ProcessId) -> Vec<u16> {
        let mut listeners: Option<Table> = None;
        let mut ports = Vec::new();
        for inode in sockets(proc, pid) {
            let listeners = listeners.get_or_insert_with(|| {
                let mut table = Table::new();
                for file in ["net/tcp", "net/tcp6"] {
                    // A file of a process that has ended meanwhile says nothing.
                    let _gone = read_listeners(&proc.path(pid, file), &mut table);
                }
                table
            });
            ports.extend(listeners.get(&inode).copied().flatten());
        }
        ports.sort_unstable();
        ports.dedup();
        ports
    }

    fn table(&self, proc: &ProcFs, pid: ProcessId, now: Instant) -> Arc<Table> {
        let namespace = proc.namespace(pid, "net");
        if let Some(namespace) = namespace
            && let Some((read_at, table)) = self.tables.lock().unwrap_or_else(PoisonError::into_inner).get(&namespace)
            && now.saturating_duration_since(*read_at) < TABLE_LIFE
        {
            return Arc::clone(table);
        }
        let mut table = Table::new();
        for file in ["net/tcp", "net/tcp6"] {
            read_table(&proc.read(pid, file, TABLE_MAX).unwrap_or_default(), &mut table);
        }
        let table = Arc::new(table);
        if let Some(namespace) = namespace {
            let mut tables = self.tables.lock().unwrap_or_else(PoisonError::into_inner);
            tables.retain(|_, (read_at, _)| now.saturating_duration_since(*read_at) < TABLE_LIFE);
            if tables.len() < TABLES_MAX {
                tables.insert(namespace, (now, Arc::clone(&table)));
            }
        }
        table
    }
}

/// Inodes of a process's sockets, of any kind.
fn sockets(proc: &ProcFs, pid: ProcessId) -> impl Iterator<Item = u64> {
    let descriptors = fs::read_dir(proc.path(pid, "fd")).into_iter().flatten().flatten().take(DESCRIPTORS_MAX);
    descriptors.filter_map(|descriptor| {
        let link = fs::read_link(descriptor.path()).ok()?;
        link.to_str()?.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
    })
}

/// Reads the listeners of a table, which the kernel lists before all connections (`tcp_seq_start`), and no more: a busy
/// host has some ten thousand of these.
fn read_listeners(path: &Path, table: &mut Table) -> io::Result<()> {
    // The kernel fills what it is given: a longer read would go on to look for connections in hundreds of thousands of
    // places, which takes twenty times as long.
    let mut lines = BufReader::with_capacity(LINE, fs::File::open(path)?.take(TABLE_MAX));
    let mut line = String::new();
    lines.read_line(&mut line)?;
    loop {
        line.clear();
        if lines.read_line(&mut line)? == 0 || read_line(&line, table).is_none_or(|state| state != LISTEN) {
            return Ok(());
        }
    }
}

fn read_table(text: &str, table: &mut Table) {
    for line in text.lines().skip(1) {
        read_line(line, table);
    }
}

/// Takes up a line, and gives its state; `None` if it is none.
fn read_line<'a>(line: &'a str, table: &mut Table) -> Option<&'a str> {
    // sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
    let mut fields = line.split_ascii_whitespace();
    let (local, state, inode) = (fields.nth(1)?, fields.nth(1)?, fields.nth(5)?.parse().ok()?);
    let port = local.rsplit_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
    match (state, port) {
        (LISTEN, Some(port)) => table.insert(inode, Some(port)),
        (ESTABLISHED, _) => table.insert(inode, None),
        _ => None,
    };
    Some(state)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;

    #[test]
    fn this_processs_listeners_are_found_and_closed_ones_are_not() {
        let proc = ProcFs::new("/proc");
        let pid = std::process::id();
        let (v4, v6) = (TcpListener::bind("127.0.0.1:0").unwrap(), TcpListener::bind("[::1]:0").unwrap());
        let client = TcpStream::connect(v4.local_addr().unwrap()).unwrap();
        let ports = [&v4, &v6].map(|listener| listener.local_addr().unwrap().port());
        let cache = Ports::default();
        let now = Instant::now();
        let found = cache.of(&proc, ProcessId(pid), now);
        assert!(ports.iter().all(|port| found.listening.contains(port)), "{found:?} {ports:?}");
        assert!(found.is_connected);
        assert!(!found.listening.contains(&client.local_addr().unwrap().port()));
        drop(v4);
        let found = cache.of(&proc, ProcessId(pid), now + TABLE_LIFE);
        assert!(!found.listening.contains(&ports[0]) && found.listening.contains(&ports[1]));
    }

    #[test]
    fn a_listener_younger_than_the_kept_table_is_found_where_it_matters() {
        let proc = ProcFs::new("/proc");
        let (cache, now) = (Ports::default(), Instant::now());
        let _first = TcpListener::bind("127.0.0.1:0").unwrap();
        let _kept = cache.of(&proc, ProcessId(std::process::id()), now);
        let young = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = young.local_addr().unwrap().port();
        assert!(!cache.of(&proc, ProcessId(std::process::id()), now).listening.contains(&port));
        assert!(Ports::listening_now(&proc, ProcessId(std::process::id())).contains(&port));
    }

    #[test]
    fn broken_lines_are_passed_over() {
        let mut table = Table::new();
        read_table(
            "head\n\n 0: x\n1: 0100007F:1F90 00000000:0000 0A 0:0 0:0 0 0 0 77 1\n2: z:zz 0 0A 0 0 0 0 0 x\n",
            &mut table,
        );
        assert_eq!(table, Table::from([(77, Some(8080))]));
    }
}
