//! The text protocol, with the meta commands: lines, and behind some of them a value of as many bytes as they say.

use compact_str::CompactString;

use super::{Answer, Answers, Command, Silence, Tag, Word, mark};
use crate::protocols::Recognition;

/// Longest key.
const MAX_KEY: usize = 250;
/// Longest value that a server can be told to take (`-I`).
const MAX_VALUE: u64 = 1 << 30;
/// Bytes of a line by which it is recognised.
const LOOK: usize = 2048;

/// A command, and how long the value is that stands behind its line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Line<T> {
    pub(super) what: T,
    pub(super) value: Option<u64>,
}

/// What stands behind a command's name.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Form {
    /// Keys.
    Keys,
    /// A time, and keys.
    TimeAndKeys,
    /// A key, flags, a time and a length, and for `cas` a number.
    Store,
    /// A key, and a number for all but `delete`.
    Key,
    /// A key and flags; for `ms` a length.
    Meta,
    /// Words.
    Words,
}

/// The commands that there are.
const COMMANDS: &[(&str, Form, Answers)] = &[
    ("get", Form::Keys, Answers::Values),
    ("gets", Form::Keys, Answers::Values),
    ("gat", Form::TimeAndKeys, Answers::Values),
    ("gats", Form::TimeAndKeys, Answers::Values),
    ("set", Form::Store, Answers::Stored),
    ("add", Form::Store, Answers::Stored),
    ("replace", Form::Store, Answers::Stored),
    ("append", Form::Store, Answers::Stored),
    ("prepend", Form::Store, Answers::Stored),
    ("cas", Form::Store, Answers::Stored),
    ("delete", Form::Key, Answers::Deleted),
    ("incr", Form::Key, Answers::Number),
    ("decr", Form::Key, Answers::Number),
    ("touch", Form::Key, Answers::Touched),
    ("mg", Form::Meta, Answers::Meta),
    ("ms", Form::Meta, Answers::Meta),
    ("md", Form::Meta, Answers::Meta),
    ("ma", Form::Meta, Answers::Meta),
    ("me", Form::Meta, Answers::Any),
    ("mn", Form::Words, Answers::Barrier),
    ("version", Form::Words, Answers::Version),
    ("stats", Form::Words, Answers::Statistics),
    ("flush_all", Form::Words, Answers::Any),
    ("verbosity", Form::Words, Answers::Any),
    ("quit", Form::Words, Answers::Any),
    ("shutdown", Form::Words, Answers::Any),
    ("cache_memlimit", Form::Words, Answers::Any),
    ("slabs", Form::Words, Answers::Any),
    ("lru", Form::Words, Answers::Any),
    ("lru_crawler", Form::Words, Answers::Keys),
    ("refresh_certs", Form::Words, Answers::Any),
    ("extstore", Form::Words, Answers::Any),
    ("debugtime", Form::Words, Answers::Any),
    ("watch", Form::Words, Answers::Stream),
];

fn find(name: &[u8]) -> Option<&'static (&'static str, Form, Answers)> {
    COMMANDS.iter().find(|(known, ..)| known.as_bytes() == name)
}

fn words(line: &[u8]) -> impl Iterator<Item = &[u8]> + Clone {
    line.split(|byte| *byte == b' ').filter(|word| !word.is_empty())
}

fn number(word: &[u8]) -> Option<u64> {
    let is_number = (1..=20).contains(&word.len()) && word.iter().all(u8::is_ascii_digit);
    is_number.then(|| str::from_utf8(word).ok()?.parse().ok()).flatten()
}

/// A number that may be less than nothing.
fn is_number(word: &[u8]) -> bool {
    number(word.strip_prefix(b"-").unwrap_or(word)).is_some()
}

