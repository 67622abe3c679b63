//! Patterns that choose processes.

use std::{fmt, str::FromStr};

use globset::{GlobBuilder, GlobMatcher};
use regex::{Regex, RegexBuilder};

use super::scalar::written_as_text;

/// A glob over a whole value, with OBI's meaning: `*` and `**` are any text (also `/`), `?` one character, `[a-z]` and
/// `[!a-z]` classes, `{a,b}` alternatives, `\` takes the next character as it is. After `re:` stands a regular expression
/// instead, found anywhere in the value: what OBI's older keys hold.
#[derive(Clone)]
pub struct Glob {
    text: String,
    matcher: Matcher,
}

#[derive(Clone)]
enum Matcher {
    Glob(GlobMatcher),
    Regex(Regex),
}

/// Begins a regular expression where a glob may stand.
pub(crate) const REGEX_PREFIX: &str = "re:";

/// Bounds the memory of one compiled regular expression.
const REGEX_MAX_BYTES: usize = 1 << 20;

written_as_text!(
    Glob,
    "Glob",
    "a glob over the whole value; `*` also matches `/`",
    ["*/nginx", "{java,node}", "app-??"]
);

impl Glob {
    /// Whether `value` matches.
    pub fn is_match(&self, value: &str) -> bool {
        match &self.matcher {
            Matcher::Glob(glob) => glob.is_match(value),
            Matcher::Regex(regex) => regex.is_match(value),
        }
    }

    /// The pattern as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }
}

/// Why a text is no pattern.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("`{text}` is no pattern: {reason}")]
pub struct GlobError {
    text: String,
    reason: String,
}

impl FromStr for Glob {
    type Err = GlobError;

    fn from_str(text: &str) -> Result<Self, GlobError> {
        let refuse = |reason: String| GlobError { text: text.to_owned(), reason };
        if text.is_empty() {
            return Err(refuse("it is empty".to_owned()));
        }
        if let Some(expression) = text.strip_prefix(REGEX_PREFIX) {
            let built = RegexBuilder::new(expression).size_limit(REGEX_MAX_BYTES).build();
            let regex = built.map_err(|error| refuse(error.to_string()))?;
            return Ok(Self { text: text.to_owned(), matcher: Matcher::Regex(regex) });
        }
        let glob = GlobBuilder::new(&single_stars(text))
            .literal_separator(false)
            .backslash_escape(true)
            .build()
            .map_err(|error| refuse(error.kind().to_string()))?;
        Ok(Self { text: text.to_owned(), matcher: Matcher::Glob(glob.compile_matcher()) })
    }
}

/// `**` is one `*` here: with no separators both are any text, while the matcher would give `/**/` another meaning.
fn single_stars(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let (mut in_class, mut is_escaped, mut after_star) = (false, false, false);
    for c in text.chars() {
        let is_star = c == '*' && !in_class && !is_escaped;
        if !(is_star && after_star) {
            out.push(c);
        }
        after_star = is_star;
        match c {
            '[' if !is_escaped => in_class = true,
            ']' if !is_escaped => in_class = false,
            _ => {}
        }
        is_escaped = c == '\\' && !is_escaped;
    }
    out
}

impl fmt::Display for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl fmt::Debug for Glob {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Glob({:?})", self.text)
    }
}

impl PartialEq for Glob {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Eq for Glob {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_mean_what_they_mean_in_obi() {
        let cases = [
            ("*/nginx", "/usr/sbin/nginx", true),
            ("*/nginx", "nginx", false),
            ("*nginx*", "/opt/nginx/bin/x", true),
            ("nginx", "/usr/sbin/nginx", false),
            ("/usr/**/nginx", "/usr/nginx", false),
            ("/usr/**/nginx", "/usr/local/sbin/nginx", true),
            ("{java,node}", "node", true),
            ("{java,node}", "nodejs", false),
            ("app-??", "app-01", true),
            ("app-??", "app-1", false),
            ("[!a-c]*", "dog", true),
            ("[!a-c]*", "cat", false),
            (r"a\*b", "a*b", true),
            (r"a\*b", "axb", false),
            ("a?b", "a/b", true),
            ("*", "", true),
        ];
        for (glob, value, expected) in cases {
            assert_eq!(glob.parse::<Glob>().unwrap().is_match(value), expected, "{glob} on {value}");
        }
    }

    #[test]
    fn a_regular_expression_is_found_anywhere() {
        let pattern: Glob = "re:^/usr/.*(nginx|httpd)".parse().unwrap();
        assert!(pattern.is_match("/usr/sbin/nginx-debug"));
        assert!(!pattern.is_match("/opt/usr/nginx"));
        assert!("re:(".parse::<Glob>().is_err());
    }

    #[test]
    fn a_broken_glob_is_refused_with_its_text() {
        assert!("{a,b".parse::<Glob>().unwrap_err().to_string().starts_with("`{a,b` is no pattern: "));
        assert!("[a".parse::<Glob>().is_err());
        assert!("".parse::<Glob>().is_err());
    }
}
