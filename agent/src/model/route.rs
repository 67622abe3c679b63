//! A route as a program's own sources have it.

/// A part of a route, between slashes.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Part {
    /// This word.
    Word(String),
    /// Any, but not an empty one.
    Value,
    /// Digits.
    Number,
    /// All that is left, one segment at least.
    Rest,
    /// All that is left, if anything.
    RestOrNone,
}

/// A route of a program.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ProgramRoute {
    /// As its framework writes it, with a slash before it.
    pub text: String,
    /// What paths of it are made of.
    pub parts: Vec<Part>,
}
