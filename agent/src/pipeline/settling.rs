//! Exchanges whose place in a trace may turn out to be another: held for a moment, until the other end of their connection is
//! told or will not be.

use crate::{
    model::{exchange::Exchange, net::ConnectionInfo},
    trace::{Context, Joined},
};

/// Most exchanges held, some 500 bytes each; beyond, they go as they are known.
const HELD_MAX: usize = 20_000;

/// What is held, in its order.
pub(super) struct Settling(Vec<(u64, ConnectionInfo, Exchange, Context)>);

impl Settling {
    pub(super) const fn new() -> Self {
        Self(Vec::new())
    }

    /// Takes an exchange that may have to wait until then.
    pub(super) fn hold(&mut self, until_ns: u64, connection: &ConnectionInfo, exchange: Exchange, context: Context) {
        let until_ns = if self.0.len() < HELD_MAX { until_ns } else { 0 };
        self.0.push((until_ns, connection.clone(), exchange, context));
    }

    /// Corrects what is held by what has become known, and gives those that need not wait any more.
    pub(super) fn release(&mut self, joined: &[Joined], now_ns: u64) -> Vec<(ConnectionInfo, Exchange, Context)> {
        if self.0.is_empty() {
            return Vec::new();
        }
        for (until_ns, _, _, context) in &mut self.0 {
            for joined in joined {
                if context.trace_id == joined.before {
                    joined.correct(context);
                    *until_ns = 0;
                }
            }
        }
        let released = self.0.extract_if(.., |(until_ns, ..)| *until_ns <= now_ns);
        released.map(|(_, connection, exchange, context)| (connection, exchange, context)).collect()
    }
}
