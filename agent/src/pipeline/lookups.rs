//! Look-ups of names over UDP: what processes ask DNS servers, paired with what those answer, by process, number and question. One is told
//! when it is answered, or when it is certain enough that it will not be.

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
};

use ebpf_common::limits::{ANSWERS_EVERY, ANSWERS_MAX};

use crate::{
    capture::event::DnsMessage,
    model::{
        exchange::{Dns, Event, Exchange, Inside, Opened, Operation, Outcome, Pattern, Place},
        ids::{ConnectionId, ProcessId, ThreadId},
        net::{ConnectionInfo, Direction, Endpoint, Origin, Role, Thread},
    },
    protocols::{Output, dns},
};

/// After so long without an answer there is none: resolvers ask again by then.
const TIMEOUT_NS: u64 = 5_000_000_000;
/// For how long a look-up waits for its process to be evaluated, which it is by its first connection.
const UNDECIDED_NS: u64 = 2_000_000_000;
/// Most that wait for an answer, and for their process.
const OPEN_MAX: usize = 4096;
const HELD_MAX: usize = 1024;
/// What they are called in counters.
const NAME: &str = "dns_udp";
/// The DNS port.
const PORT: u16 = 53;
/// Numbers of connections that nobody else gives: the kernel side has none with these two bits.
const IDS: u64 = 3 << 62;

type Key = (ProcessId, u64);

/// Look-ups that are under way.
#[derive(Debug, Default)]
pub(super) struct Lookups {
    open: HashMap<Key, Asked>,
    /// The oldest first; some are over by now.
    order: VecDeque<(u64, Key)>,
    /// Those that are over.
    over: VecDeque<Over>,
    /// Messages of processes in the present window.
    passed: HashMap<ProcessId, Passed>,
    told: u64,
}

#[derive(Debug)]
struct Asked {
    at_ns: u64,
    thread: Thread,
    server: Option<std::net::IpAddr>,
    dns: Dns,
}

#[derive(Debug)]
struct Over {
    asked: Asked,
    end_ns: u64,
    outcome: Outcome,
}

/// How many messages a process passed in a window: of more than a share the rest is not seen.
#[derive(Debug, Default)]
struct Passed {
    window: u64,
    count: u64,
    /// Until when what is not seen may have come.
    unseen_until_ns: u64,
}

impl Lookups {
    /// A message was seen.
    pub(super) fn on_message(&mut self, message: &DnsMessage<'_>) {
        let &DnsMessage { tgid, tid, direction, server, at_ns, .. } = message;
        self.count(tgid, at_ns);
        let Some(read) = dns::read(message.message) else { return };
        let key = (tgid, dns::key(&read));
        match (direction, read.is_answer) {
            (Direction::Sent, false) => {
                let thread = Thread { tgid, tid, work: 0, begun_ns: 0 };
                let dns::Read { question, kind, .. } = read;
                let dns = Dns { question, kind, ..Dns::default() };
                if let Some(before) = self.open.insert(key, Asked { at_ns, thread, server, dns }) {
                    // It asks once more.
                    self.end(before, at_ns, Outcome::NoResponse);
                }
                self.order.push_back((at_ns, key));
                self.give_up(at_ns);
            }
            (Direction::Received, true) => {
                let Some(mut asked) = self.open.remove(&key) else { return };
                (asked.dns.answers, asked.dns.code) = (read.answers, read.code);
                asked.server = asked.server.or(server);
                self.end(asked, at_ns, Outcome::Complete);
            }
            // A server's own.
            _ => {}
        }
    }

    fn count(&mut self, tgid: ProcessId, at_ns: u64) {
        let window = at_ns >> ANSWERS_EVERY;
        if self.passed.len() >= OPEN_MAX {
            self.passed.retain(|_, it| it.window == window || it.unseen_until_ns > at_ns);
        }
        let passed = self.passed.entry(tgid).or_default();
        if passed.window != window {
            (passed.window, passed.count) = (window, 0);
        }
        passed.count += 1;
        // Threads may have counted the same twice.
        if passed.count >= ANSWERS_MAX / 2 {
            passed.unseen_until_ns = at_ns.saturating_add(TIMEOUT_NS);
        }
    }

