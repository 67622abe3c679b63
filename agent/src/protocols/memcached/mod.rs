//! Memcached: its text protocol with the meta commands, and its binary one
//! (<https://docs.memcached.org/protocols/>).
//!
//! Answers come in the order of commands, so each is told with its own, in a pipeline too. Commands that are answered by silence (`noreply`, quiet
//! ones) are over when they were sent, or when an answer to a later one shows that none comes. Of keys and values nothing is kept.

mod binary;
mod reader;
#[cfg(test)]
mod samples;
mod session;
#[cfg(test)]
mod tests;
mod text;

#[cfg(test)]
pub(super) use samples::samples;

use super::{Capture, Ending, Recognition, Session};
use crate::model::net::Role;

/// The protocol's name.
pub(super) const NAME: &str = "memcached";

/// Of a pipeline every command counts: its beginning is captured far, and values that are longer are passed over by their length.
pub(super) const CAPTURE: Capture = Capture::pipelined(8192).ending(Ending::OF_LINE).asking(Ending::OF_LINE);

/// See [`super::Entry::recognise`].
pub(super) fn recognise(head: &[u8]) -> Recognition {
    match head.first() {
        Some(&binary::REQUEST | &binary::RESPONSE) => binary::recognise(head),
        Some(_) => text::recognise(head),
        None => Recognition::No,
    }
}

/// See [`super::Entry::open`].
pub(super) fn open(role: Role) -> Box<dyn Session> {
    Box::new(session::Memcached::new(role))
}

/// A command as it was sent. Of its keys no more is kept than a number that is the same for the same bytes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Command {
    /// Its name; empty where it is none of the protocol.
    name: &'static str,
    /// Keys that it names.
    keys: u32,
    /// There are more, which were not seen.
    is_cut: bool,
    answers: Answers,
    silence: Silence,
    /// What an answer to it carries.
    tag: Tag,
}

/// By what an answer is known to be that of a command, where both carry it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Tag {
    opaque: Option<u64>,
    key: Option<u64>,
}

/// What comes back.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Answers {
    /// A line of any kind.
    #[default]
    Any,
    /// Values, and an end behind the last of them.
    Values,
    /// How a value was stored, or that it was not.
    Stored,
    /// That it was deleted, or not there.
    Deleted,
    /// The new number.
    Number,
    /// That it was touched, or not there.
    Touched,
    /// Lines of statistics, and an end behind them.
    Statistics,
    /// Which release the server is.
    Version,
    /// How a meta command went.
    Meta,
    /// The line that stands for the end of what was asked.
    Barrier,
    /// Lines of keys, and an end behind them.
    Keys,
    /// Whatever happens from now on: nothing is told behind it.
    Stream,
    /// A message of the binary protocol with this number.
    Code(u8),
}

/// Which commands are answered by nothing.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Silence {
    /// An answer comes to each.
    #[default]
    Never,
    /// None comes.
    Always,
    /// None comes if all is well, or where there is nothing.
    Quiet,
}

/// An answer, or a part of one.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Answer {
    word: Word,
    tag: Tag,
    /// What failed, as the protocol has it.
    error: Option<compact_str::CompactString>,
}

/// What an answer says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Word {
    /// A part of an answer: a value.
    Value,
    /// A part of an answer: a statistic.
    Statistic,
    /// A part of an answer: a key.
    Key,
    /// The end of such parts.
    End,
    Stored,
    NotStored,
    Exists,
    NotFound,
    Deleted,
    Touched,
    Version,
    Ok,
    Number,
    /// `HD`, `VA`.
    MetaOk,
    /// `EN`.
    MetaMiss,
    /// `NF`.
    MetaNotFound,
    /// `NS`, `EX`.
    MetaNotDone,
    /// `MN`.
    Barrier,
    /// What only commands of administrators are told.
    #[default]
    Other,
    /// The command failed.
    Error,
    /// A message of the binary protocol: its number, and whether it is a part of an answer, with a value, or without.
    Code(u8, Content),
}

/// What a message of the binary protocol has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Content {
    /// More follow.
    Part,
    /// It is a whole answer: the value was found, the work was done.
    Found,
    /// It is a whole answer: there was nothing.
    Nothing,
}

impl Word {
    /// Whether more of the same answer follows.
    const fn is_part(self) -> bool {
        matches!(self, Self::Value | Self::Statistic | Self::Key | Self::Code(_, Content::Part))
    }
}

impl Answers {
    /// Whether a command that is answered so may be told this word. Failures may be told to any.
    fn fits(self, word: Word, silence: Silence, name: &str) -> bool {
        let is_quiet = silence == Silence::Quiet;
        match (self, word) {
            (_, Word::Error) => true,
            (Self::Code(code), Word::Code(other, content)) => {
                code == other && !(is_quiet && content == Content::Nothing && is_get(code))
            }
            (Self::Code(_), _) | (_, Word::Code(..)) => false,
            (Self::Any, word) => !word.is_part(),
            (Self::Values, Word::Value | Word::End)
            | (Self::Stored, Word::Stored | Word::NotStored | Word::Exists | Word::NotFound)
            | (Self::Deleted, Word::Deleted | Word::NotFound)
            | (Self::Number, Word::Number | Word::NotFound)
            | (Self::Touched, Word::Touched | Word::NotFound)
            | (Self::Statistics, Word::Statistic | Word::End | Word::Ok | Word::Other)
            | (Self::Version, Word::Version)
            | (Self::Barrier, Word::Barrier)
            | (Self::Keys, Word::Key | Word::End | Word::MetaMiss | Word::Ok | Word::Other)
            | (Self::Stream, Word::Ok | Word::Other) => true,
            (Self::Meta, Word::MetaNotDone) => name != "mg",
            // What went as it should is not told quietly: to `mg` that there is nothing, to others that it was done.
            (Self::Meta, Word::MetaOk) => !is_quiet || matches!(name, "mg" | "ma"),
            (Self::Meta, Word::MetaMiss) => name == "mg" && !is_quiet,
            (Self::Meta, Word::MetaNotFound) => name != "mg" && !(is_quiet && matches!(name, "md" | "ma")),
            _ => false,
        }
    }
}

/// Whether a command of the binary protocol asks for a value.
const fn is_get(code: u8) -> bool {
    matches!(code, 0x00 | 0x09 | 0x0c | 0x0d | 0x1d | 0x1e | 0x23 | 0x24)
}

/// A number that is the same for the same bytes, and tells nothing of them.
fn mark(bytes: &[u8]) -> u64 {
    use std::{hash::BuildHasher, sync::LazyLock};
    static SEED: LazyLock<foldhash::fast::RandomState> = LazyLock::new(foldhash::fast::RandomState::default);
    SEED.hash_one(bytes)
}
