//! Whole exchanges over HTTP/1, and what they are told as.

use proptest::prelude::*;

use crate::{
    model::{
        exchange::{Db, Http, Messaging, MessagingStep, Operation, Outcome, Rpc},
        net::Role,
    },
    protocols::{conformance::Sender, http1, testing::converse},
};

/// Tells an exchange of these bytes, in pieces of at most so many.
fn told_in(asked: &[u8], answered: &[u8], most: usize) -> Operation {
    let pieces = |by: Sender, bytes: &[u8]| bytes.chunks(most).map(|data| (by, data.to_vec())).collect::<Vec<_>>();
    let all = [pieces(Sender::Client, asked), pieces(Sender::Server, answered)].concat();
    let mut told = converse(http1::open(Role::Client), &all);
    assert_eq!(told.len(), 1);
    assert_eq!(told[0].outcome, Outcome::Complete);
    told.remove(0).operation
}

fn told(asked: &[u8], answered: &[u8]) -> Operation {
    let whole = told_in(asked, answered, usize::MAX);
    for most in [1, 7, 100] {
        assert_eq!(told_in(asked, answered, most), whole, "pieces of {most}");
    }
    whole
}

/// A request with these lines in its head, and a body.
fn request(method: &str, target: &str, lines: &str, body: &str) -> Vec<u8> {
    let length = if body.is_empty() { String::new() } else { format!("Content-Length: {}\r\n", body.len()) };
    format!("{method} {target} HTTP/1.1\r\nHost: host:80\r\n{lines}{length}\r\n{body}").into_bytes()
}

fn response(status: u16, lines: &str, body: &str) -> Vec<u8> {
    format!("HTTP/1.1 {status} X\r\n{lines}Content-Length: {}\r\n\r\n{body}", body.len()).into_bytes()
}

fn db(operation: Operation) -> Db {
    let Operation::Db(db) = operation else { panic!("not a database: {operation:?}") };
    *db
}

fn rpc(operation: Operation) -> Rpc {
    let Operation::Rpc(rpc) = operation else { panic!("not a call: {operation:?}") };
    *rpc
}

fn messaging(operation: Operation) -> Messaging {
    let Operation::Messaging(messaging) = operation else { panic!("no message: {operation:?}") };
    *messaging
}

fn http(operation: Operation) -> Http {
    let Operation::Http(http) = operation else { panic!("not HTTP: {operation:?}") };
    *http
}

const JSON: &str = "Content-Type: application/json\r\n";
const FORM: &str = "Content-Type: application/x-www-form-urlencoded; charset=utf-8\r\n";
const OK: &str = "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}";

#[test]
fn elasticsearch_and_opensearch_are_known_by_their_fields_and_clients() {
    let product = "X-elastic-product: Elasticsearch\r\n";
    let search = |target: &str, method: &str, status, lines: &str| {
        told(&request(method, target, JSON, "{\"query\":{\"match_all\":{}}}"), &response(status, lines, "{}"))
    };
    for (method, target, operation, index) in [
        ("POST", "/orders/_search?q=secret", "search", Some("orders")),
        ("GET", "/_search", "search", None),
        ("POST", "/a,b*/_count", "count", Some("a,b*")),
        ("PUT", "/orders/_doc/17", "index", Some("orders")),
        ("GET", "/orders/_doc/17", "get", Some("orders")),
        ("DELETE", "/orders/_doc/17", "delete", Some("orders")),
        ("POST", "/_bulk", "bulk", None),
        ("GET", "/_cluster/health", "cluster.health", None),
        ("GET", "/_cat/indices?v", "cat.indices", None),
        ("PUT", "/orders", "indices.create", Some("orders")),
        ("POST", "/_search/scroll", "scroll", None),
        ("GET", "/", "info", None),
    ] {
        let db = db(search(target, method, 200, product));
        assert_eq!((db.system, db.operation.as_deref()), ("elasticsearch", Some(operation)), "{target}");
        assert_eq!((db.collection.as_deref(), db.failed), (index, false), "{target}");
    }
    let failed = db(search("/orders/_search", "POST", 404, product));
    assert_eq!((failed.failed, failed.status.as_deref()), (true, Some("404")));
    let other = db(search("/orders/_search", "POST", 200, "X-OpenSearch-Version: OpenSearch/2.17.0 (opensearch)\r\n"));
    assert_eq!(other.system, "opensearch");
    let agent = format!("User-Agent: opensearch-py/2.4 (Python 3.11)\r\n{JSON}");
    assert_eq!(db(told(&request("POST", "/x/_search", &agent, "{}"), OK.as_bytes())).system, "opensearch");
    // Neither says it.
    assert_eq!(http(search("/orders/_search", "POST", 200, "")).target.as_deref(), Some("/orders/_search"));
    assert_eq!(http(search("/orders/x/y", "POST", 200, product)).status, Some(200), "no interface of theirs");
}

