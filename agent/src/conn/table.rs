//! All connections.

#[cfg(test)]
mod tests;

use std::{net::IpAddr, num::NonZeroU64, sync::Arc};

use rustc_hash::{FxHashMap, FxHashSet};

use super::{
    connection::{Connection, Ending, Part, Wanted},
    ended::Ended,
    hello,
    order::Piece,
    pairs::Pairs,
};
use crate::{
    capture::event::{Bind, Carrier, Data, DataFlags, Ends, MetAt, Open, State, TcpState, is_plaintext},
    model::{
        exchange::{Event, Group, IsHealthCheck},
        ids::{ConnectionId, ProcessId},
        net::{ConnectionInfo, Direction, Endpoint, Origin, Role},
        propagation::Propagation,
    },
    protocols::{Anomalies, End, Output},
};

const ECONNRESET: u32 = 104;
const EPIPE: u32 = 32;
/// One over which nothing has moved for so long is not in use.
const QUIET_NS: u64 = 20_000_000;
/// Most connections whose server's choice of a version is waited for, after what they carry is known.
const CARRIERS_MAX: usize = 4096;

/// Bounds of the table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Limits {
    /// Most connections followed at once; beyond, the longest idle ones are given up.
    pub connections: usize,
    /// Most bytes that all connections hold together, about; beyond, those that hold more than their share are given up, the
    /// longest idle ones first.
    pub bytes: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self { connections: 65_536, bytes: 24 << 20 }
    }
}

/// What the table has counted since the start.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Totals {
    /// Connections given up to make room.
    pub evicted: u64,
    /// Bytes that moved unseen on connections of a known or possible protocol.
    pub bytes_lost: u64,
    /// What sessions could not make sense of.
    pub resyncs: u64,
    /// Responses whose request was not seen.
    pub unmatched_responses: u64,
    /// Limits hit by sessions.
    pub over_limit: u64,
    /// Panics of sessions, each of which cost its connection.
    pub panics: u64,
    /// Requests whose bytes were lost, where their numbers tell.
    pub requests_lost: u64,
    /// Exchanges in the clear at a TLS library whose connection is not known.
    pub unbound: u64,
}

/// A unix socket.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct UnixSocket {
    /// Identity of its connection.
    pub id: ConnectionId,
    /// Number of its inode.
    pub inode: NonZeroU64,
    /// The network namespace it is in.
    pub netns: u32,
    /// The process that used it last.
    pub tgid: ProcessId,
}

/// The connections of all watched processes.
pub(crate) struct Connections {
    by_id: FxHashMap<ConnectionId, Connection>,
    /// What they hold, as counted when each was last used.
    bytes: usize,
    /// Those with a piece that waits for another.
    waiting: FxHashSet<ConnectionId>,
    /// Unix connections and streams of plaintext per process: their end is not always reported, so that of their
    /// process counts.
    of_process: FxHashMap<ProcessId, FxHashSet<ConnectionId>>,
    /// When processes with such have last begun another one.
    forked_ns: FxHashMap<ProcessId, u64>,
    ended: Ended,
    /// Connections that were found to carry a stream of plaintext before their server had chosen a version.
    carriers: FxHashMap<ConnectionId, ConnectionId>,
    /// Which of them are the ends of one.
    pairs: Pairs,
    limits: Limits,
    totals: Totals,
    /// Since when connections are watched.
    since_ns: u64,
    /// The same for processes that were watched later only.
    resumed_ns: FxHashMap<ProcessId, u64>,
    /// Since when the plaintext of all libraries is seen whose probes are in place.
    probed_ns: u64,
    /// When records were last found to have been lost.
    lost_ns: u64,
    /// Processes on whose connections TLS was just found.
    encrypted: FxHashSet<ProcessId>,
    /// What sessions tell.
    told: Output,
}

impl Connections {
    /// An empty table; what moves is seen since `since_ns`.
    #[must_use]
    pub(crate) fn new(limits: Limits, since_ns: u64) -> Self {
        Self {
            by_id: FxHashMap::default(),
            bytes: 0,
            waiting: FxHashSet::default(),
            of_process: FxHashMap::default(),
            forked_ns: FxHashMap::default(),
            ended: Ended::default(),
            carriers: FxHashMap::default(),
            pairs: Pairs::default(),
            limits,
            totals: Totals::default(),
            since_ns,
            resumed_ns: FxHashMap::default(),
            probed_ns: since_ns,
            lost_ns: 0,
            encrypted: FxHashSet::default(),
            told: Output::default(),
        }
    }

