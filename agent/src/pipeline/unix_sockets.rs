//! Which unix sockets are closed: no hook tells, so `/proc/net/unix` is asked now and then about those that are idle, on a
//! thread of its own.

use std::{
    collections::{HashMap, HashSet},
    fs::File,
    io::{BufRead, BufReader, Read},
    num::NonZeroU64,
    sync::mpsc::{self, Receiver, Sender},
    thread,
    time::{Duration, Instant},
};

use crate::{conn::UnixSocket, model::ids::ConnectionId, procs::fs::ProcFs};

/// For how long nothing must have moved over a socket that is asked about.
const IDLE_NS: u64 = 2_000_000_000;
/// How often is asked.
const EVERY: Duration = Duration::from_secs(5);
/// Most bytes read of a list: some half a million sockets.
const LIST_MAX: u64 = 64 << 20;

/// What is asked at a time.
struct Question {
    before_ns: u64,
    sockets: Vec<UnixSocket>,
}

/// What was found.
pub(super) struct Closed {
    /// They had been idle since before that.
    pub(super) before_ns: u64,
    /// Identities of connections.
    pub(super) ids: Vec<ConnectionId>,
}

/// The thread that asks.
pub(super) struct UnixSockets {
    questions: Sender<Question>,
    answers: Receiver<Closed>,
    /// A question is not answered yet.
    is_asked: bool,
    last: Instant,
}

impl UnixSockets {
    /// `None` where no thread can be started: sockets are then followed until their process ends.
    pub(super) fn start(proc: ProcFs) -> Option<Self> {
        let (questions, asked) = mpsc::channel::<Question>();
        let (answer, answers) = mpsc::channel();
        let run = move || {
            for Question { before_ns, sockets } in asked {
                if answer.send(Closed { before_ns, ids: closed(&proc, &sockets) }).is_err() {
                    return;
                }
            }
        };
        match thread::Builder::new().name("unix-sockets".to_owned()).spawn(run) {
            Ok(_detached) => Some(Self { questions, answers, is_asked: false, last: Instant::now() }),
            Err(error) => {
                tracing::warn!(%error, "that unix sockets are closed is known when their process ends only");
                None
            }
        }
    }

    /// Asks about what is idle, if it is time to.
    pub(super) fn ask(&mut self, now_ns: u64, idle: impl FnOnce(u64) -> Vec<UnixSocket>) {
        if self.is_asked || self.last.elapsed() < EVERY {
            return;
        }
        self.last = Instant::now();
        let before_ns = now_ns.saturating_sub(IDLE_NS);
        let sockets = idle(before_ns);
        self.is_asked = !sockets.is_empty() && self.questions.send(Question { before_ns, sockets }).is_ok();
    }

    /// What was found since.
    pub(super) fn answer(&mut self) -> Option<Closed> {
        let closed = self.answers.try_recv().ok()?;
        self.is_asked = false;
        Some(closed)
    }
}

/// Those that are not there any more. Of a network namespace that cannot be looked into nothing is said.
fn closed(proc: &ProcFs, sockets: &[UnixSocket]) -> Vec<ConnectionId> {
    let mut lists: HashMap<u32, HashSet<NonZeroU64>> = HashMap::new();
    let mut tried = HashSet::new();
    for socket in sockets {
        if lists.contains_key(&socket.netns) || !tried.insert(socket.tgid) {
            continue;
        }
        let namespace = proc.namespace(socket.tgid, "net");
        if namespace == Some(socket.netns.into())
            && let Ok(file) = File::open(proc.path(socket.tgid, "net/unix"))
            && let Some(list) = inodes(file)
        {
            lists.insert(socket.netns, list);
        }
    }
    let is_gone = |socket: &&UnixSocket| lists.get(&socket.netns).is_some_and(|list| !list.contains(&socket.inode));
    sockets.iter().filter(is_gone).map(|socket| socket.id).collect()
}

/// The numbers in a list such as `/proc/net/unix`; `None` where it cannot be read to its end.
fn inodes(list: impl Read) -> Option<HashSet<NonZeroU64>> {
    let mut list = BufReader::new(list.take(LIST_MAX));
    let (mut found, mut line) = (HashSet::new(), Vec::new());
    loop {
        line.clear();
        if list.read_until(b'\n', &mut line).ok()? == 0 {
            break;
        }
        // Num RefCount Protocol Flags Type St Inode Path
        let column = line.split(|&byte| byte == b' ').filter(|column| !column.is_empty()).nth(6);
        let number: Option<NonZeroU64> =
            column.and_then(|column| std::str::from_utf8(column).ok()?.trim_end().parse().ok());
        found.extend(number);
    }
    (list.into_inner().limit() > 0).then_some(found)
}

#[cfg(test)]
mod tests {
    use std::os::unix::net::UnixStream;

    use super::*;
    use crate::model::ids::ProcessId;

    #[test]
    fn the_inode_stands_before_the_path() {
        let list = "Num       RefCount Protocol Flags    Type St Inode Path\n\
            0000000000000000: 00000002 00000000 00010000 0001 01 21015 /run/a b\n\
            0000000000000000: 00000003 00000000 00000000 0001 03  7\n\
            0000000000000000: 00000003 00000000 00000000 0001 03 0\n";
        let found = inodes(list.as_bytes()).unwrap();
        assert_eq!(found, [21015, 7].into_iter().filter_map(NonZeroU64::new).collect());
    }

    #[test]
    fn a_socket_is_closed_when_its_process_has_closed_it() {
        use std::os::{fd::AsRawFd, unix::fs::MetadataExt};
        let proc = ProcFs::new("/proc");
        let tgid = ProcessId(std::process::id());
        let netns = u32::try_from(proc.namespace(tgid, "net").unwrap()).unwrap();
        let (one, other) = UnixStream::pair().unwrap();
        let socket = |id: u64, stream: &UnixStream| {
            let inode = std::fs::metadata(format!("/proc/self/fd/{}", stream.as_raw_fd())).unwrap().ino();
            UnixSocket { id: ConnectionId(id), inode: NonZeroU64::new(inode).unwrap(), netns, tgid }
        };
        let sockets = [socket(1, &one), socket(2, &other)];
        assert!(closed(&proc, &sockets).is_empty());
        drop(one);
        assert_eq!(closed(&proc, &sockets), [ConnectionId(1)]);
        let elsewhere = sockets.map(|socket| UnixSocket { netns: 1, ..socket });
        assert!(closed(&proc, &elsewhere).is_empty(), "nothing is known of that namespace");
    }
}
