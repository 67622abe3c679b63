//! What statements do to what, and their text without literals. One pass over the text, whose cost is bounded by its length.

use compact_str::CompactString;

use super::{
    MAX_TEXT, comment,
    lexer::{Dialect, Kind, Lexer, Syntax, Token},
    words::{OBJECTS, Upper, VERBS},
};
use crate::model::{propagation::QueryText, trace_context::TraceParent};

/// Most statements of one text; those behind them are not told by their text.
const MAX_STATEMENTS: usize = 128;
/// Parentheses that are followed one within the other.
const MAX_DEPTH: usize = 24;
/// Longest summary, as the conventions have it.
const MAX_SUMMARY: usize = 255;
/// Most names of a summary, and names of common table expressions that are known not to be tables.
const MAX_NAMES: usize = 8;
/// Longest name that is told.
const MAX_NAME: usize = 64;

/// A statement.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::protocols) struct Statement {
    /// What it does: `SELECT`, `CREATE TABLE`.
    pub(in crate::protocols) operation: Option<CompactString>,
    /// The table, where it names just one.
    pub(in crate::protocols) collection: Option<CompactString>,
    /// What it does, and to what: of low cardinality.
    pub(in crate::protocols) summary: Option<CompactString>,
    /// Its text, as much as is to be told of it.
    pub(in crate::protocols) text: Option<CompactString>,
    /// The procedure that it calls.
    pub(in crate::protocols) procedure: Option<CompactString>,
    /// The prepared statement that it makes or drops, `ALL` for all of them; the database that it chooses (`USE`).
    pub(in crate::protocols) prepared: Option<CompactString>,
}

/// Those of a text.
#[derive(Clone, Debug, Default)]
pub(in crate::protocols) struct Statements {
    /// In order.
    pub(in crate::protocols) list: Vec<Statement>,
    /// The parent that a comment names.
    pub(in crate::protocols) parent: Option<TraceParent>,
}

impl Statement {
    /// Heap bytes held.
    pub(in crate::protocols) fn heap(&self) -> usize {
        let Self { operation, collection, summary, text, procedure, prepared } = self;
        let of = |text: &Option<CompactString>| {
            text.as_ref().filter(|it| it.is_heap_allocated()).map_or(0, |it| it.capacity())
        };
        [operation, collection, summary, text, procedure, prepared].into_iter().map(of).sum()
    }
}

/// Reads a text. `is_cut`: its end was not captured.
pub(in crate::protocols) fn read(text: &[u8], is_cut: bool, syntax: Syntax, told: QueryText) -> Statements {
    let mut statements = Statements::default();
    let mut one = Reader::new(syntax, told);
    let mut lexer = Lexer::new(text, syntax);
    let mut begins_at = 0;
    loop {
        let token = lexer.next();
        match token.map(|token| (token.kind, token)) {
            Some((Kind::Comment, token)) => statements.parent = comment::parent(token.text).or(statements.parent),
            Some((Kind::Semicolon, token)) if one.ends_at_semicolon() => {
                let raw = text.get(begins_at..token.at).unwrap_or_default();
                begins_at = token.at + 1;
                statements.list.extend(one.end(raw, false));
                one = Reader::new(syntax, told);
                if statements.list.len() >= MAX_STATEMENTS {
                    return statements;
                }
            }
            Some((Kind::Unclear, _)) => {
                one.unclear();
                statements.list.extend(one.end(text.get(begins_at..).unwrap_or_default(), true));
                return statements;
            }
            Some((_, token)) => one.take(token),
            None => {
                statements.list.extend(one.end(text.get(begins_at..).unwrap_or_default(), is_cut));
                return statements;
            }
        }
    }
}

/// What the next name is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Expected {
    #[default]
    Nothing,
    /// One that is read from: with parentheses behind it it is a function.
    Source,
    /// One that is written to or defined.
    Target,
    Procedure,
    Prepared,
}

/// Where parentheses stand one within the other.
#[derive(Clone, Copy, Debug, Default)]
struct Frame {
    /// A query's own, in which `FROM` names tables.
    is_query: bool,
    /// Behind `FROM`: a comma goes before a table.
    in_from: bool,
    /// Nothing stands in it yet.
    is_empty: bool,
    /// Of `WITH`: a name comes next.
    cte_name: bool,
    /// Of `WITH`: within its list.
    in_with: bool,
}