#[test]
fn statements_of_clickhouse_are_told_without_values() {
    let answer = response(200, "X-ClickHouse-Summary: {}\r\nX-ClickHouse-Query-Id: 1\r\n", "1\n");
    let it = db(told(&request("POST", "/?database=shop", "", "SELECT id FROM orders WHERE name = 'secret'"), &answer));
    assert_eq!((it.system, it.namespace.as_deref()), ("clickhouse", Some("shop")));
    assert_eq!(it.summary.as_deref(), Some("SELECT orders"));
    assert_eq!(it.text.as_deref(), Some("SELECT id FROM orders WHERE name = ?"));
    let lines = "X-ClickHouse-User: u\r\nX-ClickHouse-Key: secret\r\nX-ClickHouse-Database: shop\r\n";
    let target = "/?query=INSERT%20INTO%20events%20FORMAT%20CSV";
    let it = db(told(&request("POST", target, lines, "1,secret\n"), &answer));
    assert_eq!((it.operation.as_deref(), it.collection.as_deref()), (Some("INSERT"), Some("events")));
    assert_eq!(it.namespace.as_deref(), Some("shop"));
    assert!(!format!("{it:?}").contains("1,secret"), "{it:?}");
    let failed = response(404, "X-ClickHouse-Exception-Code: 60\r\n", "Code: 60");
    let it = db(told(&request("GET", "/?query=SELECT+1+FROM+none", "", ""), &failed));
    assert_eq!((it.failed, it.status.as_deref(), it.collection.as_deref()), (true, Some("60"), Some("none")));
    let it = db(told(&request("POST", "/", "Content-Encoding: gzip\r\n", "\x1f\x01"), &answer));
    assert!(it.text_unknown && it.text.is_none());
}

#[test]
fn statements_of_couchbase_are_told_in_either_form() {
    let statement = "SELECT a.* FROM `travel`.inventory.airline a WHERE a.name = \\\"secret\\\"";
    let body = format!("{{\"query_context\":\"default:travel\",\"statement\":\"{statement}\",\"args\":[\"secret\"]}}");
    let it = db(told(&request("POST", "/query/service", JSON, &body), OK.as_bytes()));
    assert_eq!((it.system, it.operation.as_deref()), ("couchbase", Some("SELECT")));
    assert_eq!(it.namespace.as_deref(), Some("default:travel"));
    assert!(!format!("{it:?}").contains("secret"), "{it:?}");
    let it = db(told(&request("POST", "/query/service", FORM, "statement=SELECT+1&client=x"), OK.as_bytes()));
    assert_eq!(it.text.as_deref(), Some("SELECT ?"));
    let it = db(told(&request("POST", "/query/service", FORM, "prepared=%22x%22"), OK.as_bytes()));
    assert!(it.text_unknown);
    assert_eq!(http(told(&request("POST", "/query/service", JSON, "{\"a\":1}"), OK.as_bytes())).status, Some(200));
}

