//! GraphQL over HTTP: which operation of a document is asked for, and of what type it is.

use compact_str::CompactString;

use super::{
    form, is_post, is_word, json,
    marks::{Kind, Marks},
    path_of,
};
use crate::model::exchange::{Graphql, Http};

/// The operation that a request asks for, if it is one of GraphQL.
pub(super) fn read(http: &Http, marks: &Marks) -> Option<Graphql> {
    let (path, query) = path_of(http)?;
    // What a service is reached at says nothing by itself.
    let is_likely = path.split('/').any(|part| part.eq_ignore_ascii_case("graphql"));
    let body = marks.body.bytes();
    if !is_post(http) {
        let document = form::value(query.as_bytes(), b"query", false).filter(|_| is_likely)?;
        let asked = form::text(query.as_bytes(), b"operationName", false);
        return find(&document, asked.as_deref());
    }
    match marks.kind {
        Kind::GraphQl => find(body, None),
        Kind::Json => match json::elements(body) {
            Some(operations) => of_several(operations, is_likely, !marks.body.is_cut()),
            None => of_json(body, is_likely),
        },
        _ => None,
    }
}

/// Several operations in one request: what all have in common, and how many there are. `None` where one is none.
fn of_several<'a>(
    operations: impl Iterator<Item = (&'a [u8], bool)>,
    is_likely: bool,
    mut is_whole: bool,
) -> Option<Graphql> {
    let (mut count, mut same) = (0_u32, Graphql::default());
    for (operation, is_all) in operations {
        is_whole &= is_all;
        if !is_all {
            break;
        }
        let Graphql { kind, name, .. } = of_json(operation, is_likely)?;
        if count == 0 {
            same = Graphql { kind, name, batch_size: None };
        } else {
            same.kind = same.kind.filter(|same| Some(*same) == kind);
            same.name = same.name.filter(|same| Some(same) == name.as_ref());
        }
        count += 1;
    }
    // Behind what was captured others may stand.
    let same = if is_whole { same } else { Graphql::default() };
    (count > 0).then(|| Graphql { batch_size: Some(count).filter(|count| is_whole && *count > 1), ..same })
}

fn of_json(body: &[u8], mut is_likely: bool) -> Option<Graphql> {
    let (mut document, mut asked) = (None, None);
    for member in json::members(body) {
        match member.name {
            b"query" => document = Some(json::beginning_of_text(member.value)?),
            b"operationName" => {
                is_likely = true;
                asked = json::text(member.value).filter(|_| member.is_whole);
            }
            b"variables" => is_likely = true,
            // A stored document, of which only the name is sent.
            b"extensions" => is_likely |= json::member(member.value, b"persistedQuery").is_some(),
            _ => {}
        }
    }
    if !is_likely {
        return None;
    }
    match document {
        Some(document) => find(document.as_bytes(), asked.as_deref()),
        None => Some(Graphql { name: Some(name_of(asked.as_deref()?)?), ..Graphql::default() }),
    }
}

fn name_of(name: &str) -> Option<CompactString> {
    is_word(name.as_bytes()).then(|| CompactString::new(name))
}

/// The operation of that name, or the first; `None` if bytes are no document.
fn find(document: &[u8], asked: Option<&str>) -> Option<Graphql> {
    let asked = asked.filter(|asked| !asked.is_empty());
    let mut words = Words { rest: document };
    let mut depth = 0_usize;
    let mut begins = true;
    let mut found: Option<Graphql> = None;
    while let Some(word) = words.next() {
        match word {
            b"{" => {
                if depth == 0 && begins && found.is_none() {
                    found = Some(Graphql { kind: Some("query"), ..Graphql::default() });
                    if asked.is_none() {
                        return found;
                    }
                }
                (depth, begins) = (depth + 1, false);
            }
            b"(" | b"[" => depth += 1,
            b")" | b"]" => depth = depth.checked_sub(1)?,
            b"}" => {
                depth = depth.checked_sub(1)?;
                begins = depth == 0;
            }
            b"query" | b"mutation" | b"subscription" if depth == 0 && begins => {
                begins = false;
                let kind = match word {
                    b"query" => "query",
                    b"mutation" => "mutation",
                    _ => "subscription",
                };
                let mut behind = Words { rest: words.rest };
                let name = behind.next().filter(|name| is_word(name));
                if name.is_none() && !matches!(Words { rest: words.rest }.next(), None | Some(b"{" | b"(" | b"@")) {
                    return None;
                }
                let name = name.and_then(|name| name_of(str::from_utf8(name).ok()?));
                let is_it = asked.is_none() || asked == name.as_deref();
                let operation = Graphql { kind: Some(kind), name, batch_size: None };
                if is_it {
                    return Some(operation);
                }
                found.get_or_insert(operation);
            }
            b"fragment" if depth == 0 && begins => begins = false,
            // A document of something else.
            _ if depth == 0 && begins => return None,
            _ => {}
        }
    }
    // The one that was asked for stands behind what was captured.
    found.map(|_| Graphql { name: asked.and_then(name_of), ..Graphql::default() })
}

/// Names, and whatever stands between them, one by one; without blanks, comments and texts.
struct Words<'a> {
    rest: &'a [u8],
}

impl<'a> Words<'a> {
    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            let (&first, behind) = self.rest.split_first()?;
            match first {
                b' ' | b'\t' | b'\r' | b'\n' | b',' | 0xef | 0xbb | 0xbf => self.rest = behind,
                b'#' => self.rest = behind.get(memchr::memchr(b'\n', behind)?..)?,
                b'"' => self.skip_text()?,
                _ => break,
            }
        }
        let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || *byte == b'_';
        let len = self.rest.iter().position(|byte| !is_part(byte)).unwrap_or(self.rest.len()).max(1);
        let (word, rest) = self.rest.split_at_checked(len)?;
        self.rest = rest;
        Some(word)
    }

    fn skip_text(&mut self) -> Option<()> {
        if let Some(block) = self.rest.strip_prefix(b"\"\"\"") {
            let end = memchr::memmem::find(block, b"\"\"\"")?;
            self.rest = block.get(end + 3..)?;
            return Some(());
        }
        let mut at = 1;
        loop {
            at += memchr::memchr2(b'"', b'\\', self.rest.get(at..)?)?;
            if self.rest.get(at) == Some(&b'"') {
                self.rest = self.rest.get(at + 1..)?;
                return Some(());
            }
            at += 2;
        }
    }
}