    fn end(&mut self, asked: Asked, end_ns: u64, outcome: Outcome) {
        let may_be_unseen = self.passed.get(&asked.thread.tgid).is_some_and(|it| it.unseen_until_ns > asked.at_ns);
        let outcome = if outcome == Outcome::NoResponse && may_be_unseen { Outcome::Unseen } else { outcome };
        if self.over.len() >= HELD_MAX {
            self.over.pop_front();
        }
        self.over.push_back(Over { asked, end_ns, outcome });
    }

    /// Those that were asked long ago are over, and if there are too many the oldest.
    fn give_up(&mut self, now_ns: u64) {
        while let Some(&(at_ns, key)) = self.order.front() {
            let is_late = at_ns.saturating_add(TIMEOUT_NS) <= now_ns;
            if !is_late && self.order.len() <= OPEN_MAX {
                return;
            }
            self.order.pop_front();
            if self.open.get(&key).is_none_or(|asked| asked.at_ns != at_ns) {
                continue;
            }
            let Some(asked) = self.open.remove(&key) else { continue };
            let outcome = if is_late { Outcome::NoResponse } else { Outcome::Unseen };
            self.end(asked, at_ns.saturating_add(TIMEOUT_NS).min(now_ns), outcome);
        }
    }

    /// Tells those that are over of processes that are watched. Others wait for a while: names come before the connection by which
    /// a process is evaluated.
    pub(super) fn tell(
        &mut self,
        now_ns: u64,
        mut is_watched: impl FnMut(ProcessId) -> bool,
        out: &mut Output,
        sink: &mut impl FnMut(&ConnectionInfo, Event),
    ) {
        self.give_up(now_ns);
        for over in std::mem::take(&mut self.over) {
            if is_watched(over.asked.thread.tgid) {
                self.tell_one(over, out, sink);
            } else if over.end_ns.saturating_add(UNDECIDED_NS) > now_ns {
                self.over.push_back(over);
            }
        }
    }

