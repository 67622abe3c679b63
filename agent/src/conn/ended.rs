//! Connections that have ended lately: what is told of them later takes up nothing.

use std::collections::VecDeque;

use crate::model::ids::ConnectionId;
use rustc_hash::FxHashSet;

/// Most that are remembered: for the moments in which a record can come late.
const ENDED_MAX: usize = 4096;

/// See the module.
#[derive(Default)]
pub(super) struct Ended {
    ids: FxHashSet<ConnectionId>,
    oldest_first: VecDeque<ConnectionId>,
}

impl Ended {
    pub(super) fn insert(&mut self, id: ConnectionId) {
        if !self.ids.insert(id) {
            return;
        }
        self.oldest_first.push_back(id);
        if self.oldest_first.len() > ENDED_MAX
            && let Some(oldest) = self.oldest_first.pop_front()
        {
            self.ids.remove(&oldest);
        }
    }

    pub(super) fn contains(&self, id: ConnectionId) -> bool {
        self.ids.contains(&id)
    }
}
