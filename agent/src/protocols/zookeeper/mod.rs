//! ZooKeeper: requests by the number that each carries, with the code of an error. Nothing is told of paths, data, and of what a session
//! is taken up again with.

#[cfg(test)]
mod samples;
#[cfg(test)]
mod tests;

#[cfg(test)]
pub(super) use samples::samples;

use compact_str::CompactString;

use super::{
    Capture, Recognition, Session,
    paired::{Answered, Asked, Grammar, How, Paired, Request},
    probe::{Probe, outcome},
    sized::{Frame, Length, prefixed},
};
use crate::model::{
    exchange::{Db, Group, Operation},
    net::Role,
};

/// The protocol's name.
pub(super) const NAME: &str = "zookeeper";

/// What is asked and what became of it stands at the beginnings of messages, whose length is known.
pub(super) const CAPTURE: Capture = Capture::pipelined(256);

/// Longest message: much more than `jute.maxbuffer` mostly is.
const MAX: u32 = 1 << 26;
/// The number of a session's beginning, which carries none.
const CONNECT: u64 = u64::MAX;
/// Numbers of requests that mean themselves: news of what is watched, pings, credentials, watches.
const WATCH: i32 = -1;
const PING: i32 = -2;
const AUTH: i32 = -4;
const SET_WATCHES: i32 = -8;

/// Operations by their numbers.
const OPERATIONS: &[(i32, &str)] = &[
    (-11, "closeSession"),
    (1, "create"),
    (2, "delete"),
    (3, "exists"),
    (4, "getData"),
    (5, "setData"),
    (6, "getACL"),
    (7, "setACL"),
    (8, "getChildren"),
    (9, "sync"),
    (11, "ping"),
    (12, "getChildren2"),
    (13, "check"),
    (14, "multi"),
    (15, "create2"),
    (16, "reconfig"),
    (17, "checkWatches"),
    (18, "removeWatches"),
    (19, "createContainer"),
    (20, "deleteContainer"),
    (21, "createTTL"),
    (22, "multiRead"),
    (100, "auth"),
    (101, "setWatches"),
    (102, "sasl"),
    (103, "getEphemerals"),
    (104, "getAllChildrenNumber"),
    (105, "setWatches2"),
    (106, "addWatch"),
    (107, "whoAmI"),
];
/// Those whose request begins with a path.
const OF_PATHS: &[i32] = &[1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 15, 17, 18, 19, 20, 21, 103, 104, 106];

fn name(operation: i32) -> Option<&'static str> {
    OPERATIONS.iter().find(|(number, _)| *number == operation).map(|(_, name)| *name)
}

/// See [`super::Entry::open`].
pub(super) fn open(role: Role) -> Box<dyn Session> {
    Paired::open(role, ZooKeeper { is_new: true, awaits_session: false })
}

/// See [`super::Entry::recognise`].
pub(super) fn recognise(head: &[u8]) -> Recognition {
    outcome(look(Probe(head)))
}

fn look(mut probe: Probe<'_>) -> Result<Recognition, Recognition> {
    let len = probe.u32()?;
    Probe::holds((8..MAX).contains(&len))?;
    let (first, second) = (probe.u32()? as i32, probe.u32()?);
    if first == 0 && matches!(len, 44 | 45) {
        return connect(probe);
    }
    if first == 0 && matches!(len, 36 | 37) {
        // How long the session lasts, its number, its password.
        Probe::holds(second <= 1 << 24)?;
        probe.each(8, |_| true)?;
        Probe::holds(probe.u32()? == 16)?;
        return Ok(Recognition::Response);
    }
    let operation = second as i32;
    if first > 0 && OF_PATHS.contains(&operation) {
        let path = probe.u32()?;
        Probe::holds(path > 0 && len.checked_sub(12).is_some_and(|most| path <= most))?;
        probe.is(b'/')?;
        probe.each((path as usize - 1).min(64), |byte| byte >= b' ' && byte != 0x7f)?;
        return Ok(Recognition::Request);
    }
    // A number, that of a transaction, and an error's: so may other protocols' begin.
    answer(len, first, second, probe).map(|_| Recognition::Maybe)
}

