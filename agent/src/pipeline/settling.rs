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
    /// Takes an exchange that may have to wait until then; gives it back where too many are held. One round can bring far more
    /// than that: a record can hold hundreds.
    pub(super) fn hold(
        &mut self,
        until_ns: u64,
        connection: &ConnectionInfo,
        exchange: Exchange,
        context: Context,
    ) -> Option<Exchange> {
        if self.held.len() >= HELD_MAX {
            return Some(exchange);
        }
        self.held.insert((until_ns, self.next), Box::new((connection.clone(), exchange, context)));
        self.next += 1;
        None
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

#[cfg(test)]
mod tests {
    use super::{super::waiting::tests as samples, *};

    #[test]
    fn of_too_many_at_once_the_others_go_as_they_are_known() {
        let mut settling = Settling::default();
        let connection = samples::connection();
        let hold = |settling: &mut Settling, number| {
            settling.hold(10, &connection, samples::exchange(number), samples::CONTEXT)
        };
        assert!((0..HELD_MAX as u64).all(|number| hold(&mut settling, number).is_none()));
        assert!(hold(&mut settling, HELD_MAX as u64).is_some());
        assert_eq!((settling.release(&[], 9).len(), settling.release(&[], 10).len()), (0, HELD_MAX));
        assert!(hold(&mut settling, 1).is_none());
    }
}