    fn tell_one(&mut self, over: Over, out: &mut Output, sink: &mut impl FnMut(&ConnectionInfo, Event)) {
        let Over { asked: Asked { at_ns: start_ns, thread, server, dns }, end_ns, outcome } = over;
        self.told += 1;
        let id = ConnectionId(IDS | self.told);
        let remote = server.map_or(Endpoint::Unknown, |ip| Endpoint::Inet(SocketAddr::new(ip, PORT)));
        let connection = ConnectionInfo {
            id,
            local: Endpoint::Unknown,
            remote,
            netns: 0,
            tls: false,
            tls_version: None,
            asked: None,
            client: None,
            link: id,
            is_paired: false,
            origin: Origin::default(),
            is_blocking: false,
            met_ns: start_ns,
            requests: 0,
            connect_ns: None,
        };
        let (role, place) = (Role::Client, Place::Id(self.told));
        let opened = |key| Opened {
            key,
            role,
            thread,
            start_ns,
            parent: None,
            is_health_check: false,
            is_message: false,
            place,
        };
        let key = out.open(opened);
        let is_answered = outcome == Outcome::Complete;
        let exchange = Exchange {
            role,
            thread,
            start_ns,
            first_byte_ns: is_answered.then_some(end_ns),
            response_tid: ThreadId::NONE,
            end_ns: end_ns.max(start_ns),
            outcome,
            parent: None,
            protocol: NAME,
            pattern: Pattern::RequestResponse,
            operation: Operation::Dns(Box::new(dns)),
            inside: Inside::default(),
        };
        out.finish(key, exchange);
        out.drain().for_each(|event| sink(&connection, event));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const WATCHED: ProcessId = ProcessId(7);

    /// A message: number, whether it is an answer, response code, name.
    fn message(id: u16, is_answer: bool, code: u16, name: &str) -> Vec<u8> {
        let flags = 0x0100 | if is_answer { 0x8080 | code } else { 0 };
        let mut bytes: Vec<u8> = [id, flags, 1, 0, 0, 0].iter().flat_map(|word| word.to_be_bytes()).collect();
        bytes.push(name.len() as u8);
        bytes.extend(name.bytes());
        bytes.extend([0, 0, 1, 0, 1]);
        bytes
    }

    struct Watcher(Lookups, Output);

    impl Watcher {
        fn pass(&mut self, tgid: ProcessId, direction: Direction, at_ns: u64, message: &[u8]) {
            let (server, tid, started_at_ns) = (Some([127, 0, 0, 1].into()), ThreadId(9), 1);
            self.0.on_message(&DnsMessage { tgid, started_at_ns, tid, direction, server, at_ns, message });
        }

        fn told(&mut self, now_ns: u64) -> Vec<(String, Option<String>, Outcome, u64)> {
            let mut told = Vec::new();
            self.0.tell(now_ns, |tgid| tgid == WATCHED, &mut self.1, &mut |_, event| {
                if let Event::Finished(_, exchange) = event {
                    let Operation::Dns(dns) = exchange.operation else { panic!("no look-up") };
                    let code = dns.code.map(|code| code.to_string());
                    told.push((dns.question.to_string(), code, exchange.outcome, exchange.end_ns - exchange.start_ns));
                }
            });
            told
        }
    }

    fn watcher() -> Watcher {
        Watcher(Lookups::default(), Output::default())
    }

    #[test]
    fn a_look_up_is_told_with_its_own_answer() {
        let mut it = watcher();
        it.pass(WATCHED, Direction::Sent, 10, &message(1, false, 0, "a"));
        it.pass(WATCHED, Direction::Sent, 20, &message(1, false, 0, "b"));
        it.pass(ProcessId(8), Direction::Received, 25, &message(1, true, 0, "a"));
        it.pass(WATCHED, Direction::Received, 30, &message(1, true, 3, "b"));
        it.pass(WATCHED, Direction::Received, 40, &message(1, true, 0, "a"));
        it.pass(WATCHED, Direction::Received, 50, &message(1, true, 0, "a"));
        let expected = [
            ("b".to_owned(), Some("NXDOMAIN".to_owned()), Outcome::Complete, 10),
            ("a".to_owned(), None, Outcome::Complete, 30),
        ];
        assert_eq!(it.told(60), expected);
        assert!(it.told(60).is_empty());
    }

    #[test]
    fn what_is_not_answered_is_over_after_a_while_or_when_it_is_asked_again() {
        let mut it = watcher();
        it.pass(WATCHED, Direction::Sent, 10, &message(1, false, 0, "a"));
        it.pass(WATCHED, Direction::Sent, 110, &message(1, false, 0, "a"));
        assert_eq!(it.told(120), [("a".to_owned(), None, Outcome::NoResponse, 100)]);
        assert!(it.told(TIMEOUT_NS).is_empty());
        assert_eq!(it.told(TIMEOUT_NS + 110), [("a".to_owned(), None, Outcome::NoResponse, TIMEOUT_NS)]);
        // Where some are not seen, that one was not answered is not known.
        for nth in 0..ANSWERS_MAX as u16 {
            it.pass(WATCHED, Direction::Sent, TIMEOUT_NS * 3, &message(nth, false, 0, "b"));
        }
        let told = it.told(TIMEOUT_NS * 5);
        assert_eq!(told.len() as u64, ANSWERS_MAX);
        assert!(told.iter().all(|(_, _, outcome, _)| *outcome == Outcome::Unseen));
    }

    #[test]
    fn a_process_may_be_watched_later_and_memory_is_bounded() {
        let mut it = watcher();
        it.pass(ProcessId(8), Direction::Sent, 10, &message(1, false, 0, "a"));
        it.pass(ProcessId(8), Direction::Received, 20, &message(1, true, 0, "a"));
        assert!(it.told(30).is_empty());
        assert_eq!(it.0.over.len(), 1);
        assert!(it.told(20 + UNDECIDED_NS).is_empty());
        assert_eq!(it.0.over.len(), 0);
        for nth in 0..60_000_u32 {
            it.pass(ProcessId(nth), Direction::Sent, 100, &message(nth as u16, false, 0, "a"));
        }
        assert!(it.0.open.len() <= OPEN_MAX + 1 && it.0.over.len() <= HELD_MAX && it.0.order.len() <= OPEN_MAX + 1);
    }
}