/// A list that is folded, if that is all it is.
#[derive(Clone, Copy, Debug)]
struct List {
    /// Where its first item stands in what is written.
    from: usize,
    depth: usize,
    /// Literals alone, so far.
    is_plain: bool,
    /// Where the row before it stands, which may be the same.
    row_before: Option<(usize, usize)>,
}

/// Reads one statement.
struct Reader {
    syntax: Syntax,
    told: QueryText,
    text: String,
    /// The text is as long as it may be.
    is_full: bool,
    /// Where the last token ended.
    ended_at: usize,
    tokens: usize,
    verb: Option<&'static str>,
    object: Option<&'static str>,
    before: Upper,
    frames: [Frame; MAX_DEPTH],
    depth: usize,
    expected: Expected,
    /// The name that is read, and what it is.
    name: Option<(CompactString, Expected)>,
    wants_part: bool,
    names: Vec<CompactString>,
    cte: Vec<CompactString>,
    summary: String,
    procedure: Option<CompactString>,
    prepared: Option<CompactString>,
    /// What stands behind `=` and `TO` is a value though it has no quotes.
    sets: bool,
    is_value: bool,
    /// Values follow, with commas between them.
    is_list: bool,
    /// It is about a user.
    is_account: bool,
    /// A password comes next.
    is_secret: bool,
    /// It speaks of secrets: not told in full.
    has_secrets: bool,
    /// Depth of `BEGIN` and `CASE` in the body of a routine, in which a semicolon ends nothing.
    body: usize,
    list: Option<List>,
    /// The row that was read last in `VALUES`.
    row: Option<(usize, usize)>,
    in_values: bool,
}

impl Reader {
    fn new(syntax: Syntax, told: QueryText) -> Self {
        let mut frames = [Frame::default(); MAX_DEPTH];
        frames[0].is_empty = true;
        Self {
            syntax,
            told,
            text: String::new(),
            is_full: false,
            ended_at: 0,
            tokens: 0,
            verb: None,
            object: None,
            before: Upper::of(b""),
            frames,
            depth: 0,
            expected: Expected::Nothing,
            name: None,
            wants_part: false,
            names: Vec::new(),
            cte: Vec::new(),
            summary: String::new(),
            procedure: None,
            prepared: None,
            sets: false,
            is_value: false,
            is_list: false,
            is_account: false,
            is_secret: false,
            has_secrets: false,
            body: 0,
            list: None,
            row: None,
            in_values: false,
        }
    }

    const fn ends_at_semicolon(&self) -> bool {
        self.body == 0
    }

    /// The frame that is read, if it is followed.
    fn frame(&mut self) -> Option<&mut Frame> {
        self.frames.get_mut(self.depth)
    }

    // ---- text

    fn write(&mut self, token: &Token<'_>, shown: &str) {
        let is_apart = token.at > self.ended_at;
        self.ended_at = token.at + token.text.len();
        if self.told == QueryText::Off || self.is_full {
            return;
        }
        if is_apart && !self.text.is_empty() {
            self.text.push(' ');
        }
        self.text.push_str(shown);
        self.is_full = self.text.len() > MAX_TEXT && self.list.is_none();
    }

    fn write_own(&mut self, token: &Token<'_>) {
        let shown = String::from_utf8_lossy(token.text);
        self.write(token, &shown);
    }

    /// Where a list begins: behind what has been written.
    fn open_list(&mut self, is_folded: bool) {
        if self.list.is_none() && (is_folded || self.in_values) {
            let row_before = self.row.filter(|_| self.in_values);
            self.list = Some(List { from: self.text.len(), depth: self.depth, is_plain: true, row_before });
        }
    }

    /// Before what closes a list.
    fn fold(&mut self) {
        let Some(list) = self.list.filter(|list| list.depth == self.depth) else { return };
        if list.is_plain && self.text.len() > list.from {
            self.text.truncate(list.from);
            self.text.push('?');
        }
    }

    /// Behind what closes it: a row that is as the one before is left out.
    fn close_list(&mut self) {
        let Some(list) = self.list.take_if(|list| list.depth == self.depth + 1) else { return };
        if !self.in_values {
            return;
        }
        let row = (list.from, self.text.len());
        if let Some((from, to)) = list.row_before
            && self.text.get(from..to) == self.text.get(row.0..row.1)
        {
            self.text.truncate(to);
            return;
        }
        self.row = Some(row);
        self.is_full |= self.text.len() > MAX_TEXT;
    }

