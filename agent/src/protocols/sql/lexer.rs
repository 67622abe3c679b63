//! Words of SQL, as PostgreSQL and MySQL read them.
//!
//! A lexer of our own: the text may be cut anywhere, must be read in one pass without an allocation per word, and where it cannot be
//! certain what the server takes for a string (an escape that depends on a setting which was not seen), that has to be said, since
//! what stands there may be a secret. `sqlparser`'s tokenizer gives up at a string without an end, keeps every word and knows no doubt.

use memchr::{memchr, memchr2, memmem};

/// Whose SQL it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocols) enum Dialect {
    Postgres,
    Mysql,
}

/// Whether a backslash in a plain string takes away what the next character means.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocols) enum Escapes {
    Yes,
    No,
    /// A setting says so that was not seen.
    Unknown,
}

/// How text is read.
#[derive(Clone, Copy, Debug)]
pub(in crate::protocols) struct Syntax {
    pub(in crate::protocols) dialect: Dialect,
    pub(in crate::protocols) escapes: Escapes,
}

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Word,
    /// A name in quotes.
    Quoted,
    /// A string or a number.
    Literal,
    /// `$1` or `?`.
    Parameter,
    Open,
    Close,
    Comma,
    Dot,
    Semicolon,
    Other,
    Comment,
    /// From here on it is not certain what is a string.
    Unclear,
}

/// A piece of a statement.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token<'a> {
    pub(super) kind: Kind,
    pub(super) text: &'a [u8],
    /// Where it begins.
    pub(super) at: usize,
}

/// Gives one token after the other; see the module.
pub(super) struct Lexer<'a> {
    text: &'a [u8],
    at: usize,
    syntax: Syntax,
    /// In other character sets a character's second byte may be a backslash or a quote.
    is_utf8: bool,
    /// Within a comment whose text the server runs (`/*!`).
    is_run: bool,
}

impl<'a> Lexer<'a> {
    pub(super) fn new(text: &'a [u8], syntax: Syntax) -> Self {
        // The last character may be cut.
        let is_utf8 = str::from_utf8(text).is_ok_or_cut();
        Self { text, at: 0, syntax, is_utf8, is_run: false }
    }

