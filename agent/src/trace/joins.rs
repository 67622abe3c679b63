//! Requests of which both ends are seen on this host: what one process asks is what another answers. Nothing is sent for it: the
//! connection and the request's place on it say so.

use std::collections::VecDeque;

use rustc_hash::FxHashMap;

use super::Context;
use crate::model::{
    exchange::{Key, Opened, Place},
    ids::{ConnectionId, ProcessId},
    net::{ConnectionInfo, Endpoint, Role},
    trace_context::{TraceId, TraceParent},
};

/// An end waits for the other for so long: they are told in the order in which threads came to write them down.
pub(super) const PATIENCE_NS: u64 = 50_000_000;
/// The same where the other end is known to be watched: its thread may not have got a processor since it has sent.
pub(super) const PAIRED_PATIENCE_NS: u64 = 1_000_000_000;
/// Of a connection that was met so long ago and has no other end on this host, none is waited for any more: who watches it would have
/// been told of. What waits costs memory, and most clients of a server are watched by nobody.
const YOUNG_NS: u64 = 100_000_000;
/// The same of one that has carried so many requests: who asks again has been told of before, if anybody watches it.
const YOUNG_REQUESTS: u32 = 64;
/// Most ends of either kind that wait.
pub(super) const WAITING_MAX: usize = 32_768;

/// A request on a connection: the same of both its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) struct Request {
    link: ConnectionId,
    place: At,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
enum At {
    /// TCP sequence number of its first byte.
    Sequence(u32),
    /// Position from the connection's beginning on.
    Position(u64),
    Id(u64),
}

impl Request {
    /// `None` where the ends need not say the same of it, or have nothing in common.
    pub(super) fn of(connection: &ConnectionInfo, opened: &Opened) -> Option<Self> {
        let is_young =
            connection.requests <= YOUNG_REQUESTS && opened.start_ns.saturating_sub(connection.met_ns) < YOUNG_NS;
        if !connection.is_paired && !is_young {
            return None;
        }
        let direction = opened.role.requests().index();
        let place = match (opened.place, connection.origin.sequence) {
            (Place::Id(id), _) => At::Id(id),
            // Sequence numbers wrap around.
            (Place::Position(position), Some(base)) => At::Sequence(base[direction].wrapping_add(position as u32)),
            (Place::Position(position), None) if connection.origin.is_beginning => At::Position(position),
            (Place::Position(_), None) => return None,
        };
        Some(Self { link: connection.link, place })
    }
}

/// One end of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) key: Key,
    pub(super) tgid: ProcessId,
    pub(super) start_ns: u64,
}

/// The client's end of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Asked {
    pub(super) context: Context,
    /// Which it is, and of which process.
    pub(super) end: End,
    /// What it carries.
    pub(super) carried: Option<TraceParent>,
    /// When it was over.
    end_ns: Option<u64>,
}

/// Ends that wait for their other end.
#[derive(Debug, Default)]
pub(super) struct Joins {
    asked: FxHashMap<Request, Asked>,
    /// With the moment until which they wait.
    served: FxHashMap<Request, (End, u64)>,
    /// Those that are over or were waited for, with the moment from which they are forgotten.
    leaving: VecDeque<(u64, Request, Role)>,
}

impl Joins {
    /// A client's end. Gives the server's, if that was told before.
    pub(super) fn on_asked(
        &mut self,
        request: Request,
        context: Context,
        end: End,
        carried: Option<TraceParent>,
    ) -> Option<End> {
        if let Some((server, _)) = self.served.remove(&request) {
            return Some(server);
        }
        if self.asked.len() < WAITING_MAX {
            self.asked.insert(request, Asked { context, end, carried, end_ns: None });
        }
        None
    }

    /// A server's end. Gives the client's, if that was told before; else the server's waits for it.
    pub(super) fn on_served(
        &mut self,
        request: Request,
        end: End,
        start_ns: u64,
        connection: &ConnectionInfo,
    ) -> Option<Asked> {
        // What was over before cannot be what is answered: that is another at the same place.
        let asked = self.asked.remove(&request);
        if let Some(asked) = asked.filter(|asked| asked.end_ns.is_none_or(|end_ns| end_ns >= start_ns)) {
            return Some(asked);
        }
        if self.served.len() < WAITING_MAX {
            let until_ns = start_ns.saturating_add(patience_ns(connection));
            self.served.insert(request, (end, until_ns));
            self.leaving.push_back((until_ns, request, Role::Server));
        }
        None
    }

    /// Until when a server's end waits for its client's, if it does.
    pub(super) fn waits(&self, request: Request, server: Key) -> Option<u64> {
        self.served.get(&request).filter(|(end, _)| end.key == server).map(|&(_, until_ns)| until_ns)
    }

    /// A client's end is over. Its server's may be told a moment later.
    pub(super) fn on_over(&mut self, request: Request, end_ns: u64) {
        if let Some(asked) = self.asked.get_mut(&request) {
            asked.end_ns = Some(end_ns);
            self.leaving.push_back((end_ns.saturating_add(PATIENCE_NS), request, Role::Client));
        }
    }

    /// Forgets who has waited long enough; tells which servers' ends those are.
    pub(super) fn on_time(&mut self, now_ns: u64, mut forgotten: impl FnMut(Key)) {
        while let Some(&(until_ns, request, role)) = self.leaving.front()
            && (until_ns <= now_ns || self.leaving.len() > WAITING_MAX)
        {
            self.leaving.pop_front();
            match role {
                Role::Client if self.asked.get(&request).is_some_and(|asked| asked.end_ns.is_some()) => {
                    self.asked.remove(&request);
                }
                Role::Server => {
                    if let Some(&(End { key, .. }, latest_ns)) = self.served.get(&request)
                        && latest_ns <= until_ns
                    {
                        self.served.remove(&request);
                        forgotten(key);
                    }
                }
                Role::Client => {}
            }
        }
    }

    /// What was said to be of a trace is of another.
    pub(super) fn rename(
        &mut self,
        before: TraceId,
        trace_id: TraceId,
        remote: Option<TraceParent>,
        is_health_check: bool,
    ) {
        for asked in self.asked.values_mut().filter(|asked| asked.context.trace_id == before) {
            (asked.context.trace_id, asked.context.remote) = (trace_id, remote);
            asked.context.is_health_check |= is_health_check;
        }
    }

    /// Ends that wait.
    #[cfg(test)]
    pub(super) fn len(&self) -> usize {
        self.asked.len() + self.served.len()
    }
}

fn patience_ns(connection: &ConnectionInfo) -> u64 {
    if connection.is_paired { PAIRED_PATIENCE_NS } else { PATIENCE_NS }
}

/// Whether the other end is on this host as far as is known: it was met, or its address tells.
pub(super) fn is_local(connection: &ConnectionInfo) -> bool {
    if connection.is_paired {
        return true;
    }
    match (&connection.local, &connection.remote) {
        (Endpoint::Inet(local), Endpoint::Inet(remote)) => remote.ip().is_loopback() || remote.ip() == local.ip(),
        (Endpoint::Unix(_), _) => true,
        _ => false,
    }
}