    // ---- summary

    fn say(&mut self, word: &str) {
        if self.summary.len() + word.len() < MAX_SUMMARY {
            if !self.summary.is_empty() {
                self.summary.push(' ');
            }
            self.summary.push_str(word);
        }
    }

    /// A name has ended. `calls`: parentheses follow.
    fn end_name(&mut self, calls: bool) {
        self.wants_part = false;
        let Some((name, what)) = self.name.take() else { return };
        match what {
            Expected::Procedure => {
                self.say(&name);
                self.procedure = Some(name);
            }
            Expected::Prepared => self.prepared = Some(name),
            Expected::Source if calls => {}
            Expected::Source | Expected::Target => {
                let is_known = self.cte.contains(&name) || self.names.len() >= MAX_NAMES;
                if !is_known && name.len() <= MAX_NAME {
                    self.say(&name);
                    self.names.push(name);
                }
            }
            Expected::Nothing => {}
        }
    }

    // ---- tokens

    fn take(&mut self, token: Token<'_>) {
        self.tokens += 1;
        if self.wants_part && !matches!(token.kind, Kind::Word | Kind::Quoted)
            || self.name.is_some() && !self.wants_part
        {
            match token.kind {
                Kind::Dot => {}
                Kind::Open => self.end_name(true),
                _ => self.end_name(false),
            }
        }
        match token.kind {
            Kind::Word => self.word(token),
            Kind::Quoted => self.quoted(token),
            Kind::Literal => {
                self.has_secrets |= self.told == QueryText::Full && holds_secret(token.text);
                (self.expected, self.is_secret) = (Expected::Nothing, false);
                self.write(&token, "?");
            }
            Kind::Parameter => {
                self.expected = Expected::Nothing;
                self.write_own(&token);
            }
            Kind::Open => self.open(&token),
            Kind::Close => self.close(&token),
            Kind::Comma => {
                let is_mysql = self.syntax.dialect == Dialect::Mysql;
                // In MySQL another name follows.
                self.is_value &= !is_mysql || self.is_list;
                if self.frame().is_some_and(|frame| frame.in_from) {
                    self.expected = Expected::Source;
                }
                if let Some(frame) = self.frame().filter(|frame| frame.in_with) {
                    frame.cte_name = true;
                }
                self.write_own(&token);
            }
            Kind::Dot => {
                self.wants_part = self.name.is_some();
                self.write_own(&token);
            }
            _ => self.other(&token),
        }
        if let Some(frame) = self.frames.get_mut(self.depth)
            && token.kind != Kind::Open
        {
            frame.is_empty = false;
        }
        if !matches!(token.kind, Kind::Word) {
            self.before = Upper::of(b"");
        }
    }

    fn other(&mut self, token: &Token<'_>) {
        match token.text {
            b"=" => self.is_value |= self.sets,
            b"@" if self.expected != Expected::Nothing => self.expected = Expected::Nothing,
            b"[" if self.before.is("ARRAY") => {
                self.write_own(token);
                self.depth += 1;
                if let Some(frame) = self.frame() {
                    *frame = Frame::default();
                }
                return self.open_list(true);
            }
            b"]" if self.list.is_some_and(|list| list.depth == self.depth) => {
                self.fold();
                self.depth = self.depth.saturating_sub(1);
                self.write_own(token);
                return self.close_list();
            }
            b"-" | b"+" => return self.write_own(token),
            _ => {}
        }
        self.not_plain();
        self.write_own(token);
    }

    fn not_plain(&mut self) {
        if let Some(list) = &mut self.list {
            list.is_plain = false;
        }
    }

    fn open(&mut self, token: &Token<'_>) {
        let is_list = self.before.is("IN") || self.before.is("VALUES") || self.before.is("ROW");
        self.not_plain();
        self.write_own(token);
        self.depth += 1;
        // A join may stand in parentheses.
        let goes_on = self.expected == Expected::Source;
        if let Some(frame) = self.frame() {
            *frame = Frame { is_empty: true, is_query: goes_on, in_from: goes_on, ..Frame::default() };
        }
        if !goes_on {
            self.expected = Expected::Nothing;
        }
        self.open_list(is_list);
    }

