//! Statements without their literals, and what they are about.

use compact_str::CompactString;

/// Longest text that is told.
const MAX_TEXT: usize = 1024;
/// Longest name.
const MAX_NAME: usize = 64;
/// Words that are looked at for what a statement is about.
const LOOK: usize = 256;

/// A statement, as it is told.
#[derive(Clone, Debug, Default, PartialEq)]
pub(super) struct Statement {
    /// Its first word, in capitals.
    pub(super) operation: CompactString,
    pub(super) keyspace: Option<CompactString>,
    pub(super) table: Option<CompactString>,
    pub(super) text: CompactString,
    /// How many it puts together, where it is a batch of which all is there.
    pub(super) batch: Option<u32>,
}

impl Statement {
    pub(super) fn heap(&self) -> usize {
        let Self { operation, keyspace, table, text, batch: _ } = self;
        let heap = |text: &CompactString| if text.is_heap_allocated() { text.capacity() } else { 0 };
        let of = |text: &Option<CompactString>| text.as_ref().map_or(0, heap);
        heap(operation) + of(keyspace) + of(table) + heap(text)
    }
}

/// A word, a literal, or a sign.
#[derive(Clone, Copy, Debug, PartialEq)]
enum Token<'a> {
    Word(&'a str),
    /// A name in quotes, with these.
    Quoted(&'a str),
    Literal,
    Sign(char),
}

struct Tokens<'a>(&'a str);

impl<'a> Tokens<'a> {
    /// Takes what stands before the end of something; all of it where there is none.
    fn until(&mut self, end: &str) -> &'a str {
        let len = self.0.find(end).map_or(self.0.len(), |at| at + end.len());
        let (taken, rest) = self.0.split_at(len);
        self.0 = rest;
        taken
    }

    /// Takes a quotation, in which two quotes stand for one.
    fn quotation(&mut self, quote: char) -> &'a str {
        let whole = self.0;
        let mut letters = whole.char_indices().skip(1).peekable();
        let mut end = whole.len();
        while let Some((at, letter)) = letters.next() {
            if letter == quote {
                if letters.peek().is_some_and(|(_, next)| *next == quote) {
                    letters.next();
                    continue;
                }
                end = at + quote.len_utf8();
                break;
            }
        }
        let (taken, rest) = whole.split_at(end);
        self.0 = rest;
        taken
    }

    fn word(&mut self, goes_on: impl Fn(char) -> bool) -> &'a str {
        let len = self.0.find(|letter: char| !goes_on(letter)).unwrap_or(self.0.len());
        let (word, rest) = self.0.split_at(len);
        self.0 = rest;
        word
    }
}

impl<'a> Iterator for Tokens<'a> {
    type Item = Token<'a>;

    fn next(&mut self) -> Option<Token<'a>> {
        loop {
            self.0 = self.0.trim_start();
            match () {
                () if self.0.starts_with("--") || self.0.starts_with("//") => drop(self.until("\n")),
                () if self.0.starts_with("/*") => drop(self.until("*/")),
                () => break,
            }
        }
        let first = self.0.chars().next()?;
        let is_word = |letter: char| letter.is_alphanumeric() || letter == '_';
        Some(match first {
            '\'' => {
                self.quotation('\'');
                Token::Literal
            }
            '"' => Token::Quoted(self.quotation('"')),
            '$' if self.0.starts_with("$$") => {
                self.0 = self.0.get(2..)?;
                self.until("$$");
                Token::Literal
            }
            '0'..='9' => {
                // Numbers, blobs, UUIDs and durations.
                self.word(|letter| is_word(letter) || matches!(letter, '.' | '-' | '+'));
                Token::Literal
            }
            letter if is_word(letter) => {
                let before = self.0;
                let word = self.word(is_word);
                // A UUID may begin with a letter.
                let is_uuid = before.get(..36).is_some_and(is_uuid);
                if is_uuid {
                    self.0 = before.get(36..)?;
                    return Some(Token::Literal);
                }
                match word.to_ascii_lowercase().as_str() {
                    "true" | "false" | "nan" | "infinity" => Token::Literal,
                    _ => Token::Word(word),
                }
            }
            sign => {
                self.0 = self.0.get(sign.len_utf8()..)?;
                Token::Sign(sign)
            }
        })
    }
}

fn is_uuid(text: &str) -> bool {
    text.bytes().enumerate().all(|(at, byte)| match at {
        8 | 13 | 18 | 23 => byte == b'-',
        _ => byte.is_ascii_hexdigit(),
    })
}

/// Reads a statement; `None` if it is none. `is_whole`: its end is there.
pub(super) fn read(text: &[u8], is_whole: bool) -> Option<Statement> {
    // The last letter may be cut.
    let text = match str::from_utf8(text) {
        Ok(text) => text,
        Err(error) => str::from_utf8(text.get(..error.valid_up_to())?).ok()?,
    };
    let mut tokens = Tokens(text).peekable();
    let Some(Token::Word(operation)) = tokens.peek().copied() else { return None };
    let operation: CompactString = operation.chars().take(MAX_NAME).map(|letter| letter.to_ascii_uppercase()).collect();
    if !operation.bytes().all(|byte| byte.is_ascii_alphabetic()) {
        return None;
    }
    let mut told = CompactString::default();
    let mut before = None;
    for token in tokens {
        if told.len() >= MAX_TEXT {
            told.push_str(" ...");
            break;
        }
        push(&mut told, before, token);
        before = Some(token);
    }
    if !is_whole && told.len() < MAX_TEXT {
        told.push_str(" ...");
    }
    if operation == "BEGIN"
        && let Some(batch) = batch(text)
    {
        return Some(Statement { text: told, ..batch });
    }
    let (keyspace, table) = target(&operation, text);
    Some(Statement { operation, keyspace, table, text: told, batch: None })
}

