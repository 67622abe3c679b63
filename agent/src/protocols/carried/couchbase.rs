//! Couchbase's query service: SQL++ in a form or in JSON.

use compact_str::CompactString;

use super::{
    database, form, is_post, json,
    marks::{Kind, Marks},
    name, path_of, set_statement,
};
use crate::{
    model::exchange::{Db, Http},
    protocols::sql::{Dialect, Escapes, Syntax},
};

/// Names stand in backticks, texts in either quotes.
const SYNTAX: Syntax = Syntax { dialect: Dialect::Mysql, escapes: Escapes::Unknown };
/// Longest statement that is read.
const MAX: usize = 2048;

/// What is asked.
pub(super) struct Found {
    statement: Option<(Vec<u8>, bool)>,
    namespace: Option<CompactString>,
}

/// A query, if the request is one.
pub(super) fn read(http: &Http, marks: &Marks) -> Option<Found> {
    let (path, query) = path_of(http)?;
    if !matches!(path, "/query/service" | "/_p/query/query/service") {
        return None;
    }
    let (body, is_cut) = (marks.body.bytes(), marks.body.is_cut());
    let in_form = |name: &[u8]| match marks.kind {
        Kind::Form => form::beginning(body, name, is_cut),
        _ => form::beginning(query.as_bytes(), name, false),
    };
    let find = |name: &[u8]| match marks.kind {
        Kind::Json if is_post(http) => {
            let member = json::members(body).find(|member| member.name == name)?;
            let text = json::beginning_of_text(member.value)?;
            Some((text.as_bytes().to_vec(), member.is_whole))
        }
        _ => in_form(name),
    };
    let statement = find(b"statement");
    if statement.is_none() && find(b"prepared").is_none() {
        return None;
    }
    let context = find(b"query_context").filter(|(_, is_whole)| *is_whole).and_then(|(text, _)| name(&text));
    Some(Found { statement, namespace: context })
}

impl Found {
    pub(super) fn tell(self, http: Box<Http>, marks: &Marks) -> Box<Db> {
        let mut db = database("couchbase", http);
        db.namespace = self.namespace;
        match self.statement {
            Some((text, is_whole)) => {
                let is_cut = !is_whole || text.len() >= MAX;
                set_statement(&mut db, &text, is_cut, SYNTAX, marks.told);
            }
            None => db.text_unknown = true,
        }
        db
    }
}