    fn close(&mut self, token: &Token<'_>) {
        self.fold();
        self.depth = self.depth.saturating_sub(1);
        self.expected = Expected::Nothing;
        self.write_own(token);
        self.close_list();
    }

    fn quoted(&mut self, token: Token<'_>) {
        self.not_plain();
        if self.is_secret || self.is_value && self.sets {
            self.is_secret = false;
            return self.write(&token, "?");
        }
        self.on_name(&token, true);
        self.write_own(&token);
    }

    /// A word that may be a name, or a part of one; whether it was taken.
    fn on_name(&mut self, token: &Token<'_>, is_quoted: bool) -> bool {
        let own = String::from_utf8_lossy(token.text);
        let bare = match is_quoted {
            true if is_simple(&own) => own.get(1..own.len() - 1).unwrap_or(&own),
            _ => &own,
        };
        if self.wants_part {
            self.wants_part = false;
            if let Some((name, _)) = &mut self.name {
                if name.len() <= MAX_NAME {
                    name.push('.');
                    name.push_str(bare);
                }
                return true;
            }
        }
        if let Some(frame) = self.frame().filter(|frame| frame.cte_name) {
            frame.cte_name = false;
            if self.cte.len() < MAX_NAMES {
                self.cte.push(CompactString::new(bare));
            }
            return true;
        }
        if self.expected == Expected::Nothing {
            return false;
        }
        let what = std::mem::take(&mut self.expected);
        self.name = Some((CompactString::new(bare.get(..MAX_NAME + 1).unwrap_or(bare)), what));
        true
    }

    fn word(&mut self, token: Token<'_>) {
        let upper = Upper::of(token.text);
        let before = std::mem::replace(&mut self.before, upper);
        if self.is_secret {
            let is_plain = matches!(
                upper.as_bytes(),
                b"NULL"
                    | b"EXPIRE"
                    | b"HISTORY"
                    | b"REUSE"
                    | b"REQUIRE"
                    | b"FOR"
                    | b"BY"
                    | b"PASSWORD"
                    | b"AS"
                    | b"WITH"
            );
            self.is_secret = matches!(upper.as_bytes(), b"BY" | b"PASSWORD" | b"AS");
            if !is_plain {
                return self.write(&token, "?");
            }
        }
        if self.is_value && self.sets {
            return self.write(&token, "?");
        }
        if !matches!(upper.as_bytes(), b"NULL" | b"DEFAULT" | b"TRUE" | b"FALSE") {
            self.not_plain();
        }
        let is_part = self.wants_part;
        if is_part || !self.keyword(&upper, &before) {
            self.on_name(&token, false);
        }
        self.write_own(&token);
    }