/// What is told of a batch that is written as text; `None` if it is none. The words that its statements begin with are no names.
fn batch(text: &str) -> Option<Statement> {
    let mut tokens = Tokens(text);
    let mut word = || match tokens.next() {
        Some(Token::Word(word)) => Some(word.to_ascii_uppercase()),
        _ => None,
    };
    let (begins, kind) = (word()?, word()?);
    let is_batch = kind == "BATCH" || matches!(&*kind, "UNLOGGED" | "COUNTER") && word()? == "BATCH";
    if begins != "BEGIN" || !is_batch {
        return None;
    }
    let (mut statements, mut count, mut is_whole) = (Several::default(), 0_u32, false);
    let mut rest = tokens.0;
    while let Some(token) = tokens.next() {
        if let Token::Word(word) = token {
            match &*word.to_ascii_uppercase() {
                "APPLY" => is_whole = true,
                operation @ ("INSERT" | "UPDATE" | "DELETE") => {
                    let (keyspace, table) = target(operation, rest);
                    let operation = CompactString::new(operation);
                    statements.add(Some(&Statement { operation, keyspace, table, ..Statement::default() }));
                    count = count.saturating_add(1);
                }
                _ => {}
            }
        }
        rest = tokens.0;
    }
    let unknown = || Statement { operation: CompactString::const_new("BATCH"), ..Statement::default() };
    let of_all = statements.end().filter(|_| is_whole).unwrap_or_else(unknown);
    Some(Statement { batch: is_whole.then_some(count), ..of_all })
}

fn push(told: &mut CompactString, before: Option<Token<'_>>, token: Token<'_>) {
    let is_close = |token: Token<'_>| matches!(token, Token::Sign('.' | ',' | ')' | ']' | '}' | ';' | '('));
    let opens = |token: Token<'_>| matches!(token, Token::Sign('(' | '[' | '{' | '.'));
    let joins = before.is_none_or(|before| opens(before) || is_close(token) && token != Token::Sign('('));
    let is_call = token == Token::Sign('(') && matches!(before, Some(Token::Word(_) | Token::Quoted(_)));
    if !joins && !is_call {
        told.push(' ');
    }
    match token {
        Token::Word(word) | Token::Quoted(word) => told.push_str(word.get(..256).unwrap_or(word)),
        Token::Literal => told.push('?'),
        Token::Sign(sign) => told.push(sign),
    }
}

/// Keyspace and table that a statement is about.
fn target(operation: &str, text: &str) -> (Option<CompactString>, Option<CompactString>) {
    let mut tokens = Tokens(text).take(LOOK);
    let is_word =
        |token: &Token<'_>, wanted: &str| matches!(token, Token::Word(word) if word.eq_ignore_ascii_case(wanted));
    let found = match operation {
        "SELECT" | "DELETE" => tokens.find(|token| is_word(token, "FROM")).and_then(|_| tokens.next()),
        "INSERT" => tokens.find(|token| is_word(token, "INTO")).and_then(|_| tokens.next()),
        "UPDATE" => tokens.nth(1),
        "TRUNCATE" => {
            tokens.nth(1).and_then(|token| if is_word(&token, "TABLE") { tokens.next() } else { Some(token) })
        }
        _ => None,
    };
    let name = |token: Option<Token<'_>>| match token {
        Some(Token::Word(name)) if name.len() <= MAX_NAME => Some(name.to_ascii_lowercase().into()),
        Some(Token::Quoted(name)) if (3..=MAX_NAME).contains(&name.len()) => {
            Some(CompactString::new(name.strip_prefix('"')?.strip_suffix('"')?))
        }
        _ => None,
    };
    let Some(first) = name(found) else { return (None, None) };
    match tokens.next() {
        Some(Token::Sign('.')) => (Some(first), name(tokens.next())),
        _ => (None, Some(first)),
    }
}

/// The statements of a batch.
#[derive(Default)]
pub(super) struct Several {
    first: Option<Statement>,
    /// All are the same; all are about the same.
    differs: [bool; 2],
    has_unknown: bool,
}

impl Several {
    pub(super) fn add(&mut self, statement: Option<&Statement>) {
        let Some(statement) = statement else {
            self.has_unknown = true;
            return;
        };
        let Some(first) = &self.first else {
            self.first = Some(statement.clone());
            return;
        };
        self.differs[0] |= first.text != statement.text;
        self.differs[1] |= (&first.operation, &first.keyspace, &first.table)
            != (&statement.operation, &statement.keyspace, &statement.table);
    }

    /// What is said of all; `None` where that is nothing.
    pub(super) fn end(self) -> Option<Statement> {
        let mut statement = self.first.filter(|_| !self.has_unknown && !self.differs[1])?;
        statement.operation = compact_str::format_compact!("BATCH {}", statement.operation);
        if self.differs[0] {
            statement.text = CompactString::default();
        }
        Some(statement)
    }
}
