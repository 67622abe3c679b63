//! Statements in SQL: what they do to what, and their text without what is nobody's business.

mod comment;
mod lexer;
mod statement;
#[cfg(test)]
mod tests;
mod words;

pub(super) use lexer::{Dialect, Escapes, Syntax};
use statement::Statements;
pub(super) use statement::{Statement, read};

use crate::model::{exchange::Db, propagation::QueryText, trace_context::TraceParent};
pub(super) use words::verb;

/// Longest text of a statement that is told.
pub(super) const MAX_TEXT: usize = 2048;

/// Sets what a text says of a call, by its first statement. `None`: it has none. Else the parent that it names.
pub(super) fn describe(
    db: &mut Db,
    text: &[u8],
    is_cut: bool,
    syntax: Syntax,
    told: QueryText,
) -> Option<Option<TraceParent>> {
    let Statements { mut list, parent } = read(text, is_cut, syntax, told);
    db.batch_size = u32::try_from(list.len()).ok().filter(|count| *count > 1);
    if list.is_empty() {
        return None;
    }
    let Statement { operation, collection, summary, text, procedure, .. } = list.swap_remove(0);
    (db.operation, db.collection, db.summary) = (operation, collection, summary);
    (db.text, db.procedure) = (text, procedure);
    Some(parent)
}
