//! Which TCP ports a process listens on, in its own network namespace.

use std::{
    collections::HashMap,
    fs,
    sync::{Arc, Mutex, PoisonError},
    time::{Duration, Instant},
};

use super::fs::ProcFs;

/// Longest `/proc/PID/net/tcp` that is read: some 100,000 sockets.
const TABLE_MAX: u64 = 16 << 20;
/// Most descriptors of one process that are looked at.
const DESCRIPTORS_MAX: usize = 1 << 16;
/// How long a namespace's table of sockets is used: a scan asks for each process in turn.
const TABLE_LIFE: Duration = Duration::from_secs(1);
/// Most namespaces whose table is kept at a time.
const TABLES_MAX: usize = 256;
/// `TCP_LISTEN` and `TCP_ESTABLISHED` in the table.
const LISTEN: &str = "0A";
const ESTABLISHED: &str = "01";

/// A process's TCP sockets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Sockets {
    /// Ports it listens on, ascending, each once.
    pub listening: Vec<u16>,
    /// It has a connection.
    pub is_connected: bool,
}

/// Looks up sockets; keeps each namespace's table for a moment.
#[derive(Debug, Default)]
pub struct Ports {
    tables: Mutex<HashMap<u64, (Instant, Arc<Table>)>>,
}

/// Sockets of a namespace by inode: the port of one that listens, `None` for a connection.
type Table = HashMap<u64, Option<u16>>;

impl Ports {
    /// The sockets of a process. One that was opened within the last second may be missing.
    #[must_use]
    pub fn of(&self, proc: &ProcFs, pid: u32, now: Instant) -> Sockets {
        self.with_table(proc, pid, now, TABLE_LIFE).0
    }

    /// The same, with those that were opened a moment ago.
    #[must_use]
    pub fn of_now(&self, proc: &ProcFs, pid: u32, now: Instant) -> Sockets {
        match self.with_table(proc, pid, now, TABLE_LIFE) {
            // A socket that the kept table does not have is younger, or none of TCP.
            (_, true) => self.with_table(proc, pid, now, Duration::ZERO).0,
            (sockets, false) => sockets,
        }
    }

    /// The sockets by a table of at most this age, and whether there are any that it does not have.
    fn with_table(&self, proc: &ProcFs, pid: u32, now: Instant, life: Duration) -> (Sockets, bool) {
        let mut sockets = Sockets::default();
        let mut lacks = false;
        let Ok(descriptors) = fs::read_dir(proc.path(pid, "fd")) else { return (sockets, false) };
        let mut table = None;
        for descriptor in descriptors.flatten().take(DESCRIPTORS_MAX) {
            let Ok(link) = fs::read_link(descriptor.path()) else { continue };
            let inode = link.to_str().and_then(|link| link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok());
            let Some(inode) = inode else { continue };
            // Most processes have no socket at all: then no table is read.
            match table.get_or_insert_with(|| self.table(proc, pid, now, life)).get(&inode) {
                Some(&Some(port)) => sockets.listening.push(port),
                Some(None) => sockets.is_connected = true,
                None => lacks = true,
            }
        }
        sockets.listening.sort_unstable();
        sockets.listening.dedup();
        (sockets, lacks)
    }

    fn table(&self, proc: &ProcFs, pid: u32, now: Instant, life: Duration) -> Arc<Table> {
        let namespace = proc.namespace(pid, "net");
        if let Some(namespace) = namespace
            && let Some((read_at, table)) = self.tables.lock().unwrap_or_else(PoisonError::into_inner).get(&namespace)
            && now.saturating_duration_since(*read_at) < life
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

fn read_table(text: &str, table: &mut Table) {
    for line in text.lines().skip(1) {
        // sl local_address rem_address st tx:rx tr:when retrnsmt uid timeout inode
        let mut fields = line.split_ascii_whitespace();
        let (Some(local), Some(state), Some(inode)) = (fields.nth(1), fields.nth(1), fields.nth(5)) else { continue };
        let Ok(inode) = inode.parse() else { continue };
        let port = local.rsplit_once(':').and_then(|(_, port)| u16::from_str_radix(port, 16).ok());
        match (state, port) {
            (LISTEN, Some(port)) => table.insert(inode, Some(port)),
            (ESTABLISHED, _) => table.insert(inode, None),
            _ => None,
        };
    }
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
        let found = cache.of(&proc, pid, now);
        assert!(ports.iter().all(|port| found.listening.contains(port)), "{found:?} {ports:?}");
        assert!(found.is_connected);
        assert!(!found.listening.contains(&client.local_addr().unwrap().port()));
        drop(v4);
        let found = cache.of(&proc, pid, now + TABLE_LIFE);
        assert!(!found.listening.contains(&ports[0]) && found.listening.contains(&ports[1]));
    }

    #[test]
    fn a_listener_younger_than_the_kept_table_is_found_where_it_matters() {
        let proc = ProcFs::new("/proc");
        let (cache, now) = (Ports::default(), Instant::now());
        let _first = TcpListener::bind("127.0.0.1:0").unwrap();
        let _kept = cache.of(&proc, std::process::id(), now);
        let young = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = young.local_addr().unwrap().port();
        assert!(!cache.of(&proc, std::process::id(), now).listening.contains(&port));
        assert!(cache.of_now(&proc, std::process::id(), now).listening.contains(&port));
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
