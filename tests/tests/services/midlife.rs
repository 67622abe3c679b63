//! Agents that begin to watch in the middle of connections.

use std::{
    collections::{BTreeMap, HashMap},
    process::Command,
};

use serde_json::Value;
use tests::{
    agent::{Backend, Watch},
    need, on_both_backends,
    program::Program,
    receiver::ReceivedSpan,
};

on_both_backends!(names_are_right_or_unknown_whenever_it_attaches);

const ATTACHMENTS: usize = 20;
const SPANS: usize = 500;

/// What a name must end with.
fn expected(method: &str) -> &'static str {
    match method {
        "Get" => "OK",
        "Missing" => "NOT_FOUND",
        _ => "UNIMPLEMENTED",
    }
}

/// The method that a span names, if it names one: as a call, or as a path where nothing showed that it is a call.
fn method(span: &ReceivedSpan) -> Option<&str> {
    let call = span.attributes.get("rpc.method").and_then(Value::as_str);
    let path = || tests::seen::path(span).map(|path| path.trim_start_matches('/'));
    call.or_else(path)
}

/// Calls go on over the same connections, whose tables of headers the agents that come know in part. 10,000 streams on
/// each backend: no name is wrong, and what is not known is said to be.
fn names_are_right_or_unknown_whenever_it_attaches(backend: Backend) {
    let program = |name: &str| Command::new(need::made("go").join(name));
    let service = Program::start(program("orders").arg("server"));
    let client = Program::start(program("loop").arg(service.port().to_string()));
    assert_eq!(client.says("calling"), "");
    let (mut known, mut unknown, mut by_method) = (0, 0, BTreeMap::<String, usize>::new());
    for _ in 0..ATTACHMENTS {
        let watch = Watch::pids(backend, &[service.pid(), client.pid()]);
        let seen = watch.stop_when(|state| state.spans.len() >= SPANS);
        // What one unknown name of a connection ended with.
        let mut ended = HashMap::new();
        for span in &seen.spans {
            let code = span.attributes.get("rpc.status_code").and_then(Value::as_str);
            let Some(method) = method(span) else {
                assert_eq!(span.attributes.get("beyla.name.unknown"), Some(&Value::Bool(true)), "{span:#?}");
                unknown += 1;
                let attribute = |key: &str| span.attributes.get(key).cloned().unwrap_or_default().to_string();
                let connection = [span.kind.to_owned(), attribute("network.peer.port"), attribute("client.port")];
                let entry = attribute("beyla.name.unknown_entry");
                if let Some(code) = code {
                    let first = ended.entry((connection, entry)).or_insert_with(|| code.to_owned());
                    assert_eq!(first, code, "two methods as one: {span:#?}");
                }
                continue;
            };
            let name = method.strip_prefix("shop.Orders/").unwrap_or_else(|| panic!("a wrong name: {span:#?}"));
            let is_known = matches!(name, "Get" | "Missing") || name.starts_with("New");
            assert!(is_known, "a wrong name: {span:#?}");
            assert!(code.is_none_or(|code| code == expected(name)), "another call's name: {span:#?}");
            known += 1;
            *by_method.entry(name.trim_end_matches(|c: char| c.is_ascii_digit()).to_owned()).or_default() += 1;
        }
    }
    assert!(known + unknown >= ATTACHMENTS * SPANS, "{known} and {unknown}");
    println!("{known} names, all of them right, and {unknown} unknown: {by_method:?}");
    // Both are there, else nothing was shown.
    assert!(known > 0 && unknown > 0 && by_method.contains_key("New"), "{known}, {unknown}, {by_method:?}");
}