    /// What a word means, if it means something here.
    fn keyword(&mut self, upper: &Upper, before: &Upper) -> bool {
        let word = upper.as_bytes();
        // A query that changes something stands in another's list only.
        let is_listed =
            self.depth.checked_sub(1).and_then(|outer| self.frames.get(outer)).is_none_or(|outer| outer.in_with);
        let begins = self.frame().is_some_and(|frame| frame.is_empty && is_listed || frame.in_with && !frame.cte_name);
        if self.verb.is_none() {
            return self.first_word(upper);
        }
        let is_object_next =
            self.object.is_none() && self.tokens <= 12 && matches!(self.verb, Some("CREATE" | "ALTER" | "DROP"));
        if is_object_next && let Some(object) = upper.among(OBJECTS) {
            self.on_object(object);
            return true;
        }
        match word {
            b"SELECT" => self.on_query("SELECT"),
            b"VALUES" => {
                self.end_from();
                (self.in_values, self.row) = (true, None);
            }
            b"INSERT" | b"REPLACE" | b"MERGE" | b"DELETE" if begins => {
                let verb = upper.among(VERBS).unwrap_or_default();
                self.on_query(verb);
                if word == b"REPLACE" || word == b"INSERT" {
                    self.expected = Expected::Target;
                }
            }
            b"UPDATE" if begins => {
                self.on_query("UPDATE");
                self.expected = Expected::Target;
            }
            b"WITH" if begins => self.on_with(),
            b"FROM" => {
                let is_query = self.frame().is_some_and(|frame| frame.is_query);
                if is_query && !before.is("DISTINCT") {
                    self.expected = Expected::Source;
                    if let Some(frame) = self.frame() {
                        frame.in_from = true;
                    }
                }
            }
            b"JOIN" | b"STRAIGHT_JOIN" => self.expected = Expected::Source,
            b"USING" if matches!(self.verb, Some("DELETE" | "MERGE")) => self.expected = Expected::Source,
            b"INTO" => {
                if self.frame().is_some_and(|frame| frame.is_query) {
                    self.expected = Expected::Target;
                }
            }
            b"ON" if self.object == Some("INDEX") && self.names.is_empty() => self.expected = Expected::Target,
            b"WHERE" | b"GROUP" | b"ORDER" | b"HAVING" | b"LIMIT" | b"RETURNING" | b"UNION" | b"EXCEPT"
            | b"INTERSECT" | b"WINDOW" | b"OFFSET" => self.end_from(),
            b"FOR" => {
                self.end_from();
                return false;
            }
            b"SET" => {
                self.end_from();
                self.in_values = false;
                self.sets |= self.verb == Some("ALTER");
                return false;
            }
            b"TO" => {
                self.is_value |= self.sets;
                self.is_list = self.is_value;
            }
            b"PASSWORD" | b"IDENTIFIED" if self.is_account || matches!(self.verb, Some("SET" | "GRANT")) => {
                self.is_secret = true;
                self.has_secrets = true;
            }
            b"BEGIN" if matches!(self.object, Some("FUNCTION" | "PROCEDURE" | "TRIGGER" | "EVENT")) => self.body += 1,
            b"CASE" | b"IF" | b"LOOP" | b"WHILE" | b"REPEAT" if self.body > 0 && !before.is("END") => self.body += 1,
            b"END" if self.body > 0 => self.body -= 1,
            // Stands before a name, or behind it.
            b"ONLY" | b"LATERAL" | b"IF" | b"NOT" | b"EXISTS" | b"LOW_PRIORITY" | b"IGNORE" | b"QUICK" | b"DELAYED"
            | b"HIGH_PRIORITY" | b"CONCURRENTLY" | b"TABLE" | b"TABLES" | b"PREPARE" | b"VERBOSE" | b"FULL"
            | b"FREEZE" => {}
            b"OUTFILE" | b"DUMPFILE" => self.expected = Expected::Nothing,
            b"DUPLICATE" | b"CONFLICT" => self.in_values = false,
            _ => {
                self.has_secrets |= self.told == QueryText::Full && holds_secret(word);
                return false;
            }
        }
        true
    }

    fn first_word(&mut self, upper: &Upper) -> bool {
        let Some(verb) = upper.among(VERBS) else {
            // What begins with another word is told by no name.
            self.verb = Some("");
            return true;
        };
        self.verb = Some(verb);
        match verb {
            "SELECT" => self.on_query(verb),
            "WITH" => self.on_with(),
            "INSERT" | "REPLACE" | "UPDATE" => {
                self.on_query(verb);
                self.expected = Expected::Target;
            }
            "DELETE" | "MERGE" => self.on_query(verb),
            "VALUES" => {
                self.say(verb);
                self.in_values = true;
            }
            "TABLE" | "COPY" | "TRUNCATE" | "LOCK" | "VACUUM" | "ANALYZE" | "ANALYSE" => {
                self.say(verb);
                self.expected = Expected::Target;
            }
            "DESCRIBE" | "DESC" | "HANDLER" => {
                self.say(verb);
                self.expected = Expected::Source;
            }
            "CALL" => {
                self.say(verb);
                self.expected = Expected::Procedure;
            }
            "PREPARE" | "DEALLOCATE" | "USE" => {
                self.say(verb);
                self.expected = Expected::Prepared;
            }
            "LOAD" => {
                self.say(verb);
                if let Some(frame) = self.frame() {
                    frame.is_query = true;
                }
            }
            "CREATE" | "ALTER" | "DROP" => {}
            "EXPLAIN" => {
                self.say(verb);
                if let Some(frame) = self.frame() {
                    (frame.in_with, frame.cte_name) = (true, false);
                }
            }
            _ => {
                self.sets = verb == "SET";
                self.say(verb);
            }
        }
        true
    }

