//! Messages as clients send them, by themselves and over the routes.

use proptest::prelude::*;

use super::{shorten::ANSWER_MAX, *};

/// What is answered where the query API answers with what it was asked.
fn told(message: &str) -> Option<Json> {
    let asked = std::future::ready::<fn(String) -> std::future::Ready<Result<Json, String>>>(|path| {
        std::future::ready(Ok(json!({ "asked": path })))
    });
    let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    runtime.block_on(async { answer(message.as_bytes(), asked.await).await })
}

fn called(name: &str, arguments: &Json) -> (String, bool) {
    let message = json!({ "jsonrpc": "2.0", "id": 7, "method": "tools/call", "params": { "name": name, "arguments": arguments } });
    let answer = told(&message.to_string()).unwrap();
    let result = &answer["result"];
    assert_eq!(answer["id"], 7);
    (result["content"][0]["text"].as_str().unwrap().to_owned(), result["isError"].as_bool().unwrap())
}

fn path(name: &str, arguments: &Json) -> String {
    let (text, is_error) = called(name, arguments);
    assert!(!is_error, "{text}");
    serde_json::from_str::<Json>(&text).unwrap()["asked"].as_str().unwrap().to_owned()
}

#[test]
fn a_client_is_told_the_revision_it_asked_for_or_the_latest() {
    for (asked, spoken) in
        [("2025-06-18", "2025-06-18"), ("2025-11-25", "2025-11-25"), ("2024-11-05", "2025-11-25"), ("x", "2025-11-25")]
    {
        let message = json!({ "jsonrpc": "2.0", "id": "a", "method": "initialize", "params": { "protocolVersion": asked,
                              "capabilities": {}, "clientInfo": { "name": "c", "version": "1" } } });
        let answer = told(&message.to_string()).unwrap();
        assert_eq!(answer["result"]["protocolVersion"], spoken);
        assert_eq!((&answer["id"], &answer["result"]["capabilities"]), (&json!("a"), &json!({ "tools": {} })));
    }
    assert_eq!(told(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#).unwrap()["result"], json!({}));
    assert_eq!(told(r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#), None);
    assert_eq!(told(r#"{"jsonrpc":"2.0","id":1,"result":{}}"#), None);
}

#[test]
fn what_is_no_message_is_refused_as_json_rpc_has_it() {
    for (message, code) in [
        ("{", -32700),
        ("", -32700),
        ("[]", -32600),
        ("1", -32600),
        (r#"{"jsonrpc":"2.0","id":1}"#, -32600),
        (r#"{"jsonrpc":"1.0","id":1,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":null,"method":"ping"}"#, -32600),
        (r#"{"jsonrpc":"2.0","id":1,"method":"resources/list"}"#, -32601),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call"}"#, -32602),
        (r#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"rm"}}"#, -32602),
    ] {
        assert_eq!(told(message).unwrap()["error"]["code"], code, "{message}");
    }
}

#[test]
fn arguments_become_the_questions_of_the_query_api() {
    assert_eq!(path("list_services", &Json::Null), "/api/v1/services");
    assert_eq!(path("list_services", &json!({ "window": "15m" })), "/api/v1/services?window=15m");
    assert_eq!(
        path("get_service", &json!({ "name": "a b/../c?d", "namespace": "n" })),
        "/api/v1/services/a%20b%2F..%2Fc%3Fd?namespace=n"
    );
    assert_eq!(
        path("find_traces", &json!({ "service": "shop", "status": "error", "attribute": ["a=b", "c=d"], "limit": 3 })),
        "/api/v1/traces?service=shop&status=error&attribute=a%3Db&attribute=c%3Dd&limit=3"
    );
    assert_eq!(path("find_requests", &json!({ "sort": "slowest" })), "/api/v1/spans?sort=slowest&limit=10");
    for (name, arguments, why) in [
        ("get_service", json!({}), "name is missing"),
        ("get_service", json!({ "name": "" }), "name: it is empty"),
        ("get_trace", json!({ "trace_id": 5 }), "trace_id: it is no text"),
        ("find_traces", json!({ "status": "bad" }), "status: it is none of error, ok"),
        ("find_traces", json!({ "limit": 21 }), "limit: it is no number from 1 to 20"),
        ("find_traces", json!({ "servce": "x" }), "find_traces has no argument \"servce\"; it has: service, "),
        ("find_traces", json!({ "q": "x".repeat(2000) }), "q: it is longer than 1024 bytes"),
        ("list_services", json!([]), "`arguments` is no object"),
    ] {
        let (text, is_error) = called(name, &arguments);
        assert!(is_error && text.starts_with(why), "{name} {arguments}: {text}");
    }
}

#[test]
fn tools_say_what_they_take_in_a_schema_that_holds() {
    let list = tools::list();
    for tool in list.as_array().unwrap() {
        let schema = jsonschema::validator_for(&tool["inputSchema"]).unwrap();
        assert!(!schema.is_valid(&json!({ "nobody": 1 })), "{tool}");
        assert!(tool["annotations"]["readOnlyHint"].as_bool().unwrap());
    }
    assert_eq!(list.as_array().unwrap().len(), 8);
    assert!(list.to_string().len() < 16 << 10, "it is read before each conversation");
}

#[test]
fn of_a_large_map_the_busiest_edges_are_told() {
    let edge = |n: u64| json!({ "from": format!("service:/{n}"), "to": "service:/b", "rates": { "requests": n, "errors": 0 } });
    let answer = json!({ "window_s": 60.0, "nodes": [], "edges": (0..1000).map(edge).collect::<Vec<_>>() });
    let told = tools::find("get_service_map").unwrap().told(answer);
    assert_eq!(told["edges"][0]["rates"]["requests"], 999);
    let told_of = told["edges"].as_array().unwrap().len();
    assert_eq!(told["edges_left_out"], 1000 - told_of);
    assert!(told.to_string().len() <= ANSWER_MAX);
}

proptest! {
    #[test]
    fn no_message_ends_it(message in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _told = told(&String::from_utf8_lossy(&message));
    }
}
