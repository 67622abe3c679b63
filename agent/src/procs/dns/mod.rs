//! Names of addresses as processes have asked for them: from DNS answers that they were seen to receive.

mod message;

use std::{collections::HashMap, net::IpAddr, sync::Arc};

use compact_str::CompactString;

use super::hosts::{NameSource, is_worth_a_name};
use crate::model::{
    ids::ProcessId,
    net::{ConnectionInfo, Role},
};

/// For how long at least an answer counts, whatever it says: programs that keep addresses (JVMs for 30 s) ask no more often.
const FLOOR_NS: u64 = 60_000_000_000;
/// For how long at most; resolvers do not keep answers for longer than a day.
const CEILING_S: u32 = 86_400;
/// Most addresses with names remembered of one process; the oldest goes first.
const NAMES_MAX: usize = 64;
/// Most processes remembered; those that have not asked for the longest time go first.
const PROCESSES_MAX: usize = 1024;
/// For how long the answers of a process that has ended are kept, for its children that begin to connect.
const GRACE_NS: u64 = 10_000_000_000;

/// The answers that processes have received.
#[derive(Debug, Default)]
pub(crate) struct DnsCache {
    by_process: HashMap<ProcessId, Process>,
}

#[derive(Debug)]
struct Process {
    started_at_ns: u64,
    last_ns: u64,
    ended_ns: Option<u64>,
    /// Oldest first.
    names: Vec<Named>,
}

#[derive(Debug)]
struct Named {
    ip: IpAddr,
    name: Arc<str>,
    until_ns: u64,
}

/// What was found of an address among the names of a process.
#[derive(Debug, PartialEq, Eq)]
enum Found<'a> {
    Nothing,
    One(&'a Arc<str>),
    /// Several names stand for it: which of them a connection is for, nobody knows.
    Several,
}

/// A process that begins to use a connection.
#[derive(Clone, Copy, Debug)]
pub(crate) struct DnsClient {
    /// Its pid in the initial PID namespace.
    pub tgid: ProcessId,
    /// When it was started, in ns of the boot clock; 0 where unknown.
    pub started_at_ns: u64,
    /// The process whose program it still runs, having been forked from it; else 0.
    pub forked_from: ProcessId,
}

impl DnsCache {
    /// A process received a message of a DNS server at `at_ns`. Times are ns of the monotonic clock.
    pub(crate) fn on_response(&mut self, tgid: ProcessId, started_at_ns: u64, at_ns: u64, message: &[u8]) {
        let Some(message::Resolved { name, addresses }) = message::parse(message) else { return };
        if !self.by_process.contains_key(&tgid) {
            self.make_room();
        }
        let new = || Process { started_at_ns, last_ns: at_ns, ended_ns: None, names: Vec::new() };
        let process = self.by_process.entry(tgid).or_insert_with(new);
        if process.started_at_ns != started_at_ns {
            *process = new();
        }
        process.last_ns = at_ns;
        let name: Arc<str> = Arc::from(name.as_str());
        for (ip, ttl_s) in addresses.into_iter().filter(|(ip, _)| is_worth_a_name(*ip)).take(NAMES_MAX) {
            let lives_ns = (u64::from(ttl_s.min(CEILING_S)) * 1_000_000_000).max(FLOOR_NS);
            process.take(Named { ip, name: Arc::clone(&name), until_ns: at_ns.saturating_add(lives_ns) }, at_ns);
        }
    }

    /// The name that a process has asked for and was answered with this address, as of when it begins to use a connection
    /// to it; a worker that still runs the program of the process which forked it may have it from there. `None` where
    /// several names stand for the address: one of them would often be wrong.
    #[must_use]
    pub(crate) fn name(&self, client: DnsClient, ip: IpAddr, at_ns: u64) -> Option<Arc<str>> {
        if self.by_process.is_empty() {
            return None;
        }
        let own = self.by_process.get(&client.tgid).filter(|process| process.started_at_ns == client.started_at_ns);
        let found = own.map_or(Found::Nothing, |process| process.find(ip, at_ns));
        let found = match found {
            Found::Nothing if client.forked_from.is_some() => {
                self.by_process.get(&client.forked_from).map_or(Found::Nothing, |process| process.find(ip, at_ns))
            }
            found => found,
        };
        match found {
            Found::One(name) => Some(Arc::clone(name)),
            Found::Nothing | Found::Several => None,
        }
    }

    /// A process has ended.
    pub(crate) fn on_exit(&mut self, tgid: ProcessId, at_ns: u64) {
        if let Some(process) = self.by_process.get_mut(&tgid) {
            process.ended_ns = Some(at_ns);
        }
    }

