//! What a connection remembers.

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

/// Where something began.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Began {
    pub(super) at_ns: u64,
    pub(super) thread: Thread,
    pub(super) position: u64,
}

/// A statement that is executed; `None`: it is not known which.
pub(super) type Known = Option<Arc<Statement>>;

/// A statement that waits for its answer.
#[derive(Debug)]
pub(super) struct Execute {
    pub(super) key: Key,
    pub(super) began: Began,
    pub(super) first_byte_ns: Option<u64>,
    pub(super) statement: Known,
    pub(super) parent: Option<TraceParent>,
    /// It goes on with rows of one that was executed before.
    pub(super) fetches: bool,
    /// Rows that came back; `None` where there was no result.
    pub(super) rows: Option<u64>,
}

/// What was asked.
#[derive(Debug)]
pub(super) enum Asked {
    /// Text with statements: those behind the first, the next one last.
    Query { rest: Vec<(Arc<Statement>, u64)>, began: Began },
    /// A prepared statement.
    Execute,
    /// Rows of one.
    Fetch,
    /// Another database, or none; as another user or not.
    Database(Option<CompactString>),
    /// A statement is prepared.
    Prepare { statement: Arc<Statement>, parent: Option<TraceParent>, began: Began },
    /// What has an answer of one packet, and is not told.
    Untold,
    /// What has an answer of many.
    Columns,
}

/// Where in its answer it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) enum At {
    #[default]
    First,
    /// So many definitions of columns are still to come.
    Columns(u64),
    /// Perhaps an `EOF`, then rows.
    BehindColumns,
    Rows,
    /// Of a statement that is prepared: definitions of parameters, then of columns.
    Parameters(u64, u64),
    BehindParameters(u64),
    PreparedColumns(u64),
    BehindPrepared,
}

/// A command that waits for its answer.
#[derive(Debug)]
pub(super) struct Command {
    pub(super) asked: Asked,
    /// The statement that is answered.
    pub(super) current: Option<Execute>,
    pub(super) at: At,
    /// A result of the statement was seen to its end, and another follows.
    pub(super) has_result: bool,
    pub(super) heap: usize,
}

impl matching::Kept for Command {
    fn bytes(&self) -> usize {
        self.heap
    }
}

/// A prepared statement.
#[derive(Clone, Debug)]
pub(super) struct Prepared {
    pub(super) statement: Arc<Statement>,
    /// The parent that its text names: that of its first execution.
    pub(super) parent: Option<TraceParent>,
}

/// Those of a connection, by their numbers, which the server gives.
#[derive(Debug, Default)]
pub(super) struct AllPrepared {
    by_id: HashMap<u32, Prepared, RandomState>,
    bytes: usize,
    /// The one that was prepared last.
    last: Option<u32>,
}

fn bytes(prepared: &Prepared) -> usize {
    size_of::<(u32, Prepared)>() + size_of::<Statement>() + prepared.statement.heap()
}

impl AllPrepared {
    pub(super) fn insert(&mut self, id: u32, prepared: Prepared) {
        self.remove(id);
        self.last = Some(id);
        let bytes = bytes(&prepared);
        if self.by_id.len() < MAX_PREPARED && self.bytes + bytes <= MAX_PREPARED_BYTES {
            self.bytes += bytes;
            self.by_id.insert(id, prepared);
        }
    }

    pub(super) fn remove(&mut self, id: u32) {
        if let Some(before) = self.by_id.remove(&id) {
            self.bytes = self.bytes.saturating_sub(bytes(&before));
        }
    }

    pub(super) fn get_mut(&mut self, id: u32) -> Option<&mut Prepared> {
        // MariaDB: that which was prepared last.
        let id = if id == u32::MAX { self.last? } else { id };
        self.by_id.get_mut(&id)
    }

    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Heap bytes held.
    pub(super) fn memory(&self) -> usize {
        let spare = self.by_id.capacity() - self.by_id.len();
        self.bytes + spare * size_of::<(u32, Prepared)>()
    }
}