/// Reads a command's line. One that the protocol does not have is told by no name.
pub(super) fn command(line: &[u8]) -> Line<Command> {
    let mut rest = words(line);
    let Some((name, form, answers)) = rest.next().and_then(find) else {
        return Line { what: Command::default(), value: None };
    };
    let mut what = Command { name, answers: *answers, ..Command::default() };
    let count = |words: usize| u32::try_from(words).unwrap_or(u32::MAX);
    let is_mute = rest.clone().last() == Some(b"noreply");
    let mut value = None;
    match form {
        Form::Keys => what.keys = count(rest.count()),
        Form::TimeAndKeys => what.keys = count(rest.count().saturating_sub(1)),
        Form::Store => {
            what.keys = 1;
            // A line that the server refuses has no value behind it.
            value = rest.clone().nth(3).and_then(number).filter(|len| *len <= MAX_VALUE);
            value = value.filter(|_| rest.next().is_some_and(|key| key.len() <= MAX_KEY));
        }
        Form::Key => what.keys = 1,
        Form::Meta => {
            what.keys = 1;
            let key = rest.next().unwrap_or_default();
            if *name == "ms" {
                let len = rest.next().unwrap_or_default();
                value = number(len.strip_prefix(b"S").unwrap_or(len)).filter(|len| *len <= MAX_VALUE);
                value = value.filter(|_| key.len() <= MAX_KEY);
            }
            for flag in rest {
                match flag.split_first() {
                    Some((b'q', [])) => what.silence = Silence::Quiet,
                    Some((b'O', opaque)) => what.tag.opaque = Some(mark(opaque)),
                    Some((b'k', [])) => what.tag.key = Some(mark(key)),
                    _ => {}
                }
            }
        }
        Form::Words => {
            let first = rest.clone().next().unwrap_or_default();
            if *name == "lru_crawler" && !matches!(first, b"metadump" | b"mgdump") {
                what.answers = Answers::Any;
            }
            if matches!(*name, "quit" | "shutdown") {
                what.silence = if *name == "quit" { Silence::Always } else { Silence::Quiet };
            }
        }
    }
    if is_mute && matches!(form, Form::Store | Form::Key | Form::Words) {
        what.silence = Silence::Always;
    }
    Line { what, value }
}

/// Reads the beginning of a command that names many keys; `None` of one that does not.
pub(super) fn cut(line: &[u8]) -> Option<Command> {
    let (_, form, _) = words(line).next().and_then(find)?;
    let takes_many = matches!(form, Form::Keys | Form::TimeAndKeys);
    takes_many.then(|| Command { is_cut: true, ..command(line).what })
}

/// Reads a line of an answer; `None` if it is none.
pub(super) fn answer(line: &[u8]) -> Option<Line<Answer>> {
    let mut rest = words(line);
    let first = rest.next()?;
    let mut value = None;
    let mut tag = Tag::default();
    let mut error = None;
    let word = match first {
        b"VALUE" => {
            value = Some(rest.nth(2).and_then(number).filter(|len| *len <= MAX_VALUE)?);
            Word::Value
        }
        b"END" => Word::End,
        b"STORED" => Word::Stored,
        b"NOT_STORED" => Word::NotStored,
        b"EXISTS" => Word::Exists,
        b"NOT_FOUND" => Word::NotFound,
        b"DELETED" => Word::Deleted,
        b"TOUCHED" => Word::Touched,
        b"VERSION" => Word::Version,
        b"OK" => Word::Ok,
        b"STAT" | b"ITEM" | b"PREFIX" => Word::Statistic,
        b"VA" => {
            value = Some(rest.next().and_then(number).filter(|len| *len <= MAX_VALUE)?);
            Word::MetaOk
        }
        b"HD" => Word::MetaOk,
        b"EN" => Word::MetaMiss,
        b"NF" => Word::MetaNotFound,
        b"NS" | b"EX" => Word::MetaNotDone,
        b"MN" => Word::Barrier,
        b"mg" => Word::Key,
        b"ERROR" | b"ERROR:" | b"CLIENT_ERROR" | b"SERVER_ERROR" => {
            error = str::from_utf8(first.strip_suffix(b":").unwrap_or(first)).ok().map(CompactString::new);
            Word::Error
        }
        // `decr` writes blanks behind a number that has become shorter.
        _ if number(first).is_some() && rest.clone().next().is_none() => Word::Number,
        _ if first.starts_with(b"key=") => Word::Key,
        _ if first.iter().all(|byte| byte.is_ascii_uppercase() || *byte == b'_') => Word::Other,
        _ => return None,
    };
    if matches!(word, Word::MetaOk | Word::MetaNotFound | Word::MetaNotDone) {
        for flag in rest {
            match flag.split_first() {
                Some((b'O', opaque)) => tag.opaque = Some(mark(opaque)),
                Some((b'k', key)) => tag.key = Some(mark(key)),
                _ => {}
            }
        }
    }
    Some(Line { what: Answer { word, tag, error }, value })
}

/// Whether bytes begin a message, by its first line.
pub(super) fn recognise(head: &[u8]) -> Recognition {
    let look = head.get(..LOOK).unwrap_or(head);
    let Some(end) = memchr::memchr(b'\n', look) else { return part(look) };
    let Some(line) = look.get(..end).and_then(|line| line.strip_suffix(b"\r")) else { return Recognition::No };
    if !is_printable(line) {
        return Recognition::No;
    }
    match () {
        () if is_command(line, true) => Recognition::Request,
        () if is_answer(line) => Recognition::Response,
        () => Recognition::No,
    }
}

fn is_printable(line: &[u8]) -> bool {
    // Keys may be of any language.
    line.iter().all(|byte| *byte >= b' ' && *byte != 0x7f)
}