    /// Names requests, those of others too.
    pub(crate) const fn output(&mut self) -> &mut Output {
        &mut self.told
    }

    /// Bounds what is captured of connections that are recognised from now on.
    pub(crate) fn set_head_max(&mut self, head_max: Option<u32>) {
        self.told.set_head_max(head_max);
    }

    /// What requests that begin from now on are read for of their callers.
    pub(crate) fn set_propagation(&mut self, propagation: Propagation) {
        self.told.set_propagation(propagation);
    }

    /// What tells health checks from now on.
    pub(crate) fn set_health_checks(&mut self, checks: Option<Arc<dyn IsHealthCheck>>) {
        self.told.set_health_checks(checks);
    }

    /// Connections followed at the moment.
    #[must_use]
    pub(crate) fn len(&self) -> usize {
        self.by_id.len()
    }

    /// Whether none is followed.
    #[must_use]
    #[cfg(test)]
    pub(crate) fn is_empty(&self) -> bool {
        self.by_id.is_empty()
    }

    /// What was counted so far.
    #[must_use]
    pub(crate) fn totals(&self) -> Totals {
        self.totals
    }

    /// Calls `each` with every request that the servers among the watched processes are answering at the moment: process,
    /// whether over TLS, group of conventions, method.
    pub(crate) fn being_answered(&self, mut each: impl FnMut(ProcessId, bool, Group, Option<&str>)) {
        for connection in self.by_id.values().filter(|connection| connection.role() == Some(Role::Server)) {
            connection.open_methods(&mut |group, method| each(connection.tgid, connection.info.tls, group, method));
        }
    }

    /// Bytes that all connections hold, about.
    #[must_use]
    #[cfg(test)]
    pub(crate) const fn memory(&self) -> usize {
        self.bytes
    }

    /// A process is watched from `at_ns` on, and was not before: what its connections moved until then is not known.
    pub(crate) fn on_resumed(&mut self, tgid: ProcessId, at_ns: u64) {
        self.resumed_ns.insert(tgid, at_ns);
    }

    /// Records were lost, of connections that nobody knows.
    pub(crate) fn on_losses(&mut self, at_ns: u64) {
        self.lost_ns = at_ns;
    }

    /// A TLS library has had all its probes since `at_ns`: what went through it before is not known.
    pub(crate) fn on_tls_probed(&mut self, at_ns: u64) {
        self.probed_ns = at_ns;
    }

    /// Whether a connection is followed.
    #[must_use]
    pub(crate) fn follows(&self, id: ConnectionId) -> bool {
        self.by_id.contains_key(&id)
    }

    /// A connection was met. `asked` gives the name that the process which uses it had asked for to get an address.
    pub(crate) fn on_open(
        &mut self,
        open: &Open<'_>,
        asked: impl FnOnce(IpAddr) -> Option<Arc<str>>,
        sink: &mut impl FnMut(&ConnectionInfo, Event),
    ) {
        self.make_room(sink);
        let mut info = open.connection();
        info.asked = info.remote.ip().and_then(asked);
        if let Some(link) = self.pairs.on_open(open, &info) {
            (info.link, info.is_paired) = (link, true);
            // The other end has the number of itself.
            if let Some(other) = self.by_id.get_mut(&link) {
                other.info.is_paired = true;
            }
        }
        // It was said before that it carries this stream: by who finds sockets without having met them.
        if !info.tls
            && let Some(stream) = self.carriers.get(&open.id)
            && let Some(stream) = self.by_id.get_mut(stream)
            && stream.info.remote == Endpoint::Unknown
        {
            let origin = origin_within(&info, &stream.info, self.probed_ns);
            stream.carried_by(ConnectionInfo { id: stream.info.id, tls: true, origin, ..info });
            return;
        }
        let inode = match open.ends {
            Ends::Unix { inode, .. } => Some(inode),
            Ends::Tcp { .. } | Ends::Unknown => None,
        };
        let is_unix = inode.is_some();
        if is_unix || info.tls {
            self.of_process.entry(open.tgid).or_default().insert(open.id);
        }
        let mut since_ns = self.resumed_ns.get(&open.tgid).copied().unwrap_or(self.since_ns);
        let in_midst = open.met_at == MetAt::MidStream;
        if in_midst {
            since_ns = open.at_ns;
        } else if info.tls {
            since_ns = since_ns.max(self.probed_ns);
        }
        let from_beginning = open.met_at == MetAt::Beginning;
        let is_older = !is_unix && !info.tls && !from_beginning;
        let mut connection = Connection::new(info, open.tgid, open.at_ns, true, from_beginning, since_ns);
        connection.inode = inode.flatten();
        // What moves over others is told from when they are made on, or may be.
        if in_midst || is_older && open.at_ns.saturating_sub(since_ns) < QUIET_NS {
            connection.set_in_use();
        }
        self.insert(open.id, connection);
    }