    fn on_object(&mut self, object: &'static str) {
        self.object = Some(object);
        self.is_account = matches!(object, "USER" | "ROLE" | "GROUP" | "SERVER" | "SUBSCRIPTION" | "SYSTEM");
        self.has_secrets |= self.is_account;
        let verb = self.verb.unwrap_or_default();
        self.say(verb);
        self.say(object);
        self.expected = match object {
            "TABLE" | "VIEW" => Expected::Target,
            _ => Expected::Nothing,
        };
    }

    /// The verb of a query, the statement's or one within it.
    fn on_query(&mut self, verb: &'static str) {
        // The verb of a statement that begins with `WITH` is that behind its list.
        if self.depth == 0 && self.verb == Some("WITH") {
            self.verb = Some(verb);
        }
        if let Some(frame) = self.frame() {
            *frame = Frame { is_query: true, ..Frame::default() };
        }
        self.in_values = false;
        self.expected = Expected::Nothing;
        self.say(verb);
    }

    fn on_with(&mut self) {
        if let Some(frame) = self.frame() {
            (frame.in_with, frame.cte_name) = (true, true);
        }
        self.expected = Expected::Nothing;
    }

    fn end_from(&mut self) {
        self.expected = Expected::Nothing;
        if let Some(frame) = self.frame() {
            frame.in_from = false;
        }
    }

    // ---- end

    /// What follows cannot be told from secrets.
    fn unclear(&mut self) {
        self.end_name(false);
        self.has_secrets = true;
    }

    /// The statement, if there is one.
    fn end(mut self, raw: &[u8], is_cut: bool) -> Option<Statement> {
        if self.tokens == 0 {
            return None;
        }
        // The last name may be cut, or have parentheses behind it.
        if is_cut {
            self.name = None;
        }
        self.end_name(false);
        let verb = self.verb.filter(|verb| !verb.is_empty());
        let operation = verb.map(|verb| match self.object {
            Some(object) => compact_str::format_compact!("{verb} {object}"),
            None => CompactString::const_new(verb),
        });
        let has_verb = operation.is_some();
        if self.summary.is_empty() && has_verb {
            self.summary = verb.unwrap_or_default().to_owned();
        }
        let text = match self.told {
            QueryText::Off => None,
            QueryText::Full if !self.has_secrets => {
                Some(shortened(String::from_utf8_lossy(raw.trim_ascii()).into(), is_cut))
            }
            QueryText::Full | QueryText::Sanitized => Some(shortened(self.text, is_cut || self.is_full)),
        };
        // There may be another where the end is missing.
        let [collection] = <[CompactString; 1]>::try_from(self.names).map_or([None], |names| names.map(Some));
        let collection = collection.filter(|_| !is_cut);
        Some(Statement {
            operation,
            collection,
            summary: has_verb.then(|| self.summary.into()),
            text,
            procedure: self.procedure,
            prepared: self.prepared,
        })
    }
}

/// A text as long as it may be.
fn shortened(mut text: String, is_cut: bool) -> CompactString {
    let is_long = text.len() > MAX_TEXT;
    if is_long {
        text.truncate(text.floor_char_boundary(MAX_TEXT));
    }
    if is_long || is_cut {
        text.push_str("...");
    }
    text.into()
}

/// Whether a name needs no quotes.
fn is_simple(quoted: &str) -> bool {
    let inner = quoted.get(1..quoted.len().saturating_sub(1)).unwrap_or_default();
    !inner.is_empty()
        && inner.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'$' | 0x80..))
}

/// Whether a word or a string is about a secret, or holds one as connection strings do.
fn holds_secret(text: &[u8]) -> bool {
    let is_at =
        |at: usize, what: &[u8]| text.get(at..at + what.len()).is_some_and(|here| here.eq_ignore_ascii_case(what));
    let mut at = 0;
    while let Some(found) = memchr::memchr3(b'p', b'P', b'@', text.get(at..).unwrap_or_default()) {
        let here = at + found;
        if is_at(here, b"passw")
            || is_at(here, b"pwd")
            || is_at(here, b"@") && memchr::memmem::find(text, b"://").is_some()
        {
            return true;
        }
        at = here + 1;
    }
    text.len() >= 6 && text.windows(6).any(|window| window.eq_ignore_ascii_case(b"secret"))
}
