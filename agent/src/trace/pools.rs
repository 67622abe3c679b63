//! Pools of threads: what is called before it is known that threads are not shared waits for that, for as long as any call waits for a request that may come.

use super::{
    Evidence, OVER_MAX, Tracer,
    open::{Open, Over},
    parents::Threads,
};
use crate::model::exchange::{Exchange, Key};

impl Tracer {
    /// A request is over. By how it was answered it may be known now whether its process shares its threads, and so which requests calls were
    /// made for that have waited for it.
    pub(super) fn find_meant(&mut self, key: Key, open: Option<&Open>, exchange: &Exchange) {
        let tgid = exchange.thread.tgid;
        if !self.orphans.has_meant(tgid) {
            return;
        }
        let threads = self.parents.threads(tgid);
        if threads != Threads::Shared && exchange.response_tid == exchange.thread.tid {
            self.keep_over(key, open, exchange);
        }
        if threads == Threads::Unclear {
            return;
        }
        let Self { orphans, parents, over, .. } = self;
        let found = orphans.meant(tgid, |call, end_ns, meant| {
            if threads == Threads::Shared || !parents.has_no_other(call) {
                return false;
            }
            // What went on behind its end is not part of it.
            let has_ended = |over: &Over| over.key == meant && end_ns.is_some_and(|end_ns| end_ns <= over.end_ns);
            parents.is_open(meant) || over.iter().any(has_ended)
        });
        for (orphan, meant) in found {
            self.take_up(&orphan, meant, Evidence::Thread);
        }
        self.over.retain(|over| over.tgid != tgid);
    }

    /// Keeps of a request that is over what calls are to be told that turn out to be made for it.
    pub(super) fn keep_over(&mut self, key: Key, open: Option<&Open>, exchange: &Exchange) {
        if self.over.len() >= OVER_MAX {
            self.over.pop_front();
        }
        let (tgid, end_ns) = (exchange.thread.tgid, exchange.end_ns);
        self.over.extend(open.map(|open| Over { tgid, key, end_ns, adopter: open.adopter() }));
    }
}