    /// It became known which connection carries a stream of plaintext. Of the connection itself no more is reported than
    /// what either side sends first.
    pub(crate) fn on_bind(&mut self, bind: &Bind) {
        let id = bind.stream;
        match bind.carrier {
            Carrier::Stream(outer) => {
                // TLS within TLS: the ends are the same, and what is known of the outer one's version does not count here.
                let outer = self.by_id.get(&outer).map(|outer| outer.info.clone());
                if let Some(stream) = self.by_id.get_mut(&id)
                    && let Some(outer) = outer
                {
                    let origin = Origin { sequence: None, ..stream.info.origin };
                    // The bytes of the outer one are others.
                    let link = id;
                    let (tls, is_paired) = (true, false);
                    stream.info = ConnectionInfo { id, tls, tls_version: None, link, is_paired, origin, ..outer };
                }
            }
            Carrier::Connection(carrier_id) => {
                let carrier = self.remove(carrier_id);
                let probed_ns = self.probed_ns;
                let Some(stream) = self.by_id.get_mut(&id) else { return };
                match carrier {
                    Some(carrier) => {
                        let origin = origin_within(&carrier.info, &stream.info, probed_ns);
                        stream.carried_by(ConnectionInfo { id, tls: true, origin, ..carrier.info });
                    }
                    // It may be told yet.
                    None => stream.info = ConnectionInfo { origin: stream.info.origin, ..unknown(id, true) },
                }
                if stream.info.tls_version.is_none() {
                    if self.carriers.len() >= CARRIERS_MAX {
                        // Most of them have been waiting in vain: they were met after their first bytes.
                        self.carriers.clear();
                    }
                    self.carriers.insert(carrier_id, id);
                }
            }
            Carrier::Unknown => {
                if let Some(stream) = self.by_id.get_mut(&id) {
                    stream.info = unknown(id, true);
                }
            }
        }
    }

    /// Bytes moved.
    pub(crate) fn on_data(&mut self, data: &Data<'_>, sink: &mut impl FnMut(&ConnectionInfo, Event)) -> Wanted {
        if !self.carriers.is_empty()
            && let Some(&stream) = self.carriers.get(&data.id)
        {
            if let Some(version) = hello::chosen_version(data.position, data.head) {
                self.carriers.remove(&data.id);
                if let Some(stream) = self.by_id.get_mut(&stream) {
                    stream.info.tls_version = Some(version);
                }
            }
            return Wanted::Nothing;
        }
        if !self.by_id.contains_key(&data.id) {
            if data.len == 0 || Piece::new(data).is_merged() || self.ended.contains(data.id) {
                // No more than that it is over, or that something moved: which may have been long ago, where nobody is told of its end.
                return Wanted::Pieces;
            }
            // Given up earlier, or its announcement was lost.
            self.make_room(sink);
            let info = unknown(data.id, data.flags.contains(DataFlags::TLS));
            self.insert(data.id, Connection::new(info, data.thread.tgid, data.at_ns, false, false, data.at_ns));
        }
        let Some(connection) = self.by_id.get_mut(&data.id) else { return Wanted::Pieces };
        // In plaintext it would be somebody's data that looks like it.
        if !connection.info.tls
            && let Some(version) = hello::chosen_version(data.position, data.head)
        {
            connection.info.tls_version = Some(version);
        }
        let piece = Piece::new(data);
        if data.flags.contains(DataFlags::END) && connection.info.tls && connection.may_have_open_requests() {
            // What of the plaintext had moved by then is not told: whatever was lost of it will have been counted in a moment.
            connection.set_lost(lost_ns(self.lost_ns, &self.forked_ns, connection));
            let (part, awaits, moved) = (Part::One(piece.direction), [u64::MAX; 2], [0; 2]);
            connection.on_ending(Ending { part, at_ns: piece.at_ns, awaits, moved }, &mut self.told);
            self.settle(data.id, sink);
            return Wanted::Pieces;
        }
        let wanted = connection.on_data(&piece, &mut self.told);
        if connection.take_found_encrypted() {
            self.encrypted.insert(data.thread.tgid);
        }
        if connection.info.tls && connection.info.remote == Endpoint::Unknown {
            self.totals.unbound += self.told.finished() as u64;
        }
        self.settle(data.id, sink);
        wanted
    }

