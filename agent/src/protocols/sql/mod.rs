//! Statements in SQL: what they do to what, and their text without what is nobody's business.

mod comment;
mod lexer;
mod statement;
#[cfg(test)]
mod tests;
mod words;

pub(super) use lexer::{Dialect, Escapes, Syntax};
pub(super) use statement::{Statement, read};
pub(super) use words::verb;

/// Longest text of a statement that is told.
pub(super) const MAX_TEXT: usize = 2048;
