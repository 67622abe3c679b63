//! Bytes that each process moved over TCP, from what is told of its connections anyway.

use rustc_hash::FxHashMap;

use crate::{
    capture::event::{Data, Ends, Open, State, TcpState},
    model::{
        ids::{ConnectionId, ProcessId},
        net::Direction,
    },
    telemetry::clock::unix_ns,
};

/// Most connections that are looked at; what others move is left out.
const CONNECTIONS_MAX: usize = 1 << 16;

/// Bytes received and sent, and since when they are counted (ns of the Unix epoch).
pub(crate) type Moved = ([u64; 2], u64);

/// See the module.
#[derive(Default)]
pub(super) struct Traffic {
    connections: FxHashMap<ConnectionId, Known>,
    processes: FxHashMap<ProcessId, Moved>,
}

/// A connection as it was last told of.
struct Known {
    tgid: ProcessId,
    /// A stream of plaintext: what its carrier is told to have moved is something else.
    is_plaintext: bool,
    positions: [u64; 2],
}

impl Traffic {
    pub(super) fn on_open(&mut self, open: &Open<'_>) {
        let is_plaintext = match open.ends {
            Ends::Tcp { .. } => false,
            Ends::Unknown => true,
            Ends::Unix { .. } => return,
        };
        if self.connections.len() < CONNECTIONS_MAX {
            let known = Known { tgid: open.tgid, is_plaintext, positions: [0; 2] };
            self.connections.insert(open.id, known);
        }
    }

    pub(super) fn on_data(&mut self, data: &Data<'_>) {
        let Some(known) = self.connections.get_mut(&data.id) else { return };
        if data.thread.tgid.is_some() {
            known.tgid = data.thread.tgid;
        }
        let end = data.position.saturating_add(data.len.into());
        let now = match data.direction {
            Direction::Received => [end, data.other_position],
            Direction::Sent => [data.other_position, end],
        };
        known.advance(now, &mut self.processes);
    }

    pub(super) fn on_state(&mut self, state: &State) {
        let Some(known) = self.connections.get_mut(&state.id) else { return };
        if !known.is_plaintext {
            known.advance([state.received, state.sent], &mut self.processes);
        }
        if state.state == TcpState::Close {
            self.connections.remove(&state.id);
        }
    }

    /// Forgets connections that are not followed any more, and processes that are gone.
    pub(super) fn sweep(&mut self, follows: impl Fn(ConnectionId) -> bool, is_alive: impl Fn(ProcessId) -> bool) {
        self.connections.retain(|id, _| follows(*id));
        self.processes.retain(|tgid, _| is_alive(*tgid));
    }

    /// What a process moved.
    pub(super) fn of(&self, tgid: ProcessId) -> Option<Moved> {
        self.processes.get(&tgid).copied()
    }
}

impl Known {
    fn advance(&mut self, now: [u64; 2], processes: &mut FxHashMap<ProcessId, Moved>) {
        // Records of several threads may come out of order.
        let mut more = [0; 2];
        for ((more, now), known) in more.iter_mut().zip(now).zip(&mut self.positions) {
            *more = now.saturating_sub(*known);
            *known = now.max(*known);
        }
        let (moved, _) = processes.entry(self.tgid).or_insert_with(|| ([0; 2], unix_ns()));
        for (moved, more) in moved.iter_mut().zip(more) {
            *moved = moved.saturating_add(more);
        }
    }
}
