//! What is carried over HTTP and has names of its own: databases, brokers and calls that are told by those, and not as requests
//! for a path. A stage between HTTP and what is told: it is given what the heads of request and response say ([`Marks`], [`Product`])
//! and the beginnings of their bodies, as far as they were captured, and makes of an exchange what it certainly is.
//!
//! Nothing is known by a port. Each is known by what only it sends: a field of its servers (`X-Elastic-Product`, `X-ClickHouse-Summary`),
//! a field of its clients (`X-Amz-Target`, `SOAPAction`), or a body with the members that its specification asks for. What fits less is
//! plain HTTP. Of bodies nothing is told but names and statements, these without values.

mod aws;
mod clickhouse;
mod couchbase;
mod elastic;
mod form;
mod graphql;
mod json;
mod jsonrpc;
mod marks;
mod pubsub;
mod soap;
#[cfg(test)]
mod tests;

use compact_str::CompactString;

pub(super) use self::{
    marks::{Kind, Marks, Product},
    pubsub::of_call,
};
use crate::{
    model::{
        exchange::{Db, Http, Operation, Rpc},
        propagation::QueryText,
    },
    protocols::sql::{self, Syntax},
};

/// Longest name that is told.
const MAX_NAME: usize = 128;

/// Whether bytes are one word, as most names are.
fn is_word(bytes: &[u8]) -> bool {
    (1..=MAX_NAME).contains(&bytes.len()) && bytes.iter().all(|byte| byte.is_ascii_alphanumeric() || *byte == b'_')
}

/// Whether they are words with what stands between those of a name.
fn is_name(bytes: &[u8]) -> bool {
    let is_part = |byte: &u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/' | b':' | b'$');
    (1..=MAX_NAME).contains(&bytes.len()) && bytes.iter().all(is_part)
}

/// A name as it is told.
fn name(bytes: &[u8]) -> Option<CompactString> {
    str::from_utf8(bytes).ok().filter(|_| is_name(bytes)).map(CompactString::new)
}

/// Path and query of a target; nothing of one that is cut, or no path.
fn path_of(http: &Http) -> Option<(&str, &str)> {
    let target = http.target.as_deref().filter(|target| !http.target_truncated && target.starts_with('/'))?;
    Some(target.split_once('?').unwrap_or((target, "")))
}

fn is_post(http: &Http) -> bool {
    http.method.as_deref() == Some("POST")
}

/// A call over HTTP.
fn call(system: &'static str, method: Option<CompactString>, http: Http) -> Rpc {
    Rpc {
        system,
        version: http.version,
        method,
        host: http.host,
        user_agent: http.user_agent,
        trace_state: http.trace_state,
        baggage: http.baggage,
        http_status: http.status.filter(|status| *status != 200),
        ..Rpc::default()
    }
}

/// The code of an error, where the status says that it is one.
fn failure(http: &Http) -> Option<CompactString> {
    http.status.filter(|status| *status >= 400).map(|status| compact_str::format_compact!("{status}"))
}

/// A call to a database over HTTP.
fn database(system: &'static str, http: Box<Http>) -> Box<Db> {
    let status = failure(&http);
    Box::new(Db { system, failed: status.is_some(), status, http: Some(http), ..Db::default() })
}

/// What a text of statements says of the call. The request's own head goes before a parent that a comment names.
fn set_statement(db: &mut Db, text: &[u8], is_cut: bool, syntax: Syntax, told: QueryText) {
    let _parent = sql::describe(db, text, is_cut, syntax, told);
}

/// What an exchange over HTTP certainly is besides. It is given back where it is no more than that.
pub(super) fn read(
    mut http: Box<Http>,
    marks: Option<&Marks>,
    product: Option<Product>,
) -> Result<Operation, Box<Http>> {
    let product = product.or_else(|| elastic::product_of_client(&http));
    match product {
        Some(Product::Elasticsearch | Product::OpenSearch) => {
            let system = if product == Some(Product::OpenSearch) { "opensearch" } else { "elasticsearch" };
            let Some((operation, index)) = elastic::endpoint(&http) else { return Err(http) };
            let mut db = database(system, http);
            (db.operation, db.collection) = (Some(operation), index);
            return Ok(Operation::Db(db));
        }
        Some(Product::ClickHouse { code }) => return Ok(Operation::Db(clickhouse::read(http, marks, code))),
        None => {}
    }
    let Some(marks) = marks else { return Err(http) };
    if let Some(found) = aws::read(&http, marks) {
        return Ok(found.tell(http, marks));
    }
    if let Some(method) = soap::method(&http, marks) {
        return Ok(Operation::Rpc(Box::new(call("soap", Some(method), *http))));
    }
    if let Some(found) = couchbase::read(&http, marks) {
        return Ok(Operation::Db(found.tell(http, marks)));
    }
    if let Some(jsonrpc::Called { method, batch_size }) = jsonrpc::called(&http, marks) {
        let code = jsonrpc::error(marks);
        return Ok(Operation::Rpc(Box::new(Rpc { code, batch_size, ..call("jsonrpc", method, *http) })));
    }
    http.graphql = graphql::read(&http, marks).map(Box::new);
    Err(http)
}