    /// Forgets what no longer counts. To be called now and then.
    pub(crate) fn sweep(&mut self, now_ns: u64) {
        self.by_process.retain(|_, process| {
            process.names.retain(|named| named.until_ns > now_ns);
            let has_ended = process.ended_ns.is_some_and(|at_ns| at_ns.saturating_add(GRACE_NS) <= now_ns);
            !has_ended && !process.names.is_empty()
        });
    }

    /// A sixteenth goes at once, so that looking for them costs little on average.
    fn make_room(&mut self) {
        if self.by_process.len() < PROCESSES_MAX {
            return;
        }
        let mut by_age: Vec<(u64, ProcessId)> = self.by_process.iter().map(|(&tgid, it)| (it.last_ns, tgid)).collect();
        let count = PROCESSES_MAX / 16;
        by_age.select_nth_unstable(count);
        for (_, tgid) in by_age.into_iter().take(count) {
            self.by_process.remove(&tgid);
        }
    }
}

impl Process {
    fn take(&mut self, new: Named, now_ns: u64) {
        if let Some(at) = self.names.iter().position(|named| named.ip == new.ip && named.name == new.name) {
            self.names.remove(at);
        } else if self.names.len() >= NAMES_MAX {
            self.names.retain(|named| named.until_ns > now_ns);
            if self.names.len() >= NAMES_MAX {
                self.names.remove(0);
            }
        }
        self.names.push(new);
    }

    fn find(&self, ip: IpAddr, at_ns: u64) -> Found<'_> {
        let ip = ip.to_canonical();
        let mut names = self.names.iter().filter(|named| named.ip == ip && named.until_ns > at_ns);
        match (names.next(), names.next()) {
            (None, _) => Found::Nothing,
            (Some(only), None) => Found::One(&only.name),
            (Some(_), Some(_)) => Found::Several,
        }
    }
}

/// Calls the server of a connection as its client had asked for it, which was found out when the connection was met.
#[derive(Clone, Copy, Debug)]
pub(crate) struct AskedNames;