/// The same, where the line's end is not there.
fn part(head: &[u8]) -> Recognition {
    let line = head.strip_suffix(b"\r").unwrap_or(head);
    if !is_printable(line) {
        return Recognition::No;
    }
    let (first, has_more) = match memchr::memchr(b' ', line) {
        Some(end) => (line.get(..end).unwrap_or_default(), true),
        None => (line, false),
    };
    // Keys may fill more than is looked at.
    if head.len() >= LOOK {
        let takes_many = matches!(find(first), Some((_, Form::Keys, _)));
        return if takes_many && is_command(line, false) { Recognition::Request } else { Recognition::No };
    }
    let is_whole = has_more || first.len() < head.len();
    let names = COMMANDS.iter().map(|(name, ..)| name.as_bytes()).chain(ANSWERS.iter().copied());
    let fits = names.into_iter().any(|name| if is_whole { name == first } else { name.starts_with(first) });
    let is_count = !has_more && first.len() <= 20 && first.iter().all(u8::is_ascii_digit);
    if fits || is_count { Recognition::Maybe } else { Recognition::No }
}

/// What answers begin with that clients see.
const ANSWERS: &[&[u8]] = &[
    b"VALUE",
    b"END",
    b"STORED",
    b"NOT_STORED",
    b"EXISTS",
    b"NOT_FOUND",
    b"DELETED",
    b"TOUCHED",
    b"VERSION",
    b"OK",
    b"STAT",
    b"HD",
    b"VA",
    b"EN",
    b"NF",
    b"NS",
    b"EX",
    b"MN",
    b"ME",
    b"ERROR",
    b"CLIENT_ERROR",
    b"SERVER_ERROR",
    b"RESET",
];

/// Whether a line is a command by which a connection is recognised: what is as short as one of another protocol's is none.
fn is_command(line: &[u8], is_whole: bool) -> bool {
    if line.ends_with(b" HTTP/1.0") || line.ends_with(b" HTTP/1.1") {
        return false;
    }
    let mut rest = words(line);
    let Some((name, form, _)) = rest.next().and_then(find) else { return false };
    let is_key = |word: &[u8]| (1..=MAX_KEY).contains(&word.len());
    let all: Vec<&[u8]> = rest.take(1024).collect();
    let (plain, is_mute) = match all.split_last() {
        Some((&b"noreply", plain)) => (plain, true),
        _ => (&all[..], false),
    };
    match (form, plain) {
        (Form::Keys, [_, ..]) if !is_mute => !is_whole || plain.iter().all(|key| is_key(key)),
        (Form::TimeAndKeys, [time, _, ..]) if !is_mute => is_number(time) && plain.iter().all(|key| is_key(key)),
        (Form::Store, [key, flags, time, len, unique @ ..]) => {
            let is_cas = *name == "cas";
            is_key(key)
                && number(flags).is_some()
                && is_number(time)
                && number(len).is_some_and(|len| len <= MAX_VALUE)
                && unique.len() == usize::from(is_cas)
                && unique.iter().all(|word| number(word).is_some())
        }
        // Beanstalkd deletes and touches by numbers.
        (Form::Key, [key]) if *name == "delete" => is_key(key) && number(key).is_none(),
        (Form::Key, [key, by]) if *name != "delete" => is_key(key) && is_number(by),
        (Form::Meta, [key, flags @ ..]) if *name != "me" => {
            let flags = match (*name == "ms", flags) {
                (false, flags) => flags,
                (true, [len, flags @ ..]) if number(len.strip_prefix(b"S").unwrap_or(len)).is_some() => flags,
                (true, _) => return false,
            };
            is_key(key)
                && flags.iter().all(|flag| flag.first().is_some_and(u8::is_ascii_alphabetic) && flag.len() <= 64)
        }
        (Form::Words, []) => matches!(*name, "mn" | "version" | "stats") && !is_mute,
        (Form::Words, [word]) => match *name {
            "stats" => matches!(*word, b"settings" | b"items" | b"slabs" | b"sizes" | b"conns" | b"reset"),
            "flush_all" => is_number(word),
            _ => false,
        },
        _ => false,
    }
}

fn is_answer(line: &[u8]) -> bool {
    let Some(Line { what, .. }) = answer(line) else { return false };
    let mut rest = words(line);
    let first = rest.next().unwrap_or_default();
    match what.word {
        Word::Key => false,
        Word::Number => true,
        Word::Other => matches!(first, b"RESET" | b"ME"),
        Word::Statistic => first == b"STAT",
        Word::End
        | Word::Stored
        | Word::NotStored
        | Word::Exists
        | Word::NotFound
        | Word::Deleted
        | Word::Touched
        | Word::Ok => rest.next().is_none(),
        _ => true,
    }
}
