//! Rust source without its comments, strings and tests, with lines kept in place.

/// The code of a file.
pub(super) struct Source {
    code: String,
    tests_at: usize,
}

impl Source {
    pub(super) fn of(raw: &str) -> Self {
        let code = without_comments_and_strings(raw);
        // Tests stand at the end of a file.
        let tests_at = code.find("#[cfg(test)]\nmod ").unwrap_or(code.len());
        Self { code, tests_at }
    }

    /// All code, that of tests too.
    pub(super) fn code(&self) -> &str {
        &self.code
    }

    /// The code that ships.
    pub(super) fn shipped(&self) -> &str {
        &self.code[..self.tests_at]
    }

    /// The numbers of the lines that hold this word.
    pub(super) fn lines_with_word<'a>(&'a self, word: &'a str) -> impl Iterator<Item = usize> + 'a {
        self.code()
            .lines()
            .enumerate()
            .filter(move |(_, line)| words(line).any(|(_, w)| w == word))
            .map(|(at, _)| at + 1)
    }
}

/// The number of the line at a byte.
pub(super) fn line_at(code: &str, at: usize) -> usize {
    code[..at].matches('\n').count() + 1
}

/// The identifiers and where each begins.
pub(super) fn words(code: &str) -> impl Iterator<Item = (usize, &str)> {
    let is_word = |c: char| c.is_alphanumeric() || c == '_';
    let mut at = 0;
    std::iter::from_fn(move || {
        let start = at + code[at..].find(is_word)?;
        let end = code[start..].find(|c| !is_word(c)).map_or(code.len(), |len| start + len);
        at = end;
        Some((start, &code[start..end]))
    })
}

/// Blanks out comments and the insides of string literals; line ends stay.
fn without_comments_and_strings(raw: &str) -> String {
    let mut code = String::with_capacity(raw.len());
    let mut rest = raw;
    while let Some(next) = rest.chars().next() {
        let skipped = skipped_len(rest, code.chars().next_back());
        if skipped == 0 {
            code.push(next);
            rest = &rest[next.len_utf8()..];
            continue;
        }
        code.push(' ');
        code.extend(rest[..skipped].chars().filter(|c| *c == '\n'));
        rest = &rest[skipped..];
    }
    code
}

/// How many bytes at the start of `rest` are a comment or a string.
fn skipped_len(rest: &str, before: Option<char>) -> usize {
    if rest.starts_with("//") {
        return rest.find('\n').unwrap_or(rest.len());
    }
    if rest.starts_with("/*") {
        return rest.find("*/").map_or(rest.len(), |end| end + 2);
    }
    if rest.starts_with('"') {
        return string_len(rest);
    }
    let in_a_word = before.is_some_and(|c| c.is_alphanumeric() || c == '_');
    if rest.starts_with('r') && (!in_a_word || before == Some('b')) {
        let hashes = rest[1..].chars().take_while(|c| *c == '#').count();
        if rest[1 + hashes..].starts_with('"') {
            let close = format!("\"{}", "#".repeat(hashes));
            let inside = 2 + hashes;
            return rest[inside..].find(&close).map_or(rest.len(), |end| inside + end + close.len());
        }
    }
    // A character that would look like the start of a string or of an escape; anything else may be a lifetime.
    for literal in ["'\"'", "'\\\"'", "'\\''", "'\\\\'"] {
        if rest.starts_with(literal) {
            return literal.len();
        }
    }
    0
}

fn string_len(rest: &str) -> usize {
    let mut escaped = false;
    for (at, c) in rest.char_indices().skip(1) {
        match c {
            '"' if !escaped => return at + 1,
            '\\' => escaped = !escaped,
            _ => escaped = false,
        }
    }
    rest.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code_words(raw: &str) -> Vec<String> {
        words(&without_comments_and_strings(raw)).map(|(_, word)| word.to_owned()).collect()
    }

    #[test]
    fn comments_and_strings_are_blank() {
        assert_eq!(code_words("a // b\nc /* d\n e */ f \"g \\\" h\" i"), ["a", "c", "f", "i"]);
        assert_eq!(code_words("a r#\"b \" c\"# d b\"e\" '\"' f br\"g\" h"), ["a", "d", "b", "f", "b", "h"]);
    }

    #[test]
    fn lines_stay_where_they_were() {
        let source = Source::of("/* a\nb */\n\"c\nd\"\nunsafe\n");
        assert_eq!(source.lines_with_word("unsafe").collect::<Vec<_>>(), [5]);
    }
}