    fn rest(&self, from: usize) -> &'a [u8] {
        self.text.get(from..).unwrap_or_default()
    }

    fn byte(&self, at: usize) -> u8 {
        self.text.get(at).copied().unwrap_or_default()
    }

    fn is_mysql(&self) -> bool {
        self.syntax.dialect == Dialect::Mysql
    }

    /// Where a run of bytes that fit ends.
    fn run(&self, from: usize, fits: impl Fn(u8) -> bool) -> usize {
        let rest = self.rest(from);
        from + rest.iter().position(|&byte| !fits(byte)).unwrap_or(rest.len())
    }

    fn token(&mut self, kind: Kind, end: usize) -> Token<'a> {
        let (at, end) = (self.at, end.min(self.text.len()));
        self.at = end;
        Token { kind, text: self.text.get(at..end).unwrap_or_default(), at }
    }

    /// A quoted thing, whose first quote stands at `open`.
    fn quoted(&mut self, open: usize, kind: Kind, escapes: Escapes) -> Token<'a> {
        let quote = self.byte(open);
        let mut at = open + 1;
        loop {
            let found = match escapes {
                Escapes::No => memchr(quote, self.rest(at)),
                Escapes::Yes | Escapes::Unknown => memchr2(quote, b'\\', self.rest(at)),
            };
            let Some(found) = found.map(|found| found + at) else { return self.token(kind, self.text.len()) };
            if self.byte(found) == b'\\' {
                let end = self.run(found, |byte| byte == b'\\');
                let is_odd = (end - found) % 2 == 1;
                let is_unclear = is_odd && escapes == Escapes::Unknown || !self.is_utf8 && self.byte(found - 1) >= 0x80;
                if self.byte(end) == quote && is_unclear {
                    return self.token(Kind::Unclear, self.text.len());
                }
                at = if is_odd && escapes == Escapes::Yes { end + 1 } else { end };
                continue;
            }
            if self.byte(found + 1) != quote {
                if kind == Kind::Quoted && !self.is_utf8 && self.byte(found - 1) >= 0x80 {
                    return self.token(Kind::Unclear, self.text.len());
                }
                return self.token(kind, found + 1);
            }
            at = found + 2;
        }
    }

    /// A string between dollar signs, or a parameter.
    fn dollar(&mut self) -> Token<'a> {
        if self.byte(self.at + 1).is_ascii_digit() {
            let end = self.run(self.at + 1, |byte| byte.is_ascii_digit());
            return self.token(Kind::Parameter, end);
        }
        let end = self.run(self.at + 1, is_in_word_but_dollar);
        if self.byte(end) != b'$' {
            return self.token(Kind::Other, self.at + 1);
        }
        let mark = self.text.get(self.at..=end).unwrap_or_default();
        let close = memmem::find(self.rest(end + 1), mark).map_or(self.text.len(), |at| end + 1 + at + mark.len());
        self.token(Kind::Literal, close)
    }

    fn line(&mut self) -> Token<'a> {
        let end = memchr(b'\n', self.rest(self.at)).map_or(self.text.len(), |at| self.at + at);
        self.token(Kind::Comment, end)
    }

    /// A comment between `/*` and `*/`. PostgreSQL's may hold others.
    fn comment(&mut self) -> Token<'a> {
        let mut depth = 1_usize;
        let mut at = self.at + 2;
        loop {
            let Some(found) = memchr2(b'*', b'/', self.rest(at)) else {
                return self.token(Kind::Comment, self.text.len());
            };
            let here = at + found;
            match (self.byte(here), self.byte(here + 1)) {
                (b'*', b'/') => {
                    depth -= 1;
                    at = here + 2;
                    if depth == 0 {
                        return self.token(Kind::Comment, at);
                    }
                }
                (b'/', b'*') if !self.is_mysql() => {
                    depth += 1;
                    at = here + 2;
                }
                _ => at = here + 1,
            }
        }
    }

    fn number(&mut self) -> Token<'a> {
        let mut end = self.at;
        loop {
            end = self.run(end, |byte| is_in_word(byte) || byte == b'.');
            let is_exponent = matches!(self.byte(end), b'+' | b'-') && matches!(self.byte(end - 1), b'e' | b'E');
            let is_hex = self.byte(self.at) == b'0' && self.byte(self.at + 1) | 0x20 == b'x';
            if !is_exponent || is_hex || !self.byte(end + 1).is_ascii_digit() {
                return self.token(Kind::Literal, end);
            }
            end += 1;
        }
    }

    fn word(&mut self) -> Token<'a> {
        let (first, second) = (self.byte(self.at) | 0x20, self.byte(self.at + 1));
        let plain = self.syntax.escapes;
        match (first, second, self.byte(self.at + 2)) {
            (b'e', b'\'', _) if !self.is_mysql() => return self.quoted(self.at + 1, Kind::Literal, Escapes::Yes),
            (b'b' | b'x' | b'n', b'\'', _) => return self.quoted(self.at + 1, Kind::Literal, plain),
            (b'u', b'&', b'\'') if !self.is_mysql() => return self.quoted(self.at + 2, Kind::Literal, plain),
            (b'u', b'&', b'"') if !self.is_mysql() => return self.quoted(self.at + 2, Kind::Quoted, Escapes::No),
            _ => {}
        }
        let end = self.run(self.at, is_in_word);
        self.token(Kind::Word, end)
    }
}

impl<'a> Iterator for Lexer<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        self.at = self.run(self.at, |byte| byte.is_ascii_whitespace() || byte == 0x0b);
        let first = *self.text.get(self.at)?;
        let second = self.byte(self.at + 1);
        let one = self.at + 1;
        let is_mysql = self.is_mysql();
        let token = match first {
            b'\'' => self.quoted(self.at, Kind::Literal, self.syntax.escapes),
            // By default a string, and a name where the server is told to; a string is what hides more.
            b'"' if is_mysql => self.quoted(self.at, Kind::Literal, self.syntax.escapes),
            b'"' => self.quoted(self.at, Kind::Quoted, Escapes::No),
            b'`' if is_mysql => self.quoted(self.at, Kind::Quoted, Escapes::No),
            b'-' if second == b'-' && (!is_mysql || self.byte(self.at + 2) <= b' ') => self.line(),
            b'#' if is_mysql => self.line(),
            b'/' if second == b'*' => {
                let runs = match (self.byte(self.at + 2), self.byte(self.at + 3)) {
                    (b'!', _) => self.at + 3,
                    (b'M', b'!') => self.at + 4,
                    _ => 0,
                };
                if is_mysql && runs > 0 {
                    self.is_run = true;
                    let end = self.run(runs, |byte| byte.is_ascii_digit());
                    self.token(Kind::Comment, end)
                } else {
                    self.comment()
                }
            }
            b'*' if second == b'/' && self.is_run => {
                self.is_run = false;
                self.token(Kind::Comment, self.at + 2)
            }
            b'$' if !is_mysql => self.dollar(),
            b'.' if second.is_ascii_digit() => self.number(),
            b'0'..=b'9' => self.number(),
            b'?' => self.token(Kind::Parameter, one),
            b'(' => self.token(Kind::Open, one),
            b')' => self.token(Kind::Close, one),
            b',' => self.token(Kind::Comma, one),
            b'.' => self.token(Kind::Dot, one),
            b';' => self.token(Kind::Semicolon, one),
            _ if is_in_word(first) => self.word(),
            _ => self.token(Kind::Other, one),
        };
        Some(token)
    }
}