impl NameSource for AskedNames {
    /// Who connects to this process was not asked for by it.
    fn name(&self, _pid: ProcessId, role: Role, connection: &ConnectionInfo) -> Option<CompactString> {
        connection.asked.as_deref().filter(|_| role == Role::Client).map(CompactString::from)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND_NS: u64 = 1_000_000_000;
    const SHOP: IpAddr = IpAddr::V4(std::net::Ipv4Addr::new(10, 0, 0, 7));

    /// That `name` has an address.
    fn answer(name: &str, ip: [u8; 4], ttl_s: u32) -> Vec<u8> {
        let mut bytes = vec![0, 1, 0x81, 0x80, 0, 1, 0, 1, 0, 0, 0, 0];
        for label in name.split('.') {
            bytes.push(u8::try_from(label.len()).unwrap());
            bytes.extend(label.as_bytes());
        }
        bytes.extend([0, 0, 1, 0, 1, 0xc0, 12, 0, 1, 0, 1]);
        bytes.extend(ttl_s.to_be_bytes());
        bytes.extend([0, 4]);
        bytes.extend(ip);
        bytes
    }

    const fn client(tgid: ProcessId) -> DnsClient {
        DnsClient { tgid, started_at_ns: 5, forked_from: ProcessId(0) }
    }

    fn answers(of: &[(ProcessId, &str, [u8; 4], u32)]) -> DnsCache {
        let mut answers = DnsCache::default();
        for &(tgid, name, ip, ttl_s) in of {
            answers.on_response(tgid, 5, 0, &answer(name, ip, ttl_s));
        }
        answers
    }

    #[test]
    fn each_process_calls_an_address_as_it_has_asked_for_it() {
        let answers = answers(&[
            (ProcessId(1), "shop.example", [10, 0, 0, 7], 600),
            (ProcessId(2), "other.example", [10, 0, 0, 7], 600),
        ]);
        let name = |tgid, ip: &str| answers.name(client(tgid), ip.parse().unwrap(), SECOND_NS);
        assert_eq!(name(ProcessId(1), "10.0.0.7").as_deref(), Some("shop.example"));
        assert_eq!(name(ProcessId(1), "::ffff:10.0.0.7").as_deref(), Some("shop.example"));
        assert_eq!(name(ProcessId(2), "10.0.0.7").as_deref(), Some("other.example"));
        assert_eq!((name(ProcessId(3), "10.0.0.7"), name(ProcessId(1), "10.0.0.8")), (None, None));
    }

    #[test]
    fn an_address_that_stands_for_several_names_has_none_until_one_is_left() {
        let mut answers =
            answers(&[(ProcessId(1), "a.example", [10, 0, 0, 7], 600), (ProcessId(1), "b.example", [10, 0, 0, 7], 60)]);
        assert_eq!(answers.name(client(ProcessId(1)), SHOP, SECOND_NS), None);
        assert_eq!(answers.name(client(ProcessId(1)), SHOP, 61 * SECOND_NS).as_deref(), Some("a.example"));
        // The same name again is no other name.
        answers.on_response(ProcessId(1), 5, 61 * SECOND_NS, &answer("A.example", [10, 0, 0, 7], 60));
        assert_eq!(answers.name(client(ProcessId(1)), SHOP, 62 * SECOND_NS).as_deref(), Some("a.example"));
    }

    #[test]
    fn an_answer_counts_for_as_long_as_it_says_but_a_minute_at_least_and_a_day_at_most() {
        for (ttl_s, lives_s) in [(0, 60), (59, 60), (300, 300), (u32::MAX, 86_400)] {
            let mut answers = answers(&[(ProcessId(1), "shop.example", [10, 0, 0, 7], ttl_s)]);
            let is_named = |answers: &DnsCache, at_ns| answers.name(client(ProcessId(1)), SHOP, at_ns).is_some();
            assert!(is_named(&answers, lives_s * SECOND_NS - 1), "{ttl_s}");
            assert!(!is_named(&answers, lives_s * SECOND_NS), "{ttl_s}");
            answers.sweep(lives_s * SECOND_NS - 1);
            assert_eq!(answers.by_process.len(), 1);
            answers.sweep(lives_s * SECOND_NS);
            assert!(answers.by_process.is_empty());
        }
    }

    #[test]
    fn another_process_of_the_same_number_has_asked_for_nothing() {
        let mut answers = answers(&[(ProcessId(1), "shop.example", [10, 0, 0, 7], 600)]);
        let later = DnsClient { started_at_ns: 6, ..client(ProcessId(1)) };
        assert_eq!(answers.name(later, SHOP, SECOND_NS), None);
        answers.on_response(ProcessId(1), 6, SECOND_NS, &answer("new.example", [10, 0, 0, 8], 600));
        assert_eq!(answers.name(client(ProcessId(1)), SHOP, 2 * SECOND_NS), None);
        assert_eq!(answers.name(later, SHOP, 2 * SECOND_NS), None);
        answers.on_exit(ProcessId(1), 2 * SECOND_NS);
        answers.sweep(12 * SECOND_NS - 1);
        assert_eq!(answers.by_process.len(), 1, "what it did last may still be told");
        answers.sweep(12 * SECOND_NS);
        assert!(answers.by_process.is_empty());
    }

    #[test]
    fn a_worker_knows_what_the_program_has_asked_that_forked_it() {
        let mut answers = answers(&[(ProcessId(1), "shop.example", [10, 0, 0, 7], 600)]);
        let worker = DnsClient { tgid: ProcessId(2), started_at_ns: 9, forked_from: ProcessId(1) };
        assert_eq!(answers.name(worker, SHOP, SECOND_NS).as_deref(), Some("shop.example"));
        answers.on_response(ProcessId(2), 9, SECOND_NS, &answer("own.example", [10, 0, 0, 7], 600));
        assert_eq!(answers.name(worker, SHOP, SECOND_NS).as_deref(), Some("own.example"));
    }

    #[test]
    fn a_loopback_address_stays_as_it_is() {
        let answers = answers(&[(ProcessId(1), "here.example", [127, 0, 0, 1], 600)]);
        assert_eq!(answers.name(client(ProcessId(1)), [127, 0, 0, 1].into(), SECOND_NS), None);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_what_is_new_is_kept() {
        let mut answers = DnsCache::default();
        for number in 0..3 * NAMES_MAX as u32 {
            let [_, b, c, d] = number.to_be_bytes();
            answers.on_response(ProcessId(1), 5, u64::from(number), &answer("shop.example", [10, b, c, d], 600));
        }
        assert_eq!(answers.by_process[&ProcessId(1)].names.len(), NAMES_MAX);
        let [_, b, c, d] = (3 * NAMES_MAX as u32 - 1).to_be_bytes();
        assert!(answers.name(client(ProcessId(1)), [10, b, c, d].into(), SECOND_NS).is_some());
        for tgid in 0..3 * PROCESSES_MAX as u32 {
            answers.on_response(ProcessId(tgid), 5, u64::from(tgid), &answer("shop.example", [10, 0, 0, 7], 600));
            assert!(answers.name(client(ProcessId(tgid)), SHOP, SECOND_NS).is_some());
        }
        assert!(answers.by_process.len() <= PROCESSES_MAX);
    }
}
