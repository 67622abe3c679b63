//! ClickHouse over HTTP: the statement is a parameter of the target, or the body.

use super::{database, form, marks::Marks, name, path_of, set_statement};
use crate::{
    model::exchange::{Db, Http},
    protocols::sql::{Dialect, Escapes, Syntax},
};

/// Backslashes escape; names stand in backticks or in double quotes.
const SYNTAX: Syntax = Syntax { dialect: Dialect::Postgres, escapes: Escapes::Yes };

/// An exchange with it. `code`: that of an error.
pub(super) fn read(http: Box<Http>, marks: Option<&Marks>, code: Option<u32>) -> Box<Db> {
    let (path, query) = path_of(&http).unwrap_or_default();
    let (is_asked, is_ping) = (matches!(path, "/" | "/query"), path == "/ping");
    let query = query.as_bytes();
    let namespace = form::text(query, b"database", false).and_then(|it| name(it.as_bytes()));
    let namespace = namespace.or_else(|| marks.and_then(|marks| marks.database.clone()));
    let parameter = form::value(query, b"query", false).filter(|_| is_asked);
    // What comes behind it in a body is data.
    let is_packed = form::value(query, b"decompress", false).is_some_and(|it| it == b"1");
    let body = marks.filter(|_| is_asked && !is_packed).map(|marks| &marks.body);
    let body = body.filter(|body| !body.bytes().is_empty());
    let mut db = Db::default();
    let told = marks.map(|marks| marks.told).unwrap_or_default();
    match (parameter.filter(|text| !text.is_empty()), body) {
        (Some(text), _) => set_statement(&mut db, &text, false, SYNTAX, told),
        (None, Some(body)) => set_statement(&mut db, body.bytes(), body.is_cut(), SYNTAX, told),
        (None, None) if is_ping => db.operation = Some("ping".into()),
        (None, None) => db.text_unknown = is_asked,
    }
    let mut whole = database("clickhouse", http);
    if let Some(code) = code {
        (whole.failed, whole.status) = (true, Some(compact_str::format_compact!("{code}")));
    }
    let (failed, status, http) = (whole.failed, whole.status.take(), whole.http.take());
    *whole = Db { system: whole.system, namespace, failed, status, http, ..db };
    whole
}
