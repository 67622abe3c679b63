//! Messages that a thread fetches: what it calls between two fetches follows from what the first has brought, where that is certain.
//!
//! Nothing says when a fetched message was dealt with, but the thread that fetches again is done with what it was given before. It is
//! believed once it was seen to fetch in vain and to call nothing until the next fetch, and as long as it calls for what it has fetched only;
//! not where several threads fetch over one connection, or one over several.

use rustc_hash::FxHashMap;

use super::{
    behind::Followed,
    parents::{ADOPTION_NS, BACKGROUND_NS},
};
use crate::model::{
    exchange::{Opened, Polled},
    ids::{ConnectionId, ProcessId, ThreadId},
    trace_context::{TraceId, TraceParent},
};

type Of = (ProcessId, ThreadId);

/// Connections that are remembered.
const CONNECTIONS_MAX: usize = 4096;

/// What a call follows from.
#[derive(Clone, Copy, Debug)]
pub(super) struct Fetched {
    pub(super) followed: Followed,
    /// One message of several is meant, and which is not known.
    pub(super) is_batch: bool,
}

/// What a thread has.
#[derive(Clone, Copy, Debug)]
enum Has {
    Nothing,
    Messages(Fetched),
    /// Messages of this fetch, or others.
    Unclear,
}

/// A thread that fetches.
#[derive(Clone, Copy, Debug)]
struct Fetcher {
    connection: ConnectionId,
    has: Has,
    since_ns: u64,
    /// It has called since.
    has_called: bool,
    /// It has nothing to call for where it has no message.
    is_proven: bool,
    /// When it has last called for none; 0 for never.
    own_call_ns: u64,
    /// When it has last fetched over another connection than before; 0 for never.
    several_ns: u64,
}

/// Those of all processes.
#[derive(Debug, Default)]
pub(super) struct Polls {
    threads: FxHashMap<Of, Fetcher>,
    /// Who has last fetched over a connection.
    readers: FxHashMap<ConnectionId, Of>,
}

impl Polls {
    /// A thread has received what it, or another, had asked for over a connection. `followed`: the exchange that brought messages.
    pub(super) fn on_polled(&mut self, connection: ConnectionId, polled: &Polled, followed: Option<Followed>) {
        let (thread, since_ns) = (polled.thread, polled.at_ns);
        if thread.work != 0 || !thread.tid.is_some() {
            return;
        }
        if self.readers.len() >= CONNECTIONS_MAX {
            (self.threads, self.readers) = (FxHashMap::default(), FxHashMap::default());
        }
        let thread = (thread.tgid, thread.tid);
        if polled.is_first {
            self.readers.entry(connection).or_insert(thread);
            return;
        }
        // Who has fetched before is handed what this one has received.
        if let Some(before) = self.readers.insert(connection, thread)
            && before != thread
            && let Some(before) = self.threads.get_mut(&before)
        {
            before.has = Has::Unclear;
        }
        let is_batch = polled.is_batch;
        let has = match followed {
            _ if polled.is_unclear => Has::Unclear,
            Some(followed) => Has::Messages(Fetched { followed, is_batch }),
            None => Has::Nothing,
        };
        let (has_called, is_proven) = (false, false);
        let new = Fetcher { connection, has, since_ns, has_called, is_proven, own_call_ns: 0, several_ns: 0 };
        let fetcher = self.threads.entry(thread).or_insert(new);
        fetcher.is_proven |= matches!(fetcher.has, Has::Nothing) && !fetcher.has_called && fetcher.since_ns < since_ns;
        if fetcher.connection != connection {
            fetcher.several_ns = since_ns;
        }
        let has_several = fetcher.several_ns != 0 && fetcher.several_ns.saturating_add(BACKGROUND_NS) > since_ns;
        let has = if has_several { Has::Unclear } else { has };
        *fetcher = Fetcher { connection, has, since_ns, has_called: false, ..*fetcher };
    }

    /// What a call follows from that is made for no request. `waits`: who makes it waits for its socket.
    pub(super) fn of_call(&mut self, connection: ConnectionId, call: &Opened, waits: bool) -> Option<Fetched> {
        let Opened { thread, start_ns, .. } = *call;
        if self.threads.is_empty() || self.readers.contains_key(&connection) {
            return None;
        }
        let fetcher = self.threads.get_mut(&(thread.tgid, thread.tid))?;
        fetcher.has_called = true;
        let fetched = match fetcher.has {
            Has::Messages(fetched) => fetched,
            Has::Unclear => return None,
            Has::Nothing => {
                (fetcher.own_call_ns, fetcher.is_proven) = (fetcher.own_call_ns.max(start_ns), false);
                return None;
            }
        };
        let is_within = (fetcher.since_ns..fetcher.since_ns.saturating_add(ADOPTION_NS)).contains(&start_ns);
        let calls_else = fetcher.own_call_ns != 0 && fetcher.own_call_ns.saturating_add(BACKGROUND_NS) > start_ns;
        (waits && thread.work == 0 && is_within && fetcher.is_proven && !calls_else).then_some(fetched)
    }

    /// A trace turned out to be part of another.
    pub(super) fn rename(&mut self, before: TraceId, to: TraceId, remote: Option<TraceParent>, is_health_check: bool) {
        for fetcher in self.threads.values_mut() {
            if let Has::Messages(Fetched { followed, .. }) = &mut fetcher.has
                && followed.trace_id == before
            {
                (followed.trace_id, followed.remote) = (to, remote);
                followed.is_health_check |= is_health_check;
            }
        }
    }

    /// A process has ended.
    pub(super) fn on_exit(&mut self, tgid: ProcessId) {
        self.threads.retain(|(of, _), _| *of != tgid);
        self.readers.retain(|_, (of, _)| *of != tgid);
    }
}
