//! JSON-RPC 2.0 over HTTP.

use compact_str::CompactString;

use super::{
    is_post, json,
    marks::{Kind, Marks},
    name,
};
use crate::model::exchange::Http;

/// The method that a request calls. Of several calls in one request nothing is told.
pub(super) fn method(http: &Http, marks: &Marks) -> Option<CompactString> {
    let body = marks.body.bytes();
    if !is_post(http) || marks.kind != Kind::Json || !is_version_2(body) {
        return None;
    }
    name(json::text_of(body, b"method")?.as_bytes())
}

fn is_version_2(body: &[u8]) -> bool {
    json::member(body, b"jsonrpc") == Some(b"\"2.0\"")
}

/// The code of the error that it was answered with.
pub(super) fn error(marks: &Marks) -> Option<CompactString> {
    let answer = marks.answer.bytes();
    // What may be cut is an error's data, behind its code.
    let error = json::members(answer).find(|member| member.name == b"error").filter(|_| is_said(answer))?;
    let code = json::member(error.value, b"code")?;
    let digits = code.strip_prefix(b"-").unwrap_or(code);
    let is_number = (1..=10).contains(&digits.len()) && digits.iter().all(u8::is_ascii_digit);
    str::from_utf8(code).ok().filter(|_| is_number).map(CompactString::new)
}

/// The version may come behind the error, and where that is cut it is not there.
fn is_said(answer: &[u8]) -> bool {
    let version = json::members(answer).find(|member| member.name == b"jsonrpc");
    version.is_none_or(|version| version.value == b"\"2.0\"")
}
