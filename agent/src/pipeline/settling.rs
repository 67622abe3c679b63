//! Exchanges whose place in a trace may turn out to be another: held for a moment, until what it depends on is told or will not
//! be.

use std::collections::BTreeMap;

use crate::{
    model::{exchange::Exchange, net::ConnectionInfo},
    trace::{Context, Joined},
};

/// Most exchanges held, some 500 bytes each; beyond, they go as they are known.
const HELD_MAX: usize = 20_000;

/// One that is held.
type Held = (ConnectionInfo, Exchange, Context);

/// What is held, by the moment until which it is and a number of its own.
#[derive(Default)]
pub(super) struct Settling {
    held: BTreeMap<(u64, u64), Box<Held>>,
    next: u64,
}

impl Settling {
    /// Takes an exchange that may have to wait until then.
    pub(super) fn hold(&mut self, until_ns: u64, connection: &ConnectionInfo, exchange: Exchange, context: Context) {
        let until_ns = if self.held.len() < HELD_MAX { until_ns } else { 0 };
        self.held.insert((until_ns, self.next), Box::new((connection.clone(), exchange, context)));
        self.next += 1;
    }

    /// Corrects what is held by what has become known, and gives those that need not wait any more.
    pub(super) fn release(&mut self, joined: &[Joined], now_ns: u64) -> Vec<Held> {
        if self.held.is_empty() {
            return Vec::new();
        }
        let mut released = Vec::new();
        for joined in joined {
            let is_meant = |_: &(u64, u64), held: &mut Box<Held>| held.2.trace_id == joined.before;
            for (at, mut held) in self.held.extract_if(.., is_meant).collect::<Vec<_>>() {
                joined.correct(&mut held.2);
                self.held.insert((joined.settles_ns, at.1), held);
            }
        }
        while let Some(entry) = self.held.first_entry()
            && entry.key().0 <= now_ns
        {
            released.push(*entry.remove());
        }
        released
    }
}
