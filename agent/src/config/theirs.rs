//! Options of OBI and Beyla that do nothing here: those of features that there are not yet, and those that are refused, each with
//! the reason. With these lists a key of theirs is told from a mistake.

use std::sync::LazyLock;

use super::{
    node::{Node, Value},
    period::Period,
};

/// An option of theirs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Row {
    pub(crate) key: &'static str,
    pub(crate) env: Option<&'static str>,
    /// Values that ask for what is so anyway; `*`: any.
    same: &'static str,
    /// Why it does nothing. `None`: there is no such feature yet.
    pub(crate) reason: Option<&'static str>,
}

static ROWS: LazyLock<Vec<Row>> = LazyLock::new(|| {
    let missing = include_str!("obi_unsupported.txt").lines();
    let refused = include_str!("obi_refused.txt").lines();
    missing.chain(refused).filter(|line| !line.starts_with('#')).filter_map(Row::read).collect()
});

impl Row {
    fn read(line: &'static str) -> Option<Self> {
        let (line, reason) = match line.split_once(" : ") {
            Some((line, reason)) => (line, Some(reason)),
            None => (line, None),
        };
        let mut words = line.split_whitespace();
        let mut row = Self { key: words.next()?, env: None, same: "", reason };
        for word in words {
            match word.strip_prefix('=') {
                Some(same) => row.same = same,
                None => row.env = Some(word),
            }
        }
        Some(row)
    }

    /// Whether a value asks for what is so anyway.
    pub(crate) fn asks_nothing(&self, value: &Node) -> bool {
        match &value.value {
            Value::Null => true,
            Value::Scalar { text, .. } => text.trim().is_empty() || self.is_same(text.trim()),
            Value::Seq(items) => items.iter().all(|item| self.asks_nothing(item)),
            Value::Map(entries) => entries.iter().all(|(_, item)| self.asks_nothing(item)),
        }
    }

    /// The same of a variable's value.
    pub(crate) fn is_same(&self, text: &str) -> bool {
        let equals = |same: &str| {
            let times = || Some((text.parse::<Period>().ok()?, same.parse::<Period>().ok()?));
            same.eq_ignore_ascii_case(text) || times().is_some_and(|(one, other)| one == other)
        };
        self.same == "*" || self.same.split('|').any(equals)
    }

    /// What is told of it.
    pub(crate) fn message(&self) -> String {
        match self.reason {
            Some(reason) => format!("is an option of OBI that does nothing here: {reason}"),
            None => "is an option of OBI that is not supported yet; it is ignored".to_owned(),
        }
    }
}

/// What is known of a key that is not ours.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum ObiKey {
    /// An option of theirs, or all below it are.
    Option(&'static Row),
    /// A section of theirs: look at what is inside.
    Section,
    /// Nothing of theirs.
    Unknown,
}

/// All of them.
#[cfg(test)]
pub(crate) fn rows() -> &'static [Row] {
    &ROWS
}

/// Whether the dotted key `path` (lists as `[]`) is one of theirs.
pub(crate) fn look_up(path: &str) -> ObiKey {
    if let Some(row) = ROWS.iter().find(|row| row.key == path) {
        return ObiKey::Option(row);
    }
    let holds = |row: &&Row| {
        row.key.strip_suffix(".**").is_some_and(|section| {
            let bare = section.strip_suffix("[]").unwrap_or(section);
            is_within(path, section) || path == bare
        })
    };
    // What is listed by itself below a section is told by itself.
    if ROWS.iter().any(|row| !row.key.ends_with(".**") && is_within(row.key, path)) {
        return ObiKey::Section;
    }
    match ROWS.iter().find(holds) {
        Some(row) => ObiKey::Option(row),
        None if ROWS.iter().any(|row| is_within(row.key, path)) => ObiKey::Section,
        None => ObiKey::Unknown,
    }
}

/// Whether `path` is `section` or lies in it.
fn is_within(path: &str, section: &str) -> bool {
    path.strip_prefix(section).is_some_and(|rest| rest.is_empty() || rest.starts_with(['.', '[']))
}

/// Their keys directly below `section` (empty: at the top).
pub(crate) fn keys_below(section: &str) -> impl Iterator<Item = &'static str> {
    let prefix = if section.is_empty() { String::new() } else { format!("{section}.") };
    ROWS.iter().filter_map(move |row| {
        let rest = row.key.strip_prefix(prefix.as_str())?;
        rest.split(['.', '[']).next()
    })
}

/// Their variables that do nothing here.
pub(crate) fn variables() -> impl Iterator<Item = (&'static str, &'static Row)> {
    ROWS.iter().filter_map(|row| row.env.map(|env| (env, row)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_of_theirs_are_told_from_others() {
        let is_option = |path| matches!(look_up(path), ObiKey::Option(_));
        assert!(is_option("network.enable"));
        assert_eq!(look_up("network"), ObiKey::Section);
        assert_eq!(look_up("network.enabled"), ObiKey::Unknown);
        assert!(is_option("discovery.survey[].exe_path"));
        assert!(is_option("discovery.survey"));
        assert!(is_option("sigil_export.endpoint"));
        assert_eq!(look_up("netw"), ObiKey::Unknown);
    }

    #[test]
    fn no_option_is_listed_twice_and_each_refusal_has_its_reason() {
        for (index, row) in rows().iter().enumerate() {
            assert!(!rows()[..index].iter().any(|other| other.key == row.key), "{} is there twice", row.key);
        }
        let refused = include_str!("obi_refused.txt").lines().filter(|line| !line.starts_with('#'));
        assert!(refused.into_iter().all(|line| line.contains(" : ")));
        assert!(rows().iter().any(|row| row.reason.is_none()), "features that there are not");
    }

    #[test]
    fn a_value_that_asks_for_what_is_so_anyway_is_told_from_others() {
        let row = Row::read("a.b ENV =5m|auto : why not").unwrap();
        assert_eq!((row.key, row.env, row.reason), ("a.b", Some("ENV"), Some("why not")));
        assert!(row.is_same("5m0s") && row.is_same("AUTO") && row.is_same("300s") && !row.is_same("6m"));
        assert!(Row::read("a =* : b").unwrap().is_same("anything"));
        assert!(!Row::read("a").unwrap().is_same("x"));
    }
}