const fn is_in_word_but_dollar(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || byte >= 0x80
}

const fn is_in_word(byte: u8) -> bool {
    is_in_word_but_dollar(byte) || byte == b'$'
}

/// Of what UTF-8 is asked.
trait IsOkOrCut {
    fn is_ok_or_cut(&self) -> bool;
}

impl IsOkOrCut for Result<&str, std::str::Utf8Error> {
    fn is_ok_or_cut(&self) -> bool {
        self.as_ref().err().is_none_or(|error| error.error_len().is_none())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokens(text: &str, dialect: Dialect, escapes: Escapes) -> Vec<(Kind, String)> {
        let lexer = Lexer::new(text.as_bytes(), Syntax { dialect, escapes });
        lexer.map(|token| (token.kind, String::from_utf8_lossy(token.text).into_owned())).collect()
    }

    fn kinds(text: &str, dialect: Dialect, escapes: Escapes) -> Vec<Kind> {
        tokens(text, dialect, escapes).into_iter().map(|(kind, _)| kind).collect()
    }

    use super::{Dialect::*, Escapes::*, Kind::*};

    #[test]
    fn strings_of_both_dialects() {
        for text in ["'a''b'", "E'a\\'b'", "x'00'", "U&'a'", "$$a'b$$", "$t$ $$ $t$", "1.5e-10", ".5", "0x1F", "1_000"]
        {
            assert_eq!(kinds(text, Postgres, No), [Literal], "{text}");
        }
        for text in ["'a\\'b'", "\"a\"\"b\"", "N'x'", "0b01", "'a''b'"] {
            assert_eq!(kinds(text, Mysql, Yes), [Literal], "{text}");
        }
        assert_eq!(kinds("$1 ?", Postgres, No), [Parameter, Parameter]);
        assert_eq!(kinds("\"a\"\"b\" `a", Postgres, No), [Quoted, Other, Word]);
        assert_eq!(kinds("`a``b`", Mysql, Yes), [Quoted]);
        assert_eq!(kinds("5--3", Mysql, Yes), [Literal, Other, Other, Literal]);
        assert_eq!(kinds("5--3", Postgres, No), [Literal, Comment]);
    }

    #[test]
    fn strings_without_an_end_are_strings_to_the_end() {
        for text in ["'secret", "E'secret\\'", "$$secret", "$a$secret$b$", "\"secret"] {
            assert_eq!(tokens(text, Postgres, No).len(), 1, "{text}");
        }
    }

    #[test]
    fn what_may_be_read_in_two_ways_is_unclear() {
        assert_eq!(kinds("SELECT 'a\\', 'b'", Mysql, Unknown), [Word, Unclear]);
        assert_eq!(kinds("SELECT 'a\\\\', 'b'", Mysql, Unknown), [Word, Literal, Comma, Literal]);
        assert_eq!(kinds("SELECT 'a\\n', 'b'", Mysql, Unknown), [Word, Literal, Comma, Literal]);
        assert_eq!(kinds("SELECT 'a\\', 'b'", Mysql, No), [Word, Literal, Comma, Literal]);
        // GBK: the backslash is a character's second byte.
        let gbk = b"SELECT '\xd5\\', 'secret'";
        let kinds: Vec<_> = Lexer::new(gbk, Syntax { dialect: Mysql, escapes: Yes }).map(|it| it.kind).collect();
        assert_eq!(kinds, [Word, Unclear]);
    }

    #[test]
    fn comments() {
        assert_eq!(kinds("a/* b /* c */ d */e", Postgres, No), [Word, Comment, Word]);
        assert_eq!(kinds("a/* b /* c */ d", Mysql, Yes), [Word, Comment, Word]);
        assert_eq!(
            kinds("/*!40101 SET */ a # b\n c -- d", Mysql, Yes),
            [Comment, Word, Comment, Word, Comment, Word, Comment]
        );
        assert_eq!(kinds("a /* b", Postgres, No), [Word, Comment]);
    }
}