    /// Processes on whose connections TLS was found since the last call.
    pub(crate) fn take_encrypted(&mut self) -> impl Iterator<Item = ProcessId> {
        self.encrypted.drain()
    }

    /// A TCP connection changed its state.
    pub(crate) fn on_state(&mut self, state: &State, sink: &mut impl FnMut(&ConnectionInfo, Event)) {
        let (part, ends) = match state.state {
            TcpState::FinWait1 | TcpState::LastAck => (Some(Part::One(Direction::Sent)), Some(Direction::Sent)),
            TcpState::CloseWait => (None, Some(Direction::Received)),
            TcpState::Close => {
                self.carriers.remove(&state.id);
                match state.error {
                    0 => (Some(Part::All(End::Closed)), Some(Direction::Sent)),
                    ECONNRESET | EPIPE => (Some(Part::All(End::Reset)), Some(Direction::Received)),
                    // The network's doing: a time that ran out, a host that is not reached.
                    _ => (Some(Part::All(End::Closed)), None),
                }
            }
            _ => return,
        };
        let Some(connection) = self.by_id.get_mut(&state.id) else { return };
        if let Some(direction) = ends {
            connection.ends(direction);
        }
        let Some(part) = part else { return };
        let moved = [state.received, state.sent];
        let mut awaits = [state.received.saturating_add(state.unread.into()), state.sent];
        if connection.info.tls && moved == [0; 2] && connection.may_have_open_requests() {
            // What of the plaintext had moved by then is not told.
            awaits = [u64::MAX; 2];
        }
        connection.set_lost(lost_ns(self.lost_ns, &self.forked_ns, connection));
        connection.on_ending(Ending { part, at_ns: state.at_ns, awaits, moved }, &mut self.told);
        self.settle(state.id, sink);
    }

    /// Hands over what was told of a connection; forgets one that is over, and remembers one that waits for something.
    fn settle(&mut self, id: ConnectionId, sink: &mut impl FnMut(&ConnectionInfo, Event)) {
        let Some(connection) = self.by_id.get_mut(&id) else { return };
        for event in self.told.drain() {
            if matches!(event, Event::Opened(_)) {
                connection.info.requests = connection.info.requests.saturating_add(1);
            }
            sink(&connection.info, event);
        }
        if connection.is_over() {
            self.forget(id);
            if !is_plaintext(id) {
                self.ended.insert(id);
            }
            return;
        }
        connection.count_memory(&mut self.bytes);
        if connection.is_waiting() {
            self.waiting.insert(id);
        }
        // What has waited can be a twentieth of what a session makes of it.
        if self.bytes > self.limits.bytes {
            self.shed(sink);
        }
    }

    /// Unix sockets over which nothing has moved since `before_ns`. That one is closed nobody tells.
    pub(crate) fn idle_unix_sockets(&self, before_ns: u64) -> Vec<UnixSocket> {
        let ids = self.of_process.values().flatten();
        let idle = ids.filter_map(|&id| {
            let Connection { info, tgid, active_ns, inode, .. } = self.by_id.get(&id)?;
            let inode = (*active_ns < before_ns).then_some(*inode)??;
            Some(UnixSocket { id, inode, netns: info.netns, tgid: *tgid })
        });
        idle.collect()
    }

