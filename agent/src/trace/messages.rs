//! Messages that a process deals with: what it calls between a delivery and what it says of it is done for that, where that is certain.
//!
//! A thread that has read one message, and waits for what it calls, deals with that message, unless it is with another one still: of
//! which it has said already that it was dealt with, or which was read before. So a thread is believed only once it was seen to call for a message
//! that it had waited for, and as long as it reads one at a time and calls nothing in between.

use rustc_hash::FxHashMap;

use super::parents::{ADOPTION_NS, BACKGROUND_NS};
use crate::model::{
    exchange::{Key, Opened},
    ids::{ProcessId, ThreadId},
    net::ConnectionInfo,
};

/// A thread that has dealt with no message for so long has waited for the next.
const IDLE_NS: u64 = 1_000_000_000;
/// Threads that are remembered without a message, before those without are forgotten.
const THREADS_MAX: usize = 4096;

/// A message that is being dealt with.
#[derive(Clone, Copy, Debug)]
struct Delivered {
    thread: (ProcessId, ThreadId),
    start_ns: u64,
    /// Its thread has none besides, and had none since it was read.
    is_alone: bool,
    /// Its thread had waited for it.
    is_awaited: bool,
}

/// A thread that reads messages.
#[derive(Clone, Copy, Debug, Default)]
struct Worker {
    open: u32,
    /// The last that it has read.
    last: Option<Key>,
    /// When it was last said of one that it was dealt with; 0 for never.
    settled_ns: u64,
    /// It calls for a message before it says that it has dealt with it.
    is_proven: bool,
    /// When it has last called for none; 0 for never.
    own_call_ns: u64,
}

/// Those of all processes.
#[derive(Debug, Default)]
pub(super) struct Messages {
    open: FxHashMap<Key, Delivered>,
    workers: FxHashMap<(ProcessId, ThreadId), Worker>,
}

impl Messages {
    /// No thread was seen to read any.
    pub(super) fn is_empty(&self) -> bool {
        self.workers.is_empty()
    }

    /// A message is delivered.
    pub(super) fn on_delivered(&mut self, connection: &ConnectionInfo, opened: &Opened) {
        let Opened { key, thread, start_ns, .. } = *opened;
        // Tasks share their thread.
        if thread.work != 0 || !thread.tid.is_some() {
            return;
        }
        if self.workers.len() >= THREADS_MAX {
            self.workers.retain(|_, worker| worker.open > 0);
        }
        let thread = (thread.tgid, thread.tid);
        let worker = self.workers.entry(thread).or_default();
        // Before a connection was met, another message may have been dealt with.
        let met_ns = if connection.origin.is_beginning { 0 } else { connection.met_ns };
        let before_ns = worker.settled_ns.max(met_ns);
        let is_alone = worker.open == 0;
        let is_awaited = is_alone && (before_ns == 0 || before_ns.saturating_add(IDLE_NS) <= start_ns);
        worker.open += 1;
        if let Some(last) = worker.last.replace(key)
            && let Some(last) = self.open.get_mut(&last)
        {
            last.is_alone = false;
        }
        self.open.insert(key, Delivered { thread, start_ns, is_alone, is_awaited });
    }

    /// The message that a call is made for which is made for no request. `waits`: who makes it waits for its socket.
    pub(super) fn of_call(&mut self, call: &Opened, waits: bool) -> Option<Key> {
        let Opened { thread, start_ns, .. } = *call;
        let worker = self.workers.get_mut(&(thread.tgid, thread.tid))?;
        if worker.open == 0 || thread.work != 0 {
            (worker.own_call_ns, worker.is_proven) = (worker.own_call_ns.max(start_ns), false);
            return None;
        }
        let key = worker.last.filter(|_| worker.open == 1)?;
        let delivered = self.open.get(&key)?;
        let is_within = (delivered.start_ns..delivered.start_ns.saturating_add(ADOPTION_NS)).contains(&start_ns);
        let calls_else = worker.own_call_ns != 0 && worker.own_call_ns.saturating_add(BACKGROUND_NS) > start_ns;
        if !waits || !delivered.is_alone || !is_within || calls_else {
            return None;
        }
        worker.is_proven |= delivered.is_awaited;
        worker.is_proven.then_some(key)
    }

    /// Something is over that may have been the delivery of a message. Gives whether it was.
    pub(super) fn on_over(&mut self, key: Key, end_ns: u64) -> bool {
        let Some(Delivered { thread, .. }) = self.open.remove(&key) else { return false };
        if let Some(worker) = self.workers.get_mut(&thread) {
            worker.open = worker.open.saturating_sub(1);
            worker.settled_ns = worker.settled_ns.max(end_ns);
            worker.last = worker.last.filter(|last| *last != key);
        }
        true
    }

    /// A process has ended.
    pub(super) fn on_exit(&mut self, tgid: ProcessId) {
        self.workers.retain(|(of, _), _| *of != tgid);
    }
}
