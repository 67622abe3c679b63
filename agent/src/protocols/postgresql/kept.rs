//! What a connection remembers: what waits for its answer, and the statements and portals that have names.

use std::{collections::HashMap, sync::Arc};

use compact_str::CompactString;
use foldhash::fast::RandomState;

use crate::{
    model::{exchange::Key, net::Thread, trace_context::TraceParent},
    protocols::{matching, sql::Statement},
};

/// Prepared statements that are remembered, and bytes that they hold. Of those beyond the text is unknown.
const MAX_PREPARED: usize = 2048;
const MAX_PREPARED_BYTES: usize = 1 << 20;
/// Portals that are remembered.
const MAX_PORTALS: usize = 64;

/// Where something began.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Began {
    pub(super) at_ns: u64,
    pub(super) thread: Thread,
    pub(super) position: u64,
}

/// A statement that is executed; `None`: it is not known which, since it was prepared before anything was seen.
pub(super) type Known = Option<Arc<Statement>>;

/// A statement that waits for its answer.
#[derive(Debug)]
pub(super) struct Execute {
    pub(super) key: Key,
    pub(super) began: Began,
    pub(super) first_byte_ns: Option<u64>,
    pub(super) statement: Known,
    pub(super) parent: Option<TraceParent>,
    /// It goes on with a portal of which rows were fetched before.
    pub(super) fetches: bool,
    /// The portal, where it has a name.
    pub(super) portal: CompactString,
    /// Rows that came back, as far as they were seen; `None` until there is one.
    pub(super) rows: Option<u64>,
}

/// A query of the simple protocol.
#[derive(Debug)]
pub(super) struct Query {
    pub(super) began: Began,
    /// The statement that is answered.
    pub(super) current: Option<Execute>,
    /// Those behind it, the next one last.
    pub(super) rest: Vec<(Arc<Statement>, u64)>,
    pub(super) heap: usize,
}

/// What is answered by itself.
#[derive(Debug)]
pub(super) enum Item {
    /// A connection's first message.
    Startup,
    /// Parse: the name, which statement had it before, and which has it now.
    Parse {
        began: Began,
        name: CompactString,
        before: Option<Prepared>,
        statement: Arc<Statement>,
    },
    /// Bind, and of what.
    Bind(Began, Known),
    /// Describe, and of what.
    Describe(Began, Known),
    Close,
    Execute(Box<Execute>),
    Query(Box<Query>),
    /// FunctionCall.
    Call(Box<Execute>),
    /// Sync, or what ends a query: the server is ready for another.
    Sync,
}

impl Item {
    /// Whether a request was told to be open.
    pub(super) const fn is_told(&self) -> bool {
        match self {
            Self::Execute(_) | Self::Call(_) => true,
            Self::Query(query) => query.current.is_some(),
            _ => false,
        }
    }
}

impl matching::Kept for Item {
    fn bytes(&self) -> usize {
        match self {
            // Statements are shared with what is prepared.
            Self::Parse { .. } => size_of::<Prepared>(),
            Self::Execute(_) | Self::Call(_) => size_of::<Execute>(),
            Self::Query(query) => size_of::<Query>() + query.heap,
            Self::Startup | Self::Bind(..) | Self::Describe(..) | Self::Close | Self::Sync => 0,
        }
    }
}

/// A prepared statement.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) statement: Arc<Statement>,
    /// The parent that its text names: that of its first execution.
    pub(super) parent: Option<TraceParent>,
}

impl Prepared {
    fn bytes(&self, name: &str) -> usize {
        size_of::<(CompactString, Self)>() + size_of::<Statement>() + self.statement.heap() + name.len()
    }
}

/// Those of a connection, by their names. Clients choose these.
#[derive(Debug, Default)]
pub(super) struct AllPrepared {
    by_name: HashMap<CompactString, Prepared, RandomState>,
    bytes: usize,
}

impl AllPrepared {
    /// Keeps one; gives the one that had its name.
    pub(super) fn insert(&mut self, name: &str, prepared: Prepared) -> Option<Prepared> {
        let before = self.remove(name);
        let bytes = prepared.bytes(name);
        if self.by_name.len() < MAX_PREPARED && self.bytes + bytes <= MAX_PREPARED_BYTES {
            self.bytes += bytes;
            self.by_name.insert(CompactString::new(name), prepared);
        }
        before
    }

    pub(super) fn remove(&mut self, name: &str) -> Option<Prepared> {
        let before = self.by_name.remove(name)?;
        self.bytes = self.bytes.saturating_sub(before.bytes(name));
        Some(before)
    }

    /// It has turned out that nothing was prepared: the name is that of `before`.
    pub(super) fn restore(&mut self, name: &str, before: Option<Prepared>) {
        self.remove(name);
        if let Some(before) = before {
            self.insert(name, before);
        }
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Prepared> {
        self.by_name.get_mut(name)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Heap bytes held.
    pub(super) fn memory(&self) -> usize {
        let spare = self.by_name.capacity() - self.by_name.len();
        self.bytes + spare * size_of::<(CompactString, Prepared)>()
    }
}

/// What a portal executes.
#[derive(Clone, Debug, Default)]
pub(super) struct Portal {
    pub(super) statement: Known,
    pub(super) parent: Option<TraceParent>,
    /// Rows were fetched of it, and there are more.
    pub(super) is_suspended: bool,
}

/// Portals of a connection. Most have the one without a name.
#[derive(Debug, Default)]
pub(super) struct Portals {
    unnamed: Portal,
    named: Vec<(CompactString, Portal)>,
}

impl Portals {
    pub(super) fn insert(&mut self, name: &str, portal: Portal) {
        if name.is_empty() {
            self.unnamed = portal;
            return;
        }
        match self.named.iter_mut().find(|(known, _)| known == name) {
            Some((_, known)) => *known = portal,
            None => {
                // They end with their transaction, which is not followed: the oldest goes.
                if self.named.len() >= MAX_PORTALS {
                    self.named.remove(0);
                }
                self.named.push((CompactString::new(name), portal));
            }
        }
    }

    pub(super) fn get_mut(&mut self, name: &str) -> Option<&mut Portal> {
        if name.is_empty() {
            return Some(&mut self.unnamed);
        }
        self.named.iter_mut().find(|(known, _)| known == name).map(|(_, portal)| portal)
    }

    pub(super) fn remove(&mut self, name: &str) {
        if name.is_empty() {
            self.unnamed = Portal::default();
        }
        self.named.retain(|(known, _)| known != name);
    }

    pub(super) fn memory(&self) -> usize {
        self.named.capacity() * size_of::<(CompactString, Portal)>()
            + self.named.iter().map(|(name, _)| name.len()).sum::<usize>()
    }
}
