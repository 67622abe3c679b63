//! JSON-RPC 2.0 over HTTP.

use compact_str::CompactString;

use super::{
    is_post, json,
    marks::{Kind, Marks},
    name,
};
use crate::model::exchange::Http;

/// What a request calls.
pub(super) struct Called {
    /// The method; of several calls only where all are of the same.
    pub(super) method: Option<CompactString>,
    /// How many there are, where there are several.
    pub(super) batch_size: Option<u32>,
}

/// Reads a request.
pub(super) fn called(http: &Http, marks: &Marks) -> Option<Called> {
    let body = marks.body.bytes();
    if !is_post(http) || marks.kind != Kind::Json {
        return None;
    }
    let Some(calls) = json::elements(body) else {
        return Some(Called { method: Some(method(body)?), batch_size: None });
    };
    let (mut count, mut same, mut is_whole) = (0_u32, None, !marks.body.is_cut());
    for (call, is_all) in calls {
        is_whole &= is_all;
        if !is_all {
            break;
        }
        let method = method(call)?;
        same = if count == 0 { Some(method) } else { same.filter(|same| *same == method) };
        count += 1;
    }
    // What stands behind what was captured may call something else.
    (count > 0).then(|| Called {
        method: same.filter(|_| is_whole),
        batch_size: Some(count).filter(|count| is_whole && *count > 1),
    })
}

fn method(call: &[u8]) -> Option<CompactString> {
    let is_version_2 = json::member(call, b"jsonrpc") == Some(b"\"2.0\"");
    name(json::text_of(call, b"method").filter(|_| is_version_2)?.as_bytes())
}

/// The code of the error that it was answered with; of several answers the first that is one.
pub(super) fn error(marks: &Marks) -> Option<CompactString> {
    let answer = marks.answer.bytes();
    match json::elements(answer) {
        Some(mut answers) => answers.find_map(|(answer, _)| code(answer)),
        None => code(answer),
    }
}

fn code(answer: &[u8]) -> Option<CompactString> {
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