    /// A unix socket was found to be closed, if nothing has moved over it since it was said to be idle.
    pub(crate) fn on_unix_closed(
        &mut self,
        id: ConnectionId,
        before_ns: u64,
        now_ns: u64,
        sink: &mut impl FnMut(&ConnectionInfo, Event),
    ) {
        if self.by_id.get(&id).is_some_and(|connection| connection.active_ns < before_ns) {
            self.end(id, End::Closed, [0; 2], now_ns, sink);
        }
    }

    /// A process has begun another one, which may answer what it was asked over TLS: the child's plaintext is told as another stream's.
    pub(crate) fn on_fork(&mut self, parent: ProcessId, at_ns: u64) {
        if self.of_process.contains_key(&parent) {
            self.forked_ns.insert(parent, at_ns);
        }
    }

    /// A process has ended.
    pub(crate) fn on_exit(&mut self, tgid: ProcessId, at_ns: u64, sink: &mut impl FnMut(&ConnectionInfo, Event)) {
        self.resumed_ns.remove(&tgid);
        for id in self.of_process.remove(&tgid).unwrap_or_default() {
            // Another process may have taken it over.
            let Some(connection) = self.by_id.get_mut(&id).filter(|connection| connection.tgid == tgid) else {
                continue;
            };
            if connection.may_have_open_requests() {
                // What is still in the ring may answer them, or tell that records were lost.
                let (part, awaits, moved) = (Part::All(End::Closed), [u64::MAX; 2], [0; 2]);
                connection.on_ending(Ending { part, at_ns, awaits, moved }, &mut self.told);
                self.settle(id, sink);
            } else {
                self.end(id, End::Closed, [0; 2], at_ns, sink);
            }
        }
    }

    /// Forgets what was said of processes whose end was missed, by whether a process lives.
    pub(crate) fn forget_processes(&mut self, is_alive: impl Fn(ProcessId) -> bool) {
        self.resumed_ns.retain(|&tgid, _| is_alive(tgid));
        self.forked_ns.retain(|&tgid, _| is_alive(tgid));
    }

    /// Whether pieces or ends wait for what may not come.
    #[must_use]
    pub(crate) fn is_waiting(&self) -> bool {
        !self.waiting.is_empty()
    }

    /// Lets pieces go ahead that have waited long enough. To be called often; cheap when nothing waits.
    pub(crate) fn on_tick(&mut self, now_ns: u64, sink: &mut impl FnMut(&ConnectionInfo, Event)) {
        if self.waiting.is_empty() {
            return;
        }
        for id in std::mem::take(&mut self.waiting) {
            let Some(connection) = self.by_id.get_mut(&id) else { continue };
            connection.set_lost(lost_ns(self.lost_ns, &self.forked_ns, connection));
            connection.on_tick(now_ns, &mut self.told);
            self.settle(id, sink);
        }
    }

    /// Ends all that is open, unseen from here on: the agent stops.
    pub(crate) fn on_stop(&mut self, now_ns: u64, sink: &mut impl FnMut(&ConnectionInfo, Event)) {
        let ids: Vec<ConnectionId> = self.by_id.keys().copied().collect();
        for id in ids {
            self.end(id, End::Forgotten, [0; 2], now_ns, sink);
        }
    }

    /// Collects the counts that connections keep for themselves.
    pub(crate) fn gather(&mut self) {
        let mut totals = self.totals;
        for connection in self.by_id.values_mut() {
            add(&mut totals, connection);
        }
        self.totals = totals;
    }

    /// `moved`: see [`Connection::on_end`].
    fn end(
        &mut self,
        id: ConnectionId,
        end: End,
        moved: [u64; 2],
        at_ns: u64,
        sink: &mut impl FnMut(&ConnectionInfo, Event),
    ) {
        let Some(connection) = self.by_id.get_mut(&id) else { return };
        connection.set_lost(lost_ns(self.lost_ns, &self.forked_ns, connection));
        connection.on_end(end, moved, at_ns, &mut self.told);
        for event in self.told.drain() {
            sink(&connection.info, event);
        }
        self.forget(id);
    }