/// The number of the request that is answered. What is sent without a question has none.
fn answer(len: u32, xid: i32, transaction: u32, mut probe: Probe<'_>) -> Result<i32, Recognition> {
    Probe::holds(xid >= PING && len >= 16 && transaction < 1 << 16)?;
    probe.each(4, |_| true)?;
    let error = probe.u32()? as i32;
    Probe::holds((-200..=0).contains(&error) && xid > 0)?;
    Ok(xid)
}

/// The beginning of a session: how far it has seen changes, how long it may be silent, and its number and password if it goes on.
fn connect(mut probe: Probe<'_>) -> Result<Recognition, Recognition> {
    probe.each(4, |_| true)?;
    let timeout = probe.u32()?;
    Probe::holds((1..=1 << 24).contains(&timeout))?;
    probe.each(8, |_| true)?;
    Probe::holds(probe.u32()? == 16)?;
    Ok(Recognition::Request)
}

/// Reads its messages.
struct ZooKeeper {
    /// The next of the client begins the session; the next of the server says that it has.
    is_new: bool,
    awaits_session: bool,
}

fn request(key: u64, name: &'static str) -> Request {
    let db = Db { system: NAME, operation: Some(CompactString::const_new(name)), ..Db::default() };
    Request::new(key, Operation::Db(Box::new(db)))
}

impl Grammar for ZooKeeper {
    const NAME: &'static str = NAME;
    const GROUP: Group = Group::Db;
    const IN_ORDER: bool = false;
    const KEEP: usize = 64;

    fn length() -> [fn(&[u8]) -> Length; 2] {
        [prefixed::<8, MAX>; 2]
    }

    fn recognise(head: &[u8]) -> Recognition {
        recognise(head)
    }

    fn key_of_answer(head: &[u8]) -> Option<u64> {
        let mut probe = Probe(head);
        let (len, xid, transaction) = (probe.u32().ok()?, probe.u32().ok()? as i32, probe.u32().ok()?);
        let xid = answer(len, xid, transaction, probe).ok()?;
        (8..MAX).contains(&len).then_some(u64::from(xid as u32))
    }

    fn asked(&mut self, frame: &Frame<'_>) -> Option<Asked> {
        let mut reader = frame.reader();
        reader.skip(4)?;
        let (xid, operation) = (reader.u32()? as i32, reader.u32()? as i32);
        if std::mem::take(&mut self.is_new) {
            self.awaits_session = true;
            return Some(Asked::Request(request(CONNECT, "connect")));
        }
        let name = name(operation)?;
        Some(match xid {
            PING => Asked::Nothing,
            xid => {
                // That something is not there is an answer to the question whether it is.
                let harmless = (name == "exists").then_some("-101");
                Asked::Request(Request { harmless, ..request(u64::from(xid as u32), name) })
            }
        })
    }

    fn answered(&mut self, frame: &Frame<'_>) -> Option<Answered> {
        let mut reader = frame.reader();
        reader.skip(4)?;
        if std::mem::take(&mut self.awaits_session) {
            // One that is not known any more is given no time.
            let (_version, timeout) = (reader.u32()?, reader.u32()?);
            let failed = timeout == 0;
            let code = failed.then(|| CompactString::const_new("-112"));
            return Some(Answered::To { key: CONNECT, is_last: true, how: How { failed, code, ..How::default() } });
        }
        let (xid, _zxid, error) = (reader.u32()? as i32, reader.u64()?, reader.u32()? as i32);
        match xid {
            WATCH | PING => return Some(Answered::Nothing),
            AUTH | SET_WATCHES | 0.. => {}
            _ => return None,
        }
        let failed = error != 0;
        let code = failed.then(|| compact_str::format_compact!("{error}"));
        Some(Answered::To { key: u64::from(xid as u32), is_last: true, how: How { failed, code, ..How::default() } })
    }

    fn forget(&mut self) {
        (self.is_new, self.awaits_session) = (false, false);
    }
}