#[test]
fn operations_of_graphql_are_named_by_their_document() {
    let of = |target: &str, body: &str| {
        let http = http(told(&request("POST", target, JSON, body), OK.as_bytes()));
        http.graphql.map(|it| (it.kind, it.name.map(|name| name.to_string())))
    };
    let named = |kind: &'static str, name: &str| Some((Some(kind), Some(name.to_owned())));
    for (body, expected) in [
        (
            r#"{"query":"query Orders($id: ID!) { order(id: $id) { id } }","variables":{"id":"secret"}}"#,
            named("query", "Orders"),
        ),
        (r#"{"operationName":"B","query":"query A { a } mutation B { b }"}"#, named("mutation", "B")),
        (r#"{"query":"{ a }"}"#, Some((Some("query"), None))),
        (r#"{"query":"subscription { a }"}"#, Some((Some("subscription"), None))),
        (
            r##"{"query":"# query X {\nfragment F on T { a(b: \"}\") }\nmutation Add { add }"}"##,
            named("mutation", "Add"),
        ),
        (r#"{"operationName":"P","extensions":{"persistedQuery":{"version":1}}}"#, Some((None, Some("P".to_owned())))),
        (r#"{"query":"select all"}"#, None),
        (r#"{"query":{"match":"x"}}"#, None),
        (r#"{"name":"query X { a }"}"#, None),
    ] {
        assert_eq!(of("/graphql", body), expected, "{body}");
    }
    assert_eq!(of("/search", r#"{"query":"{ a }"}"#), None, "nothing says that it is GraphQL");
    assert_eq!(of("/api", r#"{"query":"query A { a }","variables":null}"#), named("query", "A"));
    let get = request("GET", "/graphql?query=query%20G%7Ba%7D", "", "");
    assert_eq!(http(told(&get, OK.as_bytes())).graphql.unwrap().name.as_deref(), Some("G"));
}

#[test]
fn calls_of_json_rpc_are_told_with_the_code_of_their_error() {
    let call = |body: &str, answer: &str| told(&request("POST", "/rpc", JSON, body), &response(200, JSON, answer));
    let asked = r#"{"id":1,"jsonrpc":"2.0","method":"orders.get","params":{"password":"secret"}}"#;
    let it = rpc(call(asked, r#"{"jsonrpc":"2.0","id":1,"error":{"code":-32602,"message":"secret"}}"#));
    assert_eq!((it.system, it.method.as_deref(), it.code.as_deref()), ("jsonrpc", Some("orders.get"), Some("-32602")));
    assert!(!format!("{it:?}").contains("secret"));
    let it = rpc(call(asked, r#"{"jsonrpc":"2.0","id":1,"result":{"error":{"code":1}}}"#));
    assert_eq!(it.code, None);
    for plain in [
        r#"{"method":"x","id":1}"#,
        r#"[{"jsonrpc":"2.0","method":"x"},{"a":1}]"#,
        r#"{"jsonrpc":"2.0","method":"a b"}"#,
    ] {
        assert_eq!(http(call(plain, "{}")).target.as_deref(), Some("/rpc"), "{plain}");
    }
    // In chunks.
    let head = "POST /rpc HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n";
    let (one, two) = asked.split_at(20);
    let chunked = format!("{head}{:x}\r\n{one}\r\n{:x}\r\n{two}\r\n0\r\n\r\n", one.len(), two.len());
    assert_eq!(rpc(told(chunked.as_bytes(), OK.as_bytes())).method.as_deref(), Some("orders.get"));
}

#[test]
fn several_calls_in_one_request_are_told_with_their_number_and_what_they_have_in_common() {
    let call = |body: &str, answer: &str| rpc(told(&request("POST", "/rpc", JSON, body), &response(200, JSON, answer)));
    let one = |method: &str| format!(r#"{{"jsonrpc":"2.0","method":"{method}","params":["secret"],"id":1}}"#);
    let answer = r#"[{"jsonrpc":"2.0","id":1,"result":7},{"jsonrpc":"2.0","id":2,"error":{"code":-32601}}]"#;
    let it = call(&format!("[{},{}]", one("get"), one("get")), answer);
    assert_eq!((it.method.as_deref(), it.batch_size, it.code.as_deref()), (Some("get"), Some(2), Some("-32601")));
    let it = call(&format!("[{},{},{}]", one("get"), one("pay"), one("get")), "[]");
    assert_eq!((it.method.as_deref(), it.batch_size, it.code), (None, Some(3), None));
    let it = call(&format!("[{}]", one("get")), "[]");
    assert_eq!((it.method.as_deref(), it.batch_size), (Some("get"), None));
    // Of what is longer than what was captured it is not known what the rest calls.
    let it = call(&format!("[{}{}]", one("get"), format!(",{}", one("get")).repeat(90)), "[]");
    assert_eq!((it.method, it.batch_size), (None, None));
    let graphql = |body: &str| http(told(&request("POST", "/graphql", JSON, body), OK.as_bytes())).graphql.unwrap();
    let it = graphql(r#"[{"query":"query A{a}"},{"query":"query B{b}"}]"#);
    assert_eq!((it.kind, it.name, it.batch_size), (Some("query"), None, Some(2)));
    let it = graphql(r#"[{"query":"mutation A{a}"},{"query":"query A{a}"},{"query":"query A{a}"}]"#);
    assert_eq!((it.kind, it.name.as_deref(), it.batch_size), (None, Some("A"), Some(3)));
}

#[test]
fn soap_is_told_by_its_message_where_the_head_names_no_action() {
    let of = |lines: &str, message: &str| told(&request("POST", "/svc", lines, message), OK.as_bytes());
    let empty = "Content-Type: text/xml\r\nSOAPAction: \"\"\r\n";
    let message = "<?xml version=\"1.0\"?><!-- <Body><x/> --><s:Envelope xmlns:s='http://schemas.xmlsoap.org/soap/envelope/'>\
                   <s:Header><a:b c=\">\"/></s:Header>\n<s:Body><o:GetOrder xmlns:o=\"urn:x\"><o:id>secret</o:id></o:GetOrder></s:Body>";
    assert_eq!(rpc(of(empty, message)).method.as_deref(), Some("GetOrder"));
    let addressed = "<Envelope xmlns=\"http://www.w3.org/2003/05/soap-envelope\" xmlns:w=\"http://www.w3.org/2005/08/addressing\">\
                     <Header><w:To>secret</w:To><w:Action>http://shop/IOrders/Pay</w:Action></Header><Body><x/></Body></Envelope>";
    let it = rpc(of("Content-Type: application/soap+xml\r\n", addressed));
    assert_eq!((it.system, it.method.as_deref()), ("soap", Some("Pay")));
    for other in ["<Envelope><Body><x/></Body></Envelope>", "<html><body/></html>", "", "<", &message[..150]] {
        assert_eq!(http(of(empty, other)).target.as_deref(), Some("/svc"), "{other}");
    }
}

#[test]
fn soap_is_told_by_its_action() {
    let envelope = "<Envelope/>";
    let lines = "Content-Type: text/xml; charset=utf-8\r\nSOAPAction: \"http://shop/IOrders/Get\"\r\n";
    let it = rpc(told(&request("POST", "/svc", lines, envelope), &response(500, "", "x")));
    assert_eq!((it.system, it.method.as_deref(), it.http_status), ("soap", Some("Get"), Some(500)));
    let lines = "Content-Type: application/soap+xml; action=\"urn:shop#Add\"\r\n";
    assert_eq!(rpc(told(&request("POST", "/svc", lines, envelope), OK.as_bytes())).method.as_deref(), Some("Add"));
    let lines = "Content-Type: text/xml\r\nSOAPAction: \"\"\r\n";
    assert_eq!(http(told(&request("POST", "/svc", lines, envelope), OK.as_bytes())).status, Some(200));
}

const SIGNED: &str = "Authorization: AWS4-HMAC-SHA256 Credential=AKIASECRET/20300101/eu-west-1/";

#[test]
fn operations_of_aws_are_told_by_service() {
    let amz = |service: &str, target: &str| {
        format!(
            "X-Amz-Target: {target}\r\nContent-Type: application/x-amz-json-1.0\r\n{SIGNED}{service}/aws4_request, \
             SignedHeaders=host, Signature=secret\r\n"
        )
    };
    let it = db(told(
        &request(
            "POST",
            "/",
            &amz("dynamodb", "DynamoDB_20120810.GetItem"),
            r#"{"TableName":"Orders","Key":{"id":"secret"}}"#,
        ),
        &response(400, "", r#"{"__type":"com.amazonaws.dynamodb.v20120810#ResourceNotFoundException","message":"x"}"#),
    ));
    assert_eq!((it.system, it.operation.as_deref()), ("aws.dynamodb", Some("GetItem")));
    assert_eq!((it.collection.as_deref(), it.status.as_deref()), (Some("Orders"), Some("ResourceNotFoundException")));
    assert!(!format!("{it:?}").to_lowercase().contains("secret"), "{it:?}");
    let it = rpc(told(&request("POST", "/", &amz("kms", "TrentService.Decrypt"), "{}"), OK.as_bytes()));
    assert_eq!((it.system, it.method.as_deref()), ("aws-api", Some("KMS/Decrypt")));
    let lines = format!("{FORM}{SIGNED}sts/aws4_request, SignedHeaders=host, Signature=x\r\n");
    let form = "Action=GetCallerIdentity&Version=2011-06-15";
    assert_eq!(
        rpc(told(&request("POST", "/", &lines, form), OK.as_bytes())).method.as_deref(),
        Some("STS/GetCallerIdentity")
    );
    // A form with such a field of somebody else's.
    assert_eq!(http(told(&request("POST", "/login", FORM, form), OK.as_bytes())).status, Some(200));
    let lines = format!("X-Amz-Target: Other.Thing\r\n{JSON}");
    assert_eq!(http(told(&request("POST", "/", &lines, "{}"), OK.as_bytes())).status, Some(200));
}

#[test]
fn queues_and_topics_of_aws_are_told_as_messages() {
    let lines = format!(
        "X-Amz-Target: AmazonSQS.SendMessage\r\nContent-Type: application/x-amz-json-1.0\r\n{SIGNED}sqs/aws4_request, a\r\n"
    );
    let body = r#"{"QueueUrl":"http://sqs/123/orders","MessageBody":"secret","MessageAttributes":{"traceparent":
        {"DataType":"String","StringValue":"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"}}}"#;
    let it = messaging(told(&request("POST", "/", &lines, body), OK.as_bytes()));
    assert_eq!((it.system, &*it.operation, it.step), ("aws_sqs", "SendMessage", MessagingStep::Send));
    assert_eq!((it.destination.as_deref(), it.messages, it.links.len()), (Some("orders"), Some(1), 1));
    assert!(!format!("{it:?}").contains("secret"));
    let signed = |service: &str| format!("{FORM}{SIGNED}{service}/aws4_request, a\r\n");
    let form = "Action=ReceiveMessage&Version=2012-11-05&MaxNumberOfMessages=10";
    let it = messaging(told(&request("POST", "/123/orders", &signed("sqs"), form), OK.as_bytes()));
    assert_eq!((it.step, it.destination.as_deref(), it.messages), (MessagingStep::Receive, Some("orders"), None));
    let form = "Action=Publish&TopicArn=arn%3Aaws%3Asns%3Aeu-west-1%3A123%3Anews&Message=secret&Version=2010-03-31";
    let it = messaging(told(&request("POST", "/", &signed("sns"), form), &response(403, "", "<Error/>")));
    assert_eq!((it.system, it.destination.as_deref(), it.error.as_deref()), ("aws.sns", Some("news"), Some("403")));
    assert_eq!(it.messages, Some(0));
    let form = "Action=CreateQueue&QueueName=x&Version=2012-11-05";
    assert_eq!(
        rpc(told(&request("POST", "/", &signed("sqs"), form), OK.as_bytes())).method.as_deref(),
        Some("SQS/CreateQueue")
    );
}

#[test]
fn bodies_that_were_not_captured_name_nothing_that_is_not_there() {
    let asked =
        request("POST", "/rpc", JSON, &format!(r#"{{"jsonrpc":"2.0","params":"{}","method":"x"}}"#, "y".repeat(9000)));
    assert_eq!(http(told_in(&asked, OK.as_bytes(), usize::MAX)).target.as_deref(), Some("/rpc"));
}

proptest! {
    /// Whatever bodies and fields hold, there is an end, and no panic.
    #[test]
    fn any_body_is_read(body in proptest::collection::vec(any::<u8>(), 0..400), at in 0_usize..8, text in "[ -~]{0,200}") {
        let kinds = [
            "application/json", "application/x-amz-json-1.0", "application/x-www-form-urlencoded", "application/graphql",
            "application/soap+xml;action=", "text/xml", "text/plain", "application/json-rpc",
        ];
        let head = format!(
            "POST /graphql HTTP/1.1\r\nContent-Type: {}{text}\r\nX-Amz-Target: {text}\r\nSOAPAction: {text}\r\n\
             Authorization: AWS4-HMAC-SHA256 Credential={text}\r\nContent-Length: {}\r\n\r\n", kinds[at], body.len()
        );
        let asked = [head.as_bytes(), &body].concat();
        let answer = response(200, "", &text);
        let _operation = told_in(&asked, &answer, 50);
        let of_json = [b"{\"query\":\"".as_slice(), &body].concat();
        let head = format!("POST /graphql HTTP/1.1\r\n{JSON}Content-Length: {}\r\n\r\n", of_json.len());
        let _operation = told_in(&[head.as_bytes(), &of_json].concat(), &answer, 50);
    }
}