    fn forget(&mut self, id: ConnectionId) {
        let Some(mut connection) = self.remove(id) else { return };
        add(&mut self.totals, &mut connection);
        if let Some(ids) = self.of_process.get_mut(&connection.tgid) {
            ids.remove(&id);
        }
    }

    fn insert(&mut self, id: ConnectionId, mut connection: Connection) {
        // An earlier one of this number would be counted for ever.
        self.remove(id);
        connection.count_memory(&mut self.bytes);
        self.by_id.insert(id, connection);
    }

    fn remove(&mut self, id: ConnectionId) -> Option<Connection> {
        let connection = self.by_id.remove(&id)?;
        self.bytes = self.bytes.saturating_sub(connection.counted_memory());
        Some(connection)
    }

    /// Gives up connections until an eighth of the room is free: of those that hold more than the average the longest idle
    /// ones, since giving up a small one gains nothing.
    fn shed(&mut self, sink: &mut impl FnMut(&ConnectionInfo, Event)) {
        let share = self.bytes / self.by_id.len().max(1);
        let large = self.by_id.iter().filter(|(_, connection)| connection.counted_memory() >= share);
        let mut by_age: Vec<(u64, ConnectionId)> = large.map(|(&id, connection)| (connection.active_ns, id)).collect();
        by_age.sort_unstable();
        let enough = self.limits.bytes - self.limits.bytes / 8;
        for (active_ns, id) in by_age {
            if self.bytes <= enough {
                break;
            }
            self.end(id, End::Forgotten, [0; 2], active_ns, sink);
            self.totals.evicted += 1;
        }
    }

    /// Gives up the longest idle connections when the table is full: a sixteenth at once, so that looking for them
    /// costs little on average.
    fn make_room(&mut self, sink: &mut impl FnMut(&ConnectionInfo, Event)) {
        if self.by_id.len() < self.limits.connections {
            return;
        }
        let mut by_age: Vec<(u64, ConnectionId)> = self.by_id.iter().map(|(&id, it)| (it.active_ns, id)).collect();
        let count = (by_age.len() / 16).max(1);
        by_age.select_nth_unstable(count - 1);
        for &(active_ns, id) in by_age.iter().take(count) {
            self.end(id, End::Forgotten, [0; 2], active_ns, sink);
            self.totals.evicted += 1;
        }
        self.of_process.retain(|_, ids| {
            ids.retain(|id| self.by_id.contains_key(id));
            !ids.is_empty()
        });
    }
}

fn add(totals: &mut Totals, connection: &mut Connection) {
    let Anomalies { resyncs, unmatched_responses, over_limit, requests_lost, unread: _, panics } =
        connection.take_anomalies();
    totals.panics += panics;
    totals.resyncs += resyncs;
    totals.unmatched_responses += unmatched_responses;
    totals.over_limit += over_limit;
    totals.requests_lost += requests_lost;
    let lost = connection.take_bytes_lost();
    if connection.protocol().is_some() {
        totals.bytes_lost += lost;
    }
}

/// When something of a connection was last lost, or done by another process that is not told to be the same.
fn lost_ns(lost_ns: u64, forked_ns: &FxHashMap<ProcessId, u64>, connection: &Connection) -> u64 {
    let forked_ns = if connection.info.tls { forked_ns.get(&connection.tgid).copied() } else { None };
    lost_ns.max(forked_ns.unwrap_or(0))
}

/// What positions of plaintext are counted from. Of a connection that is older than the probes some of it may have moved unseen.
fn origin_within(carrier: &ConnectionInfo, stream: &ConnectionInfo, probed_ns: u64) -> Origin {
    let is_seen = carrier.met_ns >= probed_ns;
    Origin { is_beginning: is_seen && carrier.origin.is_beginning && stream.origin.is_beginning, sequence: None }
}

/// A connection of which nothing is known.
fn unknown(id: ConnectionId, tls: bool) -> ConnectionInfo {
    let (local, remote) = (Endpoint::Unknown, Endpoint::Unknown);
    ConnectionInfo {
        id,
        local,
        remote,
        netns: 0,
        tls,
        tls_version: None,
        asked: None,
        client: None,
        link: id,
        origin: Origin::default(),
        is_paired: false,
        is_blocking: false,
        met_ns: 0,
        requests: 0,
        connect_ns: None,
    }
}
